// SPDX-License-Identifier: Apache-2.0
// An executable that begins where Python's start has ended. Linked with a static CPython by build.py.
//
// Built, it is called once to freeze: it starts Python, imports what verbs need, and writes the memory of
// Python into a copy of its own file. The copy, when it is called, finds that memory in place, at the same
// addresses. Only Python's side is kept: its objects come from the array below, while libc starts as in every
// program, so its state is never that of the build.

#define _GNU_SOURCE
#define Py_BUILD_CORE
#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <internal/pycore_pystate.h>
#include <internal/pycore_runtime.h>
#if PY_VERSION_HEX >= 0x030E0000
#include <internal/pycore_tstate.h>
#endif
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heap.h"
#include "snapshot.h"

#define MOST_STACK (4UL << 20)
#define PRETENDED_PID 4194305  // one more than the largest that the kernel gives (PID_MAX_LIMIT)

struct range {
  char *start, *end;
};
extern const struct range snapshot_ranges[];  // generated: what is written into the copy; ends with NULL
extern const struct _inittab snapshot_modules[];
struct function {
  const char *name;
  void *address;
};
extern const char snapshot_library[];  // generated: its name for dlopen; "" if none has been linked in
extern const struct function snapshot_functions[];  // likewise; ends with NULL

static PyObject *entry;  // boot.enter
static PyThreadState *thread;

// ---- Python's allocators ----

static void *block_malloc(void *context, size_t size) { return (void)context, snapshot_malloc(size); }
static void *block_calloc(void *context, size_t count, size_t size) {
  return (void)context, snapshot_calloc(count, size);
}
static void *block_realloc(void *context, void *block, size_t size) {
  return (void)context, snapshot_realloc(block, size);
}
static void block_free(void *context, void *block) { (void)context, snapshot_free(block); }
static void *raw_malloc(void *context, size_t size) { return (void)context, heap_raw_malloc(size); }
static void *raw_calloc(void *context, size_t count, size_t size) {
  return (void)context, heap_raw_calloc(count, size);
}
static void *raw_realloc(void *context, void *block, size_t size) {
  return (void)context, heap_raw_realloc(block, size);
}
static void arena_free(void *context, void *block, size_t size) {
  (void)context, (void)size, snapshot_free(block);
}

// Python's own allocator of small objects keeps pools for each size: a call would write to a page of each.
static void use_one_heap(void) {
  PyMemAllocatorEx blocks = {NULL, block_malloc, block_calloc, block_realloc, block_free};
  PyMemAllocatorEx raw = {NULL, raw_malloc, raw_calloc, raw_realloc, block_free};
  PyObjectArenaAllocator arenas = {NULL, block_malloc, arena_free};
  PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &raw);
  PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &blocks);
  PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &blocks);
  PyObject_SetArenaAllocator(&arenas);
}

// ---- what a static program can't do ----

// A library that has been linked in can be loaded all the same: those of its functions that are used.
void *snapshot_dlopen(const char *path, int flags) {
  (void)flags;
  return path && strcmp(path, snapshot_library) == 0 ? (void *)(uintptr_t)snapshot_functions : NULL;
}
void *snapshot_dlsym(void *library, const char *name) {
  for (const struct function *one = library; one && one->name; one++)
    if (strcmp(one->name, name) == 0)
      return one->address;
  return NULL;
}
char *snapshot_dlerror(void) { return "this program is static: it can't load a library"; }
int snapshot_dlclose(void *library) { return (void)library, 0; }

// cffi keeps errno in a thread-local variable of its own. Nobody asks for it (our C functions return it), so
// that one place in ordinary memory is enough for all threads.
char snapshot_storage[64] __attribute__((aligned(16)));
void *snapshot_tls(const size_t *place) { return snapshot_storage + place[1]; }

#ifdef __aarch64__
// The same for aarch64, where a thread-local variable has a descriptor: this function, and the place. It is
// called with the descriptor's address in x0, answers there with the distance from the thread pointer, and
// must leave all other registers as they are.
__asm__(".text\n"
        ".globl snapshot_descriptor\n"
        ".type snapshot_descriptor, %function\n"
        "snapshot_descriptor:\n"
        "  str x1, [sp, #-16]!\n"
        "  ldr x0, [x0, #8]\n"
        "  mrs x1, tpidr_el0\n"
        "  sub x0, x0, x1\n"
        "  ldr x1, [sp], #16\n"
        "  ret\n"
        ".size snapshot_descriptor, . - snapshot_descriptor\n");
#endif

// libc's number of the thread is an address, other in each build, and that of Python's objects depends on its
// size.
pthread_t snapshot_self(void) { return snapshot_is_frozen ? pthread_self() : 1; }
// Nor must it be seen whether the build's number is a small one, of which Python has the object already.
pid_t snapshot_getpid(void) { return snapshot_is_frozen ? getpid() : PRETENDED_PID; }
int snapshot_getattr(pthread_t thread, pthread_attr_t *attributes) {
  (void)thread;
  return pthread_getattr_np(pthread_self(), attributes);
}

// ---- freeze ----

_Noreturn void snapshot_fail(const char *what) {
  if (PyErr_Occurred())
    PyErr_Print();
  fprintf(stderr, "ociruntime: snapshot: %s\n", what);
  _exit(1);
}

static void check(PyStatus status) {
  if (PyStatus_Exception(status))
    snapshot_fail(status.err_msg ? status.err_msg : "Python does not start");
}

static void write_at(int file, const char *from, size_t size, off_t where) {
  while (size > 0) {
    ssize_t done = pwrite(file, from, size, where);
    if (done <= 0)
      snapshot_fail("the copy can't be written");
    from += done, where += done, size -= (size_t)done;
  }
}

static void read_at(int file, void *to, size_t size, off_t where) {
  if (pread(file, to, size, where) != (ssize_t)size)
    snapshot_fail("the program's file can't be read");
}

// Put a range of memory where the program headers say that it comes from. The array is at the end of its
// segment, and of the file: its unused part is cut off, and so becomes memory that the kernel zeroes.
static void write_range(int file, const ElfW(Ehdr) * head, const struct range *range, size_t kept) {
  for (int i = 0; i < head->e_phnum; i++) {
    ElfW(Phdr) part;
    off_t where = (off_t)(head->e_phoff + (size_t)i * sizeof part);
    read_at(file, &part, sizeof part, where);
    char *begin = (char *)part.p_vaddr, *end = begin + part.p_filesz;
    if (part.p_type != PT_LOAD || range->start < begin || range->end > end)
      continue;
    char *last = range->end;
    if (heap_array >= begin && heap_array < end) {
      last = heap_array + kept;
      part.p_filesz = (size_t)(last - begin);
      part.p_memsz = part.p_filesz + heap_spare();
      write_at(file, (char *)&part, sizeof part, where);
      if (ftruncate(file, (off_t)(part.p_offset + part.p_filesz)) != 0)
        snapshot_fail("the copy can't be cut");
    }
    write_at(file, range->start, (size_t)(last - range->start),
             (off_t)(part.p_offset + (size_t)(range->start - begin)));
    return;
  }
  snapshot_fail("a part of Python's memory is not in the file");
}

static void write_copy(const char *target, size_t kept) {
  char buffer[1 << 16];
  int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  int copy = open(target, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
  if (self < 0 || copy < 0)
    snapshot_fail("the copy can't be made");
  off_t where = 0;
  for (ssize_t size; (size = read(self, buffer, sizeof buffer)) > 0; where += size)
    write_at(copy, buffer, (size_t)size, where);
  ElfW(Ehdr) head;
  read_at(copy, &head, sizeof head, 0);
  head.e_shoff = head.e_shnum = head.e_shstrndx = 0;  // the sections' table is in what is cut off
  write_at(copy, (char *)&head, sizeof head, 0);
  for (const struct range *range = snapshot_ranges; range->start; range++)
    write_range(copy, &head, range, kept);
  if (close(copy) != 0)
    snapshot_fail("the copy can't be written");
}

// ---- begin ----

// libc gives the numbers of keys anew, from 0. One that has been made already stands for itself.
static void restore_key(Py_tss_t *key, void *value) {
  static pthread_key_t next;
  pthread_key_t wanted = (pthread_key_t)key->_key;
  for (pthread_key_t made; key->_is_initialized && next <= wanted; next = made + 1)
    if (pthread_key_create(&made, NULL) != 0)
      snapshot_fail("no thread-specific key");
  if (key->_is_initialized && PyThread_tss_set(key, value) != 0)
    snapshot_fail("no thread-specific value");
}

// 3.14 keeps the bounds of the stack in the thread, to see a recursion that is too deep. Arguments and
// environment take a quarter of the limit at most, above this function.
static void restore_stack_bounds(void) {
#if PY_VERSION_HEX >= 0x030E0000
  struct rlimit limit;
  rlim_t size = getrlimit(RLIMIT_STACK, &limit) == 0 ? limit.rlim_cur : 0;
  size = size > MOST_STACK ? MOST_STACK : size / 8 * 5;
  char *here = (char *)__builtin_frame_address(0);
  if (PyUnstable_ThreadState_SetStackProtection(thread, here - size, size) != 0)
    snapshot_fail("the limit of the stack is too small");
#endif
}

static void restore_thread(void) {
#if PY_VERSION_HEX < 0x030C0000
  restore_key(&_PyRuntime.gilstate.autoTSSkey, thread);
#else
  restore_key(&_PyRuntime.autoTSSkey, thread);
  restore_key(&_PyRuntime.trashTSSkey, NULL);
  _Py_tss_tstate = thread;
#endif
  thread->thread_id = PyThread_get_thread_ident();
  thread->native_thread_id = PyThread_get_thread_native_id();
  _PyRuntime.main_thread = thread->thread_id;
  restore_stack_bounds();
}

// The signals that the caller ignores, and SIGPIPE and SIGXFSZ as Python wants them.
static uint64_t restore_signals(void) {
  uint64_t ignored = 0;
  for (int number = 1; number < NSIG; number++) {
    struct sigaction action;
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
      ignored |= 1UL << number;
  }
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  return ignored;
}

static PyObject *environment(void) {
  PyObject *all = PyList_New(0);
  for (char **line = environ; all && *line; line++) {
    PyObject *one = PyBytes_FromString(*line);
    if (!one || PyList_Append(all, one) < 0)
      return NULL;
    Py_DECREF(one);
  }
  return all;
}

// The command, in Python; returns its exit code.
static int call(int argc, char **argv) {
  uint64_t ignored = restore_signals();
  PyObject *words = PyList_New(argc);
  for (int i = 0; words && i < argc; i++)
    PyList_SET_ITEM(words, i, PyUnicode_DecodeFSDefault(argv[i]));
  PyObject *variables = environment();
  PyObject *status = words && variables
                         ? PyObject_CallFunction(entry, "OOK", words, variables, (unsigned long long)ignored)
                         : NULL;
  if (!status)
    snapshot_fail("internal error");
  return (int)PyLong_AsLong(status);
}

// ---- freeze, as a whole ----

// Python looks at what its standard streams are, and makes other objects for a pipe than for a file: always
// show it the same.
static void start_python(PyConfig *config) {
  int nothing = open("/dev/null", O_RDWR | O_CLOEXEC), kept[3];
  for (int number = 0; number < 3; number++) {
    kept[number] = fcntl(number, F_DUPFD_CLOEXEC, 3);
    if (kept[number] < 0 || dup2(nothing, number) < 0)
      snapshot_fail("the build needs open standard streams");
  }
  PyStatus status = Py_InitializeFromConfig(config);
  for (int number = 0; number < 3; number++) {
    dup2(kept[number], number);
    close(kept[number]);
  }
  close(nothing);
  check(status);
}

// argv: OUTPUT ORDER SEED PYTHON PREFIX STDLIB LAUNCHER SCRATCH DIRECTORY... (of sys.path)
static void freeze(int argc, char **argv) {
  if (argc < 10)
    snapshot_fail("this file is a part of the build: python -m ociruntime.cli.snapshot makes the command");
  for (int number = 1; number < 32; number++)
    signal(number, SIG_DFL);  // not what the build's caller ignores
  int is_trial = !*argv[1];
  const char *wrong = is_trial ? heap_begin_trial() : heap_begin(argv[2]);
  if (wrong)
    snapshot_fail(wrong);
  use_one_heap();
  PyPreConfig early;
  PyPreConfig_InitIsolatedConfig(&early);
  early.utf8_mode = 1;
  check(Py_PreInitialize(&early));
  if (PyImport_ExtendInittab((struct _inittab *)snapshot_modules) < 0)
    snapshot_fail("out of memory");
  PyConfig config;
  PyConfig_InitIsolatedConfig(&config);
  config.site_import = 0;
  config.use_frozen_modules = 0;  // those are variables of the program: their order can't be chosen
  // What nobody asks a snapshot for would still be a part of it: docstrings (asserts, which are for the type
  // checker, go with them), and columns for tracebacks whose sources are not there.
  config.optimization_level = 2;
  config.code_debug_ranges = 0;
  config.install_signal_handlers = 1;
  config.use_hash_seed = 1;
  config.hash_seed = strtoul(argv[3], NULL, 10);
  check(PyConfig_SetBytesString(&config, &config.executable, argv[4]));
  check(PyConfig_SetBytesString(&config, &config.program_name, argv[4]));
  check(PyConfig_SetBytesString(&config, &config.prefix, argv[5]));
  check(PyConfig_SetBytesString(&config, &config.exec_prefix, argv[5]));
  check(PyConfig_SetBytesString(&config, &config.base_prefix, argv[5]));
  check(PyConfig_SetBytesString(&config, &config.base_exec_prefix, argv[5]));
  check(PyConfig_SetBytesString(&config, &config.stdlib_dir, argv[6]));
  // Bytecode of the build only (see _freeze in build.py).
  check(PyConfig_SetBytesString(&config, &config.pycache_prefix, "bytecode"));
  config.module_search_paths_set = 1;
  for (int i = 9; i < argc; i++) {
    wchar_t *path = Py_DecodeLocale(argv[i], NULL);
    if (!path)
      snapshot_fail("a path can't be decoded");
    check(PyWideStringList_Append(&config.module_search_paths, path));
  }
  start_python(&config);
  PyConfig_Clear(&config);
  PyObject *boot = PyImport_ImportModule("ociruntime.cli.snapshot.boot");
  entry = boot ? PyObject_CallMethod(boot, "prepare", "ss", argv[7], argv[8]) : NULL;
  if (!entry)
    snapshot_fail("the modules can't be prepared");
  snapshot_immortal();
  size_t kept = heap_freeze();
  if (!kept)
    snapshot_fail("the array is too small");
  thread = PyThreadState_Get();
  if (is_trial) {
    thread->thread_id = _PyRuntime.main_thread = PyThread_get_thread_ident();  // see snapshot_self
    _exit(heap_trial(argv[2], call));
  }
  // The stack of Python's frames, above what is in use.
  memset(thread->datastack_top, 0, (size_t)((char *)thread->datastack_limit - (char *)thread->datastack_top));
  // Of this process only; the copy has its own. Two builds shall give the same bytes.
  thread->thread_id = thread->native_thread_id = _PyRuntime.main_thread = 0;
#if PY_VERSION_HEX >= 0x030E0000
  PyUnstable_ThreadState_SetStackProtection(thread, (void *)PAGE, MOST_STACK);
  ((_PyThreadStateImpl *)thread)->c_stack_init_base = ((_PyThreadStateImpl *)thread)->c_stack_init_top = 0;
#endif
  snapshot_is_frozen = 1;
  char rest[4096];
  snprintf(rest, sizeof rest, "%s.rest", argv[2]);
  if (!heap_tell(rest))
    snapshot_fail("what has no place in the order can't be told");
  write_copy(argv[1], kept);
  _exit(0);
}

int main(int argc, char **argv) {
  if (!snapshot_is_frozen)
    freeze(argc, argv);
  restore_thread();
  _exit(call(argc, argv));  // as the launcher: to tear everything down would cost time, and all is written
}
