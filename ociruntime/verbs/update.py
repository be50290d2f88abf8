# SPDX-License-Identifier: Apache-2.0
"""`update`: change the limits of an existing container, by flags or by a resources object as in config.json."""

from __future__ import annotations

from ociruntime import bundle
from ociruntime.container import Container
from ociruntime.errors import InvalidConfig, RuntimeFailure, UsageError
from ociruntime.native import full_python

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.cli.flags import Arguments
    from ociruntime.config import Node
    from ociruntime.verbs import Settings

# flag, place below /linux/resources, whether it is text, a number, or a number of bytes ("10M")
_FLAGS = (
    ("blkio-weight", "blockIO/weight", "number"),
    ("cpu-period", "cpu/period", "number"),
    ("cpu-quota", "cpu/quota", "number"),
    ("cpu-burst", "cpu/burst", "number"),
    ("cpu-share", "cpu/shares", "number"),
    ("cpu-rt-period", "cpu/realtimePeriod", "number"),
    ("cpu-rt-runtime", "cpu/realtimeRuntime", "number"),
    ("cpu-idle", "cpu/idle", "number"),
    ("cpuset-cpus", "cpu/cpus", "text"),
    ("cpuset-mems", "cpu/mems", "text"),
    ("kernel-memory", "memory/kernel", "bytes"),
    ("kernel-memory-tcp", "memory/kernelTCP", "bytes"),
    ("memory", "memory/limit", "bytes"),
    ("memory-reservation", "memory/reservation", "bytes"),
    ("memory-swap", "memory/swap", "bytes"),
    ("pids-limit", "pids/limit", "number"),
)
_SCHEMATA = ("l3-cache-schema", "mem-bw-schema")
_UNITS = "BKMGTP"
_LONGEST = 32  # letters of a number
_ROOT = "/linux/resources"


def run(settings: Settings, given: Arguments) -> int:
    """Read what is to be set, and set it; prints nothing."""
    file = given.text("resources")
    names: dict[str, str] = {}
    resources: object
    if file:  # then the other flags have no effect, as with runc
        resources = _read(file).value
    else:
        resources, names = _from_flags(given)
    container = Container.load(settings.state_root(), given.words[0])
    from ociruntime.operations.update import change

    try:
        schemata = {f"--{flag}": given.text(flag) for flag in _SCHEMATA if given.text(flag)}
        warnings = change(container, resources, schemata)
    except InvalidConfig as failure:
        for violation in failure.violations:
            violation.pointer = _named(violation.pointer, names)
        raise InvalidConfig(failure.violations) from None
    except RuntimeFailure as failure:
        failure.pointer = _named(failure.pointer, names)
        raise
    for warning in [*warnings, *_ignored(resources, given, from_file=bool(file))]:
        settings.log.tell_warning(f"update: {warning.removeprefix(_ROOT)}")
    return 0


def _ignored(resources: object, given: Arguments, *, from_file: bool) -> Iterator[str]:
    """What was asked for and has no effect: flags beside a document, its device rules, and names that it should not have."""
    if not from_file:
        return
    flags = [f"--{flag}" for flag, _, _ in _FLAGS if given.text(flag)]
    if flags:
        yield f"{', '.join(flags)}: ignored, because --resources names a document"
    from ociruntime.operations.update import ignored

    yield from ignored(resources)


def _named(pointer: str, names: dict[str, str]) -> str:
    """The flag that a pointer into the config stands for, or the pointer into the file that was read."""
    if not pointer.startswith(_ROOT):
        return pointer
    return names.get(pointer, pointer[len(_ROOT) :] or "/")


def _read(file: str) -> Node:
    """The resources object of a file, or of stdin ("-"). Raises BundleError."""
    full_python.need()  # the schema, in which the names are looked up, is not in a snapshot
    return bundle.load_config(file) if file != "-" else bundle.read_stream(0, "stdin")


def _from_flags(given: Arguments) -> tuple[dict[str, dict[str, object]], dict[str, str]]:
    """The resources object of the flags, and the flag behind each of its properties. Raises UsageError."""
    resources: dict[str, dict[str, object]] = {}
    names = {}
    for flag, place, kind in _FLAGS:
        text = given.text(flag)
        if not text:
            continue
        group, _, member = place.partition("/")
        value: object = text
        if kind != "text":
            value = number_of(text, units=kind == "bytes")
            if value is None:
                raise UsageError(f"flag --{flag} needs a number, not {text!r}")
        resources.setdefault(group, {})[member] = value
        names[f"{_ROOT}/{place}"] = f"--{flag}"
    return resources, names


def number_of(text: str, units: bool) -> int | None:
    """The number that a word says, or None: `-1`, `1024`, and with `units` `10M`, `1.5g`, `4 KiB` (of 1024)."""
    digits = text.removeprefix("-")
    if len(text) > _LONGEST:
        return None
    if digits.isascii() and digits.isdigit():
        number = int(text)
        return None if units and number < -1 else number
    if not units:
        return None
    word = text.upper()
    word = word.removesuffix("IB") if word.endswith("IB") else word.removesuffix("B")
    power = _UNITS.find(word[-1:]) if word[-1:] in _UNITS else 0
    count = (word[:-1] if power > 0 else word).removesuffix(" ")
    whole, point, fraction = count.partition(".")
    parts = (whole, fraction) if point else (whole,)
    if not all(part.isascii() and part.isdigit() for part in parts):
        return None
    scaled = int(whole + fraction) << (10 * power)
    return scaled // int("1" + "0" * len(fraction))
