# SPDX-License-Identifier: Apache-2.0
"""Is the right program started, with clean descriptors and signals, and is a wrong one reported as by runc?"""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import PATH, Config
from tests.harness.driver import ENVIRONMENT, runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

for _peer in PEERS:
    departure("bundle that is not UTF-8", _peer, "R010", "a path is bytes; the peers pass it through JSON")


def _status(stage: Stage, *fields: str, **how: Any) -> dict[str, str]:
    """The fields of /proc/self/status of the container's program itself (no shell between)."""
    result = stage.container("cat", "/proc/self/status").run(**how).ok()
    lines = dict(line.split(":", 1) for line in result.out.splitlines())
    return {field: lines[field].strip() for field in fields}


def test_program_is_looked_up_in_the_containers_path(compare: Compare) -> None:
    """args[0] without a slash is looked up in process.env's PATH, in order (R043)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("greet")
        container.bundle.config["process"]["env"] = ["PATH=/nowhere:/first:/second:/bin"]
        container.bundle.script("/second/greet", "#!/bin/sh\necho second\n")
        container.bundle.script("/first/greet", "#!/bin/sh\necho first\n")
        container.bundle.write()
        first = container.run().ok().out
        (container.bundle.rootfs / "first/greet").chmod(0o644)
        return {"found": [first, container.run().ok().out]}

    assert compare(scenario)["found"] == ["first\n", "second\n"]


@pytest.mark.parametrize("args", [["./greet"], ["sub/greet"], ["/work/greet"]])
def test_program_with_a_slash_is_relative_to_cwd(compare: Compare, args: list[str]) -> None:
    """A program name with a slash is not looked up; it is relative to process.cwd."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container(*args, edit=lambda config: config["process"].update(cwd="/work"))
        for name in ("/work/greet", "/work/sub/greet"):
            container.bundle.script(name, "#!/bin/sh\necho hello\n")
        return {"out": container.run().ok().out}

    assert compare(scenario) == {"out": "hello\n"}


_MISSING = [
    ("not in PATH", ["nosuchprogram"], [PATH], "executable file not found in $PATH"),
    ("no PATH", ["true"], [], "executable file not found in $PATH"),
    ("empty word", [""], [PATH], "executable file not found in $PATH"),
    ("no such file", ["/no/such"], [PATH], "no such file or directory"),
    ("directory", ["/bin"], [PATH], "permission denied"),
    ("not executable", ["/etc/passwd"], [PATH], "permission denied"),
]


@pytest.mark.parametrize(("case", "args", "env", "text"), _MISSING)
def test_program_that_cannot_be_run(
    compare: Compare, case: str, args: list[str], env: list[str], text: str
) -> None:
    """A program that is missing or no program fails create and run, in runc's words, which podman parses."""

    def edit(config: Config) -> None:
        config["process"].update(args=args, env=env)

    def scenario(stage: Stage) -> dict[str, Any]:
        created, ran = stage.container(edit=edit).create(), stage.run(edit=edit)
        for result in (created, ran):
            result.refused(text)
            assert text in result.err or stage.runtime.name == "crun"
        return {"codes": [created.code, ran.code], "left": stage.runtime.ids()}

    assert compare(scenario) == {"codes": [1, 1], "left": []}


@pytest.mark.parametrize("args", [[], None])
def test_no_program(compare: Compare, args: list[str] | None) -> None:
    """An args that is empty or missing is refused by create (R043)."""

    def edit(config: Config) -> None:
        config["process"]["args"] = args
        if args is None:
            del config["process"]["args"]

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container(edit=edit)
        return {"code": container.create().refused("args").code, "left": stage.runtime.ids()}

    assert compare(scenario, ("runc",)) == {"code": 1, "left": []}


_NO_EXEC = [
    ("missing interpreter", "#!/no/interpreter\n", "no such file or directory"),
    ("no format", "hello\n", "exec format error"),
]


@pytest.mark.parametrize(("case", "text", "words"), _NO_EXEC)
def test_start_reports_a_failing_execve(stage: Stage, case: str, text: str, words: str) -> None:
    """When execve itself fails, start says so and exits non-zero, and the container is stopped (R230)."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc and crun report it on the container's stderr and let start succeed")
    container = stage.container("/program")
    container.bundle.script("/program", text)
    container.create().ok()
    container.start().refused(words)
    container.wait_for("stopped")
    container.delete().ok()


@pytest.mark.parametrize(("case", "text", "words"), _NO_EXEC)
def test_run_reports_a_failing_execve(compare: Compare, case: str, text: str, words: str) -> None:
    """When execve itself fails, run says so, exits non-zero and leaves nothing."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("/program")
        container.bundle.script("/program", text)
        result = container.run().refused(words)
        assert words in result.err or stage.runtime.name == "crun"
        return {"left": stage.runtime.ids()}

    assert compare(scenario) == {"left": []}


_DISPOSITIONS = ("SigBlk", "SigIgn", "SigCgt", "SigPnd")
_IGNORED = (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGXFSZ)


@pytest.mark.parametrize("ignored", [(), _IGNORED])
def test_signals_are_reset(compare: Compare, ignored: tuple[signal.Signals, ...]) -> None:
    """No signal is blocked or ignored in the program, even if the runtime was started so."""

    def scenario(stage: Stage) -> dict[str, Any]:
        return dict(_status(stage, *_DISPOSITIONS, ignore_signals=ignored))

    assert set(compare(scenario).values()) == {"0" * 16}


def test_signals_are_reset_with_create_and_start(compare: Compare) -> None:
    """The same by create and start, each started with signals ignored."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("cat", "/proc/self/status")
        container.create(ignore_signals=_IGNORED).ok()
        container.start(ignore_signals=_IGNORED).ok()
        container.wait_for("stopped")
        container.delete().ok()
        lines = dict(line.split(":\t", 1) for line in container.output().splitlines())
        return {name: lines[name] for name in _DISPOSITIONS}

    assert set(compare(scenario).values()) == {"0" * 16}


def _run_with_descriptors(
    stage: Stage, count: int, *flags: str, extra: dict[str, str] | None = None
) -> list[str]:
    """`run` of a program that lists its descriptors, with descriptors 3.. open on files in the runtime."""
    container = stage.container(
        "sh",
        "-c",
        "for fd in /proc/$$/fd/*; do echo ${fd##*/} $(readlink $fd); done; env | grep ^LISTEN_ | sort",
    )
    stage.runtime.prepare(container.bundle)
    opened = " ".join(f"{number}<{stage.directory}/file-{number}" for number in range(3, 3 + count))
    for number in range(3, 3 + count):
        (stage.directory / f"file-{number}").write_text("")
    command = stage.runtime.argv("run", *flags, "--bundle", str(container.bundle.directory), container.id)
    ended = subprocess.run(
        ["/bin/bash", "-c", f'exec {opened}; LISTEN_PID=$$ exec "$@"', "bash", *command],
        env={**ENVIRONMENT, **(extra or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [line for line in ended.stdout.splitlines() if line.split()[0] not in ("0", "1", "2")]


def test_only_three_descriptors(compare: Compare) -> None:
    """Descriptors 0, 1 and 2 reach the program and no other, whatever the runtime inherited (R240)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"beyond 2": [line for line in _run_with_descriptors(stage, 3) if "file-" in line]}

    assert compare(scenario) == {"beyond 2": []}


def test_descriptors_by_create_and_start(compare: Compare) -> None:
    """The same by create and start."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("ls", "/proc/self/fd")
        with open("/etc/passwd", "rb") as one, open("/etc/group", "rb") as two:
            container.create(pass_fds=(one.fileno(), two.fileno())).ok()
        # ls itself opens the fourth.
        return {"descriptors": container.finish().split()}

    assert compare(scenario) == {"descriptors": ["0", "1", "2", "3"]}


def test_preserved_descriptors(compare: Compare) -> None:
    """--preserve-fds N passes descriptors 3 to 2+N on, in their places, and no other."""

    def scenario(stage: Stage) -> dict[str, Any]:
        lines = _run_with_descriptors(stage, 3, "--preserve-fds", "2")
        return {"beyond 2": [line for line in lines if "file-" in line]}

    assert compare(scenario) == {"beyond 2": ["3 STAGE/file-3", "4 STAGE/file-4"]}


def test_listen_descriptors(compare: Compare) -> None:
    """$LISTEN_FDS for the runtime's process: so many descriptors reach the program first, and it is told (as runc)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        return {
            "one": _beyond(stage, extra={"LISTEN_FDS": "1"}),
            "two, and one more": _beyond(stage, "--preserve-fds", "1", extra={"LISTEN_FDS": "2"}),
            "not a number": _beyond(stage, extra={"LISTEN_FDS": "many"}),
        }

    answers = compare(scenario, only=("runc",))
    assert answers == {
        "one": ["3 STAGE/file-3", "LISTEN_FDS=1", "LISTEN_PID=1"],
        "two, and one more": [
            "3 STAGE/file-3",
            "4 STAGE/file-4",
            "5 STAGE/file-5",
            "LISTEN_FDS=2",
            "LISTEN_PID=1",
        ],
        "not a number": [],
    }


def _beyond(stage: Stage, *flags: str, extra: dict[str, str]) -> list[str]:
    lines = _run_with_descriptors(stage, 4, *flags, extra=extra)
    return [line for line in lines if "file-" in line or "LISTEN" in line]


def test_names_of_listen_descriptors(stage: Stage) -> None:
    """LISTEN_FDNAMES goes with them; variables that are meant for another process have no effect."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc and crun of Debian 12 leave the names out")
    script = "echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; readlink /proc/$$/fd/3"
    container = stage.container("sh", "-c", script)
    environment = {**ENVIRONMENT, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
    for call, expected in (
        ('LISTEN_PID=$$ exec "$@"', "1 1 web\n/etc/passwd\n"),
        ('LISTEN_PID=$$ "$@"; true', "\n"),
    ):
        command = stage.runtime.argv("run", "--bundle", str(container.bundle.directory), container.id)
        done = subprocess.run(
            ["/bin/bash", "-c", f"exec 3</etc/passwd; {call}", "bash", *command],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout == expected


def test_preserving_a_closed_descriptor(compare: Compare) -> None:
    """--preserve-fds of a descriptor that is not open is refused."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("true")
        stage.runtime.prepare(container.bundle)
        result = container.run("--preserve-fds", "3")
        return {"closed descriptor": min(result.code, 1), "left": stage.runtime.ids()}

    assert compare(scenario, ("runc",))["left"] == []


def test_bundle_path_that_is_not_utf8(compare: Compare) -> None:
    """A bundle whose path is not UTF-8 runs, and state names it."""

    def scenario(stage: Stage) -> dict[str, Any]:
        bundle = stage.bundle("echo", "hello", name="b\udcff")
        container = stage.container(bundle=bundle)
        result = container.run()
        return {"bundle that is not UTF-8": [result.code, result.out]}

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        assert answers["bundle that is not UTF-8"] == [0, "hello\n"]
