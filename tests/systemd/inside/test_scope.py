# SPDX-License-Identifier: Apache-2.0
"""The life of a container whose cgroup is systemd's: its unit, what systemd knows of it, and what is left at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ociruntime import api
from ociruntime.bundle import load
from ociruntime.plan.order import Options
from tests.harness.driver import ENVIRONMENT, MARK, PATIENCE
from tests.systemd.inside import units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.configuration import Config
    from tests.harness.driver import Container
    from tests.harness.stage import Stage

# Where systemd's own hierarchy is below /sys/fs/cgroup.
_OWN = "" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "unified/"


def placed(path: str, **annotations: str) -> Callable[[Config], None]:
    """An edit: cgroupsPath, and annotations with __ for dots."""

    def edit(config: Config) -> None:
        config["linux"]["cgroupsPath"] = path
        config.setdefault("annotations", {}).update(
            {name.replace("__", "."): value for name, value in annotations.items()}
        )

    return edit


def cgroup_of(container: Container) -> str:
    """Where systemd's own hierarchy has init."""
    lines = Path(f"/proc/{container.state()['pid']}/cgroup").read_text(encoding="utf-8").splitlines()
    return next(line.split(":", 2)[2] for line in lines if line.startswith("0:"))


def wait_until_gone(unit: str) -> None:
    """A unit that systemd is about to forget."""
    end = time.monotonic() + 10.0 * PATIENCE
    while units.shown(unit, "LoadState") != {"LoadState": "not-found"}:
        assert time.monotonic() < end, f"{unit} stays"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("path", "unit", "place"),
    [
        ("", "ociruntime-ID.scope", "/system.slice/ociruntime-ID.scope"),
        (":p:ID", "p-ID.scope", "/system.slice/p-ID.scope"),
        ("-.slice::ID", "ID.scope", "/ID.scope"),
        ("MARK.slice:p:ID", "p-ID.scope", ""),
    ],
)
def test_places(stage: Stage, path: str, unit: str, place: str) -> None:
    """The scope is where the name says, with init in it, and gone with the container."""
    container = stage.container("sleep", "100")
    slice_name = f"{MARK.replace('-', '_')}-inner"
    path, unit, place = (
        text.replace("ID", container.id).replace("MARK", slice_name) for text in (path, unit, place)
    )
    placed(path)(container.bundle.config)
    container.bundle.write()
    container.create().ok()
    parent = f"/{slice_name.partition('-')[0]}.slice/{slice_name}.slice"
    assert cgroup_of(container) == (place or f"{parent}/{unit}")
    assert units.shown(unit, "ActiveState", "Delegate") == {"ActiveState": "active", "Delegate": "yes"}
    assert container.id in units.shown(unit, "Description")["Description"]
    container.start().ok()
    container.delete("--force").ok()
    assert units.shown(unit, "LoadState") == {"LoadState": "not-found"}
    if not place:
        units.stop_slice(f"{slice_name.partition('-')[0]}.slice")


def test_the_state_names_the_unit(stage: Stage) -> None:
    """With its driver: later verbs need no flag."""
    container = stage.running()
    with open(stage.runtime.root / container.id / "state.json", encoding="utf-8") as file:
        kept = json.load(file)["facts"]["cgroups"]
    assert (kept["manager"], kept["unit"]) == ("systemd", f"ociruntime-{container.id}.scope")
    container.delete("--force", options=["--cgroup-manager", "cgroupfs"]).ok()
    assert units.ours() == []


def test_one_process_is_in_it(stage: Stage) -> None:
    """What held the place is gone when create is, and ps, exec, pause and events see the container's processes."""
    container = stage.running()
    pid = container.state()["pid"]
    assert json.loads(stage.runtime.call("ps", "--format", "json", container.id).ok().out) == [pid]
    inside = container.exec("cat", "/proc/self/cgroup").ok().out
    assert f"/system.slice/ociruntime-{container.id}.scope" in inside or "0::/\n" in inside
    stage.runtime.call("pause", container.id).ok()
    assert container.status() == "paused"
    stage.runtime.call("resume", container.id).ok()
    assert container.status() == "running"
    said = json.loads(stage.runtime.call("events", "--stats", container.id).ok().out)
    assert said["type"] == "stats"
    container.delete("--force").ok()


def test_annotations_are_properties(stage: Stage) -> None:
    """As systemd keeps them."""
    edit = placed(
        "",
        org__systemd__property__CollectMode="'inactive-or-failed'",
        org__systemd__property__TimeoutStopSec="7",
    )
    container = stage.running(edit)
    found = units.shown(f"ociruntime-{container.id}.scope", "CollectMode", "TimeoutStopUSec")
    assert found == {"CollectMode": "inactive-or-failed", "TimeoutStopUSec": "7s"}
    container.delete("--force").ok()


def test_a_property_that_systemd_refuses(stage: Stage) -> None:
    """The error has unit, property and systemd's words, at the annotation; nothing is left."""
    edit = placed("", org__systemd__property__CollectMode="'never'")
    container = stage.container("true", edit=edit)
    container.create().refused(
        "/annotations/org.systemd.property.CollectMode", "start scope",
        f"unit ociruntime-{container.id}.scope", "CollectMode",
    )  # fmt: skip
    edit = placed("", org__systemd__property__NoSuchThing="true")
    container = stage.container("true", edit=edit)
    container.create().refused("NoSuchThing", f"unit ociruntime-{container.id}.scope")
    assert units.ours() == []


def test_a_name_that_is_taken(stage: Stage) -> None:
    """By a unit that runs: refused, and that unit is left alone."""
    unit = f"{MARK}-taken.scope"
    with scope(unit, "sleep", "1000") as process:
        container = stage.container("true", edit=placed(f"::{MARK}-taken"))
        container.create().refused(f"unit {unit}: the name is taken", "already", "/linux/cgroupsPath")
        assert units.shown(unit, "ActiveState") == {"ActiveState": "active"}
        assert process.poll() is None
    wait_until_gone(unit)


def test_a_name_of_a_unit_that_has_failed(stage: Stage) -> None:
    """What systemd keeps of it is forgotten, as with runc."""
    unit = f"{MARK}-failed.scope"
    script = "trap '' TERM; echo up; while :; do sleep 1; done"
    with scope(unit, "sh", "-c", script, properties=("-p", "TimeoutStopSec=100ms")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"  # it no longer ends when it is asked to
        units.systemctl("stop", unit)
    assert units.shown(unit, "ActiveState") == {"ActiveState": "failed"}
    stage.container("true", edit=placed(f"::{MARK}-failed")).run().ok()
    wait_until_gone(unit)


@contextmanager
def scope(unit: str, *program: str, properties: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """A scope that is not the runtime's, as long as the block runs."""
    words = ["systemd-run", "--quiet", "--scope", "--unit", unit, *properties, *program]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )
    try:
        end = time.monotonic() + 10.0 * PATIENCE
        while units.shown(unit, "ActiveState")["ActiveState"] != "active":
            assert time.monotonic() < end
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_failed_unit_is_reset(stage: Stage) -> None:
    """What systemd keeps of a scope that failed goes away with the container."""
    container = stage.running(placed("", org__systemd__property__TimeoutStopUSec="uint64 1"))
    unit = f"ociruntime-{container.id}.scope"
    units.systemctl("stop", unit)
    container.wait_for("stopped")
    container.delete().ok()
    assert units.ours() == []


def test_what_was_stopped_by_systemd(stage: Stage) -> None:
    """`systemctl stop` ends the container; delete finds no unit any more."""
    container = stage.running()
    units.systemctl("kill", "--signal=KILL", f"ociruntime-{container.id}.scope")
    container.wait_for("stopped")
    wait_until_gone(f"ociruntime-{container.id}.scope")
    container.delete().ok()


def test_what_is_left_in_it_is_killed(stage: Stage) -> None:
    """Without a pid namespace processes outlive init; delete does not wait for systemd to ask them politely."""

    def edit(config: Config) -> None:
        config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "pid"]

    container = stage.container("sh", "-c", "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo up; wait", edit=edit)  # fmt: skip
    container.create().ok()
    container.start().ok()
    container.wait_for_output("up")
    os.kill(container.state()["pid"], signal.SIGKILL)
    began = time.monotonic()
    container.delete("--force").ok()
    assert time.monotonic() - began < 10.0 * PATIENCE
    assert units.ours() == []


def test_a_subgroup(stage: Stage) -> None:
    """An annotation of crun: the container is one cgroup further down, and with it exec and ps."""
    container = stage.running(placed("", run__oci__systemd__subgroup="inner"))
    on_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    tail = "/inner" if on_v2 else ""
    assert cgroup_of(container) == f"/system.slice/ociruntime-{container.id}.scope{tail}"
    assert stage.runtime.call("ps", "--format", "json", container.id).ok().out.strip() == str(
        [container.state()["pid"]]
    )
    container.exec("true").ok()
    container.delete("--force").ok()
    assert units.ours() == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a/b", "'/a/b' is not slice:prefix:name"),
        ("a:b:c", "'a' is not the name of a slice"),
        ("a.slice:b:c d", "it has the character ' '"),
        (f":p:{'x' * 250}", "258 characters, and 255 are allowed"),
    ],
)
def test_refused_names(stage: Stage, path: str, words: str) -> None:
    """Before anything is made."""
    stage.container("true", edit=placed(path)).create().refused("/linux/cgroupsPath", words)


def test_a_program_that_fails_leaves_no_unit(stage: Stage) -> None:
    """Undone like everything else; so is a run that ends by itself."""
    stage.container("/no/such/program").create().refused("/process/args/0")
    assert units.ours() == []
    assert stage.run("sh", "-c", "exit 3").code == 3
    assert units.ours() == []


def test_many_cycles(stage: Stage) -> None:
    """200 times created and deleted in one process: no unit, no connection, no cgroup, no descriptor is left."""
    bundle = stage.bundle("true")
    loaded = load(str(bundle.directory))
    with open(os.devnull, "r+b") as null:
        before = (0, 0)
        for number in range(200):
            options = Options(f"{MARK}-c{number}", cgroup_manager="systemd")
            made = api.create(str(stage.runtime.root), loaded, options, stdio=(null.fileno(),) * 3)
            inside = Path(f"/sys/fs/cgroup/{_OWN}system.slice/ociruntime-{made.id}.scope/cgroup.procs")
            assert inside.read_text(encoding="ascii").split() == [str(made.pid)]
            made.delete(force=True)
            if number == 0:  # the runtime's own program stays open
                before = units.connections(), len(os.listdir("/proc/self/fd"))
        after = len(os.listdir("/proc/self/fd"))
    assert units.ours() == []
    end = time.monotonic() + 10.0 * PATIENCE
    assert after == before[1]
    while units.connections() > before[0]:
        assert time.monotonic() < end, "a connection is left"
        time.sleep(0.1)


def test_few_processes(stage: Stage) -> None:
    """One process is allowed: what held the place does not count, and systemd knows the limit.

    Without the controller the limit is refused, as without systemd.
    """

    def edit(config: Config) -> None:
        config["linux"]["resources"]["pids"] = {"limit": 1}

    if not _has_pids():
        stage.container("true", edit=edit).create().refused("/linux/resources/pids/limit", "'pids' is not in")
        assert units.ours() == []
        return
    container = stage.running(edit)
    assert units.shown(f"ociruntime-{container.id}.scope", "TasksMax") == {"TasksMax": "1"}
    container.delete("--force").ok()


def _has_pids() -> bool:
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    return not controllers.exists() or "pids" in controllers.read_text(encoding="ascii")


def killed_in(stage: Stage, words: list[str], seconds: float) -> None:
    """Start a verb, kill it after a while."""
    process = stage.runtime.start_call(*words, out=subprocess.DEVNULL, err=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    process.wait()


@pytest.mark.parametrize("milliseconds", [20, 30, 35, 40, 45, 50, 60, 80])
def test_kill_in_the_middle(stage: Stage, milliseconds: int) -> None:
    """Of a create, at any moment: gc leaves nothing, no unit either."""
    container = stage.container("sleep", "100")
    killed_in(
        stage, ["create", "--bundle", str(container.bundle.directory), container.id], milliseconds / 1000
    )
    stage.runtime.call("gc").ok()
    stage.runtime.call("delete", "--force", container.id)
    assert stage.runtime.ids() == []
    assert units.ours() == []


@pytest.mark.parametrize("milliseconds", [20, 30, 40, 50])
def test_kill_in_the_middle_of_a_delete(stage: Stage, milliseconds: int) -> None:
    """What is left of it is finished by the next."""
    container = stage.running()
    killed_in(stage, ["delete", "--force", container.id], milliseconds / 1000)
    stage.runtime.call("delete", "--force", container.id)
    stage.runtime.call("gc").ok()
    assert stage.runtime.ids() == []
    assert units.ours() == []
