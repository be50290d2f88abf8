// SPDX-License-Identifier: Apache-2.0
//
// What Linux has and some C libraries lack: constants and prototypes, each of them only here.

#ifndef OCIRUNTIME_KERNEL_H
#define OCIRUNTIME_KERNEL_H

// First what the C library has, because it may have some of these constants.
#include <fcntl.h>
#include <sys/statvfs.h>

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

#endif
