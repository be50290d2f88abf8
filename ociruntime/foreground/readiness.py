# SPDX-License-Identifier: Apache-2.0
"""How does a service manager hear that a container's program is ready? (sd_notify(3), $NOTIFY_SOCKET)

The manager's socket stays outside the container. The program gets one of ours, at /run/notify, and of what it says
only this is forwarded, as with runc:

    program                     runtime                                      service manager
      READY=1  ---------------->  READY=1, MAINPID=(see below) -------------->
                                  BARRIER=1 with a pipe's end --------------->  closes it: all of that was read

MAINPID is the container's init, or the runtime's own process where that waits for it (run in the foreground).
This module must not import a verb, nor a subject.
"""

from __future__ import annotations

import _socket
import os
import select

from ociruntime.bundle import Bundle
from ociruntime.errors import RuntimeFailure
from ociruntime.identity import open_process
from ociruntime.jsontext import compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.container import Container
    from ociruntime.launch.context import Context
    from ociruntime.step import HostStep

INSIDE = "/run/notify"  # where the directory with the socket is mounted
_NAME = "notify.sock"
_LONGEST = 4096  # bytes of a message, as in runc
_PATIENCE = 30_000  # milliseconds for the manager to answer the barrier


def with_notify_socket(bundle: Bundle, directory: str) -> Bundle:
    """The bundle with what the program needs added to its config: a mount of `directory`, and the variable.

    As runc does it; the config that is kept with the container is this one.
    """
    config = bundle.config.value
    assert isinstance(config, dict)
    if not isinstance(config.get("process"), dict) or not isinstance(config.get("mounts", []), list):
        return bundle  # check() says what is wrong with it
    mount = {
        "destination": INSIDE,
        "type": "bind",
        "source": directory,
        "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
    }
    process = config["process"]
    env = process.get("env") or []
    if not isinstance(env, list):
        return bundle
    changed = {
        **config,
        "mounts": [*(config.get("mounts") or []), mount],
        "process": {**process, "env": [*env, f"NOTIFY_SOCKET={INSIDE}/{_NAME}"]},
    }
    return Bundle(bundle.directory, bundle.config_path, compact(changed).encode())


def apply(step: HostStep, context: Context) -> None:  # noqa: ARG001 - the signature of every subject
    """Make the directory. Raises OSError."""
    os.mkdir(str(step.args["path"]), 0o755)


def undo(_op: str, args: dict[str, object], context: Context) -> None:  # noqa: ARG001
    """Remove the directory with the socket, and anything else that is in it."""
    from ociruntime.removal import remove_tree

    try:
        remove_tree(str(args["path"]))
    except FileNotFoundError:
        return


class Proxy:
    """The program's socket, and what forwards from there to the service manager's.

    directory   where the socket is made; as Options.notify
    manager     $NOTIFY_SOCKET of the caller: a path, or @ and an abstract name
    """

    def __init__(self, directory: str, manager: str) -> None:
        """Make the socket. Raises OSError."""
        self.manager = f"\0{manager[1:]}" if manager.startswith("@") else manager
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        path = f"/proc/self/fd/{place}/{_NAME}"  # the real path may be too long for a socket
        try:
            if os.path.lexists(path):
                os.unlink(path)  # left over from a start that was killed
            self.socket.bind(path)
            os.chmod(path, 0o777)
        except BaseException:
            self.socket.close()
            raise
        finally:
            os.close(place)

    def close(self) -> None:
        """Stop listening."""
        self.socket.close()

    def serve(self, init: int, main: int, warn: Callable[[str], None]) -> None:
        """Wait until the program is ready, or init has ended, and forward the notification.

        init   process id of the container's init
        main   what the manager is told is the service's main process
        warn   is called if the manager can't be reached, or does not answer
        """
        try:
            pidfd = open_process(init)
        except ProcessLookupError:
            pidfd = -1
        try:
            line = self._ready(pidfd)
        finally:
            if pidfd >= 0:
                os.close(pidfd)
        if not line:
            return
        try:
            self._tell(line, main, warn)
        except OSError as failure:
            warn(f"NOTIFY_SOCKET: {os.strerror(failure.errno or 0).lower()}")

    def _ready(self, pidfd: int) -> bytes:
        """The line READY=... of the program; b"" if init ends before it comes."""
        poll = select.poll()
        poll.register(self.socket.fileno(), select.POLLIN)
        if pidfd >= 0:
            poll.register(pidfd, select.POLLIN)
        while True:
            events = dict(poll.poll(None if pidfd >= 0 else 0))
            if self.socket.fileno() not in events:
                return b""
            message = self.socket.recv(_LONGEST)
            for line in message.split(b"\n"):
                if line.startswith(b"READY="):
                    return line

    def _tell(self, line: bytes, main: int, warn: Callable[[str], None]) -> None:
        client = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            client.connect(self.manager)
            client.send(line + b"\n")
            client.send(f"MAINPID={main}\n".encode())
            rights = writing.to_bytes(4, "little")
            client.sendmsg([b"BARRIER=1"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
            os.close(writing)
            writing = -1
            poll = select.poll()
            poll.register(reading, select.POLLIN)
            if not poll.poll(_PATIENCE):
                warn("NOTIFY_SOCKET: the service manager has not answered for 30 s")
        finally:
            client.close()
            for descriptor in (reading, writing):
                if descriptor >= 0:
                    os.close(descriptor)


class News:
    """A Proxy for one container, from before its program runs."""

    def __init__(self, container: Container, manager: str, main: int, warn: Callable[[str], None]) -> None:
        """Make the socket. Raises RuntimeFailure."""
        self.init = container.pid
        self.main = main
        self.warn = warn
        try:
            self.proxy = Proxy(container.notify_directory(), manager)
        except OSError as failure:
            raise RuntimeFailure("notify socket", errno=failure.errno or 0) from None
        self._finished: Callable[[], None] | None = None

    def pass_on(self, wait: bool) -> None:
        """Forward the notification; now, or in a thread beside what the caller does until `finish`."""
        if wait:
            try:
                self.proxy.serve(self.init, self.main, self.warn)
            finally:
                self.proxy.close()
            return
        # Not by the module threading, which remembers at import which thread is the main one: a snapshot can't have it.
        from _thread import allocate_lock, start_new_thread

        running = allocate_lock()
        running.acquire()

        def serve() -> None:
            try:
                self.proxy.serve(self.init, self.main, self.warn)
            finally:
                running.release()

        def join() -> None:
            with running:
                pass

        start_new_thread(serve, ())
        self._finished = join

    def finish(self) -> None:
        """After the end of init: what the program has said is forwarded, and the socket closed."""
        if self._finished is not None:
            self._finished()
        self.proxy.close()
