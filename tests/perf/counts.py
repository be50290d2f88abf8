# SPDX-License-Identifier: Apache-2.0
"""How much work is each verb: system calls, page faults, loaded modules? Numbers that a busy machine does not change.

    sudo .venv/bin/python3 -m tests.perf.counts             print them beside the table
    sudo .venv/bin/python3 -m tests.perf.counts --write     write tests/perf/counts.toml anew

The table holds for one kind of machine, which it names: where cgroups or Python are different, so are the numbers.
Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.harness.driver import ENVIRONMENT, PATIENCE
from tests.harness.session import own_mount_namespace
from tests.perf.contender import everybody, wait_for_end
from tests.perf.stopwatch import CommandFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.perf.contender import Contender

TABLE = Path(__file__).with_name("counts.toml")
REWRITE = "sudo .venv/bin/python3 -m tests.perf.counts --write"
VERBS = ("create", "start", "state", "exec", "kill", "delete", "run")
FORMS = ("snapshot", "launcher")
_TRIES = 3  # the least counts: now and then a call is made once more because another process was slow
_HEAD = f"""# SPDX-License-Identifier: Apache-2.0
# How much work each verb is: tests/perf/counts.py says what is counted, tests/perf/test_counts.py holds it.
# Written by: {REWRITE}
"""
# How far a number may be from the table before the test says so: more is worse, and less is worth noting.
# Faults depend on what lies together in the page cache, and the snapshot is built with one seed for them.
TOLERANCE = {"calls": 0.02, "init": 0.02, "faults": 0.03, "modules": 0.0}
_SPARE = {"calls": 3, "init": 3, "faults": 12, "modules": 0}


class Counts(NamedTuple):
    """One verb's work.

    calls    system calls of the command's own process
    init     system calls of init, and other processes that the verb made, until the verb has ended
    faults   page faults without reading, of the process and the children that it waited for: pages mapped, made, copied
    modules  files of Python's modules that were opened
    """

    calls: int
    init: int
    faults: int
    modules: int


Table = dict[str, dict[str, Counts]]


# Hierarchies of cgroup v1 that other tests mount now and then; nothing of ours needs them.
_PASSING = frozenset(("hugetlb", "net_cls", "net_prio", "net_cls,net_prio"))


def _hierarchies() -> dict[str, str]:
    """The cgroup hierarchies that are mounted here: name -> where."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, source = line.partition(" - ")
        if source.startswith("cgroup"):
            point = fields.split()[4]
            found[os.path.basename(point)] = point
    return found


def kind_of_machine() -> str:
    """What the numbers depend on."""
    python = ".".join(platform.python_version_tuple()[:2])
    hierarchies = " ".join(sorted(_hierarchies().keys() - _PASSING))
    return f"{platform.machine()}, Python {python}, cgroups {hierarchies}"


def read() -> tuple[str, Table]:
    """The kind of machine, and the table that was committed."""
    with open(TABLE, "rb") as file:
        document = tomllib.load(file)
    table = {
        form: {verb: Counts(**counts) for verb, counts in document[form].items()}
        for form in FORMS
        if form in document
    }
    return document["machine"], table


def write(table: Table) -> None:
    """Write the table for this machine."""
    lines = [_HEAD, f'machine = "{kind_of_machine()}"']
    for form, verbs in table.items():
        lines += ["", f"[{form}]"]
        for verb, counts in verbs.items():
            numbers = ", ".join(f"{name} = {number}" for name, number in counts._asdict().items())
            lines.append(f"{verb} = {{ {numbers} }}")
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def complaints(table: Table, counted: Table) -> list[str]:
    """One line for each number that is too far from the table; less is said too, so that the table follows."""
    lines = []
    for form, verbs in counted.items():
        for verb, counts in verbs.items():
            known = table.get(form, {}).get(verb)
            if known is None:
                lines.append(f"{form} {verb}: not in the table")
                continue
            for name, now, then in zip(Counts._fields, counts, known, strict=True):
                slack = then * TOLERANCE[name] + _SPARE[name]
                if abs(now - then) > slack:
                    word = "more" if now > then else "fewer, which is good"
                    lines.append(f"{form} {verb}: {now} {_NAMES[name]}, and {then} in the table: {word}")
    return lines


_NAMES = {
    "calls": "system calls",
    "init": "system calls of init",
    "faults": "page faults",
    "modules": "modules",
}


def count(contender: Contender) -> dict[str, Counts]:
    """The least numbers of a few lives of a container."""
    lives = [_one_life(contender) for _ in range(_TRIES)]
    faults = [_faults(contender) for _ in range(_TRIES + 2)]
    counts = {}
    for verb in VERBS:
        calls, init, modules = zip(*(life[verb] for life in lives), strict=True)
        # A line of strace that another process has interrupted does not show that a module was opened.
        counts[verb] = Counts(min(calls), min(init), min(one[verb] for one in faults), max(modules))
    return counts


def _lives(contender: Contender, call: Callable[..., None]) -> None:
    """Every verb in its order; call(verb, *words) runs it."""
    container_id = contender.new_id()
    pid_file = contender.directory / "pid"
    call(
        "create", "--bundle", str(contender.directory / "counted"), "--pid-file", str(pid_file), container_id
    )
    pidfd = os.pidfd_open(int(pid_file.read_text(encoding="ascii")))
    try:
        call("start", container_id)
        call("state", container_id)
        call("exec", container_id, "true")
        call("kill", container_id, "KILL")
        wait_for_end(pidfd)
    finally:
        os.close(pidfd)
    call("delete", container_id)
    call("run", "--bundle", str(contender.directory / "ended"), container_id)


def _one_life(contender: Contender) -> dict[str, tuple[int, int, int]]:
    """(calls, init's calls, modules) of each verb, by strace."""
    found: dict[str, tuple[int, int, int]] = {}

    def call(verb: str, *words: str) -> None:
        found[verb] = counts_in(traced(contender, verb, *words))

    _lives(contender, call)
    return found


def _faults(contender: Contender) -> dict[str, int]:
    found: dict[str, int] = {}

    def call(verb: str, *words: str) -> None:
        found[verb] = contender.lap(verb, *words).faults

    _lives(contender, call)
    return found


def traced(contender: Contender, *words: str) -> list[str]:
    """The lines of strace, of the command and all processes that it makes, until it has ended and these only wait."""
    strace = shutil.which("strace", path=ENVIRONMENT["PATH"])
    if strace is None:
        raise FileNotFoundError("no strace: apt-get install strace")
    path = contender.directory / "strace"
    path.unlink(missing_ok=True)
    # -I 2: a signal ends it, though it has a file for its output; -q: it tells of no process that it follows, but of its end
    argv = [strace, "-I", "2", "-f", "-q", "-o", str(path), *contender.argv(*words)]
    process = subprocess.Popen(
        argv,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        lines = _settled(path)
    finally:
        process.send_signal(signal.SIGTERM)  # it lets go of what it follows
        process.wait(30 * PATIENCE)
    host = lines[0].split()[0]
    if not any(line.startswith(host) and line.endswith("+++ exited with 0 +++") for line in lines):
        raise CommandFailedError(f"{' '.join(words)}: {lines[-1]}")
    return lines


def _settled(path: Path) -> list[str]:
    """What strace has written, once the command has ended and nothing more comes."""
    end = time.monotonic() + 30 * PATIENCE
    size = 0
    while True:
        time.sleep(0.05)
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        ended = bool(lines) and any(
            line.startswith(lines[0].split()[0]) and re.search(r"\+\+\+ (exited|killed)", line)
            for line in lines
        )
        if ended and len(lines) == size:
            return lines
        size = len(lines)
        if time.monotonic() > end:
            raise CommandFailedError(f"strace: the command has not ended: {lines[-1:]}")


_CALL = re.compile(r"(\d+) +(\w+)\(")
_MODULE = re.compile(r"\d+ +open(?:at)?\(.*\"([^\"]*\.(?:pyc?|so))\", .*\) = \d+$")


def counts_in(lines: Sequence[str]) -> tuple[int, int, int]:
    """(calls of the first process, calls of the others, modules) in lines of strace -f.

    A call counts when it has begun. What the container's program does after init has executed it does not count.
    """
    host = lines[0].split()[0]
    own = others = 0
    executed: set[str] = set()
    modules = set()
    for line in lines:
        call = _CALL.match(line)
        if call is None:
            continue
        pid, name = call.groups()
        if pid == host:
            own += 1
            module = _MODULE.match(line)
            if module:
                modules.add(module.group(1))
        elif pid not in executed:
            others += 1
            # init itself is executed by execveat; the program is looked for in PATH
            if name == "execve" and " = -1 " not in line:
                executed.add(pid)
    return own, others, len(modules)


def count_all(directory: Path, forms: Sequence[str] = FORMS) -> Table:
    """The numbers of both forms, as far as they can be had here."""
    table: Table = {}
    for contender in everybody(directory, forms, seed=1):
        try:
            contender.bundle("counted", "sleep", "1000")
            contender.bundle("ended", "true")
            _faults(
                contender
            )  # the launcher's modules are compiled then, and the files are in the page cache
            table[contender.name] = count(contender)
        finally:
            contender.close()
    return table


@contextmanager
def in_memory(directory: Path) -> Iterator[None]:
    """Files in memory: faults depend on the file system. In a mount namespace of the caller's own."""
    subprocess.run(["mount", "-t", "tmpfs", "counts", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def main(words: Sequence[str]) -> int:
    """Count, and print or write; returns 1 if a number is too far from the table."""
    if set(words) - {"--write"}:
        sys.stderr.write(f"usage: {REWRITE}\n")
        return 2
    own_mount_namespace()
    for name, point in _hierarchies().items():
        if name in _PASSING:
            subprocess.run(["umount", point], check=True)  # for us only
    with tempfile.TemporaryDirectory(prefix="ociruntime-counts-") as scratch, in_memory(Path(scratch)):
        table = count_all(Path(scratch))
    if words:
        write(table)
        return 0
    machine, known = read()
    for form, verbs in table.items():
        for verb, counts in verbs.items():
            then = known.get(form, {}).get(verb)
            print(f"{form:<9}{verb:<8}{counts}\n{'':<17}{then} in the table")
    if machine != kind_of_machine():
        print(f"the table is for {machine}; this is {kind_of_machine()}")
        return 0
    lines = complaints(known, table)
    for line in lines:
        print(line)
    if lines:
        print(f"if that is meant: {REWRITE}")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
