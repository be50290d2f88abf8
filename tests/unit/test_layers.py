# SPDX-License-Identifier: Apache-2.0
"""Who may import whom? Layers by folder, and no circle anywhere."""

from __future__ import annotations

import os
import re

from tests.unit.house import LAYER_OF, LAYERS, MODULES, PACKAGE, REPOSITORY, circles, imports, room_of

GRAPH = {module: imports(module) for module in MODULES}
MOST_ROOMS = 30

# A subject itself, and how the others read crun's annotations.
ANNOTATIONS = "ociruntime.linux.annotations"

# Not on the way of any container: the build makes the validator, too. And numbers of the kernel, which are nothing else.
UPWARDS = {
    ("ociruntime.native._build", "ociruntime.check.schema_compiler"),
    ("ociruntime.native.spawn", "ociruntime.linux.uapi"),
}


def _upwards(graph: dict[str, set[str]]) -> list[str]:
    """Imports of something in a higher layer."""
    return sorted(
        f"{module} imports {target}"
        for module, targets in graph.items()
        for target in targets
        if LAYER_OF[room_of(target)] > LAYER_OF[room_of(module)] and (module, target) not in UPWARDS
    )


def test_imports_go_down() -> None:
    """A module imports from its own layer and from those below it."""
    assert _upwards(GRAPH) == []


def test_an_import_upwards_is_seen() -> None:
    """The rule would tell, also of a file at the top and of the package itself."""
    graph = {
        "ociruntime.step": {"ociruntime.verbs.state"},
        "ociruntime.linux.mounts": {"ociruntime.plan.order", "ociruntime"},
    }
    assert _upwards(graph) == [
        "ociruntime.linux.mounts imports ociruntime.plan.order",
        "ociruntime.step imports ociruntime.verbs.state",
    ]


def test_the_exceptions_are_needed() -> None:
    """Each import upwards that is permitted is there."""
    assert {pair for pair in UPWARDS if pair[1] not in GRAPH[pair[0]]} == set()


def test_no_circle() -> None:
    """No module is imported by one that it imports, at the top or in a function, directly or by way of others."""
    assert circles(GRAPH) == []


def test_a_circle_is_seen() -> None:
    """Of two, of three by way of a fourth, and not where there is only a diamond."""
    assert circles({"a": {"b"}, "b": {"a", "c"}, "c": set()}) == [["a", "b"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}) == [["b", "c", "d"]]
    assert circles({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []


def test_subjects_do_not_import_each_other() -> None:
    """What two subjects share is data, a part that owns no property (linux/namespace_entries.py, say), or belongs in the order."""
    subjects = {module for module in MODULES if room_of(module) == "linux" and _has_keys(module)} - {
        ANNOTATIONS
    }
    assert len(subjects) > 15
    wrong = {
        module: sorted(target for target in GRAPH[module] if target in subjects and not _same(module, target))
        for module in subjects
    }
    assert {module: targets for module, targets in wrong.items() if targets} == {}


def _has_keys(module: str) -> bool:
    return hasattr(__import__(module, fromlist=["KEYS"]), "KEYS")


def _same(module: str, target: str) -> bool:
    """The files of linux/cgroups are one subject."""
    cgroups = "ociruntime.linux.cgroups"
    return module.startswith(cgroups) and target.startswith(cgroups)


def test_no_verb_imports_another_verb() -> None:
    """Verbs share by way of verbs/__init__.py and the operations."""
    verbs = {module for module in MODULES if module.startswith("ociruntime.verbs.")}
    assert {module: GRAPH[module] & verbs for module in verbs if GRAPH[module] & verbs} == {}


def test_nobody_inside_imports_the_library_s_face() -> None:
    """api/ is for others; the package's __init__.py names it, and imports it when it is used."""
    assert [module for module, targets in GRAPH.items() if "ociruntime.api" in targets] == []


def test_every_room_has_a_layer() -> None:
    """And every name in LAYERS is a file or folder at the top of the package; there are not too many."""
    rooms = {room_of(module) for module in MODULES}
    assert rooms == set(LAYER_OF)
    names = [name for name in os.listdir(PACKAGE) if not name.startswith(("_", ".")) and name != "py.typed"]
    assert set(names) - {name for name in names if os.path.splitext(name)[0] in rooms} == set()
    assert len(names) <= MOST_ROOMS


def test_the_picture_shows_the_layers() -> None:
    """docs/architecture.md has them, top first, with the same rooms."""
    with open(os.path.join(REPOSITORY, "docs/architecture.md"), encoding="utf-8") as file:
        text = file.read()
    picture = text.split("<!-- layers -->")[1].split("<!-- end -->")[0].replace("`", "")
    shown = re.findall(r"^\| ([a-z C]+) \| ([\w ]+) \| .+ \|$", picture, re.MULTILINE)[1:]
    assert [(name, sorted(rooms.split())) for name, rooms in shown] == [
        (name, sorted(rooms.split())) for name, rooms in reversed(LAYERS)
    ]
