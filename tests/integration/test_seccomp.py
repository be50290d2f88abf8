# SPDX-License-Identifier: Apache-2.0
"""Does a system call filter do what it says? Each action, operator, architecture, flag, and what must get past it.

calls.c makes the calls; runc and crun are asked the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.command import LAUNCHER
from tests.harness.configuration import Config, add_bind, add_hook, set_capabilities
from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.programs import compiled
from tests.harness.seccomp_profiles import (
    PEERS_NEED,
    STATIC_PROGRAM,
    condition,
    dockers_filter,
    rule,
    with_filter,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

ours_only = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="what is asked is this runtime's: run with RUNTIME=ociruntime"
)

# Calls that change nothing, whatever their arguments. Numbers of x86_64.
ALARM, UMASK, GETPGID, GETSID, GETSCHEDULER, PRIORITY_MAX, PRIORITY_MIN = 37, 95, 121, 124, 145, 146, 147
NAMES = {
    ALARM: "alarm",
    UMASK: "umask",
    GETPGID: "getpgid",
    GETSID: "getsid",
    GETSCHEDULER: "sched_getscheduler",
    PRIORITY_MAX: "sched_get_priority_max",
    PRIORITY_MIN: "sched_get_priority_min",
}
_BIG = 0x100000005

departure("newer than the profile", "crun", "R189", "a C library that tries a new call needs ENOSYS")


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that makes system calls."""
    return compiled(Path(__file__).with_name("calls.c"), tmp_path_factory.mktemp("calls") / "calls")


Said = list[Any]


def _say(stage: Stage, calls: Path, *words: str, edit: Callable[[Config], None]) -> Said:
    """Exit code and lines of `calls WORDS` under a filter."""
    bundle = stage.bundle("/bin/calls", *words, edit=edit)
    shutil.copy(calls, bundle.rootfs / "bin/calls")
    result = stage.container(bundle=bundle).run()
    assert "Traceback" not in result.err
    return [result.code, result.out.splitlines()]


_KILLED = 128 + 31  # SIGSYS


@pytest.mark.parametrize(
    ("action", "plain", "in_thread"),
    [
        ("ALLOW", [0, ["37: done"]], [0, ["still here"]]),
        ("LOG", [0, ["37: done"]], [0, ["still here"]]),
        ("ERRNO", [0, ["37: errno 1"]], [0, ["still here"]]),
        ("TRACE", [0, ["37: errno 38"]], [0, ["still here"]]),
        ("TRAP", [_KILLED, []], [_KILLED, []]),
        ("KILL", [_KILLED, []], [0, ["still here"]]),
        ("KILL_THREAD", [_KILLED, []], [0, ["still here"]]),
        ("KILL_PROCESS", [_KILLED, []], [_KILLED, []]),
    ],
)
def test_action(compare: Compare, calls: Path, action: str, plain: Said, in_thread: Said) -> None:
    """What each action does to the call, its thread and its process."""
    edit = with_filter(rule("alarm", action=action), default="LOG" if action == "ALLOW" else "ALLOW")

    def scenario(stage: Stage) -> dict[str, Any]:
        return {
            "plain": _say(stage, calls, str(ALARM), edit=edit),
            "in a thread": _say(stage, calls, f"thread:{ALARM}", edit=edit),
        }

    assert compare(scenario) == {"plain": plain, "in a thread": in_thread}


def test_what_comes_with_an_action(compare: Compare, calls: Path) -> None:
    """The errno of ERRNO is errnoRet (also 0, which means success), it is a tracer's message; TRAP can be handled."""
    edit = with_filter(
        rule("alarm", action="ERRNO", errno=28),
        rule("umask", action="ERRNO", errno=0),
        rule("getpgid", action="ERRNO", errno=4094),
        rule("getsid", action="TRACE", errno=4242),
        rule("sched_getscheduler", action="TRAP"),
    )
    words = [str(ALARM), str(UMASK), str(GETPGID), f"trace:{GETSID}", f"trap:{GETSCHEDULER}"]

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"said": _say(stage, calls, *words, edit=edit)}

    said = ["37: errno 28", "95: done", "121: errno 4094", "traced with 4242", "signal 31 for call 145"]
    assert compare(scenario) == {"said": [0, said]}


# Operator -> (value, valueTwo, an argument that fits, one that does not)
OPERATORS = {
    "NE": (5, 0, 6, 5),
    "LT": (_BIG, 0, 5, _BIG),
    "LE": (_BIG, 0, _BIG, _BIG + 1),
    "EQ": (_BIG, 0, _BIG, 5),
    "GE": (_BIG, 0, _BIG, 6),
    "GT": (_BIG, 0, _BIG + 1, _BIG),
    "MASKED_EQ": (0xF0, 0x50, 0x5A, 0x6A),
}


def test_operators(compare: Compare, calls: Path) -> None:
    """Each operator, with all 64 bits of the argument."""
    numbers = list(zip(OPERATORS, NAMES, strict=True))
    rules, words, expected = [], [], []
    for place, (operator, number) in enumerate(numbers):
        value, two, fits, other = OPERATORS[operator]
        rules.append(
            rule(NAMES[number], action="ERRNO", errno=200 + place, args=[condition(0, operator, value, two)])
        )
        words += [f"{number},{fits}", f"{number},{other}"]
        expected.append(f"{number}: errno {200 + place}")

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"said": _say(stage, calls, *words, edit=with_filter(*rules))}

    code, lines = compare(scenario)["said"]
    assert code == 0
    assert lines[0::2] == expected
    assert [line for line in lines[1::2] if "errno 20" in line] == []


def test_conditions_together(compare: Compare, calls: Path) -> None:
    """Conditions on different arguments must all hold; of two on one argument, one is enough, as in runc."""
    edit = with_filter(
        rule("alarm", action="ERRNO", errno=201, args=[condition(0, "EQ", 1), condition(1, "EQ", 2)]),
        rule("umask", action="ERRNO", errno=202, args=[condition(0, "EQ", 1), condition(0, "EQ", 2)]),
        rule("getsid", action="ERRNO", errno=203, args=[condition(5, "GT", 7)]),
    )
    words = ["37,1,2", "37,1,3", "37,0,2", "95,1", "95,2", "95,3", "124,0,0,0,0,0,8", "124,0,0,0,0,0,7"]

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"said": _say(stage, calls, *words, edit=edit)}

    code, lines = compare(scenario)["said"]
    refused = [line.rpartition(" ")[2] if "errno 20" in line else "-" for line in lines]
    assert (code, refused) == (0, ["201", "-", "-", "202", "202", "-", "203", "-"])


def test_precedence(compare: Compare, calls: Path) -> None:
    """Of several rules for one call the same one wins as with the peers, in either order."""
    first, second = rule("alarm", action="ERRNO", errno=201), rule("alarm", action="ERRNO", errno=202)
    narrow = rule("alarm", action="ERRNO", errno=203, args=[condition(0, "EQ", 3)])
    trap = rule("alarm", action="TRAP")
    orders = {
        "two": (first, second),
        "two reversed": (second, first),
        "narrow first": (narrow, first),
        "narrow last": (first, narrow),
        "other action": (first, trap),
        "default repeated": (rule("alarm", action="ALLOW"), first),
    }

    def scenario(stage: Stage) -> dict[str, Any]:
        return {
            name: _say(stage, calls, "37,3", "37,4", edit=with_filter(*rules))
            for name, rules in orders.items()
        }

    assert compare(scenario)["narrow first"][0] == 0


def test_architectures(compare: Compare, calls: Path) -> None:
    """A 32-bit call is killed unless SCMP_ARCH_X86 is listed; then the rules are its too, by its own numbers."""
    refuse = rule(
        "alarm", action="ERRNO", errno=201
    )  # 27 on i386, and munlock has its number of x86_64 there

    def scenario(stage: Stage) -> dict[str, Any]:
        def say(*architectures: str) -> Said:
            edit = with_filter(refuse, architectures=[f"SCMP_ARCH_{name}" for name in architectures])
            return _say(stage, calls, str(ALARM), "i386:27", edit=edit)

        return {
            "native is always there": say("X86"),
            "only native": say("X86_64"),
            "none": say(),
            "all three": say("X86_64", "X86", "X32"),
        }

    both, native = [0, ["37: errno 201", "27: errno 201"]], [_KILLED, ["37: errno 201"]]
    assert compare(scenario) == {
        "native is always there": both,
        "only native": native,
        "none": native,
        "all three": both,
    }


@pytest.mark.parametrize("default", ["ERRNO", "KILL_PROCESS"])
def test_calls_that_are_newer_than_the_profile(compare: Compare, calls: Path, default: str) -> None:
    """A number above all that the profile names is ENOSYS and not the default action, for each architecture."""
    allowed = rule(*STATIC_PROGRAM, *PEERS_NEED, action="ALLOW")
    more: dict[str, Any] = {"defaultErrnoRet": 13} if default == "ERRNO" else {}
    edit = with_filter(
        allowed, default=default, architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], **more
    )

    def scenario(stage: Stage) -> dict[str, Any]:
        answers = {"newer than the profile": _say(stage, calls, "900", "i386:900", "0x40000384", edit=edit)}
        answers["known"] = _say(stage, calls, "161", edit=edit)  # chroot
        return answers

    answers = compare(scenario)
    assert answers["newer than the profile"] == [
        0,
        ["900: errno 38", "900: errno 38", f"{0x40000384}: errno 38"],
    ]
    assert answers["known"] == ([0, ["161: errno 13"]] if default == "ERRNO" else [_KILLED, []])


def test_permissive_defaults_let_new_calls_through(compare: Compare, calls: Path) -> None:
    """With a default that lets through, the kernel answers for itself; ENOSYS as default stays what it is."""
    allowed = rule(*STATIC_PROGRAM, *PEERS_NEED, action="ALLOW")

    def scenario(stage: Stage) -> dict[str, Any]:
        edit = with_filter(rule("alarm", action="ERRNO"))
        strict = with_filter(allowed, default="ERRNO", defaultErrnoRet=38)
        # clone3 (435) is above alarm, and without arguments the kernel says EINVAL
        return {
            "allow": _say(stage, calls, "435", edit=edit),
            "ENOSYS": _say(stage, calls, "161", "900", edit=strict),
        }

    assert compare(scenario) == {
        "allow": [0, ["435: errno 22"]],
        "ENOSYS": [0, ["161: errno 38", "900: errno 38"]],
    }


@ours_only
@pytest.mark.parametrize("new_privileges", [False, True])
def test_only_what_the_program_needs(stage: Stage, calls: Path, *, new_privileges: bool) -> None:
    """Nothing of init's own has to be allowed: the smallest profile of the program is enough, all else kills."""
    strict = rule(*STATIC_PROGRAM, action="ALLOW")

    def edit(config: Config) -> None:
        with_filter(strict, default="KILL_PROCESS", new_privileges=new_privileges)(config)
        config["process"]["user"] = {"uid": 1000, "gid": 1000}

    assert _say(stage, calls, "1,1,0,0", edit=edit) == [0, ["1: done"]]
    assert _say(stage, calls, "1,1,0,0", str(ALARM), edit=edit) == [_KILLED, ["1: done"]]


def test_calls_that_runtimes_like(compare: Compare, calls: Path) -> None:
    """With noNewPrivileges a filter may refuse what a runtime used before: sockets, capabilities, ids, directories."""
    refuse = rule(
        *(
            "socket",
            "sendmsg",
            "sendto",
            "connect",
            "capset",
            "setuid",
            "setresuid",
            "setgroups",
            "chdir",
            "getcwd",
        ),
        *("mount", "unshare", "seccomp", "clone3"),
        action="ERRNO",
        errno=99,
    )

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"said": _say(stage, calls, "41", "46", "126", "80", edit=with_filter(refuse))}

    assert compare(scenario)["said"] == [0, [f"{number}: errno 99" for number in (41, 46, 126, 80)]]


@pytest.mark.parametrize("new_privileges", [False, True])
@pytest.mark.parametrize("user", [0, 1000])
def test_what_the_process_sees_of_it(compare: Compare, user: int, *, new_privileges: bool) -> None:
    """Mode 2, one filter, and no capability that the config does not give: CAP_SYS_ADMIN was init's alone."""

    def edit(config: Config) -> None:
        with_filter(rule("alarm", action="ERRNO"), new_privileges=new_privileges)(config)
        config["process"]["user"] = {"uid": user, "gid": user}
        set_capabilities(config, "CAP_KILL", "CAP_CHOWN")

    def scenario(stage: Stage) -> dict[str, Any]:
        lines = stage.show("grep -E '^(Seccomp|Cap|NoNewPrivs)' /proc/self/status", edit=edit).splitlines()
        return dict(line.split(":\t") for line in lines)

    seen = compare(scenario)
    both = f"{1 << 0 | 1 << 5:016x}"
    assert {name: seen[name] for name in ("CapPrm", "CapEff", "CapBnd")} == dict.fromkeys(
        ("CapPrm", "CapEff", "CapBnd"), both
    )
    assert (seen["Seccomp"], seen["Seccomp_filters"]) == ("2", "1")
    assert seen["NoNewPrivs"] == str(int(not new_privileges))


def test_filter_without_rules(compare: Compare) -> None:
    """A filter that allows everything is loaded too."""

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"mode": stage.show("grep ^Seccomp: /proc/self/status", edit=with_filter()).split()}

    assert compare(scenario) == {"mode": ["Seccomp:", "2"]}


@pytest.mark.skipif(
    runtime_under_test() == "runc", reason="the annotation is crun's: run with RUNTIME=ociruntime or crun"
)
def test_unknown_names(compare: Compare, calls: Path) -> None:
    """A name that libseccomp doesn't know is skipped; with crun's annotation it is an error."""
    unknown = rule("no_such_call", "alarm", action="ERRNO", errno=201)

    def strict(config: Config) -> None:
        with_filter(unknown)(config)
        config["annotations"] = {"run.oci.seccomp_fail_unknown_syscall": "1"}

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.run("true", edit=strict)
        return {
            "skipped": _say(stage, calls, str(ALARM), edit=with_filter(unknown)),
            "fails with the annotation": result.code != 0 and "no_such_call" in result.err,
        }

    answers = compare(scenario, only=("crun",))
    assert answers == {"skipped": [0, ["37: errno 201"]], "fails with the annotation": True}


@ours_only
def test_unknown_name_is_named(stage: Stage) -> None:
    """The error says which name, by its place; nothing is left."""

    def strict(config: Config) -> None:
        with_filter(rule("alarm", action="LOG"), rule("umask", "no_such_call", action="LOG"))(config)
        config["annotations"] = {"run.oci.seccomp_fail_unknown_syscall": "true"}

    result = stage.container("true", edit=strict).create()
    result.refused("create: /linux/seccomp/syscalls/1/names/1: compile seccomp filter", "no_such_call")
    assert stage.runtime.ids() == []


def test_dockers_default_profile(compare: Compare, calls: Path) -> None:
    """Docker's default profile loads: the program runs, what it forbids fails, what is newer than it is ENOSYS."""
    capabilities = ("CAP_CHOWN", "CAP_KILL", "CAP_SETUID")

    def edit(config: Config) -> None:
        set_capabilities(config, *capabilities)
        config["linux"]["seccomp"] = dockers_filter(set(capabilities))

    def scenario(stage: Stage) -> dict[str, Any]:
        # mount, add_key (which the profile names), kexec_load, and one that does not exist
        words = ["165", "248", "246", "900", f"{ALARM}"]
        return {
            "said": _say(stage, calls, *words, edit=edit),
            "shell": stage.show("uname; ls / | grep -c bin; grep ^Seccomp: /proc/self/status", edit=edit),
        }

    answers = compare(scenario)
    code, lines = answers["said"]
    assert code == 0
    assert [line.rpartition(" ")[2] for line in lines][-2:] == ["38", "done"]
    assert all("errno" in line for line in lines[:4])
    assert answers["shell"].split() == ["Linux", "2", "Seccomp:", "2"]


def test_start_container_hooks_are_filtered(compare: Compare, tmp_path: Path) -> None:
    """A startContainer hook runs under the container's filter."""

    def scenario(stage: Stage) -> dict[str, Any]:
        shared = stage.directory / "shared"
        shared.mkdir()

        def edit(config: Config) -> None:
            with_filter(rule("mkdir", "mkdirat", action="ERRNO"))(config)
            add_bind(config, str(shared), "/mnt", "rw")
            script = "exec > /mnt/said; grep ^Seccomp: /proc/self/status; mkdir /mnt/made || echo refused"
            add_hook(config, "startContainer", "/bin/sh", "-c", script)

        stage.run("true", edit=edit).ok()
        return {"said": (shared / "said").read_text().split(), "made": (shared / "made").exists()}

    assert compare(scenario) == {"said": ["Seccomp:", "2", "refused"], "made": False}


@ours_only
@pytest.mark.parametrize(
    ("flags", "seen"),
    [
        (None, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        ([], "0"),
        (["SECCOMP_FILTER_FLAG_LOG"], "SECCOMP_FILTER_FLAG_LOG"),
        (
            ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            "SECCOMP_FILTER_FLAG_TSYNC|SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        ),
        (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "0"),  # nothing is received
    ],
)
def test_flags_and_nothing_between(stage: Stage, flags: list[str] | None, seen: str) -> None:
    """The flags reach seccomp(2), SPEC_ALLOW is the default, and execve is the very next call."""
    more = {} if flags is None else {"flags": flags}
    container = stage.container("true", edit=with_filter(rule("alarm", action="ERRNO"), **more))
    container.create().ok()
    log = stage.directory / "strace"
    strace = subprocess.Popen(
        ["strace", "-o", str(log), "-p", str(container.state()["pid"])], stderr=subprocess.PIPE, text=True
    )
    assert strace.stderr is not None
    assert "attached" in strace.stderr.readline()
    container.start().ok()
    strace.wait(timeout=30)
    strace.stderr.close()
    lines = log.read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("seccomp("))
    assert f"SECCOMP_SET_MODE_FILTER, {seen}, {{len=" in lines[place]
    assert lines[place].endswith("= 0")
    assert lines[place + 1].startswith("execve(")


@ours_only
def test_everything_that_features_lists_is_accepted(stage: Stage, calls: Path) -> None:
    """Each action, operator, architecture and flag of the features document makes a filter that runs."""
    listed = json.loads(stage.runtime.call("features").ok().out)["linux"]["seccomp"]
    assert listed["enabled"] is True
    assert [
        len(listed[name]) for name in ("actions", "operators", "archs", "knownFlags", "supportedFlags")
    ] == [*(9, 7, 23, 4, 4)]
    numbers = list(NAMES.values())
    rules = [
        {
            "names": ["alarm"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{**condition(index % 6, "EQ", 1), "op": op}],
        }
        for index, op in enumerate(listed["operators"])
    ]
    rules += [
        {"names": [name], "action": action}
        for name, action in zip(numbers * 2, listed["actions"], strict=False)
        if action != "SCMP_ACT_NOTIFY"  # see test_seccomp_notify.py
    ]
    edit = with_filter(*rules, architectures=listed["archs"], flags=listed["supportedFlags"])
    container = stage.container("sleep", "100", edit=edit)
    created = container.create().ok()
    # what this machine can't run is left out with a warning
    assert "SCMP_ARCH_S390X" in created.err
    assert "SCMP_ARCH_X86_64" not in created.err
    container.start().ok()
    status = Path(f"/proc/{container.state()['pid']}/status").read_text()
    assert "Seccomp:\t2\n" in status
    container.delete("--force").ok()


@ours_only
def test_missing_library(stage: Stage) -> None:
    """Without libseccomp the error says what to install; nothing is left. (A snapshot may have it in itself.)"""
    stage.runtime.command = [LAUNCHER]
    empty = stage.directory / "empty"
    empty.mkdir()
    (empty / "libseccomp.so.2").write_bytes(b"")
    container = stage.container("true", edit=with_filter(rule("alarm", action="ERRNO")))
    result = container.create(env={**os.environ, "LD_LIBRARY_PATH": str(empty)})
    result.refused(
        "create: /linux/seccomp: compile seccomp filter ",
        ": libseccomp.so.2 can't be loaded",
        "apt-get install libseccomp2",
    )
    assert stage.runtime.ids() == []
