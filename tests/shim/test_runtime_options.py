# SPDX-License-Identifier: Apache-2.0
"""Every runtime option of both kinds: which one of ours it is, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.errors import UsageError
from ociruntime.shim import runtime_options
from ociruntime.shim.messages import Malformed
from tests.shim.descriptions import kind_of

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS = {
    "root": "/run/containerd/ociruntime", "no_pivot": False, "no_new_keyring": False,
    "cgroup_manager": "cgroupfs", "shim_cgroup": "", "io_uid": 0, "io_gid": 0,
}  # fmt: skip
# name in containerd's message, name in its configuration, value, name of ours, value of ours
EACH = [
    ("root", "Root", "/r", "root", "/r"),
    ("no_pivot_root", "NoPivotRoot", True, "no_pivot", True),
    ("no_new_keyring", "NoNewKeyring", True, "no_new_keyring", True),
    ("systemd_cgroup", "SystemdCgroup", True, "cgroup_manager", "systemd"),
    ("shim_cgroup", "ShimCgroup", "/shims", "shim_cgroup", "/shims"),
    ("io_uid", "IoUid", 1000, "io_uid", 1000),
    ("io_gid", "IoGid", 1001, "io_gid", 1001),
    ("binary_name", "BinaryName", "/usr/bin/runc", None, None),
]


def seen(kind: str, type_url: str, **fields: Any) -> dict[str, object]:
    """The options in an Any."""
    value = kind_of(kind)(**fields).SerializeToString()
    found = runtime_options.of({"type_url": type_url, "value": value})
    return {name: getattr(found, name) for name in DEFAULTS}


@pytest.mark.parametrize("each", EACH, ids=[each[1] for each in EACH])
def test_each_option(tmp_path: Path, each: tuple[str, str, object, str | None, object]) -> None:
    """In containerd's own message, as text and in a file: it changes one of ours, or none."""
    message, setting, value, ours, expected = each
    wanted = {**DEFAULTS, **({ours: expected} if ours is not None else {})}
    assert (wanted == DEFAULTS) == (ours is None)
    assert seen("RuncOptions", "containerd.runc.v1.Options", **{message: value}) == wanted
    said = "true" if value is True else repr(value).replace("'", '"')
    file = tmp_path / "options.toml"
    file.write_text(f"{setting} = {said}\n")
    for fields in ({"config_body": file.read_bytes()}, {"config_path": str(file)}):
        assert seen("FileOptions", "runtimeoptions.v1.Options", **fields) == wanted


def test_no_options() -> None:
    """None, an Any of nothing, and a file that is not named."""
    nothing = runtime_options.of(None)
    assert {name: getattr(nothing, name) for name in DEFAULTS} == DEFAULTS
    assert seen("FileOptions", "") == DEFAULTS
    assert seen("FileOptions", "runtimeoptions.v1.Options") == DEFAULTS


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"config_body": b"Colour = 1"}, "runtime options: unknown option Colour (known are NoPivotRoot"),
        ({"config_body": b"SystemdCgroup = 1"}, "runtime options: SystemdCgroup must be bool"),
        ({"config_body": b"IoUid = true"}, "runtime options: IoUid must be int"),
        ({"config_body": b"ShimCgroup = 1"}, "runtime options: ShimCgroup must be str"),
        ({"config_body": b"Root = 'here'"}, "here is not an absolute path"),
        ({"config_body": b"Root"}, "runtime options: "),
        ({"config_body": b"\xff"}, "runtime options: "),
        ({"config_body": b'Root = "/a\\u0000b"'}, "runtime options: Root: a text with a zero byte"),
        ({"config_path": "/missing"}, "runtime options: /missing: ENOENT"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], words: str) -> None:
    """The option and the file are named."""
    with pytest.raises((UsageError, Malformed)) as caught:
        seen("FileOptions", "runtimeoptions.v1.Options", **fields)
    assert words in str(caught.value)


def test_a_kind_that_nobody_knows() -> None:
    """It is named, and so are those that are known; bytes that are no message are refused."""
    with pytest.raises(UsageError, match=r"other\.Options .*runtimeoptions\.v1\.Options are known"):
        seen("RuncOptions", "other.Options", root="/x")
    with pytest.raises(Malformed, match=r"containerd\.runc\.v1\.Options"):
        runtime_options.of({"type_url": "containerd.runc.v1.Options", "value": b"\xff"})
