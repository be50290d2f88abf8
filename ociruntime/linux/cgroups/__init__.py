# SPDX-License-Identifier: Apache-2.0
"""Subject: /linux/cgroupsPath and /linux/resources (the whole package is one subject)."""

from __future__ import annotations
