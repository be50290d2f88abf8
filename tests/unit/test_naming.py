# SPDX-License-Identifier: Apache-2.0
"""Does an error name the thing that is meant, for a user of an engine, who never saw config.json?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ociruntime.check import check
from ociruntime.check.naming import named, thing_of
from ociruntime.config import Node, parse
from ociruntime.errors import InvalidConfig, Violation
from ociruntime.operations import exec_document

INVALID = Path(__file__).parents[2] / "bundle-examples" / "invalid"
CASES = sorted(path.parent.name for path in INVALID.glob("*/config.json"))

# Cases whose reason names neither a value nor a thing, and why that is right.
EXCEPTIONS = {
    "hook-without-path": "a hook is nothing but its path",
    "interface-priority-without-name": "nothing but the priority is known of it",
    "personality-flag": "any flag is wrong, whatever its name",
    "rdma-empty": "the device is the last word of the pointer",
    "seccomp-default-errno": "its presence is wrong, not its value",
    "seccomp-rule-without-names": "the rule has nothing that it could be called",
}

CONFIG: dict[str, Any] = {
    "mounts": [{"destination": "/a", "type": "tmpfs"}, {"source": "/b"}, {"type": "proc"}, {}, "text"],
    "hooks": {"poststop": [{"path": "/bin/hook"}]},
    "process": {"rlimits": [{"type": "RLIMIT_CORE"}], "args": ["a"]},
    "linux": {
        "namespaces": [{"type": "network"}],
        "devices": [{"path": "/dev/x"}, {"major": 5, "minor": 1}],
        "uidMappings": [{"containerID": 0, "hostID": 1000}],
        "seccomp": {"syscalls": [{"names": ["a", "b", "c", "d"]}]},
        "resources": {
            "devices": [{"allow": True, "type": "c", "major": 1}, {}],
            "hugepageLimits": [{"pageSize": "2MB"}],
            "blockIO": {"weightDevice": [{"major": 8, "minor": 0}]},
            "network": {"priorities": [{"name": "eth0"}]},
        },
    },
}


def value_at(document: Any, pointer: str) -> Any:
    """The value that a pointer leads to, None if there is none."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        try:
            document = document[int(name)] if isinstance(document, list) else document[name]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return document


def scalars(value: Any) -> list[str]:
    """Every text and number in a value, as an error may repeat it."""
    if isinstance(value, dict):
        return [*map(str, value), *(text for member in value.values() for text in scalars(member))]
    if isinstance(value, list):
        return [text for member in value for text in scalars(member)]
    if value is None or isinstance(value, bool):
        return [{None: "null", True: "true", False: "false"}[value]]
    return [ascii(value).strip("'")]


def is_named(document: Any, violation: Violation) -> bool:
    """Whether the reason repeats the value or the thing. Of what is missing the pointer may name the object."""
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in violation.pointer.split("/")]
    value = value_at(document, violation.pointer)
    if value in (None, []):
        listed = any(token.isdigit() for token in tokens)
        around = value_at(document, violation.pointer.rpartition("/")[0])
        return not listed or any(text in violation.reason for text in scalars(around))
    if value == "":
        return "''" in violation.reason
    return any(text in violation.reason for text in (ascii(tokens[-1]).strip("'"), *scalars(value)))


@pytest.mark.parametrize("name", CASES)
def test_an_error_names_the_value_or_the_thing(name: str) -> None:
    """The reason itself repeats what is wrong, or names the entry of the list in which it is."""
    document = parse((INVALID / name / "config.json").read_bytes(), name).value
    wrong = [one for one in check.violations(Node(document)) if not is_named(document, one)]
    assert wrong == [] or name in EXCEPTIONS
    assert wrong or name not in EXCEPTIONS


def test_no_exception_is_without_a_case() -> None:
    """A case that is gone takes its exception along."""
    assert set(EXCEPTIONS) <= set(CASES)


@pytest.mark.parametrize(
    ("pointer", "words"),
    [
        ("/mounts/0/options/3", "mount on /a"),
        ("/mounts/0", "mount on /a"),
        ("/mounts/1/destination", "mount of /b"),
        ("/mounts/2/destination", "mount of type proc"),
        ("/mounts/3/destination", ""),
        ("/mounts/4", ""),
        ("/mounts/17", ""),
        ("/mounts", ""),
        ("/hooks/poststop/0/timeout", "hook /bin/hook"),
        ("/process/rlimits/0/hard", "resource limit RLIMIT_CORE"),
        ("/process/args/0", ""),
        ("/linux/namespaces/0/path", "network namespace"),
        ("/linux/devices/0/major", "device /dev/x"),
        ("/linux/devices/1/path", "device 5:1"),
        ("/linux/uidMappings/0/size", "user ids (containerID 0, hostID 1000)"),
        ("/linux/seccomp/syscalls/0/args/2/index", "rule for a, b, c, ..."),
        ("/linux/resources/devices/0/access", "device rule c 1:* rwm"),
        ("/linux/resources/devices/1/allow", "device rule a *:* rwm"),
        ("/linux/resources/hugepageLimits/0/limit", "huge pages of 2MB"),
        ("/linux/resources/blockIO/weightDevice/0/weight", "block device 8:0"),
        ("/linux/resources/network/priorities/0/priority", "interface eth0"),
        ("", ""),
        ("/no/such/thing", ""),
    ],
)
def test_the_thing_behind_a_pointer(pointer: str, words: str) -> None:
    """Entries of lists are named by what tells them apart."""
    assert thing_of(Node(CONFIG), pointer)[1] == words


def test_a_name_stands_once_and_is_short() -> None:
    """A reason that has the name is left as it is; a long name is cut; a reason about a property begins with it."""
    config = Node({"mounts": [{"destination": "/a"}, {"destination": "/" + "n" * 300}]})
    same = Violation("/mounts/0/type", "nothing can be on /a", "R1", "warning")
    assert named(config, same) is same
    missing = named(config, Violation("/mounts/0/type", "is required", "R1", "warning"))
    assert missing == Violation("/mounts/0/type", "mount on /a: type is required", "R1", "warning")
    assert len(named(config, Violation("/mounts/1/type", "is required")).reason) < 140


def test_exec_names_it_too() -> None:
    """A process document of an engine: the limit is named."""
    process = {
        "cwd": "/",
        "args": ["a"],
        "user": {"uid": 0, "gid": 0},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 1}],
    }
    config = Node({"ociVersion": "1.0.0", "root": {"path": "/"}, "process": process})
    with pytest.raises(InvalidConfig, match="resource limit RLIMIT_CORE: hard is required"):
        exec_document.require(config)


def test_what_is_refused_as_unsupported_is_named() -> None:
    """The mount, not only its number."""
    maps = [{"containerID": 0, "hostID": 1, "size": 1}]
    mount = {
        "destination": "/x",
        "type": "tmpfs",
        "options": ["idmap"],
        "uidMappings": maps,
        "gidMappings": maps,
    }
    config = json.loads((INVALID / "cwd-missing" / "config.json").read_text("utf-8"))
    config["process"]["cwd"] = "/"
    config["mounts"].append(mount)
    with pytest.raises(check.NotSupported, match="mount on /x: id-mapped mounts other than"):
        check.require(Node(config))
