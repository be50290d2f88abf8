# SPDX-License-Identifier: Apache-2.0
"""Programs that the config wants run at points of the life cycle. (config.md, POSIX-platform Hooks)

    kind                              path found in   runs in        directory   env, if it has none
    prestart createRuntime            runtime         runtime        bundle      the runtime's
    createContainer                   runtime         container      rootfs      the runtime's
    startContainer                    container       container      process.cwd process.env and HOME
    poststart poststop                runtime         runtime        bundle      the runtime's

How one is run is in launch/hooks.py. Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.step import HostStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.config import Node

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
KEYS = tuple(
    f"/hooks/{kind}" + tail for kind in KINDS for tail in ("", "/*/path", "/*/args", "/*/env", "/*/timeout")
)


def check(config: Node) -> Iterator[Violation]:
    """Rules that the schema can't express."""
    for kind in KINDS:
        for hook in config.at("hooks", kind):
            for variable in hook.at("env"):
                if "=" not in variable.text("="):
                    yield Violation(
                        variable.pointer, f"{variable.text()[:20]!r} must have the form NAME=VALUE", "R070"
                    )
            if not hook.at("path").text("/").startswith("/"):
                yield Violation(
                    hook.at("path").pointer, f"the path {hook.at('path').text()!r} must be absolute", "R068"
                )


def features(takes: Callable[..., bool]) -> dict[str, object]:  # noqa: ARG001 - the signature of every subject
    """Its part of the features document; `takes` says whether check() accepts a config."""
    return {"hooks": list(KINDS)}


def plan_create(config: Node) -> Iterator[HostStep]:
    """The hooks of create, in the specification's order (R077, R079-R081)."""
    for kind in ("prestart", "createRuntime", "createContainer"):
        yield from _plan(config, kind)


def plan_start(config: Node) -> Iterator[HostStep]:
    """The hooks between the start operation and the user's program (R082)."""
    yield from _plan(config, "startContainer")


def plan_poststart(config: Node) -> Iterator[HostStep]:
    """The hooks after the user's program is executed, before start returns (R083)."""
    yield from _plan(config, "poststart")


def plan_poststop(config: Node) -> Iterator[HostStep]:
    """The hooks after the container is deleted, before delete returns (R084)."""
    yield from _plan(config, "poststop")


def _plan(config: Node, kind: str) -> Iterator[HostStep]:
    for hook in config.at("hooks", kind):
        args: dict[str, object] = {"kind": kind}
        for name in ("path", "args", "env", "timeout"):
            if hook.at(name):
                args[name] = hook.at(name).value
        text = f"{kind} {hook.at('path').text()}"
        yield HostStep("run_hook", args, pointer=hook.pointer, text=text)
