# SPDX-License-Identifier: Apache-2.0
"""Which sources does one build of the snapshot write for itself? C tables of what is linked in, and the linker's layout.

Used by build.py.
"""

from __future__ import annotations

import sys

from ociruntime.linux.seccomp_compiler import LIBRARY
from ociruntime.native._seccomp import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.snapshot.image import Image

COPY = "libsnapshotpython.a"  # the interpreter's archive with other names in it
# In sys.builtin_module_names, but no verb needs them: the first four need further libraries, the others are large.
_UNUSED = {
    "binascii", "zlib", "pyexpat", "_elementtree",
    "_csv", "_md5", "_pickle", "_random", "_sha1", "_sha2", "_sha256", "_sha3", "_sha512", "_statistics", "array", "cmath",
    "unicodedata",
}  # fmt: skip
_ODD_NAMES = {"marshal": "PyMarshal_Init", "_warnings": "_PyWarnings_Init", "builtins": "", "sys": ""}


def config(left_out: set[str]) -> str:
    """The interpreter's own table of built-in modules, without those that need further libraries."""
    names = [name for name in sys.builtin_module_names if name not in _UNUSED | left_out]
    functions = {name: _ODD_NAMES.get(name, f"PyInit_{name}") for name in names}
    return "\n".join(
        [
            "#include <Python.h>",
            *(f"PyObject *{function}(void);" for function in functions.values() if function),
            "struct _inittab _PyImport_Inittab[] = {",
            *(f'  {{"{name}", {function or "NULL"}}},' for name, function in functions.items()),
            "  {NULL, NULL}};",
            "",
        ]
    )


def table(images: list[tuple[str, Image]]) -> str:
    """The modules that come from shared objects, and the ranges of memory that are kept."""
    symbols = [image.name for _, image in images]
    inits = [
        f'  {{"{module}", (PyObject *(*)(void))({image.name} + {image.init_function(module)})}},'
        for module, image in images
    ]
    ranges = [
        f"  {{{image.name} + {begin}, {image.name} + {end}}},"
        for _, image in images
        for begin, end in image.ranges()
    ]
    return "\n".join(
        [
            "#include <Python.h>",
            "struct range { char *start, *end; };",
            "extern char snapshot_start[], snapshot_end[];",
            *(f"extern char {symbol}[];" for symbol in symbols),
            "const struct _inittab snapshot_modules[] = {",
            *inits,
            "  {NULL, NULL}};",
            "const struct range snapshot_ranges[] = {",
            "  {snapshot_start, snapshot_end},",
            *ranges,
            "  {NULL, NULL}};",
            "",
        ]
    )


def library(seccomp: str) -> str:
    """What dlopen and dlsym find in the program: libseccomp, if it is linked in, with the functions that cffi's interface names."""
    names = dir(ffi.dlopen(None)) if seccomp else []
    return "\n".join(
        [
            "struct function { const char *name; void *address; };",
            *(f"extern char {name}[];" for name in names),
            f'const char snapshot_library[] = "{LIBRARY if seccomp else ""}";',
            "const struct function snapshot_functions[] = {",
            *(f'  {{"{name}", {name}}},' for name in names),
            "  {0, 0}};",
            "",
        ]
    )


def layout(images: list[tuple[str, Image]]) -> str:
    """What the linker does otherwise than always.

    Python's variables come first and apart from libc's. The last byte makes the section one that is in the file.
    """
    ours = f"*{COPY}:*", "*snapshot.c.o", "*heap.c.o", "*config.c.o", "*bootstrap.c.o"
    data = " ".join(f"{file}(.data .data.* .PyRuntime .bss .bss.* COMMON)" for file in ours)
    return "\n".join(
        [
            "SECTIONS",
            "{",
            *(image.placement() for _, image in images),
            "  .snapshot ALIGN(CONSTANT(MAXPAGESIZE)) : {",
            "    snapshot_start = .;",
            f"    {data}",
            "    . = ALIGN(CONSTANT(MAXPAGESIZE));",
            "    *heap.c.o(.array)",
            "    BYTE(0)",
            "    snapshot_end = .;",
            "  }",
            "}",
            "INSERT AFTER .bss;",
            "",
        ]
    )
