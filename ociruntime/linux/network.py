# SPDX-License-Identifier: Apache-2.0
"""Which network devices does the container have? (config-linux.md, Network Devices)

A new network namespace has a loopback device that is down; it is brought up, as engines expect. The devices of
`netDevices` are moved there from the runtime's namespace, and brought up. Once create has ended they belong to
the container: when the namespace goes, the kernel destroys the virtual ones and gives the physical ones back.

A child process speaks netlink (network_devices.py): entering a namespace would change a thread of the caller.
Must not import another subject.
"""

from __future__ import annotations

import os
from errno import EINVAL, ENODEV

from ociruntime.descriptors import Descriptors
from ociruntime.errors import StepFailed, Violation
from ociruntime.linux import namespace_entries
from ociruntime.linux.uapi import IFNAMSIZ
from ociruntime.step import HostStep, InitStep

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.config import Node
    from ociruntime.launch.context import Context

KEYS = ("/linux/netDevices", "/linux/netDevices/*/name")

_HELD = "network namespace"  # name of the descriptor that keeps a new namespace alive until create has ended
_NAMESPACE = 3  # its number in the child
_HINTS = {
    ENODEV: "no such device in the runtime's network namespace",
    EINVAL: "the kernel does not let every device leave its network namespace",
}


def check(config: Node) -> Iterator[Violation]:
    """Names that the kernel takes, each once in the container, and a namespace to move the devices to."""
    devices = config.at("linux", "netDevices")
    if len(devices) and not namespace_entries.has(config, "network"):
        yield Violation(
            devices.pointer,
            f"{', '.join(name for name, _ in devices.members())}: needs a network namespace, which the config does not have",
            "R116",
        )
    taken: set[str] = set()
    for name, device in devices.members():
        target = device.at("name")
        yield from _check_name(Violation(device.pointer, "", "R116"), name)
        if target.text():
            yield from _check_name(Violation(target.pointer, "", "R118"), target.text(), pattern=True)
        inside = target.text() or name
        if inside in taken and "%" not in target.text():
            yield Violation(device.pointer, f"two devices would be called {inside}", "R117")
        taken.add(inside)


def features(takes: Callable[..., bool]) -> dict[str, object]:
    """Its part of the features document; `takes` says whether check() accepts a config."""
    moved = takes(linux={"netDevices": {"eth0": {}}, "namespaces": [{"type": "network"}]})
    return {"linux": {"netDevices": {"enabled": moved}}}


def _check_name(place: Violation, name: str, pattern: bool = False) -> Iterator[Violation]:
    """dev_valid_name() and dev_alloc_name() of the kernel, net/core/dev.c."""
    reason = ""
    if len(name.encode("utf-8", "surrogatepass")) >= IFNAMSIZ:
        reason = f"is longer than {IFNAMSIZ - 1} bytes"
    elif name in (".", "..") or any(letter in "/:" or letter.isspace() for letter in name):
        reason = "is . or .., or has a slash, a colon or white space"
    elif pattern and "%" in name and (name.count("%") != 1 or "%d" not in name):
        reason = "may have one %d, and no other %"
    if reason:
        yield Violation(place.pointer, f"the name {name!r} of a network device {reason}", place.rule)


def plan_devices(config: Node) -> Iterator[HostStep]:
    """Move the devices, once init is in the network namespace; before its loopback device comes up."""
    entry = namespace_entries.entry(config, "network")
    for number, (name, device) in enumerate(config.at("linux", "netDevices").members()):
        inside = device.at("name").text()
        yield HostStep(
            "move_network_device",
            {
                "device": name,
                "name": inside,
                "path": entry.at("path").text(),
                "note": f"network-device-{number}",
            },
            pointer=device.pointer,
            text=f"{name} to the container" + (f", as {inside}" if inside and inside != name else ""),
            undoable=True,
        )


def plan(config: Node) -> Iterator[InitStep]:
    """Bring the loopback device up in a new network namespace; a joined one is left as it is."""
    entry = namespace_entries.entry(config, "network")
    if entry and not entry.at("path").text():
        yield InitStep("loopback", pointer=entry.pointer, text="lo up")


def apply(step: HostStep, context: Context) -> None:
    """Move one device. Raises StepFailed if it can't be moved, or if its new name is taken (R116, R117)."""
    if _HELD not in context.held:
        context.held[_HELD] = os.open(f"/proc/{context.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    note = f"{context.directory}/{step.args['note']}"
    answer = _ask(context.held[_HELD], "move", note, str(step.args["device"]), str(step.args["name"]))
    if answer:
        number, reason = answer
        hint = _HINTS.get(number, "")
        raise StepFailed(reason, pointer=step.pointer, step=step.describe(), errno=number, hint=hint)


def undo(_op: str, args: dict[str, object], context: Context) -> None:
    """After a failed create: take the device back, with its name and addresses, if its namespace still exists.

    Once the container is created the device belongs to it, even when it ends (R122): then nothing is done.
    Raises OSError if it can't be taken back.
    """
    note = f"{context.directory}/{args['note']}"
    if context.committed or not os.path.exists(note):
        return
    namespace = context.held.get(_HELD, -1)
    path = str(args["path"])
    if namespace >= 0:
        answer = _ask(namespace, "take-back", note)
    elif path and os.path.exists(path):
        with Descriptors() as opened:
            opened["net"] = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            answer = _ask(opened["net"], "take-back", note)
    else:
        return  # a new namespace has gone with init, and the kernel has taken care of its devices
    if answer:
        raise OSError(answer[0], answer[1])


def _ask(namespace: int, *request: str) -> tuple[int, str] | None:
    """Have the child do it; (errno, reason) if it could not."""
    from ociruntime.native import full_python

    python, places = full_python.interpreter()
    program = f"import sys; sys.path += {places!r}; from ociruntime.linux.network_devices import main; main()"
    words = [python, "-I", "-S", "-X", "utf8", "-c", program, *request]
    pipe = Descriptors()
    pid = 0
    try:
        pipe["reading"], pipe["writing"] = os.pipe()
        pid = os.posix_spawn(
            python,
            words,
            {},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, pipe["writing"], 1),
                (os.POSIX_SPAWN_DUP2, pipe["writing"], 2),
                (os.POSIX_SPAWN_DUP2, namespace, _NAMESPACE),
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            ],
            setsigmask=[],
        )
        os.close(pipe.pop("writing"))
        said = b""
        while part := os.read(pipe["reading"], 4096):
            said += part
    finally:
        pipe.close()
        if pid:
            _wait(pid)
    return _answer(said.decode("utf-8", "replace").strip().rpartition("\n")[2])


def _wait(pid: int) -> None:
    """Wait for the child even if we are interrupted: its work must not be left half done."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return  # the application ignores SIGCHLD: the kernel has waited until it ended


def _answer(line: str) -> tuple[int, str] | None:
    """The child's last line: "done", or "failed NUMBER REASON"; anything else means that it crashed."""
    if line == "done":
        return None
    word, _, rest = line.partition(" ")
    number, _, reason = rest.partition(" ")
    if word == "failed" and number.isdigit():
        return int(number), reason
    return 0, f"the helper for network devices ended: {line or 'without a message'}"
