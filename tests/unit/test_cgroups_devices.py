# SPDX-License-Identifier: Apache-2.0
"""Do both forms of the device rules (v1's writes, v2's program) mean what the config's list means?

The reference is the sentence of the specification: entries are applied in order (R138), so of each access
the last entry that speaks of it counts. The kernel is played by two small models.
"""

from __future__ import annotations

import random
import struct

import pytest

from ociruntime.config import Node
from ociruntime.errors import NotSupported
from ociruntime.linux.cgroups import ebpf
from ociruntime.linux.cgroups.devices import ANY, DEFAULTS, Rule, rules, writes_v1

BITS = {"m": 1, "r": 2, "w": 4}
TYPES = {"b": 1, "c": 2}
DEVICES = [(kind, major, minor) for kind in "bc" for major in (0, 1, 5) for minor in (0, 3, 9)]
REQUESTS = ["m", "r", "w", "rw", "rwm"]


def listed(rule_list: list[Rule], device: tuple[str, int, int], access: str) -> bool:
    """The specification's answer: every wanted access is allowed by the last rule that names it."""
    for letter in access:
        allowed = False
        for rule in rule_list:
            numbers = rule.major in (ANY, device[1]) and rule.minor in (ANY, device[2])
            if rule.kind in ("a", device[0]) and numbers and letter in rule.access:
                allowed = rule.allow
        if not allowed:
            return False
    return True


class V1Cgroup:
    """The kernel's security/device_cgroup.c in short: a default and exceptions to it."""

    def __init__(self) -> None:
        self.allowed = True
        self.exceptions: dict[tuple[str, str, str], set[str]] = {}

    def write(self, file: str, line: str) -> None:
        allow = file == "devices.allow"
        assert file in ("devices.allow", "devices.deny")
        if line == "a":
            self.allowed = allow
            self.exceptions.clear()
            return
        kind, numbers, access = line.split(" ")
        major, minor = numbers.split(":")
        held = self.exceptions.setdefault((kind, major, minor), set())
        if allow == self.allowed:
            held -= set(access)
        else:
            held |= set(access)

    def may(self, device: tuple[str, int, int], access: str) -> bool:
        """One exception must cover the whole request (or, where all is allowed, none may touch it)."""
        for (kind, major, minor), held in self.exceptions.items():
            if kind != device[0] or major not in ("*", str(device[1])) or minor not in ("*", str(device[2])):
                continue
            if self.allowed and held & set(access):
                return False
            if not self.allowed and set(access) <= held:
                return True
        return self.allowed


def interpret(code: bytes, device: tuple[str, int, int], access: str) -> int:
    """Run a program: the few instructions that ours uses, on 32-bit registers, forwards only."""
    asked = sum(BITS[letter] for letter in access)
    context = struct.pack("<III", asked << 16 | TYPES[device[0]], device[1], device[2])
    registers: dict[int, int] = {1: -1}
    place = 0
    while True:
        number, pair, offset, constant = struct.unpack_from("<BBhI", code, place * 8)
        target, source = pair & 15, pair >> 4
        assert offset >= 0, "no loops"
        place += 1
        if number == ebpf.EXIT:
            return registers[0]
        if number == ebpf.LOAD:
            assert source == 1
            (registers[target],) = struct.unpack_from("<I", context, offset)
        elif number == ebpf.MOVE:
            registers[target] = constant
        elif number == ebpf.COPY:
            registers[target] = registers[source]
        elif number == ebpf.AND:
            registers[target] &= constant
        elif number == ebpf.SHIFT:
            registers[target] >>= constant
        elif number == ebpf.JUMP:
            place += offset
        elif number == ebpf.JUMP_UNEQUAL:
            place += offset if registers[target] != constant else 0
        elif number == ebpf.JUMP_SET:
            place += offset if registers[target] & constant else 0
        else:
            raise AssertionError(f"instruction {number:#x}")


def reachable(code: bytes) -> set[int]:
    """Numbers of the instructions that some path reaches: the verifier refuses the others."""
    seen: set[int] = set()
    open_ends = [0]
    while open_ends:
        place = open_ends.pop()
        if place in seen:
            continue
        seen.add(place)
        number, _, offset, _ = struct.unpack_from("<BBhI", code, place * 8)
        if number == ebpf.EXIT:
            continue
        if number != ebpf.JUMP:
            open_ends.append(place + 1)
        if number in (ebpf.JUMP, ebpf.JUMP_UNEQUAL, ebpf.JUMP_SET):
            open_ends.append(place + 1 + offset)
    return seen


def random_rules(chance: random.Random) -> list[Rule]:
    """Up to eight rules about the devices of this test."""
    made = []
    for index in range(chance.randint(0, 8)):
        access = "".join(letter for letter in "rwm" if chance.random() < 0.7) or "rwm"
        numbers = (chance.choice([ANY, 0, 1, 5]), chance.choice([ANY, ANY, 0, 3, 9]))
        made.append(Rule(chance.random() < 0.6, chance.choice("aabccc"), numbers, access, f"/{index}"))
    return made


def test_program_means_the_list() -> None:
    """The eBPF program answers as the list does, for random lists and every device and request."""
    chance = random.Random(2)
    for _ in range(400):
        rule_list = random_rules(chance)
        code = ebpf.program([rule.as_list() for rule in rule_list])
        for device in DEVICES:
            for access in REQUESTS:
                wanted = listed(rule_list, device, access)
                assert interpret(code, device, access) == wanted, (
                    [str(rule) for rule in rule_list],
                    device,
                    access,
                )


def test_program_passes_the_verifier_rules() -> None:
    """Every instruction is reachable and the last one leaves: else the kernel refuses the program."""
    chance = random.Random(3)
    for _ in range(400):
        code = ebpf.program([rule.as_list() for rule in random_rules(chance)])
        assert reachable(code) == set(range(len(code) // 8))
        assert code[-8] == ebpf.EXIT


def test_v1_writes_mean_the_list() -> None:
    """What is written on v1 answers as the list does, one access at a time; else the list is refused."""
    chance = random.Random(4)
    refused = compared = 0
    for _ in range(1500):
        rule_list = random_rules(chance)
        cgroup = V1Cgroup()
        try:
            for _, lines in writes_v1(rule_list):
                for file, line in lines:
                    cgroup.write(file, line)
        except NotSupported:
            refused += 1
            continue
        if not rule_list:
            continue
        compared += 1
        for device in DEVICES:
            for letter in "rwm":
                wanted = listed(rule_list, device, letter)
                assert cgroup.may(device, letter) == wanted, (
                    [str(rule) for rule in rule_list],
                    device,
                    letter,
                )
    assert compared > 500
    assert refused > 50


def test_order_on_v1() -> None:
    """devices.list begins with the config's rules in the config's order, the defaults follow."""
    resources = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
            {"allow": True, "type": "b", "major": 8, "minor": 20, "access": "rw"},
        ]
    }
    found = rules(Node({"linux": {"resources": resources}}))
    written = list(writes_v1(found))
    assert [pointer for pointer, _ in written] == [
        "/linux/resources/devices/0",
        "/linux/resources/devices/1",
        "/linux/resources/devices/2",
        "",
    ]
    assert [lines for _, lines in written][:3] == [
        [["devices.deny", "a"]],
        [["devices.allow", "c 10:229 rwm"]],
        [["devices.allow", "b 8:20 rw"]],
    ]
    assert len(written[3][1]) == len(DEFAULTS)


def test_unset_members() -> None:
    """Without type all, without numbers any, without access every access (R139)."""
    (rule, *_) = rules(Node({"linux": {"resources": {"devices": [{"allow": True}]}}}))
    assert str(rule) == "allow a *:* rwm"


def test_no_rules() -> None:
    """Without rules in the config everything but the default devices is denied, as with runc."""
    (lines,) = [lines for _, lines in writes_v1(rules(Node({})))]
    assert lines[0] == ["devices.deny", "a"]
    assert ["devices.allow", "c 1:3 rwm"] in lines
    assert ["devices.allow", "c 1:1 rwm"] not in lines


def test_hole_on_v1() -> None:
    """v1 can't take one device out of a wider rule: refused with the rule's pointer, not silently dropped."""
    holed = [Rule(True, "c", (1, ANY), "rw", "/0"), Rule(False, "c", (1, 3), "w", "/1")]
    with pytest.raises(NotSupported, match=r"c 1:3 w out of c 1:\* rw") as failure:
        list(writes_v1(holed))
    assert failure.value.pointer == "/1"


def test_default_never_overrides_a_denial() -> None:
    """Where all is allowed but a range, the default device in the range stays denied on v1."""
    ranged = [Rule(True, "a", (ANY, ANY), "rwm", "/0"), Rule(False, "c", (10, ANY), "rw", "/1")]
    ranged.append(Rule(True, "c", (10, 200), "rwm"))
    cgroup = V1Cgroup()
    for _, lines in writes_v1(ranged):
        for file, line in lines:
            cgroup.write(file, line)
    assert not cgroup.may(("c", 10, 200), "r")
    assert cgroup.may(("c", 11, 200), "r")
