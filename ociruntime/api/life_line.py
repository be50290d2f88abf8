# SPDX-License-Identifier: Apache-2.0
"""How do containers end with the process that has made them, also after kill -9?

The kernel has nothing that a container could not undo: PR_SET_PDEATHSIG is the program's own, and follows a thread. So a small
process watches its maker by a pidfd. It knows the roots below which the maker has containers, and each container's state.json
says who has made it: when the maker has ended, its containers there are deleted, and creates that it did not finish are undone.
"""

from __future__ import annotations

import _signal
import _socket
import _thread
import os
import select
import sys

from ociruntime.container import Container
from ociruntime.descriptors import Descriptors
from ociruntime.errors import NoSuchContainer, RuntimeFailure
from ociruntime.host_path import absolute
from ociruntime.identity import start_time_of
from ociruntime.statedir import StateDir
from ociruntime.stateroot import names

_PROGRAM = "import sys; sys.path[:] = sys.argv[2].split(':'); from ociruntime.api.life_line import watch; watch(sys.argv[1])"
_MAKER, _ROOTS = 3, 4  # descriptors of the watcher
_ABOVE = 10  # so that neither is in the way of the other
_PATIENCE = 10.0  # seconds for an interpreter to start
_LONGEST = 4096  # bytes of a root's path

_lock = _thread.allocate_lock()
_watchers: dict[int, _Watcher] = {}  # by the process that it watches: a fork has one of its own


def tie(root: str) -> str:
    """Have this process watched; the name by which the records of its containers below `root` know it.

    Raises RuntimeFailure if the watcher can't be started.
    """
    maker = f"{os.getpid()}:{start_time_of(os.getpid())}"
    root = absolute(root)
    with _lock:
        watcher = _watchers.get(os.getpid())
        if watcher is None or not watcher.knows(root):
            roots = {root} if watcher is None else watcher.roots | {root}
            _watchers[os.getpid()] = watcher = _Watcher(maker)
            for one in roots:
                if not watcher.knows(one):
                    raise RuntimeFailure("the watching process has ended", step="begin life line")
    return maker


class _Watcher:
    """The maker's end of the connection to the process that watches it."""

    def __init__(self, maker: str) -> None:
        self.roots: set[str] = set()
        self._socket, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._socket.settimeout(_PATIENCE)
        self.pid = 0
        try:
            try:
                self.pid = _spawn(maker, far.fileno())
            finally:
                far.close()
            if not self._receive_hello():
                raise RuntimeFailure(f"{sys.executable} does not start", step="begin life line")
        except BaseException:
            self._kill()
            self.forget()
            raise

    def _kill(self) -> None:
        if self.pid:
            try:
                os.kill(self.pid, _signal.SIGKILL)
            except ProcessLookupError:
                return  # it has ended, and been collected, as below

    def knows(self, root: str) -> bool:
        """Tell it of a root; False if it has ended."""
        try:
            self._socket.send(os.fsencode(root))
        except (BrokenPipeError, ConnectionResetError):
            self.forget()
            return False
        self.roots.add(root)
        return True

    def forget(self) -> None:
        """It has ended, or is about to: reap it."""
        self._socket.close()
        if self.pid:
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:
                return  # os.wait() has collected it, or the kernel has, for a maker that ignores SIGCHLD

    def _receive_hello(self) -> bool:
        try:
            return bool(self._socket.recv(1))
        except (TimeoutError, ConnectionResetError):
            return False


def _spawn(maker: str, far: int) -> int:
    """Start the watcher as a program: a fork would copy the maker's memory and locks."""
    import fcntl

    path = ":".join(absolute(one) for one in sys.path)
    with Descriptors() as opened:
        opened["pidfd"] = os.pidfd_open(os.getpid())
        for name, number in (("maker", opened["pidfd"]), ("roots", far)):
            opened[name] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
        actions = [
            (os.POSIX_SPAWN_DUP2, opened["maker"], _MAKER),
            (os.POSIX_SPAWN_DUP2, opened["roots"], _ROOTS),
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        ]
        words = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROGRAM, maker, path]
        try:
            return os.posix_spawn(sys.executable, words, os.environ, file_actions=actions, setsigmask=())
        except OSError as failure:
            raise RuntimeFailure(
                sys.executable or "sys.executable is empty", step="begin life line", errno=failure.errno or 0
            ) from None


def watch(maker: str) -> None:
    """The watcher: wait for the maker's end, and then remove what it has made. Ends with that."""
    os.setsid()  # what is typed at the maker's terminal is not meant for it
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT):
        _signal.signal(number, _signal.SIG_IGN)  # it ends after the maker, never before
    os.closerange(_ROOTS + 1, os.sysconf("SC_OPEN_MAX"))
    roots = _socket.socket(fileno=_ROOTS)
    roots.send(b"h")
    poll = select.poll()
    poll.register(_MAKER, select.POLLIN)
    poll.register(_ROOTS, select.POLLIN)
    known: dict[str, None] = {}
    ended = False
    while not ended:
        ready = [descriptor for descriptor, _ in poll.poll()]
        ended = _MAKER in ready
        if _ROOTS in ready and not _take(roots, known):
            poll.unregister(_ROOTS)  # the maker has executed another program, and is still the same process
    for root in known:
        _clear(root, maker)


def _take(roots: _socket.socket, known: dict[str, None]) -> bool:
    """Note all roots of which the maker has told; False at the end of the connection."""
    while True:
        try:
            root = roots.recv(_LONGEST, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        if not root:
            return False
        known[os.fsdecode(root)] = None


def _clear(root: str, maker: str) -> None:
    """Delete what the maker has left below a root."""
    try:
        found = names(root)
    except RuntimeFailure as failure:
        _complain(root, failure)
        return
    for name in found:
        try:
            for warning in _delete(root, name, maker):
                _complain(f"{root}/{name}", f"warning: {warning}")
        except NoSuchContainer:
            continue  # someone else has just deleted it
        except (RuntimeFailure, OSError) as failure:
            _complain(f"{root}/{name}", failure)


def _delete(root: str, name: str, maker: str) -> list[str]:
    """Delete a container if it is the maker's, or half made and nobody's. Returns warnings."""
    from ociruntime.operations.delete import delete
    from ociruntime.operations.recover import finish

    directory = StateDir.within(root, name)
    if not directory.has("state.json"):
        return finish(directory) or []  # as gc, and not by force: another process may be making it just now
    if Container.of(directory).record.options.get("maker") == maker:
        return delete(root, name, True)
    return []


def _complain(what: str, words: object) -> None:
    """On the maker's stderr, which is this process's, too."""
    os.write(2, f"ociruntime: life line: {what}: {words}\n".encode("utf-8", "replace"))
