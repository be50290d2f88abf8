// SPDX-License-Identifier: Apache-2.0
//
// How init is made: one clone3 into the new namespaces, then the sealed executable.
//
// The child shares this process's memory (CLONE_VM, without CLONE_VFORK), because a copy of the page tables
// of a large Python process would cost milliseconds. So child_main must keep strict rules:
//   - it runs on its own stack, with all signals blocked, while the caller's threads go on;
//   - it only makes raw system calls: libc's wrappers would write to the caller's errno;
//   - it reads `struct child`, and writes nothing that the caller reads;
//   - it ends with execveat or exit. Then the kernel clears `alive` (CLONE_CHILD_CLEARTID), and only after
//     that may the memory be freed. shim_spawn itself waits for this. If a second function did, a signal
//     handler's exception could come between the two calls, and free what the child reads.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "handshake.h"
#include "shim.h"

#define STACK_SIZE (64 * 1024)

#if defined(__x86_64__)
static long raw(long number, long a, long b, long c, long d, long e) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}

// Returns in the caller. The child calls function(argument) on the stack given in `arguments`.
static long clone_child(struct clone_args *arguments, void (*function)(void *), void *argument) {
  long result;
  register void (*r8)(void *) __asm__("r8") = function;
  register void *r9 __asm__("r9") = argument;
  __asm__ volatile("syscall\n\t"
                   "test %%rax, %%rax\n\t"
                   "jnz 1f\n\t"
                   "xor %%ebp, %%ebp\n\t"
                   "mov %%r9, %%rdi\n\t"
                   "call *%%r8\n\t"
                   "hlt\n"
                   "1:"
                   : "=a"(result)
                   : "a"(SYS_clone3), "D"(arguments), "S"(sizeof *arguments), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
static long raw(long number, long a, long b, long c, long d, long e) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}

static long clone_child(struct clone_args *arguments, void (*function)(void *), void *argument) {
  register long x8 __asm__("x8") = SYS_clone3;
  register long x0 __asm__("x0") = (long)arguments;
  register long x1 __asm__("x1") = sizeof *arguments;
  register void (*x2)(void *) __asm__("x2") = function;
  register void *x3 __asm__("x3") = argument;
  __asm__ volatile("svc #0\n\t"
                   "cbnz x0, 1f\n\t"
                   "mov x29, #0\n\t"
                   "mov x0, x3\n\t"
                   "blr x2\n\t"
                   "brk #0\n"
                   "1:"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3)
                   : "memory", "x30");
  return x0;
}
#else
#error "spawn.c knows the system call convention of x86_64 and aarch64 only"
#endif

struct child {
  int alive;  // the kernel clears it, and wakes the waiter, when the child has left this memory
  const struct shim_spawn *spawn;
  unsigned char *stack;
  char base_text[16];
  char *argv[3];
  char *envp[1];
  int fixed[FD_FIXED];
  int moved[];  // for each slot: the number that it had to move to first, or 0
};

static void report_and_exit(const struct child *child, int error, enum plan_detail detail) {
  struct plan_message message = {
      .kind = MESSAGE_ERROR, .index = UINT32_MAX, .error = error, .detail = detail};
  raw(SYS_sendto, child->spawn->fds[FD_HANDSHAKE], (long)&message, sizeof message, MSG_NOSIGNAL, 0);
  for (;;)
    raw(SYS_exit, 1, 0, 0, 0, 0);
}

static long checked(const struct child *child, long result, enum plan_detail detail) {
  if (result < 0)
    report_and_exit(child, (int)-result, detail);
  return result;
}

static int move(const struct child *child, int from, int above) {
  return (int)checked(child, raw(SYS_fcntl, from, F_DUPFD_CLOEXEC, above, 0, 0), DETAIL_dup3);
}

static void place(const struct child *child, int from, int to) {
  checked(child, from == to ? raw(SYS_fcntl, to, F_SETFD, 0, 0, 0) : raw(SYS_dup3, from, to, 0, 0, 0),
          DETAIL_dup3);
}

// Slots move to their numbers without a second descriptor for each, because the limit may not allow that
// many. As in memmove, those that move down go first, in their order, and then those that move up, in
// reverse. If slots are not in order, one that moves up may be in the place of one that moves down. It is
// moved away first, and placed last.
static void place_slots(struct child *child, int above) {
  const int *fds = child->spawn->fds + FD_FIXED;
  int count = child->spawn->fd_count - FD_FIXED, first = child->spawn->fd_base + FD_FIXED;
  for (int i = 0; i < count; i++) {
    int over = fds[i] - first;  // the slot that belongs where this one is now
    if (over >= 0 && over < i && fds[over] >= fds[i])
      child->moved[i] = move(child, fds[i], above);
  }
  for (int i = 0; i < count; i++)
    if (!child->moved[i] && fds[i] >= first + i)
      place(child, fds[i], first + i);
  for (int i = count - 1; i >= 0; i--)
    if (!child->moved[i] && fds[i] < first + i)
      place(child, fds[i], first + i);
  for (int i = 0; i < count; i++)
    if (child->moved[i])
      place(child, child->moved[i], first + i);
}

// All other descriptors first move above all targets, so that none overwrites another.
static int place_descriptors(struct child *child) {
  const struct shim_spawn *spawn = child->spawn;
  int above = spawn->fd_base + spawn->fd_count;
  int stdio[3];
  for (int i = 0; i < 3; i++)
    stdio[i] = spawn->stdio[i] < 0 ? -1 : move(child, spawn->stdio[i], above);
  int program = move(child, spawn->exe_fd, above);
  for (int i = 0; i < FD_FIXED; i++)
    child->fixed[i] = move(child, spawn->fds[i], above);
  place_slots(child, above);
  for (int i = 0; i < 3; i++)
    if (stdio[i] >= 0)
      place(child, stdio[i], i);
  for (int i = 0; i < FD_FIXED; i++)
    place(child, child->fixed[i], spawn->fd_base + i);
  return program;
}

static void child_main(void *argument) {
  struct child *child = argument;
  int program = place_descriptors(child);
  long error = raw(SYS_execveat, program, (long)"", (long)child->argv, (long)child->envp, AT_EMPTY_PATH);
  report_and_exit(child, (int)-error, DETAIL_execve);
}

static void free_child(struct child *child) {
  if (child->stack)
    munmap(child->stack, STACK_SIZE);
  free(child);
}

// A signal must not end the wait, because the child needs this memory.
static void wait_until_gone(struct child *child) {
  int alive;
  while ((alive = __atomic_load_n(&child->alive, __ATOMIC_ACQUIRE)) != 0)
    syscall(SYS_futex, &child->alive, FUTEX_WAIT, alive, NULL, NULL, 0);
}

int shim_spawn(struct shim_spawn *spawn) {
  if (spawn->fd_count < FD_FIXED || spawn->fd_base < 3)
    return -EINVAL;
  struct child *child = calloc(1, sizeof *child + (size_t)spawn->fd_count * sizeof *child->moved);
  if (!child)
    return -ENOMEM;
  child->alive = 1;
  child->spawn = spawn;
  child->stack =
      mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (child->stack == MAP_FAILED) {
    child->stack = NULL;
    free_child(child);
    return -ENOMEM;
  }
  char *digit = child->base_text + sizeof child->base_text - 1;
  for (int number = spawn->fd_base; number > 0; number /= 10)
    *--digit = (char)('0' + number % 10);
  child->argv[0] = "ociruntime-init";
  child->argv[1] = digit;

  int pidfd = -1;
  struct clone_args arguments = {
      .flags = spawn->clone_flags | CLONE_VM | CLONE_PIDFD | CLONE_CHILD_CLEARTID,
      .pidfd = (uint64_t)(uintptr_t)&pidfd,
      .child_tid = (uint64_t)(uintptr_t)&child->alive,
      .exit_signal = SIGCHLD,
      .stack = (uint64_t)(uintptr_t)child->stack,
      .stack_size = STACK_SIZE,
  };
  if (spawn->cgroup_fd >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = (uint64_t)spawn->cgroup_fd;
  }
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  long pid = clone_child(&arguments, child_main, child);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (pid >= 0) {
    spawn->pid = (int)pid;
    spawn->pidfd = pidfd;
    wait_until_gone(child);
  }
  free_child(child);
  return pid < 0 ? (int)pid : 0;
}
