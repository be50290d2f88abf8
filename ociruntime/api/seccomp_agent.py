# SPDX-License-Identifier: Apache-2.0
"""Which system calls does a Python function answer, in place of the kernel? seccomp_unotify(2), config-linux.md, "Seccomp".

The agent listens at a socket of its own, at which the runtime (create, start and exec, of any process of this user) leaves the
filter's descriptor. One thread serves all of them: it sleeps in poll(2) until a program makes such a call, which then waits for
the answer.
"""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import select
import socket
import struct
import tempfile
import threading
import time

from ociruntime.descriptors import Descriptors
from ociruntime.errors import RuntimeFailure, UsageError
from ociruntime.linux.seccomp_compiler import load_library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    Handler = Callable[["Notification"], "Answer"]

# linux/seccomp.h
_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102
_NOTIFICATION = struct.Struct(
    "=QIIiIQ6Q"
)  # id, pid, flags; number, architecture, instruction pointer, arguments
_RESPONSE = struct.Struct("=QqiI")  # id, value, error, flags
_CONTINUE = 1
_X86_64, _X32, _X32_BIT = 0xC000003E, 0x4000003E, 0x40000000

_LONGEST_TEXT = 4096  # PATH_MAX
_PAGE = 4096
_PAUSE = 0.1  # seconds until the next try, if there is no room for a descriptor
_PATIENCE = 10.0  # seconds for the runtime's message, once it has connected


class Answer:
    """What a call returns, or that the kernel carries it out; made by the methods of Notification."""

    __slots__ = ("error", "flags", "value")

    def __init__(self, value: int = 0, error: int = 0, flags: int = 0) -> None:
        self.value = value
        self.error = error
        self.flags = flags


class MemoryUnreadable(RuntimeFailure):
    """The caller's memory can't be read. If a handler lets it pass, the call fails with `errno`, as the kernel's would."""


class Notification:
    """A system call in which a process of a container waits.

    name       "mkdirat"; one that is not among the agent's calls has its number: "83"
    number, architecture   as the kernel has them (AUDIT_ARCH_*)
    args       six integers; a pointer is an address in the memory of the process
    pid        the thread that waits, in this process's pid namespace; 0 if it is not visible there
    container  the container's id
    """

    __slots__ = ("_listener", "architecture", "args", "container", "id", "name", "number", "pid")

    def __init__(self, listener: int, data: bytes, container: str) -> None:
        self._listener = listener
        self.id, self.pid, _, self.number, self.architecture, _, *args = _NOTIFICATION.unpack(data)
        self.args: list[int] = args
        self.container = container
        self.name = str(self.number)

    def __repr__(self) -> str:
        arguments = ", ".join(map(hex, self.args))
        return f"<{self.name}({arguments}) of process {self.pid} in {self.container}>"

    @staticmethod
    def value(value: int = 0) -> Answer:
        """The call returns this, a signed number of 64 bits, and the kernel does nothing. Raises UsageError for another."""
        if not -(1 << 63) <= value < 1 << 63:
            raise UsageError(f"value: a signed number of 64 bits is wanted, not {value!r}")
        return Answer(value)

    @staticmethod
    def error(number: int) -> Answer:
        """The call fails with this errno (1 to 4095). Raises UsageError for another number: it would be no error."""
        if not 0 < number < 4096:
            raise UsageError(f"error: an errno from 1 to 4095 is wanted, not {number!r}")
        return Answer(error=-number)

    @staticmethod
    def go_on() -> Answer:
        """The kernel carries the call out, as if there were no filter, with the memory as it is THEN: see docs/library.md."""
        return Answer(flags=_CONTINUE)

    def is_waiting(self) -> bool:
        """True if the process still waits in this call; else `pid` may be another process by now."""
        if self._listener < 0:
            return False
        try:
            fcntl.ioctl(self._listener, _IS_VALID, self.id.to_bytes(8, "little"))
        except OSError as failure:
            if failure.errno == errno.ENOENT:
                return False
            raise
        return True

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of the memory of the process, certainly of that process.

        Raises MemoryUnreadable if not all of it is there (EFAULT), or the process no longer waits (ESRCH).
        """
        with Descriptors() as opened:
            try:
                opened["memory"] = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
                self._require_waiting()  # what has been opened is its memory, and not that of one with the same number
                data = os.pread(opened["memory"], size, address)
            except (OSError, OverflowError) as failure:
                number = getattr(failure, "errno", 0)
                gone = number in (errno.ENOENT, errno.ESRCH)
                raise self._unreadable(address, errno.ESRCH if gone else errno.EFAULT) from None
        self._require_waiting()  # a signal may have ended the call meanwhile: what was read could be of any moment
        if len(data) < size:
            raise self._unreadable(address, errno.EFAULT)
        return data

    def text(self, address: int) -> str:
        """The string there, such as a path. Raises as `read`, and ENAMETOOLONG if it has more than 4095 bytes."""
        data = b""
        while len(data) < _LONGEST_TEXT:
            here = address + len(data)
            data += self.read(here, _PAGE - here % _PAGE)  # the next page may not be there
            if b"\0" in data[:_LONGEST_TEXT]:
                return os.fsdecode(data.partition(b"\0")[0])
        raise self._unreadable(address, errno.ENAMETOOLONG)

    def forget(self) -> None:
        """It has been answered: whoever keeps this object can't read memory by it any more."""
        self._listener = -1

    def _require_waiting(self) -> None:
        if not self.is_waiting():
            raise self._unreadable(0, errno.ESRCH)

    def _unreadable(self, address: int, number: int) -> MemoryUnreadable:
        return MemoryUnreadable(f"{self.name} of process {self.pid}: memory at {address:#x}", errno=number)


class SeccompAgent:
    """Answers system calls by a function: `make_config(..., notify=agent)`, or linux.seccomp.listenerPath is its `path`.

    with SeccompAgent(handler, ["mkdir", "mkdirat"]) as agent:

    handler  is given each Notification, in the agent's thread, and returns an Answer. While it works, the others wait
    calls    the names of the system calls that it is asked about
    path     of the socket
    If the handler raises an exception, or returns something else, the call fails with EPERM, and the end of `with` raises the
    first such exception. After that the calls of programs that still run fail with ENOSYS.
    Raises UsageError for a name that libseccomp doesn't know, StepFailed without libseccomp.
    """

    def __init__(self, handler: Handler, calls: Sequence[str]) -> None:
        if isinstance(calls, str):
            raise UsageError(f"calls: a list is wanted, not {calls!r}")
        self.handler = handler
        self.calls = tuple(calls)
        self.failure: Exception | None = None
        self._names: dict[int, dict[int, str]] = {}  # architecture -> number -> name
        self._library = load_library()
        for name in self.calls:
            if self._library.seccomp_syscall_resolve_name(name.encode()) == -1:
                raise UsageError(f"calls: libseccomp doesn't know {name!r}")
        self._containers: dict[int, str] = {}  # descriptor of a filter -> the container's id
        self._opened = Descriptors()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._directory = tempfile.mkdtemp(prefix="ociruntime-agent-")  # for its owner only
        self.path = f"{self._directory}/socket"
        try:
            self._opened["place"] = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._socket.bind(
                f"/proc/self/fd/{self._opened['place']}/socket"
            )  # its path may be too long for an address
            self._socket.listen(128)
            self._opened["wake"] = os.eventfd(0, os.EFD_CLOEXEC)
            self._thread = threading.Thread(target=self._serve, name="ociruntime-seccomp-agent", daemon=True)
            self._thread.start()
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> SeccompAgent:  # noqa: PYI034 - Self is in typing, which costs 6 ms
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is None and self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """End the thread and remove the socket. May be called again."""
        if "wake" in self._opened:
            os.eventfd_write(self._opened["wake"], 1)
            self._thread.join()
        self._remove()

    def _remove(self) -> None:
        self._socket.close()
        for listener in [*self._containers]:
            del self._containers[listener]
            os.close(listener)
        self._opened.close()
        if self._directory:
            if os.path.lexists(self.path):
                os.unlink(self.path)
            os.rmdir(self._directory)
            self._directory = ""

    def _serve(self) -> None:
        """The thread: nothing is done unless the kernel has something to say."""
        poll = select.poll()
        poll.register(self._opened["wake"], select.POLLIN)
        poll.register(self._socket, select.POLLIN)
        while True:
            for descriptor, events in poll.poll():
                if descriptor == self._opened["wake"]:
                    return
                if descriptor == self._socket.fileno():
                    self._accept(poll)
                elif not events & select.POLLIN or not self._answer(descriptor):
                    poll.unregister(descriptor)  # no process has this filter any more
                    del self._containers[descriptor]
                    os.close(descriptor)

    def _accept(self, poll: select.poll) -> None:
        """Take a filter's descriptor from the runtime: one message, and then the end of the connection."""
        try:
            with Descriptors() as received:
                container = self._receive(received)
                poll.register(received["filter"], select.POLLIN)
                self._containers[received.pop("filter")] = container
        except (OSError, ValueError, KeyError, TypeError) as failure:
            self.failure = (
                self.failure or failure
            )  # there is no room for a descriptor, or the runtime was killed
            time.sleep(_PAUSE)

    def _receive(self, received: Descriptors) -> str:
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(_PATIENCE)
            data = self._first_part(connection, received)
            while piece := connection.recv(65536):
                data += piece
            return str(json.loads(data)["state"]["id"])

    @staticmethod
    def _first_part(connection: socket.socket, received: Descriptors) -> bytes:
        data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received["filter"] = array.array("i", content[:4])[0]
        return data

    def _answer(self, listener: int) -> bool:
        """Serve one call; False if the filter can't be served any more."""
        data = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, data)
            notification = Notification(listener, bytes(data), self._containers[listener])
            notification.name = self._name(notification.architecture, notification.number)
            response = self._decide(notification)
            notification.forget()
            fcntl.ioctl(listener, _SEND, response)
        except OSError as failure:
            # It was killed just now, or nobody waits for this answer any more; EINTR: poll tells again.
            if failure.errno not in (errno.ENOENT, errno.EINTR, errno.EINPROGRESS):
                self.failure = self.failure or failure
                return False
        return True

    def _decide(self, notification: Notification) -> bytes:
        """The handler's answer, for the kernel; what goes wrong is a refusal, never a permission."""
        try:
            answer = self.handler(notification)
            if not isinstance(answer, Answer):
                raise UsageError(f"the handler of {notification.name} returned {answer!r}, not an Answer")
            return _packed(notification, answer)
        except MemoryUnreadable as failure:
            return _packed(notification, Notification.error(failure.errno))
        except Exception as failure:  # noqa: BLE001 - the end of `with` raises it
            self.failure = self.failure or failure
            return _packed(notification, Notification.error(errno.EPERM))

    def _name(self, architecture: int, number: int) -> str:
        if architecture == _X86_64 and number & _X32_BIT:
            architecture = _X32
        if architecture not in self._names:
            resolve = self._library.seccomp_syscall_resolve_name_arch
            self._names[architecture] = {resolve(architecture, name.encode()): name for name in self.calls}
        return self._names[architecture].get(number, str(number))


def _packed(notification: Notification, answer: Answer) -> bytes:
    return _RESPONSE.pack(notification.id, answer.value, answer.error, answer.flags)
