# SPDX-License-Identifier: Apache-2.0
"""What does Python do when a snapshot is frozen, and first when it is called?

`prepare` runs once, at build time: whatever it imports and computes is in the snapshot. `enter` runs in every call, and first
gives back to Python what belongs to this process: arguments, environment, signals. What a static program can't do is done by
the ordinary launcher, with the same arguments and environment: see `BY_THE_LAUNCHER` and native/full_python.py.

Under a name of containerd's shim it is the shim, which never becomes the launcher: a server can't begin anew.
"""

from __future__ import annotations

import _signal
import errno
import os
import sys

from ociruntime import cli
from ociruntime.cli.snapshot import place, warm
from ociruntime.native import full_python

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from typing import Any, NoReturn

# Verbs that people call and no engine waits for: they load what is not in the snapshot, such as jsonschema.
BY_THE_LAUNCHER = frozenset(("compare", "doctor", "help", "inspect", "plan", "spec", "validate"))

_PACKAGES = (
    "",
    "check",
    "cli",
    "foreground",
    "launch",
    "linux",
    "linux.cgroups",
    "linux.cgroups.systemd",
    "linux.refusals",
    "native",
    "operations",
    "plan",
    "verbs",
    # What only the shim has comes last: verbs find theirs where it was without it.
    "api",
    "shim",
)
# Programs and parts of the build; and what needs a library or jsonschema.
_LEFT_OUT = (
    "ociruntime.__main__",
    "ociruntime.api.asynchronous",
    "ociruntime.api.seccomp_agent",
    "ociruntime.check.schema_compiler",
    "ociruntime.cli.manual",
    "ociruntime.cli.pages",
    "ociruntime.cli.reference",
    "ociruntime.linux.network_devices",
    "ociruntime.native._build",
    "ociruntime.native._build_command",
    "ociruntime.native._build_sbom",
    "ociruntime.native._build_sdist",
    "ociruntime.verbs.compare",
    "ociruntime.verbs.doctor",
)
# What verbs import when they need it, as tests/unit/test_frozen.py finds it in their sources; and the codecs of open().
_LATER = (
    "datetime",
    "difflib",
    "encodings.ascii",
    "encodings.latin_1",
    "json",
    "re",
    "resource",
    "termios",
    "traceback",
    "warnings",
    "tomllib",
)
# Of which CPython has one; see shim/address.py.
_DIGESTS = frozenset(("_sha2", "_sha256"))
# They keep a random number or the thread of the build.
_SEEDED = frozenset(("random", "secrets", "tempfile", "threading", "uuid"))
_SHIM = "containerd-shim-"  # as containerd calls every shim
_ROUNDS = 12  # of warming up: the interpreter has then replaced its instructions by the faster ones

_launcher = ""  # of a snapshot that has been built for one place; else it is beside the file
_python: tuple[str, list[str]] = ("", [])  # likewise: a Python, and what was its sys.path
_words: list[str] = []
_ignored = 0
_mask: set[int] = set()


def prepare(launcher: str, scratch: str) -> Callable[[list[str], list[bytes], int], int]:
    """Import and warm up; returns what is called in every call.

    launcher  path of the ordinary command; "" if it will be beside the snapshot, wherever that is installed
    scratch   directory of the build
    """
    import gc
    from importlib import import_module

    from ociruntime.cli.snapshot import sources

    gc.disable()  # as in the launcher
    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    python = (sys.executable, sys.path[:])
    sources.hide_places(package)
    hidden = import_module("ociruntime.cli.snapshot.boot")  # this module too has been loaded from its file
    begin: Callable[[list[str], list[bytes], int], int] = hidden.prepare_hidden(
        package, launcher, python, scratch
    )
    del sys.modules[sources.__name__]
    gc.collect()
    gc.freeze()
    return begin


def prepare_hidden(
    package: str, launcher: str, python: tuple[str, list[str]], scratch: str
) -> Callable[[list[str], list[bytes], int], int]:
    """Import and warm up, with modules that don't know where the build found them."""
    global _launcher, _python
    _launcher, _python = launcher, python if launcher else ("", [])
    _import_shim()
    _import_all(package)
    _keep_init(package)
    _open_streams()
    # It is full of what imports have looked up, and each lookup of a call would write to a name that it throws out.
    sys._clear_type_cache()
    warm.up(scratch, _ROUNDS)
    full_python.absent = _absent()
    full_python.form = "snapshot"
    full_python.find_interpreter = _find_interpreter
    frozen_seeds = _SEEDED.intersection(sys.modules)
    if frozen_seeds:
        raise ImportError(
            f"what these have drawn at import must not be in a snapshot: {sorted(frozen_seeds)}"
        )
    sys.pycache_prefix = None  # set by snapshot.c
    sys.dont_write_bytecode = True
    _forget_places()
    return enter


def enter(words: list[str], variables: list[bytes], ignored: int) -> int:
    """Run the command; returns the exit code.

    variables  NAME=VALUE, as the caller gave them
    ignored    bit N is set if the caller ignores signal N
    """
    global _words, _ignored, _mask
    sys.argv = words
    sys.orig_argv = words[:]
    _words, _ignored, _mask = words, ignored, _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    _restore_environment(variables)
    _restore_signals(ignored)
    if words and words[0].rpartition("/")[2].startswith(_SHIM):
        return _be_the_shim()
    verb = _verb(words)
    if verb == "doctor":
        _tell_of_libseccomp()
    if verb in BY_THE_LAUNCHER:
        go_over()
    full_python.go_over = go_over
    status = cli.main(words[1:])
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BrokenPipeError:
        status = status or 1
    except OSError as failure:
        os.write(2, f"ociruntime: standard output: {(failure.strerror or '').lower()}\n".encode())
        status = status or 1
    return status


def _be_the_shim() -> int:
    """Do what containerd asks for; returns the exit code."""
    from ociruntime.native import child
    from ociruntime.shim import command

    full_python.ask = child.ask
    return command.main(_words[1:])


def go_over() -> NoReturn:
    """Become the ordinary launcher, which begins anew; nothing has been made so far."""
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        if (
            not _ignored >> number & 1
        ):  # Python ignores them, and what is ignored stays so in the next program
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, _mask)
    try:
        path = os.fsencode(_launcher or place.launcher(_words[0] if _words else ""))
        try:
            # The environment is libc's, byte for byte: os.environ has only one of two with the same name.
            os.execv(path, [path, *map(os.fsencode, _words[1:])])  # noqa: S606 - no shell is wanted
        except OSError as failure:
            raise place.NoPlaceError(
                f"{os.fsdecode(path)}: {os.strerror(failure.errno or 0).lower()}"
            ) from None
    except place.NoPlaceError as failure:
        os.write(2, os.fsencode(f"ociruntime: {failure} (this call needs the ordinary launcher)\n"))
        os._exit(1)


def _tell_of_libseccomp() -> None:
    """The launcher's doctor can't see what is linked in here, and with which this command compiles every filter."""
    if full_python.absent:
        return
    from ociruntime.linux.seccomp_compiler import load_library, version_text

    os.putenv(full_python.LIBSECCOMP, version_text(load_library()))


def _find_interpreter() -> tuple[str, list[str]]:
    """For full_python.interpreter."""
    if _launcher:
        return _python
    try:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return place.interpreter(_words[0] if _words else "", version)
    except place.NoPlaceError as failure:
        raise OSError(errno.ENOENT, str(failure)) from None


def _verb(words: list[str]) -> str:
    """The verb, or "help" if the help is asked for; what is wrong with the flags is found out later."""
    from ociruntime.cli import flags
    from ociruntime.errors import UsageError

    given = flags.Arguments()
    try:
        rest = flags.parse(words[1:], flags.GLOBAL, given, stop_at_word=True)
    except UsageError:
        return ""
    if given.on("version"):
        return ""
    if given.on("help") or not rest or rest[0] == "h":
        return "help"
    if rest[0] not in flags.PROGRAM and any(word in {"-h", "--help", "-help"} for word in rest[1:]):
        return "help"
    return rest[0]


def _restore_environment(variables: list[bytes]) -> None:
    """As CPython reads it at its start: of two with one name, the first counts."""
    known = os.environ._data  # type: ignore[attr-defined]
    known.clear()
    for variable in variables:
        name, equals, value = variable.partition(b"=")
        if equals:
            known.setdefault(name, value)


def _restore_signals(ignored: int) -> None:
    """Python's own record of what the caller ignores, and the handler of SIGINT."""
    if not ignored >> _signal.SIGINT & 1:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    ignored &= ~(1 << _signal.SIGPIPE | 1 << _signal.SIGXFSZ)
    number = 1
    while ignored >> number:
        if ignored >> number & 1:
            _signal.signal(number, _signal.SIG_IGN)
        number += 1


def _import_shim() -> None:
    """A built-in module inside a package, which the import system does not look for."""
    from importlib.machinery import BuiltinImporter, ModuleSpec
    from importlib.util import module_from_spec

    from ociruntime import native

    loader: Any = BuiltinImporter
    spec = ModuleSpec("ociruntime.native._shim", loader, origin="built-in")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    BuiltinImporter.exec_module(module)
    native._shim = module


def _keep_init(package: str) -> None:
    """Its file need not be found then, nor trusted."""
    from ociruntime.native import spawn

    with open(os.path.join(package, "native", "ociruntime-init"), "rb") as file:
        spawn._content = file.read()


def _forget_places() -> None:
    """Whatever is not in the snapshot is not imported: the build's directories may be anybody's by then."""
    sys.path.clear()
    sys.path_importer_cache.clear()
    sys.executable = ""  # as in every program that is no Python
    for module in sys.modules.values():
        if getattr(module, "__name__", "").startswith("ociruntime"):
            if hasattr(module, "__path__"):
                module.__path__ = []
            if hasattr(module, "__cached__"):
                module.__cached__ = None  # type: ignore[attr-defined]


def _import_all(package: str) -> None:
    left_out = {*_LEFT_OUT}
    if not _has_blake2():
        left_out.add("ociruntime.linux.seccomp_cache")
    for folder in _PACKAGES:
        prefix = f"ociruntime.{folder}." if folder else "ociruntime."
        for name in sorted(os.listdir(os.path.join(package, *folder.split(".")))):
            module = prefix + name.removesuffix(".py")
            if name.endswith(".py") and name != "__init__.py" and module not in left_out:
                __import__(module)
    for module in (*_LATER, *sorted(_DIGESTS.intersection(sys.builtin_module_names))):
        __import__(module)


def _has_blake2() -> bool:
    """False for Debian's static library of 3.14: see _incomplete in build.py."""
    return "_blake2" in sys.builtin_module_names


def _absent() -> frozenset[str]:
    """What this program has not been linked with."""
    from ociruntime.errors import StepFailed
    from ociruntime.linux.seccomp_compiler import load_library

    absent = set() if _has_blake2() else {"_blake2"}
    try:
        load_library()
    except StepFailed:
        absent.add("libseccomp")
    return frozenset(absent)


def _open_streams() -> None:
    """sys.stdout and sys.stderr for descriptors that are open by then; not those of the build, whose kind was looked at."""
    from io import TextIOWrapper

    for name, descriptor, errors in (("stdout", 1, "surrogateescape"), ("stderr", 2, "backslashreplace")):
        raw = _raw_stream(descriptor)
        stream = TextIOWrapper(raw, "utf-8", errors, newline="\n", write_through=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _raw_stream(descriptor: int) -> FileIO:
    """Without what fstat says of the build's: since 3.14 that is kept, until the size changes."""
    from io import FileIO

    kept, empty = os.dup(descriptor), os.memfd_create("empty")
    os.dup2(empty, descriptor)
    raw = FileIO(descriptor, "w", closefd=False)
    raw.truncate(0)
    os.dup2(kept, descriptor)
    os.close(kept)
    os.close(empty)
    return raw
