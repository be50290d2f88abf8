# SPDX-License-Identifier: Apache-2.0
"""How does a network device get into another network namespace, and back, as it was?

A program of its own, which linux/network.py starts: pyroute2 takes 100 ms to import, and opens a socket in
another namespace by a fork and setns(2), which a library must not do to the process that loads it.

    network_devices move NOTE DEVICE NAME     descriptor 3: the namespace to move to; NAME may be empty
    network_devices take-back NOTE            descriptor 3: the namespace to take it from

The file NOTE says how the device was; it is written before anything is changed. The last line of what it prints is
"done", or "failed ERRNO REASON". Must not import anything of this package.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

_NAMESPACE = 3
_EEXIST, _ENODEV = 17, 19
_IFF_UP = 1
_IFA_F_PERMANENT, _IFA_F_TENTATIVE, _IFA_F_SECONDARY, _IFA_F_DADFAILED = 0x80, 0x40, 0x01, 0x08
_RT_SCOPE_UNIVERSE = 0
# What an address consists of, besides its family and prefix length.
_ADDRESS_PARTS = ("address", "local", "broadcast")


class Refused(Exception):
    """The device is not moved; `number` is an errno, or 0."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


def main() -> None:
    """Do what the command line says, and print how it ended."""
    action, *request = sys.argv[1:]
    try:
        with IPRoute() as here, IPRoute(netns=f"/proc/self/fd/{_NAMESPACE}") as there:
            if action == "move":
                move(here, there, *request)
            else:
                take_back(here, there, *request)
    except Refused as refused:
        print("failed", refused.number, refused)
    except NetlinkError as failure:
        print("failed", failure.code, failure.args[1] if len(failure.args) > 1 else "netlink")
    except OSError as failure:
        print("failed", failure.errno or 0, failure.filename or "")
    else:
        print("done")


def move(here: Any, there: Any, note_path: str, name: str, new_name: str) -> None:
    """Move one device, keep its addresses, bring it up."""
    found = [link for link in here.get_links() if link.get("ifname") == name]
    if not found:
        raise Refused(_ENODEV, name)
    before = {link["index"]: link.get("ifname") for link in there.get_links()}
    inside = new_name or name
    # The kernel moves the device first and renames it then: a name that is taken has to be seen before.
    if inside in before.values():
        raise Refused(_EEXIST, f"the container's network namespace already has a device {inside}")
    note = describe(here, found[0], list(before))
    write_note(note_path, note)
    wanted = {"ifname": new_name} if new_name else {}
    here.link("set", index=note["index"], net_ns_fd=_NAMESPACE, **wanted)
    moved = arrived(there, note)
    if moved is None:
        raise Refused(_ENODEV, f"{name} did not arrive")
    restore(there, moved["index"], note["addresses"], up=True)


def take_back(here: Any, there: Any, note_path: str) -> None:
    """Undo a move that was done, or was about to be.

    If the device is in neither namespace, the kernel has taken care of it.
    """
    with open(note_path, "rb") as file:
        note = json.load(file)
    if note["namespace"] != own_namespace():
        raise Refused(0, f"{note['name']} came from a network namespace other than this one")
    away = arrived(there, note)
    if away is not None:
        back = os.open("/proc/self/ns/net", os.O_RDONLY)
        here_before = [link["index"] for link in here.get_links()]
        there.link("set", index=away["index"], net_ns_fd=back, ifname=note["name"])
        device = arrived(here, {**note, "others": here_before})
    else:
        device = arrived(here, {**note, "others": []})
        device = device if device is not None and device.get("ifname") == note["name"] else None
    if device is not None:
        restore(here, device["index"], note["addresses"], up=note["up"])


def describe(here: Any, link: Any, others: list[int]) -> dict[str, Any]:
    """What tells the device from others, and what it loses by being moved.

    others   numbers of the devices that the other namespace has before
    """
    addresses = []
    for entry in here.get_addr(index=link["index"]):
        flags = entry.get("IFA_FLAGS", entry["flags"])
        # R119: an address that expires, or is valid on this link only, does not count as the user's.
        if flags & _IFA_F_PERMANENT and entry["scope"] == _RT_SCOPE_UNIVERSE:
            address = {"family": entry["family"], "prefixlen": entry["prefixlen"]}
            address["flags"] = flags & ~(_IFA_F_TENTATIVE | _IFA_F_SECONDARY | _IFA_F_DADFAILED)
            for part in _ADDRESS_PARTS:
                if entry.get(part) is not None:
                    address[part] = entry.get(part)
            addresses.append(address)
    return {
        "name": link.get("ifname"),
        "index": link["index"],
        "others": others,
        "kind": kind(link),
        "up": bool(link["flags"] & _IFF_UP),
        "addresses": addresses,
        "namespace": own_namespace(),
    }


def kind(link: Any) -> list[object]:
    """What a move does not change about a device."""
    return [link["ifi_type"], link.get("address"), link.get(("linkinfo", "kind"))]


def arrived(where: Any, note: dict[str, Any]) -> Any:
    """The device of the note in a namespace, if it is there and was not before; else None."""
    found = [link for link in where.get_links() if link["index"] not in note["others"]]
    found = [link for link in found if kind(link) == note["kind"]]
    # Its number stays the same unless another device there has it.
    found.sort(key=lambda link: link["index"] != note["index"])
    return found[0] if found else None


def restore(where: Any, index: int, addresses: list[dict[str, Any]], *, up: bool) -> None:
    """Give a device its addresses again, and bring it up."""
    for address in addresses:
        try:
            where.addr("add", index=index, **address)
        except NetlinkError as failure:
            if failure.code != _EEXIST:
                raise
    if up:
        where.link("set", index=index, state="up")


def own_namespace() -> str:
    """Which network namespace this process is in."""
    return os.readlink("/proc/self/ns/net")


def write_note(path: str, note: dict[str, Any]) -> None:
    """By rename: half a note would restore half a device."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(note, file)
    os.rename(f"{path}.new", path)
