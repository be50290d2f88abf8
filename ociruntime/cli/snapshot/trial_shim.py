# SPDX-License-Identifier: Apache-2.0
"""What is tried of containerd's shim, to find out which objects it writes to? One pod's life, asked for as by containerd.

Used by order.py, never at run time.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from contextlib import suppress

from ociruntime.jsontext import compact
from ociruntime.shim import framing, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

NAME = "containerd-shim-ociruntime-v1"
NAMESPACE = "trial"
START, JOIN, DELETE = "shim start", "shim start in a pod", "shim delete"
_PATIENCE = 30.0  # seconds


def try_shim(call: Callable[[str, list[str]], int], directory: str, container: str) -> None:
    """One container with one exec, and `delete` afterwards.

    call       run a command of the trial: what it is called in the report, and its words; the exit code
    directory  with the bundle; the trial process is in the directory above, and reads `input` there as its stdin
    Raises OSError if the shim can't be asked.
    """
    bundle = os.path.join(directory, "bundle")
    flags = [NAME, "-namespace", NAMESPACE, "-address", directory, "-id", container]
    with _Containerd(directory) as containerd:
        _write(f"{directory}/input", containerd.params(container))
        _write(f"{directory}/../config.json", b"{}")  # `start` looks there for the pod
        if call(START, [*flags, "start"]) != 0:
            return
        with open(f"{directory}/output", "rb") as file:
            shim = _Shim(tables.BOOTSTRAP_RESULT.decode(file.read())["address"])
        try:
            call(JOIN, [*flags, "start"])
            _live(shim, directory, bundle, container)
        finally:
            shim.end(container)
    call(DELETE, [*flags, "-bundle", bundle, "delete"])


def _live(shim: _Shim, directory: str, bundle: str, container: str) -> None:
    output = f"{directory}/fifo"
    os.mkfifo(output)
    reader = os.open(output, os.O_RDONLY | os.O_NONBLOCK)
    of_container = {"id": container}
    of_exec = {"id": container, "exec_id": "exec"}
    options = {
        "type_url": tables.RUNC_OPTIONS.name,
        "value": tables.RUNC_OPTIONS.encode({"root": root(directory)}),
    }
    program = {"args": ["/program"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    try:
        shim.ask("Create", **of_container, bundle=bundle, stdout=output, stderr=output, options=options)
        shim.ask("Connect", **of_container)
        shim.ask("Start", **of_container)
        shim.ask("State", **of_container)
        spec = {"type_url": "process", "value": compact(program).encode()}
        shim.ask("Exec", **of_exec, stdout=output, stderr=output, spec=spec)
        for method in ("Start", "Wait", "State", "Delete"):
            shim.ask(method, **of_exec)
        for method in ("Pids", "Stats"):
            shim.ask(method, **of_container)
        shim.ask("Kill", **of_container, signal=9)
        for method in ("Wait", "State", "Delete"):
            shim.ask(method, **of_container)
    finally:
        os.close(reader)


def root(directory: str) -> str:
    """The state of the trial's containers: below it, in NAMESPACE."""
    return os.path.join(directory, "shim-root")


class _Shim:
    """A connection to the shim."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE)
        self._socket.connect(address.removeprefix("unix://"))
        self._stream = -1
        self._reader = framing.Reader()

    def ask(self, method: str, **fields: object) -> Any:
        """Call a method, whose answer must be no error: OSError."""
        asked, answered = tables.METHODS[method]
        request = {"service": "containerd.task.v2.Task", "method": method, "payload": asked.encode(fields)}
        self._stream += 2
        self._socket.sendall(framing.frame(self._stream, framing.REQUEST, tables.REQUEST.encode(request)))
        frames: list[framing.Frame] = []
        while not frames:
            piece = self._socket.recv(1 << 16)
            if not piece:
                raise OSError(f"{method}: the shim has ended")
            frames = self._reader.feed(piece)
        answer = tables.RESPONSE.decode(frames[0].data or b"")
        if answer["status"]:
            raise OSError(f"{method}: {answer['status']['message']}")
        return answered.decode(answer["payload"])

    def end(self, container: str) -> None:
        """Have it end, and wait until it has written its report."""
        pid = self.ask("Connect", id=container)["shim_pid"]
        pidfd = os.pidfd_open(pid)
        try:
            with suppress(OSError):  # it is busy with what has failed
                self.ask("Shutdown", id=container)
            if not select.select([pidfd], [], [], _PATIENCE)[0]:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
            self._socket.close()


class _Containerd:
    """What a shim needs of containerd: somebody who takes its events, and a directory for sockets."""

    def __init__(self, directory: str) -> None:
        self._path = f"{directory}/ttrpc"
        self._sockets = f"{directory}/s"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self._path)
        self._socket.listen()

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *details: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # accept returns
        self._socket.close()

    def params(self, container: str) -> bytes:
        """BootstrapParams."""
        said = {"instance_id": container, "namespace": NAMESPACE, "socket_dir": self._sockets}
        return tables.BOOTSTRAP_PARAMS.encode({**said, "containerd_ttrpc_address": self._path})

    def _serve(self) -> None:
        with suppress(OSError):  # the end
            while True:
                connection, _ = self._socket.accept()
                reader = framing.Reader()
                while piece := connection.recv(1 << 16):
                    for one in reader.feed(piece):
                        connection.sendall(framing.frame(one.stream, framing.RESPONSE, b""))
                connection.close()


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
