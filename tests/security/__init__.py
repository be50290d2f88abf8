# SPDX-License-Identifier: Apache-2.0
"""Attacks: each invariant of SECURITY.md, tried from the attacker's position. Root on a Linux host."""
