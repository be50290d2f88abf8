# SPDX-License-Identifier: Apache-2.0
"""containerd's shim: one process for all containers of a pod, asked over ttrpc; docs/shim.md has the picture."""
