# SPDX-License-Identifier: Apache-2.0
"""Do the types of api/documents.py say what the library returns? What a type checker believes must be so."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

import pytest

import ociruntime
from ociruntime.api.documents import State, Statistics
from ociruntime.linux.cgroups.stats import stats
from ociruntime.statedir import Record, StateDir

if TYPE_CHECKING:
    from pathlib import Path

V1 = {
    "cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 77\n", "cpuacct.usage": "300\n",
    "cpuacct.usage_percpu": "100 200 \n", "cpuacct.usage_all": "cpu user system\n0 1 2\n", "cpuacct.stat": "user 7\n",
    "cpuset.cpus": "0-1\n", "cpuset.mems": "0\n", "memory.stat": "cache 4\n", "memory.limit_in_bytes": "100\n",
    "memory.usage_in_bytes": "50\n", "memory.max_usage_in_bytes": "60\n", "memory.failcnt": "3\n",
    "pids.current": "2\n", "pids.max": "9\n",
    "blkio.throttle.io_serviced_recursive": "8:0 Read 5\n", "blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\n",
}  # fmt: skip
V2 = {
    "cpu.stat": "usage_usec 3\nuser_usec 2\nsystem_usec 1\nnr_periods 1\nnr_throttled 1\nthrottled_usec 1\n",
    "memory.stat": "file 4\n", "memory.current": "50\n", "memory.max": "max\n", "memory.swap.current": "1\n",
    "memory.swap.max": "max\n", "pids.current": "2\n", "pids.max": "9\n", "io.stat": "8:0 rbytes=4096 wbytes=1 rios=1 wios=1\n",
}  # fmt: skip


def wrong(value: Any, kind: Any, place: str = "") -> list[str]:
    """Every place at which a value is not of a type: a TypedDict, a list or dict of a type, or a class."""
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        extras = get_type_hints(kind, include_extras=True)
        needed = {name for name in hints if kind.__total__ and get_origin(extras[name]) is not NotRequired}
        found = [f"{place}/{name} is not in the type" for name in value.keys() - hints.keys()]
        found += [f"{place}/{name} is missing" for name in needed - value.keys()]
        return found + [
            one
            for name in value
            if name in hints
            for one in wrong(value[name], hints[name], f"{place}/{name}")
        ]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is list:
        return [one for index, item in enumerate(value) for one in wrong(item, inner[0], f"{place}/{index}")]
    if origin is dict:
        return [one for name, item in value.items() for one in wrong(item, inner[1], f"{place}/{name}")]
    return [] if isinstance(value, kind) else [f"{place} is {value!r}, not {kind}"]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_statistics(version: str, tmp_path: Path) -> None:
    """Of both versions of cgroups, with every number there."""
    for name, text in (V1 if version == "v1" else V2).items():
        (tmp_path / name).write_text(text)
    controllers = ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio") if version == "v1" else ("",)
    found = stats(dict.fromkeys(controllers, str(tmp_path)))
    assert found["blkio"]
    assert wrong(found, Statistics) == []
    found["pids"] = {"current": "2", "frob": 1}
    assert wrong(found, Statistics) == [
        "/pids/frob is not in the type",
        "/pids/current is '2', not <class 'int'>",
    ]


@pytest.mark.parametrize("annotations", [{}, {"annotations": {"org.example.a": "b"}}])
def test_state(annotations: dict[str, Any], tmp_path: Path) -> None:
    """Of a container that has ended, with annotations and without."""
    root = tmp_path / "state"
    directory = StateDir.claim(str(root), "one")
    members = {
        "id": "one",
        "pid": 2**22,
        "start_time": 1,
        "bundle": "/b",
        "rootfs": "/b/r",
        "created": "now",
        "owner": "",
    }
    directory.write_state(Record({**members, "facts": {}, "hooks": [], "options": {}, **annotations}))
    directory.unlock()
    (state,) = ociruntime.list_all(str(root))
    assert wrong(state, State) == []
    assert ("annotations" in state) == bool(annotations)
    assert list(state)[-1] == "owner"


def test_typing_is_loaded_only_for_them() -> None:
    """A program that uses the library's Container doesn't pay for it; one that asks for State does."""
    code = (
        "import sys, ociruntime; ociruntime.Container, ociruntime.list_all; print('typing' in sys.modules);"
        "ociruntime.State; print('typing' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert shown.stdout in ("False\nTrue\n", "True\nTrue\n")
    alone = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {[one for one in sys.path if one]!r}; {code}"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    assert alone.stdout == "False\nTrue\n"
