# SPDX-License-Identifier: Apache-2.0
"""Our encoder and decoder and google's protobuf understand each other, and bad bytes are refused."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from ociruntime.shim import tables
from ociruntime.shim.messages import DEEPEST, MAP, MOST_ITEMS, Field, Malformed, Message
from tests.shim.descriptions import NAMES, kind_of

EVENT = tables.EVENTS
# name in descriptions.py -> ours
OURS: dict[str, Message] = {
    "KeyValue": tables.PAIR, "Request": tables.REQUEST, "Status": tables.STATUS, "Response": tables.RESPONSE,
    "Any": tables.ANY, "Timestamp": tables.TIMESTAMP, "Empty": tables.EMPTY, "Mount": tables.MOUNT,
    "RuncOptions": tables.RUNC_OPTIONS, "FileOptions": tables.FILE_OPTIONS, "Create": tables.CREATE,
    "Pid": tables.PID, "OfProcess": tables.OF_PROCESS, "OfTask": tables.OF_TASK, "Exec": tables.EXEC,
    "State": tables.STATE, "Waited": tables.WAITED, "Deleted": tables.DELETED, "Kill": tables.KILL,
    "Process": tables.PROCESS, "ProcessDetails": tables.PROCESS_DETAILS, "Pids": tables.PIDS,
    "Update": tables.UPDATE, "Resize": tables.RESIZE, "CloseIo": tables.CLOSE_IO, "Stats": tables.STATS,
    "Checkpoint": tables.CHECKPOINT, "Connected": tables.CONNECTED, "Shutdown": tables.SHUTDOWN,
    "Envelope": tables.ENVELOPE, "Forward": tables.FORWARD, "EventCreate": EVENT["/tasks/create"],
    "EventStart": EVENT["/tasks/start"], "EventExit": EVENT["/tasks/exit"], "EventDelete": EVENT["/tasks/delete"],
    "EventExecAdded": EVENT["/tasks/exec-added"], "EventExecStarted": EVENT["/tasks/exec-started"],
    "EventContainer": EVENT["/tasks/oom"], "EventPaused": EVENT["/tasks/paused"],
    "EventResumed": EVENT["/tasks/resumed"], "BootstrapParams": tables.BOOTSTRAP_PARAMS,
    "BootstrapResult": tables.BOOTSTRAP_RESULT, "RuntimeInfo": tables.RUNTIME_INFO,
    "MetricsV1": tables.METRICS_V1, "MetricsV2": tables.METRICS_V2,
}  # fmt: skip
ROUNDS = 60


def value_of(kind: object, chance: random.Random, depth: int) -> Any:
    """A value of a field of this kind, often an extreme one."""
    if isinstance(kind, Message):
        return message_of(kind, chance, depth + 1)
    if kind == "string":
        return chance.choice(["", "x", "é\U0001f600\0", "long" * 50, str(chance.random())])
    if kind == "bytes":
        return chance.choice([b"", b"\xff\0", chance.randbytes(chance.randrange(300))])
    if kind == "bool":
        return chance.random() < 0.5
    bits = 32 if "32" in str(kind) or kind == "enum" else 64
    signed = kind in {"int32", "int64", "enum"}
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return chance.choice([0, 1, least, most, 127, 128, chance.randint(least, most)])


def message_of(kind: Message, chance: random.Random, depth: int = 0) -> dict[str, Any]:
    """A value of a message."""
    value: dict[str, Any] = {}
    for field in kind.fields:
        if chance.random() < 0.3:
            value[field.name] = field.default()
        elif field.kind == MAP:
            value[field.name] = {f"k{n}": chance.choice(["", "v"]) for n in range(chance.randrange(3))}
        elif field.repeated:
            value[field.name] = [value_of(field.kind, chance, depth) for _ in range(chance.randrange(4))]
        else:
            value[field.name] = value_of(field.kind, chance, depth)
    return value


def as_google(value: dict[str, Any], message: Any) -> Any:
    """The same value in google's message."""
    for name, item in value.items():
        if isinstance(item, dict) and hasattr(getattr(message, name), "DESCRIPTOR"):
            getattr(message, name).SetInParent()
            as_google(item, getattr(message, name))
        elif isinstance(item, dict):
            getattr(message, name).update(item)
        elif isinstance(item, list):
            for one in item:
                if isinstance(one, dict):
                    as_google(one, getattr(message, name).add())
                else:
                    getattr(message, name).append(one)
        elif item is not None:
            setattr(message, name, item)
    return message


def test_every_message_is_described_twice() -> None:
    """A message of tables.py that descriptions.py lacks would be tested by nothing: those with a name, and those inside."""
    named = {kind for kind in vars(tables).values() if isinstance(kind, Message)} - {tables._ENTRY}
    named |= {kind for pair in tables.METHODS.values() for kind in pair} | set(EVENT.values())
    inside = {f.kind for kind in named for f in kind.fields if isinstance(f.kind, Message)}
    covered = set(OURS.values())
    for _ in range(4):
        covered |= {f.kind for kind in covered for f in kind.fields if isinstance(f.kind, Message)}
    assert {kind.name for kind in (named | inside) - covered} == set()
    assert set(OURS) <= set(NAMES)


@pytest.mark.parametrize("name", OURS)
def test_both_directions(name: str) -> None:
    """Random values: our bytes are read by google's protobuf as the same value, and its bytes by us."""
    chance, ours, google = random.Random(name), OURS[name], kind_of(name)
    for _ in range(ROUNDS):
        value = message_of(ours, chance)
        same = as_google(value, google())
        assert google.FromString(ours.encode(value)) == same
        again = ours.decode(same.SerializeToString())
        assert as_google(again, google()) == same
        assert ours.decode(ours.encode(again)) == again


def decoded(kind: Message, data: bytes) -> dict[str, Any] | None:
    """The value, or None if it is refused."""
    try:
        return kind.decode(data)
    except Malformed:
        return None


@pytest.mark.parametrize("name", ["Create", "MetricsV1", "RuntimeInfo", "Request", "Pids"])
def test_damaged_bytes(name: str) -> None:
    """Bytes with random damage: both read the same, or both refuse."""
    chance, ours, google = random.Random(name), OURS[name], kind_of(name)
    refused = read = 0
    for _ in range(1500):
        data = bytearray(ours.encode(message_of(ours, chance)) or b"\x0a\x01x")
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(data))
            what = chance.randrange(3)
            if what == 0:
                data[place] = chance.randrange(256)
            elif what == 1:
                data[place:] = b""
            else:
                data[place:place] = chance.randbytes(chance.randrange(1, 8))
            data = data or bytearray(b"\0")
        try:
            theirs = google.FromString(bytes(data))
        except DecodeError:
            theirs = None
        value = decoded(ours, bytes(data))
        assert (value is None) == (theirs is None), bytes(data)
        if value is None:
            refused += 1
            continue
        theirs.DiscardUnknownFields()
        assert as_google(value, google()) == theirs, bytes(data)
        read += 1
    assert refused > 100
    assert read > 40


def test_noise_is_refused_or_read() -> None:
    """Whatever the bytes are, nothing but Malformed is raised."""
    chance = random.Random(7)
    for _ in range(20000):
        kind = chance.choice(list(OURS.values()))
        try:
            kind.decode(chance.randbytes(chance.randrange(40)))
        except Malformed:
            continue


def test_unknown_fields_are_skipped() -> None:
    """Of every wire type, groups within groups included; and a known number with another wire type counts as unknown."""
    unknown = b"\xa0\x06\x05" + b"\xa1\x06" + bytes(8) + b"\xa2\x06\x02xy" + b"\xa5\x06" + bytes(4)
    group = b"\xa3\x06" + b"\xab\x06\xac\x06" + unknown + b"\xa4\x06"
    for extra in (unknown, group, b"\x08\x07"):
        assert tables.OF_TASK.decode(extra + b"\x0a\x02id" + extra) == {"id": "id"}


def test_a_message_in_two_parts() -> None:
    """What comes twice is merged, as with google's; of a plain field the last one counts."""
    data = b"\x0a\x03\x0a\x01a" + b"\x0a\x03\x12\x01b" + b"\x12\x01x" + b"\x12\x01y"
    assert tables.PROCESS.decode(b"\x12\x03\x0a\x01a\x12\x03\x12\x01b")["info"] == {
        "type_url": "a",
        "value": b"b",
    }
    ours = tables.FORWARD.decode(b"\x0a\x04\x0a\x02\x08\x05" + b"\x0a\x04\x0a\x02\x10\x06")
    assert ours["envelope"]["timestamp"] == {"seconds": 5, "nanos": 6}
    same = kind_of("Response").FromString(b"\x0a\x02\x08\x05" + b"\x0a\x03\x12\x01m" + data[10:])
    assert (same.status.code, same.status.message, same.payload) == (5, "m", b"y")
    mine = tables.RESPONSE.decode(b"\x0a\x02\x08\x05" + b"\x0a\x03\x12\x01m" + data[10:])
    assert mine == {"status": {"code": 5, "message": "m"}, "payload": b"y"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x0a\x05abc", "a field of 5 bytes, but only 3 follow"),
        (b"\x0a\x01\xff", "id is not UTF-8"),
        (b"\x02\x00", "field number 0"),
        (b"\x0a", "ends within a number"),
        (b"\x80" * 10 + b"\x01", "a number of more than ten bytes"),
        (b"\xa3\x06\xac\x06", "wire type 3 of field 100"),
        (b"\xa4\x06", "wire type 4"),
        (b"\xa6\x06", "wire type 6"),
        (b"\xa3\x06" * 2000, "wire type 3"),
        (b"\xa1\x06abc", "ends within a field"),
    ],
)
def test_refusals_say_why(data: bytes, words: str) -> None:
    """Each kind of damage has its words, with the message's name."""
    with pytest.raises(Malformed, match=words) as caught:
        tables.OF_TASK.decode(data)
    assert tables.OF_TASK.name in str(caught.value)


def test_limits() -> None:
    """Neither depth nor the number of items is the sender's to choose."""
    nested = Message("Nested", Field(1, "more"))
    nested.fields[0].kind, nested.fields[0].wire = nested, 2

    def deep(levels: int) -> bytes:
        data = b""
        for _ in range(levels):
            data = nested.encode({"more": nested.decode(data)})
        return data

    assert nested.decode(deep(DEEPEST))
    with pytest.raises(Malformed, match="messages in each other"):
        nested.decode(b"\x0a" + bytes([len(deep(DEEPEST))]) + deep(DEEPEST))
    mount = b"\x1a\x00"
    assert len(tables.CREATE.decode(mount * MOST_ITEMS)["rootfs"]) == MOST_ITEMS
    with pytest.raises(Malformed, match="more than 65536 items, the last in rootfs"):
        tables.CREATE.decode(mount * (MOST_ITEMS + 1))


def test_a_name_that_is_not_in_the_table() -> None:
    """A typing error in the shim is not sent as nothing."""
    with pytest.raises(KeyError, match="exit_code"):
        tables.WAITED.encode({"exit_code": 1})


def test_texts_for_the_kernel() -> None:
    """What becomes a path or a name must be whole: in a message, in one inside it, and in a list."""
    good = tables.CREATE.encode({"id": "i", "rootfs": [{"source": "/s", "options": ["a"]}]})
    assert tables.CREATE.decode_words(good) == tables.CREATE.decode(good)
    for value, name in (
        ({"id": "i\0"}, "id"),
        ({"rootfs": [{"source": "/s"}, {"source": "\0"}]}, "rootfs: source"),
        ({"rootfs": [{"options": ["a", "b\0"]}]}, "rootfs: options"),
        ({"options": {"type_url": "\0"}}, "options: type_url"),
    ):
        data = tables.CREATE.encode(value)
        assert tables.CREATE.decode(data)
        with pytest.raises(Malformed, match=f"{name}: a text with a zero byte"):
            tables.CREATE.decode_words(data)
