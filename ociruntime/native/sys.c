// SPDX-License-Identifier: Apache-2.0
//
// System calls that the runtime needs and that Python's standard library lacks. Each returns 0 or a
// descriptor, or -errno.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel.h"
#include "shim.h"

static int result(long value) { return value < 0 ? -errno : (int)value; }

int shim_open_tree(int directory, const char *path, unsigned flags) {
  return result(syscall(SYS_open_tree, directory, path, flags));
}

#define LINK_SIZE 64

static const char *descriptor_link(int descriptor, char link[LINK_SIZE]) {
  static const char prefix[] = "/proc/self/fd/";
  char *digit = link + LINK_SIZE - 1;
  *digit = 0;
  do
    *--digit = (char)('0' + descriptor % 10);
  while ((descriptor /= 10) > 0);
  digit -= sizeof prefix - 1;
  memcpy(digit, prefix, sizeof prefix - 1);
  return digit;
}

// Resolves a path with `root` as "/", for its links as well; see in_root.c.
int shim_open_in_root(int root, const char *path) {
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
  for (int attempt = 0;; attempt++) {
    int file = result(syscall(SYS_openat2, root, path, &how, sizeof how));
    if (file != -EAGAIN || attempt == 128)  // a directory was renamed meanwhile
      return file;
  }
}

// Before Linux 5.12 there is no mount_setattr. Then mount(2) sets a tree's propagation through its
// descriptor.
static int set_propagation(int tree, int recursive, uint64_t propagation) {
  char link[LINK_SIZE];
  unsigned long flags = propagation | (recursive ? MS_REC : 0);
  return result(mount(NULL, descriptor_link(tree, link), NULL, flags, NULL));
}

int shim_mount_setattr(int directory, const char *path, unsigned flags, uint64_t set, uint64_t clear,
                       uint64_t propagation, int userns_fd) {
  struct mount_attr attributes = {
      .attr_set = set, .attr_clr = clear, .propagation = propagation, .userns_fd = (uint64_t)userns_fd};
  int done = result(syscall(SYS_mount_setattr, directory, path, flags, &attributes, sizeof attributes));
  if (done == -ENOSYS && !set && !clear && *path == 0)
    return set_propagation(directory, (flags & AT_RECURSIVE) != 0, propagation);
  return done;
}

// A tmpfs that is not attached anywhere, so that it can only be reached through the descriptor.
int shim_detached_tmpfs(void) {
  int context = result(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC));
  if (context < 0)
    return context;
  int done = result(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
  if (done == 0)
    done = result(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
  close(context);
  return done;
}

int shim_pidfd_getfd(int pidfd, int number) { return result(syscall(SYS_pidfd_getfd, pidfd, number, 0)); }

// Unmounts the mount with this id, and what is mounted on it, but no other. Another process may replace a
// directory of the path by a link. If the path leads to another mount, the answer is -ESTALE.
int shim_umount_id(const char *path, uint64_t id) {
  struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                         .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
  struct file_ids ids;
  char link[LINK_SIZE];
  int place = result(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how));
  if (place < 0)
    return place;
  int done = result(get_file_ids(place, &ids));
  if (done == 0 && ids.mount != id)
    done = -ESTALE;
  if (done == 0)
    done = result(umount2(descriptor_link(place, link), MNT_DETACH));
  close(place);
  return done;
}

// The kernel reads a page of data at most, and no more than its string.
int shim_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data) {
  return result(mount(source, target, type, (unsigned long)flags, data));
}

int shim_umount(const char *path) { return result(umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW)); }

// Processes whose parent has ended become children of this one, instead of the system's first process.
int shim_subreaper(void) { return result(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)); }

int shim_sched_setattr(int pid, const void *attributes) {
  return result(syscall(SYS_sched_setattr, pid, attributes, 0));
}

int shim_ioprio_set(int pid, int priority) {
  return result(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, priority));
}

int shim_bpf(int command, void *attributes, unsigned size) {
  return result(syscall(SYS_bpf, command, attributes, size));
}

// A process that does nothing but be there, until it is killed or the calling thread ends. It is a copy, and
// not a sharer, of this memory, as it may live longer than the call. It makes system calls only, because
// other threads may have held locks when it was made. No signal tells the caller of its end: wait with
// __WALL. When this returns it has come to rest, so that its memory is not charged to where it goes.
int shim_hold_place(int *pid) {
  int pidfd = -1, parent = getpid(), ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0)
    return -errno;
  struct clone_args arguments = {.flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd};
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  long child = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)  // it ended before the line above
      _exit(1);
    if (syscall(SYS_close_range, 0, ~0U, 0) < 0)  // older kernels lack it
      close(ends[1]);
    for (;;)
      pause();
  }
  int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  close(ends[1]);
  char byte;
  while (child > 0 && read(ends[0], &byte, 1) < 0 && errno == EINTR)
    continue;
  close(ends[0]);
  *pid = (int)child;
  return child < 0 ? -error : pidfd;
}
