# SPDX-License-Identifier: Apache-2.0
"""What are the device rules in systemd's words? (systemd.resource-control(5), DeviceAllow=)

systemd only knows a list of what is allowed. So the unit allows at least what the rules allow, and the exact rules are
what planner.py gives to the kernel: on v2 a device counts only if every program of its cgroup allows it. A reload of
systemd, which attaches its own again, so takes nothing from the container and gives it nothing. Pure.
"""

from __future__ import annotations

from ociruntime.linux.cgroups.devices import ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.linux.cgroups.devices import Rule

_KINDS = {"b": "block", "c": "char"}
_ALL = "rwm"


def device_properties(rules: list[Rule]) -> tuple[str, list[list[str]]]:
    """(DevicePolicy, DeviceAllow as [[device, access], ...]) for rules in their order, the first being the weakest."""
    everything = False
    allowed: dict[tuple[str, int, int], str] = {}
    for rule in rules:
        whole = rule.kind == "a" and rule.major == ANY and rule.minor == ANY and rule.access == _ALL
        if whole:
            everything = rule.allow
            allowed.clear()
            continue
        for kind in "bc" if rule.kind == "a" else rule.kind:
            key = (kind, rule.major, rule.minor)
            if rule.allow:
                allowed[key] = _letters(allowed.get(key, "") + rule.access)
            else:
                _take_back(allowed, key, rule.access)
    if everything:
        return "auto", []
    return "strict", list(_entries(allowed))


def _take_back(allowed: dict[tuple[str, int, int], str], wide: tuple[str, int, int], access: str) -> None:
    """Only what a rule covers as a whole: a hole in a wider one can't be said."""
    for key in list(allowed):
        covered = all(a in (ANY, b) for a, b in zip(wide[1:], key[1:], strict=True))
        if key[0] == wide[0] and covered:
            left = "".join(letter for letter in allowed[key] if letter not in access)
            if left:
                allowed[key] = left
            else:
                del allowed[key]


def _entries(allowed: dict[tuple[str, int, int], str]) -> Iterator[list[str]]:
    for (kind, major, minor), access in allowed.items():
        word = _KINDS[kind]
        if major == ANY:  # also a minor number alone, for which systemd has no word
            yield [f"{word}-*", access]
        elif minor == ANY:
            yield [f"{word}-{major}", access]
        else:
            yield [f"/dev/{word}/{major}:{minor}", access]


def _letters(access: str) -> str:
    return "".join(letter for letter in _ALL if letter in access)
