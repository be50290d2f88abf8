# SPDX-License-Identifier: Apache-2.0
"""Which annotations have an effect, and which values do they take?

Annotations are free text for those who read the state (config.md, Annotations); these few change what the runtime
does. They are crun's, and two of them are more than text: KEEP_GROUPS gives the program the caller's groups, and
HOOK_STDOUT and HOOK_STDERR name files of the host. So an engine must not take names of `run.oci.` from an image
(SECURITY.md); the others take values of closed sets (invariant 11). `features` lists them all. crun's other annotations
cause a warning: they must not be ignored silently, but an engine may have copied them, so the container does not fail.
Must not import a subject, nor the spine.
"""

from __future__ import annotations

from ociruntime.errors import UsageError, Violation
from ociruntime.signals import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.config import Node

KEYS = ("/annotations", "/annotations/*")

STOP_SIGNAL = "org.opencontainers.image.stopSignal"
KEEP_GROUPS = "run.oci.keep_original_groups"
HOOK_STDOUT = "run.oci.hooks.stdout"
HOOK_STDERR = "run.oci.hooks.stderr"
FAIL_UNKNOWN_CALL = "run.oci.seccomp_fail_unknown_syscall"
MOUNT_CONTEXT = "run.oci.mount_context_type"
SYSTEMD_PROPERTY = "org.systemd.property."
SUBGROUP = "run.oci.systemd.subgroup"
FORCE_V1 = "run.oci.systemd.force_cgroup_v1"

# Name, or beginning of a name if it ends with a dot -> what it does.
EFFECTS = {
    STOP_SIGNAL: "the signal that `kill` sends by default (R089)",
    SYSTEMD_PROPERTY: "a property of the container's systemd unit, under the systemd driver",
    SUBGROUP: "the cgroup below its systemd unit's that the container is in, under the systemd driver on v2",
    KEEP_GROUPS: "the program keeps the supplementary groups of the runtime's caller",
    MOUNT_CONTEXT: "which mount option carries linux.mountLabel; linux/lsm.py checks it",
    HOOK_STDOUT: "the file that gets what hooks print",
    HOOK_STDERR: "the file that gets the errors that hooks print",
    FAIL_UNKNOWN_CALL: "a name in linux.seccomp that is not a system call is an error",
}

# Annotations that crun reads and this runtime does not -> what happens instead, or what to use.
WITHOUT_EFFECT = {
    "run.oci.handler": "the program is an ordinary process, neither in a virtual machine nor run as WebAssembly",
    "run.oci.delegate-cgroup": "run.oci.systemd.subgroup names a cgroup below the unit's",
    "run.oci.pidfd_receiver": "--pidfd-socket names the socket",
    "run.oci.seccomp.receiver": "linux.seccomp.listenerPath names the socket",
    "run.oci.seccomp.plugins": "an agent at linux.seccomp.listenerPath gets the notifications",
    "run.oci.seccomp_bpf_data": "the filter is that of linux.seccomp",
    "run.oci.timens_offset": "linux.timeOffsets has the offsets",
    "module.wasm.image/variant": "the program is an ordinary process, not run as WebAssembly",
}
_OF_CRUN = ("run.oci.", "krun.")

_DEFAULT_SIGNAL = 15  # SIGTERM


def check(config: Node) -> Iterator[Violation]:
    """Values that an annotation with an effect can't have, and crun's annotations that have none here."""
    for name, value in config.at("annotations").members():
        text = value.text()
        if name == STOP_SIGNAL:
            if text and _signal_of(text) is None:  # builders write empty text if the image names no signal
                reason = f"unknown signal {text!r}: `kill` without a signal will send TERM"
                yield Violation(value.pointer, reason, "R089", "warning")
        elif name in (KEEP_GROUPS, FAIL_UNKNOWN_CALL):
            if text not in ("1", "true"):
                yield Violation(value.pointer, f"{text!r} must be 1 or true", "R085")
        elif name in (HOOK_STDOUT, HOOK_STDERR):
            if not text.startswith("/"):
                yield Violation(value.pointer, f"{text!r} must be the absolute path of a file", "R085")
        elif name == FORCE_V1:
            reason = f"{name}, a mount of v1's systemd hierarchy, is not supported yet"
            yield Violation(value.pointer, reason, "R085", "unsupported")
        elif name == SUBGROUP:
            if not is_cgroup_name(text):
                reason = f"{text[:80]!r} can't be the name of a cgroup"
                yield Violation(value.pointer, reason, "R085", "warning")
        elif name.startswith(SYSTEMD_PROPERTY):
            yield from _check_property(name.removeprefix(SYSTEMD_PROPERTY), value)
        elif name in WITHOUT_EFFECT or (name.startswith(_OF_CRUN) and name not in EFFECTS):
            why = f": {WITHOUT_EFFECT[name]}" if name in WITHOUT_EFFECT else ""
            yield Violation(
                value.pointer, f"crun's annotation {name} has no effect here{why}", "R085", "warning"
            )


def is_cgroup_name(name: str) -> bool:
    """One name of a closed set: it leads nowhere else, and the kernel has no file of that name (invariant 11)."""
    known = (
        name.isascii() and name.replace("_", "").replace("-", "").replace(".", "").replace(":", "").isalnum()
    )
    return not name or (known and not name.startswith(("cgroup.", "..")) and len(name) <= 255)


def features(takes: Callable[..., bool]) -> dict[str, object]:  # noqa: ARG001 - the signature of every subject
    """Its part of the features document; `takes` says whether check() accepts a config."""
    return {"potentiallyUnsafeConfigAnnotations": sorted(EFFECTS)}


def _check_property(name: str, value: Node) -> Iterator[Violation]:
    """A name like systemd's, and a value in GVariant's text format; as in runc only the systemd driver uses them."""
    if len(name) < 3 or not (name.isascii() and name.isalpha() and name[0].isupper()):
        yield Violation(value.pointer, f"{name!r} is not the name of a systemd property", "R085", "warning")
        return
    from ociruntime.linux.gvariant import parse as parse_value

    try:
        parse_value(value.text())
    except ValueError as mistake:
        reason = f"not a value in GVariant's text format: {mistake}"
        yield Violation(value.pointer, reason, "R085", "warning")


def _signal_of(text: str) -> int | None:
    try:
        return parse(text) or None
    except UsageError:
        return None


def value_of(config: Node, name: str) -> str:
    """The annotation's value, or ""."""
    return config.at("annotations", name).text()


def stop_signal(annotations: object) -> int:
    """The signal that `kill` sends by default, according to the annotations in the state."""
    text = annotations.get(STOP_SIGNAL) if isinstance(annotations, dict) else None
    found = _signal_of(text) if isinstance(text, str) else None
    return found if found is not None else _DEFAULT_SIGNAL
