// SPDX-License-Identifier: Apache-2.0
//
// Paths of the container, reached by descriptor. The kernel resolves each path with the container's root as
// "/" (openat2, RESOLVE_IN_ROOT), so neither a symbolic link nor a race with a process that renames
// components can lead out of it. No path is looked up twice.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

#define MAX_LINKS 40
#define MAX_RACES 128

static int resolve(const char *path, uint64_t flags, uint64_t extra) {
  struct open_how how = {.flags = flags | O_CLOEXEC,
                         .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | extra};
  for (int attempt = 0;; attempt++) {
    int file = (int)syscall(SYS_openat2, init.root, path, &how, sizeof how);
    // EAGAIN: a directory was renamed meanwhile, and the kernel can't tell whether ".." left the root
    if (file >= 0 || errno != EAGAIN || attempt == MAX_RACES)
      return file;
  }
}

int open_in_root(const char *path, uint64_t flags) {
  int file = resolve(path, flags, 0);
  return file < 0 ? fail(DETAIL_openat2) : file;
}

static int make(int parent, const char *name, int kind) {
  if (kind == KIND_FILE)
    return mknodat(parent, name, S_IFREG | 0644, 0) < 0 && errno != EEXIST ? fail(DETAIL_mknodat) : 0;
  if (kind == KIND_OPEN_DIRECTORY) {
    mode_t before = umask(0);
    int done = mkdirat(parent, name, 01777) < 0 && errno != EEXIST ? fail(DETAIL_mkdirat) : 0;
    umask(before);
    return done;
  }
  return mkdirat(parent, name, 0755) < 0 && errno != EEXIST ? fail(DETAIL_mkdirat) : 0;
}

// `name` in `path` is a link whose target is missing; the first `prefix` bytes of the path lead to it. Put
// the target into the path, as the kernel would, and start again.
static int follow(int parent, const char *name, char *path, size_t prefix, const char *rest) {
  char target[PATH_MAX], joined[PATH_MAX];
  ssize_t length = readlinkat(parent, name, target, sizeof target - 1);
  if (length < 0)
    return fail(DETAIL_readlinkat);
  target[length] = 0;
  size_t lead = target[0] == '/' ? 0 : prefix;
  size_t tail = strlen(rest);
  if (lead + (size_t)length + 1 + tail + 1 > sizeof joined)
    return fail_with(ENAMETOOLONG, DETAIL_name_too_long);
  memcpy(joined, path, lead);
  memcpy(joined + lead, target, (size_t)length);
  size_t end = lead + (size_t)length;
  if (tail)  // a slash at the end would ask for a directory
    joined[end++] = '/';
  memcpy(joined + end, rest, tail + 1);
  memcpy(path, joined, end + tail + 1);
  return 0;
}

// Makes the missing components of `path`; the last one is made as `kind`. Changes `path`.
static int make_path(char *path, int kind) {
  int links = 0;
again:
  for (size_t start = 0; path[start];) {
    while (path[start] == '/')
      start++;
    size_t end = start;
    while (path[end] && path[end] != '/')
      end++;
    size_t next = end;
    while (path[next] == '/')
      next++;
    if (end == start)
      break;
    char cut = path[end];
    path[end] = 0;
    int here = resolve(path, O_PATH, 0);
    if (here >= 0) {
      close(here);
    } else if (errno != ENOENT) {
      return fail(DETAIL_openat2);
    } else {
      char name[NAME_MAX + 1];
      if (end - start > NAME_MAX)
        return fail_with(ENAMETOOLONG, DETAIL_name_too_long);
      memcpy(name, path + start, end - start + 1);
      char first = path[start];
      path[start] = 0;
      int parent = resolve(start == 0 ? "." : path, O_PATH | O_DIRECTORY, 0);
      path[start] = first;
      if (parent < 0)
        return fail(DETAIL_openat2);
      struct stat status;
      if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode)) {
        path[end] = cut;
        int moved = ++links > MAX_LINKS ? fail_with(ELOOP, DETAIL_too_many_links)
                                        : follow(parent, name, path, start, path + next);
        close_keeping_errno(parent);
        if (moved < 0)
          return -1;
        goto again;
      }
      int made = make(parent, name, path[next] || cut == '/' ? KIND_DIRECTORY : kind);
      close_keeping_errno(parent);
      if (made < 0)
        return -1;
    }
    path[end] = cut;
    start = next;
  }
  return 0;
}

static int copy_path(const char *path, size_t length, char *copy) {
  if (length >= PATH_MAX)
    return fail_with(ENAMETOOLONG, DETAIL_name_too_long);
  memcpy(copy, path, length);
  copy[length] = 0;
  return 0;
}

int open_or_make(const char *path, int kind, uint32_t mount_flags) {
  char copy[PATH_MAX];
  uint64_t extra = mount_flags & MOUNT_TARGET_REAL ? RESOLVE_NO_SYMLINKS : 0;
  int target = resolve(path, O_PATH, extra);
  if (target >= 0)
    return target;
  if (errno == ELOOP && extra)
    return fail_with(ELOOP, DETAIL_target_is_link);
  if (errno != ENOENT)
    return fail(DETAIL_openat2);
  if (copy_path(path, strlen(path), copy) < 0 || make_path(copy, kind) < 0)
    return -1;
  target = resolve(path, O_PATH, extra);
  return target < 0 ? fail(DETAIL_openat2) : target;
}

int open_parent(const char *path, const char **name) {
  char copy[PATH_MAX];
  const char *slash = strrchr(path, '/');
  *name = slash + 1;
  if (**name == 0)
    return fail_with(EINVAL, DETAIL_bad_plan);
  if (slash == path)
    return open_in_root("/", O_PATH | O_DIRECTORY);
  if (copy_path(path, (size_t)(slash - path), copy) < 0)
    return -1;
  int parent = resolve(copy, O_PATH | O_DIRECTORY, 0);
  if (parent >= 0 || errno != ENOENT)
    return parent < 0 ? fail(DETAIL_openat2) : parent;
  return open_or_make(copy, KIND_DIRECTORY, 0);
}
