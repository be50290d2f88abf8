# SPDX-License-Identifier: Apache-2.0
"""Bind mounts: which flags they have, which directory they show, and whose mounts they follow."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, with_users, writable_root
from tests.harness.driver import TIMEOUT, runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

departure(
    "words that clear a flag of the source",
    "runc",
    "R021",
    "runc 1.1 leaves them out; newer ones do as we do",
)
for _kind in ("bind", "rbind"):
    departure(f"{_kind} without words", "crun", "invariant 17", "what no option names is the source's")
    for _peer in PEERS:
        departure(
            f"{_kind} that sets another flag", _peer, "invariant 17", "what no option names is the source's"
        )

own = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="this runtime's way: run with RUNTIME=ociruntime"
)
USERS = pytest.mark.parametrize("users", [False, True], ids=["", "users"])


def mount(*arguments: object) -> None:
    """Mount on the host."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def entry(source: object, destination: str, *options: str) -> Config:
    """One bind entry."""
    return {
        "destination": destination,
        "type": "bind",
        "source": str(source),
        "options": list(options or ("bind",)),
    }


def add(*entries: Config, users: bool = False, **linux: Any) -> Callable[[Config], None]:
    """An edit that appends entries; /mnt is a tmpfs, in which the root of a user namespace may make their places."""

    def edit(config: Config) -> None:
        tmpfs = {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}
        config["mounts"].extend((tmpfs, *entries))
        config["linux"].update(linux)
        writable_root(config)
        if users:
            with_users(config)

    return edit


@pytest.fixture
def strict(searchable: Path) -> Iterator[Path]:
    """A tmpfs of the host with every flag that a word can clear; a file, a program and such a mount below it."""
    point = searchable / "strict"
    point.mkdir()
    mount("-t", "tmpfs", "tmpfs", point)
    (point / "below").mkdir()
    mount("-t", "tmpfs", "tmpfs", point / "below")
    (point / "file").write_text("file\n")
    (point / "link").symlink_to("file")
    for directory in (point / "below", point):
        mount("-o", "remount,bind,ro,nosuid,nodev,noexec,nosymfollow,noatime", directory)
    yield point
    subprocess.run(["umount", "-R", str(point)], check=True)


ALL = {"ro", "nosuid", "nodev", "noexec", "nosymfollow", "noatime"}
OPPOSITES = {"rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "symfollow": "nosymfollow"}


def flags(text: str, *points: str) -> list[list[str]]:
    """The flags at each of these mount points, in a mountinfo; without rw and relatime, which mean none."""
    found = {line.split()[4]: set(line.split()[5].split(",")) for line in text.splitlines()}
    return [sorted(found[point] - {"rw", "relatime"}) for point in points]


def host_mounts() -> str:
    """A mountinfo of the host."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return file.read()


def in_user_namespace(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command as the root of a user namespace with the host's ids, and in its mount namespace."""
    wait = ["unshare", "-Um", "sh", "-c", 'read -r ready; exec "$@" </dev/null', "sh", *command]
    with subprocess.Popen(
        wait, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while os.readlink(f"/proc/{process.pid}/ns/user") == os.readlink("/proc/self/ns/user"):
            time.sleep(0.01)
        for kind in ("uid", "gid"):
            with open(f"/proc/{process.pid}/{kind}_map", "w", encoding="ascii") as file:
                file.write("0 0 65536\n")
        out, err = process.communicate("ready\n", timeout=TIMEOUT)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_words_of_a_bind(compare: Compare, strict: Path) -> None:
    """A flag that a word names is set or cleared, on the top mount; one that no option names stays as in the source."""

    def scenario(stage: Stage) -> dict[str, Any]:
        words = list(OPPOSITES)
        variants: dict[str, list[str]] = {}
        for kind in ("bind", "rbind"):
            variants[f"{kind} without words"] = [kind]
            variants[f"{kind} that sets another flag"] = [kind, "nodiratime"]
            variants[f"{kind} with all words"] = [kind, *words]
        edit = add(
            *(entry(strict, f"/mnt/{number}", *options) for number, options in enumerate(variants.values()))
        )
        said = stage.show("cat /proc/self/mountinfo", edit)
        answers: dict[str, Any] = {
            name: flags(said, f"/mnt/{number}")[0] for number, name in enumerate(variants)
        }
        cleared = [answers.pop(f"{kind} with all words") for kind in ("bind", "rbind")]
        answers["words that clear a flag of the source"] = cleared
        answers["below"] = flags(said, *(f"/mnt/{number}/below" for number in (3, 4, 5)))
        return answers

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        for kind in ("bind", "rbind"):
            assert answers[f"{kind} without words"] == sorted(ALL)
            assert answers[f"{kind} that sets another flag"] == sorted(ALL | {"nodiratime"})
        assert answers["words that clear a flag of the source"] == [["noatime"], ["noatime"]]
    assert answers["below"] == [sorted(ALL)] * 3


@own
@USERS
@pytest.mark.parametrize("kind", ["bind", "rbind"])
def test_each_word_clears_its_flag(stage: Stage, strict: Path, kind: str, users: bool) -> None:
    """One word at a time, for a directory and for a file; what is below keeps its flags but for recursive words."""
    cases: list[tuple[list[str], set[str], set[str]]] = []
    for word, flag in OPPOSITES.items():
        cases += [([word], ALL - {flag}, ALL), ([word, flag], ALL, ALL), ([flag, word], ALL - {flag}, ALL)]
        cases += [([f"r{word}"], ALL - {flag}, ALL - {flag}), ([f"r{word}", flag], ALL, ALL - {flag})]
    places = [(f"/mnt/{number}", f"/mnt/file{number}") for number in range(len(cases))]
    entries = []
    for (options, _, _), (directory, file) in zip(cases, places, strict=True):
        entries += [entry(strict, directory, kind, *options), entry(strict / "file", file, kind, *options)]
    said = stage.show("cat /proc/self/mountinfo", add(*entries, users=users))
    for (options, top, below), (directory, file) in zip(cases, places, strict=True):
        # The last word for one mount is what counts: a plain one for the top mount, after the recursive ones.
        assert flags(said, directory, file) == [sorted(top)] * 2, options
        if kind == "rbind":
            assert flags(said, f"{directory}/below") == [sorted(below)], options


@own
@USERS
def test_flags_are_what_they_say(stage: Stage, strict: Path, users: bool) -> None:
    """What rw, exec and symfollow give back works; nothing of it reaches the host's mount."""
    mount("-o", "remount,bind,rw", strict)
    (strict / "program").write_text("#!/bin/sh\necho ran\n")
    (strict / "program").chmod(0o755)
    strict.chmod(0o777)
    mount("-o", "remount,bind,ro,nosuid,nodev,noexec,nosymfollow", strict)
    before = flags(host_mounts(), str(strict))
    script = (
        "for d in /mnt/a /mnt/b; do echo $d; touch $d/new; $d/program; cat $d/link; done 2>/dev/null; true"
    )
    said = stage.show(
        script,
        add(entry(strict, "/mnt/a"), entry(strict, "/mnt/b", "bind", "rw", "exec", "symfollow"), users=users),
    )
    assert said == "/mnt/a\n/mnt/b\nran\nfile\n"
    assert (strict / "new").exists()
    assert flags(host_mounts(), str(strict)) == before


@own
@pytest.mark.parametrize(
    ("options", "error"),
    [("bind", ""), ("bind nosuid", ""), ("bind rw", "ro"), ("rbind exec", "x"), ("bind rrw", "x")],
)
def test_locked_flags(stage: Stage, strict: Path, options: str, error: str) -> None:
    """In a user namespace whose maker has locked them, an option that clears one is an error, and no other flag is lost."""

    def edit(config: Config) -> None:
        add(entry(strict / "below", "/mnt", *options.split()), entry("/dev", "/dev", "rbind"))(config)
        config["mounts"] = [one for one in config["mounts"] if one["type"] in ("bind", "proc")]
        config["linux"] = {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]}
        del config["process"]["rlimits"]

    container = stage.container("cat", "/proc/self/mountinfo", edit=edit)
    runtime = container.runtime
    argv = runtime.argv("--cgroup-manager", "disabled", "run", "--bundle", str(container.bundle.directory))
    done = in_user_namespace([*argv, container.id])
    if error:
        assert done.returncode == 1
        for word in ("/mounts/", f"bind of {strict}/below on /mnt", "EPERM", "locked in this user namespace"):
            assert word in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(flags(done.stdout, "/mnt")[0])


def test_source_that_the_container_mounts(compare: Compare, tmp_path: Path) -> None:
    """R014: a source in the rootfs shows what an entry before has mounted there, not what is underneath."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("bound\n")

    def scenario(stage: Stage) -> dict[str, Any]:
        bundle = stage.bundle("sh", "-c", "ls /b /d /e; cat /f /link", own_files=True)
        for name in ("a", "c", "early"):
            (bundle.rootfs / name).mkdir()
            (bundle.rootfs / name / f"underneath-{name}").touch()
        (bundle.rootfs / "c" / "sub").mkdir()
        (bundle.rootfs / "link").symlink_to("/c/sub/file")
        tmpfs: Config = {"destination": "/a", "type": "tmpfs", "source": "tmpfs"}
        add(
            entry(bundle.rootfs / "early", "/e"),
            tmpfs,
            entry(bundle.rootfs / "a", "/b"),
            entry(source, "/c"),
            entry("rootfs/c/sub", "/d", "rbind"),
            entry(bundle.rootfs / "c/sub/file", "/f"),
        )(bundle.config)
        bundle.write()
        return {"files": stage.container(bundle=bundle).run().ok().out.split()}

    assert compare(scenario)["files"] == ["/b:", "/d:", "file", "/e:", "underneath-early", "bound", "bound"]


@own
@pytest.mark.parametrize("kind", ["bind", "rbind"])
def test_order_holds_in_a_user_namespace(stage: Stage, searchable: Path, kind: str) -> None:
    """There the runtime opens sources: but not those that an entry before has changed."""
    (searchable / "file").write_text("bound\n")
    source = "rootfs/mnt/a"
    bundle = stage.bundle("sh", "-c", "ls /mnt/b /mnt/x; cut -d' ' -f5 /proc/self/mountinfo", own_files=True)
    (bundle.rootfs / "mnt/a").mkdir()
    (bundle.rootfs / "mnt/a/underneath").touch()
    add(
        {"destination": "/mnt/a", "type": "tmpfs", "source": "tmpfs"},
        entry(searchable / "file", "/mnt/a/file"),
        entry(source, "/mnt/b", kind),
        {"destination": "/mnt/x", "type": "tmpfs", "source": "tmpfs"},
        entry(searchable, "/mnt/x", kind),
        users=True,
    )(bundle.config)
    bundle.write()
    lines = stage.container(bundle=bundle).run().ok().out.split()
    assert lines[:4] == ["/mnt/b:", "file", "/mnt/x:", "file"]
    below = ["/mnt/b/file"] if kind == "rbind" else []
    points = [one for one in lines[4:] if one.startswith("/mnt/")]
    assert points == ["/mnt/a", "/mnt/a/file", "/mnt/b", *below, "/mnt/x", "/mnt/x"]


@pytest.mark.parametrize("relative", [False, True])
def test_dot_dot_behind_a_link(compare: Compare, tmp_path: Path, relative: bool) -> None:
    """R018: a source is what the kernel finds under its path: `link/..` is the parent of what the link leads to."""
    for place, text in (("real/x", "right"), ("x", "wrong")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "file").write_text(f"{text}\n")
    (tmp_path / "real/deep").mkdir()
    (tmp_path / "link").symlink_to("real/deep")

    def scenario(stage: Stage) -> dict[str, Any]:
        bundle = stage.bundle("sh", "-c", "cat /m/file /f")
        (bundle.directory / "link").symlink_to(tmp_path / "real/deep")
        start = "link" if relative else tmp_path / "link"
        add(entry(f"{start}/../x", "/m", "rbind", "ro"), entry(f"{start}/../x/file", "/f"))(bundle.config)
        bundle.write()
        return {"shown": stage.container(bundle=bundle).run().ok().out}

    # runc cleans a relative one as text, and finds nothing
    assert compare(scenario, only=("crun",) if relative else PEERS) == {"shown": "right\nright\n"}


@own
def test_dot_dot_behind_a_link_in_a_user_namespace(stage: Stage, tmp_path: Path) -> None:
    """The same where the runtime opens the source."""
    for place, text in (("real/x", "right"), ("x", "wrong")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "file").write_text(f"{text}\n")
    (tmp_path / "real/deep").mkdir()
    (tmp_path / "link").symlink_to("real/deep")
    assert (
        stage.show("cat /mnt/f", add(entry(f"{tmp_path}/link/../x/file", "/mnt/f"), users=True)) == "right\n"
    )


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of the host that shares its mounts, and one below it."""
    point = tmp_path / "shared"
    point.mkdir()
    mount("-t", "tmpfs", "tmpfs", point)
    mount("--make-shared", point)
    (point / "below").mkdir()
    mount("-t", "tmpfs", "tmpfs", point / "below")
    yield point
    subprocess.run(["umount", "-R", str(point)], check=True)


@pytest.mark.parametrize("value", ["private", "rprivate", "unbindable", "slave", "rslave"])
def test_a_slave_in_another_rootfs(compare: Compare, shared: Path, value: str) -> None:
    """The property rootfsPropagation is about the rootfs: an entry that says slave is a slave of the host's mount, and no other."""

    def scenario(stage: Stage) -> dict[str, Any]:
        words = ("slave", "rslave", "private", "rprivate")
        edit = add(*(entry(shared, f"/mnt/{word}", "rbind", word) for word in words), rootfsPropagation=value)
        found = {}
        for line in stage.show("cat /proc/self/mountinfo", edit).splitlines():
            tags = [tag.partition(":")[0] for tag in line.split(" - ")[0].split()[6:]]
            found[line.split()[4]] = tags
        return {word: found[f"/mnt/{word}"] for word in words}

    # Other versions of the peers make all of the host's mounts private first, which leaves no master.
    only = PEERS if value in ("private", "slave", "rslave") else ()
    answers = compare(scenario, only=only)
    assert answers == {"slave": ["master"], "rslave": ["master"], "private": [], "rprivate": []}


@own
@USERS
def test_a_slave_follows_the_host(stage: Stage, shared: Path, users: bool) -> None:
    """With a private rootfs too, a mount of the host appears in an entry that says rslave, and only there."""
    (shared / "late").mkdir()
    shared.chmod(0o755)
    entries = (entry(shared, "/mnt/slave", "rbind", "rslave"), entry(shared, "/mnt/none", "rbind"))
    container = stage.running(add(*entries, users=users, rootfsPropagation="private"))
    mount("-t", "tmpfs", "tmpfs", shared / "late")
    with open(f"/proc/{container.state()['pid']}/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file]
    container.delete("--force").ok()
    assert "/mnt/slave/late" in points
    assert "/mnt/none/late" not in points


@own
@USERS
@pytest.mark.parametrize("name", ["/proc/self/fd/{}", "/dev/fd/{}", "/proc/self/fdinfo/../fd/{}"])
def test_names_of_the_caller(stage: Stage, tmp_path: Path, name: str, users: bool) -> None:
    """A descriptor of the runtime's caller is a source, as any path is."""
    (tmp_path / "file").write_text("of the caller\n")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    container = stage.container(
        "cat", "/mnt/f", edit=add(entry(name.format(descriptor), "/mnt/f"), users=users)
    )
    done = subprocess.run(
        [*container.runtime.argv("run", "--bundle", str(container.bundle.directory)), container.id],
        check=False, capture_output=True, text=True, timeout=TIMEOUT, pass_fds=[descriptor], stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(descriptor)
    assert (done.stdout, done.returncode) == ("of the caller\n", 0), done.stderr


@own
def test_recursive_binds_of_the_host_s_root(stage: Stage) -> None:
    """They show the host's mounts, not the container's own, and a second one no more than the first."""
    edit = add(entry("/", "/one", "rbind", "rslave"), entry("/", "/two", "rbind", "rslave"))
    points = stage.show("cut -d' ' -f5 /proc/self/mountinfo", edit).split()
    one = [point[4:] for point in points if f"{point}/".startswith("/one/")]
    two = [point[4:] for point in points if f"{point}/".startswith("/two/")]
    assert one == two
    assert not [point for point in one if point.endswith("rootfs/proc")]
