# SPDX-License-Identifier: Apache-2.0
"""Probes: are system call filters there, does each action do what its name says, and can rules be compiled?"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct

from ociruntime.config import Node
from ociruntime.errors import StepFailed
from ociruntime.inspect.doctor import calls
from ociruntime.inspect.doctor.answers import Answer, Case, Lacking, restricted, works
from ociruntime.linux.refusals import Remedy, facts

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8  # seccomp(2)
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # classic BPF
_ANSWER = 4242  # no process id that getppid could give here: what the filter's agent answers

# action -> (its number, how a process ends that makes the filtered call: a signal, or minus an errno, or 0 for as usual)
_ACTIONS = {
    "SCMP_ACT_ERRNO": (0x00050000 | errno.EXDEV, -errno.EXDEV),
    "SCMP_ACT_KILL_PROCESS": (0x80000000, signal.SIGSYS),
    "SCMP_ACT_KILL_THREAD": (0x00000000, signal.SIGSYS),
    "SCMP_ACT_TRAP": (0x00030000, signal.SIGSYS),
    "SCMP_ACT_TRACE": (0x7FF00000, -errno.ENOSYS),
    "SCMP_ACT_LOG": (0x7FFC0000, 0),
}


_ONE_RULE = Node(
    {
        "linux": {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}],
            }
        }
    }
)


def install(action: int, flags: int = 0) -> int:
    """A filter that answers getppid with this action; returns the listener's descriptor if the flags ask for one."""
    call = calls.NUMBERS["getppid"]
    words = [(_LOAD, 0, 0, 0), (_EQUAL, 0, 1, call), (_RETURN, 0, 0, action), (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *word) for word in words))
    program = ctypes.create_string_buffer(struct.pack("@HxxxxxxQ", len(words), ctypes.addressof(code)))
    calls.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return calls.system_call("seccomp", _SET_MODE_FILTER, flags, ctypes.byref(program))


def actions(case: Case) -> Answer:
    """Each action in a process of its own."""
    del case
    missing = []
    for name, (action, expected) in _ACTIONS.items():
        ended = _ended(action)
        if ended != expected:
            missing.append(name)
    if len(missing) == len(_ACTIONS):
        number = calls.in_child(_install_only)
        remedy = facts.outer_filter() if number != errno.EINVAL else None
        kernel = Remedy(
            "this kernel has no system call filters", "use a kernel that is built with CONFIG_SECCOMP_FILTER"
        )
        raise Lacking("seccomp", number, remedy or kernel)
    if missing:
        return restricted(
            Remedy(
                f"{', '.join(missing)} does not do what its name says", "use other actions, or a newer kernel"
            )
        )
    return works(", ".join(name.removeprefix("SCMP_ACT_").lower() for name in _ACTIONS))


def _install_only() -> None:
    install(0x00050000)


def _ended(action: int) -> int:
    """How a process ends after the call: the number of a signal, minus an errno, or 0."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            install(action)
            calls.system_call("getppid")
            code = 0
        except OSError as failure:
            code = failure.errno or 255
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def notify(case: Case) -> Answer:
    """Another process answers the call, and the caller gets that answer."""
    del case
    try:
        listener = install(_NOTIFY, _NEW_LISTENER)
    except OSError as failure:
        number = failure.errno or 0
        remedy = facts.outer_filter()
        if number == errno.EBUSY:
            remedy = Remedy(
                "a filter with a listener is in force already, and the kernel permits one",
                "start the outer container with a profile without SCMP_ACT_NOTIFY",
            )
        raise Lacking("seccomp with SECCOMP_FILTER_FLAG_NEW_LISTENER", number, remedy) from None

    pid = os.fork()
    if pid == 0:
        answer = 0
        try:
            answer = calls.system_call("getppid")
        finally:
            os._exit(0 if answer == _ANSWER else 1)
    received = bytearray(80)  # struct seccomp_notif
    fcntl.ioctl(listener, _RECEIVE, received)
    identity = struct.unpack_from("=Q", received)[0]
    fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", identity, _ANSWER, 0, 0))
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise Lacking("the caller does not get the agent's answer")
    return works()


def library(case: Case) -> Answer:
    """The config's rules, or one, compiled by libseccomp. One that is only in a snapshot can't be tried here."""
    from ociruntime.linux import seccomp, seccomp_compiler
    from ociruntime.native import full_python

    inside = os.environ.get(full_python.LIBSECCOMP, "")
    config = case.config if case.config.at("linux", "seccomp") else _ONE_RULE
    try:
        loaded = seccomp_compiler.load_library()
    except StepFailed as failure:
        if inside:
            return works(f"libseccomp {inside}, in the command itself")
        raise _lacking(failure) from None
    try:
        seccomp_compiler.compile_filter(loaded, seccomp.request(config, fail_unknown=False))
    except StepFailed as failure:
        raise _lacking(failure) from None
    return works(f"libseccomp {inside or seccomp_compiler.version_text(loaded)}")


def _lacking(failure: StepFailed) -> Lacking:
    hint = failure.hint or "change that rule"
    return Lacking(failure.reason, 0, Remedy(str(failure).partition(" (")[0], hint, root=True))
