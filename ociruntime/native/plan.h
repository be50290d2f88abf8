// SPDX-License-Identifier: Apache-2.0
//
// The plan format: what Python writes, plan_check verifies and init obeys. See docs/internals/plan.md.
//
//   header | records[count] | lists | strings
//
// A string argument is an offset from the start of the buffer to NUL-terminated bytes. A list argument is an
// offset to an 8-aligned array of u64: the number of elements, then one string offset for each, and a final
// zero, so that init can turn the array into a char *[] in place. That is why no two arguments share a list:
// lists come in the order of the records. Bytes are stored among the lists. Offset 0 means "none".

#ifndef OCIRUNTIME_PLAN_H
#define OCIRUNTIME_PLAN_H

#include <stdint.h>

#include "handshake.h"

// Also says how many ops, arguments and details there are: while a package is being upgraded, a runtime and
// an init of two builds may meet, and must not misunderstand each other.
#define PLAN_MAGIC                                                                                           \
  (0x3143504fu ^ OP_count * 0x9e3779b1u ^ DETAIL_count * 0x85ebca6bu ^ ARGUMENT_count * 0xc2b2ae35u)
#define PLAN_ARGS 12

// The one table of operations: OP(name, arguments), and each argument as A(kind, name), in the order in which
// they stand in a record. Its kind is one of
//
//   s string   S string or none   l list of strings   n list of decimal numbers as strings
//   f descriptor slot   u unsigned 32 bit   p path that must begin with "/"
//   b bytes: an offset to an 8-aligned u64, which is their number, and the bytes after it
//
// init.h makes a structure of each op's arguments, and plan_check.c the words that Python reads.
//
// set, clear, rset and rclear are MOUNT_ATTR_* bits for mount_setattr(2); propagation and rpropagation are
// MS_* flags. Those with an r are applied recursively.
// clang-format off
#define PLAN_OPS(OP, A)                                                                                      \
  /* namespaces */                                                                                           \
  OP(join, A(f, namespace) A(u, types))             /* setns: a namespace or a pidfd; CLONE_NEW* types */    \
  OP(unshare, A(u, flags))                          /* CLONE_NEW* */                                         \
  OP(time_offsets, A(s, lines))                     /* of /proc/self/timens_offsets */                       \
  OP(fork, A(u, flags))                             /* clone3(CLONE_PARENT | flags); the parent tells the */ \
                                                    /* pid and ends */                                       \
  OP(dumpable, A(u, wanted))                        /* prctl(PR_SET_DUMPABLE): 1 for as long as an */        \
                                                    /* ordinary user writes the id maps */                   \
  OP(sync, A(u, point))                             /* report this SYNC_* point, wait for the runtime */     \
  OP(join_cgroup, A(f, tasks))                      /* that file of a cgroup v1 directory, open */           \
  OP(setsid, )                                                                                               \
  OP(session_keyring, A(s, name))                   /* make it, and join it */                               \
  OP(keyring_permissions, A(u, permissions))        /* of the session keyring: KEY_POS_*, KEY_USR_*, ... */  \
  OP(hostname, A(s, name))                                                                                   \
  OP(domainname, A(s, name))                                                                                 \
  OP(loopback, )                                    /* lo up */                                              \
  OP(sysctl, A(s, path) A(s, value))                /* below /proc/sys */                                    \
  /* the root file system, before pivot_root: paths are resolved inside the container's root */              \
  OP(propagation, A(u, flags))                      /* MS_*, for the namespace's "/" */                      \
  OP(root, A(p, path) A(u, flags))                  /* rootfs, as the host names it; ROOT_* */               \
  OP(mount_fs,                                      /* options are "key=value" or "flag" */                  \
     A(s, type) A(S, source) A(l, options) A(u, set) A(u, clear) A(u, propagation) A(u, rpropagation)        \
     A(p, destination) A(u, flags))                 /* MOUNT_* */                                            \
  OP(bind,                                          /* BIND_* flags; propagation of the source's tree */     \
     A(p, source) A(u, source_flags) A(u, source_propagation)                                                \
     A(u, set) A(u, clear) A(u, rset) A(u, rclear) A(u, propagation) A(u, rpropagation)                      \
     A(p, destination) A(u, flags))                 /* MOUNT_* */                                            \
  OP(mount_tree,                                    /* a detached tree */                                    \
     A(f, tree)                                                                                              \
     A(u, set) A(u, clear) A(u, rset) A(u, rclear) A(u, propagation) A(u, rpropagation)                      \
     A(p, destination) A(u, flags))                 /* MOUNT_* */                                            \
  OP(remount, A(p, destination) A(u, flags) A(S, data)) /* MS_*: changes the superblock */                   \
  OP(mount_attributes,                                                                                       \
     A(p, destination) A(u, set) A(u, clear) A(u, rset) A(u, rclear) A(u, propagation) A(u, rpropagation))   \
  OP(mknod,                                         /* mode is also the type; MKNOD_* */                     \
     A(p, path) A(u, mode) A(u, major) A(u, minor) A(u, uid) A(u, gid) A(u, flags))                          \
  OP(device, A(f, tree) A(p, path) A(u, flags))     /* detached tree of one device node; MKNOD_* */          \
  OP(symlink, A(p, path) A(s, target) A(u, flags))  /* SYMLINK_* */                                          \
  OP(mkdir, A(p, path) A(u, mode))                  /* parents, too; it may exist */                         \
  OP(terminal, A(u, rows) A(u, columns))            /* it becomes 0, 1, 2; the master is sent */             \
  OP(terminal_owner, A(u, uid))                                                                              \
  OP(console, A(p, path))                           /* where the terminal is bound */                        \
  OP(pivot_root, )                                                                                           \
  OP(move_root, )                                   /* MS_MOVE and chroot, if the root is an initramfs */    \
                                                    /* (--no-pivot) */                                       \
  OP(chroot, )                                      /* without a mount namespace of its own */               \
  OP(mask, A(p, path) A(S, label))                  /* unreadable: /dev/null over a file, an empty */        \
                                                    /* read-only tmpfs of this SELinux context over a */     \
                                                    /* directory */                                          \
  OP(readonly, A(p, path))                          /* a read-only bind onto itself */                       \
  OP(root_attributes, A(u, set) A(u, clear) A(u, propagation)) /* of the container's "/" */                  \
  OP(xattr, A(p, path) A(s, name) A(s, value))                                                               \
  /* the process */                                                                                          \
  OP(umask, A(u, mask))                             /* UINT32_MAX: the runtime's */                          \
  OP(chdir, A(p, path) A(u, make))                  /* in the container; 1 = make it if it is missing */     \
  OP(affinity, A(n, cpus))                          /* sched_setaffinity: words of 32 CPUs, from CPU 0 on */ \
  OP(personality, A(u, persona))                                                                             \
  OP(memory_policy, A(u, mode) A(n, nodes))         /* set_mempolicy: mode and flags; words of 32 nodes */   \
  OP(attribute, A(s, name) A(s, value))             /* a file below /proc/self/attr */                       \
  OP(groups, A(n, gids))                            /* setgroups */                                          \
  OP(bounding, A(u, low) A(u, high))                /* the capabilities to keep; drop the others */          \
  OP(stream_owner, A(u, uid))                       /* gets 0, 1 and 2, except devices and files that */     \
                                                    /* are only open for reading */                          \
  OP(user, A(u, uid) A(u, gid))                     /* permitted capabilities are kept */                    \
  OP(capabilities,                                                                                           \
     A(u, effective_low) A(u, effective_high) A(u, permitted_low) A(u, permitted_high)                       \
     A(u, inheritable_low) A(u, inheritable_high) A(u, ambient_low) A(u, ambient_high))                      \
  OP(no_new_privs, )                                                                                         \
  OP(rlimit, A(u, resource) A(u, soft_low) A(u, soft_high) A(u, hard_low) A(u, hard_high))                   \
  OP(find_program, A(l, candidates))                /* for execve, in order: one must be executable */       \
  OP(ready, )       /* the environment is complete: descriptors are closed, only the start socket stays */   \
  OP(wait_start, )                                  /* answer on the start socket until a starter says go */ \
  OP(close_from, A(u, first))                       /* close this descriptor and those after it */           \
  OP(seccomp, A(u, flags) A(b, filter))             /* SECCOMP_FILTER_FLAG_*, struct sock_filter[]; */       \
                                                    /* after it only listener and exec may come */           \
  OP(listener, )    /* tell the number of the notify descriptor, wait until the runtime has a copy */        \
  OP(exec, A(l, candidates) A(l, arguments) A(l, environment))
// clang-format on

enum plan_op {
  OP_none,
#define A(kind, name)
#define OP(name, arguments) OP_##name,
  PLAN_OPS(OP, A)
#undef OP
#undef A
      OP_count
};

enum {
#define A(kind, name) +1
#define OP(name, arguments) arguments
  ARGUMENT_count = PLAN_OPS(OP, A)  // of all ops together
#undef OP
#undef A
};

// Flags of root.
enum {
  ROOT_BIND = 1,            // bind it onto itself: pivot_root wants a mount point
  ROOT_PARENT_PRIVATE = 2,  // and its parent mount must not be shared
  ROOT_PRIVATE = 4,         // its mounts become private, else slaves of the host's
};

// Flags of mknod and device.
enum {
  MKNOD_OPTIONAL = 1,  // a default device: not made where the engine has mounted something of the host's
};

// Flags of bind's source.
enum {
  BIND_RECURSIVE = 1,  // with what is mounted below the source
  BIND_IN_ROOT = 2,    // the source is a path in the container's root, not of the host
};

// Flags of mount_fs, bind and mount_tree.
enum {
  MOUNT_TARGET_REAL = 2,  // no component may be a symbolic link (/proc and /sys: CVE-2019-19921)
  MOUNT_ON_PROC = 4,      // the target may lie on procfs (else refused: CVE-2019-16884)
  MOUNT_COPY_UP = 8,      // tmpcopyup: copy what the directory held into the new file system
  MOUNT_KEEP_MODE = 32,   // the new file system gets the mode of the directory that it covers, as its option
                          // mode=; a missing directory is made with 1777, the file system's own default
  MOUNT_IN_ORDER = 64,    // mountinfo lists the tree as mounted now, not when the runtime opened it
  MOUNT_SOURCE_PROC = 128,  // a bind whose source must be a procfs
};

// Flags of symlink.
enum {
  SYMLINK_IF_TARGET = 1,  // only if the target exists (R241)
  SYMLINK_REPLACE = 2,    // an existing file or link is replaced
};

struct plan_header {
  uint32_t magic;
  uint32_t size;     // of the whole buffer, in bytes
  uint32_t count;    // of records
  uint32_t slots;    // descriptors that come after the fixed ones
  uint32_t fd_base;  // number of the first descriptor that belongs to init
  uint32_t strings;  // where strings begin, after the lists, which init turns into pointers in place
};

struct plan_record {
  uint16_t op;
  uint16_t ignore;  // an errno that does not count as a failure, or 0
  uint32_t index;   // the step's number in Python's plan
  uint32_t args[PLAN_ARGS];
};

// Verifies every offset, op, count and terminator; pure. 0, or -1 and *where is the byte offset
// of the first mistake.
int plan_check(const void *buffer, uint32_t size, uint32_t *where);

// The name of an op or a detail; the kinds of an op's arguments, or their names, each followed by a space.
// NULL past the table's end.
enum plan_table { TABLE_OPS, TABLE_SIGNATURES, TABLE_ARGUMENTS, TABLE_DETAILS };
const char *plan_word(enum plan_table table, uint32_t number);

#endif
