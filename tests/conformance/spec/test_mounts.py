# SPDX-License-Identifier: Apache-2.0
"""config.md, Mounts, and its Linux mount options: does each entry and each word have its effect, in order?"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.conformance.spec.departs import departs
from tests.harness.configuration import Config, writable_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.stage import Stage


class Mounted(NamedTuple):
    """One line of /proc/self/mountinfo: words of the mount, optional fields, type, words of the file system."""

    point: str
    words: set[str]
    fields: list[str]
    kind: str
    super_words: set[str]


def _parse(text: str) -> list[Mounted]:
    lines = []
    for line in text.splitlines():
        front, _, back = line.partition(" - ")
        words, (kind, _, super_words) = front.split(), back.split(" ", 2)
        lines.append(
            Mounted(words[4], set(words[5].split(",")), words[6:], kind, set(super_words.split(",")))
        )
    return lines


def _entry(destination: str, *options: str, kind: str = "tmpfs", source: str = "tmpfs") -> Config:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def _add(*entries: Config) -> Callable[[Config], None]:
    def edit(config: Config) -> None:
        writable_root(config)
        config["mounts"] += entries

    return edit


def _mounted(stage: Stage, *entries: Config) -> dict[str, Mounted]:
    """The mounts of one container that has these entries, by their places; of several at one the top one."""
    text = stage.run("cat", "/proc/self/mountinfo", edit=_add(*entries)).ok().out
    return {one.point: one for one in _parse(text)}


# Word of an entry: what then stands among the mount's words, or the file system's, and what doesn't. All twenty-seven
# of the specification but remount and bind, which have tests of their own.
_WORDS: dict[str, tuple[str, str]] = {
    "async": ("rw", "sync"),
    "atime": ("relatime", "noatime"),
    "defaults": ("rw relatime", "nosuid nodev noexec sync"),
    "dev": ("rw", "nodev"),
    "diratime": ("rw", "nodiratime"),
    "dirsync": ("dirsync", ""),
    "exec": ("rw", "noexec"),
    "lazytime": ("lazytime", ""),
    "loud": ("rw", ""),
    "noatime": ("noatime", "relatime"),
    "nodev": ("nodev", ""),
    "nodiratime": ("nodiratime", ""),
    "noexec": ("noexec", ""),
    "noiversion": ("rw", "i_version"),
    "nolazytime": ("rw", "lazytime"),
    "norelatime": ("rw", "noatime"),
    "nostrictatime": ("relatime", "noatime"),
    "nosuid": ("nosuid", ""),
    "relatime": ("relatime", "noatime"),
    "ro": ("ro", "rw"),
    "rw": ("rw", "ro"),
    "silent": ("rw", ""),
    "strictatime": ("rw", "noatime relatime"),
    "suid": ("rw", "nosuid"),
    "sync": ("sync", ""),
}
# A word, and the one that takes it back when it comes later.
_CONTRARY = {
    "nosuid": "suid", "nodev": "dev", "noexec": "exec", "ro": "rw", "noatime": "atime", "nodiratime": "diratime",
    "sync": "async", "lazytime": "nolazytime", "strictatime": "nostrictatime", "nosymfollow": "symfollow", "rw": "ro",
}  # fmt: skip
# Words of a bind whose source has neither time: what is left of that.
_ACCESS_TIME = {
    "relatime": "relatime nodiratime", "norelatime": "relatime nodiratime", "atime": "relatime nodiratime",
    "nostrictatime": "relatime nodiratime", "strictatime": "nodiratime", "diratime": "noatime",
    "noatime": "noatime nodiratime", "nodiratime": "noatime nodiratime",
}  # fmt: skip
_ACCESS_TIMES = {"relatime", "noatime", "nodiratime"}


def test_words() -> None:
    """R020: with remount, bind and iversion the table below has the words of the specification."""
    assert len(_WORDS) + len({"remount", "iversion"}) == 27


@departs(runc="hands defaults to the file system, beside others", crun="hands loud to the file system")
def test_each_word_alone(stage: Stage) -> None:
    """R020: each option has the effect that mount(8) describes, and no other one's."""
    found = _mounted(stage, *(_entry(f"/mnt/{word}", word) for word in _WORDS))
    for word, (present, absent) in _WORDS.items():
        seen = found[f"/mnt/{word}"]
        everything = seen.words | (seen.super_words - {"ro", "rw"})
        assert set(present.split()) <= everything, (word, seen)
        assert not set(absent.split()) & everything, (word, seen)


@departs(crun="words that take back, such as suid, do nothing")
def test_later_words_win(stage: Stage) -> None:
    """R020: of two contrary options the later one counts, as in mount(8)."""
    found = _mounted(stage, *(_entry(f"/mnt/{word}", word, contrary) for word, contrary in _CONTRARY.items()))
    for word, contrary in _CONTRARY.items():
        seen = found[f"/mnt/{word}"]
        assert word not in seen.words or word not in seen.super_words, (word, contrary, seen)
        assert word in ("ro", "rw") or word not in seen.words | seen.super_words, (word, contrary, seen)


@departs(
    runc="1.1 takes nodiratime from a bind with relatime",
    crun="relatime and the words that take something back leave noatime",
)
def test_access_time_of_a_bind(stage: Stage) -> None:
    """R020: a word replaces the access time that the source of a bind has, and nothing else of it."""
    with _tree(stage.directory, "private", "noatime,nodiratime,nosuid") as top:
        entries = [
            _entry(f"/mnt/{word}", "bind", word, source=str(top), kind="none") for word in _ACCESS_TIME
        ]
        found = _mounted(stage, *entries, _entry("/mnt/none", "bind", source=str(top), kind="none"))
    for word, left in {**_ACCESS_TIME, "none": "noatime nodiratime"}.items():
        assert found[f"/mnt/{word}"].words & _ACCESS_TIMES == set(left.split()), word
        assert "nosuid" in found[f"/mnt/{word}"].words, word


@departs(crun="hands iversion to the file system as a word that no file system knows")
def test_iversion(stage: Stage) -> None:
    """R020: iversion is taken by a file system that has it (tmpfs)."""
    assert _mounted(stage, _entry("/mnt/it", "iversion"))["/mnt/it"].kind == "tmpfs"


def test_remount(stage: Stage) -> None:
    """R020: remount changes the mount that is there, and makes none."""
    entries = (_entry("/mnt/it", "size=64k"), _entry("/mnt/it", "remount", "ro", "nosuid"))
    text = stage.run("cat", "/proc/self/mountinfo", edit=_add(*entries)).ok().out
    (seen,) = [one for one in _parse(text) if one.point == "/mnt/it"]
    assert {"ro", "nosuid"} <= seen.words | seen.super_words


def test_order(stage: Stage) -> None:
    """R014: entries are mounted in their order: the later of two at one place is seen, and mountinfo says the same."""
    source = stage.directory / "source"
    (source / "below").mkdir(parents=True)
    (source / "file").write_text("bound\n")
    entries = (
        _entry("/mnt/a"),
        _entry("/mnt/a", "bind", source=str(source), kind="none"),
        _entry("/mnt/a/below"),
        _entry("/mnt/b", "bind", source=str(source), kind="none"),
        _entry("/mnt/b"),
    )
    out = stage.show(
        "cat /mnt/a/file; ls /mnt/b; cut -d' ' -f5 /proc/self/mountinfo; sed -n 's@^[^/]*\\(/[^ ]*\\) /mnt/b .*@b \\1@p' /proc/self/mountinfo",
        edit=_add(*entries),
    )
    lines = out.splitlines()
    assert lines[0] == "bound"
    assert [one for one in lines if one.startswith("/mnt")] == [
        "/mnt/a",
        "/mnt/a",
        "/mnt/a/below",
        "/mnt/b",
        "/mnt/b",
    ]
    tops = [one.removeprefix("b ") for one in lines if one.startswith("b ")]
    assert tops[0].endswith("/source")  # what is shown of the file system: a directory of it, then all
    assert tops[1:] == ["/"]


def test_destination(stage: Stage) -> None:
    """R015, R016, R017: destination is required; a relative one is taken relative to the container's root."""
    found = _mounted(stage, _entry("mnt/relative"), _entry("/mnt/absolute"))
    assert {"/mnt/relative", "/mnt/absolute"} <= found.keys()
    entry = _entry("/mnt/it")
    del entry["destination"]
    stage.container("true", edit=_add(entry)).create().refused("/mounts/7", "destination")


def test_source_of_a_bind(stage: Stage) -> None:
    """R018: the source of a bind is absolute, or relative to the bundle, wherever the runtime was started."""
    bundle = stage.bundle("cat", "/mnt/a/file", "/mnt/b/file")
    (bundle.directory / "data").mkdir()
    (bundle.directory / "data/file").write_text("data\n")
    for place, source in (("a", "data"), ("b", str(bundle.directory / "data"))):
        bundle.config["mounts"].append(_entry(f"/mnt/{place}", "bind", source=source, kind="none"))
        (bundle.rootfs / "mnt" / place).mkdir()
    bundle.write()
    assert stage.container(bundle=bundle).run(cwd="/").ok().out == "data\ndata\n"


def test_what_is_a_bind(stage: Stage) -> None:
    """R019, R021: bind and rbind make a bind, whatever the type says; the type alone doesn't."""
    found = _mounted(
        stage,
        _entry("/mnt/a", "bind", source="/proc/self/ns", kind="tmpfs"),
        _entry("/mnt/b", "rbind", source="/etc", kind="no-such-type"),
    )
    assert found["/mnt/a"].kind == "proc"
    assert "/mnt/b" in found
    stage.container("true", edit=_add(_entry("/mnt/c", source="/etc", kind="bind"))).create().refused(
        "/mounts/7", "bind", "option bind"
    )


@contextmanager
def _tree(directory: Path, propagation: str, options: str = "") -> Iterator[Path]:
    """A mounted directory with another mount in it; both with these options."""
    top = directory / "tree"
    top.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "top", str(top)], check=True)
    try:
        (top / "sub").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "sub", str(top / "sub")], check=True)
        (top / "sub/file").write_text("")
        for place in (top, top / "sub") if options else ():
            subprocess.run(["mount", "-o", f"remount,bind,{options}", str(place)], check=True)
        subprocess.run(["mount", f"--make-r{propagation}", str(top)], check=True)
        yield top
    finally:
        subprocess.run(["umount", "-R", str(top)], check=True)


def test_depth_of_a_bind(stage: Stage) -> None:
    """R021: bind shows the source without what is mounted below it, rbind with it."""
    with _tree(stage.directory, "private") as top:
        found = _mounted(
            stage,
            _entry("/mnt/a", "bind", source=str(top), kind="none"),
            _entry("/mnt/b", "rbind", source=str(top), kind="none"),
        )
    assert "/mnt/a/sub" not in found
    assert "/mnt/b/sub" in found


_PROPAGATION = {"private": "", "slave": "master:", "shared": "shared:", "unbindable": "unbindable"}


@departs(crun="a bind with slave becomes private: it is cut off from the host before")
def test_propagation(stage: Stage) -> None:
    """R022: each of the eight words gives the mount that propagation; the four with an r also what is below it."""
    with _tree(stage.directory, "shared") as top:
        entries = [
            _entry(f"/mnt/{prefix}{word}", "rbind", f"{prefix}{word}", source=str(top), kind="none")
            for word in _PROPAGATION
            for prefix in ("", "r")
        ]
        found = _mounted(stage, *entries)
    for word, field in _PROPAGATION.items():
        for place in (f"/mnt/{word}", f"/mnt/r{word}", f"/mnt/r{word}/sub"):
            fields = [one for one in found[place].fields if not one.startswith("propagate_from")]
            assert (fields == []) if field == "" else any(one.startswith(field) for one in fields), (
                place,
                fields,
            )


# What the tree has whose mounts a word is to change, the word, and what must be there, and what must be gone.
_SETS = {
    "rro": ("ro", "rw"), "rnosuid": ("nosuid", ""), "rnodev": ("nodev", ""), "rnoexec": ("noexec", ""),
    "rnodiratime": ("nodiratime", ""), "rnoatime": ("noatime", "relatime"), "rstrictatime": ("", "relatime"),
    "rnosymfollow": ("nosymfollow", ""),
}  # fmt: skip
_CLEARED = "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow"
_CLEARS = {
    "rrw": ("rw", "ro"), "rsuid": ("ro", "nosuid"), "rdev": ("ro", "nodev"), "rexec": ("ro", "noexec"),
    "rdiratime": ("ro", "nodiratime"), "rrelatime": ("relatime nodiratime", "noatime"),
    "rnorelatime": ("relatime nodiratime", "noatime"), "ratime": ("relatime nodiratime", "noatime"),
    "rstrictatime": ("ro nodiratime", "noatime relatime"), "rnostrictatime": ("relatime nodiratime", "noatime"),
    "rsymfollow": ("ro", "nosymfollow"),
}  # fmt: skip


@departs(
    runc="1.1 gives mount_setattr a clear mask that it refuses for ratime",
    crun="gives mount_setattr a set that it refuses for rnodiratime",
)
def test_recursive_attributes(stage: Stage) -> None:
    """R024: each recursive option changes what is mounted below the source as well; mount_setattr(2) is there."""
    assert len({**_SETS, **_CLEARS}) == 18
    for words, options in ((_SETS, ""), (_CLEARS, _CLEARED)):
        with _tree(stage.directory / (options or "plain"), "private", options) as top:
            entries = [_entry(f"/mnt/{word}", "rbind", word, source=str(top), kind="none") for word in words]
            found = _mounted(stage, *entries)
        for word, (present, absent) in words.items():
            for place in (f"/mnt/{word}", f"/mnt/{word}/sub"):
                assert set(present.split()) <= found[place].words, (place, found[place])
                assert not set(absent.split()) & found[place].words, (place, found[place])


@departs(crun="1.8 hands nosymfollow to the file system")
def test_links_are_not_followed(stage: Stage) -> None:
    """R023: through a mount with nosymfollow no link is followed, through one with symfollow they are."""
    out = stage.show(
        "for one in a b; do cd /mnt/$one; echo yes >file; ln -s file link; cat link 2>/dev/null || echo no; done",
        edit=_add(_entry("/mnt/a", "nosymfollow"), _entry("/mnt/b", "nosymfollow", "symfollow")),
    )
    assert out.split() == ["no", "yes"]


def test_copy_up(stage: Stage) -> None:
    """R025: a tmpfs with tmpcopyup begins with what the directory held; mand and nomand are taken."""
    bundle = stage.bundle("cat", "/work/file")
    (bundle.rootfs / "work/file").write_text("copied\n")
    bundle.config["mounts"] += [
        _entry("/work", "tmpcopyup"),
        _entry("/mnt", "mand"),
        _entry("/opt", "nomand"),
    ]
    bundle.write()
    assert stage.container(bundle=bundle).run().ok().out == "copied\n"


def test_data(stage: Stage) -> None:
    """R034: an unknown option goes to the file system, which takes it or fails the container."""
    seen = _mounted(stage, _entry("/mnt/it", "size=64k", "nosuid", "mode=0711", "nr_inodes=12"))["/mnt/it"]
    assert {"size=64k", "mode=711", "nr_inodes=12"} <= seen.super_words
    assert "nosuid" in seen.words
    container = stage.container("true", edit=_add(_entry("/mnt/it", "no-such-option")))
    container.create().refused("/mounts/7", "no-such-option")
    assert container.status() == ""


@departs(both="hands words of mount(8), which no file system knows, to mount(2)")
def test_words_of_mount_8(stage: Stage) -> None:
    """R033: words that mount(8) keeps for itself do what they do there: nothing for the mount."""
    found = _mounted(stage, _entry("/mnt/it", "noauto", "_netdev", "nofail", "x-mount.note=1", "nosuid"))
    assert "nosuid" in found["/mnt/it"].words


@departs(runc="1.1 doesn't know idmap")
def test_idmap_without_mappings(stage: Stage) -> None:
    """R031, R035: idmap without mappings, in a container without a user namespace, is an error; so is half a mapping."""
    one = [{"containerID": 0, "hostID": 0, "size": 1}]
    bare = _entry("/mnt/it", "bind", "idmap", source="/etc", kind="none")
    half = ({**bare, "uidMappings": one}, {**bare, "gidMappings": one})
    for entry, words in ((bare, "needs uidMappings"), *((entry, "go together") for entry in half)):
        container = stage.container("true", edit=_add(entry))
        container.create().refused("/mounts/7", words)
        assert container.status() == ""
