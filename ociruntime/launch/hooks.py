# SPDX-License-Identifier: Apache-2.0
"""How is a hook run? The step "run hook". (config.md, POSIX-platform Hooks)

All six kinds work the same way: the sealed executable is given a short plan (join the container's
namespaces, if the hook belongs there; change directory; exec), its standard input is the state, and
what it prints is kept for the error message, or goes to the files that two annotations name. A hook that is a program
of the host never gets the image's environment: LD_PRELOAD in it would run the image's code with the host's privileges
(CVE-2025-23266).

Which kinds there are and where each runs is in linux/hooks.py; how a process gets into the container, in plan/entering.py.
This module must not import container, an operation or a verb.
"""

from __future__ import annotations

import os
import select
import time

from ociruntime.descriptors import Descriptors
from ociruntime.errors import HookFailed, StepFailed
from ociruntime.jsontext import compact
from ociruntime.launch.context import Context
from ociruntime.launch.launch import Launch
from ociruntime.launch.trace import Trace
from ociruntime.linux import awake, capabilities, credentials, namespace_entries, process
from ociruntime.linux.annotations import HOOK_STDERR, HOOK_STDOUT, value_of
from ociruntime.plan import entering, shared_order
from ociruntime.step import HostStep, InitStep, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.native.spawn import Child
    from ociruntime.step import Step

# What the state on standard input says: the specification's steps 3 to 7 follow the creation (step 2).
_STATUS = {"poststart": "running", "poststop": "stopped"}
_IN_CONTAINER = ("createContainer", "startContainer")
_PIPE_CAPACITY = 4096  # of a pipe of a user who has many already (pipe(7))
_OUTPUT_SHOWN = 4096


def apply(step: HostStep, context: Context) -> None:
    """Run one hook and wait for it.

    Raises HookFailed if it can't be run, ends with a status other than 0, or is still running after
    its timeout (then it is killed).
    """
    context.hooked = True
    started = time.monotonic()
    with Descriptors() as opened:
        opened["output"] = output = os.memfd_create("hook output", os.MFD_CLOEXEC)
        child: Child | None = None
        try:
            child = _spawn(step, context, output)
            timeout = step.args.get("timeout")
            limit = float(str(timeout)) - (time.monotonic() - started) if timeout is not None else None
            if not _ended(child, limit):
                raise _failed(step, f"still running after {timeout} s", output)
            status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
            if status:
                how = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
                raise _failed(step, how, output)
        finally:
            if child is not None:
                child.close()  # it is ended if it has not ended


def _ended(child: Child, limit: float | None) -> bool:
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    longest = 2_000_000_000  # milliseconds, 23 days: poll(2) takes an int
    return bool(poll.poll(None if limit is None else min(max(limit, 0) * 1000, longest)))


def _failed(step: HostStep, reason: str, output: int) -> HookFailed:
    printed = os.pread(output, _OUTPUT_SHOWN, 0).decode("utf-8", "replace").strip()
    said = ": it printed: " + " | ".join(printed.splitlines()) if printed else ""
    return HookFailed(f"{reason}{said}", pointer=step.pointer, step=f"hook {step.text}")


def _spawn(step: HostStep, context: Context, output: int) -> Child:
    """Let the hook run; returns its process. What it prints goes to the file `output`."""
    # One of its own: its host steps are about the hook's process.
    inner = Context(context.container_id, context.bundle, context.directory, context.config)
    inner.init_pid = context.pid
    launch: Launch | None = None
    try:
        with Descriptors() as opened:
            _fill_state(opened, context, str(step.args["kind"]))
            streams = (
                _stream(step, context, HOOK_STDOUT, opened, output),
                _stream(step, context, HOOK_STDERR, opened, output),
            )
            launch = Launch(
                Plan([*_steps(step, context)], 0, []),
                inner,
                None,
                fd_base=3,
                stdio=(opened["state"], *streams),
                commit=_nothing,
                trace=Trace("", ""),
            )
            launch.carry_out()
            child = launch.become_program()
            launch.finish()
            return child
    except BaseException as failure:
        if launch is not None:
            launch.give_up()
        if isinstance(failure, StepFailed) and not isinstance(failure, HookFailed):
            raise _not_run(step, failure) from None
        raise


def _not_run(step: HostStep, failure: StepFailed) -> HookFailed:
    """What kept the hook from running, reported at the hook; a mistake in the filter is the container's."""
    own = failure.pointer.startswith("/linux/seccomp")
    return HookFailed(
        f"{failure.step}: {failure.reason}" if failure.reason else failure.step,
        pointer=failure.pointer if own else step.pointer,
        step=f"hook {step.text}",
        errno=failure.errno,
        hint=failure.hint if own else "",
    )


def _stream(step: HostStep, context: Context, annotation: str, opened: Descriptors, default: int) -> int:
    """Where a hook prints to: the file that an annotation names, as crun does, or `default`."""
    path = value_of(context.config, annotation)
    if not path:
        return default
    try:
        # what is there may be a FIFO that no one reads, or a terminal
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        opened[annotation] = os.open(path, flags, 0o600)
    except OSError as failure:
        pointer = context.config.at("annotations", annotation).pointer
        raise HookFailed(path, pointer=pointer, step=f"hook {step.text}", errno=failure.errno or 0) from None
    os.set_blocking(opened[annotation], True)
    return opened[annotation]


def _nothing() -> None:
    """A hook leaves nothing behind that would have to be recorded."""


def _steps(step: HostStep, context: Context) -> Iterator[Step]:
    """From nothing to the hook's program."""
    kind = str(step.args["kind"])
    path = str(step.args["path"])
    words = step.args.get("args")
    config = context.config
    directory = context.bundle
    load_filter: list[Step] = []
    needs_admin = False
    if kind == "startContainer" and awake(config, "seccomp"):
        # The container's system call filter is also its startContainer hooks', as in runc and crun.
        from ociruntime.linux import seccomp

        assert context.host is not None  # the caller that runs startContainer hooks has probed it
        yield from seccomp.plan_compile(config, context.host)
        load_filter += seccomp.plan_load(config)
        needs_admin = seccomp.needs_admin(config)
    if kind in _IN_CONTAINER:
        target = _container(context)
        yield from entering.plan_open(config, target)
        yield from entering.plan_cgroups(config, target)
        yield from entering.plan_enter(config)
        directory = context.rootfs if kind == "createContainer" else config.at("process", "cwd").text("/")
    else:
        yield HostStep("clone_hook", {}, text="a process of the host")
    if kind == "startContainer":
        yield from entering.plan_root(config, _container(context))
    else:
        yield InitStep("root", "/", 0, name="open root", text="/")
    yield InitStep("chdir", directory, 0, text=directory)
    if kind in _IN_CONTAINER and namespace_entries.has(config, "user"):
        from ociruntime.linux import idmap

        assert context.host is not None  # who runs hooks in the container has probed it
        yield from idmap.plan_root(config, context.host)
    if kind == "startContainer":
        host = context.host
        assert host is not None  # the caller that runs startContainer hooks has probed it
        # It is a program of the image: the caller's terminal and keys are out of its reach, and it has the labels.
        yield from shared_order.plan_session(config, host, context.keyring, new=False)
        yield from capabilities.plan_early(config, host)
        yield from credentials.plan_early(config, host)
        yield from credentials.plan_late(config, host)
        yield from capabilities.plan_late(config, host, capabilities.ADMIN if needs_admin else 0)
        yield from process.plan_no_new_privs(config, host)
    else:
        yield InitStep("umask", credentials.INHERITED_UMASK, text="as the caller's")
    yield InitStep("close_from", 3, name="close descriptors", text="all from 3 on")
    yield from load_filter
    yield InitStep(
        "exec",
        [path],
        [str(word) for word in words] if isinstance(words, list) and words else [path],
        _environment(step, context, kind),
        text=path,
    )


def _container(context: Context) -> entering.Target:
    """The container that the hook enters."""
    facts = context.facts.get("cgroups")
    paths: dict[str, str] = facts["paths"] if isinstance(facts, dict) else {}
    return entering.Target(context.pid, context.start_time, context.rootfs, paths)


def _environment(step: HostStep, context: Context, kind: str) -> list[str]:
    own = step.args.get("env")
    if isinstance(own, list):
        return [str(variable) for variable in own]
    if kind == "startContainer":
        return process.environment(context.config, context.home)
    return [f"{name}={value}" for name, value in context.environment.items()]


def _fill_state(opened: Descriptors, context: Context, kind: str) -> None:
    """Open the state to be read, as "state": a filled pipe, so that a hook that does not read it does no harm."""
    pid = context.pid_inside() if kind in _IN_CONTAINER else context.pid
    state = context.state(_STATUS.get(kind, "created"), None if kind == "poststop" else pid)
    text = compact(state).encode()
    if len(text) <= _PIPE_CAPACITY:
        opened["state"], opened["writer"] = os.pipe2(os.O_CLOEXEC)
        os.write(opened["writer"], text)
        os.close(opened.pop("writer"))
        return
    opened["state"] = os.memfd_create("state", os.MFD_CLOEXEC)
    os.write(opened["state"], text)
    os.lseek(opened["state"], 0, os.SEEK_SET)
