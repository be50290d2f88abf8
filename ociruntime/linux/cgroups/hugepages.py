# SPDX-License-Identifier: Apache-2.0
"""Which files of the hugetlb controller get which values? (/linux/resources/hugepageLimits; R148)

Both accounts are limited, as in runc: that of reservations, and that of pages in use, which covers pages that were
never reserved. A kernel without the first (before 5.7) has only the second. Pure.
"""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.linux.cgroups.setting import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = tuple(f"/linux/resources/hugepageLimits{tail}" for tail in ("", "/*/pageSize", "/*/limit"))

# The size becomes a part of a file name (GHSA-5g49-rx9x-qfc6): only what the kernel can have, powers of two.
PAGE_SIZES = frozenset(f"{1 << power}{unit}B" for unit in "KMG" for power in range(10))


def check(limits: Node) -> Iterator[Violation]:
    """Yield page sizes that no kernel has."""
    for entry in limits:
        size = entry.at("pageSize")
        if size.text() not in PAGE_SIZES:
            yield Violation(size.pointer, f"{size.text()!r} is not a size of huge pages, such as 2MB", "R148")


def settings(limits: Node, v2: bool) -> Iterator[Setting]:
    """What to write, on v1 and on v2."""
    tail = "max" if v2 else "limit_in_bytes"
    for entry in limits:
        size, value = entry.at("pageSize").text(), str(entry.at("limit").number())
        used = f"hugetlb.{size}.{tail}"
        reserved = f"hugetlb.{size}.rsvd.{tail}"
        yield Setting(entry.pointer, "hugetlb", reserved, value, instead=((used, value),))
        yield Setting(entry.pointer, "hugetlb", used, value)
