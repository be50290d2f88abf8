# SPDX-License-Identifier: Apache-2.0
"""ociruntime/check/unknown.py: which names does `validate` not know, and what does it suggest?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from ociruntime.check import check
from ociruntime.check.unknown import near, unknown_names
from ociruntime.config import Node
from tests.harness.configuration import default_config


def _with(path: str, value: Any) -> dict[str, Any]:
    """The default config with a value at a pointer."""
    config: Any = json.loads(json.dumps(default_config()))
    *above, name = path.split("/")[1:]
    place = config
    for token in above:
        place = place[int(token)] if isinstance(place, list) else place.setdefault(token, {})
    place[name] = value
    return config  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("pointer", "said"),
    [
        ("/root/raedonly", "did you mean readonly?"),
        ("/hostName", "did you mean hostname?"),
        ("/process/environmentals", "did you mean env?"),
        ("/mounts/0/opts", "did you mean options?"),
        ("/linux/resources/memories", "did you mean memory?"),
        ("/linux/resources/cpu/quotas", "did you mean quota?"),
        ("/root/maskedPaths", "maskedPaths is a property of /linux"),
        ("/process/seccomp", "seccomp is a property of /linux"),
        ("/linux/netDevices/eth0/naame", "did you mean name?"),
        ("/frob", "no version of the specification has this name"),
    ],
)
def test_an_unknown_name_is_a_warning(pointer: str, said: str) -> None:
    """R091: it is ignored by create; validate names its place, and what was probably meant."""
    config = Node(_with(pointer, {}))
    (found,) = unknown_names(config)
    assert (found.pointer, found.rule, found.severity) == (pointer, "R091", "warning")
    assert said in found.reason
    assert not check.violations(config)


def test_a_name_that_is_everywhere_has_no_home() -> None:
    """Five kinds of objects have a type: to list them would help nobody."""
    (found,) = unknown_names(Node(_with("/type", "x")))
    assert "is a property of" not in found.reason


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/annotations/org.example.frob", "x"),
        ("/linux/sysctl/net.frob", "1"),
        ("/linux/resources/unified/memory.frob", "1"),
        ("/windows", {"frob": 1}),
        ("/linux/resources/devices/0/access", "rwm"),
    ],
)
def test_known_names_and_free_names_are_not(pointer: str, value: Any) -> None:
    """Where the specification lets authors choose the names, and in the sections of other platforms, all are right."""
    assert list(unknown_names(Node(_with(pointer, value)))) == []


def test_wrong_types_are_passed_over() -> None:
    """The schema speaks of them; looking for names goes on beside them."""
    found = list(unknown_names(Node({"root": [1], "mounts": {"frob": 1}, "process": {"user": 3, "frob": 1}})))
    assert [one.pointer for one in found] == ["/process/frob"]


@pytest.mark.parametrize(("name", "found"), [("Args", "args"), ("arguments", ""), ("ar", ""), ("", "")])
def test_near(name: str, found: str) -> None:
    """Only what is really like it."""
    assert near(name, ["args", "cwd", "user"]) == found
