# SPDX-License-Identifier: Apache-2.0
"""Invariants 2 and 3: which descriptors reach a program or a hook, and what is its working directory? (CVE-2024-21626)"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_bind, add_hook, without_namespace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.bundle import Bundle
    from tests.harness.stage import Stage

_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_IN_RUNTIME = ("prestart", "createRuntime", "poststart", "poststop")


# Opens the host's / at 3, 4, and some high numbers, and becomes the rest: never in this process, which may have its own there.
_LEAK = """
import os, sys
host = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
for number in (3, 4, 9, 77, 500):
    os.dup2(host, number)
    os.set_inheritable(number, True)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def leaky(stage: Stage) -> None:
    """The runtime's caller is careless, and passes on descriptors of the host's /: 3, 4, 9, 77 and 500."""
    program, *words = stage.runtime.command
    path = shutil.which(program)
    assert path
    stage.runtime.command = [sys.executable, "-I", "-S", "-c", _LEAK, path, *words]


def _bundle(stage: Stage, attack: Path, **how: Any) -> Bundle:
    bundle = stage.bundle("/attack", "fds", **how)
    shutil.copy(attack, bundle.rootfs / "attack")
    return bundle


def _numbers(text: str) -> list[int]:
    return [int(line.split()[0]) for line in text.splitlines()]


def test_program_has_three_descriptors(stage: Stage, attack: Path, leaky: None) -> None:
    """CVE-2024-21626: whatever the caller and the runtime have open, the program gets 0, 1 and 2."""
    result = stage.container(bundle=_bundle(stage, attack)).run().ok()
    assert _numbers(result.out) == [0, 1, 2], result.out


def test_created_and_started_program_has_three_descriptors(stage: Stage, attack: Path, leaky: None) -> None:
    """The same when create and start are two processes, both with leaky callers."""
    container = stage.container(bundle=_bundle(stage, attack))
    container.create().ok()
    container.start().ok()
    container.wait_for("stopped")
    container.delete().ok()
    assert _numbers(container.output()) == [0, 1, 2]


def test_waiting_init_holds_one_socket(stage: Stage, attack: Path, leaky: None, tmp_path: Path) -> None:
    """CVE-2024-21626: after create, init has kept nothing of the host but the start socket: no tree, no cgroup, no log."""

    def edit(config: Config) -> None:
        add_bind(config, str(tmp_path), "/mnt")

    container = stage.container(bundle=_bundle(stage, attack, edit=edit))
    container.create().ok()
    place = f"/proc/{container.state()['pid']}/fd"
    held = {int(name): os.readlink(f"{place}/{name}") for name in os.listdir(place)}
    container.delete("--force").ok()
    assert sorted(held) == [0, 1, 2, 3], held
    assert held[3].startswith("socket:")


def test_preserved_descriptors_are_the_caller_s(stage: Stage, attack: Path, leaky: None) -> None:
    """--preserve-fds 2 passes on 3 and 4, and nothing above."""
    result = stage.container(bundle=_bundle(stage, attack)).run("--preserve-fds", "2").ok()
    assert result.out.splitlines()[3:] == ["3 /", "4 /"], result.out


def test_preserving_more_than_there_is(stage: Stage, attack: Path) -> None:
    """--preserve-fds 40 of a caller that has nothing open passes on nothing of the runtime's."""
    result = stage.container(bundle=_bundle(stage, attack)).run("--preserve-fds", "40")
    if result.code == 0:
        assert _numbers(result.out) == [0, 1, 2], result.out
    else:
        result.refused("--preserve-fds")


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_caller_without_stdio(stage: Stage, attack: Path, tmp_path: Path, closed: str) -> None:
    """With 0, 1 or 2 closed, no file of the runtime takes that number in the program."""
    seen = tmp_path / "seen"
    seen.mkdir()

    def edit(config: Config) -> None:
        add_bind(config, str(seen), "/seen", "rw")
        config["process"]["args"] = ["sh", "-c", "/attack fds >/seen/fds"]

    bundle = _bundle(stage, attack, edit=edit)
    container = stage.container(bundle=bundle)
    wrapped = " ".join([*stage.runtime.argv("run", "--bundle", str(bundle.directory), container.id), closed])
    stage.runtime.command = ["/bin/sh", "-c", wrapped]
    try:
        stage.runtime.call()
    finally:
        stage.runtime.command = [wrapped.split()[0]]
    lines = (seen / "fds").read_text().splitlines()
    assert set(_numbers("\n".join(lines))) <= {0, 1, 2, 3}
    for line in lines:
        target = line.partition(" ")[2]
        assert not target.startswith(str(stage.runtime.root)), lines
        assert "memfd" not in target, lines
        assert "socket" not in target, lines
        assert "anon_inode" not in target, lines


@pytest.mark.parametrize("kind", _KINDS)
def test_hook_has_three_descriptors(stage: Stage, attack: Path, leaky: None, kind: str) -> None:
    """Invariant 2: a hook of any kind gets 0, 1 and 2 only, even when the program is given more."""
    seen = stage.directory / "seen"
    seen.mkdir()
    seen.chmod(0o777)
    outside = kind in (*_IN_RUNTIME, "createContainer")
    program, report = (str(attack), str(seen)) if outside else ("/attack", "/seen")

    def edit(config: Config) -> None:
        add_bind(config, str(seen), "/seen", "rw")
        add_hook(config, kind, "/bin/sh", "-c", f"{program} fds > {report}/fds")

    container = stage.container(bundle=_bundle(stage, attack, edit=edit))
    container.run("--preserve-fds", "2").ok()
    assert _numbers((seen / "fds").read_text()) == [0, 1, 2]


def test_cwd_through_a_descriptor(stage: Stage, leaky: None) -> None:
    """CVE-2024-21626: a working directory of /proc/self/fd/N is refused for every N from 3 to 50."""
    container = stage.container("pwd")
    for number in range(3, 51):
        container.bundle.config["process"]["cwd"] = f"/proc/self/fd/{number}"
        container.bundle.write()
        result = container.run()
        assert result.code != 0, f"cwd /proc/self/fd/{number}: {result.out}"
        assert result.out == ""


@pytest.mark.parametrize(
    "target", ["/proc/self/fd/7", "/proc/1/fd/4", "/proc/self/cwd", "/proc/thread-self/root"]
)
def test_cwd_is_a_link_of_the_image(stage: Stage, leaky: None, target: str) -> None:
    """CVE-2024-21626: the image's working directory may be a link to a descriptor or a magic link: refused."""
    bundle = stage.bundle("pwd")
    (bundle.rootfs / "work").rmdir()
    (bundle.rootfs / "work").symlink_to(target)
    bundle.config["process"]["cwd"] = "/work"
    bundle.write()
    result = stage.container(bundle=bundle).run()
    assert result.code != 0
    assert result.out == ""


@pytest.mark.parametrize("cwd", ["/../../../../..", "/work/../../../..", "/up", "/up/../../up"])
def test_cwd_stays_inside(stage: Stage, cwd: str) -> None:
    """Invariant 3: `..` and links upwards end at the container's root."""
    bundle = stage.bundle("sh", "-c", "pwd; ls -d /host-only; cat marker")
    (bundle.rootfs / "up").symlink_to("../../../../../../../..")
    (bundle.rootfs / "marker").write_text("inside\n")
    bundle.config["process"]["cwd"] = cwd
    bundle.write()
    result = stage.container(bundle=bundle).run().ok()
    assert result.out.splitlines() == ["/", "inside"]


def test_made_cwd_stays_inside(stage: Stage, tmp_path: Path) -> None:
    """A working directory that has to be made behind a link out of the root is made inside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    bundle = stage.bundle("pwd")
    (bundle.rootfs / "link").symlink_to(outside)
    bundle.config["process"]["cwd"] = "/link/new"
    bundle.config["root"]["readonly"] = False
    bundle.write()
    result = stage.container(bundle=bundle).run().ok()
    assert result.out.strip() == f"{outside}/new"
    assert list(outside.iterdir()) == []
    assert (bundle.rootfs / str(outside).lstrip("/") / "new").is_dir()


def test_cwd_without_mount_namespace(stage: Stage, own_mounts: None, leaky: None) -> None:
    """CVE-2024-21626 for a container that is only chrooted: no directory of the host."""

    def edit(config: Config) -> None:
        without_namespace(config, "mount")
        config["linux"].pop("maskedPaths")
        config["linux"].pop("readonlyPaths")
        config["process"]["cwd"] = "/proc/self/fd/9"

    result = stage.container("pwd", edit=edit).run()
    assert result.code != 0
    assert result.out == ""
