# SPDX-License-Identifier: Apache-2.0
"""Is each op of the host's side done by the module that the table names?"""

from __future__ import annotations

import pytest

from ociruntime import errors
from ociruntime.native.encode import OPS as INIT_OPS
from ociruntime.ops import OPS, module_of, words_of
from ociruntime.step import HostStep

# Done by Launch itself.
_OF_LAUNCH = {"clone_init", "clone_helper", "clone_hook", "commit", "open_init"}


@pytest.mark.parametrize("op", sorted(OPS))
def test_its_module_does_it(op: str) -> None:
    """The module that the table names is there and has `apply`; Launch does its own."""
    assert op.isidentifier()
    assert callable(getattr(module_of(op), "apply", None)) != (op in _OF_LAUNCH)
    assert op not in INIT_OPS


def test_what_is_no_op() -> None:
    """A journal that was tampered with names no module of another's."""
    for text in ("", "os", "../os", "linux.cgroups", "make cgroup"):
        with pytest.raises(KeyError):
            module_of(text)


def test_words_and_form() -> None:
    """The words are for people; a journal and `plan --format json` have the op."""
    step = HostStep("set_io_priority", {"class": "x"}, pointer="/p", text="t")
    assert step.name == words_of("set_io_priority") == "set I/O priority"
    assert words_of("make_cgroup") == "make cgroup"
    assert step.entry() == {"op": "set_io_priority", "args": {"class": "x"}}
    assert step.as_dict() == {
        "where": "host",
        "name": "set I/O priority",
        "pointer": "/p",
        "text": "t",
        "op": "set_io_priority",
        "subject": "linux.scheduling",
        "args": {"class": "x"},
    }


def test_hints_are_for_ops() -> None:
    """A hint whose op is not one any more would never be shown."""
    known = {"", "sync", *OPS, *INIT_OPS}
    assert {op.split()[0] if op else op for _, op in errors._HINTS} <= known
