# SPDX-License-Identifier: Apache-2.0
"""Tests of the C part: what is compiled by the test itself, with sanitizers, and run outside of any container."""
