# SPDX-License-Identifier: Apache-2.0
"""How is a step made to fail? What test_forced_failures.py takes for a case, and the cases of binds and users, of user and time namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.harness.configuration import Config, add_bind, id_maps, with_namespace, with_users
from tests.integration.edited_plan import POINTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Case(NamedTuple):
    """One way to fail.

    words  what the error must say: pointer, step, reason
    config changes the config so that the step fails (or is there at all)
    edit   name of an edit of the plan, where no config is the cause
    verb   the verb that fails: create, or start after a create that succeeds
    flags  flags of create
    """

    words: tuple[str, ...]
    config: Callable[[Config], None] | None = None
    edit: str = ""
    verb: str = "create"
    flags: tuple[str, ...] = ()


def _device(path: str, major: int) -> Callable[[Config], None]:
    def edit(config: Config) -> None:
        with_users(config)
        config["linux"]["devices"] = [{"path": path, "type": "c", "major": major, "minor": 3}]

    return edit


def _wide(count: int) -> Iterator[tuple[int, int, int]]:
    """Ranges of which 340 are more than a page of text, and so more than the kernel takes."""
    yield 0, 100000, 1
    yield from ((1_000_000_000 + number, 1_100_000_000 + number, 1) for number in range(1, count))


def _mapped(source: str, ranges: int) -> Callable[[Config], None]:
    def edit(config: Config) -> None:
        add_bind(config, source, "/mnt", "idmap")
        maps = id_maps(*_wide(ranges))
        config["mounts"][7].update(uidMappings=maps, gidMappings=maps)

    return edit


def _too_many_ids(config: Config) -> None:
    with_users(config, *_wide(340))


def _before_time(config: Config) -> None:
    with_namespace(config, "time")
    config["linux"]["timeOffsets"] = {"monotonic": {"secs": -(10**9)}}


def _of_user(config: Config) -> None:
    config["process"]["user"] = {"uid": 5, "gid": 5}


def _users_bind(source: str, place: str) -> Callable[[Config], None]:
    def edit(config: Config) -> None:
        with_users(config)
        add_bind(config, source, place)

    return edit


OPS_OF_BINDS = {
    "bind": Case(
        ("/mounts/7", "mount bind of /var on /etc/passwd", "ENOTDIR"),
        lambda config: add_bind(config, "/var", "/etc/passwd"),
    ),
    "bind: source": Case(
        (
            "/mounts/7",
            "open bind source",
            "/no/such/source on /mnt",
            "ENOENT",
            "the source of a bind mount must exist",
        ),
        lambda config: add_bind(config, "/no/such/source", "/mnt"),
    ),
    "bind: source in the rootfs": Case(
        ("/mounts/7", "open bind source", "/no/such in the rootfs on /mnt", "ENOENT"),
        lambda config: add_bind(config, "rootfs/no/such", "/mnt"),
    ),
    "bind: no procfs": Case(
        ("/mounts/7", "mount bind of /var on /proc", "not a proc file system"),
        lambda config: add_bind(config, "/var", "/proc"),
    ),
    "mount_tree": Case(
        ("/mounts/7", "mount bind of /var on /etc/passwd", "ENOTDIR"), _users_bind("/var", "/etc/passwd")
    ),
    "mount_tree: no procfs": Case(
        ("/mounts/7", "mount bind of /var on /proc", "not a proc file system"), _users_bind("/var", "/proc")
    ),
}
HOST_OF_BINDS = {
    "open bind source": Case(
        (
            "/mounts/7",
            "open bind source",
            "/proc/self/no on /mnt",
            "ENOENT",
            "the source of a bind mount must exist",
        ),
        lambda config: add_bind(config, "/proc/self/no", "/mnt"),
    ),
    "open bind source: in the rootfs": Case(
        ("/mounts/7", "open bind source", "/no/such in the rootfs on /mnt", "ENOENT"),
        _users_bind("rootfs/no/such", "/mnt"),
    ),
    "raise descriptor limit": Case(
        (POINTER, "RLIMIT_NOFILE is ", "are needed for 1073741824 mounts", "EMFILE", "raise the hard limit"),
        edit="raise descriptor limit",
    ),
    "give descriptor limit": Case((POINTER, "give descriptor limit", "EINVAL"), edit="give descriptor limit"),
}
OPS_OF_USERS = {
    "stream_owner": Case(("/process/user", "give streams", "fchown", "EIO"), _of_user, "stream_owner"),
    "stream_owner: fstat": Case(
        ("/process/user", "give streams", "fstat", "EIO"), _of_user, "stream_owner: fstat"
    ),
    "time_offsets": Case(("/linux/timeOffsets", "set time offsets", "ERANGE"), _before_time),
    "device": Case(
        ("/linux/devices/0", "mount device /etc/passwd", "another file"), _device("/etc/passwd", 1)
    ),
}
HOST_OF_USERS = {
    "note id maps": Case(
        ("/linux/namespaces/5", "note id maps", "join user namespace", "EINVAL", "the runtime's own"),
        lambda config: with_users(config, path="/proc/self/ns/user"),
    ),
    "hold id maps": Case(
        ("/mounts/7", "hold id maps: uid_map of the mount on /mnt: 340 ranges", "EINVAL"),
        _mapped("/var", 340),
    ),
    "write id map": Case(("/linux/uidMappings", "write id map", "340 ranges", "EINVAL"), _too_many_ids),
    "id-map bind source": Case(("/mounts/7", "id-map bind source", "/sys", "EINVAL"), _mapped("/sys", 1)),
    "make device node": Case(("/linux/devices/0", "make device node", "EINVAL"), _device("/dev/x", 70000)),
}

# Host steps whose failure is made to happen elsewhere, or can't be.
HOST_ELSEWHERE = {
    "check cgroup": "test_cgroup_that_is_in_use",
    "lower descriptor limit": "gives back what it had, and can't fail: test_many_mounts.py",
    "send terminal": "test_console.py, test_nobody_takes_it",
    "send pidfd": "test_console.py, test_nobody_takes_it",
    **dict.fromkeys(("open init", "clone helper", "clone hook"), "test_exec_forced.py"),
    "note mounts": "test_full_disk.py, without a mount namespace",
    "clone init": "test_no_process_is_left_to_make",
    "check device node": "without root: test_rootless.py, test_a_device_that_can_not_be_made",
    **dict.fromkeys(
        ("start scope", "release scope", "set unit properties"), "tests/systemd and test_systemd_bus.py"
    ),
}
