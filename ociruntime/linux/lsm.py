# SPDX-License-Identifier: Apache-2.0
"""Which AppArmor profile or SELinux labels does the program run under? (config.md, "Linux Process")

A label is written into init's own /proc/self/attr, on a procfs of its own (native/procfs.c), so that what
the container has at /proc doesn't matter (CVE-2019-16884, CVE-2025-52881). It takes effect at execve. On a
host without that security module a label is left out with a warning. Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.linux.annotations import MOUNT_CONTEXT
from ociruntime.step import InitStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.step import Step

KEYS = ("/process/apparmorProfile", "/process/selinuxLabel", "/linux/mountLabel")

_LABELS = (
    (("process", "apparmorProfile"), "R048"),
    (("process", "selinuxLabel"), "R058"),
    (("linux", "mountLabel"), "R197"),
)

# The mount option that carries a label; mount(8), "context".
MOUNT_CONTEXTS = ("context", "fscontext", "defcontext", "rootcontext")

# SELinux labels the files of the first two by itself; the next two share the host's superblocks, whose label is
# fixed. A message queue file system belongs to its ipc namespace and takes the label as an attribute.
_UNLABELLED = ("proc", "sysfs", "cgroup", "cgroup2")
_BY_ATTRIBUTE = "mqueue"


def check(config: Node) -> Iterator[Violation]:
    """Yield labels that the kernel would read as something else, and unknown kinds of mount labels."""
    for path, rule in _LABELS:
        label = config.at(*path)
        # SELinux takes a leading line feed for "no label", AppArmor cuts at white space
        if any(letter < " " or letter == "\x7f" for letter in label.text()):
            yield Violation(
                label.pointer, f"a label can't have control characters: {label.text()[:80]!r}", rule
            )
    kind = config.at("annotations", MOUNT_CONTEXT)
    if config.at("linux", "mountLabel").text() and kind.text("context") not in MOUNT_CONTEXTS:
        yield Violation(kind.pointer, f"{kind.text()!r} must be one of {', '.join(MOUNT_CONTEXTS)}", "R197")


def features(takes: Callable[..., bool]) -> dict[str, object]:
    """Its part of the features document; `takes` says whether check() accepts a config."""
    apparmor = takes(process={"apparmorProfile": "x"})
    selinux = takes(process={"selinuxLabel": "x"}, linux={"mountLabel": "x"})
    return {"linux": {"apparmor": {"enabled": apparmor}, "selinux": {"enabled": selinux}}}


def warnings(config: Node, host: Host) -> Iterator[Violation]:
    """Yield a warning for each label that this host can't set."""
    for path, rule in _LABELS:
        label = config.at(*path)
        name, there = (
            ("AppArmor", host.apparmor) if path[-1] == "apparmorProfile" else ("SELinux", host.selinux)
        )
        if label.text() and label.text() != "unconfined" and not there:
            reason = f"ignored because this host has no {name}: {label.text()}"
            yield Violation(label.pointer, reason, rule, "warning")


def plan_keyring(process: Node, host: Host) -> Iterator[InitStep]:
    """Before the session keyring is made: its label; execve resets it. Pure.

    process   /process of the config, or what `exec` puts in its place
    """
    label = process.at("selinuxLabel")
    if label.text() and host.selinux:
        yield _attribute("keycreate", label, "label session keyring", label.text())


def plan_exec(process: Node, host: Host) -> Iterator[InitStep]:
    """While procfs is available: what takes effect at the execve of the program. Pure.

    process   /process of the config, or what `exec` puts in its place
    """
    profile, label = process.at("apparmorProfile"), process.at("selinuxLabel")
    if profile.text() and host.apparmor:
        # AppArmor's own directory: attr/exec belongs to whichever module comes first. There since Linux 5.8.
        yield _attribute("apparmor/exec", profile, "set AppArmor profile", f"exec {profile.text()}")
    if label.text() and host.selinux:
        yield _attribute("exec", label, "set SELinux label", label.text())


def _attribute(file: str, label: Node, name: str, value: str) -> InitStep:
    return InitStep("attribute", file, value, name=name, pointer=label.pointer, text=label.text())


def labelled(steps: Iterable[Step], config: Node, host: Host) -> Iterator[Step]:
    """The same steps, with linux.mountLabel on each file system that is made. Pure.

    Binds keep the labels of their files: changing those is up to the engine.
    """
    label = config.at("linux", "mountLabel").text()
    kind = config.at("annotations", MOUNT_CONTEXT).text("context")
    for step in steps:
        if not (label and host.selinux and isinstance(step, InitStep)):
            yield step
        elif step.op == "mask":
            yield _with(step, 1, label)
        elif step.op == "mount_fs" and step.args[0] not in (*_UNLABELLED, _BY_ATTRIBUTE):
            options = step.args[2]
            assert isinstance(options, list)
            words = [str(word) for word in options]
            own = any(word.partition("=")[0] in MOUNT_CONTEXTS for word in words)
            yield step if own else _with(step, 2, [*words, f"{kind}={label}"])
        else:
            yield step
            if step.op == "mount_fs" and step.args[0] == _BY_ATTRIBUTE:
                place = str(step.args[7])
                yield InitStep(
                    "xattr",
                    place,
                    "security.selinux",
                    label,
                    name="label mount",
                    pointer=step.pointer,
                    text=place,
                )


def _with(step: InitStep, number: int, value: str | list[str]) -> InitStep:
    args = list(step.args)
    args[number] = value
    text = step.text if step.op == "mask" else f"{step.text} with the mount label"
    return InitStep(step.op, *args, name=step.name, pointer=step.pointer, text=text, ignore=step.ignore)
