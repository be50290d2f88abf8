# SPDX-License-Identifier: Apache-2.0
"""The C part: the extension module `_shim` and the static executable `ociruntime-init` beside this file.

Imports nothing; `from ociruntime.native import _shim` loads the extension when it is needed.
"""
