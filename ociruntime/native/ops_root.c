// SPDX-License-Identifier: Apache-2.0
//
// Ops that make the prepared root the process's "/".

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"
#include "kernel.h"

// "/" is the new root now, but init.root may still be the mount below it.
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

// pivot_root(".", ".") puts the old root on top of the new one, so that it needs no directory. It becomes a
// slave first, or unmounting it would reach the host.
int op_pivot_root(const struct pivot_root_args *a) {
  (void)a;
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

// To the namespace's own "/", as the runtime may have been started in a chroot. From there not all mounts can
// be seen, and a process that enters the namespace later starts at the namespace's "/".
static int enter_namespace_root(void) {
  if (open_proc() < 0)
    return -1;
  int own = openat(init.proc, "self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (own < 0)
    return fail(DETAIL_open);
  int done = setns(own, CLONE_NEWNS) < 0 ? fail(DETAIL_setns) : 0;
  close_keeping_errno(own);
  return done;
}

static int enter_root(void) {
  if (fchdir(init.root) < 0)
    return fail(DETAIL_chdir);
  if (chroot(".") < 0)
    return fail(DETAIL_chroot);
  return reopen_root();
}

// pivot_root does not work if the root is an initramfs. Then the new root is put on top of it, and what is
// mounted below the old one is unmounted.
int op_move_root(const struct move_root_args *a) {
  (void)a;
  if (enter_namespace_root() < 0)
    return -1;
  int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (old < 0)
    return fail(DETAIL_open);
  int done = fchdir(init.root) < 0 ? fail(DETAIL_chdir) : 0;
  if (done == 0 && mount(".", "/", NULL, MS_MOVE, NULL) < 0)
    done = fail(DETAIL_mount);
  if (done == 0)
    done = clear_old_root(old);
  close_keeping_errno(old);
  return done < 0 ? -1 : enter_root();
}

int op_chroot(const struct chroot_args *a) {
  (void)a;
  return enter_root();
}
