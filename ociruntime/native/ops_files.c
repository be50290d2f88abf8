// SPDX-License-Identifier: Apache-2.0
//
// Ops that make files in the container's root: device nodes, links, directories; and label them.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "init.h"

// What is there already must be the very device (R107).
static int same_device(int parent, const char *name, mode_t mode, dev_t device) {
  struct stat status;
  if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
    return fail(DETAIL_fstat);
  if ((status.st_mode & S_IFMT) != (mode & S_IFMT) || (!S_ISFIFO(mode) && status.st_rdev != device))
    return fail_with(EEXIST, DETAIL_exists_with_other_type);
  return 0;
}

static int make_device(int parent, const char *name, const struct plan_record *record) {
  mode_t mode = record->args[1];
  dev_t device = S_ISFIFO(mode) ? 0 : makedev(record->args[2], record->args[3]);
  mode_t before = umask(0);
  int made = mknodat(parent, name, mode, device);
  umask(before);
  if (made < 0 && errno == EEXIST)
    return same_device(parent, name, mode, device);
  if (made < 0)
    return fail(DETAIL_mknodat);
  // chown only what was made here, by a descriptor that was checked
  int node = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (node < 0)
    return fail(DETAIL_open);
  struct stat status;
  int done = 0;
  if (fstat(node, &status) < 0)
    done = fail(DETAIL_fstat);
  else if ((status.st_mode & S_IFMT) != (mode & S_IFMT) || (!S_ISFIFO(mode) && status.st_rdev != device))
    done = fail_with(EEXIST, DETAIL_exists_with_other_type);
  else if (fchownat(node, "", record->args[4], record->args[5], AT_EMPTY_PATH) < 0)
    done = fail(DETAIL_fchownat);
  close_keeping_errno(node);
  return done;
}

// In a user namespace nobody may make a device: a node that the runtime made is mounted on an empty file,
// which may be there from an earlier container.
static int attach_device(int parent, const char *name, const struct plan_record *record) {
  struct stat device, place;
  int tree = slot(record, 0);
  if (fstat(tree, &device) < 0)
    return fail(DETAIL_fstat);
  if (mknodat(parent, name, S_IFREG | 0644, 0) < 0 && errno != EEXIST)
    return fail(DETAIL_mknodat);
  int file = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (file < 0)
    return fail(DETAIL_open);
  int done = 0;
  if (fstat(file, &place) < 0)
    done = fail(DETAIL_fstat);
  else if (S_ISREG(place.st_mode) && place.st_size == 0)
    done = may_cover(file, 0) < 0 ? -1 : sys_move_mount(tree, file) < 0 ? fail(DETAIL_move_mount) : 0;
  else
    done = same_device(parent, name, device.st_mode, device.st_rdev);
  close_keeping_errno(file);
  return done;
}

static int in_own_mount(const char *path, uint32_t flags, const struct plan_record *record,
                        int (*make)(int, const char *, const struct plan_record *)) {
  const char *name;
  int parent = open_parent(path, &name);
  if (parent < 0)
    return -1;
  int own = is_own_mount(parent), done = 0;
  if (own > 0)
    done = make(parent, name, record);
  else if (own < 0 || !(flags & MKNOD_OPTIONAL))
    done = own < 0 ? -1 : fail_with(EPERM, DETAIL_foreign_mount);
  close_keeping_errno(parent);
  return done;
}

int op_mknod(const struct plan_record *record) {
  return in_own_mount(text(record, 0), record->args[6], record, make_device);
}

// Its slot is closed, as a bind's tree is.
int op_device(const struct plan_record *record) {
  int done = in_own_mount(text(record, 1), record->args[2], record, attach_device);
  close_keeping_errno(slot(record, 0));
  return done;
}

int op_symlink(const struct plan_record *record) {
  const char *target = text(record, 1), *name;
  uint32_t flags = record->args[2];
  if (flags & SYMLINK_IF_TARGET) {
    int there = open_in_root(target, O_PATH | O_NOFOLLOW);
    if (there < 0)
      return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    close(there);
  }
  int parent = open_parent(text(record, 0), &name);
  if (parent < 0)
    return -1;
  int own = is_own_mount(parent);
  if (own <= 0) {
    close_keeping_errno(parent);
    return own;
  }
  int done = symlinkat(target, parent, name);
  if (done < 0 && errno == EEXIST && flags & SYMLINK_REPLACE) {
    if (unlinkat(parent, name, 0) < 0 && (errno != EISDIR || unlinkat(parent, name, AT_REMOVEDIR) < 0))
      done = fail(DETAIL_unlinkat);
    else
      done = symlinkat(target, parent, name);
  }
  if (done < 0 && errno == EEXIST && !(flags & SYMLINK_REPLACE))
    done = 0;  // the image has its own
  if (done < 0 && init.detail == DETAIL_none)
    fail(DETAIL_symlinkat);
  close_keeping_errno(parent);
  return done;
}

int op_xattr(const struct plan_record *record) {
  int file = open_in_root(text(record, 0), O_RDONLY | O_NONBLOCK);
  if (file < 0)
    return -1;
  const char *value = text(record, 2);
  int own = is_own_mount(file);  // a file of the host is not labelled, whatever link led to it
  int done = own > 0 ? fsetxattr(file, text(record, 1), value, strlen(value), 0) : own;
  if (own == 0)
    done = fail_with(EPERM, DETAIL_foreign_mount);
  else if (own > 0 && done < 0)
    fail(DETAIL_fsetxattr);
  close_keeping_errno(file);
  return done;
}

int op_mkdir(const struct plan_record *record) {
  int directory = open_or_make(text(record, 0), KIND_DIRECTORY, 0);
  if (directory < 0)
    return -1;
  close(directory);
  return 0;
}
