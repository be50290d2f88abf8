# SPDX-License-Identifier: Apache-2.0
"""What can an attacker reach of a snapshot, whose code and objects are at fixed addresses?"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from ociruntime.cli.snapshot.build import BuildError, build
from tests.harness.bundle import make_bundle
from tests.harness.driver import MARK
from tests.native.snapshots import call, same
from tests.native.test_snapshot_image import segments

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = ("--root", "/nonexistent", "state", "unknown")
PRELOADED = """
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) { close(open(getenv("TRACE"), O_CREAT | O_WRONLY, 0600)); }
"""


def test_what_a_library_or_python_obeys_has_no_effect(snapshot: str, tmp_path: Path) -> None:
    """The dynamic linker would load this library, and Python these modules."""
    (tmp_path / "loaded.c").write_text(PRELOADED)
    library = tmp_path / "libloaded.so"
    subprocess.run(["gcc", "-shared", "-fPIC", str(tmp_path / "loaded.c"), "-o", str(library)], check=True)
    trace = tmp_path / "trace"
    env = {
        "TRACE": str(trace),
        "LD_PRELOAD": str(library),
        "LD_AUDIT": str(library),
        "PATH": os.environ["PATH"],
    }
    assert call("/bin/true", env=env)[0] == 0
    assert trace.exists()  # so it would be seen
    trace.unlink()
    for name in ("datetime", "encodings", "ociruntime", "resource", "sitecustomize", "traceback"):
        (tmp_path / f"{name}.py").write_text(f"open({str(trace)!r}, 'w')\n")
    python = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "datetime.py"),
    }
    for words in (
        ("--version",),
        UNKNOWN,
        ("features",),
        ("--debug", "create", "--bundle", "/nonexistent", "unknown"),
    ):
        plain = call(snapshot, *words, env={}, cwd=tmp_path)
        changed = call(
            snapshot, *words, env={**env, **python, "PYTHONINSPECT": "1", "PYTHONVERBOSE": "1"}, cwd=tmp_path
        )
        assert [re.sub(rb'time="[^"]+"', b"", part) for part in changed[1:]] == [
            re.sub(rb'time="[^"]+"', b"", part) for part in plain[1:]
        ]
    assert not trace.exists()


def test_it_opens_nothing_by_a_relative_path(snapshot: str, tmp_path: Path) -> None:
    """What the build named in a relative way must not be looked for in the caller's directory."""
    log = tmp_path / "log"
    command = ["strace", "-f", "-qq", "-e", "trace=file", "-o", str(log), snapshot, *UNKNOWN]
    subprocess.run(command, cwd=tmp_path, stderr=subprocess.DEVNULL, check=False)
    paths = re.findall(r'\w+\((?:AT_FDCWD, )?"([^"]*)"', log.read_text())
    assert snapshot in paths
    assert [path for path in paths if not path.startswith("/")] == []


def test_documents_that_are_too_deep_or_too_large(both: tuple[str, str], tmp_path: Path) -> None:
    """The limits hold, and before the parser has used the stack."""
    bundle = make_bundle(tmp_path / "bundle", "true").directory
    config = json.loads((bundle / "config.json").read_text())
    words = ("--root", str(tmp_path / "state"), "create", "--bundle", str(bundle), f"{MARK}-deep")
    for depth in (101, 100_000, 5_000_000):
        (bundle / "config.json").write_text('{"annotations": ' + "[" * depth + "]" * depth + "}")
        code, out, err = same(both, *words)
        assert (code, out) == (1, b"")
        assert b"nested" in err
    config["annotations"] = {"large": "x" * (33 << 20)}
    (bundle / "config.json").write_text(json.dumps(config))
    code, _, err = same(both, *words)
    assert code == 1
    assert b"config.json" in err
    assert not (tmp_path / "state").exists()


def test_what_is_relocated_is_read_only_afterwards(snapshot: str) -> None:
    """A part of the memory that the kernel maps as writable."""
    kinds = segments(snapshot)
    ((_, begin, size, _),) = [part for part in kinds if part[0] == "GNU_RELRO"]
    assert size > 0x1000
    assert any(
        kind == "LOAD" and "W" in flags and start <= begin < start + length
        for kind, start, length, flags in kinds
    )


def test_functions_check_the_stack(tmp_path: Path) -> None:
    """Those with a buffer: the compiler's flag, and what it makes of it."""
    from ociruntime.cli.snapshot.build import _FLAGS

    (tmp_path / "buffer.c").write_text("void use(char *); void f(void) { char buffer[64]; use(buffer); }\n")
    done = subprocess.run(
        ["gcc", *_FLAGS, "-S", "-o", "-", str(tmp_path / "buffer.c")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "__stack_chk_fail" in done.stdout


def test_nobody_else_may_write_to_it(snapshot: str) -> None:
    """Whatever the umask of the build."""
    status = os.stat(snapshot)
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o755, os.geteuid())


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
def test_seeds_that_are_none(seed: int, tmp_path: Path) -> None:
    """Python takes 32 bits."""
    with pytest.raises(BuildError, match="--seed"):
        build(str(tmp_path / "ociruntime"), seed=seed)
