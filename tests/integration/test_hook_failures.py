# SPDX-License-Identifier: Apache-2.0
"""What does a failing hook of each kind do? Runtime-spec 1.3 decides; where the peers follow it they are compared."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_bind, add_hook
from tests.harness.driver import PATIENCE, Container, runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

_OURS = runtime_under_test() not in PEERS
_DURING_CREATE = ("prestart", "createRuntime", "createContainer")
_WAYS = {
    # how the hook fails: its words, timeout, and what the error must tell
    "exit 7": (
        ("/bin/sh", "-c", "cat > /dev/null; echo to-out; echo to-err >&2; exit 7"),
        None,
        ("7", "to-err"),
    ),
    "missing": (("/no/such/hook",), None, ("no such file or directory",)),
    "killed": (("/bin/sh", "-c", "cat > /dev/null; kill -9 $$"), None, ("kill",)),
    "too slow": (("/bin/sh", "-c", "cat > /dev/null; exec sleep 600"), 1, ("1 s",)),
}

for _kind in _DURING_CREATE:
    departure(
        f"{_kind} fails",
        "crun",
        "R208",
        "poststop hooks are due after the container is destroyed; exit code 1",
    )
departure(
    "startContainer fails", "runc", "R211", "start must fail and destroy the container; runc's start succeeds"
)
departure(
    "startContainer fails", "crun", "R211", "start must fail and destroy the container; crun's start succeeds"
)
departure("poststart fails", "runc", "R213", "it fails start (1.3); runc runs it in create")
departure("poststart fails", "crun", "R213", "it fails start since 1.3; crun ignores it")
departure("poststop fails", "runc", "R215", "the remaining hooks run; runc leaves them out")


def _with_failing(stage: Stage, kind: str, way: str) -> Container:
    """A container whose `kind` hooks are: one that writes a line, one that fails, one more that writes a line."""
    notes = stage.directory / "notes"
    notes.mkdir()
    (notes / "log").touch()
    words, timeout, _ = _WAYS[way]

    def edit(config: Config) -> None:
        add_bind(config, str(notes), "/notes", "rw")
        for one in (*_DURING_CREATE, "startContainer", "poststart", "poststop"):
            log = "/notes/log" if one == "startContainer" else f"{notes}/log"
            add_hook(config, one, "/bin/sh", "-c", f"cat > /dev/null; echo {one} >> {log}")
            if one == kind:
                add_hook(config, one, *words, timeout=timeout)
                add_hook(config, one, "/bin/sh", "-c", f"cat > /dev/null; echo after >> {log}")

    container = stage.container("sh", "-c", "echo program >> /notes/log; sleep 100", edit=edit)
    (container.bundle.rootfs / "notes").mkdir()
    return container


def _log(stage: Stage) -> list[str]:
    return (stage.directory / "notes" / "log").read_text().split()


@pytest.mark.parametrize("way", list(_WAYS))
@pytest.mark.parametrize("kind", _DURING_CREATE)
def test_hook_of_create(compare: Compare, kind: str, way: str) -> None:
    """A failing hook fails create, later hooks are not run, all is undone, poststop hooks run (R208 to R210)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        began = time.monotonic()
        result = _with_failing(stage, kind, way).create()
        assert time.monotonic() - began < 10 * PATIENCE
        if stage.runtime.name not in PEERS:
            _names_the_hook(result.err, kind, way)
        return {f"{kind} fails": [result.code, _log(stage)], "left": stage.runtime.ids()}

    answers = compare(scenario)
    assert answers["left"] == []
    if _OURS:
        ran = list(_DURING_CREATE[: _DURING_CREATE.index(kind) + 1])
        assert answers[f"{kind} fails"] == [1, [*ran, "poststop"]]


def _names_the_hook(text: str, kind: str, way: str) -> None:
    """The error has the hook's place in the config, its path, how it ended and what it wrote on stderr."""
    words, _, tells = _WAYS[way]
    for word in (f"/hooks/{kind}/1", words[0], *tells):
        assert word in text, f"{word!r} is not in: {text}"
    assert len(text.strip().splitlines()) == 1, text


@pytest.mark.parametrize("way", list(_WAYS))
def test_hook_of_start_container(compare: Compare, way: str) -> None:
    """A failing startContainer hook fails start; the program is not run, the container destroyed (R211)."""
    if way == "killed" or (way == "too slow" and not _OURS):
        # Inside the container's pid namespace the peers' hook is a child of pid 1, which runs no handler.
        compare_with: tuple[str, ...] = ()
    else:
        compare_with = PEERS

    def scenario(stage: Stage) -> dict[str, Any]:
        container = _with_failing(stage, "startContainer", way)
        container.create().ok()
        result = container.start()
        if stage.runtime.name in PEERS:
            container.delete("--force").ok()
        else:
            _names_the_hook(result.err, "startContainer", way)
            container.created = container.status() != ""
        return {"startContainer fails": [result.code, _log(stage)], "left": stage.runtime.ids()}

    answers = compare(scenario, compare_with)
    assert "program" not in answers["startContainer fails"][1]
    if _OURS:
        ran = [*_DURING_CREATE, "startContainer", "poststop"]
        assert answers == {"startContainer fails": [1, ran], "left": []}


@pytest.mark.parametrize("way", list(_WAYS))
def test_hook_of_poststart(compare: Compare, way: str) -> None:
    """A failing poststart hook fails start; the program is stopped and the container destroyed (R213)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = _with_failing(stage, "poststart", way)
        created = container.create()
        codes = [created.code]
        if created.code == 0:
            started = container.start()
            codes.append(started.code)
            if stage.runtime.name in PEERS:
                container.delete("--force").ok()
            else:
                _names_the_hook(started.err, "poststart", way)
                container.created = container.status() != ""
        log = [line for line in _log(stage) if line != "program"]
        return {"poststart fails": [codes, log], "left": stage.runtime.ids()}

    # crun 1.8 runs the poststop hooks twice when poststart takes too long.
    answers = compare(scenario, ("runc",) if way == "too slow" else PEERS)
    if _OURS:
        ran = [*_DURING_CREATE, "startContainer", "poststart", "poststop"]
        assert answers == {"poststart fails": [[0, 1], ran], "left": []}


@pytest.mark.parametrize("way", list(_WAYS))
def test_hook_of_poststop(compare: Compare, way: str) -> None:
    """A failing poststop hook is a warning: delete succeeds and the remaining hooks run (R215)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = _with_failing(stage, "poststop", way)
        container.create().ok()
        container.start().ok()
        container.kill("KILL").ok()
        container.wait_for("stopped")
        log = stage.directory / "runtime.log"
        deleted = container.delete(options=["--log", str(log)])
        if stage.runtime.name not in PEERS:
            text = Path(log).read_text()
            assert "level=warning" in text
            _names_the_hook(text, "poststop", way)
        return {"poststop fails": [deleted.code, _log(stage)[-2:]], "left": stage.runtime.ids()}

    # crun 1.8 waits for a slow one, and is ended by SIGPIPE, at times, when nothing reads the state.
    answers = compare(scenario, ("runc",) if way in ("too slow", "missing") else PEERS)
    if _OURS:
        assert answers == {"poststop fails": [0, ["poststop", "after"]], "left": []}


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer", "startContainer", "poststart"])
def test_run_with_a_failing_hook(stage: Stage, kind: str) -> None:
    """`run` with a failing hook exits non-zero, says which, and leaves nothing."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc and crun name neither the kind nor the place of the hook")
    result = _with_failing(stage, kind, "exit 7").run()
    assert result.code == 1
    _names_the_hook(result.err, kind, "exit 7")
    assert stage.runtime.ids() == []
    assert _log(stage)[-1] == "poststop"


def test_time_of_a_hook(compare: Compare) -> None:
    """A hook that ends within its timeout does not fail."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def edit(config: Config) -> None:
            add_hook(config, "createRuntime", "/bin/sh", "-c", "cat > /dev/null; sleep 0.2", timeout=30)

        return {"code": stage.run("true", edit=edit).code}

    assert compare(scenario) == {"code": 0}
