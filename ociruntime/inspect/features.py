# SPDX-License-Identifier: Apache-2.0
"""What does this runtime support? The features document of the specification (features.md, features-linux.md).

Each subject has its part, `features(takes)`: lists come from its tables, and "supported" is what its check() does not
refuse, so that nothing is promised that the code doesn't do. The content is fixed by the code and not by the host (R242),
but for the version of libseccomp; what a later version will bring is `false` or an empty list, which says "known and not
supported"; a missing property would say "unknown" (R243). It is not on the path of a container: it may import any subject,
but nothing of the spine.
"""

from __future__ import annotations

from ociruntime import __version__
from ociruntime.config import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_VERSION_MIN = "1.0.0"
OCI_VERSION_MAX = "1.3.0"


def features() -> dict[str, object]:
    """The document."""
    from ociruntime.linux import COMMON, RARE, subject
    from ociruntime.native.full_python import form

    document: dict[str, Any] = {
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION_MAX,
        "hooks": [],
        "mountOptions": [],
        "linux": {},
        "annotations": {"run.ociruntime.version": __version__, "run.ociruntime.form": form},
        "potentiallyUnsafeConfigAnnotations": [],
    }
    library = libseccomp_version()
    if library:
        document["annotations"]["io.github.seccomp.libseccomp.version"] = library  # runc's name for it
    for module in map(subject, (*COMMON, *RARE)):
        if hasattr(module, "features"):
            for name, value in module.features(_Takes(module)).items():
                document[name] = {**document[name], **value} if isinstance(value, dict) else value
    return document


def libseccomp_version() -> str:
    """Of the libseccomp that this process has: "2.5.4"; "" if it has none that can be used."""
    from ociruntime.errors import StepFailed

    try:
        from ociruntime.linux.seccomp_compiler import load_library, version_text

        return version_text(load_library())
    except (ImportError, StepFailed):  # without cffi, too, `--version` is to work
        return ""


class _Takes:
    """Says whether a subject accepts a config that uses a feature."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __call__(self, **config: object) -> bool:
        return not list(self._module.check(Node(config)))
