# SPDX-License-Identifier: Apache-2.0
"""While which steps can the user's other processes reach init, and trace it? Only an ordinary user's, and only as long as it must be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ociruntime.bundle import Bundle
from ociruntime.host import Host
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.plan import order
from ociruntime.step import InitStep, SyncStep
from ociruntime.verbs.spec import default_config, without_root

_HOOKS = [{"path": "/bin/true"}]


def _order(uid: int, *, hooks: dict[str, Any] | None = None, own_user: bool = True) -> list[object]:
    """The sync points of create and start in their order, with 1 and 0 where init becomes dumpable, and no longer is."""
    config = default_config(cgroup_namespace=False)
    without_root(config, uid, uid)
    if not own_user:
        config["linux"]["namespaces"].pop()
        del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
    config["hooks"] = hooks or {}
    host = Host(Layout("none"), rootless=True, uid=uid, gid=uid)
    made = order.make(
        Bundle("/bundle", "/bundle/config.json", json.dumps(config).encode()), host, order.Options("one")
    )
    found: list[object] = []
    for step in made.steps:
        if isinstance(step, SyncStep):
            found.append(step.point)
        elif isinstance(step, InitStep) and step.op == "dumpable":
            found.append(step.args[0])
    return found


@pytest.mark.parametrize("hooks", [{}, {"prestart": _HOOKS}])
def test_an_ordinary_user(hooks: dict[str, Any]) -> None:
    """While the id maps are written, and once init has no more than its program will have. Hooks of the host need nothing."""
    mounted = ["mounted"] if hooks else []
    assert _order(1000, hooks=hooks) == [1, "started", 0, *mounted, "limits", 1, "ready", "start"]


def test_hooks_in_the_container() -> None:
    """Theirs enter init's namespaces, while the host's root is still there."""
    hooks = {"createContainer": _HOOKS}
    assert _order(1000, hooks=hooks) == [1, "started", 0, 1, "mounted", 0, "limits", 1, "ready", "start"]


@pytest.mark.parametrize(("uid", "own_user"), [(0, True), (0, False), (1000, False)])
def test_others(uid: int, own_user: bool) -> None:
    """Root of a user namespace reaches it anyway; and without a user namespace no one needs to."""
    found = _order(uid, own_user=own_user, hooks={"createContainer": _HOOKS})
    assert [one for one in found if one in (0, 1)] == []
