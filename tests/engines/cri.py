# SPDX-License-Identifier: Apache-2.0
"""containerd's CRI plugin, asked as a kubelet asks: gRPC on a Unix socket. Must not import `ociruntime`.

The messages are those of CRI's runtime.v1 and are written as {field number: value}: the few that are needed here
don't pay for a compiler of .proto files.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from tests.engines.containerd import CONFIG, UNUSED, Containerd, ShimContainerd, write_options
from tests.engines.engine import SLICE, SYSTEMD, shim_directory
from tests.engines.image import NAME, PAUSE, write_archive
from tests.harness.driver import MARK, TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

# This machine grants no oom_score_adj below its own.
_CRI = """[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{directory}/cni/conf"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "tested"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested.options]
BinaryName = "{runtime}"
SystemdCgroup = {systemd}
"""

_OPTIONS = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested.options]'
_VARINT, _BYTES = 0, 2
Message = dict[int, Any]
POD, NODE = 0, 2  # NamespaceMode: the pod's own, or the host's
UNCONFINED = 1  # SecurityProfile's type


def encode(message: Message) -> bytes:
    """{number: int, str, bytes, message, or a list of these} in protobuf's wire format."""
    out = bytearray()
    for number, value in message.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int):
                out += _varint(number << 3 | _VARINT) + _varint(item & 0xFFFFFFFFFFFFFFFF)
            else:
                data = (
                    encode(item)
                    if isinstance(item, dict)
                    else item.encode()
                    if isinstance(item, str)
                    else item
                )
                out += _varint(number << 3 | _BYTES) + _varint(len(data)) + data
    return bytes(out)


def decode(data: bytes) -> Message:
    """The last value of each field: an int, or bytes (of a string, or of a message to be decoded in turn)."""
    message: Message = {}
    place = 0
    while place < len(data):
        tag, place = _read_varint(data, place)
        value: int | bytes
        value, place = _read_varint(data, place)
        if tag & 7 == _BYTES:
            value, place = data[place : place + value], place + value
        message[tag >> 3] = value
    return message


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place


class Cri(Containerd):
    """A containerd with its CRI plugin, and a client."""

    name = "cri"
    config = CONFIG + _CRI
    unused = tuple(plugin for plugin in UNUSED if "cri" not in plugin)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.client[-1] = "k8s.io"  # the namespace in which the plugin works
        self.channel: Any = None
        self.pods: list[str] = []

    def settings(self) -> dict[str, str]:
        """Also the image of a pod's first container."""
        return {**super().settings(), "pause": PAUSE, "systemd": "true" if SYSTEMD else "false"}

    def start(self) -> None:
        """Start the daemon, open the client's connection."""
        super().start()
        # Its handlers of fork write to the terminals of the clients that pexpect forks.
        os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
        import grpc

        self.channel = grpc.insecure_channel(f"unix://{self.directory}/containerd.sock")

    def load(self, archive: Path) -> None:
        """Import the image, and that of the pods' first containers."""
        super().load(archive)
        super().load(write_archive(self.directory / "pause.tar", PAUSE, ("sleep", "1000000")))

    def ask(self, method: str, request: Message) -> Message:
        """One call of RuntimeService; raises grpc.RpcError with the engine's words."""
        call = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
        return decode(call(encode(request), timeout=2 * TIMEOUT))

    def stop(self) -> None:
        """Remove the pods, end the daemon."""
        for pod in list(self.pods):
            self.remove_pod(pod)
        self.channel.close()
        super().stop()

    def pod(self, name: str, network: int = NODE) -> tuple[str, Message]:
        """Run a pod; its id, and its config. For a network of its own, `write_network` must have been called."""
        options = {1: network}
        config = {
            1: {1: name, 2: f"uid-{name}", 3: "default"},
            3: str(self.directory / "logs"),
            8: {1: f"/{SLICE}" if SYSTEMD else f"/{MARK}", 2: {1: options}},
        }
        identity = self.ask("RunPodSandbox", {1: config})[1].decode()
        self.pods.append(identity)
        return identity, config

    def remove_pod(self, pod: str) -> None:
        """Stop and remove it, with its containers and its network."""
        self.ask("StopPodSandbox", {1: pod})
        self.ask("RemovePodSandbox", {1: pod})
        self.pods.remove(pod)

    def write_network(self) -> None:
        """Say how pods get a network of their own: a pair of interfaces, without packet filter; the plugin sees the file."""
        addresses = {
            "type": "host-local",
            "dataDir": f"{self.directory}/cni/addresses",
            "subnet": f"10.251.{os.getpid() % 256}.0/24",
        }
        plugin = {"type": "ptp", "ipMasq": False, "ipam": addresses}
        place = self.directory / "cni" / "conf"
        place.mkdir(parents=True, exist_ok=True)
        network = {"cniVersion": "0.4.0", "name": f"{MARK}-pods", "plugins": [plugin]}
        (place / "10-pods.conflist").write_text(json.dumps(network), encoding="ascii")

    def container(self, pod: tuple[str, Message], name: str, *command: str, **config: Any) -> str:
        """Create and start a container of a pod; its id. `linux` is LinuxContainerConfig, `tty` a flag."""
        network = pod[1][8][2][1][1]
        linux = {2: {3: {1: network}, 15: {1: UNCONFINED}}, **config.get("linux", {})}
        wanted = {
            1: {1: name}, 2: {1: NAME}, 3: list(command), 11: f"{name}.log",
            14: int(config.get("tty", False)), 15: linux,
        }  # fmt: skip
        identity: str = self.ask("CreateContainer", {1: pod[0], 2: wanted, 3: pod[1]})[1].decode()
        self.ask("StartContainer", {1: identity})
        return identity

    def status(self, container: str) -> Message:
        """ContainerStatus: 3 is the state (1 running, 2 exited), 7 the exit code, 10 the reason."""
        return decode(self.ask("ContainerStatus", {1: container})[1])


class ShimCri(Cri):
    """A containerd whose CRI plugin uses our own shim."""

    name = "shim-cri"
    config = (CONFIG + _CRI.partition(_OPTIONS)[0]).replace("io.containerd.runc.v2", ShimContainerd.runtime)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        if SYSTEMD:
            # containerd 1.6 passes a file's path to a shim that it doesn't know; newer ones pass the options themselves.
            version = subprocess.run(
                [self.daemon.command[0], "-v"], stdout=subprocess.PIPE, check=True
            ).stdout
            old = f'ConfigPath = "{write_options(directory)}"'
            options = old if b" 1.6" in version else "SystemdCgroup = true"
            with open(directory / "config.toml", "a", encoding="utf-8") as file:
                file.write(f"{_OPTIONS}\n{options}\n")
        self.environment["PATH"] = f"{shim_directory()}:{self.environment['PATH']}"
