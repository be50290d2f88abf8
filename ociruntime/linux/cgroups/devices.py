# SPDX-License-Identifier: Apache-2.0
"""Which devices may the container's processes use? (R138, R139)

The config's rules count in their order, and after them the rules for the devices that every container
has; what no rule names is denied, as with runc. On v1 the rules become writes to devices.allow and
devices.deny, on v2 one eBPF program (ebpf.py). Pure: nothing here looks at the machine.
"""

from __future__ import annotations

from ociruntime.errors import NotSupported, Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = tuple(
    f"/linux/resources/devices{tail}"
    for tail in ("", "/*/allow", "/*/type", "/*/major", "/*/minor", "/*/access")
)

ANY = -1
_ACCESS = "rwm"

# (type, major, minor, access): mknod of everything (using it is another matter), the default devices of
# config-linux.md, pseudo terminals, and tun, which runc allows too because VPNs in containers need it.
DEFAULTS: tuple[tuple[str, int, int, str], ...] = (
    ("c", ANY, ANY, "m"),
    ("b", ANY, ANY, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 1, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, ANY, "rwm"),
    ("c", 10, 200, "rwm"),
)


def check(config: Node) -> Iterator[Violation]:
    """Warn of rules that don't say what they are (R139)."""
    for entry in config.at("linux", "resources", "devices"):
        if not entry.at("allow"):
            reason = "is required; false is assumed: access is denied"
            yield Violation(entry.at("allow").pointer, reason, "R139", "warning")


class Rule:
    """One entry of the list: allow or deny `access` (letters of "rwm") to devices.

    kind    "a" (all), "b" or "c"
    major, minor   numbers, or ANY
    pointer        the config's entry, or "" for a default device
    """

    __slots__ = ("access", "allow", "kind", "major", "minor", "pointer")

    def __init__(
        self, allow: bool, kind: str, numbers: tuple[int, int], access: str, pointer: str = ""
    ) -> None:
        self.allow = allow
        self.kind = kind
        self.major, self.minor = numbers
        self.access = access
        self.pointer = pointer

    def __str__(self) -> str:
        return f"{'allow' if self.allow else 'deny'} {device(self.kind, self.major, self.minor, self.access)}"

    def as_list(self) -> list[object]:
        """The rule as JSON, for the args of a step."""
        return [self.allow, self.kind, self.major, self.minor, self.access]


def device(kind: str, major: int, minor: int, access: str) -> str:
    """`c 1:* rw`, the notation of the kernel's device list."""
    return f"{kind} {'*' if major == ANY else major}:{'*' if minor == ANY else minor} {access}"


def rules(config: Node) -> list[Rule]:
    """The config's rules in order, then the default devices'."""
    found = []
    for entry in config.at("linux", "resources", "devices"):
        letters = entry.at("access").text() or _ACCESS
        found.append(
            Rule(
                entry.at("allow").flag(),
                entry.at("type").text() or "a",
                (max(entry.at("major").number(ANY), ANY), max(entry.at("minor").number(ANY), ANY)),
                "".join(letter for letter in _ACCESS if letter in letters),
                entry.pointer,
            )
        )
    return found + [Rule(True, kind, (major, minor), access) for kind, major, minor, access in DEFAULTS]


def writes_v1(rule_list: list[Rule]) -> Iterator[tuple[str, list[list[str]]]]:
    """(pointer, [[file, line], ...]): what to write for each rule on cgroup v1.

    The kernel keeps a default and a list of exceptions to it, and takes an exception back only by its exact
    type and numbers: so the list is tracked here. Raises NotSupported for a rule that cuts a hole into a
    wider one, which v1 can't express.
    """
    state = _DeviceList()
    groups: dict[str, list[list[str]]] = {}
    for rule in rule_list:
        lines = groups.setdefault(rule.pointer, [] if groups else [["devices.deny", "a"]])
        lines += state.follow(rule)
    for pointer, lines in groups.items():
        if lines:
            yield pointer, lines


class _DeviceList:
    """What the kernel holds for a v1 device cgroup: a default, and exceptions to it."""

    def __init__(self) -> None:
        self.allowed = False
        self.exceptions: dict[tuple[str, int, int], str] = {}
        self.of_major: dict[tuple[str, int], dict[tuple[str, int, int], None]] = {}

    def follow(self, rule: Rule) -> list[list[str]]:
        """The writes that carry out one rule."""
        everything = rule.major == ANY and rule.minor == ANY and rule.access == _ACCESS
        if rule.kind == "a" and everything:
            if rule.allow == self.allowed and not self.exceptions:
                return []
            self.allowed = rule.allow
            self.exceptions.clear()
            self.of_major.clear()
            return [[_file(rule.allow), "a"]]
        lines = []
        for kind in "bc" if rule.kind == "a" else rule.kind:
            lines += self._one(kind, rule)
        return lines

    def _one(self, kind: str, rule: Rule) -> list[list[str]]:
        key = (kind, rule.major, rule.minor)
        if rule.allow != self.allowed:
            self.exceptions[key] = _union(self.exceptions.get(key, ""), rule.access)
            self.of_major.setdefault(key[:2], {})[key] = None
            return [[_file(rule.allow), device(*key, rule.access)]]
        # The rule agrees with the default: exceptions that it covers are taken back.
        lines = []
        for held in self._near(key):
            access = self.exceptions[held]
            common = "".join(letter for letter in access if letter in rule.access)
            if not common or not _overlap(held, key):
                continue
            if not _covers(key, held):
                if not rule.pointer:
                    continue  # a default device never overrides what the config says
                raise NotSupported(
                    f"cgroup v1 can't take {device(*key, common)} out of {device(*held, access)}",
                    pointer=rule.pointer,
                )
            lines.append([_file(rule.allow), device(*held, common)])
            rest = "".join(letter for letter in access if letter not in common)
            self.exceptions[held] = rest
            if not rest:
                del self.exceptions[held], self.of_major[held[:2]][held]
        return lines

    def _near(self, key: tuple[str, int, int]) -> list[tuple[str, int, int]]:
        """The exceptions that may overlap this rule; not all of them, because there may be as many as rules."""
        kind, major, minor = key
        if major == ANY:
            return list(self.exceptions)
        if minor == ANY:
            return [*self.of_major.get((kind, major), ()), *self.of_major.get((kind, ANY), ())]
        possible = ((kind, a, b) for a in (major, ANY) for b in (minor, ANY))
        return [held for held in possible if held in self.exceptions]


def _file(allow: bool) -> str:
    return "devices.allow" if allow else "devices.deny"


def _union(first: str, second: str) -> str:
    return "".join(letter for letter in _ACCESS if letter in first or letter in second)


def _overlap(one: tuple[str, int, int], other: tuple[str, int, int]) -> bool:
    return one[0] == other[0] and all(
        a in (ANY, b) or b == ANY for a, b in zip(one[1:], other[1:], strict=True)
    )


def _covers(wide: tuple[str, int, int], narrow: tuple[str, int, int]) -> bool:
    return wide[0] == narrow[0] and all(a in (ANY, b) for a, b in zip(wide[1:], narrow[1:], strict=True))
