# SPDX-License-Identifier: Apache-2.0
"""What init mounts itself: the mode of a tmpfs, masks, options of more than 255 bytes, the root's propagation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_bind, writable_root
from tests.harness.peers import departure

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

_SAME = "the first and the second container on a root file system are alike"
departure("mode of a tmpfs on a missing path, second run", "runc", "R034", _SAME)
_MODE = "a directory stays as open as it was; newer crun does as we do"
departure("mode of a tmpfs on a directory", "crun", "R034", _MODE)
for _peer in ("runc", "crun"):
    departure("mode of a tmpfs in mountinfo", _peer, "R034", "newer ones do as we do")
    departure("file systems of masked directories", _peer, "R195", "one is enough; newer ones do as we do")
    departure("masks of a directory that is listed twice", _peer, "R195", "once is enough")
departure("propagation of a shared root", "runc", "R194", "1.1 makes it private before pivot_root")


def _tmpfs(config: Config, destination: str, *options: str) -> None:
    config["mounts"].append(
        {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)}
    )


def _mounts(table: str, point: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines() if line.split()[4] == point]


def test_mode_of_a_tmpfs(compare: Compare) -> None:
    """Without `mode=`: 1777 on a missing path, the directory's mode on one that is there; always the same."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def edit(config: Config) -> None:
            writable_root(config)
            for name in ("missing/t", "there"):
                _tmpfs(config, f"/{name}", "nosuid")
            _tmpfs(config, "/given", "mode=0711")

        script = "stat -c %a /missing/t /there /given; cat /proc/self/mountinfo"
        bundle = stage.bundle("sh", "-c", script, edit=edit)
        (bundle.rootfs / "there").mkdir()
        (bundle.rootfs / "there").chmod(0o2750)
        answers = {}
        for run in ("first", "second"):
            missing, there, given, *table = stage.container(bundle=bundle).run().ok().out.splitlines()
            answers[f"mode of a tmpfs on a missing path, {run} run"] = missing
            if run == "first":
                (line,) = _mounts("\n".join(table), "/there")
                answers["mode of a tmpfs on a directory"] = there
                answers["mode of a tmpfs in mountinfo"] = "mode=2750" in line[-1].split(",")
                answers["mode of a tmpfs that is given"] = given
        return answers

    assert compare(scenario) == {
        "mode of a tmpfs on a missing path, first run": "1777",
        "mode of a tmpfs on a missing path, second run": "1777",
        "mode of a tmpfs on a directory": "2750",
        "mode of a tmpfs in mountinfo": True,
        "mode of a tmpfs that is given": "711",
    }


def test_owner_of_a_copy(compare: Compare) -> None:
    """With tmpcopyup the tmpfs itself is root's, or whose uid= says; a root without capabilities can write to it."""

    def edit(config: Config) -> None:
        _tmpfs(config, "/other", "tmpcopyup")
        _tmpfs(config, "/given", "tmpcopyup", "uid=5", "gid=6")
        config["process"]["capabilities"] = {}

    def scenario(stage: Stage) -> dict[str, Any]:
        script = "stat -c '%u %g' /other /other/file /given /given/file; touch /other/new && ls /other"
        bundle = stage.bundle("sh", "-c", script, edit=edit)
        for name in ("other", "given"):
            place = bundle.rootfs / name
            place.mkdir(mode=0o755)
            (place / "file").touch()
            for path in (place, place / "file"):
                os.chown(path, 1000, 1001)
        done = stage.container(bundle=bundle).run()
        return {"owners": done.out.split("\n"), "errors": done.err}

    answers = compare(scenario)
    assert answers["owners"] == ["0 0", "1000 1001", "5 6", "1000 1001", "file", "new", ""]


def test_masked_directories(compare: Compare) -> None:
    """They show one empty file system, each is masked once, and nothing can be written into any."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def edit(config: Config) -> None:
            writable_root(config)
            config["linux"]["maskedPaths"] = ["/opt", "/home", "/etc/passwd", "/opt", "//home/"]

        script = (
            "cat /proc/self/mountinfo; for d in opt home; do ls -A /$d; touch /$d/x && echo WRITTEN; done; :"
        )
        bundle = stage.bundle("sh", "-c", script, edit=edit)
        for name in ("opt", "home"):
            (bundle.rootfs / name / "secret").write_text("secret")
        out = stage.container(bundle=bundle).run().ok().out
        opt, home = _mounts(out, "/opt"), _mounts(out, "/home")
        return {
            "file systems of masked directories": len({line[2] for line in (*opt, *home)}),
            "masks of a directory that is listed twice": [len(opt), len(home)],
            "what is seen in them": [word for word in out.split() if word in ("secret", "WRITTEN")],
        }

    assert compare(scenario) == {
        "file systems of masked directories": 1,
        "masks of a directory that is listed twice": [1, 1],
        "what is seen in them": [],
    }


@pytest.mark.parametrize("value", ["shared", "rshared"])
def test_shared_root(compare: Compare, value: str) -> None:
    """On a host whose mounts are shared it is a peer group of its own, and not the host's slave as well."""

    def scenario(stage: Stage) -> dict[str, Any]:
        inner = 'mount --make-rshared /; exec unshare -m --propagation unchanged "$@"'
        stage.runtime.command = ["unshare", "-m", "sh", "-c", inner, "sh", *stage.runtime.command]

        def edit(config: Config) -> None:
            config["linux"]["rootfsPropagation"] = value

        out = stage.container("cat", "/proc/self/mountinfo", edit=edit).run().ok().out
        (root,) = _mounts(out, "/")
        words = [word.split(":")[0] for word in root[6 : root.index("-")]]
        return {"propagation of a shared root": words}

    assert compare(scenario) == {"propagation of a shared root": ["shared"]}


def test_an_option_of_more_than_255_bytes(stage: Stage) -> None:
    """Such a mount is made by mount(2), and is like any other: mode, content, propagation, and devices are made in it."""

    def edit(config: Config) -> None:
        writable_root(config)
        _tmpfs(config, "/long", f"size={'0' * 300}1m", "tmpcopyup", "rshared", "nosuid")
        config["linux"]["devices"] = [{"path": "/long/null", "type": "c", "major": 1, "minor": 3}]

    script = "stat -c '%a %u' /long /long/file; cat /long/file; [ -c /long/null ]; cat /proc/self/mountinfo"
    bundle = stage.bundle("sh", "-ec", script, edit=edit)
    (bundle.rootfs / "long").mkdir()
    (bundle.rootfs / "long").chmod(0o751)
    (bundle.rootfs / "long/file").write_text("copied\n")
    (bundle.rootfs / "long/file").chmod(0o640)
    mode, file, content, *table = stage.container(bundle=bundle).run().ok().out.splitlines()
    assert (mode, file, content) == ("751 0", "640 0", "copied")
    (line,) = _mounts("\n".join(table), "/long")
    assert line[6].startswith("shared:")
    assert {"size=1024k", "mode=751"} <= set(line[-1].split(","))


def test_words_that_a_bind_has_no_use_for(stage: Stage, tmp_path: Path) -> None:
    """A warning names the word and where it is; the bind is made without it."""
    (tmp_path / "volume").mkdir()

    def edit(config: Config) -> None:
        add_bind(config, str(tmp_path / "volume"), "/mnt", "size=1m", "ro", "x-mine")

    result = stage.container("sh", "-c", "touch /mnt/x || echo read-only", edit=edit).run().ok()
    assert result.out == "read-only\n"
    assert "/mounts/7/options/1: mount on /mnt: the mount option size=1m has no effect" in result.err
    assert "x-mine" not in result.err
