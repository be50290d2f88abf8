# SPDX-License-Identifier: Apache-2.0
"""`python -m ociruntime.cli.snapshot OUTPUT`: build the command, try it, and put it there."""

from __future__ import annotations

import sys

from ociruntime.cli.snapshot.build import main

sys.exit(main(sys.argv[1:]))
