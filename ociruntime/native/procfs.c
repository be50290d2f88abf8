// SPDX-License-Identifier: Apache-2.0
//
// Where is a procfs that can be trusted, and how is a file in it written? The container's /proc may be
// anything: a symbolic link, a tmpfs, a file of another process mounted over the one that we mean
// (CVE-2019-16884, CVE-2025-52881). So init mounts one of its own. Calls mount_api.c only.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "init.h"
#include "kernel.h"

// A mount that is not attached anywhere. The kernel does not allow one in a user namespace whose /proc is
// partly covered; there it is the /proc of the runtime's mount namespace, which must be a procfs.
static int open_private_proc(void) {
  int context = sys_fsopen("proc");
  if (context >= 0) {
    int mount = -1;
    if (sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL) == 0)
      mount = sys_fsmount(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    close(context);
    if (mount >= 0)
      return mount;
  }
  return open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

int open_proc(void) {
  if (init.proc >= 0)
    return 0;
  int proc = open_private_proc();
  struct statfs status;
  if (proc < 0)
    return fail(DETAIL_open);
  if (fstatfs(proc, &status) < 0 || status.f_type != PROC_SUPER_MAGIC) {
    close(proc);
    return fail_with(EPERM, DETAIL_fstatfs);
  }
  init.proc = proc;
  return 0;
}

int write_proc(const char *directory, const char *name, const char *value) {
  char path[256];
  size_t head = strlen(directory), tail = strlen(name);
  if (head + tail >= sizeof path)
    return fail_with(ENAMETOOLONG, DETAIL_name_too_long);
  memcpy(path, directory, head);
  memcpy(path + head, name, tail + 1);
  struct open_how how = {.flags = O_WRONLY | O_CLOEXEC | O_NOFOLLOW,
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS};
  if (open_proc() < 0)
    return -1;
  int file = (int)syscall(SYS_openat2, init.proc, path, &how, sizeof how);
  if (file < 0)
    return fail(DETAIL_openat2);
  size_t length = strlen(value);
  ssize_t written = write(file, value, length);
  close_keeping_errno(file);
  if (written < 0)
    return fail(DETAIL_write);
  return (size_t)written == length ? 0 : fail_with(EIO, DETAIL_write);
}

const char *proc_path(int descriptor) {
  static char path[32];
  if (open_proc() < 0 || fchdir(init.proc) < 0)
    return NULL;
  char *end = path + sizeof path - 1;
  *end = 0;
  do {
    *--end = (char)('0' + descriptor % 10);
    descriptor /= 10;
  } while (descriptor > 0);
  static const char prefix[] = "self/fd/";
  end -= sizeof prefix - 1;
  memcpy(end, prefix, sizeof prefix - 1);
  return end;
}
