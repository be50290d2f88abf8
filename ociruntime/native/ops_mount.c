// SPDX-License-Identifier: Apache-2.0
//
// Ops that mount: the root, new file systems, changes of what is mounted, masks and read-only paths.
// Sources and targets are descriptors; every target is in the root. Binds are in ops_bind.c.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "init.h"
#include "kernel.h"

// Only the plan can allow a mount on procfs. Otherwise a volume could replace the files through which labels
// and limits are set (CVE-2019-16884).
int may_cover(int target, uint32_t flags) {
  struct statfs status;
  if (flags & MOUNT_ON_PROC)
    return 0;
  if (fstatfs(target, &status) < 0)
    return fail(DETAIL_fstatfs);
  return status.f_type == PROC_SUPER_MAGIC ? fail_with(EINVAL, DETAIL_target_on_proc) : 0;
}

// init would stay below a mount on top of the root. A process that enters the namespace later would be above
// it, without masks and read-only paths.
static int is_below_root(int target) {
  struct stat root, place;
  if (fstat(init.root, &root) < 0 || fstat(target, &place) < 0)
    return fail(DETAIL_fstat);
  return root.st_dev == place.st_dev && root.st_ino == place.st_ino ? fail_with(EINVAL, DETAIL_target_is_root)
                                                                    : 0;
}

int open_target(const char *path, int kind, uint32_t flags) {
  int target = open_or_make(path, kind, flags);
  if (target >= 0 && (is_below_root(target) < 0 || may_cover(target, flags) < 0))
    return close_keeping_errno(target);
  return target;
}

// For a directory on a file the kernel says EINVAL, which means many other things as well.
int attach(int mount, int target) {
  struct stat source, place;
  if (fstat(mount, &source) < 0 || fstat(target, &place) < 0)
    return fail(DETAIL_fstat);
  if (S_ISDIR(source.st_mode) != S_ISDIR(place.st_mode))
    return fail_with(ENOTDIR, DETAIL_move_mount);
  return sys_move_mount(mount, target) < 0 ? fail(DETAIL_move_mount) : 0;
}

int op_propagation(const struct propagation_args *a) {
  return mount(NULL, "/", NULL, a->flags, NULL) < 0 ? fail(DETAIL_mount) : 0;
}

// pivot_root needs a mount point whose parent mount is not shared. To find that parent, walk up until the
// mount id changes.
static int make_parent_private(int rootfs) {
  struct statx here, above;
  int directory = openat(rootfs, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  for (;;) {
    if (directory < 0)
      return fail(DETAIL_open);
    int parent = openat(directory, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
      return close_keeping_errno(directory), fail(DETAIL_open);
    if (statx(directory, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &here) < 0 ||
        statx(parent, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &above) < 0) {
      close_keeping_errno(parent), close_keeping_errno(directory);
      return fail(DETAIL_fstat);
    }
    int top = here.stx_mnt_id != above.stx_mnt_id || here.stx_ino == above.stx_ino;
    if (top) {
      close(parent);
      int done = set_attributes(directory, 0, 0, MS_PRIVATE, 0);
      close_keeping_errno(directory);
      return done;
    }
    close(directory);
    directory = parent;
  }
}

int op_root(const struct root_args *a) {
  int place = open(a->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (place < 0)
    return fail(DETAIL_open);
  if (!(a->flags & ROOT_BIND)) {
    init.root = place;
    return 0;
  }
  int tree = sys_open_tree(place, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | AT_RECURSIVE);
  if (tree < 0)
    return close_keeping_errno(place), fail(DETAIL_open_tree);
  int done = a->flags & ROOT_PARENT_PRIVATE ? make_parent_private(place) : 0;
  if (done == 0) {  // pivot_root needs it not shared; slaves still follow the host's mounts
    uint32_t kind = a->flags & ROOT_PRIVATE ? MS_PRIVATE : MS_SLAVE;
    done = set_attributes(tree, 0, 0, kind, 1);
  }
  if (done == 0)
    done = attach(tree, place);
  close_keeping_errno(place);
  if (done < 0)
    return close_keeping_errno(tree);
  init.root = tree;
  return note_own_mount(tree);
}

static int configure(int context, const struct mount_fs_args *a, const char *mode) {
  if (a->source && sys_fsconfig(context, FSCONFIG_SET_STRING, "source", a->source) < 0)
    return fail(DETAIL_fsconfig);
  if (mode && sys_fsconfig(context, FSCONFIG_SET_STRING, "mode", mode) < 0)
    return fail(DETAIL_fsconfig);
  for (char **option = a->options; *option; option++) {
    char *equals = strchr(*option, '=');
    if (equals)  // cut in place, and put back: another record may use the same string
      *equals = 0;
    int done = equals ? sys_fsconfig(context, FSCONFIG_SET_STRING, *option, equals + 1)
                      : sys_fsconfig(context, FSCONFIG_SET_FLAG, *option, NULL);
    if (equals)
      *equals = '=';
    if (done < 0)
      return fail(DETAIL_fsconfig);
  }
  return sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL) < 0 ? fail(DETAIL_fsconfig) : 0;
}

// A new file system, not yet attached. On failure its context stays open, because it holds a log of errors.
static int make_file_system(const struct mount_fs_args *a, const char *mode) {
  int context = sys_fsopen(a->type);
  if (context < 0)
    return fail(DETAIL_fsopen);
  if (configure(context, a, mode) < 0) {
    init.log = context;
    return -1;
  }
  int fresh = sys_fsmount(context, a->set);
  if (fresh < 0) {
    init.log = context;
    return fail(DETAIL_fsmount);
  }
  close(context);
  return fresh;
}

// The mode of the directory that will be covered, in octal digits.
static const char *mode_of(int target) {
  static char digits[8];
  struct stat status;
  if (fstat(target, &status) < 0)
    return fail(DETAIL_fstat), NULL;
  for (int i = 0; i < 4; i++)
    digits[i] = (char)('0' + (status.st_mode >> (9 - 3 * i) & 7));
  return digits;
}

// fsconfig takes values of up to 255 bytes, but an overlay of many layers needs longer ones. For these there
// is the old call, which takes all options in one page.
static int needs_old_call(const struct mount_fs_args *a) {
  for (char **option = a->options; *option; option++) {
    const char *value = strchr(*option, '=');
    if (value && strlen(value + 1) > 255)
      return 1;
  }
  return 0;
}

static int append(char *data, size_t size, const char *option) {
  size_t used = strlen(data), length = strlen(option);
  if (used + length + 2 > size)
    return fail_with(ENAMETOOLONG, DETAIL_name_too_long);
  if (used)
    data[used++] = ',';
  memcpy(data + used, option, length + 1);
  return 0;
}

// Opens what has been mounted on a directory without using its path, which may lead elsewhere by now. With
// the directory as root, ".." leads to the root itself, and so into what is mounted there.
static int open_mounted_on(int target) {
  struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
  uint64_t below, above;
  int fresh;
  do
    fresh = (int)syscall(SYS_openat2, target, "..", &how, sizeof how);
  while (fresh < 0 && errno == EAGAIN);  // a directory was renamed meanwhile
  if (fresh < 0)
    return fail(DETAIL_openat2);
  if (mount_id(target, &below) < 0 || mount_id(fresh, &above) < 0)
    return close_keeping_errno(fresh);
  return below != above ? fresh : (close_keeping_errno(fresh), fail_with(ENOENT, DETAIL_mount));
}

static int mount_by_old_call(const struct mount_fs_args *a, int target, const char *mode) {
  static char data[4096], mode_option[16] = "mode=";
  *data = 0;
  if (mode) {
    memcpy(mode_option + 5, mode, strlen(mode) + 1);
    if (append(data, sizeof data, mode_option) < 0)
      return -1;
  }
  for (char **option = a->options; *option; option++)
    if (append(data, sizeof data, *option) < 0)
      return -1;
  const char *path = proc_path(target);
  if (!path || mount(a->source ? a->source : "none", path, a->type, old_flags(a->set), data) < 0)
    return fail(DETAIL_mount);
  return open_mounted_on(target);
}

static int mount_by_new_calls(const struct mount_fs_args *a, int target, const char *mode) {
  int fresh = make_file_system(a, mode);
  if (fresh < 0)
    return -1;
  if (a->flags & MOUNT_COPY_UP && copy_up(target, fresh) < 0)
    return close_keeping_errno(fresh);
  return attach(fresh, target) < 0 ? close_keeping_errno(fresh) : fresh;
}

// Returns the new mount, already attached.
static int mount_file_system(const struct mount_fs_args *a, int target) {
  const char *mode = a->flags & MOUNT_KEEP_MODE ? mode_of(target) : NULL;
  if (a->flags & MOUNT_KEEP_MODE && !mode)
    return -1;
  if (!needs_old_call(a))
    return mount_by_new_calls(a, target, mode);
  int fresh = mount_by_old_call(a, target, mode);
  if (fresh >= 0 && a->flags & MOUNT_COPY_UP && copy_up(target, fresh) < 0)
    return close_keeping_errno(fresh);
  return fresh;
}

int op_mount_fs(const struct mount_fs_args *a) {
  int kind = a->flags & MOUNT_KEEP_MODE ? KIND_OPEN_DIRECTORY : KIND_DIRECTORY;
  int target = open_target(a->destination, kind, a->flags);
  if (target < 0)
    return -1;
  int fresh = mount_file_system(a, target);
  close_keeping_errno(target);
  if (fresh < 0)
    return -1;
  int done = note_own_mount(fresh);
  if (done == 0)
    done = propagate(fresh, a->propagation, a->rpropagation);
  close_keeping_errno(fresh);
  return done;
}

// A missing file is made only in the container's own mounts. The name is looked up once, and a link is not
// followed, because the image chooses where it leads.
static int open_console(const char *path) {
  const char *name;
  struct stat status;
  int parent = open_parent(path, &name);
  if (parent < 0)
    return -1;
  int own = is_own_mount(parent), target = -1;
  if (own > 0 && mknodat(parent, name, S_IFREG | 0644, 0) < 0 && errno != EEXIST)
    fail(DETAIL_mknodat);
  else if (own >= 0 && (target = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC)) < 0)
    fail(own == 0 && errno == ENOENT ? DETAIL_foreign_mount : DETAIL_open);
  close_keeping_errno(parent);
  if (target < 0 || fstat(target, &status) < 0 || !S_ISLNK(status.st_mode))
    return target;
  close(target);
  return fail_with(ELOOP, DETAIL_target_is_link);
}

// The source is the process's own terminal (op terminal), never a path below /dev/pts.
int op_console(const struct console_args *a) {
  int target = open_console(a->path);
  if (target < 0)
    return -1;
  int tree = sys_open_tree(0, "", AT_EMPTY_PATH | OPEN_TREE_CLONE);
  int done = tree < 0 ? fail(DETAIL_open_tree) : may_cover(target, 0);
  if (done == 0)
    done = attach(tree, target);
  if (tree >= 0)
    close_keeping_errno(tree);
  close_keeping_errno(target);
  return done;
}

int op_remount(const struct remount_args *a) {
  int target = open_in_root(a->destination, O_PATH);
  if (target < 0)
    return -1;
  const char *path = proc_path(target);
  int done = path && mount(NULL, path, NULL, MS_REMOUNT | a->flags, a->data) == 0 ? 0 : fail(DETAIL_mount);
  close_keeping_errno(target);
  return done;
}

int op_mount_attributes(const struct mount_attributes_args *a) {
  int target = open_in_root(a->destination, O_PATH);
  if (target < 0)
    return -1;
  int done = set_attributes(target, a->rset, a->rclear, 0, 1);
  if (done == 0)
    done = set_attributes(target, a->set, a->clear, 0, 0);
  if (done == 0)
    done = propagate(target, a->propagation, a->rpropagation);
  close_keeping_errno(target);
  return done;
}

int op_root_attributes(const struct root_attributes_args *a) {
  if (set_attributes(init.root, a->set, a->clear, 0, 0) < 0)
    return -1;
  return propagate(init.root, a->propagation, 0);
}

// The source of a mask must be the real null device, not whatever the image has at /dev/null
// (CVE-2025-31133). The descriptor that is checked is the one that is mounted.
static int open_null(void) {
  struct stat status;
  int null = open_in_root("/dev/null", O_PATH | O_NOFOLLOW);
  if (null < 0)
    return -1;
  if (fstat(null, &status) < 0)
    return close_keeping_errno(null), fail(DETAIL_fstat);
  if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) {
    close(null);
    return fail_with(EINVAL, DETAIL_not_a_device);
  }
  int tree = sys_open_tree(null, "", AT_EMPTY_PATH | OPEN_TREE_CLONE);
  close_keeping_errno(null);
  return tree < 0 ? fail(DETAIL_open_tree) : tree;
}

// One file system serves all masks: each one costs the kernel an inode, a superblock and a shrinker.
int open_empty_directory(const char *label, int *first) {
  if (*first >= 0) {
    int again = sys_open_tree(*first, "", AT_EMPTY_PATH | OPEN_TREE_CLONE);
    return again < 0 ? fail(DETAIL_open_tree) : again;
  }
  int context = sys_fsopen("tmpfs");
  if (context < 0)
    return fail(DETAIL_fsopen);
  if (sys_fsconfig(context, FSCONFIG_SET_STRING, "source", "tmpfs") < 0 ||
      sys_fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL) < 0 ||
      (label && sys_fsconfig(context, FSCONFIG_SET_STRING, "context", label) < 0) ||
      sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
    return close_keeping_errno(context), fail(DETAIL_fsconfig);
  int fresh = sys_fsmount(context, MOUNT_ATTR_RDONLY);
  close_keeping_errno(context);
  return fresh < 0 ? fail(DETAIL_fsmount) : fresh;
}

int op_mask(const struct mask_args *a) {
  static int empty = -1;  // all masks of a container have the same label
  struct stat status;
  int target = open_in_root(a->path, O_PATH);
  if (target < 0)  // what does not exist need not be hidden
    return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
  if (fstat(target, &status) < 0)
    return close_keeping_errno(target), fail(DETAIL_fstat);
  int is_directory = S_ISDIR(status.st_mode);
  int cover = is_directory ? open_empty_directory(a->label, &empty) : open_null();
  if (cover < 0)
    return close_keeping_errno(target);
  int done = attach(cover, target);
  if (done == 0 && is_directory && empty < 0)
    empty = cover;
  else
    close_keeping_errno(cover);
  close_keeping_errno(target);
  return done;
}

int op_readonly(const struct readonly_args *a) {
  int target = open_in_root(a->path, O_PATH);
  if (target < 0)
    return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
  int tree = sys_open_tree(target, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | AT_RECURSIVE);
  if (tree < 0)
    return close_keeping_errno(target), fail(DETAIL_open_tree);
  // With mount(2) only the top mount can be made read-only, which is all that runc ever does.
  int before = has_mount_setattr();
  int done = before ? set_attributes(tree, MOUNT_ATTR_RDONLY, 0, 0, 1) : 0;
  if (done == 0)
    done = attach(tree, target);
  if (done == 0 && !before)
    done = set_attributes(tree, MOUNT_ATTR_RDONLY, 0, 0, 0);
  close_keeping_errno(tree);
  close_keeping_errno(target);
  return done;
}
