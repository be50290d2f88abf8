// SPDX-License-Identifier: Apache-2.0
//
// What the op files of ociruntime-init share. init is one process with one thread; it allocates
// nothing, writes no text and decides nothing: the plan says what to do.

#ifndef OCIRUNTIME_INIT_H
#define OCIRUNTIME_INIT_H

#include <stdint.h>

#include "plan.h"

struct init {
  char *plan;  // the whole buffer; private, so that it may be written to
  const struct plan_header *header;
  struct plan_progress *progress;  // shared with the state directory
  int base;                        // number of init's first descriptor
  int root;                        // O_PATH of the container's root, or -1 before op `root`
  int proc;                        // a procfs that nobody in the container can have replaced
  int reply;                       // who hears of errors: the handshake or a starter's connection
  unsigned umask;                  // the runtime's; 022 while init works
  int log;                         // descriptor of a file system's error log, or -1
  int listener;                    // notify descriptor of the filter, or -1
  int filtered;                    // a filter is loaded: no system call that is not needed
  enum plan_detail detail;         // which part of the op failed
};
extern struct init init;

// An op handler returns 0, or -1 with errno and init.detail set.
typedef int op_handler(const struct plan_record *record);
#define OP(name, signature) op_handler op_##name;
PLAN_OPS(OP)
#undef OP

// fail: errno stands; fail_with: this errno. Both note the part that failed and return -1.
int fail(enum plan_detail detail);
int fail_with(int error, enum plan_detail detail);
int close_keeping_errno(int descriptor);  // returns -1

// Arguments.
static inline char *text(const struct plan_record *record, int argument) {
  return init.plan + record->args[argument];
}
static inline char *text_or_null(const struct plan_record *record, int argument) {
  return record->args[argument] ? init.plan + record->args[argument] : 0;
}
// The list's elements as a NULL-terminated array, made in place; *count may be NULL.
char **list(const struct plan_record *record, int argument, uint64_t *count);
int slot(const struct plan_record *record, int argument);
// The bytes, and how many there are.
static inline const void *bytes(const struct plan_record *record, int argument, uint64_t *size) {
  const uint64_t *word = (const void *)(init.plan + record->args[argument]);
  *size = word[0];
  return word + 1;
}

// in_root.c: paths of the container, reached by descriptor only. All return a descriptor (O_PATH
// unless said otherwise) or -1.
// KIND_OPEN_DIRECTORY: with mode 1777, that of a tmpfs that is given none.
enum { KIND_DIRECTORY, KIND_FILE, KIND_OPEN_DIRECTORY };
int open_in_root(const char *path, uint64_t flags);
int open_or_make(const char *path, int kind, uint32_t mount_flags);
// 0 unless the target lies on procfs, and MOUNT_* flags don't allow that.
int may_cover(int target, uint32_t flags);
// open_or_make, and it must lie below the root and not on procfs unless MOUNT_* flags allow it.
int open_target(const char *path, int kind, uint32_t mount_flags);
// The directory that holds the last component, made if missing; *name points into `path`.
int open_parent(const char *path, const char **name);

// procfs.c
int open_proc(void);
// The value into a file of procfs: `directory` ends with "/" and is short, `path` is below it.
int write_proc(const char *directory, const char *path, const char *value);
// "self/fd/N" below init.proc, for the calls that only take a path; changes the cwd to procfs.
const char *proc_path(int descriptor);

// mount_api.c
int sys_open_tree(int directory, const char *path, unsigned flags);
int sys_move_mount(int from, int to);
int sys_fsopen(const char *type);
int sys_fsconfig(int context, unsigned command, const char *key, const char *value);
int sys_fsmount(int context, unsigned attributes);
int mount_id(int descriptor, uint64_t *id);

// own_mounts.c: no device or link is made in the host's files, where an image's symbolic link may lead.
int note_own_mount(int mount);
int is_own_mount(int descriptor);

// mount_attributes.c
int has_mount_setattr(void);
unsigned long old_flags(uint64_t set);  // MOUNT_ATTR_* as MS_*, for mount(2)
int set_attributes(int mount, uint64_t set, uint64_t clear, uint64_t propagation, int recursive);
int propagate(int mount, uint32_t plain, uint32_t recursive);  // of the top one, and of all

// An empty read-only tmpfs, not yet attached. *first is one that has been attached, to be shown again, or -1.
int open_empty_directory(const char *label, int *first);

// old_root.c: init.root lies on `old` now, which is still this process's "/".
int clear_old_root(int old);

// tmpcopyup; keep_mode: the copy's root gets the mode and attributes of the directory, not its owner only.
int copy_up(int from, int to, int keep_mode);
// ops_mount.c: a mount that is attached nowhere gets its place.
int attach(int mount, int target);

// From the runtime: 0 if it said `expected`, else -1 (ECANCELED; the runtime gave up or is gone).
int wait_reply(char expected);
void send_message(const struct plan_message *message, int descriptor);

#endif
