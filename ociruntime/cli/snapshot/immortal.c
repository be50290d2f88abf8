// SPDX-License-Identifier: Apache-2.0
// Which objects of the snapshot need no count of references? All of them: they are never freed.
//
// Every use of an object writes its count, and the page with it is copied. Since 3.12 an object can have a
// count that is not written. Called once, at the freeze, when no Python code runs.

#define _GNU_SOURCE
#define Py_BUILD_CORE
#include <Python.h>
#include <internal/pycore_object.h>
#include <stdint.h>
#include <stdlib.h>

#include "snapshot.h"

#if PY_VERSION_HEX < 0x030C0000
void snapshot_immortal(void) {}  // its objects all have a count that is written
#else

// Those that have been seen, in a table with open addresses, and those of them that have not been followed
// yet. libc's memory: it is not kept.
static struct {
  PyObject **table, **pending;
  size_t size, seen, waiting;
} all;

static size_t place_of(PyObject *object) {
  size_t place = ((uintptr_t)object >> 4) * 0x9E3779B97F4A7C15U & (all.size - 1);
  while (all.table[place] && all.table[place] != object)
    place = (place + 1) & (all.size - 1);
  return place;
}

static int visit(PyObject *object, void *unused) {
  (void)unused;
  if (!object)
    return 0;
  size_t place = place_of(object);
  if (all.table[place])
    return 0;
  if (++all.seen > all.size / 2)
    snapshot_fail("more objects than expected");
  all.table[place] = object;
  all.pending[all.waiting++] = object;
  return 0;
}

// What a type that is not on the heap refers to; its tp_traverse refuses it.
static void visit_static_type(PyTypeObject *type) {
  PyObject *names = PyType_GetDict(type);
  visit(names, NULL);
  Py_XDECREF(names);
  visit(type->tp_mro, NULL);
  visit(type->tp_bases, NULL);
  visit((PyObject *)type->tp_base, NULL);
}

// Code objects are not known to the garbage collector, and so can't be traversed.
static void visit_code(PyCodeObject *code) {
  PyObject *const parts[] = {code->co_consts,          code->co_names,    code->co_exceptiontable,
                             code->co_localsplusnames, code->co_filename, code->co_name,
                             code->co_qualname,        code->co_linetable};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    visit(parts[i], NULL);
}

static void follow(PyObject *object) {
  visit((PyObject *)Py_TYPE(object), NULL);
  if (PyType_Check(object) && !PyType_HasFeature((PyTypeObject *)object, Py_TPFLAGS_HEAPTYPE)) {
    visit_static_type((PyTypeObject *)object);
    return;
  }
  if (PyCode_Check(object))
    visit_code((PyCodeObject *)object);
  if (PyDict_Check(object)) {  // its tp_traverse leaves out keys that are strings
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &value);)
      visit(key, NULL);
  }
  if (PyObject_IS_GC(object) && Py_TYPE(object)->tp_traverse)
    Py_TYPE(object)->tp_traverse(object, visit, NULL);
}

static void make_immortal(PyObject *object) {
#if PY_VERSION_HEX < 0x030D0000
  object->ob_refcnt = _Py_IMMORTAL_REFCNT;
#else
  _Py_SetImmortalUntracked(object);
#endif
}

void snapshot_immortal(void) {
  all.size = 1 << 20;
  all.table = calloc(all.size, sizeof *all.table);
  all.pending = calloc(all.size / 2, sizeof *all.pending);
  if (!all.table || !all.pending)
    snapshot_fail("out of memory");
  PyObject *collector = PyImport_ImportModule("gc");
  PyObject *nothing = collector ? PyObject_CallMethod(collector, "unfreeze", NULL) : NULL;
  PyObject *tracked = nothing ? PyObject_CallMethod(collector, "get_objects", NULL) : NULL;
  if (!tracked)
    snapshot_fail("the objects can't be listed");
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(tracked); i++)
    visit(PyList_GET_ITEM(tracked, i), NULL);
  while (all.waiting)
    follow(all.pending[--all.waiting]);
  Py_DECREF(tracked);
  for (size_t i = 0; i < all.size; i++)
    if (all.table[i])
      make_immortal(all.table[i]);
  free(all.table);
  free(all.pending);
  Py_XDECREF(PyObject_CallMethod(collector, "freeze", NULL));
}
#endif
