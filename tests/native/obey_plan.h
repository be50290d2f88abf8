// SPDX-License-Identifier: Apache-2.0
//
// init's own reading of a plan, without its effects. What a sanitizer then sees is what init would
// do: obey() and the reading of arguments are those of init.c; only the ops are replaced, by ones that
// touch every argument in the way in which the real ones do (options are cut at "=" and mended).

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

static void touch_s(arg_s text) { touch_text(text); }
static void touch_u(arg_u value) { sink += value; }

static void touch_S(arg_S text) {
  if (text)
    touch_text(text);
}

static void touch_p(arg_p path) {
  if (*path != '/')
    abort();
  touch_text(path);
}

static void touch_f(arg_f descriptor) {
  if (descriptor < 0)
    abort();
}

static void touch_l(arg_l list) {
  uint64_t found = 0;
  for (char **element = list; *element; element++, found++) {
    touch_text(*element);
    char *equals = strchr(*element, '=');
    if (equals) {
      *equals = 0;
      touch_text(equals + 1);
      *equals = '=';
    }
  }
  if (found != ((uint64_t *)(void *)list)[-1])
    abort();  // the array ends elsewhere than its count says
}

static void touch_n(arg_n numbers) {
  for (uint64_t i = 0; i < numbers.count; i++)
    sink += numbers.values[i];
}

static void touch_b(arg_b bytes) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < bytes.size; i++)
    sum += ((const unsigned char *)bytes.start)[i];
  sink += sum;
}

#define A(kind, name) touch_##kind(a->name);
#define OP(name, arguments)                                                                                  \
  int op_##name(const struct name##_args *a) {                                                               \
    (void)a;                                                                                                 \
    arguments return 0;                                                                                      \
  }
PLAN_OPS(OP, A)
#undef OP
#undef A

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
