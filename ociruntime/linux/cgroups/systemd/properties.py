# SPDX-License-Identifier: Apache-2.0
"""What is systemd told about the container's unit? (org.freedesktop.systemd1(5), systemd.resource-control(5))

The limits come from what is written to the cgroup's files (resources.py), so that both always say the same; what
systemd has no property for stays with the file alone, as in runc. Pure.
"""

from __future__ import annotations

from ociruntime.errors import StepFailed
from ociruntime.linux.annotations import SYSTEMD_PROPERTY
from ociruntime.linux.cgroups.systemd.device_list import device_properties

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.config import Node
    from ociruntime.linux.cgroups.devices import Rule
    from ociruntime.linux.cgroups.setting import Setting

INFINITY = (1 << 64) - 1
_IDLE = 0  # CPUWeight=idle
_PERIOD = 100_000  # microseconds, the kernel's own
_PERCENT = 10_000  # microseconds of a second: systemd keeps whole percents

# What the driver itself says, so that an annotation must not.
RESERVED = ("Description", "Delegate", "PIDs", "Slice")

# Since which version of systemd a property, or this value of it, exists. An older one gets the cgroup's file alone.
SINCE = {"CPUQuotaPeriodUSec": 242, "AllowedCPUs": 244, "AllowedMemoryNodes": 244}
SINCE_IDLE = 252


class Property:
    """One property of a unit.

    name       "MemoryMax"
    signature  its D-Bus type, "t"
    value      JSON values only: "ay" is a list of numbers, a struct a list
    pointer    the config's property behind it, or ""
    since      the version of systemd that has it
    """

    __slots__ = ("name", "pointer", "signature", "since", "value")

    def __init__(self, name: str, signature: str, value: object, pointer: str = "", since: int = 0) -> None:
        self.name = name
        self.signature = signature
        self.value = value
        self.pointer = pointer
        self.since = since or SINCE.get(name, 0)

    def __str__(self) -> str:
        return f"{self.name}={_shown(self)}"

    def as_list(self) -> list[object]:
        """The property as JSON, for the args of a step."""
        return [self.name, self.signature, self.value, self.pointer, self.since]


def of_unit(v2: bool) -> list[Property]:
    """What every container's unit has: the cgroup is ours from there down, and its use is counted."""
    counted = ("CPU", "Memory", "IO" if v2 else "BlockIO", "Tasks")
    return [
        Property("Delegate", "b", True),
        Property("DefaultDependencies", "b", False),
        *(Property(f"{name}Accounting", "b", True) for name in counted),
    ]


def of_devices(rules: list[Rule], pointer: str) -> list[Property]:
    """The device rules."""
    policy, allowed = device_properties(rules)
    return [
        Property("DevicePolicy", "s", policy, pointer),
        Property("DeviceAllow", "a(ss)", allowed, pointer),
    ]


def of_settings(settings: list[Setting], v2: bool) -> list[Property]:
    """The limits: for each file that systemd knows too, its property; a later setting of the same overrides."""
    found: dict[str, Property] = {}
    period = _PERIOD
    for setting in settings:
        if setting.file == "cpu.cfs_period_us":
            period = _number(setting.value) or period
        elif setting.file == "cpu.cfs_quota_us":
            _add_quota(found, _number(setting.value), period, setting.pointer)
        elif setting.file == "cpu.max":
            words = setting.value.split()
            period = (_number(words[1]) if len(words) > 1 else 0) or period
            _add_quota(found, _number(words[0]) if words else 0, period, setting.pointer)
        elif setting.file == "cpu.idle":
            if v2 and setting.value == "1":
                found["CPUWeight"] = Property("CPUWeight", "t", _IDLE, setting.pointer, SINCE_IDLE)
        elif setting.file in _PROPERTIES and (v2 or _PROPERTIES[setting.file][0] not in _ONLY_V2):
            name, signature, convert = _PROPERTIES[setting.file]
            value = convert(setting.value)
            if value is not None:
                found[name] = Property(name, signature, value, setting.pointer)
    return list(found.values())


def changes(before: list[Property], after: list[Property]) -> list[Property]:
    """What an update tells systemd: what is new or different, and what has no limit any more."""
    old = {one.name: one.value for one in before}
    new = {one.name for one in after}
    gone = [one for one in before if one.name not in new and one.signature == "t"]
    return [
        *(one for one in after if one.name not in old or old[one.name] != one.value),
        *(Property(one.name, "t", INFINITY, one.pointer) for one in gone),
    ]


def _add_quota(found: dict[str, Property], quota: int, period: int, pointer: str) -> None:
    """A share of a second, rounded up to what systemd can say, so that what is in the cgroup's file is in it."""
    share = INFINITY
    if 0 < quota < INFINITY:
        share = -(-quota * 1_000_000 // period)
        share = -(-share // _PERCENT) * _PERCENT
    found["CPUQuotaPeriodUSec"] = Property("CPUQuotaPeriodUSec", "t", period, pointer)
    found["CPUQuotaPerSecUSec"] = Property("CPUQuotaPerSecUSec", "t", share, pointer)


def _number(text: str) -> int:
    """A limit as systemd has it: "max" and -1 are no limit; 0 if it is not a number."""
    if text in ("max", "-1"):
        return INFINITY
    return int(text) if text.isascii() and text.isdigit() else 0


def _limit(text: str) -> int | None:
    number = _number(text)
    return number if number or text == "0" else None  # what the kernel refuses anyway


def _mask(text: str) -> list[int] | None:
    """`0-3,8` as a set of bits, the lowest number first."""
    bits = 0
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        last = last or first
        if (
            not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit())
            or int(last) > 8191
        ):
            return None
        for number in range(int(first), int(last) + 1):
            bits |= 1 << number
    return list(bits.to_bytes((bits.bit_length() + 7) // 8, "little"))


_PROPERTIES: dict[str, tuple[str, str, Callable[[str], object]]] = {
    "memory.max": ("MemoryMax", "t", _limit),
    "memory.low": ("MemoryLow", "t", _limit),
    "memory.high": ("MemoryHigh", "t", _limit),
    "memory.min": ("MemoryMin", "t", _limit),
    "memory.swap.max": ("MemorySwapMax", "t", _limit),
    "memory.limit_in_bytes": ("MemoryLimit", "t", _limit),
    "cpu.weight": ("CPUWeight", "t", _limit),
    "cpu.shares": ("CPUShares", "t", _limit),
    "cpuset.cpus": ("AllowedCPUs", "ay", _mask),
    "cpuset.mems": ("AllowedMemoryNodes", "ay", _mask),
    "pids.max": ("TasksMax", "t", _limit),
    "blkio.weight": ("BlockIOWeight", "t", _limit),
}
# On v1 systemd has no cpuset: its properties are for v2 alone.
_ONLY_V2 = ("AllowedCPUs", "AllowedMemoryNodes")


def of_annotations(config: Node) -> Iterator[Property]:
    """org.systemd.property.NAME: a value in GVariant's text format; NAME...Sec takes seconds, as in runc.

    Raises StepFailed for a value that is none, and a name that the runtime itself uses.
    """
    for key, node in config.at("annotations").members():
        if not key.startswith(SYSTEMD_PROPERTY):
            continue
        from ociruntime.linux.cgroups.systemd.marshalling import marshal
        from ociruntime.linux.gvariant import parse

        name = key.removeprefix(SYSTEMD_PROPERTY)
        if len(name) < 3 or not (name.isascii() and name.isalpha() and name[0].isupper()):
            raise StepFailed(f"{name!r} is not the name of a systemd property", pointer=node.pointer)
        if name in RESERVED:
            raise StepFailed(f"the runtime itself sets {name}", pointer=node.pointer)
        try:
            signature, value = parse(node.text())
            # D-Bus has no empty structs, and not every text is an object path.
            marshal("v", [(signature, value)])
        except ValueError as mistake:
            reason = f"{node.text()[:200]!r} is not a value in GVariant's text format: {mistake}"
            raise StepFailed(
                reason, pointer=node.pointer, hint="uint64 5000000, 'inactive', ['a', 'b']"
            ) from None
        if name.endswith("Sec") and not name.endswith("USec") and name[-4].islower():
            name, signature, value = _microseconds(name, value, node)
        yield Property(name, signature, value, node.pointer)


def _microseconds(name: str, value: object, node: Node) -> tuple[str, str, object]:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 <= value * 1_000_000 < INFINITY
    ):
        raise StepFailed(f"{name} takes a number of seconds", pointer=node.pointer)
    return f"{name[:-3]}USec", "t", int(value * 1_000_000)


def _shown(one: Property) -> str:
    if one.value == INFINITY:
        return "infinity"
    if isinstance(one.value, bool):
        return "yes" if one.value else "no"
    if one.name == "DeviceAllow" and isinstance(one.value, list):
        return ", ".join(" ".join(entry) for entry in one.value)
    if one.signature == "ay" and isinstance(one.value, list):
        bits = int.from_bytes(bytes(one.value), "little")
        return ",".join(str(bit) for bit in range(bits.bit_length()) if bits >> bit & 1)
    if one.name == "CPUWeight" and one.value == _IDLE:
        return "idle"
    if isinstance(one.value, list):
        return " ".join(str(item) for item in one.value)
    return str(one.value)
