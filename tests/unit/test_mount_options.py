# SPDX-License-Identifier: Apache-2.0
"""ociruntime/linux/mount_options.py: every word of the specification's table, and how they combine."""

from __future__ import annotations

import pytest

from ociruntime.linux.mount_options import MountOptions, known_options, parse, split_data

RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, STRICTATIME, ATIME, NODIRATIME = 1, 2, 4, 8, 0x10, 0x20, 0x70, 0x80
NOSYMFOLLOW = 0x200000
UNBINDABLE, PRIVATE, SLAVE, SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20

# config.md, Linux mount options: the words of R020 to R027 (rnodev is missing there by mistake)
SPECIFIED = """
async atime defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec
noiversion nolazytime norelatime nostrictatime nosuid relatime remount ro rw silent strictatime suid sync
bind rbind private rprivate shared rshared slave rslave unbindable runbindable nosymfollow symfollow
ratime rdev rdiratime rexec rnoatime rnodiratime rnodev rnoexec rnorelatime rnostrictatime rnosuid
rnosymfollow rrelatime rro rrw rstrictatime rsuid rsymfollow mand nomand tmpcopyup idmap ridmap
"""

SUMMARY = ("attr_set", "attr_clear", "rattr_set", "rattr_clear")


def attributes(*words: str) -> tuple[int, ...]:
    """The four attribute fields of these options."""
    options = parse(words)
    return tuple(getattr(options, name) for name in SUMMARY)


def fields(options: MountOptions) -> dict[str, object]:
    """All fields that say something."""
    return {name: getattr(options, name) for name in MountOptions.__slots__ if getattr(options, name)}


def test_every_specified_option_is_known_and_listed() -> None:
    """No word of the specification is taken for data of a file system, and `features` can list them all."""
    assert sorted(SPECIFIED.split()) == known_options()
    for word in known_options():
        assert parse([word]).data == [], word


def test_every_option_but_the_neutral_ones_has_an_effect() -> None:
    """Only words that say the default leave no trace."""
    silent = [word for word in known_options() if not fields(parse([word]))]
    assert silent == ["defaults", "loud", "noiversion"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ro", {"attr_set": RDONLY, "superblock": ["ro"], "flags": 1}),
        ("rw", {"attr_clear": RDONLY, "superblock": ["rw"]}),
        ("nosuid", {"attr_set": NOSUID}),
        ("suid", {"attr_clear": NOSUID}),
        ("nodev", {"attr_set": NODEV}),
        ("dev", {"attr_clear": NODEV}),
        ("noexec", {"attr_set": NOEXEC}),
        ("exec", {"attr_clear": NOEXEC}),
        ("nodiratime", {"attr_set": NODIRATIME}),
        ("diratime", {"attr_clear": NODIRATIME}),
        ("nosymfollow", {"attr_set": NOSYMFOLLOW}),
        ("symfollow", {"attr_clear": NOSYMFOLLOW}),
        ("relatime", {"attr_clear": ATIME}),
        ("noatime", {"attr_set": NOATIME, "attr_clear": ATIME}),
        ("strictatime", {"attr_set": STRICTATIME, "attr_clear": ATIME}),
        ("atime", {"attr_clear": ATIME}),
        ("norelatime", {"attr_clear": ATIME}),
        ("nostrictatime", {"attr_clear": ATIME}),
        ("sync", {"superblock": ["sync"], "flags": 16}),
        ("async", {"superblock": ["async"]}),
        ("dirsync", {"superblock": ["dirsync"], "flags": 128}),
        ("lazytime", {"superblock": ["lazytime"], "flags": 1 << 25}),
        ("nolazytime", {"superblock": ["nolazytime"]}),
        ("mand", {"superblock": ["mand"], "flags": 64}),
        ("nomand", {"superblock": ["nomand"]}),
        ("iversion", {"flags": 1 << 23}),
        ("silent", {"flags": 1 << 15}),
        ("bind", {"bind": True}),
        ("rbind", {"bind": True, "recursive": True}),
        ("remount", {"remount": True}),
        ("tmpcopyup", {"copy_up": True}),
        ("idmap", {"id_map": "idmap"}),
        ("ridmap", {"id_map": "ridmap"}),
        ("private", {"propagation": PRIVATE}),
        ("rprivate", {"rpropagation": PRIVATE}),
        ("shared", {"propagation": SHARED}),
        ("rshared", {"rpropagation": SHARED}),
        ("slave", {"propagation": SLAVE}),
        ("rslave", {"rpropagation": SLAVE}),
        ("unbindable", {"propagation": UNBINDABLE}),
        ("runbindable", {"rpropagation": UNBINDABLE}),
        ("rro", {"rattr_set": RDONLY}),
        ("rrw", {"rattr_clear": RDONLY}),
        ("rnosuid", {"rattr_set": NOSUID}),
        ("rsuid", {"rattr_clear": NOSUID}),
        ("rnodev", {"rattr_set": NODEV}),
        ("rdev", {"rattr_clear": NODEV}),
        ("rnoexec", {"rattr_set": NOEXEC}),
        ("rexec", {"rattr_clear": NOEXEC}),
        ("rnodiratime", {"rattr_set": NODIRATIME}),
        ("rdiratime", {"rattr_clear": NODIRATIME}),
        ("rnosymfollow", {"rattr_set": NOSYMFOLLOW}),
        ("rsymfollow", {"rattr_clear": NOSYMFOLLOW}),
        ("rnoatime", {"rattr_set": NOATIME, "rattr_clear": ATIME}),
        ("rstrictatime", {"rattr_set": STRICTATIME, "rattr_clear": ATIME}),
        ("rrelatime", {"rattr_clear": ATIME}),
        ("ratime", {"rattr_clear": ATIME}),
        ("rnorelatime", {"rattr_clear": ATIME}),
        ("rnostrictatime", {"rattr_clear": ATIME}),
    ],
)
def test_one_option(word: str, expected: dict[str, object]) -> None:
    """Each word alone does what the table says, and nothing else."""
    assert fields(parse([word])) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ro", "rw"), (0, RDONLY, 0, 0)),
        (("rw", "ro"), (RDONLY, 0, 0, 0)),
        (("nosuid", "suid", "nosuid"), (NOSUID, 0, 0, 0)),
        (("noatime", "strictatime"), (STRICTATIME, ATIME, 0, 0)),
        (("strictatime", "relatime"), (0, ATIME, 0, 0)),
        (("noatime", "nodiratime", "atime"), (NODIRATIME, ATIME, 0, 0)),
        (("rro", "rrw"), (0, 0, 0, RDONLY)),
        (("ro", "rrw"), (RDONLY, 0, 0, RDONLY)),
        (("ro", "defaults"), (RDONLY, 0, 0, 0)),
    ],
)
def test_the_later_option_wins(words: tuple[str, ...], expected: tuple[int, ...]) -> None:
    """As in mount(8), a later word overrides an earlier one of the same meaning, and only that."""
    assert attributes(*words) == expected


@pytest.mark.parametrize(
    ("words", "superblock", "flags"),
    [
        (("sync", "async"), ["async"], 0),
        (("ro", "rw", "ro"), ["ro"], 1),
        (("ro", "sync", "rw"), ["sync", "rw"], 16),
        (("lazytime", "nolazytime", "dirsync"), ["nolazytime", "dirsync"], 128),
        (("iversion", "noiversion"), [], 0),
        (("silent", "loud"), [], 0),
    ],
)
def test_superblock_words_do_not_contradict(
    words: tuple[str, ...], superblock: list[str], flags: int
) -> None:
    """Of two contrary words the file system hears only the later one."""
    options = parse(words)
    assert (options.superblock, options.flags) == (superblock, flags)


def test_propagation_of_both_kinds() -> None:
    """The later of one kind wins; plain and recursive are kept apart."""
    options = parse(["rslave", "shared", "rprivate"])
    assert (options.propagation, options.rpropagation) == (SHARED, PRIVATE)


def test_bind_after_rbind() -> None:
    """The later of bind and rbind decides how deep the bind goes."""
    assert not parse(["rbind", "bind"]).recursive
    assert parse(["bind", "rbind"]).recursive


@pytest.mark.parametrize(
    ("words", "data"),
    [
        (["mode=755", "size=64k"], ["mode=755", "size=64k"]),
        (["size=1k,mode=755", "nosuid"], ["size=1k", "mode=755"]),
        (["lowerdir=/a\\,b:/c,upperdir=/u"], ["lowerdir=/a\\,b:/c", "upperdir=/u"]),
        (['context="u:o:t:s0:c1,c2",size=1k'], ['context="u:o:t:s0:c1,c2"', "size=1k"]),
        (["", ",", "newinstance"], ["newinstance"]),
        (["RO", "acl", "rbindd"], ["RO", "acl", "rbindd"]),
    ],
)
def test_unknown_options_are_data(words: list[str], data: list[str]) -> None:
    """R034: what is not known goes to the file system, split at the commas at which mount(2) splits."""
    assert parse(words).data == data


def test_words_of_mount_8_alone_are_dropped() -> None:
    """R033: what mount(8) keeps from the kernel is not data either, and is not listed as an option."""
    words = ["noauto", "nofail", "_netdev", "x-systemd.automount", "X-mount.mkdir", "comment=a"]
    assert parse(words).data == []
    assert not set(words) & set(known_options())


def test_words_that_clear() -> None:
    """A word of the other sense clears the flag, a later one sets it again; plain and recursive ones are apart."""
    plain = ["rw", "suid", "dev", "exec", "symfollow", "rsuid"]
    assert parse(plain).attr_clear == RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW
    assert parse(plain).rattr_clear == NOSUID
    assert parse(["noatime", "diratime", "rw", "ro"]).attr_clear == ATIME | NODIRATIME
    assert parse(["rrw", "rsuid"]).rattr_clear == RDONLY | NOSUID


def test_new_attributes_join_plain_and_recursive_words() -> None:
    """A new file system has nothing below it: rro is ro for it, and rrw takes ro away."""
    assert parse(["rro", "nosuid"]).new_attributes() == (RDONLY | NOSUID, 0)
    assert parse(["ro", "rrw"]).new_attributes() == (0, RDONLY)
    assert parse(["noatime", "rstrictatime"]).new_attributes() == (STRICTATIME, ATIME)
    assert parse(["strictatime"]).new_attributes() == (STRICTATIME, ATIME)


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ([], 32),
        (["ro", "nosuid", "nodev", "noexec"], 32 | 1 | 2 | 4 | 8),
        (["rw", "sync", "noatime", "nodiratime"], 32 | 16 | 1024 | 2048),
        (["strictatime", "lazytime"], 32 | 1 << 24 | 1 << 25),
        (["relatime", "iversion"], 32 | 1 << 21 | 1 << 23),
        (["nosymfollow", "silent"], 32 | 256 | 1 << 15),
    ],
)
def test_mount_flags(words: list[str], flags: int) -> None:
    """The same options as MS_* flags of mount(2) with MS_REMOUNT."""
    assert parse(words).mount_flags() == flags


def test_split_data_keeps_what_it_does_not_split() -> None:
    """A text without commas is one option, an empty one none."""
    assert split_data("mode=1777") == ["mode=1777"]
    assert split_data("") == []
