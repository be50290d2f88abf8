# SPDX-License-Identifier: Apache-2.0
"""Does the container's program get exactly what config.json's process says, as under runc and crun?"""

from __future__ import annotations

import os
import resource
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import PATH, Config, set_capabilities, writable_root
from tests.harness.driver import ENVIRONMENT, runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

for _peer in PEERS:
    departure("umask not given", _peer, "R063", "the caller's umask stays; the peers set 0022")
    departure("duplicate rlimit", _peer, "R047", "two entries of one type are an error")
    departure(
        "ungrantable capability",
        _peer,
        "R050",
        "a capability that can't be granted must not fail the container",
    )
departure(
    "permissions of the keyring", "crun", "R225", "as runc: processes that come later find it by its name"
)
departure("entry without =", "crun", "R042", "crun drops what is no NAME=value; runc refuses it")
departure("relative cwd", "crun", "R041", "cwd must be absolute")
departure("empty HOME", "crun", "R042", "runc sets an empty HOME as it sets a missing one")
departure("lower-case capability", "crun", "R049", "names are CAP_ and capitals; crun ignores the case")
departure("HOME of 4242", "crun", "R042", "runc gives a user without a line in passwd the HOME /; crun none")


def _status(stage: Stage, *fields: str, edit: Any = None, **how: Any) -> dict[str, str]:
    """The fields of /proc/self/status of the container's program itself (no shell between)."""
    result = stage.container("cat", "/proc/self/status", edit=edit).run(**how).ok()
    lines = dict(line.split(":", 1) for line in result.out.splitlines())
    return {field: " ".join(lines[field].split()) for field in fields}


def _user(uid: int, gid: int, **more: Any) -> Any:
    def edit(config: Config) -> None:
        config["process"]["user"] = {"uid": uid, "gid": gid, **more}

    return edit


@pytest.mark.parametrize(
    ("user", "groups"),
    [
        ({"uid": 0, "gid": 0}, ""),
        ({"uid": 1000, "gid": 1000}, ""),
        ({"uid": 1000, "gid": 2000, "additionalGids": [2000, 5, 400000]}, "5 2000 400000"),
        ({"uid": 12345, "gid": 54321, "additionalGids": []}, ""),
    ],
)
def test_user_and_groups(compare: Compare, user: dict[str, Any], groups: str) -> None:
    """All ids are process.user's, and no group of the runtime's is kept (R062, R064)."""

    def edit(config: Config) -> None:
        config["process"]["user"] = user

    def scenario(stage: Stage) -> dict[str, Any]:
        return dict(_status(stage, "Uid", "Gid", "Groups", edit=edit))

    answers = compare(scenario)
    assert answers["Uid"] == " ".join([str(user["uid"])] * 4)
    assert answers["Gid"] == " ".join([str(user["gid"])] * 4)
    assert answers["Groups"] == groups


@pytest.mark.parametrize("umask", [0o077, 0o027, 0])
def test_umask(compare: Compare, umask: int) -> None:
    """The umask is process.user's."""

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"umask": _status(stage, "Umask", edit=_user(0, 0, umask=umask))["Umask"]}

    assert compare(scenario)["umask"] == f"{umask:04o}"


def test_umask_that_is_not_given(compare: Compare) -> None:
    """Without one in the config, the umask is the caller's (R063)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        before = os.umask(0o007)  # after the stage's directories were made, which it would open to a group
        try:
            return {"umask not given": _status(stage, "Umask")["Umask"]}
        finally:
            os.umask(before)

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        assert answers["umask not given"] == "0007"


_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_CHOWN, _KILL = 1 << 0, 1 << 5


def _mask(*values: int) -> list[str]:
    return [f"{value:016x}" for value in values]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("all five", _mask(*[_CHOWN | _KILL] * 5)),
        ("all five, not root", _mask(*[_CHOWN | _KILL] * 5)),
        ("no ambient, not root", _mask(_CHOWN | _KILL, 0, 0, _CHOWN | _KILL, 0)),
        ("ambient not inheritable", _mask(0, _CHOWN, _CHOWN, _CHOWN, 0)),
        ("none", _mask(0, 0, 0, 0, 0)),
        ("bounding only", _mask(0, 0, 0, _KILL, 0)),
        ("unknown name", _mask(*[_CHOWN] * 5)),
    ],
)
def test_capabilities(compare: Compare, case: str, expected: list[str]) -> None:
    """The five sets are those of the config (R051); what the kernel can't hold together is left out."""

    def edit(config: Config) -> None:
        process = config["process"]
        if case.startswith("all five"):
            set_capabilities(config, "CAP_CHOWN", "CAP_KILL")
        elif case == "no ambient, not root":
            set_capabilities(config, "CAP_CHOWN", "CAP_KILL")
            del process["capabilities"]["ambient"]
        elif case == "ambient not inheritable":
            set_capabilities(config, "CAP_CHOWN")
            process["capabilities"]["inheritable"] = []
        elif case == "none":
            del process["capabilities"]
        elif case == "bounding only":
            process["capabilities"] = {"bounding": ["CAP_KILL"]}
        else:
            set_capabilities(config, "CAP_CHOWN", "CAP_NOT_INVENTED")
        if "not root" in case:
            process["user"] = {"uid": 1000, "gid": 1000}

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"sets": list(_status(stage, *_SETS, edit=edit).values())}

    assert compare(scenario)["sets"] == expected


def test_unknown_capability_is_a_warning(compare: Compare) -> None:
    """An unknown capability is named in a warning and does not fail the container (R049)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        log = stage.directory / "log"
        container = stage.container("true", edit=lambda config: set_capabilities(config, "CAP_NOT_INVENTED"))
        container.run(options=["--log", str(log)]).ok()
        return {"warned": "CAP_NOT_INVENTED" in log.read_text()}

    # crun says nothing.
    assert compare(scenario, ("runc",)) == {"warned": True}


def test_ungrantable_capability_is_a_warning(compare: Compare) -> None:
    """A capability that the runtime itself lacks is left out with a warning (R049, R050)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        log = stage.directory / "log"

        def edit(config: Config) -> None:
            set_capabilities(config, "CAP_CHOWN", "CAP_SYS_ADMIN")

        # setpriv takes it from the runtime's bounding set, so that this is so on every host.
        container = stage.container("grep", "^CapBnd", "/proc/self/status", edit=edit)
        stage.runtime.prepare(container.bundle)
        runtime = stage.runtime.argv(
            "run", "--bundle", str(container.bundle.directory), container.id, options=["--log", str(log)]
        )
        ended = subprocess.run(
            ["setpriv", "--bounding-set=-chown", "--inh-caps=-chown", *runtime],
            env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return {"ungrantable capability": [ended.returncode, ended.stdout, "CAP_CHOWN" in log.read_text()]}

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        shown = f"CapBnd:\t{1 << 21:016x}\n"
        assert answers["ungrantable capability"] == [0, shown, True]


def test_lower_case_capability(compare: Compare) -> None:
    """Names are CAP_ and capitals: anything else is unknown."""

    def scenario(stage: Stage) -> dict[str, Any]:
        sets = _status(stage, *_SETS, edit=lambda config: set_capabilities(config, "cap_chown"))
        return {"lower-case capability": list(sets.values())}

    compare(scenario)


def test_rlimits(compare: Compare) -> None:
    """Soft and hard limits are those of the config (R045, R046); the others are inherited."""
    _, hard_files = resource.getrlimit(resource.RLIMIT_NOFILE)

    def edit(config: Config) -> None:
        config["process"]["rlimits"] = [
            {"type": "RLIMIT_CORE", "soft": 4096, "hard": 8192},
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": hard_files},
            {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": (1 << 64) - 1},
            {"type": "RLIMIT_CPU", "soft": 1000, "hard": 2000},
        ]

    def scenario(stage: Stage) -> dict[str, Any]:
        lines = stage.run("cat", "/proc/self/limits", edit=edit).ok().out.splitlines()[1:]
        return {"limits": {line[:26].strip(): line[26:].split()[:2] for line in lines}}

    limits = compare(scenario)["limits"]
    assert limits["Max core file size"] == ["4096", "8192"]
    assert limits["Max open files"] == ["100", str(hard_files)]
    assert limits["Max stack size"] == ["1048576", "unlimited"]
    assert limits["Max cpu time"] == ["1000", "2000"]


@pytest.mark.parametrize(
    ("answer", "limits"),
    [
        ("unknown rlimit", [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]),
        ("soft above hard", [{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 10}]),
        ("duplicate rlimit", [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 512}] * 2),
    ],
)
def test_rlimits_that_are_refused(compare: Compare, answer: str, limits: list[dict[str, Any]]) -> None:
    """An unknown type (R044), a duplicate (R047) and soft above hard fail create."""

    def edit(config: Config) -> None:
        config["process"]["rlimits"] = limits

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("true", edit=edit)
        code = container.create().code
        if code == 0:
            container.delete("--force").ok()
        return {answer: code, "left": stage.runtime.ids()}

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        assert answers[answer] == 1


@pytest.mark.parametrize("asked", [True, False, None])
def test_no_new_privileges(compare: Compare, asked: bool | None) -> None:
    """The noNewPrivileges bit is as asked; without a word it is off (R052)."""

    def edit(config: Config) -> None:
        del config["process"]["noNewPrivileges"]
        if asked is not None:
            config["process"]["noNewPrivileges"] = asked

    def scenario(stage: Stage) -> dict[str, Any]:
        return dict(_status(stage, "NoNewPrivs", edit=edit))

    assert compare(scenario)["NoNewPrivs"] == str(int(bool(asked)))


departure("score of 0 below the caller's", "crun", "R053", "crun takes 0 for no score")


@pytest.mark.parametrize("own", [0, 300])
@pytest.mark.parametrize("score", [None, 0, 500, 1000])
def test_oom_score_adj(compare: Compare, score: int | None, own: int) -> None:
    """The value of oomScoreAdj is written, a lower one too (R053); without it the runtime's own value stays (R054)."""

    def edit(config: Config) -> None:
        if score is not None:
            config["process"]["oomScoreAdj"] = score

    script = f'echo {own} > /proc/self/oom_score_adj; exec "$@"'

    def scenario(stage: Stage) -> dict[str, Any]:
        stage.runtime.command = ["/bin/sh", "-c", script, "sh", *stage.runtime.command]
        return {answer: stage.run("cat", "/proc/self/oom_score_adj", edit=edit).ok().out.strip()}

    answer = "score of 0 below the caller's" if score == 0 < own else "score"
    not_given = score is None or (score == 0 and runtime_under_test() == "crun")
    assert compare(scenario) == {answer: str(own if not_given else score)}


@pytest.mark.parametrize("score", [1001, -1001])
def test_oom_score_adj_out_of_range(compare: Compare, score: int) -> None:
    """A value that the kernel does not take is an error, and nothing is left."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("true", edit=lambda config: config["process"].update(oomScoreAdj=score))
        container.run().refused("/process/oomScoreAdj")
        return {"left": stage.runtime.ids()}

    assert compare(scenario) == {"left": []}


def test_cwd(compare: Compare) -> None:
    """The program starts in process.cwd."""

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"cwd": stage.run("pwd", edit=lambda config: config["process"].update(cwd="/usr/bin")).out}

    assert compare(scenario) == {"cwd": "/usr/bin\n"}


@pytest.mark.parametrize("readonly", [False, True])
def test_missing_cwd_is_made(compare: Compare, readonly: bool) -> None:
    """A missing cwd is made, root's and 0755, even in a read-only root and for another user."""

    def edit(config: Config) -> None:
        config["process"].update(cwd="/new/directory", user={"uid": 1000, "gid": 1000})
        config["root"]["readonly"] = readonly

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"shown": stage.show("pwd; stat -c '%u:%g %a' . ..", edit=edit)}

    assert compare(scenario)["shown"] == "/new/directory\n0:0 755\n0:0 755\n"


def test_cwd_of_root_is_entered_before_the_change_of_user(compare: Compare) -> None:
    """A cwd that process.user may not search works, as with the peers."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("pwd", edit=_user(1000, 1000))
        (container.bundle.rootfs / "secret").mkdir(mode=0o700)
        container.bundle.config["process"]["cwd"] = "/secret"
        container.bundle.write()
        return {"cwd": container.run().ok().out}

    assert compare(scenario) == {"cwd": "/secret\n"}


@pytest.mark.parametrize(
    ("answer", "cwd"),
    [("relative cwd", "usr"), ("file as cwd", "/etc/passwd"), ("link out", "/proc/self/fd/7")],
)
def test_cwd_that_is_refused(compare: Compare, answer: str, cwd: str) -> None:
    """A relative path, a file, and a descriptor of the runtime can't be cwd; nothing is left."""

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.run("pwd", edit=lambda config: config["process"].update(cwd=cwd))
        return {answer: min(result.code, 1), "left": stage.runtime.ids()}

    answers = compare(scenario)
    if runtime_under_test() != "crun":
        assert answers == {answer: 1, "left": []}


@pytest.mark.parametrize(
    ("case", "env", "expected"),
    [
        ("plain", [PATH, "TERM=xterm", "HOME=/x"], [PATH, "TERM=xterm", "HOME=/x"]),
        ("no HOME", [PATH], [PATH, "HOME=/root"]),
        (
            "odd",
            ["HOME=/x", "A=", "B=a=b", "C= blank  ", "D=\u00e9"],
            ["HOME=/x", "A=", "B=a=b", "C= blank  ", "D=\u00e9"],
        ),
        ("empty", [], ["HOME=/root"]),
        ("absent", None, ["HOME=/root"]),
    ],
)
def test_environment(compare: Compare, case: str, env: list[str] | None, expected: list[str]) -> None:
    """The environment is process.env, in order, with HOME added; nothing of the runtime's is in it."""

    def edit(config: Config) -> None:
        config["process"]["args"] = ["/bin/cat", "/proc/self/environ"]
        config["process"]["env"] = env
        if env is None:
            del config["process"]["env"]

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"env": [line for line in stage.run(edit=edit).ok().out.split("\0") if line]}

    assert compare(scenario)["env"] == expected


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home/user"), (4242, "/")])
def test_home_is_that_of_the_containers_passwd(compare: Compare, uid: int, home: str) -> None:
    """HOME, when the config has none, is looked up in the container's /etc/passwd; else it is `/`."""

    def scenario(stage: Stage) -> dict[str, Any]:
        answer = f"HOME of {uid}"
        return {answer: stage.show("echo $HOME", edit=_user(uid, 0))}

    answers = compare(scenario)
    if runtime_under_test() != "crun":
        assert answers == {f"HOME of {uid}": f"{home}\n"}


def test_empty_home(compare: Compare) -> None:
    """An empty HOME is set like a missing one."""

    def edit(config: Config) -> None:
        config["process"]["env"] = [PATH, "HOME="]

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"empty HOME": stage.show("echo $HOME", edit=edit)}

    compare(scenario)


def test_environment_entry_without_equals_sign(compare: Compare) -> None:
    """An entry that is not NAME=value is refused, as runc does."""

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.run("true", edit=lambda config: config["process"]["env"].append("NOTHING"))
        return {"entry without =": result.code}

    answers = compare(scenario)
    if runtime_under_test() != "crun":
        assert answers == {"entry without =": 1}


def test_arguments_are_passed_as_they_are(compare: Compare) -> None:
    """Empty, blank, quoted and non-ASCII arguments reach the program unchanged."""
    words = ["", " ", "a b", "'\"\\$HOME`", "-n", "\u00e9\U0001f600", "x" * 4096, "a\nb"]

    def scenario(stage: Stage) -> dict[str, Any]:
        out = stage.run("sh", "-c", "cat /proc/$$/cmdline; true", "sh", *words).ok().out
        return {"words": out.split("\0")[4:-1]}

    assert compare(scenario)["words"] == words


def test_ids_of_links_and_hostname(compare: Compare) -> None:
    """The program is pid 1 of its pid namespace, a session of its own, and has the config's host name."""

    def edit(config: Config) -> None:
        config["hostname"] = "some.host-name"
        config["domainname"] = "some.domain"
        writable_root(config)

    def scenario(stage: Stage) -> dict[str, Any]:
        shown = stage.show("hostname; echo $$; cut -d' ' -f 1,4-6 /proc/1/stat", edit=edit)
        return {"shown": shown.splitlines()}

    assert compare(scenario)["shown"][:2] == ["some.host-name", "1"]


def test_session_keyring(compare: Compare) -> None:
    """The container has a session keyring of its own, which a later process of the same user finds by its name."""

    def edit(config: Config) -> None:
        config["linux"]["maskedPaths"] = []

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("cat", "/proc/keys", edit=edit)
        lines = [line.split() for line in container.run().ok().out.splitlines()]
        return {
            "permissions of the keyring": [line[4] for line in lines if line[8] == f"_ses.{container.id}:"]
        }

    answers = compare(scenario)
    if runtime_under_test() != "crun":
        assert answers == {"permissions of the keyring": ["3f1b0000"]}
