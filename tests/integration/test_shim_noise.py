# SPDX-License-Identifier: Apache-2.0
"""Requests with random content, in random order, to a shim with a container: each is answered, none finds a bug, and it goes on."""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from ociruntime.shim.tables import METHODS
from tests.harness.stage import new_id
from tests.shim.client import Refused
from tests.shim.shim import end
from tests.shim.test_messages import message_of

if TYPE_CHECKING:
    from tests.harness.stage import Stage
    from tests.shim.client import Client
    from tests.shim.shim import Shim

ROUNDS = int(os.environ.get("OCIRUNTIME_TEST_ROUNDS", "10")) * 60
INTERNAL = 13
# What an Any with JSON may have, besides noise.
DOCUMENTS: dict[str, list[object]] = {
    "Exec": [
        {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]},
        {"args": ["sleep", "100"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]},
        {"args": [], "cwd": "/"}, {"args": ["\0"], "cwd": "relative"}, {"args": 7}, [], None, 1e300, "\ud800",
    ],
    "Update": [
        {"pids": {"limit": 30}}, {"pids": {"limit": "30"}}, {"memory": {"limit": 1}}, {"cpu": {"shares": 2}},
        {"cpu": {"quota": -7, "period": 10**18}}, {"unknown": 1}, {}, [], None,
    ],
}  # fmt: skip


class Possible(NamedTuple):
    """What Create may say: good, wrong, and no paths; options with and without the test's own directory of state."""

    bundles: list[str]
    options: list[dict[str, Any]]


def noise(method: str, chance: random.Random, known: list[str], possible: Possible) -> dict[str, Any]:
    """A request: any content, but mostly about something that is there. What it creates is one of the known."""
    asked = METHODS[method][0]
    request = message_of(asked, chance)
    if chance.random() < 0.8:
        request["id"] = chance.choice(known)
    if "exec_id" in request and chance.random() < 0.8:
        request["exec_id"] = chance.choice(["", "e", "f"])
    for field in ("stdin", "stdout", "stderr"):
        if field in request and chance.random() < 0.7:
            request[field] = ""
    if method == "Create":
        request["id"] = chance.choice([*known, *known, "", "a/b", "\0"])
        request["bundle"] = chance.choice(possible.bundles)
        request["checkpoint"] = chance.choice(["", "", "", "x"])
        request["options"] = chance.choice(possible.options)
    if method in DOCUMENTS and chance.random() < 0.9:
        document = json.dumps(chance.choice(DOCUMENTS[method])).encode()
        request["spec" if method == "Exec" else "resources"] = {"type_url": "x", "value": document}
    return request


def code_of(client: Client, stream: int, method: str) -> tuple[int, str]:
    """Code and words of the answer: 0 if it is no refusal, or doesn't come soon."""
    if method == "Wait" and not client.is_answered(stream, 0.01):
        return 0, ""
    try:
        client.finish(stream, "Empty")
    except Refused as refusal:
        return refusal.code, refusal.text
    return 0, ""


def test_random_requests(shim: Shim, client: Client, stage: Stage) -> None:
    """See above."""
    chance = random.Random(14)
    lasting, name = stage.bundle("sleep", "1000"), new_id()
    good = {"type_url": shim.options.type_url, "value": shim.options.value}
    possible = Possible(
        [str(lasting.directory), str(stage.bundle("true").directory), str(stage.directory), "", "x\0", "x"],
        [good, good, {"type_url": good["type_url"], "value": b"\xff"}, {"type_url": "x", "value": b""}],
    )
    names = [name, new_id(), new_id()]
    methods = [method for method in METHODS if method != "Shutdown"] + ["Exec", "Start", "Delete"]
    codes: dict[int, int] = {}
    for number in range(ROUNDS):
        if number % 20 == 0 and not is_running(client, name):
            shim.create(client, lasting, name)
            client.call("Start", id=name)
        method = chance.choice(methods)
        request = noise(method, chance, names, possible)
        stream = client.send(client.service, method, METHODS[method][0].encode(request))
        code, words = code_of(client, stream, method)
        assert code != INTERNAL, (number, method, request, words)
        codes[code] = codes.get(code, 0) + 1
    assert codes[0] > ROUNDS // 10  # much of it was done, and much refused
    assert sum(codes.values()) - codes[0] > ROUNDS // 10
    assert len(codes) >= 6
    for one in names:
        remove(client, one)
    shim.create(client, lasting, name)
    client.call("Start", id=name)
    end(client, name)


def is_running(client: Client, name: str) -> bool:
    """Whether the container runs; one that doesn't, or is paused, is removed."""
    try:
        if client.call("State", id=name).status == 2:
            return True
    except Refused:
        return False
    remove(client, name)
    return False


def remove(client: Client, name: str) -> None:
    """Whatever state it is in."""
    tried("Resume", client, name)
    tried("Kill", client, name, signal=9, all=True)
    state = tried("State", client, name)
    if state is not None and state.status != 1:
        client.call("Wait", id=name)
    if state is not None:
        client.call("Delete", id=name)


def tried(method: str, client: Client, name: str, **fields: Any) -> Any:
    """The answer, or None if it is refused."""
    try:
        return client.call(method, id=name, **fields)
    except Refused:
        return None
