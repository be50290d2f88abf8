# SPDX-License-Identifier: Apache-2.0
"""Which system calls may the program make? (config-linux.md, "Seccomp"; seccomp(2))

A host step compiles the rules (seccomp_compiler.py) or finds them compiled (seccomp_cache.py), and init loads
the result right before it becomes the program, so that only execve must get through it. Loading needs
no_new_privs or CAP_SYS_ADMIN; init keeps the latter in its effective set where it has to. execve computes the
program's capabilities from the bounding, inheritable and ambient sets alone (capabilities(7)), so that nothing
has to be dropped once the filter is loaded.

Other processes in the container (startContainer hooks, exec) use the same functions: plan_compile before their
clone, plan_load before their exec, needs_admin for their capabilities, and where the plan has the sync
"listener", send_listener. Must not import another subject.
"""

from __future__ import annotations

import _socket
import os

from ociruntime.descriptors import Descriptors
from ociruntime.errors import StepFailed, Violation
from ociruntime.jsontext import compact
from ociruntime.linux.annotations import FAIL_UNKNOWN_CALL
from ociruntime.step import Blob, HostStep, InitStep, SyncStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.launch.context import Context
    from ociruntime.step import Step

KEYS = (
    "/linux/seccomp",
    "/linux/seccomp/defaultAction",
    "/linux/seccomp/defaultErrnoRet",
    "/linux/seccomp/architectures",
    "/linux/seccomp/flags",
    "/linux/seccomp/listenerPath",
    "/linux/seccomp/listenerMetadata",
    "/linux/seccomp/syscalls",
    "/linux/seccomp/syscalls/*/names",
    "/linux/seccomp/syscalls/*/action",
    "/linux/seccomp/syscalls/*/errnoRet",
    "/linux/seccomp/syscalls/*/args",
    "/linux/seccomp/syscalls/*/args/*/index",
    "/linux/seccomp/syscalls/*/args/*/value",
    "/linux/seccomp/syscalls/*/args/*/valueTwo",
    "/linux/seccomp/syscalls/*/args/*/op",
)

# What a filter returns; linux/seccomp.h, SECCOMP_RET_*. The lower 16 bits are data: an errno, or a tracer's number.
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
}
# enum scmp_compare of seccomp.h
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
ARCHITECTURES = (
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
)
# Bits of seccomp(2) for SECCOMP_SET_MODE_FILTER.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}
_NEW_LISTENER, _TSYNC_ESRCH = 1 << 3, 1 << 4

_NOTIFY, _ERRNO, _TRACE = "SCMP_ACT_NOTIFY", "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"
_EPERM = 1
_LAST_ARGUMENT = 5  # a system call has six
_LARGEST = {_ERRNO: 4094, _TRACE: 0xFFFF}  # libseccomp takes less than MAX_ERRNO; 16 bits are what fits

_BLOB = "seccomp filter"


def check(config: Node) -> Iterator[Violation]:
    """Yield what can't be made into a filter; R178, R187 and R190 are in the schema."""
    seccomp = config.at("linux", "seccomp")
    if not seccomp:
        return
    default = seccomp.at("defaultAction")
    if default.text() == _NOTIFY:
        # the very call that hands the descriptor to the agent would wait for the agent
        yield Violation(default.pointer, f"{_NOTIFY} cannot be the default action", "R177")
    yield from _check_errno(default.text(), seccomp.at("defaultErrnoRet"), "R178")
    for rule in seccomp.at("syscalls"):
        action = rule.at("action")
        if action.text() == _NOTIFY:
            if not seccomp.at("listenerPath").text():
                yield Violation(action.pointer, f"{_NOTIFY} needs linux.seccomp.listenerPath", "R181")
            if "write" in rule.at("names").texts():
                yield Violation(rule.at("names").pointer, f"{_NOTIFY} cannot be used for write", "R189")
        yield from _check_errno(action.text(), rule.at("errnoRet"), "R190")
        for condition in rule.at("args"):
            index = condition.at("index")
            if index.number() > _LAST_ARGUMENT:
                yield Violation(index.pointer, f"a system call has no argument {index.number()}", "R189")


def features(takes: Callable[..., bool]) -> dict[str, object]:  # noqa: ARG001 - the signature of every subject
    """Its part of the features document; `takes` says whether check() accepts a config."""
    seccomp = {
        "enabled": True,
        "actions": list(ACTIONS),
        "operators": list(OPERATORS),
        "archs": list(ARCHITECTURES),
        "knownFlags": list(FLAGS),
        "supportedFlags": list(FLAGS),
    }
    return {"linux": {"seccomp": seccomp}}


def _check_errno(action: str, value: Node, rule: str) -> Iterator[Violation]:
    largest = _LARGEST.get(action)
    if largest is not None and value.number() > largest:
        yield Violation(value.pointer, f"{value.number()} is out of range: at most {largest}", rule)


def needs_admin(config: Node) -> bool:
    """True if init must keep CAP_SYS_ADMIN until it has loaded the filter. seccomp(2), EACCES"""
    return bool(config.at("linux", "seccomp")) and not config.at("process", "noNewPrivileges").flag()


def notifies(config: Node) -> bool:
    """True if an agent is asked about some calls; else listenerPath is ignored (R185)."""
    return any(rule.at("action").text() == _NOTIFY for rule in config.at("linux", "seccomp", "syscalls"))


def plan_compile(config: Node, host: Host) -> Iterator[HostStep]:  # noqa: ARG001 - the signature of every subject
    """Before there is a process: compile the filter."""
    seccomp = config.at("linux", "seccomp")
    if seccomp:
        count = len(seccomp.at("syscalls"))
        yield HostStep(
            "compile_seccomp_filter",
            {"failUnknown": _fails_unknown(config)},
            pointer=seccomp.pointer,
            text=f"{seccomp.at('defaultAction').text()} and {count} rule{'' if count == 1 else 's'}",
        )


def plan_load(config: Node) -> Iterator[Step]:
    """Immediately before exec: load the filter; an agent that is asked about calls gets the notify descriptor."""
    seccomp = config.at("linux", "seccomp")
    if not seccomp:
        return
    flags = _flags(config)
    words = [name.removeprefix("SECCOMP_FILTER_FLAG_") for name, bit in FLAGS.items() if flags & bit]
    yield InitStep(
        "seccomp",
        flags,
        Blob(_BLOB),
        name="load seccomp filter",
        pointer=seccomp.pointer,
        text=", ".join([*words, *(["NEW_LISTENER"] if flags & _NEW_LISTENER else [])]),
    )
    if notifies(config):
        path = seccomp.at("listenerPath")
        yield SyncStep("listener", "the filter waits for its agent", path.pointer)
        yield HostStep(
            "send_seccomp_listener",
            {"path": path.text(), "metadata": seccomp.at("listenerMetadata").text()},
            pointer=path.pointer,
            text=f"to {path.text()}",
        )


def _flags(config: Node) -> int:
    """Without a list SPEC_ALLOW, as in runc and crun: the mitigation is expensive, and Linux has dropped it as well."""
    listed = config.at("linux", "seccomp", "flags")
    flags = 0 if listed else FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    for name in listed.texts():
        flags |= FLAGS[name]
    if not notifies(config):
        return (
            flags & ~FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
        )  # only with notifications, else EINVAL
    if flags & FLAGS["SECCOMP_FILTER_FLAG_TSYNC"]:
        flags |= _TSYNC_ESRCH  # both return a number, so the kernel has to be told which one is meant
    return flags | _NEW_LISTENER


def request(config: Node, fail_unknown: bool) -> dict[str, object]:
    """What is compiled, as JSON values: equal requests give equal programs; pure."""
    seccomp = config.at("linux", "seccomp")
    rules: list[object] = []
    for rule in seccomp.at("syscalls"):
        conditions = [
            [
                condition.at("index").number(),
                OPERATORS[condition.at("op").text()],
                condition.at("value").number(),
                condition.at("valueTwo").number(),
            ]
            for condition in rule.at("args")
        ]
        answer = _answer(rule.at("action"), rule.at("errnoRet"))
        rules.append([rule.at("names").texts(), answer, conditions])
    return {
        "default": _answer(seccomp.at("defaultAction"), seccomp.at("defaultErrnoRet")),
        "architectures": seccomp.at("architectures").texts(),
        "rules": rules,
        "failUnknown": fail_unknown,
    }


def _answer(action: Node, errno_ret: Node) -> int:
    name = action.text()
    return ACTIONS[name] | (errno_ret.number(_EPERM) if name in _LARGEST else 0)


def foresee(root: str, config: Node) -> None:
    """Before anything is made: is there a filter that this program can't compile, because it is static and lacks libseccomp?

    root   directory of the containers' state
    """
    from ociruntime.native import full_python

    if full_python.go_over is None or not config.at("linux", "seccomp"):
        return
    if _lacks_library(root, request(config, _fails_unknown(config))):
        full_python.need()


def _lacks_library(root: str, wanted: dict[str, object]) -> bool:
    """Is this a static program that can't find or make the program of the filter?"""
    from ociruntime.native import full_python

    if full_python.absent == {"libseccomp"}:
        from ociruntime.linux.seccomp_cache import is_known

        return not is_known(root, wanted)
    return bool(full_python.absent)


def _fails_unknown(config: Node) -> bool:
    """Is a call that this machine does not have an error?"""
    return config.at("annotations").has(FAIL_UNKNOWN_CALL)


def apply(step: HostStep, context: Context) -> None:
    """Compile the filter, or pass its descriptor on.

    Raises StepFailed if the rules can't be compiled or libseccomp is missing; OSError if the agent can't be reached.
    """
    if step.op == "compile_seccomp_filter":
        wanted = request(context.config, bool(step.args["failUnknown"]))
        program, how, warnings = _find_or_compile(os.path.dirname(context.directory), wanted)
        context.blobs[_BLOB] = program
        context.warnings += warnings
        step.text += f" ({how})"  # for --trace
    else:
        send_listener(context, context.listener, context.pid)


def _find_or_compile(root: str, wanted: dict[str, object]) -> tuple[bytes, str, list[str]]:
    """As in seccomp_cache; by a child if this process can't compile, and can't begin anew either."""
    from ociruntime.native import full_python

    if full_python.ask is not None and _lacks_library(root, wanted):
        digits, how, warnings = full_python.ask(__name__, "in_digits", root, wanted)
        return bytes.fromhex(digits), how, warnings
    from ociruntime.linux import seccomp_cache

    return seccomp_cache.find_or_compile(root, wanted)


def in_digits(root: str, wanted: dict[str, object]) -> tuple[str, str, list[str]]:
    """The same for JSON, which has no bytes."""
    program, how, warnings = _find_or_compile(root, wanted)
    return program.hex(), how, warnings


def send_listener(context: Context, listener: int, pid: int) -> None:
    """Send the notify descriptor of a process to the agent: one connection, one message (R181-R184, R191-R193).

    listener   the descriptor in this process; it stays open here
    pid        the process that has loaded the filter, as the runtime sees it
    Raises StepFailed if the agent can't be reached or does not take the message.
    """
    seccomp = context.config.at("linux", "seccomp")
    message: dict[str, object] = {"ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": pid}
    metadata = seccomp.at("listenerMetadata").text()
    if metadata:
        message["metadata"] = metadata
    message["state"] = context.state(context.status, context.init_pid or context.pid)
    payload = compact(message).encode()
    path = seccomp.at("listenerPath").text()
    agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        _connect(agent, path)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, listener.to_bytes(4, "little"))
        sent = agent.sendmsg([payload], [rights], _socket.MSG_NOSIGNAL)
        while sent < len(payload):  # the descriptor has gone with the first part (R192)
            sent += agent.send(payload[sent:], _socket.MSG_NOSIGNAL)
    except OSError as failure:
        raise StepFailed(
            path,
            pointer=seccomp.at("listenerPath").pointer,
            step="send seccomp listener",
            errno=failure.errno or 0,
            hint="is the seccomp agent running?",
        ) from None
    finally:
        agent.close()


def _connect(agent: _socket.socket, path: str) -> None:
    """By its directory's descriptor: the path may be longer than the 108 bytes of sun_path."""
    folder, name = os.path.split(path)
    with Descriptors() as opened:
        opened["place"] = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        agent.connect(f"/proc/self/fd/{opened['place']}/{name}")
