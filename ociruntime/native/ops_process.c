// SPDX-License-Identifier: Apache-2.0
//
// Ops on the process itself: who it is, what it may do, and the end: waiting for start and exec.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

int op_umask(const struct umask_args *a) {
  umask(a->mask == UINT32_MAX ? init.umask : a->mask);
  return 0;
}

// The directory must be inside the container's root. A magic link to a descriptor of the runtime would lead
// out of it (CVE-2024-21626), so getcwd has the last word.
int op_chdir(const struct chdir_args *a) {
  char path[4096];
  int directory =
      a->make ? open_or_make(a->path, KIND_DIRECTORY, 0) : open_in_root(a->path, O_PATH | O_DIRECTORY);
  if (directory < 0)
    return -1;
  int done = fchdir(directory);
  close_keeping_errno(directory);
  if (done < 0)
    return fail(DETAIL_chdir);
  if (syscall(SYS_getcwd, path, sizeof path) < 0)
    return fail(DETAIL_getcwd);
  return path[0] == '/' ? 0 : fail_with(ENOENT, DETAIL_cwd_outside_root);
}

// The kernel's masks are arrays of unsigned long. In memory, words of 32 bits lie in the same order.
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "masks are given in words of 32 bits");

int op_affinity(const struct affinity_args *a) {
  long done = syscall(SYS_sched_setaffinity, 0, a->cpus.count * 4, a->cpus.values);
  return done < 0 ? fail(DETAIL_sched_setaffinity) : 0;
}

int op_personality(const struct personality_args *a) {
  return syscall(SYS_personality, a->persona) < 0 ? fail(DETAIL_personality) : 0;
}

int op_memory_policy(const struct memory_policy_args *a) {
  uint64_t bits = a->nodes.count * 32;
  // the kernel expects a number that is one more than there are bits
  long done = syscall(SYS_set_mempolicy, a->mode, bits ? a->nodes.values : NULL, bits ? bits + 1 : 0);
  return done < 0 ? fail(DETAIL_set_mempolicy) : 0;
}

int op_attribute(const struct attribute_args *a) { return write_proc("self/attr/", a->name, a->value); }

// Raw calls: libc's wrappers try to change every thread, and there is only one.
int op_groups(const struct groups_args *a) {
  return syscall(SYS_setgroups, a->gids.count, a->gids.values) < 0 ? fail(DETAIL_setgroups) : 0;
}

// A security decision: a file's owner can make it writable. So a file that the caller has opened only for
// reading keeps its owner (`run </etc/passwd`), and so does every device, because it belongs to the host.
static int may_be_given(mode_t mode, int flags) {
  int access = flags & O_ACCMODE;
  if (flags & O_PATH)
    return 0;
  return S_ISFIFO(mode) || S_ISSOCK(mode) || (S_ISREG(mode) && (access == O_WRONLY || access == O_RDWR));
}

// A program that opens /dev/stdout needs permission for what is behind it, and an engine's pipes are root's.
int op_stream_owner(const struct stream_owner_args *a) {
  for (int stream = 0; stream < 3; stream++) {
    struct stat status;
    int flags = fcntl(stream, F_GETFL);
    if (flags < 0)
      continue;  // closed
    if (fstat(stream, &status) < 0)
      return fail(DETAIL_fstat);
    if (status.st_uid == a->uid || !may_be_given(status.st_mode, flags))
      continue;
    if (fchown(stream, a->uid, (gid_t)-1) == 0)
      continue;
    // Its owner has no id in the user namespace, or nothing there can be changed. It can be used as it is.
    if (errno != EPERM && errno != EINVAL && errno != EROFS)
      return fail(DETAIL_fchownat);
  }
  return 0;
}

int op_user(const struct user_args *a) {
  if (prctl(PR_SET_KEEPCAPS, 1) < 0)
    return fail(DETAIL_prctl);
  if (syscall(SYS_setresgid, a->gid, a->gid, a->gid) < 0)
    return fail(DETAIL_setresgid);
  if (syscall(SYS_setresuid, a->uid, a->uid, a->uid) < 0)
    return fail(DETAIL_setresuid);
  // The change has set it to fs.suid_dumpable, which may let the user's other processes trace this one.
  return prctl(PR_SET_DUMPABLE, 0) < 0 ? fail(DETAIL_prctl) : 0;
}

static int in_set(uint32_t low, uint32_t high, unsigned capability) {
  return capability < 32 ? low >> capability & 1 : high >> (capability - 32) & 1;
}

int op_bounding(const struct bounding_args *a) {
  for (unsigned capability = 0; capability < 64; capability++) {
    if (in_set(a->low, a->high, capability))
      continue;
    int has = prctl(PR_CAPBSET_READ, capability);
    if (has < 0)
      return 0;  // EINVAL: the kernel has no more
    if (has && prctl(PR_CAPBSET_DROP, capability) < 0)
      return fail(DETAIL_prctl);
  }
  return 0;
}

int op_capabilities(const struct capabilities_args *a) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {
      {.effective = a->effective_low, .permitted = a->permitted_low, .inheritable = a->inheritable_low},
      {.effective = a->effective_high, .permitted = a->permitted_high, .inheritable = a->inheritable_high},
  };
  if (syscall(SYS_capset, &header, data) < 0)
    return fail(DETAIL_capset);
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
    return fail(DETAIL_prctl);
  for (unsigned capability = 0; capability < 64; capability++)
    if (in_set(a->ambient_low, a->ambient_high, capability) &&
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
      return fail(DETAIL_prctl);
  return 0;
}

int op_no_new_privs(const struct no_new_privs_args *a) {
  (void)a;
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? fail(DETAIL_prctl) : 0;
}

// Lowering a limit needs no privilege, so it does not matter which user init is by now.
int op_rlimit(const struct rlimit_args *a) {
  struct {
    uint64_t soft, hard;
  } limit = {.soft = a->soft_low | (uint64_t)a->soft_high << 32,
             .hard = a->hard_low | (uint64_t)a->hard_high << 32};
  return syscall(SYS_prlimit64, 0, a->resource, &limit, NULL) < 0 ? fail(DETAIL_prlimit64) : 0;
}

static int is_program(const char *path) {
  struct stat status;
  if (stat(path, &status) < 0)
    return fail(DETAIL_fstat);
  if (S_ISDIR(status.st_mode))
    return fail_with(EISDIR, DETAIL_is_a_directory);
  return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? fail(DETAIL_faccessat) : 0;
}

// As in execvp, the first one that works is taken. If there is none, "may not be executed" is a more useful
// answer than "is missing".
int op_find_program(const struct find_program_args *a) {
  int error = ENOENT;
  enum plan_detail detail = DETAIL_faccessat;
  for (char **candidate = a->candidates; *candidate; candidate++) {
    if (is_program(*candidate) == 0)
      return 0;
    if (errno != ENOENT && errno != ENOTDIR) {
      error = errno;
      detail = init.detail;
    }
  }
  return fail_with(error, detail);
}

// The end of create. From here on only the start socket is open, at init's first number; its one connection
// gets the next number. (An RLIMIT_NOFILE too small for that is set later: rlimits.py.)
int op_ready(const struct ready_args *a) {
  (void)a;
  struct plan_message message = sync_message(SYNC_ready, (int)getpid());
  init.progress->phase = PHASE_created;
  send_message(&message, -1);
  if (wait_reply(REPLY_CONTINUE) < 0)
    return -1;
  if (dup3(init.base + FD_START, init.base, O_CLOEXEC) < 0)
    return fail(DETAIL_dup3);
  if (syscall(SYS_close_range, init.base + 1, ~0u, 0) < 0)
    return fail(DETAIL_close_range);
  init.root = init.proc = init.reply = -1;
  return 0;
}

// Says hello to each starter that connects, and waits for its answer. A starter that is lost before it says
// go changes nothing.
int op_wait_start(const struct wait_start_args *a) {
  (void)a;
  struct plan_message hello = sync_message(SYNC_hello, 0);
  for (;;) {
    int starter = accept4(init.base, NULL, NULL, SOCK_CLOEXEC);
    if (starter < 0) {
      if (errno == EINTR || errno == ECONNABORTED)
        continue;
      return fail(DETAIL_accept4);
    }
    char reply = 0;
    ssize_t got;
    init.reply = starter;
    send_message(&hello, -1);
    do
      got = recv(starter, &reply, 1, 0);
    while (got < 0 && errno == EINTR);
    if (got == 1 && reply == REPLY_GO) {
      init.progress->phase = PHASE_starting;
      close(init.base);
      return 0;
    }
    init.reply = -1;
    close(starter);
  }
}

int op_close_from(const struct close_from_args *a) {
  // The connection to the starter stays open. execve closes it, and that is how the starter learns of
  // success.
  unsigned first = a->first;
  for (unsigned fd = first; fd < first + 64; fd++)
    if ((int)fd == init.reply) {
      if (fd > first && syscall(SYS_close_range, first, fd - 1, 0) < 0)
        return fail(DETAIL_close_range);
      first = fd + 1;
    }
  return syscall(SYS_close_range, first, ~0u, 0) < 0 ? fail(DETAIL_close_range) : 0;
}

int op_seccomp(const struct seccomp_args *a) {
  uint64_t length = a->filter.size / sizeof(struct sock_filter);
  struct sock_fprog program = {.len = (unsigned short)length, .filter = (void *)(uintptr_t)a->filter.start};
  if (length > BPF_MAXINSNS)
    return fail_with(EINVAL, DETAIL_seccomp);
  long done = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, a->flags, &program);
  if (done < 0)
    return fail(DETAIL_seccomp);
  init.filtered = 1;
  if (a->flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
    init.listener = (int)done;
  return 0;
}

// The runtime copies the descriptor (pidfd_getfd) and hands it to the agent before it answers. So if the
// filter notifies of read, the agent can allow it. It must not notify of write, because no agent is there
// yet; the check refuses such a config. execve closes the descriptor.
int op_listener(const struct listener_args *a) {
  (void)a;
  struct plan_message message = sync_message(SYNC_listener, init.listener);
  char reply = 0;
  if (write(init.reply, &message, sizeof message) < 0)
    return fail(DETAIL_write);
  ssize_t got = read(init.reply, &reply, 1);
  if (got < 0)
    return fail(DETAIL_read);
  return got == 1 && reply == REPLY_CONTINUE ? 0 : fail_with(ECANCELED, DETAIL_runtime_gone);
}

int op_exec(const struct exec_args *a) {
  int error = ENOENT;
  init.progress->phase = PHASE_executing;
  for (char **candidate = a->candidates; *candidate; candidate++) {
    syscall(SYS_execve, *candidate, a->arguments, a->environment);
    if (errno == ENOENT || errno == ENOTDIR)
      continue;
    error = errno;
    if (errno != EACCES)
      break;
  }
  return fail_with(error, DETAIL_execve);
}
