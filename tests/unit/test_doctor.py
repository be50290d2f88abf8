# SPDX-License-Identifier: Apache-2.0
"""What does the doctor ask for a config, how does it run its probes, and what does it print?

What it finds on hosts that lack something is in tests/integration/test_doctor.py.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ociruntime.config import Node
from ociruntime.inspect.doctor import Report, cgroups, children, table
from ociruntime.inspect.doctor.answers import MISSING, RESTRICTED, WORKS, Answer, Case, Lacking, works
from ociruntime.inspect.doctor.ordinary import ordinary_config
from ociruntime.inspect.doctor.table import probes
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.linux.refusals import Remedy, facts
from tests.harness.configuration import default_config, with_namespace, with_users

if TYPE_CHECKING:
    import pytest

    from tests.harness.configuration import Config

PAGE = Path(__file__).parents[2] / "docs/doctor.md"
_V2 = Layout("v2", v2="/sys/fs/cgroup", own={"": "/"}, v2_controllers=["cpu", "memory", "pids"])


def case_of(
    config: object, *, manager: str = "cgroupfs", layout: Layout = _V2, powerful: bool = True
) -> Case:
    """A case on a machine with cgroup v2."""
    made = Case(
        Node(config), layout, directory="/b", state_root="/run/x", manager=manager, name="ociruntime-doctor-0"
    )
    made.powerful = powerful
    return made


def needed(config: object, **how: Any) -> set[str]:
    """The names of what a config needs."""
    return {probe.name for probe in probes(case_of(config, **how)) if probe.needed}


def edited(**members: Any) -> Config:
    """The default config with other members of `linux`."""
    config = default_config()
    config["linux"].update(members)
    return config


def test_what_a_config_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing is needed by configs that have it, and not by others."""
    monkeypatch.setattr(table, "is_rootless", lambda: False)
    ordinary = needed(default_config())
    assert {
        "exec.system-calls",
        "exec.memory-file",
        "state.directory",
        "namespace.pid",
        "root.pivot",
    } <= ordinary
    assert {
        "mount.proc",
        "mount.sysfs",
        "mount.devpts",
        "cgroup.make",
        "cgroup.devices",
        "cgroup.controllers",
    } <= ordinary
    rare = {
        "namespace.user",
        "namespace.time",
        "ids.mapping",
        "mount.overlay",
        "mount.attributes",
        "mount.id-mapped",
    }
    rare |= {
        "seccomp.actions",
        "seccomp.notify",
        "seccomp.library",
        "cgroup.systemd",
        "mount.proc-in-user-namespace",
    }
    assert not rare & ordinary
    users = default_config()
    with_users(users, (0, 1000, 1))
    assert needed(users) - ordinary == {"namespace.user", "mount.proc-in-user-namespace"}
    with_users(users, (0, 1000, 1), (1, 100000, 65536))
    assert "ids.mapping" in needed(users)
    clocks = default_config()
    with_namespace(clocks, "time")
    assert needed(clocks) - ordinary == {"namespace.time"}
    filtered = edited(seccomp={"defaultAction": "SCMP_ACT_ALLOW"})
    assert needed(filtered) - ordinary == {"seccomp.actions", "seccomp.library"}
    filtered["linux"]["seccomp"]["syscalls"] = [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
    assert "seccomp.notify" in needed(filtered)
    mounts: list[tuple[dict[str, Any], str]] = [
        ({"type": "overlay"}, "mount.overlay"),
        ({"type": "bind", "options": ["rbind", "rro"]}, "mount.attributes"),
        ({"type": "bind", "options": ["bind", "idmap"]}, "mount.id-mapped"),
        ({"type": "9p"}, "mount.9p"),
    ]
    for entry, name in mounts:
        config = default_config()
        config["mounts"].append({"destination": "/x", "source": "/x", **entry})
        assert needed(config) - ordinary == {name}


def test_which_cgroups_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the manager; without power over the host only limits need one, and there are no device rules."""
    monkeypatch.setattr(table, "is_rootless", lambda: False)
    config = edited(resources={})
    asked = {"cgroup.hierarchies", "cgroup.controllers"}
    assert asked <= needed(default_config())
    assert not asked & needed(config)
    assert {"cgroup.make", "cgroup.devices"} <= needed(config)
    assert not {"cgroup.make", "cgroup.devices", *asked} & needed(default_config(), manager="disabled")
    assert needed(default_config(), manager="systemd") & {"cgroup.make", "cgroup.systemd"} == {
        "cgroup.systemd"
    }
    assert "cgroup.make" not in needed(config, layout=Layout("none"))
    monkeypatch.setattr(table, "is_rootless", lambda: True)
    assert not {"cgroup.make", "cgroup.devices", *asked} & needed(default_config())
    limited = needed(edited(resources={"pids": {"limit": 100}}))
    assert limited & {"cgroup.make", "cgroup.devices", *asked} == {"cgroup.make", *asked}


def test_an_ordinary_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an ordinary user: in a user namespace with its own ids."""
    monkeypatch.setattr(facts, "has", lambda _capability: False)
    monkeypatch.setattr(table, "is_rootless", lambda: True)
    found = needed(ordinary_config(), powerful=False)
    assert {"namespace.user", "namespace.pid", "mount.proc", "mount.proc-in-user-namespace"} <= found
    assert not {"ids.mapping", "namespace.network", "cgroup.make", "mount.sysfs"} & found


def test_the_page_has_every_probe() -> None:
    """docs/doctor.md explains each name, and no other."""
    config = default_config()
    config["mounts"].append({"destination": "/x", "type": "overlay", "source": "x"})
    names = {probe.name for probe in probes(case_of(config))}
    types = {name for name in names if re.fullmatch(r"mount\.(proc|tmpfs|devpts|sysfs|mqueue)", name)}
    table = PAGE.read_text(encoding="utf-8").split("## What is tried")[1]
    explained = set(
        re.findall(r"`([a-z]+\.[A-Za-z-]+)`", "\n".join(re.findall(r"^\| (.+?) \|", table, re.MULTILINE)))
    )
    assert explained - {"mount.TYPE"} == names - types


def test_the_page_has_the_form() -> None:
    """The example in docs/doctor.md has all members, and its table names each."""
    text = PAGE.read_text(encoding="utf-8").split("## As JSON")[1].split("## What is tried")[0]
    example = json.loads("".join(line for line in text.splitlines() if line.startswith("    ")))
    document = _report().as_document()
    listed = document["probes"]
    assert isinstance(listed, list)
    assert list(example) == list(document)
    assert list(example["probes"][0]) == list(listed[0])
    named = set(re.findall(r"`([a-z]+)`", "\n".join(re.findall(r"^\| (.+?) \|", text, re.MULTILINE))))
    assert named == {*document, *listed[0]} - {"name", "needed"}


def _forks_and_hangs(path: str) -> Answer:
    for _ in range(3):
        if os.fork() == 0:
            break
    with open(f"{path}/{os.getpid()}", "w", encoding="ascii"):
        pass
    time.sleep(1000)
    return works()


def test_a_probe_that_hangs(tmp_path: Path) -> None:
    """The others answer, it ends in time, and neither the probe nor its children are left."""

    def refused() -> Answer:
        raise Lacking("unshare", errno.EPERM, Remedy("a cause", "a cure", root=True))

    def broken() -> Answer:
        raise OSError(errno.EIO, "x", "/file")

    def killed() -> Answer:
        os.kill(os.getpid(), 9)
        return works()

    def mistaken() -> Answer:
        raise ZeroDivisionError("by zero")

    began = time.monotonic()
    answers = children.ask(
        {
            "hangs": lambda: _forks_and_hangs(str(tmp_path)),
            "works": lambda: works("fine"),
            "refused": refused,
            "broken": broken,
            "killed": killed,
            "mistaken": mistaken,
        },
        limit=0.5,
    )
    assert time.monotonic() - began < 2
    assert answers["hangs"].cause == "no answer within 0.5 s"
    assert (answers["works"].state, answers["works"].detail) == (WORKS, "fine")
    assert answers["refused"].as_dict() == {
        "state": MISSING, "detail": "", "cause": "a cause", "cure": "a cure", "root": True,
        "error": "unshare: EPERM (operation not permitted)",
    }  # fmt: skip
    assert answers["broken"].cause == "/file: EIO (input/output error)"
    assert "killed" in answers["killed"].cause
    assert answers["mistaken"].cause == "internal error: ZeroDivisionError: by zero"
    assert list(answers) == ["hangs", "works", "refused", "broken", "killed", "mistaken"]
    pids = [int(name) for name in os.listdir(tmp_path)]
    assert len(pids) == 4
    end = time.monotonic() + 2
    while alive := [pid for pid in pids if _is_alive(pid)]:
        assert time.monotonic() < end, alive
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_cgroups_of_a_probe_that_was_killed(tmp_path: Path) -> None:
    """The parent removes them, and no others."""
    layout = Layout(
        "v1", {"pids": str(tmp_path), "devices": str(tmp_path)}, own={"pids": "/", "devices": "/"}
    )
    for name in ("ociruntime-doctor-0", "ociruntime-doctor-0-rules", "another"):
        (tmp_path / name).mkdir()
    cgroups.remove(case_of(default_config(), layout=layout))
    assert os.listdir(tmp_path) == ["another"]
    cgroups.remove(case_of(default_config(), layout=layout))


def _report(**states: Answer) -> Report:
    case = case_of(default_config())
    asked = [
        probe for probe in probes(case) if probe.name in ("namespace.pid", "namespace.time", "mount.overlay")
    ]
    answers = {probe.name: states.get(probe.name.partition(".")[2], works()) for probe in asked}
    return Report(case, asked, answers, "/b/config.json")


def test_the_verdict() -> None:
    """It fails only for what is needed; a restriction is no failure."""
    everything = _report()
    assert everything.lacking() == []
    assert everything.as_text().endswith("/b/config.json: everything that it needs (marked *) works here\n")
    other = _report(time=Answer(MISSING, cause="x"), pid=Answer(RESTRICTED, "half", cause="c", cure="d"))
    assert other.as_document()["works"] is True
    lines = other.as_text().splitlines()
    assert lines[0] == "* pid namespace   works with a restriction: half; c -> d"
    failed = _report(pid=Answer(MISSING, cause="c", cure="d", error="unshare: E", root=True))
    assert failed.as_document()["works"] is False
    assert "* pid namespace   does not work: c [unshare: E] -> d" in failed.as_text()
    assert "/b/config.json: will not run here: pid namespace does not work" in failed.as_text()


def test_what_only_root_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user hears of it; root has nothing to hear."""
    failed = _report(overlay=Answer(MISSING, cause="c", cure="d", root=True))
    for uid in (0, 1000):
        monkeypatch.setattr(facts, "uid", lambda uid=uid: uid)
        assert ("only root can give or use: overlay" in failed.as_text()) is (uid == 1000)
