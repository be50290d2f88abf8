# SPDX-License-Identifier: Apache-2.0
"""Does every step fail well? Each op of plan.h and each kind of host step is made to fail once.

The error is one line with verb, pointer, step and reason; the exit code is 1; nothing is left behind.
Real causes where config.json can be one, else the command with an edited plan (edited_plan.py).
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ociruntime.native.encode import OPS, encode
from ociruntime.native.spawn import Child, ChildFailed
from ociruntime.ops import OPS as HOST_OPS, words_of
from ociruntime.progress import SYNC_POINTS
from ociruntime.step import SyncStep
from tests.harness.configuration import Config, add_bind, add_hook, with_namespace, without_namespace
from tests.harness.driver import ENVIRONMENT, MARK, runtime_under_test
from tests.harness.peers import PEERS
from tests.harness.seccomp_profiles import CONFLICT, NO_AGENT, NO_AGENT_NO_WRITE
from tests.integration import edited_plan
from tests.integration.failing import (
    HOST_ELSEWHERE,
    HOST_OF_BINDS,
    HOST_OF_USERS,
    OPS_OF_BINDS,
    OPS_OF_USERS,
    Case,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.driver import Container, Result
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="steps are this runtime's: run with RUNTIME=ociruntime"
)

_PACKAGE = Path(__file__).parents[2] / "ociruntime"
_EDITED = Path(edited_plan.__file__)
_LONG = "/" + "n" * 300
_V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
# Where cgroups of the controller pids are made.
_PIDS = Path("/sys/fs/cgroup" if _V2 else "/sys/fs/cgroup/pids")


def _mount(config: Config, destination: str, kind: str, *options: str, source: str = "none") -> None:
    config["mounts"].append(
        {"destination": destination, "type": kind, "source": source, "options": list(options)}
    )


def _device(config: Config) -> None:
    device = {"path": "/etc/passwd", "type": "c", "major": 1, "minor": 3}
    config["linux"].setdefault("devices", []).append(device)


def _devpts(config: Config, other: str) -> None:
    """Nothing, or another file system, at /dev/pts."""
    config["mounts"] = [entry for entry in config["mounts"] if entry["destination"] != "/dev/pts"]
    if other:
        _mount(config, "/dev/pts", other)


def _resources(**values: object) -> Callable[[Config], None]:
    return lambda config: config["linux"]["resources"].update(values)


def _own_network(config: Config) -> None:
    with_namespace(config, "network", "/proc/self/ns/net")


def _program(*words: str) -> Callable[[Config], None]:
    return lambda config: config["process"].update(args=list(words))


def _limit(kind: str, number: int) -> Callable[[Config], None]:
    return lambda config: config["process"].update(rlimits=[{"type": kind, "soft": number, "hard": number}])


def _edited(
    name: str, *words: str, verb: str = "create", config: Callable[[Config], None] | None = None
) -> Case:
    return Case((edited_plan.POINTER, f"forced {name}", *words), config, name, verb)


# At least one case for each op; "op: what" for further ones.
_OPS: dict[str, Case] = {
    **OPS_OF_USERS,
    "join": _edited("join", "EINVAL", config=_own_network),
    "join_cgroup": _edited("join_cgroup", "EBADF"),
    "unshare": _edited("unshare", "EINVAL"),
    "fork": _edited("fork", "EINVAL", config=_own_network),
    "setsid": _edited("setsid", "EPERM"),
    "keyring_permissions": _edited("keyring_permissions", "EINVAL"),
    "session_keyring": _edited("session_keyring", "EPERM"),
    "hostname": _edited("hostname", "EINVAL"),
    "domainname": _edited("domainname", "EINVAL"),
    "loopback": _edited("loopback", "EPERM"),
    "sysctl": Case(
        ("/linux/sysctl/net.ipv4.no_such_thing", "sysctl", "ENOENT"),
        lambda config: config["linux"].update(sysctl={"net.ipv4.no_such_thing": "1"}),
    ),
    "sysctl: value": Case(
        ("/linux/sysctl/net.ipv4.ip_forward", "sysctl", "EINVAL"),
        lambda config: config["linux"].update(sysctl={"net.ipv4.ip_forward": "many"}),
    ),
    "propagation": _edited("propagation", "EINVAL"),
    "root": _edited("root", "ENOENT"),
    "mount_fs": Case(("/mounts/7", "mount", "ENODEV"), lambda config: _mount(config, "/mnt", "no-such-fs")),
    "mount_fs: option": Case(
        ("/mounts/7", "mount", "EINVAL", "size"), lambda config: _mount(config, "/mnt", "tmpfs", "size=many")
    ),
    "mount_fs: file": Case(
        ("/mounts/7", "mount tmpfs on /etc/passwd"), lambda config: _mount(config, "/etc/passwd", "tmpfs")
    ),
    "remount": Case(
        ("/mounts/7", "remount", "EINVAL"), lambda config: _mount(config, "/etc", "none", "remount", "ro")
    ),
    **OPS_OF_BINDS,
    "mount_attributes": _edited(
        "mount_attributes", "ENOENT", config=lambda config: _mount(config, "/mnt", "tmpfs", "ro")
    ),
    "mknod": Case(("/linux/devices/0", "make device /etc/passwd", "another file"), _device),
    "symlink": _edited("symlink", "ENOTDIR"),
    "mkdir": _edited("mkdir", "ENOTDIR"),
    "terminal": _edited("terminal", "ENOENT", config=lambda config: _devpts(config, "")),
    "terminal: no devpts": _edited(
        "terminal", "not a devpts", config=lambda config: _devpts(config, "tmpfs")
    ),
    "terminal_owner": _edited("terminal_owner", "EPERM"),
    "console": _edited("console", "ENOTDIR"),
    "pivot_root": _edited("pivot_root", "EBUSY"),
    "move_root": _edited("move_root", "ELOOP"),
    "chroot": _edited("chroot", "EPERM"),
    "mask": Case(
        ("/linux/maskedPaths/0", "mask", "ENAMETOOLONG"),
        lambda config: config["linux"].update(maskedPaths=[_LONG]),
    ),
    "readonly": Case(
        ("/linux/readonlyPaths/0", "read-only", "ENAMETOOLONG"),
        lambda config: config["linux"].update(readonlyPaths=[_LONG]),
    ),
    "root_attributes": _edited("root_attributes", "EINVAL"),
    "chdir": Case(
        ("/process/cwd", "/etc/passwd", "ENOTDIR"), lambda config: config["process"].update(cwd="/etc/passwd")
    ),
    "xattr": _edited("xattr", "operation not supported"),
    "xattr: bind": Case(
        (edited_plan.POINTER, "forced xattr", "shows the host's files"),
        lambda config: add_bind(config, "/var", "/mnt"),
        "xattr: bind",
    ),
    "affinity": _edited("affinity", "EINVAL"),
    "personality": Case(
        ("/linux/personality", "set personality LINUX32", "EPERM"),
        lambda config: config["linux"].update(personality={"domain": "LINUX32"}),
        "personality",
    ),
    "memory_policy": Case(
        ("/linux/memoryPolicy", "set memory policy MPOL_BIND 1000", "EINVAL"),
        lambda config: config["linux"].update(memoryPolicy={"mode": "MPOL_BIND", "nodes": "1000"}),
    ),
    "attribute": _edited("attribute", "ENOENT"),
    "groups": _edited("groups", "EPERM"),
    "bounding": _edited("bounding", "EPERM"),
    "user": _edited("user", "EPERM"),
    "capabilities": _edited("capabilities", "EPERM"),
    "no_new_privs": Case(("/process/noNewPrivileges", "EPERM"), None, "no_new_privs", "start"),
    "find_program": Case(
        (
            '/process/args/0: find program "no-such-program": executable file not found in $PATH: no such file',
        ),
        _program("no-such-program"),
    ),
    "find_program: directory": Case(
        ('/process/args/0: find program "/etc": permission denied',), _program("/etc")
    ),
    "close_from": Case(("close descriptors", "EPERM"), None, "close_from", "start"),
    "exec": Case(('start: /process/args: exec "/bin/data": ENOEXEC',), _program("/bin/data"), verb="start"),
    "exec: interpreter": Case(
        ('start: /process/args: exec "/bin/lost": ENOENT', "interpreter"), _program("/bin/lost"), verb="start"
    ),
    "seccomp": Case((edited_plan.POINTER, "forced seccomp", "EINVAL"), NO_AGENT, "seccomp", "start"),
    "listener": Case(("/listenerPath", "write: EPERM", "must allow write"), NO_AGENT_NO_WRITE, verb="start"),
    "wait_start": Case(("wait for start", "EMFILE"), None, "wait_start", "start"),
    "rlimit": Case(
        ("/process/rlimits/0", "set rlimit RLIMIT_NOFILE", "EPERM"),
        _limit("RLIMIT_NOFILE", 4),
        "rlimit",
        "start",
    ),
}
# Ops that can't be shown here, and where they are instead.
_ELSEWHERE = {
    **dict.fromkeys(("sync", "ready"), "test_sync_points_fail_when_the_runtime_gives_up"),
    **dict.fromkeys(("umask", "dumpable"), "test_umask_cannot_fail"),
}

_HOST: dict[str, Case] = {
    **HOST_OF_USERS,
    **HOST_OF_BINDS,
    "open namespace": Case(
        ("/linux/namespaces/4/path", "open namespace", "/no/such/ns", "ENOENT"),
        lambda config: with_namespace(config, "network", "/no/such/ns"),
    ),
    "open namespace: other type": Case(
        ("/linux/namespaces/4/path", "open namespace", "is a uts namespace"),
        lambda config: with_namespace(config, "network", "/proc/self/ns/uts"),
    ),
    "make cgroup": Case(
        ("/linux/cgroupsPath", "make cgroup", "cgroup.procs/inside", "ENOTDIR"),
        lambda config: config["linux"].update(cgroupsPath=f"/{MARK}-file/cgroup.procs/inside"),
    ),
    "set cgroup": Case(
        ("/linux/resources/cpu", "set cgroup", "cpu.max" if _V2 else "cpu.cfs_quota_us", "EINVAL"),
        _resources(cpu={"quota": 500, "period": 100000}),
    ),
    "set device rules": Case((edited_plan.POINTER, "set device rules", "ENOENT"), edit="set device rules"),
    "open cgroup": Case((edited_plan.POINTER, "open cgroup", "ENOENT"), edit="open cgroup"),
    "set oom_score_adj": Case(
        (edited_plan.POINTER, "set oom_score_adj", "EINVAL"),
        lambda config: config["process"].update(oomScoreAdj=0),
        "set oom_score_adj",
    ),
    "move network device": Case(
        ("/linux/netDevices/no-such-dev", "move network device no-such-dev", "ENODEV"),
        lambda config: config["linux"].update(netDevices={"no-such-dev": {}}),
    ),
    "set scheduler": Case(
        ("/process/scheduler", "set scheduler SCHED_ISO", "EINVAL"),
        lambda config: config["process"].update(scheduler={"policy": "SCHED_ISO"}),
    ),
    "set I/O priority": Case(
        (edited_plan.POINTER, "set I/O priority", "EINVAL"),
        lambda config: config["process"].update(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 4}),
        "set I/O priority",
    ),
    "check resctrl group": Case(
        ("/linux/intelRdt", "check resctrl group", "resctrl is not mounted"),
        lambda config: config["linux"].update(intelRdt={}),
    ),
    "make resctrl group": Case(
        (edited_plan.POINTER, "make resctrl group", "/no/such/resctrl/x", "ENOENT"), edit="make resctrl group"
    ),
    "make monitoring group": Case(
        (edited_plan.POINTER, "make monitoring group", "mon_groups/x", "ENOENT"), edit="make monitoring group"
    ),
    "join resctrl group": Case(
        (edited_plan.POINTER, "join resctrl group", "/no/such/resctrl/x", "ENOENT"), edit="join resctrl group"
    ),
    "make notify directory": Case(
        (edited_plan.POINTER, "make notify directory", "/no/such/directory/notify", "ENOENT"),
        edit="make notify directory",
    ),
    "run hook": Case(
        ("/hooks/createRuntime/0", "hook createRuntime /no/such/hook", "ENOENT"),
        lambda config: add_hook(config, "createRuntime", "/no/such/hook"),
    ),
    "compile seccomp filter": Case(("/syscalls/1/names/0", "compile seccomp filter", "EEXIST"), CONFLICT),
    "send seccomp listener": Case(("/listenerPath", "send seccomp", "ENOENT"), NO_AGENT, verb="start"),
    "set rlimit": Case(
        ("/process/rlimits/0", "set rlimit", "RLIMIT_NOFILE", "EPERM"), _limit("RLIMIT_NOFILE", 1 << 40)
    ),
    "connect console socket": Case(
        ("connect console socket", "/no/such/socket", "ENOENT"),
        lambda config: config["process"].update(terminal=True),
        flags=("--console-socket", "/no/such/socket"),
    ),
    "connect pidfd socket": Case(
        ("connect pidfd socket", "/no/such/socket", "ENOENT"), flags=("--pidfd-socket", "/no/such/socket")
    ),
    "commit": Case(
        ("write pid file", "/no/such/directory/pid", "ENOENT"), flags=("--pid-file", "/no/such/directory/pid")
    ),
}
if not _V2:
    _HOST["set device rules: line"] = Case(
        (edited_plan.POINTER, "set device rules: deny z: /sys/fs/cgroup/devices/", "EINVAL"),
        edit="set device rules: line",
    )
for _name in ("load device program", "delegate cgroup", "enable controllers", "set schemata"):
    _HOST[_name] = Case((edited_plan.POINTER, _name, "ENOENT"), edit=_name)
_HOST["check memory in use"] = Case((edited_plan.POINTER, "0 bytes are in use"), edit="check memory in use")


def _files(bundle: Path) -> set[str]:
    """Paths below the bundle, but for empty files and directories in the rootfs: those may be mount points."""
    found = set()
    for directory, _, names in os.walk(bundle):
        for name in names:
            path = Path(directory, name)
            if "rootfs" not in path.parts or path.is_symlink() or path.stat().st_size:
                found.add(str(path))
    return found


def _call(container: Container, case: Case, verb: str) -> Result:
    """The verb of the command, with the case's edit."""
    runtime = container.runtime
    command = runtime.command
    if case.edit:
        runtime.command = [sys.executable, str(_EDITED), case.edit]
    try:
        return container.create(*case.flags) if verb == "create" else container.start()
    finally:
        runtime.command = command


def _is_one_line(text: str, verb: str, words: tuple[str, ...]) -> None:
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith(f"ociruntime: {verb}: "), text
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    assert "internal error" not in text
    assert not re.search(r"\berrno \d", text), text


def _prepare(stage: Stage, case: Case) -> Container:
    container = stage.container("sleep", "100", edit=case.config)
    container.bundle.script("bin/data", "no program\n")
    container.bundle.script("bin/lost", "#!/no/such/interpreter\n")
    if case.edit == "join_cgroup":  # which is given the bind's tree in place of a cgroup's file
        add_bind(container.bundle.config, "/proc/self/limits", "/etc/passwd")
        container.bundle.write()
    return container


def _fails(stage: Stage, case: Case) -> None:
    container = _prepare(stage, case)
    before = _files(container.bundle.directory)
    if case.verb == "start":
        created = _call(container, case, "create")
        assert created.code == 0, created.err
    result = _call(container, case, case.verb)
    assert result.code == 1, result
    _is_one_line(result.err, case.verb, case.words)
    if case.verb == "start":
        assert container.status() == "stopped"
        container.delete().ok()
    assert stage.runtime.ids() == []
    assert _files(container.bundle.directory) == before


@pytest.mark.parametrize("name", list(_OPS))
def test_op_fails(stage: Stage, name: str) -> None:
    """An op that fails is reported in one line with pointer, step and reason; afterwards all is as before."""
    _fails(stage, _OPS[name])


@pytest.mark.parametrize("name", list(_HOST))
def test_host_step_fails(stage: Stage, name: str) -> None:
    """A host step that fails is reported in one line with pointer, step and reason; all is as before."""
    _fails(stage, _HOST[name])


def test_every_op_is_in_the_table() -> None:
    """A new op of plan.h needs a forced failure here."""
    shown = {name.partition(":")[0] for name in _OPS}
    assert shown | _ELSEWHERE.keys() == OPS.keys()
    for test in _ELSEWHERE.values():
        assert test in globals()


def _host_ops() -> Iterator[str]:
    """The first argument of each HostStep(...) in the package's sources."""
    for path in _PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "HostStep":
                op = node.args[0]
                assert isinstance(op, ast.Constant), f"{path}:{node.lineno}: the op must be a plain text"
                yield str(op.value)


def test_every_host_step_is_in_the_table() -> None:
    """A new kind of host step needs a forced failure here."""
    shown = {name.partition(":")[0] for name in _HOST}
    ops = set(_host_ops())
    assert ops == HOST_OPS.keys()
    assert shown | HOST_ELSEWHERE.keys() == {words_of(op) for op in ops}


@pytest.mark.parametrize("point", ["started", "mounted", "ready"])
def test_sync_points_fail_when_the_runtime_gives_up(point: str) -> None:
    """Where init waits for the runtime, another word than "go on" ends it, and it says at which point."""
    step = SyncStep(point, "test")
    buffer = encode([(7, step)], [], 3)
    child = Child(buffer, records=1)
    try:
        child.wait_for(SYNC_POINTS[point])
        child.reply(b"no")
        with pytest.raises(ChildFailed) as caught:
            child.wait_end()
    finally:
        child.kill()
        child.close()
    assert caught.value.index == 7
    assert caught.value.detail == "runtime_gone"
    assert caught.value.op == ("ready" if point == "ready" else "sync")


def test_umask_cannot_fail() -> None:
    """umask(2) always succeeds, and PR_SET_DUMPABLE refuses only what is neither 0 nor 1 (prctl(2))."""
    plan = (_PACKAGE / "plan" / "order.py").read_text()
    assert set(re.findall(r'"dumpable", (\w+)', plan)) == {"0", "1"}
    source = (_PACKAGE / "native" / "ops_process.c").read_text()
    body = source[source.index("int op_umask(") :]
    body = body[: body.index("\n}")]
    assert "fail" not in body
    assert "return 0;" in body


@pytest.fixture
def pids_cgroup() -> Iterator[Path]:
    """An own cgroup of the pids controller."""
    path = _PIDS / f"{MARK}-forced"
    path.mkdir()
    yield path
    path.rmdir()


def test_cgroup_that_is_in_use(stage: Stage, pids_cgroup: Path) -> None:
    """A cgroup with a process in it is refused, and neither it nor the process is touched (R123)."""
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        try:
            (pids_cgroup / "cgroup.procs").write_text(str(sleeper.pid))
            case = Case(
                ("/linux/cgroupsPath", "check cgroup", "is not empty", str(sleeper.pid)),
                lambda config: config["linux"].update(cgroupsPath=f"/{pids_cgroup.name}"),
            )
            _fails(stage, case)
            assert sleeper.poll() is None
            assert str(sleeper.pid) in (pids_cgroup / "cgroup.procs").read_text()
        finally:
            sleeper.kill()


def test_no_process_is_left_to_make(stage: Stage, pids_cgroup: Path) -> None:
    """Where the kernel refuses the clone (pids.max), the error says so."""

    def edit(config: Config) -> None:
        if _V2:  # there the limits count that are above the container's cgroup, not above its maker's
            config["linux"]["cgroupsPath"] = f"/{pids_cgroup.name}/inner"

    container = stage.container("true", edit=edit)
    (pids_cgroup / "pids.max").write_text("0" if _V2 else "1")
    # with a process in it, a cgroup of version 2 could have no container's below
    enter = 'exec "$@"' if _V2 else f'echo $$ > {pids_cgroup}/cgroup.procs; exec "$@"'
    command = stage.runtime.argv("create", "--bundle", str(container.bundle.directory), container.id)
    done = subprocess.run(
        ["/bin/sh", "-c", enter, "sh", *command], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    _is_one_line(done.stderr, "create", ("/linux/namespaces", "clone init", "EAGAIN"))
    assert stage.runtime.ids() == []


def test_what_a_hook_put_into_the_cgroup(stage: Stage) -> None:
    """Undo removes the container's cgroup even if there is a directory in it that something else has made."""
    holder = _PIDS / f"{MARK}-second"

    def edit(config: Config) -> None:
        config["linux"]["cgroupsPath"] = f"/{holder.name}"
        # The hook puts a directory into the cgroup that the runtime made, and fails.
        script = f"cat > /dev/null; mkdir {holder}/inner; echo $$ > {holder}/inner/cgroup.procs; exit 3"
        add_hook(config, "createRuntime", "/bin/sh", "-c", script)

    result = stage.container("true", edit=edit).create()
    assert result.code == 1
    _is_one_line(result.err, "create", ("/hooks/createRuntime/0", "exit status 3"))
    # What others made inside goes with the container's cgroup.
    assert not holder.exists()
    assert stage.runtime.ids() == []


def test_without_a_mount_namespace(stage: Stage) -> None:
    """A container that mounts into the host's namespace leaves no mount behind when a later step fails."""

    def edit(config: Config) -> None:
        without_namespace(config, "mount")
        config["linux"].pop("maskedPaths")
        config["linux"].pop("readonlyPaths")
        config["root"]["readonly"] = False

    result = stage.container("no-such-program", edit=edit).create()
    assert result.code == 1
    _is_one_line(result.err, "create", ("/process/args", "not found"))
    assert stage.runtime.ids() == []
