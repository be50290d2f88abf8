# SPDX-License-Identifier: Apache-2.0
"""exec_document: what the flags and a document make of a container's process, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.errors import InvalidConfig, UsageError
from ociruntime.operations.exec_document import Request, number_of, require, with_process

CONFIG: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {
        "args": ["sh"],
        "cwd": "/own",
        "env": ["PATH=/bin", "A=own"],
        "terminal": True,
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]},
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": []},
        "oomScoreAdj": 9,
        "noNewPrivileges": True,
    },
}


def made(request: Request, config: dict[str, Any] = CONFIG) -> dict[str, Any]:
    """The process that is run."""
    value = with_process(Node(config), request).at("process").value
    assert isinstance(value, dict)
    return value


def test_the_container_s_process_is_the_model() -> None:
    """Everything but the program, and the terminal, which belongs to one process."""
    assert made(Request(["true"])) == {**CONFIG["process"], "args": ["true"], "terminal": False}
    assert made(Request(["true"], tty=True))["terminal"] is True


def test_the_container_s_own_document_is_not_changed() -> None:
    """The result is a new document; lists of the old one are not appended to."""
    before = repr(CONFIG)
    made(Request(["true"], env=["B=1"], user="5", additional_gids=["7"], capabilities=["CAP_CHOWN"]))
    assert repr(CONFIG) == before


@pytest.mark.parametrize(
    ("request_", "changed"),
    [
        (Request(["x"], cwd="/y"), {"cwd": "/y"}),
        (Request(["x"], env=["A=1", "B=2"]), {"env": ["PATH=/bin", "A=own", "A=1", "B=2"]}),
        (Request(["x"], user="5"), {"user": {"uid": 5, "gid": 2, "umask": 18, "additionalGids": [3]}}),
        (Request(["x"], user="5:0"), {"user": {"uid": 5, "gid": 0, "umask": 18, "additionalGids": [3]}}),
        (
            Request(["x"], additional_gids=["7", "0"]),
            {"user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 7, 0]}},
        ),
        (Request(["x"], no_new_privs=False), {"noNewPrivileges": False}),
        (Request(["x"], process_label="a:b:c:d"), {"selinuxLabel": "a:b:c:d"}),
        (Request(["x"], apparmor="p"), {"apparmorProfile": "p"}),
    ],
)
def test_a_flag_changes_one_thing(request_: Request, changed: dict[str, Any]) -> None:
    """What the flag names, and nothing else."""
    assert made(request_) == {**made(Request(["x"])), **changed}


def test_a_container_without_a_process() -> None:
    """Create makes one without process; exec's is root in a directory that must be given."""
    bare = {name: value for name, value in CONFIG.items() if name != "process"}
    assert made(Request(["x"], cwd="/", user="7"), bare)["user"] == {"uid": 7, "gid": 0}
    with pytest.raises(InvalidConfig, match="/process/cwd"):
        require(with_process(Node(bare), Request(["x"])))


@pytest.mark.parametrize("inheritable", [None, [], ["CAP_KILL"]])
def test_capabilities_are_never_inheritable(inheritable: list[str] | None) -> None:
    """CVE-2025-27612: three sets grow, ambient only where the config has inheritable ones, inheritable never."""
    config = {**CONFIG, "process": {**CONFIG["process"], "capabilities": {"inheritable": inheritable}}}
    sets = made(Request(["x"], capabilities=["CAP_CHOWN"]), config)["capabilities"]
    assert sets["inheritable"] == inheritable
    assert sets["bounding"] == sets["effective"] == sets["permitted"] == ["CAP_CHOWN"]
    assert sets.get("ambient", []) == (["CAP_CHOWN"] if inheritable else [])


def test_a_document_is_the_whole_process() -> None:
    """Only what would unconfine if it were left out is the container's."""
    document: dict[str, object] = {"args": ["x"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    own = CONFIG["process"]
    assert made(Request(document=document)) == {
        **document,
        "capabilities": own["capabilities"],
        "oomScoreAdj": 9,
    }
    assert made(Request(document={**document, "capabilities": {}}))["capabilities"] == {}


@pytest.mark.parametrize(
    "more",
    [
        {"args": ["x"]},
        {"cwd": "/"},
        {"env": ["A=b"]},
        {"user": "0"},
        {"additional_gids": ["1"]},
        {"capabilities": ["CAP_KILL"]},
        {"no_new_privs": False},
        {"process_label": "x"},
        {"apparmor": "x"},
    ],
)
def test_nothing_beside_a_document(more: dict[str, Any]) -> None:
    """A wish that would be ignored is refused."""
    with pytest.raises(UsageError, match="can't be given together with a process document"):
        made(Request(document={}, **more))


@pytest.mark.parametrize("text", ["0", "1", "007", "65534", "4294967294"])
def test_numbers(text: str) -> None:
    """Decimal digits are that number."""
    assert number_of(text, "user") == int(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "1 ", " 1", "+1", "-1", "0x1", "1.0", "1e2", "1_0", "root", "\u0661", "\uff11", "1\n", "4294967295",
     "4294967296", "99999999999", "9" * 5000],
)  # fmt: skip
def test_what_is_no_id(text: str) -> None:
    """CVE-2026-30892: everything else is an error, and never 0."""
    with pytest.raises(UsageError, match="user"):
        number_of(text, "user")


@pytest.mark.parametrize("user", [":", "1:", ":1", "1:2:3", "1: 2", "a:b"])
def test_halves_of_a_user(user: str) -> None:
    """A colon wants a number on both sides."""
    with pytest.raises(UsageError, match=re.escape(repr(user))):
        made(Request(["x"], user=user))


def test_no_program() -> None:
    """Runc's words."""
    with pytest.raises(UsageError, match="process args cannot be empty"):
        made(Request([]))


def test_every_mistake_is_told() -> None:
    """The schema's violations and the subjects' together, each once, all in the text."""
    document: dict[str, object] = {
        "args": ["x"],
        "cwd": "x",
        "user": {"uid": -1, "gid": 0},
        "env": ["A"],
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}],
        "execCPUAffinity": {"initial": "3-1", "final": "9999"},
    }
    with pytest.raises(InvalidConfig) as caught:
        require(with_process(Node(CONFIG), Request(document=document)))
    pointers = [violation.pointer for violation in caught.value.violations]
    assert sorted(pointers) == sorted(set(pointers))
    assert set(pointers) == {
        "/process/cwd",
        "/process/user/uid",
        "/process/env/0",
        "/process/rlimits/0/soft",
        "/process/execCPUAffinity/initial",
        "/process/execCPUAffinity/final",
    }
    assert all(pointer in str(caught.value) for pointer in pointers)


def test_an_unknown_capability_is_a_warning() -> None:
    """R049: it is named and left out."""
    found = require(with_process(Node(CONFIG), Request(["/x"], capabilities=["CAP_FROB"])))
    assert {violation.severity for violation in found} == {"warning"}
    assert "CAP_FROB" in str(found[0])
