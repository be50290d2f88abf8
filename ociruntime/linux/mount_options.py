# SPDX-License-Identifier: Apache-2.0
"""What does each mount option mean? One table (config.md, Linux mount options; mount(8)).

`parse` turns the `options` of one entry into MountOptions; the table is also what `features` lists.
As in mount(8) a later option overrides an earlier one. Must not import another subject; pure.
"""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.linux.uapi import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
    MS_DIRSYNC,
    MS_I_VERSION,
    MS_LAZYTIME,
    MS_MANDLOCK,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_PRIVATE,
    MS_RDONLY,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SHARED,
    MS_SILENT,
    MS_SLAVE,
    MS_STRICTATIME,
    MS_SYNCHRONOUS,
    MS_UNBINDABLE,
)

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ociruntime.config import Node

PROPAGATION = {
    "private": MS_PRIVATE,
    "shared": MS_SHARED,
    "slave": MS_SLAVE,
    "unbindable": MS_UNBINDABLE,
}

# word -> (attribute, its bits in attr_set, True if the word clears it)
_ATTRIBUTES = {
    "ro": (MOUNT_ATTR_RDONLY, False),
    "rw": (MOUNT_ATTR_RDONLY, True),
    "nosuid": (MOUNT_ATTR_NOSUID, False),
    "suid": (MOUNT_ATTR_NOSUID, True),
    "nodev": (MOUNT_ATTR_NODEV, False),
    "dev": (MOUNT_ATTR_NODEV, True),
    "noexec": (MOUNT_ATTR_NOEXEC, False),
    "exec": (MOUNT_ATTR_NOEXEC, True),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, False),
    "diratime": (MOUNT_ATTR_NODIRATIME, True),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, False),
    "symfollow": (MOUNT_ATTR_NOSYMFOLLOW, True),
}

# The access time mode is one field of three values, not three flags: setting one replaces the others,
# and "not this one" means the kernel's default, relatime.
_ATIME = {
    "relatime": MOUNT_ATTR_RELATIME,
    "noatime": MOUNT_ATTR_NOATIME,
    "strictatime": MOUNT_ATTR_STRICTATIME,
}
_NOT_ATIME = {
    "norelatime": MOUNT_ATTR_RELATIME,
    "atime": MOUNT_ATTR_NOATIME,
    "nostrictatime": MOUNT_ATTR_STRICTATIME,
}

# Flags of the superblock. word -> (MS_* flag, True if the word clears it).
# fsconfig(2) has the same words, except those of _NO_FSCONFIG: these are flags of mount(2) only.
_SUPERBLOCK = {
    "ro": (MS_RDONLY, False),
    "rw": (MS_RDONLY, True),
    "sync": (MS_SYNCHRONOUS, False),
    "async": (MS_SYNCHRONOUS, True),
    "dirsync": (MS_DIRSYNC, False),
    "lazytime": (MS_LAZYTIME, False),
    "nolazytime": (MS_LAZYTIME, True),
    "mand": (MS_MANDLOCK, False),
    "nomand": (MS_MANDLOCK, True),
    "iversion": (MS_I_VERSION, False),
    "noiversion": (MS_I_VERSION, True),
    "silent": (MS_SILENT, False),
    "loud": (MS_SILENT, True),
}
_NO_FSCONFIG = ("iversion", "noiversion", "silent", "loud")

# Words of the specification that are more than a flag, or have no effect.
_OTHERS = ("bind", "rbind", "remount", "defaults", "tmpcopyup", "idmap", "ridmap")

# Words that mount(8) handles itself and never passes to the kernel (R033): here they have no effect, and
# `features` does not list them.
_USERSPACE = frozenset(("auto", "noauto", "nofail", "_netdev", "nouser", "nousers", "noowner", "nogroup"))
_USERSPACE_PREFIXES = ("x-", "X-", "comment=")

# crun's words for a source or destination that is a symbolic link.
_OF_LINKS = frozenset(("copy-symlink", "src-nofollow", "dest-nofollow"))

_TO_MS = {
    MOUNT_ATTR_RDONLY: MS_RDONLY,
    MOUNT_ATTR_NOSUID: MS_NOSUID,
    MOUNT_ATTR_NODEV: MS_NODEV,
    MOUNT_ATTR_NOEXEC: MS_NOEXEC,
    MOUNT_ATTR_NOATIME: MS_NOATIME,
    MOUNT_ATTR_STRICTATIME: MS_STRICTATIME,
    MOUNT_ATTR_NODIRATIME: MS_NODIRATIME,
    MOUNT_ATTR_NOSYMFOLLOW: MS_NOSYMFOLLOW,
}


def known_options() -> list[str]:
    """Every option that `parse` knows by name, sorted, as the features document lists them (R249)."""
    words = {*_ATTRIBUTES, *_ATIME, *_NOT_ATIME, *_SUPERBLOCK, *_OTHERS, *PROPAGATION}
    words.update("r" + word for word in (*_ATTRIBUTES, *_ATIME, *_NOT_ATIME, *PROPAGATION))
    return sorted(words)


class MountOptions:
    """The options of one entry, by what they are for.

    attr_set, attr_clear     MOUNT_ATTR_* bits of the plain words
    rattr_set, rattr_clear   the same of the recursive words (rro, rnosuid, ...)
    propagation, rpropagation   MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, or 0
    bind, recursive          bind or rbind; rbind
    remount, copy_up         remount; tmpcopyup
    id_map                   "idmap", "ridmap" or ""
    superblock               fsconfig(2) flag words, without contradictions: "ro", "sync", ...
    flags                    MS_* flags of the superblock words, for remount and for what fsconfig lacks
    data                     everything else, for the file system (R034)
    """

    __slots__ = (
        "attr_clear",
        "attr_set",
        "bind",
        "copy_up",
        "data",
        "flags",
        "id_map",
        "propagation",
        "rattr_clear",
        "rattr_set",
        "recursive",
        "remount",
        "rpropagation",
        "superblock",
    )

    def __init__(self) -> None:
        self.attr_set = 0
        self.attr_clear = 0
        self.rattr_set = 0
        self.rattr_clear = 0
        self.propagation = 0
        self.rpropagation = 0
        self.bind = False
        self.recursive = False
        self.remount = False
        self.copy_up = False
        self.id_map = ""
        self.superblock: list[str] = []
        self.flags = 0
        self.data: list[str] = []

    def new_attributes(self) -> tuple[int, int]:
        """(set, clear) for a new file system, which has nothing below it: the recursive words count too."""
        attr_set, attr_clear = _combine(self.attr_set, self.attr_clear, self.rattr_set, self.rattr_clear)
        return attr_set, attr_clear

    def mount_flags(self) -> int:
        """All of it as MS_* flags, for mount(2) with MS_REMOUNT."""
        attr_set, attr_clear = self.new_attributes()
        flags = MS_REMOUNT | self.flags
        for attribute, flag in _TO_MS.items():
            if attr_set & attribute:
                flags |= flag
        if attr_clear & MOUNT_ATTR__ATIME and not attr_set & MOUNT_ATTR__ATIME:
            flags |= MS_RELATIME
        return flags


def parse(options: Iterable[str]) -> MountOptions:
    """Sort the options of one mount entry; never fails: an unknown word is data for the file system."""
    result = MountOptions()
    for word in options:
        known = _attribute(result, word)
        known = _superblock(result, word) or known
        if not (known or _other(result, word) or _is_userspace(word)):
            result.data.extend(split_data(word))
    return result


def check_words(entry: Node, options: MountOptions) -> Iterator[Violation]:
    """Words of an entry (parsed as `options`) that are refused, or that have no effect on this kind of mount."""
    if not (options.data or options.copy_up):
        return
    is_bind = options.bind and not options.remount
    for index, word in enumerate(entry.at("options").texts()):
        pointer = f"{entry.pointer}/options/{index}"
        if word in _OF_LINKS:
            yield Violation(pointer, f"the mount option {word} is not supported yet", "R020", "unsupported")
        elif word == "tmpcopyup" and (is_bind or entry.at("type").text() != "tmpfs"):
            yield Violation(pointer, "tmpcopyup has no effect: the mount is not a tmpfs", "R025", "warning")
        elif is_bind and word and parse((word,)).data:
            reason = f"the mount option {word} has no effect: a bind mount has no file system of its own"
            yield Violation(pointer, reason, "R034", "warning")


def is_id_mapped(entry: Node) -> bool:
    """True if a mount entry is to be id-mapped: it has mappings (R029), or an option asks for it (R030)."""
    return (
        len(entry.at("uidMappings")) > 0
        or len(entry.at("gidMappings")) > 0
        or not {"idmap", "ridmap"}.isdisjoint(entry.at("options").texts())
    )


def split_data(text: str) -> list[str]:
    """`size=1k,mode=755` as single options: mount(2) splits its data at every comma that has no backslash."""
    parts: list[str] = []
    part = ""
    escaped = quoted = False
    for character in text:
        if character == "," and not (escaped or quoted):
            parts.append(part)
            part = ""
            continue
        if character == '"' and not escaped:  # SELinux contexts: context="system_u:object_r:a_t:s0:c1,c2"
            quoted = not quoted
        escaped = character == "\\" and not escaped
        part += character
    parts.append(part)
    return [part for part in parts if part]


def _combine(first_set: int, first_clear: int, then_set: int, then_clear: int) -> tuple[int, int]:
    attr_set = (first_set & ~then_clear) | then_set
    # a bit that is set stays in clear only for the access time field, where clear means "replace"
    attr_clear = (first_clear & ~then_set) | then_clear | (first_clear & MOUNT_ATTR__ATIME)
    return attr_set, attr_clear


def _attribute(result: MountOptions, word: str) -> bool:
    change = _change(word)
    if change is not None:
        result.attr_set, result.attr_clear = _apply(result.attr_set, result.attr_clear, change)
        return True
    change = _change(word[1:]) if word[:1] == "r" else None
    if change is not None:
        result.rattr_set, result.rattr_clear = _apply(result.rattr_set, result.rattr_clear, change)
        return True
    return False


def _change(word: str) -> tuple[int, int] | None:
    # (bits to set, bits to clear) of one word
    if word in _ATTRIBUTES:
        attribute, clears = _ATTRIBUTES[word]
        return (0, attribute) if clears else (attribute, 0)
    if word in _ATIME:
        return _ATIME[word], MOUNT_ATTR__ATIME
    if word in _NOT_ATIME:
        return MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME
    return None


def _apply(attr_set: int, attr_clear: int, change: tuple[int, int]) -> tuple[int, int]:
    sets, clears = change
    attr_set = (attr_set & ~clears) | sets
    attr_clear = (attr_clear | clears) & ~(sets & ~MOUNT_ATTR__ATIME)
    return attr_set, attr_clear


def _superblock(result: MountOptions, word: str) -> bool:
    if word not in _SUPERBLOCK:
        return False
    flag, clears = _SUPERBLOCK[word]
    same = [other for other in result.superblock if _SUPERBLOCK[other][0] == flag]
    for other in same:
        result.superblock.remove(other)
    result.flags = result.flags & ~flag if clears else result.flags | flag
    if word not in _NO_FSCONFIG:
        result.superblock.append(word)
    return True


def _other(result: MountOptions, word: str) -> bool:
    if word in PROPAGATION:
        result.propagation = PROPAGATION[word]
    elif word[:1] == "r" and word[1:] in PROPAGATION:
        result.rpropagation = PROPAGATION[word[1:]]
    elif word in ("bind", "rbind"):
        result.bind = True
        result.recursive = word == "rbind"
    elif word == "remount":
        result.remount = True
    elif word == "tmpcopyup":
        result.copy_up = True
    elif word in ("idmap", "ridmap"):
        result.id_map = word
    else:
        return word == "defaults"
    return True


def _is_userspace(word: str) -> bool:
    return word in _USERSPACE or word.startswith(_USERSPACE_PREFIXES)
