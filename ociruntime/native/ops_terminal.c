// SPDX-License-Identifier: Apache-2.0
//
// Ops that give the program a terminal. The pair comes from the container's own devpts, and init uses only
// the descriptors of its two ends: by the time that it looked up /dev/pts/N, that could be anything
// (CVE-2025-52565).

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "init.h"

// No process can make, rename or remove names in a devpts. So its ptmx is the real one if no mount and no
// link is crossed on the way from its root.
static int open_master(void) {
  struct open_how how = {.flags = O_RDWR | O_NOCTTY | O_CLOEXEC,
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS};
  struct statfs status;
  int master = -1, directory = open_in_root("/dev/pts", O_PATH | O_DIRECTORY);
  if (directory < 0)
    return -1;
  if (fstatfs(directory, &status) < 0)
    fail(DETAIL_fstatfs);
  else if (status.f_type != DEVPTS_SUPER_MAGIC)
    fail_with(ENODEV, DETAIL_not_devpts);
  else if ((master = (int)syscall(SYS_openat2, directory, "ptmx", &how, sizeof how)) < 0)
    fail(DETAIL_openat2);
  close_keeping_errno(directory);
  return master;
}

static int become_terminal(int master, const struct terminal_args *a) {
  struct winsize size = {.ws_row = (unsigned short)a->rows, .ws_col = (unsigned short)a->columns};
  struct plan_message message = sync_message(SYNC_terminal, 0);
  int unlock = 0;
  if (ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
    return fail(DETAIL_ioctl);
  int peer = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (peer < 0)
    return fail(DETAIL_ioctl);
  int done = 0;
  for (int i = 0; i < 3 && done == 0; i++)
    done = dup3(peer, i, 0) < 0 ? fail(DETAIL_dup3) : 0;
  close_keeping_errno(peer);
  if (done == 0 && ioctl(0, TIOCSCTTY, 0) < 0)
    done = fail(DETAIL_ioctl);
  if (done == 0)
    send_message(&message, master);
  return done;
}

// The runtime gets the master. Here the other end becomes 0, 1 and 2, and the session's terminal.
int op_terminal(const struct terminal_args *a) {
  int master = open_master();
  if (master < 0)
    return -1;
  int done = become_terminal(master, a);
  close_keeping_errno(master);
  return done;
}

// Only the user: the group comes from the devpts' mount option.
int op_terminal_owner(const struct terminal_owner_args *a) {
  return fchown(0, a->uid, (gid_t)-1) < 0 ? fail(DETAIL_fchownat) : 0;
}
