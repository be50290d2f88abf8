# SPDX-License-Identifier: Apache-2.0
"""What do the two pages for people have in common? `plan --format html` (plan/page.py) and `--trace FILE.html`.

A page is one file without a script, and nothing in it is fetched: its policy allows one style sheet, known by its hash, and
that is all. What a config says is hostile input, and comes into a page only by `escaped`. Steps are coloured by their subject;
boxes in the legend hide those of one (CSS `:has`).
This module must not import `html`, which loads `re` and a table of 2,000 names.
"""

from __future__ import annotations

from ociruntime.errors import printable
from ociruntime.ops import OPS
from ociruntime.plan.style import STYLE, STYLE_HASH
from ociruntime.step import HostStep, InitStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ociruntime.step import Step

# In the order of the legend; each is a class of plan/style.py.
SUBJECTS = ("namespaces", "cgroups", "mounts", "devices", "security", "process", "hooks", "runtime")

# By the module that does a step of the host (OPS), or by the op of init (native/plan.h).
_OF_MODULE = {
    "launch.launch": "runtime",
    "launch.hooks": "hooks",
    "foreground.readiness": "process",
    "linux.descriptor_limit": "process",
    "linux.rootfs": "mounts",
    "linux.mounts": "mounts",
    "linux.devices": "devices",
    "linux.namespaces": "namespaces",
    "linux.idmap": "namespaces",
    "linux.network": "namespaces",
    "linux.cgroups": "cgroups",
    "linux.cgroups.systemd.scope": "cgroups",
    "linux.intelrdt": "cgroups",
    "linux.process": "process",
    "linux.rlimits": "process",
    "linux.scheduling": "process",
    "linux.seccomp": "security",
    "linux.console": "devices",
}
_OPS_OF_INIT = {
    "namespaces": "join unshare time_offsets fork hostname domainname loopback sysctl",
    "cgroups": "join_cgroup",
    "mounts": "propagation root mount_fs bind mount_tree remount mount_attributes mkdir pivot_root move_root chroot"
    " root_attributes xattr",
    "devices": "mknod device symlink terminal terminal_owner console",
    "security": "dumpable session_keyring keyring_permissions mask readonly attribute groups bounding user capabilities"
    " no_new_privs seccomp listener",
    "process": "setsid umask chdir affinity personality memory_policy stream_owner rlimit find_program close_from exec",
    "runtime": "sync ready wait_start",
}
_OF_INIT = {op: subject for subject, ops in _OPS_OF_INIT.items() for op in ops.split()}


def subject_of(step: Step) -> str:
    """The subject of a step: one of SUBJECTS."""
    op = operation(step)
    if step.where == "host":
        return "namespaces" if op.startswith("clone_") else _OF_MODULE[OPS[op]]
    return _OF_INIT[op or "sync"]


def operation(step: Step) -> str:
    """The op of a step; a sync step has none."""
    return step.op if isinstance(step, (HostStep, InitStep)) else ""


def escaped(value: str) -> str:
    """Text as HTML, also between double quotes; what is not printable is an escape, so that no text can reorder a line."""
    safe = printable(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return safe.replace('"', "&quot;").replace("'", "&#x27;")


def document(title: str, body: Iterable[str]) -> str:
    """A whole page. title: a text; body: HTML."""
    policy = f"default-src 'none'; style-src '{STYLE_HASH}'; base-uri 'none'; form-action 'none'"
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(body) + "\n</body>\n</html>\n"


def header(kind: str, title: str, facts: Mapping[str, str]) -> str:
    """What page it is, of what, and what is to be known first: label -> text."""
    shown = "".join(
        f"<div><dt>{escaped(label)}</dt><dd>{escaped(fact)}</dd></div>" for label, fact in facts.items()
    )
    return f"<header>\n<p>{escaped(kind)}</p>\n<h1>{escaped(title)}</h1>\n<dl>{shown}</dl>\n</header>"


def legend(notes: Mapping[str, str]) -> str:
    """The subjects that occur, each with a note, and a box that shows or hides its steps."""
    rows = "".join(
        f'<label class="{name}"><input type="checkbox" id="show-{name}" checked>'
        f"<i></i>{name} <small>{escaped(notes[name])}</small></label>"
        for name in SUBJECTS
        if name in notes
    )
    return f"<fieldset><legend>Show the steps of</legend>{rows}</fieldset>"


def pairs(members: Iterable[tuple[str, object]]) -> str:
    """Names and values as a list of definitions; the parts of an array or object are on lines of their own."""
    found = []
    for name, value in members:
        lines = "".join(f"<dd>{escaped(line)}</dd>" for line in _lines(value))
        found.append(f"<dt>{escaped(name)}</dt>{lines or '<dd>none</dd>'}")
    return f"<dl>{''.join(found)}</dl>"


def _lines(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{name}: {line}" for name, item in value.items() for line in _lines(item)]
    if isinstance(value, (list, tuple)):
        return [line for item in value for line in _lines(item)]
    if value is None or isinstance(value, bool):
        return [str(value).lower().replace("none", "null")]
    return [str(value)]
