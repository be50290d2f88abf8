// SPDX-License-Identifier: Apache-2.0
//
// Can init obey this buffer without ever reading outside of it? Pure: no system call, no allocation. The
// runtime asks before it clones anything, and so does a fuzzer (tests/native).

#include <stddef.h>
#include <string.h>

#include "plan.h"

// The kinds of each op's arguments, one letter each.
static const char *const signatures[OP_count] = {
#define A(kind, name) #kind
#define OP(name, arguments) [OP_##name] = "" arguments,
    PLAN_OPS(OP, A)
#undef OP
};

#define OP(name, arguments) _Static_assert(sizeof("" arguments) <= PLAN_ARGS + 1, #name " has too many");
PLAN_OPS(OP, A)
#undef OP
#undef A

struct view {
  const unsigned char *bytes;
  uint32_t size;
  uint32_t lists;    // where the next list may begin; the first one, where the records end
  uint32_t strings;  // where the lists end
  uint32_t slots;
};

// A string begins after the lists and ends with a NUL inside the buffer.
static int string_fits(const struct view *view, uint64_t offset) {
  if (offset < view->strings || offset >= view->size)
    return 0;
  return memchr(view->bytes + offset, 0, view->size - offset) != NULL;
}

static uint64_t word_at(const struct view *view, uint64_t offset) {
  uint64_t word;
  memcpy(&word, view->bytes + offset, sizeof word);
  return word;
}

// A list has room for its count, its elements and the final zero, and each element is a string. init writes
// into lists, so a list must not overlap another list or a string.
static int list_fits(struct view *view, uint32_t offset) {
  if (offset % 8 != 0 || offset < view->lists || offset >= view->strings || view->strings - offset < 8)
    return 0;
  uint64_t count = word_at(view, offset);
  uint64_t room = (view->strings - offset) / 8;
  if (count > room || count + 2 > room)
    return 0;
  for (uint64_t i = 1; i <= count; i++)
    if (!string_fits(view, word_at(view, offset + 8 * i)))
      return 0;
  view->lists = offset + 8 * ((uint32_t)count + 2);
  return word_at(view, offset + 8 * (count + 1)) == 0;
}

static int numbers_fit(struct view *view, uint32_t offset) {
  if (!list_fits(view, offset))
    return 0;
  uint64_t count = word_at(view, offset);
  for (uint64_t i = 1; i <= count; i++) {
    const unsigned char *digit = view->bytes + word_at(view, offset + 8 * i);
    uint64_t value = 0;
    if (*digit == 0)
      return 0;
    for (; *digit; digit++) {
      if (*digit < '0' || *digit > '9')
        return 0;
      value = value * 10 + (*digit - '0');
      if (value > UINT32_MAX)
        return 0;
    }
  }
  return 1;
}

// Bytes are stored among the lists, and also come in the order of the records.
static int bytes_fit(struct view *view, uint32_t offset) {
  if (offset % 8 != 0 || offset < view->lists || offset >= view->strings || view->strings - offset < 8)
    return 0;
  uint64_t size = word_at(view, offset);
  if (size > view->strings - offset - 8)
    return 0;
  view->lists = offset + 8 + ((uint32_t)size + 7) / 8 * 8;
  return 1;
}

static int argument_fits(struct view *view, char kind, uint32_t value) {
  switch (kind) {
  case 'u':
    return 1;
  case 'f':
    return value < view->slots;
  case 'S':
    return value == 0 || string_fits(view, value);
  case 's':
    return string_fits(view, value);
  case 'p':
    return string_fits(view, value) && view->bytes[value] == '/';
  case 'l':
    return list_fits(view, value);
  case 'n':
    return numbers_fit(view, value);
  case 'b':
    return bytes_fit(view, value);
  default:
    return 0;
  }
}

static int record_fits(struct view *view, const struct plan_record *record) {
  if (record->op == OP_none || record->op >= OP_count)
    return 0;
  const char *signature = signatures[record->op];
  size_t count = strlen(signature);
  for (size_t i = 0; i < PLAN_ARGS; i++) {
    if (i >= count ? record->args[i] != 0 : !argument_fits(view, signature[i], record->args[i]))
      return 0;
  }
  return 1;
}

static const char *const op_names[OP_count] = {[OP_none] = "none",
#define A(kind, name) #name " "
#define OP(name, arguments) [OP_##name] = #name,
                                               PLAN_OPS(OP, A)
#undef OP
};

static const char *const argument_names[OP_count] = {
#define OP(name, arguments) [OP_##name] = "" arguments,
    PLAN_OPS(OP, A)
#undef OP
#undef A
};

static const char *const detail_names[DETAIL_count] = {
#define D(name) [DETAIL_##name] = #name,
    PLAN_DETAILS(D)
#undef D
};

// Python uses the same tables to encode plans and to explain errors.
const char *plan_word(enum plan_table table, uint32_t number) {
  switch (table) {
  case TABLE_OPS:
    return number < OP_count ? op_names[number] : NULL;
  case TABLE_SIGNATURES:
    return number < OP_count ? signatures[number] : NULL;
  case TABLE_ARGUMENTS:
    return number < OP_count ? argument_names[number] : NULL;
  case TABLE_DETAILS:
    return number < DETAIL_count ? detail_names[number] : NULL;
  }
  return NULL;
}

int plan_check(const void *buffer, uint32_t size, uint32_t *where) {
  struct plan_header header;
  *where = 0;
  if (size < sizeof header)
    return -1;
  memcpy(&header, buffer, sizeof header);
  if (header.magic != PLAN_MAGIC || header.size != size || header.count == 0)
    return -1;
  if (header.slots > 1u << 20 || header.fd_base < 3 || header.fd_base > 1u << 20)
    return -1;
  if (header.count > (size - sizeof header) / sizeof(struct plan_record))
    return -1;
  struct view view = {buffer, size, 0, header.strings, header.slots};
  view.lists = (uint32_t)(sizeof header + header.count * sizeof(struct plan_record));
  if (header.strings < view.lists || header.strings > size)
    return -1;
  for (uint32_t i = 0; i < header.count; i++) {
    struct plan_record record;
    *where = (uint32_t)(sizeof header + i * sizeof record);
    memcpy(&record, view.bytes + *where, sizeof record);
    if (!record_fits(&view, &record))
      return -1;
  }
  return 0;
}
