# SPDX-License-Identifier: Apache-2.0
"""How are configs broken at random, so that two validators can be compared and none of them survives by luck?

`mutated(random)` gives a config that began as one of tests/unit/configurations.py and went through one
to three named mutations. About half of the mutations leave a config valid: an unknown property, a
null for an optional one, 5.0 for 5, another order. All values are such as a JSON parser makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.unit.configurations import CONFIGURATIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    Place = tuple[Any, Any]  # (object or array, key or index)
    Mutation = Callable[[Random, Any], bool]

MUTATIONS: dict[str, Mutation] = {}

_NUMBERS = (
    *(-1, 0, 1, 2, 7, 8, 100, 101, 512, 1000, 1001, -1000, -1001, 65535, 65536, 1.5, -0.0, 1e30, 1e-9),
    *(2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1),
    *(2**64 - 1, 2**64, float(2**63), float(2**64), float("inf"), -float("inf"), 10**400),
)
_TEXTS = (
    *(
        "",
        " ",
        "/",
        "//",
        "a",
        ".",
        "..",
        "a/b",
        "../a",
        "/../a",
        "\n",
        "/a\n",
        "\0",
        "/a\0b",
        "a\tb",
        "\x7f",
    ),
    *(
        "\ud800",
        "/\udfff",
        "\udc80",
        "/\udcff",
        "\u00e9",
        "/\u00fc\U0001f600",
        "\u0661",
        "0-\u0663",
        "2\u00b2",
    ),
    *(
        "1.0",
        "1.0.0",
        "1.0.2-dev",
        "1.3.0+dev",
        "1.2.0-rc.1",
        "01.0.0",
        "1.0.0-01",
        "1.0.0-",
        "1.0.0+",
        "1.0.0\n",
        "v1.0.0",
    ),
    *(
        "1.0.0-a..b",
        "1.0.0+a-b.c",
        "1.0.0-0",
        "1.0.0-0a",
        "1.0.0--",
        "1.0.0+\u00e9",
        "1.\u0660.0",
        "1.\u00b2.0",
        "1.0.0-a+b+c",
        "2.0.0",
    ),
    *(
        "RLIMIT_",
        "RLIMIT_CPU",
        "RLIMIT_cpu",
        "RLIMIT_\u00c9",
        "RLIMIT_AS\n",
        "RLIMIT_A_B",
        "2MB",
        "02MB",
        "0KB",
        "1GB\n",
        "64kB",
    ),
    *(
        "0",
        "0-3",
        "0-3,7",
        " 0 , 1-2 ",
        "0,",
        ",",
        "3-",
        "-3",
        "0 -1",
        "1-2-3",
        "0-3\n",
        "rwm",
        "rw\n",
        "mm",
        "rx",
        "wmr",
    ),
    *("MB:0=20", "MB:", "MB:\n", "L3:0=f", "mb:0=1", "true", "null", "0", "%d", "x" * 5000),
)


def mutated(random: Random, base: Any = None) -> tuple[str, Any]:
    """(the names of the mutations, the config they made); `base` is not changed."""
    document = copied(random.choice(CONFIGURATIONS) if base is None else base)
    names: list[str] = []
    for _ in range(random.choice((1, 1, 1, 2, 2, 3))):
        name = random.choice(tuple(MUTATIONS))
        holder = {"": document}
        if MUTATIONS[name](random, holder):
            names.append(name)
        document = holder[""]
    return ", ".join(names) or "nothing", document


def copied(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {name: copied(member) for name, member in value.items()}
    return [copied(member) for member in value] if isinstance(value, list) else value


def _mutation(change: Mutation) -> Mutation:
    MUTATIONS[change.__name__.strip("_").replace("_", " ")] = change
    return change


def _places(holder: Any, wanted: Callable[[Any], bool]) -> list[Place]:
    """Every place below `holder` whose value is wanted."""
    found: list[Place] = []
    waiting = [holder]
    while waiting:
        value = waiting.pop()
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for key, member in list(members):
            if wanted(member):
                found.append((value, key))
            if isinstance(member, (dict, list)):
                waiting.append(member)
    return found


def _one(random: Random, holder: Any, wanted: Callable[[Any], bool] = lambda _: True) -> Place | None:
    places = _places(holder, wanted)
    return random.choice(places) if places else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _anything(random: Random) -> Any:
    kind = random.randrange(6)
    if kind == 0:
        return random.choice((None, True, False))
    if kind == 1:
        return random.choice(_NUMBERS)
    if kind == 2:
        return random.choice(_TEXTS)
    if kind == 3:
        return [random.choice(_TEXTS)] if random.random() < 0.5 else []
    return {random.choice(_TEXTS): random.choice(_NUMBERS)} if random.random() < 0.5 else {}


@_mutation
def _remove_a_member(random: Random, holder: Any) -> bool:
    place = _one(random, holder[""]) if isinstance(holder[""], (dict, list)) else None
    if place:
        del place[0][place[1]]
    return bool(place)


@_mutation
def _null_for_a_value(random: Random, holder: Any) -> bool:
    place = _one(random, holder)
    if place:
        place[0][place[1]] = None
    return bool(place)


@_mutation
def _another_kind_of_value(random: Random, holder: Any) -> bool:
    place = _one(random, holder)
    if place:
        place[0][place[1]] = _anything(random)
    return bool(place)


@_mutation
def _another_number(random: Random, holder: Any) -> bool:
    place = _one(random, holder, _is_number)
    if place:
        place[0][place[1]] = random.choice(_NUMBERS)
    return bool(place)


@_mutation
def _a_number_with_a_point(random: Random, holder: Any) -> bool:
    place = _one(random, holder, lambda value: type(value) is int and abs(value) < 2**53)
    if place:
        place[0][place[1]] = float(place[0][place[1]])
    return bool(place)


@_mutation
def _another_text(random: Random, holder: Any) -> bool:
    place = _one(random, holder, lambda value: isinstance(value, str))
    if place:
        place[0][place[1]] = random.choice(_TEXTS)
    return bool(place)


@_mutation
def _a_damaged_text(random: Random, holder: Any) -> bool:
    place = _one(random, holder, lambda value: isinstance(value, str))
    if place:
        text = place[0][place[1]]
        damages = (
            text + "\n",
            "x" + text,
            text[1:],
            text[:-1],
            text.swapcase(),
            text + "\0",
            text + "/",
            " " + text,
        )
        place[0][place[1]] = random.choice(damages)
    return bool(place)


@_mutation
def _another_name_for_a_member(random: Random, holder: Any) -> bool:
    place = _one(random, holder, lambda value: isinstance(value, dict) and bool(value))
    if place:
        members = place[0][place[1]]
        name = random.choice(tuple(members))
        members[random.choice(_TEXTS)] = members.pop(name)
    return bool(place)


@_mutation
def _an_emptied_container(random: Random, holder: Any) -> bool:
    place = _one(random, holder, lambda value: isinstance(value, (dict, list)))
    if place:
        place[0][place[1]] = type(place[0][place[1]])()
    return bool(place)


@_mutation
def _a_wrapped_value(random: Random, holder: Any) -> bool:
    place = _one(random, holder)
    if place:
        place[0][place[1]] = [place[0][place[1]]]
    return bool(place)


@_mutation
def _a_value_from_elsewhere(random: Random, holder: Any) -> bool:
    place, other = _one(random, holder), _one(random, {"": random.choice(CONFIGURATIONS)})
    if place and other:
        place[0][place[1]] = copied(other[0][other[1]])
    return bool(place)


@_mutation
def _one_element_more(random: Random, holder: Any) -> bool:
    place = _one(random, holder, lambda value: isinstance(value, list))
    if place:
        array = place[0][place[1]]
        array.insert(random.randint(0, len(array)), _anything(random))
    return bool(place)


@_mutation
def _an_element_twice(random: Random, holder: Any) -> bool:
    place = _one(random, holder, lambda value: isinstance(value, list) and bool(value))
    if place:
        array = place[0][place[1]]
        array.append(copied(random.choice(array)))
    return bool(place)


@_mutation
def _another_order(random: Random, holder: Any) -> bool:
    place = _one(random, holder, lambda value: isinstance(value, (dict, list)))
    if place:
        value = place[0][place[1]]
        keys = random.sample(list(value), len(value)) if isinstance(value, dict) else None
        place[0][place[1]] = (
            {key: value[key] for key in keys} if keys is not None else random.sample(value, len(value))
        )
    return bool(place)


@_mutation
def _an_unknown_property(random: Random, holder: Any) -> bool:
    place = _one(random, holder, lambda value: isinstance(value, dict))
    if place:
        place[0][place[1]][f"com.example.{random.choice(_TEXTS)}"] = _anything(random)
    return bool(place)


@_mutation
def _a_deep_unknown_property(random: Random, holder: Any) -> bool:
    place = _one(random, holder, lambda value: isinstance(value, dict))
    if place:
        value: Any = _anything(random)
        for _ in range(200):
            value = [value] if random.random() < 0.5 else {"a": value}
        place[0][place[1]]["com.example.deep"] = value
    return bool(place)


@_mutation
def _a_section_of_another_config(random: Random, holder: Any) -> bool:
    if not isinstance(holder[""], dict):
        return False
    other = random.choice(CONFIGURATIONS)
    name = random.choice(tuple(other))
    holder[""][name] = copied(other[name])
    return True


@_mutation
def _a_linux_section_of_another_config(random: Random, holder: Any) -> bool:
    linux = holder[""].get("linux") if isinstance(holder[""], dict) else None
    other = random.choice([config for config in CONFIGURATIONS if config.get("linux")])
    if not isinstance(linux, dict):
        return False
    name = random.choice(tuple(other["linux"]))
    linux[name] = copied(other["linux"][name])
    return True
