// SPDX-License-Identifier: Apache-2.0
//
// Binds: a source becomes a tree that is attached nowhere, gets its attributes, and is attached. Its source
// is a path, of the host or in the container's root, or a tree that the runtime has opened.

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

// Since Linux 6.8 mountinfo lists mounts by age, and a tree that the runtime opened is older than all that
// init mounts: two mounts at one place would appear in the wrong order. So the tree is exchanged for a copy
// that is made now. A tree that was opened in another mount namespace can only be copied when it is attached.
static int attach_copy(int tree, int target) {
  if (attach(tree, target) < 0)
    return -1;
  int copy = sys_open_tree(tree, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | AT_RECURSIVE);
  if (copy < 0)
    return fail(DETAIL_open_tree);
  // The first one may be a peer of the host's: as such it would take the host's mounts with it.
  int done = set_attributes(tree, 0, 0, MS_PRIVATE, 1);
  const char *path = done == 0 ? proc_path(tree) : NULL;
  if (done == 0)
    done = path && umount2(path, MNT_DETACH) == 0 ? attach(copy, target) : fail(DETAIL_umount2);
  if (done == 0 &&
      dup3(copy, tree, O_CLOEXEC) < 0)  // what follows is about the mount that the container sees
    done = fail(DETAIL_dup3);
  close_keeping_errno(copy);
  return done;
}

// The arguments that both ops have, from number `first` on.
enum { SET, CLEAR, RSET, RCLEAR, PROPAGATION, RPROPAGATION, PLACE, FLAGS };

static int set_tree_attributes(int tree, const uint32_t *args) {
  if (set_attributes(tree, args[RSET], args[RCLEAR], 0, 1) < 0)
    return -1;
  return set_attributes(tree, args[SET], args[CLEAR], 0, 0);
}

// On /proc only a procfs is mounted, by whatever name it comes (CVE-2019-16884).
static int is_procfs(int tree) {
  struct statfs status;
  if (fstatfs(tree, &status) < 0)
    return fail(DETAIL_fstatfs);
  return status.f_type == PROC_SUPER_MAGIC ? 0 : fail_with(EINVAL, DETAIL_source_no_procfs);
}

static int mount_source(int tree, const struct plan_record *record, int first) {
  const uint32_t *args = record->args + first;
  struct stat status;
  if (args[FLAGS] & MOUNT_SOURCE_PROC && is_procfs(tree) < 0)
    return -1;
  if (fstat(tree, &status) < 0)
    return fail(DETAIL_fstat);
  int kind = S_ISDIR(status.st_mode) ? KIND_DIRECTORY : KIND_FILE;
  int target = open_target(text(record, first + PLACE), kind, args[FLAGS]);
  if (target < 0)
    return -1;
  // Before it is attached, so that nobody sees it without; mount(2) can only do it afterwards.
  int before = has_mount_setattr();
  int done = before ? set_tree_attributes(tree, args) : 0;
  if (done == 0)
    done = args[FLAGS] & MOUNT_IN_ORDER ? attach_copy(tree, target) : attach(tree, target);
  if (done == 0 && !before)
    done = set_tree_attributes(tree, args);
  if (done == 0)
    done = propagate(tree, args[PROPAGATION], args[RPROPAGATION]);
  close_keeping_errno(target);
  return done;
}

// The slot is closed: thousands of open trees would leave no room for later descriptors.
int op_mount_tree(const struct plan_record *record) {
  int tree = slot(record, 0);
  int done = mount_source(tree, record, 1);
  close_keeping_errno(tree);
  return done;
}

// The kernel follows a path of the host as it would for the runtime's caller; a path in the root stays in the
// root.
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

int op_bind(const struct plan_record *record) {
  int tree = open_source(text(record, 0), record->args[1]);
  if (tree < 0)
    return -1;
  // Before it is attached: as a peer of the host's mounts it would propagate to them.
  int done = set_attributes(tree, 0, 0, record->args[2], 1);
  if (done == 0)
    done = mount_source(tree, record, 3);
  close_keeping_errno(tree);
  return done;
}
