# SPDX-License-Identifier: Apache-2.0
"""Does exec run one more program in a container, with the process that was asked for, as under runc and crun?"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import PATH, Config, set_capabilities
from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

_ours = pytest.mark.skipif(runtime_under_test() in PEERS, reason="run with RUNTIME=ociruntime")
_FIELDS = ("Uid", "Gid", "Groups", "Umask", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")

departure("session", "crun", "R234", "a terminal's signals must not reach it by itself")
departure("groups of -u UID", "crun", "R062", "crun drops the container's group for 0")
departure("directory of exec", "crun", "R041", "crun takes / where exec names no directory")
departure("groups of exec", "crun", "R062", "crun drops the container's groups")
departure("oom_score_adj of exec", "crun", "R054", "the container's value holds for all of its processes")
departure("NoNewPrivs of exec", "crun", "R053", "crun: what the container may not, its second process may")
departure("limit of exec", "crun", "R044", "crun gives exec the runtime's resource limits")
departure("-c adds", "crun", "R051", "crun: --cap replaces the container's capabilities")
departure("unknown container", "crun", "R217", "255 is exec's own failure, as with runc")
departure("stopped container", "crun", "R217", "255 is exec's own failure, as with runc")
departure("no program", "crun", "R043", "255 is exec's own failure, as with runc")
departure("program is a directory", "crun", "R043", "engines tell by 'permission denied'")
departure("user is a name", "crun", "R062", "CVE-2026-30892: what is no number is not root")


def _status(container: Container, *flags: str, **how: Any) -> dict[str, str]:
    out = container.exec("cat", "/proc/self/status", flags=flags, **how).ok().out
    lines = dict(line.split(":", 1) for line in out.splitlines())
    return {field: " ".join(lines[field].split()) for field in _FIELDS}


def _own_user(config: Config) -> None:
    config["process"]["user"] = {"uid": 0, "gid": 3, "additionalGids": [9, 40]}
    config["process"]["oomScoreAdj"] = 7


def test_the_container_s_process_is_the_model(compare: Compare) -> None:
    """Without flags: the user, groups, capabilities, limits, environment and directory of the container."""

    def edit(config: Config) -> None:
        _own_user(config)
        config["process"]["cwd"] = "/etc"
        set_capabilities(config, "CAP_CHOWN", "CAP_KILL")

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running(edit)
        script = "pwd; ulimit -n; cat /proc/self/oom_score_adj; cat /proc/self/cgroup; hostname"
        lines = container.exec("sh", "-c", script).ok().out.splitlines()
        status = _status(container)
        environment = sorted(container.exec("env").ok().out.splitlines())
        inside = sorted(line.partition(":")[2] for line in lines[3:-1] if f"/{container.id}" in line)
        own = Path(f"/proc/{container.state()['pid']}/cgroup").read_text().splitlines()
        container.delete("--force").ok()
        return {
            "directory of exec": lines[0],
            "limit of exec": lines[1],
            "oom_score_adj of exec": lines[2],
            "hostname": lines[-1],
            "in every cgroup of init": inside == sorted(
                line.partition(":")[2] for line in own if f"/{container.id}" in line
            ),
            "user": status["Uid"],
            "groups of exec": (status["Gid"], status["Groups"]),
            "NoNewPrivs of exec": status["NoNewPrivs"],
            "sets": [status[name] for name in _FIELDS if name.startswith("Cap")],
            "environment": environment,
        }  # fmt: skip

    answers = compare(scenario)
    assert answers["directory of exec"] == "/etc"
    assert answers["in every cgroup of init"] is True
    assert answers["sets"] == ["0000000000000021"] * 5
    assert "HOME=/root" in answers["environment"]
    if runtime_under_test() not in PEERS:
        assert answers["limit of exec"] == "1024"
        assert answers["oom_score_adj of exec"] == "7"
        assert answers["groups of exec"] == ["3 3 3 3", "9 40"]


def test_umask(compare: Compare) -> None:
    """Without one in the config the umask is the caller's (R063)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running()
        umask = _status(container)["Umask"]
        container.delete("--force").ok()
        return {"umask of exec": umask}

    before = os.umask(0o027)
    try:
        answers = compare(scenario)
    finally:
        os.umask(before)
    if runtime_under_test() not in PEERS:
        assert answers["umask of exec"] == "0027"


def test_flags(compare: Compare) -> None:
    """Each flag changes the one thing that it names."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running(_own_user)
        both = _status(container, "-u", "5:6")
        single = _status(container, "--user=5")
        cap = _status(container, "-c", "CAP_CHOWN")
        env = (
            container.exec("env", flags=("-e", "A=1", "-e", "B=x=y", "-e", PATH, "-e", "A=2"))
            .ok()
            .out.splitlines()
        )
        answers = {
            "-u UID:GID": (both["Uid"], both["Gid"]),
            "-u UID": single["Uid"],
            "groups of -u UID": single["Gid"],
            "-c inheritable": cap["CapInh"],
            "-c adds": [cap[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")],
            "env": [line for line in env if line[:2] in ("A=", "B=")],
            "cwd": container.exec("pwd", flags=("--cwd", "/usr")).ok().out,
        }
        container.delete("--force").ok()
        return answers

    answers = compare(scenario)
    assert answers["env"] == ["A=2", "B=x=y"]
    assert answers["-c inheritable"] == "0" * 16
    if runtime_under_test() not in PEERS:
        assert answers["-c adds"] == ["0000000020000421"] * 3 + ["0" * 16]
        assert answers["groups of -u UID"] == "3 3 3 3"


def test_flags_of_runc_alone(compare: Compare) -> None:
    """--additional-gids adds groups; --no-new-privs is set, and taken back, for this process."""

    def edit(config: Config) -> None:
        _own_user(config)
        config["process"]["noNewPrivileges"] = False

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running(edit)
        answers = {
            "groups": _status(container, "-g", "8", "-g", "77")["Groups"],
            "nnp": _status(container, "--no-new-privs")["NoNewPrivs"],
            "nnp not asked for": _status(container)["NoNewPrivs"],
        }
        container.delete("--force").ok()
        return answers

    answers = compare(scenario, ("runc",))
    assert answers == {"groups": "8 9 40 77", "nnp": "1", "nnp not asked for": "0"}


def test_exit_status(compare: Compare) -> None:
    """The program's own status, 128 + n for signal n."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running()
        codes = [
            container.exec("sh", "-c", script).code
            for script in ("exit 0", "exit 7", "exit 255", "kill -9 $$")
        ]
        container.delete("--force").ok()
        return {"codes": codes}

    assert compare(scenario)["codes"] == [0, 7, 255, 137]


_FAILURES = {
    "no such program": ((), ("no-such-program",), "executable file"),
    "program is a directory": ((), ("/etc",), "denied"),
    "cwd is missing": (("--cwd", "/nope"), ("true",), "/nope"),
    "no program": ((), (), "args"),
    "user is a name": (("-u", "root"), ("true",), ""),
}


@pytest.mark.parametrize("name", _FAILURES)
def test_own_failures_are_255(compare: Compare, name: str) -> None:
    """What is not the program's is 255, with one line that says why, and no process is left."""
    flags, words, told = _FAILURES[name]

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running()
        result = container.exec(*words, flags=flags)
        container.delete("--force").ok()
        if stage.runtime.name not in PEERS:
            assert len(result.err.splitlines()) == 1, result.err
        return {name: (result.code, told in result.err)}

    assert compare(scenario)[name] == [255, True]


def test_states(compare: Compare) -> None:
    """A created container can be entered, a stopped or unknown one can't."""

    def scenario(stage: Stage) -> dict[str, Any]:
        created = stage.in_state("created")
        answers = {
            "created container": created.exec("echo", "in").ok().out,
            "still": created.status(),
            "unknown container": stage.container("true").exec("true").code,
        }
        created.start().ok()
        created.kill("KILL").ok()
        created.wait_for("stopped")
        answers["stopped container"] = created.exec("true").code
        created.delete().ok()
        return answers

    answers = compare(scenario)
    assert answers["created container"] == "in\n"
    assert answers["still"] == "created"
    if runtime_under_test() not in PEERS:
        assert answers["unknown container"] == answers["stopped container"] == 255


def test_detached(compare: Compare) -> None:
    """--detach returns at once; the pid file has digits only; the process lives, in the container, and dies with it."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running()
        pid_file = stage.directory / "exec.pid"
        with open(stage.directory / "out", "w+b") as out:
            flags = ("--detach", "--pid-file", str(pid_file))
            code = stage.runtime.call("exec", *flags, container.id, "sleep", "500", out=out, err=out).code
        text = pid_file.read_text()
        words = Path(f"/proc/{text}/cmdline")
        end = time.monotonic() + 10 * PATIENCE
        # runc comes back when its own process is about to execute the program, ours when it has done so.
        while stage.runtime.name in PEERS and not words.read_bytes() and time.monotonic() < end:
            time.sleep(0.01)
        program = words.read_bytes()
        namespace = os.readlink(f"/proc/{text}/ns/pid") == os.readlink(
            f"/proc/{container.state()['pid']}/ns/pid"
        )
        container.delete("--force").ok()
        end = time.monotonic() + 10 * PATIENCE
        while words.exists() and words.read_bytes():
            assert time.monotonic() < end
            time.sleep(0.02)
        return {
            "code": code,
            "digits": text.isdigit(),
            "program": program.decode(),
            "same pid namespace": namespace,
        }

    assert compare(scenario) == {
        "code": 0,
        "digits": True,
        "program": "sleep\x00500\x00",
        "same pid namespace": True,
    }


@_ours
def test_pid_file_of_a_failure(stage: Stage) -> None:
    """A program that can't be executed leaves no pid file; one that could not be written stops the program."""
    container = stage.running()
    container.bundle.script("bin/lost", "#!/no/such/interpreter\n")
    pid_file = stage.directory / "exec.pid"
    result = container.exec("lost", flags=("--pid-file", str(pid_file)))
    assert result.code == 255
    assert "interpreter" in result.err
    assert not pid_file.exists()
    pid_file.write_text("kept")
    assert container.exec("no-such-program", flags=("--pid-file", str(pid_file))).code == 255
    assert pid_file.read_text() == "kept"
    result = container.exec("touch", "/dev/shm/ran", flags=("--pid-file", "/no/such/place"))
    result.refused("write pid file", "ENOENT")
    assert container.exec("ls", "/dev/shm").ok().out == ""
    container.delete("--force").ok()


@_ours
def test_options_after_the_id_and_words_of_the_program(stage: Stage) -> None:
    """Flags may follow the id; from the first other word on, and after --, all is the program's."""
    container = stage.running()
    call = stage.runtime.call
    assert (
        call("exec", container.id, "-u", "5", "--cwd=/usr", "sh", "-c", "id -u; pwd", "-u").ok().out
        == "5\n/usr\n"
    )
    assert call("exec", container.id, "--", "echo", "--", "-u").ok().out == "-- -u\n"
    assert call("exec", "--", container.id, "echo", "--user").ok().out == "--user\n"
    assert call("exec", container.id, "echo", "--help").ok().out == "--help\n"
    container.delete("--force").ok()


def test_descriptors_and_session(compare: Compare) -> None:
    """0, 1 and 2; with --preserve-fds the caller's next ones; a session of its own."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running()
        command, said = stage.runtime.command, stage.directory / "said"
        stage.runtime.command = ["/bin/sh", "-c", f'exec "$@" 3>{said}', "sh", *command]
        plain = container.exec("sh", "-c", "ls /proc/$$/fd; :").ok().out.split()
        script = "echo by 3 >&3; ls /proc/$$/fd; :"
        kept = container.exec("sh", "-c", script, flags=("--preserve-fds", "1")).ok().out.split()
        stage.runtime.command = command
        session = container.exec("sh", "-c", "read a b c d e f rest </proc/$$/stat; test $f = $$").code
        container.delete("--force").ok()
        return {"plain": plain, "kept": kept, "said": said.read_text(), "session": session}

    answers = compare(scenario)
    assert answers["plain"] == ["0", "1", "2"]
    assert answers["said"] == "by 3\n"


@_ours
def test_signals_are_passed_on(stage: Stage) -> None:
    """In the foreground the runtime's signals are the program's."""
    container = stage.running()
    script = "trap 'echo got it; exit 3' TERM; echo ready; while true; do sleep 0.05; done"
    call = stage.runtime.start_call("exec", container.id, "sh", "-c", script)
    assert call.stdout is not None
    assert call.stdout.readline() == b"ready\n"
    call.terminate()
    out, err = call.communicate(timeout=20 * PATIENCE)
    assert (call.returncode, out) == (3, b"got it\n"), err
    container.delete("--force").ok()
