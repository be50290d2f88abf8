# SPDX-License-Identifier: Apache-2.0
"""The flags that runc has for verbs that this version refuses: read only for help and docs.

This module must not import anything but flags.
"""

from __future__ import annotations

from ociruntime.cli.flags import REFUSED, Row

# (long name, short name, value, help), by verb
_RUNC: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "checkpoint": (
        ("image-path", "", "DIR", "where the saved images go"),
        ("work-path", "", "DIR", "where criu's log goes"),
        ("parent-path", "", "DIR", "images of an earlier pre-dump"),
        ("leave-running", "", "", "leave the container running"),
        ("tcp-established", "", "", "allow open TCP connections"),
        ("tcp-skip-in-flight", "", "", "leave out connections that are still being made"),
        ("link-remap", "", "", "save files that were unlinked"),
        ("ext-unix-sk", "", "", "allow external unix sockets"),
        ("shell-job", "", "", "allow shell jobs"),
        ("lazy-pages", "", "", "restore memory lazily"),
        ("status-fd", "", "N", "where criu says that lazy-pages is ready"),
        ("page-server", "", "ADDRESS:PORT", "send the pages to this page server"),
        ("file-locks", "", "", "save file locks"),
        ("pre-dump", "", "", "save only the memory and leave the container running"),
        ("manage-cgroups-mode", "", "MODE", "how cgroups are saved"),
        ("empty-ns", "", "TYPE", "make a namespace, but restore nothing in it"),
        ("auto-dedup", "", "", "drop pages of the parent that were saved again"),
    ),
    "restore": (
        ("console-socket", "", "FILE", "send the terminal's descriptor to this socket"),
        ("image-path", "", "DIR", "where the saved images are"),
        ("work-path", "", "DIR", "where criu's log goes"),
        ("tcp-established", "", "", "allow open TCP connections"),
        ("ext-unix-sk", "", "", "allow external unix sockets"),
        ("shell-job", "", "", "allow shell jobs"),
        ("file-locks", "", "", "restore file locks"),
        ("manage-cgroups-mode", "", "MODE", "how cgroups are restored"),
        ("bundle", "b", "DIR", "the bundle's directory"),
        ("detach", "d", "", "return once the program runs"),
        ("pid-file", "", "FILE", "write the process id of init to FILE"),
        ("no-subreaper", "", "", "do not become a subreaper"),
        ("no-pivot", "", "", "change the root without pivot_root"),
        ("empty-ns", "", "TYPE", "make a namespace, but restore nothing in it"),
        ("auto-dedup", "", "", "drop pages of the parent that were saved again"),
        ("lazy-pages", "", "", "restore memory lazily"),
        ("lsm-profile", "", "TYPE:NAME", "LSM profile to use instead"),
        ("lsm-mount-context", "", "CONTEXT", "LSM mount context to use instead"),
    ),
    "mounts": (),
}

LATER_FLAGS: dict[str, tuple[Row, ...]] = {
    verb: tuple((name, short, value, REFUSED, "runc", text, f"{verb} is not supported yet") for name, short, value, text in rows)
    for verb, rows in _RUNC.items()
}  # fmt: skip
