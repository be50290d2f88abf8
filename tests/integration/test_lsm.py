# SPDX-License-Identifier: Apache-2.0
"""Does the program run under the AppArmor profile or the SELinux labels of the config?

Each test is for a kernel that runs the module, or for one that doesn't; tests/vm has both modules.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_hook, with_namespace, writable_root
from tests.harness.driver import MARK, runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.skips import has_lsm
from tests.integration import edited_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

needs_apparmor = pytest.mark.skipif(
    not has_lsm("apparmor"), reason="no AppArmor: tests/vm/run-suite tests/integration/test_lsm.py"
)
needs_selinux = pytest.mark.skipif(
    not has_lsm("selinux"), reason="no SELinux: tests/vm/run-suite --selinux tests/integration/test_lsm.py"
)
only_ours = pytest.mark.skipif(runtime_under_test() in PEERS, reason="run with RUNTIME=ociruntime")

for _peer in PEERS:
    departure("profile without AppArmor", _peer, "R048", "ignored with a warning; crun does so since 1.28")
    departure("labels without SELinux", _peer, "R058", "ignored with a warning")

PROFILE = f"{MARK}-profile"
_CURRENT = "cat /proc/self/attr/current"


def _process(**properties: Any) -> Any:
    return lambda config: config["process"].update(properties)


@pytest.mark.skipif(has_lsm("apparmor"), reason="this kernel has AppArmor")
def test_without_apparmor(compare: Compare) -> None:
    """The program runs, and a warning names profile and property."""

    def scenario(stage: Stage) -> dict[str, Any]:
        log = stage.directory / "log"
        container = stage.container("true", edit=_process(apparmorProfile="docker-default"))
        code = container.run(options=["--log", str(log)]).code
        warned = "/process/apparmorProfile: ignored because this host has no AppArmor: docker-default"
        return {"profile without AppArmor": [code, warned in log.read_text()], "left": stage.runtime.ids()}

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        assert answers == {"profile without AppArmor": [0, True], "left": []}


@pytest.mark.skipif(has_lsm("selinux"), reason="this kernel has SELinux")
def test_without_selinux(compare: Compare) -> None:
    """The same for both labels of SELinux."""

    def edit(config: Config) -> None:
        config["process"]["selinuxLabel"] = "u:r:container_t:s0"
        config["linux"]["mountLabel"] = "u:r:container_file_t:s0"

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.container("true", edit=edit).run()
        if stage.runtime.name == "ociruntime":
            for pointer in ("/process/selinuxLabel", "/linux/mountLabel"):
                assert f"{pointer}: ignored because this host has no SELinux" in result.err
        return {"labels without SELinux": result.code, "left": stage.runtime.ids()}

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        assert answers == {"labels without SELinux": 0, "left": []}


def _edited(stage: Stage, name: str) -> None:
    """From now on the command has a plan with this edit."""
    import sys

    stage.runtime.command = [sys.executable, str(Path(edited_plan.__file__)), name]


@only_ours
@pytest.mark.parametrize("mounted", [True, False])
def test_labels_go_to_the_kernel(stage: Stage, mounted: bool) -> None:
    """CVE-2019-16884, CVE-2025-62596: files of the image at /proc/self/attr are not what a label is written to.

    The written attribute is one that no kernel has, so that this holds on every kernel.
    """

    def edit(config: Config) -> None:
        writable_root(config)
        config["linux"]["readonlyPaths"] = config["linux"]["maskedPaths"] = []
        if not mounted:
            config["mounts"][0]["destination"] = "/mnt"

    bundle = stage.bundle("true", edit=edit)
    decoy = bundle.rootfs / "proc/self/attr/no-such"
    decoy.parent.mkdir(parents=True)
    decoy.write_text("decoy")
    _edited(stage, "attribute")
    stage.container(bundle=bundle).run().refused("forced attribute", "ENOENT")
    assert decoy.read_text() == "decoy"


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[str]:
    """A loaded profile that denies one thing: writing to /denied."""
    source = tmp_path / "profile"
    rules = "capability, network, file, mount, umount, pivot_root, signal, ptrace, unix, deny /denied w,"
    source.write_text(f"profile {PROFILE} flags=(attach_disconnected) {{\n  {rules}\n}}\n")
    subprocess.run(["apparmor_parser", "--skip-cache", "-r", source], check=True)
    yield PROFILE
    subprocess.run(["apparmor_parser", "-R", source], check=True)


@needs_apparmor
@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("uid", [0, 1000])
def test_apparmor_profile(compare: Compare, profile: str, no_new_privileges: bool, uid: int) -> None:
    """The program runs under the profile, and what that denies is denied (R048)."""

    def edit(config: Config) -> None:
        writable_root(config)
        config["process"].update(
            apparmorProfile=profile, noNewPrivileges=no_new_privileges, user={"uid": uid, "gid": uid}
        )

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container(
            "sh", "-c", f"{_CURRENT}; (echo >/denied) 2>&1; echo >/allowed", edit=edit
        )
        for name in ("denied", "allowed"):
            (container.bundle.rootfs / name).touch(mode=0o666)
            (container.bundle.rootfs / name).chmod(0o666)
        return {"said": container.run().ok().out.splitlines()}

    current, denied = compare(scenario)["said"]
    assert current == f"{profile} (enforce)"
    assert "Permission denied" in denied


@needs_apparmor
def test_apparmor_unconfined(compare: Compare) -> None:
    """`unconfined` is a profile too: the one that all have who have none."""

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"said": stage.show(_CURRENT, _process(apparmorProfile="unconfined"))}

    assert compare(scenario) == {"said": "unconfined\n"}


@needs_apparmor
def test_apparmor_profile_that_is_not_loaded(compare: Compare) -> None:
    """A profile that the kernel doesn't have is an error: never run without it."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("true", edit=_process(apparmorProfile="no-such-profile"))
        container.create().refused(
            "/process/apparmorProfile: set AppArmor profile no-such-profile", "ENOENT", "apparmor_parser"
        )
        return {"left": stage.runtime.ids()}

    assert compare(scenario) == {"left": []}


@needs_apparmor
def test_apparmor_of_a_hook_of_the_image(stage: Stage, profile: str) -> None:
    """A startContainer hook is a program of the image, and runs under the profile as well."""

    def edit(config: Config) -> None:
        writable_root(config)
        config["process"]["apparmorProfile"] = profile
        add_hook(config, "startContainer", "/bin/sh", "-c", f"{_CURRENT} > /said")

    container = stage.container("cat", "/said", edit=edit)
    assert container.run().ok().out == f"{profile} (enforce)\n"


@needs_apparmor
@pytest.mark.parametrize("where", ["image", "joined namespace"])
def test_apparmor_with_covered_proc(stage: Stage, profile: str, tmp_path: Path, where: str) -> None:
    """CVE-2019-16884, CVE-2025-52881: the profile is in force though /proc of the container is something else."""

    def edit(config: Config) -> None:
        writable_root(config)
        config["process"]["apparmorProfile"] = profile
        config["linux"]["readonlyPaths"] = config["linux"]["maskedPaths"] = []
        config["mounts"][0]["destination"] = "/mnt"

    bundle = stage.bundle("sh", "-c", "cat /mnt/self/attr/current /proc/self/attr/apparmor/exec", edit=edit)
    decoy = bundle.rootfs / "proc/self/attr/apparmor/exec"
    decoy.parent.mkdir(parents=True)
    decoy.write_text("decoy\n")
    if where == "image":
        assert stage.container(bundle=bundle).run().ok().out == f"{profile} (enforce)\ndecoy\n"
        return
    # a mount namespace, prepared by someone else, in which /proc is covered
    script = f"mount --bind {bundle.rootfs}/proc /proc; echo ready; exec sleep 100"
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        with_namespace(bundle.config, "mount", f"/proc/{holder.pid}/ns/mnt")
        bundle.write()
        assert stage.container(bundle=bundle).run().ok().out == f"{profile} (enforce)\ndecoy\n"
    finally:
        holder.kill()
        holder.communicate()


def _selinux_context(kind: str) -> str:
    """A label of this machine's own policy: this process's, with another level."""
    own = Path("/proc/self/attr/current").read_text(encoding="ascii").rstrip("\0\n").split(":")
    user, role, domain = own[:3]
    return ":".join([user, *(("object_r", "tmp_t") if kind == "file" else (role, domain)), "s0"])


@needs_selinux
def test_selinux_process(compare: Compare) -> None:
    """The program runs with the label (R058)."""
    label = _selinux_context("process").replace("kernel_t", "unconfined_t")

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"said": stage.show(_CURRENT, _process(selinuxLabel=label)).rstrip("\0\n")}

    assert compare(scenario) == {"said": label}


@needs_selinux
@pytest.mark.parametrize("kind", [None, "rootcontext", "fscontext"])
def test_selinux_mounts(compare: Compare, kind: str | None) -> None:
    """New file systems and masks have the label, by the option that the annotation names (R197).

    Not defcontext: the kernel takes it only for file systems with labels of their own, and tmpfs is not one.
    """
    label = _selinux_context("file")

    def edit(config: Config) -> None:
        config["linux"]["mountLabel"] = label
        if kind:
            config["annotations"] = {"run.oci.mount_context_type": kind}

    def scenario(stage: Stage) -> dict[str, Any]:
        lines = stage.run("cat", "/proc/mounts", edit=edit).ok().out.splitlines()
        options = {line.split(" ")[1]: line.split(" ")[3] for line in lines}
        places = ("/dev", "/dev/shm", "/dev/pts", "/sys/firmware")
        option = f"{kind or 'context'}={label}"
        return {
            f"labelled by {kind or 'context'}": {
                place: option in options[place].split(",") for place in places
            }
        }

    # runc knows only the one option
    answers = compare(scenario, PEERS if kind is None else ())
    expected = {"/dev": True, "/dev/shm": True, "/dev/pts": True, "/sys/firmware": True}
    if kind is not None:
        expected["/sys/firmware"] = False
    assert list(answers.values()) == [expected]


@needs_selinux
def test_selinux_message_queues(stage: Stage) -> None:
    """The file system of message queues belongs to the IPC namespace, and is labelled as a file."""
    label = _selinux_context("file")
    container = stage.container("sleep", "100", edit=lambda config: config["linux"].update(mountLabel=label))
    container.create().ok()
    place = f"/proc/{container.state()['pid']}/root/dev/mqueue"
    assert os.getxattr(place, "security.selinux").rstrip(b"\0").decode() == label
    container.delete("--force").ok()


@needs_selinux
def test_selinux_keyring(stage: Stage) -> None:
    """The session keyring of the container has the program's label."""
    label = _selinux_context("process").replace("kernel_t", "unconfined_t")
    container = stage.container("sleep", "100", edit=_process(selinuxLabel=label))
    container.create().ok()
    lines = Path("/proc/keys").read_text(encoding="ascii").splitlines()
    (serial,) = [int(line.split()[0], 16) for line in lines if f"_ses.{container.id}" in line]
    libc = ctypes.CDLL(None, use_errno=True)
    text = ctypes.create_string_buffer(4096)
    assert libc.syscall(250, 17, serial, text, 4096) > 0  # keyctl(KEYCTL_GET_SECURITY) of x86_64
    assert text.value.decode() == label
    container.delete("--force").ok()
