# SPDX-License-Identifier: Apache-2.0
"""Which labels linux/lsm.py refuses, warns about and plans, on hosts with and without the security modules."""

from __future__ import annotations

from typing import Any

import pytest

from ociruntime.bundle import Bundle
from ociruntime.config import Node
from ociruntime.host import Host
from ociruntime.jsontext import compact
from ociruntime.linux import lsm
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.plan import order
from ociruntime.step import InitStep
from tests.harness.configuration import default_config

LABEL = "system_u:system_r:container_t:s0:c1,c2"
FILE_LABEL = "system_u:object_r:container_file_t:s0:c1,c2"
LAYOUT = Layout("v2", v2="/sys/fs/cgroup", own={"": "/"})
NEITHER, APPARMOR, SELINUX = Host(LAYOUT), Host(LAYOUT, apparmor=True), Host(LAYOUT, selinux=True)


def labels(**more: Any) -> dict[str, Any]:
    """The default config with a label of each kind."""
    config = default_config("true")
    config["process"].update(apparmorProfile="docker-default", selinuxLabel=LABEL)
    config["linux"]["mountLabel"] = FILE_LABEL
    return {**config, **more}


def steps(config: dict[str, Any], host: Host, **options: Any) -> list[InitStep]:
    """The init steps of the whole plan."""
    bundle = Bundle("/b", "/b/config.json", compact(config).encode())
    made = order.make(bundle, host, order.Options("x", **options))
    return [step for step in made.steps if isinstance(step, InitStep)]


def attributes(planned: list[InitStep]) -> list[tuple[Any, ...]]:
    """The arguments of what is written below /proc/self/attr."""
    return [step.args for step in planned if step.op == "attribute"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, []),
        ({"process": {"apparmorProfile": "", "selinuxLabel": ""}, "linux": {"mountLabel": ""}}, []),
        ({"process": {"apparmorProfile": "a b//c//&:ns:d"}}, []),
        ({"process": {"apparmorProfile": "x\nchangeprofile y"}}, ["/process/apparmorProfile"]),
        ({"process": {"selinuxLabel": "\nu:r:t:s0"}}, ["/process/selinuxLabel"]),
        ({"linux": {"mountLabel": "u:r:t:s0\x7f"}}, ["/linux/mountLabel"]),
    ],
)
def test_check(config: dict[str, Any], expected: list[str]) -> None:
    """A label can't have control characters: a line feed first would be no label to SELinux."""
    assert [one.pointer for one in lsm.check(Node(config))] == expected


def test_kinds_of_mount_labels() -> None:
    """The annotation names one of the four options of mount(8); without a label it doesn't matter."""
    pointer = "/annotations/run.oci.mount_context_type"
    for kind, found in (
        *((kind, []) for kind in lsm.MOUNT_CONTEXTS),
        ("xcontext", [pointer]),
        ("", [pointer]),
    ):
        noted = {"annotations": {lsm.MOUNT_CONTEXT: kind}}
        assert [one.pointer for one in lsm.check(Node({**labels(), **noted}))] == found
        assert list(lsm.check(Node(noted))) == []


def test_without_the_module_a_label_is_a_warning() -> None:
    """Each label that the host can't give is warned about by name, and nothing is written."""

    def warned(host: Host) -> list[str]:
        found = list(lsm.warnings(Node(labels()), host))
        assert all(one.severity == "warning" and "ignored" in one.reason for one in found)
        return [one.pointer for one in found]

    assert warned(NEITHER) == ["/process/apparmorProfile", "/process/selinuxLabel", "/linux/mountLabel"]
    assert warned(APPARMOR) == ["/process/selinuxLabel", "/linux/mountLabel"]
    assert warned(SELINUX) == ["/process/apparmorProfile"]
    assert attributes(steps(labels(), NEITHER)) == []
    assert list(lsm.warnings(Node({"process": {"apparmorProfile": "unconfined"}}), NEITHER)) == []


def test_the_plan_says_what_is_left_out() -> None:
    """Plan.warnings has them, so that create, run and plan tell."""
    bundle = Bundle("/b", "/b/config.json", compact(labels()).encode())
    reasons = [one.reason for one in order.make(bundle, NEITHER, order.Options("x")).warnings]
    assert "ignored because this host has no AppArmor: docker-default" in reasons


def test_apparmor() -> None:
    """The profile is for the next execve; written before the image is in sight, in AppArmor's own directory (R048)."""
    planned = steps(labels(), APPARMOR)
    assert attributes(planned) == [("apparmor/exec", "exec docker-default")]
    ops = [step.op for step in planned]
    assert ops.index("attribute") < ops.index("root")


def test_selinux_process_and_keyring() -> None:
    """The label of the next execve, and of the session keyring, before that is made (R058)."""
    planned = steps(labels(), SELINUX)
    assert attributes(planned) == [("keycreate", LABEL), ("exec", LABEL)]
    ops = [step.op for step in planned]
    assert ops.index("attribute") == ops.index("session_keyring") - 1
    assert attributes(steps(labels(), SELINUX, no_new_keyring=True)) == [("exec", LABEL)]


def test_mount_labels() -> None:
    """New file systems and masks have the label; what SELinux labels by itself has not; mqueue by attribute (R197)."""
    planned = steps(labels(), SELINUX)
    made = {str(step.args[7]): step.args[2] for step in planned if step.op == "mount_fs"}
    label = f"context={FILE_LABEL}"
    with_label = {place for place, options in made.items() if isinstance(options, list) and label in options}
    assert with_label == {"/dev", "/dev/pts", "/dev/shm"}
    assert {"/proc", "/sys", "/sys/fs/cgroup", "/dev/mqueue"} <= set(made) - with_label
    assert {step.args[1] for step in planned if step.op == "mask"} == {FILE_LABEL}
    ops = [(step.op, step.args[0] if step.op == "xattr" else step.args[-2:-1]) for step in planned]
    assert ops[ops.index(("xattr", "/dev/mqueue")) - 1] == ("mount_fs", ("/dev/mqueue",))
    (attribute,) = [step for step in planned if step.op == "xattr"]
    assert attribute.args == ("/dev/mqueue", "security.selinux", FILE_LABEL)


def test_mount_labels_of_the_config() -> None:
    """The annotation chooses the option, and an entry with a label of its own keeps that."""
    config = labels(annotations={lsm.MOUNT_CONTEXT: "rootcontext"})
    config["mounts"][3]["options"].append("context=own")
    made = {str(step.args[7]): step.args[2] for step in steps(config, SELINUX) if step.op == "mount_fs"}
    assert f"rootcontext={FILE_LABEL}" in made["/dev"]  # type: ignore[operator]
    assert [word for word in made["/dev/shm"] if "context" in str(word)] == ["context=own"]  # type: ignore[union-attr]


def test_no_mount_labels_without_selinux() -> None:
    """Any other kernel would refuse the option."""
    assert "context" not in str([step.args for step in steps(labels(), APPARMOR)])


def test_label_free_plans_are_the_same() -> None:
    """Without labels the modules change nothing in the plan."""
    config = default_config("true")
    shown = [[step.as_dict() for step in steps(config, host)] for host in (NEITHER, APPARMOR, SELINUX)]
    assert shown[0] == shown[1] == shown[2]
