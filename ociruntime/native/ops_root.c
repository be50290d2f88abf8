// SPDX-License-Identifier: Apache-2.0
//
// Ops that make the prepared root the process's "/".

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

// "/" is the new root now; the old descriptor of it may be of the mount below.
static int reopen_root(void) {
  if (chdir("/") < 0)
    return fail(DETAIL_chdir);
  int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0)
    return fail(DETAIL_open);
  close(init.root);
  init.root = root;
  return 0;
}

// pivot_root(".", ".") puts the old root on top of the new one, so that no directory for it is
// needed; it becomes a slave before it goes, or its unmounting would reach the host.
int op_pivot_root(const struct plan_record *record) {
  (void)record;
  int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (old < 0)
    return fail(DETAIL_open);
  if (fchdir(init.root) < 0)
    return fail(DETAIL_chdir);
  if (syscall(SYS_pivot_root, ".", ".") < 0)
    return fail(DETAIL_pivot_root);
  if (fchdir(old) < 0)
    return fail(DETAIL_chdir);
  if (mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL) < 0)
    return fail(DETAIL_mount);
  if (umount2(".", MNT_DETACH) < 0)
    return fail(DETAIL_umount2);
  close(old);
  return reopen_root();
}

// The root of an initramfs can't be pivoted away. What is mounted elsewhere stays reachable for
// root with CAP_SYS_CHROOT: --no-pivot is the operator's decision.
int op_move_root(const struct plan_record *record) {
  (void)record;
  if (fchdir(init.root) < 0)
    return fail(DETAIL_chdir);
  if (mount(".", "/", NULL, MS_MOVE, NULL) < 0)
    return fail(DETAIL_mount);
  if (chroot(".") < 0)
    return fail(DETAIL_chroot);
  return reopen_root();
}

int op_chroot(const struct plan_record *record) {
  (void)record;
  if (fchdir(init.root) < 0)
    return fail(DETAIL_chdir);
  if (chroot(".") < 0)
    return fail(DETAIL_chroot);
  return reopen_root();
}
