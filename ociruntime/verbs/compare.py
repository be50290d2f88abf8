# SPDX-License-Identifier: Apache-2.0
"""`compare`: run one bundle under several runtimes and print what a process in it would see differently."""

from __future__ import annotations

import os
import sys
import tempfile

from ociruntime import bundle
from ociruntime.cli.log import emit
from ociruntime.errors import UsageError
from ociruntime.host_path import absolute
from ociruntime.inspect.observation import Observed, differences, observe
from ociruntime.jsontext import indented
from ociruntime.verbs import config_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Compare this runtime with those of --with; the exit code is 0 even if there are differences."""
    del settings
    peers = [name for name in given.text("with", "runc,crun").split(",") if name]
    if not peers:
        raise UsageError("flag --with names no runtime")
    loaded = bundle.load(*config_of(given.words))
    with tempfile.TemporaryDirectory(prefix="ociruntime-compare-") as scratch:
        os.chmod(scratch, 0o711)  # the root of a user namespace must be able to enter
        observed = [observe(command, loaded, scratch) for command in (absolute(sys.argv[0]), *peers)]
    rows = differences(observed)
    same = len({key for one in observed for key in one.table}) - len(rows)
    if given.text("format") == "json":
        names = [one.name for one in observed]
        found = {key: dict(zip(names, values, strict=True)) for key, values in rows}
        emit(indented({"runtimes": names, "same": same, "differences": found}) + "\n")
    else:
        emit(as_text(observed, rows, same))
    return 0


def as_text(observed: list[Observed], rows: list[tuple[str, list[str]]], same: int) -> str:
    """Each difference with a line for each runtime, and one that counts them."""
    width = max(len(one.name) for one in observed)
    lines = []
    for key, values in rows:
        lines.append(key)
        lines += [f"    {one.name:{width}}  {value}" for one, value in zip(observed, values, strict=True)]
    lines.append(f"{len(rows)} differences; {same} observations are the same")
    return "\n".join(lines) + "\n"
