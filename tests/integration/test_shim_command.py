# SPDX-License-Identifier: Apache-2.0
"""The shim's command as containerd calls it: start, delete, -info, -v; pods, options, cgroups, and what is left after kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import ENVIRONMENT
from tests.harness.rootfs import busybox_template
from tests.harness.stage import new_id
from tests.shim.descriptions import kind_of
from tests.shim.shim import (
    NAMESPACE,
    Shim,
    any_of,
    end,
    mount,
    program,
    refused,
    root_path,
    wait_for_end,
)

if TYPE_CHECKING:
    from tests.harness.stage import Stage
    from tests.shim.client import Client

CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4
INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, UNIMPLEMENTED = 3, 5, 6, 9, 12
CYCLES = int(os.environ.get("OCIRUNTIME_TEST_CYCLES", "150"))


def test_one_process_for_a_pod(shim: Shim, stage: Stage) -> None:
    """`start` for a second container of the group prints the same address; Shutdown waits for the last one."""

    def in_pod(config: dict[str, Any]) -> None:
        config["annotations"] = {"io.kubernetes.cri.sandbox-id": "pod"}

    names = [new_id(), new_id(), new_id()]
    bundles = [stage.bundle("sleep", "100", edit=in_pod) for _ in names[:2]] + [stage.bundle("sleep", "100")]
    addresses = [shim.start(bundle, name) for bundle, name in zip(bundles, names, strict=True)]
    assert addresses[0] == addresses[1] != addresses[2]
    assert len(shim.pids) == 2
    client = shim.connect(addresses[0])
    for bundle, name in zip(bundles[:2], names[:2], strict=True):
        shim.create(client, bundle, name)
        client.call("Start", id=name)
    for name in names[:2]:
        client.call("Shutdown", id=name)
        end(client, name)
    client.call("Shutdown", id=names[0])
    wait_for_end(shim.pids[0])
    assert not os.path.exists(addresses[0].removeprefix("unix://"))


def test_plain_address(shim: Shim, stage: Stage) -> None:
    """Older containerds give runtime options, or nothing, and read the plain address."""
    bundle, name = stage.bundle("true"), new_id()
    done = shim.command(
        "-debug", "start", bundle=bundle.directory, name=name, stdin=shim.options.SerializeToString()
    )
    address = done.stdout.decode()
    assert address.startswith("unix:///run/containerd/s/")
    assert done.stderr == b""
    client = shim.connect(address, 2)
    shim.pids.append(client.call("Connect", id=name).shim_pid)
    again = shim.command("start", bundle=bundle.directory, name=name)
    assert again.stdout.decode() == address
    client.call("Shutdown", id=name)
    wait_for_end(shim.pids[0])
    assert not os.path.exists(address.removeprefix("unix://"))


@pytest.mark.parametrize("version", [2, 3])
def test_address_in_json(shim: Shim, stage: Stage, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """Who can read it says which version it can call, and is told it with the address; so is who comes later."""
    monkeypatch.setitem(ENVIRONMENT, "MAX_SHIM_VERSION", str(version))
    bundle, name = stage.bundle("true"), new_id()
    said = shim.options.SerializeToString()
    done = shim.command("start", bundle=bundle.directory, name=name, stdin=said)
    answer = json.loads(done.stdout)
    assert (answer["version"], answer["protocol"]) == (version, "ttrpc")
    assert (bundle.directory / "address").read_text() == answer["address"]
    client = shim.connect(answer["address"], version)
    shim.pids.append(client.call("Connect", id=name).shim_pid)
    again = shim.command("start", bundle=bundle.directory, name=name)
    assert again.stdout == done.stdout
    client.call("Shutdown", id=name)
    wait_for_end(shim.pids[0])


def test_options(shim: Shim, client: Client, stage: Stage, tmp_path: Path) -> None:
    """Of both kinds; what can't be obeyed is refused by name."""
    path = f"/{NAMESPACE}/options"
    bundle = stage.bundle("true", edit=lambda config: config["linux"].update(cgroupsPath=path))
    kind = "runtimeoptions.v1.Options"
    for root, option in (
        (
            "text",
            any_of(
                "FileOptions", kind, config_body=f'Root = "{tmp_path}/text"\nNoPivotRoot = true\n'.encode()
            ),
        ),
        ("file", any_of("FileOptions", kind, config_path=str(tmp_path / "options.toml"))),
    ):
        (tmp_path / "options.toml").write_text(f'Root = "{tmp_path}/file"\n')
        name = new_id()
        shim.create(client, bundle, name, options=option)
        assert (tmp_path / root / NAMESPACE / name / "state.json").exists()
        client.call("Delete", id=name)
    for option, code, words in (
        # The systemd driver takes no paths, and says so before it speaks to systemd.
        (
            any_of("RuncOptions", "containerd.runc.v1.Options", systemd_cgroup=True, root=str(tmp_path)),
            2,
            "slice:prefix:name",
        ),
        (
            any_of("FileOptions", kind, config_body=f'SystemdCgroup = true\nRoot = "{tmp_path}"'.encode()),
            2,
            "slice:prefix:name",
        ),
        (
            any_of("FileOptions", kind, config_body=b"SystemdCgroup = 1"),
            INVALID_ARGUMENT,
            "SystemdCgroup must be bool",
        ),
        (any_of("FileOptions", kind, config_body=b"Colour = 1"), INVALID_ARGUMENT, "unknown option Colour"),
        (any_of("FileOptions", kind, config_body=b"Root = 1"), INVALID_ARGUMENT, "Root must be str"),
        (any_of("FileOptions", kind, config_body=b"Root"), INVALID_ARGUMENT, "runtime options"),
        (any_of("FileOptions", kind, config_path="/missing"), INVALID_ARGUMENT, "/missing: ENOENT"),
        (
            any_of("RuncOptions", "x/containerd.runc.v1.Options", root="here"),
            INVALID_ARGUMENT,
            "not an absolute path",
        ),
        (any_of("RuncOptions", "other.Options", root="/x"), INVALID_ARGUMENT, "other.Options"),
    ):
        refused(code, words, shim.create, client, bundle, new_id(), options=option)


def test_owner_of_the_streams(shim: Shim, client: Client, stage: Stage, tmp_path: Path) -> None:
    """IoUid and IoGid own what the program writes to; without them it is the shim's user."""
    bundle = stage.bundle("stat", "-L", "-c", "%u %g", "/proc/self/fd/1")
    for number, (fields, owner) in enumerate((({}, "0 0"), ({"io_uid": 1000, "io_gid": 1001}, "1000 1001"))):
        name, log = new_id(), tmp_path / f"log-{number}"
        option = any_of("RuncOptions", "containerd.runc.v1.Options", root=str(tmp_path), **fields)
        shim.create(client, bundle, name, options=option, stdout=f"file://{log}")
        client.call("Start", id=name)
        assert client.call("Wait", id=name).exit_status == 0
        client.call("Delete", id=name)
        assert log.read_text() == f"{owner}\n"
        null = os.stat("/dev/null")  # the program's input
        assert (null.st_uid, null.st_gid) == (0, 0)


def test_cgroup_of_the_shim(shim: Shim, stage: Stage) -> None:
    """`start` moves it there, and makes the cgroup."""
    path = f"/{NAMESPACE}/the-shim"
    option = any_of("RuncOptions", "containerd.runc.v1.Options", shim_cgroup=path)
    bundle, name = stage.bundle("true"), new_id()
    client = shim.connect(shim.start(bundle, name, [option]))
    lines = Path(f"/proc/{shim.pids[0]}/cgroup").read_text().splitlines()
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if " cgroup" in line]
    places = {place for place in mounted if os.path.isdir(place + path)}
    assert {line.split(":", 2)[2] for line in lines} <= {
        path,
        "/",
    }  # "/" of a hierarchy that is not mounted here
    assert len(places) >= 1
    for place in places:
        assert Path(f"{place}{path}/cgroup.procs").read_text().split() == [str(shim.pids[0])]
    client.call("Shutdown", id=name)
    wait_for_end(shim.pids[0])
    for depth in (path, f"/{NAMESPACE}"):
        for place in [*Path("/sys/fs/cgroup").glob(f"*{depth}"), Path(f"/sys/fs/cgroup{depth}")]:
            if place.is_dir():
                place.rmdir()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-nonsense", "start"], "unknown flag -nonsense"),
        (["start", "-id"], "flag -id needs a value"),
        (["begin"], "unknown action 'begin'"),
        ([], "no action: start or delete"),
        (["start", "delete"], "unexpected argument delete"),
        (["start"], "flag -namespace is missing"),
        (["-namespace", "n", "-id", "i", "start"], "config.json: ENOENT"),
    ],
)
def test_command_line_that_is_wrong(tmp_path: Path, words: list[str], said: str) -> None:
    """One line that says why."""
    done = subprocess.run(
        [program(), *words], stdin=subprocess.DEVNULL, capture_output=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("containerd-shim-ociruntime-v1: ")
    assert said in line


def test_info_and_version() -> None:
    """The features document in containerd's message, and a text for people; flags in any form."""
    done = subprocess.run([program(), "--info"], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    info = kind_of("RuntimeInfo").FromString(done.stdout)
    assert info.name == "io.containerd.ociruntime.v1"
    document = json.loads(info.features.value)
    assert document["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    done = subprocess.run([program(), "-v=true"], capture_output=True, check=True)
    assert f"Version:  {info.version.version}\n".encode() in done.stdout


def test_a_link_to_the_command(tmp_path: Path) -> None:
    """As it may lie in /usr/local/bin: it finds its own installation."""
    link = tmp_path / "containerd-shim-ociruntime-v1"
    link.symlink_to(program())
    done = subprocess.run([link, "-v"], capture_output=True, check=True)
    assert done.stdout.startswith(b"containerd-shim-ociruntime-v1:\n")


def test_shim_is_killed(shim: Shim, stage: Stage) -> None:
    """`delete`, called without a server: no process, mount, state or socket is left; and again, when nothing is."""
    bundle, name = stage.bundle("sh", "-c", "sleep 100 & sleep 100", edit=root_path), new_id()
    address = shim.start(bundle, name)
    client = shim.connect(address)
    pid = shim.create(client, bundle, name, rootfs=[mount("bind", str(busybox_template()), "rbind")])
    client.call("Start", id=name)
    os.kill(shim.pids[0], signal.SIGKILL)
    wait_for_end(shim.pids[0])
    assert os.path.exists(f"/proc/{pid}")
    for _ in range(2):
        done = shim.command("delete", "-bundle", str(bundle.directory), bundle=bundle.directory, name=name)
        answer = kind_of("Deleted").FromString(done.stdout)
        assert answer.exit_status == 137
        assert abs(answer.exited_at.seconds - time.time()) < 5
        wait_for_end(pid)
        assert not os.path.ismount(bundle.directory / "rootfs")
        assert not os.path.exists(address.removeprefix("unix://"))
        assert list((shim.directory / "root" / NAMESPACE).iterdir()) == []
