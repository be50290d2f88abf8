# SPDX-License-Identifier: Apache-2.0
"""A shim without containerd: its command is called as containerd calls it, and then it is asked directly."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.command import our_shim
from tests.harness.driver import ENVIRONMENT, MARK, PATIENCE
from tests.shim.client import Client, Events, Refused
from tests.shim.descriptions import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.harness.bundle import Bundle

NAMESPACE = MARK


def program() -> str:
    """The shim's command."""
    return our_shim()


def any_of(kind: str, type_url: str, **fields: Any) -> Any:
    """An Any."""
    return kind_of("Any")(type_url=type_url, value=kind_of(kind)(**fields).SerializeToString())


class Shim:
    """A shim that serves, and containerd's part: the directory for sockets, the events, a connection."""

    def __init__(self, directory: Path, events: bool = True, program: str = "") -> None:
        self.directory = directory
        self.program = program or our_shim()
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
            [self.program, *flags, *words], input=stdin, capture_output=True, cwd=bundle, check=False, timeout=60 * PATIENCE,
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


def end(client: Client, name: str) -> Any:
    """Kill and delete a container."""
    client.call("Kill", id=name, signal=9, all=True)
    client.call("Wait", id=name)
    return client.call("Delete", id=name)


def process(*words: str, **more: Any) -> Any:
    """What Exec runs."""
    document = {"args": list(words), "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], **more}
    kind = "types.containerd.io/opencontainers/runtime-spec/1/Process"
    return kind_of("Any")(type_url=kind, value=json.dumps(document).encode())


def refused(code: int, words: str, call: Callable[..., Any], *arguments: Any, **fields: Any) -> None:
    """It is, with this code and these words."""
    with pytest.raises(Refused) as caught:
        call(*arguments, **fields)
    assert caught.value.code == code, caught.value
    assert words in caught.value.text


def root_path(config: dict[str, Any]) -> None:
    """As containerd writes it."""
    config["root"] = {"path": "rootfs", "readonly": False}


def mount(kind: str, source: str, *options: str, target: str = "") -> Any:
    """A mount of a root filesystem."""
    return kind_of("Mount")(type=kind, source=source, options=options, target=target)


def wait_for_end(pid: int) -> None:
    """It ends soon."""
    until = time.monotonic() + 10 * PATIENCE
    while os.path.exists(f"/proc/{pid}") and b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().split()[2]:
        assert time.monotonic() < until
        time.sleep(0.02)
