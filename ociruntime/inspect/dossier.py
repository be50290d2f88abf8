# SPDX-License-Identifier: Apache-2.0
"""What is known of a container: its config, its files, what delete would undo, and what the kernel says of it now?

For people and bug reports: it reads, and changes nothing. What can't be read is named with the reason, and the rest is shown.
"""

from __future__ import annotations

import os

from ociruntime.errors import RuntimeFailure, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.container import Container

_LONGEST = 4096  # bytes of a cgroup file that is shown; the longer ones are statistics, which `events` prints


def dossier(container: Container) -> dict[str, object]:
    """Everything that is known, as a JSON object; docs/inspect.md has the members.

    container  of any status, also half made or half deleted
    """
    record, directory = container.record, container.directory
    status = container.status()
    pid = 0 if status == "stopped" else container.pid
    found: dict[str, object] = {
        "state": container.state(),
        "config": _said(lambda: directory.config().value),
        "options": record.options,
        "stateDirectory": {
            "path": directory.path,
            "files": _said(lambda: sorted(os.listdir(directory.path))),
        },
        "journal": _said(directory.journal),
        "process": _process(pid) if pid else None,
        "cgroups": {name or "v2": _group(path) for name, path in record.cgroup_paths.items()},
    }
    if record.resources is not None:
        found["updatedResources"] = record.resources
    if container.warnings:
        found["warnings"] = list(container.warnings)
    return found


def _said(ask: Callable[[], object]) -> object:
    """The answer, or why there is none."""
    try:
        return ask()
    except RuntimeFailure as failure:
        return {"error": str(failure)}
    except OSError as failure:
        return {"error": errno_text(failure.errno or 0)}


def _process(pid: int) -> dict[str, object]:
    """What /proc says of init: its program, and its namespaces as readlink(2) shows them (namespaces(7))."""
    place = f"/proc/{pid}"
    return {
        "program": _said(lambda: os.readlink(f"{place}/exe")),
        "namespaces": _said(
            lambda: {name: os.readlink(f"{place}/ns/{name}") for name in sorted(os.listdir(f"{place}/ns"))}
        ),
    }


def _group(path: str) -> dict[str, object]:
    """A cgroup: its directory, and each file of one line, such as a limit."""
    found: dict[str, object] = {"path": path}
    names = _said(lambda: sorted(os.listdir(path)))
    if not isinstance(names, list):
        found["error"] = names
        return found
    values = {}
    for name in names:
        text = _one_line(f"{path}/{name}")
        if text:
            values[name] = text
    found["values"] = values
    return found


def _one_line(path: str) -> str:
    """The text of a file of one line; "" for directories, longer files, and those that can only be written."""
    try:
        with open(path, "rb", buffering=0) as file:
            text = file.read(_LONGEST).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return "" if "\n" in text else text
