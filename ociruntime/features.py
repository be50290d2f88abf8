# SPDX-License-Identifier: Apache-2.0
"""What does this runtime support? The features document of the specification (features.md, features-linux.md).

Lists come from the tables of the subjects that obey them, so that nothing is promised that the code doesn't know.
The content is fixed by the code and not by the host (R242); what a later version will bring is `false` or an empty
list, which says "known and not supported", where a missing property would say "unknown" (R243).
"""

from __future__ import annotations

from ociruntime import __version__

OCI_VERSION_MIN = "1.0.0"
OCI_VERSION_MAX = "1.3.0"


def features() -> dict[str, object]:
    """The document."""
    from ociruntime.hooks import KINDS
    from ociruntime.linux.capabilities import CAPABILITIES
    from ociruntime.linux.mount_options import known_options
    from ociruntime.linux.namespaces import SUPPORTED

    return {
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION_MAX,
        "hooks": list(KINDS),
        # id-mapped mounts are recognised by name and refused
        "mountOptions": [option for option in known_options() if option not in {"idmap", "ridmap"}],
        "linux": {
            "namespaces": sorted(SUPPORTED),
            "capabilities": list(CAPABILITIES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {"enabled": False},
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False, "schemata": False, "monitoring": False},
            "memoryPolicy": {"modes": [], "flags": []},
            "mountExtensions": {"idmap": {"enabled": False}},
            "netDevices": {"enabled": False},
        },
        "annotations": {"run.ociruntime.version": __version__},
        "potentiallyUnsafeConfigAnnotations": [],
    }
