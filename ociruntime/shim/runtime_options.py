# SPDX-License-Identifier: Apache-2.0
"""What do the runtime options of a request say? containerd, docker and CRI pass one of two messages, or none.

    containerd.runc.v1.Options   the options of containerd's shim for runc
    runtimeoptions.v1.Options    a file or a text in TOML, with the same names as in containerd's configuration

An unknown name in TOML is refused; `binary_name` names a program that this shim doesn't need.
"""

from __future__ import annotations

from ociruntime.errors import UsageError
from ociruntime.shim.messages import require_words
from ociruntime.shim.tables import FILE_OPTIONS, RUNC_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_ROOT = "/run/containerd/ociruntime"
# name in containerd's configuration -> ours
_NAMES = {
    "NoPivotRoot": "no_pivot_root",
    "NoNewKeyring": "no_new_keyring",
    "ShimCgroup": "shim_cgroup",
    "IoUid": "io_uid",
    "IoGid": "io_gid",
    "BinaryName": "binary_name",
    "Root": "root",
    "SystemdCgroup": "systemd_cgroup",
}


class RuntimeOptions:
    """The options that this shim obeys.

    root            directory of the containers' state, without the namespace
    no_pivot, no_new_keyring   as ociruntime's flags
    cgroup_manager  "systemd" or "cgroupfs"
    shim_cgroup     cgroup of the shim itself, or ""
    io_uid, io_gid  who owns the pipes and fifos of the program; 0: nothing is changed
    """

    __slots__ = (
        "cgroup_manager",
        "io_gid",
        "io_uid",
        "no_new_keyring",
        "no_pivot",
        "root",
        "shim_cgroup",
    )

    def __init__(self, found: dict[str, Any]) -> None:
        """Raises UsageError."""
        self.root = found.get("root") or DEFAULT_ROOT
        if not self.root.startswith("/"):
            raise UsageError(f"runtime option root: {self.root} is not an absolute path")
        self.no_pivot = bool(found.get("no_pivot_root"))
        self.cgroup_manager = "systemd" if found.get("systemd_cgroup") else "cgroupfs"
        self.no_new_keyring = bool(found.get("no_new_keyring"))
        self.shim_cgroup = found.get("shim_cgroup") or ""
        self.io_uid = int(found.get("io_uid") or 0)
        self.io_gid = int(found.get("io_gid") or 0)


def of(option: dict[str, Any] | None) -> RuntimeOptions:
    """The options in an Any; None or an empty one: the defaults. Raises UsageError, Malformed."""
    if option is None or not option["type_url"]:
        return RuntimeOptions({})
    kind = option["type_url"].rpartition("/")[2]
    if kind == RUNC_OPTIONS.name:
        return RuntimeOptions(RUNC_OPTIONS.decode_words(option["value"]))
    if kind == FILE_OPTIONS.name:
        return RuntimeOptions(_of_file(FILE_OPTIONS.decode_words(option["value"])))
    raise UsageError(
        f"runtime options of type {kind}", hint=f"{RUNC_OPTIONS.name} and {FILE_OPTIONS.name} are known"
    )


def _of_file(said: dict[str, Any]) -> dict[str, Any]:
    """The settings of a text, or of a file, in TOML."""
    text, where = said["config_body"], "runtime options"
    if not text and said["config_path"]:
        where = said["config_path"]
        try:
            with open(where, "rb") as file:
                text = file.read(1 << 20)
        except OSError as failure:
            raise UsageError(f"runtime options: {where}", errno=failure.errno or 0) from None
    if not text:
        return {}
    import tomllib  # 5 ms, and only who has such a file pays them

    try:
        found = tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as failure:
        raise UsageError(f"{where}: {failure}") from None
    unknown = sorted(found.keys() - _NAMES.keys())
    if unknown:
        raise UsageError(f"{where}: unknown option {unknown[0]}", hint=f"known are {', '.join(_NAMES)}")
    require_words(found, where)
    for name, value in found.items():
        wanted = bool if name.startswith(("No", "Systemd")) else int if name.startswith("Io") else str
        if type(value) is not wanted:
            raise UsageError(f"{where}: {name} must be {wanted.__name__}")
    return {_NAMES[name]: value for name, value in found.items()}
