# SPDX-License-Identifier: Apache-2.0
"""Where does one test run? A directory, one runtime, and factories for bundles and containers.

A scenario is a function of a Stage; run on several stages it compares runtimes.
Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from tests.harness.bundle import Bundle, make_bundle
from tests.harness.configuration import PATH
from tests.harness.driver import MARK, Container, Result, Runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.configuration import Config

_numbers = itertools.count(1)


def new_id() -> str:
    """An id that no other test of this session has, and that the leak check knows."""
    return f"{MARK}-{next(_numbers)}"


class Stage:
    """One runtime in a directory of its own."""

    def __init__(self, runtime_name: str, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.runtime = Runtime(runtime_name, directory / "state", directory)
        self.containers: list[Container] = []
        self.bundles = 0

    def bundle(
        self,
        *args: str,
        edit: Callable[[Config], None] | None = None,
        name: str = "",
        own_files: bool = False,
    ) -> Bundle:
        """A fresh bundle that runs `args` in a busybox root."""
        self.bundles += 1
        directory = self.directory / (name or f"bundle-{self.bundles}")
        return make_bundle(directory, *args, edit=edit, own_files=own_files)

    def container(
        self,
        *args: str,
        edit: Callable[[Config], None] | None = None,
        bundle: Bundle | None = None,
        container_id: str | None = None,
    ) -> Container:
        """A container (not created yet) of `bundle`, or of a fresh one that runs `args`."""
        made = Container(
            self.runtime,
            bundle if bundle is not None else self.bundle(*args, edit=edit),
            new_id() if container_id is None else container_id,
        )
        self.containers.append(made)
        return made

    def in_state(self, state: str, *args: str) -> Container:
        """A container (of `sleep 100`, or `args`) brought into a state; "unknown" is not created."""
        container = self.container(*(args or ("sleep", "100")))
        if state == "unknown":
            return container
        container.create().ok()
        if state in ("running", "stopped"):
            container.start().ok()
        if state == "stopped":
            container.kill("KILL").ok()
        container.wait_for(state)
        return container

    def running(self, edit: Callable[[Config], None] | None = None) -> Container:
        """A running container of `sleep 1000`."""
        container = self.container("sleep", "1000", edit=edit)
        container.create().ok()
        container.start().ok()
        return container

    def process_file(self, **members: Any) -> str:
        """A file with a process document for `exec --process`: root in /, with a PATH, unless `members` says otherwise."""
        path = self.directory / f"process-{next(_numbers)}.json"
        document = {"cwd": "/", "user": {"uid": 0, "gid": 0}, "env": [PATH], **members}
        path.write_text(json.dumps(document))
        return str(path)

    def run(self, *args: str, edit: Callable[[Config], None] | None = None) -> Result:
        """`run` of a fresh container in the foreground."""
        return self.container(*args, edit=edit).run()

    def show(self, script: str, edit: Callable[[Config], None] | None = None) -> str:
        """What a shell script prints in a fresh container; it must succeed."""
        return self.run("sh", "-c", script, edit=edit).ok().out

    def neutral(self, value: Any) -> Any:
        """`value` without what differs between stages: ids, directories, the runtime's name."""
        text = json.dumps(value)
        for container in sorted(self.containers, key=lambda one: -len(one.id)):
            if container.id.startswith(MARK):
                text = text.replace(container.id, "ID")
        return json.loads(text.replace(str(self.directory), "STAGE"))

    def close(self) -> None:
        """Remove the containers that a test created and did not delete, as a failed test leaves them."""
        for container in self.containers:
            if container.created:
                container.delete("--force")
