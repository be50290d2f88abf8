# SPDX-License-Identifier: Apache-2.0
"""Tests of containerd's shim that need neither containerd nor root."""
