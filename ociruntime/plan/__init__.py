# SPDX-License-Identifier: Apache-2.0
"""Which steps make a container, or one more process in it, and in which order? `plan.make(bundle, host, options)` says it.

Loading the package costs nothing: what it offers to Python programs is imported when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.plan.order import Options as Options, make as make


def __getattr__(name: str) -> object:
    if name not in ("Options", "make"):
        raise AttributeError(f"module 'ociruntime.plan' has no attribute {name!r}")
    from ociruntime.plan import order

    return getattr(order, name)
