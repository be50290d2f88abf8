// SPDX-License-Identifier: Apache-2.0
//
// ociruntime-init: obeys a plan, record by record, and becomes the user's program.
//
// It is started from a sealed memfd, in the container's namespaces, as `ociruntime-init FD`. From number FD
// on, its descriptors are the plan, the handshake socket, the progress pages, a pidfd of the runtime, the
// start socket, and then the plan's slots. It has no environment.

#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct init init = {.index = UINT32_MAX, .root = -1, .proc = -1, .log = -1, .listener = -1};

int fail(enum plan_detail detail) {
  init.detail = detail;
  return -1;
}

int fail_with(int error, enum plan_detail detail) {
  errno = error;
  return fail(detail);
}

int close_keeping_errno(int descriptor) {
  int error = errno;
  close(descriptor);
  errno = error;
  return -1;
}

uint64_t number_in(const char *text) {
  uint64_t number = 0;
  for (; *text >= '0' && *text <= '9'; text++)
    number = number * 10 + (uint64_t)(*text - '0');
  return number;
}

static arg_s read_s(uint32_t offset) { return init.plan + offset; }
static arg_p read_p(uint32_t offset) { return init.plan + offset; }
static arg_S read_S(uint32_t offset) { return offset ? init.plan + offset : NULL; }
static arg_f read_f(uint32_t slot) { return init.base + FD_FIXED + (int)slot; }
static arg_u read_u(uint32_t value) { return value; }

// Turns offsets into pointers in place. No two arguments share a list, so each list is read once.
static arg_l read_l(uint32_t offset) {
  uint64_t *words = (uint64_t *)(void *)(init.plan + offset);
  for (uint64_t i = 1; i <= words[0]; i++)
    words[i] = (uint64_t)(uintptr_t)(init.plan + words[i]);
  return (char **)(void *)(words + 1);
}

// Also in place: a value is smaller than the pointer to its digits, and never overtakes the pointers.
static arg_n read_n(uint32_t offset) {
  char **words = read_l(offset);
  arg_n numbers = {.values = (uint32_t *)(void *)words, .count = ((uint64_t *)(void *)words)[-1]};
  for (uint64_t i = 0; i < numbers.count; i++)
    numbers.values[i] = (uint32_t)number_in(words[i]);
  return numbers;
}

static arg_b read_b(uint32_t offset) {
  const uint64_t *word = (const void *)(init.plan + offset);
  return (arg_b){.start = word + 1, .size = word[0]};
}

// For each op, a function that reads its arguments and calls its handler.
#define A(kind, name) a.name = read_##kind(*value++);
#define OP(name, arguments)                                                                                  \
  static int call_##name(const uint32_t *value) {                                                            \
    struct name##_args a;                                                                                    \
    (void)value;                                                                                             \
    arguments return op_##name(&a);                                                                          \
  }
PLAN_OPS(OP, A)
#undef OP

static int (*const calls[OP_count])(const uint32_t *value) = {
#define OP(name, arguments) [OP_##name] = call_##name,
    PLAN_OPS(OP, A)
#undef OP
#undef A
};

struct plan_message sync_message(enum plan_sync point, int pid) {
  return (struct plan_message){.kind = MESSAGE_SYNC, .op = point, .index = init.index, .pid = pid};
}

void send_message(const struct plan_message *message, int descriptor) {
  struct iovec data = {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof *message};
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control = {{0}};
  struct msghdr packet = {.msg_iov = &data, .msg_iovlen = 1};
  if (descriptor >= 0) {
    packet.msg_control = control.bytes;
    packet.msg_controllen = sizeof control.bytes;
    struct cmsghdr *header = CMSG_FIRSTHDR(&packet);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  }
  // If the other side is gone, the message is lost. An error is on the progress page as well.
  (void)sendmsg(init.reply, &packet, MSG_NOSIGNAL);
}

// If the runtime dies, a process that it forked may still hold its end of the socket open. So its pidfd is
// watched as well.
int wait_reply(char expected) {
  struct pollfd sources[2] = {{.fd = init.base + FD_HANDSHAKE, .events = POLLIN},
                              {.fd = init.base + FD_RUNTIME, .events = POLLIN}};
  for (;;) {
    if (poll(sources, 2, -1) < 0) {
      if (errno == EINTR)
        continue;
      return fail(DETAIL_recv);
    }
    if (sources[0].revents) {
      char reply = 0;
      ssize_t got = recv(sources[0].fd, &reply, 1, 0);
      if (got == 1 && reply == expected)
        return 0;
      return fail_with(ECANCELED, DETAIL_runtime_gone);
    }
    if (sources[1].revents)
      return fail_with(ECANCELED, DETAIL_runtime_gone);
  }
}

static void ended_by_signal(int number) { _exit(128 + number); }

#define RESTORER 0x04000000  // SA_RESTORER of the kernel's headers, which clash with the C library's

// The kernel drops signals to the init of a pid namespace unless it handles them, but `kill` of a created
// container must work. execve resets handlers to the defaults.
static void reset_signals(void) {
  for (int number = 1; number < 65; number++) {
    struct {  // the kernel's, which also takes 32 and 33, the signals that glibc keeps for itself
      void (*handler)(int);
      unsigned long flags;
      void (*restorer)(int);  // where a handler returns to: ours doesn't
      uint64_t mask;
    } action = {ended_by_signal, RESTORER, ended_by_signal, 0};
    if (number == SIGCHLD || number == SIGCONT || number == SIGURG || number == SIGWINCH ||
        number == SIGTSTP || number == SIGTTIN || number == SIGTTOU || number == 32 || number == 33)
      action.handler = SIG_DFL;
    syscall(SYS_rt_sigaction, number, &action, NULL, 8);  // EINVAL for SIGKILL and SIGSTOP
  }
  uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
}

// The runtime compares these times with its own, and a time namespace shifts the other clocks.
static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int map_file(int descriptor, int protection, int flags, void **address, size_t *size) {
  struct stat status;
  if (fstat(descriptor, &status) < 0)
    return fail(DETAIL_fstat);
  *size = (size_t)status.st_size;
  *address = mmap(NULL, *size, protection, flags, descriptor, 0);
  return *address == MAP_FAILED ? fail(DETAIL_mmap) : 0;
}

static int prepare(int base) {
  void *address;
  size_t size;
  init.base = base;
  init.umask = umask(022);
  init.reply = base + FD_HANDSHAKE;
  if (map_file(base + FD_PLAN, PROT_READ | PROT_WRITE, MAP_PRIVATE, &address, &size) < 0)
    return -1;
  init.plan = address;
  init.header = address;
  if (size < sizeof *init.header || init.header->size > size || init.header->magic != PLAN_MAGIC)
    return fail_with(EINVAL, DETAIL_bad_plan);
  if (map_file(base + FD_PROGRESS, PROT_READ | PROT_WRITE, MAP_SHARED, &address, &size) < 0)
    return -1;
  init.progress = address;
  init.progress->phase = PHASE_creating;
  unsigned first_foreign = (unsigned)base + FD_FIXED + init.header->slots;
  if (syscall(SYS_close_range, first_foreign, ~0u, 0) < 0)
    return fail(DETAIL_close_range);
  for (unsigned fd = (unsigned)base; fd < first_foreign; fd++)
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
  if (prctl(PR_SET_DUMPABLE, 0) < 0)
    return fail(DETAIL_prctl);
  return 0;
}

static void report(uint32_t op) {
  struct plan_message message = {
      .kind = MESSAGE_ERROR, .op = op, .index = init.index, .error = errno, .detail = init.detail};
  if (init.progress)
    init.progress->error = message;
  send_message(&message, init.log);
}

static void obey(void) {
  const struct plan_record *records = (const void *)(init.plan + sizeof *init.header);
  for (uint32_t i = 0; i < init.header->count; i++) {
    init.progress->record = i;
    // Reading the time is a system call, which the container's filter may forbid.
    init.progress->stamps[i] = init.filtered ? init.progress->stamps[i - 1] : now();
    init.progress->count = i + 1;
    init.index = records[i].index;
    init.detail = DETAIL_none;
    if (calls[records[i].op](records[i].args) == 0)
      continue;
    if (records[i].ignore && errno == records[i].ignore)
      continue;
    report(records[i].op);
    return;
  }
}

int main(int argc, char **argv) {
  if (argc != 2)
    return 125;
  reset_signals();
  if (prepare((int)number_in(argv[1])) < 0)
    report(OP_none);
  else
    obey();
  return 1;  // a plan ends with exec, so something has failed
}
