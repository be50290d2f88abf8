# SPDX-License-Identifier: Apache-2.0
"""Does docs/rootless.md say of each bundle example whether an ordinary user can run it, and what is missing?"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.rootfs import copy_busybox
from tests.harness.stage import new_id
from tests.integration.test_examples import EXAMPLES, NAMES
from tests.integration.unprivileged import FIRST, UID, command

if TYPE_CHECKING:
    from tests.harness.driver import Result
    from tests.integration.unprivileged import User

COMMAND = command()
pytestmark = [
    pytest.mark.skipif(runtime_under_test() in ("runc", "crun"), reason="its own command is called"),
    pytest.mark.skipif(
        not COMMAND,
        reason="the working tree is in a directory that only root can search: move it, or chmod a+x",
    ),
]
PAGE = Path(__file__).parents[2] / "docs" / "rootless.md"
HEADER = "| example | with sub-ids | with one id |"
_ONE = [{"containerID": 0, "hostID": UID, "size": 1}]
# By column: the fixture that makes the user, and the mappings that the config gets, as `spec --rootless` has them.
COLUMNS: list[tuple[str, list[dict[str, int]]]] = [
    ("user", [*_ONE, {"containerID": 1, "hostID": FIRST, "size": 65535}]),
    ("poor", _ONE),
]


def table() -> dict[str, list[str]]:
    """The cells of each example's line."""
    lines = PAGE.read_text(encoding="utf-8").partition(HEADER)[2].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return {name: cells for name, *cells in rows}


def with_user_namespace(config: dict[str, Any], maps: list[dict[str, int]]) -> None:
    """What a user changes in a config of root's; with one id there is no group of terminals."""
    namespaces = config["linux"]["namespaces"]
    if not any(one["type"] == "user" for one in namespaces):
        namespaces.append({"type": "user"})
    config["linux"].update(uidMappings=maps, gidMappings=maps)
    if len(maps) == 1:
        for mount in config["mounts"]:
            mount["options"] = [option for option in mount.get("options", []) if option != "gid=5"]


def play(user: User, name: str, maps: list[dict[str, int]], request: pytest.FixtureRequest) -> Result:
    """Run the example as that user, at a terminal, with a root file system of the user's; Debian's is read-only and large."""
    directory = user.home / name
    root = directory / "rootfs"
    shutil.copytree(EXAMPLES / name, directory, ignore=shutil.ignore_patterns("rootfs"), symlinks=True)
    before = ""
    if name == "debian":
        root.mkdir()
        before = f"mount --bind {request.getfixturevalue('debian_root')} {root}"
    elif name in ("hello", "systemd"):
        made = EXAMPLES / name / "rootfs" if name == "hello" else request.getfixturevalue("systemd_root")
        shutil.copytree(made, root, symlinks=True)
    else:
        copy_busybox(root, own_files=True)
    config = json.loads((directory / "config.json").read_bytes())
    with_user_namespace(config, maps)
    (directory / "config.json").write_text(json.dumps(config))
    user.own(directory)
    words = [COMMAND, "run", "--bundle", str(directory), new_id()]
    return user.call("script", "-qec", shlex.join(words), "/dev/null", before=before)


def test_the_table_has_each_example() -> None:
    """One line each, in order."""
    assert list(table()) == NAMES


@pytest.mark.parametrize("column", range(len(COLUMNS)), ids=["sub-ids", "one id"])
@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_right(name: str, column: int, request: pytest.FixtureRequest) -> None:
    """A cell is "runs", or begins with words of the error; in both cases nothing is left."""
    fixture, maps = COLUMNS[column]
    user: User = request.getfixturevalue(fixture)
    done = play(user, name, maps, request)
    cell = table()[name][column]
    if cell == "runs":
        assert done.code == 0, done.out
    else:
        assert done.code != 0
        assert cell.split("`")[1] in done.out
    assert user.call(COMMAND, "list", "-q").ok().out == ""
