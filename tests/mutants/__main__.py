# SPDX-License-Identifier: Apache-2.0
"""Show that each mutant is caught: sudo .venv/bin/python3 -m tests.mutants [WORD ...]

Words choose mutants whose file or description has one of them. Works in a copy of the repository with an environment of its
own beside it, so that the command `ociruntime` of the tests is the broken one. First the tests must pass unbroken.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import mutants

# How the build makes init: of every C file that belongs to no extension module.
_REBUILD = (
    "import tomllib;"
    "from ociruntime.native import _build;"
    "modules = tomllib.load(open('pyproject.toml', 'rb'))['tool']['setuptools']['ext-modules'];"
    "sources = [source for module in modules for source in module['sources']];"
    "_build.compile_init('ociruntime/native/ociruntime-init', shim_sources=sources)"
)
_PASSED, _FAILED = 0, 1  # of pytest's exit codes; any other is no verdict


def _listed(*options: str) -> list[str]:
    """Files that git knows."""
    command = ["git", "-C", str(mutants.REPOSITORY), "ls-files", "-z", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]


def _copy(target: Path) -> None:
    """The files under version control, what the build has made of them, and an environment that finds them."""
    for name in [*_listed(), *_listed("--others", "--ignored", "--exclude-standard", "ociruntime")]:
        if "__pycache__" in name:
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(mutants.REPOSITORY / name, target / name, follow_symlinks=False)
    source, made = mutants.REPOSITORY / ".venv", target / ".venv"
    shutil.copytree(source / "bin", made / "bin", symlinks=True)
    shutil.copy(source / "pyvenv.cfg", made)
    (packages,) = source.glob("lib/*/site-packages")
    ours = made / packages.relative_to(source)
    ours.mkdir(parents=True)
    for entry in packages.iterdir():
        if entry.name.startswith("__editable__"):
            text = entry.read_text(encoding="utf-8")
            (ours / entry.name).write_text(
                text.replace(str(mutants.REPOSITORY), str(target)), encoding="utf-8"
            )
        else:
            (ours / entry.name).symlink_to(entry)


def _run(tree: Path, tests: list[str]) -> tuple[int, str]:
    """Pytest's exit code and last lines, in the copy."""
    done = subprocess.run(
        [str(tree / ".venv/bin/python3"), "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=tree, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    return done.returncode, "\n".join((done.stdout + done.stderr).splitlines()[-15:])


def _put(tree: Path, mutant: mutants.Mutant, text: str) -> None:
    """Write the file; C becomes the program again. What Python has compiled of an older text is not taken for it."""
    path = tree / "ociruntime" / mutant.file
    path.write_text(text, encoding="utf-8")
    for stale in path.parent.glob(f"__pycache__/{path.stem}.*"):
        stale.unlink()
    if path.suffix == ".c":
        subprocess.run(
            [str(tree / ".venv/bin/python3"), "-c", _REBUILD], cwd=tree, check=True, stdout=subprocess.DEVNULL
        )


def _verdict(tree: Path, mutant: mutants.Mutant) -> str:
    """Empty if the mutant is caught, else what happened."""
    whole = (tree / "ociruntime" / mutant.file).read_text(encoding="utf-8")
    _put(tree, mutant, mutants.apply(mutant, whole))
    try:
        code, text = _run(tree, list(mutant.tests))
    finally:
        _put(tree, mutant, whole)
    if code == _FAILED:
        return ""
    return "SURVIVED" if code == _PASSED else f"no verdict (pytest ended with {code}):\n{text}"


def main(words: list[str]) -> int:
    """Try the chosen mutants; 1 if one survives."""
    chosen = [
        one for one in mutants.load() if not words or any(word in f"{one.file} {one.what}" for word in words)
    ]
    with tempfile.TemporaryDirectory(prefix="ociruntime-mutants-") as scratch:
        tree = Path(scratch, "tree")
        tree.mkdir()
        _copy(tree)
        tests = sorted({test for one in chosen for test in one.tests})
        code, text = _run(tree, tests)
        if code != _PASSED:
            print(f"the tests don't pass without a mistake:\n{text}")
            return 1
        print(f"{len(tests)} tests pass without a mistake", flush=True)
        alive = 0
        for one in chosen:
            verdict = _verdict(tree, one)
            alive += verdict != ""
            print(f"{verdict or 'caught'}: {one.file}: {one.what}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} mutants caught")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
