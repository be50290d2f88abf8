# SPDX-License-Identifier: Apache-2.0
"""Spine 1: where is config.json, and where is the root filesystem? (bundle.md)

This module must not import a subject; what the config says is judged in check/check.py.
"""

from __future__ import annotations

import os
import stat

from ociruntime.config import DEEPEST, Node, parse
from ociruntime.errors import BundleError
from ociruntime.host_path import absolute, joined

LARGEST = 32 << 20  # bytes of a document: ten thousand times an ordinary one, and still fits into memory
_CHUNK = 1 << 16
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Bundle:
    """A directory with a config.

    directory    absolute path, as the user gave it (not resolved: `state` shows it)
    config       the parsed config
    config_path  the file that it came from
    raw          that file's bytes; a copy is kept with the container (R207)
    """

    __slots__ = ("config", "config_path", "directory", "raw")

    def __init__(self, directory: str, config_path: str, raw: bytes) -> None:
        self.directory = directory
        self.config_path = config_path
        self.raw = raw
        self.config = parse(raw, config_path, DEEPEST)
        if not isinstance(self.config.value, dict):
            raise BundleError(f"{config_path}: not a JSON object")

    @property
    def rootfs(self) -> str:
        """Absolute path of the root filesystem (R010)."""
        return joined(self.directory, self.config.at("root", "path").text())


def load(bundle_dir: str, config_file: str | None = None) -> Bundle:
    """Read a bundle.

    config_file  a config to read in place of the bundle's `config.json`, or None
    Raises BundleError if it can't be read or is not JSON.
    """
    directory = absolute(bundle_dir)
    if not os.path.isdir(directory):
        reason = "not a directory" if os.path.exists(directory) else "no such directory"
        raise BundleError(f"{directory}: {reason}", hint=_hint(directory))
    path = config_file or os.path.join(directory, "config.json")
    try:
        raw = _read(path)
    except BundleError as failure:
        if not config_file and not os.path.lexists(path):
            failure.hint = _hint(directory)
        raise
    return Bundle(directory, path, raw)


def _hint(path: str) -> str:
    """What was probably meant by a bundle that is none: an image must be unpacked first."""
    if os.path.exists(f"{path}/oci-layout"):
        return f"it is an image layout: `umoci unpack --image {path}:TAG BUNDLE` makes a bundle of it"
    if path.endswith((".tar", ".tar.gz", ".tgz")) and os.path.isfile(path):
        return (
            f"it is an archive: of an image, `skopeo copy docker-archive:{path} oci:IMAGE:TAG`"
            " and `umoci unpack --image IMAGE:TAG BUNDLE` make a bundle of it"
        )
    return "--bundle names the directory with config.json; `ociruntime spec` writes one"


def made(config: dict[str, object], directory: str = "/") -> Bundle:
    """A bundle of a config that a program has made, without a file.

    directory  what a relative root.path or bind source starts at
    Raises BundleError for what JSON can't say.
    """
    import json

    try:
        raw = json.dumps(config, allow_nan=False).encode()
    except (TypeError, ValueError) as failure:
        raise BundleError(f"the config is no JSON: {failure}") from None
    return Bundle(absolute(directory), "config", raw)


def load_config(path: str) -> Node:
    """Read a config file alone, as `validate` and `plan` do."""
    return parse(_read(path), path, DEEPEST)


def read_stream(descriptor: int, origin: str) -> Node:
    """Read a document from a descriptor, to its end, as `update --resources -` does."""
    _before_a_stream()
    try:
        return parse(_whole(descriptor, origin), origin, DEEPEST)
    except OSError as failure:
        raise BundleError(f"{origin}: {os.strerror(failure.errno or 0).lower()}") from None


def _read(path: str) -> bytes:
    try:
        # O_NONBLOCK: otherwise opening a FIFO would wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) and not _is_pipe(descriptor):
                kind = _KINDS.get(stat.S_IFMT(mode), "something else")
                raise BundleError(f"{path}: is {kind}, not a regular file")
            if not stat.S_ISREG(mode):
                _before_a_stream()
            os.set_blocking(descriptor, True)
            return _whole(descriptor, path)
        finally:
            os.close(descriptor)
    except OSError as failure:
        raise BundleError(f"{path}: {os.strerror(failure.errno or 0).lower()}") from None


def _before_a_stream() -> None:
    """What can be read only once is left to a process that will not have to begin anew."""
    from ociruntime.native import full_python

    if full_python.go_over is not None:
        full_python.need()


def _is_pipe(descriptor: int) -> bool:
    """True for an unnamed pipe, which the caller writes to: `--process <(jq ...)` gives it as /dev/fd/63."""
    return os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:")


def _whole(descriptor: int, origin: str) -> bytes:
    data = bytearray()
    size = os.fstat(descriptor).st_size  # 0 for a pipe, and for files of procfs and sysfs
    while size <= LARGEST and len(data) <= LARGEST:
        chunk = os.read(descriptor, max(min(size + 1, LARGEST), _CHUNK))
        if not chunk:
            return bytes(data)
        data += chunk
    raise BundleError(f"{origin}: larger than {LARGEST >> 20} MiB, which is the limit for a document")
