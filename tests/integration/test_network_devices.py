# SPDX-License-Identifier: Apache-2.0
"""Does a device of the host come to the container as it was, and does it come back when the create fails?

The "host" is a network namespace of each test's own, in which the command runs: its devices are called as the test
likes, and nothing happens to the machine's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_hook, with_namespace
from tests.harness.driver import ENVIRONMENT, MARK, runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.driver import Container
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS,
    reason="the peers of Debian 12 are older than netDevices (specification 1.3)",
)

CABLE = """
ip link add dev0 mtu 1400 address 02:00:00:00:00:07 txqueuelen 77 type veth peer name far0
ip address add 10.9.0.1/24 brd + dev dev0
ip address add 10.9.0.2/24 dev dev0
ip address add 10.9.1.1 peer 10.9.1.2/32 dev dev0
ip address add 10.9.2.1/24 dev dev0 valid_lft 1000 preferred_lft 1000
ip address add 10.9.3.1/24 dev dev0 scope link
ip address add fd09::1/64 dev dev0 nodad noprefixroute
ip link set dev0 up
ip link set far0 up
"""
# What is kept of them (R119): those that last, and hold everywhere.
KEPT = ["10.9.0.1/24", "10.9.1.1 10.9.1.2/32", "10.9.0.2/24", "fd09::1/64"]


class Namespace:
    """A network namespace that lives as long as the process in it."""

    def __init__(self, script: str = "") -> None:
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "600"], env=ENVIRONMENT)
        self.path = f"/proc/{self.process.pid}/ns/net"
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(self.path) == own:
            time.sleep(0.005)
        self.run("sh", "-ec", script)

    def enter(self) -> list[str]:
        """The beginning of a command line that runs in it."""
        return ["nsenter", f"--net={self.path}", "--"]

    def run(self, *words: str) -> str:
        """What a command prints in it."""
        done = subprocess.run([*self.enter(), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def names(self) -> list[str]:
        """Its devices, but for those that the kernel makes everywhere."""
        links = json.loads(self.run("ip", "-json", "link"))
        return sorted(link["ifname"] for link in links if link["ifname"] not in ("lo", "tunl0", "sit0"))

    def device(self, name: str) -> dict[str, Any]:
        """What is worth keeping of a device."""
        (link,) = json.loads(self.run("ip", "-json", "address", "show", "dev", name))
        addresses = [
            " ".join([one["local"], *([one["address"]] if "address" in one else [])]) + f"/{one['prefixlen']}"
            for one in link["addr_info"]
            if one["scope"] == "global" and one["valid_life_time"] == 4294967295
        ]
        return {
            "addresses": addresses,
            "up": "UP" in link["flags"],
            **{part: link[part] for part in ("mtu", "address", "txqlen")},
        }

    def close(self) -> None:
        """End it, and with it what is in it."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def host(stage: Stage) -> Iterator[Namespace]:
    """The runtime's network namespace, with a cable from dev0 to far0."""
    made = Namespace(CABLE)
    stage.runtime.command = [*made.enter(), *stage.runtime.command]
    yield made
    stage.close()
    made.close()


@pytest.fixture
def pod() -> Iterator[Namespace]:
    """A network namespace for containers to join."""
    made = Namespace()
    yield made
    made.close()


def moving(joined: Namespace | None = None, **devices: dict[str, str]) -> Callable[[Config], None]:
    """An edit of a config that gives the container these devices."""

    def edit(config: Config) -> None:
        config["linux"]["netDevices"] = devices
        if joined is not None:
            with_namespace(config, "network", joined.path)

    return edit


def inside(container: Container) -> Namespace:
    """The container's network namespace."""
    found = Namespace.__new__(Namespace)
    found.path = f"/proc/{container.state()['pid']}/ns/net"
    return found


def test_a_device_comes_as_it_was(stage: Stage, host: Namespace) -> None:
    """Renamed, up, with its size, hardware address, queue and lasting addresses (R115, R119, R120)."""
    before = host.device("dev0")
    assert before["addresses"] == KEPT
    container = stage.container("sleep", "100", edit=moving(dev0={"name": "eth7"}))
    container.create().ok()
    assert host.names() == ["far0"]
    assert inside(container).names() == ["eth7"]
    assert inside(container).device("eth7") == before
    assert "10.9.2.1" not in inside(container).run("ip", "address")
    assert "10.9.3.1" not in inside(container).run("ip", "address")
    # the program sees it, and can use it
    container.start().ok()
    host.run("ip", "address", "add", "10.9.0.9/24", "dev", "far0")
    assert "10.9.0.9" in inside(container).run("busybox", "ping", "-c", "1", "-W", "5", "10.9.0.9")
    container.delete("--force").ok()


def test_a_device_keeps_its_name(stage: Stage, host: Namespace) -> None:
    """Without a name of its own in the config, and when it was down, it is up in the container (R120)."""
    host.run("ip", "link", "set", "dev0", "down")
    result = stage.run("sh", "-c", "cat /sys/class/net/dev0/flags", edit=moving(dev0={}))
    assert int(result.ok().out, 16) & 1


def test_the_kernel_counts(stage: Stage, host: Namespace, pod: Namespace) -> None:
    """A name with %d becomes the first that is free, in a namespace that is joined as well (R118)."""
    pod.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "old0")
    edit = moving(pod, dev0={"name": "eth%d"}, far0={"name": "eth%d"})
    container = stage.container("sleep", "100", edit=edit)
    container.create().ok()
    assert pod.names() == ["eth0", "eth1", "eth2", "old0"]
    assert pod.device("eth1")["addresses"] == KEPT
    container.delete("--force").ok()


def test_a_device_stays_in_a_joined_namespace(stage: Stage, host: Namespace, pod: Namespace) -> None:
    """The runtime does not take it back at the end of the container (R122)."""
    container = stage.container("true", edit=moving(pod, dev0={"name": "eth0"}))
    container.run().ok()
    assert stage.runtime.ids() == []
    assert host.names() == ["far0"]
    assert pod.device("eth0")["addresses"] == KEPT


def refused(stage: Stage, edit: Callable[[Config], None], *words: str) -> None:
    """The create fails in one line with these words, and leaves nothing."""
    result = stage.container("true", edit=edit).create()
    assert result.code == 1
    assert len(result.err.splitlines()) == 1, result.err
    for word in ("create: /linux/netDevices/", "move network device", *words):
        assert word in result.err, result.err
    assert stage.runtime.ids() == []


def test_a_name_that_is_taken(stage: Stage, host: Namespace, pod: Namespace) -> None:
    """A device with that name in the container is an error, and both devices stay as they were (R117)."""
    pod.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "old0")
    before = host.device("dev0")
    refused(stage, moving(pod, dev0={"name": "eth0"}), "dev0", "already has a device eth0", "EEXIST")
    refused(stage, moving(dev0={"name": "lo"}), "dev0", "already has a device lo", "EEXIST")
    assert host.device("dev0") == before
    assert pod.names() == ["eth0", "old0"]


def test_what_can_not_be_moved(stage: Stage, host: Namespace) -> None:
    """A device that is not there, and one that the kernel keeps where it is (R116)."""
    refused(stage, moving(dev9={}), "dev9", "ENODEV")
    refused(stage, moving(lo={"name": "other"}), "lo to the container, as other", "EINVAL")
    assert host.names() == ["dev0", "far0"]


def test_the_second_device_fails(stage: Stage, host: Namespace) -> None:
    """The first is taken back, with its name, addresses and state."""
    before = host.device("dev0")
    refused(stage, moving(dev0={"name": "eth0"}, dev9={}), "dev9", "ENODEV")
    assert host.device("dev0") == before


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("up", [False, True])
def test_a_later_step_fails(stage: Stage, host: Namespace, pod: Namespace, joined: bool, up: bool) -> None:
    """Nothing of a failed create is left in the container's namespace: the device is as it was on the host."""
    if not up:
        host.run("ip", "link", "set", "dev0", "down")
    before = host.device("dev0")
    edit = moving(pod if joined else None, dev0={"name": "eth0"})
    result = stage.container("no-such-program", edit=edit).create()
    assert "not found" in result.err
    assert stage.runtime.ids() == []
    assert host.device("dev0") == before
    assert pod.names() == []


def test_a_runtime_that_is_killed(stage: Stage, host: Namespace, pod: Namespace) -> None:
    """After kill -9 in the middle of create, gc takes the device out of the namespace that was to be joined."""
    before = host.device("dev0")
    # A device that was there before must not be taken for the one that came.
    pod.run("ip", "link", "add", "old1", "address", before["address"], "type", "veth", "peer", "name", "old0")

    def edit(config: Config) -> None:
        moving(pod, dev0={"name": "eth0"})(config)
        add_hook(config, "createRuntime", "/bin/sh", "-c", "kill -9 $PPID")

    container = stage.container("true", edit=edit)
    assert container.create().code == -9
    assert pod.names() == ["eth0", "old0", "old1"]
    stage.runtime.call("gc").ok()
    assert stage.runtime.ids() == []
    assert host.device("dev0") == before
    assert pod.names() == ["old0", "old1"]


def test_the_runtime_s_own_namespace_is_refused(stage: Stage, host: Namespace) -> None:
    """A path to the namespace that the device is in already: renaming it would change the host."""
    result = stage.container("true", edit=moving(host, dev0={"name": "eth0"})).create()
    result.refused("/linux/namespaces/", "the runtime's own network namespace")
    assert host.names() == ["dev0", "far0"]


LIBRARY = """
import os, sys, threading
import ociruntime
from ociruntime import Options
from ociruntime.bundle import load
def state():
    tasks = {os.readlink(f"/proc/self/task/{one}/ns/net") for one in os.listdir("/proc/self/task")}
    return tasks, sorted(os.listdir("/proc/self/fd"))
root, bundle, name, bring_back = sys.argv[1:]
stop = threading.Event()
threading.Thread(target=stop.wait).start()
def make(number):
    ociruntime.create(root, load(bundle), Options(f"{name}-{number}")).delete(force=True)
make(1)
before = state()
os.system(bring_back)
make(2)
after = state()
stop.set()
assert before == after, (before, after)
assert "pyroute2" not in sys.modules
"""


def test_the_caller_of_the_library_stays_where_it_is(stage: Stage, host: Namespace, pod: Namespace) -> None:
    """No thread of the process changes its namespace, no descriptor stays open, pyroute2 is not loaded."""
    bundle = stage.bundle("true", edit=moving(pod, dev0={"name": "eth%d"}))
    bring_back = f"nsenter --net={pod.path} ip link set eth0 netns {host.process.pid} name dev0"
    words = [str(stage.runtime.root), str(bundle.directory), f"{MARK}-library", bring_back]
    done = subprocess.run(
        [*host.enter(), sys.executable, "-c", LIBRARY, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert pod.device("eth0")["mtu"] == 1400
