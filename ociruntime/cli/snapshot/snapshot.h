// SPDX-License-Identifier: Apache-2.0
// What the C files of the snapshot share.

#ifndef SNAPSHOT_H
#define SNAPSHOT_H

// ---- snapshot.c ----

// Print Python's error, if there is one, and the words; exit with 1.
_Noreturn void snapshot_fail(const char *what);

// ---- immortal.c ----

// Give every object that can be reached a count of references that is never written.
void snapshot_immortal(void);

#endif
