// SPDX-License-Identifier: Apache-2.0
//
// A program whose first thread ends while a second one goes on: the kernel then shows the process as a
// zombie, though it lives. The second thread prints "one left" and waits for a signal.

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static pthread_t first;

static void *wait_for_signal(void *unused) {
  pthread_join(first, NULL);
  puts("one left");
  fflush(stdout);
  for (;;)
    pause();
  return unused;
}

static void ended(int number) { _exit(number); }

int main(void) {
  pthread_t second;
  signal(SIGTERM, ended);
  first = pthread_self();
  if (pthread_create(&second, NULL, wait_for_signal, NULL) != 0)
    return 1;
  pthread_exit(NULL);
}
