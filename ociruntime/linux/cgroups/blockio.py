# SPDX-License-Identifier: Apache-2.0
"""Which files of the block I/O controller get which values? (/linux/resources/blockIO; R146, R147)

The I/O scheduler BFQ applies weights (blkio.bfq.weight, io.bfq.weight), on old kernels CFQ (blkio.weight), and on v2
the iocost controller too (io.weight, with another scale). Pure: nothing here looks at the machine.
"""

from __future__ import annotations

from ociruntime.errors import NotSupported, Violation
from ociruntime.linux.cgroups.convert import io_weight
from ociruntime.linux.cgroups.setting import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

_AT = "/linux/resources/blockIO"
KEYS = (
    *(f"{_AT}{tail}" for tail in ("", "/weight", "/leafWeight", "/weightDevice")),
    *(f"{_AT}/weightDevice/*/{name}" for name in ("major", "minor", "weight", "leafWeight")),
    *(
        f"{_AT}/throttle{what}Device{tail}"
        for what in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
        for tail in ("", "/*/major", "/*/minor", "/*/rate")
    ),
)

# property, v1's file, v2's word in io.max
_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def check(block: Node) -> Iterator[Violation]:
    """Warn about entries for devices that ask for nothing (R146)."""
    for entry in block.at("weightDevice"):
        if not (entry.at("weight") or entry.at("leafWeight")):
            yield Violation(
                entry.pointer, "has neither weight nor leafWeight: nothing is set", "R146", "warning"
            )


def settings_v1(block: Node) -> Iterator[Setting]:
    """What to write on cgroup v1; a weight of 0 is not set, a rate of 0 is no limit."""
    weight, leaf = block.at("weight"), block.at("leafWeight")
    if weight.number():
        value = str(weight.number())
        yield Setting(weight.pointer, "blkio", "blkio.weight", value, instead=(("blkio.bfq.weight", value),))
    if leaf.number():
        yield Setting(leaf.pointer, "blkio", "blkio.leaf_weight", str(leaf.number()))
    for entry in block.at("weightDevice"):
        device, weight, leaf = _device(entry), entry.at("weight"), entry.at("leafWeight")
        if weight.number():
            value = f"{device} {weight.number()}"
            yield Setting(
                weight.pointer,
                "blkio",
                "blkio.weight_device",
                value,
                instead=(("blkio.bfq.weight_device", value),),
                unset=f"{device} default",
            )
        if leaf.number():
            yield Setting(leaf.pointer, "blkio", "blkio.leaf_weight_device", f"{device} {leaf.number()}")
    for name, file, _ in _THROTTLES:
        for entry in block.at(name):
            device, rate = _device(entry), entry.at("rate").number()
            yield Setting(entry.pointer, "blkio", file, f"{device} {rate}", unset=f"{device} 0")


def settings_v2(block: Node) -> Iterator[Setting]:
    """What to write on cgroup v2. Raises NotSupported for leafWeight, which has no equivalent on v2."""
    for holder in (block, *block.at("weightDevice")):
        if holder.at("leafWeight").number():
            raise NotSupported("cgroup v2 has no equivalent", pointer=holder.at("leafWeight").pointer)
        weight = holder.at("weight")
        if weight.number():
            device = "" if holder is block else f"{_device(holder)} "
            unset = f"{device}default" if device else ""
            yield Setting(
                weight.pointer,
                "io",
                "io.bfq.weight",
                f"{device}{weight.number()}",
                instead=(("io.weight", f"{device}{io_weight(weight.number())}"),),
                unset=unset,
            )
    for name, _, word in _THROTTLES:
        for entry in block.at(name):
            device, rate = _device(entry), entry.at("rate").number()
            yield Setting(
                entry.pointer,
                "io",
                "io.max",
                f"{device} {word}={rate or 'max'}",
                unset=f"{device} {word}=max",
            )


def _device(entry: Node) -> str:
    return f"{entry.at('major').number()}:{entry.at('minor').number()}"
