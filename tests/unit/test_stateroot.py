# SPDX-License-Identifier: Apache-2.0
"""Who owns --root? Every directory on the way to it is checked, and made for the caller only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ociruntime import stateroot
from ociruntime.errors import RuntimeFailure
from ociruntime.statedir import StateDir
from ociruntime.stateroot import check_root, make_root, names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SOMEBODY = 12345


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def _made(path: Path, mode: int = 0o700) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Paths that lstat says belong to another user: only root could really give them away."""
    given: dict[str, int] = {}
    lstat: Callable[[str], os.stat_result] = os.lstat

    def look(path: str) -> os.stat_result:
        status = lstat(path)
        return os.stat_result((*status[:4], given.get(path, status.st_uid), *status[5:]))

    monkeypatch.setattr(stateroot.os, "lstat", look)
    return given


@pytest.mark.parametrize("umask", [0, 0o002, 0o077])
def test_missing_directories_are_the_callers_alone(tmp_path: Path, umask: int) -> None:
    """Each that is made has mode 0700, not only the last one, whatever the umask lets through."""
    before = os.umask(umask)
    try:
        make_root(str(tmp_path / "a" / "b" / "c"))
    finally:
        os.umask(before)
    assert {_mode(path) for path in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/c")} == {0o700}


def test_claim_makes_the_whole_path(tmp_path: Path) -> None:
    """The same from a claim, which is what create does."""
    before = os.umask(0)
    try:
        StateDir.claim(str(tmp_path / "a" / "b"), "one")
    finally:
        os.umask(before)
    assert {_mode(path) for path in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/one")} == {0o700}


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o702, 0o720, 0o1777, 0o2770])
def test_a_root_that_others_may_write(tmp_path: Path, mode: int) -> None:
    """It is refused by every way in, sticky or not, with its path, mode and what to do."""
    root = _made(tmp_path / "root", mode)
    for call in (
        lambda: names(str(root)),
        lambda: StateDir.find(str(root), "one"),
        lambda: StateDir.claim(str(root), "one"),
    ):
        with pytest.raises(RuntimeFailure) as caught:
            call()
        assert str(root) in caught.value.reason
        assert f"{mode:04o}" in caught.value.reason
        assert f"chmod go-w {root}" in caught.value.hint
        assert "--root" in caught.value.hint
    assert os.listdir(root) == []


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o750, 0o755])
def test_a_root_that_others_may_read(tmp_path: Path, mode: int) -> None:
    """What they can't write is fine: engines make their roots 0711."""
    assert names(str(_made(tmp_path / "root", mode))) == []


@pytest.mark.parametrize(("mode", "fine"), [(0o777, False), (0o1777, True), (0o770, False), (0o1770, True)])
def test_directories_above(tmp_path: Path, mode: int, fine: bool) -> None:
    """One above that others may write is refused unless it is sticky, wherever the root is below it."""
    root = _made(_made(_made(tmp_path / "above", mode) / "mine") / "root")
    if fine:
        assert check_root(str(root)) == ""
        return
    with pytest.raises(RuntimeFailure, match=f"{tmp_path}/above belongs to"):
        check_root(str(root))


def test_owner_of_the_root(tmp_path: Path, owners: dict[str, int]) -> None:
    """The root is the caller's own; above it root's will do, but no one else's, even below a sticky directory."""
    root = _made(_made(tmp_path / "above", 0o755) / "root")
    assert check_root(str(root)) == ""
    owners[str(root)] = _SOMEBODY
    with pytest.raises(RuntimeFailure, match=f"{root} belongs to uid {_SOMEBODY} and has mode 0700"):
        check_root(str(root))
    owners.clear()
    owners[str(root.parent)] = _SOMEBODY
    with pytest.raises(RuntimeFailure, match=f"{root.parent} belongs to uid {_SOMEBODY}"):
        check_root(str(root))
    owners[str(root.parent)] = 0
    assert check_root(str(root)) == ""
    owners[str(root)] = 0 if os.geteuid() else _SOMEBODY
    with pytest.raises(RuntimeFailure, match=f"{root} belongs to uid"):
        check_root(str(root))


def test_owner_of_the_top(tmp_path: Path, owners: dict[str, int]) -> None:
    """In a user namespace without the host's root the owner of "/" is nobody: this owner is trusted above the root."""
    root = _made(_made(tmp_path / "above", 0o755) / "root")
    owners[str(root.parent)] = _SOMEBODY
    owners["/"] = _SOMEBODY
    assert check_root(str(root)) == ""


def test_links_on_the_way(tmp_path: Path, owners: dict[str, int]) -> None:
    """They are followed, and what they lead through is looked at; another user's link is refused."""
    real = _made(_made(tmp_path / "real", 0o755) / "root")
    _made(tmp_path / "deep")
    (tmp_path / "absolute").symlink_to(real)
    (tmp_path / "deep" / "relative").symlink_to("../absolute")
    for link in ("absolute", "deep/relative", "deep/relative/."):
        assert check_root(str(tmp_path / link)) == ""
    real.parent.chmod(0o777)
    with pytest.raises(RuntimeFailure, match=f"{real.parent} belongs to"):
        check_root(str(tmp_path / "deep" / "relative"))
    real.parent.chmod(0o755)
    owners[str(tmp_path / "absolute")] = _SOMEBODY
    with pytest.raises(RuntimeFailure, match=f"{tmp_path}/absolute belongs to uid {_SOMEBODY}"):
        check_root(str(tmp_path / "deep" / "relative"))


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    """A circle is an error with its reason; what a link names is made where the link says."""
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(RuntimeFailure, match="ELOOP"):
        check_root(str(tmp_path / "circle"))
    (tmp_path / "later").symlink_to(tmp_path / "target")
    assert check_root(str(tmp_path / "later")) == str(tmp_path / "target")
    make_root(str(tmp_path / "later" / "root"))
    assert (tmp_path / "target" / "root").is_dir()


def test_the_first_missing_directory_is_named(tmp_path: Path) -> None:
    """It is what is made next; a relative root is one of the current directory."""
    assert check_root(f"{tmp_path}//a/./b") == str(tmp_path / "a")
    assert check_root(os.path.relpath(tmp_path / "a")) == str(tmp_path / "a")


def test_a_directory_of_another_user_in_the_root(tmp_path: Path, owners: dict[str, int]) -> None:
    """It may have been put there while the root was open to others: none of its files is believed."""
    root = _made(tmp_path / "root")
    planted = _made(root / "one", 0o777)
    for owner in (os.geteuid(), _SOMEBODY):
        owners[str(planted)] = owner
        with pytest.raises(RuntimeFailure, match=f"{planted} belongs to uid {owner} and has mode 0777"):
            StateDir.find(str(root), "one")
    planted.chmod(0o700)
    with pytest.raises(RuntimeFailure, match=f"{planted} belongs to uid {_SOMEBODY}"):
        StateDir.find(str(root), "one")
