# SPDX-License-Identifier: Apache-2.0
"""Which process document does an exec run, and is it valid?

Either a whole document (`--process FILE`), or the container's own process as the flags change it. The result is
put into the container's config in place of its process, so that the subjects see it as they see create's.
Everything here is pure. This module must not import plan, check or launch: it is on the path of every health probe.
"""

from __future__ import annotations

from ociruntime.config import Node
from ociruntime.errors import Findings, InvalidConfig, UsageError, Violation
from ociruntime.linux import concerned_with_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST_ID = 0xFFFFFFFE  # to the kernel the next one means "no change": the process would stay root
_DIGITS = 10

# What a document takes from the container if it leaves it out or empty, as with runc: leaving it out must not
# unconfine the process.
_INHERITED = (
    "capabilities",
    "apparmorProfile",
    "selinuxLabel",
    "oomScoreAdj",
    "scheduler",
    "ioPriority",
    "execCPUAffinity",
)


class Request:
    """What the caller of exec wants.

    args              the program and its arguments
    document          the whole process document (the process object of config.json), or None; then nothing else
                      of this group may be given: cwd, env, user, additional_gids, capabilities, no_new_privs,
                      process_label, apparmor
    env               NAME=VALUE, added to the container's
    user              "UID" or "UID:GID"; "" is the container's; without GID its group stays
    additional_gids   decimal numbers, added to the container's
    capabilities      names, added to the bounding, effective and permitted set, and never to the inheritable one
    no_new_privs      None leaves what the container has
    cgroups           "PATH" or "CONTROLLER:PATH": cgroups below the container's own
    tty               give it a terminal; a document says so itself
    preserve_fds      how many descriptors, from 3 on, are passed to the program
    ignore_paused     do it in a paused container too: then it waits until the container is resumed
    """

    __slots__ = (
        "additional_gids",
        "apparmor",
        "args",
        "capabilities",
        "cgroups",
        "cwd",
        "document",
        "env",
        "ignore_paused",
        "no_new_privs",
        "preserve_fds",
        "process_label",
        "tty",
        "user",
    )

    def __init__(
        self,
        args: list[str] | None = None,
        *,
        document: dict[str, object] | None = None,
        cwd: str = "",
        env: list[str] | None = None,
        user: str = "",
        additional_gids: list[str] | None = None,
        capabilities: list[str] | None = None,
        no_new_privs: bool | None = None,
        process_label: str = "",
        apparmor: str = "",
        cgroups: list[str] | None = None,
        tty: bool = False,
        preserve_fds: int = 0,
        ignore_paused: bool = False,
    ) -> None:
        if isinstance(args, (str, bytes)):
            raise UsageError(f"args: a list is wanted, not {args!r}", hint='["sh", "-c", ...] runs a shell')
        self.tty = tty
        self.args = list(args or [])
        self.document = document
        self.cwd = cwd
        self.env = env or []
        self.user = user
        self.additional_gids = additional_gids or []
        self.capabilities = capabilities or []
        self.no_new_privs = no_new_privs
        self.process_label = process_label
        self.apparmor = apparmor
        self.cgroups = cgroups or []
        self.preserve_fds = preserve_fds
        self.ignore_paused = ignore_paused

    def in_cgroups(self, cgroups: list[str]) -> Request:
        """The same, in other cgroups."""
        copied = Request.__new__(Request)
        for name in Request.__slots__:
            setattr(copied, name, getattr(self, name))
        copied.cgroups = cgroups
        return copied


def with_process(config: Node, request: Request) -> Node:
    """The container's config with the requested process in place of its own.

    Raises UsageError if a user or group is not valid, or if there is no program.
    """
    own = config.at("process").value
    base: dict[str, object] = dict(own) if isinstance(own, dict) else {}
    if request.document is not None:
        return _put(config, _completed(base, request))
    if not request.args:
        raise UsageError("process args cannot be empty", hint="give a program, or --process FILE")
    made = {**base, "args": list(request.args)}
    made["terminal"] = request.tty  # it belongs to a process, not to the container
    if request.cwd:
        made["cwd"] = request.cwd
    if request.env:
        made["env"] = [*_list(base, "env"), *request.env]
    if request.user or request.additional_gids:
        made["user"] = _user(base, request)
    if request.capabilities:
        made["capabilities"] = _capabilities(base, request.capabilities)
    if request.process_label:
        made["selinuxLabel"] = request.process_label
    if request.apparmor:
        made["apparmorProfile"] = request.apparmor
    if request.no_new_privs is not None:
        made["noNewPrivileges"] = request.no_new_privs
    return _put(config, made)


def _put(config: Node, made: dict[str, object]) -> Node:
    assert isinstance(config.value, dict)
    return Node({**config.value, "process": made})


def _completed(base: dict[str, object], request: Request) -> dict[str, object]:
    assert request.document is not None
    for name in (
        "args", "cwd", "env", "user", "additional_gids", "capabilities", "no_new_privs", "process_label", "apparmor"
    ):  # fmt: skip
        given = getattr(request, name)
        if given or given is False:
            what = "the program" if name == "args" else name.replace("_", "-")
            raise UsageError(f"{what} can't be given together with a process document")
    said = {
        name: value
        for name, value in request.document.items()
        if name not in _INHERITED or value not in (None, "")
    }
    return {**{name: base[name] for name in _INHERITED if name in base}, **said}


def _list(base: dict[str, object], name: str) -> list[object]:
    found = base.get(name)
    return found if isinstance(found, list) else []


def _user(base: dict[str, object], request: Request) -> dict[str, object]:
    own = base.get("user")
    user: dict[str, object] = dict(own) if isinstance(own, dict) else {"uid": 0, "gid": 0}
    if request.user:
        uid, colon, gid = request.user.partition(":")
        user["uid"] = number_of(uid, f"user {request.user!r}")
        if colon:
            user["gid"] = number_of(gid, f"user {request.user!r}")
    if request.additional_gids:
        added = [number_of(gid, f"additional gid {gid!r}") for gid in request.additional_gids]
        user["additionalGids"] = [*_list(user, "additionalGids"), *added]
    return user


def number_of(text: str, what: str) -> int:
    """A decimal id, whole and exact: anything else is never taken for root (CVE-2026-30892)."""
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{what}: not a number", hint="UID or UID:GID, decimal; names are not looked up")
    number = int(text) if len(text) <= _DIGITS else _LARGEST_ID + 1
    if number > _LARGEST_ID:
        raise UsageError(f"{what}: the largest id is {_LARGEST_ID}")
    return number


def _capabilities(base: dict[str, object], names: list[str]) -> dict[str, object]:
    """Ambient needs inheritable, which is never widened (CVE-2022-29162, CVE-2025-27612)."""
    own = base.get("capabilities")
    sets: dict[str, object] = dict(own) if isinstance(own, dict) else {}
    widened = ["bounding", "effective", "permitted", *(["ambient"] if sets.get("inheritable") else [])]
    for name in widened:
        sets[name] = [*_list(sets, name), *names]
    return sets


def require(config: Node) -> list[Violation]:
    """Refuse a process that exec can't run. Returns the warnings.

    config   the container's, with the process to run
    Raises InvalidConfig with every error.
    """
    found = Findings()
    found.take(_violations(config))
    if found:
        from ociruntime.check.naming import named

        found[:] = [named(config, violation) for violation in found]
    errors = [violation for violation in found if violation.severity == "error"]
    if errors:
        raise InvalidConfig(errors, all_shown=True, cut=found.cut)
    return [*found, *(Violation("", words, severity="warning") for words in found.left_out())]


def _violations(config: Node) -> Iterator[Violation]:
    """What is wrong with the process; the rest of the config has been checked by create."""
    from ociruntime.check import schema

    known = set()
    if not schema.fast_valid(config.value):
        for violation in schema.explain(config.value):
            known.add(violation.pointer)
            yield violation
    if not config.at("process", "args").texts():
        yield Violation("/process/args", "process args cannot be empty", "R043")
        known.add("/process/args")
    for subject in concerned_with_process(config):
        for violation in subject.check(config):
            # what the schema says about the same value takes precedence
            if violation.pointer.startswith("/process") and violation.pointer not in known:
                yield violation
