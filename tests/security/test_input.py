# SPDX-License-Identifier: Apache-2.0
"""Invariants 10 and 11: sizes are checked, and names that become paths come from closed sets."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import Config, add_bind, writable_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.driver import Result
    from tests.harness.stage import Stage

_SIZES = (65535, 65536, 70_000, 131_000, 200_000, 1_100_000)


def _place(size: int) -> dict[str, Callable[[Config], None]]:
    """Where a config may have a long text; bytes after the text would be other fields, if a length were cut."""
    text = "A" * size

    def option(config: Config) -> None:
        config["mounts"][1]["options"].append(f"mode={text}")

    def annotation(config: Config) -> None:
        config["annotations"] = {"long": text, text[:1000]: "x"}

    def destination(config: Config) -> None:
        config["mounts"].append({"destination": f"/{text}", "type": "tmpfs", "source": "tmpfs"})

    def source(config: Config) -> None:
        config["mounts"].append({"destination": "/mnt", "type": "tmpfs", "source": text})

    return {
        "env": lambda config: config["process"]["env"].append(f"LONG={text}"),
        "args": lambda config: config["process"]["args"].append(text),
        "cwd": lambda config: config["process"].update(cwd=f"/{text}"),
        "annotation": annotation,
        "option": option,
        "destination": destination,
        "source": source,
        "bind source": lambda config: add_bind(config, f"/{text}", "/mnt"),
        "hostname": lambda config: config.update(hostname=text),
        "masked path": lambda config: config["linux"]["maskedPaths"].append(f"/{text}"),
        "sysctl": lambda config: config["linux"].update(sysctl={"net.ipv4.ip_default_ttl": text}),
        "sysctl key": lambda config: config["linux"].update(sysctl={f"net.{text}": "1"}),
        "root path": lambda config: config["root"].update(path=text),
        "namespace path": lambda config: config["linux"]["namespaces"][1].update(path=f"/{text}"),
        "cgroups path": lambda config: config["linux"].update(cgroupsPath=f"/ociruntime-test/{text}"),
        "device path": lambda config: config["linux"].update(
            devices=[{"path": f"/dev/{text}", "type": "c", "major": 1, "minor": 3}]
        ),
    }


def _unchanged(result: Result) -> None:
    """Either it is refused in one line, or the container has its five namespaces and its masks."""
    assert "Traceback" not in result.err
    if result.code == 0:
        assert result.out.split() == ["1", "runc", "5"], result.out[:200]
    else:
        assert result.out == ""
        assert len(result.err.strip().splitlines()) < 10


@pytest.mark.parametrize("place", sorted(_place(1)))
def test_long_text(stage: Stage, place: str) -> None:
    """CVE-2021-43784: long text anywhere is taken whole or refused; it never changes another property."""
    kinds = ("pid", "net", "ipc", "uts", "mnt")
    own = " ".join(os.readlink(f"/proc/self/ns/{kind}") for kind in kinds)
    script = f"""
        new=0
        for kind in {" ".join(kinds)}; do
            case " {own} " in *" $(readlink /proc/self/ns/$kind) "*) ;; *) new=$((new + 1)) ;; esac
        done
        echo $$ $(hostname) $new"""
    for size in _SIZES if place in ("env", "args", "annotation") else (70_000,):
        bundle = stage.bundle("sh", "-c", script)
        _place(size)[place](bundle.config)
        bundle.config["hostname"] = bundle.config["hostname"] if place == "hostname" else "runc"
        bundle.write()
        _unchanged(stage.container(bundle=bundle).run())


def test_many_of_everything(stage: Stage) -> None:
    """CVE-2021-43784: thousands of groups, variables, mounts and masks are counted right."""
    groups = list(range(1, 60_001, 7))[:8000]

    def edit(config: Config) -> None:
        config["process"]["user"]["additionalGids"] = groups
        config["process"]["env"] += [f"V{number}={number}" for number in range(5000)]
        config["linux"]["maskedPaths"] += [f"/missing/{number}" for number in range(3000)]

    said = stage.show("env | grep -c ^V[0-9]; grep ^Groups: /proc/self/status", edit)
    count, line = said.splitlines()
    assert count == "5000"
    assert [int(word) for word in line.split()[1:]] == groups


@pytest.mark.parametrize("name", ["uid", "gid", "umask"])
@pytest.mark.parametrize("number", [1 << 32, (1 << 32) - 1, 1 << 64, -1, 1.5, 1e30])
def test_ids_out_of_range(stage: Stage, name: str, number: float) -> None:
    """CVE-2026-30892's class: an id that does not fit is refused, and never becomes 0 or "unchanged"."""
    if name == "umask" and number == (1 << 32) - 1:
        number = 1 << 33

    def edit(config: Config) -> None:
        config["process"]["user"][name] = number

    result = stage.container("id", edit=edit).run().refused(f"/process/user/{name}")
    assert result.out == ""


def test_group_out_of_range(stage: Stage) -> None:
    """The same for additionalGids."""
    for number in (1 << 32, (1 << 32) - 1, -1):

        def edit(config: Config, number: int = number) -> None:
            config["process"]["user"]["additionalGids"] = [1, number]

        stage.container("id", edit=edit).run().refused("/process/user/additionalGids/1")


@pytest.mark.parametrize(
    "container_id",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc",
        "a\nb",
        "a b",
        "a\0b"[:1] + "\x01",
        "ä",
        "x" * 1025,
        "-x/..",
        "a;b",
        "$(id)",
        "a%2f",
    ],
)
def test_ids_of_containers(stage: Stage, container_id: str) -> None:
    """Invariant 11: an id is a name of letters, digits and _+-., and never a path."""
    container = stage.container("true", container_id=container_id)
    for verb in ("create", "run"):
        result = stage.runtime.call(verb, "--bundle", str(container.bundle.directory), "--", container_id)
        assert result.code != 0, result
        assert "Traceback" not in result.err
    for verb in ("state", "delete", "start"):
        assert stage.runtime.call(verb, "--", container_id).code != 0
    assert stage.runtime.call("delete", "--force", "--", container_id).code != 0
    assert stage.runtime.ids() == []


@pytest.mark.parametrize("path", ["../x", "/../x", "/a/../../x", "a/..", "..", "/", "/a\nb", "/" + "x" * 300])
def test_cgroups_path(stage: Stage, path: str) -> None:
    """Invariant 11: a cgroupsPath with `..`, control characters or the hierarchy's root is refused."""

    def edit(config: Config) -> None:
        config["linux"]["cgroupsPath"] = path

    stage.container("true", edit=edit).run().refused("/linux/cgroupsPath")


@pytest.mark.parametrize("size", ["../../x", "2MB/../../memory.limit_in_bytes", "2MB\n", "", "x", "/", "2mb"])
def test_huge_page_sizes(stage: Stage, size: str) -> None:
    """GHSA-5g49-rx9x-qfc6: a pageSize is a number and a unit, and never part of a path."""

    def edit(config: Config) -> None:
        config["linux"]["resources"]["hugepageLimits"] = [{"pageSize": size, "limit": 1 << 21}]

    stage.container("true", edit=edit).run().refused("/linux/resources/hugepageLimits")


@pytest.mark.parametrize("cpus", ["0\n../x", "../../x", "0;1", "0/../1"])
def test_cpu_lists(stage: Stage, cpus: str) -> None:
    """Invariant 11: what is written to a cgroup's file is a value, and never a name of another file."""

    def edit(config: Config) -> None:
        config["linux"]["resources"]["cpu"] = {"cpus": cpus}

    stage.container("true", edit=edit).run().refused("/linux/resources")


def test_unified_names(stage: Stage) -> None:
    """A name in linux.resources.unified that is a path is refused."""
    for name in ("../memory.max", "a/b", "cgroup.procs/../x", ".."):

        def edit(config: Config, name: str = name) -> None:
            config["linux"]["resources"]["unified"] = {name: "1"}

        stage.container("true", edit=edit).run().refused("/linux/resources/unified")


@pytest.mark.parametrize(
    "annotation",
    [
        "run.oci.delegate-cgroup",
        "run.oci.handler",
        "org.systemd.property.X",
        "../../x",
    ],
)
def test_annotations_do_nothing(stage: Stage, annotation: str) -> None:
    """Invariant 11 (crun 1.28): an annotation that has no effect here is kept and shown, and decides nothing."""
    victim = stage.directory / "written"

    def edit(config: Config) -> None:
        config["annotations"] = {annotation: f"../../..{victim}"}

    container = stage.container("sleep", "100", edit=edit)
    container.create().ok()
    assert container.state()["annotations"] == {annotation: f"../../..{victim}"}
    container.delete("--force").ok()
    assert not victim.exists()


def test_annotation_that_names_a_file(stage: Stage) -> None:
    """Invariant 11: where hooks print to is a whole path, or the config is refused."""

    def edit(config: Config) -> None:
        config["annotations"] = {"run.oci.hooks.stdout": "../../../written"}

    stage.container("true", edit=edit).create().refused("/annotations/run.oci.hooks.stdout", "absolute path")


_PLACES = {
    "args": "/process/args/1", "env": "/process/env/2", "cwd": "/process/cwd", "hostname": "/hostname",
    "mount": "/mounts/7", "mask": "/linux/maskedPaths/10",
}  # fmt: skip


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
@pytest.mark.parametrize("place", list(_PLACES))
def test_text_that_no_system_call_takes(stage: Stage, place: str, text: str) -> None:
    """Invariant 10: a NUL would cut a string, so that another path is used than was checked; it is refused."""

    def edit(config: Config) -> None:
        if place == "args":
            config["process"]["args"].append(text)
        elif place == "env":
            config["process"]["env"].append(f"A={text}")
        elif place == "cwd":
            config["process"]["cwd"] = f"/{text}"
        elif place == "hostname":
            config["hostname"] = text
        elif place == "mount":
            config["mounts"].append({"destination": f"/mnt{text}/x", "type": "tmpfs", "source": "tmpfs"})
        else:
            config["linux"]["maskedPaths"].append(f"/proc{text}")

    result = stage.container("true", edit=edit).run().refused(_PLACES[place])
    assert result.out == ""


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[" * 3000 + "]" * 3000, "9" * 5000, "1e999"]
)
def test_json_bombs(stage: Stage, text: str) -> None:
    """A config.json of deep nesting or huge numbers is refused in words."""
    container = stage.container("true")
    document = json.dumps(container.bundle.config)
    for whole in (text, document.replace('"hostname": "runc"', f'"hostname": "runc", "x": {text}')):
        container.bundle.config_file.write_text(whole)
        for call in (
            ("run", "--bundle", str(container.bundle.directory), container.id),
            ("validate", str(container.bundle.directory)),
        ):
            result = stage.runtime.call(*call)
            assert "Traceback" not in result.err, result.err[-300:]
            assert result.code in (0, 1), result


def test_ids_of_devices(stage: Stage) -> None:
    """Invariant 10: a device number that does not fit is refused and never becomes another device."""
    for major, minor in ((1 << 32, 3), (4096, 3), (1, 1 << 20), (-1, 3), (1, 1 << 63), ((1 << 32) + 1, 3)):

        def edit(config: Config, numbers: tuple[int, int] = (major, minor)) -> None:
            writable_root(config)
            config["linux"]["devices"] = [
                {"path": "/dev/odd", "type": "c", "major": numbers[0], "minor": numbers[1]}
            ]

        stage.container("true", edit=edit).run().refused("/linux/devices/0")
