# SPDX-License-Identifier: Apache-2.0
"""Show that each mutant is caught: sudo .venv/bin/python3 -m tests.mutants [-j NUMBER] [WORD ...]

Words choose mutants whose file, description or rows of the ledger have one of them (R012). Works in copies of the repository
with an environment of their own beside them, so that the command `ociruntime` of the tests is the broken one; -j says in how
many at once. First the tests must pass unbroken.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
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
# How it makes the validator of the schema.
_RECOMPILE = (
    "import json;"
    "from ociruntime.check.schema_compiler import compile_schema;"
    "schema = json.load(open('specs/config.schema.json'));"
    "open('ociruntime/check/_config_validator.py', 'w').write(compile_schema(schema))"
)
_PASSED, _FAILED = 0, 1  # of pytest's exit codes; any other is not a verdict


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


def _run(tree: Path, tests: list[str], *options: str) -> tuple[int, str]:
    """Pytest's exit code and last lines, in the copy."""
    command = [str(tree / ".venv/bin/python3"), "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *options, *tests],
        cwd=tree, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    return done.returncode, "\n".join((done.stdout + done.stderr).splitlines()[-15:])


def _put(tree: Path, mutant: mutants.Mutant, text: str) -> None:
    """Write the file; C becomes the program again, a schema the validator. Python must not use what it compiled before."""
    path = tree / mutant.place
    path.write_text(text, encoding="utf-8")
    for stale in path.parent.glob(f"__pycache__/{path.stem}.*"):
        stale.unlink()
    made_by = {".c": _REBUILD, ".json": _RECOMPILE}.get(path.suffix)
    if made_by:
        subprocess.run(
            [str(tree / ".venv/bin/python3"), "-B", "-c", made_by],
            cwd=tree,
            check=True,
            stdout=subprocess.DEVNULL,
        )


def _verdict(tree: Path, mutant: mutants.Mutant) -> str:
    """Empty if the mutant is caught, else what happened."""
    whole = (tree / mutant.place).read_text(encoding="utf-8")
    try:
        _put(tree, mutant, mutants.apply(mutant, whole))
        code, text = _run(tree, list(mutant.tests))
    except subprocess.CalledProcessError as failure:
        return f"no verdict (it can't be built: {failure.cmd[-1][:60]}...)"
    finally:
        _put(tree, mutant, whole)
    if code == _FAILED:
        return ""
    return "SURVIVED" if code == _PASSED else f"no verdict (pytest ended with {code}):\n{text}"


def _in_some_tree(trees: queue.Queue[Path], mutant: mutants.Mutant) -> str:
    """The verdict, in a copy that nothing else breaks meanwhile."""
    tree = trees.get()
    try:
        return _verdict(tree, mutant)
    finally:
        trees.put(tree)


def _try(chosen: list[mutants.Mutant], jobs: int, scratch: Path) -> int:
    """Print a verdict for each; return how many are not caught."""
    trees: queue.Queue[Path] = queue.Queue()
    for number in range(jobs):
        tree = scratch / str(number)
        tree.mkdir()
        _copy(tree)
        trees.put(tree)
    tests = sorted({test for one in chosen for test in one.tests})
    code, text = _run(scratch / "0", tests, "-n", str(jobs if jobs > 1 else 0))
    if code != _PASSED:
        print(f"the tests don't pass without a mistake:\n{text}")
        return len(chosen)
    print(f"{len(tests)} tests pass without a mistake", flush=True)
    alive = 0
    with ThreadPoolExecutor(jobs) as pool:
        begun = {pool.submit(_in_some_tree, trees, one): one for one in chosen}
        for ended in as_completed(begun):
            one, verdict = begun[ended], ended.result()
            alive += verdict != ""
            print(f"{verdict or 'caught'}: {' '.join([*one.rows, one.file])}: {one.what}", flush=True)
    return alive


def main(arguments: list[str]) -> int:
    """Try the chosen mutants; 1 if one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("-j", type=int, default=1, metavar="NUMBER", dest="jobs")
    parser.add_argument("words", nargs="*", metavar="WORD")
    given = parser.parse_args(arguments)
    chosen = [
        one
        for one in mutants.load()
        if not given.words or any(word in f"{one.file} {one.what} {one.rows}" for word in given.words)
    ]
    with tempfile.TemporaryDirectory(prefix="ociruntime-mutants-") as scratch:
        alive = _try(chosen, given.jobs, Path(scratch))
    print(f"{len(chosen) - alive} of {len(chosen)} mutants caught")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
