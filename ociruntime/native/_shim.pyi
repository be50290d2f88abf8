# SPDX-License-Identifier: Apache-2.0
"""Types of the cffi module that is built from shim.cdef.txt, so that mypy can check the calls."""

from typing import Any, Final

class CData:
    """A C value; attributes are the members of struct shim_spawn."""

    clone_flags: int
    cgroup_fd: int
    exe_fd: int
    stdio: Any
    fd_base: int
    fd_count: int
    fds: Any
    pid: int
    pidfd: int
    def __getitem__(self, index: int) -> int: ...

class _FFI:
    NULL: Final[CData]
    def new(self, cdecl: str, init: Any = ...) -> CData: ...
    def from_buffer(self, buffer: bytes | bytearray | memoryview) -> CData: ...
    def string(self, cdata: CData) -> bytes: ...

class _Lib:
    PLAN_MAGIC: Final[int]
    TABLE_OPS: Final[int]
    TABLE_SIGNATURES: Final[int]
    TABLE_ARGUMENTS: Final[int]
    TABLE_DETAILS: Final[int]
    def shim_spawn(self, spawn: CData) -> int: ...
    def shim_open_tree(self, directory: int, path: bytes, flags: int) -> int: ...
    def shim_open_in_root(self, root: int, path: bytes) -> int: ...
    def shim_mount_setattr(
        self,
        directory: int,
        path: bytes,
        flags: int,
        attr_set: int,
        attr_clear: int,
        propagation: int,
        userns_fd: int,
    ) -> int: ...
    def shim_detached_tmpfs(self) -> int: ...
    def shim_umount_id(self, path: bytes, mount_id: int) -> int: ...
    def shim_sched_setattr(self, pid: int, attributes: CData) -> int: ...
    def shim_ioprio_set(self, pid: int, priority: int) -> int: ...
    def shim_pidfd_getfd(self, pidfd: int, number: int) -> int: ...
    def shim_bpf(self, command: int, attributes: CData, size: int) -> int: ...
    def plan_check(self, buffer: CData, size: int, where: CData) -> int: ...
    def plan_word(self, table: int, number: int) -> CData: ...

ffi: _FFI
lib: _Lib
