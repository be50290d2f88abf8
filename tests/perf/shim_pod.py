# SPDX-License-Identifier: Apache-2.0
"""One shim without containerd, whichever it is: its command is called and its service asked as containerd does it.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from tests.harness.bundle import make_bundle
from tests.harness.driver import ENVIRONMENT, MARK
from tests.perf.memory import sizes
from tests.shim.client import Client, Events
from tests.shim.shim import any_of, process

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.configuration import Config

_PATIENCE = 30.0  # seconds
_PROGRAM = ("sleep", "10000")


def _for_everybody(config: Config) -> None:
    """Readable for all: crun 1.8 refuses ociVersion above 1.0."""
    config["ociVersion"] = "1.0.2"


class Pod:
    """A shim and its containers.

    program   of the shim
    binary    of the runtime that it calls; "": none
    name      of the first container
    """

    def __init__(self, directory: Path, program: str, binary: str, name: str) -> None:
        self._directory = directory
        self._program = program
        self._name = name
        self._bundle = make_bundle(
            directory / name, *_PROGRAM, edit=_for_everybody
        )  # runc's shim expects this name
        self._events = Events(str(directory / "t"))
        log = self._bundle.directory / "log"
        os.mkfifo(log)
        self._log = os.open(log, os.O_RDWR | os.O_NONBLOCK)
        self._options = any_of(
            "RuncOptions", "containerd.runc.v1.Options", root=str(directory / "root"), binary_name=binary
        )
        self._client: Client | None = None
        self._address = ""
        self._names = [name]
        self.pid = 0

    def _command(self, *words: str) -> bytes:
        flags = [
            "-namespace",
            MARK,
            "-address",
            f"{self._directory}/c",
            "-publish-binary",
            "/bin/true",
            "-id",
            self._name,
        ]
        with open(self._directory / "diagnostics", "ab") as diagnostics:
            done = subprocess.run(
                [self._program, *flags, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=diagnostics,
                cwd=self._bundle.directory, env={**ENVIRONMENT, "TTRPC_ADDRESS": f"{self._directory}/t"}, check=True,
            )  # fmt: skip
        return done.stdout

    def start(self) -> None:
        """The command's `start`."""
        self._address = self._command("start").decode().strip()

    def connect(self) -> None:
        """As containerd does it after `start`."""
        self._client = Client(self._address.removeprefix("unix://"))
        self.pid = self.call("Connect", id=self._name).shim_pid

    def call(self, method: str, **fields: Any) -> Any:
        """One method of the Task service."""
        assert self._client is not None
        return self._client.call(method, **fields)

    def create(self, name: str = "") -> None:
        """Create; all containers have the same bundle's files."""
        bundle = self._bundle.directory
        self.call("Create", id=name or self._name, bundle=str(bundle), options=self._options)

    def begin(self, name: str = "") -> None:
        """Start."""
        self.call("Start", id=name or self._name)

    def execute(self) -> None:
        """A process of exec, from its beginning to its end."""
        of_exec = {"id": self._name, "exec_id": "e"}
        self.call("Exec", **of_exec, spec=process("true"))
        for method in ("Start", "Wait", "Delete"):
            self.call(method, **of_exec)

    def grow(self, count: int) -> None:
        """Until there are so many containers."""
        while len(self._names) < count:
            name = f"{self._name}-{len(self._names)}"
            bundle = make_bundle(self._directory / name, *_PROGRAM, edit=_for_everybody)
            self.call("Create", id=name, bundle=str(bundle.directory), options=self._options)
            self.begin(name)
            self._names.append(name)

    def kill(self, name: str = "") -> None:
        """Kill, and Wait."""
        self.call("Kill", id=name or self._name, signal=9)
        self.call("Wait", id=name or self._name)

    def delete(self, name: str = "") -> None:
        """Delete."""
        self.call("Delete", id=name or self._name)

    def shut_down(self) -> None:
        """Shutdown, until the process has ended; runc's shim may do so before it answers."""
        pidfd = os.pidfd_open(self.pid)
        assert self._client is not None
        self._client.begin("Shutdown", id=self._name)
        ended, _, _ = select.select([pidfd], [], [], _PATIENCE)
        os.close(pidfd)
        assert ended, f"{self._program} has not ended"
        self.pid = 0

    def clean(self) -> None:
        """The command's `delete`."""
        self._command("-bundle", str(self._bundle.directory), "delete")

    def end_all(self) -> None:
        """Everything that has begun."""
        if self.pid:
            for name in reversed(self._names):
                self.kill(name)
                self.delete(name)
            self.shut_down()
            self.clean()

    def memory(self) -> dict[str, int]:
        """What smaps_rollup says, in KiB."""
        return sizes(self.pid)

    def close(self) -> None:
        """Give everything back."""
        if self.pid:
            os.kill(self.pid, 9)
        if self._client is not None:
            self._client.socket.close()
        os.close(self._log)
        self._events.close()
        shutil.rmtree(self._directory)
