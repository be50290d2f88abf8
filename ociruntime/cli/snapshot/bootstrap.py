# SPDX-License-Identifier: Apache-2.0
"""What takes the place of the modules that are frozen in CPython 3.11? The same code, as bytes that become objects of the heap.

In 3.11 the frozen modules are C variables, strings and code objects ready to be used, and Python interns all their strings at
its start. So the only copy of "state" or "names" is in one of them, where its place can't be chosen, and each call would write
to some 40 pages of theirs (order.py). Python can't start without the import system; everything else is imported from its
file. Used by build.py, never at run time.
"""

from __future__ import annotations

import _imp
import marshal

_MODULES = ("_frozen_importlib", "_frozen_importlib_external", "zipimport")

# The names of frozen.c and deepfreeze.c in CPython 3.11: with them defined, the linker does not take those two.
_TABLES = """
static const struct _frozen none[] = {{0, 0, 0}};
const struct _frozen *_PyImport_FrozenBootstrap = bootstrap, *_PyImport_FrozenStdlib = none;
const struct _frozen *_PyImport_FrozenTest = none, *PyImport_FrozenModules = 0;
struct _module_alias { const char *name, *orig; };
static const struct _module_alias aliases[] = {
  {"_frozen_importlib", "importlib._bootstrap"},
  {"_frozen_importlib_external", "importlib._bootstrap_external"},
  {0, 0}};
const struct _module_alias *_PyImport_FrozenAliases = aliases;
int _Py_Deepfreeze_Init(void) { return 0; }
void _Py_Deepfreeze_Fini(void) {}
"""


def c_source() -> str:
    """The C source; the code is that of the interpreter that runs this."""
    lines, rows = ["#include <Python.h>"], []
    for number, name in enumerate(_MODULES):
        code = marshal.dumps(_imp.get_frozen_object(name))
        lines.append(f"static const unsigned char code{number}[] = {{{','.join(map(str, code))}}};")
        rows.append(f'  {{"{name}", code{number}, {len(code)}, 0, 0}},')
    return "\n".join([*lines, "static const struct _frozen bootstrap[] = {", *rows, "  {0, 0, 0}};", _TABLES])
