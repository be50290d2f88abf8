# SPDX-License-Identifier: Apache-2.0
"""Which image do the engines run? One busybox layer, written as the archive that `docker save` writes.

docker, podman, buildah and containerd all load it, so that nothing is downloaded. Must not import `ociruntime`.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

from tests.harness.rootfs import busybox_template

if TYPE_CHECKING:
    from pathlib import Path

NAME = "localhost/busybox:test"
PAUSE = "localhost/pause:test"  # what a pod's first container runs, to hold its namespaces


def write_archive(path: Path, name: str = NAME, command: tuple[str, ...] = ("sh",)) -> Path:
    """Write an image to a tar file."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(busybox_template(), arcname=".")
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        _put(tar, "config.json", json.dumps(config).encode())
        _put(tar, "layer.tar", layer.getvalue())
        _put(tar, "manifest.json", json.dumps(manifest).encode())
    return path


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
