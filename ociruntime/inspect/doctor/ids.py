# SPDX-License-Identifier: Apache-2.0
"""Probe: can a user namespace have more ids than the caller's own?"""

from __future__ import annotations

import os
import subprocess

from ociruntime.inspect.doctor import calls
from ociruntime.inspect.doctor.answers import Answer, Case, Lacking, lacking, works
from ociruntime.linux import id_ranges
from ociruntime.linux.namespace_entries import CLONE_NEWUSER
from ociruntime.linux.refusals import ids as refusals

_ORDINARY = [[0, 100000, 65536]]
_FILES = (("uid_map", "uidMappings"), ("gid_map", "gidMappings"))
_HELPERS = {"uid_map": ("newuidmap", "/etc/subuid"), "gid_map": ("newgidmap", "/etc/subgid")}
_PATIENCE = 3  # seconds


def mapping(case: Case) -> Answer:
    """The config's mappings, or some: written by root, or by newuidmap and newgidmap for an ordinary user."""
    with _Namespace() as pid:
        shown = [_map(case, pid, file, name) for file, name in _FILES]
    return works("; ".join(shown))


def _map(case: Case, pid: int, file: str, name: str) -> str:
    wanted = id_ranges.read(case.config.at("linux", name))
    if case.powerful:
        ranges = wanted or _ORDINARY
        try:
            with open(f"/proc/{pid}/{file}", "w", encoding="ascii") as opened:
                opened.write(id_ranges.lines(ranges))
        except OSError as failure:
            number = failure.errno or 0
            raise Lacking(f"write {file}", number, refusals.map_refused(number, file, ranges)) from None
    else:
        ranges = _map_by_helper(pid, file, wanted)
    return f"{file}: {id_ranges.words(ranges)}"


def _map_by_helper(pid: int, file: str, wanted: id_ranges.Ranges) -> id_ranges.Ranges:
    """By the set-uid program that reads /etc/subuid or /etc/subgid; returns what is mapped."""
    program, table = _HELPERS[file]
    uid, own = os.geteuid(), os.geteuid() if file == "uid_map" else os.getegid()
    user = refusals.login_name(uid)
    needed = max((size for _, host, size in wanted if host != own), default=0)
    against = refusals.helper(program, os.environ.get("PATH", os.defpath))
    against = against or refusals.sub_ids(table, user, uid, needed)
    if against:
        raise lacking(against)
    first, size = refusals.read_sub_ids(table, user, uid)[0]
    ranges = wanted if needed else [[0, own, 1], [1, first, size]]
    words = [program, str(pid), *(str(number) for one in ranges for number in one)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise Lacking(f"{program} does not end") from None
    if done.returncode:
        raise Lacking(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return ranges


class _Namespace:
    """A child in a new user namespace without mappings; the value is its pid."""

    def __enter__(self) -> int:
        reading, writing = os.pipe()
        waiting, self._let_go = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                calls.unshare(CLONE_NEWUSER)
                os.write(writing, b"x")
                os.close(writing)
                os.close(self._let_go)
                os.read(waiting, 1)
            finally:
                os._exit(0)
        os.close(writing)
        os.close(waiting)
        if not os.read(reading, 1):
            calls.unshare(CLONE_NEWUSER)  # says why
        return self._pid

    def __exit__(self, *_: object) -> None:
        os.close(self._let_go)
        os.waitpid(self._pid, 0)
