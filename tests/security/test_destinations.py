# SPDX-License-Identifier: Apache-2.0
"""Invariants 4 and 15: whatever links the image puts in the way, mounts, devices and directories stay inside its root."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_bind, writable_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.bundle import Bundle
    from tests.harness.stage import Stage
    from tests.security.conftest import Canary

# How the image can say where it wants to go; {canary} is a directory of the host.
_LINKS = {
    "absolute": "{canary}",
    "relative": "{relative}",
    "dots": "../../../../../../../../../../../../../../..{canary}",
    "missing": "{canary}/not/there/yet",
    "file": "{canary}/file",
}
_MOUNTS: dict[str, Callable[[str], Config]] = {
    "tmpfs": lambda place: {"destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
    "mqueue": lambda place: {"destination": place, "type": "mqueue", "source": "mqueue"},
    "sysfs": lambda place: {"destination": place, "type": "sysfs", "source": "sysfs", "options": ["ro"]},
    "copy-up": lambda place: {
        "destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"],
    },
}  # fmt: skip


def _linked(stage: Stage, canary: Canary, link: str, name: str, *args: str, **how: Any) -> Bundle:
    bundle = stage.bundle(*args, **how)
    place = bundle.rootfs / name.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        place.rmdir()
    place.symlink_to(_LINKS[link].format(canary=canary, relative=canary.link_from(place.parent)))
    return bundle


@pytest.mark.parametrize("link", sorted(_LINKS))
@pytest.mark.parametrize("below", ["", "/a/b"])
def test_new_file_systems_on_links(stage: Stage, canary: Canary, link: str, below: str) -> None:
    """CVE-2019-18837, CVE-2021-30465: file systems whose destination is (or lies behind) a link go inside the root."""
    bundle = stage.bundle("cat", "/proc/self/mountinfo", edit=writable_root)
    target = _LINKS[link].format(canary=canary, relative=canary.link_from(bundle.rootfs))
    for kind, entry in _MOUNTS.items():
        (bundle.rootfs / kind).symlink_to(f"{target}/{kind}")
        bundle.config["mounts"].append(entry(f"/{kind}{below}"))
    bundle.write()
    result = stage.container(bundle=bundle).run()
    canary.check()
    points = [line.split()[4] for line in result.ok().out.splitlines()]
    assert sum("canary" in point and point.endswith(below) for point in points) == len(_MOUNTS), points


@pytest.mark.parametrize("link", sorted(_LINKS))
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_bind_on_a_link(stage: Stage, canary: Canary, tmp_path: Path, kind: str, link: str) -> None:
    """CVE-2019-18837: a bind of a directory or file on a link is seen inside the root only."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("from the bind\n")
    bundle = _linked(
        stage,
        canary,
        link,
        "/link",
        "sh",
        "-c",
        "cat /link 2>/dev/null || cat /link/file",
        edit=writable_root,
    )
    add_bind(bundle.config, str(source if kind == "directory" else source / "file"), "/link")
    bundle.write()
    result = stage.container(bundle=bundle).run()
    canary.check()
    assert result.ok().out == "from the bind\n"


def test_file_on_a_dangling_link(stage: Stage, tmp_path: Path) -> None:
    """A file bound on a link whose target is missing: the target is made inside the root, as a file."""
    (tmp_path / "file").write_text("from the bind\n")
    bundle = stage.bundle("cat", "/made/here", edit=writable_root)
    (bundle.rootfs / "link").symlink_to("/made/here")
    add_bind(bundle.config, str(tmp_path / "file"), "/link")
    bundle.write()
    assert stage.container(bundle=bundle).run().ok().out == "from the bind\n"
    assert (bundle.rootfs / "made/here").is_file()


def test_link_of_an_earlier_bind(stage: Stage, canary: Canary, tmp_path: Path) -> None:
    """A link in a volume that was bound a moment ago leads no further than one in the image."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "link").symlink_to(str(canary))
    (volume / "dots").symlink_to("../../../../../../../.." + str(canary))
    bundle = stage.bundle("sh", "-c", "echo ran", edit=writable_root)
    add_bind(bundle.config, str(volume), "/volume")
    for name in ("link", "dots"):
        bundle.config["mounts"].append(_MOUNTS["tmpfs"](f"/volume/{name}/new"))
    bundle.write()
    stage.container(bundle=bundle).run()
    canary.check()


def test_loop_of_links(stage: Stage) -> None:
    """Links that lead to each other are an error, and nothing hangs."""
    bundle = stage.bundle("true", edit=writable_root)
    (bundle.rootfs / "one").symlink_to("two")
    (bundle.rootfs / "two").symlink_to("one")
    (bundle.rootfs / "grow").symlink_to("grow/deeper/and/deeper")
    for place in ("/one", "/one/x", "/grow"):
        bundle.config["mounts"] = [_MOUNTS["tmpfs"](place)]
        bundle.write()
        stage.container(bundle=bundle).run().refused("mounts/0")


@pytest.mark.parametrize("link", ["absolute", "relative", "dots"])
def test_dev_is_a_link(stage: Stage, canary: Canary, link: str) -> None:
    """CVE-2026-41579, CVE-2026-47766: with rootfs/dev a link to the host, devices and /dev/ptmx are made inside."""

    def edit(config: Config) -> None:
        config["mounts"] = [
            entry for entry in config["mounts"] if not entry["destination"].startswith("/dev")
        ]
        config["linux"]["devices"] = [{"path": "/dev/extra", "type": "c", "major": 1, "minor": 3}]
        writable_root(config)

    bundle = _linked(stage, canary, link, "/dev", "true", edit=edit)
    result = stage.container(bundle=bundle).run()
    canary.check()
    result.ok()
    assert [path.is_char_device() for path in bundle.rootfs.rglob("canary/extra")] == [True]
    links = {path.name: os.readlink(path) for path in bundle.rootfs.rglob("canary/*") if path.is_symlink()}
    assert links["ptmx"] == "pts/ptmx"


@pytest.mark.parametrize("link", ["absolute", "relative", "dots"])
def test_dev_with_mounts_is_a_link(stage: Stage, canary: Canary, link: str) -> None:
    """The same with the usual mounts on /dev and below."""
    bundle = _linked(stage, canary, link, "/dev", "true", edit=writable_root)
    result = stage.container(bundle=bundle).run()
    canary.check()
    result.ok()
    assert [path.is_dir() for path in bundle.rootfs.rglob("canary")] == [True]


@pytest.mark.parametrize("user", [0, 1000])
def test_dev_is_a_link_into_a_volume(stage: Stage, canary: Canary, user: int) -> None:
    """An image whose /dev leads into a bind of a host directory gets no device, link or removal done there."""

    def edit(config: Config) -> None:
        config["mounts"] = [
            entry for entry in config["mounts"] if not entry["destination"].startswith("/dev")
        ]
        add_bind(config, str(canary), "/volume")
        config["process"]["user"] = {"uid": user, "gid": user}
        config["process"]["rlimits"] = []
        config["linux"]["maskedPaths"] = []

    bundle = stage.bundle("true", edit=edit)
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to("/volume/inner")
    stage.container(bundle=bundle).run()
    canary.check()


def test_dev_null_is_a_link(stage: Stage, canary: Canary) -> None:
    """CVE-2026-88265: rootfs/dev/null that leads to a host file: that file gets no other owner, mode or content."""

    def edit(config: Config) -> None:
        config["mounts"] = [
            entry for entry in config["mounts"] if not entry["destination"].startswith("/dev")
        ]
        writable_root(config)

    for target in (f"{canary}/null", f"../../../../../../../../../..{canary}/null"):
        bundle = stage.bundle("true", edit=edit)
        (bundle.rootfs / "dev/null").symlink_to(target)
        stage.container(bundle=bundle).run().refused("/dev/null")
        canary.check()


def test_dev_null_is_a_file_of_somebody(stage: Stage) -> None:
    """Invariant 15, CVE-2026-88265: what the runtime has not made keeps its owner, even if it stands for a device."""

    def edit(config: Config) -> None:
        config["mounts"] = [
            entry for entry in config["mounts"] if not entry["destination"].startswith("/dev")
        ]
        writable_root(config)

    bundle = stage.bundle("true", edit=edit)
    null = bundle.rootfs / "dev/null"
    null.write_text("of somebody\n")
    null.chmod(0o600)
    os.chown(null, 12345, 12345)
    stage.container(bundle=bundle).run().refused("/dev/null")
    assert null.read_text() == "of somebody\n"
    assert stat.S_IMODE(null.stat().st_mode) == 0o600
    assert null.stat().st_uid == 12345


@pytest.mark.parametrize("name", ["console", "ptmx", "fd", "stdin", "core"])
def test_name_in_dev_is_a_link(stage: Stage, canary: Canary, name: str) -> None:
    """CVE-2026-88264: a link in the image's /dev is replaced or left alone, never followed."""

    def edit(config: Config) -> None:
        config["mounts"] = [
            entry for entry in config["mounts"] if not entry["destination"].startswith("/dev")
        ]
        writable_root(config)

    bundle = stage.bundle("true", edit=edit)
    (bundle.rootfs / "dev" / name).symlink_to(f"{canary}/file")
    stage.container(bundle=bundle).run()
    canary.check()


@pytest.mark.parametrize("link", sorted(_LINKS))
def test_device_behind_a_link(stage: Stage, canary: Canary, link: str) -> None:
    """A device of the config behind a link of the image is made inside the root."""
    bundle = _linked(
        stage, canary, link, "/link", "sh", "-c", "stat -c %t:%T /link/device", edit=writable_root
    )
    bundle.config["linux"]["devices"] = [
        {"path": "/link/device", "type": "c", "major": 1, "minor": 3, "uid": 1, "gid": 1}
    ]
    bundle.write()
    result = stage.container(bundle=bundle).run()
    canary.check()
    assert result.ok().out == "1:3\n"


def test_device_on_a_link(stage: Stage, canary: Canary) -> None:
    """A device whose very name is a link of the image is an error: the link is not followed, its target not given away."""
    bundle = _linked(stage, canary, "file", "/link", "true", edit=writable_root)
    bundle.config["linux"]["devices"] = [{"path": "/link", "type": "p", "uid": 1, "gid": 1}]
    bundle.write()
    stage.container(bundle=bundle).run().refused("/linux/devices/0")
    canary.check()


@pytest.mark.parametrize("target", ["/", "..", "tmp/../.."])
def test_mount_on_a_link_to_the_root(stage: Stage, tmp_path: Path, target: str) -> None:
    """R015: a link can't make a volume cover the container's root, where a process that enters later would land on it."""
    bundle = stage.bundle("true", edit=writable_root)
    (bundle.rootfs / "link").symlink_to(target)
    add_bind(bundle.config, str(tmp_path), "/link")
    bundle.write()
    stage.container(bundle=bundle).run().refused("/mounts/7")


def test_home_is_read_inside(stage: Stage, tmp_path: Path) -> None:
    """The image's /etc/passwd as a link to the host's: HOME is not taken from there."""
    (tmp_path / "passwd").write_text("root:x:0:0:root:/stolen:/bin/sh\n")
    bundle = stage.bundle("sh", "-c", "echo $HOME")
    for target in (str(tmp_path / "passwd"), "../../../../../../../../../.." + str(tmp_path / "passwd")):
        passwd = bundle.rootfs / "etc/passwd"
        passwd.unlink()
        passwd.symlink_to(target)
        assert "/stolen" not in stage.container(bundle=bundle).run().ok().out
