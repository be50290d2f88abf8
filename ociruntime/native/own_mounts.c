// SPDX-License-Identifier: Apache-2.0
//
// Was this mount made for the container, or does it show the host's files? The root and new file systems are
// the container's own; binds are not. Calls mount_api.c only.

#define _GNU_SOURCE
#include <stddef.h>
#include <sys/mman.h>

#include "init.h"

// The ids of the container's own mounts, in a hash table. It has at least two places for each record of the
// plan, so it is never full and each search ends. No mount has id 0.
static uint64_t *own_mounts;
static uint64_t own_mask;

static uint64_t *find_own(uint64_t id) {
  uint64_t place = id * 0x9e3779b97f4a7c15u >> 32;
  while (own_mounts[place & own_mask] && own_mounts[place & own_mask] != id)
    place++;
  return &own_mounts[place & own_mask];
}

static int make_own_table(void) {
  uint64_t room = 256;
  while (room < 2 * (uint64_t)init.header->count)
    room *= 2;
  void *table =
      mmap(NULL, room * sizeof *own_mounts, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (table == MAP_FAILED)
    return fail(DETAIL_mmap);
  own_mounts = table;
  own_mask = room - 1;
  return 0;
}

int note_own_mount(int mount) {
  uint64_t id;
  if ((!own_mounts && make_own_table() < 0) || mount_id(mount, &id) < 0)
    return -1;
  *find_own(id) = id;
  return 0;
}

int is_own_mount(int descriptor) {
  uint64_t id;
  if (mount_id(descriptor, &id) < 0)
    return -1;
  return own_mounts && *find_own(id) == id;
}
