# SPDX-License-Identifier: Apache-2.0
"""What do the validation programs of opencontainers/runtime-tools say? Run from a built checkout, never a part of ours."""
