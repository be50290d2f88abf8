# SPDX-License-Identifier: Apache-2.0
"""A user's own systemd: it is found, and a scope can be started there, in the cgroup that the plan expects."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest

from ociruntime.linux.cgroups.systemd.names import unit_of
from tests.harness.driver import ENVIRONMENT, MARK

# Starts a scope around this process, as create does, and says where it then is.
PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ociruntime.linux.cgroups.systemd import bus
with bus.connect(os.getuid()) as one:
    said = [["PIDs", ["au", [os.getpid()]]], ["Slice", ["s", "user.slice"]], ["Delegate", ["b", True]]]
    job = one.begin_job("StartTransientUnit", "ssa(sv)a(sa(sv))", sys.argv[2], "fail", said, [])
    print(one.wait_for_job(job), one.address)
    print(open("/proc/self/cgroup").read())
"""


@pytest.mark.parametrize("bus", [False, True], ids=["its own socket", "the session bus"])
def test_a_scope_of_a_user(bus: bool) -> None:
    """By systemd's own socket, and by the bus where that is not there: $XDG_RUNTIME_DIR or nothing says where."""
    user = pwd.getpwnam("tester")
    environment = {**ENVIRONMENT, "HOME": user.pw_dir}
    if bus:
        environment["XDG_RUNTIME_DIR"] = "/nonexistent"
        environment["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path=/run/user/{user.pw_uid}/bus"
    repository = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    unit = unit_of(f"::{MARK}-{int(bus)}", "", user.pw_uid)
    # As a process of that user's manager: only from there may it be moved.
    words = [
        "systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--user", "--machine", "tester@.host",
        *(f"--setenv={name}={value}" for name, value in environment.items() if name != "DBUS_SESSION_BUS_ADDRESS" or bus),
        sys.executable, "-c", PROGRAM, repository, unit.name,
    ]  # fmt: skip
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout
    place = "/bus" if bus else "/systemd/private"
    assert f"done unix:path=/run/user/{user.pw_uid}{place}" in done.stdout
    assert unit.path in done.stdout
