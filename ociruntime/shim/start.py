# SPDX-License-Identifier: Apache-2.0
"""How does a shim begin? `start` binds the socket of the container's group, forks, and prints the address.

    a shim of the group serves already    its address is printed, and there is no new process
    otherwise                             the child serves, with what the parent has loaded; the parent prints and ends

In which form it is printed depends on what containerd has said: shim/bootstrap.py.
"""

from __future__ import annotations

import os
import stat

from ociruntime.config import DEEPEST, parse
from ociruntime.errors import UsageError
from ociruntime.shim import address, runtime_options
from ociruntime.shim.bootstrap import Bootstrap
from ociruntime.shim.calling import emit, given_on_stdin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.shim.calling import Arguments

_GROUPS = ("io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id")
_LARGEST = 32 << 20  # bytes of config.json
_WORST_SCORE = 1000  # of oom_score_adj


def start(given: Arguments) -> int:
    """See above; returns the exit code."""
    namespace, container_id = given.need("namespace"), given.need("id")
    said = Bootstrap(given_on_stdin(), namespace, container_id)
    options = runtime_options.of(said.options)
    bundle = os.getcwd()
    grpc = given.flags["address"] or said.grpc
    path = address.path_of(said.sockets, grpc, namespace, _group(bundle) or container_id)
    listener = address.listen(path)
    _write_address(bundle, f"unix://{path}")  # before there is a server: `delete` finds its socket by it
    if listener is not None:
        ttrpc = os.environ.get("TTRPC_ADDRESS") or said.ttrpc
        known, tell = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            os.close(tell)
            leave_streams(
                f"{bundle}/log"
            )  # at once: containerd waits until no one has its pipe open any more
            from ociruntime.shim.serve import serve

            serve(listener, path, ttrpc=ttrpc, namespace=namespace, known=known)
            return 0
        _settle(pid, options.shim_cgroup)
    emit(said.answer(f"unix://{path}"))
    if listener is not None:
        os.write(tell, b"x")  # if this is not reached, no one knows of the server, and it ends
    return 0


def _group(bundle: str) -> str:
    """The pod to which the container belongs, or ""."""
    path = f"{bundle}/config.json"
    try:
        with open(path, "rb", buffering=0) as file:
            raw = file.read(_LARGEST)
    except OSError as failure:
        raise UsageError(path, errno=failure.errno or 0) from None
    annotations = parse(raw, path, DEEPEST).at("annotations").value
    names = annotations if isinstance(annotations, dict) else {}
    return next((str(names[name]) for name in _GROUPS if names.get(name)), "")


def _settle(pid: int, cgroup: str) -> None:
    """Put the shim where it belongs: into its cgroup, and before containerd when memory runs out."""
    if cgroup:
        _enter(cgroup, pid)
    try:
        with open(f"/proc/{os.getppid()}/oom_score_adj", encoding="ascii") as file:
            score = min(int(file.read()) + 1, _WORST_SCORE)
        with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(score))
    except FileNotFoundError:
        return  # containerd has ended meanwhile


def _enter(cgroup: str, pid: int) -> None:
    """Move the shim into a cgroup of each hierarchy, which is made if it is not there."""
    from ociruntime.linux.cgroups.layout import probe_layout

    layout = probe_layout()
    places = [*layout.hierarchies(), *([layout.v2] if layout.v2 else [])]
    for mount in places:
        place = mount
        for name in cgroup.strip("/").split("/"):
            place = f"{place}/{name}"
            if not os.path.isdir(place):
                os.makedirs(place, exist_ok=True)
                _copy_cpuset(place)
        with open(f"{place}/cgroup.procs", "wb", buffering=0) as file:
            file.write(str(pid).encode())


def _copy_cpuset(place: str) -> None:
    """A new cpuset of cgroup v1 has no CPUs, and takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if os.path.exists(f"{place}/cgroup.clone_children"):
            try:
                with open(f"{os.path.dirname(place)}/{name}", "rb") as file:
                    value = file.read()
                with open(f"{place}/{name}", "wb", buffering=0) as file:
                    file.write(value)
            except FileNotFoundError:
                return  # another controller's hierarchy


def leave_streams(log: str) -> None:
    """Make 0 and 1 nothing, and 2 containerd's log."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        errors = os.open(log, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISFIFO(os.fstat(errors).st_mode):
            os.close(errors)
            errors = null
    except OSError:  # nobody reads it
        errors = null
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(errors, 2)
    for descriptor in {null, errors}:
        os.close(descriptor)


def _write_address(bundle: str, where: str) -> None:
    """Tell containerd 1.x, which reads it when it is started again."""
    path = f"{bundle}/address"
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(where)
    os.replace(f"{path}.new", path)
