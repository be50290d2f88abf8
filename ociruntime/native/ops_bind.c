// SPDX-License-Identifier: Apache-2.0
//
// Binds. The source is copied as a tree that is not attached anywhere; the tree gets its attributes and is
// then attached. The source is a path of the host, a path in the container's root, or a tree that the runtime
// has opened.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "init.h"
#include "kernel.h"

// Since Linux 6.8 mountinfo lists mounts by age, and a tree that the runtime opened is older than everything
// that init mounts, so two mounts at one place would appear in the wrong order. That is why the tree is
// replaced by a copy that is made now. A tree from another mount namespace can only be copied once it is
// attached.
static int attach_copy(int tree, int target) {
  if (attach(tree, target) < 0)
    return -1;
  int copy = sys_open_tree(tree, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | AT_RECURSIVE);
  if (copy < 0)
    return fail(DETAIL_open_tree);
  // The first tree may be a peer of the host's mounts: then unmounting it would unmount them too.
  int done = set_attributes(tree, 0, 0, MS_PRIVATE, 1);
  const char *path = done == 0 ? proc_path(tree) : NULL;
  if (done == 0)
    done = path && umount2(path, MNT_DETACH) == 0 ? attach(copy, target) : fail(DETAIL_umount2);
  // From here on, `tree` means the mount that the container sees.
  if (done == 0 && dup3(copy, tree, O_CLOEXEC) < 0)
    done = fail(DETAIL_dup3);
  close_keeping_errno(copy);
  return done;
}

static int set_tree_attributes(const struct mount_tree_args *a) {
  if (set_attributes(a->tree, a->rset, a->rclear, 0, 1) < 0)
    return -1;
  return set_attributes(a->tree, a->set, a->clear, 0, 0);
}

// Only a procfs may be mounted on /proc, whatever its path is called (CVE-2019-16884).
static int is_procfs(int tree) {
  struct statfs status;
  if (fstatfs(tree, &status) < 0)
    return fail(DETAIL_fstatfs);
  return status.f_type == PROC_SUPER_MAGIC ? 0 : fail_with(EINVAL, DETAIL_source_no_procfs);
}

static int mount_source(const struct mount_tree_args *a) {
  struct stat status;
  if (a->flags & MOUNT_SOURCE_PROC && is_procfs(a->tree) < 0)
    return -1;
  if (fstat(a->tree, &status) < 0)
    return fail(DETAIL_fstat);
  int kind = S_ISDIR(status.st_mode) ? KIND_DIRECTORY : KIND_FILE;
  int target = open_target(a->destination, kind, a->flags);
  if (target < 0)
    return -1;
  // Before it is attached, so that it is never visible without them; mount(2) can only do it afterwards.
  int before = has_mount_setattr();
  int done = before ? set_tree_attributes(a) : 0;
  if (done == 0)
    done = a->flags & MOUNT_IN_ORDER ? attach_copy(a->tree, target) : attach(a->tree, target);
  if (done == 0 && !before)
    done = set_tree_attributes(a);
  if (done == 0)
    done = propagate(a->tree, a->propagation, a->rpropagation);
  close_keeping_errno(target);
  return done;
}

// The tree is closed: thousands of open ones would leave no room for later descriptors.
int op_mount_tree(const struct mount_tree_args *a) {
  int done = mount_source(a);
  close_keeping_errno(a->tree);
  return done;
}

// The kernel follows a path of the host as it would for the runtime's caller. A path in the root can't lead
// out of it.
static int open_source(const char *path, uint32_t flags) {
  unsigned recursive = flags & BIND_RECURSIVE ? AT_RECURSIVE : 0;
  if (!(flags & BIND_IN_ROOT)) {
    int tree = sys_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | recursive);
    return tree < 0 ? fail(DETAIL_bind_source) : tree;
  }
  int place = open_in_root(path, O_PATH);
  if (place < 0)
    return fail(DETAIL_bind_source);
  int tree = sys_open_tree(place, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | recursive);
  if (tree < 0)
    fail(DETAIL_bind_source);
  close_keeping_errno(place);
  return tree;
}

int op_bind(const struct bind_args *a) {
  int tree = open_source(a->source, a->source_flags);
  if (tree < 0)
    return -1;
  // Before it is attached: as a peer of the host's mounts it would propagate to them.
  if (set_attributes(tree, 0, 0, a->source_propagation, 1) < 0)
    return close_keeping_errno(tree);
  struct mount_tree_args opened = {
      .tree = tree,
      .set = a->set,
      .clear = a->clear,
      .rset = a->rset,
      .rclear = a->rclear,
      .propagation = a->propagation,
      .rpropagation = a->rpropagation,
      .destination = a->destination,
      .flags = a->flags,
  };
  return op_mount_tree(&opened);
}
