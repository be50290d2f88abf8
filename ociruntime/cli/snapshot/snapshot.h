// SPDX-License-Identifier: Apache-2.0
// What the C files of the snapshot share.

#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <stddef.h>

#define PAGE 4096UL
// What is in the array at the freeze is in the file. This much more is ordinary memory, zeroed by the kernel;
// whoever needs more gets it from libc.
#define SPARE (2UL << 20)

// ---- snapshot.c ----

// Print Python's error, if there is one, and the words; exit with 1.
_Noreturn void snapshot_fail(const char *what);

// ---- memory.c ----

extern char snapshot_array[];
extern int snapshot_is_frozen;  // true in the copy

// Arenas of Python's own small-object allocator come from the array, too. Before Python starts.
void snapshot_use_array(void);

// Clear what is freed from now on. After Py_PreInitialize.
void snapshot_clear_what_is_freed(void);

// Nothing more is kept: returns how many bytes of the array are (full pages), or 0 if it is too small.
size_t snapshot_close_array(void);

// ---- immortal.c ----

// Give every object that can be reached a count of references that is never written.
void snapshot_immortal(void);

#endif
