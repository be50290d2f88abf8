# SPDX-License-Identifier: Apache-2.0
"""Spine 1: where is config.json, and where is the root filesystem? (bundle.md)

This module must not import a subject; what the config says is judged in check.py.
"""

from __future__ import annotations

import os

from ociruntime.config import Node, parse
from ociruntime.errors import BundleError


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
        self.config = parse(raw, config_path)
        if not isinstance(self.config.value, dict):
            raise BundleError(f"{config_path}: not a JSON object")

    @property
    def rootfs(self) -> str:
        """Absolute path of the root filesystem (R010)."""
        return os.path.normpath(os.path.join(self.directory, self.config.at("root", "path").text()))


def load(bundle_dir: str, config_file: str | None = None) -> Bundle:
    """Read a bundle.

    config_file  another config than `config.json` of the bundle, or None
    Raises BundleError if it can't be read or is not JSON.
    """
    directory = os.path.abspath(bundle_dir)
    if not os.path.isdir(directory):
        raise BundleError(
            f"{directory}: no such directory", hint="--bundle names the directory with config.json"
        )
    path = config_file or os.path.join(directory, "config.json")
    return Bundle(directory, path, _read(path))


def load_config(path: str) -> Node:
    """Read a config file alone, as `validate` and `plan` do."""
    return parse(_read(path), path)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as failure:
        raise BundleError(f"{path}: {os.strerror(failure.errno or 0).lower()}", errno=0) from None
