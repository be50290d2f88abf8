# SPDX-License-Identifier: Apache-2.0
"""What does a container's journal say? One line of JSON for each host step that must be undone; StateDir writes it.

    {"op": "make_cgroup", "args": {...}}
    {"op": "init", "args": {"pid": 4711, "start_time": 123456}}

`state` and `kill` need nothing of it. This module must not import a subject, launch or a verb.
"""

from __future__ import annotations

from ociruntime.config import parse
from ociruntime.errors import BundleError

# Before entries had an op, they had a subject and words for people.
_FORMER = {
    ("launch", "init"): "init",
    ("linux.cgroups", "make cgroup"): "make_cgroup",
    ("linux.intelrdt", "make resctrl group"): "make_resctrl_group",
    ("linux.intelrdt", "make monitoring group"): "make_monitoring_group",
    ("linux.network", "move network device"): "move_network_device",
    ("linux.rootfs", "note mounts"): "note_mounts",
    ("notify", "make notify directory"): "make_notify_directory",
}


def entries(text: bytes) -> list[dict[str, object]]:
    """The entries of a journal, without a last line that was cut off, and without lines that are not entries."""
    return [entry for entry in map(_entry_of, text.split(b"\n")[:-1]) if entry]


def init_of(journal: list[dict[str, object]]) -> dict[str, object]:
    """Pid and start time of init, as a journal has them; empty if it was not there yet."""
    for entry in reversed(journal):
        if entry["op"] == "init" and isinstance(entry["args"], dict):
            return entry["args"]
    return {}


def is_entry(line: bytes) -> bool:
    """Is this a line of one of our journals?"""
    return bool(_entry_of(line))


def _entry_of(line: bytes) -> dict[str, object]:
    try:
        entry = parse(line, "journal").value
    except BundleError:
        return {}
    if not isinstance(entry, dict) or not isinstance(entry.get("args"), dict):
        return {}
    if isinstance(entry.get("op"), str):
        return entry
    subject, name = entry.get("subject"), entry.get("name")
    if not isinstance(subject, str) or not isinstance(name, str):
        return {}
    return {"op": _FORMER.get((subject, name), name), "args": entry["args"]}
