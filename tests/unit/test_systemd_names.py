# SPDX-License-Identifier: Apache-2.0
"""Which unit and which cgroup does a cgroupsPath mean under the systemd driver?"""

from __future__ import annotations

import pytest

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups.systemd.names import check_subgroup, slice_path, unit_of

LONG = "a" * 250


@pytest.mark.parametrize(
    ("path", "name", "slice_name", "place"),
    [
        ("", "ociruntime-box.scope", "system.slice", "/system.slice/ociruntime-box.scope"),
        ("::box", "box.scope", "system.slice", "/system.slice/box.scope"),
        (":docker:1f", "docker-1f.scope", "system.slice", "/system.slice/docker-1f.scope"),
        ("machine.slice:libpod:1f", "libpod-1f.scope", "machine.slice", "/machine.slice/libpod-1f.scope"),
        ("-.slice:a:b", "a-b.scope", "-.slice", "/a-b.scope"),
        ("kubepods-burstable-pod1.slice:cri:c", "cri-c.scope", "kubepods-burstable-pod1.slice",
         "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-c.scope"),
        ("a.slice::x@y", "x@y.scope", "a.slice", "/a.slice/x@y.scope"),
        # systemd keeps names apart from the kernel's files by an underscore
        ("a.slice::cpu.x", "cpu.x.scope", "a.slice", "/a.slice/_cpu.x.scope"),
        ("a.slice::_x", "_x.scope", "a.slice", "/a.slice/__x.scope"),
        ("a.slice:.:x", ".-x.scope", "a.slice", "/a.slice/_.-x.scope"),
    ],
)  # fmt: skip
def test_units(path: str, name: str, slice_name: str, place: str) -> None:
    """As in runc: the slice's dashes say where it is, and empty parts have defaults."""
    unit = unit_of(path, "box")
    assert (unit.name, unit.slice, unit.path) == (name, slice_name, place)


def test_an_id_may_have_what_a_unit_may_not() -> None:
    """Of an id's characters only the plus sign; systemd-escape writes it like this."""
    unit = unit_of("", "a+b")
    assert (unit.name, unit.path) == ("ociruntime-a\\x2bb.scope", "/system.slice/ociruntime-a\\x2bb.scope")


def test_a_user_has_a_systemd_of_its_own() -> None:
    """Its units are below its service, and in user.slice unless the path says otherwise."""
    service = "/user.slice/user-1000.slice/user@1000.service"
    assert unit_of("", "box", 1000).path == f"{service}/user.slice/ociruntime-box.scope"
    assert unit_of("a-b.slice:p:n", "box", 1000).path == f"{service}/a.slice/a-b.slice/p-n.scope"
    assert unit_of("-.slice:p:n", "box", 1000).path == f"{service}/p-n.scope"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a/b", "'/a/b' is not slice:prefix:name, which the systemd driver needs"),
        ("a:b", "'a:b' is not slice:prefix:name"),
        ("a:b:c:d", "'a:b:c:d' is not slice:prefix:name"),
        ("a.slice:p:", "has no name for the unit"),
        ("a.slice:p:n.slice", "'n.slice' is a slice, and a container is in a scope"),
        ("a:p:n", "'a' is not the name of a slice: it does not end with .slice"),
        (".slice:p:n", "'.slice' is not the name of a slice"),
        ("a--b.slice:p:n", "'a--b.slice' is not the name of a slice: it has a dash too many"),
        ("-a.slice:p:n", "it has a dash too many"),
        ("a-.slice:p:n", "it has a dash too many"),
        ("a/b.slice:p:n", "'a/b.slice' can't be the name of a unit: it has the character '/'"),
        ("a.slice:p:../n", "'p-../n.scope' can't be the name of a unit: it has the character '/'"),
        ("a.slice:p:n n", "it has the character ' '"),
        ("a.slice:p:n\n", "it has the character '\\n'"),
        ("a.slice:p:\u00e9", "it has the character '\u00e9'"),
        (f"a.slice:p:{LONG}", "it has 258 characters, and 255 are allowed"),
        (f"{LONG}.slice:p:n", "it has 256 characters, and 255 are allowed"),
    ],
)
def test_refused(path: str, words: str) -> None:
    """The error shows the part that is wrong, and at which property."""
    with pytest.raises(StepFailed) as caught:
        unit_of(path, "box")
    assert words in caught.value.reason
    assert caught.value.pointer == "/linux/cgroupsPath"


def test_the_longest_name() -> None:
    """One character less than what is refused."""
    assert len(unit_of(f"a.slice::{'a' * 249}", "box").name) == 255


def test_slices() -> None:
    """The root, one level, three."""
    found = [slice_path(name) for name in ("-.slice", "a.slice", "a-b-c.slice")]
    assert found == ["", "/a.slice", "/a.slice/a-b.slice/a-b-c.slice"]


@pytest.mark.parametrize("name", ["container", "a.b-c_d:e"])
def test_subgroups(name: str) -> None:
    """One name that the kernel does not use itself."""
    check_subgroup(name, "/annotations/x")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../x", "cgroup.procs", "a b", "x" * 256])
def test_refused_subgroups(name: str) -> None:
    """None leads out of the unit's cgroup, or is a file of it."""
    with pytest.raises(StepFailed, match="can't be the name of a cgroup") as caught:
        check_subgroup(name, "/annotations/x")
    assert caught.value.pointer == "/annotations/x"
