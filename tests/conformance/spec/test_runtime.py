# SPDX-License-Identifier: Apache-2.0
"""runtime.md and config.md's Extensibility, Annotations, Valid values: state, errors, warnings, operations."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema

from tests.conformance.spec.departs import departs
from tests.harness.configuration import Config, add_bind, set_capabilities, writable_root

if TYPE_CHECKING:
    from tests.harness.stage import Stage

_SCHEMA = json.loads((Path(__file__).parents[3] / "specs/state.schema.json").read_text())


def test_state_follows_the_schema(stage: Stage) -> None:
    """R200, R204, R221: in each status the state has its members, of their types; pid while there is a process."""
    container = stage.container("sleep", "100", edit=lambda config: config.update(annotations={"a.b": ""}))
    container.create().ok()
    for status, step in (
        ("created", container.start),
        ("running", lambda: container.kill("KILL")),
        ("stopped", None),
    ):
        container.wait_for(status)
        state = container.state()
        jsonschema.validate(state, _SCHEMA)
        assert (state["id"], state["status"]) == (container.id, status)
        assert state["bundle"] == str(container.bundle.directory)
        assert state["annotations"] == {"a.b": ""}
        if status != "stopped":
            assert Path(f"/proc/{state['pid']}").is_dir()
        if step is not None:
            step().ok()
    container.delete().ok()


def test_unique_ids(stage: Stage) -> None:
    """R201, R223: an id that is in use is refused, and the container that has it is not touched."""
    first = stage.in_state("running")
    before = first.state()
    second = stage.container("true", container_id=first.id)
    result = second.create()
    second.created = False
    result.refused(first.id, "exists")
    assert first.state() == before


def test_unknown_properties(stage: Stage) -> None:
    """R091, R090: an unknown property changes nothing, wherever it is; nor does an annotation."""

    def edit(config: Config) -> None:
        for place in (config, config["process"], config["root"], config["linux"], config["mounts"][0]):
            place["org.example.unknown"] = {"of": ["any", 1, None]}
        config["annotations"] = {"org.example.unknown": "x", "": ""}
        del config["annotations"][""]

    assert stage.run("echo", "well", edit=edit).ok().out == "well\n"


@departs(runc="an empty name is taken", crun="an empty name is taken")
def test_annotation_without_a_name(stage: Stage) -> None:
    """R086: the name of an annotation is not empty."""
    container = stage.container("true", edit=lambda config: config.update(annotations={"": "x"}))
    container.create().refused("/annotations/", "empty")


def test_values_of_annotations(stage: Stage) -> None:
    """R085: annotations are a map of text to text; another value is an error."""
    container = stage.container("true", edit=lambda config: config.update(annotations={"a": 1}))
    container.create().refused("/annotations/a")
    assert container.status() == ""


@departs(crun="takes propagation 'sideways'")
def test_invalid_values(stage: Stage) -> None:
    """R092, R227: a value that can't be applied is an error, and nothing is created: the id works afterwards."""

    def propagation(config: Config) -> None:
        config["linux"]["rootfsPropagation"] = "sideways"

    def namespace(config: Config) -> None:
        config["linux"]["namespaces"].append({"type": "space"})

    def source(config: Config) -> None:
        add_bind(config, "/no/such/source", "/mnt")

    def device(config: Config) -> None:
        writable_root(config)
        config["linux"]["devices"] = [{"path": "/dev/x", "type": "q", "major": 1, "minor": 3}]

    def parameter(config: Config) -> None:
        config["linux"]["sysctl"] = {"net.no.such.parameter": "1"}

    changes = {
        "/linux/rootfsPropagation": propagation, "/linux/namespaces/5/type": namespace, "/mounts/7": source,
        "/linux/devices/0/type": device, "/linux/sysctl/net.no.such.parameter": parameter,
    }  # fmt: skip
    for pointer, change in changes.items():
        container = stage.container("true", edit=change)
        container.create().refused(pointer)
        assert stage.runtime.ids() == []  # before a verb would finish what was left
        assert container.status() == "", change.__name__
        again = stage.container("echo", "works", container_id=container.id)
        assert again.run().ok().out == "works\n"


def test_a_warning_changes_nothing(stage: Stage) -> None:
    """R217, R049, R050: what only gives a warning (a capability that can't be granted) leaves the container as it would be without it."""

    def edit(config: Config) -> None:
        set_capabilities(config, "CAP_KILL", "CAP_MADE_UP")

    plain = stage.show("grep Cap /proc/self/status", edit=lambda config: set_capabilities(config, "CAP_KILL"))
    assert stage.show("grep Cap /proc/self/status", edit=edit) == plain


@departs(both="wants a process at create")
def test_no_process(stage: Stage) -> None:
    """R037, R231: without process create succeeds and start is an error."""
    container = stage.container("true")
    del container.bundle.config["process"]
    container.bundle.write()
    container.create().ok()
    container.start().refused("process")
    container.delete("--force").ok()


def test_every_property_but_process(stage: Stage) -> None:
    """R225, R226: after create the mounts, names and parameters are there, while the program has not run."""

    def edit(config: Config) -> None:
        writable_root(config)
        config["hostname"] = "made-by-create"
        config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "77"}

    container = stage.container("sh", "-c", ": >/work/ran", edit=edit)
    container.create().ok()
    base = Path("/proc", str(container.state()["pid"]))
    assert " /dev/shm " in (base / "mountinfo").read_text()
    look = ["nsenter", "-t", base.name, "-n", "-u", "cat"]
    files = ["/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_default_ttl"]
    seen = subprocess.run([*look, *files], check=True, capture_output=True, text=True).stdout
    assert seen.split() == ["made-by-create", "77"]
    assert not (container.bundle.rootfs / "work/ran").exists()
    container.start().ok()
    container.wait_for("stopped")
    assert (container.bundle.rootfs / "work/ran").exists()
    container.delete().ok()


def test_no_such_container(stage: Stage) -> None:
    """R220, R229, R233: an operation on a container that does not exist is an error."""
    for verb in ("state", "start", "kill", "delete"):
        stage.runtime.call(verb, "nobody-has-this-id").refused(
            f"{verb}: ", "nobody-has-this-id", "does not exist"
        )


def test_no_id(stage: Stage) -> None:
    """R218, R219, R222, R228, R232, R235: each operation is there, and without an id it is an error."""
    bundle = stage.bundle("true")
    for verb in ("state", "create", "start", "kill", "delete"):
        stage.runtime.call(verb, cwd=bundle.directory).refused(f"{verb}: ", "ID")
    assert stage.runtime.ids() == []
