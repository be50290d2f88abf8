# SPDX-License-Identifier: Apache-2.0
"""Which valid configs are there that together have every property of the schema?

Each is small and about one subject, so that a mutation is likely to hit something that matters and
jsonschema is done with it in a millisecond. test_schema.py holds that no property is missing here.
"""

from __future__ import annotations

from typing import Any

_START: dict[str, Any] = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}}

_MINIMAL = dict(_START)

_PROCESS: dict[str, Any] = {
    **_START,
    "root": {"path": "/srv/root", "readonly": True},
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "user": {"uid": 1000, "gid": 1000, "umask": 18, "additionalGids": [5, 6]},
        "args": ["sh", "-c", "echo a; exec true", ""],
        "env": ["PATH=/usr/bin:/bin", "TERM=xterm", "EMPTY="],
        "cwd": "/",
        "capabilities": {
            "bounding": ["CAP_KILL", "CAP_CHOWN"],
            "effective": ["CAP_KILL"],
            "inheritable": [],
            "permitted": ["CAP_KILL"],
            "ambient": ["CAP_NOT_YET_INVENTED"],
        },
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
        ],
        "noNewPrivileges": True,
        "oomScoreAdj": -500,
    },
    "hostname": "box",
    "domainname": "example.test",
}

_SCHEDULING: dict[str, Any] = {
    **_START,
    "process": {
        "args": ["true"],
        "cwd": "/srv",
        "apparmorProfile": "acme",
        "selinuxLabel": "system_u:system_r:svirt_lxc_net_t:s0:c124,c675",
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "nice": -5,
            "priority": 3,
            "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM"],
            "runtime": 10_000_000,
            "deadline": 20_000_000,
            "period": 30_000_000,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0-3,7", "final": "1"},
    },
}

_MOUNTS: dict[str, Any] = {
    **_START,
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755", "size=65536k"],
        },
        {
            "destination": "data",
            "source": "../data",
            "options": ["rbind", "ro", "ridmap"],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 65536}],
        },
    ],
    "linux": {
        "rootfsPropagation": "slave",
        "maskedPaths": ["/proc/kcore", "/proc/keys"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811",
        "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "0"},
    },
}

_HOOK = {"path": "/usr/bin/hook", "args": ["hook", "now"], "env": ["A=b"], "timeout": 5}
_HOOKS: dict[str, Any] = {
    **_START,
    "ociVersion": "1.0.2-dev",
    "hooks": {
        "prestart": [dict(_HOOK)],
        "createRuntime": [{"path": "/bin/true"}, dict(_HOOK)],
        "createContainer": [dict(_HOOK), {"path": "/bin/false", "timeout": 1}],
        "startContainer": [dict(_HOOK)],
        "poststart": [dict(_HOOK)],
        "poststop": [dict(_HOOK)],
    },
    "annotations": {"org.example.key": "value", "org.example.empty": ""},
    "solaris": {},
    "windows": {"layerFolders": ["C:\\layer"]},
    "vm": {"kernel": {"path": "/boot/k"}},
    "zos": {},
    "freebsd": {},
}

_NAMESPACES: dict[str, Any] = {
    **_START,
    "linux": {
        "namespaces": [
            {"type": "pid", "path": "/proc/1234/ns/pid"},
            {"type": "network"},
            {"type": "mount"},
            {"type": "user"},
        ],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 32000}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 2**32 - 1}],
        "timeOffsets": {
            "monotonic": {"secs": 172800, "nanosecs": 5},
            "boottime": {"secs": -604800, "nanosecs": 0},
        },
        "netDevices": {"eth0": {"name": "eth%d"}, "ens4": {}},
        "personality": {"domain": "LINUX32", "flags": []},
        "memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "2-3", "flags": ["MPOL_F_STATIC_NODES"]},
        "intelRdt": {
            "closID": "guaranteed",
            "l3CacheSchema": "L3:0=7f0;1=1f",
            "memBwSchema": "MB:0=20;1=70",
            "schemata": ["L3:0=7f0;1=1f", "L2:0=f"],
            "enableMonitoring": True,
        },
    },
}

_DEVICES: dict[str, Any] = {
    **_START,
    "linux": {
        "devices": [
            {
                "type": "c",
                "path": "/dev/fuse",
                "major": 10,
                "minor": 229,
                "fileMode": 438,
                "uid": 0,
                "gid": 0,
            },
            {"type": "b", "path": "/dev/sda", "major": 8, "minor": 0, "fileMode": 432},
            {"type": "p", "path": "/run/fifo"},
        ],
        "cgroupsPath": "/limits/one",
        "resources": {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 10, "minor": -1, "access": "rw"},
                {"allow": True, "type": "a"},
            ]
        },
    },
}

_RESOURCES: dict[str, Any] = {
    **_START,
    "linux": {
        "resources": {
            "memory": {
                "limit": 536870912,
                "reservation": 268435456,
                "swap": -1,
                "kernel": -1,
                "kernelTCP": 1000000,
                "swappiness": 0,
                "disableOOMKiller": False,
                "useHierarchy": True,
                "checkBeforeUpdate": False,
            },
            "cpu": {
                "shares": 1024,
                "quota": 1000000,
                "burst": 1000,
                "period": 500000,
                "realtimeRuntime": 950000,
                "realtimePeriod": 1000000,
                "cpus": "2-3",
                "mems": "0, 2-7",
                "idle": 1,
            },
            "pids": {"limit": 0},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}, {"pageSize": "64KB", "limit": 0}],
            "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "rxe3": {"hcaObjects": 10000}},
            "unified": {"io.max": "259:0 rbps=2097152", "hugetlb.1GB.max": "1073741824"},
        }
    },
}

_RATE = {"major": 8, "minor": 0, "rate": 600}
_BLOCK: dict[str, Any] = {
    **_START,
    "linux": {
        "resources": {
            "blockIO": {
                "weight": 10,
                "leafWeight": 1000,
                "weightDevice": [
                    {"major": 8, "minor": 0, "weight": 500, "leafWeight": 300},
                    {"major": 8, "minor": 16, "leafWeight": 500},
                ],
                "throttleReadBpsDevice": [dict(_RATE)],
                "throttleWriteBpsDevice": [dict(_RATE), {"major": 8, "minor": 16, "rate": 2**64 - 1}],
                "throttleReadIOPSDevice": [dict(_RATE)],
                "throttleWriteIOPSDevice": [dict(_RATE)],
            }
        }
    },
}

_SECCOMP: dict[str, Any] = {
    **_START,
    "linux": {
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent.sock",
            "listenerMetadata": "MKNOD=/dev/null",
            "syscalls": [
                {"names": ["getcwd", "chmod"], "action": "SCMP_ACT_ALLOW"},
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_TRACE",
                    "errnoRet": 1,
                    "args": [{"index": 0, "value": 2**64 - 1, "valueTwo": 8, "op": "SCMP_CMP_MASKED_EQ"}],
                },
            ],
        }
    },
}

_SECCOMP_PLAIN: dict[str, Any] = {
    **_START,
    "linux": {
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_KILL"}],
        }
    },
}

# What engines write and the specification's own schemas refuse: docs/internals/schema.md says why it is accepted here.
_ENGINES: dict[str, Any] = {
    **_START,
    "hostname": None,
    "linux": {
        "namespaces": [{"type": "time"}, {"type": "cgroup"}],
        "devices": [{"type": "c", "path": "/dev/kvm", "major": 10, "minor": 232, "fileMode": 8624}],
        "resources": {"pids": {}, "cpu": {"shares": 2.0}},
        "rootfsPropagation": "rprivate",
    },
    "windows": {},
}

# The zero values of Go's types, written or left out.
_ZEROS: dict[str, Any] = {
    **_START,
    "process": {
        "args": ["true"],
        "cwd": "/",
        "user": {},
        "consoleSize": {},
        "ioPriority": {"class": "IOPRIO_CLASS_BE"},
    },
    "linux": {
        "namespaces": [{"type": "ipc", "path": ""}],
        "resources": {
            "devices": [{"access": "rwm", "type": ""}],
            "blockIO": {"weightDevice": [{"major": 8, "minor": 0}]},
        },
        "rootfsPropagation": "",
        "intelRdt": {"memBwSchema": ""},
    },
}

CONFIGURATIONS: tuple[dict[str, Any], ...] = (
    *(_MINIMAL, _PROCESS, _SCHEDULING, _MOUNTS, _HOOKS, _NAMESPACES),
    *(_DEVICES, _RESOURCES, _BLOCK, _SECCOMP, _SECCOMP_PLAIN, _ENGINES, _ZEROS),
)
