# SPDX-License-Identifier: Apache-2.0
"""How is systemd spoken to? By D-Bus, with libsystemd's sd-bus, which is loaded only here.

systemd's own socket comes first, as for systemctl: it needs no bus daemon, so neither a lost one nor a busy one is in the
way. Else the bus: the system's for root, the user's own otherwise. Every wait has a limit, and an error has systemd's
own words. Must not import anything of this package.
"""

from __future__ import annotations

import errno
import os
import time

from ociruntime.errors import StepFailed
from ociruntime.native._systemd import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ociruntime.native._systemd import CData, Library

PATIENCE = 30.0  # seconds for each answer, as long as runc waits

_NAME = "libsystemd.so.0"
_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER = "/org/freedesktop/systemd1"
# The C type of a D-Bus type that is neither a text nor a container.
_NUMBERS = {"y": "uint8_t", "b": "int", "n": "int16_t", "q": "uint16_t", "i": "int32_t", "u": "uint32_t", "x": "int64_t", "t": "uint64_t", "d": "double"}  # fmt: skip
_TEXTS = "sog"
_GONE = (errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.ECONNREFUSED, errno.ENOENT)


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
    library = _load()
    tried = []
    for address, daemon in addresses(user, dict(os.environ)):
        try:
            return Bus(library, address, daemon, patience)
        except OSError as failure:
            tried.append(f"{address.removeprefix('unix:path=')}: {os.strerror(failure.errno or 0).lower()}")
    from ociruntime.linux.refusals.session import unreachable

    whose = f"systemd of user {user}" if user else "systemd"
    hint = str(unreachable(user, dict(os.environ)))
    raise StepFailed(f"{whose} can't be reached: {'; '.join(tried)}", hint=hint)


def _load() -> Library:
    try:
        return ffi.dlopen(_NAME)
    except OSError as failure:
        raise StepFailed(f"{_NAME} can't be loaded: {failure}", hint="apt-get install libsystemd0") from None


class Bus:
    """One connection; `with` closes it.

    patience   seconds until a call is given up
    """

    def __init__(self, library: Library, address: str, daemon: bool, patience: float = PATIENCE) -> None:
        """Connect. Raises OSError: TimeoutError if nothing answers."""
        self._library = library
        self._bus = ffi.NULL
        self.patience = patience
        self.address = address
        slot = ffi.new("sd_bus **")
        _checked(library.sd_bus_new(slot), "sd_bus_new")
        self._bus = slot[0]
        try:
            _checked(library.sd_bus_set_address(self._bus, os.fsencode(address)), address)
            _checked(library.sd_bus_set_bus_client(self._bus, int(daemon)), address)
            _checked(library.sd_bus_start(self._bus), address)
            self._greet()
            if daemon:
                self._subscribe()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Bus:  # noqa: PYI034 - Self is in typing, which costs 6 ms
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. May be called again."""
        bus, self._bus = self._bus, ffi.NULL
        if bus != ffi.NULL:
            self._library.sd_bus_close(bus)
            self._library.sd_bus_unref(bus)

    def _greet(self) -> None:
        """Wait until the other side has let us in: sd-bus itself would wait for a minute and a half, or for ever."""
        deadline = time.monotonic() + self.patience
        while not _checked(self._library.sd_bus_is_ready(self._bus), self.address):
            self._turn(deadline, ffi.NULL)

    def _turn(self, deadline: float, message: CData) -> bool:
        """Do one thing that has come, or wait for it; true if `message` may be one. Raises OSError."""
        done = _checked(self._library.sd_bus_process(self._bus, message), self.address)
        if done == 0:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "no answer", self.address)
            waited = self._library.sd_bus_wait(self._bus, int(left * 1_000_000) + 1)
            if waited != -errno.EINTR:
                _checked(waited, self.address)
        return done > 0

    def _subscribe(self) -> None:
        """A bus daemon only passes on what was asked for; systemd's own socket tells everything."""
        rule = f"type='signal',sender='{_SYSTEMD}',interface='{_SYSTEMD}.Manager',member='JobRemoved',path='{_MANAGER}'"
        try:
            self.call(
                ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"),
                "AddMatch",
                "s",
                rule,
            )
            self.ask("Subscribe")
        except Refusal as refusal:
            raise OSError(errno.EACCES, refusal.words, self.address) from None

    def ask(self, member: str, signature: str = "", *values: object) -> list[Any]:
        """Call a method of systemd's manager; what it answers. Raises Refusal, or OSError if it does not answer."""
        return self.call((_SYSTEMD, _MANAGER, f"{_SYSTEMD}.Manager"), member, signature, *values)

    def begin_job(self, member: str, signature: str, *values: object) -> str:
        """As `ask`, of a method that answers with a job: where that is."""
        return str(self._one(self.ask(member, signature, *values)))

    def _one(self, answer: list[Any]) -> Any:
        if len(answer) != 1:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG), self.address)
        return answer[0]

    def of_unit(self, unit: str, interface: str, name: str) -> Any:
        """A property of a unit, whether it is loaded or not; interface "Unit" or "Scope"."""
        place = (_SYSTEMD, f"{_MANAGER}/unit/{_label(unit)}", "org.freedesktop.DBus.Properties")
        return self._one(self.call(place, "Get", "ss", f"{_SYSTEMD}.{interface}", name))

    def version(self) -> int:
        """Which systemd it is: 252."""
        place = (_SYSTEMD, _MANAGER, "org.freedesktop.DBus.Properties")
        words = str(self._one(self.call(place, "Get", "ss", f"{_SYSTEMD}.Manager", "Version")))
        digits = words.removeprefix("v")
        end = next((index for index, letter in enumerate(digits) if not letter.isdigit()), len(digits))
        return int(digits[:end] or 0)

    def wait_for_job(self, job: str) -> str:
        """Wait for the signal that a job has ended: its result, "done" if it did what it should.

        Raises TimeoutError, or another OSError if the connection is lost.
        """
        deadline = time.monotonic() + self.patience
        message = ffi.new("sd_bus_message **")
        while True:
            if not self._turn(deadline, message) or message[0] == ffi.NULL:
                continue
            try:
                if (
                    self._library.sd_bus_message_is_signal(
                        message[0], f"{_SYSTEMD}.Manager".encode(), b"JobRemoved"
                    )
                    > 0
                ):
                    said = self._read_all(message[0])
                    if len(said) == 4 and said[1] == job:
                        return str(said[3])
            finally:
                self._library.sd_bus_message_unref(message[0])

    def call(
        self, place: tuple[str, str, str], member: str, signature: str = "", *values: object
    ) -> list[Any]:
        """Call a method; what it answers. `place` is (destination, object, interface).

        Raises Refusal with the answer's error; OSError if there is no answer: TimeoutError after the patience.
        """
        slot = ffi.new("sd_bus_message **")
        words = [word.encode() for word in (*place, member)]
        _checked(self._library.sd_bus_message_new_method_call(self._bus, slot, *words), member)
        message = slot[0]
        reply = ffi.new("sd_bus_message **")
        error = ffi.new("sd_bus_error *")
        try:
            for kind, value in zip(split(signature), values, strict=True):
                self._append(message, kind, value)
            done = self._library.sd_bus_call(self._bus, message, int(self.patience * 1_000_000), error, reply)
            if done < 0:
                raise self._failure(-done, error)
            return self._read_all(reply[0])
        finally:
            self._library.sd_bus_error_free(error)
            self._library.sd_bus_message_unref(message)
            if reply[0] != ffi.NULL:
                self._library.sd_bus_message_unref(reply[0])

    def _failure(self, number: int, error: CData) -> Exception:
        """What sd_bus_call says: an answer that is an error, or that there was none."""
        name = ffi.string(error.name).decode(errors="replace") if error.name != ffi.NULL else ""
        if number == errno.ETIMEDOUT or name.endswith((".NoReply", ".Timeout")):
            return TimeoutError(errno.ETIMEDOUT, "no answer", self.address)
        if (
            not name
            or name.endswith(".Disconnected")
            or (number in _GONE and name.startswith("System.Error."))
        ):
            return OSError(number, os.strerror(number), self.address)
        words = ffi.string(error.message).decode(errors="replace") if error.message != ffi.NULL else name
        return Refusal(name, words.rstrip("."))

    def _append(self, message: CData, kind: str, value: Any) -> None:
        library = self._library
        if kind in _NUMBERS:
            done = library.sd_bus_message_append_basic(
                message, kind.encode(), ffi.new(f"{_NUMBERS[kind]} *", value)
            )
        elif kind in _TEXTS:
            done = library.sd_bus_message_append_basic(message, kind.encode(), ffi.new("char[]", _text(value)))  # fmt: skip
        else:
            contents, values = _inside(kind, value)
            letter = {"(": b"r"}.get(kind[0], kind[0].encode())
            _checked(library.sd_bus_message_open_container(message, letter, contents.encode()), kind)
            for inner, one in values:
                self._append(message, inner, one)
            done = library.sd_bus_message_close_container(message)
        _checked(done, kind)

    def _read_all(self, message: CData) -> list[Any]:
        found = []
        kind, contents = ffi.new("char *"), ffi.new("const char **")
        while _checked(self._library.sd_bus_message_peek_type(message, kind, contents), "message"):
            found.append(self._read(message, kind[0].decode(), contents[0]))
        return found

    def _read(self, message: CData, kind: str, contents: CData) -> Any:
        library = self._library
        if kind in _NUMBERS or kind in _TEXTS:
            value = ffi.new(f"{_NUMBERS[kind]} *" if kind in _NUMBERS else "const char **")
            _checked(library.sd_bus_message_read_basic(message, kind.encode(), value), kind)
            if kind in _TEXTS:
                return ffi.string(value[0]).decode(errors="replace")
            return bool(value[0]) if kind == "b" else value[0]
        _checked(library.sd_bus_message_enter_container(message, kind.encode(), ffi.string(contents)), kind)
        inside = self._read_all(message)
        _checked(library.sd_bus_message_exit_container(message), kind)
        return inside[0] if kind == "v" else inside


def _text(value: object) -> bytes:
    return os.fsencode(str(value))


def _inside(kind: str, value: Any) -> tuple[str, list[tuple[str, Any]]]:
    """The signature of what a container has in it, and each element with its own: ("s", [("s", "a"), ...])."""
    if kind == "v":
        inner, one = value
        return inner, [(inner, one)]
    if kind[0] == "a":
        return kind[1:], [(kind[1:], one) for one in value]
    return kind[1:-1], list(zip(split(kind[1:-1]), value, strict=True))


def split(signature: str) -> list[str]:
    """A signature as complete types: "sa(sv)u" is s, a(sv), u."""
    found, start, depth = [], 0, 0
    for index, letter in enumerate(signature):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0 and letter != "a":
            found.append(signature[start : index + 1])
            start = index + 1
    return found


def _label(name: str) -> str:
    """A unit's name in an object path: what is neither a letter nor a digit is _ and two hexadecimal digits."""
    safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return "".join(
        letter if letter in safe and not (index == 0 and letter.isdigit()) else f"_{ord(letter):02x}"
        for index, letter in enumerate(name)
    )


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result), what)
    return result
