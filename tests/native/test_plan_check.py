# SPDX-License-Identifier: Apache-2.0
"""Does plan_check let nothing through that would make init read outside of its plan? Fuzzed under sanitizers.

The driver is fuzz_plan_check.c: what the check accepts is obeyed with init's own reading code. For a longer
search by hand there is libfuzzer_plan_check.c.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from ociruntime.errors import InvalidConfig
from ociruntime.native.encode import MAGIC, OPS, encode, verify
from ociruntime.step import InitStep
from tests.native import corpus

_HERE = Path(__file__).parent
_NATIVE = _HERE.parents[1] / "ociruntime" / "native"
_CASES = 1_000_000
_SANITIZE = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# A check that says yes to whatever begins like a plan and has room for its records.
_CREDULOUS = """
#include <string.h>
#include "plan.h"
int real_check(const void *, uint32_t, uint32_t *);
int plan_check(const void *buffer, uint32_t size, uint32_t *where) {
  struct plan_header header;
  *where = 0;
  if (size < sizeof header)
    return -1;
  memcpy(&header, buffer, sizeof header);
  for (uint32_t i = 0; i < header.count && i < (size - sizeof header) / sizeof(struct plan_record); i++) {
    struct plan_record record;
    memcpy(&record, (const char *)buffer + sizeof header + i * sizeof record, sizeof record);
    if (record.op == OP_none || record.op >= OP_count)
      return -1;
  }
  if (header.count > (size - sizeof header) / sizeof(struct plan_record))
    return -1;
  return header.magic == PLAN_MAGIC && header.size == size ? 0 : -1;
}
"""


def _compiler() -> str:
    found = shutil.which("gcc") or shutil.which("clang")
    assert found, "no C compiler: apt-get install gcc"
    return found


def _build(target: Path, *sources: Path, flags: tuple[str, ...] = ()) -> Path:
    command = [_compiler(), *_SANITIZE, *flags, f"-I{_NATIVE}", *map(str, sources), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def _fuzz(driver: Path, plans: Path, cases: int, seed: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    command = [str(driver), str(plans), str(cases), str(seed)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=300, errors="replace"
    )


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plans from which mutations start."""
    path = tmp_path_factory.mktemp("corpus") / "plans"
    assert corpus.write_one_file(path) > 5
    return path


def test_a_million_buffers(plans: Path, tmp_path: Path) -> None:
    """1,000,000 mutated and random buffers: no read outside in the check, nor in init for what it accepts."""
    seed = int(os.environ.get("OCIRUNTIME_FUZZ_SEED") or int.from_bytes(os.urandom(4), "little"))
    driver = _build(tmp_path / "fuzz", _HERE / "fuzz_plan_check.c", _NATIVE / "plan_check.c")
    done = _fuzz(driver, plans, _CASES, seed)
    print(f"seed {seed}: {done.stdout}")
    assert done.returncode == 0, f"OCIRUNTIME_FUZZ_SEED={seed}: {done.stderr[-4000:]}"
    words = done.stdout.split()
    cases, accepted = int(words[0]), int(words[2])
    assert cases == _CASES
    # Neither side of the check may be idle: else the fuzzer tries one thing a million times.
    assert cases // 50 < accepted < cases // 2, done.stdout


def test_the_fuzzer_sees_a_broken_check(plans: Path, tmp_path: Path) -> None:
    """With a check that believes every offset the same driver is stopped by the sanitizer."""
    source = tmp_path / "credulous.c"
    source.write_text(_CREDULOUS)
    words = _build_words(tmp_path)
    driver = _build(tmp_path / "fuzz", _HERE / "fuzz_plan_check.c", source, words)
    done = _fuzz(driver, plans, 20_000, 1)
    # the sanitizer's word, or the walker's own abort because a slot does not exist
    stopped = "AddressSanitizer" in done.stderr or "runtime error" in done.stderr
    assert stopped or done.returncode == -signal.SIGABRT, done.stderr[-2000:]


def _build_words(directory: Path) -> Path:
    """plan_check.c with its check under another name, for plan_word."""
    renamed = directory / "words.c"
    renamed.write_text(f'#define plan_check real_check\n#include "{_NATIVE / "plan_check.c"}"\n')
    return renamed


def test_libfuzzer_target_compiles(tmp_path: Path) -> None:
    """The target that is run by hand builds from the sources as they are."""
    main = tmp_path / "main.c"
    main.write_text(
        "#include <stdint.h>\n#include <stddef.h>\n"
        "int LLVMFuzzerTestOneInput(const uint8_t *, size_t);\n"
        'int main(void) { return LLVMFuzzerTestOneInput((const uint8_t *)"no plan", 7); }\n'
    )
    target = _build(
        tmp_path / "once",
        _HERE / "libfuzzer_plan_check.c",
        main,
        _NATIVE / "plan_check.c",
        flags=("-Werror",),
    )
    assert subprocess.run([str(target)], check=False).returncode == 0


_HEADER = 24
_RECORD = 56


def _put(buffer: bytes, offset: int, value: int, size: int = 4) -> bytes:
    return buffer[:offset] + value.to_bytes(size, "little") + buffer[offset + size :]


def _get(buffer: bytes, offset: int, size: int = 4) -> int:
    return int.from_bytes(buffer[offset : offset + size], "little")


def _argument(record: int, number: int) -> int:
    """Offset of an argument of a record in the buffer."""
    return _HEADER + record * _RECORD + 8 + 4 * number


def _plan(*steps: InitStep) -> bytes:
    return encode(list(enumerate(steps)), ["first"], 3)


def _refused(buffer: bytes) -> None:
    with pytest.raises(RuntimeError, match="malformed"):
        verify(buffer)


def test_header_is_checked() -> None:
    """Magic, size, count of records, slots and first descriptor must make sense."""
    good = _plan(InitStep("setsid"))
    verify(good)
    assert _get(good, 0) == MAGIC
    for offset, value in (
        (0, MAGIC + 1),
        (4, len(good) + 1),
        (8, 0),
        (8, 2),
        (8, 1 << 31),
        (12, (1 << 20) + 1),
        (16, 2),
        (20, len(good) + 1),
    ):
        _refused(_put(good, offset, value))
    for length in (0, 1, _HEADER - 1, _HEADER, len(good) - 1):
        _refused(good[:length])


@pytest.mark.parametrize("op", list(OPS))
def test_every_argument_is_checked(op: str) -> None:
    """For each op: an unused argument must be 0, and no offset, list, number or slot may be wrong."""
    signature = OPS[op][1]
    steps = [step for _, step in corpus.every_op(1)]
    step = next(step for step in steps if step.op == op)
    good = encode([(0, step)], ["first", "second"], 3, corpus.BLOBS)
    verify(good)
    size = len(good)
    wrong = {
        "s": (0, _HEADER, size, size + 8, 0xFFFFFFFF),
        "S": (_HEADER, size, 0xFFFFFFFF),
        "p": (0, _HEADER, size),
        "l": (0, _HEADER, 4, size, size - 8, 0xFFFFFFF8),
        "n": (0, _HEADER, size),
        "f": (2, 0xFFFFFFFF),
        "b": (0, _HEADER, 4, size, size - 8, 0xFFFFFFF8),
        "u": (),
    }
    for number in range(12):
        values = wrong[signature[number]] if number < len(signature) else (1,)
        for value in values:
            _refused(_put(good, _argument(0, number), value))


def test_unknown_ops_are_refused() -> None:
    """Op 0, and the first number past the table, are not operations."""
    good = _plan(InitStep("setsid"))
    for code in (0, len(OPS) + 1, 0xFFFF):
        _refused(_put(good, _HEADER, code, 2))


def test_path_must_be_absolute() -> None:
    """An argument of kind p begins with a slash, so that it has one when init looks for its parent."""
    verify(_plan(InitStep("mkdir", "/x", 0)))
    with pytest.raises(RuntimeError):
        _plan(InitStep("mkdir", "x", 0))


@pytest.mark.parametrize("number", ["", "x", "-1", "4294967296", "1 ", "99999999999999999999"])
def test_number_must_fit(number: str) -> None:
    """A number of a list is decimal and has 32 bits."""
    with pytest.raises(RuntimeError):
        _plan(InitStep("groups", [number]))


def test_string_must_end_inside() -> None:
    """A string without a NUL before the end of the buffer is refused."""
    good = _plan(InitStep("hostname", "name"))
    assert good.endswith(b"name\0")
    _refused(good[:-1] + b"x")


def test_list_must_end_with_zero() -> None:
    """The word after the last element is the end of the array that execve is given."""
    good = _plan(InitStep("find_program", ["/bin/true"]))
    end = _get(good, _argument(0, 0)) + 16
    assert _get(good, end, 8) == 0
    _refused(_put(good, end, _get(good, end - 8, 8), 8))


def test_lists_may_not_be_shared() -> None:
    """Init writes into lists, so a list of two arguments, or inside of another one, is refused."""
    good = _plan(InitStep("groups", ["1", "2"]), InitStep("groups", ["3"]))
    verify(good)
    first = _get(good, _argument(0, 0))
    _refused(_put(good, _argument(1, 0), first))
    longer = _plan(InitStep("find_program", ["a"] * 200), InitStep("find_program", ["b"]))
    inside = _get(longer, _argument(0, 0)) + 16
    _refused(_put(longer, _argument(1, 0), inside))


def test_string_may_not_lie_in_a_list() -> None:
    """A string in a list would lose its end when the list becomes pointers."""
    good = _plan(InitStep("groups", ["1"]), InitStep("hostname", "x"))
    _refused(_put(good, _argument(1, 0), _get(good, _argument(0, 0))))


def test_bad_text_is_the_configs_fault() -> None:
    """NUL and lone surrogates can't become C strings; the error names the property."""
    for text in ("a\0b", "\ud800"):
        step = InitStep("hostname", text, pointer="/hostname")
        with pytest.raises(InvalidConfig, match=r"character|NUL") as caught:
            _plan(step)
        assert caught.value.pointer == "/hostname"
