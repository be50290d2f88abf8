# SPDX-License-Identifier: Apache-2.0
"""Invariants 6 and 7: masks are made of the true null device, and one that can't be made is an error."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import Config, add_bind, set_capabilities, writable_root

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.bundle import Bundle
    from tests.harness.stage import Stage
    from tests.security.conftest import Canary


def _with_own_dev(stage: Stage, dev: Path, *args: str) -> Bundle:
    """A bundle whose /dev is a directory that the engine brings, and which masks two files."""
    dev.mkdir(exist_ok=True)

    def edit(config: Config) -> None:
        config["mounts"] = [
            entry for entry in config["mounts"] if not entry["destination"].startswith("/dev")
        ]
        add_bind(config, str(dev), "/dev")
        config["linux"]["maskedPaths"] = ["/secret", "/proc/timer_list"]

    bundle = stage.bundle(*args, edit=edit)
    (bundle.rootfs / "secret").write_text("secret\n")
    return bundle


@pytest.mark.parametrize("what", ["missing", "link", "dangling", "file", "directory", "fifo"])
def test_null_device_is_not_one(stage: Stage, canary: Canary, tmp_path: Path, what: str) -> None:
    """CVE-2025-31133: a /dev whose `null` is missing or something else makes create fail; nothing is masked by it, or left open."""
    dev = tmp_path / "dev"
    dev.mkdir()
    null = dev / "null"
    if what == "link":
        null.symlink_to(f"{canary}/file")
    elif what == "dangling":
        null.symlink_to("/nowhere")
    elif what == "file":
        null.write_text("fake\n")
    elif what == "directory":
        null.mkdir()
    elif what == "fifo":
        os.mkfifo(null)
    container = stage.container(bundle=_with_own_dev(stage, dev, "cat", "/secret", "/proc/timer_list"))
    result = container.run()
    assert result.out == ""
    result.refused("/linux/maskedPaths/0")
    canary.check()


def test_null_device_of_the_engine(stage: Stage, tmp_path: Path) -> None:
    """The same with a true null device: both files are empty."""
    dev = tmp_path / "dev"
    dev.mkdir()
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert stage.container(bundle=_with_own_dev(stage, dev, "cat", "/secret")).run().ok().out == ""


@pytest.mark.parametrize("device", [(1, 5), (1, 8)])
def test_null_device_has_another_number(stage: Stage, tmp_path: Path, device: tuple[int, int]) -> None:
    """CVE-2025-31133: a device with a number other than 1:3 is not a null device."""
    dev = tmp_path / "dev"
    dev.mkdir()
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(*device))
    result = stage.container(bundle=_with_own_dev(stage, dev, "head", "-c", "1", "/secret")).run()
    assert result.out == ""
    result.refused("/linux/maskedPaths/0", "/dev/null")


@pytest.mark.parametrize(
    "target", ["/proc/kcore", "{canary}/file", "../../../../../..{canary}", "/proc/../etc/passwd"]
)
def test_masked_link(stage: Stage, canary: Canary, target: str) -> None:
    """A masked path that is a link of the image masks what it means inside, and never a file of the host."""
    bundle = stage.bundle("sh", "-c", "cat /hidden; cat /etc/passwd")
    (bundle.rootfs / "hidden").symlink_to(target.format(canary=canary))
    bundle.config["linux"]["maskedPaths"].append("/hidden")
    bundle.write()
    result = stage.container(bundle=bundle).run()
    assert "canary" not in result.out
    if "passwd" in target:
        assert result.ok().out == ""
    canary.check()


def test_mask_that_cannot_be_made(stage: Stage) -> None:
    """Invariant 7: a mask (and a read-only path) that fails for another reason than a missing file is an error."""
    for name in ("maskedPaths", "readonlyPaths"):
        bundle = stage.bundle("true")
        (bundle.rootfs / "loop").symlink_to("loop")
        bundle.config["linux"][name] = ["/loop"]
        bundle.write()
        stage.container(bundle=bundle).run().refused(f"/linux/{name}/0")


def test_missing_paths_are_fine(stage: Stage) -> None:
    """Invariant 7's exception: what does not exist needs no mask."""

    def edit(config: Config) -> None:
        for name in ("maskedPaths", "readonlyPaths"):
            config["linux"][name] = ["/missing", "/missing/below", "/etc/passwd/below"]

    stage.container("true", edit=edit).run().ok()


def test_masks_hold(stage: Stage) -> None:
    """A masked file is empty, a masked directory is empty and read-only, also for a root with many capabilities."""

    def edit(config: Config) -> None:
        writable_root(config)
        config["linux"]["maskedPaths"] = ["/etc/passwd", "/home", "/dir"]
        config["linux"]["readonlyPaths"] = ["/opt"]
        set_capabilities(config, "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_CHOWN", "CAP_FOWNER")

    script = "cat /etc/passwd; ls -A /dir; touch /dir/new /opt/new; umount /dir; mount -o remount,rw /opt; ls /dir /opt; echo end"
    bundle = stage.bundle("sh", "-c", script, edit=edit)
    (bundle.rootfs / "dir").mkdir()
    (bundle.rootfs / "dir/secret").write_text("secret")
    result = stage.container(bundle=bundle).run().ok()
    assert result.out.replace("/dir:", "").replace("/opt:", "").split() == ["end"]
    assert (bundle.rootfs / "dir/secret").read_text() == "secret"
    assert not (bundle.rootfs / "opt/new").exists()


def test_order_of_masks_and_mounts(stage: Stage, tmp_path: Path) -> None:
    """Masks come after all mounts: a volume over a masked path does not uncover it."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/secret").write_text("secret\n")

    def edit(config: Config) -> None:
        add_bind(config, str(tmp_path / "volume"), "/mnt")
        config["linux"]["maskedPaths"] = ["/mnt/secret"]

    assert stage.show("cat /mnt/secret", edit) == ""
