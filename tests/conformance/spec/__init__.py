# SPDX-License-Identifier: Apache-2.0
"""Requirements of the specification that no test of a subject shows, one file for each section.

Which test shows which requirement stands in specs/conformance.toml.
"""
