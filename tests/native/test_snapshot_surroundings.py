# SPDX-License-Identifier: Apache-2.0
"""Does a snapshot work in strange surroundings as the launcher does, or say why not?"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.bundle import make_bundle
from tests.harness.driver import MARK
from tests.native.snapshots import Answer, call
from tests.native.test_snapshot_image import segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNKNOWN = ("--root", "/nonexistent", "state", "unknown")
MIB = 1 << 20
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="not root")


def executed(program: str, argv: list[bytes], env: list[bytes]) -> Answer:
    """Exit code, output and errors; argv and env byte for byte, which Python's own functions don't allow."""
    libc = ctypes.CDLL(None)
    words = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
    variables = (ctypes.c_char_p * (len(env) + 1))(*env, None)

    def become() -> None:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # this Python ignores them
            signal.signal(number, signal.SIG_DFL)
        libc.execve(program.encode(), words, variables)

    done = subprocess.run(
        ["/bin/false"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=become,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def strange(draw: random.Random) -> list[bytes]:
    """Variables: odd bytes, duplicates, without "=", without a name, empty, very long, or none at all."""
    lines = []
    for _ in range(draw.choice((0, 1, 5, 30))):
        name = bytes(draw.choices(b"ABC_abc \xff\x80.-\n", k=draw.randint(0, 6)))
        value = bytes(draw.choices(b"abc=\n\x01\xff\xc3\xa9 ", k=draw.choice((0, 3, 30))))
        lines.append(name + draw.choice((b"=", b"=", b"")) + value)
    if draw.random() < 0.3:
        lines += draw.sample(lines, min(len(lines), 3))
    if draw.random() < 0.05:
        lines.append(b"LONG=" + b"x" * draw.choice((5_000, 100_000)))
    return lines


def test_a_thousand_environments(telling: str) -> None:
    """The ordinary launcher gets them byte for byte: in their order, and of two with one name both."""
    draw = random.Random(12)
    for _ in range(1000):
        env = strange(draw)
        code, out, err = executed(telling, [b"ociruntime", b"plan"], env)
        assert (code, err) == (42, b"")
        assert out.partition(b"--\0")[2].rpartition(b"--\0")[0] == b"".join(line + b"\0" for line in env)


def test_verbs_in_strange_environments(both: tuple[str, str]) -> None:
    """The answer does not depend on them."""
    draw = random.Random(13)
    expected = (1, b"", b"ociruntime: state: container does not exist: unknown\n")
    for _ in range(200):
        assert (
            executed(both[1], [b"ociruntime", *(word.encode() for word in UNKNOWN)], strange(draw))
            == expected
        )


@pytest.mark.parametrize("argv", [[], [b""], [b"\xff\n"], [b"x" * 100_000]])
def test_strange_names_of_the_program(snapshot: str, argv: list[bytes]) -> None:
    """It has none, an empty or an odd one. Of no words at all the kernel makes one empty word."""
    code, out, _ = executed(snapshot, [*argv, b"--version"] if argv else [], [])
    assert code == 0
    assert out.startswith(b"ociruntime version" if argv else b"usage: ociruntime")


def test_all_signals_are_blocked_or_ignored(both: tuple[str, str]) -> None:
    """Except those that can't be."""

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def ignore() -> None:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            signal.signal(number, signal.SIG_IGN)

    for prepare in (block, ignore):
        first, second = (call(command, *UNKNOWN, preexec_fn=prepare) for command in both)
        assert first == second


def limited(number: int, size: int) -> Callable[[], None]:
    """For preexec_fn."""
    return lambda: resource.setrlimit(number, (size, size))


@pytest.mark.parametrize(
    ("number", "size"),
    [
        (resource.RLIMIT_AS, 32 * MIB), (resource.RLIMIT_DATA, 16 * MIB), (resource.RLIMIT_STACK, 128 << 10),
        (resource.RLIMIT_NOFILE, 16), (resource.RLIMIT_NPROC, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_MEMLOCK, 0),
    ],
)  # fmt: skip
def test_small_limits(both: tuple[str, str], number: int, size: int) -> None:
    """Answers stay the same."""
    first, second = (call(command, *UNKNOWN, preexec_fn=limited(number, size)) for command in both)
    assert first == second


def sizes(snapshot: str) -> dict[int, int]:
    """Limit -> bytes of the mapped program that count for it."""
    loaded = [(size, flags) for kind, _, size, flags in segments(snapshot) if kind == "LOAD"]
    return {
        resource.RLIMIT_AS: sum(size for size, _ in loaded),
        resource.RLIMIT_DATA: sum(size for size, flags in loaded if "W" in flags),
    }


def test_a_limit_below_the_program_s_size(snapshot: str) -> None:
    """The kernel finds out while it maps the program, when the former program is gone: it can only send SIGSEGV.

    So what is written of the size must be true, and it must not grow unseen.
    """
    of = sizes(snapshot)
    assert of[resource.RLIMIT_AS] < 18 * MIB
    assert of[resource.RLIMIT_DATA] < 12 * MIB  # what counts with vm.overcommit_memory=2
    for number, size in of.items():
        assert call(snapshot, *UNKNOWN, preexec_fn=limited(number, size))[0] == -signal.SIGSEGV
        expected = call(snapshot, *UNKNOWN)
        assert call(snapshot, *UNKNOWN, preexec_fn=limited(number, size + MIB // 2)) == expected


@root_only
def test_a_limit_that_is_too_small_for_a_container(snapshot: str, tmp_path: Path) -> None:
    """It is told in words, and nothing is left."""
    bundle = make_bundle(tmp_path / "bundle", "true")
    words = ("--root", str(tmp_path / "state"), "run", "--bundle", str(bundle.directory), f"{MARK}-limit")
    for number, size in sizes(snapshot).items():
        answer = call(snapshot, *words, preexec_fn=limited(number, size + MIB // 2))
        assert answer[:2] == (1, b"")
        assert answer[2].startswith(b"ociruntime: run: out of memory (ulimit -v and ")
        assert not os.path.exists(tmp_path / "state") or os.listdir(tmp_path / "state") == []


@root_only
@pytest.mark.parametrize(
    "change",
    [
        "mount -o remount,bind,ro /",
        "mount -t tmpfs none /proc",
        "mount -t tmpfs -o noexec none /tmp",
        "mount -t tmpfs none /sys",
        "mount -t tmpfs none /dev",
    ],
)
def test_strange_mounts(both: tuple[str, str], change: str) -> None:
    """A read-only /, no /proc, a /tmp from which nothing can be executed, no /sys, no /dev. (Commands are not in /tmp.)"""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        copy = shutil.copy(both[1], directory)
        bundle = make_bundle(Path(directory) / "bundle", "echo", "hello").directory
        for words in (
            ("--version",),
            UNKNOWN,
            ("features",),
            ("--root", f"{directory}/state", "run", "--bundle", str(bundle), f"{MARK}-mounts"),
            ("--root", "/tmp/ociruntime-test-state", "run", "--bundle", str(bundle), f"{MARK}-mounts"),
        ):
            script = f'{change} && exec "$@"'
            first, second = (
                call("unshare", "--mount", "sh", "-c", script, "sh", command, *words)
                for command in (both[0], copy)
            )
            assert first[0] == second[0]
            if words != ("--version",):
                assert first == second
            assert first[0] == 0 or first[2].startswith(b"ociruntime: ")


@pytest.fixture
def public(snapshot: str) -> Iterator[str]:
    """The command, where every user finds it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        yield shutil.copy(snapshot, directory)


@root_only
def test_another_user_without_rights(public: str) -> None:
    """The default root depends on the user, who may make no containers."""

    def drop() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    for words, code, text in (
        (("state", "unknown"), 1, b"container does not exist: unknown"),
        (("features",), 0, b'"ociVersionMax"'),
        (("create", "--bundle", "/", "unknown"), 1, b"ociruntime: create: "),
        (("--root", "/root/state", "state", "unknown"), 1, b"ociruntime: state: "),
    ):
        for env in ({}, {"XDG_RUNTIME_DIR": "/nonexistent"}):
            answer = call(public, *words, env=env, cwd=Path("/"), preexec_fn=drop)
            assert answer[0] == code
            assert text in answer[1] + answer[2]
            assert b"Traceback" not in answer[2]


def test_addresses_that_are_not_random(snapshot: str) -> None:
    """As under a debugger."""
    assert call("setarch", "-R", snapshot, "--version") == call(snapshot, "--version")
    assert call("setarch", "-R", snapshot, *UNKNOWN) == call(snapshot, *UNKNOWN)
