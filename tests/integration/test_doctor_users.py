# SPDX-License-Identifier: Apache-2.0
"""What an ordinary user lacks: ids, newuidmap, a runtime directory, a bus, delegation. `doctor` and the command say it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.bundle import make_bundle
from tests.harness.configuration import with_users, without_namespace
from tests.harness.doctor import AS_USER, UID, doctor
from tests.harness.driver import ENVIRONMENT, TIMEOUT, command_of, runtime_under_test
from tests.harness.peers import PEERS
from tests.harness.stage import new_id
from tests.integration.lacking import filtered

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(runtime_under_test() in PEERS, reason="only this runtime has this verb")


def _as_user(script: str = "", *words: str, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """`doctor` of an ordinary user, after root has run a script in a mount namespace of the call's own."""
    wrapper = ["unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh", *AS_USER]
    return doctor("doctor", *words, wrapper=wrapper, **env)


@pytest.fixture
def runtime_directory(searchable: Path) -> Path:
    """What a login would make."""
    directory = searchable / "user"
    directory.mkdir(mode=0o700)
    os.chown(directory, UID, UID)
    return directory


def test_an_ordinary_user_has_what_is_needed(runtime_directory: Path) -> None:
    """In a user namespace of its own ids; what only root has is marked."""
    code, answers = _as_user(XDG_RUNTIME_DIR=str(runtime_directory))
    assert code == 0, {
        name: one for name, one in answers.items() if one["needed"] and one["state"] != "works"
    }
    assert answers["namespace.user"]["needed"]
    assert not answers["cgroup.make"]["needed"]
    assert answers["mount.id-mapped"]["root"]
    assert "no CAP_SYS_ADMIN" in answers["mount.id-mapped"]["cause"]
    assert not list(runtime_directory.iterdir())


_NAMED = (
    f"mount -t tmpfs ids /mnt; cp /etc/passwd /mnt; echo x-user:x:{UID}:{UID}::/:/bin/sh >> /mnt/passwd; "
    "mount --bind /mnt/passwd /etc/passwd"
)


def _sub_ids(content: str) -> str:
    """A script that replaces /etc/subuid and /etc/subgid."""
    return f"{_NAMED}; echo {content} > /mnt/ids; mount --bind /mnt/ids /etc/subuid; mount --bind /mnt/ids /etc/subgid"


_GIVEN = _sub_ids(f"{UID}:300000:65536")
_COPY = "mkdir /mnt/bin; cp --no-preserve=mode /usr/bin/newuidmap /mnt/bin; chmod 755 /mnt/bin /mnt/bin/newuidmap; "
_COPY_FIRST = "export PATH=/mnt/bin:$PATH"

# script, cause and cure; what it does to the path of the command comes after it, as the script itself needs programs
_IDS = {
    "no name": ("true", ("uid 54321 has no name in /etc/passwd", "useradd --uid 54321")),
    "no range": (
        f"{_NAMED}; mount --bind /dev/null /etc/subuid",
        ("/etc/subuid has no range for x-user", "--add-subuids 100000-165535"),
    ),
    "no range of groups": (
        f"{_GIVEN}; mount --bind /dev/null /etc/subgid",
        ("/etc/subgid has no range for x-user", "usermod --add-subgids"),
    ),
    "too short": (
        _sub_ids(f"{UID}:300000:1000"),
        ("gives x-user 1000 ids in a row", "65536 are needed", "--add-subuids"),
    ),
    "no newuidmap": (
        f"{_GIVEN}; mkdir /mnt/bin; ln -s /usr/bin/env /usr/bin/setpriv /usr/bin/python3 /mnt/bin; export PATH=/mnt/bin",
        ("there is no newuidmap in $PATH", "apt-get install uidmap"),
    ),
    "no set-uid bit": (
        f"{_GIVEN}; {_COPY}{_COPY_FIRST}",
        (
            "/mnt/bin/newuidmap has neither the set-uid bit of root nor the capability cap_setuid",
            "chmod u+s /mnt/bin/newuidmap",
        ),
    ),
    "nosuid": (
        f"{_GIVEN}; {_COPY}chmod u+s /mnt/bin/newuidmap; mount -o remount,nosuid /mnt; {_COPY_FIRST}",
        ("/mnt/bin/newuidmap is on a file system that is mounted nosuid",),
    ),
}


@pytest.fixture
def bundle_of_user(searchable: Path) -> str:
    """A bundle with all sub-ids that a user has, which the user can read."""

    def edit(config: dict[str, Any]) -> None:
        with_users(config, (0, UID, 1), (1, 300000, 65536))
        without_namespace(config, "network")
        del config["linux"]["resources"]
        config["mounts"] = [one for one in config["mounts"] if one["type"] not in ("sysfs", "cgroup")]

    made = make_bundle(searchable / "users", "true", edit=edit, own_files=True)
    made.directory.chmod(0o755)
    return str(made.directory)


@pytest.mark.parametrize("name", _IDS)
def test_ids_that_can_not_be_mapped(name: str, bundle_of_user: str, runtime_directory: Path) -> None:
    """What newuidmap and its files lack."""
    script, words = _IDS[name]
    code, answers = _as_user(script, bundle_of_user, XDG_RUNTIME_DIR=str(runtime_directory))
    answer = answers["ids.mapping"]
    assert (code, answer["state"], answer["needed"]) == (1, "missing", True), answer
    for word in words:
        assert word in f"{answer['cause']}: {answer['cure']}"
    wrapper = ["unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh", *AS_USER]
    run = ("run", "--bundle", bundle_of_user)
    said = _run_as_user(*run, wrapper=wrapper, XDG_RUNTIME_DIR=str(runtime_directory))
    assert "write id map" in said
    assert answer["cure"] in said
    assert {one["name"] for one in answers.values() if one["needed"] and one["state"] == "missing"} == {
        "ids.mapping"
    }


def test_ids_that_can_be_mapped(bundle_of_user: str, runtime_directory: Path) -> None:
    """By newuidmap really; and under no_new_privs it has no power, which is said."""
    code, answers = _as_user(_GIVEN, bundle_of_user, XDG_RUNTIME_DIR=str(runtime_directory))
    assert (code, answers["ids.mapping"]["state"]) == (0, "works"), answers["ids.mapping"]
    assert "1-65536 is 300000-365535" in answers["ids.mapping"]["detail"]
    script = f'{_GIVEN}\nset -- setpriv --no-new-privs "$@"'
    code, answers = _as_user(script, bundle_of_user, XDG_RUNTIME_DIR=str(runtime_directory))
    assert (code, answers["ids.mapping"]["state"]) == (1, "missing")
    assert "no_new_privs is set" in answers["ids.mapping"]["cause"]


@pytest.mark.parametrize(
    ("sysctl", "value", "cure"),
    [
        ("unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ],
)
def test_a_host_that_forbids_user_namespaces(
    sysctl: str, value: str, cure: str, runtime_directory: Path
) -> None:
    """The sysctl of Debian's and of Ubuntu's kernel, shown by a file, and a filter that refuses as they do."""
    script = f"mount -t tmpfs fake /proc/sys/kernel; echo {value} > /proc/sys/kernel/{sysctl}"
    refuse = " ".join(filtered("EPERM", "unshare", "clone3"))
    script += f'\nset -- "$@"; user="{" ".join(AS_USER)}"; shift {len(AS_USER)}; set -- $user {refuse} "$@"'
    code, answers = _as_user(script, XDG_RUNTIME_DIR=str(runtime_directory))
    answer = answers["namespace.user"]
    assert (code, answer["state"], answer["root"]) == (1, "missing", True)
    assert f"kernel.{sysctl} is {value}" in answer["cause"]
    assert cure in answer["cure"]


def test_no_bus_and_no_runtime_directory(runtime_directory: Path) -> None:
    """XDG_RUNTIME_DIR unset; set, but somebody else's; set, and without a bus."""
    code, answers = _as_user()
    assert code == 1
    assert "XDG_RUNTIME_DIR is not set" in answers["state.directory"]["cause"]
    assert "loginctl enable-linger" in answers["state.directory"]["cure"]
    assert answers["cgroup.systemd"]["cause"].startswith("no user bus: XDG_RUNTIME_DIR is not set")
    os.chown(runtime_directory, 0, 0)
    code, answers = _as_user("chmod 711 " + str(runtime_directory), XDG_RUNTIME_DIR=str(runtime_directory))
    assert code == 1
    assert "belongs to uid 0 and has mode 0711" in answers["state.directory"]["cause"]
    os.chown(runtime_directory, UID, UID)
    code, answers = _as_user(XDG_RUNTIME_DIR=str(runtime_directory))
    assert code == 0
    assert f"there is no {runtime_directory}/bus" in answers["cgroup.systemd"]["cause"]
    assert "dbus-user-session" in answers["cgroup.systemd"]["cure"]


def _limited(config: dict[str, Any]) -> None:
    config["linux"]["resources"]["pids"] = {"limit": 100}


@pytest.fixture
def bundle_for_all(searchable: Path) -> str:
    """A bundle with a limit that everybody can read."""
    made = make_bundle(searchable / "bundle", "true", edit=_limited, own_files=True)
    made.directory.chmod(0o755)
    return str(made.directory)


def _run_as_user(*words: str, wrapper: list[str] | None = None, **env: str) -> str:
    """What `run` of an ordinary user says; it must fail."""
    command = [*(wrapper or AS_USER), *command_of("ociruntime"), *words, new_id()]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**ENVIRONMENT, **env}, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_the_command_says_it_to_an_ordinary_user(bundle_for_all: str, runtime_directory: Path) -> None:
    """No runtime directory, no delegation, no CAP_SYS_ADMIN: each with the doctor's cure."""
    directory = {"XDG_RUNTIME_DIR": str(runtime_directory)}
    run = ("run", "--bundle", bundle_for_all)
    calls = (
        ("state.directory", "XDG_RUNTIME_DIR is not set", (), {}),
        ("cgroup.make", "/sys/fs/cgroup", (), directory),
        ("namespace.mount", f"uid {UID} has no CAP_SYS_ADMIN", ("--cgroup-manager", "disabled"), directory),
    )
    for name, words, options, env in calls:
        said = _run_as_user(*options, *run, **env)
        code, answers = doctor(*options, "doctor", bundle_for_all, wrapper=AS_USER, **env)
        assert (code, answers[name]["state"], answers[name]["needed"]) == (1, "missing", True)
        assert words in answers[name]["cause"]
        assert words in said
        assert answers[name]["cure"] in said
