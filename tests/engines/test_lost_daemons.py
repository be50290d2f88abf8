# SPDX-License-Identifier: Apache-2.0
"""kill -9 of containerd, dockerd and conmon while a container runs: afterwards it is seen and can be removed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.engines.engine import runtime_path, wait_for
from tests.harness.driver import ENVIRONMENT

if TYPE_CHECKING:
    from tests.engines.containerd import Containerd
    from tests.engines.docker import Docker
    from tests.engines.podman import Podman

Name = Callable[[], str]


def test_containerd_is_killed(containerd: Containerd, new_name: Name) -> None:
    """The task survives; the next containerd sees it, executes in it, removes it."""
    name = new_name()
    containerd.call(*containerd.run_words(name, "sleep", "300", flags=("-d",))).ok()
    containerd.lose_daemon()
    containerd.start()
    assert "RUNNING" in containerd.call("task", "ls").ok().out
    containerd.call("task", "exec", "--exec-id", "e", name, "true").ok()
    containerd.call("task", "kill", "-s", "KILL", name).ok()
    wait_for(lambda: "RUNNING" not in containerd.call("task", "ls").ok().out)
    containerd.call("task", "delete", name)
    containerd.call("container", "delete", name).ok()


def test_dockerd_is_killed(docker: Docker, new_name: Name) -> None:
    """With --live-restore the container survives; the next dockerd sees it, executes in it, removes it."""
    name = new_name()
    docker.call(*docker.run_words(name, "sleep", "300", flags=("-d",))).ok()
    docker.lose_daemon()
    docker.start()
    docker.call("exec", name, "true").ok()
    docker.call("rm", "-f", name).ok()
    assert docker.call("inspect", name).code != 0


def test_conmon_is_killed(podman: Podman, new_name: Name) -> None:
    """Without its conmon the container goes on, and podman still removes it.

    It kills the container then, but never calls the runtime's delete, whatever the runtime: that is left to a person.
    """
    name = new_name()
    podman.call(*podman.run_words(name, "sleep", "300", flags=("-d",))).ok()
    conmon = int(podman.call("inspect", "--format", "{{.State.ConmonPid}}", name).ok().out)
    os.kill(conmon, signal.SIGKILL)
    identity = podman.call("inspect", "--format", "{{.Id}}", name).ok().out.strip()
    podman.call("rm", "-f", "-t", "0", name).ok()
    assert podman.call("inspect", name).code != 0
    subprocess.run([runtime_path(), "delete", "--force", identity], check=True, env=ENVIRONMENT)
