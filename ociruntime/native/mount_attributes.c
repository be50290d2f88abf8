// SPDX-License-Identifier: Apache-2.0
//
// How does a mount get its attributes and its propagation, even on a kernel without mount_setattr
// (before 5.12)? Calls procfs.c, because mount(2) needs a path.

#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"
#include "kernel.h"

static const struct {
  uint64_t attribute;
  unsigned long mount_flag, statvfs_flag;
} flags_of[] = {
    {MOUNT_ATTR_RDONLY, MS_RDONLY, ST_RDONLY},
    {MOUNT_ATTR_NOSUID, MS_NOSUID, ST_NOSUID},
    {MOUNT_ATTR_NODEV, MS_NODEV, ST_NODEV},
    {MOUNT_ATTR_NOEXEC, MS_NOEXEC, ST_NOEXEC},
    {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME, ST_NODIRATIME},
    {MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW, ST_NOSYMFOLLOW},
};

unsigned long old_flags(uint64_t set) {
  unsigned long flags = 0;
  for (unsigned i = 0; i < sizeof flags_of / sizeof *flags_of; i++)
    if (set & flags_of[i].attribute)
      flags |= flags_of[i].mount_flag;
  if ((set & MOUNT_ATTR__ATIME) == MOUNT_ATTR_NOATIME)
    flags |= MS_NOATIME;
  else if ((set & MOUNT_ATTR__ATIME) == MOUNT_ATTR_STRICTATIME)
    flags |= MS_STRICTATIME;
  return flags;
}

// mount(2) replaces all flags of a mount, so the present ones are passed again. Not recursive.
static int remount_with(int target, uint64_t set, uint64_t clear) {
  struct statvfs now;
  if (fstatvfs(target, &now) < 0)
    return fail(DETAIL_fstatfs);
  unsigned long flags = MS_REMOUNT | MS_BIND | old_flags(set);
  for (unsigned i = 0; i < sizeof flags_of / sizeof *flags_of; i++)
    if (now.f_flag & flags_of[i].statvfs_flag && !(clear & flags_of[i].attribute))
      flags |= flags_of[i].mount_flag;
  const char *path = proc_path(target);
  return path && mount(NULL, path, NULL, flags, NULL) == 0 ? 0 : fail(DETAIL_mount);
}

// Since Linux 5.12. A call without a structure fails with EINVAL, or with ENOSYS if there is no such call.
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
    if (!path || mount(NULL, path, NULL, propagation | (recursive ? MS_REC : 0), NULL) < 0)
      return fail(DETAIL_mount);
  }
  return 0;
}

int propagate(int mount, uint32_t plain, uint32_t recursive) {
  if (plain && set_attributes(mount, 0, 0, plain, 0) < 0)
    return -1;
  return recursive ? set_attributes(mount, 0, 0, recursive, 1) : 0;
}
