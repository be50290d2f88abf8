# SPDX-License-Identifier: Apache-2.0
"""Invariants 13, 16 and 17: cgroups are read-only, mounts of the container stay in it, flags of a source survive."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import (
    Config,
    add_bind,
    set_capabilities,
    with_namespace,
    with_users,
    without_namespace,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.stage import Stage


def mount(*arguments: str) -> None:
    """Mount on the host."""
    subprocess.run(["mount", *arguments], check=True)


def mount_shared(point: Path) -> None:
    """A tmpfs of the host at a new directory, that shares its mounts."""
    point.mkdir()
    mount("-t", "tmpfs", "tmpfs", str(point))
    mount("--make-rshared", str(point))


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of the host that shares its mounts, with a directory `place` and one file."""
    point = tmp_path / "shared"
    mount_shared(point)
    (point / "place").mkdir()
    (point / "file").write_text("file\n")
    yield point
    subprocess.run(["umount", "-R", str(point)], check=True)


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of the host that is ro, nosuid, nodev and noexec, with a program, a file and a mount below."""
    point = tmp_path / "strict"
    point.mkdir()
    mount("-t", "tmpfs", "tmpfs", str(point))
    (point / "file").write_text("file\n")
    (point / "program").write_text("#!/bin/sh\necho ran\n")
    (point / "program").chmod(0o755)
    (point / "below").mkdir()
    mount("-t", "tmpfs", "-o", "nosuid,nodev,noexec", "tmpfs", str(point / "below"))
    mount("-o", "remount,ro,nosuid,nodev,noexec", str(point))
    yield point
    subprocess.run(["umount", "-R", str(point)], check=True)


def mount_points() -> list[str]:
    """Those of the host's mounts."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [line.split()[4] for line in file]


def mounted_flags(text: str, point: str) -> set[str]:
    """The flags of the last mount on `point` in a mountinfo."""
    lines = [line.split() for line in text.splitlines()]
    found = [words[5] for words in lines if words[4:5] == [point]]
    return set(found[-1].split(","))


@pytest.mark.parametrize("root", ["", "slave", "private"])
def test_mounts_stay_in_the_container(stage: Stage, shared: Path, root: str) -> None:
    """Invariant 16: what the container mounts in binds of a shared tree does not appear on the host."""
    before = mount_points()
    propagations = ("", "slave", "rslave", "private", "rprivate", "shared", "rshared")
    variants = [[option, word] if word else [option] for option in ("rbind", "bind") for word in propagations]

    def edit(config: Config) -> None:
        for number, options in enumerate(variants):
            place = f"/mnt/{number}"
            entry = {"destination": place, "type": "bind", "source": str(shared), "options": options}
            config["mounts"].append(entry)
        config["root"]["readonly"] = False
        if root:
            config["linux"]["rootfsPropagation"] = root
        set_capabilities(config, "CAP_SYS_ADMIN")

    script = "for dir in /mnt/*; do mount -t tmpfs inside $dir/place || exit 1; done; echo mounted; sleep 100"
    container = stage.container("sh", "-c", script, edit=edit)
    container.create().ok()
    container.start().ok()
    container.wait_for_output("mounted")
    during = mount_points()
    container.kill("KILL").ok()
    container.wait_for("stopped")
    container.delete().ok()
    assert str(shared / "place") not in during
    assert sorted(during) == sorted(before)


def test_mounts_of_the_config_stay_in_the_container(stage: Stage, shared: Path) -> None:
    """Invariant 16: the runtime's own mounts below a bind of a shared tree do not appear on the host either."""

    def edit(config: Config) -> None:
        add_bind(config, str(shared), "/mnt")
        config["mounts"].append({"destination": "/mnt/place", "type": "tmpfs", "source": "tmpfs"})

    container = stage.container("sleep", "100", edit=edit)
    before = mount_points()
    container.create().ok()
    assert sorted(mount_points()) == sorted(before)
    container.delete("--force").ok()
    assert sorted(mount_points()) == sorted(before)


@pytest.mark.parametrize("mount_namespace", [True, False])
def test_propagation_of_the_host_is_kept(stage: Stage, shared: Path, mount_namespace: bool) -> None:
    """A bundle on a shared mount: neither that mount nor the host's / has another propagation afterwards."""

    def propagations() -> list[str]:
        command = ["findmnt", "-rno", "TARGET,PROPAGATION"]
        return sorted(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())

    def edit(config: Config) -> None:
        if not mount_namespace:
            without_namespace(config, "mount")
            config["linux"].pop("maskedPaths")
            config["linux"].pop("readonlyPaths")

    bundle = stage.bundle("true", edit=edit)
    subprocess.run(["cp", "-a", str(bundle.rootfs), str(shared / "rootfs")], check=True)
    bundle.config["root"]["path"] = str(shared / "rootfs")
    bundle.write()
    before = propagations()
    container = stage.container(bundle=bundle)
    container.create().ok()
    during = propagations()
    container.delete("--force").ok()
    assert propagations() == before
    assert set(before) <= set(during)


@pytest.mark.parametrize(
    ("options", "lost"),
    [
        (["rbind"], set()),
        (["bind", "rw"], {"ro"}),
        (["rbind", "exec", "suid", "dev"], {"noexec", "nosuid", "nodev"}),
        (["bind", "noatime"], set()),
    ],
)
def test_flags_of_the_source_survive(stage: Stage, strict: Path, options: list[str], lost: set[str]) -> None:
    """Invariant 17: a bind of a ro, nosuid, nodev, noexec mount keeps what no option names, and all that is below."""

    def edit(config: Config) -> None:
        config["mounts"].append(
            {"destination": "/mnt", "type": "bind", "source": str(strict), "options": options}
        )

    said = stage.show("cat /proc/self/mountinfo; /mnt/program; touch /mnt/new; true", edit)
    assert ("ran" in said.splitlines()) == ("noexec" in lost)
    every = {"ro", "nosuid", "nodev", "noexec"}
    assert mounted_flags(said, "/mnt") & every == every - lost
    if "rbind" in options:
        assert {"nosuid", "nodev", "noexec"} <= mounted_flags(said, "/mnt/below")
    assert not (strict / "new").exists()  # its superblock is read-only as well


@pytest.mark.parametrize("users", [False, True])
@pytest.mark.parametrize("target", ["{}", "../../../../../../../../../../../{}"])
def test_a_link_of_the_image_chooses_no_source(
    stage: Stage, tmp_path: Path, target: str, users: bool
) -> None:
    """A source that is written as one below the rootfs stays in the root: a link of the image leads to no host path."""
    (tmp_path / "secret").write_text("the host's\n")
    bundle = stage.bundle("sh", "-c", "cat /mnt/*", own_files=True)
    inside = bundle.rootfs / str(tmp_path)[1:]
    inside.mkdir(parents=True)
    (inside / "secret").write_text("the image's\n")
    (bundle.rootfs / "mnt" / "link").symlink_to(target.format(tmp_path))
    # In a user namespace init opens what lies below a mount of an entry before.
    tmpfs = {"destination": str(tmp_path), "type": "bind", "source": str(inside), "options": ["bind"]}
    bundle.config["mounts"] += [
        tmpfs,
        {"destination": "/opt", "type": "tmpfs", "source": "tmpfs"},
        {
            "destination": "/opt/file",
            "type": "bind",
            "source": f"{bundle.rootfs}/mnt/link/secret",
            "options": ["bind"],
        },
    ]
    bundle.config["process"]["args"] = ["cat", "/opt/file"]
    if users:
        with_users(bundle.config)
    bundle.write()
    assert stage.container(bundle=bundle).run().ok().out == "the image's\n"


def test_flags_survive_a_remount(stage: Stage, strict: Path) -> None:
    """Invariant 17: a remount entry that adds one flag takes none away."""

    def edit(config: Config) -> None:
        add_bind(config, str(strict), "/mnt")
        config["mounts"].append(
            {"destination": "/mnt", "options": ["remount", "bind", "noatime"], "source": "x"}
        )

    said = stage.show("cat /proc/self/mountinfo", edit)
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= mounted_flags(said, "/mnt")


def test_flags_survive_readonly_paths(stage: Stage, strict: Path) -> None:
    """Invariant 17: making a path read-only keeps its other flags, and those of what is mounted below it."""

    def edit(config: Config) -> None:
        add_bind(config, str(strict / "below"), "/mnt")
        config["linux"]["readonlyPaths"] = ["/mnt"]

    said = stage.show("cat /proc/self/mountinfo", edit)
    assert {"ro", "nosuid", "nodev", "noexec"} <= mounted_flags(said, "/mnt")


@pytest.mark.parametrize("own", [True, False])
def test_cgroups_are_read_only(stage: Stage, own: bool) -> None:
    """Invariant 13: with and without a cgroup namespace, no file of any hierarchy can be written and no cgroup made."""

    def edit(config: Config) -> None:
        if own:
            with_namespace(config, "cgroup")
        set_capabilities(config, "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_CHOWN")

    script = """
        cd /sys/fs/cgroup || exit 1
        mkdir made 2>/dev/null && echo "made a cgroup"
        for hierarchy in . *; do
            [ -d "$hierarchy" ] || continue
            echo looked
            mkdir "$hierarchy/made" 2>/dev/null && echo "made in $hierarchy"
            for file in cgroup.procs tasks notify_on_release release_agent memory.limit_in_bytes devices.allow pids.max; do
                [ -e "$hierarchy/$file" ] && sh -c "echo 0 > $hierarchy/$file" 2>/dev/null && echo "wrote $hierarchy/$file"
            done
        done
        mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo remounted
        true"""
    said = stage.show(script, edit).split("\n")
    assert "looked" in said
    assert set(said) == {"looked", ""}


def test_host_cgroups_are_not_shown(stage: Stage) -> None:
    """Invariant 13: without a cgroup namespace the container sees its own cgroup, not the host's tree."""
    said = stage.show(
        "cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | sort -u | wc -l"
    )
    assert 0 < int(said) <= 4


def test_read_only_root_holds(stage: Stage) -> None:
    """A read-only root can't be written or remounted by a root without CAP_SYS_ADMIN."""

    def edit(config: Config) -> None:
        set_capabilities(config, "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_CHOWN", "CAP_MKNOD", "CAP_SYS_CHROOT")

    said = stage.show("touch /new; mount -o remount,rw /; mknod /node c 1 3; ls /new /node; echo end", edit)
    assert said == "end\n"


@pytest.mark.parametrize("way", ["..", "../{0}", "."])
def test_however_the_bundle_is_named(stage: Stage, tmp_path: Path, way: str) -> None:
    """A relative source below a relative root.path stays in the root, even when the bundle is named by dots."""
    bundle = stage.bundle("sh", "-c", "cat /mnt/* 2>&1", own_files=True)
    below = bundle.directory / "below"
    below.mkdir()
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("the host's\n")
    (bundle.rootfs / "link").symlink_to(secret)
    (bundle.rootfs / str(secret)[1:]).mkdir(parents=True)
    source = {"destination": "/mnt", "type": "bind", "source": "rootfs/link", "options": ["bind"]}
    bundle.config["root"]["path"] = "rootfs"
    bundle.config["mounts"].append(source)
    bundle.write()
    where = below if way == ".." else bundle.directory
    name = way.format(bundle.directory.name)
    container = stage.container(bundle=bundle)
    result = stage.runtime.call("run", "--bundle", name, container.id, cwd=where)
    assert "the host's" not in result.out
    assert result.out == "cat: can't open '/mnt/*': No such file or directory\n", result.err


@pytest.mark.parametrize("value", ["shared", "rshared"])
def test_what_the_host_has_below_a_shared_source_stays(stage: Stage, shared: Path, value: str) -> None:
    """A bind that shares mounts with the host shows what is mounted below its source, and takes none of it away."""
    (shared / "below").mkdir()
    mount("-t", "tmpfs", "tmpfs", str(shared / "below"))
    (shared / "below" / "inner").write_text("inner\n")

    def edit(config: Config) -> None:
        config["linux"]["rootfsPropagation"] = value
        add_bind(config, str(shared), "/vol", "rbind", "rshared")

    assert stage.show("cat /vol/below/inner", edit=edit) == "inner\n"
    assert (shared / "below" / "inner").exists(), "the host's own mount has gone"
