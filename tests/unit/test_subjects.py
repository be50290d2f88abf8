# SPDX-License-Identifier: Apache-2.0
"""Are all subjects in the registry, and does each property of the schema belong to one of them? (linux/__init__.py)"""

from __future__ import annotations

import json
import os

import pytest

from ociruntime.config import Node
from ociruntime.linux import COMMON, OF_PROCESS, RARE, awake, concerned, concerned_with_process, subject
from tests.unit.house import MODULES, REPOSITORY


def schema_properties() -> tuple[set[str], set[str]]:
    """JSON pointers of config.schema.json: all properties; array elements and members of free names (`*`)."""
    with open(os.path.join(REPOSITORY, "specs/config.schema.json"), encoding="utf-8") as file:
        root = json.load(file)
    found: set[str] = set()
    elements: set[str] = set()

    def walk(node: dict[str, object], pointer: str) -> None:
        while isinstance(node.get("$ref"), str):
            target: object = root
            for name in str(node["$ref"]).removeprefix("#/").split("/"):
                assert isinstance(target, dict)
                target = target[name]
            assert isinstance(target, dict)
            node = {**{key: value for key, value in node.items() if key != "$ref"}, **target}
        for key in ("allOf", "anyOf", "oneOf"):
            parts = node.get(key, [])
            assert isinstance(parts, list)
            for part in parts:
                walk(part, pointer)
        properties = node.get("properties", {})
        assert isinstance(properties, dict)
        for name, inner in properties.items():
            found.add(f"{pointer}/{name}")
            walk(inner, f"{pointer}/{name}")
        for key in ("items", "additionalProperties"):
            inner = node.get(key)
            if isinstance(inner, dict):
                elements.add(f"{pointer}/*")
                walk(inner, f"{pointer}/*")

    walk(root, "")
    return found, elements


# Modules with KEYS: the subjects, and what belongs to none of them.
_OWNERS = (*(f"linux.{name}" for name in (*COMMON, *RARE)), "check.check", "bundle")


def owners() -> dict[str, list[str]]:
    """Property -> the modules that have it in their KEYS."""
    found: dict[str, list[str]] = {}
    for module in sorted(MODULES.keys() - {"ociruntime.__main__", "ociruntime.cli.snapshot.__main__"}):
        for key in getattr(__import__(module, fromlist=["KEYS"]), "KEYS", ()):
            name = module.removeprefix("ociruntime.")
            known = name in _OWNERS or name.startswith("linux.cgroups.")  # a package is one subject
            assert known, f"{module} has KEYS, and is not registered"
            found.setdefault(key, []).append(module)
    return found


# Objects whose properties have owners, and what no subject of a Linux runtime reads.
NOBODYS = {
    "/process",
    "/root",
    "/linux",
    "/linux/resources",
    "/solaris",
    "/windows",
    "/vm",
    "/zos",
    "/freebsd",
}


def test_every_property_has_one_owner() -> None:
    """The union of all KEYS is the schema's properties; a property without an owner, or with two, is a bug."""
    owned = owners()
    properties, elements = schema_properties()
    assert sorted(set(owned) - properties - elements) == [], "not in the schema"
    containers = {name.rpartition("/")[0].removesuffix("/*") for name in properties}
    leaves = properties - containers - NOBODYS
    assert sorted(leaves - set(owned)) == [], "owned by nobody"
    assert {key: names for key, names in owned.items() if len(names) > 1} == {}


def test_every_subject_is_registered() -> None:
    """Each has what its users call; a rare one is woken by each of its properties, by its part of the registry."""
    for name in (*COMMON, *RARE):
        assert callable(subject(name).check), name
    assert set(OF_PROCESS) < set(COMMON)
    for name, paths in RARE.items():
        own = {"/".join(key.split("/")[:3]) for key in subject(name).KEYS}
        woken = {f"/{'/'.join(path)}" for path in paths if path[1] != "namespaces"}
        assert own <= woken, name
        foreign = {key for key in woken - own if len(owners()[key]) != 1}
        assert not foreign, name


def names(modules: object) -> list[str]:
    """The last part of each module's name."""
    return [module.__name__.rpartition(".")[2] for module in modules]  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [None, False, ""])
def test_nothing_wakes_nobody(value: object) -> None:
    """A property that is null, false or empty asks for nothing: its subject is not imported."""
    for name, paths in RARE.items():
        for first, second, *_ in paths:
            assert not awake(Node({first: {second: value}}), name)


def test_each_property_wakes_its_subject() -> None:
    """And a namespace does; exec looks only at what belongs to the process."""
    for name, paths in RARE.items():
        for first, second, *kind in paths:
            value: object = [{"type": kind[0]}] if kind else {"x": 1}
            config = Node({first: {second: value}})
            assert awake(config, name)
            assert names(concerned(config)) == [*COMMON, name]
            expected = [*OF_PROCESS, *([name] if first == "process" else [])]
            assert names(concerned_with_process(config)) == expected
    assert names(concerned(Node({"linux": {"namespaces": [{"type": "pid"}]}}))) == [*COMMON]
