# SPDX-License-Identifier: Apache-2.0
"""Which messages does containerd send to a shim, and which does it expect? Numbers and names of its protocols.

The Task service's messages are the same in versions 2 and 3; only the package's name differs. Data only.
"""

from __future__ import annotations

from ociruntime.shim.messages import (
    BOOL,
    BYTES,
    ENUM,
    INT32,
    INT64,
    MAP,
    UINT32,
    UINT64,
    Field,
    Message,
)

# --- ttrpc
PAIR = Message("ttrpc.KeyValue", Field(1, "key"), Field(2, "value"))
REQUEST = Message(
    "ttrpc.Request",
    Field(1, "service"),
    Field(2, "method"),
    Field(3, "payload", BYTES),
    Field(4, "timeout_nano", INT64),
    Field(5, "metadata", PAIR, repeated=True),
)
STATUS = Message("google.rpc.Status", Field(1, "code", INT32), Field(2, "message"))
RESPONSE = Message("ttrpc.Response", Field(1, "status", STATUS), Field(2, "payload", BYTES))

# --- what others are made of
ANY = Message("google.protobuf.Any", Field(1, "type_url"), Field(2, "value", BYTES))
TIMESTAMP = Message("google.protobuf.Timestamp", Field(1, "seconds", INT64), Field(2, "nanos", INT32))
EMPTY = Message("google.protobuf.Empty")
MOUNT = Message(
    "containerd.types.Mount",
    Field(1, "type"),
    Field(2, "source"),
    Field(3, "target"),
    Field(4, "options", repeated=True),
)

# --- runtime options
RUNC_OPTIONS = Message(
    "containerd.runc.v1.Options",
    Field(1, "no_pivot_root", BOOL),
    Field(2, "no_new_keyring", BOOL),
    Field(3, "shim_cgroup"),
    Field(4, "io_uid", UINT32),
    Field(5, "io_gid", UINT32),
    Field(6, "binary_name"),
    Field(7, "root"),
    Field(9, "systemd_cgroup", BOOL),
)
FILE_OPTIONS = Message(
    "runtimeoptions.v1.Options", Field(1, "type_url"), Field(2, "config_path"), Field(3, "config_body", BYTES)
)

# --- the Task service
_ID, _EXEC = Field(1, "id"), Field(2, "exec_id")
_EXIT_STATUS, _EXITED_AT = Field(2, "exit_status", UINT32), Field(3, "exited_at", TIMESTAMP)

CREATE = Message(
    "containerd.task.v2.CreateTaskRequest",
    _ID,
    Field(2, "bundle"),
    Field(3, "rootfs", MOUNT, repeated=True),
    Field(4, "terminal", BOOL),
    Field(5, "stdin"),
    Field(6, "stdout"),
    Field(7, "stderr"),
    Field(8, "checkpoint"),
    Field(9, "parent_checkpoint"),
    Field(10, "options", ANY),
)
PID = Message("containerd.task.v2.CreateTaskResponse", Field(1, "pid", UINT32))
OF_PROCESS = Message("containerd.task.v2.StartRequest", _ID, _EXEC)
OF_TASK = Message("containerd.task.v2.PauseRequest", _ID)
EXEC = Message(
    "containerd.task.v2.ExecProcessRequest",
    _ID,
    _EXEC,
    Field(3, "terminal", BOOL),
    Field(4, "stdin"),
    Field(5, "stdout"),
    Field(6, "stderr"),
    Field(7, "spec", ANY),
)
STATE = Message(
    "containerd.task.v2.StateResponse",
    _ID,
    Field(2, "bundle"),
    Field(3, "pid", UINT32),
    Field(4, "status", ENUM),
    Field(5, "stdin"),
    Field(6, "stdout"),
    Field(7, "stderr"),
    Field(8, "terminal", BOOL),
    Field(9, "exit_status", UINT32),
    Field(10, "exited_at", TIMESTAMP),
    Field(11, "exec_id"),
)
WAITED = Message(
    "containerd.task.v2.WaitResponse", Field(1, "exit_status", UINT32), Field(2, "exited_at", TIMESTAMP)
)
DELETED = Message("containerd.task.v2.DeleteResponse", Field(1, "pid", UINT32), _EXIT_STATUS, _EXITED_AT)
KILL = Message(
    "containerd.task.v2.KillRequest", _ID, _EXEC, Field(3, "signal", UINT32), Field(4, "all", BOOL)
)
PROCESS = Message("containerd.task.ProcessInfo", Field(1, "pid", UINT32), Field(2, "info", ANY))
PROCESS_DETAILS = Message("containerd.runc.v1.ProcessDetails", Field(1, "exec_id"))
PIDS = Message("containerd.task.v2.PidsResponse", Field(1, "processes", PROCESS, repeated=True))
UPDATE = Message(
    "containerd.task.v2.UpdateTaskRequest", _ID, Field(2, "resources", ANY), Field(3, "annotations", MAP)
)
RESIZE = Message(
    "containerd.task.v2.ResizePtyRequest", _ID, _EXEC, Field(3, "width", UINT32), Field(4, "height", UINT32)
)
CLOSE_IO = Message("containerd.task.v2.CloseIORequest", _ID, _EXEC, Field(3, "stdin", BOOL))
STATS = Message("containerd.task.v2.StatsResponse", Field(1, "stats", ANY))
CHECKPOINT = Message(
    "containerd.task.v2.CheckpointTaskRequest", _ID, Field(2, "path"), Field(3, "options", ANY)
)
CONNECTED = Message(
    "containerd.task.v2.ConnectResponse",
    Field(1, "shim_pid", UINT32),
    Field(2, "task_pid", UINT32),
    Field(3, "version"),
)
SHUTDOWN = Message("containerd.task.v2.ShutdownRequest", _ID, Field(2, "now", BOOL))

# method -> what it is asked with, what it is answered with
METHODS = {
    "Create": (CREATE, PID),
    "Start": (OF_PROCESS, PID),
    "Delete": (OF_PROCESS, DELETED),
    "Exec": (EXEC, EMPTY),
    "State": (OF_PROCESS, STATE),
    "Wait": (OF_PROCESS, WAITED),
    "Kill": (KILL, EMPTY),
    "Pids": (OF_TASK, PIDS),
    "Pause": (OF_TASK, EMPTY),
    "Resume": (OF_TASK, EMPTY),
    "Update": (UPDATE, EMPTY),
    "ResizePty": (RESIZE, EMPTY),
    "CloseIO": (CLOSE_IO, EMPTY),
    "Stats": (OF_TASK, STATS),
    "Checkpoint": (CHECKPOINT, EMPTY),
    "Connect": (OF_TASK, CONNECTED),
    "Shutdown": (SHUTDOWN, EMPTY),
}

# --- events
ENVELOPE = Message(
    "containerd.types.Envelope",
    Field(1, "timestamp", TIMESTAMP),
    Field(2, "namespace"),
    Field(3, "topic"),
    Field(4, "event", ANY),
)
FORWARD = Message("containerd.services.events.ttrpc.v1.ForwardRequest", Field(1, "envelope", ENVELOPE))
_IO = Message(
    "containerd.events.TaskIO",
    Field(1, "stdin"),
    Field(2, "stdout"),
    Field(3, "stderr"),
    Field(4, "terminal", BOOL),
)
_CONTAINER = Field(1, "container_id")
_EXEC_ID = Field(2, "exec_id")

# topic -> what is told
EVENTS = {
    "/tasks/create": Message(
        "containerd.events.TaskCreate",
        _CONTAINER,
        Field(2, "bundle"),
        Field(3, "rootfs", MOUNT, repeated=True),
        Field(4, "io", _IO),
        Field(5, "checkpoint"),
        Field(6, "pid", UINT32),
    ),
    "/tasks/start": Message("containerd.events.TaskStart", _CONTAINER, Field(2, "pid", UINT32)),
    "/tasks/exit": Message(
        "containerd.events.TaskExit",
        _CONTAINER,
        Field(2, "id"),
        Field(3, "pid", UINT32),
        Field(4, "exit_status", UINT32),
        Field(5, "exited_at", TIMESTAMP),
    ),
    "/tasks/delete": Message(
        "containerd.events.TaskDelete",
        _CONTAINER,
        Field(2, "pid", UINT32),
        Field(3, "exit_status", UINT32),
        Field(4, "exited_at", TIMESTAMP),
        Field(5, "id"),
    ),
    "/tasks/exec-added": Message("containerd.events.TaskExecAdded", _CONTAINER, _EXEC_ID),
    "/tasks/exec-started": Message(
        "containerd.events.TaskExecStarted", _CONTAINER, _EXEC_ID, Field(3, "pid", UINT32)
    ),
    "/tasks/paused": Message("containerd.events.TaskPaused", _CONTAINER),
    "/tasks/resumed": Message("containerd.events.TaskResumed", _CONTAINER),
    "/tasks/oom": Message("containerd.events.TaskOOM", _CONTAINER),
}

# --- bootstrap, from containerd 2.3 on, and the answer to -info
_EXTENSION = Message("Extension", Field(1, "value", ANY))
BOOTSTRAP_PARAMS = Message(
    "BootstrapParams",
    Field(1, "instance_id"),
    Field(2, "namespace"),
    Field(3, "log_level", INT32),
    Field(4, "containerd_version"),
    Field(5, "containerd_ttrpc_address"),
    Field(6, "containerd_grpc_address"),
    Field(7, "containerd_binary"),
    Field(8, "extensions", _EXTENSION, repeated=True),
    Field(9, "socket_dir"),
)
BOOTSTRAP_RESULT = Message(
    "BootstrapResult", Field(1, "version", INT32), Field(2, "address"), Field(3, "protocol")
)
_RUNTIME_VERSION = Message("RuntimeVersion", Field(1, "version"), Field(2, "revision"))
RUNTIME_INFO = Message(
    "RuntimeInfo",
    Field(1, "name"),
    Field(2, "version", _RUNTIME_VERSION),
    Field(3, "options", ANY),
    Field(4, "features", ANY),
    Field(5, "annotations", MAP),
)

# --- statistics of cgroup v1
_HUGETLB_V1 = Message(
    "io.containerd.cgroups.v1.HugetlbStat",
    Field(1, "usage", UINT64),
    Field(2, "max", UINT64),
    Field(3, "failcnt", UINT64),
    Field(4, "pagesize"),
)
_PIDS = Message("PidsStat", Field(1, "current", UINT64), Field(2, "limit", UINT64))
_USAGE = Message(
    "CPUUsage",
    Field(1, "total", UINT64),
    Field(2, "kernel", UINT64),
    Field(3, "user", UINT64),
    Field(4, "per_cpu", UINT64, repeated=True),
)
_THROTTLE = Message(
    "Throttle",
    Field(1, "periods", UINT64),
    Field(2, "throttled_periods", UINT64),
    Field(3, "throttled_time", UINT64),
)
_CPU_V1 = Message("CPUStat", Field(1, "usage", _USAGE), Field(2, "throttling", _THROTTLE))
_ENTRY = Message(
    "MemoryEntry",
    Field(1, "limit", UINT64),
    Field(2, "usage", UINT64),
    Field(3, "max", UINT64),
    Field(4, "failcnt", UINT64),
)
# name in the message -> name in memory.stat, numbers 1 to 15; the totals of the hierarchy follow from 18 on
MEMORY_V1 = {
    "cache": "cache",
    "rss": "rss",
    "rss_huge": "rss_huge",
    "mapped_file": "mapped_file",
    "dirty": "dirty",
    "writeback": "writeback",
    "pg_pg_in": "pgpgin",
    "pg_pg_out": "pgpgout",
    "pg_fault": "pgfault",
    "pg_maj_fault": "pgmajfault",
    "inactive_anon": "inactive_anon",
    "active_anon": "active_anon",
    "inactive_file": "inactive_file",
    "active_file": "active_file",
    "unevictable": "unevictable",
}
_MEMORY_V1 = Message(
    "MemoryStat",
    *(Field(number, name, UINT64) for number, name in enumerate(MEMORY_V1, 1)),
    Field(16, "hierarchical_memory_limit", UINT64),
    Field(17, "hierarchical_swap_limit", UINT64),
    *(Field(number, f"total_{name}", UINT64) for number, name in enumerate(MEMORY_V1, 18)),
    Field(33, "usage", _ENTRY),
    Field(34, "swap", _ENTRY),
    Field(35, "kernel", _ENTRY),
    Field(36, "kernel_tcp", _ENTRY),
)
_BLKIO_ENTRY = Message(
    "BlkIOEntry",
    Field(1, "op"),
    Field(2, "device"),
    Field(3, "major", UINT64),
    Field(4, "minor", UINT64),
    Field(5, "value", UINT64),
)
# name in the message -> name in `runc events`
BLKIO_V1 = {
    "io_service_bytes_recursive": "ioServiceBytesRecursive",
    "io_serviced_recursive": "ioServicedRecursive",
    "io_queued_recursive": "ioQueueRecursive",
    "io_service_time_recursive": "ioServiceTimeRecursive",
    "io_wait_time_recursive": "ioWaitTimeRecursive",
    "io_merged_recursive": "ioMergedRecursive",
    "io_time_recursive": "ioTimeRecursive",
    "sectors_recursive": "sectorsRecursive",
}
_BLKIO_V1 = Message(
    "BlkIOStat",
    *(Field(number, name, _BLKIO_ENTRY, repeated=True) for number, name in enumerate(BLKIO_V1, 1)),
)
METRICS_V1 = Message(
    "io.containerd.cgroups.v1.Metrics",
    Field(1, "hugetlb", _HUGETLB_V1, repeated=True),
    Field(2, "pids", _PIDS),
    Field(3, "cpu", _CPU_V1),
    Field(4, "memory", _MEMORY_V1),
    Field(5, "blkio", _BLKIO_V1),
)

# --- statistics of cgroup v2
CPU_V2 = ("usage_usec", "user_usec", "system_usec", "nr_periods", "nr_throttled", "throttled_usec")
# Names of memory.stat, numbers 1 to 31.
MEMORY_V2 = (
    "anon", "file", "kernel_stack", "slab", "sock", "shmem", "file_mapped", "file_dirty", "file_writeback", "anon_thp",
    "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable", "slab_reclaimable",
    "slab_unreclaimable", "pgfault", "pgmajfault", "workingset_refault", "workingset_activate",
    "workingset_nodereclaim", "pgrefill", "pgscan", "pgsteal", "pgactivate", "pgdeactivate", "pglazyfree",
    "pglazyfreed", "thp_fault_alloc", "thp_collapse_alloc",
)  # fmt: skip
MEMORY_LIMITS_V2 = ("usage", "usage_limit", "swap_usage", "swap_limit", "max_usage", "swap_max_usage")
EVENTS_V2 = ("low", "high", "max", "oom", "oom_kill")
IO_V2 = ("rbytes", "wbytes", "rios", "wios")


def _numbers(name: str, *names: str) -> Message:
    return Message(name, *(Field(number, one, UINT64) for number, one in enumerate(names, 1)))


METRICS_V2 = Message(
    "io.containerd.cgroups.v2.Metrics",
    Field(1, "pids", _PIDS),
    Field(2, "cpu", _numbers("CPUStat", *CPU_V2)),
    Field(4, "memory", _numbers("MemoryStat", *MEMORY_V2, *MEMORY_LIMITS_V2)),
    Field(
        6,
        "io",
        Message("IOStat", Field(1, "usage", _numbers("IOEntry", "major", "minor", *IO_V2), repeated=True)),
    ),
    Field(
        7,
        "hugetlb",
        Message("HugeTlbStat", Field(1, "current", UINT64), Field(2, "max", UINT64), Field(3, "pagesize")),
        repeated=True,
    ),
    Field(8, "memory_events", _numbers("MemoryEvents", *EVENTS_V2)),
)
