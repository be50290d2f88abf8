// SPDX-License-Identifier: Apache-2.0
//
// If init leaves the old root by chroot instead of pivot_root, the old root's mounts stay in the mount
// namespace. A process with a user namespace of its own may mount a procfs or sysfs if its mount namespace
// has one without locked masks anywhere, even out of reach (fs/namespace.c, mount_too_revealing). That would
// undo the container's masks and read-only paths. So everything that is mounted below the old root is
// unmounted, as with pivot_root. What a more privileged namespace has mounted can't be unmounted; it is
// covered.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"
#include "kernel.h"

enum { TABLE_END = -1, TABLE_BROKEN = -2 };

struct table {  // a mountinfo file that is being read
  int file;
  size_t at, end;
  char buffer[4096];
};

struct mounted {  // one of its lines
  uint64_t id, parent;
  int shows_kernel;      // a whole procfs or sysfs
  char point[PATH_MAX];  // seen from the old root; "" if it is too long to be used
};

static int open_table(struct table *table) {
  if (open_proc() < 0)
    return -1;
  table->at = table->end = 0;
  table->file = openat(init.proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
  return table->file < 0 ? fail(DETAIL_open) : 0;
}

static int close_table(struct table *table, int done) {
  close_keeping_errno(table->file);
  return done;
}

static int next_byte(struct table *table) {
  if (table->at == table->end) {
    ssize_t got = read(table->file, table->buffer, sizeof table->buffer);
    if (got <= 0)
      return got < 0 ? TABLE_BROKEN : TABLE_END;
    table->at = 0;
    table->end = (size_t)got;
  }
  return (unsigned char)table->buffer[table->at++];
}

// Space, tab, newline and backslash appear as a backslash and three octal digits. Returns the byte that ended
// the field. A word that does not fit becomes empty.
static int next_field(struct table *table, char *word, size_t size) {
  size_t used = 0;
  int byte;
  while ((byte = next_byte(table)) >= 0 && byte != ' ' && byte != '\n') {
    if (byte == '\\') {
      byte = 0;
      for (int digit = 0; digit < 3; digit++)
        byte = byte * 8 + (next_byte(table) & 7);
    }
    if (used < size)
      word[used++] = (char)byte;
  }
  word[used < size ? used : 0] = 0;
  return byte;
}

// Reads the next line: 1, 0 at the end, or -1.
static int next_mount(struct table *table, struct mounted *line) {
  char word[32];
  int byte = 0, whole = 0, field = 0, separator = -1;
  line->shows_kernel = 0;
  for (; byte != '\n'; field++) {
    if (field == 4) {
      byte = next_field(table, line->point, sizeof line->point);
    } else {
      byte = next_field(table, word, sizeof word);
      if (field == 0)
        line->id = number_in(word);
      else if (field == 1)
        line->parent = number_in(word);
      else if (field == 3)
        whole = strcmp(word, "/") == 0;
      else if (field > 5 && separator < 0 && strcmp(word, "-") == 0)
        separator = field;
      else if (separator >= 0 && field == separator + 1)
        line->shows_kernel = whole && (strcmp(word, "proc") == 0 || strcmp(word, "sysfs") == 0);
    }
    if (byte == TABLE_END && field == 0)
      return 0;
    if (byte < 0)
      return byte == TABLE_BROKEN ? fail(DETAIL_read) : fail_with(EIO, DETAIL_read);
  }
  return 1;
}

// The root of this mount, if its path still leads to it, else -1.
static int open_mounted(int old, const struct mounted *line) {
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
  uint64_t id;
  if (line->point[0] != '/' || !line->point[1])
    return -1;
  int place = (int)syscall(SYS_openat2, old, line->point + 1, &how, sizeof how);
  if (place < 0)
    return -1;
  if (mount_id(place, &id) == 0 && id == line->id)
    return place;
  close(place);
  return -1;
}

// Goes through the table once. Each mount that can be reached by its path below the old root is unmounted,
// with everything that is mounted on it. There the paths of the new root's own mounts lead to something else,
// or nowhere. No link is followed, because one to "/" would lead into the new root. Returns how many were
// unmounted, or -1.
static int detach_once(int old) {
  struct table table;
  struct mounted line;
  int gone = 0, more;
  if (open_table(&table) < 0)
    return -1;
  while ((more = next_mount(&table, &line)) > 0) {
    int place = open_mounted(old, &line);
    const char *path = place < 0 ? NULL : proc_path(place);
    if (path && umount2(path, MNT_DETACH) == 0)
      gone++;
    if (place >= 0)
      close(place);
  }
  return close_table(&table, more < 0 ? -1 : gone);
}

// Looks for the mount `id`: 1, 0 or -1.
static int find(uint64_t id, struct mounted *line) {
  struct table table;
  int more;
  if (open_table(&table) < 0)
    return -1;
  while ((more = next_mount(&table, line)) > 0)
    if (line->id == id)
      break;
  return close_table(&table, more);
}

// Is there a mount that hides all of this one? 1, 0 or -1.
static int is_covered(const struct mounted *line) {
  struct table table;
  struct mounted other;
  int more;
  if (open_table(&table) < 0)
    return -1;
  while ((more = next_mount(&table, &other)) > 0)
    if (other.parent == line->id && line->point[0] && strcmp(other.point, line->point) == 0)
      break;
  return close_table(&table, more);
}

// Is it the new root, or mounted somewhere in it? 1, 0 or -1.
static int is_in_new_root(const struct mounted *line, uint64_t new_root) {
  struct mounted above = *line;
  while (above.id != new_root) {
    int found = find(above.parent, &above);
    if (found <= 0 || above.id == above.parent)
      return found;
  }
  return 1;
}

static int attach_cover(int place) {
  static int first = -1;
  int empty = open_empty_directory(NULL, &first);
  if (empty < 0)
    return -1;
  int done = sys_move_mount(empty, place) < 0 ? fail(DETAIL_move_mount) : 0;
  if (done == 0 && first < 0)
    first = empty;
  else
    close_keeping_errno(empty);
  return done;
}

// The mounts that are left must not receive what the host mounts later, and none of them may show a whole
// procfs or sysfs. A mount that can't be reached by its path can't be covered. If another mount already hides
// all of it, that is enough.
static int cover(int old, const struct mounted *line, uint64_t new_root) {
  int place = open_mounted(old, line);
  if (place >= 0) {
    int done = set_attributes(place, 0, 0, MS_PRIVATE, 1);
    if (done == 0 && line->shows_kernel)
      done = attach_cover(place);
    close_keeping_errno(place);
    return done;
  }
  if (!line->shows_kernel)
    return 0;
  int harmless = is_in_new_root(line, new_root);
  if (harmless == 0)
    harmless = is_covered(line);
  return harmless == 0 ? fail_with(EBUSY, DETAIL_hidden_mount) : harmless < 0 ? -1 : 0;
}

static int cover_rest(int old, uint64_t new_root) {
  struct table table;
  struct mounted line;
  int done = 0, more = 0;
  if (open_table(&table) < 0)
    return -1;
  while (done == 0 && (more = next_mount(&table, &line)) > 0)
    done = cover(old, &line, new_root);
  return close_table(&table, more < 0 ? -1 : done);
}

int clear_old_root(int old) {
  uint64_t new_root;
  int gone;
  if (mount_id(init.root, &new_root) < 0 || set_attributes(old, 0, 0, MS_PRIVATE, 0) < 0)
    return -1;
  while ((gone = detach_once(old)) > 0)  // each round uncovers mounts that can now be reached
    ;
  return gone < 0 ? -1 : cover_rest(old, new_root);
}
