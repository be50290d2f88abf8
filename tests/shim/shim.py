# SPDX-License-Identifier: Apache-2.0
"""A shim without containerd: its command is called as containerd calls it, and then it is asked directly."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.harness.driver import ENVIRONMENT, MARK, PATIENCE, command_of
from tests.shim.client import Client, Events
from tests.shim.descriptions import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.harness.bundle import Bundle

NAMESPACE = MARK


def program() -> str:
    """The shim's command, beside the runtime's."""
    return os.path.join(os.path.dirname(command_of("ociruntime")[0]), "containerd-shim-ociruntime-v1")


def any_of(kind: str, type_url: str, **fields: Any) -> Any:
    """An Any."""
    return kind_of("Any")(type_url=type_url, value=kind_of(kind)(**fields).SerializeToString())


class Shim:
    """A shim that serves, and containerd's part: the directory for sockets, the events, a connection."""

    def __init__(self, directory: Path, events: bool = True) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.sockets = Path(
            tempfile.mkdtemp(prefix="shim-test-", dir="/tmp")
        )  # containerd's limit is 42 bytes
        self.events = Events(str(directory / "ttrpc")) if events else None
        self.options = any_of("RuncOptions", "containerd.runc.v1.Options", root=str(directory / "root"))
        self.pids: list[int] = []
        self.clients: list[Client] = []

    def command(
        self, *words: str, bundle: Path, name: str, stdin: bytes = b"", code: int = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """One call of the command."""
        flags = [
            "-namespace",
            NAMESPACE,
            "-address",
            str(self.directory),
            "-publish-binary",
            "/bin/false",
            "-id",
            name,
        ]
        done = subprocess.run(
            [program(), *flags, *words], input=stdin, capture_output=True, cwd=bundle, check=False, timeout=60 * PATIENCE,
            env={**ENVIRONMENT, "TTRPC_ADDRESS": str(self.directory / "ttrpc")},
        )  # fmt: skip
        assert done.returncode == code, done
        return done

    def start(self, bundle: Bundle, name: str, extensions: Sequence[Any] = ()) -> str:
        """Call `start` as containerd 2.3 does; the address. A shim that is new is ended with this object."""
        params = kind_of("BootstrapParams")(
            instance_id=name, namespace=NAMESPACE, socket_dir=str(self.sockets),
            extensions=[kind_of("Extension")(value=one) for one in extensions],
        )  # fmt: skip
        done = self.command("start", bundle=bundle.directory, name=name, stdin=params.SerializeToString())
        result = kind_of("BootstrapResult").FromString(done.stdout)
        assert (result.version, result.protocol) == (3, "ttrpc")
        address: str = result.address
        assert (bundle.directory / "address").read_text() == address
        pid = self.connect(address).call("Connect", id=name).shim_pid
        if pid not in self.pids:
            self.pids.append(pid)
        return address

    def connect(self, address: str, version: int = 3) -> Client:
        """One more connection, which is closed with this object."""
        self.clients.append(Client(address.removeprefix("unix://"), version))
        return self.clients[-1]

    def create(self, client: Client, bundle: Bundle, name: str, **fields: Any) -> int:
        """Create a container; its pid."""
        answer = client.call(
            "Create", **{"id": name, "bundle": str(bundle.directory), "options": self.options, **fields}
        )
        return int(answer.pid)

    def close(self) -> None:
        """End the shims."""
        for client in self.clients:
            client.socket.close()
        for pid in self.pids:
            if (
                Path(f"/proc/{pid}").exists()
                and b"containerd-shim" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ):
                os.kill(pid, signal.SIGKILL)
        if self.events is not None and os.path.exists(self.events.path):
            self.events.close()
        shutil.rmtree(self.sockets)
