# SPDX-License-Identifier: Apache-2.0
"""How is systemd spoken to? By D-Bus, with a client of our own: marshalling.py, message.py, connection.py.

It is our own because a snapshot can't load libsystemd, and because the smallest library in Python, jeepney 0.9, takes 13 ms of
processor time to import, this one 0.9, and a whole create 5. systemd's own socket comes first, as for systemctl: it needs no bus
daemon, so neither a lost one nor a busy one is in the way. Else the bus: the system's for root, the user's own otherwise.
Every wait has a limit, and an error has systemd's own words.
"""

from __future__ import annotations

import errno
import os
import time

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups.systemd import message
from ociruntime.linux.cgroups.systemd.connection import Connection
from ociruntime.linux.cgroups.systemd.marshalling import Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ociruntime.linux.cgroups.systemd.message import Message

PATIENCE = 30.0  # seconds for each answer, as long as runc waits

_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER = "/org/freedesktop/systemd1"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_DAEMON = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_INVALID = "org.freedesktop.DBus.Error.InvalidArgs"
# What a bus says in a server's place: it has not answered, or is not there any more.
_UNANSWERED = ("NoReply", "Timeout", "TimedOut")
_GONE = ("Disconnected", "NameHasNoOwner", "ServiceUnknown")
_MOST_JOBS = 4096  # end while an answer is awaited; beyond, the other side is no systemd


class Refusal(Exception):
    """What systemd answered instead: the error's D-Bus name, and its own words."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name.rpartition(".")[2]
        self.words = words


def addresses(user: int, environment: dict[str, str]) -> list[tuple[str, bool]]:
    """Where the systemd of a user is reached, best first: (D-Bus address, whether a bus daemon is there).

    user         0: the machine's systemd; else that user's own
    environment  $XDG_RUNTIME_DIR and $DBUS_SESSION_BUS_ADDRESS or $DBUS_SYSTEM_BUS_ADDRESS
    """
    if user == 0:
        bus = environment.get("DBUS_SYSTEM_BUS_ADDRESS") or "unix:path=/run/dbus/system_bus_socket"
        return [("unix:path=/run/systemd/private", False), (bus, True)]
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{user}"
    bus = environment.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={_quoted(runtime)}/bus"
    return [(f"unix:path={_quoted(runtime)}/systemd/private", False), (bus, True)]


def _quoted(path: str) -> str:
    """A path in a D-Bus address: bytes with a meaning are %-encoded."""
    safe = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/."
    return "".join(chr(byte) if byte in safe else f"%{byte:02x}" for byte in os.fsencode(path))


def connect(user: int, patience: float = PATIENCE) -> Bus:
    """A connection to a user's systemd. Raises StepFailed that says what was tried."""
    tried = []
    for address, daemon in addresses(user, dict(os.environ)):
        try:
            return Bus(address, daemon, patience)
        except OSError as failure:
            tried.append(f"{address.removeprefix('unix:path=')}: {failure.strerror}")
    from ociruntime.linux.refusals.session import unreachable

    whose = f"systemd of user {user}" if user else "systemd"
    hint = str(unreachable(user, dict(os.environ)))
    raise StepFailed(f"{whose} can't be reached: {'; '.join(tried)}", hint=hint)


class Bus:
    """One connection; `with` closes it.

    address    D-Bus address; the file name of every OSError
    daemon     whether a bus daemon is there, or systemd itself
    patience   seconds until a call is given up
    """

    def __init__(self, address: str, daemon: bool, patience: float = PATIENCE) -> None:
        """Connect. Raises OSError: TimeoutError if nothing answers."""
        self.patience = patience
        self.address = address
        self._calls = 0
        self._sender = ""  # systemd's name on the bus: whose signals count
        self._ended: dict[str, str] = {}  # jobs whose end was heard of while something else was awaited
        self._connection = Connection(address, time.monotonic() + patience)
        try:
            if daemon:
                self._join()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Bus:  # noqa: PYI034 - Self is in typing, which costs 6 ms
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. May be called again."""
        self._connection.close()

    def _join(self) -> None:
        """A bus daemon gives us a name, and only passes on what was asked for; systemd's own socket tells everything."""
        rule = f"type='signal',sender='{_SYSTEMD}',interface='{_SYSTEMD}.Manager',member='JobRemoved',path='{_MANAGER}'"
        calls = [
            self._send(_DAEMON, "Hello"),
            self._send(_DAEMON, "AddMatch", "s", rule),
            self._send((_SYSTEMD, _MANAGER, f"{_SYSTEMD}.Manager"), "Subscribe"),
        ]
        try:
            answers = [self._answer(number) for number in calls]
        except Refusal as refusal:
            raise OSError(errno.EACCES, refusal.words, self.address) from None
        self._sender = answers[-1].fields.get(message.SENDER, "")

    def ask(self, member: str, signature: str = "", *values: object) -> list[Any]:
        """Call a method of systemd's manager; what it answers. Raises Refusal, or OSError if it does not answer."""
        return self.call((_SYSTEMD, _MANAGER, f"{_SYSTEMD}.Manager"), member, signature, *values)

    def begin_job(self, member: str, signature: str, *values: object) -> str:
        """As `ask`, of a method that answers with a job: where that is."""
        self._ended.clear()  # none of them can be the new one
        return str(self._one(self.ask(member, signature, *values)))

    def _one(self, answer: list[Any]) -> Any:
        if len(answer) != 1:
            raise OSError(errno.EBADMSG, f"{len(answer)} values instead of one", self.address)
        return answer[0]

    def of_unit(self, unit: str, interface: str, name: str) -> Any:
        """A property of a unit, whether it is loaded or not; interface "Unit" or "Scope"."""
        place = (_SYSTEMD, f"{_MANAGER}/unit/{_label(unit)}", _PROPERTIES)
        return self._one(self.call(place, "Get", "ss", f"{_SYSTEMD}.{interface}", name))

    def version(self) -> int:
        """Which systemd it is: 252."""
        place = (_SYSTEMD, _MANAGER, _PROPERTIES)
        words = str(self._one(self.call(place, "Get", "ss", f"{_SYSTEMD}.Manager", "Version")))
        digits = words.removeprefix("v")
        end = next((index for index, letter in enumerate(digits) if not letter.isdecimal()), len(digits))
        return int(digits[:end] or 0)

    def wait_for_job(self, job: str) -> str:
        """Wait for the signal that a job has ended: its result, "done" if it did what it should.

        Raises TimeoutError, or another OSError if the connection is lost.
        """
        deadline = time.monotonic() + self.patience
        while job not in self._ended:
            self._hear(self._connection.receive(deadline))
        return self._ended.pop(job)

    def call(
        self, place: tuple[str, str, str], member: str, signature: str = "", *values: object
    ) -> list[Any]:
        """Call a method; what it answers. `place` is (destination, object, interface).

        Raises Refusal with the answer's error; OSError if there is no answer: TimeoutError after the patience.
        """
        return self._values(self._answer(self._send(place, member, signature, *values)))

    def _send(self, place: tuple[str, str, str], member: str, signature: str = "", *values: object) -> int:
        """Send a call; its number. Raises OSError, or Refusal of values that no message can have."""
        self._calls += 1
        try:
            data = message.method_call(self._calls, place, member, signature, values)
        except Malformed as mistake:
            raise Refusal(_INVALID, str(mistake)) from None
        self._connection.send(data, time.monotonic() + self.patience)
        return self._calls

    def _answer(self, number: int) -> Message:
        """Wait for the answer to a call. Raises Refusal or OSError."""
        deadline = time.monotonic() + self.patience
        while True:
            came = self._connection.receive(deadline)
            if came.fields.get(message.REPLY_SERIAL) != number:
                self._hear(came)
            elif came.kind == message.METHOD_RETURN:
                return came
            elif came.kind == message.ERROR:
                raise self._failure(came)

    def _hear(self, came: Message) -> None:
        """Note the end of a job; all else that is told to everybody is of no interest."""
        fields = came.fields
        if (
            came.kind != message.SIGNAL
            or fields[message.MEMBER] != "JobRemoved"
            or fields[message.INTERFACE] != f"{_SYSTEMD}.Manager"
            or (self._sender and fields.get(message.SENDER) != self._sender)
        ):
            return
        said = self._values(came)
        if len(said) != 4 or len(self._ended) == _MOST_JOBS:
            raise OSError(
                errno.EBADMSG,
                f"JobRemoved has {len(said)} values, {len(self._ended)} came before",
                self.address,
            )
        self._ended[str(said[1])] = str(said[3])

    def _values(self, came: Message) -> list[Any]:
        try:
            return came.values()
        except Malformed as mistake:
            raise self._connection.malformed(mistake) from None

    def _failure(self, came: Message) -> Exception:
        """What an answer that is an error means; a bus also says so that there was none."""
        name = str(came.fields[message.ERROR_NAME])
        said = self._values(came)
        words = str(said[0]).rstrip(".") if said else name
        last = name.rpartition(".")[2]
        if last in _UNANSWERED:
            return TimeoutError(errno.ETIMEDOUT, words, self.address)
        if last in _GONE:
            return OSError(errno.ECONNRESET, words, self.address)
        return Refusal(name, words)


def _label(name: str) -> str:
    """A unit's name in an object path: what is neither a letter nor a digit is _ and two hexadecimal digits."""
    safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return "".join(
        letter if letter in safe and not (index == 0 and letter.isdigit()) else f"_{ord(letter):02x}"
        for index, letter in enumerate(name)
    )
