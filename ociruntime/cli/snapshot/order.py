# SPDX-License-Identifier: Apache-2.0
"""In what order do the objects of the snapshot lie? Those that a verb writes to lie together.

A call copies each page that it writes to (a reference count is enough), and that is a good part of its time. So the build
tries the verbs on a heap in which each object is alone (trial.c), and gives the numbers of the objects' allocations places
by what was written. It needs a container for that, and so CAP_SYS_ADMIN; without it only `state` and the like are tried, and
the rest of the objects are in the order in which they were made.

Used by build.py, never at run time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from array import array
from contextlib import suppress

from ociruntime.cli.snapshot import trial_shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_UNIT = 16  # bytes; as in heap.c
_HEADER = 8
_PAGE = 4096  # as in heap.h: with larger pages an object on each would take gigabytes

# What is tried: a name, and words. {name} is a container. What most calls have in common comes first.
_WITHOUT_RIGHTS: tuple[tuple[str, ...], ...] = (
    ("state", "unknown"),
    ("kill", "unknown"),
    ("delete", "unknown"),
    ("--version",),
    ("features",),
)
_WITH_RIGHTS: tuple[tuple[str, ...], ...] = (
    ("create", "--bundle", "{bundle}", "--pid-file", "{scratch}/pid", "{name}"),
    ("state", "{name}"),
    ("start", "{name}"),
    ("state", "{name}"),
    ("exec", "{name}", "/program"),
    ("pause", "{name}"),
    ("resume", "{name}"),
    ("update", "--pids-limit", "20", "{name}"),
    ("ps", "{name}"),
    ("kill", "{name}", "KILL"),
    ("delete", "--force", "{name}"),
    ("run", "--bundle", "{bundle}-short", "{name}"),
    ("run", "--detach", "--bundle", "{bundle}-short", "{name}"),
    ("delete", "--force", "{name}"),
)
# In this order the verbs have a say in what lies together.
_FIRST = (
    *("state", "kill", "start", "delete", "exec", "create", "run"),
    *(trial_shim.DELETE, trial_shim.JOIN, trial_shim.START),
)

# For the container: it ends at once, or with a word it waits.
PROGRAM = """
#include <unistd.h>
int main(int count, char **words) { (void)words; while (count > 1) pause(); return 0; }
"""


class Trial:
    """What a trial has found.

    units    number of an allocation -> its size, of what was there when the snapshot was frozen
    written  verb -> numbers of the allocations that it has written to
    """

    def __init__(self) -> None:
        self.units: dict[int, int] = {}
        self.written: dict[str, set[int]] = {}


def run_trial(command: Sequence[str], directory: str, with_rights: bool) -> Trial:
    """Try the verbs.

    command      the program of the build in its trial mode
    directory    with the bundles; for its reports
    with_rights  containers may be made
    Raises OSError, or EOFError if the program ends early.
    """
    if os.sysconf("SC_PAGE_SIZE") != _PAGE:
        raise OSError(f"the kernel has pages of {os.sysconf('SC_PAGE_SIZE')} bytes, and it needs {_PAGE}")
    found = Trial()
    container = f"ociruntime-build-{os.getpid():07}"
    root = os.path.join(directory, "root")
    verbs: list[str] = []
    with open(os.path.join(directory, "input"), "wb"):  # what a command reads on its stdin
        pass
    try:
        with _started(command) as process:
            for words in _WITHOUT_RIGHTS:
                verbs.append(words[0])
                _try(process, ["--root", root, *words])
            if with_rights:
                values = {
                    "bundle": os.path.join(directory, "bundle"),
                    "scratch": directory,
                    "name": container,
                }
                options = ["--root", root]
                for words in _WITH_RIGHTS:
                    verbs.append(words[0])
                    asked = [word.format(**values) for word in words]
                    if _try(process, [*options, *asked]) and words[0] == "create":  # no cgroups, perhaps
                        options += ["--cgroup-manager", "disabled"]
                        verbs.append(words[0])
                        _try(process, [*options, *asked])
                _try_shim(process, verbs, directory, container)
    finally:
        _remove(root, container)
        _remove(os.path.join(trial_shim.root(directory), trial_shim.NAMESPACE), container)
    blocks = _numbers(os.path.join(directory, "blocks"))
    found.units = dict(zip(blocks[::2], blocks[1::2], strict=True))
    for count, verb in enumerate(verbs, 1):
        written = _numbers(os.path.join(directory, str(count)))
        found.written.setdefault(verb, set()).update(found.units.keys() & set(written))
    if not all(found.written.values()):  # not even the command's name was made
        raise EOFError("a command has not run")
    return found


def _started(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={},  # as at the freeze: it must make the same allocations
        cwd=os.path.dirname(command[0]),
    )


def _try_shim(process: subprocess.Popen[str], verbs: list[str], directory: str, container: str) -> None:
    """The shim's life; without cgroups, say, it can't be tried to its end."""

    def call(verb: str, words: list[str]) -> int:
        verbs.append(verb)
        return _call(process, words)

    try:
        trial_shim.try_shim(call, directory, container)
    except OSError as failure:
        sys.stderr.write(f"ociruntime: the trial of the shim failed ({failure}): it will need more memory\n")


def _try(process: subprocess.Popen[str], words: Sequence[str]) -> int:
    """One command; its exit code."""
    return _call(process, ["ociruntime", *words])


def _call(process: subprocess.Popen[str], words: Sequence[str]) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\t".join(words) + "\n")
    process.stdin.flush()
    said = process.stdout.readline()
    if not said:
        raise EOFError("it ended early")
    return int(said)


def _remove(root: str, container: str) -> None:
    """Of a trial that did not come to its end: a created container would wait for ever."""
    from ociruntime.errors import NoSuchContainer
    from ociruntime.operations.delete import delete

    with suppress(NoSuchContainer):
        delete(root, container, True)


class Places:
    """Where each object shall lie."""

    def __init__(self, trial: Trial) -> None:
        self._table = array("I", bytes(8 * (max(trial.units, default=0) + 1)))
        self._offset = _HEADER
        for number in _ordered(trial.units, trial.written):
            self._add(number, trial.units[number])

    @classmethod
    def read(cls, path: str) -> Places:
        """What `write` has written. Raises OSError."""
        places = cls(Trial())
        places._table = _numbers(path)
        ends = [
            offset + units * _UNIT
            for units, offset in zip(places._table[::2], places._table[1::2], strict=True)
            if offset
        ]
        places._offset = max(ends, default=_HEADER)
        return places

    def _add(self, number: int, units: int) -> None:
        self._table.frombytes(bytes(8 * max(0, number + 1 - len(self._table) // 2)))
        self._table[2 * number], self._table[2 * number + 1] = units, self._offset
        self._offset += units * _UNIT

    def write(self, path: str) -> None:
        """What heap.c reads: for each allocation its units, and the offset of its header in the array; 0 for neither."""
        with open(path, "wb") as file:
            self._table.tofile(file)

    def add_rest(self, path: str) -> bool:
        """Give places, after the others, to what heap.c says had none in the program made with this order.

        Which copy of an equal string is kept, for example, depends on addresses. False if all had one.
        """
        rest = _numbers(path)
        for number, units in zip(rest[::2], rest[1::2], strict=True):
            self._add(number, units)
        return bool(rest)


def _ordered(units: Iterable[int], written: Mapping[str, set[int]]) -> list[int]:
    verbs = [*(verb for verb in _FIRST if verb in written), *sorted(written.keys() - set(_FIRST))]

    def key(number: int) -> tuple[object, ...]:
        return (*(number not in written[verb] for verb in verbs), number)

    return sorted(units, key=key)


def make_bundles(directory: str, program: str) -> None:
    """Two bundles, one of a program that waits and one of a program that ends.

    program   PROGRAM, linked statically
    """
    from ociruntime.verbs.spec import default_config

    for name, words in (("bundle", ["/program", "wait"]), ("bundle-short", ["/program"])):
        rootfs = os.path.join(directory, name, "rootfs")
        os.makedirs(rootfs)
        os.link(program, os.path.join(rootfs, "program"))
        config = default_config(False)
        config["process"] |= {"args": words, "terminal": False}
        config["mounts"] += [
            {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro", "nosuid"]}
        ]
        config["linux"]["resources"] |= {"memory": {"limit": 1 << 30}, "pids": {"limit": 100}}
        with open(os.path.join(directory, name, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)


def _numbers(path: str) -> array[int]:
    found: array[int] = array("I")
    with open(path, "rb") as file:
        found.frombytes(file.read())
    return found
