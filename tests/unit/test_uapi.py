# SPDX-License-Identifier: Apache-2.0
"""Are the kernel's numbers those of its headers?"""

from __future__ import annotations

import shutil
import subprocess

import pytest

from ociruntime.linux import namespace_entries, uapi

_HEADERS = ("fcntl", "if", "mount", "sched")


def test_numbers_are_the_kernel_s() -> None:
    """A compiler that reads the kernel's headers finds the same number behind each name that they have."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (apt-get install gcc)")
    numbers = {
        name: value
        for module in (uapi, namespace_entries)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int) and name != "TYPE_CHECKING"
    }
    assert len(numbers) > 40
    lines = [f"#include <linux/{name}.h>" for name in _HEADERS]
    for name, value in numbers.items():
        lines += [f"#ifdef {name}", f'_Static_assert({name} == {value}, "{name}");', "#endif"]
    lines += ["#ifndef MOUNT_ATTR_RDONLY", "#error no header of the kernel", "#endif", ""]
    done = subprocess.run(
        [compiler, "-fsyntax-only", "-xc", "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
