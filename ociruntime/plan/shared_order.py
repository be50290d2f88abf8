# SPDX-License-Identifier: Apache-2.0
"""THE ORDER in which a process in the container becomes the one that the config describes; create and exec share it.

Before, it is in its working directory, as root with all privileges; afterwards it is the program's user. plan/order.py and
plan/exec_order.py say what comes before and after. Pure; rare subjects are imported only for configs that need them.
"""

from __future__ import annotations

from ociruntime.linux import awake, capabilities, credentials, process, rlimits
from ociruntime.step import InitStep, SyncStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ociruntime.config import Node
    from ociruntime.errors import Violation
    from ociruntime.host import Host
    from ociruntime.step import Step

# keyctl(2): everything for its possessor; view, read, search and link for its user (search is runc's addition)
KEYRING_SEARCHABLE = 0x3F1B0000


def plan(config: Node, host: Host, passed: int, outside: Sequence[Step] = ()) -> Iterator[Step]:
    """Umask and groups, limits, user, capabilities (last, because the others need them), the program's file.

    passed    how many descriptors from 3 on are the program's
    outside   further host steps that need it to be root and waiting
    """
    yield from credentials.plan_early(config, host)
    limits: list[Step] = [*outside, *rlimits.plan(config, host, passed)]
    if awake(config, "scheduling"):
        from ociruntime.linux import scheduling

        yield from scheduling.plan_self(config)
        limits += scheduling.plan(config.at("process"))
    if limits:
        # Late, as a small limit (RLIMIT_AS, RLIMIT_NOFILE) must not break init's own work; but while it is
        # still root: prlimit(2) on a process of another user needs CAP_SYS_RESOURCE.
        yield SyncStep("limits", "the user is still root: limits and priorities")
        yield from limits
    yield from capabilities.plan_early(config, host)
    yield from credentials.plan_streams(config)
    yield from credentials.plan_late(config, host)
    kept = 0
    if awake(config, "seccomp"):
        from ociruntime.linux import seccomp

        kept = capabilities.ADMIN if seccomp.needs_admin(config) else 0
    yield from capabilities.plan_late(config, host, kept)
    yield from process.plan_program(config, host)


def plan_last(config: Node, passed: int) -> Iterator[Step]:
    """No further descriptors, the limit on them, the filter: nothing but execve comes after it, so that nothing else
    has to be allowed.

    passed    how many descriptors from 3 on are the program's
    """
    yield InitStep("close_from", 3 + passed, name="close descriptors", text=f"all from {3 + passed} on")
    if not awake(config, "seccomp"):
        yield from rlimits.plan_last(config, passed)
        return
    from ociruntime.linux import seccomp

    # A filter that notifies needs one more descriptor, and may notify of prlimit before an agent listens.
    notifies = seccomp.notifies(config)
    if not notifies:
        yield from rlimits.plan_last(config, passed)
    for step in seccomp.plan_load(config):
        yield step
        if isinstance(step, SyncStep) and notifies:
            yield from rlimits.plan_last(config, passed, by_init=False)


def plan_session(config: Node, host: Host, keyring: str, *, new: bool) -> Iterator[Step]:
    """A session of its own, its keyring, and the labels: before the image is visible, so that it can't interfere.

    keyring   name of the session keyring, or "" if the caller's stays
    new       it is made here; else the container's is joined
    """
    yield InitStep("setsid", text="a session without a terminal")
    if keyring:
        if awake(config, "lsm"):
            from ociruntime.linux import lsm

            yield from lsm.plan_keyring(config.at("process"), host)
        yield InitStep("session_keyring", keyring, name="join session keyring", text=keyring)
        if new:
            text = "by its name, as exec looks for it"
            yield InitStep("keyring_permissions", KEYRING_SEARCHABLE, name="let keyring be found", text=text)
    if awake(config, "lsm"):
        from ociruntime.linux import lsm

        # In force from execve on.
        yield from lsm.plan_exec(config.at("process"), host)


def warnings(config: Node, host: Host) -> Iterator[Violation]:
    """What the process asks for but this host can't give."""
    yield from capabilities.warnings(config, host)
    if awake(config, "lsm"):
        from ociruntime.linux import lsm

        yield from lsm.warnings(config, host)
