# SPDX-License-Identifier: Apache-2.0
"""Which module does a host step, and undoes it? By its op, as plans and journals have it.

It names modules without importing them. `delete` needs no more of a step than this, so it is not in step.py.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# Which module below `ociruntime` does the host steps of an op, and undoes them. It is imported when there is one.
# The ops of init are in native/plan.h.
OPS = {
    "clone_init": "launch.launch",
    "clone_helper": "launch.launch",
    "clone_hook": "launch.launch",
    "commit": "launch.launch",
    "run_hook": "launch.hooks",
    "open_init": "launch.launch",
    "make_notify_directory": "foreground.readiness",
    "raise_descriptor_limit": "linux.descriptor_limit",
    "lower_descriptor_limit": "linux.descriptor_limit",
    "give_descriptor_limit": "linux.descriptor_limit",
    "note_mounts": "linux.rootfs",
    "open_bind_source": "linux.mounts",
    "id_map_bind_source": "linux.mounts",
    "make_device_node": "linux.devices",
    "open_namespace": "linux.namespaces",
    "note_id_maps": "linux.idmap",
    "hold_id_maps": "linux.idmap",
    "write_id_map": "linux.idmap",
    "move_network_device": "linux.network",
    "check_cgroup": "linux.cgroups",
    "make_cgroup": "linux.cgroups",
    "start_scope": "linux.cgroups.systemd.scope",
    "release_scope": "linux.cgroups.systemd.scope",
    "set_unit_properties": "linux.cgroups.systemd.scope",
    "set_cgroup": "linux.cgroups",
    "set_device_rules": "linux.cgroups",
    "load_device_program": "linux.cgroups",
    "check_memory_in_use": "linux.cgroups",
    "enable_controllers": "linux.cgroups",
    "delegate_cgroup": "linux.cgroups",
    "open_cgroup": "linux.cgroups",
    "check_resctrl_group": "linux.intelrdt",
    "make_resctrl_group": "linux.intelrdt",
    "make_monitoring_group": "linux.intelrdt",
    "join_resctrl_group": "linux.intelrdt",
    "set_schemata": "linux.intelrdt",
    "check_device_node": "linux.devices",
    "set_oom_score_adj": "linux.process",
    "set_rlimit": "linux.rlimits",
    "set_scheduler": "linux.scheduling",
    "set_io_priority": "linux.scheduling",
    "compile_seccomp_filter": "linux.seccomp",
    "send_seccomp_listener": "linux.seccomp",
    "connect_console_socket": "linux.console",
    "connect_pidfd_socket": "linux.console",
    "send_terminal": "linux.console",
    "send_pidfd": "linux.console",
}

# Ops whose words for people are not the op's own.
_WORDS = {
    "id_map_bind_source": "id-map bind source",
    "set_io_priority": "set I/O priority",
    "set_oom_score_adj": "set oom_score_adj",
}


def words_of(op: str) -> str:
    """An op as people read it in plans, errors and traces."""
    return _WORDS.get(op) or op.replace("_", " ")


def module_of(op: str) -> ModuleType:
    """The module that does an op, imported now. Raises KeyError for what is not an op."""
    return __import__(f"ociruntime.{OPS[op]}", fromlist=["apply"])
