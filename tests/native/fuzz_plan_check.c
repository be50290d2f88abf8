// SPDX-License-Identifier: Apache-2.0
//
// Does plan_check hold? Mutates real plans and makes up random ones; whatever plan_check accepts is
// obeyed as init would obey it (obey_plan.h), under AddressSanitizer and UBSan.
//
//   fuzz_plan_check CORPUS CASES SEED [ONLY]
//
// CORPUS is a file of plans, each after its size (32 bits, little endian). The same seed makes the
// same cases; ONLY is the number of one case, written to stdout instead of tried.

#include "obey_plan.h"

#include <stdio.h>

#define MAX_PLANS 256
#define MAX_SIZE 65536
#define MUTATIONS 4

static struct {
  uint32_t size;
  unsigned char *bytes;
} plans[MAX_PLANS];
static uint32_t plan_count;

static uint64_t state;

static uint64_t next(void) {  // xorshift64*
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545f4914f6cdd1dull;
}

static uint32_t below(uint32_t limit) { return limit ? (uint32_t)((next() >> 32) % limit) : 0; }

static void read_corpus(const char *path) {
  FILE *file = fopen(path, "rb");
  uint32_t size;
  while (file && plan_count < MAX_PLANS && fread(&size, sizeof size, 1, file) == 1 && size <= MAX_SIZE) {
    plans[plan_count].size = size;
    plans[plan_count].bytes = malloc(size);
    if (fread(plans[plan_count].bytes, 1, size, file) != size)
      break;
    plan_count++;
  }
  if (!file || !plan_count) {
    fprintf(stderr, "no plans in %s\n", path);
    exit(2);
  }
  fclose(file);
}

struct buffer {
  uint32_t size;
  union {
    unsigned char bytes[MAX_SIZE + 64];
    struct plan_header header;
  };
};

static struct plan_record *record_of(struct buffer *buffer, uint32_t number) {
  return (void *)(buffer->bytes + sizeof buffer->header + number * sizeof(struct plan_record));
}

static uint32_t records_in(const struct buffer *buffer) {
  if (buffer->size < sizeof buffer->header)
    return 0;
  uint32_t room = (buffer->size - sizeof buffer->header) / sizeof(struct plan_record);
  return buffer->header.count < room ? buffer->header.count : room;
}

static uint32_t interesting(const struct buffer *buffer) {
  switch (below(9)) {
  case 0:
    return 0;
  case 1:
    return UINT32_MAX - below(9);
  case 2:
    return buffer->size - below(17);
  case 3:
    return buffer->size + below(17);
  case 4:  // where strings and lists begin
    return (uint32_t)(sizeof buffer->header + buffer->header.count * sizeof(struct plan_record)) + below(17) -
           8;
  case 5:
    return below(buffer->size + 1);
  case 6:
    return below(buffer->size + 1) & ~7u;
  case 7:
    return 1u << below(32);
  default:
    return (uint32_t)next();
  }
}

// An argument of one record is put in place of another's: offsets that are right somewhere.
static void move_argument(struct buffer *buffer, uint32_t count) {
  struct plan_record *from = record_of(buffer, below(count)), *to = record_of(buffer, below(count));
  to->args[below(PLAN_ARGS)] = from->args[below(PLAN_ARGS)] + (below(2) ? 0 : 8 * below(4));
}

static void change_record(struct buffer *buffer, uint32_t count) {
  struct plan_record *record = record_of(buffer, below(count));
  switch (below(5)) {
  case 0:
    record->op = (uint16_t)below(OP_count + 2);
    break;
  case 1:
    record->args[below(PLAN_ARGS)] = interesting(buffer);
    break;
  case 2:
    record->args[below(PLAN_ARGS)] += 8 * (1 + below(3));
    break;
  case 3:
    memcpy(record, record_of(buffer, below(count)), sizeof *record);
    break;
  default:
    move_argument(buffer, count);
  }
}

// The 64-bit words of lists: counts and offsets of elements.
static void change_word(struct buffer *buffer) {
  uint32_t data = (uint32_t)(sizeof buffer->header + records_in(buffer) * sizeof(struct plan_record));
  if (buffer->size < data + 16)
    return;
  uint32_t place = (data + below(buffer->size - data - 8)) & ~7u;
  uint64_t word = below(2) ? interesting(buffer) : next();
  memcpy(buffer->bytes + place, &word, sizeof word);
}

static void change_size(struct buffer *buffer) {
  uint32_t wanted = below(2) ? below(buffer->size + 1) : buffer->size + below(33);
  if (wanted > MAX_SIZE)
    wanted = MAX_SIZE;
  for (uint32_t i = buffer->size; i < wanted; i++)
    buffer->bytes[i] = (unsigned char)next();
  buffer->size = wanted;
  if (below(4) && buffer->size >= sizeof buffer->header)
    buffer->header.size = buffer->size;
}

static void mutate(struct buffer *buffer) {
  uint32_t count = records_in(buffer);
  switch (below(8)) {
  case 0:
    if (buffer->size)
      buffer->bytes[below(buffer->size)] ^= (unsigned char)(1u << below(8));
    break;
  case 1:
    if (buffer->size)
      buffer->bytes[below(buffer->size)] = (unsigned char)next();
    break;
  case 2:
    change_size(buffer);
    break;
  case 3:
    if (buffer->size >= sizeof buffer->header)
      ((uint32_t *)(void *)&buffer->header)[below(6)] = interesting(buffer);
    break;
  case 4:
    change_word(buffer);
    break;
  default:
    if (count)
      change_record(buffer, count);
  }
}

static void make_up(struct buffer *buffer) {
  buffer->size = below(2048);
  for (uint32_t i = 0; i < buffer->size; i++)
    buffer->bytes[i] = (unsigned char)next();
  if (buffer->size < sizeof buffer->header || below(8) == 0)
    return;
  buffer->header = (struct plan_header){PLAN_MAGIC, buffer->size, 1 + below(4), below(4), 3 + below(4), 0};
  for (uint32_t i = 0; i < records_in(buffer); i++) {
    struct plan_record *record = record_of(buffer, i);
    record->op = (uint16_t)(1 + below(OP_count - 1));
    size_t used = strlen(plan_word(TABLE_SIGNATURES, record->op));
    for (size_t argument = 0; argument < PLAN_ARGS; argument++)
      record->args[argument] = argument >= used ? 0 : below(4) ? below(buffer->size) : interesting(buffer);
  }
}

static void make_case(struct buffer *buffer) {
  if (below(10) == 0) {
    make_up(buffer);
    return;
  }
  uint32_t chosen = below(plan_count);
  buffer->size = plans[chosen].size;
  memcpy(buffer->bytes, plans[chosen].bytes, buffer->size);
  for (uint32_t i = 1 + below(MUTATIONS); i > 0; i--)
    mutate(buffer);
}

// A copy of exactly its size, so that a read behind its end is seen.
static int check_copy(const struct buffer *buffer) {
  uint32_t where = UINT32_MAX;
  void *copy = malloc(buffer->size ? buffer->size : 1);
  memcpy(copy, buffer->bytes, buffer->size);
  int refused = plan_check(copy, buffer->size, &where);
  if (where > buffer->size || (refused && refused != -1))
    abort();
  free(copy);
  return refused == 0;
}

int main(int argc, char **argv) {
  static struct buffer buffer;
  if (argc < 4)
    return 2;
  read_corpus(argv[1]);
  uint64_t cases = strtoull(argv[2], NULL, 10), seed = strtoull(argv[3], NULL, 10), accepted = 0;
  for (uint32_t i = 0; i < plan_count; i++) {
    uint32_t where;
    if (plan_check(plans[i].bytes, plans[i].size, &where) != 0)
      return 3;
    obey_copy(plans[i].bytes, plans[i].size);
  }
  uint64_t first = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
  for (uint64_t i = first; i < cases; i++) {
    state = seed * 0x9e3779b97f4a7c15ull + i + 1;  // so that one case can be made alone
    next(), next();
    make_case(&buffer);
    if (argc > 4) {
      fwrite(buffer.bytes, 1, buffer.size, stdout);
      return 0;
    }
    if (i % 1024 == 0)
      fprintf(stderr, "case %llu\n", (unsigned long long)i);
    if (check_copy(&buffer)) {
      accepted++;
      obey_copy(buffer.bytes, buffer.size);
    }
  }
  printf("%llu cases, %llu accepted\n", (unsigned long long)cases, (unsigned long long)accepted);
  return 0;
}
