# SPDX-License-Identifier: Apache-2.0
"""How is a process made from the sealed executable, and how do the two sides talk?

        runtime                                   ociruntime-init
           |  clone3 + execveat(sealed memfd)            |
           |-------------------------------------------->|  maps the plan, obeys it
           |<----------- {sync, forked, pid} ------------|  only a helper that joined namespaces
           |<----------- {sync, terminal}, master -------|  only if the program gets a terminal
           |<----------- {sync, POINT} ------------------|  waits
           |------------ 'c' --------------------------->|  goes on
           |<----------- {error, op, index, errno, ...} -|  and ends
           |              end of the connection          |  execve worked (phase "executing")

init's own pair of a SOCK_SEQPACKET socket carries it; the page(s) `progress` hold the same
for later readers. This module must not import a subject, the state directory or a verb.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select
import struct
from _signal import SIGKILL, pidfd_send_signal

from ociruntime.descriptors import Descriptors
from ociruntime.errors import InitLost, RuntimeFailure
from ociruntime.native._shim import ffi, lib
from ociruntime.native.encode import word
from ociruntime.progress import (
    EXECUTING,
    MESSAGE_ERROR,
    MESSAGE_LAYOUT,
    MESSAGE_SYNC,
    SYNC_FORKED,
    SYNC_LISTENER,
    SYNC_TERMINAL,
    forked_in,
    phase_in,
    progress_size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MESSAGE = struct.Struct(MESSAGE_LAYOUT)

_EXECUTABLE = os.path.join(os.path.dirname(__file__), "ociruntime-init")
# Its content, where it is a part of the program (cli/snapshot/boot.py): no file has to be found then.
_content: bytes | None = None
_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_EXEC = 1, 2, 0x10
_F_ADD_SEALS = 1033
_ALL_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # seal, shrink, grow, write

_NOTHING: tuple[bytes, list[tuple[int, int, bytes]], int, object] = (b"", [], 0, None)  # as of recvmsg

_sealed: dict[str, Descriptors] = {}  # the path of the executable -> "copy" of it; forks inherit it


class ChildFailed(RuntimeFailure):
    """A record of init's plan failed. `index` is the step's number, `detail` the part that failed."""

    def __init__(self, index: int, op: str, number: int, detail: str, log: str) -> None:
        super().__init__(log or detail, step=op, errno=number)
        self.index = index
        self.op = op
        self.detail = detail
        self.log = log


def sealed_executable() -> int:
    """Descriptor of a sealed memory file with ociruntime-init's content; made once per process.

    What runs inside a container must never be a file of the host that it could write to
    (CVE-2019-5736).
    """
    found = _sealed.get(_EXECUTABLE)
    if found is not None:
        return found["copy"]
    opened = Descriptors()
    if _content is None:
        try:
            opened["source"] = os.open(_EXECUTABLE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as failure:
            reason = (
                f"{_EXECUTABLE}: {os.strerror(failure.errno or 0).lower()}: the installation is incomplete"
            )
            raise RuntimeFailure(reason, hint="pip install compiles it") from None
    _make_copy(opened)
    if "source" in opened:
        os.close(opened.pop("source"))
    return _sealed.setdefault(_EXECUTABLE, opened)[
        "copy"
    ]  # threads may have made one each: the first one is kept


def _make_copy(opened: Descriptors) -> None:
    """Open the executable's copy as "copy"."""
    flags = _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    try:
        opened["copy"] = os.memfd_create("ociruntime-init", flags | _MFD_EXEC)
    except OSError as failure:
        if failure.errno == errno.EACCES:
            _copy_in_tmpfs(opened)
            return
        if failure.errno != errno.EINVAL:
            raise
        opened["copy"] = os.memfd_create(
            "ociruntime-init", flags
        )  # before Linux 6.3 all of them are executable
    _copy_whole(opened, opened["copy"])
    fcntl.fcntl(opened["copy"], _F_ADD_SEALS, _ALL_SEALS)


def _copy_in_tmpfs(opened: Descriptors) -> None:
    """Where no memory file may be executed (vm.memfd_noexec=2): a file of a read-only tmpfs that is attached nowhere.

    Never a bind of the host's own file: a bind's read-only flag has been cleared through /proc/self/exe in the past.
    """
    from ociruntime.linux.uapi import AT_EMPTY_PATH, MOUNT_ATTR_RDONLY

    with Descriptors() as made:
        made["directory"] = directory = lib.shim_detached_tmpfs()
        if directory < 0:
            made.clear()
            raise OSError(-directory, os.strerror(-directory), "tmpfs for ociruntime-init")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        made["file"] = os.open("init", flags, 0o500, dir_fd=directory)
        _copy_whole(opened, made["file"])
        os.close(made.pop("file"))  # what is open for writing can't be made read-only
        failed = lib.shim_mount_setattr(directory, b"", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0, -1)
        if failed < 0:
            raise OSError(-failed, os.strerror(-failed), "tmpfs for ociruntime-init")
        opened["copy"] = os.open("init", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)


def _copy_whole(opened: Descriptors, target: int) -> None:
    """By the kernel, if there is a file."""
    if _content is not None:
        _write_whole(target, _content)
        return
    source = opened["source"]
    size = os.fstat(source).st_size
    if os.sendfile(target, source, 0, size) != size:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))  # RLIMIT_FSIZE applies to memory files too


def _write_whole(descriptor: int, content: bytes) -> None:
    """RLIMIT_FSIZE applies to memory files too, and a part of a program or of a plan is worse than none."""
    if os.write(descriptor, content) != len(content):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


class Child:
    """A process that obeys a plan, and the runtime's end of the handshake with it.

    Until `let_go` the process ends with this object, whatever exception comes.

    pid    the process that becomes the program, in the runtime's pid namespace; 0 until it is known
    helper the process that makes it, while there is one
    opened  its descriptors: "first" and "init", pidfds; "progress"; "terminal" once it has come, until it is taken
    listener  number that the notify descriptor of its filter has in the process; -1 until SYNC_LISTENER
    """

    _ready = False  # there is something to close

    def __init__(
        self,
        buffer: bytes,
        *,
        records: int,
        fd_base: int = 3,
        slots: Sequence[int] = (),
        clone_flags: int = 0,
        cgroup: int = -1,
        stdio: tuple[int, int, int] = (-1, -1, -1),
        progress: int = -1,
        start: int = -1,
        forks: bool = False,
    ) -> None:
        """Clone it.

        cgroup    descriptor of a cgroup v2 directory in which it is born, or -1
        progress  descriptor of the progress pages, or -1 for private ones
        start     the listening start socket, or -1 if the plan has none
        forks     the plan has op `fork`: the first process is a helper that makes the real one
        Raises OSError if the kernel refuses the clone.
        """
        self.pid = 0
        self.listener = -1
        self._forks = forks
        self._forked = False  # the helper is gone
        self._let_go: dict[str, bool] = {}
        self._owner = os.getpid()
        self._received = _NOTHING
        self._spawned = ffi.new("struct shim_spawn *", {"pidfd": -1})
        self.opened = Descriptors()
        self.socket, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._ready = True
        try:
            with Descriptors() as passed:
                passed["plan"] = os.memfd_create("plan", _MFD_CLOEXEC)
                _write_whole(passed["plan"], buffer)
                if progress >= 0:
                    self.opened["progress"] = os.dup(progress)
                else:
                    self.opened["progress"] = os.memfd_create("progress", _MFD_CLOEXEC)
                    _write_whole(self.progress, bytes(progress_size(records)))
                passed["runtime"] = os.pidfd_open(os.getpid())
                last = start if start >= 0 else passed["plan"]
                fixed = [passed["plan"], far.fileno(), self.progress, passed["runtime"], last]
                self._clone([*fixed, *slots], fd_base=fd_base, flags=clone_flags, cgroup=cgroup, stdio=stdio)
        except BaseException:
            self.close()  # at once: the exception's traceback keeps this object alive
            raise
        finally:
            far.close()

    def _clone(
        self, fds: list[int], *, fd_base: int, flags: int, cgroup: int, stdio: tuple[int, int, int]
    ) -> None:
        numbers = ffi.new("int[]", fds)
        spawn = self._spawned
        spawn.clone_flags = flags
        spawn.cgroup_fd = cgroup
        spawn.exe_fd = sealed_executable()
        spawn.stdio = list(stdio)
        spawn.fd_base = fd_base
        spawn.fd_count = len(fds)
        spawn.fds = numbers
        done = lib.shim_spawn(spawn)
        if done < 0:
            raise OSError(-done, os.strerror(-done))
        self._own_first()
        if not self._forks:
            self.pid = spawn.pid

    def __del__(self) -> None:
        if self._ready:
            self.close()

    @property
    def helper(self) -> int:
        """Process id of the helper; 0 if there is none, or none any more."""
        return self._spawned.pid if self._forks and not self._forked else 0

    def pids(self) -> list[int]:
        """Process ids of the helper and of what it has made, as far as there are such processes."""
        return [pid for pid in (self.helper, self.pid or self._forked_pid()) if pid]

    @property
    def pidfd(self) -> int:
        """Of the helper until init is known, then of init; -1 if there is neither."""
        return self.opened.get("init", self.opened.get("first", -1))

    @property
    def progress(self) -> int:
        """Descriptor of the progress pages, or -1."""
        return self.opened.get("progress", -1)

    @property
    def terminal(self) -> int:
        """Master of the program's terminal, or -1."""
        return self.opened.get("terminal", -1)

    def wait_for(self, point: int) -> None:
        """Wait until init has come to a sync point and its pid is known.

        Raises ChildFailed if a record failed, InitLost if init ended without a word.
        """
        arrived = False
        while not arrived or self.helper:
            message = self.receive()
            if message is None:
                raise self._lost()
            arrived = arrived or message == (MESSAGE_SYNC, point)

    def wait_end(self) -> None:
        """Wait until the process has become its program.

        Raises ChildFailed if a record failed, InitLost if it ended before: kill -9 looks like success, except for
        the phase that is recorded.
        """
        while self.receive() is not None:
            continue
        if not self.has_begun():
            raise self._lost()

    def receive(self) -> tuple[int, int] | None:
        """The next message as (kind, op); None at the end of the connection or of the process.

        Raises ChildFailed if it reports a failure.
        """
        if not self._read():
            return None
        kind, op, _, _, _, _ = MESSAGE.unpack(self._received[0])
        if kind == MESSAGE_ERROR:
            failure = failure_of(self._received[0], self._take_log())
            self._hear_of_init()
            raise failure
        self._note()
        return kind, op

    def _read(self) -> bool:
        """Wait for a message and keep it in `_received`; false if no further one comes."""
        poll = select.poll()
        poll.register(self.socket.fileno(), select.POLLIN)
        poll.register(self.pidfd, select.POLLIN)
        poll.poll()
        try:
            self._received = self.socket.recvmsg(
                MESSAGE.size, _socket.CMSG_SPACE(4), _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False  # the process has ended, and everything that it sent has been read
        except ConnectionResetError:
            return False
        return bool(self._received[0])

    def _note(self) -> None:
        """Take what the last message brings: a pid, or a descriptor. May be called again."""
        data, ancillary, _, _ = self._received
        if not data:
            return
        kind, op, _, _, _, pid = MESSAGE.unpack(data)
        if kind != MESSAGE_SYNC:
            return
        if op == SYNC_FORKED and not self._forked:
            self._adopt(pid)
        elif op == SYNC_TERMINAL:
            master = next(_descriptors(ancillary), -1)
            if master < 0:
                raise RuntimeFailure("receive the terminal", errno=errno.EMFILE)
            self.opened["terminal"], self._received = master, _NOTHING
        elif op == SYNC_LISTENER:
            self.listener = pid

    def _take_log(self) -> str:
        """What the file system has written to the log that came with a failure."""
        with Descriptors() as log:
            for number in _descriptors(self._received[1]):
                log["log"], self._received = number, _NOTHING
                return read_log(number)
        return ""

    def _hear_of_init(self) -> None:
        """If a helper has made a process, its pid: the helper's message may come after the failure of that process.

        Or never, if the helper was killed in between: then the progress page has it. Without the pid it can't be reaped, and
        a zombie keeps its pid namespace, and so init, from ending.
        """
        self._note()
        while self.helper and self._read():
            self._note()
        if self.helper and self._forked_pid():
            self._adopt(self._forked_pid())

    def _forked_pid(self) -> int:
        return forked_in(os.pread(self.progress, 4, 0))

    def _adopt(self, pid: int) -> None:
        """The helper has made init and ends; init is a child of this process (CLONE_PARENT)."""
        self.pid = pid
        if "init" not in self.opened:
            self.opened["init"] = os.pidfd_open(pid)
        self._reap(self._spawned.pid)
        self._forked = True

    def has_begun(self) -> bool:
        """True once the process is about to be its program, or is it, by the progress pages."""
        return phase_in(os.pread(self.progress, 8, 0)) >= EXECUTING

    def reply(self, word_to_init: bytes) -> None:
        """Let init go on (CONTINUE); a lost init is noticed by the next wait."""
        try:
            self.socket.send(word_to_init, _socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            return

    def kill(self) -> None:
        """End init (and with it its pid namespace) and reap it; the helper, too, if there is one."""
        self._own_first()
        if "first" not in self.opened:
            return  # nothing was cloned
        self._end("first", self._spawned.pid)
        if self._forks:
            self._hear_of_init()
        if "init" in self.opened:
            self._end("init", self.pid)

    def _own_first(self) -> None:
        """What shim_spawn has opened belongs to this object."""
        if self._spawned.pidfd >= 0:
            self.opened["first"], self._spawned.pidfd = self._spawned.pidfd, -1

    def _end(self, name: str, pid: int) -> None:
        try:
            pidfd_send_signal(self.opened[name], SIGKILL)
        except ProcessLookupError:
            return  # it has been reaped
        self._reap(pid)

    @staticmethod
    def _reap(pid: int) -> None:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            return  # the application has reaped it

    def _lost(self) -> InitLost:
        """Reap init, by force if its connection has ended but it has not, and say how it ended."""
        fate = "for an unknown reason"
        try:
            done, status = os.waitpid(self.pid or self.helper, os.WNOHANG)
            if done == 0:
                pidfd_send_signal(self.pidfd, SIGKILL)
                _, status = os.waitpid(self.pid or self.helper, 0)
            fate = describe_status(status)
        except ChildProcessError:
            fate = "its exit status has already been collected"
        killed = fate == "killed by signal 9"
        hint = "the memory limit may be too low for it, see the kernel log" if killed else ""
        lost = InitLost(f"init ended before it was ready: {fate}", hint=hint)
        lost.killed = killed
        return lost

    def let_go(self) -> bool:
        """The process lives on without this object. One line, and True, so that nothing comes between it and a return."""
        return self._let_go.setdefault("by its caller", True)

    def close(self) -> None:
        """Close the descriptors, and end the process unless it was let go. May be called again."""
        if (
            not self._let_go and self._owner == os.getpid()
        ):  # a fork of this process has a copy of this object
            self.kill()
        self.socket.close()
        self._take_log()
        self.opened.close()


def descriptor_of(pidfd: int, number: int) -> int:
    """A copy of another process's descriptor. pidfd_getfd(2)

    Raises OSError.
    """
    copy = lib.shim_pidfd_getfd(pidfd, number)
    if copy < 0:
        raise OSError(-copy, os.strerror(-copy))
    return copy


def failure_of(data: bytes, log: str = "") -> ChildFailed:
    """The error that a message (or the progress pages) of init holds."""
    _, op, index, number, detail, _ = MESSAGE.unpack(data)
    return ChildFailed(index, word(lib.TABLE_OPS, op), number, word(lib.TABLE_DETAILS, detail), log)


def describe_status(status: int) -> str:
    """A wait status in words: "exit status 3", "killed by signal 9"."""
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return f"exit status {os.WEXITSTATUS(status)}"


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> Iterator[int]:
    """The descriptor that came with a message, if one did (unix(7)); there is room for one."""
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            yield int.from_bytes(data[:4], "little")


def read_log(descriptor: int) -> str:
    """What a file system wrote to its log before fsconfig or fsmount failed (fsopen(2)).

    The messages are lines such as "e tmpfs: Bad value for 'size'"; only errors are kept.
    """
    lines: list[str] = []
    try:
        while True:
            lines.append(os.read(descriptor, 1024).decode("utf-8", "replace").strip())
    except OSError as end:
        if end.errno != errno.ENODATA:  # ENODATA: no further message
            lines.append(f"e (its log can't be read: {end.strerror})")
    return "; ".join(line[2:] for line in lines if line.startswith("e "))
