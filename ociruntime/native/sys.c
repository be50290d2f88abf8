// SPDX-License-Identifier: Apache-2.0
//
// The system calls that the runtime's own side needs and Python's standard library lacks.
// Each returns 0 or a descriptor, or -errno.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

int umount2(const char *path, int flags);  // <sys/mount.h> clashes with <linux/mount.h>

static int result(long value) { return value < 0 ? -errno : (int)value; }

int shim_open_tree(int directory, const char *path, unsigned flags) {
  return result(syscall(SYS_open_tree, directory, path, flags));
}

int shim_mount_setattr(int directory, const char *path, unsigned flags, uint64_t set, uint64_t clear,
                       uint64_t propagation, int userns_fd) {
  struct mount_attr attributes = {
      .attr_set = set, .attr_clr = clear, .propagation = propagation, .userns_fd = (uint64_t)userns_fd};
  return result(syscall(SYS_mount_setattr, directory, path, flags, &attributes, sizeof attributes));
}

int shim_umount(const char *path, int flags) { return result(umount2(path, flags)); }

int shim_bpf(int command, void *attributes, unsigned size) {
  return result(syscall(SYS_bpf, command, attributes, size));
}
