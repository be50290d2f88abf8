# SPDX-License-Identifier: Apache-2.0
"""What Go's types make optional in practice: is it taken as runc takes it, and is what is refused refused on purpose?

Go's decoder leaves 0, "" or nothing where a property is missing or null, and its encoder writes them or leaves them out.
Members in another case, which Go takes too, are unknown names here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import with_namespace, with_users
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

Edit = Callable[["Config"], None]


def process(**members: Any) -> Edit:
    """An edit of the process."""
    return lambda config: config["process"].update(members)


def linux(**members: Any) -> Edit:
    """An edit of linux."""
    return lambda config: config["linux"].update(members)


def device_rule(**members: Any) -> Edit:
    """An edit that adds a rule for a device."""
    return lambda config: config["linux"]["resources"]["devices"].append(members)


def block(**members: Any) -> Edit:
    """An edit of the limits of block I/O."""
    return lambda config: config["linux"]["resources"].update(blockIO=members)


def namespace(kind: str, **members: Any) -> Edit:
    """An edit that replaces a namespace's entry."""

    def edit(config: Config) -> None:
        with_namespace(config, kind)
        config["linux"]["namespaces"][-1].update(members)

    return edit


def names(of_host: str = "", of_domain: str = "", **parameters: str) -> Edit:
    """An edit of the container's names, by property and by parameter."""

    def edit(config: Config) -> None:
        config.update(hostname=of_host, domainname=of_domain)
        config["linux"]["sysctl"] = {f"kernel.{name}": value for name, value in parameters.items()}

    return edit


_BEST_EFFORT = {"class": "IOPRIO_CLASS_BE"}
_IDS = "id -u; id -g"
_NAMES = "hostname; cat /proc/sys/kernel/domainname"

# what, edit, script, what it prints, the warning's property or ""
ACCEPTED: list[tuple[str, Edit, str, list[str], str]] = [
    ("user without uid", process(user={"gid": 6}), _IDS, ["0", "6"], "/process/user/uid"),
    ("user without gid", process(user={"uid": 5}), _IDS, ["5", "0"], "/process/user/gid"),
    ("user of null", process(user={"uid": None, "gid": None}), _IDS, ["0", "0"], "/process/user/uid"),
    ("user of nothing", process(user={}), _IDS, ["0", "0"], "/process/user/gid"),
    ("level missing", process(ioPriority=_BEST_EFFORT), "echo", [], "/process/ioPriority/priority"),
    (
        "level of null",
        process(ioPriority={**_BEST_EFFORT, "priority": None}),
        "echo",
        [],
        "/process/ioPriority/priority",
    ),
    ("size missing", process(consoleSize={}), "echo", [], ""),
    (
        "rule without allow",
        device_rule(access="rwm"),
        "echo",
        [],
        "/linux/resources/devices/1/allow",
    ),
    ("rootfsPropagation empty", linux(rootfsPropagation=""), "echo", [], ""),
    ("same domain name", names("a", "b.c", domainname="b.c"), _NAMES, ["a", "b.c"], ""),
    ("empty path of a namespace", namespace("uts", path=""), "hostname", ["runc"], ""),
    ("null path of a namespace", namespace("uts", path=None), "hostname", ["runc"], ""),
    ("rule of an empty type", device_rule(access="rwm", allow=False, type=""), "echo", [], ""),
    (
        "weight of nothing",
        block(weightDevice=[{"major": 7, "minor": 0}]),
        "echo",
        [],
        "/linux/resources/blockIO/weightDevice/0",
    ),
    (
        "another domain name",
        names("a", "b.c", domainname="d.e"),
        _NAMES,
        ["a", "d.e"],
        "/linux/sysctl/kernel.domainname",
    ),
    ("same host name", names("a", "", hostname="a"), "hostname", ["a"], ""),
]
for _name in (
    "empty path of a namespace",
    "rule of an empty type",
    "weight of nothing",
    "another domain name",
    "same host name",
):
    departure(_name, "crun", "R092", "crun 1.8 refuses it")
departure("same host name", "runc", "R176", "runc refuses the parameter, whatever it says")


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case[0])
def test_accepted(compare: Compare, case: tuple[str, Edit, str, list[str], str]) -> None:
    """It runs as under the peers; a warning names what the specification requires."""
    what, edit, script, _, told = case

    def scenario(stage: Stage) -> dict[str, Any]:
        ended = stage.run("sh", "-c", script, edit=edit)
        if stage.runtime.name not in PEERS:
            warnings = [line for line in ended.err.splitlines() if "warning: run: " in line]
            assert bool(warnings) == bool(told), ended.err
            assert not told or any(f" {told}: " in line for line in warnings), ended.err
        return {what: [ended.code, ended.out.split()]}

    assert compare(scenario) == {what: [0, case[3]]}


def users(missing: str) -> Edit:
    """An edit that gives a user namespace with one range, without one of its numbers."""

    def edit(config: Config) -> None:
        with_users(config, (0, 100000, 1000))
        for mappings in ("uidMappings", "gidMappings"):
            entry = {key: value for key, value in config["linux"][mappings][0].items() if key != missing}
            config["linux"][mappings] = [entry]

    return edit


def without(*path: str) -> Edit:
    """An edit that takes something out."""

    def edit(config: Config) -> None:
        holder = config
        for name in path[:-1]:
            holder = holder[name]
        del holder[path[-1]]

    return edit


def seccomp(default: str, *rules: dict[str, Any]) -> Edit:
    """An edit that gives a filter."""
    return linux(seccomp={"defaultAction": default, "syscalls": list(rules)} if default else {})


_ALLOW, _KILL = "SCMP_ACT_ALLOW", "SCMP_ACT_KILL"
_NULL = {"path": "/dev/x", "type": "c"}
_ARGUMENT = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}


def argument(name: str) -> Edit:
    """An edit that gives a condition without one of its members."""
    condition = {key: value for key, value in _ARGUMENT.items() if key != name}
    return seccomp(_ALLOW, {"names": ["swapon"], "action": _KILL, "args": [condition]})


# what, edit, the property, who of the peers of Debian 12 runs it
REFUSED: list[tuple[str, Edit, str, tuple[str, ...]]] = [
    ("no version", without("ociVersion"), "/ociVersion", ("runc",)),
    ("no root", without("root"), "/root", ()),
    ("no path of the root", without("root", "path"), "/root/path", ()),
    ("no cwd", without("process", "cwd"), "/process/cwd", ()),
    ("no host id", users("hostID"), "/linux/gidMappings/0/hostID", PEERS),
    ("no container id", users("containerID"), "/linux/gidMappings/0/containerID", PEERS),
    ("no size of a range", users("size"), "/linux/gidMappings/0/size", ()),
    (
        "no soft limit",
        process(rlimits=[{"type": "RLIMIT_CORE", "hard": 5}]),
        "/process/rlimits/0/soft",
        PEERS,
    ),
    ("no major", linux(devices=[{**_NULL, "minor": 3}]), "/linux/devices/0/major", PEERS),
    ("no minor", linux(devices=[{**_NULL, "major": 1}]), "/linux/devices/0/minor", PEERS),
    ("no default action", seccomp(""), "/linux/seccomp/defaultAction", ("runc",)),
    ("no calls", seccomp(_ALLOW, {"action": _KILL}), "/linux/seccomp/syscalls/0/names", ("runc",)),
    ("no index", argument("index"), "/linux/seccomp/syscalls/0/args/0/index", PEERS),
    ("no value", argument("value"), "/linux/seccomp/syscalls/0/args/0/value", PEERS),
    ("no comparison", argument("op"), "/linux/seccomp/syscalls/0/args/0/op", ()),
    ("no class", process(ioPriority={"priority": 4}), "/process/ioPriority/class", PEERS),
    ("no policy", process(scheduler={"nice": 1}), "/process/scheduler/policy", PEERS),
    ("no mode", linux(memoryPolicy={"nodes": ""}), "/linux/memoryPolicy/mode", PEERS),
    ("no domain", linux(personality={}), "/linux/personality/domain", ("runc",)),
    ("an empty path to mask", linux(maskedPaths=[""]), "/linux/maskedPaths/0", PEERS),
    ("another host name", names("a", "", hostname="b"), "/linux/sysctl/kernel.hostname", ()),
    (
        "no rate",
        block(throttleReadBpsDevice=[{"major": 7, "minor": 0}]),
        "/linux/resources/blockIO/throttleReadBpsDevice/0/rate",
        PEERS,
    ),
]
for _what, _, _, _peers in REFUSED:
    for _peer in _peers:
        departure(
            _what, _peer, "R092", "the zero of Go's type is not what was meant; see specs/departures.md"
        )


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refused(compare_with_users: Compare, case: tuple[str, Edit, str, tuple[str, ...]]) -> None:
    """The property is named; some peers run it with a zero that no one wrote."""
    what, edit, told, _ = case

    def scenario(stage: Stage) -> dict[str, Any]:
        ended = stage.run("true", edit=edit)
        if stage.runtime.name not in PEERS:
            ended.refused(f"run: {told}: ")
        return {what: ended.code == 0}

    assert compare_with_users(scenario) == {what: False}
