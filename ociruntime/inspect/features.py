# SPDX-License-Identifier: Apache-2.0
"""What does this runtime support? The features document of the specification (features.md, features-linux.md).

Lists come from the tables of the subjects, and "supported" is what their check() does not refuse, so that nothing is
promised that the code doesn't do. The content is fixed by the code and not by the host (R242); what a later version
will bring is `false` or an empty list, which says "known and not supported"; a missing property would say
"unknown" (R243). It is not on the path of a container: it may import any subject, but nothing of the spine.
"""

from __future__ import annotations

from ociruntime import __version__
from ociruntime.config import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ociruntime.errors import Violation

OCI_VERSION_MIN = "1.0.0"
OCI_VERSION_MAX = "1.3.0"

_ID_MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def features() -> dict[str, object]:
    """The document."""
    from ociruntime.linux import cgroups, intelrdt, lsm, mounts, network, scheduling, seccomp
    from ociruntime.linux.annotations import EFFECTS
    from ociruntime.linux.capabilities import NAMES
    from ociruntime.linux.hooks import KINDS
    from ociruntime.linux.mount_options import known_options

    mapped = {
        "destination": "/x",
        "type": "bind",
        "source": "/x",
        "uidMappings": _ID_MAP,
        "gidMappings": _ID_MAP,
    }
    id_mapped = _takes(mounts.check, mounts=[{**mapped, "options": ["bind", "idmap"]}])
    moved = _takes(network.check, linux={"netDevices": {"eth0": {}}, "namespaces": [{"type": "network"}]})
    rdma = _takes(cgroups.check, linux={"resources": {"rdma": {"x": {"hcaHandles": 1}}}})
    return {
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION_MAX,
        "hooks": list(KINDS),
        "mountOptions": [
            option for option in known_options() if id_mapped or option not in {"idmap", "ridmap"}
        ],
        "linux": {
            "namespaces": _namespaces(),
            "capabilities": list(NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": rdma},
            "seccomp": {
                "enabled": True,
                "actions": list(seccomp.ACTIONS),
                "operators": list(seccomp.OPERATORS),
                "archs": list(seccomp.ARCHITECTURES),
                "knownFlags": list(seccomp.FLAGS),
                "supportedFlags": list(seccomp.FLAGS),
            },
            "apparmor": {"enabled": _takes(lsm.check, process={"apparmorProfile": "x"})},
            "selinux": {
                "enabled": _takes(lsm.check, process={"selinuxLabel": "x"}, linux={"mountLabel": "x"})
            },
            "intelRdt": {
                "enabled": _takes(intelrdt.check, linux={"intelRdt": {"closID": "x"}}),
                "schemata": _takes(intelrdt.check, linux={"intelRdt": {"schemata": ["L3:0=f"]}}),
                "monitoring": _takes(intelrdt.check, linux={"intelRdt": {"enableMonitoring": True}}),
            },
            "memoryPolicy": {"modes": list(scheduling.MEMORY_MODES), "flags": list(scheduling.MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": id_mapped}},
            "netDevices": {"enabled": moved},
        },
        "annotations": {"run.ociruntime.version": __version__},
        "potentiallyUnsafeConfigAnnotations": sorted(EFFECTS),
    }


def _takes(check: Callable[[Node], Iterable[Violation]], **config: object) -> bool:
    """True if a subject accepts a config that uses a feature."""
    return not list(check(Node(config)))


def _namespaces() -> list[str]:
    from ociruntime.linux.namespaces import TYPES, check

    return sorted(name for name in TYPES if _takes(check, linux={"namespaces": [{"type": name}]}))
