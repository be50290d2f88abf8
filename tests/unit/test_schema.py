# SPDX-License-Identifier: Apache-2.0
"""Does specs/config.schema.json say what the specification says, and do the words of `explain` lead to the mistake?"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ociruntime.check import schema
from ociruntime.errors import BundleError
from ociruntime.verbs import validate
from tests.unit.configurations import CONFIGURATIONS
from tests.unit.mutations import copied

EXAMPLES = Path(__file__).parents[2] / "bundle-examples"
SCHEMAS = ("config", "state", "features")
VERSIONS = ("0.1.1", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "1.0.0", "1.0.2", "1.1.0", "1.2.0", "1.2.1", "1.3.0")
PAGES = ("config.md", "config-linux.md", "runtime.md", "features.md", "features-linux.md")
START: dict[str, Any] = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}}


def found(config: Any, name: str = "config") -> list[tuple[str, str, str]]:
    """What explain says, as (pointer, rule, reason)."""
    return [
        (violation.pointer, violation.rule, violation.reason) for violation in schema.explain(config, name)
    ]


def reached(value: Any, where: str) -> set[str]:
    """The properties of the schema that a value has."""
    members = (
        value.items()
        if isinstance(value, dict)
        else [("*", element) for element in value]
        if isinstance(value, list)
        else []
    )
    known = PROPERTIES
    places: set[str] = set()
    for name, member in members:
        place = f"{where}/{name}" if f"{where}/{name}" in known else f"{where}/*"
        places |= {place} | reached(member, place)
    return places


PROPERTIES = dict(schema.properties())


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_json_schema_2020_12(name: str) -> None:
    """Each of the three files is valid against the meta-schema."""
    document = schema.load(name)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(document)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_property_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    """Each property has title, description, version of introduction, reference and rule."""
    for pointer, property_ in schema.properties(name):
        assert property_.get("title"), pointer
        assert property_.get("description", "").endswith("."), pointer
        assert property_.get("x-since") in VERSIONS, pointer
        page, sharp, _ = property_.get("x-ref", "").partition("#")
        assert page in PAGES, pointer
        assert sharp or page == "config-linux.md", pointer
        assert re.fullmatch(r"R\d{3}", property_.get("x-rule", "")), pointer


@pytest.mark.parametrize("name", SCHEMAS)
def test_null_is_allowed_exactly_where_a_property_is_optional(name: str) -> None:
    """A required property never takes null, an optional one always does."""

    def walk(node: Any, place: str) -> None:
        if isinstance(node, list):
            for index, element in enumerate(node):
                walk(element, f"{place}/{index}")
        elif isinstance(node, dict):
            for property_, member in node.get("properties", {}).items():
                if "title" not in member:
                    continue  # part of a condition
                target = document["$defs"][member["$ref"].rpartition("/")[2]] if "$ref" in member else member
                null = "null" in target["type"]
                assert null != (property_ in node.get("required", [])), f"{place}/{property_}"
            for key, member in node.items():
                walk(member, f"{place}/{key}")

    document = schema.load(name)
    walk(document, "")


def test_the_sample_configs_have_every_property() -> None:
    """No property of the schema is missing in tests/unit/configurations.py, so that mutations reach all."""
    places = set().union(*(reached(config, "") for config in CONFIGURATIONS))
    assert set(PROPERTIES) - places == set()


@pytest.mark.parametrize("number", range(len(CONFIGURATIONS)))
def test_a_sample_config_is_valid(number: int) -> None:
    """Both validators accept it."""
    assert found(CONFIGURATIONS[number]) == []
    assert schema.fast_valid(CONFIGURATIONS[number])


@pytest.mark.parametrize("number", range(len(CONFIGURATIONS)))
def test_unknown_properties_are_ignored_in_every_object(number: int) -> None:
    """R091: an unknown property, of any value, breaks nothing, wherever it is."""
    maps = ("annotations", "sysctl", "rdma", "netDevices", "unified", "timeOffsets")

    def add(value: Any, name: str) -> None:
        members = list(value.items()) if isinstance(value, dict) else [(name, element) for element in value]
        if isinstance(value, dict) and name not in maps:
            value["com.example.unknown"] = {"any": [None, 1.5, {"": []}]}
        for key, member in members:
            if isinstance(member, (dict, list)):
                add(member, str(key))

    config = copied(CONFIGURATIONS[number])
    add(config, "")
    assert config != CONFIGURATIONS[number]
    assert found(config) == []
    assert schema.fast_valid(config)


def test_every_bundle_example_is_valid() -> None:
    """What we show to newcomers follows the schema."""
    files = [file for file in EXAMPLES.rglob("config.json") if "invalid" not in file.parts]
    for file in files:
        config = json.loads(file.read_text("utf-8"))
        assert found(config) == [], file
        assert schema.fast_valid(config), file


@pytest.mark.parametrize("peer", ["runc", "crun"])
def test_the_default_config_of_a_peer_is_valid(peer: str, tmp_path: Path) -> None:
    """`runc spec` and `crun spec` write what we accept."""
    program = shutil.which(peer)
    if not program:
        pytest.skip(f"apt-get install {peer}: its default config is checked")
    subprocess.run([program, "spec"], cwd=tmp_path, check=True)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert found(config) == []
    assert schema.fast_valid(config)


def test_the_features_of_runc_are_valid() -> None:
    """`runc features` follows features.schema.json."""
    program = shutil.which("runc")
    if not program:
        pytest.skip("apt-get install runc: its features are checked")
    done = subprocess.run([program, "features"], check=True, capture_output=True)
    assert found(json.loads(done.stdout), "features") == []


def test_a_version_without_the_other_is_no_features_document() -> None:
    """The two versions are required, and null is not a version (R244, R245)."""
    assert found({"ociVersionMin": "1.0.0"}, "features") == [("/ociVersionMax", "R245", "is required")]
    assert found({"ociVersionMin": None, "ociVersionMax": "1.3.0"}, "features")[0][:2] == (
        "/ociVersionMin",
        "R244",
    )
    everything_null = {"hooks": None, "mountOptions": None, "linux": None, "annotations": None}
    assert found({"ociVersionMin": "1.0.0", "ociVersionMax": "1.3.0", **everything_null}, "features") == []


def test_a_state_needs_a_pid_while_there_is_a_process() -> None:
    """R200, R203: created and running have a pid, stopped and the runtime's own states may do without."""
    state = {
        "ociVersion": "1.0.2-dev",
        "id": "a",
        "bundle": "/bundle",
        "annotations": {"a": "b"},
        "owner": "",
    }
    reason = "is required when the status is created or running"
    for status in ("created", "running"):
        assert found({**state, "status": status, "pid": 4711}, "state") == []
        assert found({**state, "status": status}, "state") == [("/pid", "R203", reason)]
        assert [entry[0] for entry in found({**state, "status": status, "pid": 0}, "state")] == ["/pid"]
    for status in ("creating", "stopped", "paused"):
        assert found({**state, "status": status, "pid": 0}, "state") == []
        assert found({**state, "status": status}, "state") == []
    assert [entry[0] for entry in found({**state, "status": "stopped", "bundle": "b"}, "state")] == [
        "/bundle"
    ]


@pytest.mark.parametrize(
    ("number", "good"),
    [
        (5, True),
        (5.0, True),
        (-0.0, True),
        (5.5, False),
        (True, False),
        ("5", False),
        (2**32, False),
        (-1, False),
        (None, False),
    ],
)
def test_what_counts_as_an_integer(number: Any, good: bool) -> None:
    """5.0 is one, as JSON Schema 2020-12 has it; booleans, texts and numbers out of range are none."""
    process = {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0, "additionalGids": [number]}}
    assert schema.fast_valid({**START, "process": process}) is good
    assert [entry[0] for entry in found({**START, "process": process})] == (
        [] if good else ["/process/user/additionalGids/0"]
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, [("", "R092", "expected an object, found null")]),
        ({}, [("/ociVersion", "R007", "is required"), ("/root", "R009", "is required")]),
        ({**START, "hostname": 5}, [("/hostname", "R065", "expected a string, found 5")]),
        ({**START, "hostname": {}}, [("/hostname", "R065", "expected a string, found an object")]),
        ({**START, "mounts": [None]}, [("/mounts/0", "R014", "expected an object, found null")]),
        (
            {**START, "annotations": {"a/b~c": False}},
            [("/annotations/a~1b~0c", "R085", "expected a string, found false")],
        ),
        (
            {**START, "linux": {"maskedPaths": ["/", "x" * 100]}},
            [("/linux/maskedPaths/1", "R195", f"expected an absolute path, found '{'x' * 59}...")],
        ),
        (
            {**START, "linux": {"personality": {"domain": "LINUX64"}}},
            [("/linux/personality/domain", "R198", "expected one of LINUX, LINUX32, found 'LINUX64'")],
        ),
    ],
)
def test_a_violation_names_the_value_and_says_what_was_expected(
    config: Any, expected: list[tuple[str, str, str]]
) -> None:
    """Pointer, rule and words are exact."""
    assert found(config) == expected


def test_violations_are_sorted_as_a_reader_counts() -> None:
    """Element 2 comes before element 10."""
    paths = ["/a"] * 2 + ["b"] + ["/a"] * 7 + ["c"]
    pointers = [entry[0] for entry in found({**START, "linux": {"maskedPaths": paths}})]
    assert pointers == ["/linux/maskedPaths/2", "/linux/maskedPaths/10"]


def test_one_value_gives_one_violation() -> None:
    """A wrong type is reported once, although a condition fails on it too."""
    device = {"type": "c", "path": "/dev/x", "major": "5", "minor": 1}
    expected = [("/linux/devices/0/major", "R106", "expected an integer, found '5'")]
    assert found({**START, "linux": {"devices": [device]}}) == expected


def test_a_name_that_stands_twice_is_a_warning() -> None:
    """R003: each duplicate name once, with its pointer, however often it occurs."""
    text = b'{"a": 1, "b": [{"x/y": 1, "x/y": 2}, {"a": 0}], "a": {"c": 1, "c": 1, "c": 1}}'
    warnings = validate.duplicate_names(text)
    assert [(warning.pointer, warning.rule, warning.severity) for warning in warnings] == [
        ("/a", "R003", "warning"),
        ("/a/c", "R003", "warning"),
        ("/b/0/x~1y", "R003", "warning"),
    ]
    assert validate.duplicate_names(b'{"a": {"b": 1}, "b": {"a": 1}}') == []


def test_the_installed_schema_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """_specs in the package is read if it is there, else specs beside it; neither is a clear error."""
    package = tmp_path / "ociruntime"
    (package / "_specs").mkdir(parents=True)
    monkeypatch.setattr(schema, "__file__", str(package / "check/schema.py"))
    with pytest.raises(BundleError, match=r"config\.schema\.json: no such file or directory"):
        schema.load("config")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "config.schema.json").write_text('{"title": "tree"}')
    assert schema.load("config") == {"title": "tree"}
    (package / "_specs" / "config.schema.json").write_text('{"title": "installed"}')
    assert schema.load("config") == {"title": "installed"}
