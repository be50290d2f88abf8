// SPDX-License-Identifier: Apache-2.0
//
// init's own reading of a plan, without its effects. What a sanitizer then sees is what init would
// do: obey(), list(), text() and slot() are those of init.c; only the ops are replaced, by ones that
// touch every argument in the way in which the real ones do (lists become pointers in place, options
// are cut at "=" and mended, group numbers are written over their list).

#ifndef OCIRUNTIME_OBEY_PLAN_H
#define OCIRUNTIME_OBEY_PLAN_H

#define main init_main
#include "init.c"
#undef main

#include <stdlib.h>

// Keeps reads alive that nothing else needs.
static volatile uint64_t sink;

static void touch_text(const char *string) {
  uint64_t sum = 0;
  for (; *string; string++)
    sum += (unsigned char)*string;
  sink += sum;
}

static void touch_list(const struct plan_record *record, int argument) {
  uint64_t count, found = 0;
  char **element = list(record, argument, &count);
  for (; *element; element++, found++) {
    touch_text(*element);
    char *equals = strchr(*element, '=');
    if (equals) {
      *equals = 0;
      touch_text(equals + 1);
      *equals = '=';
    }
  }
  if (found != count)
    abort();  // the array ends elsewhere than its count says
}

static void touch_bytes(const struct plan_record *record, int argument) {
  uint64_t size, sum = 0;
  const unsigned char *byte = bytes(record, argument, &size);
  for (uint64_t i = 0; i < size; i++)
    sum += byte[i];
  sink += sum;
}

static void touch_numbers(const struct plan_record *record, int argument) {
  uint64_t count;
  char **numbers = list(record, argument, &count);
  uint32_t *values = (uint32_t *)(void *)numbers;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t value = 0;
    for (const char *digit = numbers[i]; *digit; digit++)
      value = value * 10 + (uint64_t)(*digit - '0');
    if (value > UINT32_MAX)
      abort();  // plan_check promised a number of 32 bits
    values[i] = (uint32_t)value;
  }
}

static int touch(const struct plan_record *record, const char *signature) {
  for (int argument = 0; signature[argument]; argument++)
    switch (signature[argument]) {
    case 'p':
      if (text(record, argument)[0] != '/')
        abort();
      touch_text(text(record, argument));
      break;
    case 's':
      touch_text(text(record, argument));
      break;
    case 'S':
      if (text_or_null(record, argument))
        touch_text(text_or_null(record, argument));
      break;
    case 'l':
      touch_list(record, argument);
      break;
    case 'n':
      touch_numbers(record, argument);
      break;
    case 'b':
      touch_bytes(record, argument);
      break;
    case 'f':
      if (slot(record, argument) < 0)
        abort();
      break;
    default:
      sink += record->args[argument];
    }
  return 0;
}

#define OP(name, signature)                                                                                  \
  int op_##name(const struct plan_record *record) { return touch(record, signature); }
PLAN_OPS(OP)
#undef OP

// Obeys a private copy of the plan, of exactly its size, with progress pages of exactly theirs.
static void obey_copy(const void *buffer, uint32_t size) {
  init.plan = malloc(size);
  memcpy(init.plan, buffer, size);
  init.header = (const void *)init.plan;
  uint32_t count = init.header->count;
  init.progress = calloc(1, sizeof *init.progress + sizeof(uint64_t) * count);
  init.base = (int)init.header->fd_base;
  obey();
  if (init.progress->count != count || init.progress->error.kind)
    abort();  // it stopped at a record: no op here fails
  free(init.progress);
  free(init.plan);
}

#endif
