# SPDX-License-Identifier: Apache-2.0
"""Is a cgroup frozen? Every poll of `state` asks, so this is a module of its own, and one that imports nothing.

Freezing and thawing is in linux/cgroups/freezer.py.
"""

from __future__ import annotations

from errno import ENODEV

# controller ("" is cgroup v2), its file, and what that says of a frozen cgroup
_FREEZERS = (("freezer", "freezer.state", (b"FROZEN", b"FREEZING")), ("", "cgroup.freeze", (b"1",)))


def frozen(paths: dict[str, str]) -> bool:
    """Whether a cgroup is frozen, or about to be; false if it is gone or can't be frozen.

    paths   directory per v1 controller, "" for v2
    """
    for controller, name, words in _FREEZERS:
        if controller in paths:
            try:
                with open(f"{paths[controller]}/{name}", "rb", buffering=0) as file:
                    return file.read(16).startswith(words)
            except (FileNotFoundError, NotADirectoryError):
                return False
            except OSError as failure:
                if failure.errno == ENODEV:  # removed since the open
                    return False
                raise
    return False
