# SPDX-License-Identifier: Apache-2.0
"""Are hooks of all six kinds run in order, in their namespaces, with the right state, environment and descriptors?"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_bind, add_hook
from tests.harness.driver import ENVIRONMENT, PATIENCE, Container, runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_BEFORE_START = KINDS[:3]
_OURS = runtime_under_test() not in PEERS

departure("order", "runc", "R083", "poststart is due after the program is executed; runc runs it in create")
departure(
    "environment of createContainer",
    "runc",
    "invariant 1",
    "a program of the host must not get the image's environment (CVE-2025-23266); as crun, the runtime's own",
)
departure("cwd of createContainer", "crun", "R073", "not said; as runc, the root file system")
for _kind in _BEFORE_START:
    departure(
        f"status in {_kind}", "runc", "R078", "the environment is made (step 2), so the status is created"
    )
departure("status in poststart", "runc", "R083", "the program is running when poststart is due")
departure("status in startContainer", "crun", "R202", "`starting` is no status of the specification")
for _kind in ("createContainer", "startContainer"):
    departure(f"pid in {_kind}", "crun", "R203", "the pid is the one seen in the hook's namespace, not 0")
departure("bundle in startContainer", "crun", "R200", "the bundle is the bundle's path")
departure("descriptors of createContainer", "runc", "R240", "runc 1.1 leaks its own into the hook")


def _note(script: str, log: str) -> list[str]:
    """The words of a hook that writes what `script` prints to `log`.

    It reads its stdin, because crun 1.8 may fail with a broken pipe when a hook does not.
    """
    return ["/bin/sh", "-c", f"{{ {script}; }} >> {log}; cat > /dev/null"]


def _copy(source: str, log: str) -> list[str]:
    """The words of a hook that copies a file of procfs without a shell, which would add variables."""
    return ["/bin/dd", f"if={source}", f"of={log}"]


def _container_with(stage: Stage, script: str, **hook: Any) -> Container:
    """A container in which a hook of each kind writes what `script` (or a file of procfs) says; see `_said`."""
    notes = stage.directory / "notes"
    notes.mkdir(exist_ok=True)

    def edit(config: Config) -> None:
        add_bind(config, str(notes), "/notes", "rw")
        config["annotations"] = {"com.example.key": "value"}
        for kind in KINDS:
            directory = "/notes" if kind == "startContainer" else str(notes)
            words = _copy if script.startswith("/proc/") else _note
            add_hook(config, kind, *words(script, f"{directory}/{kind}"), **hook)

    container = stage.container("true", edit=edit)
    (container.bundle.rootfs / "notes").mkdir()
    return container


def _said(stage: Stage, script: str, **hook: Any) -> dict[str, str]:
    """What `script`, run as a hook of each kind, printed."""
    _container_with(stage, script, **hook).run().ok()
    return {kind: (stage.directory / "notes" / kind).read_text() for kind in KINDS}


def test_order(compare: Compare) -> None:
    """Kinds in the order of the lifecycle, hooks of a kind in the order listed (R077, R079 to R084)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        notes = stage.directory / "notes"
        notes.mkdir()

        def edit(config: Config) -> None:
            add_bind(config, str(notes), "/notes", "rw")
            for kind in KINDS:
                directory = "/notes" if kind == "startContainer" else str(notes)
                for number in (1, 2):
                    look = (
                        f"; cat /proc/$(cat {notes}/pid)/cmdline >{notes}/seen" if kind == "poststart" else ""
                    )
                    add_hook(config, kind, *_note(f"echo {kind} {number}{look}", f"{directory}/log"))

        container = stage.container("sh", "-c", "echo program >> /notes/log; sleep 100", edit=edit)
        (container.bundle.rootfs / "notes").mkdir()
        log = notes / "log"
        container.create().ok()
        log.write_text(log.read_text() + "created\n")
        (notes / "pid").write_text(str(container.state()["pid"]))
        container.start().ok()
        _wait_for_lines(log, 12)
        container.kill("KILL").ok()
        container.wait_for("stopped")
        log.write_text(log.read_text() + "stopped\n")
        container.delete().ok()
        lines = log.read_text().splitlines()
        if (
            stage.runtime.name == "ociruntime"
        ):  # the program has been executed when poststart hooks run (R083)
            assert (notes / "seen").read_text().startswith(("sh\0", "sleep\0"))
        # Program and poststart hooks run at the same time.
        return {"order": [line for line in lines if line != "program"], "program": lines.count("program")}

    # With crun, poststart and startContainer hooks run at the same time.
    answers = compare(scenario, ("runc",))
    if _OURS:
        expected = [f"{kind} {number}" for kind in KINDS for number in (1, 2)]
        expected.insert(6, "created")
        expected.insert(11, "stopped")
        assert answers["order"] == expected


def _wait_for_lines(path: Path, count: int) -> None:
    end = time.monotonic() + 10 * PATIENCE
    while len(path.read_text().splitlines()) < count:
        assert time.monotonic() < end, path.read_text()
        time.sleep(0.02)


def test_namespaces(compare: Compare) -> None:
    """Hooks run in the runtime's namespaces, but createContainer and startContainer in the container's (R071 to R076)."""
    names = ("mnt", "pid", "uts", "net", "ipc")
    own = [os.readlink(f"/proc/self/ns/{name}") for name in names]

    def scenario(stage: Stage) -> dict[str, Any]:
        script = "; ".join(f"readlink /proc/self/ns/{name}" for name in names)
        said = {kind: text.split() for kind, text in _said(stage, script).items()}
        assert said["createContainer"] == said["startContainer"]
        assert not set(said["startContainer"]) & set(own)
        return {kind: "runtime" if links == own else "container" for kind, links in said.items()}

    answers = compare(scenario)
    inside = [kind for kind, where in answers.items() if where == "container"]
    assert sorted(inside) == ["createContainer", "startContainer"]


def test_cwd(compare: Compare) -> None:
    """A hook starts in the bundle; createContainer's in the root file system, startContainer's in process.cwd."""

    def scenario(stage: Stage) -> dict[str, Any]:
        return {f"cwd of {kind}": text for kind, text in _said(stage, "pwd -P").items()}

    answers = compare(scenario)
    assert answers["cwd of prestart"] == "STAGE/bundle-1\n"
    assert answers["cwd of startContainer"] == "/\n"


def test_own_environment(compare: Compare) -> None:
    """A hook's env is its environment, and nothing else is in it."""
    env = ["A=1", "B=", "C=x=y"]

    def scenario(stage: Stage) -> dict[str, Any]:
        return dict(_said(stage, "/proc/self/environ", env=env))

    for kind, text in compare(scenario, ("runc",)).items():
        assert text.split("\0")[:-1] == env, kind


@pytest.mark.parametrize("env", [None, []])
def test_environment_without_env(compare: Compare, env: list[str] | None) -> None:
    """Without env a hook gets what runc gives it; an empty env is an empty environment."""

    def scenario(stage: Stage) -> dict[str, Any]:
        said = _said(stage, "/proc/self/environ", **({} if env is None else {"env": env}))
        suffix = "" if env is None else " with an empty env"
        return {
            f"environment of {kind}{suffix}": sorted(one for one in text.split("\0") if one)
            for kind, text in said.items()
        }

    answers = compare(scenario, ("runc",))
    if env == []:
        assert not any(answers.values())
    else:
        inherited = sorted(f"{name}={value}" for name, value in ENVIRONMENT.items())
        for kind in ("prestart", "createRuntime", "poststart", "poststop"):
            assert answers[f"environment of {kind}"] == inherited
        if _OURS:
            assert answers["environment of createContainer"] == inherited
        assert "HOME=/root" in answers["environment of startContainer"]


@pytest.mark.parametrize("kind", KINDS)
def test_state_on_stdin(compare: Compare, kind: str) -> None:
    """The state is on stdin, then its end: status, pid as seen by the hook, bundle, annotations (R078, R203)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = _container_with(stage, "cat")
        container.create().ok()
        init = container.state()["pid"]
        container.finish()
        document = json.loads((stage.directory / "notes" / kind).read_text())
        pid = document.get("pid", 0)
        assert isinstance(document["ociVersion"], str)
        return {
            f"status in {kind}": document["status"],
            f"pid in {kind}": "init" if pid == init else pid,
            f"bundle in {kind}": document["bundle"],
            "id": document["id"],
            "annotations": document["annotations"],
        }

    answers = compare(scenario)
    expected = {"poststart": "running", "poststop": "stopped"}.get(kind, "created")
    inside = kind in ("createContainer", "startContainer")
    if _OURS:
        assert answers[f"status in {kind}"] == expected
        assert answers[f"pid in {kind}"] == (0 if kind == "poststop" else 1 if inside else "init")
        assert answers[f"bundle in {kind}"] == "STAGE/bundle-1"
    assert answers["annotations"] == {"com.example.key": "value"}


@pytest.mark.parametrize("kind", KINDS)
def test_descriptors(compare: Compare, kind: str) -> None:
    """A hook has descriptors 0, 1 and 2, and no other (R240)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = _container_with(stage, "echo $(ls /proc/self/fd)")
        with open("/etc/passwd", "rb") as inherited:
            container.run(pass_fds=(inherited.fileno(),)).ok()
        # ls itself opens the fourth.
        return {f"descriptors of {kind}": (stage.directory / "notes" / kind).read_text().split()}

    answers = compare(scenario)
    if _OURS:
        assert answers[f"descriptors of {kind}"] == ["0", "1", "2", "3"]


def test_signals(compare: Compare) -> None:
    """A hook starts with no signal blocked or ignored, even if the runtime was started so."""

    def scenario(stage: Stage) -> dict[str, Any]:
        # No shell: dash clears its signal mask.
        container = _container_with(stage, "/proc/self/status")
        container.run(ignore_signals=(signal.SIGHUP, signal.SIGINT, signal.SIGPIPE)).ok()
        said = {}
        for kind in KINDS:
            lines = (stage.directory / "notes" / kind).read_text().splitlines()
            said[kind] = [line for line in lines if line.startswith(("SigBlk", "SigIgn"))]
        return said

    # crun 1.8 starts hooks with nearly all signals blocked.
    for kind, lines in compare(scenario, ("runc",)).items():
        assert lines == [f"SigBlk:\t{0:016x}", f"SigIgn:\t{0:016x}"], kind


def test_credentials(compare: Compare) -> None:
    """Hooks of startContainer have the program's user and capabilities, the others the runtime's."""

    def scenario(stage: Stage) -> dict[str, Any]:
        script = "grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs)' /proc/self/status"
        return dict(_said(stage, script))

    answers = compare(scenario)
    assert "CapEff:\t0000000020000420\n" in answers["startContainer"]
    assert "NoNewPrivs:\t1\n" in answers["startContainer"]
    assert answers["prestart"] == answers["poststop"] == answers["createContainer"]


def test_first_argument(compare: Compare) -> None:
    """args[0] is the name that the program sees, path is what is executed; without args it is path."""

    def scenario(stage: Stage) -> dict[str, Any]:
        note, touch = stage.directory / "note", stage.directory / "touch-me"
        touch.write_text(f"#!/bin/sh\necho $# > {note}.plain\ncat > /dev/null\n")
        touch.chmod(0o755)

        def edit(config: Config) -> None:
            add_hook(
                config, "createRuntime", "/bin/sh", "-c", f"cat /proc/$$/cmdline - > {note}", "zero", "one"
            )
            config["hooks"]["createRuntime"][0]["args"][0] = "some name"
            config["hooks"]["createRuntime"].append({"path": str(touch)})

        stage.run("true", edit=edit).ok()
        words = note.read_text().split("\0")
        return {"words": [words[0], words[3:5]], "plain": Path(f"{note}.plain").read_text()}

    assert compare(scenario) == {"words": ["some name", ["zero", "one"]], "plain": "0\n"}


@pytest.mark.parametrize("kind", ["prestart", "createRuntime"])
def test_mounts_are_there(compare: Compare, kind: str) -> None:
    """The hook finds the container's mounts below the rootfs in the pid's mountinfo, before pivot_root."""

    def scenario(stage: Stage) -> dict[str, Any]:
        note = stage.directory / "note"
        pid = "$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')"

        def edit(config: Config) -> None:
            add_hook(config, kind, "/bin/sh", "-c", f"cat /proc/{pid}/mountinfo > {note}")

        container = stage.container("true", edit=edit)
        container.run().ok()
        points = [line.split()[4] for line in note.read_text().splitlines()]
        below = [point for point in points if point.startswith(str(container.bundle.rootfs))]
        wanted = [f"{container.bundle.rootfs}{name}" for name in ("", "/proc", "/dev", "/sys")]
        return {"found": [point in below for point in wanted]}

    assert compare(scenario) == {"found": [True] * 4}


def test_mount_made_by_a_create_container_hook(compare: Compare) -> None:
    """A mount that a createContainer hook makes below the rootfs is in the container and not on the host."""

    def scenario(stage: Stage) -> dict[str, Any]:
        source = stage.directory / "source"
        source.mkdir()
        (source / "file").write_text("from the hook\n")
        container = stage.container("cat", "/mnt/file")
        target = container.bundle.rootfs / "mnt"
        script = f"cat > /dev/null; mount --bind {source} {target}"
        add_hook(container.bundle.config, "createContainer", "/bin/sh", "-c", script)
        container.bundle.write()
        out = container.run().ok().out
        return {"out": out, "on the host": os.listdir(target)}

    assert compare(scenario) == {"out": "from the hook\n", "on the host": []}


def test_hook_that_does_not_read_its_stdin(compare: Compare) -> None:
    """A hook may close its stdin without reading a large state."""

    def edit(config: Config) -> None:
        config["annotations"] = {"com.example.large": "x" * 300000}
        for kind in ("createRuntime", "createContainer", "poststart", "poststop"):
            add_hook(config, kind, "/bin/sh", "-c", "exec <&-; sleep 0.1")

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"code": stage.run("true", edit=edit).code}

    # crun 1.8 loses this race now and then.
    assert compare(scenario, ("runc",)) == {"code": 0}


def test_hook_that_prints_much(compare: Compare) -> None:
    """What a successful hook prints is read and dropped, however much it is."""

    def edit(config: Config) -> None:
        for kind in KINDS:
            add_hook(
                config,
                kind,
                "/bin/sh",
                "-c",
                "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; cat > /dev/null",
            )

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.run("echo", "program", edit=edit)
        return {"code": result.code, "out": result.out, "err": result.err}

    assert compare(scenario) == {"code": 0, "out": "program\n", "err": ""}


def test_a_long_timeout(compare: Compare) -> None:
    """R069: also more seconds than poll(2) takes milliseconds."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def edit(config: Config) -> None:
            add_hook(config, "createRuntime", "/bin/true", timeout=3_000_000)

        return {"code": stage.run("true", edit=edit).code}

    assert compare(scenario) == {"code": 0}
