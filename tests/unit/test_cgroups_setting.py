# SPDX-License-Identifier: Apache-2.0
"""How is a limit written, what if the kernel lacks the file, and how is it taken back? On a fake tree of files."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups import setting
from ociruntime.linux.cgroups.setting import Setting, held, restore, set_limit

if TYPE_CHECKING:
    from pathlib import Path


def args(directory: Path, file: str, value: str, **more: Any) -> dict[str, Any]:
    """The arguments of the step that writes it."""
    return Setting("/p", "c", file, value, **more).step(str(directory)).args


def test_the_first_file_that_is_there(tmp_path: Path) -> None:
    """`instead` is written where the kernel lacks the file, and only there."""
    (tmp_path / "new").write_text("")
    for name in ("old", "new"):
        (tmp_path / name).write_text("")
        set_limit(args(tmp_path, "old", "1", instead=(("new", "2"),)), [])
        assert (tmp_path / name).read_text() == {"old": "1", "new": "2"}[name]
        (tmp_path / "old").unlink(missing_ok=True)


def test_no_file_at_all(tmp_path: Path) -> None:
    """A limit that this kernel doesn't have is an error that says so; an optional one is a warning."""
    with pytest.raises(StepFailed, match="none") as failure:
        set_limit(args(tmp_path, "none", "1", instead=(("neither", "2"),)), [])
    assert failure.value.errno == errno.ENOENT
    assert "kernel" in failure.value.hint
    warnings: list[str] = []
    set_limit(args(tmp_path, "none", "1", optional=True), warnings)
    assert warnings == [f"{tmp_path}/none: not set to 1: no such file or directory"]


def test_a_gone_cgroup_is_no_missing_limit(tmp_path: Path) -> None:
    """Without the directory the hint would lead astray."""
    with pytest.raises(FileNotFoundError):
        set_limit(args(tmp_path / "gone", "x", "1"), [])


def test_lines_are_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is a write of its own; an empty value is a newline, as nothing would be no write."""
    (tmp_path / "file").touch()
    seen: list[tuple[bytes, ...]] = []
    monkeypatch.setattr(setting, "write", lambda _, *values: seen.append(values))
    for value in ("8:0 a\n8:1 b", ""):
        set_limit(args(tmp_path, "file", value), [])
    assert seen == [(b"8:0 a", b"8:1 b"), (b"\n",)]


def test_what_is_held_up_is_written_after_what_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EINVAL: first the limit that holds this one up, then this one again."""
    for name in ("limit", "sum"):
        (tmp_path / name).write_text("5")
    written = setting.write

    def kernel(path: str, *values: bytes) -> None:
        if path.endswith("limit") and int(values[0]) > int((tmp_path / "sum").read_text()):
            raise OSError(errno.EINVAL, "", path)
        written(path, *values)

    monkeypatch.setattr(setting, "write", kernel)
    set_limit(args(tmp_path, "limit", "7", first=(("sum", "9"), ("none", "1"))), [])
    assert ((tmp_path / "limit").read_text(), (tmp_path / "sum").read_text()) == ("7", "9")
    with pytest.raises(OSError, match="limit"):
        set_limit(args(tmp_path, "limit", "10", first=(("sum", "6"),)), [])


def test_a_value_that_the_kernel_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cpu.shares of 1 becomes 2: that is an error where it matters."""
    (tmp_path / "shares").write_text("2\n")
    monkeypatch.setattr(setting, "write", lambda *_: None)
    set_limit(args(tmp_path, "shares", "1"), [])
    with pytest.raises(StepFailed, match="1 is out of range: the kernel makes it 2"):
        set_limit(args(tmp_path, "shares", "1", exact=True), [])


@pytest.mark.parametrize(("kept", "warned"), [("9223372036854771712", True), ("4096", False)])
def test_a_value_that_the_kernel_ignores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str, warned: bool
) -> None:
    """Kernel memory of new kernels: the write succeeds and the old value stays, which is a warning; rounding down is not."""
    (tmp_path / "kmem").write_text(f"{kept}\n")
    monkeypatch.setattr(setting, "write", lambda *_: None)
    warnings: list[str] = []
    set_limit(args(tmp_path, "kmem", "5000", optional=True), warnings)
    assert warnings == [f"{tmp_path}/kmem: not set to 5000: the kernel ignores it"] * warned


def test_limit_below_what_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EBUSY of v1's memory limit: the error says how much is in use."""
    (tmp_path / "memory.limit_in_bytes").write_text("9")
    (tmp_path / "memory.usage_in_bytes").write_text("777\n")

    def refuse(path: str, *_: bytes) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    monkeypatch.setattr(setting, "write", refuse)
    with pytest.raises(StepFailed, match="777 bytes are in use"):
        set_limit(args(tmp_path, "memory.limit_in_bytes", "4"), [])


def test_taking_back(tmp_path: Path) -> None:
    """What was there is written again; a line for a device that had none is unset; oom_control has one value."""
    (tmp_path / "limit").write_text("5\n")
    (tmp_path / "io.max").write_text("8:16 rbps=1\n")
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 1\nunder_oom 0\n")
    first = held(args(tmp_path, "limit", "6", first=(("none", "1"),)))
    assert first == [[f"{tmp_path}/limit", "5"]]
    assert held(args(tmp_path, "memory.oom_control", "1"))[0][1] == "1"
    device = held(args(tmp_path, "io.max", "8:0 rbps=2", unset="8:0 rbps=max"))
    assert device == [[f"{tmp_path}/io.max", "8:16 rbps=1\n8:0 rbps=max"]]
    assert held(args(tmp_path, "io.max", "8:16 rbps=2", unset="8:16 rbps=max"))[0][1] == "8:16 rbps=1"
    (tmp_path / "limit").write_text("6")
    assert restore(first) == []
    assert (tmp_path / "limit").read_text() == "5"


def test_taking_back_in_an_order_that_the_kernel_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused once is tried again after the others; what stays refused is reported."""
    refusals = {"a": 1, "b": 2}
    seen: list[str] = []

    def kernel(path: str, *_: bytes) -> None:
        name = path.rpartition("/")[2]
        seen.append(name)
        if refusals.get(name, 0):
            refusals[name] -= 1
            raise OSError(errno.EINVAL, "", path)

    monkeypatch.setattr(setting, "write", kernel)
    problems = restore([[f"{tmp_path}/{name}", "1"] for name in "abc"])
    assert seen == ["c", "b", "a", "b", "a"]
    assert [problem.partition(" ")[0] for problem in problems] == [f"{tmp_path}/b"]
