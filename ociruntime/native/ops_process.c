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

int op_umask(const struct plan_record *record) {
  umask(record->args[0] == UINT32_MAX ? init.umask : record->args[0]);
  return 0;
}

// The directory must be inside the container's root: a magic link to a descriptor of the runtime
// would lead out of it (CVE-2024-21626), so getcwd has the last word.
int op_chdir(const struct plan_record *record) {
  char path[4096];
  const char *wanted = text(record, 0);
  int directory =
      record->args[1] ? open_or_make(wanted, KIND_DIRECTORY, 0) : open_in_root(wanted, O_PATH | O_DIRECTORY);
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

static uint32_t *numbers(const struct plan_record *record, int argument, uint64_t *count) {
  char **words = list(record, argument, count);
  uint32_t *values = (uint32_t *)(void *)words;  // never ahead of the pointer that is read
  for (uint64_t i = 0; i < *count; i++) {
    uint32_t value = 0;
    for (const char *digit = words[i]; *digit; digit++)
      value = value * 10 + (uint32_t)(*digit - '0');
    values[i] = value;
  }
  return values;
}

// The kernel's masks are arrays of unsigned long; words of 32 bits lie in the same order in memory.
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "masks are given in words of 32 bits");

int op_affinity(const struct plan_record *record) {
  uint64_t count;
  uint32_t *mask = numbers(record, 0, &count);
  return syscall(SYS_sched_setaffinity, 0, count * 4, mask) < 0 ? fail(DETAIL_sched_setaffinity) : 0;
}

int op_personality(const struct plan_record *record) {
  return syscall(SYS_personality, record->args[0]) < 0 ? fail(DETAIL_personality) : 0;
}

int op_memory_policy(const struct plan_record *record) {
  uint64_t count;
  uint32_t *mask = numbers(record, 1, &count);
  // the kernel wants to be told one bit more than there are
  long done = syscall(SYS_set_mempolicy, record->args[0], count ? mask : NULL, count ? count * 32 + 1 : 0);
  return done < 0 ? fail(DETAIL_set_mempolicy) : 0;
}

int op_attribute(const struct plan_record *record) {
  return write_proc("self/attr/", text(record, 0), text(record, 1));
}

// Raw calls: libc's wrappers would want to change every thread, and there is only one.
int op_groups(const struct plan_record *record) {
  uint64_t count;
  uint32_t *groups = numbers(record, 0, &count);
  return syscall(SYS_setgroups, count, groups) < 0 ? fail(DETAIL_setgroups) : 0;
}

// A security decision: whoever owns a file may make it writable. So what the caller has opened only to read
// stays its owner's (`run </etc/passwd`), and so does every device: it is the host's, whatever the program
// does with it.
static int may_be_given(mode_t mode, int flags) {
  int access = flags & O_ACCMODE;
  if (flags & O_PATH)
    return 0;
  return S_ISFIFO(mode) || S_ISSOCK(mode) || (S_ISREG(mode) && (access == O_WRONLY || access == O_RDWR));
}

// /dev/stdout is opened anew, by the permissions of what is behind it; an engine's pipes are root's.
int op_stream_owner(const struct plan_record *record) {
  for (int stream = 0; stream < 3; stream++) {
    struct stat status;
    int flags = fcntl(stream, F_GETFL);
    if (flags < 0)
      continue;  // closed
    if (fstat(stream, &status) < 0)
      return fail(DETAIL_fstat);
    if (status.st_uid == record->args[0] || !may_be_given(status.st_mode, flags))
      continue;
    if (fchown(stream, record->args[0], (gid_t)-1) == 0)
      continue;
    // Not ours to give (its owner has no id in the user namespace), or nobody's to change: it stays usable as
    // it is.
    if (errno != EPERM && errno != EINVAL && errno != EROFS)
      return fail(DETAIL_fchownat);
  }
  return 0;
}

int op_user(const struct plan_record *record) {
  uint32_t uid = record->args[0], gid = record->args[1];
  if (prctl(PR_SET_KEEPCAPS, 1) < 0)
    return fail(DETAIL_prctl);
  if (syscall(SYS_setresgid, gid, gid, gid) < 0)
    return fail(DETAIL_setresgid);
  if (syscall(SYS_setresuid, uid, uid, uid) < 0)
    return fail(DETAIL_setresuid);
  // The change has reset it to fs.suid_dumpable, which may say that the user's other processes can trace this
  // one.
  return prctl(PR_SET_DUMPABLE, 0) < 0 ? fail(DETAIL_prctl) : 0;
}

static int in_set(uint32_t low, uint32_t high, unsigned capability) {
  return capability < 32 ? low >> capability & 1 : high >> (capability - 32) & 1;
}

int op_bounding(const struct plan_record *record) {
  for (unsigned capability = 0; capability < 64; capability++) {
    if (in_set(record->args[0], record->args[1], capability))
      continue;
    int has = prctl(PR_CAPBSET_READ, capability);
    if (has < 0)
      return 0;  // EINVAL: the kernel knows no further ones
    if (has && prctl(PR_CAPBSET_DROP, capability) < 0)
      return fail(DETAIL_prctl);
  }
  return 0;
}

int op_capabilities(const struct plan_record *record) {
  const uint32_t *sets = record->args;
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {
      {.effective = sets[0], .permitted = sets[2], .inheritable = sets[4]},
      {.effective = sets[1], .permitted = sets[3], .inheritable = sets[5]},
  };
  if (syscall(SYS_capset, &header, data) < 0)
    return fail(DETAIL_capset);
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
    return fail(DETAIL_prctl);
  for (unsigned capability = 0; capability < 64; capability++)
    if (in_set(sets[6], sets[7], capability) &&
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
      return fail(DETAIL_prctl);
  return 0;
}

int op_no_new_privs(const struct plan_record *record) {
  (void)record;
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? fail(DETAIL_prctl) : 0;
}

// Lowering needs no privilege, whatever user init is by now.
int op_rlimit(const struct plan_record *record) {
  const uint32_t *args = record->args;
  struct {
    uint64_t soft, hard;
  } limit = {.soft = args[1] | (uint64_t)args[2] << 32, .hard = args[3] | (uint64_t)args[4] << 32};
  return syscall(SYS_prlimit64, 0, args[0], &limit, NULL) < 0 ? fail(DETAIL_prlimit64) : 0;
}

static int is_program(const char *path) {
  struct stat status;
  if (stat(path, &status) < 0)
    return fail(DETAIL_fstat);
  if (S_ISDIR(status.st_mode))
    return fail_with(EISDIR, DETAIL_is_a_directory);
  return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? fail(DETAIL_faccessat) : 0;
}

// As execvp: the first that works; if none does, a file that may not be executed tells more
// than one that is missing.
int op_find_program(const struct plan_record *record) {
  int error = ENOENT;
  enum plan_detail detail = DETAIL_faccessat;
  for (char **candidate = list(record, 0, NULL); *candidate; candidate++) {
    if (is_program(*candidate) == 0)
      return 0;
    if (errno != ENOENT && errno != ENOTDIR) {
      error = errno;
      detail = init.detail;
    }
  }
  return fail_with(error, detail);
}

// The last word of create. Afterwards only the start socket is open, at init's first number; the one
// connection gets the next. (A smaller RLIMIT_NOFILE than that is set later: rlimits.py.)
int op_ready(const struct plan_record *record) {
  struct plan_message message = {
      .kind = MESSAGE_SYNC, .op = SYNC_ready, .index = record->index, .pid = (int32_t)getpid()};
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

// Greets whoever connects and waits for its word; a starter that is lost before it has said go
// changes nothing.
int op_wait_start(const struct plan_record *record) {
  struct plan_message hello = {.kind = MESSAGE_SYNC, .op = SYNC_hello, .index = record->index};
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

int op_close_from(const struct plan_record *record) {
  // The connection to whoever waits stays open: it is closed by execve, which is the message.
  unsigned first = record->args[0];
  for (unsigned fd = first; fd < first + 64; fd++)
    if ((int)fd == init.reply) {
      if (fd > first && syscall(SYS_close_range, first, fd - 1, 0) < 0)
        return fail(DETAIL_close_range);
      first = fd + 1;
    }
  return syscall(SYS_close_range, first, ~0u, 0) < 0 ? fail(DETAIL_close_range) : 0;
}

int op_seccomp(const struct plan_record *record) {
  uint64_t size;
  void *code = (void *)(uintptr_t)bytes(record, 1, &size);
  struct sock_fprog program = {.len = (unsigned short)(size / sizeof *program.filter), .filter = code};
  if (size / sizeof *program.filter > BPF_MAXINSNS)
    return fail_with(EINVAL, DETAIL_seccomp);
  long done = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, record->args[0], &program);
  if (done < 0)
    return fail(DETAIL_seccomp);
  init.filtered = 1;
  if (record->args[0] & SECCOMP_FILTER_FLAG_NEW_LISTENER)
    init.listener = (int)done;
  return 0;
}

// The runtime copies the descriptor (pidfd_getfd) and hands it to the agent before it answers. So the agent
// can let the read go on; the write comes before there is an agent, and no config may notify of it. The
// descriptor is closed by execve.
int op_listener(const struct plan_record *record) {
  struct plan_message message = {
      .kind = MESSAGE_SYNC, .op = SYNC_listener, .index = record->index, .pid = init.listener};
  char reply = 0;
  if (write(init.reply, &message, sizeof message) < 0)
    return fail(DETAIL_write);
  ssize_t got = read(init.reply, &reply, 1);
  if (got < 0)
    return fail(DETAIL_read);
  return got == 1 && reply == REPLY_CONTINUE ? 0 : fail_with(ECANCELED, DETAIL_runtime_gone);
}

int op_exec(const struct plan_record *record) {
  char **arguments = list(record, 1, NULL);
  char **environment = list(record, 2, NULL);
  int error = ENOENT;
  init.progress->phase = PHASE_executing;
  for (char **candidate = list(record, 0, NULL); *candidate; candidate++) {
    syscall(SYS_execve, *candidate, arguments, environment);
    if (errno == ENOENT || errno == ENOTDIR)
      continue;
    error = errno;
    if (errno != EACCES)
      break;
  }
  return fail_with(error, DETAIL_execve);
}
