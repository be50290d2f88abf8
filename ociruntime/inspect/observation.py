# SPDX-License-Identifier: Apache-2.0
"""What can a process in a container observe, and what does a runtime say? Looked up from outside, for any runtime.

A container is made of a copy of the bundle in which the program is a tiny static one that only waits (made here,
byte by byte: an image need not have one), so that there is something to look at. The answer is a flat table:
{"mounts /proc": "proc nosuid,nodev,noexec", "status CapEff": "...", ...}; two tables can be compared line by line.
Must not import launch, container, a subject or a verb: the runtime is a command, ours as well as the peers'.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
import subprocess
import time
from typing import Any

from ociruntime.errors import BundleError, RuntimeFailure
from ociruntime.linux.mountinfo import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.bundle import Bundle

Table = dict[str, str]

_PROBE = ".ociruntime-compare"  # the name under which the waiting program is mounted in the container
_SECONDS = 30
# x86_64 and aarch64: for (;;) pause(), as machine code; aarch64 has no pause(2), so ppoll(0, 0, 0, 0).
_PROGRAMS = {
    "x86_64": (62, bytes.fromhex("b8220000000f05ebf7")),
    "aarch64": (183, bytes.fromhex("000080d2010080d2020080d2030080d2280980d2010000d4faffff17")),
}
_STATUS = (
    "Umask", "Uid", "Gid", "Groups", "NSpid", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd",
    "CapAmb", "NoNewPrivs", "Seccomp", "Speculation_Store_Bypass", "Cpus_allowed_list", "Mems_allowed_list",
)  # fmt: skip
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
# Files of a cgroup that are written to do something, or that count: they are not settings.
_NO_SETTING = (
    "cgroup.procs", "cgroup.threads", "tasks", "cgroup.event_control", "cgroup.kill", "memory.force_empty",
    "memory.reclaim", "notify_on_release",
)  # fmt: skip
_COUNTERS = (
    "usage",
    "stat",
    "failcnt",
    "max_usage",
    "pressure",
    "current",
    "peak",
    "events",
    "reset",
    "recursive",
)


class Observed:
    """What one runtime showed.

    name    how the runtime was called
    table   subject and key -> what was seen
    ran     the program ran, and was looked at
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.table: Table = {}
        self.ran = False


def observe(command: str, bundle: Bundle, scratch: str) -> Observed:
    """Make a container of the bundle with a runtime, look at it, remove it.

    command   name or path of the runtime
    scratch   an existing directory of the caller's, for the bundle's copy and the runtime's state
    Raises BundleError if the runtime can't be found, RuntimeFailure if it does not finish what it was asked to do.
    """
    program = shutil.which(command)
    if program is None:
        raise BundleError(f"{command}: no such runtime", hint="a name on PATH, or a path")
    seen = Observed(os.path.basename(command))
    place = os.path.join(scratch, seen.name)
    identity = f"compare-{os.getpid()}"
    write_copy(bundle, place, machine=os.uname().machine)
    runtime = _Runtime(program, place, identity)
    try:
        created = runtime.call("create", "--bundle", place, "--pid-file", f"{place}/pid", identity)
        if created.returncode != 0 and b"version" in created.stderr:  # crun of 2023 knows 1.0 only
            _lower_version(place)
            created = runtime.call("create", "--bundle", place, "--pid-file", f"{place}/pid", identity)
        seen.table["create exit code"] = str(created.returncode)
        if created.returncode != 0:
            seen.table["create error"] = runtime.last_error(created.stderr)
            return seen
        seen.table.update(_state("created", runtime))
        started = runtime.call("start", identity)
        seen.table["start exit code"] = str(started.returncode)
        if started.returncode != 0:
            seen.table["start error"] = runtime.last_error(started.stderr)
            return seen
        with open(f"{place}/pid", encoding="ascii") as file:
            pid = int(file.read())
        _wait_for_program(pid)
        seen.ran = True
        seen.table.update(look_at(pid, bundle, identity))
        seen.table.update(_state("running", runtime))
        seen.table["kill exit code"] = str(runtime.call("kill", identity, "KILL").returncode)
        seen.table.update(_state("stopped", runtime, wanted="stopped"))
        seen.table["delete exit code"] = str(runtime.call("delete", identity).returncode)
    finally:
        runtime.call("delete", "--force", identity)
    return seen


_HOST_PATH = "/usr/bin:/bin"


class _Runtime:
    """The command line of one runtime, with a --root of its own."""

    def __init__(self, program: str, place: str, identity: str) -> None:
        self.program = program
        self.place = place
        self.identity = identity

    def call(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """One verb, with files as its standard streams.

        None of them is /dev/null: crun gives what it finds there to the container's user, and that would be the host's.
        """
        with (
            open(f"{self.place}/nothing", "a+b") as nothing,
            open(f"{self.place}/output", "w+b") as output,
            open(f"{self.place}/errors", "w+b") as errors,
        ):
            done: subprocess.CompletedProcess[bytes] = subprocess.run(
                [self.program, "--root", f"{self.place}/state", *words],
                stdin=nothing,
                stdout=output,
                stderr=errors,
                cwd=self.place,
                timeout=_SECONDS,
                check=False,
            )
            for stream in (output, errors):
                stream.seek(0)
            done.stdout, done.stderr = output.read(), errors.read()
        return done

    def last_error(self, said: bytes) -> str:
        """The last line of an error, without what is only this run's."""
        lines = said.decode("utf-8", "replace").strip().splitlines()
        line = lines[-1] if lines else ""
        return line.replace(self.place, "BUNDLE").replace(self.identity, "ID")


def write_copy(bundle: Bundle, place: str, *, machine: str) -> None:
    """A bundle like the given one, whose program is the waiting one and whose paths are absolute."""
    config: dict[str, Any] = json.loads(bundle.raw)
    os.makedirs(place)
    probe = f"{place}/probe"
    with open(probe, "wb") as file:
        file.write(waiting_program(machine))
    os.chmod(probe, 0o755)
    mounts = config.setdefault("mounts", [])
    # In a file system of the container's own if there is one: the image's directory may not be its user's.
    fresh = any(mount["destination"] == "/dev" and mount.get("type") == "tmpfs" for mount in mounts)
    target = f"/dev/{_PROBE}" if fresh else f"/{_PROBE}"
    config.setdefault("process", {})["args"] = [target]
    config["process"]["terminal"] = False
    config["root"]["path"] = bundle.rootfs
    for mount in mounts:
        if {"bind", "rbind"} & set(mount.get("options") or ()) and mount.get("source"):
            mount["source"] = os.path.join(bundle.directory, mount["source"])
    mounts.append({"destination": target, "type": "bind", "source": probe, "options": ["bind", "ro"]})
    with open(f"{place}/config.json", "w", encoding="utf-8") as out:
        json.dump(config, out)


def waiting_program(machine: str) -> bytes:
    """A static ELF executable that does nothing but wait; elf(5).

    Raises RuntimeFailure for a machine whose instructions are not known here.
    """
    if machine not in _PROGRAMS:
        raise RuntimeFailure(f"no waiting program for {machine}: {', '.join(_PROGRAMS)} are known")
    number, code = _PROGRAMS[machine]
    base, headers = 0x400000, 64 + 56
    size = headers + len(code)
    identification = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = identification + struct.pack(
        "<HHIQQQIHHHHHH", 2, number, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return header + segment + code


def _lower_version(place: str) -> None:
    with open(f"{place}/config.json", "r+", encoding="utf-8") as file:
        config = json.load(file)
        config["ociVersion"] = "1.0.2"
        file.seek(0)
        file.truncate()
        json.dump(config, file)


def _state(when: str, runtime: _Runtime, wanted: str = "") -> Table:
    """The state document, without what differs from run to run; `wanted` is a status to wait for."""
    end = time.monotonic() + _SECONDS
    while True:
        document = json.loads(runtime.call("state", runtime.identity).stdout or b"{}")
        if not wanted or document.get("status") == wanted or time.monotonic() > end:
            break
        time.sleep(0.01)
    for own in ("id", "bundle", "rootfs", "created"):
        document.pop(own, None)
    document["pid"] = "0" if document.get("pid") == 0 else "init's" if "pid" in document else "none"
    return {f"state when {when}: {name}": json.dumps(value) for name, value in sorted(document.items())}


def _wait_for_program(pid: int) -> None:
    end = time.monotonic() + _SECONDS
    while not _read(f"/proc/{pid}/cmdline").endswith(f"{_PROBE}\0"):
        if time.monotonic() > end or not os.path.exists(f"/proc/{pid}"):
            raise RuntimeFailure("the program did not begin to run")
        time.sleep(0.01)


def look_at(pid: int, bundle: Bundle, identity: str) -> Table:
    """Everything that can be observed about the process `pid` and what it sees."""
    table: Table = {}
    for name, value in _lines(f"/proc/{pid}/status", ":"):
        if name in _STATUS:
            table[f"status {name}"] = value if name != "NSpid" else f"{len(value.split())} numbers"
    for line in _read(f"/proc/{pid}/limits").splitlines()[1:]:
        table[f"limit {line[:25].strip()}"] = " ".join(line[25:67].split())
    for name in ("oom_score_adj", "personality", "cwd", "attr/current", "timerslack_ns"):
        table[f"process {name}"] = _shown(f"/proc/{pid}/{name}")
    for entry in _read(f"/proc/{pid}/environ").split("\0")[:-1]:
        name, _, value = entry.partition("=")
        table[f"environment {name}"] = value
    for kind in _NAMESPACES:
        own, its = f"/proc/self/ns/{kind}", f"/proc/{pid}/ns/{kind}"
        table[f"namespace {kind}"] = "the host's" if os.readlink(own) == os.readlink(its) else "another"
    for number in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{number}")
        ours = target.rpartition("/")[2] in ("nothing", "output", "errors")
        table[f"descriptor {number}"] = "a file" if ours else target.split(":")[0]
    table.update(_mounts(pid))
    table.update(_devices(pid))
    table.update(_paths(pid, bundle))
    table.update(_cgroups(pid, identity))
    table.update(_kernel_settings(pid, bundle))
    return table


def _shown(path: str) -> str:
    """A link's target, or a file's content; or why that can't be read, as for attr/current without a security module."""
    try:
        return os.readlink(path) if os.path.islink(path) else _read(path).strip("\0\n")
    except OSError as failure:
        return os.strerror(failure.errno or 0).lower()


def _mounts(pid: int) -> Table:
    """proc(5), mountinfo: a mount point's file system, its options and its propagation."""
    table: Table = {}
    for mount in mounts(f"/proc/{pid}/mountinfo"):
        if mount.point.endswith(_PROBE):
            continue
        propagation = ",".join(sorted(tag.split(":")[0] for tag in mount.tags)) or "private"
        table[f"mount {mount.point}"] = f"{mount.kind} {mount.options} {propagation}"
        table[f"file system of {mount.point}"] = (
            ",".join(sorted(mount.superblock.split(","))) if mount.kind == "tmpfs" else mount.kind
        )
    return table


def _devices(pid: int) -> Table:
    """What is in /dev, without what is mounted below it."""
    table: Table = {}
    root = f"/proc/{pid}/root/dev"
    for name in sorted(set(os.listdir(root)) - {_PROBE}) if os.path.isdir(root) else ():
        table[f"device {name}"] = _described(f"{root}/{name}")
    return table


def _paths(pid: int, bundle: Bundle) -> Table:
    """The masked paths and those that every container has."""
    linux = bundle.config.at("linux")
    names = dict.fromkeys(
        [*linux.at("maskedPaths").texts(), "/", "/tmp", "/proc", "/sys", "/dev/shm", "/dev/pts"]
    )
    return {f"path {name}": _described(f"/proc/{pid}/root{name}") for name in names}


def _described(path: str) -> str:
    """Type, mode and owner of a file; what it is if it is a device or a link."""
    try:
        found = os.lstat(path)
    except OSError as failure:
        return os.strerror(failure.errno or 0).lower()
    words = f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid}"
    if stat.S_ISLNK(found.st_mode):
        return f"link to {os.readlink(path)}"
    if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        return f"{words} {os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    if stat.S_ISDIR(found.st_mode):
        return f"{words} {'empty' if not os.listdir(path) else 'not empty'}"
    return words


def _cgroups(pid: int, identity: str) -> Table:
    """The process's cgroup in each hierarchy, and the settings there that can be read."""
    table: Table = {}
    for line in _read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        name = controllers.removeprefix("name=") or "unified"
        table[f"cgroup of {name}"] = path.replace(identity, "ID")
        for mount in (
            (f"/sys/fs/cgroup/{name}", "/sys/fs/cgroup") if not controllers else (f"/sys/fs/cgroup/{name}",)
        ):
            if path != "/" and os.path.isdir(mount + path):
                table.update(_settings(mount + path, name))
    return table


def _settings(directory: str, name: str) -> Table:
    table: Table = {}
    for file in sorted(os.listdir(directory)):
        path = f"{directory}/{file}"
        counts = any(word in file.rpartition(".")[2] for word in _COUNTERS)
        if file in _NO_SETTING or counts or not os.stat(path).st_mode & stat.S_IWUSR or os.path.isdir(path):
            continue
        try:
            table[f"cgroup {name} {file}"] = " ".join(_read(path).split())
        except OSError:  # a file that can only be written
            continue
    return table


def _kernel_settings(pid: int, bundle: Bundle) -> Table:
    """Host name and sysctls, which show the namespace of the process that reads: the host's nsenter(1) reads them."""
    keys = ["kernel.hostname", "kernel.domainname"]
    keys += [name for name, _ in bundle.config.at("linux", "sysctl").members()]
    nsenter = shutil.which("nsenter", path=_HOST_PATH)
    if nsenter is None:
        raise RuntimeFailure("nsenter is missing", hint="apt-get install util-linux")
    table: Table = {}
    for key in keys:
        path = "/proc/sys/" + key.replace(".", "/")
        words = [nsenter, "--target", str(pid), "--uts", "--ipc", "--net", "cat", path]
        # `cat`, too, is looked for at fixed places of the host, not in the caller's PATH.
        done = subprocess.run(words, env={"PATH": _HOST_PATH}, capture_output=True, check=False)
        table[f"sysctl {key}"] = done.stdout.decode("utf-8", "replace").strip()
    return table


def _lines(path: str, separator: str) -> list[tuple[str, str]]:
    pairs = (line.partition(separator) for line in _read(path).splitlines())
    return [(name, " ".join(value.split())) for name, _, value in pairs]


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "replace")


def differences(observed: list[Observed]) -> list[tuple[str, list[str]]]:
    """(key, what each runtime showed) of every line that is not the same for all; "-" where there is none.

    A runtime that did not run the container is compared by what it said, and by nothing else.
    """
    rows = []
    for key in dict.fromkeys(key for one in observed for key in one.table):
        values = [one.table.get(key, "-" if one.ran or _is_outcome(key) else "") for one in observed]
        if len({value for value in values if value}) > 1:
            rows.append((key, values))
    return rows


def _is_outcome(key: str) -> bool:
    return key.startswith(("create ", "start "))
