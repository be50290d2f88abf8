# SPDX-License-Identifier: Apache-2.0
"""How are the three streams of one process opened, given to its program, and let go? The parts are in shim/stdio.py.

open            before the process is made (a generator: a logger must be ready first)
program         the descriptors for the library
given           after the process has them, or could not be made
take_terminal   if it has a terminal
ended, close    at its end; at Delete
"""

from __future__ import annotations

import os
import stat

from ociruntime.shim.logger import SCHEMES, Logged, Logger
from ociruntime.shim.stdio import Input, Output, open_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from ociruntime.shim.loop import Loop, Pause
    from ociruntime.shim.reaper import Reaper
    from ociruntime.shim.terminal import Terminal


class Names:
    """What containerd calls the three, and whether the process has a terminal: then there is no third."""

    __slots__ = ("stderr", "stdin", "stdout", "terminal")

    def __init__(self, stdin: str, stdout: str, stderr: str, terminal: bool) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.terminal = terminal

    def as_dict(self) -> dict[str, object]:
        """As events and answers have them."""
        return {name: getattr(self, name) for name in self.__slots__}


class Streams:
    """The streams of one process."""

    def __init__(self, loop: Loop, names: Names) -> None:
        self._loop = loop
        self._names = names
        self._input: Input | None = None
        self._outputs: list[Output] = []
        self._terminal: Terminal | None = None
        self._over = False

    def open(
        self, reaper: Reaper, container_id: str, namespace: str, owner: tuple[int, int]
    ) -> Generator[Pause, bool, None]:
        """Open what has a name.

        owner   user and group that own the program's ends; 0 changes nothing
        Raises OSError, Refusal: then close it.
        """
        names = self._names
        try:
            self._input = Input(self._loop, names.stdin, names.terminal)
            if names.stdout.startswith(SCHEMES):
                logger = Logger(self._loop, reaper, names.stdout, (container_id, namespace))
                self._outputs = [Logged(logger, number, names.terminal) for number in (0, 1)]
                yield from logger.wait()
            else:
                self._outputs = [open_output(self._loop, names.stdout)]
                if not names.terminal:
                    same = names.stderr == names.stdout and names.stderr.startswith("file://")
                    self._outputs.append(self._outputs[0] if same else open_output(self._loop, names.stderr))
            if not names.terminal:
                for output in dict.fromkeys(self._outputs):
                    output.prepare()
                self._give(owner)
        except BaseException:
            self.close()
            raise

    def _give(self, owner: tuple[int, int]) -> None:
        uid, gid = (number or -1 for number in owner)
        if uid > 0 or gid > 0:
            for descriptor in self.program:
                if not stat.S_ISCHR(os.fstat(descriptor).st_mode):  # /dev/null, which is everyone's
                    os.fchown(descriptor, uid, gid)

    @property
    def program(self) -> tuple[int, int, int]:
        """What becomes 0, 1 and 2; -1 if it gets a terminal."""
        if self._names.terminal or self._input is None:
            return (-1, -1, -1)
        out, err = self._outputs
        return (self._input.program, out.program, err.program)

    def given(self) -> None:
        """The process has its descriptors."""
        if self._input is not None:
            self._input.given()
        for output in self._outputs:
            output.given()

    def take_terminal(self, master: int) -> None:
        """Connect the master of its terminal, and own it."""
        from ociruntime.shim.terminal import Terminal

        assert self._input is not None
        self._terminal = Terminal(self._loop, master, self._input, self._outputs[0])

    def resize(self, width: int, height: int) -> bool:
        """Set the terminal's size; false if there is none."""
        if self._terminal is None:
            return False
        self._terminal.resize(width, height)
        return True

    def close_stdin(self) -> None:
        """The client has nothing more to say."""
        if self._input is not None:
            self._input.close_stdin()

    @property
    def busy(self) -> bool:
        """True if there is output that a reader is still taking from us."""
        return self._terminal is not None and self._terminal.busy and self._outputs[0].has_reader()

    def ended(self) -> None:
        """The process has ended: pass everything on, then the readers see the end."""
        self._over = True
        if self._terminal is not None:
            self._terminal.ended(self._let_go)
        else:
            self._let_go()

    def _let_go(self) -> None:
        if self._input is not None:
            self._input.close()
        for output in self._outputs:
            output.ended()

    def close(self) -> None:
        """The end, even if there is output that nobody reads."""
        if self._terminal is not None:
            self._terminal.close()
        if self._input is not None:
            self._input.close()
        for output in self._outputs:
            output.close()
