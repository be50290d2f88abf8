// SPDX-License-Identifier: Apache-2.0
//
// Makes system calls by number and says how each ended; for the tests of seccomp, static, for any root.
//
//   calls CALL...     CALL is [HOW:]NUMBER[,ARGUMENT...], with HOW
//     i386            by int 0x80, as a 32-bit program would
//     thread          in a second thread, of which nothing is said; "still here" from the first one
//     trap            with a handler for SIGSYS
//     trace           in a child that is traced, and the tracer tells what the filter told it

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long words[7];  // the number, and six arguments

static void parse(const char *text) {
  memset(words, 0, sizeof words);
  for (int i = 0; i < 7 && *text; i++) {
    char *end;
    words[i] = strtoul(text, &end, 0);
    text = *end ? end + 1 : end;
  }
}

static void say(long result) {
  if (result < 0)
    printf("%lu: errno %d\n", words[0], errno);
  else
    printf("%lu: done\n", words[0]);
}

static long call(void) {
  return syscall((long)words[0], words[1], words[2], words[3], words[4], words[5], words[6]);
}

static _Atomic pid_t second;

static void *call_in_thread(void *unused) {
  second = gettid();
  call();
  return unused;
}

static void in_thread(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, call_in_thread, NULL) != 0)
    exit(125);
  // A thread that was killed is never joined: it has ended when procfs no longer has it.
  char task[64];
  while (!second)
    usleep(1000);
  snprintf(task, sizeof task, "/proc/self/task/%d", second);
  while (access(task, F_OK) == 0)
    usleep(1000);
  puts("still here");
}

static void trapped(int number, siginfo_t *info, void *context) {
  (void)context;
  printf("signal %d for call %d\n", number, info->si_syscall);
}

static void with_handler(void) {
  struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
  sigaction(SIGSYS, &action, NULL);
  call();
}

static void traced(void) {
  pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    call();
    _exit(0);
  }
  int status;
  unsigned long message = 0;
  waitpid(child, &status, 0);
  ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL);
  ptrace(PTRACE_CONT, child, 0, 0);
  waitpid(child, &status, 0);
  if (WIFSTOPPED(status) && status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8)) {
    ptrace(PTRACE_GETEVENTMSG, child, 0, &message);
    printf("traced with %lu\n", message);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  } else {
    puts("not traced");
  }
}

#ifdef __x86_64__
static void as_32_bit(void) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(words[0]), "b"(words[1]), "c"(words[2]) : "memory");
  errno = result < 0 ? (int)-result : 0;
  say(result);
}
#else
static void as_32_bit(void) { puts("no 32-bit calls"); }
#endif

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int i = 1; i < argc; i++) {
    char *colon = strchr(argv[i], ':');
    parse(colon ? colon + 1 : argv[i]);
    if (!colon)
      say(call());
    else if (strncmp(argv[i], "i386", 4) == 0)
      as_32_bit();
    else if (strncmp(argv[i], "thread", 6) == 0)
      in_thread();
    else if (strncmp(argv[i], "trap", 4) == 0)
      with_handler();
    else
      traced();
  }
  return 0;
}
