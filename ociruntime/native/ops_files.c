// SPDX-License-Identifier: Apache-2.0
//
// Ops that make files in the container's root (device nodes, links, directories) and label them.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "init.h"

// If a file is there already, it must be the same device (R107).
static int same_device(int parent, const char *name, mode_t mode, dev_t device) {
  struct stat status;
  if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
    return fail(DETAIL_fstat);
  if ((status.st_mode & S_IFMT) != (mode & S_IFMT) || (!S_ISFIFO(mode) && status.st_rdev != device))
    return fail_with(EEXIST, DETAIL_exists_with_other_type);
  return 0;
}

static int make_device(int parent, const char *name, const struct mknod_args *a) {
  mode_t mode = a->mode;
  dev_t device = S_ISFIFO(mode) ? 0 : makedev(a->major, a->minor);
  mode_t before = umask(0);
  int made = mknodat(parent, name, mode, device);
  umask(before);
  if (made < 0 && errno == EEXIST)
    return same_device(parent, name, mode, device);
  if (made < 0)
    return fail(DETAIL_mknodat);
  // chown only the node that was made here, through a descriptor that has been checked
  int node = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (node < 0)
    return fail(DETAIL_open);
  struct stat status;
  int done = 0;
  if (fstat(node, &status) < 0)
    done = fail(DETAIL_fstat);
  else if ((status.st_mode & S_IFMT) != (mode & S_IFMT) || (!S_ISFIFO(mode) && status.st_rdev != device))
    done = fail_with(EEXIST, DETAIL_exists_with_other_type);
  else if (fchownat(node, "", a->uid, a->gid, AT_EMPTY_PATH) < 0)
    done = fail(DETAIL_fchownat);
  close_keeping_errno(node);
  return done;
}

// In a user namespace no process may make a device. So a node that the runtime has made is mounted on an
// empty file, which an earlier container may have left.
static int attach_device(int parent, const char *name, int tree) {
  struct stat device, place;
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

// 1 if a device may be made in this directory, 0 if it must be left out, or -1.
static int may_make_device(int parent, uint32_t flags) {
  int own = is_own_mount(parent);
  if (own == 0 && !(flags & MKNOD_OPTIONAL))
    return fail_with(EPERM, DETAIL_foreign_mount);
  return own;
}

int op_mknod(const struct mknod_args *a) {
  const char *name;
  int parent = open_parent(a->path, &name);
  if (parent < 0)
    return -1;
  int done = may_make_device(parent, a->flags);
  if (done > 0)
    done = make_device(parent, name, a);
  close_keeping_errno(parent);
  return done;
}

static int put_device(const struct device_args *a) {
  const char *name;
  int parent = open_parent(a->path, &name);
  if (parent < 0)
    return -1;
  int done = may_make_device(parent, a->flags);
  if (done > 0)
    done = attach_device(parent, name, a->tree);
  close_keeping_errno(parent);
  return done;
}

// The tree is closed for the same reason as a bind's.
int op_device(const struct device_args *a) {
  int done = put_device(a);
  close_keeping_errno(a->tree);
  return done;
}

int op_symlink(const struct symlink_args *a) {
  const char *name;
  if (a->flags & SYMLINK_IF_TARGET) {
    int there = open_in_root(a->target, O_PATH | O_NOFOLLOW);
    if (there < 0)
      return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    close(there);
  }
  int parent = open_parent(a->path, &name);
  if (parent < 0)
    return -1;
  int own = is_own_mount(parent);
  if (own <= 0) {
    close_keeping_errno(parent);
    return own;
  }
  int done = symlinkat(a->target, parent, name);
  if (done < 0 && errno == EEXIST && a->flags & SYMLINK_REPLACE) {
    if (unlinkat(parent, name, 0) < 0 && (errno != EISDIR || unlinkat(parent, name, AT_REMOVEDIR) < 0))
      done = fail(DETAIL_unlinkat);
    else
      done = symlinkat(a->target, parent, name);
  }
  if (done < 0 && errno == EEXIST && !(a->flags & SYMLINK_REPLACE))
    done = 0;  // the image has its own
  if (done < 0 && init.detail == DETAIL_none)
    fail(DETAIL_symlinkat);
  close_keeping_errno(parent);
  return done;
}

int op_xattr(const struct xattr_args *a) {
  int file = open_in_root(a->path, O_RDONLY | O_NONBLOCK);
  if (file < 0)
    return -1;
  int own = is_own_mount(file);  // a file of the host is not labelled, even if a link led to it
  int done = own > 0 ? fsetxattr(file, a->name, a->value, strlen(a->value), 0) : own;
  if (own == 0)
    done = fail_with(EPERM, DETAIL_foreign_mount);
  else if (own > 0 && done < 0)
    fail(DETAIL_fsetxattr);
  close_keeping_errno(file);
  return done;
}

int op_mkdir(const struct mkdir_args *a) {
  int directory = open_or_make(a->path, KIND_DIRECTORY, 0);
  if (directory < 0)
    return -1;
  close(directory);
  return 0;
}
