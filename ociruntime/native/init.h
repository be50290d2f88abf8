// SPDX-License-Identifier: Apache-2.0
//
// What the files of ociruntime-init share. init is one process with one thread. It allocates no memory,
// writes no text and decides nothing: the plan says what to do.

#ifndef OCIRUNTIME_INIT_H
#define OCIRUNTIME_INIT_H

#include <stdint.h>

#include "plan.h"

struct init {
  char *plan;  // the whole buffer; private, so that it may be written to
  const struct plan_header *header;
  struct plan_progress *progress;  // shared with the state directory
  uint32_t index;                  // of the step that is being done; UINT32_MAX before the first
  int base;                        // number of init's first descriptor
  int root;                        // O_PATH of the container's root, or -1 before op `root`
  int proc;                        // a procfs that nothing in the container can have replaced
  int reply;                       // where errors are reported: the handshake or a starter's connection
  unsigned umask;                  // the runtime's; 022 while init works
  int log;                         // descriptor of a file system's error log, or -1
  int listener;                    // notify descriptor of the filter, or -1
  int filtered;                    // a filter is loaded: make no system call that can be avoided
  enum plan_detail detail;         // which part of the op failed
};
extern struct init init;

// What C code is given for each kind of argument (plan.h).
typedef const char *arg_s, *arg_S, *arg_p;  // S: may be NULL
typedef char **arg_l;                       // ends with NULL
typedef struct {
  uint32_t *values;
  uint64_t count;
} arg_n;
typedef int arg_f;  // a descriptor
typedef uint32_t arg_u;
typedef struct {
  const void *start;
  uint64_t size;
} arg_b;

// An op's arguments by name, and its handler, which returns 0, or -1 with errno and init.detail set.
#define A(kind, name) arg_##kind name;
#define OP(name, arguments)                                                                                  \
  struct name##_args {                                                                                       \
    arguments                                                                                                \
  };                                                                                                         \
  int op_##name(const struct name##_args *a);
PLAN_OPS(OP, A)
#undef OP
#undef A

// Both note which part failed and return -1. fail leaves errno as it is; fail_with sets it.
int fail(enum plan_detail detail);
int fail_with(int error, enum plan_detail detail);
int close_keeping_errno(int descriptor);  // returns -1
uint64_t number_in(const char *text);     // the decimal digits at its beginning

// A message of the current step, to be sent.
struct plan_message sync_message(enum plan_sync point, int pid);
void send_message(const struct plan_message *message, int descriptor);
// From the runtime: 0 if it said `expected`, else -1 (ECANCELED: the runtime gave up or is gone).
int wait_reply(char expected);

// in_root.c: paths of the container, reached only by descriptor. All return a descriptor (O_PATH unless the
// name says otherwise) or -1.
// KIND_OPEN_DIRECTORY: mode 1777, as a tmpfs has by default.
enum { KIND_DIRECTORY, KIND_FILE, KIND_OPEN_DIRECTORY };
int open_in_root(const char *path, uint64_t flags);
int open_or_make(const char *path, int kind, uint32_t mount_flags);
// The directory that holds the last component, made if missing; *name points into `path`.
int open_parent(const char *path, const char **name);

// mount_api.c
int sys_open_tree(int directory, const char *path, unsigned flags);
int sys_move_mount(int from, int to);
int sys_fsopen(const char *type);
int sys_fsconfig(int context, unsigned command, const char *key, const char *value);
int sys_fsmount(int context, unsigned attributes);
int mount_id(int descriptor, uint64_t *id);

// procfs.c
int open_proc(void);
// Writes the value into a file of procfs: `directory` ends with "/" and is short, `path` is below it.
int write_proc(const char *directory, const char *path, const char *value);
// "self/fd/N" below init.proc, for the calls that only take a path; changes the working directory to procfs.
const char *proc_path(int descriptor);

// own_mounts.c: no device or link is made in the host's files, where an image's symbolic link may lead.
int note_own_mount(int mount);
int is_own_mount(int descriptor);

// mount_attributes.c
int has_mount_setattr(void);
unsigned long old_flags(uint64_t set);  // MOUNT_ATTR_* as MS_*, for mount(2)
int set_attributes(int mount, uint64_t set, uint64_t clear, uint64_t propagation, int recursive);
int propagate(int mount, uint32_t plain, uint32_t recursive);  // of the mount itself, and of its tree

// ops_mount.c
// 0 unless the target lies on procfs and MOUNT_* flags don't allow that.
int may_cover(int target, uint32_t flags);
// As open_or_make; the target must also lie below the root, and not on procfs unless MOUNT_* flags allow it.
int open_target(const char *path, int kind, uint32_t mount_flags);
int attach(int mount, int target);  // `mount` has not been attached anywhere yet
// An empty read-only tmpfs, not yet attached. *first is one that has been attached, to be shown again, or -1.
int open_empty_directory(const char *label, int *first);

// old_root.c: init.root has been moved onto `old`, which is still this process's "/".
int clear_old_root(int old);

// copy_up.c: tmpcopyup, what is in a directory.
int copy_up(int from, int to);

#endif
