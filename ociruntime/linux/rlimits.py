# SPDX-License-Identifier: Apache-2.0
"""Which resource limits does the program start with? (config.md, "rlimits"; getrlimit(2))

They are set by the runtime (prlimit), because raising a hard limit needs CAP_SYS_RESOURCE in the host's
user namespace, which init may lack. With a small RLIMIT_NOFILE no one could connect to init any more, so init
sets that one itself, last, immediately before it becomes the program. Must not import another subject.
"""

from __future__ import annotations

from errno import EINVAL

from ociruntime.errors import Violation
from ociruntime.step import HostStep, InitStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.launch.context import Context
    from ociruntime.step import Step

KEYS = (
    "/process/rlimits",
    "/process/rlimits/*/type",
    "/process/rlimits/*/soft",
    "/process/rlimits/*/hard",
)

TYPES = (
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
)
_FILES = "RLIMIT_NOFILE"
# Until the program begins, descriptors below this are needed: 0, 1, 2, the start socket, a connection to it, a filter.
# Descriptors that are passed on come in addition.
_NEEDED = 8
_LOCKS = 10  # the same on every architecture; Python's resource module does not name it


def check(config: Node) -> Iterator[Violation]:
    """Yield unknown and repeated types, and soft limits above their hard limit."""
    seen: set[str] = set()
    for limit in config.at("process", "rlimits"):
        kind = limit.at("type")
        name = kind.text()
        if name not in TYPES:
            yield Violation(kind.pointer, f"unknown resource limit {name}", "R044")
        elif name in seen:
            yield Violation(kind.pointer, f"{name} is given twice", "R047")
        seen.add(name)
        soft, hard = limit.at("soft"), limit.at("hard")
        if soft and hard and soft.number() > hard.number():
            yield Violation(
                soft.pointer,
                f"soft limit {soft.number()} of {name} is above its hard limit {hard.number()}",
                "R092",
            )


def plan(config: Node, host: Host, passed: int = 0) -> Iterator[Step]:  # noqa: ARG001 - the signature of every subject
    """One host step per limit; RLIMIT_NOFILE leaves init what it needs, and what is passed on."""
    least = passed + _NEEDED
    for limit in config.at("process", "rlimits"):
        kind, soft, hard = limit.at("type").text(), limit.at("soft").number(), limit.at("hard").number()
        if kind != _FILES or soft >= least:
            yield _host_step(limit, soft, hard)
        elif hard >= least:
            yield _host_step(limit, least, hard)


def plan_last(config: Node, passed: int = 0, *, by_init: bool = True) -> Iterator[Step]:
    """Before the program: RLIMIT_NOFILE, if it is below what init has needed until here.

    by_init   init sets it; else the runtime does while init waits, because its filter may forbid it
    """
    for limit in config.at("process", "rlimits"):
        soft, hard = limit.at("soft").number(), limit.at("hard").number()
        if limit.at("type").text() != _FILES or soft >= passed + _NEEDED:
            continue
        planned = _host_step(limit, soft, hard)
        if by_init:
            import resource

            halves = [half for value in (soft, hard) for half in (value & 0xFFFFFFFF, value >> 32)]
            number = resource.RLIMIT_NOFILE
            yield InitStep(
                "rlimit", number, *halves, name=planned.name, pointer=limit.pointer, text=planned.text
            )
        else:
            yield planned


def _host_step(limit: Node, soft: int, hard: int) -> HostStep:
    kind = limit.at("type").text()
    return HostStep(
        "set_rlimit",
        {"type": kind, "soft": soft, "hard": hard},
        pointer=limit.pointer,
        text=f"{kind} soft {_words(soft)} hard {_words(hard)}",
    )


def apply(step: HostStep, context: Context) -> None:
    """Set the limit of init; OSError if the kernel refuses."""
    import resource

    kind = str(step.args["type"])
    number: int = getattr(resource, kind, _LOCKS)
    values = (_signed(step.args["soft"]), _signed(step.args["hard"]))
    try:
        resource.prlimit(context.pid, number, values)
    except ValueError as refused:  # what the module makes of EINVAL
        raise OSError(EINVAL, str(refused)) from None


def _signed(value: object) -> int:
    """The resource module takes the kernel's unsigned 64 bits as a signed number: infinity is -1."""
    assert isinstance(value, int)
    return value - (1 << 64) if value >> 63 else value


def _words(value: int) -> str:
    return "unlimited" if value == (1 << 64) - 1 else str(value)
