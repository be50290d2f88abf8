# SPDX-License-Identifier: Apache-2.0
"""What does a module in a snapshot say of its file? `<snapshot>/ociruntime/cli/__init__.py`, not where the build found it.

The build's directory means nothing where a wheel is installed, and two builds shall give the same bytes. Python text only:
a shared object could not be loaded. Used while a snapshot is frozen.
"""

from __future__ import annotations

import _imp
import importlib.machinery
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

NAME = "<snapshot>"
_top = ""


class Loader(importlib.machinery.SourceFileLoader):
    """Gives a module the name that it has in the snapshot."""

    def get_code(self, fullname: str) -> CodeType | None:
        """From the cache of bytecode if there is one: to compile needs 2 MB, which would stay in the snapshot as holes."""
        path = self.get_filename(fullname)
        code = super().get_code(fullname)
        if code is not None and path.startswith(_top + "/"):
            # What the import system itself does with bytecode whose source has been moved.
            _imp._fix_co_filename(code, NAME + path.removeprefix(_top))  # type: ignore[attr-defined]
        return code

    def exec_module(self, module: Any) -> None:
        """The module itself says the same."""
        path = self.get_filename(module.__name__)
        if path.startswith(_top + "/"):
            module.__file__ = module.__spec__.origin = NAME + path.removeprefix(_top)
        super().exec_module(module)


def hide_places(package: str) -> None:
    """From now on; and what has been loaded of the package will be loaded anew.

    package  its directory
    """
    global _top
    _top = package.rpartition("/")[0]
    sys.path_hooks[:] = [importlib.machinery.FileFinder.path_hook((Loader, [".py"]))]
    sys.path_importer_cache.clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "ociruntime"]:
        if name != __name__:
            del sys.modules[name]
