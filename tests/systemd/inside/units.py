# SPDX-License-Identifier: Apache-2.0
"""What does systemd say of a unit, and which units of this session are there? Must not import anything of `ociruntime`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.harness.driver import ENVIRONMENT, MARK


def systemctl(*words: str) -> str:
    """What systemctl prints; it must succeed."""
    done = subprocess.run(
        ["systemctl", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def shown(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit, as `systemctl show` has them; a property that is there several times is one text."""
    found: dict[str, str] = {}
    for line in systemctl("show", unit, *(f"--property={name}" for name in names)).splitlines():
        name, _, value = line.partition("=")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def stop_slice(name: str) -> None:
    """Stop a slice with all below it. Where cpuacct is mounted apart from cpu, systemd makes cgroups in it and leaves them."""
    systemctl("stop", name)
    for top in Path("/sys/fs/cgroup").glob(f"*/{name}"):
        for place, _, _ in os.walk(top, topdown=False):
            os.rmdir(place)


def ours() -> list[str]:
    """The units that bear this session's mark, whatever their state."""
    lines = systemctl("list-units", "--all", "--plain", "--no-legend", f"*{MARK}*").splitlines()
    return sorted(line.split()[0] for line in lines)


def connections() -> int:
    """How many there are to the bus and to systemd's own socket, of all programs."""
    words = [
        "ss",
        "--no-header",
        "--unix",
        "src",
        "/run/systemd/private",
        "or",
        "src",
        "/run/dbus/system_bus_socket",
    ]
    done = subprocess.run(words, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True, check=True)
    return len([line for line in done.stdout.splitlines() if "ESTAB" in line])
