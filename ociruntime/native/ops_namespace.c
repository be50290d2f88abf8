// SPDX-License-Identifier: Apache-2.0
//
// Ops on namespaces and what belongs to them: names, loopback, sysctls; and the sync points.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

int op_join(const struct plan_record *record) {
  if (setns(slot(record, 0), (int)record->args[1]) < 0)
    return fail(DETAIL_setns);
  // As in op_user: the change to a user namespace that another user has made is one of credentials too.
  return prctl(PR_SET_DUMPABLE, 0) < 0 ? fail(DETAIL_prctl) : 0;
}

int op_unshare(const struct plan_record *record) {
  return unshare((int)record->args[0]) < 0 ? fail(DETAIL_unshare) : 0;
}

// Of the time namespace that the next child will be in. This is the helper, whose procfs is the host's: init
// opens one of its own.
int op_time_offsets(const struct plan_record *record) {
  int done = write_proc("self/", "timens_offsets", text(record, 0));
  close_keeping_errno(init.proc);
  init.proc = -1;
  return done;
}

// A pid namespace is entered by the next child only. The child is the caller's child too
// (CLONE_PARENT), so that the runtime can wait for it; this process tells its pid and ends.
int op_fork(const struct plan_record *record) {
  struct clone_args arguments = {.flags = record->args[0] | CLONE_PARENT};
  long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0)
    return fail(DETAIL_clone3);
  if (pid == 0)
    return 0;
  struct plan_message message = {
      .kind = MESSAGE_SYNC, .op = SYNC_forked, .index = record->index, .pid = (int32_t)pid};
  send_message(&message, -1);
  _exit(0);
}

static int report_sync(const struct plan_record *record, uint32_t point) {
  struct plan_message message = {
      .kind = MESSAGE_SYNC, .op = point, .index = record->index, .pid = (int32_t)getpid()};
  send_message(&message, -1);
  return 0;
}

int op_sync(const struct plan_record *record) {
  report_sync(record, record->args[0]);
  return wait_reply(REPLY_CONTINUE);
}

// A thread that moves itself spares the kernel the lock that stops all forks and exits of the machine.
int op_join_cgroup(const struct plan_record *record) {
  return write(slot(record, 0), "0", 1) < 0 ? fail(DETAIL_write) : 0;
}

int op_setsid(const struct plan_record *record) {
  (void)record;
  // EPERM: this process leads a group already, as the first one of a pid namespace may
  return setsid() < 0 ? fail(DETAIL_setsid) : 0;
}

// A keyring of this name that anybody has opened to others is joined, and not made: then it is that user's,
// who would see the container's keys. Its description begins with "keyring;UID;".
int op_session_keyring(const struct plan_record *record) {
  char words[512];
  long keyring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, text(record, 0));
  if (keyring < 0)
    return fail(DETAIL_keyctl);
  long length = syscall(SYS_keyctl, KEYCTL_DESCRIBE, keyring, words, sizeof words);
  if (length < 0)
    return fail(DETAIL_keyctl);
  unsigned owner = 0;
  const char *digit = length > (long)sizeof words ? "" : strchr(words, ';');
  if (!digit || !*digit)
    return fail_with(EOVERFLOW, DETAIL_keyctl);
  while (*++digit >= '0' && *digit <= '9')
    owner = owner * 10 + (unsigned)(*digit - '0');
  return owner == getuid() ? 0 : fail_with(EPERM, DETAIL_foreign_keyring);
}

int op_keyring_permissions(const struct plan_record *record) {
  return syscall(SYS_keyctl, KEYCTL_SETPERM, KEY_SPEC_SESSION_KEYRING, record->args[0]) < 0
             ? fail(DETAIL_keyctl)
             : 0;
}

int op_hostname(const struct plan_record *record) {
  return sethostname(text(record, 0), strlen(text(record, 0))) < 0 ? fail(DETAIL_sethostname) : 0;
}

int op_domainname(const struct plan_record *record) {
  return setdomainname(text(record, 0), strlen(text(record, 0))) < 0 ? fail(DETAIL_setdomainname) : 0;
}

int op_loopback(const struct plan_record *record) {
  (void)record;
  struct ifreq request = {.ifr_name = "lo"};
  int plug = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (plug < 0)
    return fail(DETAIL_socket);
  int done = ioctl(plug, SIOCGIFFLAGS, &request);
  request.ifr_flags |= IFF_UP;
  if (done == 0)
    done = ioctl(plug, SIOCSIFFLAGS, &request);
  close_keeping_errno(plug);
  return done < 0 ? fail(DETAIL_ioctl) : 0;
}

int op_sysctl(const struct plan_record *record) {
  return write_proc("sys/", text(record, 0), text(record, 1));
}
