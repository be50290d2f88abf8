// SPDX-License-Identifier: Apache-2.0
// Python's memory in the snapshot: see heap.c.

#ifndef OCIRUNTIME_HEAP_H
#define OCIRUNTIME_HEAP_H

#include <stddef.h>
#include <stdint.h>

#define PAGE 4096UL

// Before each block, so that the block itself is aligned for every type.
struct heap_header {
  uint32_t units;   // of 16 bytes, this header included
  uint32_t number;  // which allocation of the build made it; 0: it is free, or of a call
};

// Where one allocation of the build shall be. The file that order.py writes is an array of these.
struct heap_place {
  uint32_t units;
  uint32_t offset;  // in the array, of the header; 0: anywhere
};

extern char heap_array[];
extern int snapshot_is_frozen;  // true in the copy

// Before Python starts: take its memory from the array, in the order that a file gives ("": none).
// Returns what is wrong, or NULL.
const char *heap_begin(const char *order);
// The same for a trial: from elsewhere, and each block on pages of its own.
const char *heap_begin_trial(void);
// From here on, blocks are those of a call. Returns how much of the array is to be kept, or 0 if that is too
// much.
size_t heap_freeze(void);
// How much more than that the program needs, as memory that the kernel zeroes.
size_t heap_spare(void);

// Names of malloc and the others for Python's side.
void *snapshot_malloc(size_t size);
void *snapshot_calloc(size_t count, size_t size);
void *snapshot_realloc(void *block, size_t size);
void snapshot_free(void *block);

// The same for memory that Python also takes in threads without its lock: that of a call is libc's.
void *heap_raw_malloc(size_t size);
void *heap_raw_calloc(size_t count, size_t size);
void *heap_raw_realloc(void *block, size_t size);

// After the freeze: call `visit` for each block of the build that is there and has no place in the order.
void heap_visit(void (*visit)(const struct heap_header *header, void *context), void *context);

// Write number and units of these blocks into a file; returns whether it worked.
int heap_tell(const char *path);
// Run the trial: see trial.c. Returns an exit code.
int heap_trial(const char *directory, int (*call)(int argc, char **argv));

#endif
