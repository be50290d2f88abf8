# SPDX-License-Identifier: Apache-2.0
"""Which plans does a fuzzer start from? The encoded plans of real configs, of hooks, and one with every op.

    python3 tests/native/corpus.py DIR      writes each plan to a file of its own, for libFuzzer

Must not import the harness's driver: nothing here runs a container.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ociruntime import host
from ociruntime.bundle import Bundle
from ociruntime.native.encode import OPS, encode
from ociruntime.plan import order
from ociruntime.step import Blob, InitStep, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.step import Argument

_EXAMPLES = Path(__file__).parents[2] / "bundle-examples"
_SLOTS = ["first", "second"]
BLOBS = {"empty": b"", "odd": bytes(range(19)), "seccomp filter": bytes(16)}

# A value of each kind of argument in plan.h; two, so that shared strings and empty lists occur.
_VALUES: dict[str, tuple[Argument, Argument]] = {
    "s": ("text", "a=b"),
    "S": (None, "text"),
    "p": ("/", "/a/longer/path"),
    "l": ([], ["text", "key=value", "another"]),
    "n": (["0", "4294967295"], []),
    "f": (Slot("first"), Slot("second")),
    "b": (Blob("empty"), Blob("odd")),
    "u": (0, 0xFFFFFFFF),
}


def every_op(choice: int) -> list[tuple[int, InitStep]]:
    """One step of every op of plan.h, with the first or the second value of each kind."""
    steps = [
        InitStep(op, *(_VALUES[letter][choice] for letter in signature)) for op, (_, signature) in OPS.items()
    ]
    return list(enumerate(steps))


def configs() -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the bundle examples' configs."""
    for path in sorted(_EXAMPLES.glob("*/config.json")):
        yield path.parent.name, path.read_bytes()


def plans() -> Iterator[tuple[str, bytes]]:
    """(name, buffer) of every plan; all of them are well-formed."""
    for choice in (0, 1):
        yield f"every-op-{choice}", encode(every_op(choice), _SLOTS, 3 + choice, BLOBS)
    machine = host.probe()
    for name, raw in configs():
        bundle = Bundle("/bundle", "config.json", raw)
        made = order.make(bundle, machine, order.Options("id"))
        yield name, encode(made.init_steps(), made.slots, 3, BLOBS)
        if name == "hello":
            arguments = json.loads(raw)["process"]["args"]
            hook = [InitStep("root", "/", 0), InitStep("exec", ["/hook"], arguments, ["A=B"])]
            yield "hook", encode(list(enumerate(hook)), [], 3)


def write_one_file(path: Path) -> int:
    """All plans behind one another, each after its size; returns how many."""
    buffers = [buffer for _, buffer in plans()]
    path.write_bytes(b"".join(len(buffer).to_bytes(4, "little") + buffer for buffer in buffers))
    return len(buffers)


def write_directory(directory: str) -> None:
    """Each plan in a file of its own."""
    os.makedirs(directory, exist_ok=True)
    for name, buffer in plans():
        Path(directory, name).write_bytes(buffer)


if __name__ == "__main__":
    write_directory(sys.argv[1])
