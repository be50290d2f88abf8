# SPDX-License-Identifier: Apache-2.0
"""What linux/credentials.py plans for user, groups and umask, and how it reads a hostile /etc/passwd."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.config import Node
from ociruntime.host import Host
from ociruntime.linux import credentials
from ociruntime.linux.cgroups.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

HOST = Host(Layout("none"))
PASSWD = """root:x:0:0:root:/root:/bin/sh
# no comment
user:x:1000:1000::/home/user:/bin/sh
twice:x:1000:1000::/other:/bin/sh
empty:x:5:5:::/bin/sh
short:x:6
hex:x:0x7:7::/hex:/bin/sh
space:x: 8:8::/space:/bin/sh
zero:x:009:9::/zero:/bin/sh
no number:x::1::/none:
"""


def config(user: dict[str, Any] | None, **linux: Any) -> Node:
    """A config with this user."""
    return Node({"process": {"user": user, "cwd": "/", "args": ["sh"]}, "linux": linux})


def test_groups_of_the_caller_never_stay() -> None:
    """An empty setgroups is planned also without additionalGids, so that nothing is kept (R064)."""
    _, step = credentials.plan_early(config({"uid": 0, "gid": 0}), HOST)
    assert (step.op, step.args) == ("groups", ([],))


@pytest.mark.parametrize(
    ("umask", "expected"), [(None, [0xFFFFFFFF]), (0, [0]), (0o22, [0o22]), (0o7777, [0o777])]
)
def test_umask_only_if_set(umask: int | None, expected: list[int]) -> None:
    """An unset umask leaves the caller's (R063); the kernel takes nine bits."""
    steps = credentials.plan_early(config({"uid": 0, "gid": 0, "umask": umask}), HOST)
    assert [step.args[0] for step in steps if step.op == "umask"] == expected


def test_user_and_groups_in_this_order() -> None:
    """The umask and groups come early, the change of user late: after it groups could not be set."""
    node = config({"uid": 7, "gid": 8, "umask": 0o27, "additionalGids": [9, 10, 9]})
    early = [(step.op, step.args) for step in credentials.plan_early(node, HOST)]
    late = [(step.op, step.args) for step in credentials.plan_late(node, HOST)]
    assert early == [("umask", (0o27,)), ("groups", ([9, 10],))]
    assert late == [("user", (7, 8))]


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        ({"user": {"uid": 1, "gid": 2}}, [("stream_owner", (1,), "/process/user")]),
        ({"user": {"uid": 1, "gid": 2}, "terminal": False}, [("stream_owner", (1,), "/process/user")]),
        ({"user": {"uid": 1, "gid": 2}, "terminal": True}, []),
        ({"user": {"uid": 0, "gid": 2}}, []),
        ({}, []),
    ],
)
def test_streams_of_another_user(process: dict[str, Any], expected: list[object]) -> None:
    """Given to a user other than root, but not if there is a terminal, which a step of its own gives."""
    steps = credentials.plan_streams(Node({"process": {"cwd": "/", "args": ["sh"], **process}}))
    assert [(step.op, step.args, step.pointer) for step in steps] == expected
    assert not [*credentials.plan_streams(Node({}))]


def test_no_user_is_root_and_no_process_is_nothing() -> None:
    """Without process.user the program runs as 0:0, as with runc; without process there is no program."""
    assert [step.args for step in credentials.plan_late(config(None), HOST)] == [(0, 0)]
    steps = [*credentials.plan_early(Node({}), HOST), *credentials.plan_late(Node({}), HOST)]
    assert [step.op for step in steps] == ["umask"]


USER_NAMESPACE = {
    "namespaces": [{"type": "user"}],
    "uidMappings": [
        {"containerID": 0, "hostID": 100000, "size": 10},
        {"containerID": 20, "hostID": 200000, "size": 1},
    ],
    "gidMappings": [{"containerID": 5, "hostID": 100000, "size": 5}],
}


@pytest.mark.parametrize(
    ("user", "linux", "expected"),
    [
        ({"uid": 1, "gid": 2, "additionalGids": [3]}, {}, []),
        ({"uid": 4294967294, "gid": 4294967294}, {}, []),
        ({"uid": 4294967295, "gid": 0}, {}, ["/process/user/uid"]),
        ({"uid": 0, "gid": 4294967295}, {}, ["/process/user/gid"]),
        (
            {"uid": 0, "gid": 0, "additionalGids": [1, 4294967295]},
            {},
            ["/process/user/additionalGids/1"],
        ),
        ({"uid": 0, "gid": 5, "additionalGids": [9]}, USER_NAMESPACE, []),
        ({"uid": 9, "gid": 9}, USER_NAMESPACE, []),
        ({"uid": 20, "gid": 5}, USER_NAMESPACE, []),
        ({"uid": 10, "gid": 5}, USER_NAMESPACE, ["/process/user/uid"]),
        ({"uid": 21, "gid": 4}, USER_NAMESPACE, ["/process/user/uid", "/process/user/gid"]),
        (
            {"uid": 0, "gid": 5, "additionalGids": [10]},
            USER_NAMESPACE,
            ["/process/user/additionalGids/0"],
        ),
        (
            {"uid": 7, "gid": 5},
            {**USER_NAMESPACE, "uidMappings": [{"containerID": 0, "hostID": 1}]},
            [],  # the schema's violation, once
        ),
        ({"uid": 10, "gid": 0}, {"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]}, []),
        ({"uid": 10, "gid": 5}, {**USER_NAMESPACE, "namespaces": [{"type": "pid"}]}, []),
    ],
)
def test_check_refuses_ids_that_would_stay_root(
    user: dict[str, Any], linux: dict[str, Any], expected: list[str]
) -> None:
    """-1 means "no change" to the kernel, and an unmapped id cannot be taken: both are refused."""
    assert [one.pointer for one in credentials.check(config(user, **linux))] == expected


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A rootfs with the users of PASSWD, beside a canary that no lookup may reach."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/passwd").write_text("root:x:0:0::/CANARY:/bin/sh\n")
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "rootfs/etc/passwd").write_text(PASSWD)
    return tmp_path / "rootfs"


@pytest.mark.parametrize(
    ("uid", "home"),
    [(0, "/root"), (1000, "/home/user"), (5, ""), (6, ""), (7, None), (8, None), (9, "/zero"), (77, None)],
)
def test_home_is_looked_up_by_uid(rootfs: Path, uid: int, home: str | None) -> None:
    """The first line of the uid decides; lines that make no sense are ignored."""
    assert credentials.home_of(uid, str(rootfs)) == home


@pytest.mark.parametrize(
    "target", ["passwd.real", "/etc/passwd.real", "../etc/./passwd.real", "../../../../etc/passwd.real"]
)
def test_home_follows_links_inside_the_rootfs(rootfs: Path, target: str) -> None:
    """A link is resolved as the container would: `/` and too many `..` are the rootfs."""
    (rootfs / "etc/passwd").rename(rootfs / "etc/passwd.real")
    (rootfs / "etc/passwd").symlink_to(target)
    assert credentials.home_of(0, str(rootfs)) == "/root"


def test_home_follows_a_linked_directory(rootfs: Path) -> None:
    """/etc itself may be a link."""
    (rootfs / "usr").mkdir()
    (rootfs / "etc").rename(rootfs / "usr/etc")
    (rootfs / "etc").symlink_to("/usr/etc")
    assert credentials.home_of(0, str(rootfs)) == "/root"


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_home_never_leaves_the_rootfs(rootfs: Path, depth: int) -> None:
    """A link to the host's file, absolute or by dots, finds nothing."""
    passwd = rootfs / "etc/passwd"
    for target in (str(rootfs.parent / "outside/passwd"), "../" * depth + "outside/passwd"):
        passwd.unlink()
        passwd.symlink_to(target)
        assert credentials.home_of(0, str(rootfs)) is None


def test_home_of_something_that_is_no_file(rootfs: Path, tmp_path: Path) -> None:
    """A pipe does not hang, a loop of links ends, a directory and nothing at all are not a file."""
    passwd = rootfs / "etc/passwd"
    before = len(os.listdir("/proc/self/fd"))
    passwd.unlink()
    assert credentials.home_of(0, str(rootfs)) is None
    os.mkfifo(passwd)
    assert credentials.home_of(0, str(rootfs)) is None
    passwd.unlink()
    passwd.symlink_to("passwd")
    assert credentials.home_of(0, str(rootfs)) is None
    passwd.unlink()
    passwd.mkdir()
    assert credentials.home_of(0, str(rootfs)) is None
    assert credentials.home_of(0, str(tmp_path / "missing")) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_home_of_a_huge_file_and_a_huge_number(rootfs: Path) -> None:
    """Only the beginning of the file is read, and a number of 5000 digits does not end in a traceback."""
    line = b"x:x:" + b"9" * 5000 + b":0::/x:/bin/sh\n"
    (rootfs / "etc/passwd").write_bytes(
        line + b"a:x:3:3::/three:/bin/sh\n" + b"\n" * (2 << 20) + b"b:x:4:4::/four:\n"
    )
    assert credentials.home_of(3, str(rootfs)) == "/three"
    assert credentials.home_of(4, str(rootfs)) is None
