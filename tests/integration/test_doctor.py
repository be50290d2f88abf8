# SPDX-License-Identifier: Apache-2.0
"""What a host lacks: does the failing command say it, with its cure, and does `doctor` find it before?

Each lack of lacking.py is made around both. The doctor's cause and cure are the words of the error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups.systemd import bus
from tests.harness.bundle import make_bundle
from tests.harness.cgroup_files import V2
from tests.harness.configuration import (
    add_bind,
    default_config,
    set_capabilities,
    with_users,
    without_namespace,
)
from tests.harness.driver import ENVIRONMENT, TIMEOUT, command_of, runtime_under_test
from tests.harness.peers import PEERS
from tests.harness.stage import new_id
from tests.integration.lacking import LACKS, OF_STEPS, Lack, filtered

if TYPE_CHECKING:
    from tests.harness.driver import Container, Result
    from tests.harness.stage import Stage

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(runtime_under_test() in PEERS, reason="only this runtime has this verb")


def doctor(
    *words: str, wrapper: list[str] | None = None, **env: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code of `doctor`, and its answers by name; nothing of it is left."""
    command = [*(wrapper or []), *command_of("ociruntime"), *words, "--format", "json"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**ENVIRONMENT, **env}, timeout=TIMEOUT, check=False
    )
    assert done.stdout, done.stderr
    assert not done.stderr
    document = json.loads(done.stdout)
    assert document["works"] is (done.returncode == 0)
    assert not _left()
    return done.returncode, {one["name"]: one for one in document["probes"]}


def _left() -> list[str]:
    """Cgroups of a doctor; others may be making and removing theirs."""
    walk = os.walk("/sys/fs/cgroup")
    return [
        f"{place}/{name}"
        for place, names, _ in walk
        for name in names
        if name.startswith("ociruntime-doctor-")
    ]


def _fail(container: Container, lack: Lack) -> Result:
    runtime = container.runtime
    command = runtime.command
    runtime.command = [*lack.wrapper, *command]
    try:
        return container.create(options=lack.options)
    finally:
        runtime.command = command


@pytest.mark.parametrize("name", [name for name, lack in LACKS.items() if lack.step])
def test_the_command_says_what_is_missing(stage: Stage, name: str) -> None:
    """Step, the kernel's reason, cause and cure; the same container can be made where nothing is missing."""
    lack = LACKS[name]
    container = stage.container("true", edit=lack.edit)
    _fail(container, lack).refused("create: ", *lack.step, *lack.words)
    assert container.status() == ""
    container.create(options=lack.options).ok()
    container.delete("--force").ok()


def _of_step(name: str) -> str:
    command = [*LACKS[name].wrapper, sys.executable, "-c", OF_STEPS[name]]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout


@pytest.mark.parametrize("name", OF_STEPS)
def test_a_step_says_what_is_missing(name: str) -> None:
    """The same of a single step."""
    said = _of_step(name)
    for word in ("ENOSPC" if name == "user namespaces" else "EPERM", *LACKS[name].words):
        assert word in said


@pytest.mark.parametrize("name", LACKS)
def test_doctor_finds_it_before(stage: Stage, name: str) -> None:
    """It names the probe, says that the bundle needs it, and has the cause and the cure that the error has."""
    lack = LACKS[name]
    container = stage.container("true", edit=lack.edit)
    bundle = str(container.bundle.directory)
    code, answers = doctor(*lack.options, "doctor", bundle, wrapper=lack.wrapper)
    answer = answers[lack.probe]
    assert answer["state"] == "missing", answer
    assert answer["needed"]
    assert code == 1
    text = f"{answer['cause']}: {answer['cure']}"
    for word in lack.words:
        assert word in text
    assert answer["cure"] in (_fail(container, lack).err if lack.step else _of_step(name))
    code, answers = doctor(*lack.options, "doctor", bundle)
    assert answers[lack.probe]["state"] == "works"
    assert code == 0


def test_everything_works_here() -> None:
    """As root on a host of this kind: whatever an ordinary container needs. Nothing is left, and it takes no long time."""
    began = time.monotonic()
    code, answers = doctor("doctor")
    assert code == 0, {name: one for name, one in answers.items() if one["state"] != "works"}
    assert time.monotonic() - began < 5
    for name in ("mount", "pid", "network", "ipc", "uts", "user", "cgroup", "time"):
        assert answers[f"namespace.{name}"]["state"] == "works", answers[f"namespace.{name}"]
    needed = {name for name, one in answers.items() if one["needed"]}
    assert {
        "exec.memory-file",
        "namespace.pid",
        "mount.proc",
        "cgroup.make",
        "cgroup.devices",
        "root.pivot",
    } <= needed
    assert not {"namespace.user", "mount.overlay", "checkpoint.criu"} & needed


@pytest.mark.skipif(V2, reason="cgroup v1 or hybrid: a controller can be taken away by umount")
def test_a_controller_that_is_missing(stage: Stage) -> None:
    """Without a limit it is a restriction; a limit needs it, and the command says the same."""
    wrapper = ["unshare", "--mount", "sh", "-ec", 'umount -l /sys/fs/cgroup/pids\nexec "$@"', "sh"]
    code, answers = doctor("doctor", wrapper=wrapper)
    assert (code, answers["cgroup.controllers"]["state"]) == (0, "restricted")
    assert "pids" in answers["cgroup.controllers"]["detail"]
    limited = LACKS["no cgroups"].edit
    container = stage.container("true", edit=limited)
    code, answers = doctor("doctor", str(container.bundle.directory), wrapper=wrapper)
    assert (code, answers["cgroup.controllers"]["state"]) == (1, "missing")
    cure = "mount -t cgroup -o pids cgroup /sys/fs/cgroup/pids"
    assert cure in answers["cgroup.controllers"]["cure"]
    lack = Lack(wrapper, "", (), ())
    _fail(container, lack).refused("/linux/resources/pids", "'pids' is not mounted", cure)


def test_memory_files_that_can_not_be_executed() -> None:
    """vm.memfd_noexec=2: root's runtime uses a tmpfs, and nobody else has that; both hear the sysctl's name."""
    script = 'echo 2 > /proc/sys/vm/memfd_noexec\nexec "$@"'
    wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-ec", script, "sh"]
    code, answers = doctor("doctor", wrapper=wrapper)
    answer = answers["exec.memory-file"]
    assert (code, answer["state"], answer["detail"]) == (0, "restricted", "from a tmpfs instead")
    code, answers = doctor("doctor", wrapper=[*wrapper, *_AS_USER])
    answer = answers["exec.memory-file"]
    assert (code, answer["state"], answer["cure"]) == (1, "missing", "sysctl -w vm.memfd_noexec=1")
    assert "vm.memfd_noexec is 2" in answer["cause"]


def test_a_file_system_that_the_kernel_does_not_have(stage: Stage) -> None:
    """A mount of the bundle that nothing here can make."""

    def edit(config: dict[str, Any]) -> None:
        config["mounts"].append({"destination": "/x", "type": "no-such-fs", "source": "x"})

    container = stage.container("true", edit=edit)
    code, answers = doctor("doctor", str(container.bundle.directory))
    answer = answers["mount.no-such-fs"]
    assert (code, answer["state"], answer["cure"]) == (1, "missing", "modprobe no-such-fs")
    container.create().refused(
        "/mounts/7", "ENODEV", "does not know the file system type no-such-fs", answer["cure"]
    )


def test_a_kernel_without_overlay() -> None:
    """By strace, which answers ENODEV to the third mount of a process, which only the probe of overlay makes."""
    wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=mount:error=ENODEV:when=3"]
    _, answers = doctor("doctor", wrapper=wrapper)
    answer = answers["mount.overlay"]
    assert (answer["state"], answer["cure"]) == ("missing", "modprobe overlay")
    assert "does not know the file system type overlay" in answer["cause"]
    assert answers["mount.tmpfs"]["state"] == "works"


# An ordinary user of whom nobody knows: neither a name nor sub-ids.
_UID = 54321
_AS_USER = ["setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups"]


def _as_user(script: str = "", *words: str, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """`doctor` of an ordinary user, after root has run a script in a mount namespace of the call's own."""
    wrapper = ["unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh", *_AS_USER]
    return doctor("doctor", *words, wrapper=wrapper, **env)


@pytest.fixture
def runtime_directory(searchable: Path) -> Path:
    """What a login would make."""
    directory = searchable / "user"
    directory.mkdir(mode=0o700)
    os.chown(directory, _UID, _UID)
    return directory


def test_an_ordinary_user_has_what_is_needed(runtime_directory: Path) -> None:
    """In a user namespace of its own ids; what only root has is marked."""
    code, answers = _as_user(XDG_RUNTIME_DIR=str(runtime_directory))
    assert code == 0, {
        name: one for name, one in answers.items() if one["needed"] and one["state"] != "works"
    }
    assert answers["namespace.user"]["needed"]
    assert not answers["cgroup.make"]["needed"]
    assert answers["mount.id-mapped"]["root"]
    assert "no CAP_SYS_ADMIN" in answers["mount.id-mapped"]["cause"]
    assert not list(runtime_directory.iterdir())


_NAMED = (
    f"mount -t tmpfs ids /mnt; cp /etc/passwd /mnt; echo x-user:x:{_UID}:{_UID}::/:/bin/sh >> /mnt/passwd; "
    "mount --bind /mnt/passwd /etc/passwd"
)


def _sub_ids(content: str) -> str:
    """A script that replaces /etc/subuid and /etc/subgid."""
    return f"{_NAMED}; echo {content} > /mnt/ids; mount --bind /mnt/ids /etc/subuid; mount --bind /mnt/ids /etc/subgid"


_GIVEN = _sub_ids(f"{_UID}:300000:65536")
_COPY = "mkdir /mnt/bin; cp --no-preserve=mode /usr/bin/newuidmap /mnt/bin; chmod 755 /mnt/bin /mnt/bin/newuidmap; "
_COPY_FIRST = "export PATH=/mnt/bin:$PATH"

# script, cause and cure; what it does to the path of the command comes after it, as the script itself needs programs
_IDS = {
    "no name": ("true", ("uid 54321 has no name in /etc/passwd", "useradd --uid 54321")),
    "no range": (
        f"{_NAMED}; mount --bind /dev/null /etc/subuid",
        ("/etc/subuid has no range for x-user", "--add-subuids 100000-165535"),
    ),
    "no range of groups": (
        f"{_GIVEN}; mount --bind /dev/null /etc/subgid",
        ("/etc/subgid has no range for x-user", "usermod --add-subgids"),
    ),
    "too short": (
        _sub_ids(f"{_UID}:300000:1000"),
        ("gives x-user 1000 ids in a row", "65536 are needed", "--add-subuids"),
    ),
    "no newuidmap": (
        f"{_GIVEN}; mkdir /mnt/bin; ln -s /usr/bin/env /usr/bin/setpriv /usr/bin/python3 /mnt/bin; export PATH=/mnt/bin",
        ("there is no newuidmap in $PATH", "apt-get install uidmap"),
    ),
    "no set-uid bit": (
        f"{_GIVEN}; {_COPY}{_COPY_FIRST}",
        (
            "/mnt/bin/newuidmap has neither the set-uid bit of root nor the capability cap_setuid",
            "chmod u+s /mnt/bin/newuidmap",
        ),
    ),
    "nosuid": (
        f"{_GIVEN}; {_COPY}chmod u+s /mnt/bin/newuidmap; mount -o remount,nosuid /mnt; {_COPY_FIRST}",
        ("/mnt/bin/newuidmap is on a file system that is mounted nosuid",),
    ),
}


@pytest.fixture
def bundle_of_user(searchable: Path) -> str:
    """A config with all sub-ids that a user has, where the user may read it."""
    config = default_config("true")
    with_users(config, (0, _UID, 1), (1, 300000, 65536))
    without_namespace(config, "network")
    del config["linux"]["resources"]
    config["mounts"] = [one for one in config["mounts"] if one["type"] not in ("sysfs", "cgroup")]
    path = searchable / "config.json"
    path.write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize("name", _IDS)
def test_ids_that_can_not_be_mapped(name: str, bundle_of_user: str, runtime_directory: Path) -> None:
    """What newuidmap and its files lack."""
    script, words = _IDS[name]
    code, answers = _as_user(script, bundle_of_user, XDG_RUNTIME_DIR=str(runtime_directory))
    answer = answers["ids.mapping"]
    assert (code, answer["state"], answer["needed"]) == (1, "missing", True), answer
    for word in words:
        assert word in f"{answer['cause']}: {answer['cure']}"
    assert {one["name"] for one in answers.values() if one["needed"] and one["state"] == "missing"} == {
        "ids.mapping"
    }


def test_ids_that_can_be_mapped(bundle_of_user: str, runtime_directory: Path) -> None:
    """By newuidmap really; and under no_new_privs it has no power, which is said."""
    code, answers = _as_user(_GIVEN, bundle_of_user, XDG_RUNTIME_DIR=str(runtime_directory))
    assert (code, answers["ids.mapping"]["state"]) == (0, "works"), answers["ids.mapping"]
    assert "1-65536 is 300000-365535" in answers["ids.mapping"]["detail"]
    script = f'{_GIVEN}\nset -- setpriv --no-new-privs "$@"'
    code, answers = _as_user(script, bundle_of_user, XDG_RUNTIME_DIR=str(runtime_directory))
    assert (code, answers["ids.mapping"]["state"]) == (1, "missing")
    assert "no_new_privs is set" in answers["ids.mapping"]["cause"]


@pytest.mark.parametrize(
    ("sysctl", "value", "cure"),
    [
        ("unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ],
)
def test_a_host_that_forbids_user_namespaces(
    sysctl: str, value: str, cure: str, runtime_directory: Path
) -> None:
    """The sysctl of Debian's and of Ubuntu's kernel, shown by a file, and a filter that refuses as they do."""
    script = f"mount -t tmpfs fake /proc/sys/kernel; echo {value} > /proc/sys/kernel/{sysctl}"
    refuse = " ".join(filtered("EPERM", "unshare", "clone3"))
    script += f'\nset -- "$@"; user="{" ".join(_AS_USER)}"; shift {len(_AS_USER)}; set -- $user {refuse} "$@"'
    code, answers = _as_user(script, XDG_RUNTIME_DIR=str(runtime_directory))
    answer = answers["namespace.user"]
    assert (code, answer["state"], answer["root"]) == (1, "missing", True)
    assert f"kernel.{sysctl} is {value}" in answer["cause"]
    assert cure in answer["cure"]


def test_no_bus_and_no_runtime_directory(runtime_directory: Path) -> None:
    """XDG_RUNTIME_DIR unset; set, but somebody else's; set, and without a bus."""
    code, answers = _as_user()
    assert code == 1
    assert "XDG_RUNTIME_DIR is not set" in answers["state.directory"]["cause"]
    assert "loginctl enable-linger" in answers["state.directory"]["cure"]
    assert answers["cgroup.systemd"]["cause"].startswith("no user bus: XDG_RUNTIME_DIR is not set")
    os.chown(runtime_directory, 0, 0)
    code, answers = _as_user("chmod 711 " + str(runtime_directory), XDG_RUNTIME_DIR=str(runtime_directory))
    assert code == 1
    assert "belongs to uid 0 and has mode 0711" in answers["state.directory"]["cause"]
    os.chown(runtime_directory, _UID, _UID)
    code, answers = _as_user(XDG_RUNTIME_DIR=str(runtime_directory))
    assert code == 0
    assert f"there is no {runtime_directory}/bus" in answers["cgroup.systemd"]["cause"]
    assert "dbus-user-session" in answers["cgroup.systemd"]["cure"]


@pytest.fixture
def bundle_for_all(searchable: Path) -> str:
    """A bundle that everybody can read."""
    made = make_bundle(searchable / "bundle", "true", own_files=True)
    made.directory.chmod(0o755)
    return str(made.directory)


def _run_as_user(*words: str, **env: str) -> str:
    """What `run` of an ordinary user says; it must fail."""
    command = [*_AS_USER, *command_of("ociruntime"), *words, new_id()]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**ENVIRONMENT, **env}, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_the_command_says_it_to_an_ordinary_user(bundle_for_all: str, runtime_directory: Path) -> None:
    """No runtime directory, no delegation, no CAP_SYS_ADMIN: each with the doctor's cure."""
    directory = {"XDG_RUNTIME_DIR": str(runtime_directory)}
    run = ("run", "--bundle", bundle_for_all)
    calls = (
        ("state.directory", "XDG_RUNTIME_DIR is not set", (), {}),
        ("cgroup.make", f"does not belong to uid {_UID}", (), directory),
        ("namespace.mount", f"uid {_UID} has no CAP_SYS_ADMIN", ("--cgroup-manager", "disabled"), directory),
    )
    for name, words, options, env in calls:
        said = _run_as_user(*options, *run, **env)
        code, answers = doctor(*options, "doctor", bundle_for_all, wrapper=_AS_USER, **env)
        assert (code, answers[name]["state"], answers[name]["needed"]) == (1, "missing", True)
        assert words in answers[name]["cause"]
        assert words in said
        assert answers[name]["cure"] in said


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs here: its bus is there")
def test_the_systemd_driver_without_systemd(stage: Stage) -> None:
    """What the driver says where it connects, and the doctor before."""
    container = stage.container("true")
    code, answers = doctor("--systemd-cgroup", "doctor", str(container.bundle.directory))
    answer = answers["cgroup.systemd"]
    assert (code, answer["state"], answer["needed"]) == (1, "missing", True)
    assert "systemd does not run here: process 1 is" in answer["cause"]
    with pytest.raises(StepFailed) as caught:
        bus.connect(0)
    assert "/run/dbus/system_bus_socket" in caught.value.reason
    assert caught.value.hint == f"{answer['cause']}: {answer['cure']}"


def _in_container(stage: Stage, *capabilities: str) -> dict[str, dict[str, Any]]:
    """The answers of a doctor in a container with masks on /proc, as engines make it, for a bundle with a user namespace."""
    inner = stage.bundle("true", edit=lambda config: with_users(config, (0, 0, 1)))
    command = [
        *command_of("ociruntime"),
        "--cgroup-manager",
        "disabled",
        "doctor",
        str(inner.directory),
        "--format",
        "json",
    ]

    def edit(config: dict[str, Any]) -> None:
        add_bind(config, str(REPOSITORY), str(REPOSITORY), "ro")
        add_bind(config, str(stage.directory), str(stage.directory), "ro")
        for place in ("/usr", "/lib", "/lib64", "/etc"):
            add_bind(config, place, place, "ro")
        set_capabilities(config, *capabilities)

    done = stage.container(*command, edit=edit).run()
    assert done.out, done.err
    return {one["name"]: one for one in json.loads(done.out)["probes"]}


def test_in_a_container(stage: Stage) -> None:
    """Of a root without power; and of one with all that is needed, for whom /proc is still covered."""
    answers = _in_container(stage, "CAP_KILL")
    assert "root has no CAP_SYS_ADMIN" in answers["mount.id-mapped"]["cause"]
    assert "--cap-add SETFCAP" in answers["mount.proc-in-user-namespace"]["cure"]
    answers = _in_container(stage, "CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETFCAP")
    assert answers["namespace.user"]["state"] == "works"
    assert answers["namespace.pid"]["state"] == "works"
    answer = answers["mount.proc-in-user-namespace"]
    assert (answer["state"], answer["needed"]) == ("missing", True)
    assert answer["cause"].startswith("/proc is covered in ")
    assert "systempaths=unconfined" in answer["cure"]
