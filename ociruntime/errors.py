# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, with which exit code, and what a person can do about it.

    RuntimeFailure                 exit 1, everything below
    ├── UsageError                 the command line is wrong
    ├── BundleError                no bundle, no config.json, not JSON
    ├── InvalidConfig              config.json breaks the specification: all violations at once
    ├── NotSupported               valid, but this runtime does not do it (yet): refused by name, never ignored
    ├── NoSuchContainer            "container does not exist"
    ├── ContainerExists            the id is taken
    ├── WrongState                 the operation is not allowed in the container's state
    ├── StateUnreadable            a file of the container is damaged, or of another version
    ├── ForeignContainer           it belongs to another runtime or another user: never touched
    ├── StepFailed                 one step of the plan failed: step, pointer, errno, hint
    │   ├── HookFailed             a hook failed: which one, how, and what it printed
    │   ├── ProgramNotFound        the container's program, or its interpreter, is not there
    │   └── ProgramNotExecutable   it is there, and can't be executed
    ├── InitLost                   the container's init ended without saying why
    └── Interrupted                a signal came while the container was being made (exit 128 + n)

This module imports nothing but `os` (for strerror), so that every other module may import it.
"""

from __future__ import annotations

import errno as _errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LINE_LIMIT = 4096  # bytes of an error or a warning as people see it; a log in JSON has all of it
MOST_VIOLATIONS = 200  # of each severity; no one reads more, and a hostile config may have any number
EXIT_ERROR = 1
EXIT_EXEC_FAILED = 255


class Violation:
    """One rule of the specification that a config breaks.

    pointer   JSON pointer (RFC 6901) of the offending value; "" is the whole document
    reason    what is wrong, lower case, no full stop
    rule      which requirement says so ("R041", or a section of the spec)
    severity  "error" (refused), "unsupported" (valid, but refused by this version), "warning" (logged, R049)
    """

    __slots__ = ("pointer", "reason", "rule", "severity")

    def __init__(self, pointer: str, reason: str, rule: str = "", severity: str = "error") -> None:
        self.pointer = pointer
        self.reason = reason
        self.rule = rule
        self.severity = severity

    def __str__(self) -> str:
        rule = f" [{self.rule}]" if self.rule else ""
        return printable(f"{self.pointer or '/'}: {self.reason}{rule}")

    def __repr__(self) -> str:
        return f"Violation({self.pointer!r}, {self.reason!r}, {self.rule!r}, {self.severity!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Violation) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash((self.pointer, self.reason, self.rule, self.severity))

    def as_dict(self) -> dict[str, str]:
        """The violation as `validate --format json` prints it."""
        return {name: getattr(self, name) for name in self.__slots__}


class Findings(list[Violation]):
    """Violations, at most MOST_VIOLATIONS of each severity, and the number of those that are left out."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, int] = {}

    def take(self, violations: Iterable[Violation]) -> None:
        """Add them; once there are too many errors, the search ends."""
        for violation in violations if not self.cut else ():
            count = self._found[violation.severity] = self._found.get(violation.severity, 0) + 1
            if count <= MOST_VIOLATIONS:
                self.append(violation)
            elif self.cut:
                return

    @property
    def cut(self) -> bool:
        """True if there are more errors than those listed, and they have not been counted."""
        return self._found.get("error", 0) > MOST_VIOLATIONS

    def left_out(self) -> list[str]:
        """What is not listed, one sentence each."""
        said = []
        for severity, count in self._found.items():
            words = {"error": "errors", "warning": "warnings"}.get(severity, "unsupported properties")
            if count > MOST_VIOLATIONS and severity == "error":
                said.append(f"only the first {MOST_VIOLATIONS} errors are shown: there may be more")
            elif count > MOST_VIOLATIONS:
                more = "" if self.cut else f": there are {count - MOST_VIOLATIONS} more"
                said.append(f"only the first {MOST_VIOLATIONS} {words} are shown{more}")
        return said


class RuntimeFailure(Exception):
    """Base of all errors of this package.

    reason   what went wrong, lower case, no full stop
    pointer  JSON pointer of the config property behind it, or ""
    step     name of the plan's step that failed, or ""
    errno    the kernel's error number, or 0
    hint     what a person can do, or ""
    """

    exit_code = EXIT_ERROR
    reason_has_errno = False  # the reason says it in words that engines look for

    def __init__(
        self, reason: str, *, pointer: str = "", step: str = "", errno: int = 0, hint: str = ""
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pointer = pointer
        self.step = step
        self.errno = errno
        self.hint = hint

    def __str__(self) -> str:
        return self._line(self.pointer, self.step, self.reason, self.hint)

    def and_then(self, problems: list[str]) -> None:
        """Say what went wrong after it, too; this error's hint is not said again."""
        if problems:
            again = f" ({printable(self.hint)})" if self.hint else ""
            self.reason += f"; and then: {'; '.join(problems).replace(again, '')}"

    def brief(self, limit: int = LINE_LIMIT) -> str:
        """The same in `limit` bytes: a part of it that is too long is cut in the middle, and the others stay whole."""
        whole = str(self)
        if width(whole) <= limit:
            return whole
        parts = [printable(part) for part in (self.pointer, self.step, self.reason, self.hint)]
        room = limit - width(self._line("", "", "", "")) - 9  # the marks between them
        return self._line(*shared_out(parts, room))

    def _line(self, pointer: str, step: str, reason: str, hint: str) -> str:
        parts = [part for part in (pointer, step, reason) if part]
        if self.errno and not self.reason_has_errno:
            parts.append(errno_text(self.errno))
        text = ": ".join(parts)
        return printable(f"{text} ({hint})" if hint else text)

    def as_dict(self) -> dict[str, object]:
        """The error's fields, as `--log-format json` writes them beside `msg`."""
        fields: dict[str, object] = {"error": type(self).__name__}
        for name in ("pointer", "step", "errno", "hint"):
            value = getattr(self, name)
            if value:
                fields[name] = value
        return fields


class UsageError(RuntimeFailure):
    """The command line is wrong."""


class BundleError(RuntimeFailure):
    """The bundle has no usable config.json or root filesystem."""


class InvalidConfig(RuntimeFailure):
    """config.json breaks the specification; `violations` lists every place.

    all_shown   the text has all of them, because no verb would list them
    cut         there are more than these
    """

    def __init__(self, violations: list[Violation], *, all_shown: bool = False, cut: bool = False) -> None:
        self.violations = violations
        first, *others = violations
        count = f"at least {len(others)}" if cut else str(len(others))
        what = f"the first {len(violations)}" if cut else "them"
        tail = f" (and {count} more: `ociruntime validate` lists {what})" if others else ""
        if all_shown:
            tail = "; ".join(["", *map(str, others), *(["there may be more"] if cut else [])])
        super().__init__(f"{first.reason}{tail}", pointer=first.pointer or "/")


class NotSupported(RuntimeFailure):
    """A valid request that this version refuses by name."""


class NoSuchContainer(RuntimeFailure):
    """There is no container of this id; engines look for the words "container does not exist"."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"container does not exist: {container_id}")


class ContainerExists(RuntimeFailure):
    """The id is in use (R223)."""

    def __init__(self, container_id: str, hint: str = "") -> None:
        super().__init__(f"container already exists: {container_id}", hint=hint)


class WrongState(RuntimeFailure):
    """The container's state does not allow the operation; the container is unchanged (R229, R233, R236)."""


class StateUnreadable(RuntimeFailure):
    """A file of the container is damaged, or was written by another version of this runtime."""


class ForeignContainer(RuntimeFailure):
    """What is there belongs to another runtime, or to another user of the host; no verb touches it."""


class StepFailed(RuntimeFailure):
    """One step of a plan failed; everything that was done before has been undone."""


class HookFailed(StepFailed):
    """A hook could not be run, ended with an error, or took too long."""


class ProgramNotFound(StepFailed):
    """There is no such program in the container, or no interpreter for it: what a shell answers with 127. errno says which."""


class ProgramNotExecutable(StepFailed):
    """The program is there, and the kernel does not execute it: what a shell answers with 126. errno says why."""


class InitLost(RuntimeFailure):
    """init ended, by a signal or an exit, before it reported anything.

    killed   by SIGKILL: by the kernel, for lack of memory, or by somebody
    """

    killed = False


class Interrupted(RuntimeFailure):
    """A signal ended the operation; what had been done is undone."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"interrupted by signal {signal_number}")
        self.exit_code = 128 + signal_number


def printable(text: str) -> str:
    """The text on one line, for any terminal and encoding: what is not printable is written as an escape."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def width(text: str) -> int:
    """Bytes of a text on a terminal or in a file."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def shortened(text: str, limit: int) -> str:
    """The text in `limit` bytes: its beginning and end, which matter most, and how much is missing between them."""
    if width(text) <= limit:
        return text
    kept = limit
    while True:
        kept = min(kept, len(text) - 1)
        head, tail = text[: (kept + 1) // 2], text[len(text) - kept // 2 :]
        short = f"{head}[... {len(text) - kept} characters ...]{tail}"
        excess = width(short) - limit
        if excess <= 0 or kept == 0:
            return short
        kept = max(kept - max(excess // 4, 1), 0)  # a character has up to four bytes


def shared_out(parts: list[str], room: int) -> list[str]:
    """The parts in `room` bytes together: the short ones whole, the long ones shortened to the same size."""
    fair = room
    waiting = sorted(width(part) for part in parts)
    for index, size in enumerate(waiting):
        fair = room // (len(waiting) - index)
        if size > fair:
            break
        room -= size
    return [shortened(part, fair) for part in parts]


def errno_text(number: int) -> str:
    """`ENOSPC (no space left on device)` for 28."""
    name = _errno.errorcode.get(number, f"errno {number}")
    return f"{name} ({os.strerror(number).lower()})"


_ONE_KIND = "a directory can't be mounted on a file, nor a file on a directory"
_HARD_LIMIT = "raising a hard limit needs CAP_SYS_RESOURCE"

# What a bare errno does not say. Keyed by (errno, op of the step); "" is any op, "sync" is where the two sides meet, and
# "attribute" has the name of the file with it.
_HINTS: dict[tuple[int, str], str] = {
    (
        _errno.EPERM,
        "",
    ): "is the runtime running as root, with CAP_SYS_ADMIN and outside a restrictive seccomp filter?",
    (
        _errno.ENOSYS,
        "",
    ): "the kernel lacks this system call or an outer seccomp filter hides it; Linux 5.10 or newer is needed",
    (_errno.EPERM, "sync"): "a filter with SCMP_ACT_NOTIFY must allow write and read",
    (_errno.EPERM, "set_rlimit"): _HARD_LIMIT,
    (_errno.EPERM, "rlimit"): _HARD_LIMIT,
    (
        _errno.ENOSPC,
        "mount_fs",
    ): "for a mount, ENOSPC means that fs.mount-max is reached, not that the disk is full",
    (_errno.ENOENT, "open_bind_source"): "the source of a bind mount must exist",
    (_errno.ENOTDIR, "mount_fs"): _ONE_KIND,
    (_errno.ENOTDIR, "mount_tree"): _ONE_KIND,
    (_errno.ENOTDIR, "bind"): _ONE_KIND,
    (_errno.ENOENT, "attribute apparmor/exec"): "the profile is not loaded: load it with apparmor_parser",
    (_errno.EINVAL, "attribute exec"): "the loaded policy has no such label",
    (_errno.ENOSPC, "make_resctrl_group"): "the hardware has no free class of service",
    (
        _errno.EPERM,
        "set_scheduler",
    ): "real-time scheduling needs CAP_SYS_NICE, and with cgroup v1 linux.resources.cpu.realtimeRuntime",
    (_errno.EPERM, "set_io_priority"): "the real-time class needs CAP_SYS_NICE",
    (_errno.EBUSY, "set_scheduler"): "the deadline tasks of this machine do not leave enough CPU time",
    (_errno.ENOENT, "terminal"): "a terminal needs a devpts, which the config must mount at /dev/pts",
    (_errno.ENODEV, "mount_fs"): "the kernel does not know this file system type",
}


def hint_for(number: int, op: str = "") -> str:
    """The remedy for `number` (an errno) in a step of that op, or ""."""
    return _HINTS.get((number, op)) or _HINTS.get((number, ""), "")
