# SPDX-License-Identifier: Apache-2.0
"""How does a process that can't load libraries have something done by one that can? A Python of the installation is its child.

Used by the shim in a snapshot (native/full_python.py): a server can't become another program. Request and answer are JSON, in
two memory files, so that neither side waits for the other. The child ends after one request. This module must not import
anything of the package but words.
"""

from __future__ import annotations

import os
import select

from ociruntime.config import parse
from ociruntime.descriptors import Descriptors
from ociruntime.errors import RuntimeFailure, StepFailed
from ociruntime.jsontext import compact
from ociruntime.native import full_python

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATIENCE = 60  # seconds; jsonschema and the largest config take two


def ask(module: str, function: str, *arguments: object) -> Any:
    """What a function returns, called by a child with arguments that JSON can say.

    Raises the StepFailed or RuntimeFailure of the function, or RuntimeFailure because no child could call it.
    """
    from ociruntime import __version__

    with Descriptors() as files:
        for name in ("request", "answer", "said"):
            files[name] = os.memfd_create(name)
        request = compact([__version__, module, function, arguments]).encode()
        _fill(files["request"], request)
        problem = _run(files, f"{module}.{function}")
        answer = _content(files["answer"])
        said = _content(files["said"]).decode("utf-8", "replace").strip().rpartition("\n")[2]
    if problem or not answer:
        raise RuntimeFailure(f"a child for {module}.{function} {problem or 'has not answered'}", hint=said)
    found: Any = parse(answer, f"answer of {module}.{function}").value
    if "failed" not in found:
        return found["returned"]
    kind, reason, more = found["failed"]
    raise (StepFailed if kind == "StepFailed" else RuntimeFailure)(reason, **more)


def _fill(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.lseek(file, 0, os.SEEK_SET)


def _content(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


def _run(files: Descriptors, what: str) -> str:
    """Run the child to its end; what is wrong with it, or ""."""
    python, places = _interpreter(what)
    try:
        program = f"import sys; sys.path += {places!r}; from ociruntime.native.child import main; main()"
        actions = [(os.POSIX_SPAWN_DUP2, files[name], number) for number, name in enumerate(files)]
        words = [python, "-I", "-S", "-X", "utf8", "-c", program]
        pid = os.posix_spawn(python, words, {}, file_actions=actions, setsigmask=[])
    except OSError as failure:
        raise RuntimeFailure(f"no child for {what}: {python}", errno=failure.errno or 0) from None
    try:
        if not _ends_in_time(pid):
            return f"took longer than {_PATIENCE} s"
    except OSError as failure:
        raise RuntimeFailure(f"no child for {what}: wait for it", errno=failure.errno or 0) from None
    finally:
        os.kill(pid, 9)  # if it has ended, nothing happens: it has not been reaped
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return f"ended with {code}" if code else ""


def _ends_in_time(pid: int) -> bool:
    """Wait for the end of a child. Raises OSError."""
    with Descriptors() as opened:
        opened["child"] = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(opened["child"], select.POLLIN)
        return bool(poll.poll(_PATIENCE * 1000))


def _interpreter(what: str) -> tuple[str, list[str]]:
    try:
        return full_python.interpreter()
    except OSError as failure:
        raise RuntimeFailure(f"no child for {what}: {failure.strerror}") from None


def main() -> None:
    """The child: read the request on stdin, answer on stdout."""
    from importlib import import_module

    from ociruntime import __version__

    request: Any = parse(_content(0), "request").value
    version, module, function, arguments = request
    if version != __version__:
        raise SystemExit(f"ociruntime {__version__} has been installed since this shim of {version} began")
    try:
        answer: dict[str, object] = {"returned": getattr(import_module(module), function)(*arguments)}
    except RuntimeFailure as failure:
        more = {name: getattr(failure, name) for name in ("pointer", "step", "errno", "hint")}
        answer = {"failed": [type(failure).__name__, failure.reason, more]}
    _fill(1, compact(answer).encode())
