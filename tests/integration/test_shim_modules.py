# SPDX-License-Identifier: Apache-2.0
"""What does the serving process load and hold? Its memory is there once for each pod of a node."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.command import why_launcher
from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.stage import new_id
from tests.shim.shim import NAMESPACE, Shim, end, process
from tests.unit.test_frozen import ALL
from tests.unit.test_imports import DEAR, LEAN, NATIVE, REPOSITORY

if TYPE_CHECKING:
    from tests.harness.stage import Stage

DRIVER = """
import sys
empty = set(sys.modules)
sys.path += {path!r}
import os
from ociruntime.shim import address
from ociruntime.shim.serve import serve
known, tell = os.pipe()
os.write(tell, b"x" * {known})
os.close(tell)
serve(address.listen({socket!r}), {socket!r}, ttrpc={ttrpc!r}, namespace={namespace!r}, known=known)
with open({report!r}, "w") as file:
    file.write(" ".join(sorted(set(sys.modules) - empty)))
"""
SERVES = {"_signal", "_socket", "_sha256", "_sha2", "gc", "termios"}
MOST_PSS = 9000  # KiB with one container; 7100 when this was written, and the Go shim has 5000 to 8000
MOST_COPIED = 2200  # KiB of a snapshot's memory that the shim has written; 1600 when this was written


@pytest.fixture(autouse=True)
def ours() -> None:
    """Not with RUNTIME=runc."""
    if runtime_under_test() != "ociruntime":
        pytest.skip("RUNTIME names a peer: the shim is ours")


def test_the_server_loads_nothing_dear(stage: Stage) -> None:
    """A container's life, with exec and a terminal: no json, re, enum, typing, asyncio."""
    shim = Shim(stage.directory / "shim")
    report, socket = stage.directory / "modules", f"{shim.sockets}/here"
    program = DRIVER.format(
        path=[REPOSITORY, sysconfig.get_paths()["platlib"]],
        socket=socket, ttrpc=str(shim.directory / "ttrpc"), namespace=NAMESPACE, report=str(report), known=1,
    )  # fmt: skip
    with subprocess.Popen([sys.executable, "-I", "-S", "-X", "utf8", "-c", program]) as server:
        until = time.monotonic() + 20 * PATIENCE
        while not os.path.exists(socket):
            assert time.monotonic() < until
            time.sleep(0.02)
        client = shim.connect(socket)
        name = new_id()
        terminal = stage.bundle("sleep", "100", edit=lambda config: config["process"].update(terminal=True))
        os.mkfifo(stage.directory / "out")
        shim.create(client, terminal, name, terminal=True, stdout=str(stage.directory / "out"))
        client.call("Start", id=name)
        client.call("Exec", id=name, exec_id="e", spec=process("true"))
        client.call("Start", id=name, exec_id="e")
        client.call("Wait", id=name, exec_id="e")
        client.call("Stats", id=name)
        end(client, name)
        client.call("Shutdown", id=name)
        assert server.wait(20 * PATIENCE) == 0
    shim.close()
    loaded = set(report.read_text().split())
    assert "ociruntime.shim.terminal" in loaded
    assert not loaded & DEAR
    assert {name for name in loaded if not name.startswith("ociruntime")} <= LEAN | NATIVE | SERVES
    # What a snapshot has not loaded before the freeze it would load for each pod, and most it could not.
    assert loaded - in_a_snapshot() <= {"_shim", "_shim.lib"}


def in_a_snapshot() -> set[str]:
    """The modules that are loaded when it is frozen."""
    program = ALL.format(
        path=[REPOSITORY, sysconfig.get_paths()["platlib"]], package=f"{REPOSITORY}/ociruntime"
    )
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", f"import gc\n{program}"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_a_shim_that_nobody_knows(stage: Stage) -> None:
    """If `start` is killed before it has printed the address, the server ends, and its socket goes."""
    shim = Shim(stage.directory / "shim")
    socket = f"{shim.sockets}/here"
    program = DRIVER.format(
        path=[REPOSITORY, sysconfig.get_paths()["platlib"]],
        socket=socket, ttrpc="", namespace=NAMESPACE, report=str(stage.directory / "modules"), known=0,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", program], timeout=20 * PATIENCE, check=False
    )
    assert done.returncode == 0
    assert (stage.directory / "modules").exists()
    assert not os.path.exists(socket)
    shim.close()


def test_memory(stage: Stage) -> None:
    """With one container: in proportion to what it shares with others, or what it has copied of a snapshot."""
    shim = Shim(stage.directory / "shim")
    name, bundle = new_id(), stage.bundle("sleep", "100")
    client = shim.connect(shim.start(bundle, name))
    shim.create(client, bundle, name)
    client.call("Start", id=name)
    lines = Path(f"/proc/{shim.pids[0]}/smaps_rollup").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    end(client, name)
    shim.close()
    if why_launcher():
        assert found["Pss"] < MOST_PSS
    else:  # the rest is the file's, and each shim of the node has the same
        assert found["Anonymous"] < MOST_COPIED
