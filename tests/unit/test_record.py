# SPDX-License-Identifier: Apache-2.0
"""statedir.Record: does what was written once still load, and is it written again as it was?"""

from __future__ import annotations

from pathlib import Path

import pytest

from ociruntime.plan.order import Options
from ociruntime.statedir import Record, StateDir

# As `create` of version 0.1 has written it, with a member that this version does not know.
_KEPT = (
    '{"version":1,"id":"one","pid":27176,"start_time":278518,"bundle":"/b","rootfs":"/b/rootfs",'
    '"created":"2026-12-01T08:12:19.440701872Z","owner":"","uid":0,"facts":{"cgroups":{"kind":"hybrid",'
    '"paths":{"pids":"/sys/fs/cgroup/pids/one","":"/sys/fs/cgroup/unified/one"}},"later":[1]},"hooks":["poststop"],'
    '"shares_pids":false,"has_process":true,"options":{"cgroup_manager":"cgroupfs","console_socket":"","home":null,'
    '"listen_fds":0,"listen_names":"","no_new_keyring":false,"no_pivot":false,"notify":"","pidfd_socket":"",'
    '"preserve_fds":0},"annotations":{"org.example":"\\udcff"},"of_a_later_version":{"a":[null,1.5]}}'
)


@pytest.fixture
def directory(tmp_path: Path) -> StateDir:
    """A container's directory with that state."""
    made = StateDir.claim(str(tmp_path), "one")
    Path(made.file("state.json")).write_text(_KEPT, encoding="ascii")
    return made


def _read(directory: StateDir) -> Record:
    record = directory.read_state()
    assert record is not None
    return record


def test_a_state_that_was_kept(directory: StateDir) -> None:
    """Each member has its attribute."""
    record = _read(directory)
    assert record
    assert (record.pid, record.start_time) == (27176, 278518)
    assert record.init() == {"pid": 27176, "start_time": 278518}
    assert (record.bundle, record.rootfs, record.owner) == ("/b", "/b/rootfs", "")
    assert record.created == "2026-12-01T08:12:19.440701872Z"
    assert record.cgroup_paths == {"pids": "/sys/fs/cgroup/pids/one", "": "/sys/fs/cgroup/unified/one"}
    assert record.hooks == ["poststop"]
    assert (record.shares_pids, record.has_process) == (False, True)
    assert record.annotations == {"org.example": "\udcff"}
    assert record.resources is None
    assert Options("one", **record.options).kept() == {"rootless": "auto", "maker": "", **record.options}


def test_it_is_written_as_it_was(directory: StateDir) -> None:
    """Byte for byte, and after an update with the limits in their place: nothing is lost, and nothing else comes."""
    record = _read(directory)
    directory.write_state(record)
    path = Path(directory.file("state.json"))
    assert path.read_text(encoding="ascii") == _KEPT
    record.set_resources({"pids": {"limit": 7}})
    directory.write_state(record)
    changed = _KEPT.replace('unified/one"}}', 'unified/one"},"resources":{"pids":{"limit":7}}}')
    assert path.read_text(encoding="ascii") == changed
    assert _read(directory).resources == {"pids": {"limit": 7}}


def test_there_is_none() -> None:
    """Without a state everything is empty, and the record is false."""
    record = Record()
    assert not record
    assert (record.pid, record.bundle, record.hooks, record.options) == (0, "", [], {})
    assert (record.cgroup_paths, record.resources, record.annotations) == ({}, None, {})
    record.facts["cgroups"] = {}
    assert Record().facts == {}


@pytest.mark.parametrize(
    "facts",
    [{"cgroups": None}, {"cgroups": {}}, {"cgroups": {"paths": []}}, {"cgroups": {"paths": {"": "/a\0b"}}}],
)
def test_cgroups_that_make_no_sense(directory: StateDir, facts: dict[str, object]) -> None:
    """Verbs write into these directories: what is no path is damage."""
    with pytest.raises(ValueError, match=r"cgroups|paths"):
        Record({**_read(directory).members, "facts": facts})


@pytest.mark.parametrize("value", ["null", "7", "[]"])
def test_what_is_only_shown(directory: StateDir, value: str) -> None:
    """A `created` or `owner` that is not a text is shown as nothing, and does not keep the container from being killed."""
    damaged = _KEPT.replace('"2026-12-01T08:12:19.440701872Z"', value).replace(
        '"owner":""', f'"owner":{value}'
    )
    Path(directory.file("state.json")).write_text(damaged, encoding="ascii")
    record = _read(directory)
    assert (record.created, record.owner, record.pid) == ("", "", 27176)
