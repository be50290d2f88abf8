# SPDX-License-Identifier: Apache-2.0
"""Which plan does each bundle example have, on two machines that never change?

    python3 -m tests.unit.golden --write     write bundle-examples/*/plan*.txt anew
    python3 -m tests.unit.golden             print the names of those that are not as written; exit 1 if there are any

The text is what `ociruntime plan` prints. Nothing of this machine is in it: paths, cgroups and capabilities
are those of MACHINES below.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ociruntime.bundle import Bundle
from ociruntime.check import check
from ociruntime.host import Host
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.plan import order
from ociruntime.verbs.plan import PLACEHOLDER, as_text

EXAMPLES = Path(__file__).parents[2] / "bundle-examples"
_CGROUPS = "/sys/fs/cgroup"
_HYBRID = Layout(
    "hybrid",
    {
        "cpu": f"{_CGROUPS}/cpu,cpuacct",
        "cpuacct": f"{_CGROUPS}/cpu,cpuacct",
        "cpuset": f"{_CGROUPS}/cpuset",
        "memory": f"{_CGROUPS}/memory",
        "devices": f"{_CGROUPS}/devices",
        "freezer": f"{_CGROUPS}/freezer",
        "pids": f"{_CGROUPS}/pids",
        "name=systemd": f"{_CGROUPS}/systemd",
    },
    f"{_CGROUPS}/unified",
    dict.fromkeys(
        ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids", "name=systemd", ""), "/"
    ),
)
_V2 = Layout("v2", {}, _CGROUPS, {"": "/"}, ["cpuset", "cpu", "io", "memory", "pids"])

# Name of the file -> the machine that it is for.
MACHINES = {"plan.txt": Host(_HYBRID, apparmor=True), "plan-v2.txt": Host(_V2, apparmor=True)}
# Every example has plan.txt; where the cgroup is the point, or nothing else is in the way, there are both.
_BOTH = ("hello", "limits", "cgroup-resources", "devices")


def names() -> list[str]:
    """The examples that run."""
    return sorted(path.parent.name for path in EXAMPLES.glob("*/config.json"))


def files(example: str) -> list[Path]:
    """The golden plans that an example must have."""
    kinds = MACHINES if example in _BOTH else ("plan.txt",)
    return [EXAMPLES / example / kind for kind in kinds]


def load(example: str) -> Bundle:
    """The example, as if it stood in /bundles."""
    path = EXAMPLES / example / "config.json"
    return Bundle(f"/bundles/{example}", f"bundle-examples/{example}/config.json", path.read_bytes())


def text(example: str, machine: Host) -> str:
    """What `ociruntime plan` prints for the example on a machine."""
    bundle = load(example)
    check.require(bundle.config)
    made = order.make(bundle, machine, order.Options(container_id=PLACEHOLDER))
    return as_text(bundle.config_path, made)


def main(write: bool) -> int:
    """Write or compare all; the exit code."""
    changed = 0
    for example in names():
        for path in files(example):
            wanted = text(example, MACHINES[path.name])
            if path.exists() and path.read_text(encoding="utf-8") == wanted:
                continue
            changed += 1
            sys.stdout.write(f"{path.relative_to(EXAMPLES.parent)}{' written' if write else ''}\n")
            if write:
                path.write_text(wanted, encoding="utf-8")
    return 1 if changed and not write else 0


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
