# SPDX-License-Identifier: Apache-2.0
"""`python3 -m ociruntime`: the same command without the launcher script (slower to start)."""

from __future__ import annotations

import sys

from ociruntime.cli import main

sys.exit(main(sys.argv[1:]))
