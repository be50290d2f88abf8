# SPDX-License-Identifier: Apache-2.0
"""ociruntime/linux/sysctl.py: file names of keys, and which keys a container may set."""

from __future__ import annotations

from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.linux import sysctl


def config(values: dict[str, str], names: str = "ipc network uts", **more: Any) -> Node:
    """A config with these sysctls and namespaces."""
    entries = [{"type": name} for name in names.split()]
    return Node({"linux": {"namespaces": entries, "sysctl": values}, **more})


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
        ("kernel", "kernel"),
    ],
)
def test_path_of(key: str, path: str) -> None:
    """The first separator separates; the other one stands for itself, as in sysctl(8)."""
    assert sysctl.path_of(key) == path


def test_plan_writes_each_key_in_order() -> None:
    """One step per key with the path below /proc/sys and the value as it is."""
    steps = list(sysctl.plan(config({"net.core.somaxconn": "256", "kernel.msgmax": "65536"})))
    assert [step.args for step in steps] == [("net/core/somaxconn", "256"), ("kernel/msgmax", "65536")]
    assert steps[0].pointer == "/linux/sysctl/net.core.somaxconn"
    assert steps[0].describe() == "set sysctl net.core.somaxconn=256"


@pytest.mark.parametrize(
    ("key", "namespaces"),
    [
        ("net.ipv4.ip_forward", "network"),
        ("net/ipv4/ip_forward", "network"),
        ("kernel.shm_rmid_forced", "ipc"),
        ("kernel.sem", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
    ],
)
def test_namespaced_keys_need_their_namespace(key: str, namespaces: str) -> None:
    """A key is allowed with its namespace and refused without it."""
    assert list(sysctl.check(config({key: "1"}, namespaces))) == []
    (violation,) = sysctl.check(config({key: "1"}, "pid mount"))
    assert violation.rule == "R176"
    assert "is not allowed without a" in violation.reason
    assert violation.pointer == "/linux/sysctl/" + key.replace("/", "~1")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("kernel.panic", "belongs to no namespace of the container"),
        ("kernel.core_pattern", "belongs to no namespace of the container"),
        ("vm.swappiness", "belongs to no namespace of the container"),
        ("fs.file-max", "belongs to no namespace of the container"),
        ("kernel.hostname", "conflicts with the property hostname"),
        ("", "is not the name of a kernel parameter"),
        ("net..ipv4", "is not the name of a kernel parameter"),
        ("net/../kernel/panic", "is not the name of a kernel parameter"),
        ("net/./core", "is not the name of a kernel parameter"),
        ("/kernel/sem", "is not the name of a kernel parameter"),
        ("net.ipv4.", "is not the name of a kernel parameter"),
        ("net.core.\0", "is not the name of a kernel parameter"),
    ],
)
def test_other_keys_are_refused(key: str, reason: str) -> None:
    """Keys of the host, and names that leave their directory, are refused even with all namespaces."""
    (violation,) = sysctl.check(config({key: "1"}))
    assert violation.reason == f"sysctl {key} {reason}"


@pytest.mark.parametrize(
    ("key", "value", "names", "severity"),
    [
        ("kernel.domainname", "b", {}, ""),
        ("kernel.domainname", "b", {"domainname": ""}, ""),
        ("kernel.domainname", "b", {"domainname": "b"}, ""),
        ("kernel/domainname", "b", {"domainname": "b", "hostname": "c"}, ""),
        ("kernel.domainname", "b", {"domainname": "c"}, "warning"),
        ("kernel.domainname", "b\n", {"domainname": "b"}, "warning"),
        ("kernel.hostname", "b", {"hostname": "b"}, ""),
        ("kernel/hostname", "b", {"hostname": "b", "domainname": "c"}, ""),
        ("kernel.hostname", "b", {"hostname": "c"}, "error"),
        ("kernel.hostname", "b", {"domainname": "b"}, "error"),
        ("kernel.hostname", "b", {"hostname": ""}, "error"),
    ],
)
def test_names_that_have_a_property(key: str, value: str, names: dict[str, str], severity: str) -> None:
    """Both may say the same; another domain name is set last, and said; another host name is refused, as by runc."""
    found = list(sysctl.check(config({key: value}, **names)))
    assert [one.severity for one in found] == ([severity] if severity else [])
    assert all(one.rule == "R176" and key in one.reason for one in found)
    bare = list(sysctl.check(config({key: value}, "pid", **names)))
    assert [one.severity for one in bare] == ["error"]
