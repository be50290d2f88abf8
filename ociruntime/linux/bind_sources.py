# SPDX-License-Identifier: Apache-2.0
"""Which side opens the source of a bind mount, by which path, and when? Part of the subject mounts.

- Usually init, by the host's path, when it makes the mount. Its copy of the host's mounts already has what earlier
  entries mounted in the rootfs. This needs no descriptor, and keeps the order of the config.
- A source that is written as a path below the rootfs is opened in the container's root, by either side, so that a link
  in the image can't lead out of it. In a user namespace init opens it if earlier entries have changed what is there.
- The runtime, before the clone, where init lacks the caller's rights (in a user namespace), mounts (in a joined mount
  namespace) or names (/proc/self); where the tree must be id-mapped or stay in the host's peer group; and where the
  tree holds the rootfs, because each recursive bind would double it.

A path of the host is joined and opened, never normalised: only the kernel knows where `..` behind a link leads.
Must not import mounts.py (which imports this) or another subject; pure.
"""

from __future__ import annotations

import posixpath

from ociruntime.errors import NotSupported
from ociruntime.linux import namespace_entries
from ociruntime.linux.mount_options import MountOptions, is_id_mapped
from ociruntime.linux.uapi import MS_PRIVATE, MS_SHARED, MS_SLAVE

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from ociruntime.config import Node

# Flags of op bind, native/plan.h
BIND_RECURSIVE = 1
BIND_IN_ROOT = 2

# Names that mean a different file for each process.
_OF_THE_CALLER = ("/proc/", "/dev/fd/", "/dev/stdin/", "/dev/stdout/", "/dev/stderr/")


class Source:
    """Where a bind comes from.

    path         of the host, absolute; or in the container's root
    by_runtime   the runtime opens it before the clone; otherwise init does, when it makes the mount
    root         the host's directory in which the path is resolved, or "" for the host's own root
    flags        BIND_* for init
    propagation  MS_SLAVE or MS_PRIVATE for the whole tree before it is attached; 0 leaves the host's peer group
    """

    __slots__ = ("by_runtime", "flags", "path", "propagation", "root")

    def __init__(self, path: str, *, by_runtime: bool, flags: int, propagation: int, root: str = "") -> None:
        self.path = path
        self.by_runtime = by_runtime
        self.flags = flags
        self.propagation = propagation
        self.root = root


class Sources:
    """Finds the source of each bind. `note` must be called for every mount, in the config's order.

    bundle  absolute; a relative source is relative to it (R018)
    rootfs  absolute path of the container's root
    rootless  the runtime may not open trees: init does, which has the same rights on files
    """

    __slots__ = (
        "_above",
        "_bundle",
        "_foreign",
        "_places",
        "_propagation",
        "_root",
        "_rootfs",
        "_rootless",
        "_written",
    )

    def __init__(self, config: Node, bundle: str, rootfs: str, *, rootless: bool) -> None:
        self._bundle = bundle
        self._rootfs = rootfs
        self._root = _plain(rootfs)
        written = config.at("root", "path").text()
        # Below the bundle; None if it is not written that way.
        self._written = _plain(f"/{written}") if written and not written.startswith("/") else None
        self._rootless = rootless
        self._foreign = opened_by_runtime(config)
        self._propagation = config.at("linux", "rootfsPropagation").text()
        self._places: set[str] = set()  # where earlier entries have mounted something
        self._above: set[str] = set()  # the directories above those

    def note(self, place: str) -> None:
        """Note that an entry mounts something at this path in the container."""
        self._places.add(place)
        while place != "/" and (place := posixpath.dirname(place)) not in self._above:
            self._above.add(place)

    def find(self, entry: Node, options: MountOptions) -> Source:
        """The source of a bind.

        Raises NotSupported for an id-mapped bind of one of the container's own mounts.
        """
        source = entry.at("source").text()
        path = posixpath.join(self._bundle, source)
        plain = _plain(path)
        text = plain or posixpath.normpath(path)  # an approximation will do: it only decides the order
        inside = None if _names_the_caller(text) else self._inside(plain, source)
        covered = inside is not None and self._is_covered(inside)
        propagation = tree_propagation(self._propagation, options)
        flags = BIND_RECURSIVE if options.recursive else 0
        if is_id_mapped(entry):
            if covered:
                reason = "an id-mapped bind of one of the container's own mounts is not supported yet"
                raise NotSupported(reason, pointer=entry.at("source").pointer)
            by_runtime = True
        elif covered or (options.recursive and inside in self._above):
            by_runtime = False
            propagation = propagation or MS_SLAVE  # its peers are not the host's
        else:
            holds = options.recursive and inside is None and self._holds_root(text)
            by_runtime = self._foreign or not propagation or holds or _names_the_caller(text)
        if self._rootless:
            by_runtime, propagation = False, propagation or MS_SLAVE
        if inside is None:
            return Source(path, by_runtime=by_runtime, flags=flags, propagation=propagation)
        flags |= BIND_IN_ROOT
        return Source(inside, by_runtime=by_runtime, flags=flags, propagation=propagation, root=self._rootfs)

    def _inside(self, plain: str | None, source: str) -> str | None:
        """The path in the root of a source that is written as one below the rootfs; None with "..", see _plain."""
        root = self._root
        if (
            not source.startswith("/") and self._written is not None
        ):  # however the bundle's own path is written
            plain, root = _plain(f"/{source}"), self._written
        if plain is None or root is None:
            return None
        if root in (plain, "/"):
            return plain if root == "/" else "/"
        return plain[len(root) :] if plain.startswith(f"{root}/") else None

    def _is_covered(self, inside: str) -> bool:
        """True if an earlier entry is mounted at or above it."""
        while inside not in self._places:
            if inside == "/":
                return False
            inside = posixpath.dirname(inside)
        return True

    def _holds_root(self, path: str) -> bool:
        root = self._root or posixpath.normpath(self._rootfs)
        return path == "/" or root.startswith(f"{path}/")


def opened_by_runtime(config: Node) -> bool:
    """True if init can't open a path of the host as the runtime's caller would."""
    return namespace_entries.has(config, "user") or namespace_entries.is_joined(config, "mount")


def tree_propagation(rootfs_propagation: str, options: MountOptions) -> int:
    """The propagation that a source's tree gets before it is attached.

    A mount made in the container must not appear on the host (security invariant 16), unless both the rootfs and
    the entry are to be shared. A private rootfs has private mounts, except for entries that say slave.
    """
    words = (options.propagation, options.rpropagation)
    if MS_SHARED in words and rootfs_propagation in ("shared", "rshared"):
        return 0
    private = rootfs_propagation.lstrip("r") in ("private", "unbindable")
    return MS_PRIVATE if private and MS_SLAVE not in words else MS_SLAVE


def _plain(path: str) -> str | None:
    """An absolute path without "." and empty names; None if it has "..", which only the kernel can resolve."""
    if "/." not in path and "//" not in path:
        return path.rstrip("/") or "/"
    names = [name for name in path.split("/") if name not in ("", ".")]
    return None if ".." in names else "/" + "/".join(names)


def _names_the_caller(path: str) -> bool:
    return f"{path}/".startswith(_OF_THE_CALLER) and path != "/proc"
