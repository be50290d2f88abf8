# SPDX-License-Identifier: Apache-2.0
"""systemctl daemon-reload and daemon-reexec: a running container keeps its devices and gets no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.systemd.inside import units

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.configuration import Config
    from tests.harness.stage import Stage

# (node, major, minor); each is made in the container, which may make any.
NODES = {"full": (1, 7), "kmsg": (1, 11), "fuse": (10, 229), "tun": (10, 200)}
# Opens each device for reading: "yes" if it may. ENXIO or ENODEV also means that it may.
SCRIPT = "".join(
    f"[ -e /tmp/{name} ] || mknod /tmp/{name} c {major} {minor}; "
    f"if m=$(dd if=/tmp/{name} of=/dev/null bs=1 count=0 2>&1); then echo {name} yes; else "
    f'case $m in *"not permitted"*) echo {name} no;; *) echo {name} yes;; esac; fi; '
    for name, (major, minor) in NODES.items()
)
FUSE = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
DENY_ALL = {"allow": False, "access": "rwm"}


def ruled(*rules: dict[str, Any]) -> Callable[[Config], None]:
    """An edit: these device rules, and a /tmp where devices can be made and used."""

    def edit(config: Config) -> None:
        config["linux"]["resources"]["devices"] = list(rules)
        config["mounts"].append(
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}
        )
        for group in config["process"]["capabilities"].values():
            if "CAP_MKNOD" not in group:
                group.append("CAP_MKNOD")

    return edit


@pytest.mark.parametrize("verb", ["daemon-reload", "daemon-reexec"])
@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([DENY_ALL, FUSE], {"full": "yes", "kmsg": "no", "fuse": "yes", "tun": "yes"}),
        ([DENY_ALL], {"full": "yes", "kmsg": "no", "fuse": "no", "tun": "yes"}),
    ],
    ids=["with fuse", "without"],
)
def test_devices_stay(stage: Stage, rules: list[dict[str, Any]], expected: dict[str, str], verb: str) -> None:
    """Before and after, also when the unit is changed in between."""
    container = stage.running(ruled(*rules))

    def allowed() -> dict[str, str]:
        lines = container.exec("sh", "-c", SCRIPT).ok().out.splitlines()
        return dict(line.split() for line in lines)

    assert allowed() == expected
    units.systemctl(verb)
    assert allowed() == expected
    unit = f"ociruntime-{container.id}.scope"
    units.systemctl("set-property", "--runtime", unit, "CPUWeight=50")
    units.systemctl(verb)
    assert allowed() == expected
    assert units.shown(unit, "ActiveState", "DevicePolicy") == {
        "ActiveState": "active",
        "DevicePolicy": "strict",
    }
    container.delete("--force").ok()
    assert units.ours() == []


def test_a_hole_in_the_rules_stays(stage: Stage) -> None:
    """Systemd's list can't say it; the cgroup's own rules do."""
    everything = {"allow": True, "access": "rwm"}
    kmsg = {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rw"}
    container = stage.running(ruled(everything, kmsg))

    def allowed() -> list[str]:
        return [line for line in container.exec("sh", "-c", SCRIPT).ok().out.splitlines() if "yes" in line]

    expected = ["full yes", "fuse yes", "tun yes"]
    assert allowed() == expected
    units.systemctl("daemon-reload")
    assert allowed() == expected
    units.systemctl("daemon-reexec")
    assert allowed() == expected
    container.delete("--force").ok()
