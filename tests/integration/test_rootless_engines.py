# SPDX-License-Identifier: Apache-2.0
"""Do podman and buildah of an ordinary user work with this runtime, as with runc and crun?"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.rootfs import copy_busybox
from tests.integration.unprivileged import User, command

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = command()
pytestmark = [
    pytest.mark.skipif(runtime_under_test() in ("runc", "crun"), reason="its own command is called"),
    pytest.mark.skipif(
        not COMMAND,
        reason="the working tree is in a directory that only root can search: move it, or chmod a+x",
    ),
]


class Engine:
    """A rootless podman or buildah, with images and state of the test's own."""

    def __init__(self, name: str, user: User) -> None:
        self.name = name
        self.user = user
        storage = ["--root", user.home / "storage", "--runroot", user.runtime_directory / "run"]
        self.base = [name, "--storage-driver", "vfs", *storage]

    def build(self, runtime: str) -> None:
        """An image whose second layer is made by a program in a container."""
        context = self.user.home / "context"
        context.mkdir()
        copy_busybox(context / "rootfs", own_files=True)
        (context / "Containerfile").write_text(
            'FROM scratch\nCOPY rootfs /\nRUN id -u >/built\nCMD ["cat", "/built"]\n'
        )
        self.user.own(context)
        how = ["--network", "none", "-t", "image", context]
        if self.name == "podman":
            self.call(runtime, "build", *how)
        else:
            self.user.call(*self.base, "bud", "--runtime", runtime, *how, timeout=120).ok()

    def call(self, runtime: str, *words: object) -> str:
        """What podman prints."""
        return self.user.call(*self.base, "--runtime", runtime, *words, timeout=120).ok().out

    def close(self) -> None:
        """Its storage has files of the sub-ids; podman's pause process holds its namespaces."""
        if self.name == "podman":
            self.user.call(*self.base, "system", "migrate", timeout=60).ok()


@pytest.fixture
def engine(request: pytest.FixtureRequest, user: User) -> Iterator[Engine]:
    """The engine of this name."""
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed (apt-get install {name})")
    made = Engine(name, user)
    yield made
    made.close()


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["buildah"], indirect=True)
def test_buildah_builds(engine: Engine) -> None:
    """With a RUN."""
    engine.build(COMMAND)


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["podman"], indirect=True)
def test_podman(engine: Engine) -> None:
    """Build, run and exec; a program sees the same as under runc and crun."""
    engine.build(COMMAND)
    script = [
        "sh",
        "-c",
        "cat /built; id; cat /proc/self/uid_map; ls /dev | grep -v core; grep Cap /proc/self/status",
    ]
    runtimes = [COMMAND, *filter(shutil.which, ("runc", "crun"))]
    told = {
        name: engine.call(name, "run", "--rm", "--network", "none", "image", *script) for name in runtimes
    }
    assert len(set(told.values())) == 1, told
    engine.call(COMMAND, "run", "-d", "--name", "one", "--network", "none", "image", "sleep", "1000")
    assert engine.call(COMMAND, "exec", "one", "cat", "/built") == "0\n"
    assert "one" in engine.call(COMMAND, "ps", "--format", "{{.Names}}")
    engine.call(COMMAND, "rm", "-f", "-t", "0", "one")
