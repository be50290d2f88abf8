# SPDX-License-Identifier: Apache-2.0
"""Does the program get a terminal, of what size, and who gets the other end? (config.md, "Process")

        init                                            runtime
    a pair of the container's devpts:
    its peer becomes 0, 1, 2 and /dev/console
    its master  -------- op terminal -------------->  context.terminal
                                                        |-> the console socket (--console-socket)
                                                        '-> the caller of create (run in the foreground)

A process that joins a container (exec) has `plan_terminal` among its steps, and its master goes through `send`.
Must not import another subject.
"""

from __future__ import annotations

import _socket
import os
from errno import ENOENT, EPERM

from ociruntime.descriptors import Descriptors
from ociruntime.errors import RuntimeFailure, Violation
from ociruntime.step import HostStep, InitStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.launch.context import Context

KEYS = (
    "/process/terminal",
    "/process/consoleSize",
    "/process/consoleSize/height",
    "/process/consoleSize/width",
)

_LARGEST = 0xFFFF  # struct winsize has 16 bits for each (ioctl_tty(2))

# Keys of context.slots; the descriptors stay with the runtime.
_CONSOLE_SOCKET, _PIDFD_SOCKET = "console socket", "pidfd socket"
# The text that is sent with the descriptor. It is runc's, though engines don't interpret it.
TERMINAL_NAME = "/dev/ptmx"
PIDFD_NAME = "standard"


def check(config: Node) -> Iterator[Violation]:
    """Yield sizes that no terminal can have; without a terminal they are ignored (R039)."""
    process = config.at("process")
    if not process.at("terminal").flag():
        return
    for name in ("height", "width"):
        side = process.at("consoleSize", name)
        if process.at("consoleSize") and not side:
            yield Violation(side.pointer, "is required; 0 is assumed", "R040", "warning")
        if side.number() > _LARGEST:
            yield Violation(
                side.pointer, f"a terminal's {name} is at most {_LARGEST}, not {side.number()}", "R040"
            )


def refuse(config: Node, console_socket: str, *, detached: bool) -> None:
    """The rules of runc: a command that does not stay needs a socket for the terminal, and no other command may have one.

    detached   the caller of create does not take the master itself
    Raises RuntimeFailure.
    """
    terminal = config.at("process", "terminal")
    if terminal.flag() and detached and not console_socket:
        raise RuntimeFailure(
            "cannot allocate tty if ociruntime will detach without setting console socket",
            pointer=terminal.pointer,
        )
    if console_socket and not (terminal.flag() and detached):
        raise RuntimeFailure("cannot use console socket if ociruntime will not detach or allocate tty")


def plan_connect(console_socket: str, pidfd_socket: str) -> Iterator[HostStep]:
    """Before there is a process: connect, which fails if no one is listening."""
    if console_socket:
        yield HostStep("connect_console_socket", {"path": console_socket}, text=console_socket)
    if pidfd_socket:
        yield HostStep("connect_pidfd_socket", {"path": pidfd_socket}, text=pidfd_socket)


def plan_terminal(process: Node) -> Iterator[InitStep]:
    """For a session leader whose root has a devpts at /dev/pts: a terminal with the size and user of `process`.

    As with runc the size counts only if both height and width are given, and the user gets the terminal unless its
    devpts is not the container's own (EPERM).
    """
    terminal, size = process.at("terminal"), process.at("consoleSize")
    if not terminal.flag():
        return
    height, width = size.at("height").number(), size.at("width").number()
    rows, columns = (height, width) if height and width else (0, 0)
    text = f"of /dev/pts, {rows} rows of {columns} columns" if rows else "of /dev/pts"
    yield InitStep("terminal", rows, columns, name="open terminal", pointer=terminal.pointer, text=text)
    uid = process.at("user", "uid").number()
    yield InitStep(
        "terminal_owner",
        uid,
        name="give terminal",
        pointer=process.at("user", "uid").pointer,
        text=f"to uid {uid}",
        ignore=EPERM,
    )


def plan_device(process: Node) -> Iterator[InitStep]:
    """R113: /dev/console is the terminal. In a /dev that is the host's it is not made (ENOENT), only covered."""
    terminal = process.at("terminal")
    if not terminal.flag():
        return
    yield InitStep(
        "console",
        "/dev/console",
        name="bind terminal",
        pointer=terminal.pointer,
        text="on /dev/console",
        ignore=ENOENT,
    )


def plan_send(config: Node, console_socket: str, pidfd_socket: str) -> Iterator[HostStep]:
    """Once the environment is complete, and before anything reports that."""
    if console_socket:
        pointer = config.at("process", "terminal").pointer
        yield HostStep("send_terminal", {}, pointer=pointer, text="to the console socket")
    if pidfd_socket:
        yield HostStep("send_pidfd", {}, text="of init to the pidfd socket")


def apply(step: HostStep, context: Context) -> None:
    """Connect to a socket, or send over it; OSError if no one is listening."""
    if step.op == "connect_console_socket":
        context.slots[_CONSOLE_SOCKET] = connect(str(step.args["path"]))
    elif step.op == "connect_pidfd_socket":
        context.slots[_PIDFD_SOCKET] = connect(str(step.args["path"]))
    elif step.op == "send_terminal":
        send(context.slots[_CONSOLE_SOCKET], TERMINAL_NAME, context.terminal)
    else:
        with Descriptors() as opened:
            opened["init"] = os.pidfd_open(context.pid)
            send(context.slots[_PIDFD_SOCKET], PIDFD_NAME, opened["init"])


def connect(path: str) -> int:
    """Descriptor of a connection to a listening stream socket, whose path may be longer than an address (unix(7)).

    Raises OSError with the path.
    """
    wanted = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        with Descriptors() as opened:
            opened["place"] = os.open(path, os.O_PATH | os.O_CLOEXEC)
            wanted.connect(f"/proc/self/fd/{opened['place']}")
        return wanted.detach()
    except OSError as failure:
        wanted.close()
        raise OSError(failure.errno, failure.strerror, path) from None


def send(connection: int, name: str, descriptor: int) -> None:
    """Send one message as runc does: the name, with the descriptor attached. Raises OSError."""
    plug = _socket.socket(fileno=connection)
    try:
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, "little"))
        plug.sendmsg([name.encode()], [rights], _socket.MSG_NOSIGNAL)
    finally:
        plug.detach()  # the connection is the caller's: it stays open
