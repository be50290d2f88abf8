// SPDX-License-Identifier: Apache-2.0
// The file containerd-shim-ociruntime-v1 of an installation with a snapshot: becomes the command beside it.
//
// The command has the shim in it, and is the shim when it has the name of one (boot.py). A wheel can't have
// two names for one file, a copy would take 18 MB, and a shell script 0.6 ms of each call; this takes 0.1.
// It executes the command in the directory of its own file, links followed. As in place.py, directory and
// command must belong to root, to this user, or to the owner of this file, and must not be writable for
// everybody. Linked with native/libc.c.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME "containerd-shim-ociruntime-v1"
#define COMMAND "/ociruntime"

static char path[4096 + sizeof COMMAND] = "/proc/self/exe";

static char name[] = NAME;

static void tell(const char *text) { (void)!write(2, text, strlen(text)); }

static _Noreturn void refuse(const char *why) {
  tell(NAME ": "), tell(path), tell(": "), tell(why), tell("\n");
  _exit(1);
}

// The kernel's reason, as a number: this program has no words for it.
static _Noreturn void fail(void) {
  char text[] = "errno    ";
  int number = errno;
  for (int at = 8; number > 0 && at > 5; at--, number /= 10)
    text[at] = (char)('0' + number % 10);
  refuse(text);
}

// What is at the path must be of this kind, and of a user who may decide what is executed.
static void require_trust(mode_t kind, uid_t owner) {
  struct stat found;
  if (fstatat(AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW) != 0)
    fail();
  if ((found.st_mode & S_IFMT) != kind)
    refuse(kind == S_IFDIR ? "not a directory" : "not a regular file");
  if (found.st_uid != 0 && found.st_uid != getuid() && found.st_uid != owner)
    refuse("belongs to another user, and nothing is executed from there");
  if (found.st_mode & S_IWOTH)
    refuse("everybody may write to it, and nothing is executed from there");
}

int main(int argc, char **argv) {
  char own[4096];
  ssize_t size = readlinkat(AT_FDCWD, path, own, sizeof own - 1);
  if (size < 0)
    fail();
  memcpy(path, own, (size_t)size);
  path[size] = 0;
  struct stat file;
  if (stat(path, &file) != 0)  // removed or replaced meanwhile
    fail();
  char *end = strrchr(path, '/');
  *end = 0;
  if (end > path)  // else the directory is the root
    require_trust(S_IFDIR, file.st_uid);
  memcpy(end, COMMAND, sizeof COMMAND);
  require_trust(S_IFREG, file.st_uid);
  char **environment = argv + argc + 1;
  if (argc > 0)
    argv[0] = name;
  syscall(SYS_execve, path, argv, environment);
  fail();
}
