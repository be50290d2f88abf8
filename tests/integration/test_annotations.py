# SPDX-License-Identifier: Apache-2.0
"""Do the annotations that have an effect have it? (ociruntime/linux/annotations.py has the table)"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_hook
from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare


def annotated(**values: str) -> Callable[[Config], None]:
    """An edit that adds annotations; two underscores stand for a dot."""

    def edit(config: Config) -> None:
        config["annotations"] = {name.replace("__", "."): value for name, value in values.items()}

    return edit


def test_groups_of_the_caller(compare: Compare) -> None:
    """run.oci.keep_original_groups: the program has the supplementary groups of the caller, as under crun."""

    def scenario(stage: Stage) -> dict[str, Any]:
        before = os.getgroups()
        os.setgroups([7, 4242])
        try:
            edit = annotated(run__oci__keep_original_groups="1")
            kept = stage.show("grep Groups /proc/self/status", edit).split()[1:]
            default = stage.show("grep Groups /proc/self/status").split()[1:]
        finally:
            os.setgroups(before)
        return {"kept": kept, "default": default}

    assert compare(scenario, only=("crun",)) == {"kept": ["7", "4242"], "default": []}


def test_what_hooks_print(compare: Compare, tmp_path: Path) -> None:
    """run.oci.hooks.stdout and stderr: a file that gets what hooks print, after what is in it, as under crun."""

    def scenario(stage: Stage) -> dict[str, Any]:
        out, err = stage.directory / "out", stage.directory / "err"
        out.write_text("before\n")

        def edit(config: Config) -> None:
            annotated(run__oci__hooks__stdout=str(out), run__oci__hooks__stderr=str(err))(config)
            for kind in ("createRuntime", "poststart", "poststop"):
                add_hook(
                    config, kind, "/bin/sh", "-c", f"cat > /dev/null; echo {kind}; echo error of {kind} >&2"
                )

        stage.run("true", edit=edit).ok()
        return {"out": out.read_text().splitlines(), "err": err.read_text().splitlines()}

    answers = compare(scenario, only=("crun",))
    assert answers["out"] == ["before", "createRuntime", "poststart", "poststop"]
    assert answers["err"] == ["error of createRuntime", "error of poststart", "error of poststop"]


def test_a_file_that_can_not_be_opened(stage: Stage) -> None:
    """The hook is not run, the create fails at the annotation, and nothing is left."""
    if runtime_under_test() in PEERS:
        pytest.skip("the words are this runtime's: run with RUNTIME=ociruntime")

    def edit(config: Config) -> None:
        annotated(run__oci__hooks__stderr="/no/such/directory/file")(config)
        add_hook(config, "createRuntime", "/bin/true")

    result = stage.container("true", edit=edit).create()
    result.refused("create: /annotations/run.oci.hooks.stderr", "/no/such/directory/file", "ENOENT")
    assert stage.runtime.ids() == []


def stops_with(stage: Stage, *words: str, **values: str) -> str:
    """Which signal ends a program that tells, when `kill` is called with these words."""
    script = (
        'for s in USR1 INT TERM; do trap "echo $s; exit" $s; done; echo ready; while :; do sleep 0.1; done'
    )
    container = stage.container("sh", "-c", script, edit=annotated(**values))
    container.create().ok()
    container.start().ok()
    container.wait_for_output("ready")
    container.kill(*words).ok()
    container.wait_for("stopped")
    container.delete().ok()
    return container.output().split()[1]


def test_the_signal_to_stop_with(stage: Stage) -> None:
    """org.opencontainers.image.stopSignal is what `kill` sends without a signal; one that is named goes first (R089)."""
    if runtime_under_test() in PEERS:
        pytest.skip("no peer looks at the annotation (R089)")
    assert stops_with(stage, org__opencontainers__image__stopSignal="SIGUSR1") == "USR1"
    assert stops_with(stage, "INT", org__opencontainers__image__stopSignal="SIGUSR1") == "INT"
    assert stops_with(stage, org__opencontainers__image__stopSignal="SIGNONE") == "TERM"
    assert stops_with(stage) == "TERM"


def test_properties_of_a_unit_are_kept(compare: Compare) -> None:
    """org.systemd.property.* is shown by state; one that is not valid matters to systemd's driver only, as with runc."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container(
            "true", edit=annotated(org__systemd__property__TimeoutStopUSec="uint64 5000000")
        )
        container.create().ok()
        kept = container.state()["annotations"]
        container.delete("--force").ok()
        edit = annotated(org__systemd__property__CollectMode="no value")
        other = stage.container("true", edit=edit)
        wrong = other.create()
        other.delete("--force").ok()
        return {"kept": kept, "wrong": wrong.code}

    answers = compare(scenario, only=("runc",))
    assert answers == {"kept": {"org.systemd.property.TimeoutStopUSec": "uint64 5000000"}, "wrong": 0}
