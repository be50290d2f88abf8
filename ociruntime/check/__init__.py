# SPDX-License-Identifier: Apache-2.0
"""Is a config valid, and does the runtime do all that it asks for? `check.violations(config)` says what is wrong.

Loading the package costs nothing: what it offers to Python programs is imported when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.check.check import require as require, violations as violations


def __getattr__(name: str) -> object:
    if name not in ("require", "violations"):
        raise AttributeError(f"module 'ociruntime.check' has no attribute {name!r}")
    from ociruntime.check import check

    return getattr(check, name)
