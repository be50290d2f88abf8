# SPDX-License-Identifier: Apache-2.0
"""ociruntime/operations/config_maker.py: is what it makes valid, and what was asked for?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ociruntime import bundle
from ociruntime.check import check
from ociruntime.config import Node
from ociruntime.errors import BundleError, InvalidConfig, UsageError
from ociruntime.operations.config_maker import make_config

ARGS = ["/bin/true"]


def _kinds(config: dict[str, Any]) -> set[str]:
    return {entry["type"] for entry in config["linux"]["namespaces"]}


@pytest.mark.parametrize("preset", ["untrusted", "trusted"])
def test_presets_are_valid_and_warn_of_nothing(preset: str) -> None:
    """What check says of them: nothing; and they survive as JSON."""
    config = make_config(ARGS, "/rootfs", preset=preset)
    assert list(check.violations(Node(json.loads(json.dumps(config))))) == []


def test_the_untrusted_preset() -> None:
    """Each promise of its description."""
    config = make_config(ARGS, "/rootfs")
    assert {"network", "user", "pid", "ipc", "uts", "mount", "cgroup"} == _kinds(config)
    assert config["root"] == {"path": "/rootfs", "readonly": True}
    assert config["process"]["noNewPrivileges"] is True
    assert set(map(tuple, config["process"]["capabilities"].values())) == {()}
    assert config["process"]["user"] == {"uid": 65534, "gid": 65534}
    assert config["linux"]["resources"]["memory"] == {"limit": 256 << 20}
    assert config["linux"]["resources"]["pids"] == {"limit": 64}
    assert config["linux"]["resources"]["cpu"] == {"period": 100_000, "quota": 100_000}
    refused = {name for rule in config["linux"]["seccomp"]["syscalls"] for name in rule["names"]}
    assert {"mount", "bpf", "keyctl", "unshare", "clone3", "ptrace"} <= refused
    assert not {"read", "execve", "fork", "futex"} & refused


def test_the_trusted_preset() -> None:
    """The host's network, a writable root, no limits, no filter, no user namespace."""
    config = make_config(ARGS, "/rootfs", preset="trusted")
    assert not {"network", "user"} & _kinds(config)
    assert config["root"]["readonly"] is False
    assert set(config["linux"]["resources"]) == {"devices"}
    assert "seccomp" not in config["linux"]


def test_every_argument() -> None:
    """Each changes its property, and no other preset's value comes through."""
    config = make_config(
        ["/bin/sh", "-c", "x"], "/r", preset="trusted", cwd="/tmp", env={"A": "b", "PATH": "/bin"}, user=(1, 2),
        hostname="name", readonly=True, binds=[("/a", "/b"), ("/c", "/d", "rw")], tmpfs={"/t": 4096}, memory=1 << 20,
        cpus=0.5, pids=3, network=False, capabilities=["CAP_KILL"], user_namespace=True, seccomp={"defaultAction": "SCMP_ACT_ALLOW"},
    )  # fmt: skip
    assert config["process"]["args"] == ["/bin/sh", "-c", "x"]
    assert config["process"]["cwd"] == "/tmp"
    assert config["process"]["env"] == ["PATH=/bin", "A=b"]
    assert config["process"]["user"] == {"uid": 1, "gid": 2}
    assert config["process"]["capabilities"]["bounding"] == ["CAP_KILL"]
    assert (config["hostname"], config["root"]) == ("name", {"path": "/r", "readonly": True})
    assert [(mount["destination"], mount["options"]) for mount in config["mounts"][3:]] == [
        ("/t", ["nosuid", "nodev", "mode=1777", "size=4096"]),
        ("/b", ["rbind", "ro", "nosuid", "nodev"]),
        ("/d", ["rbind", "nosuid", "nodev"]),
    ]
    assert config["linux"]["resources"]["memory"] == {"limit": 1 << 20}
    assert config["linux"]["resources"]["cpu"]["quota"] == 50_000
    assert config["linux"]["resources"]["pids"] == {"limit": 3}
    assert {"network", "user"} <= _kinds(config)
    assert config["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ALLOW"}


def test_paths_start_at_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the program that makes the config, and not at that of a bundle, which it need not have."""
    monkeypatch.chdir(tmp_path)
    config = make_config(ARGS, "rootfs", binds=[("data", "/data"), (Path("more"), "/more", "rw")])
    assert config["root"]["path"] == f"{tmp_path}/rootfs"
    assert [mount["source"] for mount in config["mounts"][-2:]] == [f"{tmp_path}/data", f"{tmp_path}/more"]


def test_no_limits() -> None:
    """None of the preset's, and the device rules stay."""
    assert set(make_config(ARGS, "/r", limits=False)["linux"]["resources"]) == {"devices"}


class Agent:
    """What make_config takes of a SeccompAgent."""

    path = "/run/agent"
    calls = ("mkdir", "ptrace", "clone3")


@pytest.mark.parametrize("preset", ["untrusted", "trusted"])
def test_an_agent_is_asked_and_nobody_else(preset: str) -> None:
    """One rule for its calls, and no second one for a call that the preset refuses; the others stay refused."""
    seccomp = make_config(ARGS, "/r", preset=preset, notify=Agent())["linux"]["seccomp"]  # type: ignore[arg-type]
    assert (seccomp["listenerPath"], seccomp["defaultAction"]) == ("/run/agent", "SCMP_ACT_ALLOW")
    first, *others = seccomp["syscalls"]
    assert first == {"names": ["mkdir", "ptrace", "clone3"], "action": "SCMP_ACT_NOTIFY"}
    refused = {name for rule in others for name in rule["names"]}
    assert not refused & set(Agent.calls)
    assert ("mount" in refused) == (preset == "untrusted")
    assert all(rule["names"] for rule in others)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"preset": "frob"}, UsageError, "preset: 'frob' is unknown"),
        (
            {"args": "sh -c x"},
            UsageError,
            'args: a list such as ["sh", "-c", ...] is wanted, not \'sh -c x\'',
        ),
        ({"binds": ["/a"]}, UsageError, "binds: a list of (source, destination) is wanted, not ['/a']"),
        (
            {"binds": {"/a": "/b"}},
            UsageError,
            "binds: a list of (source, destination) is wanted, not {'/a': '/b'}",
        ),
        ({"binds": [("/a",)]}, UsageError, "binds: a list of (source, destination) is wanted, not [('/a',)]"),
        ({"capabilities": "CAP_KILL"}, UsageError, "capabilities: a list is wanted, not 'CAP_KILL'"),
        (
            {"capabilities": iter(["CAP_KILL"])},
            UsageError,
            "capabilities: a list is wanted, not <list_iterator",
        ),
        ({"tmpfs": ["/a"]}, UsageError, "tmpfs: a dict of destination and bytes is wanted, not ['/a']"),
        ({"env": ["A=b"]}, UsageError, "env: a dict is wanted, not ['A=b']"),
        ({"user": 0}, UsageError, "user: (uid, gid) is wanted, not 0"),
        ({"user": "0:0"}, UsageError, "user: (uid, gid) is wanted, not '0:0'"),
        ({"cpus": "1"}, UsageError, "cpus: a number above 0 is wanted, not '1'"),
        ({"cpus": float("nan")}, UsageError, "cpus: a number above 0 is wanted, not nan"),
        ({"binds": [("/a", "/b", "rx")]}, UsageError, 'the third word is "ro" or "rw"'),
        ({"limits": False, "pids": 3}, UsageError, "limits: False, but memory, cpus or pids has a value"),
        ({"cwd": "tmp"}, InvalidConfig, "/process/cwd"),
        ({"memory": -5}, InvalidConfig, "/linux/resources/memory/limit"),
        ({"capabilities": [1]}, InvalidConfig, "/process/capabilities"),
        ({"args": []}, InvalidConfig, "/process/args"),
    ],
)
def test_what_is_wrong(arguments: dict[str, Any], kind: type[Exception], said: str) -> None:
    """It is named, at once, and not when the container is made."""
    with pytest.raises(kind) as caught:
        make_config(**{"args": ARGS, "rootfs": "/r", **arguments})
    assert said in str(caught.value)


def test_a_bundle_of_a_config() -> None:
    """Relative paths start at the directory that is given; what JSON can't say is named."""
    made = bundle.made({"ociVersion": "1.0.2", "root": {"path": "rootfs"}}, "/somewhere")
    assert (made.directory, made.rootfs) == ("/somewhere", "/somewhere/rootfs")
    with pytest.raises(BundleError, match=r"the config is no JSON: .*set.*"):
        bundle.made({"ociVersion": {1}})
    with pytest.raises(BundleError, match=r"the config is no JSON: .*float"):
        bundle.made({"ociVersion": float("nan")})
