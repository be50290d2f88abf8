# SPDX-License-Identifier: Apache-2.0
"""config.md, Root; config-linux.md, Rootfs Mount Propagation: is the root file system the one of the config?"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.conformance.spec.departs import departs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.bundle import Bundle
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage


@pytest.mark.parametrize("spelling", ["rootfs", "./rootfs", "rootfs/", "../bundle-1/rootfs", "absolute"])
def test_path(stage: Stage, spelling: str) -> None:
    """R010: root.path is absolute, or relative to the bundle (not to the caller's working directory)."""
    bundle = stage.bundle("cat", "/here")
    (bundle.rootfs / "here").write_text("the right one\n")
    path = str(bundle.rootfs) if spelling == "absolute" else spelling
    bundle.config["root"]["path"] = path
    bundle.write()
    container = stage.container(bundle=bundle)
    assert container.run(cwd="/").ok().out == "the right one\n"


def test_no_root(stage: Stage) -> None:
    """R009, R010: root and root.path are required; without them nothing is created."""
    changes = {
        "/root: is required": lambda config: config.pop("root"),
        "/root/path: is required": lambda config: config["root"].pop("path"),
    }
    for words, change in changes.items():
        container = stage.container("true", edit=change)
        container.create().refused(words)
        assert container.status() == ""


def test_no_directory(stage: Stage) -> None:
    """R012: a directory must exist at root.path: neither nothing nor a file will do."""
    for path in ("nowhere", "config.json"):
        container = stage.container("true")
        container.bundle.config["root"]["path"] = path
        container.bundle.write()
        container.create().refused("/root/path", path)
        assert container.status() == ""


def test_readonly(stage: Stage) -> None:
    """R013: readonly makes the root read-only inside; without it the root can be written."""
    script = "(: >/work/new) 2>/dev/null && echo written || echo refused"
    answers = {}
    for value in (True, False, None):

        def edit(config: Config, value: bool | None = value) -> None:
            config["root"].pop("readonly")
            if value is not None:
                config["root"]["readonly"] = value

        answers[value] = stage.show(script, edit=edit).strip()
    assert answers == {True: "refused", False: "written", None: "written"}


@contextmanager
def _shared(bundle: Bundle) -> Iterator[None]:
    """The bundle's root as a mount of its own that is shared."""
    path = str(bundle.rootfs)
    subprocess.run(["mount", "--bind", path, path], check=True)
    subprocess.run(["mount", "--make-shared", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


_BOTH = departs(both="makes the root private where it should be a slave")
_RUNC = departs(runc="1.1 makes a shared root private before pivot_root, and refuses unbindable")


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("private", ""),
        pytest.param("slave", "master:", marks=_BOTH),
        pytest.param("shared", "shared:", marks=_RUNC),
        pytest.param("unbindable", "unbindable", marks=_RUNC),
    ],
)
def test_propagation(stage: Stage, value: str, field: str) -> None:
    """R194: the root of the container has the propagation of rootfsPropagation, as mountinfo shows it."""

    def edit(config: Config) -> None:
        config["linux"]["rootfsPropagation"] = value

    bundle = stage.bundle("cat", "/proc/self/mountinfo", edit=edit)
    with _shared(bundle):
        lines = stage.container(bundle=bundle).run().ok().out.splitlines()
    (root,) = [line.split() for line in lines if line.split()[4] == "/"]
    optional = [word for word in root[6 : root.index("-")] if not word.startswith("propagate_from")]
    if field == "":
        assert optional == []
    else:
        assert [word for word in optional if word.startswith(field)] == optional != [], root
