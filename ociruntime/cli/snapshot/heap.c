// SPDX-License-Identifier: Apache-2.0
// Where are Python's objects in the snapshot? In one array, in an order that a trial has found.
//
// A page of the snapshot that a call writes must be copied by the kernel, which takes longer than most of
// what Python does with it; and to use an object is to write its reference count. So objects that the same
// verbs use lie together. The build makes the same allocations in the same order each time: the trial
// (trial.c) tells which of them each verb uses, order.py gives each a place, and here each gets it. Blocks
// that the order does not foresee come after it; if none of them is there any more at the freeze, that part
// is not kept.
//
// Blocks of a call are small ones from what follows in the array, so that they are dense, or libc's. Only who
// holds Python's lock gets such: there is no other lock here, and the shim has threads.

#include "heap.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNIT 16UL
#define HEADER sizeof(struct heap_header)
#define ARRAY_SIZE (64UL << 20)  // of the build
#define TRIAL_SIZE (2UL << 30)   // of a trial: address space, of which a build uses a fifth
#define TRIAL_ADDRESS (1UL << 36)
#define SPARE (1UL << 20)  // for the blocks of a call; whoever needs more gets it from libc
#define FINE 2048U         // blocks of more units have powers of two
#define SMALL 33U          // units of the largest block that a call gets from here: 520 bytes
#define LISTS (FINE + 32)

char heap_array[ARRAY_SIZE] __attribute__((aligned(4096), section(".array")));

static char *array = heap_array;
static size_t used = HEADER;  // where the next header will be: a block begins at a multiple of UNIT
static size_t limit = ARRAY_SIZE;
static size_t ordered;     // bytes of the array that the order fills; blocks before are never given again
static size_t unordered;   // where, at the freeze, the blocks begin that have no place in the order
static size_t unforeseen;  // blocks that are not in their places, and are not free
static uint32_t number;    // of allocations
static int is_trial;
int snapshot_is_frozen;
static void *freed[LISTS];
static const struct heap_place *places;
static size_t place_count;

static unsigned units_of(size_t size) {
  size_t units = (size + HEADER + UNIT - 1) / UNIT;
  if (units <= FINE)
    return (unsigned)units;
  size_t power = FINE;
  while (power < units)
    power *= 2;
  return (unsigned)power;
}

static size_t page_after(size_t where) { return (where + PAGE - 1) / PAGE * PAGE; }

static void **list_of(unsigned units) {
  return units <= FINE ? &freed[units] : &freed[FINE + 1 + (unsigned)__builtin_ctz(units / FINE)];
}

static struct heap_header *header_of(const void *block) {
  return (struct heap_header *)(uintptr_t)((const char *)block - HEADER);
}

static int is_ours(const void *block) {
  return (const char *)block >= array && (const char *)block < array + limit;
}

// The place that the order gives to this allocation, or NULL.
static void *foreseen(unsigned units) {
  if (number >= place_count || places[number].units != units || !places[number].offset)
    return NULL;
  return array + places[number].offset + HEADER;
}

static void *from_end(unsigned units) {
  size_t whole = units * UNIT, begin = is_trial ? page_after(used) + HEADER : used;
  if (begin > limit || whole > limit - begin)
    return NULL;
  used = begin + whole;
  return array + begin + HEADER;
}

void *snapshot_malloc(size_t size) {
  if (size > limit)
    return snapshot_is_frozen ? malloc(size) : NULL;
  unsigned units = units_of(size);
  if (snapshot_is_frozen && units > SMALL)
    return malloc(size);
  char *block;
  number += !snapshot_is_frozen;
  if (!snapshot_is_frozen && (block = foreseen(units)) != NULL) {
    *header_of(block) = (struct heap_header){units, number};
    return block;
  }
  void **list = list_of(units);
  if ((block = *list) != NULL)
    *list = *(void **)block;
  else if ((block = from_end(units)) == NULL)
    return snapshot_is_frozen ? malloc(size) : NULL;  // libc's would not be kept
  *header_of(block) = (struct heap_header){units, snapshot_is_frozen ? 0 : number};
  unforeseen += !snapshot_is_frozen;
  return block;
}

void snapshot_free(void *block) {
  if (!is_ours(block)) {
    free(block);  // libc's, also from a function that allocates, such as realpath
    return;
  }
  if (!snapshot_is_frozen)  // two builds shall give the same bytes, and what was freed is different in each
    memset(block, 0, header_of(block)->units * UNIT - HEADER);
  if ((char *)block < array + ordered)
    return;  // of the build: to note that it is free would write to its page
  struct heap_header *header = header_of(block);
  header->number = 0;
  unforeseen -= !snapshot_is_frozen;
  void **list = list_of(header->units);
  *(void **)block = *list;
  *list = block;
}

void *snapshot_calloc(size_t count, size_t size) {
  size_t whole;
  if (__builtin_mul_overflow(count, size, &whole))
    return NULL;
  char *end = array + used;
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
    return realloc(block, size ? size : 1);  // libc's frees a block of size 0, and Python's must not
  size_t room = header_of(block)->units * UNIT - HEADER;
  if (size <= room)
    return block;
  void *larger = snapshot_malloc(size);
  if (!larger)
    return NULL;
  memcpy(larger, block, room);
  snapshot_free(block);
  return larger;
}

void *heap_raw_malloc(size_t size) {
  return snapshot_is_frozen ? malloc(size ? size : 1) : snapshot_malloc(size);
}

void *heap_raw_calloc(size_t count, size_t size) {
  return snapshot_is_frozen ? calloc(count ? count : 1, size ? size : 1) : snapshot_calloc(count, size);
}

void *heap_raw_realloc(void *block, size_t size) {
  if (!snapshot_is_frozen || !block || !is_ours(block))
    return block ? snapshot_realloc(block, size) : heap_raw_malloc(size);
  size_t room = header_of(block)->units * UNIT - HEADER;
  void *moved = malloc(size > room ? size : room);
  if (moved)
    memcpy(moved, block, room);
  return moved;  // to note that the block of the build is free would write to its page
}

const char *heap_begin(const char *order) {
  if (!*order)
    return NULL;
  struct stat status;
  int file = open(order, O_RDONLY | O_CLOEXEC);
  if (file < 0 || fstat(file, &status) != 0)
    return "the order of its objects can't be read";
  void *all = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (all == MAP_FAILED)
    return "the order of its objects can't be read";
  places = all;
  place_count = (size_t)status.st_size / sizeof *places;
  for (size_t i = 0; i < place_count; i++) {
    size_t end = places[i].offset + places[i].units * UNIT;
    if (places[i].offset && places[i].offset % UNIT != HEADER)
      return "the order of its objects is damaged";
    if (places[i].offset && end > ordered)
      ordered = end;
  }
  if (ordered > ARRAY_SIZE / 2)
    return "the order of its objects is damaged";
  ordered = page_after(ordered);
  used = ordered + HEADER;
  return NULL;
}

const char *heap_begin_trial(void) {
  // Always at one address: where objects are has a say in what Python's caches hold.
  array = mmap((void *)TRIAL_ADDRESS, TRIAL_SIZE, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (array == MAP_FAILED || madvise(array, TRIAL_SIZE, MADV_NOHUGEPAGE) != 0)
    return "no memory for a trial";
  limit = TRIAL_SIZE;
  used = 0;
  is_trial = 1;
  return NULL;
}

size_t heap_freeze(void) {
  unordered = ordered + HEADER;
  if (unforeseen)
    ordered = page_after(used);
  memset(freed, 0, sizeof freed);  // what is free in the build's part stays free
  places = NULL;
  place_count = 0;
  used = ordered + HEADER;
  snapshot_is_frozen = 1;
  if (!is_trial)
    limit = ordered + SPARE;
  return limit <= ARRAY_SIZE || is_trial ? ordered : 0;
}

size_t heap_spare(void) { return SPARE; }

void heap_visit(void (*visit)(const struct heap_header *header, void *context), void *context) {
  for (size_t at = unordered; at < ordered;) {
    const struct heap_header *header = (const void *)(array + at);
    if (!header->units)
      return;
    if (header->number)
      visit(header, context);
    at += header->units * UNIT;
    if (is_trial)
      at = page_after(at) + HEADER;
  }
}
