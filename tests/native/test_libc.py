# SPDX-License-Identifier: Apache-2.0
"""Does native/libc.c, init's small C library, do what a C library does? Its driver is use_libc.c."""

from __future__ import annotations

import platform
import signal
import subprocess
from pathlib import Path

import pytest

from ociruntime.native import _build

_HERE = Path(__file__).parent
_LIBC = _HERE.parents[1] / "ociruntime" / "native" / "libc.c"

pytestmark = pytest.mark.skipif(not _build.has_own_libc(), reason="init is linked with libc.a here")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver, compiled and linked as init is."""
    target = tmp_path_factory.mktemp("libc") / "use_libc"
    flags = [*_build.INIT_FLAGS, *_build.OWN_LIBC_FLAGS, "-Werror"]
    command = [*_build.compiler(), *flags, str(_HERE / "use_libc.c"), str(_LIBC), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def _run(program: Path, word: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, word, "last"], capture_output=True, text=True, check=False, timeout=60)


def test_functions(program: Path) -> None:
    """Arguments arrive, functions return what they should, and the exit status is that of main."""
    done = _run(program, "all")
    assert (done.stdout, done.returncode) == ("", 3), "failing lines of use_libc.c"


def test_stack_protector(program: Path) -> None:
    """A function that has written past its array does not return."""
    assert _run(program, "overflow").returncode == -signal.SIGABRT


def test_size() -> None:
    """Init itself is linked like this: it is a twentieth of what it would be with glibc."""
    gap = (
        65536 if platform.machine() == "aarch64" else 0
    )  # up to data, which begins on a page of 64 KiB there
    assert (_LIBC.parent / "ociruntime-init").stat().st_size < 65536 + gap
