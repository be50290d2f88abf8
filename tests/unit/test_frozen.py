# SPDX-License-Identifier: Apache-2.0
"""Does a module compute something at import that holds only for this process, user, machine or moment?

A snapshot of the started interpreter (ociruntime/cli/snapshot) keeps what its build computed, so that must be true everywhere.
Every module is imported in a new interpreter in which asking for such things is recorded.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import sysconfig

import pytest

from tests.unit import house
from tests.unit.house import MODULES, REPOSITORY

# Not in a snapshot: programs, what the build uses, and what the ordinary launcher does in its place.
LEFT_OUT = {
    "ociruntime.__main__",
    "ociruntime.api.asynchronous",  # asyncio's own modules can't be loaded while this looks on; not in a snapshot
    "ociruntime.api.seccomp_agent",  # imports tempfile and socket, which look at the machine; not in a snapshot
    "ociruntime.linux.network_devices",
    "ociruntime.native._build",
    "ociruntime.native._build_command",
    "ociruntime.native._build_sbom",
    "ociruntime.native._build_sdist",
    "ociruntime.cli.snapshot.__main__",
    "ociruntime.cli.snapshot.build",
    "ociruntime.cli.snapshot.bootstrap",
    "ociruntime.cli.snapshot.generated",
    "ociruntime.cli.snapshot.image",
    "ociruntime.verbs.doctor",
    *(module for module in MODULES if module.startswith("ociruntime.inspect.doctor")),
    "ociruntime.cli.snapshot.order",
    "ociruntime.cli.snapshot.trial_shim",
}

DRIVER = """
import os, sys, time, json
sys.path[:0] = {path!r}
# What the standard library computes is its own business, and is imported first.
import _blake2, _json, _signal, _socket, collections.abc, datetime, errno, fcntl, importlib.machinery, importlib.util
import io, itertools, math, re, resource, select, stat, struct, termios, threading, traceback, types, typing, _cffi_backend
from ociruntime.native import _shim, _seccomp
found = []

def caller():
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if {package!r} in path:
            return path.rpartition({package!r})[2] + ":" + str(frame.f_lineno)
        if "importlib" in path:
            return ""  # the import system itself looks for files
        frame = frame.f_back
    return ""

def recorded(name, function):
    def called(*arguments, **named):
        where = caller()
        if where:
            found.append(where + " " + name)
        return function(*arguments, **named)
    return called

for module, names in {asked!r}.items():
    home = sys.modules[module]
    for name in names:
        if hasattr(home, name):
            setattr(home, name, recorded(module + "." + name, getattr(home, name)))

class Recorded(type(os.environ)):
    def __getitem__(self, key):
        found.append(caller() + " os.environ")
        return super().__getitem__(key)
    def __iter__(self):
        found.append(caller() + " os.environ")
        return super().__iter__()

os.environ.__class__ = Recorded

def hook(event, arguments):
    if event in ("open", "os.listdir", "os.scandir", "subprocess.Popen", "os.posix_spawn", "os.fork", "socket.__new__", "ctypes.dlopen"):
        where = caller()
        if where:
            found.append(where + " " + event)

sys.addaudithook(hook)
for module in {modules!r}:
    __import__(module)
print(json.dumps(found))
"""

# By module: functions whose answer belongs to a process, a user, a machine or a moment.
ASKED = {
    "os": [
        "access", "cpu_count", "environb", "getcwd", "getcwdb", "getegid", "getenv", "geteuid", "getgid", "getgroups", "getloadavg",
        "getlogin", "getpgrp", "getpid", "getppid", "getresgid", "getresuid", "getsid", "getuid", "getxattr", "isatty", "lstat", "fstat",
        "memfd_create", "open", "pipe", "readlink", "sched_getaffinity", "stat", "statvfs", "sysconf", "umask", "uname", "urandom",
    ],
    "time": ["time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "clock_gettime", "localtime", "gmtime", "strftime"],
    "resource": ["getrlimit", "prlimit", "getpagesize", "getrusage"],
    "_signal": ["getsignal", "signal", "pthread_sigmask"],
    "_socket": ["gethostname", "socket", "socketpair"],
}  # fmt: skip


def recorded(modules: list[str], path: list[str], package: str) -> list[str]:
    """Who asked for what, as "FILE:LINE NAME"."""
    program = DRIVER.format(path=path, modules=modules, package=package, asked=ASKED)
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


# Imported after full_python.need(), or by verbs that a snapshot leaves to the launcher, or while it is frozen.
BY_THE_LAUNCHER = {
    ("ociruntime.check.schema", "jsonschema"),
    ("ociruntime.check.schema", "jsonschema.validators"),
    ("ociruntime.check.schema", "ociruntime.check.schema_compiler"),
    ("ociruntime.linux.seccomp_cache", "ociruntime.linux.seccomp_compiler"),
    ("ociruntime.linux.accounts", "pwd"),
    ("ociruntime.verbs.validate", "ociruntime.inspect.absent"),
    ("ociruntime.api", "ociruntime.api.asynchronous"),  # the shim has a loop of its own
    ("ociruntime.native.child", "importlib"),  # in the child, which is no snapshot
    *(
        ("ociruntime.cli.snapshot.boot", name)
        for name in (
            "gc",
            "importlib",
            "importlib.machinery",
            "importlib.util",
            "ociruntime.cli.snapshot.sources",
        )
    ),
}
ALL = """
import sys
sys.path[:0] = {path!r}
from ociruntime.cli.snapshot import boot
boot._import_all({package!r})
print(*sys.modules)
"""


def imported(file: str) -> set[str]:
    """The modules that a module imports, at its top or in a function."""
    found = set()
    with open(file, encoding="utf-8") as source:
        tree = ast.parse(source.read())
    for node in house.statements(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_a_snapshot_has_what_its_modules_import_later() -> None:
    """There is no directory from which it could: an import that can't be done would be an internal error in the midst of a verb."""
    paths = sysconfig.get_paths()
    path = [REPOSITORY, *dict.fromkeys((paths["purelib"], paths["platlib"]))]
    program = ALL.format(path=path, package=f"{REPOSITORY}/ociruntime")
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", program]
    has = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert len(has & set(MODULES)) > 100
    missing = {
        (module, name)
        for module, file in MODULES.items()
        if module in has
        for name in imported(file)
        if name not in has
    }
    assert missing <= BY_THE_LAUNCHER, missing - BY_THE_LAUNCHER


def test_no_module_computes_at_import_what_holds_only_here() -> None:
    """All of the package's modules."""
    modules = sorted(set(MODULES) - LEFT_OUT)
    assert len(modules) > 100
    paths = sysconfig.get_paths()
    path = [REPOSITORY, *dict.fromkeys((paths["purelib"], paths["platlib"]))]
    assert recorded(modules, path, f"{REPOSITORY}/ociruntime/") == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("import os; ROOT = os.geteuid() == 0", "os.geteuid"),
        ("import os; HOME = os.environ.get('HOME')", "os.environ"),
        ("import time; BEGUN = time.monotonic()", "time.monotonic"),
        ("KERNEL = open('/proc/version').read()", "open"),
        ("import os; MACHINE = os.uname().machine", "os.uname"),
        ("import os.path; THERE = os.path.exists('/sys/fs/cgroup')", "os.stat"),
    ],
)
def test_such_a_module_is_seen(tmp_path_factory: pytest.TempPathFactory, line: str, name: str) -> None:
    """The rule would tell."""
    directory = tmp_path_factory.mktemp("package")
    (directory / "asks.py").write_text(line + "\n")
    paths = sysconfig.get_paths()
    path = [str(directory), REPOSITORY, *dict.fromkeys((paths["purelib"], paths["platlib"]))]
    assert f"asks.py:1 {name}" in recorded(["asks"], path, f"{directory}/")
