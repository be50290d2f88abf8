# SPDX-License-Identifier: Apache-2.0
"""containerd's messages as google's protobuf knows them, described a second time, by hand. Must not import `ociruntime`.

One line a message: NAME: number type name, ...  A type that is not a scalar is another message; `*` after it is repeated,
`map` is a map from string to string.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TEXT = """
KeyValue: 1 string key, 2 string value
Request: 1 string service, 2 string method, 3 bytes payload, 4 int64 timeout_nano, 5 KeyValue* metadata
Status: 1 int32 code, 2 string message
Response: 1 Status status, 2 bytes payload
Any: 1 string type_url, 2 bytes value
Timestamp: 1 int64 seconds, 2 int32 nanos
Empty:
Mount: 1 string type, 2 string source, 3 string target, 4 string* options
RuncOptions: 1 bool no_pivot_root, 2 bool no_new_keyring, 3 string shim_cgroup, 4 uint32 io_uid, 5 uint32 io_gid, 6 string binary_name, 7 string root, 9 bool systemd_cgroup
FileOptions: 1 string type_url, 2 string config_path, 3 bytes config_body
Create: 1 string id, 2 string bundle, 3 Mount* rootfs, 4 bool terminal, 5 string stdin, 6 string stdout, 7 string stderr, 8 string checkpoint, 9 string parent_checkpoint, 10 Any options
Pid: 1 uint32 pid
OfProcess: 1 string id, 2 string exec_id
OfTask: 1 string id
Exec: 1 string id, 2 string exec_id, 3 bool terminal, 4 string stdin, 5 string stdout, 6 string stderr, 7 Any spec
State: 1 string id, 2 string bundle, 3 uint32 pid, 4 int32 status, 5 string stdin, 6 string stdout, 7 string stderr, 8 bool terminal, 9 uint32 exit_status, 10 Timestamp exited_at, 11 string exec_id
Waited: 1 uint32 exit_status, 2 Timestamp exited_at
Deleted: 1 uint32 pid, 2 uint32 exit_status, 3 Timestamp exited_at
Kill: 1 string id, 2 string exec_id, 3 uint32 signal, 4 bool all
Process: 1 uint32 pid, 2 Any info
ProcessDetails: 1 string exec_id
Pids: 1 Process* processes
Update: 1 string id, 2 Any resources, 3 map annotations
Resize: 1 string id, 2 string exec_id, 3 uint32 width, 4 uint32 height
CloseIo: 1 string id, 2 string exec_id, 3 bool stdin
Stats: 1 Any stats
Checkpoint: 1 string id, 2 string path, 3 Any options
Connected: 1 uint32 shim_pid, 2 uint32 task_pid, 3 string version
Shutdown: 1 string id, 2 bool now
Envelope: 1 Timestamp timestamp, 2 string namespace, 3 string topic, 4 Any event
Forward: 1 Envelope envelope
TaskIO: 1 string stdin, 2 string stdout, 3 string stderr, 4 bool terminal
EventCreate: 1 string container_id, 2 string bundle, 3 Mount* rootfs, 4 TaskIO io, 5 string checkpoint, 6 uint32 pid
EventStart: 1 string container_id, 2 uint32 pid
EventExit: 1 string container_id, 2 string id, 3 uint32 pid, 4 uint32 exit_status, 5 Timestamp exited_at
EventDelete: 1 string container_id, 2 uint32 pid, 3 uint32 exit_status, 4 Timestamp exited_at, 5 string id
EventExecAdded: 1 string container_id, 2 string exec_id
EventExecStarted: 1 string container_id, 2 string exec_id, 3 uint32 pid
EventContainer: 1 string container_id
EventPaused: 1 string container_id
EventResumed: 1 string container_id
Extension: 1 Any value
BootstrapParams: 1 string instance_id, 2 string namespace, 3 int32 log_level, 4 string containerd_version, 5 string containerd_ttrpc_address, 6 string containerd_grpc_address, 7 string containerd_binary, 8 Extension* extensions, 9 string socket_dir
BootstrapResult: 1 int32 version, 2 string address, 3 string protocol
RuntimeVersion: 1 string version, 2 string revision
RuntimeInfo: 1 string name, 2 RuntimeVersion version, 3 Any options, 4 Any features, 5 map annotations
HugetlbV1: 1 uint64 usage, 2 uint64 max, 3 uint64 failcnt, 4 string pagesize
PidsStat: 1 uint64 current, 2 uint64 limit
CpuUsage: 1 uint64 total, 2 uint64 kernel, 3 uint64 user, 4 uint64* per_cpu
Throttle: 1 uint64 periods, 2 uint64 throttled_periods, 3 uint64 throttled_time
CpuV1: 1 CpuUsage usage, 2 Throttle throttling
MemoryEntry: 1 uint64 limit, 2 uint64 usage, 3 uint64 max, 4 uint64 failcnt
MemoryV1: 1 uint64 cache, 2 uint64 rss, 3 uint64 rss_huge, 4 uint64 mapped_file, 5 uint64 dirty, 6 uint64 writeback, 7 uint64 pg_pg_in, 8 uint64 pg_pg_out, 9 uint64 pg_fault, 10 uint64 pg_maj_fault, 11 uint64 inactive_anon, 12 uint64 active_anon, 13 uint64 inactive_file, 14 uint64 active_file, 15 uint64 unevictable, 16 uint64 hierarchical_memory_limit, 17 uint64 hierarchical_swap_limit, 18 uint64 total_cache, 19 uint64 total_rss, 20 uint64 total_rss_huge, 21 uint64 total_mapped_file, 22 uint64 total_dirty, 23 uint64 total_writeback, 24 uint64 total_pg_pg_in, 25 uint64 total_pg_pg_out, 26 uint64 total_pg_fault, 27 uint64 total_pg_maj_fault, 28 uint64 total_inactive_anon, 29 uint64 total_active_anon, 30 uint64 total_inactive_file, 31 uint64 total_active_file, 32 uint64 total_unevictable, 33 MemoryEntry usage, 34 MemoryEntry swap, 35 MemoryEntry kernel, 36 MemoryEntry kernel_tcp
BlkioEntry: 1 string op, 2 string device, 3 uint64 major, 4 uint64 minor, 5 uint64 value
BlkioV1: 1 BlkioEntry* io_service_bytes_recursive, 2 BlkioEntry* io_serviced_recursive, 3 BlkioEntry* io_queued_recursive, 4 BlkioEntry* io_service_time_recursive, 5 BlkioEntry* io_wait_time_recursive, 6 BlkioEntry* io_merged_recursive, 7 BlkioEntry* io_time_recursive, 8 BlkioEntry* sectors_recursive
MetricsV1: 1 HugetlbV1* hugetlb, 2 PidsStat pids, 3 CpuV1 cpu, 4 MemoryV1 memory, 5 BlkioV1 blkio
CpuV2: 1 uint64 usage_usec, 2 uint64 user_usec, 3 uint64 system_usec, 4 uint64 nr_periods, 5 uint64 nr_throttled, 6 uint64 throttled_usec
MemoryV2: 1 uint64 anon, 2 uint64 file, 3 uint64 kernel_stack, 4 uint64 slab, 5 uint64 sock, 6 uint64 shmem, 7 uint64 file_mapped, 8 uint64 file_dirty, 9 uint64 file_writeback, 10 uint64 anon_thp, 11 uint64 inactive_anon, 12 uint64 active_anon, 13 uint64 inactive_file, 14 uint64 active_file, 15 uint64 unevictable, 16 uint64 slab_reclaimable, 17 uint64 slab_unreclaimable, 18 uint64 pgfault, 19 uint64 pgmajfault, 20 uint64 workingset_refault, 21 uint64 workingset_activate, 22 uint64 workingset_nodereclaim, 23 uint64 pgrefill, 24 uint64 pgscan, 25 uint64 pgsteal, 26 uint64 pgactivate, 27 uint64 pgdeactivate, 28 uint64 pglazyfree, 29 uint64 pglazyfreed, 30 uint64 thp_fault_alloc, 31 uint64 thp_collapse_alloc, 32 uint64 usage, 33 uint64 usage_limit, 34 uint64 swap_usage, 35 uint64 swap_limit, 36 uint64 max_usage, 37 uint64 swap_max_usage
EventsV2: 1 uint64 low, 2 uint64 high, 3 uint64 max, 4 uint64 oom, 5 uint64 oom_kill
IoEntryV2: 1 uint64 major, 2 uint64 minor, 3 uint64 rbytes, 4 uint64 wbytes, 5 uint64 rios, 6 uint64 wios
IoV2: 1 IoEntryV2* usage
HugetlbV2: 1 uint64 current, 2 uint64 max, 3 string pagesize
MetricsV2: 1 PidsStat pids, 2 CpuV2 cpu, 4 MemoryV2 memory, 6 IoV2 io, 7 HugetlbV2* hugetlb, 8 EventsV2 memory_events
"""

_SCALARS = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
}
_PACKAGE = "shimtest"


def _describe(text: str) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="shimtest.proto", package=_PACKAGE, syntax="proto3")
    for line in text.strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for entry in fields.split(",") if fields.strip() else []:
            _add_field(message, *entry.split())
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, number: str, kind: str, name: str) -> None:
    field = message.field.add(name=name, number=int(number), label=1)
    if kind == "map":
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "1", "string", "key")
        _add_field(entry, "2", "string", "value")
        field.label, field.type = 3, 11
        field.type_name = f".{_PACKAGE}.{message.name}.{entry.name}"
        return
    if kind.endswith("*"):
        kind, field.label = kind[:-1], 3
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = 11, f".{_PACKAGE}.{kind}"


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_describe(_TEXT))
NAMES = [line.partition(":")[0] for line in _TEXT.strip().splitlines()]


def kind_of(name: str) -> Any:
    """The class that google's protobuf has for a message."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
