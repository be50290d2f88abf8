# SPDX-License-Identifier: Apache-2.0
"""Which annotations have an effect, which of their values are refused, and what `kill` and `features` make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ociruntime.check import check
from ociruntime.config import Node
from ociruntime.host import Host
from ociruntime.inspect.features import features
from ociruntime.linux import annotations as annotation, credentials, gvariant
from ociruntime.linux.cgroups.layout import Layout

STOP = "org.opencontainers.image.stopSignal"
GROUPS = "run.oci.keep_original_groups"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("org.example.anything", "", []),
        (STOP, "SIGUSR1", []),
        (STOP, "15", []),
        (STOP, "RTMIN+3", []),
        (STOP, "", []),
        (STOP, "0", [("R089", "warning")]),
        (STOP, "SIGNONE", [("R089", "warning")]),
        (GROUPS, "1", []),
        (GROUPS, "0", [("R085", "error")]),
        (GROUPS, "", [("R085", "error")]),
        ("run.oci.hooks.stdout", "/tmp/x", []),
        ("run.oci.hooks.stdout", "x", [("R085", "error")]),
        ("run.oci.hooks.stderr", "", [("R085", "error")]),
        ("run.oci.handler", "krun", [("R085", "warning")]),
        ("run.oci.systemd.subgroup", "container", []),
        ("run.oci.systemd.force_cgroup_v1", "/sys/fs/cgroup", [("R085", "unsupported")]),
        ("run.oci.no-such-thing", "", [("R085", "warning")]),
        ("krun.ram_mib", "512", [("R085", "warning")]),
        ("module.wasm.image/variant", "compat", [("R085", "warning")]),
        ("run.oci.mount_context_type", "context", []),
        ("run.ociruntime.version", "1", []),
        ("io.kubernetes.cri.container-type", "container", []),
        ("org.criu.config", "/etc/criu.conf", []),
        ("org.systemd.property.TimeoutStopUSec", "uint64 123456789", []),
        ("org.systemd.property.CollectMode", "'inactive-or-failed'", []),
        ("org.systemd.property.CollectMode", "inactive", [("R085", "warning")]),
        ("org.systemd.property.collectMode", "'x'", [("R085", "warning")]),
        ("org.systemd.property.Ab", "'x'", [("R085", "warning")]),
        ("org.systemd.property.A/b", "'x'", [("R085", "warning")]),
        ("org.systemd.property.", "'x'", [("R085", "warning")]),
    ],
)
def test_check(name: str, value: str, expected: list[tuple[str, str]]) -> None:
    """A value that is of no use is reported at its annotation; other annotations are not looked at."""
    found = list(annotation.check(Node({"annotations": {name: value}})))
    assert [(one.rule, one.severity) for one in found] == expected
    assert all(one.pointer == "/annotations/" + name.replace("/", "~1") for one in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", ("b", True)),
        ("uint64 5", ("t", 5)),
        (" -3 ", ("i", -3)),
        ("int64 0x10", ("x", 16)),
        ("1.5", ("d", 1.5)),
        ("double 2", ("d", 2.0)),
        (r"'it\'s \\ \n'", ("s", "it's \\ \n")),
        ('"a"', ("s", "a")),
        ("objectpath '/a'", ("o", "/a")),
        ("['a', 'b']", ("as", ["a", "b"])),
        ("@as []", ("as", [])),
        ("[('a', uint32 1)]", ("a(su)", [("a", 1)])),
        ("()", ("()", ())),
    ],
)
def test_values_of_properties(text: str, expected: tuple[str, object]) -> None:
    """What systemd's properties are written as, with its D-Bus type."""
    assert gvariant.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "'", "'a", "[", "[]", "[1 2]", "['a', 1]", "(", "1 2", "uint64", "uint64 -1", "byte 256", "x", "--1", "1e", "." , "[" * 99, "'a' 'b'", "\0"],
)  # fmt: skip
def test_what_is_no_value(text: str) -> None:
    """Everything else is a ValueError, and no other exception."""
    with pytest.raises(ValueError, match=r"."):
        gvariant.parse(text)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (None, 15),
        ({}, 15),
        ({"a": "b"}, 15),
        ({STOP: "SIGUSR1"}, 10),
        ({STOP: "9"}, 9),
        ({STOP: "0"}, 15),
        ({STOP: "x"}, 15),
        ({STOP: 9}, 15),
        ([], 15),
    ],
)
def test_stop_signal(kept: Any, expected: int) -> None:
    """The image's signal if it is one, else TERM (R089)."""
    assert annotation.stop_signal(kept) == expected


def test_groups_are_kept() -> None:
    """With the annotation no step sets the supplementary groups."""
    config = {"process": {"user": {"umask": 7, "additionalGids": [5]}}, "annotations": {GROUPS: "1"}}
    steps = list(credentials.plan_early(Node(config), Host(Layout("none"))))
    assert [step.name for step in steps] == ["umask"]


# Those that crun 1.29 documents.
OF_CRUN = (
    "run.oci.handler",
    "run.oci.systemd.subgroup",
    "run.oci.systemd.force_cgroup_v1",
    "run.oci.delegate-cgroup",
    "run.oci.keep_original_groups",
    "run.oci.mount_context_type",
    "run.oci.pidfd_receiver",
    "run.oci.hooks.stdout",
    "run.oci.hooks.stderr",
    "run.oci.seccomp.receiver",
    "run.oci.seccomp.plugins",
    "run.oci.seccomp_bpf_data",
    "run.oci.seccomp_fail_unknown_syscall",
    "run.oci.timens_offset",
    "module.wasm.image/variant",
)


def test_each_of_crun_has_an_effect_or_a_reason() -> None:
    """Those without an effect give a warning, are on the page, and are not promised by `features`."""
    page = (Path(__file__).parents[2] / "specs" / "not-supported.md").read_text(encoding="utf-8")
    without = {name for name in OF_CRUN if name not in annotation.EFFECTS}
    assert without == {*annotation.WITHOUT_EFFECT, annotation.FORCE_V1}
    assert annotation.FORCE_V1 in page
    for name, instead in annotation.WITHOUT_EFFECT.items():
        (found,) = annotation.check(Node({"annotations": {name: "x"}}))
        assert found.reason == f"crun's annotation {name} has no effect here: {instead}"
        assert f"`{name}`" in page


def test_features_lists_them_all() -> None:
    """What has an effect is in the document, and what is in it is known to check."""
    listed = features()["potentiallyUnsafeConfigAnnotations"]
    assert listed == sorted(annotation.EFFECTS)
    for name in annotation.EFFECTS:
        full = f"{name}Zz" if name.endswith(".") else name
        config = {
            "ociVersion": "1.3.0",
            "root": {"path": "r"},
            "linux": {"mountLabel": "a:b:c:d"},
            "annotations": {full: "of no use"},
        }
        assert [one.pointer for one in check.violations(Node(config))] == [f"/annotations/{full}"]
