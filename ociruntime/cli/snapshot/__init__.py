# SPDX-License-Identifier: Apache-2.0
"""The command as one executable that begins where Python's start has ended: `python -m ociruntime.cli.snapshot OUTPUT`.

native/_build_command.py puts it into the wheel. Imports nothing.
"""
