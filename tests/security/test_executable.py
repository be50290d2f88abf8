# SPDX-License-Identifier: Apache-2.0
"""Invariant 1: nothing that a container can reach is a writable program of the host (CVE-2019-5736)."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import Config, set_capabilities, with_namespace, writable_root
from tests.harness.driver import ENVIRONMENT, TIMEOUT, command_of, runtime_under_test

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.stage import Stage

_F_GET_SEALS = 1034
_ALL_SEALS = 0xF  # seal, shrink, grow, write
_ATTACKER = ("CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_SYS_ADMIN")


def _runtime_files() -> list[Path]:
    """What runs on the host when the runtime does: launcher, interpreter, modules, byte code, native parts."""
    launcher = Path(command_of(runtime_under_test())[0]).resolve()
    files = [launcher, Path(sys.executable).resolve()]
    package = Path(__file__).parents[2] / "ociruntime"
    files += [
        path
        for path in package.rglob("*")
        if path.suffix in (".py", ".pyc", ".so") or path.name.endswith("init")
    ]
    return [path for path in files if path.is_file()]


def _sums() -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in _runtime_files()}


@pytest.fixture(autouse=True)
def untouched_runtime() -> Iterator[None]:
    """Fails if a file of the runtime has another content after the attack."""
    before = _sums()
    assert any(path.endswith("ociruntime-init") for path in before)
    yield
    after = _sums()  # byte code may have been added meanwhile by others, but nothing may change
    assert {path: after.get(path) for path in before} == before


def test_own_program_as_program(stage: Stage) -> None:
    """CVE-2019-5736: with args /proc/self/exe the container gets no program of the host; init refuses to be used."""
    result = stage.run("/proc/self/exe", "--version")
    assert result.code != 0
    assert result.out == ""


def test_own_program_as_interpreter(stage: Stage) -> None:
    """CVE-2019-5736: a script of the image with `#!/proc/self/exe` gets no program of the host."""
    bundle = stage.bundle("/attack", edit=writable_root)
    bundle.script("/attack", "#!/proc/self/exe\nimport os; os.write(1, b'python of the host')\n")
    result = stage.container(bundle=bundle).run()
    assert result.code != 0
    assert result.out == ""


def test_waiting_init_is_a_sealed_memory_file(stage: Stage) -> None:
    """CVE-2019-5736: before the exec /proc/<init>/exe is memory with all seals, which can't be written to."""
    container = stage.in_state("created")
    program = f"/proc/{container.state()['pid']}/exe"
    assert os.readlink(program).startswith("/memfd:")
    descriptor = os.open(program, os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert fcntl.fcntl(descriptor, _F_GET_SEALS) & _ALL_SEALS == _ALL_SEALS
    finally:
        os.close(descriptor)
    with pytest.raises(OSError, match=r"Text file busy|not permitted"):
        os.close(os.open(program, os.O_WRONLY | os.O_CLOEXEC))
    container.delete("--force").ok()


@pytest.mark.skipif(
    not os.path.exists("/proc/sys/vm/memfd_noexec"), reason="the kernel has no vm.memfd_noexec"
)
def test_without_executable_memory_files(stage: Stage) -> None:
    """CVE-2019-5736 where vm.memfd_noexec=2 forbids memory files: a copy in a read-only tmpfs that is attached nowhere."""
    container = stage.container("sleep", "100")
    stage.runtime.prepare(container.bundle)
    noted = stage.directory / "pid"
    place = ["--bundle", str(container.bundle.directory), "--pid-file", str(noted)]
    script = (
        "echo 2 > /proc/sys/vm/memfd_noexec\n"
        f"{' '.join(stage.runtime.argv('create', *place, container.id))} > /dev/null || exit\n"
        f"readlink /proc/$(cat {noted})/exe\n"
        f"{' '.join(stage.runtime.argv('delete', '--force', container.id))}\n"
    )
    result = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
        env=ENVIRONMENT, timeout=TIMEOUT, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (result.stdout.strip(), result.stderr) == ("/init", "")


def test_waiting_init_maps_nothing_of_the_host(stage: Stage) -> None:
    """Invariant 1: no library, interpreter or module of the host is mapped into the process that waits in the container."""
    container = stage.in_state("created")
    maps = Path(f"/proc/{container.state()['pid']}/maps").read_text()
    files = {words[5] for words in (line.split(maxsplit=5) for line in maps.splitlines()) if len(words) > 5}
    backed = {name for name in files if not name.startswith("[")}
    assert backed
    progress = f"{stage.runtime.root}/{container.id}/progress"  # a data file of this container
    assert all(name.startswith("/memfd:") or name == progress for name in backed), backed
    container.delete("--force").ok()


def test_overwriting_init_from_beside(stage: Stage, attack: Path) -> None:
    """CVE-2019-5736: who shares the pid namespace and has CAP_SYS_PTRACE can't write to init's program, not even after its end."""

    def attacker(config: Config) -> None:
        set_capabilities(config, *_ATTACKER)
        config["process"]["rlimits"] = []

    bundle = stage.bundle("/attack", "overwrite", edit=attacker)
    shutil.copy(attack, bundle.rootfs / "attack")
    beside = stage.container(bundle=bundle)
    beside.create().ok()
    beside.start().ok()
    beside.wait_for_output("watching")
    namespace = f"/proc/{beside.state()['pid']}/ns/pid"
    victim = stage.container("true", edit=lambda config: with_namespace(config, "pid", namespace))
    victim.create().ok()
    beside.wait_for_output("read: opened")  # it is where the published exploit starts
    assert victim.status() == "created"
    victim.delete("--force").ok()
    beside.wait_for("stopped", 20)
    said = beside.output().split("\n")
    beside.delete().ok()
    assert [line for line in said if line.endswith(("written", "truncated", "mapped"))] == []
    assert {"pwrite: EPERM", "ftruncate: EPERM", "mmap: EPERM"} <= set(said) or "never writable" in said
