# SPDX-License-Identifier: Apache-2.0
"""Each containerd says its things in another form, and reads another one: the address, JSON, BootstrapResult."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.shim.bootstrap import Bootstrap
from ociruntime.shim.messages import Malformed
from tests.shim.descriptions import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = "unix:///run/containerd/s/x"
VARIABLE = "MAX_SHIM_VERSION"


def options(root: str) -> Any:
    """Runtime options in an Any."""
    value = kind_of("RuncOptions")(root=root).SerializeToString()
    return kind_of("Any")(type_url="containerd.runc.v1.Options", value=value)


def params(**fields: Any) -> bytes:
    """BootstrapParams for container i in namespace n."""
    data: bytes = kind_of("BootstrapParams")(
        **{"instance_id": "i", "namespace": "n", **fields}
    ).SerializeToString()
    return data


def plain(answer: bytes) -> object:
    """The address alone."""
    return answer.decode()


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (None, ADDRESS),
        ("", ADDRESS),
        ("1", ADDRESS),
        ("two", ADDRESS),
        ("\u0662", ADDRESS),  # a digit, but none of ASCII's
        ("2", {"version": 2, "address": ADDRESS, "protocol": "ttrpc"}),
        ("3", {"version": 3, "address": ADDRESS, "protocol": "ttrpc"}),
        ("4", {"version": 3, "address": ADDRESS, "protocol": "ttrpc"}),
    ],
)
def test_the_version_that_containerd_says(
    monkeypatch: pytest.MonkeyPatch, said: str | None, wanted: object
) -> None:
    """1.6 says none and gets the address; 1.7 to 2.2 get JSON with the version that they can call."""
    monkeypatch.setenv(VARIABLE, "7")
    monkeypatch.delenv(VARIABLE)
    if said is not None:
        monkeypatch.setenv(VARIABLE, said)
    answer = Bootstrap(b"", "n", "i").answer(ADDRESS)
    read: Callable[[bytes], object] = json.loads if isinstance(wanted, dict) else plain
    assert read(answer) == wanted


def test_parameters_are_answered_in_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """2.3 and newer: the addresses and the options are found, whatever the environment says."""
    monkeypatch.setenv(VARIABLE, "2")
    other = kind_of("Any")(type_url="something.else", value=b"x")
    data = params(
        containerd_grpc_address="/g", containerd_ttrpc_address="/t", socket_dir="/s",
        extensions=[kind_of("Extension")(value=one) for one in (other, options("/r"))],
    )  # fmt: skip
    found = Bootstrap(data, "n", "i")
    assert (found.grpc, found.ttrpc, found.sockets) == ("/g", "/t", "/s")
    assert found.options is not None
    assert kind_of("RuncOptions").FromString(found.options["value"]).root == "/r"
    result = kind_of("BootstrapResult").FromString(found.answer(ADDRESS))
    assert (result.version, result.address, result.protocol) == (3, ADDRESS, "ttrpc")


def test_options_that_are_no_parameters() -> None:
    """An older containerd's options, which can be read as parameters of another container, are options."""
    found = Bootstrap(options("/r").SerializeToString(), "n", "i")
    assert found.options is not None
    assert found.options["type_url"] == "containerd.runc.v1.Options"
    assert (found.grpc, found.ttrpc, found.sockets) == ("", "", "")
    assert found.answer(ADDRESS) == ADDRESS.encode()
    for data in (params(instance_id="other"), params(namespace="other")):
        assert Bootstrap(data, "n", "i").answer(ADDRESS) == ADDRESS.encode()


def test_no_options() -> None:
    """Parameters may come without any."""
    assert Bootstrap(params(), "n", "i").options is None


def test_noise_is_refused() -> None:
    """What is neither is not taken for no options."""
    with pytest.raises(Malformed, match="Any"):
        Bootstrap(b"\xff\xff", "n", "i")
