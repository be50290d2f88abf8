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

int op_join(const struct join_args *a) {
  if (setns(a->namespace, (int)a->types) < 0)
    return fail(DETAIL_setns);
  // As in op_user: joining a user namespace that another user has made changes the credentials too.
  return prctl(PR_SET_DUMPABLE, 0) < 0 ? fail(DETAIL_prctl) : 0;
}

int op_unshare(const struct unshare_args *a) { return unshare((int)a->flags) < 0 ? fail(DETAIL_unshare) : 0; }

// An ordinary user can't write the id maps of a process that is not dumpable: its files in /proc are root's.
int op_dumpable(const struct dumpable_args *a) {
  return prctl(PR_SET_DUMPABLE, a->wanted) < 0 ? fail(DETAIL_prctl) : 0;
}

// For the time namespace that the next child will be in. The helper does this, whose procfs is the host's;
// init must open its own.
int op_time_offsets(const struct time_offsets_args *a) {
  int done = write_proc("self/", "timens_offsets", a->lines);
  close_keeping_errno(init.proc);
  init.proc = -1;
  return done;
}

// Only children enter a joined pid namespace, never the process itself. The child becomes the runtime's child
// (CLONE_PARENT), so that the runtime can wait for it; this process tells its pid and ends. If it is killed
// before it can, the pid is on the progress page: the kernel writes it there before the new process runs.
int op_fork(const struct fork_args *a) {
  struct clone_args arguments = {.flags = a->flags | CLONE_PARENT | CLONE_PARENT_SETTID,
                                 .parent_tid = (uintptr_t)&init.progress->forked};
  long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0)
    return fail(DETAIL_clone3);
  if (pid == 0)
    return 0;
  struct plan_message message = sync_message(SYNC_forked, (int)pid);
  send_message(&message, -1);
  _exit(0);
}

int op_sync(const struct sync_args *a) {
  struct plan_message message = sync_message(a->point, (int)getpid());
  send_message(&message, -1);
  return wait_reply(REPLY_CONTINUE);
}

// A thread moves itself: to move another process, the kernel takes a lock that stops every fork and exit.
int op_join_cgroup(const struct join_cgroup_args *a) {
  return write(a->tasks, "0", 1) < 0 ? fail(DETAIL_write) : 0;
}

int op_setsid(const struct setsid_args *a) {
  (void)a;
  return setsid() < 0 ? fail(DETAIL_setsid) : 0;
}

// If any user has a keyring of this name that is open to others, the kernel joins that one and makes none.
// Its owner would see the container's keys, so the owner is checked. The description begins with
// "keyring;UID;".
int op_session_keyring(const struct session_keyring_args *a) {
  char words[512];
  long keyring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, a->name);
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

int op_keyring_permissions(const struct keyring_permissions_args *a) {
  long done = syscall(SYS_keyctl, KEYCTL_SETPERM, KEY_SPEC_SESSION_KEYRING, a->permissions);
  return done < 0 ? fail(DETAIL_keyctl) : 0;
}

int op_hostname(const struct hostname_args *a) {
  return sethostname(a->name, strlen(a->name)) < 0 ? fail(DETAIL_sethostname) : 0;
}

int op_domainname(const struct domainname_args *a) {
  return setdomainname(a->name, strlen(a->name)) < 0 ? fail(DETAIL_setdomainname) : 0;
}

int op_loopback(const struct loopback_args *a) {
  (void)a;
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

int op_sysctl(const struct sysctl_args *a) { return write_proc("sys/", a->path, a->value); }
