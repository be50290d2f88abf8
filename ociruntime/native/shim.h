// SPDX-License-Identifier: Apache-2.0
// The functions that Python can call, besides those of plan.h; shim.cdef.txt declares the same to cffi.

#ifndef OCIRUNTIME_SHIM_H
#define OCIRUNTIME_SHIM_H

#include <stdint.h>

struct shim_spawn {
  uint64_t clone_flags;  // CLONE_NEW*
  int cgroup_fd;         // a cgroup v2 directory to be born in, or -1
  int exe_fd;            // the sealed memfd of ociruntime-init
  int stdio[3];          // what becomes 0, 1, 2; -1: unchanged
  int fd_base;           // where fds go: fds[i] becomes fd_base + i
  int fd_count;
  const int *fds;  // the FD_FIXED ones in their order, then the slots
  int pid;         // out, as soon as the process exists
  int pidfd;       // out
};

// All return 0 or a descriptor, or -errno.
int shim_spawn(struct shim_spawn *spawn);
int shim_open_tree(int directory, const char *path, unsigned flags);
int shim_open_in_root(int root, const char *path);
int shim_mount_setattr(int directory, const char *path, unsigned flags, uint64_t set, uint64_t clear,
                       uint64_t propagation, int userns_fd);
int shim_detached_tmpfs(void);
int shim_umount_id(const char *path, uint64_t id);
int shim_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data);
int shim_umount(const char *path);
int shim_subreaper(void);
int shim_sched_setattr(int pid, const void *attributes);
int shim_ioprio_set(int pid, int priority);
int shim_pidfd_getfd(int pidfd, int number);
int shim_bpf(int command, void *attributes, unsigned size);
int shim_hold_place(int *pid);

#endif
