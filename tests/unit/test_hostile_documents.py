# SPDX-License-Identifier: Apache-2.0
"""What does a hostile document cost? There are limits of its size, its depth, and the mistakes that are listed."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from ociruntime import bundle, config, jsontext
from ociruntime.check import check, schema
from ociruntime.cli import main
from ociruntime.config import DEEPEST, Node
from ociruntime.errors import MOST_VIOLATIONS, BundleError, Findings, InvalidConfig, Violation
from ociruntime.linux import id_ranges
from ociruntime.operations.exec_document import require
from ociruntime.verbs import validate
from ociruntime.verbs.spec import default_config

if TYPE_CHECKING:
    from pathlib import Path

MANY = 20_000


def nested(levels: int) -> bytes:
    """A document with a property that is so deep that the whole has so many levels."""
    return b'{"ociVersion": "1.0.0", "a/b": ' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize("levels", [2, DEEPEST - 1, DEEPEST])
def test_what_is_not_too_deep(levels: int) -> None:
    """It is taken, and everything that walks through it afterwards comes to its end."""
    node = config.parse(nested(levels), "x", DEEPEST)
    written = jsontext.compact({"kept": {"in": node.value}})
    assert config.parse(written.encode(), "state.json").at("kept", "in").value == node.value
    assert json.loads(jsontext.indented(node.value)) == node.value
    assert check.violations(node)
    assert validate.duplicate_names(nested(levels)) == []


@pytest.mark.parametrize("levels", [DEEPEST + 1, 900, 960, 970, 980, 984, 985, 990, 1000, 5000, 200_000])
def test_what_is_too_deep(levels: int) -> None:
    """The limit is reported whatever the depth, even a little below that of Python's own scanner."""
    with pytest.raises(BundleError, match="x: nested more than 100 levels deep") as caught:
        config.parse(nested(levels), "x", DEEPEST)
    assert caught.value.pointer == ("/a~1b" if levels < 900 else caught.value.pointer)


@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"a":' * 200_000, b"[" * 150 + b"}"])
def test_what_is_deep_and_no_json(text: bytes) -> None:
    """It is refused in words."""
    with pytest.raises(BundleError, match=r"nested more than|not JSON"):
        config.parse(text, "x", DEEPEST)


def test_blanks_cost_nothing() -> None:
    """Megabytes of spaces before and after a document are skipped at once."""
    began = time.process_time()
    assert config.parse(b" \n" * 4_000_000 + b"{}" + b"\t\r" * 4_000_000, "x").value == {}
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("path", "kind"),
    [("fifo", "a FIFO"), ("/dev/zero", "a device"), ("socket", "a socket"), (".", "a directory")],
)
def test_what_is_no_file(path: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIFO that no one writes to, and an endless device, are not waited for; nor is a link to one."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    os.mknod("socket", 0o140600)
    os.symlink(path, "config.json")
    if kind == "a socket":
        with pytest.raises(BundleError, match="no such device or address"):
            bundle.load(".")
        return
    for name in (path, "config.json"):
        with pytest.raises(BundleError, match=f"{name}: is {kind}, not a regular file"):
            bundle.load_config(name)
    with pytest.raises(BundleError, match=f"is {kind}, not a regular file"):
        bundle.load(".")


def test_what_is_too_large(tmp_path: Path) -> None:
    """A file of many GB is not read; one that is as large as may be is."""
    path = tmp_path / "config.json"
    path.touch()
    for size in (bundle.LARGEST + 1, 1 << 40):
        os.truncate(path, size)
        with pytest.raises(BundleError, match=r"config.json: larger than 32 MiB, which is the limit"):
            bundle.load(str(tmp_path))
    path.write_bytes(b'{"a": "' + b"x" * (bundle.LARGEST - 9) + b'"}')
    assert len(bundle.load(str(tmp_path)).config.at("a").text()) == bundle.LARGEST - 9


def test_a_stream_without_an_end() -> None:
    """Standard input is read only up to the limit, whatever is written into it."""
    with open("/dev/zero", "rb") as zeros, pytest.raises(BundleError, match="stdin: larger than 32 MiB"):
        bundle.read_stream(zeros.fileno(), "stdin")


def test_a_pipe_of_the_caller() -> None:
    """`--process <(jq ...)`: a pipe without a name is read to its end."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        time.sleep(0.2)
        os.write(writer, b'{"a": 1}')
        os._exit(0)
    os.close(writer)
    assert bundle.load_config(f"/proc/self/fd/{reader}").value == {"a": 1}
    os.close(reader)
    os.wait()


def whole(**linux: Any) -> dict[str, Any]:
    """The config that `spec` writes, with these members of linux."""
    made = default_config(cgroup_namespace=False)
    assert isinstance(made["linux"], dict)
    made["linux"].update(linux)
    return made


def _lists() -> dict[str, dict[str, Any]]:
    """A config for each list and map: all of its entries are wrong."""
    process: Any = default_config(cgroup_namespace=False)["process"]
    numbers = range(MANY)
    members = {f"x/{number}": None for number in numbers}
    return {
        "/mounts": {**whole(), "mounts": [{"destination": 5, "type": 7} for _ in numbers]},
        "/mounts/0/options": {**whole(), "mounts": [{"destination": "/x", "type": "x", "options": [1] * MANY}]},
        "/process/env": {**whole(), "process": {**process, "env": ["x"] * MANY}},
        "/process/args": {**whole(), "process": {**process, "args": [5] * MANY}},
        "/process/user/additionalGids": {
            **whole(), "process": {**process, "user": {"uid": 0, "gid": 0, "additionalGids": [-1] * MANY}}
        },
        "/process/rlimits": {
            **whole(), "process": {**process, "rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}] * MANY}
        },
        "/process/capabilities/bounding": {
            **whole(), "process": {**process, "capabilities": {"bounding": [5] * MANY}}
        },
        "/hooks/prestart": {**whole(), "hooks": {"prestart": [{"path": "x"}] * MANY}},
        "/hooks/poststop/0/env": {**whole(), "hooks": {"poststop": [{"path": "/x", "env": ["y"] * MANY}]}},
        "/annotations": {**whole(), "annotations": members | {"x": 1, **dict.fromkeys(members, 5)}},
        "/linux/namespaces": whole(namespaces=[{"type": "pid"}] * MANY),
        "/linux/devices": whole(devices=[{"path": "/x", "type": "c", "major": 1, "minor": n} for n in numbers]),
        "/linux/maskedPaths": whole(maskedPaths=["x"] * MANY),
        "/linux/readonlyPaths": whole(readonlyPaths=["x"] * MANY),
        "/linux/sysctl": whole(sysctl={f"foo.{number}": "1" for number in numbers}),
        "/linux/netDevices": whole(netDevices={key: {} for key in members}),
        "/linux/resources/unified": whole(resources={"unified": dict.fromkeys(members, "1")}),
        "/linux/resources/devices": whole(resources={"devices": [{"allow": 5}] * MANY}),
        "/linux/resources/rdma": whole(resources={"rdma": {key: {"hcaHandles": -1} for key in members}}),
        "/linux/seccomp/syscalls": whole(
            seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "X"}] * MANY}
        ),
    }  # fmt: skip


@pytest.mark.parametrize("pointer", sorted(_lists()))
def test_a_list_of_mistakes(pointer: str) -> None:
    """The first are reported, at their places, and that there may be more; the rest is not looked at."""
    document = _lists()[pointer]
    began = time.process_time()
    found = check.violations(Node(document))
    seconds = time.process_time() - began
    errors = [one for one in found if one.severity == "error"]
    assert len(errors) == MOST_VIOLATIONS
    assert all(one.pointer.startswith(f"{pointer}/") for one in errors)
    assert found.left_out() == ["only the first 200 errors are shown: there may be more"]
    assert seconds < 2
    with pytest.raises(InvalidConfig) as caught:
        check.require(Node(document))
    assert len(str(caught.value)) < 500
    assert "(and at least 199 more: `ociruntime validate` lists the first 200)" in str(caught.value)


def test_one_mistake_among_many() -> None:
    """It is found at its place without an explanation of what is right."""
    mounts: list[Any] = [{"destination": f"/{n}", "type": "tmpfs", "source": "x"} for n in range(100_000)]
    document = {**whole(), "mounts": [*mounts, {"destination": 5}], "annotations": {"a": "b", "": "c"}}
    began = time.process_time()
    found = schema.explain(document)
    assert [one.pointer for one in found] == ["/annotations/", "/mounts/100000/destination"]
    assert time.process_time() - began < 5


def test_long_lists_are_explained_as_short_ones() -> None:
    """What is passed over is right by jsonschema's own rules: they find the same mistakes, at the same places."""
    judge = schema.validator()
    plain = Draft202012Validator(judge.schema)
    wrong: list[Any] = ["", "/x", 5, None, {}, {"a": 1}, [], "\ud800", 1.5, -1]
    for name in (
        "mounts",
        "maskedPaths",
        "devices",
        "namespaces",
        "sysctl",
        "rdma",
        "unified",
        "annotations",
        "env",
    ):
        values = [wrong[number % len(wrong)] for number in range(120)]
        members = {f"k{number}{'/' * (number % 2)}": value for number, value in enumerate(values)}
        document: dict[str, Any] = {
            "mounts": {"mounts": [*values, *({"destination": value} for value in wrong)]},
            "maskedPaths": {"linux": {"maskedPaths": values}},
            "devices": {"linux": {"devices": [*values, *({"path": value, "type": "c"} for value in wrong)]}},
            "namespaces": {"linux": {"namespaces": [*values, *({"type": value} for value in wrong)]}},
            "sysctl": {"linux": {"sysctl": members}},
            "rdma": {"linux": {"resources": {"rdma": {**members, "x": {"hcaHandles": -1}}}}},
            "unified": {"linux": {"resources": {"unified": members}}},
            "annotations": {"annotations": {**members, "": "x"}},
            "env": {"process": {"cwd": "/", "env": values}},
        }[name]
        # jsonschema itself takes the members of an object in any order
        ours, theirs = (
            sorted(str((list(error.absolute_path), list(error.absolute_schema_path))) for error in errors)
            for errors in (judge.iter_errors(document), plain.iter_errors(document))
        )
        assert ours == theirs, name
        assert len(ours) > 50


def test_warnings_are_counted() -> None:
    """There may be any number: the first are reported, and how many more there are; so is an error after them."""
    process: Any = default_config(cgroup_namespace=False)["process"]
    names = [f"CAP_X{number}" for number in range(MANY)]
    document = {**whole(), "process": {**process, "capabilities": {"bounding": names}}}
    found = check.violations(Node(document))
    assert len(found) == MOST_VIOLATIONS
    assert found.left_out() == [f"only the first 200 warnings are shown: there are {MANY - 200} more"]
    told = check.require(Node(document))
    assert str(told[-1]) == f"/: only the first 200 warnings are shown: there are {MANY - 200} more"
    document["hostname"] = "x" * 65
    with pytest.raises(InvalidConfig, match="/hostname: "):
        check.require(Node(document))


def test_findings() -> None:
    """Errors end the search; other severities do not."""
    taken: list[int] = []

    def endless(severity: str, count: int) -> Any:
        for number in range(count):
            taken.append(number)
            yield Violation(f"/{number}", "x", severity=severity)

    found = Findings()
    found.take(endless("warning", 1000))
    found.take(endless("error", MOST_VIOLATIONS))
    assert (len(found), len(taken), found.cut) == (2 * MOST_VIOLATIONS, 1000 + MOST_VIOLATIONS, False)
    found.take(endless("error", 1_000_000))
    found.take(endless("error", 1_000_000))
    assert (len(found), len(taken), found.cut) == (2 * MOST_VIOLATIONS, 1001 + MOST_VIOLATIONS, True)


def test_validate_says_what_it_leaves_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As text and as JSON."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(_lists()["/mounts"]))
    assert main(["validate", str(path)]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == MOST_VIOLATIONS + 2
    assert lines[-2:] == [
        "only the first 200 errors are shown: there may be more", f"{path}: not valid (200 errors)",
    ]  # fmt: skip
    assert main(["validate", "--format", "json", str(path)]) == 1
    document = json.loads(capfd.readouterr().out)
    assert len(document["violations"]) == MOST_VIOLATIONS
    assert document["leftOut"] == ["only the first 200 errors are shown: there may be more"]


def test_names_that_stand_twice_are_counted_once() -> None:
    """An object of many members with one name twice takes no time that grows with its square."""
    members = ",".join(f'"{number}": 1' for number in range(100_000))
    began = time.process_time()
    found = validate.duplicate_names(f'{{{members}, "7": 2}}'.encode())
    assert [one.pointer for one in found] == ["/7"]
    assert time.process_time() - began < 3


def test_a_process_document_of_mistakes() -> None:
    """Exec tells the first ones, and is done."""
    process: Any = default_config(cgroup_namespace=False)["process"]
    with pytest.raises(InvalidConfig, match=r"/process/env/0: .*; there may be more"):
        require(Node({**whole(), "process": {**process, "env": ["x"] * MANY}}))


@pytest.mark.parametrize("count", [340, 341, 200_000])
def test_ranges(count: int) -> None:
    """What the kernel does not take is said first, with the count and nothing else."""
    entries = [{"containerID": n, "hostID": n, "size": 2} for n in range(0, 2 * count, 2)]
    began = time.process_time()
    found = list(id_ranges.check(Node(entries, "/linux/uidMappings"), "R102"))
    assert time.process_time() - began < 1
    if count == 340:
        assert found == []
    else:
        reason = f"{count} ranges, and the kernel takes up to 340"
        assert found == [Violation("/linux/uidMappings", reason, "R102")]


def test_a_path_that_the_kernel_can_not_take() -> None:
    """Nothing is made of a path of 100,000 names, and what would lie above it is not counted."""
    long = "/" + "/".join(["a"] * 100_000)
    document = Node(
        {
            "ociVersion": "1.3.0",
            "root": {"path": "rootfs"},
            "mounts": [{"destination": long, "type": "tmpfs", "source": "tmpfs"}],
            "linux": {"cgroupsPath": long},
        }
    )
    found = {violation.pointer: violation.reason for violation in check.violations(document)}
    assert "has more than 3800 bytes" in found["/linux/cgroupsPath"]
    assert "has more than 4095 bytes" in found["/mounts/0/destination"]
    assert all(len(reason) < 1000 for reason in found.values())
