# SPDX-License-Identifier: Apache-2.0
"""Attacks: each invariant of SECURITY.md, tried from where the attacker would stand. Root on a Linux host."""
