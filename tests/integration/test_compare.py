# SPDX-License-Identifier: Apache-2.0
"""Does `compare` see everything in which runc and crun differ from us, and is each difference in docs/evidence/comparison.md?"""

from __future__ import annotations

import json
import os
import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.harness.cgroup_files import V2
from tests.harness.driver import ENVIRONMENT, command_of
from tests.harness.skips import has_lsm
from tests.integration.test_examples import NAMES, copy, root_of, surroundings

if TYPE_CHECKING:
    from tests.harness.bundle import Bundle
    from tests.harness.stage import Stage

PAGE = Path(__file__).parents[2] / "docs/evidence/comparison.md"
PEERS = ("runc", "crun")


# What a reason may begin with, and whether this machine shows the difference.
WHERE = {
    "at times": False,
    "on cgroup v1": not V2,
    "on cgroup v2": V2,
    "with /proc/kcore": os.path.exists("/proc/kcore"),
    "without /proc/kcore": not os.path.exists("/proc/kcore"),
}


class Line(NamedTuple):
    """One line of the page: what it is about, and which peers are not as we are."""

    pattern: str
    who: str
    why: str


def page() -> list[Line]:
    """The lines of the page's table."""
    rows = re.findall(
        r"^\| `([^`]+)` \| (both|runc|crun) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return [Line(*row) for row in rows]


def compare(stage: Stage, bundle: Bundle) -> dict[str, Any]:
    """What the command prints as JSON."""
    command = [*command_of("ociruntime"), "compare", "--format", "json", str(bundle.directory)]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    assert stage.runtime.ids() == []
    return document


SEEN: set[Line] = set()


# What both peers refuse: a profile on a machine without AppArmor; a time namespace (runc 1.1 has none, crun 1.8's init
# fails in one).
REFUSED = {"time-namespace", *(() if has_lsm("apparmor") else ("apparmor",))}
COMPARED = [name for name in NAMES if name not in REFUSED]


@pytest.mark.parametrize("name", COMPARED)
def test_every_difference_is_justified(
    name: str, stage: Stage, searchable: Path, request: pytest.FixtureRequest
) -> None:
    """Each example, under all three: a difference without a line is a mistake of ours or a line to write."""
    bundle = copy(name, searchable / name, root_of(name, request))
    with surroundings(bundle):
        found = compare(stage, bundle)
    assert found["runtimes"] == ["ociruntime", *PEERS]
    assert found["same"] > 100, found
    lines = page()
    surprises = []
    for key, values in found["differences"].items():
        differ = {peer for peer in PEERS if values[peer] and values[peer] != values["ociruntime"]}
        told = [line for line in lines if fnmatchcase(key, line.pattern)]
        SEEN.update(told)
        allowed = {peer for line in told for peer in (PEERS if line.who == "both" else (line.who,))}
        if differ - allowed:
            surprises.append(f"{key}: {values}")
    assert not surprises, "\n".join(surprises)


def test_every_line_is_seen() -> None:
    """A line whose difference is gone is taken out."""
    if len(SEEN) == 0:
        pytest.fail("run the whole file: this looks at what the other tests have seen")
    due = [line for line in page() if WHERE.get(line.why.partition(": ")[0], True)]
    assert [line.pattern for line in due if line not in SEEN] == []


def test_a_changed_bundle_is_seen(stage: Stage) -> None:
    """What a config changes shows in the table: the program's limits, mounts, ids, environment and names."""
    from ociruntime.bundle import load
    from ociruntime.inspect.observation import observe

    def edit(config: dict[str, Any]) -> None:
        config["process"]["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}
        config["process"]["env"].append("NEW=value")
        config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]
        config["hostname"] = "other"
        config["mounts"].append(
            {"destination": "/new", "type": "tmpfs", "source": "t", "options": ["size=64k"]}
        )
        config["linux"]["maskedPaths"] = ["/proc/version"]

    command = command_of("ociruntime")[0]
    tables = []
    for number, bundle in enumerate([stage.bundle("true"), stage.bundle("true", edit=edit)]):
        scratch = stage.directory / f"scratch-{number}"
        scratch.mkdir()
        tables.append(observe(command, load(str(bundle.directory)), str(scratch)).table)
    changed = {key for key in {**tables[0], **tables[1]} if tables[0].get(key) != tables[1].get(key)}
    wanted = {
        "status Uid", "status Gid", "status Groups", "environment NEW", "limit Max open files", "sysctl kernel.hostname",
        "mount /new", "file system of /new", "path /proc/version", "mount /proc/version",
    }  # fmt: skip
    assert wanted <= changed


def test_a_runtime_that_is_missing(stage: Stage) -> None:
    """A name that is not a runtime's is an error, before anything is made."""
    bundle = stage.bundle("true")
    stage.runtime.call("compare", "--with", "no-such-runtime", str(bundle.directory)).refused(
        "no such runtime"
    )
    stage.runtime.call("compare", "--with", ",", str(bundle.directory)).refused("names no runtime")
