# SPDX-License-Identifier: Apache-2.0
"""Do containers live the same life under a snapshot? Compared with the launcher of this environment."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ociruntime.cli.snapshot import build as building
from tests.harness.bundle import Bundle, make_bundle
from tests.harness.driver import MARK
from tests.harness.seccomp_profiles import dockers_filter
from tests.native.snapshots import LAUNCHER, Answer, call, same

pytestmark = pytest.mark.root


def scrubbed(answer: Answer) -> tuple[int, str, str]:
    """Without what differs between two containers: pids and times."""
    code, out, err = answer

    def scrub(data: bytes) -> str:
        text = data.decode(errors="surrogateescape")
        return re.sub(r'("pid": )\d+|("created": )"[^"]+"', r"\1\2", text)

    return code, scrub(out), scrub(err)


def life(command: str, directory: Path, bundle: Bundle, name: str) -> list[tuple[int, str, str]]:
    """The answers from create to delete."""

    def verb(*words: str) -> tuple[int, str, str]:
        return scrubbed(call(command, "--root", str(directory / "state"), *words))

    answers = []
    try:
        with open(directory / "output", "w+b") as output:
            words = [
                command,
                "--root",
                str(directory / "state"),
                "create",
                "--bundle",
                str(bundle.directory),
                name,
            ]
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
            output.seek(0)
            answers.append((done.returncode, output.read().decode(), ""))
        answers += [
            verb("state", name),
            verb("create", "--bundle", str(bundle.directory), name),
            verb("start", name),
        ]
        answers += [
            verb("start", name),
            verb("exec", name, "sh", "-c", "echo in $0; exit 7"),
            verb("state", name),
        ]
        answers += [verb("exec", name, "/nonexistent"), verb("delete", name), verb("kill", name, "KILL")]
        for _ in range(500):
            if '"stopped"' in verb("state", name)[1]:
                break
        answers += [
            verb("kill", name, "TERM"),
            verb("exec", name, "true"),
            verb("delete", name),
            verb("state", name),
        ]
    finally:
        verb("delete", "--force", name)
    return answers


def test_a_container_s_life(both: tuple[str, str], tmp_path: Path) -> None:
    """Each verb, also where it is refused."""
    bundle = make_bundle(tmp_path / "bundle", "sleep", "100")
    first, second = (life(command, tmp_path, bundle, f"{MARK}-life") for command in both)
    assert first == second
    assert [code for code, _, _ in second] == [
        0,
        0,
        1,
        0,
        1,
        7,
        0,
        second[7][0],
        1,
        0,
        second[10][0],
        second[11][0],
        0,
        1,
    ]


def executions(tmp_path: Path, *words: str) -> int:
    """How many programs a call has executed: a second one is the launcher."""
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-e", "trace=execve", "-o", trace, *words], stdout=subprocess.DEVNULL, check=True
    )
    return trace.read_text().count("execve(")


def test_list(both: tuple[str, str], tmp_path: Path) -> None:
    """The same table, without the launcher, as the owner's name is in /etc/passwd; a warning is said once."""
    bundle = make_bundle(tmp_path / "bundle", "sleep", "100")
    snapshot, name = both[1], f"{MARK}-list"
    words = ("--root", str(tmp_path / "state"))
    make = [snapshot, *words, "create", "--bundle", str(bundle.directory), name]
    nothing = subprocess.DEVNULL
    try:
        subprocess.run(make, stdin=nothing, stdout=nothing, stderr=nothing, check=True)
        (tmp_path / "state/stranger").mkdir()
        (tmp_path / "state/stranger/state.json").write_text("{")
        said = [same(both, *words, "list", *more) for more in ((), ("--quiet",), ("--format", "json"))]
        assert [(code, err.count(b"\n")) for code, _, err in said] == [(0, 1)] * 3
        assert b'"owner":"root"' in said[2][1]
        assert executions(tmp_path, snapshot, *words, "list") == 1
    finally:
        call(snapshot, *words, "delete", "--force", name)


@pytest.mark.parametrize(
    "program",
    [
        "echo $0 $HOME; exit 3",
        "kill -TERM $$",
        "cat /proc/self/status | grep -E 'Sig(Ign|Blk|Cgt)|Cap|Seccomp:'",
    ],
)
def test_run(both: tuple[str, str], tmp_path: Path, program: str) -> None:
    """Output and exit code of the program; the signals that it ignores; its capabilities."""
    bundle = make_bundle(tmp_path / "bundle", "sh", "-c", program)
    same(both, "--root", str(tmp_path / "state"), "run", "--bundle", str(bundle.directory), f"{MARK}-run")


def test_limits_from_stdin(both: tuple[str, str], tmp_path: Path) -> None:
    """Those that break the schema are explained, whether stdin is a pipe or a file."""
    bundle = make_bundle(tmp_path / "bundle", "sleep", "100")
    name, options = f"{MARK}-limits", ("--root", str(tmp_path / "state"))
    assert (
        subprocess.run(
            [both[1], *options, "run", "-d", "-b", str(bundle.directory), name], stdin=-3, check=False
        ).returncode
        == 0
    )
    (tmp_path / "limits").write_text('{"memory": {"limit": "much"}}')
    try:
        for words in (f"cat {tmp_path}/limits | $0 $*", f"$0 $* < {tmp_path}/limits"):
            first, second = (
                call("/bin/sh", "-c", words, command, *options, "update", "--resources", "-", name)
                for command in both
            )
            assert first == second
            assert b"/memory/limit: " in second[2]
    finally:
        call(both[1], *options, "delete", "--force", name)


@pytest.mark.parametrize(
    "ignored", [(), (signal.SIGHUP,), (signal.SIGPIPE, signal.SIGINT), (signal.SIGUSR1, signal.SIGRTMIN + 2)]
)
def test_signals_that_a_hook_sees(both: tuple[str, str], tmp_path: Path, ignored: tuple[int, ...]) -> None:
    """Dispositions and mask of a hook, which inherits those of the runtime."""
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ngrep -E 'Sig(Ign|Blk|Cgt)' /proc/self/status > {tmp_path}/signals\n")
    hook.chmod(0o755)
    bundle = make_bundle(
        tmp_path / "bundle",
        "true",
        edit=lambda config: config.update(hooks={"createRuntime": [{"path": str(hook)}]}),
    )

    def ignore() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    seen = []
    for command in both:
        words = ("--root", str(tmp_path / "state"), "run", "-b", str(bundle.directory), f"{MARK}-signals")
        assert call(command, *words, preexec_fn=ignore)[0] == 0
        seen.append((tmp_path / "signals").read_text())
    assert seen[0] == seen[1]


def test_the_environment_of_a_hook(both: tuple[str, str], tmp_path: Path) -> None:
    """A hook that names none gets the caller's: Python's view of it, not the one of the build."""
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\nenv > {tmp_path}/variables\n")
    hook.chmod(0o755)
    bundle = make_bundle(
        tmp_path / "bundle",
        "true",
        edit=lambda config: config.update(hooks={"createRuntime": [{"path": str(hook)}]}),
    )
    env = {"PATH": "/usr/bin:/bin", "OF_THE_CALLER": "yes"}
    for command in both:
        words = ("--root", str(tmp_path / "state"), "run", "-b", str(bundle.directory), f"{MARK}-hook")
        assert call(command, *words, env=env)[0] == 0
        seen = (tmp_path / "variables").read_text().splitlines()
        assert {"OF_THE_CALLER=yes", "PATH=/usr/bin:/bin"} <= set(seen)
        assert not [line for line in seen if line.startswith(("HOME=", "USER="))]


def test_a_config_larger_than_the_spare_memory(both: tuple[str, str], tmp_path: Path) -> None:
    """What the array has no room for comes from libc."""

    def edit(config: dict[str, Any]) -> None:
        config["process"]["env"] += [f"A{number}={'x' * 200}" for number in range(4000)]
        config["annotations"] = {f"key{number}": "v" * 100 for number in range(30_000)}

    bundle = make_bundle(tmp_path / "bundle", "sh", "-c", "echo ${#A3999}", edit=edit)
    words = ("--root", str(tmp_path / "state"), "run", "--bundle", str(bundle.directory), f"{MARK}-large")
    assert same(both, *words) == (0, b"200\n", b"")


def seccomp_bundle(tmp_path: Path) -> Bundle:
    """Its program fails with an errno that only the filter gives."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    return make_bundle(
        tmp_path / "bundle", "mkdir", "/tmp/new", edit=lambda config: config["linux"].update(seccomp=profile)
    )


def test_a_seccomp_profile(both: tuple[str, str], tmp_path: Path) -> None:
    """Each form compiles it, and finds what the other one has compiled; the filter works every time."""
    bundle = seccomp_bundle(tmp_path)
    words = ("--root", str(tmp_path / "state"), "run", "-b", str(bundle.directory), f"{MARK}-seccomp")
    expected = call(both[1], *words)
    assert b"not supported" in expected[2]
    assert len(list((tmp_path / "state/@seccomp").iterdir())) == 1
    assert same(both, *words) == expected
    shutil.rmtree(tmp_path / "state/@seccomp")
    assert same(both, *words) == expected


def traced_run(command: str, tmp_path: Path, bundle: Bundle) -> tuple[int, str]:
    """Exit code of `run` under the filter, and by its trace where that came from."""
    trace = tmp_path / "trace"
    trace.unlink(missing_ok=True)
    words = ("run", "--trace", str(trace), "-b", str(bundle.directory), f"{MARK}-traced")
    code = call(command, "--root", str(tmp_path / "state"), *words)[0]
    found = re.search(r"compile seccomp filter [^(]*\((.*?)\)", trace.read_text() if trace.exists() else "")
    return code, found[1] if found else ""


@pytest.fixture
def filtering(telling: str) -> str:
    """A snapshot with libseccomp in it, whose ordinary launcher ends with 42."""
    if not building.find_seccomp():
        pytest.skip("no libseccomp.a")
    return telling


def test_a_profile_is_compiled_in_the_snapshot(filtering: str, tmp_path: Path) -> None:
    """By the libseccomp that is linked in, without the ordinary launcher; and the launcher finds the program then."""
    bundle = seccomp_bundle(tmp_path)
    code, how = traced_run(filtering, tmp_path, bundle)
    version = re.search(r"^libseccomp: (2\.\d.*)$", call(filtering, "--version")[1].decode(), re.MULTILINE)
    assert version
    assert (code, how) == (1, f"compiled by libseccomp {version[1]}")
    assert traced_run(filtering, tmp_path, bundle) == (1, "from the cache")
    assert traced_run(LAUNCHER, tmp_path, bundle) == (1, "from the cache")


def test_both_forms_compile_the_same_program(filtering: str, tmp_path: Path) -> None:
    """Docker's profile: if both have the same libseccomp, they differ in nothing but who has made it."""
    bundle = make_bundle(
        tmp_path / "bundle", "true", edit=lambda config: config["linux"].update(seccomp=dockers_filter(set()))
    )
    made = []
    for command in (filtering, LAUNCHER):
        assert traced_run(command, tmp_path, bundle)[1].startswith("compiled by ")
        (file,) = (tmp_path / "state/@seccomp").iterdir()
        made.append(file.read_bytes().partition(b"\n")[2].partition(b"\n"))
        shutil.rmtree(tmp_path / "state/@seccomp")
    (first, _, program), (second, _, same_program) = made
    assert (json.loads(first)["library"], "libseccomp.so" in json.loads(second)["library"]) == (
        filtering,
        True,
    )
    if call(filtering, "--version")[1].split()[6] == call(LAUNCHER, "--version")[1].split()[6]:
        assert program == same_program


def test_a_replaced_snapshot(filtering: str, tmp_path: Path) -> None:
    """It may have another libseccomp: what the old one has compiled is stale."""
    bundle = seccomp_bundle(tmp_path)
    command = shutil.copy(filtering, tmp_path / "ociruntime")
    assert traced_run(command, tmp_path, bundle)[1].startswith("compiled by ")
    assert traced_run(command, tmp_path, bundle)[1] == "from the cache"
    shutil.copy(filtering, tmp_path / "new").rename(command)
    assert traced_run(command, tmp_path, bundle)[1].startswith("compiled by ")


def test_a_snapshot_without_libseccomp(telling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is made the ordinary launcher takes over, unless the program is in the cache."""
    monkeypatch.setattr(building, "find_seccomp", lambda: "")
    directory = tmp_path / "installed"
    directory.mkdir()
    command, launcher = str(directory / "ociruntime"), directory / "ociruntime-launcher"
    building.build(command, beside=True)
    assert b"libseccomp" not in call(command, "--version")[1] + call(command, "features")[1]
    shutil.copy(Path(telling).with_name("launcher"), launcher)
    bundle = seccomp_bundle(tmp_path)
    assert traced_run(command, tmp_path, bundle) == (42, "")
    assert not (tmp_path / "state").exists()
    launcher.write_text(f'#!/bin/sh\nexec {LAUNCHER} "$@"\n')
    code, how = traced_run(command, tmp_path, bundle)
    assert (code, how[:12]) == (1, "compiled by ")
    launcher.unlink()
    assert traced_run(command, tmp_path, bundle) == (1, "from the cache")


def test_a_seccomp_profile_without_blake2(
    both: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's static library of 3.14 does not have it: then the launcher always does it."""
    monkeypatch.setattr(building, "_incomplete", lambda _archive: {"_blake2"})
    command = str(tmp_path / "ociruntime")
    building.build(command)
    bundle = seccomp_bundle(tmp_path)
    words = ("--root", str(tmp_path / "state"), "run", "-b", str(bundle.directory), f"{MARK}-blake2")
    for _ in range(2):
        code, _, err = same((both[0], command), *words)
        assert (code, b"not supported" in err) == (1, True)
