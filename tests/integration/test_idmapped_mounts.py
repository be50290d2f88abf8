# SPDX-License-Identifier: Apache-2.0
"""Id-mapped binds: owners are shifted both ways, by mappings of the mount or of the container's user namespace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, id_maps, with_users
from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS
from tests.integration.test_idmap import user_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

# Nothing is compared with runc 1.1: it ignores mappings and options of mounts.
CRUN = ("crun",)
SHIFT = (0, 200000, 1000)
own = pytest.mark.skipif(
    runtime_under_test() in PEERS,
    reason="ridmap and these words are this runtime's: run with RUNTIME=ociruntime",
)
not_runc = pytest.mark.skipif(
    runtime_under_test() == "runc",
    reason="runc 1.1 ignores mappings of mounts: run with RUNTIME=ociruntime or crun",
)


def bind(
    source: Path, *options: str, maps: tuple[int, int, int] | None = None, **more: Any
) -> Callable[[Config], None]:
    """An edit that binds `source` on /mnt."""

    def edit(config: Config) -> None:
        entry: Config = {
            "destination": "/mnt",
            "type": "bind",
            "source": str(source),
            "options": list(options),
        }
        if maps is not None:
            entry.update(uidMappings=id_maps(maps), gidMappings=id_maps(more.get("groups", maps)))
        config["mounts"].append(entry)
        if "users" in more:
            with_users(config, **more["users"])
        if "user" in more:
            config["process"]["user"] = more["user"]

    return edit


@pytest.fixture
def source(searchable: Path) -> Iterator[Path]:
    """A directory that everybody may write to, with a file of 1:2, and a file of 1:2 on a tmpfs below it."""
    point = searchable / "source"
    (point / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(point / "below")], check=True)
    for directory in (point, point / "below"):
        directory.chmod(0o777)
        (directory / "file").touch()
        os.chown(directory / "file", 1, 2)
    yield point
    subprocess.run(["umount", str(point / "below")], check=True)


def _owners(source: Path) -> list[str]:
    """What the container has made, and whose it is on the host; it is removed."""
    found = []
    for path in sorted(source.rglob("new")):
        status = path.stat()
        found.append(f"{path.relative_to(source)} {status.st_uid}:{status.st_gid}")
        path.unlink()
    return found


SHOW = "stat -c '%n %u:%g' /mnt/file; touch /mnt/new 2> /dev/null && stat -c '%n %u:%g' /mnt/new; true"
TREE = "stat -c '%n %u:%g' /mnt/file /mnt/below/file; touch /mnt/new /mnt/below/new"
USER = {"uid": 200003, "gid": 200004}


@not_runc
def test_owners_are_shifted_both_ways(compare_with_users: Compare, source: Path) -> None:
    """R026, R029: what is 1 on the disk is 200001 inside, and what 200003 writes is 3 on the disk."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def show(*options: str) -> list[Any]:
            out = stage.show(SHOW, edit=bind(source, *options, maps=SHIFT, user=USER))
            return [out.splitlines(), _owners(source)]

        refused = stage.run("true", edit=bind(source, "bind", "idmap")).code != 0
        return {
            "idmap": show("bind", "idmap"),
            "mappings without the option": show("bind"),
            "read-only": show("bind", "idmap", "ro"),
            "neither mappings nor a user namespace": refused,
        }

    answers = compare_with_users(scenario, only=CRUN)
    for name in ("idmap", "mappings without the option"):
        assert answers[name] == [["/mnt/file 200001:200002", "/mnt/new 200003:200004"], ["new 3:4"]]
    assert answers["read-only"] == [["/mnt/file 200001:200002"], []]
    assert answers["neither mappings nor a user namespace"]  # R031


@not_runc
def test_the_containers_own_mappings(compare_with_users: Compare, source: Path) -> None:
    """R030: without mappings of its own a mount takes the user namespace's, so that files keep their numbers."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def show(*options: str, **users: Any) -> list[Any]:
            out = stage.show(SHOW, edit=bind(source, *options, users=users))
            return [out.splitlines(), _owners(source)]

        return {"idmap": show("bind", "idmap"), "not mapped": show("bind")}

    answers = compare_with_users(scenario, only=CRUN)
    assert answers["idmap"] == [["/mnt/file 1:2", "/mnt/new 0:0"], ["new 0:0"]]
    assert answers["not mapped"] == [["/mnt/file 65534:65534", "/mnt/new 0:0"], ["new 100000:100000"]]


@own
def test_what_is_mounted_below(stage: Stage, source: Path) -> None:
    """R027: idmap is about one mount, ridmap about those below it too; the same with a new or joined namespace's mappings."""
    top = ["/mnt/file 200001:200002"]
    first = bind(source, "rbind", "idmap", maps=SHIFT, user=USER)
    assert stage.show(TREE, edit=first).splitlines() == [*top, "/mnt/below/file 1:2"]
    assert _owners(source) == ["below/new 200003:200004", "new 3:4"]
    whole = bind(source, "rbind", "ridmap", maps=SHIFT, user=USER)
    assert stage.show(TREE, edit=whole).splitlines() == [*top, "/mnt/below/file 200001:200002"]
    assert _owners(source) == ["below/new 3:4", "new 3:4"]
    with user_namespace() as pid:
        for users in ({}, {"path": f"/proc/{pid}/ns/user"}):
            inside = bind(source, "rbind", "ridmap", users=users)
            assert stage.show(TREE, edit=inside).splitlines() == ["/mnt/file 1:2", "/mnt/below/file 1:2"]
            assert _owners(source) == ["below/new 0:0", "new 0:0"]


@not_runc
def test_groups_have_ranges_of_their_own(stage: Stage, source: Path) -> None:
    """R030: uidMappings are of users and gidMappings of groups, where they differ."""
    out = stage.show(
        SHOW, edit=bind(source, "bind", "idmap", maps=SHIFT, groups=(0, 300000, 1000), user=USER)
    )
    assert out.splitlines()[0] == "/mnt/file 200001:300002"


@own
def test_what_cannot_be_mapped_is_refused(stage: Stage, source: Path) -> None:
    """A file system that does not support it, and mappings that the kernel does not take; nothing is left."""
    maps = SHIFT

    def on_sysfs(config: Config) -> None:
        bind(Path("/sys"), "bind", "idmap", maps=maps)(config)

    refused = stage.run("true", edit=on_sysfs)
    refused.refused("/mounts/7: id-map bind source", "/sys by id maps uid 0-999 is 200000-200999", "EINVAL")

    def many(config: Config) -> None:
        bind(source, "bind", "idmap", maps=maps)(config)
        ranges = id_maps(*((number, 200000 + number, 1) for number in range(4000)))
        config["mounts"][7].update(uidMappings=ranges, gidMappings=ranges)

    stage.run("true", edit=many).refused("/mounts/7/gidMappings: mount on /mnt: 4000 ranges", "up to 340")
    assert stage.runtime.ids() == []
