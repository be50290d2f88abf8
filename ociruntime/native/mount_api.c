// SPDX-License-Identifier: Apache-2.0
//
// Mounts by descriptor: the system calls of the new mount API, and the one place that knows what
// to do where the kernel has no mount_setattr (before 5.12).

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);

int sys_open_tree(int directory, const char *path, unsigned flags) {
  return (int)syscall(SYS_open_tree, directory, path, flags | OPEN_TREE_CLOEXEC);
}

int sys_move_mount(int from, int to) {
  return (int)syscall(SYS_move_mount, from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

int sys_fsopen(const char *type) { return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC); }

int sys_fsconfig(int context, unsigned command, const char *key, const char *value) {
  return (int)syscall(SYS_fsconfig, context, command, key, value, 0);
}

int sys_fsmount(int context, unsigned attributes) {
  return (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
}

// What tells a mount from all others while it lives.
int mount_id(int descriptor, uint64_t *id) {
  struct statx status;
  if (statx(descriptor, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) < 0)
    return fail(DETAIL_fstat);
  *id = status.stx_mnt_id;
  return 0;
}

// The ids of the container's own mounts, in a hash table with room for one of each record of the plan and
// more: never full, so that each search ends. No mount has id 0.
static uint64_t *own_mounts;
static uint64_t own_mask;

static uint64_t *find_own(uint64_t id) {
  uint64_t place = id * 0x9e3779b97f4a7c15u >> 32;
  while (own_mounts[place & own_mask] && own_mounts[place & own_mask] != id)
    place++;
  return &own_mounts[place & own_mask];
}

static int make_own_table(void) {
  uint64_t room = 256;
  while (room < 2 * (uint64_t)init.header->count)
    room *= 2;
  void *table =
      mmap(NULL, room * sizeof *own_mounts, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (table == MAP_FAILED)
    return fail(DETAIL_mmap);
  own_mounts = table;
  own_mask = room - 1;
  return 0;
}

int note_own_mount(int mount) {
  uint64_t id;
  if ((!own_mounts && make_own_table() < 0) || mount_id(mount, &id) < 0)
    return -1;
  *find_own(id) = id;
  return 0;
}

int is_own_mount(int descriptor) {
  uint64_t id;
  if (mount_id(descriptor, &id) < 0)
    return -1;
  return own_mounts && *find_own(id) == id;
}

static const struct {
  uint64_t attribute;
  unsigned long mount_flag, statvfs_flag;
} flags_of[] = {
    {MOUNT_ATTR_RDONLY, 1 /* MS_RDONLY */, ST_RDONLY},
    {MOUNT_ATTR_NOSUID, 2 /* MS_NOSUID */, ST_NOSUID},
    {MOUNT_ATTR_NODEV, 4 /* MS_NODEV */, ST_NODEV},
    {MOUNT_ATTR_NOEXEC, 8 /* MS_NOEXEC */, ST_NOEXEC},
    {MOUNT_ATTR_NODIRATIME, 2048 /* MS_NODIRATIME */, ST_NODIRATIME},
    {MOUNT_ATTR_NOSYMFOLLOW, 256 /* MS_NOSYMFOLLOW */, 0x2000 /* ST_NOSYMFOLLOW */},
};

unsigned long old_flags(uint64_t set) {
  unsigned long flags = 0;
  for (unsigned i = 0; i < sizeof flags_of / sizeof *flags_of; i++)
    if (set & flags_of[i].attribute)
      flags |= flags_of[i].mount_flag;
  if ((set & MOUNT_ATTR__ATIME) == MOUNT_ATTR_NOATIME)
    flags |= 1024;  // MS_NOATIME
  else if ((set & MOUNT_ATTR__ATIME) == MOUNT_ATTR_STRICTATIME)
    flags |= 1 << 24;  // MS_STRICTATIME
  return flags;
}

// mount(2) replaces all flags of a mount, so the ones that it has go in again. Not recursive.
static int remount_with(int target, uint64_t set, uint64_t clear) {
  struct statvfs now;
  if (fstatvfs(target, &now) < 0)
    return fail(DETAIL_fstatfs);
  unsigned long flags = 32 | 4096 | old_flags(set);  // MS_REMOUNT | MS_BIND
  for (unsigned i = 0; i < sizeof flags_of / sizeof *flags_of; i++)
    if (now.f_flag & flags_of[i].statvfs_flag && !(clear & flags_of[i].attribute))
      flags |= flags_of[i].mount_flag;
  const char *path = proc_path(target);
  return path && mount(NULL, path, NULL, flags, NULL) == 0 ? 0 : fail(DETAIL_mount);
}

// Linux 5.12. Without a structure the answer is ENOSYS or EINVAL.
int has_mount_setattr(void) {
  static int known;
  if (!known)
    known = syscall(SYS_mount_setattr, -1, "", 0, NULL, 0) < 0 && errno == ENOSYS ? -1 : 1;
  return known > 0;
}

int set_attributes(int target, uint64_t set, uint64_t clear, uint64_t propagation, int recursive) {
  struct mount_attr attributes = {.attr_set = set, .attr_clr = clear, .propagation = propagation};
  if (!set && !clear && !propagation)
    return 0;
  unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  if (syscall(SYS_mount_setattr, target, "", flags, &attributes, sizeof attributes) == 0)
    return 0;
  if (errno != ENOSYS || ((set || clear) && recursive))
    return fail(DETAIL_mount_setattr);
  if ((set || clear) && remount_with(target, set, clear) < 0)
    return -1;
  if (propagation) {
    const char *path = proc_path(target);
    if (!path || mount(NULL, path, NULL, propagation | (recursive ? 16384 : 0 /* MS_REC */), NULL) < 0)
      return fail(DETAIL_mount);
  }
  return 0;
}
