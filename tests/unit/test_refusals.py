# SPDX-License-Identifier: Apache-2.0
"""Do the remedies say what is missing and what gives it? What a machine of the tests can't lack is put in facts' place.

The lacks that can be made really are in tests/integration/test_doctor.py.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from ociruntime.linux.namespace_entries import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWTIME, CLONE_NEWUSER
from ociruntime.linux.refusals import cgroups, facts, ids, mounts, namespaces, session, steps
from ociruntime.native.encode import OPS
from ociruntime.ops import OPS as HOST_OPS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ALL, _NONE = "000001ffffffffff", "0000000000000000"
_HOST = "         0          0 4294967295"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what a process of a host sees: path -> content; capabilities, seccomp mode, uid."""
    held: dict[str, str] = {}
    monkeypatch.setattr(facts, "_held", held)

    def set_facts(
        files: dict[str, str] | None = None,
        *,
        caps: str = _ALL,
        seccomp: int = 0,
        uid: int = 0,
        uid_map: str = _HOST,
    ) -> None:
        held.clear()
        held["/proc/self/status"] = f"Name:\tx\nCapEff:\t{caps}\nNoNewPrivs:\t0\nSeccomp:\t{seccomp}"
        held["/sys/module/apparmor/parameters/enabled"] = "N"
        held["/proc/self/mountinfo"] = "1 0 8:1 / / rw - ext4 /dev/x rw"
        held["/proc/sys/kernel/unprivileged_userns_clone"] = ""
        held["/proc/sys/kernel/apparmor_restrict_unprivileged_userns"] = ""
        held.update(
            {"/proc/self/uid_map": uid_map, "/proc/self/gid_map": uid_map, "uid": str(uid), "gid": str(uid)}
        )
        held.update(files or {})

    set_facts()
    return set_facts


def said(remedy: object, *words: str) -> None:
    """The remedy is there, and has all these words."""
    assert remedy is not None
    for word in words:
        assert word in str(remedy)


def test_nothing_is_guessed(given: Callable[..., None]) -> None:
    """A root with every capability and nothing around it: whatever refuses is none of these."""
    given()
    assert namespaces.remedy(errno.EPERM, CLONE_NEWNET) is None
    assert namespaces.remedy(errno.ENOMEM, CLONE_NEWNET) is None
    assert mounts.remedy(errno.EPERM, "tmpfs") is None
    assert mounts.remedy(errno.EINVAL, "tmpfs") is None
    assert mounts.remedy(errno.EPERM, "proc", in_user_namespace=True) is None
    assert cgroups.remedy(errno.EPERM, "/sys/fs/cgroup/x") is None
    assert cgroups.remedy(errno.EBUSY, "/sys/fs/cgroup/x") is None
    assert ids.map_refused(errno.EPERM, "uid_map", [[0, 0, 1]]) is None
    assert steps.of_host_step("open_bind_source", errno.ENOENT, "/x", 0) is None
    assert steps.of_init_step("hostname", errno.EINVAL, {}, users=False) is None


def test_privilege(given: Callable[..., None]) -> None:
    """Who lacks CAP_SYS_ADMIN: a user, or a root of an outer container."""
    given(caps=_NONE, uid=1000)
    said(
        namespaces.remedy(errno.EPERM, CLONE_NEWNET),
        "uid 1000 has no CAP_SYS_ADMIN",
        "sudo",
        "user namespace",
    )
    given(caps=_NONE)
    said(namespaces.remedy(errno.EPERM, CLONE_NEWNS), "root has no CAP_SYS_ADMIN", "--cap-add SYS_ADMIN")


def test_each_step_has_its_capability(given: Callable[..., None]) -> None:
    """The one that the kernel asks for; the root of a new user namespace has them all."""
    given(caps=_NONE)
    said(
        steps.of_init_step("loopback", errno.EPERM, {}, users=False),
        "no CAP_NET_ADMIN",
        "--cap-add NET_ADMIN",
    )
    said(steps.of_init_step("mknod", errno.EPERM, {}, users=False), "--cap-add MKNOD")
    said(steps.of_host_step("make_device_node", errno.EPERM, "/x", 0), "--cap-add MKNOD")
    said(steps.of_init_step("hostname", errno.EPERM, {}, users=False), "--cap-add SYS_ADMIN")
    assert steps.of_init_step("hostname", errno.EPERM, {}, users=True) is None
    assert steps.of_init_step("session_keyring", errno.EPERM, {}, users=False) is None
    given(caps=_NONE, seccomp=2)
    said(steps.of_init_step("hostname", errno.EPERM, {}, users=True), "Seccomp: 2")
    said(steps.of_init_step("session_keyring", errno.EPERM, {}, users=False), "Seccomp: 2")


def test_time_offsets_of_an_ordinary_user(given: Callable[..., None]) -> None:
    """EACCES is from a user namespace that was joined; root, and a container without a user namespace, have other reasons."""
    given(caps=_NONE, uid=1000)
    said(
        steps.of_init_step("time_offsets", errno.EACCES, {}, users=True),
        "no time offsets in a user namespace that is joined",
        "list a new user namespace",
    )
    assert steps.of_init_step("time_offsets", errno.ERANGE, {}, users=True) is None
    assert steps.of_init_step("time_offsets", errno.EACCES, {}, users=False) is None
    given()
    assert steps.of_init_step("time_offsets", errno.EACCES, {}, users=True) is None


def test_the_ops_are_real() -> None:
    """Each op that has a capability is one of init's or of the runtime's."""
    assert set(steps._NEEDS) - set(OPS) == set(steps._NEEDS) & set(HOST_OPS)


def test_user_namespaces_that_are_forbidden(given: Callable[..., None]) -> None:
    """Debian's sysctl, Ubuntu's, an id that is not mapped, a chroot; root is not concerned by the first two."""
    debian = {"/proc/sys/kernel/unprivileged_userns_clone": "0"}
    ubuntu = {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}
    given(debian, caps=_NONE, uid=1000)
    said(namespaces.remedy(errno.EPERM, CLONE_NEWUSER), "sysctl -w kernel.unprivileged_userns_clone=1")
    given(ubuntu, caps=_NONE, uid=1000)
    cure = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    said(namespaces.remedy(errno.EPERM, CLONE_NEWUSER), "as on Ubuntu", cure)
    said(mounts.remedy(errno.EACCES, "tmpfs", in_user_namespace=True), cure)
    said(mounts.remedy(errno.EPERM, "tmpfs", in_user_namespace=True), cure)
    said(ids.map_refused(errno.EPERM, "uid_map", [[0, 1000, 1]]), cure)
    given({**debian, **ubuntu})
    assert namespaces.restriction() is None
    given(caps=_NONE, uid=1000, uid_map="0 100000 65536\n")
    given({"/proc/self/uid_map": "0 100000 10"}, caps=_NONE, uid=1000)
    said(
        namespaces.remedy(errno.EPERM, CLONE_NEWUSER),
        "uid 1000 of the runtime is not mapped",
        "/proc/self/uid_map",
    )
    given({"/proc/self/mountinfo": "1 0 8:1 / /proc rw - proc proc rw"}, caps=_NONE, uid=1000)
    said(namespaces.remedy(errno.EPERM, CLONE_NEWUSER), "chroot", "pivot_root")
    given(caps=_NONE, uid=1000)
    said(namespaces.remedy(errno.EPERM, CLONE_NEWUSER), "security module", "chroot")


def test_limits_of_namespaces(given: Callable[..., None]) -> None:
    """Those that are 0 by name; else all that count, with their values, and the lowest is raised."""
    given({"/proc/sys/user/max_user_namespaces": "0", "/proc/sys/user/max_net_namespaces": "0"})
    remedy = namespaces.remedy(errno.ENOSPC, CLONE_NEWUSER | CLONE_NEWNET)
    said(remedy, "user.max_user_namespaces and user.max_net_namespaces are 0")
    said(remedy, "sysctl -w user.max_user_namespaces=15000 user.max_net_namespaces=15000")
    given({"/proc/sys/user/max_user_namespaces": "20000", "/proc/sys/user/max_net_namespaces": "30"})
    remedy = namespaces.remedy(errno.ENOSPC, CLONE_NEWUSER | CLONE_NEWNET)
    said(
        remedy,
        "user.max_user_namespaces = 20000, user.max_net_namespaces = 30",
        "32 user namespaces",
        "max_net_namespaces=15000",
    )
    said(namespaces.remedy(errno.EAGAIN, CLONE_NEWNET), "ulimit -u", "pids.max")


def test_a_kernel_without_a_namespace(given: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """As /proc/self/ns shows."""
    given()
    monkeypatch.setattr(os.path, "exists", lambda path: path != "/proc/self/ns/time")
    said(namespaces.remedy(errno.EINVAL, CLONE_NEWTIME), "no time namespaces", "CONFIG_TIME_NS")
    assert namespaces.remedy(errno.EINVAL, CLONE_NEWNET) is None


def test_what_an_outer_container_forbids(given: Callable[..., None]) -> None:
    """A filter, an AppArmor profile, masks on /proc and /sys; mounts on directories that are always empty hide nothing."""
    given(seccomp=2)
    for number in (errno.EPERM, errno.ENOSYS):
        said(namespaces.remedy(number, CLONE_NEWNET), "Seccomp: 2", "seccomp=unconfined")
        said(steps.of_init_step("pivot_root", number, {}, users=False), "Seccomp: 2")
        said(steps.of_host_step("open_bind_source", number, "/x", 0), "Seccomp: 2")
    said(steps.of_host_step("set_scheduler", errno.ENOSYS, "", 0), "Seccomp: 2")
    assert steps.of_host_step("set_scheduler", errno.EPERM, "", 0) is None, "it may be CAP_SYS_NICE"
    profile = {
        "/sys/module/apparmor/parameters/enabled": "Y",
        "/proc/self/attr/apparmor/current": "docker-default (enforce)",
    }
    given(profile)
    said(mounts.remedy(errno.EACCES, "tmpfs"), "docker-default (enforce)", "apparmor=unconfined")
    said(steps.of_init_step("pivot_root", errno.EACCES, {}, users=False), "apparmor=unconfined")
    lines = "\n".join(f"{number} 1 0:1 / {place} ro - tmpfs x ro" for number, place in enumerate(_MASKS, 20))
    given({"/proc/self/mountinfo": lines})
    said(
        mounts.remedy(errno.EPERM, "proc", in_user_namespace=True),
        "/proc is covered in 4 places (/proc/acpi, /proc/kcore, /proc/keys, ...)",
        "systempaths=unconfined",
        "unmask=ALL",
        "procMount: Unmasked",
    )
    said(
        mounts.remedy(errno.EPERM, "sysfs", in_user_namespace=True),
        "/sys is covered in 1 places (/sys/firmware)",
    )
    assert mounts.remedy(errno.EPERM, "proc") is None


_MASKS = (
    *("/proc/kcore", "/proc/keys", "/proc/acpi", "/proc/timer list".replace(" ", "\\040"), "/sys/firmware"),
    *("/proc/sys/fs/binfmt_misc", "/sys/fs/cgroup", "/sys/kernel/debug"),
)


def test_mounts(given: Callable[..., None]) -> None:
    """Types that the kernel lacks; overlay in a user namespace; id-mapped mounts; attributes."""
    given()
    said(
        mounts.remedy(errno.ENODEV, "overlay"),
        "does not know the file system type overlay",
        "modprobe overlay",
    )
    said(mounts.remedy(errno.EPERM, "overlay", in_user_namespace=True), "Linux 5.11", "fuse-overlayfs")
    said(mounts.id_mapping(errno.EINVAL, "nfs"), "file systems of type nfs", "ext4")
    said(mounts.id_mapping(errno.ENOSYS), "mount_setattr", "Linux 5.12")
    said(mounts.attributes(errno.ENOSYS), "rro", "Linux 5.12")
    assert mounts.id_mapping(errno.EBADF) is None
    given(caps=_NONE, uid=1000)
    said(mounts.id_mapping(errno.EPERM), "uid 1000 has no CAP_SYS_ADMIN", "leave out the option idmap")
    for number in (errno.EACCES, errno.EPERM):
        refused = mounts.id_maps_of_mount(number, "uid_map", [[0, 100000, 5]])
        said(refused, "uid 1000 has no CAP_SYS_ADMIN in the user namespace of the file system", "sudo")
    assert mounts.id_maps_of_mount(errno.ENOMEM, "uid_map", [[0, 100000, 5]]) is None
    given(uid_map="0 1000 1")
    said(mounts.id_mapping(errno.EPERM), "in a user namespace", "host's root")
    said(mounts.id_maps_of_mount(errno.EPERM, "uid_map", [[0, 100000, 5]]), "100000-100004 are not mapped")
    assert mounts.kind_of("/proc/self") == "ext4"


def test_cgroups(given: Callable[..., None], tmp_path: Path) -> None:
    """Not delegated, read-only, not mounted, switched off."""
    given(caps=_NONE, uid=1000)
    v1, v2 = tmp_path / "v1", tmp_path / "v2"
    v1.mkdir()
    v2.mkdir()
    (v2 / "cgroup.subtree_control").touch()
    said(
        cgroups.remedy(errno.EACCES, f"{v2}/a/b"),
        f"no delegation: {v2} does not belong to uid 1000",
        "Delegate=yes",
    )
    said(cgroups.remedy(errno.EACCES, f"{v2}/a/b"), f"chown 1000 {v2} {v2}/cgroup.procs", "leave limits out")
    said(cgroups.remedy(errno.EPERM, f"{v1}/a"), "no delegation", "unified_cgroup_hierarchy=1")
    said(cgroups.remedy(errno.EROFS, f"{v2}/a"), "read-only", "--privileged", "remount,rw")
    for path in ("bpf", f"{v1}/devices.deny"):
        said(
            cgroups.remedy(errno.EPERM, path),
            "only the host's root may set device rules",
            "resources.devices",
        )
    said(
        steps.of_host_step("load_device_program", errno.EPERM, "", 0),
        "only the host's root may set device rules",
    )
    for path in ("", "x"):
        assert cgroups.remedy(errno.EACCES, path) is None
    said(cgroups.no_hierarchy(), "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    given({"/proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\ncpu\t0\t1\t1"})
    said(cgroups.no_controller("v2", "memory"), "cgroup_disable=memory", "boot again")
    said(
        cgroups.no_controller("v2", "cpu"),
        "not delegated",
        "+cpu > cgroup.subtree_control",
        "Delegate=cpu cpuset io",
    )
    said(
        cgroups.no_controller("hybrid", "cpu"),
        "not mounted",
        "mount -t cgroup -o cpu cgroup /sys/fs/cgroup/cpu",
    )


def test_memory_files(given: Callable[..., None]) -> None:
    """The sysctl that forbids to execute them, also in the words of the step that starts init."""
    given({"/proc/sys/vm/memfd_noexec": "2"})
    said(steps.executable(errno.EACCES), "vm.memfd_noexec is 2", "sysctl -w vm.memfd_noexec=1")
    said(
        steps.of_host_step("clone_init", errno.EPERM, "tmpfs for ociruntime-init", CLONE_NEWUSER),
        "vm.memfd_noexec is 2",
    )


def test_ids(given: Callable[..., None]) -> None:
    """What may not be mapped, by whom."""
    given(caps=_NONE, uid=1000)
    said(
        ids.map_refused(errno.EPERM, "uid_map", [[0, 100000, 65536]]),
        "uid 1000 may map no ids but its own",
        "apt-get install uidmap",
    )
    given(caps=_NONE)
    said(ids.map_refused(errno.EPERM, "gid_map", [[0, 0, 1]]), "root has no CAP_SETGID", "--cap-add SETGID")
    given(uid_map="0 1000 1\n1 100000 65536")
    said(
        ids.map_refused(errno.EPERM, "uid_map", [[0, 0, 1], [1, 70000, 5]]),
        "host ids 70000-70004",
        "which has 0-0, 1-65536",
    )
    assert ids.map_refused(errno.EINVAL, "uid_map", []) is None


def test_sub_ids(tmp_path: Path) -> None:
    """Lines by name and by uid; other users' and malformed ones don't count."""
    table = tmp_path / "subuid"
    table.write_text("# ids\nother:1:65536\nme:100000:1000\n1000:300000:65536\nme:x:1\nme:5\nme:7:0\n:1:2\n")
    assert ids.read_sub_ids(str(table), "me", 1000) == [(100000, 1000), (300000, 65536)]
    assert ids.sub_ids(str(table), "me", 1000, 65536) is None
    said(
        ids.sub_ids(str(table), "me", 1001, 65536),
        "gives me 1000 ids in a row (100000:1000), and 65536 are needed",
    )
    said(
        ids.sub_ids(str(table), "you", 5),
        f"{table} has no range for you",
        "usermod --add-subuids 100000-165535 you",
    )
    said(ids.sub_ids(str(tmp_path / "subgid"), "me", 1), "has no range", "--add-subgids")
    said(ids.sub_ids(str(table), "", 7), "uid 7 has no name", "useradd --uid 7")


def test_login_name(given: Callable[..., None]) -> None:
    """From /etc/passwd, or from wherever users are; none for an unknown uid."""
    given({"/etc/passwd": "root:x:0:0::/:/bin/sh\nme:x:1000:7::/:/bin/sh\n\nbroken"})
    assert [ids.login_name(uid) for uid in (0, 1000)] == ["root", "me"]
    assert ids.login_name(54321) == ""
    given({"/etc/passwd": ""})
    assert ids.login_name(0) == "root"


def test_newuidmap(given: Callable[..., None], tmp_path: Path) -> None:
    """Not there; there without power; with no_new_privs."""
    given()
    said(ids.helper("newuidmap", str(tmp_path)), "no newuidmap in $PATH", "apt-get install uidmap")
    program = tmp_path / "newuidmap"
    program.touch(mode=0o755)
    said(
        ids.helper("newuidmap", f"/nowhere:{tmp_path}"),
        f"{program} has neither",
        f"setcap cap_setuid+ep {program}",
    )
    given({"/proc/self/status": "NoNewPrivs:\t1"})
    said(ids.helper("newuidmap", str(tmp_path)), "no_new_privs is set")


@pytest.mark.root
def test_newuidmap_with_power(given: Callable[..., None], tmp_path: Path) -> None:
    """The set-uid bit of root, or the capability of a file; that of the other program is not enough."""
    given()
    program = tmp_path / "newuidmap"
    program.touch(mode=0o755)
    program.chmod(0o755 | stat.S_ISUID)
    assert ids.helper("newuidmap", str(tmp_path)) is None
    program.chmod(0o755)
    for capability, enough in ((facts.CAP_SETGID, False), (facts.CAP_SETUID, True)):
        value = b"\1\0\0\2" + (1 << capability).to_bytes(4, "little") + bytes(12)
        os.setxattr(program, "security.capability", value)
        assert (ids.helper("newuidmap", str(tmp_path)) is None) is enough


def test_runtime_directory(tmp_path: Path) -> None:
    """Unset, missing, somebody else's, writable by others."""
    own = os.geteuid()
    tmp_path.chmod(0o700)
    assert session.runtime_directory(str(tmp_path), own) is None
    said(
        session.runtime_directory("", 54321, "me"), "XDG_RUNTIME_DIR is not set", "loginctl enable-linger me"
    )
    said(session.runtime_directory("/no/such", own), "/no/such: no such file", "enable-linger")
    said(session.runtime_directory(str(tmp_path), own + 1), f"belongs to uid {own}", "mode 0700")
    tmp_path.chmod(0o777)
    said(session.runtime_directory(str(tmp_path), own), "has mode 0777")


def test_bus(tmp_path: Path) -> None:
    """No address and no directory; no socket; an address that leads nowhere; no systemd."""
    own = os.geteuid()
    tmp_path.chmod(0o700)
    said(session.user_bus({}, 54321), "no user bus: XDG_RUNTIME_DIR is not set")
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    said(
        session.user_bus(environment, own, "me"),
        f"no {tmp_path}/bus",
        "dbus-user-session",
        "enable-linger me",
        "cgroupfs",
    )
    (tmp_path / "bus").touch()
    assert session.user_bus(environment, own) is None
    environment["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/no/such/bus,guid=1"
    said(session.user_bus(environment, own), "/no/such/bus does not exist")
    environment["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={tmp_path}/bus"
    assert session.user_bus(environment, own) is None
    said(session.unreachable(54321, {}), "no user bus: XDG_RUNTIME_DIR is not set")
    said(session.unreachable(0, {}), "--cgroup-manager cgroupfs")
    if not os.path.isdir("/run/systemd/system"):
        said(session.system_bus(), "systemd does not run here: process 1 is", "--cgroup-manager cgroupfs")
