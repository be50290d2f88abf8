// SPDX-License-Identifier: Apache-2.0
//
// What Linux has and some C libraries lack: constants and prototypes, each of them only here.

#ifndef OCIRUNTIME_KERNEL_H
#define OCIRUNTIME_KERNEL_H

// First what the C library has, because it may have some of these constants.
#include <fcntl.h>
#include <stdint.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/mount.h>

// In many versions of glibc <sys/mount.h> clashes with <linux/mount.h>, so this is what we need of it.
int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
int umount2(const char *path, int flags);
#define MNT_DETACH 2

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef ST_NOSYMFOLLOW
#define ST_NOSYMFOLLOW 0x2000
#endif
#ifndef IOPRIO_WHO_PROCESS
#define IOPRIO_WHO_PROCESS 1
#endif

// What is used of statx(2), in the kernel's layout: musl has no such call before 1.2.4, and later none with
// stx_mnt_id.
struct file_ids {
  uint64_t before_inode[4];
  uint64_t inode;
  uint64_t before_mount[13];
  uint64_t mount;  // no two mounts have the same id at the same time
  uint64_t after[13];
};
#define FILE_IDS 0x1100  // STATX_INO | STATX_MNT_ID

// The inode and the mount of a descriptor.
static inline int get_file_ids(int descriptor, struct file_ids *ids) {
  return (int)syscall(SYS_statx, descriptor, "", AT_EMPTY_PATH, FILE_IDS, ids);
}

#endif
