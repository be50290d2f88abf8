# SPDX-License-Identifier: Apache-2.0
"""What does a value of cgroup v1 become on cgroup v2? (R155: convert, or refuse)

Pure arithmetic; it imports nothing of the package.
"""

from __future__ import annotations


def cpu_weight(shares: int) -> int:
    """cpu.weight (1-10000, default 100) for cpu.shares (2-262144, default 1024).

    The curve of newer runtimes (runc 1.3.2, crun 1.23): it meets the minimum, the default and the
    maximum of both scales, where the older linear map made the default 1024 a weight of 39.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2  # only here: one module less for every other path

    doublings = log2(shares)
    exponent = (doublings * doublings + 125 * doublings) / 612.0 - 7.0 / 34.0
    return ceil(10**exponent)


def io_weight(weight: int) -> int:
    """io.weight (1-10000) for a weight of blkio (10-1000): a straight line, as in runc and crun."""
    return min(max(1 + (weight - 10) * 9999 // 990, 1), 10000)


def swap_alone(memory_and_swap: int, memory: int) -> str:
    """memory.swap.max for v1's sum of memory and swap; "" if it is not set. -1 is no limit.

    If memory has no limit and swap is not given, swap has none either, as on v1, where the sum can't be less than
    a part.
    """
    if memory_and_swap < 0 or (memory < 0 and memory_and_swap == 0):
        return "max"
    return str(memory_and_swap - max(memory, 0)) if memory_and_swap else ""
