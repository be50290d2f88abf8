# SPDX-License-Identifier: Apache-2.0
"""Which name does a user of the host have, by /etc/passwd and by libc?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ociruntime.linux import accounts

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PASSWD = "broken\nroot:x:0:0::/:/bin/sh\nme:x:54321:7::/:/bin/sh\nother:x:54321:7::/:/bin/sh\nlate:x:1:x"


def test_the_file_comes_first() -> None:
    """The first line with the uid counts; a line that is too short is passed over."""
    assert [accounts.login_name(uid, PASSWD) for uid in (0, 54321, 1)] == ["root", "me", "late"]
    assert accounts.login_name(9, "broken\x85x:x:9:9::/:/bin/sh\n") != "x"  # U+0085 ends no line


def test_libc_is_asked_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a user whom the file doesn't have; a static program can't, and knows no name."""
    assert [accounts.login_name(uid, "") for uid in (0, 54321)] == ["root", ""]
    monkeypatch.setattr("ociruntime.native.full_python.form", "snapshot")
    assert accounts.login_name(0, "") == ""


def test_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any bytes; nothing if it can't be read."""
    assert "root:" in accounts.passwd()
    monkeypatch.setattr(accounts, "FILE", str(tmp_path / "passwd"))
    assert accounts.passwd() == ""
    (tmp_path / "passwd").write_bytes(b"\xff:x:7:7::/:/bin/sh\n")
    assert os.fsencode(accounts.login_name(7, accounts.passwd())) == b"\xff"
