// SPDX-License-Identifier: Apache-2.0
//
// What the runtime and init say to each other while a container is made: messages, sync points, errors, and
// the progress pages. docs/internals/handshake.md explains them; ociruntime/progress.py has the same numbers
// for Python, and a test compares the two.

#ifndef OCIRUNTIME_HANDSHAKE_H
#define OCIRUNTIME_HANDSHAKE_H

#include <stdint.h>

// Where the two sides meet.
#define PLAN_SYNCS(SYNC)                                                                                     \
  SYNC(started, 1)  /* init runs in its namespaces, its pid is known */                                      \
  SYNC(mounted, 2)  /* everything is mounted, the old root is still there: hooks of create */                \
  SYNC(ready, 3)    /* the environment is complete: the parent writes state.json and says committed */       \
  SYNC(forked, 4)   /* sent by a helper that has made init: carries init's pid */                            \
  SYNC(hello, 5)    /* on the start socket, to each process that connects */                                 \
  SYNC(limits, 6)   /* still root: the parent sets resource limits */                                        \
  SYNC(terminal, 7) /* sent by op terminal: carries the master */                                            \
  SYNC(listener, 8) /* the filter is loaded: carries the number of its notify descriptor */                  \
  SYNC(entered, 9)  /* exec: in the container and its own user; the parent writes the pid file */
enum plan_sync {
#define SYNC(name, value) SYNC_##name = value,
  PLAN_SYNCS(SYNC)
#undef SYNC
};

// Which part of an operation failed. Most are named after the system call; shim.cdef.txt makes the names
// visible to Python. A number keeps its meaning: after an upgrade, start may read an error of an older init.
// (clang-format changes its mind about this list every time.)
// clang-format off
#define PLAN_DETAILS(D)                                                                               \
  D(none) D(open) D(openat2) D(mkdirat) D(mknodat) D(symlinkat) D(readlinkat) D(unlinkat) D(fstat)    \
  D(fstatfs) D(fchownat) D(fchmodat) D(fsopen) D(fsconfig) D(fsmount) D(open_tree) D(move_mount)      \
  D(mount_setattr) D(mount) D(umount2) D(pivot_root) D(chroot) D(chdir) D(getcwd) D(setns) D(unshare) \
  D(clone3) D(setsid) D(keyctl) D(sethostname) D(setdomainname) D(socket) D(ioctl) D(write) D(read)   \
  D(setgroups) D(setresgid) D(setresuid) D(capset) D(prctl) D(faccessat) D(execve) D(close_range)     \
  D(dup3) D(accept4) D(recv) D(source_no_procfs) D(mmap) D(target_is_link) D(target_is_root)          \
  D(target_on_proc) D(not_a_device) D(exists_with_other_type) D(cwd_outside_root) D(is_a_directory)   \
  D(too_many_links) D(name_too_long) D(getdents64) D(copy) D(foreign_mount) D(runtime_gone)           \
  D(bad_plan) D(sched_setaffinity) D(personality) D(set_mempolicy) D(fsetxattr) D(not_devpts)         \
  D(seccomp) D(foreign_keyring) D(prlimit64) D(hidden_mount) D(bind_source)
// clang-format on
enum plan_detail {
#define D(name) DETAIL_##name,
  PLAN_DETAILS(D)
#undef D
      DETAIL_count
};

// Descriptors of init, counted from the plan's fd_base. Slots follow.
enum { FD_PLAN, FD_HANDSHAKE, FD_PROGRESS, FD_RUNTIME, FD_START, FD_FIXED };

// The only kind of message that init sends, on the handshake socket and on the start socket. Errors, too, are
// only numbers; an error of fsconfig or fsmount carries the file system's log as a descriptor.
enum { MESSAGE_SYNC = 1, MESSAGE_ERROR = 2 };
struct plan_message {
  uint32_t kind;
  uint32_t op;      // of the record, for errors; the SYNC_* point for syncs
  uint32_t index;   // the step's number
  int32_t error;    // errno
  uint32_t detail;  // enum plan_detail
  int32_t pid;      // SYNC_forked: of the new process, as the sender sees it;
                    // SYNC_listener: number of the descriptor in the sending process
};

// From the runtime to init: one byte.
enum { REPLY_CONTINUE = 'c', REPLY_GO = 'g' };

// The shared page(s) `progress`: what has happened, readable even after kill -9.
enum { PHASE_none, PHASE_creating, PHASE_created, PHASE_starting, PHASE_executing };
struct plan_progress {
  int32_t forked;  // written by op fork's clone, in case the helper is killed before it can send the pid
  uint32_t phase;
  uint32_t record;  // number of the record being executed
  uint32_t count;   // of stamps
  struct plan_message error;
  uint64_t stamps[];  // CLOCK_REALTIME in ns: begin of record 0, begin of record 1, ..., end of the last
};

#endif
