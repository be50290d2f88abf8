# SPDX-License-Identifier: Apache-2.0
"""Does the code in docs/library.md and README.md do what the text says?"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.driver import ENVIRONMENT, runtime_under_test
from tests.harness.rootfs import busybox_template
from tests.harness.stage import new_id

REPOSITORY = Path(__file__).parents[2]
# A program that does not delete its containers itself must leave nothing; what it had is compared.
CALLER = """
import os, signal, threading
def fields():
    return [line for line in open("/proc/self/status")
            if line.startswith(("Umask", "Uid", "Gid", "Groups", "Sig", "Shd", "Cap", "NoNewPrivs"))
            and not line.startswith("SigQ")]  # how many signals wait for all of root's processes
def own():
    return (os.getcwd(), fields(), [signal.getsignal(number) for number in signal.valid_signals()],
            [os.readlink(f"/proc/self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))],
            threading.active_count(), open("/proc/self/limits").read(), cgroups(),
            open("/proc/self/oom_score_adj").read(), dict(os.environ))
def cgroups():  # paths alone: another session may mount a hierarchy, which is then in the list of all processes
    return sorted({"/\\n", *(line.split(":", 2)[2] for line in open("/proc/self/cgroup"))})
first = threading.Thread(target=os.getpid)  # with it glibc catches a signal of its own (33), for good
first.start()
first.join()
before = own()
"""
AFTER = """
assert own() == before
assert [name for name in os.listdir(root) if name != "@seccomp"] == []
"""


def blocks(page: str) -> list[str]:
    """The Python code of a page."""
    return re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(("page", "count"), [("docs/library.md", 10), ("README.md", 1)])
def test_the_code_of_the_page_runs(page: str, count: int, tmp_path: Path, nothing_left_behind: None) -> None:
    """Each block runs after the other, prints the container's output, and changes nothing in its process."""
    if runtime_under_test() != "ociruntime":
        pytest.skip("the library is this runtime's own")
    code = blocks(page)
    assert len(code) == count
    program = CALLER + f"root = {str(tmp_path / 'state')!r}\n" + "\n".join(code) + AFTER
    program = program.replace('"/srv/busybox"', repr(str(busybox_template())))
    program = program.replace('"/run/example"', "root").replace("root = root", "")
    for name in ("hello-1", "hello-2", "hello-3", "hello-4", "untrusted-1", "asking-1"):
        program = program.replace(f'"{name}"', repr(new_id()))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    wanted = (REPOSITORY / "bundle-examples/hello/output.txt").read_text()
    assert wanted in done.stdout
    if page == "docs/library.md":
        assert "/process/cwd expected an absolute path" in done.stdout
        assert "init pivot_root /root/path\n" in done.stdout
