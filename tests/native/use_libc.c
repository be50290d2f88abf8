// SPDX-License-Identifier: Apache-2.0
//
// Linked with native/libc.c in place of a C library. Writes the number of the line of each check that fails.
//
// With the argument "overflow" it writes past the end of an array, which the stack protector must notice.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

extern uintptr_t __stack_chk_guard;

static void write_number(unsigned number) {
  char text[12] = {0}, *digit = text + sizeof text - 1;
  *digit = '\n';
  do
    *--digit = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  write(1, digit, (size_t)(text + sizeof text - digit));
}

#define CHECK(condition)                                                                                     \
  do                                                                                                         \
    if (!(condition))                                                                                        \
      write_number(__LINE__);                                                                                \
  while (0)

static void check_text(void) {
  CHECK(strlen("") == 0 && strlen("four") == 4);
  CHECK(strcmp("a", "a") == 0 && strcmp("a", "b") < 0 && strcmp("a", "") > 0 && strcmp("\xff", "a") > 0);
  CHECK(strncmp("security.x", "security.", 9) == 0 && strncmp("a", "b", 0) == 0 && strncmp("ab", "a", 2) > 0);
  const char *path = "a/b/c";
  CHECK(strchr(path, '/') == path + 1 && !strchr(path, 'x') && strchr(path, 0) == path + 5);
  CHECK(strrchr(path, '/') == path + 3 && !strrchr(path, 'x') && strrchr(path, 0) == path + 5);
  char set[40], copy[40] = {0};
  memset(set, 7, sizeof set);
  memcpy(copy, set, sizeof copy - 1);
  CHECK(copy[0] == 7 && copy[38] == 7 && copy[39] == 0);
}

static void check_files(void) {
  struct stat one, other;
  struct statvfs mount;
  CHECK(open("/nonexistent", O_RDONLY) == -1 && errno == ENOENT);
  int fd = open("/proc", O_RDONLY | O_DIRECTORY);
  CHECK(fd >= 0 && fstat(fd, &one) == 0 && S_ISDIR(one.st_mode) && (one.st_mode & 07777) == 0555);
  CHECK(stat("/proc", &other) == 0 && one.st_ino == other.st_ino && one.st_dev == other.st_dev);
  CHECK(fstatvfs(fd, &mount) == 0 && !(mount.f_flag & 0x20));
  CHECK(fcntl(fd, F_GETFD) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
  CHECK(faccessat(AT_FDCWD, "/bin/sh", X_OK, AT_EACCESS) == 0);
  CHECK(close(fd) == 0 && close(fd) == -1 && errno == EBADF);
  CHECK(stat("/dev/null", &one) == 0 && one.st_rdev == makedev(1, 3));
  CHECK(makedev(0x12345, 0x67890) == 0x1200067834590);
}

static void check_others(void) {
  struct timespec before, after;
  CHECK(clock_gettime(CLOCK_MONOTONIC, &before) == 0);
  CHECK(poll(NULL, 0, 20) == 0);
  CHECK(clock_gettime(CLOCK_MONOTONIC, &after) == 0);
  CHECK((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 19);
  CHECK(syscall(SYS_getpid) == getpid());
  CHECK(syscall(SYS_openat, AT_FDCWD, "/nonexistent", O_RDONLY) == -1 && errno == ENOENT);
  CHECK(__stack_chk_guard != 0 && (__stack_chk_guard & 0xff) == 0);
}

static void write_over(size_t size) {
  char small[8];
  memset(small, 1, size);
  write(2, small, 1);
}

int main(int argc, char **argv) {
  CHECK(argc == 3 && strcmp(argv[2], "last") == 0 && argv[3] == NULL);
  if (strcmp(argv[1], "overflow") == 0)
    write_over(16 * (size_t)argc);
  check_text();
  check_files();
  check_others();
  return 3;
}
