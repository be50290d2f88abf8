# SPDX-License-Identifier: Apache-2.0
"""What is a bundle on disk? A directory with config.json and rootfs, made fresh for each test.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.harness.configuration import Config, default_config
from tests.harness.rootfs import copy_busybox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Bundle:
    """One bundle: `config` is what was written last; change it and call `write()`."""

    def __init__(self, directory: Path, config: Config) -> None:
        self.directory = directory
        self.config = config

    @property
    def rootfs(self) -> Path:
        """The directory that root.path names."""
        return self.directory / str(self.config["root"]["path"])

    @property
    def config_file(self) -> Path:
        return self.directory / "config.json"

    def write(self) -> None:
        """Write config.json as `config` is now."""
        self.config_file.write_bytes(json.dumps(self.config, indent=1).encode())

    def script(self, name: str, text: str) -> str:
        """An executable in the rootfs (`/name`) and its path inside the container."""
        path = self.rootfs / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return "/" + name.lstrip("/")


def make_bundle(
    directory: Path,
    *args: str,
    edit: Callable[[Config], None] | None = None,
    own_files: bool = False,
) -> Bundle:
    """A bundle in `directory` (made) that runs `args` in a busybox root; `edit` changes the config first."""
    directory.mkdir(parents=True)
    config = default_config(*args)
    if edit is not None:
        edit(config)
    bundle = Bundle(directory, config)
    copy_busybox(directory / "rootfs", own_files=own_files)
    bundle.write()
    return bundle
