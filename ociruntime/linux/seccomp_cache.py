# SPDX-License-Identifier: Apache-2.0
"""Has this filter been compiled before? A file for each, below the directory of the containers' state.

A file is named after what was compiled (BLAKE2b of the request, the machine and FORMAT). It holds the program,
which file of libseccomp made it (a replaced library makes everything stale; a snapshot that has the library in itself
is that file), and a digest of all that. It is used only if it and its directory belong to this user, no one else may
write to them, and the digest is right; otherwise the filter is compiled anew. Files are written under another name
and renamed, so that two runtimes can do it at once. The cache is optional: without a usable directory each create
compiles.

The library is not even loaded when the program is found. Must not import the subject.
"""

from __future__ import annotations

import os
import stat
from _blake2 import blake2b
from errno import ENOSPC

from ociruntime.config import parse
from ociruntime.errors import BundleError
from ociruntime.jsontext import compact
from ociruntime.native import full_python

DIRECTORY = "@seccomp"  # below --root; no container's id has an @
FORMAT = 1  # raised when seccomp_compiler.py makes other programs of the same request
_MOST = 64  # files; the oldest go
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST = 1 << 20  # bytes of a file
_DIGEST = 64  # hexadecimal digits at the beginning of a file
_FOREIGN = "belongs to another user, or others may write to it"


def find_or_compile(root: str, request: dict[str, object]) -> tuple[bytes, str, list[str]]:
    """The program of a filter, where it comes from in words, and warnings.

    root      directory of the containers' state
    request   as seccomp.request makes it
    Raises StepFailed if it can't be compiled.
    """
    key = _key(request)
    directory, problems = _open_directory(os.path.join(root, DIRECTORY))
    try:
        if directory >= 0:
            found = _read(directory, key)
            if found is not None:
                return found[0], "from the cache", found[1]
        from ociruntime.linux.seccomp_compiler import compile_filter, load_library, version_text

        library = load_library()
        program, warnings = compile_filter(library, request)
        if directory >= 0:
            problems += _write(directory, key, program, warnings)
        return program, f"compiled by libseccomp {version_text(library)}", [*warnings, *problems]
    finally:
        if directory >= 0:
            os.close(directory)


def is_known(root: str, request: dict[str, object]) -> bool:
    """Would find_or_compile find the program? Makes nothing; arguments as there."""
    try:
        directory = os.open(os.path.join(root, DIRECTORY), _DIRECTORY)
    except OSError:
        return False
    try:
        return _is_own(os.fstat(directory)) and _read(directory, _key(request)) is not None
    finally:
        os.close(directory)


def _key(request: dict[str, object]) -> str:
    return _digest(compact([FORMAT, os.uname().machine, request]).encode())


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=_DIGEST // 2).hexdigest()


def _open_directory(path: str) -> tuple[int, list[str]]:
    """Its descriptor, made if missing; or -1 and a warning that says why it is not used."""
    try:
        _make(path)
        directory = os.open(path, _DIRECTORY)
    except OSError as failure:
        return -1, [f"{path}: {os.strerror(failure.errno or 0).lower()}: seccomp filters are not cached"]
    if not _is_own(os.fstat(directory)):
        os.close(directory)
        return -1, [f"{path}: {_FOREIGN}: seccomp filters are not cached"]
    return directory, []


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return


def _is_own(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(directory: int, key: str) -> tuple[bytes, list[str]] | None:
    """(program, warnings) of a file that can be trusted, or None."""
    content = _trusted(directory, key)
    whole = content[_DIGEST + 1 :]
    if content[:_DIGEST] != _digest(whole).encode():
        return None
    line, _, program = whole.partition(b"\n")
    try:
        head = parse(line, key).value
    except BundleError:
        return None
    if not isinstance(head, dict) or head.get("key") != key:
        return None
    path, stamp, warnings = head.get("library"), head.get("stamp"), head.get("warnings")
    if not isinstance(path, str) or stamp != _stamp(path) or not isinstance(warnings, list):
        return None
    return program, [str(warning) for warning in warnings]


def _trusted(directory: int, key: str) -> bytes:
    """The content of a file that no one else can have written; b"" if it is missing or can't be trusted."""
    try:
        # O_NONBLOCK: a FIFO in its place must not hang create
        file = os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return b""
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or not _is_own(status) or status.st_size > _LARGEST:
            return b""
        return os.read(file, _LARGEST)
    finally:
        os.close(file)


def _stamp(path: str) -> list[int]:
    """What changes when the library is replaced; empty if it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


def _library_path() -> str:
    """The file of the library that this process has loaded (proc(5), maps), or of the snapshot that has it in itself."""
    if full_python.form == "snapshot":
        return os.readlink("/proc/self/exe")
    with open("/proc/self/maps", "rb", buffering=0) as maps:
        for line in maps.readall().split(b"\n"):
            path = line.partition(b"/")[2]
            if b"libseccomp.so" in path:
                return os.fsdecode(b"/" + path)
    return ""


def _write(directory: int, key: str, program: bytes, warnings: list[str]) -> list[str]:
    """Keep the program; returns a warning if that fails (a full disk, say)."""
    path = _library_path()
    stamp = _stamp(path)
    if not stamp:
        return []  # replaced while it was in use: later there is no way to tell whether it is the same
    head = {"key": key, "library": path, "stamp": stamp, "warnings": warnings}
    whole = compact(head).encode() + b"\n" + program
    name = f".{key}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            with open(file, "wb", buffering=0) as out:
                if out.write(_digest(whole).encode() + b"\n" + whole) != _DIGEST + 1 + len(whole):
                    raise OSError(ENOSPC, os.strerror(ENOSPC))
            os.rename(name, key, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(name, dir_fd=directory)
            raise
        _forget_oldest(directory)
    except OSError as failure:
        return [
            f"{DIRECTORY}/{key}: {os.strerror(failure.errno or 0).lower()}: the seccomp filter is not cached"
        ]
    return []


def _forget_oldest(directory: int) -> None:
    """So go leftovers of a killed runtime, under another name: at some point they are the oldest."""
    names = os.listdir(directory)
    if len(names) <= _MOST:
        return
    ages = []
    for name in names:
        try:
            ages.append((os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns, name))
        except FileNotFoundError:
            continue  # another runtime was quicker
    for _, name in sorted(ages)[: len(ages) - _MOST]:
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            continue
