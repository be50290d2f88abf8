# SPDX-License-Identifier: Apache-2.0
"""When did a command's process begin, and in whose trace is it? See also tests/integration/test_trace.py."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ociruntime.launch import trace_origin
from ociruntime.launch.trace_origin import Command, context

_REPOSITORY = Path(__file__).parents[2]
_TICK = 1_000_000_000 // 100
_TRACE, _SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
_ASLEEP = """
import sys, time
sys.path.insert(0, sys.argv[1])
time.sleep(0.25)
from ociruntime.launch.trace_origin import Command
command = Command("file")
print(command.begun, command.entered)
"""


def test_a_process_that_has_slept() -> None:
    """The begin is told to a tick even if most of its time was spent neither on a CPU nor waiting for one."""
    before = time.time_ns()
    argv = [sys.executable, "-I", "-S", "-c", _ASLEEP, str(_REPOSITORY)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        there = time.time_ns()
        out, _ = process.communicate()
    begun, entered = map(int, out.split())
    assert before - 1_000_000 <= begun <= there + _TICK
    assert entered - begun >= 250_000_000 - _TICK


def test_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc is masked, the begin is as long ago as the process has used a CPU."""
    monkeypatch.setattr(trace_origin, "start_time_of", lambda _pid: 0)
    monkeypatch.setattr(trace_origin, "_SCHEDSTAT", "/nonexistent")
    command = Command("file")
    assert command.entered - command.begun == pytest.approx(time.process_time_ns(), rel=0.5)


@pytest.mark.parametrize(
    "given",
    [f"00-{_TRACE}-{_SPAN}-01", f"00-{_TRACE}-{_SPAN}-00", f"cc-{_TRACE}-{_SPAN}-01", f"cc-{_TRACE}-{_SPAN}-01-what-will-be"],
)  # fmt: skip
def test_a_trace_context(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 00, sampled or not (the flag --trace asks for it), and what can be read of a later version."""
    monkeypatch.setenv("TRACEPARENT", given)
    monkeypatch.delenv("TRACESTATE", raising=False)
    found = context()
    assert found is not None
    assert (found.trace_id, found.parent_id, found.state) == (_TRACE, _SPAN, "")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "00",
        f"00-{_TRACE}-{_SPAN}",
        f"00-{_TRACE}-{_SPAN}-01-more",
        f"ff-{_TRACE}-{_SPAN}-01",
        f"00-{'0' * 32}-{_SPAN}-01",
        f"00-{_TRACE}-{'0' * 16}-01",
        f"00-{_TRACE.upper()}-{_SPAN}-01",
        f"00-{_TRACE[:-1]}-{_SPAN}-01",
        f"00-{_TRACE[:-1]}g-{_SPAN}-01",
        f" 00-{_TRACE}-{_SPAN}-01",
    ],
)
def test_what_is_no_trace_context(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ignored, as the specification asks for."""
    monkeypatch.setenv("TRACEPARENT", given)
    assert context() is None
