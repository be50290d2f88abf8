// SPDX-License-Identifier: Apache-2.0
// Where does Python's memory come from? From one snapshot_array, which is written into the snapshot.
//
// Python's side finds these functions instead of malloc, calloc, realloc and free; libc keeps its own.

#define _GNU_SOURCE
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "snapshot.h"

#define ARRAY_SIZE (64UL << 20)  // of the build
#define ARENA (1UL << 20)        // ARENA_SIZE of Objects/obmalloc.c
#define MOST_ARENAS 64
#define SMALLEST 16UL
#define HEADER 16UL  // keeps what malloc gives aligned for every type

char snapshot_array[ARRAY_SIZE] __attribute__((aligned(4096), section(".array")));
int snapshot_is_frozen;
static size_t used, limit = ARRAY_SIZE;
static void *freed[64];  // lists of blocks of SMALLEST << index bytes
static char *arena_begins[MOST_ARENAS];
static int arenas;

static unsigned class_of(size_t size) {
  unsigned number = 0;
  while ((SMALLEST << number) < size)
    number++;
  return number;
}

// Called when the array is full. Before the freeze that ends the build: libc's blocks would not be kept.
static void *from_libc(size_t size) { return snapshot_is_frozen ? malloc(size) : NULL; }

void *snapshot_malloc(size_t size) {
  if (size > limit)
    return from_libc(size);
  unsigned number = class_of(size);
  char *block = freed[number];
  if (block) {
    freed[number] = *(void **)block;
    return block;
  }
  size_t whole = HEADER + (SMALLEST << number);
  if (whole > limit - used)
    return from_libc(size);
  block = snapshot_array + used + HEADER;
  used += whole;
  *(size_t *)(block - HEADER) = number;
  return block;
}

static int is_ours(const void *block) {
  return (const char *)block >= snapshot_array && (const char *)block < snapshot_array + limit;
}

void snapshot_free(void *block) {
  if (!is_ours(block)) {
    free(block);  // from a function of libc that allocates, such as realpath
    return;
  }
  size_t number = *(size_t *)((char *)block - HEADER);
  if (!snapshot_is_frozen)
    memset(block, 0, SMALLEST << number);
  *(void **)block = freed[number];
  freed[number] = block;
}

void *snapshot_calloc(size_t count, size_t size) {
  size_t whole;
  if (__builtin_mul_overflow(count, size, &whole))
    return NULL;
  char *end = snapshot_array + used;
  char *block = snapshot_malloc(whole);
  // What the array has never given out is still zero: not to write it leaves its pages untouched.
  if (block && (block < end || !is_ours(block)))
    memset(block, 0, whole);
  return block;
}

void *snapshot_realloc(void *block, size_t size) {
  if (!block)
    return snapshot_malloc(size);
  if (!is_ours(block))
    return realloc(block, size);
  size_t room = SMALLEST << *(size_t *)((char *)block - HEADER);
  if (size <= room)
    return block;
  void *larger = snapshot_malloc(size);
  if (!larger)
    return NULL;
  memcpy(larger, block, room);
  snapshot_free(block);
  return larger;
}

// Arenas of Python's own small-object allocator. What is in the array is never given back: the process is
// short-lived.
static void *arena_alloc(void *context, size_t size) {
  (void)context;
  size_t begin = (used + PAGE - 1) & ~(PAGE - 1);
  if (begin > limit || size > limit - begin) {
    void *more = snapshot_is_frozen
                     ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                     : MAP_FAILED;
    return more == MAP_FAILED ? NULL : more;
  }
  used = begin + size;
  if (size == ARENA && arenas < MOST_ARENAS)
    arena_begins[arenas++] = snapshot_array + begin;
  return snapshot_array + begin;
}

static int is_in_arena(const void *block) {
  for (int i = 0; i < arenas; i++)
    if ((const char *)block >= arena_begins[i] && (const char *)block < arena_begins[i] + ARENA)
      return 1;
  return 0;
}

static void arena_free(void *context, void *arena, size_t size) {
  (void)context;
  if (!is_ours(arena))
    munmap(arena, size);
}

// What is freed before the freeze is cleared: two builds shall give the same bytes, and addresses of the
// stack and of libc's memory differ each time. (snapshot_is_frozen has the same effect in snapshot_free.)
static void free_cleared(void *allocator, void *block) {
  const size_t pool = 1 << 14,
               size_index = 36;  // of Objects/obmalloc.c: POOL_SIZE, and szidx of a pool's header
  const PyMemAllocatorEx *real = allocator;
  if (block && is_ours(block) && is_in_arena(block)) {
    const char *head = (const char *)((uintptr_t)block & ~(pool - 1));
    memset(block, 0, (*(const uint32_t *)(head + size_index) + 1) * 16UL);
  }
  real->free(real->ctx, block);
}

static void *real_malloc(void *allocator, size_t size) {
  const PyMemAllocatorEx *real = allocator;
  return real->malloc(real->ctx, size);
}
static void *real_calloc(void *allocator, size_t count, size_t size) {
  const PyMemAllocatorEx *real = allocator;
  return real->calloc(real->ctx, count, size);
}
static void *real_realloc(void *allocator, void *block, size_t size) {
  const PyMemAllocatorEx *real = allocator;
  return real->realloc(real->ctx, block, size);
}

static PyMemAllocatorEx real_allocators[2];
static const PyMemAllocatorDomain domains[2] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

void snapshot_clear_what_is_freed(void) {
  for (int i = 0; i < 2; i++) {
    PyMem_GetAllocator(domains[i], &real_allocators[i]);
    PyMemAllocatorEx clearing = {&real_allocators[i], real_malloc, real_calloc, real_realloc, free_cleared};
    PyMem_SetAllocator(domains[i], &clearing);
  }
}

void snapshot_use_array(void) {
  PyObjectArenaAllocator allocator = {NULL, arena_alloc, arena_free};
  PyObject_SetArenaAllocator(&allocator);
}

size_t snapshot_close_array(void) {
  for (int i = 0; i < 2; i++)
    PyMem_SetAllocator(domains[i], &real_allocators[i]);
  size_t in_file = (used + PAGE - 1) & ~(PAGE - 1);
  snapshot_is_frozen = 1;
  limit = in_file + SPARE;
  return limit > ARRAY_SIZE ? 0 : in_file;
}
