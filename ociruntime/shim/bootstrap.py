# SPDX-License-Identifier: Apache-2.0
"""What has containerd said to `start`, on stdin and in the environment, and in which form does it want the answer?

    containerd        stdin                  MAX_SHIM_VERSION   answer
    1.6               the runtime options    -                  the plain address
    1.7 to 2.2        the runtime options    2                  JSON with the version of the Task service, address, protocol
    2.3 and newer     BootstrapParams        2                  BootstrapResult, version 3

Versions 2 and 3 of the Task service have the same methods here; the answer only says which name containerd uses. Must not import
anything of the package but the shim's own messages, and jsontext for the answer in JSON.
"""

from __future__ import annotations

import os

from ociruntime.shim.messages import Malformed
from ociruntime.shim.tables import ANY, BOOTSTRAP_PARAMS, BOOTSTRAP_RESULT, FILE_OPTIONS, RUNC_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NEWEST = 3  # version of the Task service
_READS_JSON = 2  # the least MAX_SHIM_VERSION with which containerd does
_PROTOCOL = "ttrpc"
_OPTIONS = (RUNC_OPTIONS.name, FILE_OPTIONS.name)


class Bootstrap:
    """What containerd has said.

    options      the runtime options: an Any, or None
    grpc, ttrpc  containerd's addresses, or "" if only flags and environment say them
    sockets      directory for the shim's socket, or ""
    """

    def __init__(self, said: bytes, namespace: str, container_id: str) -> None:
        """Raises Malformed if the bytes are none of what containerd sends."""
        params = _params(said, namespace, container_id)
        self._by_message = params is not None
        found = params or {}
        self.options = _options(found["extensions"]) if params is not None else ANY.decode(said)
        self.grpc: str = found.get("containerd_grpc_address", "")
        self.ttrpc: str = found.get("containerd_ttrpc_address", "")
        self.sockets: str = found.get("socket_dir", "")

    def answer(self, address: str) -> bytes:
        """How the address of the shim's socket is printed."""
        if self._by_message:
            return BOOTSTRAP_RESULT.encode(_result(_NEWEST, address))
        version = _asked_version()
        if version < _READS_JSON:
            return address.encode()
        from ociruntime.jsontext import compact

        return compact(_result(min(version, _NEWEST), address)).encode()


def _params(said: bytes, namespace: str, container_id: str) -> dict[str, Any] | None:
    """BootstrapParams, if that is what stdin has: options of an older containerd may be read as such, by accident."""
    try:
        params = BOOTSTRAP_PARAMS.decode(said)
    except Malformed:
        return None
    return params if (params["instance_id"], params["namespace"]) == (container_id, namespace) else None


def _options(extensions: list[dict[str, Any]]) -> dict[str, Any] | None:
    values = [one["value"] for one in extensions if one["value"] is not None]
    return next((one for one in values if one["type_url"].rpartition("/")[2] in _OPTIONS), None)


def _asked_version() -> int:
    """The newest version that containerd 1.7 and newer can call; 0 if it says none."""
    text = os.environ.get("MAX_SHIM_VERSION", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _result(version: int, address: str) -> dict[str, Any]:
    return {"version": version, "address": address, "protocol": _PROTOCOL}
