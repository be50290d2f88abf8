// SPDX-License-Identifier: Apache-2.0
//
// tmpcopyup: the contents of the directory below a new tmpfs are copied into it. The directory may be a
// volume in which other processes rename files at the same time. So each name is opened once, and a file's
// type, owner and mode are read from the descriptor, never looked up by name again. Symbolic links are
// copied, never followed. A file with several names becomes several files.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
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

// ACLs, capabilities and user attributes. Labels of security modules are not copied, nor are attributes that
// the tmpfs can't store.
static int copy_attribute(int source, int copy, const char *name, int privileges) {
  static char value[XATTR_SIZE_MAX];
  int is_capability = strcmp(name, "security.capability") == 0;
  if (is_capability ? !privileges : strncmp(name, "security.", 9) == 0)
    return 0;
  ssize_t size = fgetxattr(source, name, value, sizeof value);
  if (size < 0)  // ENODATA: it has been removed; EOVERFLOW: capabilities of another user namespace
    return errno == ENODATA || errno == EOVERFLOW ? 0 : fail(DETAIL_copy);
  if (fsetxattr(copy, name, value, (size_t)size, 0) == 0 || errno == EOPNOTSUPP)
    return 0;
  return fail(DETAIL_fsetxattr);
}

static int copy_attributes(int source, int copy, int privileges) {
  static char names[XATTR_LIST_MAX];
  ssize_t size = flistxattr(source, names, sizeof names);
  if (size < 0)
    return errno == EOPNOTSUPP ? 0 : fail(DETAIL_copy);
  for (const char *name = names; name < names + size; name += strlen(name) + 1)
    if (copy_attribute(source, copy, name, privileges) < 0)
      return -1;
  return 0;
}

// Owner first, because chown clears set-user-ID and capabilities. If a file gives no privileges where it is,
// because its mount is nosuid, it must not give any here.
static int copy_status(int source, int copy) {
  struct stat status;
  struct statvfs mount;
  if (fstat(source, &status) < 0)
    return fail(DETAIL_fstat);
  if (fstatvfs(source, &mount) < 0)
    return fail(DETAIL_fstatfs);
  int privileges = !(mount.f_flag & ST_NOSUID);
  mode_t lost = privileges || S_ISDIR(status.st_mode) ? 0 : S_ISUID | S_ISGID;
  if (fchown(copy, status.st_uid, status.st_gid) < 0)
    return fail(DETAIL_fchownat);
  if (copy_attributes(source, copy, privileges) < 0)
    return -1;
  if (fchmod(copy, status.st_mode & 07777 & ~lost) < 0)
    return fail(DETAIL_fchmodat);
  struct timespec times[2] = {status.st_atim, status.st_mtim};
  return futimens(copy, times) < 0 ? fail(DETAIL_copy) : 0;
}

static int copy_content(int source, int copy) {
  ssize_t sent;
  while ((sent = sendfile(copy, source, NULL, 1 << 20)) > 0)
    ;
  return sent < 0 ? fail(DETAIL_copy) : copy_status(source, copy);
}

static int copy_file(int entry, int to, const char *name) {
  const char *path = proc_path(entry);  // the file that was opened, even if it has been renamed
  int source = path ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
  if (source < 0)
    return fail(DETAIL_open);
  int copy = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  int done = copy < 0 ? fail(DETAIL_open) : copy_content(source, copy);
  if (copy >= 0)
    close_keeping_errno(copy);
  close_keeping_errno(source);
  return done;
}

static int copy_subdirectory(int entry, int to, const char *name, int depth) {
  if (depth == MAX_DEPTH)
    return fail_with(ELOOP, DETAIL_copy);
  if (mkdirat(to, name, 0700) < 0)
    return fail(DETAIL_mkdirat);
  int source = openat(entry, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (source < 0)
    return fail(DETAIL_open);
  int copy = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  int done = copy < 0 ? fail(DETAIL_open) : copy_directory(source, copy, depth + 1);
  if (done == 0)
    done = copy_status(source, copy);
  if (copy >= 0)
    close_keeping_errno(copy);
  close_keeping_errno(source);
  return done;
}

// A file without content is made like the one that was opened. Only this process uses the names in `to`.
static int make_like(int entry, int to, const char *name, const struct stat *status) {
  char target[PATH_MAX];
  int is_link = S_ISLNK(status->st_mode);
  if (is_link) {
    ssize_t length = readlinkat(entry, "", target, sizeof target - 1);
    if (length < 0)
      return fail(DETAIL_readlinkat);
    target[length] = 0;
    if (symlinkat(target, to, name) < 0)
      return fail(DETAIL_symlinkat);
  } else if (mknodat(to, name, status->st_mode, status->st_rdev) < 0) {
    return fail(DETAIL_mknodat);
  }
  if (fchownat(to, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
    return fail(DETAIL_fchownat);
  if (!is_link && fchmodat(to, name, status->st_mode & 07777, 0) < 0)
    return fail(DETAIL_fchmodat);
  struct timespec times[2] = {status->st_atim, status->st_mtim};
  return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? fail(DETAIL_copy) : 0;
}

// A device on a nodev mount can't be used. Its copy could be, so it is left out.
static int is_dead_device(int entry, const struct stat *status) {
  struct statvfs mount;
  if (!S_ISBLK(status->st_mode) && !S_ISCHR(status->st_mode))
    return 0;
  return fstatvfs(entry, &mount) < 0 ? fail(DETAIL_fstatfs) : (mount.f_flag & ST_NODEV) != 0;
}

static int copy_opened(int entry, int to, const char *name, int depth) {
  struct stat status;
  if (fstat(entry, &status) < 0)
    return fail(DETAIL_fstat);
  if (S_ISREG(status.st_mode))
    return copy_file(entry, to, name);
  if (S_ISDIR(status.st_mode))
    return copy_subdirectory(entry, to, name, depth);
  int dead = is_dead_device(entry, &status);
  return dead ? (dead < 0 ? -1 : 0) : make_like(entry, to, name, &status);
}

static int copy_entry(int from, int to, const char *name, int depth) {
  int entry = openat(from, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (entry < 0)  // ENOENT: it has been removed since the directory was read
    return errno == ENOENT ? 0 : fail(DETAIL_open);
  int done = copy_opened(entry, to, name, depth);
  close_keeping_errno(entry);
  return done;
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

// The directory itself is the new file system's: its owner is root, or what uid= and gid= say, as with runc
// and crun. A root without CAP_DAC_OVERRIDE (podman run --cap-drop all --tmpfs) could not write to another's.
int copy_up(int from, int to) {
  mode_t before = umask(0);
  int source = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int copy = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int done = source < 0 || copy < 0 ? fail(DETAIL_open) : copy_directory(source, copy, 0);
  if (source >= 0)
    close_keeping_errno(source);
  if (copy >= 0)
    close_keeping_errno(copy);
  umask(before);
  return done;
}
