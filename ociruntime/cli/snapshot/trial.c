// SPDX-License-Identifier: Apache-2.0
// Which objects of the snapshot does a verb write to? Found out at build time, by trying.
//
// Each block of Python's memory is on pages of its own (heap.c). Each command is run in a fork: a page that
// it writes is copied by the kernel, and from then on mapped by it alone, which /proc/self/pagemap tells.
//
// order.py writes commands to our standard input, one a line, words separated by tabs, and gets a line with
// the exit code for each. Files of uint32_t in a directory: "blocks" has number and units of each block, and
// "1" and so on the numbers of the blocks that the first command and so on has written. A command reads the
// file "input", and writes "output". If it forks, as the shim does, its child adds to the same report when it
// ends.

#define _GNU_SOURCE
#include "heap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_WORDS 64
#define ALONE (1ULL << 56)  // of an entry of pagemap: the page is mapped by this process only

struct report {
  FILE *file;
  int pagemap;
};

static void note_block(const struct heap_header *header, void *context) {
  FILE *file = context;
  fwrite(&header->number, sizeof header->number, 1, file);
  fwrite(&header->units, sizeof header->units, 1, file);
}

static void note_written(const struct heap_header *header, void *context) {
  struct report *report = context;
  uintptr_t begin = (uintptr_t)header / PAGE, end = ((uintptr_t)header + header->units * 16 - 1) / PAGE;
  for (uintptr_t page = begin; page <= end; page++) {
    uint64_t entry = 0;
    if (pread(report->pagemap, &entry, sizeof entry, (off_t)(page * sizeof entry)) != sizeof entry ||
        !(entry & ALONE))
      continue;
    fwrite(&header->number, sizeof header->number, 1, report->file);
    return;
  }
}

int heap_tell(const char *path) {
  FILE *file = fopen(path, "we");
  if (!file)
    return 0;
  heap_visit(note_block, file);
  return fclose(file) == 0;
}

static FILE *open_report(const char *directory, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  return fopen(path, "we");
}

static _Noreturn void try_command(char *line, const char *directory, int count,
                                  int (*call)(int argc, char **argv)) {
  char name[16], *words[MOST_WORDS + 1], *rest = line;
  int number = 0;
  for (char *word; number < MOST_WORDS && (word = strsep(&rest, "\t")) != NULL;)
    words[number++] = word;
  words[number] = NULL;
  snprintf(name, sizeof name, "%d", count);
  struct report report = {open_report(directory, name), -1};
  FILE *output = open_report(directory, "output");
  char path[4096];
  snprintf(path, sizeof path, "%s/input", directory);
  int input = open(path, O_RDONLY | O_CLOEXEC);
  if (!report.file || !output || input < 0)
    _exit(125);
  dup2(input, 0), dup2(fileno(output), 1), dup2(fileno(output), 2);
  int code = call(number, words);
  report.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);  // of the child, if this is one
  if (report.pagemap < 0)
    _exit(125);
  heap_visit(note_written, &report);
  _exit(fclose(report.file) == 0 ? code : 125);
}

int heap_trial(const char *directory, int (*call)(int argc, char **argv)) {
  char path[4096];
  snprintf(path, sizeof path, "%s/blocks", directory);
  if (!heap_tell(path))
    return 1;
  char line[1 << 16];
  for (int count = 1; fgets(line, sizeof line, stdin); count++) {
    line[strcspn(line, "\n")] = 0;
    fflush(stdout);
    int status = 0;
    pid_t child = fork();
    if (child == 0)
      try_command(line, directory, count, call);
    if (child < 0 || waitpid(child, &status, 0) != child)
      return 1;
    printf("%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    fflush(stdout);
  }
  return 0;
}
