# SPDX-License-Identifier: Apache-2.0
"""What integration tests build on: bundles, a driver for a runtime's command, peers, and the leak check.

Imports nothing of `ociruntime`: the harness must work the same with RUNTIME=runc.
"""
