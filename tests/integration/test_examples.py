# SPDX-License-Identifier: Apache-2.0
"""Does each bundle example print what its output.txt says, here and under runc and crun?"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.bundle import Bundle
from tests.harness.driver import Result, runtime_under_test
from tests.harness.rootfs import cache_directory
from tests.harness.skips import has_lsm
from tests.harness.terminals import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

EXAMPLES = Path(__file__).parents[2] / "bundle-examples"
MAKE_ROOTFS = EXAMPLES / "make-rootfs"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/config.json"))
# What the peers of Debian 12 do not know, or refuse on a kernel without the module.
NEWER = {"net-devices", "scheduling", *(() if has_lsm("apparmor") else ("apparmor",))}
# runc 1.1 has neither (it ignores the mappings of a mount); crun 1.8 can't map a source that is relative to the
# bundle, and its init fails in a time namespace.
NEWER |= {"idmapped-mount", "time-namespace"}
# hello and debian bring, or share, a root, and systemd has its own; terminal needs a terminal, and so does systemd; the
# others get a root of busybox.
BUSYBOX = [name for name in NAMES if name not in {"hello", "debian", "systemd", "terminal"}]


def copy(name: str, directory: Path, root: Path) -> Bundle:
    """The example in a directory of its own, so that a run changes nothing in the tree; `root` becomes its root."""
    shutil.copytree(EXAMPLES / name, directory, symlinks=True, ignore=shutil.ignore_patterns("rootfs"))
    config = json.loads((directory / "config.json").read_bytes())
    bundle = Bundle(directory, config)
    if name == "debian":
        config["root"]["path"] = str(root)
    else:
        shutil.copytree(root, directory / "rootfs", symlinks=True)
    bundle.write()
    return bundle


def wanted(name: str) -> tuple[list[str], str]:
    """What the example prints on this machine, and the runtime's own words."""
    output = EXAMPLES / name / "output.txt"
    if name == "apparmor" and not has_lsm("apparmor"):
        warning = (
            "/process/apparmorProfile: ignored because this host has no AppArmor: ociruntime-example [R048]"
        )
        lines = output.with_name("output-without-apparmor.txt").read_text().splitlines()
        return lines, f"ociruntime: warning: run: {warning}\n"
    return output.read_text().splitlines(), ""


@contextmanager
def surroundings(bundle: Bundle) -> Iterator[None]:
    """What an example's README says is to be done before and after; one session at a time."""
    programs = [bundle.directory / name for name in ("namespaces", "devices")]
    program = next((path for path in programs if path.exists()), None)
    profile = bundle.directory / "profile"
    if program is not None:
        up, down = [program, "up"], [program, "down"]
    elif profile.exists() and has_lsm("apparmor"):
        up, down = ["apparmor_parser", "--skip-cache", "-r", profile], ["apparmor_parser", "-R", profile]
    else:
        yield
        return
    with open(cache_directory() / f"example-{(program or profile).name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(up, check=True)
        try:
            yield
        finally:
            subprocess.run(down, check=True)


# crun may print an empty error, in red and with the time, around what the program writes to its terminal.
_IN_RED = re.compile(r"\x1b\[[0-9;]*m(?:\d{4}-\d\d-\d\dT[0-9:.]+Z: )?")


def play(stage: Stage, name: str, root: Path) -> dict[str, Any]:
    """Run the example: exit code, what it printed, and the files of the bundle that it changed."""
    stage.bundles += 1
    bundle = copy(name, stage.directory / name, root)
    container = stage.container(bundle=bundle)
    with surroundings(bundle):
        result = run(container)
    changed = [
        path.name
        for path in sorted(bundle.directory.iterdir())
        if path.is_file()
        and path.name != "config.json"
        and path.read_bytes() != (EXAMPLES / name / path.name).read_bytes()
    ]
    output = _IN_RED.sub("", result.out).rstrip("\n") if stage.runtime.name == "crun" else result.out
    return {"code": result.code, "errors": result.err, "output": output.splitlines(), "changed": changed}


def run(container: Container, *options: str) -> Result:
    """`run` with global options, as from a shell's window if the program wants a terminal."""
    if not container.bundle.config["process"].get("terminal"):
        return container.run(options=options)
    container.runtime.prepare(container.bundle)
    words = ("run", "--bundle", str(container.bundle.directory), container.id)
    client = Client(container.runtime.argv(*words, options=options))
    try:
        return Result(client.wait(), client.text.replace("\r\n", "\n"), "", 0)
    finally:
        client.close()


def root_of(name: str, request: pytest.FixtureRequest) -> Path:
    """The root file system that an example is run with."""
    if name == "hello":
        return EXAMPLES / "hello" / "rootfs"
    kind = name if name in ("debian", "systemd") else "busybox"
    root: Path = request.getfixturevalue(f"{kind}_root")
    return root


@pytest.mark.parametrize("name", NAMES)
def test_an_example_prints_what_stands_beside_it(
    name: str, stage: Stage, request: pytest.FixtureRequest
) -> None:
    """Exit code 0, nothing on stderr, exactly output.txt, and the bundle is as it was."""
    output, errors = wanted(name)
    played = play(stage, name, root_of(name, request))
    assert played == {"code": 0, "errors": errors, "output": output, "changed": []}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEWER])
def test_the_peers_print_the_same(
    name: str, compare_with_users: Compare, request: pytest.FixtureRequest
) -> None:
    """Both peers run every example that is not newer than they are, with the same output."""
    root = root_of(name, request)

    def scenario(stage: Stage) -> dict[str, Any]:
        played = play(stage, name, root)
        if name == "hooks":
            # The peers run poststart before the program is (R083; test_hooks.py): what, but not when.
            played["output"].sort()
        return played

    assert compare_with_users(scenario)["code"] == 0


@pytest.mark.parametrize("name", BUSYBOX)
def test_an_example_runs_where_it_stands(name: str, stage: Stage, busybox_root: Path) -> None:
    """`run` with a relative --bundle, from the directory above, prints the same."""
    bundle = copy(name, stage.directory / name, busybox_root)
    container = stage.container(bundle=bundle)
    stage.runtime.prepare(bundle)
    with surroundings(bundle):
        result = stage.runtime.call("run", "--bundle", name, container.id, cwd=stage.directory).ok()
    assert result.out.splitlines() == wanted(name)[0]


def test_root_file_systems_are_made_as_a_whole_or_not_at_all(tmp_path: Path, busybox_root: Path) -> None:
    """make-rootfs leaves an existing root alone, refuses unknown kinds, and its busybox stands alone."""
    root = tmp_path / "rootfs"
    for _ in range(2):
        subprocess.run([MAKE_ROOTFS, "busybox", root], check=True)
        assert (root / "bin/sh").resolve() == root / "bin/busybox"
        (root / "mine").touch()
    assert (root / "mine").exists()
    refused = subprocess.run(
        [MAKE_ROOTFS, "nonesuch", tmp_path / "other"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "unknown kind 'nonesuch'" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rootfs"]


def test_the_plan_of_an_example_is_printed_without_its_root(tmp_path: Path) -> None:
    """`plan` and `validate` work on a bundle as it is committed, and only read it."""
    if runtime_under_test() != "ociruntime":
        pytest.skip("plan and validate are this runtime's own verbs")
    from tests.harness.driver import Runtime

    runtime = Runtime("ociruntime", tmp_path / "state", tmp_path)
    shutil.copytree(EXAMPLES / "limits", tmp_path / "limits", ignore=shutil.ignore_patterns("rootfs"))
    before = sorted(path.name for path in (tmp_path / "limits").iterdir())
    assert " exec sh -c " in runtime.call("plan", str(tmp_path / "limits")).ok().out
    runtime.call("validate", str(tmp_path / "limits")).ok()
    assert sorted(path.name for path in (tmp_path / "limits").iterdir()) == before
    assert not (tmp_path / "state").exists()
