# SPDX-License-Identifier: Apache-2.0
"""Is a path of the host with `..` behind a symbolic link the file that the kernel finds under it? (R010, R200)

`link` leads to `real/deep`, so that `link/../x` is `real/x`; by its text it would be `x`, and there is one, too.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ociruntime
from tests.harness.configuration import add_hook
from tests.harness.driver import Runtime, runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.rootfs import copy_busybox

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

REPOSITORY = Path(__file__).parents[2]

ours_only = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="what is asked is this runtime's: run with RUNTIME=ociruntime"
)

departure("root behind a link", "runc", "R010", "a path is what the kernel finds under it")
departure("bundle of the state", "runc", "R200", "it is the path that was given, made absolute")
departure("bundle of the state", "crun", "R200", "it is the path that was given, made absolute")


def _fork(stage: Stage) -> Path:
    """The directory with `link`."""
    (stage.directory / "real/deep").mkdir(parents=True)
    (stage.directory / "link").symlink_to("real/deep")
    return stage.directory


def _says(word: str) -> list[str]:
    return ["sh", "-c", f"echo {word}; cat /where 2>/dev/null; true"]


def _two_bundles(stage: Stage) -> Path:
    """One of the name `b` in each of the two directories."""
    place = _fork(stage)
    for name, word in (("b", "wrong"), ("real/b", "right")):
        made = stage.bundle(*_says(word), name=name, own_files=True)
        stage.runtime.prepare(made)
    return place


def test_bundle(compare: Compare) -> None:
    """--bundle, absolute, relative and with `run` in it, is the directory that is found there."""

    def scenario(stage: Stage) -> dict[str, Any]:
        place = _two_bundles(stage)
        ways = {
            "absolute": (["--bundle", f"{place}/link/../b"], place),
            "relative": (["--bundle", "link/../b"], place),
            "from below": (["--bundle", "../../link/../b"], place / "real/deep"),
        }
        answers: dict[str, Any] = {}
        for name, (flags, cwd) in ways.items():
            container = stage.container(bundle=stage.bundle("false"))
            result = stage.runtime.call("run", *flags, container.id, cwd=cwd)
            answers[name] = (result.code, result.out)
        return answers

    assert set(map(tuple, compare(scenario).values())) == {(0, "right\n")}


def test_state_and_hooks(compare: Compare) -> None:
    """The state has the path as it was given, and a hook runs in the directory that is found under it."""

    def scenario(stage: Stage) -> dict[str, Any]:
        place = _fork(stage)

        def edit(config: Config) -> None:
            add_hook(config, "createRuntime", "/bin/sh", "-c", f"pwd -P >{place}/told")

        stage.bundle("true", name="b")
        stage.runtime.prepare(stage.bundle("true", name="real/b", edit=edit))
        container = stage.container(bundle=stage.bundle("false"))
        with open(place / "out", "wb") as out:
            stage.runtime.call(
                "create", "--bundle", "link/../b", container.id, cwd=place, out=out, err=out
            ).ok()
        container.created = True
        state = container.state()
        container.start().ok()
        container.wait_for("stopped")
        container.delete().ok()
        return {"bundle of the state": state["bundle"], "hook": (place / "told").read_text().strip()}

    answers = compare(scenario)
    assert answers == {"bundle of the state": "STAGE/link/../b", "hook": "STAGE/real/b"}


def test_root_path(compare: Compare) -> None:
    """root.path, absolute and relative to the bundle."""

    def scenario(stage: Stage) -> dict[str, Any]:
        place = _fork(stage)
        for name, word in (("root", "wrong"), ("real/root", "right")):
            copy_busybox(place / name, own_files=True)
            (place / name / "where").write_text(word)
        answers = []
        for path in (f"{place}/link/../root", "../link/../root"):
            result = stage.run(*_says("-"), edit=lambda config, path=path: config["root"].update(path=path))
            answers.append((result.code, result.out))
        return {"root behind a link": answers}

    assert compare(scenario)["root behind a link"] == [[0, "-\nright"]] * 2


@ours_only
def test_files_of_flags(stage: Stage) -> None:
    """--root, --config, --pid-file, --log, --trace and --process are the files that are found there; nothing is made beside."""
    place = _two_bundles(stage)
    (place / "b/other.json").write_text("no JSON")
    config = json.loads((place / "real/b/config.json").read_text())
    config["process"]["args"] = ["sleep", "100"]
    (place / "real/b/other.json").write_text(json.dumps(config))
    (place / "real/process.json").write_text(json.dumps({**config["process"], "args": ["echo", "document"]}))
    runtime = Runtime(runtime_under_test(), Path("link/../state-of-it"), stage.directory)
    container = stage.container(bundle=stage.bundle("true", name="unused"))
    before = sorted(os.listdir(place))
    flags = ("--bundle", "link/../b", "--config", "link/../b/other.json", "--pid-file", "link/../pid")
    options = ("--log", "link/../log", "--trace", "link/../trace")
    with open(place / "real/out", "wb") as out:
        runtime.call("create", *flags, container.id, options=options, cwd=place, out=out, err=out).ok()
    try:
        runtime.call("start", container.id, cwd=place).ok()
        said = runtime.call("exec", "--process", "link/../process.json", container.id, cwd=place).ok()
        assert said.out == "document\n"
        assert {"state-of-it", "pid", "trace", "log"} <= set(os.listdir(place / "real"))
        assert os.listdir(place / "real/state-of-it") == [container.id]
        assert sorted(os.listdir(place)) == before
    finally:
        runtime.call("delete", "--force", container.id, cwd=place).ok()


@ours_only
def test_bundle_in_a_directory_that_is_gone(stage: Stage) -> None:
    """Without a current directory there is no bundle `.`: one line that says so."""
    gone = stage.directory / "gone"
    gone.mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    stage.runtime.command = ["/bin/sh", "-c", script, "sh", str(gone), *stage.runtime.command]
    stage.runtime.call("create", "nobody").refused("create: .: the current directory can't be found: ENOENT")


@ours_only
def test_installation_behind_a_link(stage: Stage) -> None:
    """The directory of the command may be a link: its `..` is not the directory that the link is in."""
    prefix = stage.directory / "real"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = prefix / "lib" / version / "site-packages/ociruntime"
    shutil.copytree(
        Path(ociruntime.__file__).parent, library, ignore=shutil.ignore_patterns("__pycache__", "_specs")
    )
    shutil.copytree(REPOSITORY / "specs", library / "_specs")
    (prefix / "bin").mkdir()
    shutil.copy(REPOSITORY / "launcher/ociruntime", prefix / "bin/ociruntime")
    (prefix / "bin/python3").symlink_to(os.path.realpath(sys.executable))
    (prefix / "pyvenv.cfg").write_text("include-system-site-packages = true\n")
    (stage.directory / "bin").symlink_to("real/bin")
    # cffi and jsonschema are this environment's
    for name in os.listdir(sysconfig.get_paths()["platlib"]):
        if not name.startswith(("__editable__", "ociruntime", "__pycache__")):
            (library.parent / name).symlink_to(Path(sysconfig.get_paths()["platlib"], name))
    stage.runtime.command = [str(stage.directory / "bin/ociruntime")]
    stage.run("true").ok()
    refused = stage.run("true", edit=lambda config: config.update(hostname=5))
    refused.refused("/hostname: expected a string, found 5")
