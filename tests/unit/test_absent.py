# SPDX-License-Identifier: Apache-2.0
"""ociruntime/inspect/absent.py: does `validate` name what this machine doesn't have, and nothing that it has?"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ociruntime import make_config
from ociruntime.cli import main
from ociruntime.config import Node
from ociruntime.inspect import absent as subject
from ociruntime.inspect.absent import absent
from ociruntime.linux import seccomp_compiler
from ociruntime.native import spawn
from ociruntime.verbs.spec import default_config

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def _said(mounts: list[dict[str, Any]], *calls: str) -> list[tuple[str, str]]:
    config = make_config(["sh"], "/rootfs", preset="trusted")
    config["mounts"] = mounts
    if calls:
        rule = {"names": list(calls), "action": "SCMP_ACT_ERRNO"}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    return [(violation.pointer, violation.reason) for violation in absent(Node(config))]


def _mount(kind: str, *options: str) -> dict[str, Any]:
    return {"destination": "/a", "type": kind, "source": kind, "options": list(options)}


def test_what_the_makers_of_configs_write_is_here() -> None:
    """No warning about `spec`'s config, nor about the library's."""
    for config in (
        default_config(False),
        make_config(["sh"], "/r"),
        make_config(["sh"], "/r", preset="trusted"),
    ):
        assert list(absent(Node(config))) == []


def test_a_system_call() -> None:
    """A misspelt name, and not one of another architecture or of an old kernel."""
    ((pointer, reason),) = _said([], "read", "frobcall", "arm_fadvise64_64", "create_module", "frob")
    assert pointer == "/linux/seccomp/syscalls/0/names"
    assert reason.startswith("libseccomp 2.")
    assert reason.endswith(" doesn't know, and leaves out: frobcall, frob")


def test_without_libseccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said that the names were not looked at."""
    monkeypatch.setattr(seccomp_compiler, "LIBRARY", "libnothing.so")
    ((pointer, reason),) = _said([], "read")
    assert pointer == "/linux/seccomp/syscalls"
    assert reason.startswith("not known whether these system calls exist: libnothing.so can't be loaded")


def test_a_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of which the kernel knows nothing; a module that could be loaded counts, a bind's type doesn't."""
    ((pointer, reason),) = _said(
        [_mount("tmpfs"), _mount("frobfs", "x"), _mount("frobfs", "bind"), _mount("none", "rbind")]
    )
    assert pointer == "/mounts/1/type"
    assert reason.endswith("has no file system frobfs, nor a module for it")
    release = tmp_path / os.uname().release
    release.mkdir()
    (release / "modules.alias").write_text("# Aliases\nalias fs-frobfs frob\n")
    monkeypatch.setattr(subject, "_MODULES", str(tmp_path))
    assert _said([_mount("frobfs")]) == []
    assert len(_said([_mount("frabfs")])) == 1


def test_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said that the file systems were not looked at, if there are any."""
    monkeypatch.setattr(subject, "_FILESYSTEMS", str(tmp_path / "filesystems"))
    assert _said([_mount("none", "rbind")]) == []
    words = f"not known whether these file systems exist: {tmp_path}/filesystems: ENOENT (no such file or directory)"
    assert _said([_mount("frobfs"), _mount("tmpfs", "frob")]) == [("/mounts", words)]


def test_an_option() -> None:
    """By its own place, and in the kernel's words; what depends on paths, ids or rights is not judged."""
    found = _said([
        _mount("tmpfs", "nosuid", "mode=755,frob=1", "size=1x", "tmpcopyup"),
        _mount("proc", "hidepid=2", "hidepdi"),
        _mount("devpts", "gid=5", "ptmxmode=0666"),
    ])  # fmt: skip
    assert found == [
        ("/mounts/0/options/1", "tmpfs doesn't take frob=1: tmpfs: Unknown parameter 'frob'"),
        ("/mounts/0/options/2", "tmpfs doesn't take size=1x: tmpfs: Bad value for 'size'"),
        ("/mounts/1/options/1", "proc doesn't take hidepdi: proc: Unknown parameter 'hidepdi'"),
    ]


def test_an_id_that_is_not_mapped_where_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user's child has one id: what the kernel says of others tells nothing of the container's."""
    monkeypatch.setattr(spawn, "read_log", lambda _: "devpts: Invalid gid '5'")
    assert _said([_mount("devpts", "frob=1")]) == []


def test_options_that_can_not_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is claimed of what is not known."""

    def refuse(asked: list[tuple[str, str]]) -> list[str]:
        del asked
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(subject, "_try_all", refuse)
    assert _said([_mount("tmpfs", "frob=1")]) == []


def test_validate_says_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As a warning, with the exit code 0; an invalid config is not tried."""
    config = make_config(["sh"], "rootfs")
    config["mounts"].append(_mount("tmpfs", "frob=1"))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    assert main(["validate", str(path)]) == 0
    out = capfd.readouterr().out
    assert "warning: /mounts/4/options/0: tmpfs doesn't take frob=1: tmpfs: Unknown parameter 'frob'\n" in out
    del config["process"]["cwd"]
    path.write_text(json.dumps(config))
    assert main(["validate", str(path)]) == 1
    assert "frob" not in capfd.readouterr().out
