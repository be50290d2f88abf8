# SPDX-License-Identifier: Apache-2.0
"""Which device does the program that moves network devices take for the one that it moved, and what does it keep?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.linux import network_devices
from ociruntime.linux.network_devices import Refused, arrived, describe, move, take_back

if TYPE_CHECKING:
    from pathlib import Path


class Message(dict[str, Any]):
    """A netlink message as pyroute2 gives it: fields, and attributes by short or long name, or by a path."""

    def get(self, name: Any, default: Any = None) -> Any:
        """The field or attribute."""
        return super().get(name, default)


def link(index: int, name: str, address: str = "02::7", kind: str = "veth", flags: int = 1) -> Message:
    """A device."""
    return Message(
        {
            "index": index,
            "ifname": name,
            "address": address,
            "ifi_type": 1,
            "flags": flags,
            ("linkinfo", "kind"): kind,
        }
    )


class Space:
    """A namespace with these devices; what is asked of it is noted."""

    def __init__(self, *links: Message, addresses: tuple[Message, ...] = ()) -> None:
        self.links = list(links)
        self.addresses = addresses
        self.asked: list[dict[str, Any]] = []

    def get_links(self) -> list[Message]:
        """All devices."""
        return self.links

    def get_addr(self, index: int) -> list[Message]:
        """The addresses of a device."""
        return [one for one in self.addresses if one["index"] == index]

    def link(self, _verb: str, **how: Any) -> None:
        """A change of a device."""
        self.asked.append(how)

    def addr(self, _verb: str, **how: Any) -> None:
        """A new address."""
        self.asked.append(how)


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([], None),
        ([link(3, "eth0")], 3),
        ([link(9, "eth0")], 9),
        ([link(9, "x"), link(3, "y")], 3),
        ([link(5, "was-there")], None),
        ([link(3, "eth0", address="02::8")], None),
        ([link(3, "eth0", kind="vlan")], None),
        ([link(5, "was-there"), link(6, "eth0")], 6),
    ],
)
def test_the_device_that_arrived(links: list[Message], expected: int | None) -> None:
    """By kind and hardware address, by number if there are several, and never one that was there before."""
    note = describe(Space(), link(3, "eth0"), [1, 5])
    found = arrived(Space(*links), note)
    assert (found and found["index"]) == expected


def address(index: int, flags: int, scope: int = 0, **parts: Any) -> Message:
    """An address."""
    return Message({"index": index, "family": 2, "prefixlen": 24, "scope": scope, "flags": flags & 0xFF, "IFA_FLAGS": flags, **parts})  # fmt: skip


def test_what_is_kept_of_addresses() -> None:
    """Permanent and global ones, without the flags that are the kernel's to set (R119)."""
    here = Space(
        addresses=(
            address(3, 0x80 | 0x01 | 0x200, address="10.0.0.2", local="10.0.0.1", broadcast="10.0.0.255"),
            address(3, 0, address="10.0.0.3"),
            address(3, 0x80, scope=253, address="10.0.0.4"),
            address(4, 0x80, address="10.0.0.5"),
        )
    )
    kept = {"family": 2, "prefixlen": 24, "flags": 0x280, "address": "10.0.0.2", "local": "10.0.0.1", "broadcast": "10.0.0.255"}  # fmt: skip
    assert describe(here, link(3, "eth0"), [])["addresses"] == [kept]


def test_nothing_is_touched_when_the_name_is_taken(tmp_path: Path) -> None:
    """The refusal comes before the note and before the move (R117)."""
    here, there = Space(link(3, "eth3")), Space(link(1, "lo"))
    with pytest.raises(Refused, match="already has a device lo"):
        move(here, there, str(tmp_path / "note"), "eth3", "lo")
    assert (here.asked, there.asked, list(tmp_path.iterdir())) == ([], [], [])


def test_a_move_that_was_not_done_is_undone(tmp_path: Path) -> None:
    """The device is still on the host: its addresses and its state are as noted afterwards."""
    note = tmp_path / "note"
    here = Space(link(3, "eth3"), addresses=(address(3, 0x80, address="10.0.0.1"),))
    network_devices.write_note(str(note), describe(here, here.links[0], []))
    take_back(here, Space(), str(note))
    assert [asked.get("address", asked.get("state")) for asked in here.asked] == ["10.0.0.1", "up"]


def test_another_runtime_s_namespace(tmp_path: Path) -> None:
    """A device is not brought into a namespace that it never was in."""
    note = tmp_path / "note"
    note.write_text(json.dumps({**describe(Space(), link(3, "eth3"), []), "namespace": "net:[1]"}))
    there = Space(link(3, "eth0"))
    with pytest.raises(Refused, match="a network namespace other than this one"):
        take_back(Space(), there, str(note))
    assert there.asked == []
