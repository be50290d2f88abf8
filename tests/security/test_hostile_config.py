# SPDX-License-Identifier: Apache-2.0
"""Invariant 29: a hostile text in a document costs bounded time and memory, and ends in an error."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.errors import LINE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.bundle import Bundle
    from tests.harness.configuration import Config
    from tests.harness.driver import Container, Result
    from tests.harness.stage import Stage

MEMORY = 1 << 20  # KiB of address space for the whole command
MANY = 300_000


def _bounded(stage: Stage) -> None:
    """From here on the command has so much memory and no more."""
    stage.runtime.command = [
        "/bin/sh", "-c", f'ulimit -v {MEMORY}; exec "$@"', "sh", *stage.runtime.command,
    ]  # fmt: skip


def _in_words(result: Result, *words: str) -> None:
    result.refused(*words)
    assert result.code == 1 or (result.code == 255 and "exec" in result.err)
    assert "internal error" not in result.err
    assert len(result.err) <= LINE_LIMIT
    assert result.err.count("\n") == 1
    assert result.seconds < 30


@pytest.fixture
def bundle(stage: Stage) -> Bundle:
    """One that runs."""
    return stage.bundle("true")


@pytest.fixture
def running(stage: Stage) -> Iterator[Container]:
    """A container for exec and update."""
    container = stage.running()
    yield container
    container.delete("--force").ok()


def _deep(document: dict[str, Any], levels: int) -> str:
    return json.dumps(document)[:-1] + ', "x": ' + "[" * levels + "]" * levels + "}"


@pytest.mark.parametrize("levels", [100, 300, 960, 984, 990, 100_000])
def test_depth(stage: Stage, bundle: Bundle, running: Container, levels: int) -> None:
    """Everything that reads a document reports the limit, even for properties that are not in the specification."""
    directory = str(bundle.directory)
    bundle.config_file.write_text(_deep(bundle.config, levels))
    words = "nested more than 100 levels deep"
    for call in (
        ("validate", directory),
        ("plan", directory),
        ("create", "-b", directory, "x"),
        ("run", "-b", directory, "x"),
    ):
        _in_words(stage.runtime.call(*call), words)
    path = stage.directory / "document"
    path.write_text(_deep(json.loads(Path(stage.process_file(args=["true"])).read_text()), levels))
    _in_words(running.exec(flags=("--process", str(path))), words)
    path.write_text(_deep({"memory": {}}, levels))
    _in_words(stage.runtime.call("update", "--resources", str(path), running.id), words)
    with open(path, "rb") as stdin:
        _in_words(stage.runtime.call("update", "--resources", "-", running.id, stdin=stdin), words)
    assert running.status() == "running"


def test_a_depth_that_is_none(stage: Stage, bundle: Bundle, running: Container) -> None:
    """What is not too deep is done, and its container can be read and deleted."""
    bundle.config_file.write_text(_deep(bundle.config, 99))
    stage.container(bundle=bundle).run().ok()
    path = stage.directory / "document"
    path.write_text(_deep({"pids": {"limit": 100}}, 99))
    stage.runtime.call("update", "--resources", str(path), running.id).ok()
    assert running.status() == "running"


def test_no_file(stage: Stage, bundle: Bundle, running: Container) -> None:
    """A FIFO without a writer and devices without an end; a file and a stream of any size."""
    _bounded(stage)
    directory = str(bundle.directory)
    bundle.config_file.unlink()
    os.mkfifo(bundle.config_file)
    for verb in (("validate", directory), ("create", "-b", directory, "x")):
        _in_words(stage.runtime.call(*verb), "config.json: is a FIFO")
    bundle.config_file.unlink()
    bundle.config_file.symlink_to("/dev/zero")
    _in_words(stage.runtime.call("run", "-b", directory, "x"), "config.json: is a device")
    bundle.config_file.unlink()
    bundle.config_file.touch()
    os.truncate(bundle.config_file, 1 << 36)
    _in_words(stage.runtime.call("run", "-b", directory, "x"), "config.json: larger than 32 MiB")
    _in_words(running.exec(flags=("--process", "/dev/zero")), "/dev/zero: is a device")
    with open("/dev/zero", "rb") as endless:
        _in_words(
            stage.runtime.call("update", "--resources", "-", running.id, stdin=endless),
            "stdin: larger than 32 MiB",
        )


def _mistakes() -> dict[str, Any]:
    def mounts(config: Config) -> None:
        config["mounts"] = [{"destination": 5, "options": [1]}] * MANY

    def last(config: Config) -> None:
        config["mounts"] = [{"destination": "/x", "type": "tmpfs", "source": "x"}] * MANY + [{}]

    def annotations(config: Config) -> None:
        config["annotations"] = {f"name{number}": 5 for number in range(1_000_000)}

    def env(config: Config) -> None:
        config["process"]["env"] = ["x"] * MANY

    def ids(config: Config) -> None:
        ranges = [{"containerID": number, "hostID": number, "size": 1} for number in range(200_000)]
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"].update(uidMappings=ranges, gidMappings=ranges)

    return {
        "/mounts/0/destination": mounts,
        "/mounts/300000/destination": last,
        "/annotations/name0": annotations,
        "/process/env/0": env,
        "/linux/gidMappings: 200000 ranges, and the kernel takes up to 340": ids,
    }


@pytest.mark.parametrize("words", list(_mistakes()))
def test_many_mistakes(stage: Stage, words: str) -> None:
    """Create reports each at its place, in bounded time and memory; and validate says that there may be more."""
    bundle = stage.bundle("true", edit=_mistakes()[words])
    bundle.config_file.write_text(json.dumps(bundle.config))
    _bounded(stage)
    _in_words(stage.runtime.call("create", "-b", str(bundle.directory), "x"), f"create: {words}")
    told = stage.runtime.call("validate", str(bundle.directory))
    assert (told.code, told.err) == (1, "")
    lines = told.out.splitlines()
    assert len(lines) <= 202
    assert any(line.startswith(f"error: {words}") for line in lines)
    if len(lines) > 10:
        assert lines[-2] == "only the first 200 errors are shown: there may be more"


def test_many_groups(stage: Stage) -> None:
    """More than the kernel takes: one line, in which property, step and errno are still there."""

    def edit(config: Config) -> None:
        config["process"]["user"]["additionalGids"] = list(range(65_537))

    log = stage.directory / "log"
    result = stage.container("true", edit=edit).run(options=("--log", str(log), "--log-format", "json"))
    _in_words(result, "run: /process/user", "groups 0 1 2", "65536: setgroups: EINVAL", "characters ...]")
    entry = json.loads(log.read_text().splitlines()[-1])
    assert entry["msg"].count(" ") > 65_536
