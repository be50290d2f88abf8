# SPDX-License-Identifier: Apache-2.0
"""What is an ordinary container? As much of a config as the probes look at: namespaces, mounts, ids, device rules.

For root what engines ask for; for anybody else the same in a user namespace with the caller's own ids, in the host's network
and without limits, as `runc spec --rootless` has it.
"""

from __future__ import annotations

import os

from ociruntime.linux.refusals import facts

_KINDS = ("mount", "pid", "ipc", "uts")
_MOUNTS = (("/proc", "proc"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/dev/mqueue", "mqueue"))


def ordinary_config() -> dict[str, object]:
    """For this process; it is not complete, and no container is made of it."""
    powerful = facts.has(facts.CAP_SYS_ADMIN) and os.geteuid() == 0
    kinds, kind_of_sys = (*_KINDS, "network"), "sysfs"
    linux: dict[str, object] = {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}
    if not powerful:
        kinds, kind_of_sys = (*_KINDS, "user"), "none"
        linux = {
            "uidMappings": [{"containerID": 0, "hostID": os.geteuid(), "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": os.getegid(), "size": 1}],
        }
    mounts = [*_MOUNTS, ("/sys", kind_of_sys)]
    return {
        "ociVersion": "1.0.2",
        "mounts": [{"destination": place, "type": kind, "source": kind} for place, kind in mounts],
        "linux": {**linux, "namespaces": [{"type": kind} for kind in kinds]},
    }
