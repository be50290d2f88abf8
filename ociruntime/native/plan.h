// SPDX-License-Identifier: Apache-2.0
//
// The plan format: what Python writes, plan_check verifies and init obeys. See docs/internals/plan.md.
//
//   header | records[count] | lists | strings
//
// Every string argument is an offset from the start of the buffer to NUL-terminated bytes. A list
// is an offset to an 8-aligned array of u64: the number of elements, then one string offset each
// and a final zero, so that init can turn it into a char *[] in place; for that reason no two arguments
// share a list: they come in the order of the records. Bytes stand among the lists. Offset 0 is "none".

#ifndef OCIRUNTIME_PLAN_H
#define OCIRUNTIME_PLAN_H

#include <stdint.h>

// Also says how many ops and details there are: a runtime and an init of two builds, as there are for a
// moment while a package is upgraded, must not understand each other wrongly.
#define PLAN_MAGIC (0x3143504fu ^ OP_count * 0x9e3779b1u ^ DETAIL_count * 0x85ebca6bu)
#define PLAN_ARGS 12

// The one table of operations: code, C name, arguments.
//
//   s string   S string or none   l list of strings   n list of decimal numbers as strings
//   f descriptor slot   u unsigned 32 bit   p path that must begin with "/"
//   b bytes: an offset to an 8-aligned u64, their number, and then so many
//
// A mount's attributes are MOUNT_ATTR_* bits for mount_setattr(2); "r" ones are applied recursively.
#define PLAN_OPS(OP)                                                                                         \
  /* namespaces */                                                                                           \
  OP(join, "fu")               /* setns: namespace (or pidfd), CLONE_NEW* types */                           \
  OP(unshare, "u")             /* CLONE_NEW* flags */                                                        \
  OP(time_offsets, "s")        /* lines of /proc/self/timens_offsets */                                      \
  OP(fork, "u")                /* clone3(CLONE_PARENT | flags); the parent tells the pid and ends */         \
  OP(sync, "u")                /* report this SYNC_* point and wait for the runtime */                       \
  OP(join_cgroup, "f")         /* the open file "tasks" of a cgroup v1 directory */                          \
  OP(setsid, "")               /* */                                                                         \
  OP(session_keyring, "s")     /* name of the new session keyring */                                         \
  OP(keyring_permissions, "u") /* of the session keyring: KEY_POS_*, KEY_USR_*, ... */                       \
  OP(hostname, "s")            /* */                                                                         \
  OP(domainname, "s")          /* */                                                                         \
  OP(loopback, "")             /* lo up */                                                                   \
  OP(sysctl, "ss")             /* path below /proc/sys, value */                                             \
  /* the root file system, before pivot_root: paths are resolved inside the container's root */              \
  OP(propagation, "u")        /* MS_* propagation flags for the namespace's "/" */                           \
  OP(root, "pu")              /* host path of the rootfs, ROOT_* flags */                                    \
  OP(mount_fs, "sSluuuupu")   /* type, source, options "key=value" or "flag", set, clear, propagation, */    \
                              /* recursive propagation, destination, MOUNT_* flags */                        \
  OP(bind, "puuuuuuuupu")     /* source, BIND_* flags, propagation of the source's tree, then as below */    \
  OP(mount_tree, "fuuuuuupu") /* detached tree, set, clear, rset, rclear, propagation, recursive */          \
                              /* propagation, destination, MOUNT_* flags */                                  \
  OP(remount, "puS")          /* destination, MS_* flags, data: changes the superblock */                    \
  OP(mount_attributes, "puuuuuu") /* destination, set, clear, rset, rclear, propagation, recursive one */    \
  OP(mknod, "puuuuuu")            /* path, type and mode, major, minor, uid, gid, MKNOD_* flags */           \
  OP(device, "fpu")               /* detached tree of one device node, path, MKNOD_* flags */                \
  OP(symlink, "psu")              /* path, target, SYMLINK_* flags */                                        \
  OP(mkdir, "pu")                 /* path, mode; parents too; existing is fine */                            \
  OP(terminal, "uu")              /* rows, columns; it becomes 0, 1, 2, the master is sent */                \
  OP(terminal_owner, "u")         /* uid */                                                                  \
  OP(console, "p")                /* where the terminal is bound */                                          \
  OP(pivot_root, "")              /* */                                                                      \
  OP(move_root, "")               /* MS_MOVE and chroot, for a root that is an initramfs (--no-pivot) */     \
  OP(chroot, "")                  /* without a mount namespace of its own */                                 \
  OP(mask, "pS")    /* unreadable: /dev/null over a file, an empty read-only tmpfs over a directory, */      \
                    /* with this SELinux context */                                                          \
  OP(readonly, "p") /* a read-only bind onto itself */                                                       \
  OP(root_attributes, "uuu") /* set, clear, propagation of the container's "/" */                            \
  OP(xattr, "pss")           /* path, name and value of an extended attribute */                             \
  /* the process */                                                                                          \
  OP(umask, "u")               /* mask, or UINT32_MAX: the runtime's */                                      \
  OP(chdir, "pu")              /* path in the container, 1 = make it if missing */                           \
  OP(affinity, "n")            /* sched_setaffinity: words of 32 CPUs each, the first ones first */          \
  OP(personality, "u")         /* */                                                                         \
  OP(memory_policy, "un")      /* set_mempolicy: mode and flags, words of 32 nodes each */                   \
  OP(attribute, "ss")          /* file below /proc/self/attr, value */                                       \
  OP(groups, "n")              /* setgroups */                                                               \
  OP(bounding, "uu")           /* keep these capabilities, low and high half; drop the others */             \
  OP(stream_owner, "u")        /* uid that gets 0, 1 and 2, but for devices and files only to be read */     \
  OP(user, "uu")               /* uid, gid; permitted capabilities are kept */                               \
  OP(capabilities, "uuuuuuuu") /* effective, permitted, inheritable, ambient; low and high half each */      \
  OP(no_new_privs, "")         /* */                                                                         \
  OP(rlimit, "uuuuu")          /* resource; soft and hard limit, low and high half each */                   \
  OP(find_program, "l")        /* candidates for execve, in order: one must be an executable file */         \
  OP(ready, "")       /* the environment stands: descriptors are closed, only the start socket stays */      \
  OP(wait_start, "")  /* answer on the start socket until a starter says go */                               \
  OP(close_from, "u") /* the first descriptor to close */                                                    \
  OP(seccomp, "ub")   /* SECCOMP_FILTER_FLAG_*, struct sock_filter[]; afterwards only listener and exec */   \
  OP(listener, "")    /* tell the number of the notify descriptor, wait until the runtime has a copy */      \
  OP(exec, "lll")     /* candidates, arguments, environment */

enum plan_op {
  OP_none,
#define OP(name, signature) OP_##name,
  PLAN_OPS(OP)
#undef OP
      OP_count
};

// Flags of root.
enum {
  ROOT_BIND = 1,            // bind it onto itself: pivot_root wants a mount point
  ROOT_PARENT_PRIVATE = 2,  // and its parent mount must not be shared
  ROOT_PRIVATE = 4,         // its mounts become private, else slaves of the host's
};

// Flags of mknod and device.
enum {
  MKNOD_OPTIONAL = 1,  // a default device: not made where the engine mounted something of the host's
};

// Flags of bind.
enum {
  BIND_RECURSIVE = 1,  // with what is mounted below the source
  BIND_IN_ROOT = 2,    // the source is a path in the container's root, not of the host
};

// Flags of mount_fs, bind and mount_tree.
enum {
  MOUNT_TARGET_FILE = 1,  // a missing mount point is made as a file, else as a directory
  MOUNT_TARGET_REAL = 2,  // no component may be a symbolic link (/proc and /sys: CVE-2019-19921)
  MOUNT_ON_PROC = 4,      // the target may lie on procfs (else refused: CVE-2019-16884)
  MOUNT_COPY_UP = 8,      // tmpcopyup: copy what the directory held into the new file system
  MOUNT_NO_CREATE = 16,   // a missing mount point is an error
  MOUNT_KEEP_MODE = 32,   // the new file system gets the mode of the directory that it covers, as its option
                          // mode=; a missing directory is made with 1777, what it would have without
  MOUNT_IN_ORDER = 64,    // mountinfo lists the tree as mounted now, not when the runtime opened it
  MOUNT_SOURCE_PROC = 128,  // a bind whose source must be a procfs
};

// Flags of symlink.
enum {
  SYMLINK_IF_TARGET = 1,  // only if the target exists (R241)
  SYMLINK_REPLACE = 2,    // an existing file or link is replaced
};

// Where the two sides meet; names in docs/internals/handshake.md.
#define PLAN_SYNCS(SYNC)                                                                                     \
  SYNC(started, 1)  /* init runs in its namespaces, its pid is known */                                      \
  SYNC(mounted, 2)  /* everything is mounted, the old root is still there: hooks of create */                \
  SYNC(ready, 3)    /* the environment stands: the parent writes state.json and says committed */            \
  SYNC(forked, 4)   /* sent by a helper that made init: carries init's pid */                                \
  SYNC(hello, 5)    /* on the start socket, to whoever connects */                                           \
  SYNC(limits, 6)   /* still root: the parent sets resource limits */                                        \
  SYNC(terminal, 7) /* sent by op terminal: carries the master */                                            \
  SYNC(listener, 8) /* the filter is loaded: carries the number of its notify descriptor */                  \
  SYNC(entered, 9)  /* exec: in the container and its own user; the parent writes the pid file */
enum plan_sync {
#define SYNC(name, value) SYNC_##name = value,
  PLAN_SYNCS(SYNC)
#undef SYNC
};

// Which part of an operation failed; the names are the system calls' (see shim.cdef.txt).
// (clang-format does not come to rest on this list.)
// clang-format off
#define PLAN_DETAILS(D)                                                                               \
  D(none) D(open) D(openat2) D(mkdirat) D(mknodat) D(symlinkat) D(readlinkat) D(unlinkat) D(fstat)    \
  D(fstatfs) D(fchownat) D(fchmodat) D(fsopen) D(fsconfig) D(fsmount) D(open_tree) D(move_mount)      \
  D(mount_setattr) D(mount) D(umount2) D(pivot_root) D(chroot) D(chdir) D(getcwd) D(setns) D(unshare) \
  D(clone3) D(setsid) D(keyctl) D(sethostname) D(setdomainname) D(socket) D(ioctl) D(write) D(read)   \
  D(setgroups) D(setresgid) D(setresuid) D(capset) D(prctl) D(faccessat) D(execve) D(close_range)     \
  D(dup3) D(accept4) D(recv) D(send) D(mmap) D(target_is_link) D(target_is_root) D(target_on_proc)    \
  D(not_a_device) D(exists_with_other_type) D(cwd_outside_root) D(is_a_directory) D(too_many_links)   \
  D(name_too_long) D(getdents64) D(copy) D(foreign_mount) D(runtime_gone) D(bad_plan)                 \
  D(sched_setaffinity) D(personality) D(set_mempolicy) D(fsetxattr) D(not_devpts) D(seccomp)        \
  D(foreign_keyring) D(prlimit64) D(hidden_mount) D(bind_source) D(source_no_procfs)
// clang-format on
enum plan_detail {
#define D(name) DETAIL_##name,
  PLAN_DETAILS(D)
#undef D
      DETAIL_count
};

struct plan_header {
  uint32_t magic;
  uint32_t size;     // of the whole buffer, in bytes
  uint32_t count;    // of records
  uint32_t slots;    // descriptors that come after the fixed ones
  uint32_t fd_base;  // number of the first descriptor that belongs to init
  uint32_t strings;  // where strings begin: lists, which init turns into pointers in place, come before
};

struct plan_record {
  uint16_t op;
  uint16_t ignore;  // an errno that is no failure, or 0
  uint32_t index;   // the step's number in Python's plan
  uint32_t args[PLAN_ARGS];
};

// Descriptors of init, counted from fd_base. Slots follow.
enum { FD_PLAN, FD_HANDSHAKE, FD_PROGRESS, FD_RUNTIME, FD_START, FD_FIXED };

// The one message from init, on the handshake socket and on the start socket. Errors too are
// numbers only; an error of fsconfig/fsmount carries the file system's log as a descriptor.
enum { MESSAGE_SYNC = 1, MESSAGE_ERROR = 2 };
struct plan_message {
  uint32_t kind;
  uint32_t op;      // of the record, for errors; the SYNC_* point for syncs
  uint32_t index;   // the step's number
  int32_t error;    // errno
  uint32_t detail;  // enum plan_detail
  int32_t pid;      // SYNC_forked: of the new process, in the namespace of the one that sends;
                    // SYNC_listener: number of the descriptor in the sending process
};

// From the runtime to init: one byte.
enum { REPLY_CONTINUE = 'c', REPLY_GO = 'g' };

// The shared page(s) `progress`: what happened, also after kill -9 (docs/internals/handshake.md).
enum { PHASE_none, PHASE_creating, PHASE_created, PHASE_starting, PHASE_executing };
struct plan_progress {
  uint32_t magic;
  uint32_t phase;
  uint32_t record;  // number of the record being executed
  uint32_t count;   // of stamps
  struct plan_message error;
  uint64_t stamps[];  // CLOCK_REALTIME in ns: begin of record 0, begin of record 1, ..., end of the last
};

// Verifies every offset, op, count and terminator; pure. 0, or -1 and *where is the byte offset
// of the first mistake.
int plan_check(const void *buffer, uint32_t size, uint32_t *where);

// The name of an op or a detail, or the argument letters of an op; NULL past the table's end.
enum plan_table { TABLE_OPS, TABLE_SIGNATURES, TABLE_DETAILS };
const char *plan_word(enum plan_table table, uint32_t number);

#endif
