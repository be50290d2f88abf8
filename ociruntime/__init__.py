# SPDX-License-Identifier: Apache-2.0
"""The names of the public API, and nothing that costs time.

`import ociruntime` imports no other module: each name below is looked up when it is first used, so that
a program that only wants `ociruntime.InvalidConfig` does not pay for the launcher.
This module must not import anything at run time.
"""

TYPE_CHECKING = False  # what type checkers take for true; typing itself costs 6 ms
if TYPE_CHECKING:
    from ociruntime.api import (
        Container as Container,
        create as create,
        delete as delete,
        gc as gc,
        list_all as list_all,
        load as load,
        mount_rootfs as mount_rootfs,
        run as run,
        run_async as run_async,
        unmount_rootfs as unmount_rootfs,
    )
    from ociruntime.api.asynchronous import wait_async as wait_async
    from ociruntime.api.documents import State as State, Statistics as Statistics
    from ociruntime.api.seccomp_agent import (
        Answer as Answer,
        MemoryUnreadable as MemoryUnreadable,
        Notification as Notification,
        SeccompAgent as SeccompAgent,
    )
    from ociruntime.errors import (
        BundleError as BundleError,
        ContainerExists as ContainerExists,
        ForeignContainer as ForeignContainer,
        HookFailed as HookFailed,
        InitLost as InitLost,
        Interrupted as Interrupted,
        InvalidConfig as InvalidConfig,
        NoSuchContainer as NoSuchContainer,
        NotSupported as NotSupported,
        ProgramNotExecutable as ProgramNotExecutable,
        ProgramNotFound as ProgramNotFound,
        RuntimeFailure as RuntimeFailure,
        StateUnreadable as StateUnreadable,
        StepFailed as StepFailed,
        UsageError as UsageError,
        Violation as Violation,
        WrongState as WrongState,
    )
    from ociruntime.operations.config_maker import make_config as make_config
    from ociruntime.operations.exec import ExecProcess as ExecProcess
    from ociruntime.operations.exec_document import Request as Request
    from ociruntime.operations.result import Result as Result
    from ociruntime.operations.rootfs_mounts import RootfsMount as RootfsMount
    from ociruntime.plan.order import Options as Options

# The one place that says which version this is; the build reads it without importing the package.
__version__ = "0.1.0"

# Public name -> the module that has it.
_PUBLIC = {
    "Answer": "ociruntime.api.seccomp_agent",
    "BundleError": "ociruntime.errors",
    "Container": "ociruntime.api",
    "ContainerExists": "ociruntime.errors",
    "ExecProcess": "ociruntime.operations.exec",
    "ForeignContainer": "ociruntime.errors",
    "HookFailed": "ociruntime.errors",
    "InitLost": "ociruntime.errors",
    "Interrupted": "ociruntime.errors",
    "InvalidConfig": "ociruntime.errors",
    "MemoryUnreadable": "ociruntime.api.seccomp_agent",
    "NoSuchContainer": "ociruntime.errors",
    "NotSupported": "ociruntime.errors",
    "Notification": "ociruntime.api.seccomp_agent",
    "ProgramNotExecutable": "ociruntime.errors",
    "ProgramNotFound": "ociruntime.errors",
    "Options": "ociruntime.plan.order",
    "Request": "ociruntime.operations.exec_document",
    "Result": "ociruntime.operations.result",
    "RootfsMount": "ociruntime.operations.rootfs_mounts",
    "RuntimeFailure": "ociruntime.errors",
    "SeccompAgent": "ociruntime.api.seccomp_agent",
    "State": "ociruntime.api.documents",
    "StateUnreadable": "ociruntime.errors",
    "Statistics": "ociruntime.api.documents",
    "StepFailed": "ociruntime.errors",
    "UsageError": "ociruntime.errors",
    "Violation": "ociruntime.errors",
    "WrongState": "ociruntime.errors",
    "create": "ociruntime.api",
    "delete": "ociruntime.api",
    "gc": "ociruntime.api",
    "list_all": "ociruntime.api",
    "load": "ociruntime.api",
    "make_config": "ociruntime.operations.config_maker",
    "mount_rootfs": "ociruntime.api",
    "run": "ociruntime.api",
    "run_async": "ociruntime.api",
    "unmount_rootfs": "ociruntime.api",
    "wait_async": "ociruntime.api.asynchronous",
}


def __getattr__(name: str) -> object:
    """Import the module behind a public name, on first use."""
    if name == "__all__":  # of `from ociruntime import *`
        return [*_PUBLIC]
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ociruntime' has no attribute {name!r}")
    value: object = getattr(__import__(_PUBLIC[name], fromlist=[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
