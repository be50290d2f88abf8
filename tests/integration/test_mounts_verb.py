# SPDX-License-Identifier: Apache-2.0
"""`mounts add` and `mounts remove`: are mounts of a list made in a container that exists, inside its root, and taken away?

Neither runc nor the crun of Debian 12 has the verb.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, with_users, without_namespace
from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS
from tests.harness.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.driver import Container, Result

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="they have no verb mounts: run with RUNTIME=ociruntime"
)


@pytest.fixture
def source(searchable: Path) -> Path:
    """A directory of the host with a file in it."""
    directory = searchable / "source"
    directory.mkdir()
    (directory / "file").write_text("of the host\n")
    return directory


@pytest.fixture
def stage(searchable: Path, nothing_left_behind: None) -> Iterator[Stage]:
    """In a directory that a user namespace's root may search."""
    made = Stage(runtime_under_test(), searchable / "stage")
    yield made
    made.close()


def bind(source: Path | str, place: str, *options: str) -> dict[str, Any]:
    """An entry of `mounts`."""
    return {"destination": place, "type": "bind", "source": str(source), "options": ["rbind", *options]}


def call(container: Container, what: str, entries: Any) -> Result:
    """`mounts add` or `mounts remove` with a file of these entries."""
    path = container.bundle.directory / "mounts.json"
    path.write_text(json.dumps(entries))
    return container.runtime.call("mounts", what, container.id, str(path))


def seen(container: Container) -> list[str]:
    """The mount points in the container, in order."""
    pid = container.state()["pid"]
    lines = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8").splitlines()
    return [line.split(" ")[4] for line in lines]


@pytest.mark.parametrize("users", [False, True])
@pytest.mark.parametrize("state", ["created", "running", "paused"])
def test_added_and_removed(stage: Stage, source: Path, state: str, users: bool) -> None:
    """A bind and a tmpfs appear in the container and nowhere else, are what the entries say, and go again."""

    def edit(config: Config) -> None:
        if users:
            with_users(config)

    container = stage.container("sleep", "1000", edit=edit)
    container.create().ok()
    if state != "created":
        container.start().ok()
    before = seen(container)
    on_host = Path("/proc/self/mountinfo").read_text()
    if state == "paused":
        container.runtime.call("pause", container.id).ok()
    shm = {"destination": "/dev/shm/x", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "size=64k"]}
    call(container, "add", [bind(source, "/dev/shm/new", "ro"), shm]).ok()
    assert [place for place in seen(container) if place not in before] == ["/dev/shm/new", "/dev/shm/x"]
    assert Path("/proc/self/mountinfo").read_text() == on_host
    if state == "paused":
        container.runtime.call("resume", container.id).ok()
    script = "cat /dev/shm/new/file; touch /dev/shm/new/x /dev/shm/x/y; stat -f -c %T /dev/shm/x; stat -c %u:%g /dev/shm/x"
    if state != "created":
        shown = container.exec("sh", "-c", script).out
        assert shown.startswith("of the host\n")
        assert not (source / "x").exists()
        assert "tmpfs" in shown
        assert shown.split()[-1] == "0:0"  # the container's root's
    call(container, "remove", {"mounts": [{"destination": "/dev/shm/new/"}, shm]}).ok()
    assert seen(container) == before
    assert (source / "file").read_text() == "of the host\n"


def test_a_failure_leaves_nothing(stage: Stage, source: Path) -> None:
    """The second entry fails, and so the first is taken away; the error names the mount and its place in the file."""
    container = stage.running()
    before = seen(container)
    wrong = {"destination": "/b", "type": "tmpfs", "source": "x", "options": ["size=many"]}
    entries = [bind(source, "/dev/shm/a"), {**wrong, "destination": "/dev/shm/b"}]
    call(container, "add", entries).refused("mounts: /1: mount tmpfs on /dev/shm/b (size=many)", "EINVAL")
    assert seen(container) == before
    call(container, "add", {"mounts": entries}).refused("mounts: /mounts/1: mount tmpfs on /dev/shm/b")
    call(container, "add", [bind("/no/such", "/dev/shm/a")]).refused(
        "/0: open bind source: /no/such on /dev/shm/a: ENOENT"
    )
    assert seen(container) == before
    call(container, "remove", [{"destination": "/dev/shm/a"}]).refused("/0/destination", "on /dev/shm/a")


def test_links_of_the_container_lead_nowhere(stage: Stage, source: Path) -> None:
    """A destination behind a link that the container has made is inside its root, not on the host."""
    container = stage.running(lambda config: config["root"].update(readonly=False))
    host = stage.directory / "host"
    host.mkdir()
    container.exec("ln", "-s", f"../../../../../../..{host}", "/link").ok()
    call(container, "add", [bind(source, "/link/x")]).ok()
    assert list(host.iterdir()) == []
    assert f"{host}/x" in seen(container)
    call(container, "remove", [{"destination": "/link/x"}]).ok()
    assert f"{host}/x" not in seen(container)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (bind("/var", "/"), "would hide the rootfs"),
        (bind("/var", "/proc/sys"), "nothing can be mounted on /proc/sys"),
        ({"destination": "/x", "type": "cgroup", "source": "cgroup"}, "mount on /x: a mount of type cgroup"),
        ({"destination": "/x", "type": "proc", "source": "proc"}, "mount on /x: a mount of type proc"),
        ({"destination": "/x", "options": ["remount", "rw"]}, "mount on /x: a remount"),
        ({"destination": "/x"}, "mount on /x: a mount that is no bind needs a type"),
        ({"type": "tmpfs", "source": "x"}, "mount of x: destination is required"),
        ("text", "expected an object"),
    ],
)
def test_what_is_refused(stage: Stage, entry: Any, words: str) -> None:
    """What create refuses, and what can't be had later, before anything is done."""
    container = stage.running()
    before = seen(container)
    call(container, "add", [entry]).refused("mounts: /0", words)
    assert seen(container) == before


def test_what_create_has_made_stays(stage: Stage) -> None:
    """Only what was added can be taken away: neither /proc, nor a mask."""
    container = stage.running()
    before = seen(container)
    for place in ("/proc", "/proc/keys", "/dev", "/"):
        call(container, "remove", [{"destination": place}]).refused("/0/destination", "has mounted is on")
    assert seen(container) == before


def test_what_the_container_has_taken_away_itself(stage: Stage, source: Path) -> None:
    """Then there is nothing left to remove, and the error says so."""

    def edit(config: Config) -> None:
        for name in ("bounding", "effective", "permitted"):
            config["process"]["capabilities"][name].append("CAP_SYS_ADMIN")

    container = stage.running(edit)
    call(container, "add", [bind(source, "/dev/shm/a")]).ok()
    container.exec("umount", "/dev/shm/a").ok()
    result = call(container, "remove", [{"destination": "/dev/shm/a"}])
    result.refused("unmount /dev/shm/a", "EINVAL", "nothing is mounted there any more")


def test_states_and_words(stage: Stage, source: Path) -> None:
    """Not of a stopped or unknown container, nor of one that shares the host's mounts."""
    stopped = stage.in_state("stopped")
    call(stopped, "add", [bind(source, "/a")]).refused("mounts: container not running")
    call(stage.in_state("unknown"), "add", [bind(source, "/a")]).refused("container does not exist")
    call(stopped, "replace", []).refused("takes add or remove, not 'replace'")
    call(stopped, "add", {"x": 1}).refused("neither a list of mounts nor an object")

    def shared(config: Config) -> None:
        without_namespace(config, "mount")
        for name in ("maskedPaths", "readonlyPaths"):
            config["linux"].pop(name)
        config["mounts"] = []
        config["root"]["readonly"] = False

    call(stage.running(shared), "add", [bind(source, "/a")]).refused("no mount namespace of its own")
