# SPDX-License-Identifier: Apache-2.0
"""What is left of a container whose shim is gone, and how is it removed? `delete` calls this after every task's end.

Create leaves a note in the bundle that says where the container's state is. On the usual path the note is gone, and so is
everything else. This module must not import what only a server needs: it is on the path of every task's end.
"""

from __future__ import annotations

import os

from ociruntime.shim.runtime_options import DEFAULT_ROOT

NOTE = "ociruntime.json"


def state_root(root: str, namespace: str) -> str:
    """Directory of the containers' state of one of containerd's namespaces."""
    return f"{root}/{namespace}"


def forget(bundle: str) -> None:
    """Nothing is left of the container."""
    try:
        os.unlink(f"{bundle}/{NOTE}")
    except FileNotFoundError:
        return


def clean(bundle: str, namespace: str, container_id: str) -> None:
    """Kill and delete the container, unmount its root filesystem; nothing of it may be there.

    Raises RuntimeFailure if something can't be removed.
    """
    try:
        with open(f"{bundle}/{NOTE}", "rb") as file:
            raw = file.read(4096)
    except FileNotFoundError:
        return  # the shim has removed everything, or never made anything
    from ociruntime import api
    from ociruntime.config import parse
    from ociruntime.errors import BundleError, NoSuchContainer

    try:
        root = parse(raw, NOTE, 4).at("root").text()
    except BundleError:
        root = state_root(DEFAULT_ROOT, namespace)
    try:
        api.delete(root, container_id, force=True)
    except NoSuchContainer as gone:  # killed before the library had begun, or after it had ended
        del gone
    api.unmount_rootfs(f"{bundle}/rootfs")
    forget(bundle)
