# SPDX-License-Identifier: Apache-2.0
"""What is one limit, which step sets it, and how is it written so that the kernel takes it?

A limit is one value for one file of the container's cgroup. Must not import config, or a module that knows a property.
"""

from __future__ import annotations

import errno
import os

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups.v1 import read, write
from ociruntime.step import HostStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NO_SUCH_FILE = "this kernel has no such limit, or the device's I/O scheduler has none"


class Setting:
    """One write: `value` into the file `file` of `controller`'s directory, because of `pointer`.

    controller  "" if the file belongs to none (cgroup.max.depth)
    optional    a kernel that lacks the file, or takes the value and keeps its own, gives a warning, not an error
    instead     (file, value) to write where the kernel lacks `file`
    first       (file, value) of limits that are set later, but hold this one up: if the kernel answers EINVAL
                they are written before it (memory above the old sum of memory and swap)
    exact       it is an error if the kernel quietly takes another value because this one is out of range
    unset       the line that undoes this one, if the file had none for the device before ("8:0 rbps=max"), or ""
    """

    __slots__ = ("controller", "exact", "file", "first", "instead", "optional", "pointer", "unset", "value")

    def __init__(
        self,
        pointer: str,
        controller: str,
        file: str,
        value: str,
        *,
        optional: bool = False,
        instead: tuple[tuple[str, str], ...] = (),
        first: tuple[tuple[str, str], ...] = (),
        exact: bool = False,
        unset: str = "",
    ) -> None:
        self.pointer = pointer
        self.controller = controller
        self.file = file
        self.value = value
        self.optional = optional
        self.instead = instead
        self.first = first
        self.exact = exact
        self.unset = unset

    def __repr__(self) -> str:
        return f"Setting({self.pointer!r}, {self.controller!r}, {self.file!r}, {self.value!r})"

    def step(self, directory: str) -> HostStep:
        """The step that writes it into a cgroup's directory."""
        args: dict[str, object] = {
            "file": f"{directory}/{self.file}",
            "value": self.value,
            "optional": self.optional,
        }
        for name in ("instead", "first"):
            if getattr(self, name):
                args[name] = [[f"{directory}/{file}", value] for file, value in getattr(self, name)]
        if self.exact:
            args["exact"] = True
        if self.unset:
            args["unset"] = self.unset
        shown = self.value.replace("\n", "; ")
        return HostStep("set_cgroup", args, pointer=self.pointer, text=f"{self.file} = {shown}")


def set_limit(args: dict[str, Any], warnings: list[str]) -> None:
    """Do a step set_cgroup. Raises OSError with the file, StepFailed where more can be said."""
    try:
        _set_limit(args)
        if args["optional"] and args["value"].isdigit() and int(read(args["file"])) > int(args["value"]):
            warnings.append(f"{args['file']}: not set to {args['value']}: the kernel ignores it")
    except OSError as failure:
        if args["optional"]:
            words = os.strerror(failure.errno or 0).lower()
            warnings.append(f"{args['file']}: not set to {args['value']}: {words}")
        elif failure.errno == errno.ENOENT and os.path.isdir(os.path.dirname(args["file"])):
            raise StepFailed(args["file"], errno=errno.ENOENT, hint=_NO_SUCH_FILE) from None
        elif failure.errno == errno.EBUSY and args["file"].endswith("/memory.limit_in_bytes"):
            directory = os.path.dirname(args["file"])
            used = read(f"{directory}/memory.usage_in_bytes").decode().strip()
            raise StepFailed(f"{used} bytes are in use", errno=errno.EBUSY) from None
        else:
            raise


def _set_limit(args: dict[str, Any]) -> None:
    places = [[args["file"], args["value"]], *args.get("instead", [])]
    file, value = next((place for place in places if os.path.exists(place[0])), places[0])
    try:
        _write(file, value)
    except OSError as failure:
        if failure.errno != errno.EINVAL or not args.get("first"):
            raise
        for other_file, other in args["first"]:
            try:
                _write(other_file, other)
            except OSError as second:
                if second.errno not in (errno.EINVAL, errno.ENOENT):
                    raise
        _write(file, value)
    if args.get("exact"):
        taken = read(file).decode().strip()
        if taken != value:
            raise StepFailed(f"{file}: {value} is out of range: the kernel makes it {taken}")


def _write(file: str, value: str) -> None:
    """Each line by a call of its own; an empty line is written as a newline, because an empty write does nothing."""
    write(file, *((line or "\n").encode() for line in value.split("\n")))


def held(args: dict[str, Any]) -> list[list[str]]:
    """What to write, as [[file, value], ...], to restore what was there before a step set_cgroup."""
    files = [args["file"], *(file for file, _ in [*args.get("instead", []), *args.get("first", [])])]
    found = []
    for file in files:
        try:
            content = read(file).decode().strip()
        except FileNotFoundError:
            continue
        if file.endswith("/memory.oom_control"):
            content = content.split()[1]  # "oom_kill_disable 0", and lines that can't be set
        device = args["value"].split(" ")[0]
        if file == args["file"] and args.get("unset") and device not in content.split():
            content = f"{content}\n{args['unset']}".strip()
        found.append([file, content])
    return found


def restore(values: list[list[str]]) -> list[str]:
    """Write what held() found, last first; returns what could not be written, in words.

    A limit that holds another one up is written again at the end.
    """
    problems: list[str] = []
    for tries_left in (True, False):
        again = []
        for file, value in reversed(values):
            try:
                _write(file, value)
            except OSError as failure:
                again.append([file, value])
                if not tries_left:
                    problems.append(
                        f"{file} is not reset to {value}: {os.strerror(failure.errno or 0).lower()}"
                    )
        values = again[::-1]
    return problems
