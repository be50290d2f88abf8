# SPDX-License-Identifier: Apache-2.0
"""What happens if systemd does not do what a systemd does? Against a peer of our own; and where systemd is looked for."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from ociruntime.config import Node
from ociruntime.errors import StepFailed
from ociruntime.launch.context import Context
from ociruntime.linux.cgroups.systemd import bus as buses, scope
from ociruntime.step import HostStep
from tests.unit.dbus_peer import (
    MANAGER,
    METHOD,
    PLACE,
    RETURN,
    SIGNAL,
    Peer,
    answer,
    body,
    job_removed,
    message,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JOB = "/org/freedesktop/systemd1/job/7"
UNIT = "box.scope"
Replies = "Callable[[str, int], bytes | None]"


@pytest.mark.parametrize(
    ("user", "environment", "expected"),
    [
        (0, {}, [("unix:path=/run/systemd/private", False), ("unix:path=/run/dbus/system_bus_socket", True)]),
        (0, {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/x", "XDG_RUNTIME_DIR": "/run/user/0"},
         [("unix:path=/run/systemd/private", False), ("unix:path=/x", True)]),
        (7, {}, [("unix:path=/run/user/7/systemd/private", False), ("unix:path=/run/user/7/bus", True)]),
        (7, {"XDG_RUNTIME_DIR": "/t/a b", "DBUS_SESSION_BUS_ADDRESS": "unix:abstract=/y"},
         [("unix:path=/t/a%20b/systemd/private", False), ("unix:abstract=/y", True)]),
    ],
)  # fmt: skip
def test_where_systemd_is(user: int, environment: dict[str, str], expected: list[tuple[str, bool]]) -> None:
    """Root's is the machine's; a user's is in its runtime directory. Its own socket first, then the bus."""
    assert buses.addresses(user, environment) == expected


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Peer]]:
    """Make a peer that is systemd for this test, with a short patience."""
    made: list[Peer] = []

    def make(
        replies: Callable[[str, int], bytes | None], *, greet: bool = True, daemon: bool = False
    ) -> Peer:
        one = Peer(tmp_path / f"socket{len(made)}", replies, greet)
        made.append(one)
        monkeypatch.setattr(buses, "addresses", lambda *_: [(one.address, daemon)])
        connect = buses.connect
        monkeypatch.setattr(scope, "connect", lambda user: connect(user, 0.5))
        return one

    yield make
    for one in made:
        one.close()


def context() -> Context:
    """A container that is being made."""
    return Context("box", "/bundle", "/run/x/box", Node({}))


def start(properties: list[list[object]] | None = None) -> StepFailed:
    """Do the step "start scope", which must fail; undo leaves no process."""
    args: dict[str, object] = {
        "unit": UNIT, "slice": "system.slice", "user": 0, "path": f"/system.slice/{UNIT}", "kind": "v2",
        "properties": properties or [], "paths": {"": f"/nowhere/system.slice/{UNIT}"}, "mounts": {"": "/nowhere"},
        "controllers": [],
    }  # fmt: skip
    made = context()
    try:
        with pytest.raises(StepFailed) as caught:
            scope.apply(HostStep("start_scope", args, undoable=True), made)
    finally:
        scope.holder.release(made)
    return caught.value


def test_nothing_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was tried, and why it failed."""
    places = [(f"unix:path={tmp_path}/private", False), (f"unix:path={tmp_path}/bus", True)]
    monkeypatch.setattr(buses, "addresses", lambda *_: places)
    failure = start()
    assert failure.reason.startswith("systemd can't be reached: ")
    assert f"{tmp_path}/private: no such file or directory; {tmp_path}/bus: no such" in failure.reason
    assert "--cgroup-manager cgroupfs" in failure.hint


def test_no_greeting(peer: Callable[..., Peer]) -> None:
    """A socket that accepts and says nothing."""
    peer(lambda *_: None, greet=False)
    began = time.monotonic()
    failure = start()
    assert 0.4 < time.monotonic() - began < 10
    assert "systemd can't be reached" in failure.reason
    assert failure.reason.endswith("/socket0: no answer in time")


def test_no_answer(peer: Callable[..., Peer]) -> None:
    """The call has a limit."""
    made = peer(lambda *_: None)
    failure = start()
    assert made.calls == ["StartTransientUnit"]
    assert failure.reason == f"unit {UNIT}: systemd has not finished to start it in time"
    assert "list-jobs" in failure.hint


def test_a_job_that_never_ends(peer: Callable[..., Peer]) -> None:
    """Other jobs end; this one does not."""

    def replies(_member: str, serial: int) -> bytes:
        return answer(serial, JOB, signature="o") + job_removed(f"{JOB}1", "other.scope", "done")

    peer(replies)
    assert start().reason == f"unit {UNIT}: systemd has not finished to start it in time"


@pytest.mark.parametrize("result", ["failed", "timeout", "dependency", "canceled", "skipped"])
def test_a_job_that_fails(peer: Callable[..., Peer], result: str) -> None:
    """Systemd's word for how it ended; the signal may come before the answer."""

    def replies(_member: str, serial: int) -> bytes:
        return job_removed(JOB, UNIT, result) + answer(serial, JOB, signature="o")

    peer(replies)
    failure = start()
    assert failure.reason == f"unit {UNIT}: systemd's job to start it ended as {result!r}"
    assert UNIT in failure.hint


@pytest.mark.parametrize("when", ["StartTransientUnit", "after"])
def test_the_connection_is_lost(peer: Callable[..., Peer], when: str) -> None:
    """While an answer is awaited, or the job's end."""
    made = peer(lambda _, serial: answer(serial, JOB, signature="o"))
    made.close_after = when
    failure = start()
    assert failure.reason == f"unit {UNIT}: the connection to systemd is lost"
    assert failure.errno == errno.ECONNRESET


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"\xff" * 64, "malformed message: byte order 255"),
        (job_removed(JOB, UNIT, "done").replace(b"uoss\0", b"uozs\0"), "malformed message: 'uozs' is no signature: 'z' is no type"),
        (job_removed(JOB, UNIT, "done").replace(b"uoss\0", b"uoos\0"), f"malformed message: '{UNIT}' is no object path"),
        (job_removed(JOB, UNIT, "done").replace(b"uoss\0", b"uo\0ss"), "malformed message: "),
    ],
)  # fmt: skip
def test_a_malformed_message(peer: Callable[..., Peer], sent: bytes, words: str) -> None:
    """The error says what is wrong with it."""
    peer(lambda _, serial: answer(serial, JOB, signature="o") + sent)
    failure = start()
    assert failure.reason.startswith(f"unit {UNIT}: what systemd says can't be understood: {words}")


def test_what_others_are_told(peer: Callable[..., Peer]) -> None:
    """Systemd's own socket tells everything: other answers, other signals, and calls, which nobody here answers."""
    others = [
        answer(99, "late", signature="s"),
        job_removed(JOB, UNIT, "failed", interface="org.example.Manager"),
        message(SIGNAL, 5, {1: PLACE, 2: MANAGER, 3: "UnitNew", 8: "so"}, body(UNIT, PLACE)),
        message(METHOD, 5, {1: PLACE, 2: "org.freedesktop.DBus.Peer", 3: "Ping"}),
        message(9, 5, {5: 1}),
    ]
    made = peer(lambda _, serial: b"".join(others) + answer(serial, JOB, signature="o") + b"".join(others) + job_removed(JOB, UNIT, "canceled"))  # fmt: skip
    assert start().reason == f"unit {UNIT}: systemd's job to start it ended as 'canceled'"
    assert made.calls == ["StartTransientUnit"]


def test_jobs_without_end(peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    """How many are remembered while an answer is awaited has a limit."""
    monkeypatch.setattr(buses, "_MOST_JOBS", 3)
    peer(lambda *_: b"".join(job_removed(f"{JOB}{number}", UNIT, "done") for number in range(4)))
    assert "can't be understood: JobRemoved has 4 values, 3 came before" in start().reason


def bus_replies(sender: str, job_sender: str) -> Callable[[str, int], bytes]:
    """A bus daemon: where the answers of systemd come from, and where the signal."""

    def replies(member: str, serial: int) -> bytes:
        if member == "Hello":
            return answer(serial, ":1.7", signature="s", sender="org.freedesktop.DBus")
        if member in ("AddMatch", "Subscribe"):
            return answer(
                serial, signature="", sender=sender if member == "Subscribe" else "org.freedesktop.DBus"
            )
        return answer(serial, JOB, signature="o", sender=sender) + job_removed(
            JOB, UNIT, "canceled", job_sender
        )

    return replies


def test_by_a_bus(peer: Callable[..., Peer]) -> None:
    """A name, the signals that are wanted, systemd's own announcement of them; then as by its own socket."""
    made = peer(bus_replies(":1.1", ":1.1"), daemon=True)
    assert start().reason == f"unit {UNIT}: systemd's job to start it ended as 'canceled'"
    assert made.calls == ["Hello", "AddMatch", "Subscribe", "StartTransientUnit"]


def test_a_signal_of_another_program(peer: Callable[..., Peer]) -> None:
    """Anyone on the bus may send us signals; only systemd's say how a job has ended."""
    peer(bus_replies(":1.1", ":1.66"), daemon=True)
    assert start().reason == f"unit {UNIT}: systemd has not finished to start it in time"


@pytest.mark.parametrize("member", ["Hello", "AddMatch", "Subscribe"])
def test_a_bus_that_refuses(peer: Callable[..., Peer], member: str) -> None:
    """Its own words, behind its address."""

    def replies(called: str, serial: int) -> bytes:
        words = f"No {called} for you."
        return refusal(serial, "org.freedesktop.DBus.Error.AccessDenied", words) if called == member else bus_replies("", "")(called, serial)  # fmt: skip

    peer(replies, daemon=True)
    assert start().reason.endswith(f"/socket0: No {member} for you")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NoReply", f"unit {UNIT}: systemd has not finished to start it in time"),
        ("Timeout", f"unit {UNIT}: systemd has not finished to start it in time"),
        ("Disconnected", f"unit {UNIT}: the connection to systemd is lost"),
        ("ServiceUnknown", f"unit {UNIT}: the connection to systemd is lost"),
        ("InvalidArgs", f"unit {UNIT}: no more words (InvalidArgs)"),
    ],
)
def test_what_a_bus_says_for_systemd(peer: Callable[..., Peer], name: str, expected: str) -> None:
    """Its errors are not systemd's words."""
    peer(lambda _, serial: refusal(serial, f"org.freedesktop.DBus.Error.{name}", "no more words."))
    assert start().reason == expected


def test_a_value_that_no_message_can_have(peer: Callable[..., Peer]) -> None:
    """It is refused before anything is sent."""
    made = peer(lambda *_: None)
    failure = start([["CPUQuotaPerSecUSec", "t", 1 << 64, "/linux/resources/cpu/quota", 0]])
    assert failure.reason == f"unit {UNIT}: {1 << 64} is no value of the type 't' (InvalidArgs)"
    assert made.calls == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AccessDenied", f"unit {UNIT}: not for you (AccessDenied)"),
        ("NoReply", f"unit {UNIT}: systemd has not finished to start it in time"),
    ],
)
def test_a_version_that_is_not_told(peer: Callable[..., Peer], name: str, expected: str) -> None:
    """It is asked for a property that not every systemd has; the unit is named all the same."""
    made = peer(lambda _, serial: refusal(serial, f"org.freedesktop.DBus.Error.{name}", "not for you."))
    failure = start([["AllowedCPUs", "ay", [1], "/linux/resources/cpu/cpus", 244]])
    assert failure.reason == expected
    assert made.calls == ["Get"]


def test_a_directory_that_is_not_utf8(peer: Callable[..., Peer]) -> None:
    """The description, by which the unit is known again, says it in ASCII."""
    made = Context("box", "/bundle", "/run/\udcff/box", Node({}))
    assert scope._description(made) == "container box (/run/\\xff/box)"


def test_systemd_s_own_words(peer: Callable[..., Peer]) -> None:
    """With the property that they are about, and where it comes from."""
    words = "Cannot set property CollectMode, or unknown property."
    peer(lambda _, serial: refusal(serial, "org.freedesktop.DBus.Error.PropertyReadOnly", words))
    failure = start([["CollectMode", "s", "x", "/annotations/a", 0]])
    assert failure.reason == f"unit {UNIT}: property CollectMode = x: {words.rstrip('.')}"
    assert failure.pointer == "/annotations/a"


def test_an_answer_of_another_type(peer: Callable[..., Peer]) -> None:
    """A message that is sound, but not what this method returns, is an error, and not a traceback."""
    peer(lambda _, serial: answer(serial, signature=""))
    failure = start()
    assert failure.reason == f"unit {UNIT}: what systemd says can't be understood: 0 values instead of one"


def test_undo_touches_no_unit_of_others(peer: Callable[..., Peer]) -> None:
    """A unit whose description is not this container's is neither stopped nor emptied."""
    said = iter([("Docker's", "s"), ("loaded", "s")])

    def replies(_member: str, serial: int) -> bytes:
        text, signature = next(said)
        variant = bytes([len(signature)]) + signature.encode() + b"\0"
        data = variant + bytes(-len(variant) % 4) + len(text).to_bytes(4, "little") + text.encode() + b"\0"
        return message(RETURN, 5, {5: serial, 8: "v"}, data)

    made = peer(replies)
    # `paths` has this very process's cgroup: were it emptied, this test would end
    args = {
        "unit": UNIT,
        "user": 0,
        "path": "/x",
        "paths": {"": "/sys/fs/cgroup"},
        "mounts": {"": "/sys/fs/cgroup"},
    }
    scope.undo("start_scope", args, context())
    assert made.calls == ["Get", "Get"]


def test_undo_without_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit without a cgroup is not there; one with a cgroup is, and that it can't be stopped is an error."""
    monkeypatch.setattr(buses, "addresses", lambda *_: [(f"unix:path={tmp_path}/private", False)])
    args = {
        "unit": UNIT,
        "user": 0,
        "path": f"/{UNIT}",
        "paths": {"": f"{tmp_path}/{UNIT}"},
        "mounts": {"": str(tmp_path)},
    }
    (tmp_path / UNIT).mkdir()
    with pytest.raises(StepFailed, match="systemd can't be reached"):
        scope.undo("start_scope", args, context())
    (tmp_path / UNIT).rmdir()
    scope.undo("start_scope", args, context())


def test_the_place_is_held_by_a_process_without_descriptors() -> None:
    """It ends when it is told to, and leaves nothing."""
    made = context()
    pid = scope.holder.hold(made)
    assert os.listdir(f"/proc/{pid}/fd") == []  # it is a process of this user
    descriptors = set(os.listdir("/proc/self/fd"))
    scope.holder.release(made)
    assert not os.path.exists(f"/proc/{pid}")
    assert len(descriptors - set(os.listdir("/proc/self/fd"))) >= 1
    scope.holder.release(made)
