# SPDX-License-Identifier: Apache-2.0
"""The completion of the shells: what can stand where (values.py), and how each shell is told."""
