# SPDX-License-Identifier: Apache-2.0
"""A caller of the library whose signal handler raises: python3 interrupted.py OPERATION ROOT BUNDLE ID FIRST/STEP

The operation is done once for each line (or each STEPth) that it runs in a module with effects, and an exception is
raised before that line, as a signal handler of the caller's could. Prints as JSON how many lines there were, and what was
left after which.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import ociruntime
from ociruntime import Container, ExecProcess, NoSuchContainer, Options, Request, bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

PACKAGE = os.path.dirname(os.path.abspath(ociruntime.__file__))
# Pure modules: while they run, nothing is open and nothing is made.
PURE = {
    "_config_validator.py", "check.py", "config.py", "encode.py", "errors.py", "exec_document.py", "exec_order.py",
    "id_ranges.py", "mount_options.py", "ops.py", "order.py", "planner.py", "shared_order.py", "resources.py", "schema.py",
    "setting.py", "step.py",
}  # fmt: skip


class Interruption(BaseException):
    """What the caller's signal handler raises."""


class Interrupter:
    """Raises before the line of this number, of those that are run for the first time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lines: dict[str, None] = {}
        self.interrupted = ""

    @staticmethod
    def _concerned(code: CodeType) -> bool:
        name = os.path.basename(code.co_filename)
        pure = (
            name in PURE
            or code.co_name.lstrip("_").startswith(("plan", "check"))
            or code.co_name == "__del__"
        )
        return code.co_filename.startswith(PACKAGE) and not pure

    def enter(self, frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        return self.line if self._concerned(frame.f_code) else None

    def line(self, frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        where = f"{os.path.relpath(frame.f_code.co_filename, PACKAGE)}:{frame.f_lineno}"
        # What an exception passes is a finalizer's now and then: Python drops what is raised there, with a message.
        if event == "line" and where not in self.lines and not _in_finalizer(frame):
            self.lines[where] = None
            if len(self.lines) == self.number:
                self.interrupted = where
                sys.settrace(None)
                raise Interruption(where)
        return self.line

    def call(self, operation: Callable[[], object]) -> object:
        """What the operation returns; None if it was interrupted."""
        sys.settrace(self.enter)
        try:
            return operation()
        except Interruption:
            return None
        finally:
            sys.settrace(None)


def _in_finalizer(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def children() -> set[int]:
    """Process ids of the children that have not been reaped."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return {int(pid) for pid in file.read().split()}


def descriptors() -> dict[int, str]:
    """The open descriptors, and what they are of."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # that of the listing itself
    return found


class Play:
    """One operation on containers of one bundle."""

    def __init__(self, operation: str, root: str, directory: str) -> None:
        self.operation = operation
        self.root = root
        self.bundle = bundle.load(directory)
        self.null = os.open("/dev/null", os.O_RDWR)

    def warm(self, container_id: str) -> None:
        """What is loaded or made once per process is there afterwards."""
        prepared = self.prepare(container_id)
        self._end(self.act(container_id, prepared))
        if os.path.exists(f"{self.root}/{container_id}"):
            ociruntime.delete(self.root, container_id, force=True)
        for pid in children():
            os.waitpid(pid, 0)

    def prepare(self, container_id: str) -> Container | None:
        if self.operation in ("create", "run"):
            return None
        made = ociruntime.create(self.root, self.bundle, Options(container_id), stdio=(self.null,) * 3)
        if self.operation != "start":
            made.start()
        return made

    def act(self, container_id: str, prepared: Container | None) -> object:
        streams = (self.null,) * 3
        if self.operation == "run":
            return ociruntime.run(self.root, self.bundle, Options(container_id), stdin=b"x", capture=True)
        if prepared is None:
            terminal = self.bundle.config.at("process", "terminal").flag()
            made = ociruntime.create(
                self.root, self.bundle, Options(container_id), stdio=streams, keep_terminal=terminal
            )
            if made.terminal >= 0:
                os.close(made.terminal)
            return made
        if self.operation == "start":
            return prepared.start()
        if self.operation == "exec":
            return prepared.exec(Request(["true"]), stdio=streams)
        if self.operation == "run in":
            return prepared.run(["true"], stdin=b"x", capture=True, timeout=60)
        if self.operation == "update":
            return prepared.update({"pids": {"limit": 77}})
        if self.operation == "kill":
            return prepared.kill(9)
        return prepared.delete(force=True)

    @staticmethod
    def _end(result: object) -> None:
        """A process that exec has given to its caller is the caller's."""
        if isinstance(result, ExecProcess):
            with result:
                result.wait()

    def _tidy(self, container_id: str) -> None:
        try:
            ociruntime.delete(self.root, container_id, force=True)
        except NoSuchContainer:
            return  # nothing is left of it

    def once(self, container_id: str, number: int) -> dict[str, Any]:
        """Do it with an interruption at that line, in a process of its own; how many lines there were, what is left."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writing, json.dumps(self._once(container_id, number)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, "rb") as file:
            said = file.read()
        os.waitpid(pid, 0)
        self._tidy(container_id)
        answer: dict[str, Any] = json.loads(said)
        return answer

    def _once(self, container_id: str, number: int) -> dict[str, Any]:
        prepared = self.prepare(container_id)
        opened, known = descriptors(), children()
        interrupter = Interrupter(number)
        self._end(interrupter.call(lambda: self.act(container_id, prepared)))
        left: list[str] = []
        # An exception that a trace function raises where an `except` ends may keep the one that was handled alive, with
        # everything that it refers to. No signal handler runs there.
        if interrupter.interrupted and sys.exc_info()[0] is None:
            left += self._left(container_id, opened, known)
        return {"lines": len(interrupter.lines), "line": interrupter.interrupted, "left": left}

    def _left(self, container_id: str, opened: dict[int, str], known: set[int]) -> list[str]:
        left = []
        more = [name for number, name in descriptors().items() if opened.get(number) != name]
        if more:
            left.append(f"descriptors {more}")
        there = os.path.exists(f"{self.root}/{container_id}")
        complete = os.path.exists(f"{self.root}/{container_id}/state.json")
        if children() - known and not (self.operation == "create" and complete):
            left.append("a child")
        if there and (self.operation == "run" or not complete) and not self._collected(container_id):
            left.append("a container" if complete else "a lock")
        return left

    def _collected(self, container_id: str) -> bool:
        """Whether another process can finish it: the lock is free."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if container_id in ociruntime.gc(self.root) else 1
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def main() -> None:
    """Interrupt the operation at each of its lines."""
    operation, root, directory, name, numbers = sys.argv[1:]
    first, step = (int(number) for number in numbers.split("/"))
    play = Play(operation, root, directory)
    play.warm(f"{name}-first")
    lines = play.once(f"{name}-all", 0)["lines"]
    found = [play.once(f"{name}-{number}", number) for number in range(1 + first, lines + 1, step)]
    left = {one["line"]: one["left"] for one in found if one["left"]}
    json.dump({"lines": lines, "left": left}, sys.stdout)


if __name__ == "__main__":
    main()
