# SPDX-License-Identifier: Apache-2.0
"""Which of gRPC's codes does an error have? containerd and its clients decide by the code, people read the text."""

from __future__ import annotations

from ociruntime.errors import (
    BundleError,
    ContainerExists,
    InvalidConfig,
    NoSuchContainer,
    NotSupported,
    RuntimeFailure,
    UsageError,
    WrongState,
)
from ociruntime.shim.messages import Malformed

UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS = 2, 3, 5, 6
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 9, 12, 13, 14

# The first that fits.
_CODES: tuple[tuple[type[Exception], int], ...] = (
    (NoSuchContainer, NOT_FOUND),
    (ContainerExists, ALREADY_EXISTS),
    (WrongState, FAILED_PRECONDITION),
    (NotSupported, UNIMPLEMENTED),
    (InvalidConfig, INVALID_ARGUMENT),
    (UsageError, INVALID_ARGUMENT),
    (BundleError, INVALID_ARGUMENT),
    (Malformed, INVALID_ARGUMENT),
    (RuntimeFailure, UNKNOWN),
)


class Refusal(Exception):
    """A call that is refused: a code, and why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def status_of(failure: Exception) -> tuple[int, str]:
    """Code and text of an exception."""
    if isinstance(failure, Refusal):
        return failure.code, str(failure)
    if isinstance(failure, OSError):
        return UNKNOWN, str(RuntimeFailure(str(failure.filename or ""), errno=failure.errno or 0))
    for kind, code in _CODES:
        if isinstance(failure, kind):
            return code, str(failure)
    return INTERNAL, f"internal error: {type(failure).__name__}: {failure}"
