// SPDX-License-Identifier: Apache-2.0
//
// tmpcopyup: what the directory under a new tmpfs holds is copied into it before it is attached.
// Both sides are descriptors; symbolic links are copied, never followed.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "init.h"

#define MAX_DEPTH 64

struct entry {  // linux_dirent64 of getdents64(2)
  uint64_t inode;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[];
};

static int copy_directory(int from, int to, int depth);

static int copy_content(int from, int to, const char *name, const struct stat *status) {
  struct stat opened;
  int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (source < 0)
    return fail(DETAIL_open);
  if (fstat(source, &opened) < 0 || !S_ISREG(opened.st_mode)) {  // somebody has put another file there
    close(source);
    return fail_with(EAGAIN, DETAIL_copy);
  }
  int copy = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, status->st_mode & 07777);
  if (copy < 0) {
    close(source);
    return fail(DETAIL_open);
  }
  ssize_t sent;
  while ((sent = sendfile(copy, source, NULL, 1 << 20)) > 0)
    ;
  int error = errno;
  close(source);
  close(copy);
  return sent < 0 ? fail_with(error, DETAIL_copy) : 0;
}

static int copy_link(int from, int to, const char *name) {
  char target[PATH_MAX];
  ssize_t length = readlinkat(from, name, target, sizeof target - 1);
  if (length < 0)
    return fail(DETAIL_readlinkat);
  target[length] = 0;
  return symlinkat(target, to, name) < 0 ? fail(DETAIL_symlinkat) : 0;
}

static int copy_subdirectory(int from, int to, const char *name, int depth) {
  if (depth == MAX_DEPTH)
    return fail_with(ELOOP, DETAIL_copy);
  if (mkdirat(to, name, 0700) < 0)
    return fail(DETAIL_mkdirat);
  int source = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  int copy = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  int done = source < 0 || copy < 0 ? fail(DETAIL_open) : copy_directory(source, copy, depth + 1);
  int error = errno;
  close(source);
  close(copy);
  errno = error;
  return done;
}

static int copy_entry(int from, int to, const char *name, int depth) {
  struct stat status;
  if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
    return fail(DETAIL_fstat);
  int done;
  if (S_ISREG(status.st_mode))
    done = copy_content(from, to, name, &status);
  else if (S_ISDIR(status.st_mode))
    done = copy_subdirectory(from, to, name, depth);
  else if (S_ISLNK(status.st_mode))
    done = copy_link(from, to, name);
  else
    done = mknodat(to, name, status.st_mode, status.st_rdev) < 0 ? fail(DETAIL_mknodat) : 0;
  if (done < 0)
    return -1;
  if (fchownat(to, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
    return fail(DETAIL_fchownat);
  if (!S_ISLNK(status.st_mode) && fchmodat(to, name, status.st_mode & 07777, 0) < 0)
    return fail(DETAIL_fchmodat);
  struct timespec times[2] = {status.st_atim, status.st_mtim};
  return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? fail(DETAIL_copy) : 0;
}

static int copy_directory(int from, int to, int depth) {
  char buffer[2048] __attribute__((aligned(8)));
  for (;;) {
    long got = syscall(SYS_getdents64, from, buffer, sizeof buffer);
    if (got < 0)
      return fail(DETAIL_getdents64);
    if (got == 0)
      return 0;
    for (long at = 0; at < got;) {
      const struct entry *entry = (const void *)(buffer + at);
      at += entry->length;
      if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
        continue;
      if (copy_entry(from, to, entry->name, depth) < 0)
        return -1;
    }
  }
}

int copy_up(int from, int to) {
  struct stat status;
  mode_t before = umask(0);
  int source = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int copy = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int done = source < 0 || copy < 0 || fstat(source, &status) < 0 ? fail(DETAIL_open)
                                                                  : copy_directory(source, copy, 0);
  if (done == 0 && fchown(copy, status.st_uid, status.st_gid) < 0)
    done = fail(DETAIL_fchownat);
  int error = errno;
  close(source);
  close(copy);
  umask(before);
  errno = error;
  return done;
}
