// SPDX-License-Identifier: Apache-2.0
//
// The start of ociruntime-init, and the few functions that it takes from a C library.
//
// Linked with glibc init has 700 KB, nearly all of which it never uses; with this it has 34 KB. Each create
// and exec copies it into a memory file, and glibc would prepare much before main. Nearly every function here
// is one system call: init has no threads. native/_build.py defines OWN_LIBC for the processors that `_start`
// is written for; without it this file is empty, and init is linked with libc.a.

#ifdef OWN_LIBC

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

// _start passes the stack that the kernel has prepared to `begin`. system_call moves its arguments to where
// the kernel expects them, and returns what it returns: -errno after a failure.
#if defined(__x86_64__)
__asm__(".globl _start\n"
        "_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n"
        "system_call: mov %rdi, %rax\n mov %rsi, %rdi\n mov %rdx, %rsi\n mov %rcx, %rdx\n mov %r8, %r10\n"
        "mov %r9, %r8\n mov 8(%rsp), %r9\n syscall\n ret\n");
#elif defined(__aarch64__)
__asm__(
    ".globl _start\n"
    "_start: mov x29, #0\n mov x30, #0\n mov x0, sp\n bl begin\n"
    "system_call: mov x8, x0\n mov x0, x1\n mov x1, x2\n mov x2, x3\n mov x3, x4\n mov x4, x5\n mov x5, x6\n"
    "svc #0\n ret\n");
#endif
long system_call(long number, long a, long b, long c, long d, long e, long f) __asm__("system_call");
_Noreturn void begin(long *stack);
_Noreturn void __stack_chk_fail(void);
int main(int argc, char **argv);

// What the compiler's stack protector compares (-mstack-protector-guard=global).
uintptr_t __stack_chk_guard;

static int error_number;
int *__errno_location(void) { return &error_number; }

static long result(long value) {
  if (value < 0 && value > -4096) {
    errno = (int)-value;
    return -1;
  }
  return value;
}

#define PICK(a, b, c, d, e, f, ...) (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)
#define CALL(name, ...) result(system_call(SYS_##name, PICK(__VA_ARGS__, 0, 0, 0, 0, 0, 0)))

void _exit(int status) {
  CALL(exit_group, status);
  __builtin_trap();  // the container's filter refuses even that: a fault ends the process, whatever the
                     // filter says
}

void __stack_chk_fail(void) {
  CALL(kill, getpid(), 6);  // SIGABRT
  _exit(127);
}

// argc, argv, NULL, environment, NULL, pairs of numbers: getauxval(3).
void begin(long *stack) {
  long *word = stack + 1 + stack[0] + 1;
  while (*word++)
    ;
  for (; word[0] != AT_NULL; word += 2)
    if (word[0] == AT_RANDOM)
      memcpy(&__stack_chk_guard, (const void *)word[1], sizeof __stack_chk_guard);
  __stack_chk_guard &= ~(uintptr_t)0xff;  // a string can't write over it without ending there
  _exit(main((int)stack[0], (char **)(stack + 1)));
}

long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
  long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
  va_end(list);
  return result(system_call(number, a, b, c, d, e, f));
}

// The third argument of open and the others exists only with some flags; the kernel ignores it without them.
#define OPTIONAL(type, last)                                                                                 \
  va_list list;                                                                                              \
  va_start(list, last);                                                                                      \
  type optional = va_arg(list, type);                                                                        \
  va_end(list)

int open(const char *path, int flags, ...) {
  OPTIONAL(unsigned, flags);
  return (int)CALL(openat, AT_FDCWD, path, flags, optional);
}
int openat(int directory, const char *path, int flags, ...) {
  OPTIONAL(unsigned, flags);
  return (int)CALL(openat, directory, path, flags, optional);
}
int fcntl(int fd, int command, ...) {
  OPTIONAL(long, command);
  return (int)CALL(fcntl, fd, command, optional);
}
#ifdef __GLIBC__
int ioctl(int fd, unsigned long request, ...) {
#else  // musl has it as in POSIX; the kernel takes 32 bits
int ioctl(int fd, int request, ...) {
#endif
  OPTIONAL(long, request);
  return (int)CALL(ioctl, fd, request, optional);
}
int prctl(int option, ...) {
  va_list list;
  va_start(list, option);
  long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long), d = va_arg(list, long);
  va_end(list);
  return (int)CALL(prctl, option, a, b, c, d);
}

int close(int fd) { return (int)CALL(close, fd); }
ssize_t read(int fd, void *buffer, size_t size) { return CALL(read, fd, buffer, size); }
ssize_t write(int fd, const void *buffer, size_t size) { return CALL(write, fd, buffer, size); }
int dup3(int from, int to, int flags) { return (int)CALL(dup3, from, to, flags); }
ssize_t sendfile(int to, int from, off_t *offset, size_t size) {
  return CALL(sendfile, to, from, offset, size);
}
void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
  return (void *)CALL(mmap, address, size, protection, flags, fd, offset);
}
int poll(struct pollfd *sources, nfds_t count, int timeout) {
  struct timespec time = {timeout / 1000, timeout % 1000 * 1000000L};
  return (int)CALL(ppoll, sources, count, timeout < 0 ? NULL : &time, NULL, 8);
}

int socket(int family, int type, int protocol) { return (int)CALL(socket, family, type, protocol); }
int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict size, int flags) {
  return (int)CALL(accept4, fd, address, size, flags);
}
ssize_t recv(int fd, void *buffer, size_t size, int flags) {
  return CALL(recvfrom, fd, buffer, size, flags, NULL, NULL);
}
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) { return CALL(sendmsg, fd, message, flags); }

int stat(const char *restrict path, struct stat *restrict status) {
  return (int)CALL(newfstatat, AT_FDCWD, path, status, 0);
}
int fstat(int fd, struct stat *status) { return (int)CALL(fstat, fd, status); }
int fstatat(int directory, const char *restrict path, struct stat *restrict status, int flags) {
  return (int)CALL(newfstatat, directory, path, status, flags);
}
int fstatfs(int fd, struct statfs *status) { return (int)CALL(fstatfs, fd, status); }
// Only the flags, which is what init asks for. 0x20 is the kernel's ST_VALID: there are flags.
int fstatvfs(int fd, struct statvfs *status) {
  struct statfs found;
  memset(status, 0, sizeof *status);
  if (fstatfs(fd, &found) < 0)
    return -1;
  status->f_flag = (unsigned long)found.f_flags & ~0x20ul;
  return 0;
}
int faccessat(int directory, const char *path, int mode, int flags) {
  return (int)CALL(faccessat2, directory, path, mode, flags);
}

int chdir(const char *path) { return (int)CALL(chdir, path); }
int fchdir(int fd) { return (int)CALL(fchdir, fd); }
int chroot(const char *path) { return (int)CALL(chroot, path); }
mode_t umask(mode_t mask) { return (mode_t)CALL(umask, mask); }
int fchmod(int fd, mode_t mode) { return (int)CALL(fchmod, fd, mode); }
int fchmodat(int directory, const char *path, mode_t mode, int flags) {
  (void)flags;  // 0
  return (int)CALL(fchmodat, directory, path, mode);
}
int fchown(int fd, uid_t uid, gid_t gid) { return (int)CALL(fchown, fd, uid, gid); }
int fchownat(int directory, const char *path, uid_t uid, gid_t gid, int flags) {
  return (int)CALL(fchownat, directory, path, uid, gid, flags);
}
int futimens(int fd, const struct timespec times[2]) { return (int)CALL(utimensat, fd, NULL, times, 0); }
int utimensat(int directory, const char *path, const struct timespec times[2], int flags) {
  return (int)CALL(utimensat, directory, path, times, flags);
}
int mkdirat(int directory, const char *path, mode_t mode) {
  return (int)CALL(mkdirat, directory, path, mode);
}
int mknodat(int directory, const char *path, mode_t mode, dev_t device) {
  return (int)CALL(mknodat, directory, path, mode, device);
}
int symlinkat(const char *target, int directory, const char *path) {
  return (int)CALL(symlinkat, target, directory, path);
}
int unlinkat(int directory, const char *path, int flags) {
  return (int)CALL(unlinkat, directory, path, flags);
}
ssize_t readlinkat(int directory, const char *restrict path, char *restrict buffer, size_t size) {
  return CALL(readlinkat, directory, path, buffer, size);
}
ssize_t flistxattr(int fd, char *list, size_t size) { return CALL(flistxattr, fd, list, size); }
ssize_t fgetxattr(int fd, const char *name, void *value, size_t size) {
  return CALL(fgetxattr, fd, name, value, size);
}
int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) {
  return (int)CALL(fsetxattr, fd, name, value, size, flags);
}
int mount(const char *source, const char *path, const char *type, unsigned long flags, const void *data) {
  return (int)CALL(mount, source, path, type, flags, data);
}
int umount2(const char *path, int flags) { return (int)CALL(umount2, path, flags); }

pid_t getpid(void) { return (pid_t)CALL(getpid, 0); }
uid_t getuid(void) { return (uid_t)CALL(getuid, 0); }
pid_t setsid(void) { return (pid_t)CALL(setsid, 0); }
int setns(int fd, int type) { return (int)CALL(setns, fd, type); }
int unshare(int flags) { return (int)CALL(unshare, flags); }
int sethostname(const char *name, size_t size) { return (int)CALL(sethostname, name, size); }
int setdomainname(const char *name, size_t size) { return (int)CALL(setdomainname, name, size); }
int clock_gettime(clockid_t clock, struct timespec *time) { return (int)CALL(clock_gettime, clock, time); }

dev_t gnu_dev_makedev(unsigned major, unsigned minor) {
  return (dev_t)(major & 0xfffff000u) << 32 | (dev_t)(major & 0xfffu) << 8 |
         (dev_t)(minor & 0xffffff00u) << 12 | (minor & 0xffu);
}

// The compiler must not make a call of memcpy out of the loop in memcpy.
#define KEEP_LOOP __asm__ volatile("" ::: "memory")

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
  for (size_t i = 0; i < size; i++) {
    ((char *)to)[i] = ((const char *)from)[i];
    KEEP_LOOP;
  }
  return to;
}
void *memset(void *to, int byte, size_t size) {
  for (size_t i = 0; i < size; i++) {
    ((char *)to)[i] = (char)byte;
    KEEP_LOOP;
  }
  return to;
}
size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length]) {
    length++;
    KEEP_LOOP;
  }
  return length;
}
int strncmp(const char *one, const char *other, size_t size) {
  for (; size > 0 && *one == *other; one++, other++, size--)
    if (!*one)
      return 0;
  return size > 0 ? (unsigned char)*one - (unsigned char)*other : 0;
}
int strcmp(const char *one, const char *other) { return strncmp(one, other, PTRDIFF_MAX); }
// Newer headers have macros of these names, which keep const.
char *(strchr)(const char *text, int byte) {
  for (; *text != (char)byte; text++)
    if (!*text)
      return NULL;
  return (char *)(uintptr_t)text;
}
char *(strrchr)(const char *text, int byte) {
  const char *found = NULL;
  do
    if (*text == (char)byte)
      found = text;
  while (*text++);
  return (char *)(uintptr_t)found;
}

#endif
