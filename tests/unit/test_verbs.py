# SPDX-License-Identifier: Apache-2.0
"""The verbs that need no container: kill's signals, spec, features, list, validate, plan."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ociruntime import bundle, container, host, signals
from ociruntime.check import check
from ociruntime.cli import main
from ociruntime.errors import NoSuchContainer, StepFailed, UsageError, Violation
from ociruntime.inspect import features
from ociruntime.linux import hostname
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.operations.config_maker import make_config
from ociruntime.plan import order
from ociruntime.verbs.list import name_owners, table
from ociruntime.verbs.spec import default_config

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9),
        ("0", 0),
        ("64", 64),
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigterm", 15),
        ("Usr1", 10),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("RTMAX", 64),
    ],
)
def test_signals(text: str, number: int) -> None:
    """Numbers, names with and without SIG in any case, and real-time signals."""
    assert signals.parse(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "FROB", "SIG", "65", "99999999999", "-9", "9 ", "_DFL", "SIG_IGN", "_BLOCK", "RTMIN+31", "RTMAX-31", "RTMIN-1",
     "RTMAX+1", "RTMIN+", "RTMIN+x", "TERM+1", "KILL\n", "٩", "SIGSIGKILL"],
)  # fmt: skip
def test_what_is_no_signal(text: str) -> None:
    """Anything else is refused, and named."""
    with pytest.raises(UsageError, match="unknown signal"):
        signals.parse(text)


def test_every_signal_of_the_machine_has_its_name() -> None:
    """Each name that Python's signal module knows gives the same number."""
    for known in signal.Signals:
        assert signals.parse(known.name) == known.value


def test_spec_writes_what_runc_writes_and_never_twice(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A config.json with a newline at its end; an existing one is refused and left as it was."""
    assert main(["spec", "--bundle", str(tmp_path)]) == 0
    written = (tmp_path / "config.json").read_bytes()
    assert written.endswith(b"}\n")
    assert json.loads(written)["process"]["args"] == ["sh"]
    assert main(["spec", "-b", str(tmp_path)]) == 1
    assert "already exists" in capfd.readouterr().err
    assert (tmp_path / "config.json").read_bytes() == written
    assert main(["spec", "-b", str(tmp_path / "nowhere")]) == 1
    assert "ENOENT" in capfd.readouterr().err


def test_spec_is_that_of_runc(tmp_path: Path) -> None:
    """The same but for name and version, and an ambient set that no kernel would grant (R050)."""
    try:
        subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
    except FileNotFoundError:
        pytest.skip("runc is not installed (apt-get install runc)")
    theirs = json.loads((tmp_path / "config.json").read_text())
    ours = default_config(cgroup_namespace={"type": "cgroup"} in theirs["linux"]["namespaces"])
    assert theirs.pop("ociVersion").startswith(str(ours.pop("ociVersion")))
    assert theirs.pop("hostname") != ours.pop("hostname")
    theirs["process"]["capabilities"].pop("ambient", None)
    assert ours == theirs


@pytest.mark.parametrize("preset", ["untrusted", "trusted"])
def test_spec_writes_the_library_s_presets(preset: str, tmp_path: Path) -> None:
    """The same config as make_config's, so that both faces promise the same."""
    assert main(["spec", "--preset", preset, "-b", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "config.json").read_text())
    assert written.pop("root") == {"path": "rootfs", "readonly": preset == "untrusted"}
    config = make_config(["sh"], "rootfs", preset=preset)
    del config["root"]
    assert written == json.loads(json.dumps(config))
    assert written != json.loads(json.dumps(default_config(False)))


def test_spec_refuses_a_preset_that_it_can_not_write(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An unknown one, and one together with --rootless, which is a config of its own; no file is written."""
    assert main(["spec", "--preset", "frob", "-b", str(tmp_path)]) == 1
    assert "flag --preset must be one of untrusted, trusted, not 'frob'" in capfd.readouterr().err
    assert main(["spec", "--preset", "trusted", "--rootless", "-b", str(tmp_path)]) == 1
    assert "flags --preset and --rootless: only one of them is possible" in capfd.readouterr().err
    assert not (tmp_path / "config.json").exists()


def test_plan_where_no_cgroup_is_mounted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is that of --cgroup-manager disabled, and says so; create refuses the config, and names that flag."""
    from ociruntime.verbs import plan

    def probe(*given: Any) -> Any:
        machine = probe_for(*given)
        machine.cgroups = machine.groups = Layout("none")
        return machine

    probe_for = host.probe_for
    monkeypatch.setattr(plan, "probe_for", probe)
    assert main(["spec", "-b", str(tmp_path)]) == 0
    assert main(["plan", str(tmp_path)]) == 0
    shown = capfd.readouterr()
    assert "this is the plan of --cgroup-manager disabled" in shown.err
    assert " exec sh " in shown.out
    assert "cgroup " not in shown.out.replace("/sys/fs/cgroup", "")
    assert main(["--cgroup-manager", "disabled", "plan", str(tmp_path)]) == 0
    assert capfd.readouterr() == (shown.out, "")
    path = tmp_path / "config.json"
    loaded = bundle.load(str(tmp_path), str(path))
    machine = probe(loaded.config, order.Options())
    with pytest.raises(StepFailed, match=re.escape("or without limits --cgroup-manager disabled)")):
        order.make(loaded, machine, order.Options("x"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "nothing: no such directory (--bundle names the directory with config.json; `ociruntime spec` writes one)"),
        ("empty", "empty/config.json: no such file or directory (--bundle names the directory with config.json;"),
        ("image", "image/config.json: no such file or directory (it is an image layout: `umoci unpack --image "),
        ("image.tar", "image.tar: not a directory (it is an archive: of an image, `skopeo copy docker-archive:"),
        ("file", "file: not a directory (--bundle names the directory"),
    ],
)  # fmt: skip
def test_a_bundle_that_is_none(
    name: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The hint says what was probably meant."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "image").mkdir()
    for file in ("image/oci-layout", "image.tar", "file"):
        (tmp_path / file).touch()
    assert main(["--root", str(tmp_path / "state"), "run", "-b", str(tmp_path / name), "x"]) == 1
    assert capfd.readouterr().err.startswith(f"ociruntime: run: {tmp_path}/{said}")


def schema(name: str) -> dict[str, object]:
    """One of our schemas."""
    with open(os.path.join(REPOSITORY, "specs", name), encoding="utf-8") as file:
        return dict(json.load(file))


def test_features_is_a_features_document(capfd: pytest.CaptureFixture[str]) -> None:
    """It fits the schema, and names only what the tables of the subjects have."""
    assert main(["features"]) == 0
    document = json.loads(capfd.readouterr().out)
    jsonschema.Draft202012Validator(schema("features.schema.json")).validate(document)
    assert document["ociVersionMin"] == "1.0.0"
    assert document["ociVersionMax"] == "1.3.0"
    assert len(document["linux"]["capabilities"]) >= 41
    assert {"bind", "ro", "rro", "tmpcopyup", "idmap", "ridmap"} <= set(document["mountOptions"])
    assert document["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    assert document["linux"]["namespaces"] == [
        "cgroup",
        "ipc",
        "mount",
        "network",
        "pid",
        "time",
        "user",
        "uts",
    ]


def test_features_covers_runc(capfd: pytest.CaptureFixture[str]) -> None:
    """Hooks, mount options and capabilities that Debian's runc lists are listed here too.

    acl and noacl are no options of the specification's table: they are passed to the file system (R034).
    """
    try:
        text = subprocess.run(["runc", "features"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("runc is not installed (apt-get install runc)")
    theirs = json.loads(text)
    assert main(["features"]) == 0
    ours = json.loads(capfd.readouterr().out)
    assert set(theirs["hooks"]) == set(ours["hooks"])
    assert set(theirs["mountOptions"]) - {"acl", "noacl"} <= set(ours["mountOptions"])
    assert set(theirs["linux"]["capabilities"]) <= set(ours["linux"]["capabilities"])


def test_there_is_one_newest_version_of_the_specification() -> None:
    """`features`, `--version`, the check of ociVersion and the state agree."""
    assert (features.OCI_VERSION_MIN, features.OCI_VERSION_MAX) == (
        check.OCI_VERSION_MIN,
        check.OCI_VERSION_MAX,
    )
    assert container.SPEC_VERSION == features.OCI_VERSION_MAX


def test_list_prints_runcs_table() -> None:
    """Columns at least 12 wide, three spaces after the longest cell."""
    rows: list[dict[str, object]] = [
        {
            "id": "a",
            "pid": 12,
            "status": "running",
            "bundle": "/a/very/long/bundle",
            "created": "now",
            "owner": "root",
        }
    ]
    assert table(rows).splitlines() == [
        "ID          PID         STATUS      BUNDLE                CREATED     OWNER",
        "a           12          running     /a/very/long/bundle   now         root",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], None), (["-q"], ""), (["--format", "json"], "null\n"), (["-f", "table"], None)],
)
def test_list_of_an_empty_or_missing_root(
    words: list[str],
    expected: str | None,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No containers is not an error, and the forms are runc's; a --root that does not exist is one (runc 1.2)."""
    heading = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    missing = tmp_path / "missing"
    monkeypatch.setattr("ociruntime.stateroot.default_root", lambda: str(missing))
    for flags in (["--root", str(tmp_path)], []):
        assert main([*flags, "list", *words]) == 0
        assert capfd.readouterr().out == (heading if expected is None else expected)
    assert main(["--root", str(missing), "list", *words]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"ociruntime: list: read state directory: {missing}: ENOENT (no such file or directory)\n"
    assert not missing.exists()


def test_list_shows_no_control_character() -> None:
    """A bundle's path is in its cell and on its line, whatever is in it: a terminal obeys nothing of it."""
    row = {"id": "a", "pid": 1, "status": "running", "bundle": "/b\x1b[31m\n/c\td\udcff\u202e", "created": ""}
    lines = table([{**row, "owner": "ro\not"}]).splitlines()
    assert len(lines) == 2
    assert r"/b\x1b[31m\n/c\td\udcff\u202e" in lines[1]
    assert r"ro\not" in lines[1]
    assert lines[1].isprintable()


@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete"])
def test_an_unknown_container_is_named_as_engines_expect(
    verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 and the words "does not exist"; only `delete --force` takes it for done."""
    assert main(["--root", str(tmp_path), verb, "nobody"]) == 1
    assert "container does not exist" in capfd.readouterr().err
    if verb == "delete":
        assert main(["--root", str(tmp_path), verb, "nobody", "--force"]) == 0
        assert capfd.readouterr() == ("", "")
    assert "does not exist" in str(NoSuchContainer("x"))


def test_validate_prints_every_violation(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Two mistakes are two lines with their pointers, and exit 1; JSON has the same as objects."""
    assert main(["spec", "-b", str(tmp_path)]) == 0
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["process"]["terminal"] = False
    config["linux"]["namespaces"].append({"type": "pid"})
    config["root"]["path"] = 5
    path.write_text(json.dumps(config))
    assert main(["validate", str(tmp_path)]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(": ")[:2] for line in lines[:-1] if line.startswith("error")] == [
        ["error", "/linux/namespaces/5"],
        ["error", "/root/path"],
    ]
    assert lines[-1] == f"{path}: not valid (2 errors)"
    assert main(["validate", "--format=json", str(path)]) == 1
    document = json.loads(capfd.readouterr().out)
    assert document["valid"] is False
    assert {violation["pointer"] for violation in document["violations"]} == {
        "/linux/namespaces/5",
        "/root/path",
    }


def test_validate_accepts_and_says_what_is_not_supported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A valid config that this version can't run is valid (exit 0), with a line that says what is missing."""
    missing = Violation("/hostname", "a name is not supported yet", "R018", "unsupported")
    monkeypatch.setattr(hostname, "check", lambda _config: [missing])
    assert main(["spec", "-b", str(tmp_path)]) == 0
    assert main(["validate", str(tmp_path)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("not supported yet: /hostname: ")
    assert lines[-1] == f"{tmp_path}/config.json: valid (1 not supported yet)"


def test_validate_warns_about_a_name_that_comes_twice(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """R003: a duplicate name at any depth is a warning with its pointer; the exit code stays 0."""
    assert main(["spec", "-b", str(tmp_path)]) == 0
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"cwd": "/"', '"cwd": "/a", "cwd": "/", "cwd": "/"'))
    assert main(["validate", "--format", "json", str(path)]) == 0
    found = json.loads(capfd.readouterr().out)["violations"]
    assert [(v["pointer"], v["rule"]) for v in found if v["severity"] == "warning"] == [
        ("/process/cwd", "R003")
    ]


@pytest.mark.parametrize("verb", ["validate", "plan"])
@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "not json"), ("[]", "/"), ('"x"', "/"), ("", "value is missing"), ("\xff", "utf-8")],
)
def test_what_is_no_config_is_no_traceback(
    verb: str, content: str, told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Broken JSON and documents that are not an object are reported in one line, exit 1."""
    path = tmp_path / "config.json"
    path.write_bytes(content.encode("latin-1"))
    assert main([verb, str(path)]) == 1
    out, err = capfd.readouterr()
    assert told in (out + err).lower()
    assert "internal error" not in err


@pytest.mark.parametrize("verb", ["validate", "plan"])
def test_a_missing_config_is_named(verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A bundle without config.json, and a path that is nothing, are errors with the path in it."""
    for target in (tmp_path, tmp_path / "nothing"):
        assert main([verb, str(target)]) == 1
        assert str(target) in capfd.readouterr().err


def runnable_config(directory: Path) -> Path:
    """The default config without a terminal."""
    assert main(["spec", "-b", str(directory)]) == 0
    path = directory / "config.json"
    path.write_text(path.read_text().replace('"terminal": true', '"terminal": false'))
    return path


def test_plan_prints_numbered_steps_with_their_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Text and JSON show the same steps in the same order; no root filesystem is needed."""
    path = runnable_config(tmp_path)
    assert main(["plan", str(tmp_path)]) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if not line.startswith("#")]
    assert main(["plan", "--format", "json", str(path)]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["planVersion"] == 1
    assert len(lines) == len(document["steps"]) > 30
    for index, (line, step) in enumerate(zip(lines, document["steps"], strict=True), 1):
        assert step["index"] == index
        assert line.split()[:2] == [str(index), step["where"]]
        assert step["name"] in line
        assert line.endswith(f"  <- {step['pointer']}") == bool(step["pointer"])
    assert any(step["pointer"] == "/mounts/1" and step["where"] == "init" for step in document["steps"])


def test_plan_as_json_has_the_documented_properties(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """docs/internals/plan.md names every property of the plan and of its steps, and no others."""
    assert main(["plan", "--format", "json", str(runnable_config(tmp_path))]) == 0
    document = json.loads(capfd.readouterr().out)
    with open(os.path.join(REPOSITORY, "docs/internals/plan.md"), encoding="utf-8") as file:
        rows = re.findall(r"^\| `(\w+)` \| \w+ \|(?: (all|host|init|sync) \|)?", file.read(), re.MULTILINE)
    assert set(document) == {name for name, where in rows if not where}
    for step in document["steps"]:
        assert set(step) == {name for name, where in rows if where in {"all", step["where"]}}
    assert {step["where"] for step in document["steps"]} == {"host", "init", "sync"}


def test_plan_needs_no_root() -> None:
    """An ordinary user gets the plan too."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; run the tests as root")
    program = (
        "import os, sys; from ociruntime.cli import main; out = os.dup(1); os.dup2(os.open(os.devnull, 1), 1);"
        # once as root, for the modules: the working tree may be closed to others
        "main(['plan', sys.argv[1]]); os.dup2(out, 1);"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(main(['plan', sys.argv[1]]))"
    )
    with tempfile.TemporaryDirectory() as directory:  # pytest's own directories are closed to others
        os.chmod(directory, 0o755)
        path = runnable_config(Path(directory))
        argv = [sys.executable, "-B", "-c", program, str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "pivot" in done.stdout


def test_plan_refuses_what_create_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An invalid config has no plan, and one that is not supported yet neither."""
    path = runnable_config(tmp_path)
    path.write_text(path.read_text().replace('"pid"', '"mount"'))
    assert main(["plan", str(path)]) == 1
    assert capfd.readouterr().err.startswith("ociruntime: plan: /linux/namespaces/")


def test_plan_into_head_is_no_traceback(tmp_path: Path) -> None:
    """`ociruntime plan | head -1` prints one line and nothing on stderr."""
    path = runnable_config(tmp_path)
    script = f"{sys.executable} -m ociruntime plan {path} | head -1"
    done = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.mark.parametrize("pattern", ["(", "*", "a{99999999999}"])
@pytest.mark.parametrize("verb", ["delete", "kill"])
def test_a_pattern_that_is_none(
    verb: str, pattern: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Refused with the pattern, before any container is looked at."""
    assert main(["--root", str(tmp_path), verb, "--regex", pattern]) == 1
    assert capfd.readouterr().err.startswith(
        f"ociruntime: {verb}: flag --regex: invalid pattern '{pattern}': "
    )


def test_list_names_owners(tmp_path: Path) -> None:
    """By /etc/passwd; by number without a name; not at all if the container has gone. One lookup for each user."""
    for name, uid in (("a", 0), ("b", 0), ("c", 54321)):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, uid, -1)
    found: list[Any] = [{"id": name} for name in "abcd"]
    name_owners(str(tmp_path), found)
    assert [state["owner"] for state in found] == ["root", "root", "#54321", ""]


def test_list_begins_anew_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A static program leaves a user whom /etc/passwd doesn't know to the launcher, and only that."""

    class BegunAnewError(Exception):
        pass

    def go_over() -> None:
        raise BegunAnewError

    monkeypatch.setattr("ociruntime.native.full_python.form", "snapshot")
    monkeypatch.setattr("ociruntime.native.full_python.go_over", go_over)
    (tmp_path / "a").mkdir()
    only: list[Any] = [{"id": "a"}]
    name_owners(str(tmp_path), only)
    os.chown(tmp_path / "a", 54321, -1)
    with pytest.raises(BegunAnewError):
        name_owners(str(tmp_path), only)
