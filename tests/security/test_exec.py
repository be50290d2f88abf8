# SPDX-License-Identifier: Apache-2.0
"""What can a container do to a process of exec on its way into it, and what can exec's caller be led to give away?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ociruntime import Request, load
from ociruntime.config import Node
from ociruntime.errors import RuntimeFailure
from ociruntime.linux import process
from ociruntime.operations import exec as execution
from ociruntime.operations.exec_document import with_process
from tests.harness.configuration import (
    Config,
    add_bind,
    set_capabilities,
    with_namespace,
    with_users,
    writable_root,
)
from tests.harness.driver import MARK, runtime_under_test
from tests.harness.peers import PEERS
from tests.security.test_waiting_init import _watcher

if TYPE_CHECKING:
    from ociruntime.launch.context import Context
    from ociruntime.step import HostStep
    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.security.conftest import Canary

Users = Callable[[Config], None]
# Whoever may trace, and whatever files are his to open, in the user namespace that he shares with the process.
_ATTACKER = ("CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_KILL")

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the attacks are on this runtime: run with RUNTIME=ociruntime"
)


def _running(
    stage: Stage, attack: Path, uid: int = 0, *capabilities: str, users: Users | None = None
) -> Container:
    def edit(config: Config) -> None:
        if users is not None:
            users(config)
        writable_root(config)
        set_capabilities(config, *capabilities)
        config["process"]["user"] = {"uid": uid, "gid": uid}
        config["process"]["rlimits"] = []

    bundle = stage.bundle("sleep", "1000", edit=edit, own_files=True)
    shutil.copy(attack, bundle.rootfs / "attack")
    container = stage.container(bundle=bundle)
    container.create().ok()
    container.start().ok()
    return container


def _inside(pid: int) -> str:
    """A process id as the container sees it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith("NSpid:")).split()[-1]


def _descriptors(stage: Stage, container: Container) -> str:
    """What a program of exec finds open; it waits for a pid file, so that there is a last stop."""
    made = load(str(stage.runtime.root), container.id)
    reader, writer = os.pipe()
    request, pid_file = Request(["/attack", "fds"]), str(stage.directory / "pid")
    with made.exec(request, pid_file=pid_file, stdio=(-1, writer, writer)) as running:
        os.close(writer)
        with os.fdopen(reader) as output:
            said = output.read()
        assert running.wait() == 0
    return said


@pytest.mark.parametrize("uid", [0, 1000])
def test_process_on_its_way_cannot_be_touched(
    stage: Stage, attack: Path, uid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its last stop it has the container's user and rights already, and still can't be traced, read or entered.

    Its program is the sealed copy, and what it holds of the runtime goes with execve.
    """
    container = _running(stage, attack, uid, "CAP_KILL")
    seen: dict[str, object] = {}

    def look(_path: str, pid: int) -> None:
        seen["touched"] = container.exec("/attack", "touch", _inside(pid)).ok().out
        seen["exe"] = os.readlink(f"/proc/{pid}/exe")
        seen["owner"] = os.stat(f"/proc/{pid}/mem").st_uid
        status = Path(f"/proc/{pid}/status").read_text()
        seen["user"] = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        seen["root"] = (
            os.stat(f"/proc/{pid}/root").st_ino == os.stat(f"/proc/{container.state()['pid']}/root").st_ino
        )

    monkeypatch.setattr(execution, "write_pid_file", look)
    said = _descriptors(stage, container)
    assert seen == {
        "touched": "",
        "exe": "/memfd:ociruntime-init (deleted)",
        "owner": 0,
        "user": [str(uid)] * 4,
        "root": True,
    }
    assert [line.split()[0] for line in said.splitlines()] == ["0", "1", "2"]
    container.delete("--force").ok()


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("joined", [False, True])
def test_process_on_its_way_into_a_user_namespace(
    stage: Stage, attack: Path, monkeypatch: pytest.MonkeyPatch, uid: int, joined: bool
) -> None:
    """CVE-2016-9962: who may trace everything in that namespace touches nothing, neither while the process is root nor after.

    Its owner on the host is the mapped id from the first stop on; what it holds of the host goes with execve.
    """
    first = _running(stage, attack, 0, users=with_users) if joined else None

    def users(config: Config) -> None:
        with_users(config)
        if first is not None:
            with_users(config, path=f"/proc/{first.state()['pid']}/ns/user")
            with_namespace(config, "pid", f"/proc/{first.state()['pid']}/ns/pid")
        config["process"]["oomScoreAdj"] = 5

    container = _running(stage, attack, uid, *_ATTACKER, users=users)
    seen: list[tuple[object, ...]] = []

    def look(pid: int) -> None:
        touched = container.exec("/attack", "touch", _inside(pid)).ok().out
        status = Path(f"/proc/{pid}/status").read_text()
        user = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        owner = os.stat(f"/proc/{pid}/mem").st_uid
        seen.append((touched, os.readlink(f"/proc/{pid}/exe"), owner, user))

    def at_limits(step: HostStep, context: Context) -> None:
        if len(seen) < 1:
            seen.append(())  # the attacker is an exec as well, and comes here again
            look(context.pid)
        set_score(step, context)

    set_score = process.apply
    monkeypatch.setattr(process, "apply", at_limits)
    monkeypatch.setattr(execution, "write_pid_file", lambda _path, pid: look(pid))
    said = _descriptors(stage, container)
    sealed = ("", "/memfd:ociruntime-init (deleted)", 0)
    assert seen == [(), (*sealed, ["100000"] * 4), (*sealed, [str(100000 + uid)] * 4)]
    assert [line.split()[0] for line in said.splitlines()] == ["0", "1", "2"]
    for one in (container, first):
        if one is not None:
            one.delete("--force").ok()


@pytest.mark.parametrize("users", [None, with_users], ids=["", "user namespace"])
def test_the_attack_succeeds_on_the_program(stage: Stage, attack: Path, users: Users | None) -> None:
    """The test above can fail: the program itself, of the same user and rights, is traced and read."""
    container = _running(stage, attack, 1000, "CAP_KILL", users=users)
    made = load(str(stage.runtime.root), container.id)
    with made.exec(Request(["sleep", "100"])) as process:
        said = container.exec("/attack", "touch", _inside(process.pid)).ok().out
        process.kill(9)
        assert process.wait() == 128 + 9
    assert "ptrace" in said
    assert "mem" in said
    container.delete("--force").ok()


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("users", [None, with_users], ids=["", "user namespace"])
def test_a_watcher_inside(stage: Stage, attack: Path, uid: int, users: Users | None) -> None:
    """A process that tries to get at every other one that appears gets at none that exec makes.

    The program has a capability more than the watcher, so that only the way to it is open to attack.
    """
    watcher = _watcher(stage, attack, uid, users)
    for _ in range(6):
        watcher.exec("sleep", "0.2", flags=("-u", "0:0", "-c", "CAP_CHOWN")).ok()
    watcher.kill("KILL").ok()
    watcher.wait_for("stopped")
    lines = watcher.output().splitlines()
    watcher.delete().ok()
    assert sum(line.endswith(" appeared") for line in lines) >= 6, lines
    assert [line for line in lines if not line.endswith((" appeared", "watching"))] == []


@pytest.mark.parametrize("number", [*range(3, 12), 1000])
def test_cwd_is_no_descriptor_of_the_runtime(stage: Stage, attack: Path, number: int) -> None:
    """CVE-2024-21626: --cwd /proc/self/fd/N and a link to it lead nowhere, whatever is open."""
    container = _running(stage, attack)
    link = container.bundle.rootfs / "link"
    link.symlink_to(f"/proc/self/fd/{number}")
    command = stage.runtime.command
    stage.runtime.command = ["/bin/sh", "-c", 'exec "$@" 3</ 4</ 5</ 6</ 7</', "sh", *command]
    for place in (f"/proc/self/fd/{number}", "/link", f"/proc/self/fd/{number}/../.."):
        result = container.exec("pwd", flags=("--cwd", place))
        assert result.code == 255, result.out
        result.refused("/process/cwd")
    stage.runtime.command = command
    container.delete("--force").ok()


_USERS = {
    "1": "1 0",
    "1:2": "1 2",
    "01": "1 0",
    "4294967294:7": "4294967294 7",
    **dict.fromkeys(
        ("", ":", "1:", ":1", "4294967295", "4294967296", "18446744073709551616", "0x1", " 1", "1 ", "+1", "-1",
         "1:2:3", "1:-1", "1:4294967295", "root", "0root", "\u0661", "1_0", "1.0", "1e3", "9" * 5000), ""
    ),
}  # fmt: skip


def test_user_is_exact_or_refused(stage: Stage, attack: Path) -> None:
    """CVE-2026-30892: each text is those ids, or an error; none is root by mistake."""
    container = _running(stage, attack)
    made = load(str(stage.runtime.root), container.id)
    for text, wanted in _USERS.items():
        if len(text) > 20 or text in (
            "1",
            "1:2",
            "",
            " 1",
        ):  # all of them through the command would take long
            result = container.exec("sh", "-c", "echo $(id -u) $(id -g)", flags=(f"--user={text}",))
            assert (result.code, result.out.strip()) == ((0, wanted) if wanted else (255, "")), text
            continue
        reader, writer = os.pipe()
        with os.fdopen(reader) as output:
            try:
                request = Request(["sh", "-c", "echo $(id -u) $(id -g)"], user=text)
                with made.exec(request, stdio=(-1, writer, writer)) as process:
                    process.wait()
            except RuntimeFailure as failure:
                os.write(writer, b"" if text in str(failure) else str(failure).encode())
            os.close(writer)
            assert output.read().strip() == wanted, text
    container.delete("--force").ok()


def test_capabilities_are_never_inheritable(stage: Stage, attack: Path) -> None:
    """CVE-2022-29162, CVE-2025-27612: neither the flag nor the library adds to the inheritable or ambient set."""
    container = _running(stage, attack)
    fields = ["grep", "-E", "CapInh|CapAmb|CapEff", "/proc/self/status"]
    assert container.exec(*fields, flags=("-c", "CAP_CHOWN")).ok().out.split()[1::2] == [
        "0" * 16,
        f"{1:016x}",
        "0" * 16,
    ]
    made = load(str(stage.runtime.root), container.id)
    reader, writer = os.pipe()
    with made.exec(Request(fields, capabilities=["CAP_CHOWN"]), stdio=(-1, writer, writer)) as process:
        os.close(writer)
        with os.fdopen(reader) as output:
            assert output.read().split()[1::2] == ["0" * 16, f"{1:016x}", "0" * 16]
        assert process.wait() == 0
    container.delete("--force").ok()


def _home(container: Container) -> str:
    return container.exec("sh", "-c", "echo $HOME").ok().out.strip()


def test_passwd_is_read_inside_the_root(stage: Stage, attack: Path, canary: Canary) -> None:
    """Links lead to files of the container, a FIFO hangs nothing, and what is mounted there counts."""
    container = _running(stage, attack)
    root = container.bundle.rootfs
    place = root / "etc" / "passwd"
    outside = Path(str(canary)) / "file"
    assert _home(container) == "/root"
    place.unlink()
    place.symlink_to(outside)
    assert _home(container) == "/"
    place.unlink()
    place.symlink_to("/proc/self/root/passwd")  # of this process it would be the host's
    (root / "passwd").write_text("root:x:0:0::/fake:/bin/sh\n")
    assert _home(container) == "/"
    place.unlink()
    place.symlink_to("../../../../passwd")
    assert _home(container) == "/fake"
    place.unlink()
    os.mkfifo(place)
    assert _home(container) == "/"
    canary.check()
    container.delete("--force").ok()


def test_passwd_is_no_file_of_the_kernel(stage: Stage, attack: Path) -> None:
    """A link to /proc/kmsg is not read with the runtime's rights: reading the kernel's log takes its messages away."""
    container = _running(stage, attack)
    place = container.bundle.rootfs / "etc" / "passwd"
    place.unlink()
    place.symlink_to("/proc/kmsg")
    log = os.open("/proc/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            os.read(log, 65536)
    except BlockingIOError:
        Path("/dev/kmsg").write_text("x:x:0:0:x:/from-the-log:x\n")
    assert _home(container) == "/"
    with os.fdopen(log, "rb", buffering=0) as rest:
        assert b"/from-the-log" in rest.read(65536)
    container.delete("--force").ok()


def test_process_document_does_not_unconfine(stage: Stage, attack: Path) -> None:
    """A label or capabilities that a document leaves empty are the container's, as if it had not named them."""
    container = _running(stage, attack)
    made = load(str(stage.runtime.root), container.id)
    kept = Node(
        {
            "process": {
                "cwd": "/",
                "apparmorProfile": "p",
                "selinuxLabel": "l",
                "capabilities": {"bounding": []},
            }
        }
    )
    for empty in ("", None):
        document = {"args": ["true"], "cwd": "/", "apparmorProfile": empty, "selinuxLabel": empty}
        config = with_process(kept, Request(document={**document, "capabilities": None}))
        assert [config.at("process", name).value for name in ("apparmorProfile", "selinuxLabel")] == [
            "p",
            "l",
        ]
        assert config.at("process", "capabilities").value == {"bounding": []}
    assert made.status() == "running"
    container.delete("--force").ok()


def test_mounted_passwd(stage: Stage, tmp_path: Path) -> None:
    """Engines mount an /etc/passwd over the image's: exec reads what its program will see."""
    file = tmp_path / "passwd"
    file.write_text("root:x:0:0::/mounted:/bin/sh\n")
    container = stage.running(lambda config: add_bind(config, str(file), "/etc/passwd", "ro"))
    assert _home(container) == "/mounted"
    container.delete("--force").ok()


def test_program_comes_from_the_container(stage: Stage, attack: Path) -> None:
    """What the container has on its PATH is run in the container, with its rights; nothing of it by the runtime."""
    container = _running(stage, attack)
    for name in ("newuidmap", "python3", "sh", "nsenter"):
        container.bundle.script(
            f"evil/{name}", "#!/bin/busybox sh\n/bin/id -u\nexec /bin/readlink /proc/self/ns/pid\n"
        )
    out = container.exec("python3", flags=("-e", "PATH=/evil", "-u", "7")).ok().out.split()
    assert out == ["7", os.readlink(f"/proc/{container.state()['pid']}/ns/pid")]
    container.delete("--force").ok()


def test_environment_of_the_caller_stays_outside(stage: Stage, attack: Path) -> None:
    """No variable and no group of the caller gets in, and none of the process document gets out."""
    container = _running(stage, attack)
    env = {"PATH": os.environ["PATH"], "SECRET": "x", "LISTEN_FDS": "1", "NOTIFY_SOCKET": "/x", MARK: "1"}
    out = (
        container.exec("env", flags=("-e", "LD_PRELOAD=/attack", "-e", "PYTHONPATH=/evil"), env=env).ok().out
    )
    names = {line.partition("=")[0] for line in out.splitlines()}
    assert names == {"PATH", "TERM", "HOME", "LD_PRELOAD", "PYTHONPATH"}
    container.delete("--force").ok()
