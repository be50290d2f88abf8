// SPDX-License-Identifier: Apache-2.0
// A containerd shim that does nothing: what `ctr` takes with it is containerd's own part.
//
// `start` binds a socket, forks and prints its address, as ours does. The child answers every method of the
// Task service at once. A process has ended as soon as it is started; one of a container whose id ends in
// "-on" goes on until Kill, unless it is one of exec. Nothing is checked: this is for tests/perf/shim.py
// only.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 10, MOST = 64, LARGEST = 1 << 16 };

struct text {
  const unsigned char *at;
  size_t size;
};

// Of one process: the last of each container, and of each exec.
struct process {
  char key[256], out[256], err[256];
  int ended;
};

static struct process processes[MOST];
static int process_count;
static struct {
  int connection;
  uint32_t stream;
  struct process *process;
} waiting[MOST];
static int waiting_count;
static char address[108];

// ---- protobuf ----

static uint64_t varint(struct text *text) {
  uint64_t value = 0;
  for (int shift = 0; text->size > 0; shift += 7) {
    unsigned char byte = *text->at++;
    text->size--;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80)
      break;
  }
  return value;
}

// The last field of this number, of type bytes; empty if there is none.
static struct text field(struct text message, unsigned wanted) {
  struct text found = {NULL, 0};
  while (message.size > 0) {
    uint64_t tag = varint(&message);
    if ((tag & 7) != 2) {
      varint(&message);
      continue;
    }
    size_t size = varint(&message);
    if (size > message.size)
      exit(1);
    if (tag >> 3 == wanted)
      found = (struct text){message.at, size};
    message.at += size, message.size -= size;
  }
  return found;
}

static size_t put_varint(unsigned char *to, uint64_t value) {
  size_t size = 0;
  for (; value > 0x7f; value >>= 7)
    to[size++] = (unsigned char)(value | 0x80);
  to[size++] = (unsigned char)value;
  return size;
}

static size_t put_number(unsigned char *to, unsigned number, uint64_t value) {
  size_t size = put_varint(to, number << 3);
  return size + put_varint(to + size, value);
}

static size_t put_bytes(unsigned char *to, unsigned number, const unsigned char *from, size_t length) {
  size_t size = put_varint(to, number << 3 | 2);
  size += put_varint(to + size, length);
  memcpy(to + size, from, length);
  return size + length;
}

// {seconds} as this field.
static size_t put_now(unsigned char *to, unsigned number) {
  unsigned char stamp[16];
  size_t size = put_number(stamp, 1, (uint64_t)time(NULL));
  return put_bytes(to, number, stamp, size);
}

// ---- the service ----

static int is(struct text text, const char *word) {
  return text.size == strlen(word) && memcmp(text.at, word, text.size) == 0;
}

static void copy(char *to, struct text text) {
  snprintf(to, 256, "%.*s", (int)text.size, (const char *)text.at);
}

static struct process *process_of(struct text request, unsigned exec_id) {
  char id[128], key[256];
  struct text container = field(request, 1), process = field(request, exec_id);
  snprintf(id, sizeof id, "%.*s", (int)container.size, (const char *)container.at);
  snprintf(key, sizeof key, "%.100s/%.*s", id, (int)(process.size < 100 ? process.size : 100),
           (const char *)process.at);
  for (int i = 0; i < process_count; i++)
    if (strcmp(processes[i].key, key) == 0)
      return &processes[i];
  struct process *made = &processes[process_count < MOST ? process_count++ : MOST - 1];
  memset(made, 0, sizeof *made);
  strcpy(made->key, key);
  return made;
}

static void answer(int connection, uint32_t stream, const unsigned char *payload, size_t size) {
  unsigned char frame[256] = {0}, *body = frame + HEADER;
  size_t length = put_bytes(body, 2, payload, size);
  uint32_t numbers[2] = {htonl((uint32_t)length), htonl(stream)};
  memcpy(frame, numbers, sizeof numbers);
  frame[8] = 2;
  if (write(connection, frame, HEADER + length) < 0)
    exit(1);
}

static void answer_wait(int connection, uint32_t stream) {
  unsigned char payload[64];
  answer(connection, stream, payload, put_now(payload, 2));
}

static void end(struct process *process) {
  process->ended = 1;
  for (int i = 0; i < waiting_count;) {
    if (waiting[i].process != process) {
      i++;
      continue;
    }
    answer_wait(waiting[i].connection, waiting[i].stream);
    waiting[i] = waiting[--waiting_count];
  }
}

// The reader of a fifo sees its end.
static void touch(const char *path) {
  int file = *path ? open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC) : -1;
  if (file >= 0)
    close(file);
}

static void handle(int connection, uint32_t stream, struct text message) {
  struct text method = field(message, 2), request = field(message, 3);
  unsigned char payload[256];
  size_t size = 0;
  if (is(method, "Create")) {
    struct process *process = process_of(request, 99);
    copy(process->out, field(request, 6)), copy(process->err, field(request, 7));
    size = put_number(payload, 1, (uint64_t)getpid());
  } else if (is(method, "Exec")) {
    struct process *process = process_of(request, 2);
    process->ended = 0;
    copy(process->out, field(request, 5)), copy(process->err, field(request, 6));
  } else if (is(method, "Start")) {
    struct process *process = process_of(request, 2);
    size = put_number(payload, 1, (uint64_t)getpid());
    answer(connection, stream, payload, size);
    if (!strstr(process->key, "-on/") || process->key[strlen(process->key) - 1] != '/') {
      touch(process->out), touch(process->err);
      end(process);
    }
    return;
  } else if (is(method, "Wait")) {
    struct process *process = process_of(request, 2);
    if (process->ended || waiting_count == MOST) {
      answer_wait(connection, stream);
    } else {
      waiting[waiting_count].connection = connection;
      waiting[waiting_count].stream = stream;
      waiting[waiting_count++].process = process;
    }
    return;
  } else if (is(method, "State")) {
    struct process *process = process_of(request, 2);
    size = put_number(payload, 3, (uint64_t)getpid());
    size += put_number(payload + size, 4, process->ended ? 3 : 2);
  } else if (is(method, "Kill")) {
    end(process_of(request, 2));
  } else if (is(method, "Delete")) {
    size = put_number(payload, 1, (uint64_t)getpid());
    size += put_now(payload + size, 3);
  } else if (is(method, "Connect")) {
    size = put_number(payload, 1, (uint64_t)getpid());
    size += put_number(payload + size, 2, (uint64_t)getpid());
  }
  answer(connection, stream, payload, size);
  if (is(method, "Shutdown")) {
    unlink(address);
    exit(0);
  }
}

static int read_whole(int connection, unsigned char *to, size_t size) {
  for (size_t done = 0; done < size;) {
    ssize_t more = read(connection, to + done, size - done);
    if (more <= 0)
      return 0;
    done += (size_t)more;
  }
  return 1;
}

static _Noreturn void serve(int listener) {
  static unsigned char data[LARGEST];
  struct pollfd sources[MOST] = {{listener, POLLIN, 0}};
  int count = 1;
  for (;;) {
    if (poll(sources, (nfds_t)count, -1) < 0)
      exit(1);
    if (sources[0].revents && count < MOST)
      sources[count++] = (struct pollfd){accept4(listener, NULL, NULL, SOCK_CLOEXEC), POLLIN, 0};
    for (int i = 1; i < count; i++) {
      unsigned char head[HEADER];
      uint32_t numbers[2];
      if (!sources[i].revents)
        continue;
      if (!read_whole(sources[i].fd, head, HEADER)) {
        close(sources[i].fd);
        sources[i--] = sources[--count];
        continue;
      }
      memcpy(numbers, head, sizeof numbers);
      uint32_t size = ntohl(numbers[0]);
      if (size > LARGEST || !read_whole(sources[i].fd, data, size))
        exit(1);
      handle(sources[i].fd, ntohl(numbers[1]), (struct text){data, size});
    }
  }
}

// ---- the command ----

static void start(const char *id) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  snprintf(address, sizeof address, "/run/containerd/s/nothing-%.60s", id);
  strcpy(name.sun_path, address);
  unlink(address);
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 16) != 0)
    exit(1);
  FILE *file = fopen("address", "w");
  if (!file || fprintf(file, "unix://%s", address) < 0 || fclose(file) != 0)
    exit(1);
  pid_t pid = fork();
  if (pid == 0) {
    setsid();
    int nothing = open("/dev/null", O_RDWR);
    dup2(nothing, 0), dup2(nothing, 1), dup2(nothing, 2);
    serve(listener);
  }
  printf("unix://%s", address);
  exit(pid < 0 || fflush(stdout) != 0);
}

int main(int argc, char **argv) {
  const char *id = "";
  for (int i = 1; i + 1 < argc; i++)
    if (strcmp(argv[i], "-id") == 0)
      id = argv[i + 1];
  const char *action = argc > 1 ? argv[argc - 1] : "";
  if (strcmp(action, "start") == 0)
    start(id);
  unsigned char payload[64];
  size_t size = strcmp(action, "delete") == 0 ? put_now(payload, 3) : 0;
  return fwrite(payload, 1, size, stdout) != size;
}
