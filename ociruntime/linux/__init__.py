# SPDX-License-Identifier: Apache-2.0
"""The subjects of config-linux.md and config.md: one module per heading, none of which imports another."""
