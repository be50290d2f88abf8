# SPDX-License-Identifier: Apache-2.0
"""Does `run` do exactly what `plan` prints? The trace of each example has its steps, and strace sees the same.

The trace is held against strace once, on the default config: every change that init makes to the system
belongs to a step, in the plan's order, and no step is without its own.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.linux.mounts import MOUNT_IN_ORDER
from tests.harness.configuration import Config, add_bind, default_config
from tests.harness.driver import ENVIRONMENT, TIMEOUT, runtime_under_test
from tests.harness.peers import PEERS
from tests.integration.test_examples import NAMES, copy, root_of, run, surroundings
from tests.integration.test_time_namespace import DAY, offsets

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.driver import Container
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="plan and --trace are this runtime's: run with RUNTIME=ociruntime"
)

REPOSITORY = Path(__file__).parents[2]
_RUNTIME_ROW, _INIT_ROW = 1, 2
_PLACEHOLDER = "ID"  # what `plan` shows in place of the id


def _plan(container: Container) -> list[dict[str, Any]]:
    shown = container.runtime.call("plan", "--format", "json", str(container.bundle.directory)).ok()
    steps: list[dict[str, Any]] = json.loads(shown.out)["steps"]
    return steps


def _planned(container: Container) -> list[str]:
    """Each step of `plan` as the trace names it."""
    lines = []
    for step in _plan(container):
        words = " ".join(word for word in (step["name"], step["text"]) if word)
        lines.append(f"{step['index'] - 1} {step['where']} {words} <- {step['pointer']}")
    return lines


def _events(path: Path, row: int) -> list[dict[str, Any]]:
    """The steps of one row of the trace, by their begin."""
    events = [one for one in json.loads(path.read_bytes())["traceEvents"] if one["ph"] == "X"]
    return sorted((one for one in events if one["tid"] == row), key=lambda one: float(one["ts"]))


def _whole(path: Path) -> dict[str, Any]:
    """The event of the verb itself."""
    (whole,) = [event for event in _events(path, 0) if event["cat"] == "verb"]
    return whole


def _line(event: dict[str, Any], container: Container) -> str:
    name = event["name"].replace(container.id, _PLACEHOLDER)
    return f"{event['args']['step']} {event['cat']} {name} <- {event['args']['pointer']}"


def _traced(path: Path, container: Container) -> list[str]:
    events = [*_events(path, _RUNTIME_ROW), *_events(path, _INIT_ROW)]
    lines = [_line(one, container) for one in sorted(events, key=lambda one: one["args"]["step"])]
    # Whether a filter was compiled or found is seen in the doing only.
    return [re.sub(r"(compile seccomp filter [^(<]*) \([^)]*\)", r"\1", line) for line in lines]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_does_what_its_plan_says(name: str, stage: Stage, request: pytest.FixtureRequest) -> None:
    """The trace of `run` has every step that `plan` prints and no other, and both sides keep the order."""
    container = stage.container(bundle=copy(name, stage.directory / name, root_of(name, request)))
    trace = stage.directory / "trace.json"
    with surroundings(container.bundle):
        planned = _planned(container)
        run(container, "--trace", str(trace)).ok()
    assert _traced(trace, container) == planned
    for row in (_RUNTIME_ROW, _INIT_ROW):
        numbers = [one["args"]["step"] for one in _events(trace, row)]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("edit", [None, offsets(monotonic={"secs": DAY})], ids=["host", "time namespace"])
def test_times_are_inside_the_verb(stage: Stage, edit: Callable[[Config], None] | None) -> None:
    """Every step begins and ends within the verb, and steps of one row don't overlap; whatever the container's clocks say."""
    container = stage.container("true", edit=edit)
    trace = stage.directory / "trace.json"
    container.run(options=["--trace", str(trace)]).ok()
    whole = _whole(trace)
    begin, end = whole["ts"], whole["ts"] + whole["dur"]
    for row in (_RUNTIME_ROW, _INIT_ROW):
        last = begin
        for event in _events(trace, row):
            assert event["dur"] >= 0
            assert last - 1 <= event["ts"] <= event["ts"] + event["dur"] <= end + 1
            last = event["ts"] + event["dur"]


def test_it_begins_with_the_process(stage: Stage) -> None:
    """The stages before the first step follow each other from the begin of the process, which is not before the call."""
    container = stage.container("true")
    trace = stage.directory / "trace.json"
    before = time.time_ns() / 1000
    container.run(options=["--trace", str(trace)]).ok()
    whole = _whole(trace)
    stages = [event for event in _events(trace, 0) if event["cat"] == "stage"]
    assert [stage["name"] for stage in stages] == ["interpreter", "imports, bundle", "check, plan"]
    assert before <= whole["ts"] == stages[0]["ts"]
    for one, two in itertools.pairwise([*stages, _events(trace, _RUNTIME_ROW)[0]]):
        assert one["dur"] > 0
        assert one["ts"] + one["dur"] == pytest.approx(two["ts"], abs=1)


def test_it_continues_the_callers_trace(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event has the caller's trace id; the verb's parent is the caller's span, and that of all others is the verb."""
    trace_id, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    monkeypatch.setitem(ENVIRONMENT, "TRACEPARENT", f"00-{trace_id}-{caller}-01")
    monkeypatch.setitem(ENVIRONMENT, "TRACESTATE", "vendor=1")
    container = stage.container("true")
    trace = stage.directory / "trace.json"
    container.run(options=["--trace", str(trace)]).ok()
    events = [event for event in json.loads(trace.read_bytes())["traceEvents"] if event["ph"] == "X"]
    whole = _whole(trace)["args"]
    assert {event["args"]["trace_id"] for event in events} == {trace_id}
    assert (whole["parent_id"], whole["tracestate"]) == (caller, "vendor=1")
    assert [event["args"]["parent_id"] for event in events].count(whole["span_id"]) == len(events) - 1
    spans = {event["args"]["span_id"] for event in events}
    assert len(spans) == len(events)
    assert all(re.fullmatch("[0-9a-f]{16}", span) for span in spans - {caller})
    (program,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/trace.md").read_text(), re.DOTALL)
    made = subprocess.run(
        [sys.executable, "-c", program],
        input=trace.read_bytes(),
        capture_output=True,
        check=True,
        timeout=TIMEOUT,
    )
    (scope,) = json.loads(made.stdout)["resourceSpans"][0]["scopeSpans"]
    assert [span["spanId"] for span in scope["spans"]] == [event["args"]["span_id"] for event in events]
    assert all(int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) for span in scope["spans"])
    page = stage.directory / "trace.html"
    stage.container("true").run(options=["--trace", str(page)]).ok()
    assert trace_id in page.read_text()


def test_create_and_start_share_the_plan(stage: Stage) -> None:
    """The traces of create and start together have the steps of the plan, each once."""
    container = stage.container("true")
    planned = _planned(container)
    traces = [stage.directory / name for name in ("create.json", "start.json")]
    container.create(options=["--trace", str(traces[0])]).ok()
    stage.runtime.call("start", container.id, options=["--trace", str(traces[1])]).ok()
    container.wait_for("stopped")
    container.delete().ok()
    created, started = (_traced(path, container) for path in traces)
    assert len(started) < len(created)
    assert sorted({*created, *started}, key=planned.index) == planned
    border = next(index for index, line in enumerate(planned) if " sync sync start:" in line)
    assert set(created) <= set(planned[: border + 1])
    assert set(started) <= set(planned[border:])


def test_trace_of_a_failure(stage: Stage) -> None:
    """What was done before a step failed is in the trace, up to that step and no further."""
    container = stage.container("no-such-program")
    planned = _planned(container)
    trace = stage.directory / "trace.json"
    container.run(options=["--trace", str(trace)]).refused("not found")
    failed = next(index for index, line in enumerate(planned) if "init find program" in line)
    done = [line for line in planned[: failed + 1] if f"{line} <- " not in planned]
    assert _traced(trace, container) == done


# What init changes, and tells: these calls of init are the ones of the plan's ops, each a regular expression.
_EFFECTS = (
    "setns", "unshare", "setsid", "keyctl", "sethostname", "setdomainname", "mount", "move_mount", "mknodat",
    "symlinkat", "mkdirat", "pivot_root", "umount2", "chroot", "fchownat", "setgroups", "setresgid", "setresuid",
    "capset", "sendmsg", "accept4", "fchdir", "execve", "write",
)  # fmt: skip
_MAKES_A_PLACE = "(?:mkdirat |mknodat )*"
_OPS = {
    "join_cgroup": "write ",
    "setsid": "setsid ",
    "session_keyring": "keyctl keyctl ",  # joined, and whose it is
    "keyring_permissions": "keyctl ",
    "hostname": "sethostname ",
    "domainname": "setdomainname ",
    "loopback": "",
    "sysctl": "write ",
    "propagation": "mount ",
    "root": "move_mount ",
    "mount_fs": f"{_MAKES_A_PLACE}move_mount ",
    "bind": f"{_MAKES_A_PLACE}move_mount ",
    "mount_tree": f"{_MAKES_A_PLACE}move_mount (?:fchdir umount2 move_mount )?",  # exchanged for a copy
    "mount_attributes": "",
    "mknod": f"{_MAKES_A_PLACE}mknodat fchownat ",
    "symlink": f"{_MAKES_A_PLACE}(?:symlinkat )?",
    "mkdir": _MAKES_A_PLACE,
    "pivot_root": "fchdir pivot_root fchdir mount umount2 ",
    "mask": "(?:move_mount )?",  # what does not exist need not be hidden
    "readonly": "(?:move_mount )?",
    "root_attributes": "",
    "umask": "",
    "chdir": f"{_MAKES_A_PLACE}fchdir ",
    "affinity": "",
    "personality": "",
    "memory_policy": "",
    "attribute": "write ",
    "xattr": "",
    "groups": "setgroups ",
    "bounding": "",
    "stream_owner": "",
    "user": "setresgid setresuid ",
    "capabilities": "capset ",
    "no_new_privs": "",
    "find_program": "",
    "close_from": "",
    "exec": "execve ",
}
_SYNCS = {
    "started": "sendmsg ",
    "mounted": "sendmsg ",
    "limits": "sendmsg ",
    "ready": "sendmsg ",
    "start": "accept4 sendmsg ",
}


def _strace(container: Container, directory: Path) -> dict[str, list[str]]:
    """The successful calls of interest of each process of `run`, by process id."""
    program = shutil.which("strace", path=ENVIRONMENT["PATH"])
    assert program, "no strace: apt-get install strace"
    directory.mkdir()
    runtime = container.runtime
    calls = ",".join((*_EFFECTS, "mkdir", "clone3", "prlimit64"))
    subprocess.run(
        [
            program, "-y", "-ff", "-qq", "-o", str(directory / "of"), "-e", f"trace={calls}",
            *runtime.argv("run", "--bundle", str(container.bundle.directory), container.id),
        ],
        env=ENVIRONMENT, timeout=TIMEOUT, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    found = {}
    for path in directory.iterdir():
        lines = path.read_text(errors="replace").splitlines()
        found[path.suffix[1:]] = [line for line in lines if re.search(r"\) += (?!-1 )", line)]
    return found


def _name(line: str) -> str:
    return line.partition("(")[0]


def _only_fields(expressions: list[str]) -> re.Pattern[str]:
    return re.compile("".join(f"({expression})" for expression in expressions))


def test_strace_sees_the_steps_and_nothing_else(stage: Stage) -> None:
    """All of init's changes, in order, are those of the plan's init steps; no step is missing, none is added."""

    def edit(config: Config) -> None:
        config["domainname"] = "example.org"
        config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "8192"}
        config["linux"]["devices"] = [{"path": "/dev/new/null", "type": "c", "major": 1, "minor": 3}]
        config["process"]["cwd"] = "/tmp"
        add_bind(config, "/var", "/mnt/new/place", "ro")
        add_bind(config, "/proc/self/limits", "/mnt/new/file")  # which the runtime opens

    container = stage.container("/bin/true", edit=edit)
    steps = _plan(container)
    traces = _strace(container, stage.directory / "strace")
    (init,) = [lines for lines in traces.values() if any(_name(line) == "pivot_root" for line in lines)]
    # The program's own calls come after the last execve; -qq leaves out nothing that init does.
    last = max(index for index, line in enumerate(init) if _name(line) == "execve")
    seen = "".join(f"{_name(line)} " for line in init[: last + 1] if _name(line) in _EFFECTS)
    expected = []
    for step in steps:
        if step["where"] == "init":
            expected.append(_OPS[step["op"]])
        elif step["where"] == "sync":
            expected.append(_SYNCS[step["text"].partition(":")[0]])
    assert _only_fields(expected).fullmatch(seen), f"{seen}\nis not\n{' | '.join(expected)}"
    # Where a step may have no call (masks) the counts must agree with what is there to be covered.
    covered = [step["args"][0] for step in steps if step.get("op") in ("mask", "readonly")]
    here = [path for path in covered if os.path.exists(path)]
    mounted = [step for step in steps if step.get("op") in ("root", "mount_fs", "bind", "mount_tree")]
    copied = [step for step in mounted if step["args"][-1] & MOUNT_IN_ORDER and step["op"] == "mount_tree"]
    assert len(copied) == 1
    assert seen.split().count("move_mount") == len(mounted) + len(copied) + len(here)


def test_strace_sees_the_host_steps(stage: Stage) -> None:
    """The runtime makes the cgroups, writes the limits, clones once and sets the rlimits, as the plan says."""

    def edit(config: Config) -> None:
        config["linux"]["resources"]["pids"] = {"limit": 50}
        config["linux"]["resources"]["cpu"] = {"shares": 512}

    container = stage.container("true", edit=edit)
    steps = [step for step in _plan(container) if step["where"] == "host"]
    traces = _strace(container, stage.directory / "strace")
    (runtime,) = [lines for lines in traces.values() if any(_name(line) == "clone3" for line in lines)]
    text = "\n".join(runtime).replace(container.id, _PLACEHOLDER)
    assert text.count("clone3(") == [step["name"] for step in steps].count("clone init") == 1
    for step in steps:
        if step["name"] == "make cgroup":
            for path in set(step["args"]["paths"].values()):
                assert f'mkdir("{path}"' in text
        elif step["name"] == "set cgroup":
            file, value = step["args"]["file"], step["args"]["value"]
            assert re.search(rf'write\(\d+<{re.escape(file)}>, "{re.escape(value)}"', text), step
        elif step["name"] == "set device rules":
            for file, rule in step["args"]["lines"]:
                assert re.search(rf'write\(\d+<[^>]*/{file}>, "{re.escape(rule)}"', text), step
        elif step["name"] == "set rlimit":
            assert f"{step['args']['type']}, {{rlim_cur={step['args']['soft']}" in text
    # and the other way round: nothing is written to a cgroup that is in no step
    written = re.findall(r"write\(\d+<(/sys/fs/cgroup/[^>]*)>, \"([^\"]*)\"", text)
    known = {(step["args"]["file"], step["args"]["value"]) for step in steps if step["name"] == "set cgroup"}
    for step in steps:
        if step["name"] == "set device rules":
            known |= {(f"{step['args']['directory']}/{file}", rule) for file, rule in step["args"]["lines"]}
    unknown = {one for one in written if one not in known}
    assert {os.path.basename(file) for file, _ in unknown} <= {"cpuset.cpus", "cpuset.mems"}, unknown


def test_default_config_is_what_the_plan_of_it_says(stage: Stage) -> None:
    """The trace of the default config is its plan, too."""
    container = stage.container("true")
    assert container.bundle.config == default_config("true")
    trace = stage.directory / "trace.json"
    container.run(options=["--trace", str(trace)]).ok()
    assert _traced(trace, container) == _planned(container)


@pytest.mark.parametrize("path", ["/nonexistent/trace", "/nonexistent/trace.html"])
@pytest.mark.parametrize("verb", ["create", "run", "start", "exec"])
def test_a_trace_that_can_not_be_written(stage: Stage, verb: str, path: str) -> None:
    """The file is named, with the reason; and what create, run or exec has made goes again."""
    flags = ("--trace", path)
    words = f"ociruntime: {verb}: write trace: {path}: ENOENT"
    if verb in ("create", "run"):
        made = stage.container("true")
        (made.create if verb == "create" else made.run)(*flags).refused(words)
        assert stage.runtime.ids() == []
        return
    container = stage.in_state("created" if verb == "start" else "running")
    call = (*flags, container.id) if verb == "start" else (*flags, container.id, "sleep", "1000")
    stage.runtime.call(verb, *call).refused(words)
    assert len(json.loads(stage.runtime.call("ps", "--format", "json", container.id).ok().out)) == 1
    container.delete("--force").ok()


@pytest.mark.parametrize("verb", ["create", "run"])
def test_trace_of_a_refusal(stage: Stage, verb: str) -> None:
    """A config that is refused before the first step: the page has the error at its top, and no step."""

    def edit(config: Config) -> None:
        config["hostname"] = "x" * 70

    container = stage.container("true", edit=edit)
    page, file = stage.directory / "trace.html", stage.directory / "trace.json"
    for trace in (page, file):
        flags = ("--trace", str(trace))
        (container.create if verb == "create" else container.run)(*flags).refused("/hostname", "70 bytes")
    assert "hostname has 70 bytes" in page.read_text().partition("<main")[0]
    events = [event for event in json.loads(file.read_text())["traceEvents"] if event["ph"] == "X"]
    assert {event["cat"] for event in events} == {"verb", "stage"}
    assert stage.runtime.ids() == []


def test_a_failure_is_not_hidden_by_its_trace(stage: Stage) -> None:
    """The operation's own failure comes first, and that there is no trace of it second."""
    for verb in ("create", "run"):
        container = stage.container("no-such-program")
        result = (container.create if verb == "create" else container.run)("--trace", "/nonexistent/trace")
        result.refused("executable file not found", "; and then: write trace: /nonexistent/trace: ENOENT")
    assert stage.runtime.ids() == []
