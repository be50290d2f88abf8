# SPDX-License-Identifier: Apache-2.0
"""Does exec --process run what its document says, and refuse anything else?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

_ours = pytest.mark.skipif(runtime_under_test() in PEERS, reason="run with RUNTIME=ociruntime")
_FIELDS = ("Uid", "Gid", "Groups", "Umask", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")

for _peer in PEERS:
    departure("oomScoreAdj in the document", _peer, "R054", "what it says is set; the peers ignore it")
departure("environment of a document", "crun", "R042", "it is whole; crun adds the container's")


def _own_user(config: Config) -> None:
    config["process"]["user"] = {"uid": 0, "gid": 3, "additionalGids": [9, 40]}
    config["process"]["oomScoreAdj"] = 7


def test_an_empty_name_is_none(compare: Compare) -> None:
    """`exec --process ''`, as a script with an unset variable calls it, runs the words."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running()
        result = container.exec("echo", "words", flags=("--process", ""))
        container.delete("--force").ok()
        return {"answer": [result.code, result.out]}

    assert compare(scenario, ("runc",)) == {"answer": [0, "words\n"]}


def test_process_document(compare: Compare) -> None:
    """--process FILE: the document says everything, but capabilities that it does not name are the container's."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running(_own_user)
        status = ["/bin/cat", "/proc/self/status"]

        def run(**members: Any) -> dict[str, str]:
            flags = ("--process", stage.process_file(**members))
            out = container.exec(flags=flags).ok().out
            lines = dict(line.split(":", 1) for line in out.splitlines())
            return {field: " ".join(lines[field].split()) for field in _FIELDS}

        plain = run(args=status)
        other = run(
            args=status,
            user={"uid": 7, "gid": 8, "additionalGids": [1]},
            capabilities={name: ["CAP_CHOWN"] for name in ("bounding", "permitted", "effective")},
            noNewPrivileges=True,
        )
        script = ["/bin/sh", "-c", "echo $A; pwd; ulimit -c"]
        # Not RLIMIT_NOFILE, of which Go's start-up raises the soft limit in runc's exec, now and then.
        limits = [{"type": "RLIMIT_CORE", "soft": 100 * 512, "hard": 200 * 512}]
        flags = ("-p", stage.process_file(args=script, cwd="/usr", env=["A=b"], rlimits=limits))
        answers = {
            "plain": [plain[field] for field in ("Uid", "Gid", "Groups", "NoNewPrivs", "CapEff", "CapBnd")],
            "other": [other[field] for field in ("Uid", "Gid", "Groups", "NoNewPrivs", "CapBnd", "CapEff")],
            "rest": container.exec(flags=flags).ok().out.splitlines(),
        }
        container.delete("--force").ok()
        return answers

    answers = compare(scenario)
    assert answers["plain"] == ["0 0 0 0", "0 0 0 0", "", "0", "0000000020000420", "0000000020000420"]
    assert answers["rest"] == ["b", "/usr", "100"]
    assert answers["other"][0] == "7 7 7 7"
    assert answers["other"][4] == "0000000000000001"


def test_what_a_document_takes_from_the_container(compare: Compare) -> None:
    """Its environment is its own; what it says about oomScoreAdj holds."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running(_own_user)
        lines = [
            container.exec(flags=("-p", stage.process_file(args=args, oomScoreAdj=100, env=[]))).out.split()
            for args in (["/bin/cat", "/proc/self/oom_score_adj"], ["/bin/env"])
        ]
        container.delete("--force").ok()
        return {"oomScoreAdj in the document": lines[0], "environment of a document": lines[1]}

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        assert answers == {
            "oomScoreAdj in the document": ["100"],
            "environment of a document": ["HOME=/root"],
        }


@_ours
def test_document_and_flags_together(stage: Stage) -> None:
    """What a document says can't be said beside it, so that no flag is silently without effect."""
    container = stage.running()
    path = stage.process_file(args=["true"])
    for flags in (
        ("-u", "5"),
        ("-e", "A=b"),
        ("--cwd", "/"),
        ("-c", "CAP_KILL"),
        ("-g", "1"),
        ("--no-new-privs",),
    ):
        result = container.exec(flags=("-p", path, *flags))
        assert result.code == 255
        result.refused("exec: ", "can't be given together with a process document")
    container.exec("true", flags=("-p", path)).refused(
        "the program can't be given together with a process document"
    )
    container.delete("--force").ok()


_HALF_A_USER: list[tuple[dict[str, Any], str]] = [
    ({"uid": 5}, "5 0"),
    ({"gid": 6}, "0 6"),
    ({"uid": None, "gid": 6, "additionalGids": None}, "0 6"),
    ({}, "0 0"),
]


@pytest.mark.parametrize(("user", "shown"), _HALF_A_USER, ids=str)
def test_half_a_user(compare: Compare, user: dict[str, Any], shown: str) -> None:
    """A document whose user lacks uid or gid has 0 there, as Go reads it, whatever the container's is; with a warning."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running(lambda config: config["process"].update(user={"uid": 8, "gid": 9}))
        path = stage.process_file(args=["sh", "-c", "echo $(id -u) $(id -g)"], user=user)
        ended = container.exec(flags=("-p", path)).ok()
        if stage.runtime.name not in PEERS:
            missing = [name for name in ("uid", "gid") if user.get(name) is None]
            told = [name for name in ("uid", "gid") if f"exec: /user/{name}: is required" in ended.err]
            assert told == missing
        container.delete("--force").ok()
        return {"ids": ended.out.strip()}

    assert compare(scenario) == {"ids": shown}


_BAD_DOCUMENTS = {
    "no args": ({"args": None}, "/args"),
    "empty args": ({"args": []}, "/args"),
    "relative cwd": ({"args": ["true"], "cwd": "x"}, "/cwd: expected an absolute path"),
    "uid too large": ({"args": ["true"], "user": {"uid": 4294967295, "gid": 0}}, "/user/uid"),
    "uid is text": ({"args": ["true"], "user": {"uid": "0", "gid": 0}}, "/user/uid: expected an integer"),
    "entry without =": ({"args": ["true"], "env": ["A"]}, "/env/0"),
    "unknown limit": (
        {"args": ["true"], "rlimits": [{"type": "RLIMIT_X", "soft": 0, "hard": 0}]},
        "/rlimits/0/type",
    ),
    "terminal": (
        {"args": ["true"], "terminal": True},
        "/terminal: open /dev/tty",
    ),
    "two at once": (
        {"args": ["true"], "cwd": "x", "noNewPrivileges": 1},
        "; /noNewPrivileges: expected true or false",
    ),
}


@_ours
@pytest.mark.parametrize("name", _BAD_DOCUMENTS)
def test_a_document_is_checked(stage: Stage, name: str) -> None:
    """Every mistake is named, with a pointer into the document itself; nothing is run."""
    members, told = _BAD_DOCUMENTS[name]
    container = stage.in_state("created")
    result = container.exec(flags=("-p", stage.process_file(**members)))
    assert result.code == 255
    result.refused("ociruntime: exec: /", told)
    assert "/process" not in result.err
    container.delete("--force").ok()


@_ours
def test_a_document_that_is_none(stage: Stage) -> None:
    """No file, no JSON, no object: one line, exit code 255."""
    container = stage.in_state("created")
    for text in (None, "{", "[]", ""):
        path = stage.directory / "bad.json"
        if text is not None:
            path.write_text(text)
        result = container.exec(flags=("-p", str(path)))
        assert result.code == 255
        result.refused("ociruntime: exec: ", "bad.json: ")
        assert len(result.err.splitlines()) == 1
    container.delete("--force").ok()
