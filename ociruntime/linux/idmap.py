# SPDX-License-Identifier: Apache-2.0
"""Which ids of the host do the container's ids map to? (config-linux.md, User namespace mappings)

Init is forked into the new user namespace, waits until the runtime has written the mappings ("started"),
opens the rootfs, which may take the host's root, and becomes the namespace's root before it makes
anything. Mappings of mounts need a user namespace too: a process that does nothing else holds it.
Must not import another subject.
"""

from __future__ import annotations

import errno
import os

from ociruntime.errors import StepFailed, Violation
from ociruntime.linux import id_ranges, namespace_entries
from ociruntime.linux.annotations import KEEP_GROUPS, value_of
from ociruntime.linux.mount_options import is_id_mapped
from ociruntime.linux.namespace_entries import CLONE_NEWUSER
from ociruntime.step import HostStep, InitStep, Slot, SyncStep

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.launch.context import Context
    from ociruntime.linux.id_ranges import Ranges
    from ociruntime.native.spawn import Child

_RANGES = ("containerID", "hostID", "size")
KEYS = (
    "/linux/uidMappings",
    *(f"/linux/uidMappings/*/{name}" for name in _RANGES),
    "/linux/gidMappings",
    *(f"/linux/gidMappings/*/{name}" for name in _RANGES),
)

_LIMIT = f"the kernel takes up to {id_ranges.MOST_RANGES} ranges, as text in less than one page of memory"


def check(config: Node) -> Iterator[Violation]:
    """A new user namespace needs mappings of both kinds; mappings need a user namespace."""
    user = namespace_entries.entry(config, "user")
    for name in ("uidMappings", "gidMappings"):
        mappings = config.at("linux", name)
        if len(mappings) and not user:
            shown = id_ranges.words(id_ranges.read(mappings)[:3])
            yield Violation(mappings.pointer, f"{name} need a user namespace: {shown}", "R102")
        elif not len(mappings) and user and not user.at("path").text():
            reason = f"a new user namespace needs {name}: without them no id is mapped"
            yield Violation(mappings.pointer, reason, "R102")
        yield from id_ranges.check(mappings, "R102")
    if user and not namespace_entries.has(config, "mount"):
        reason = "a user namespace without a mount namespace is not supported yet"
        yield Violation(user.pointer, reason, "R095", "unsupported")


def plan_host(config: Node) -> Iterator[HostStep]:
    """Before the clone: note the mappings, and make a user namespace for each set of mappings that mounts have."""
    uids, gids = _own(config)
    user = namespace_entries.entry(config, "user")
    if user:
        args: dict[str, object] = {"uid": uids, "gid": gids}
        if user.at("path").text():
            text, args = f"of {user.at('path').text()}", {**args, "slot": id_ranges.JOINED}
        else:
            text = f"uid {id_ranges.words(uids)}; gid {id_ranges.words(gids)}"
        yield HostStep("note_id_maps", args, pointer=user.pointer, text=text)
    held = {id_ranges.JOINED}
    for mount in config.at("mounts"):
        slot = id_ranges.slot_of(config, mount)
        if is_id_mapped(mount) and slot not in held:
            held.add(slot)
            if slot != id_ranges.CONTAINER:
                uids, gids = id_ranges.read(mount.at("uidMappings")), id_ranges.read(mount.at("gidMappings"))
            else:
                uids, gids = _own(config)
            yield HostStep(
                "hold_id_maps",
                {"uid": uids, "gid": gids, "slot": slot, "destination": mount.at("destination").text()},
                pointer=mount.pointer,
                text=f"for mounts: uid {id_ranges.words(uids)}; gid {id_ranges.words(gids)}",
            )


def plan_write(config: Node, host: Host) -> Iterator[HostStep]:
    """While init waits at "started" in its new user namespace: the mappings."""
    for file, name, program in (
        ("uid_map", "uidMappings", "newuidmap"),
        ("gid_map", "gidMappings", "newgidmap"),
    ):
        mappings = config.at("linux", name)
        ranges = id_ranges.read(mappings)
        args: dict[str, object] = {"file": file, "ranges": ranges}
        text = f"{file}: {id_ranges.words(ranges)}"
        if not id_ranges.may_map_all(host):
            if not id_ranges.is_own_id(ranges, host.uid if file == "uid_map" else host.gid):
                args["program"] = program
                text += f" by {program}"
            elif file == "gid_map":
                args["deny_setgroups"] = True
                text += ", and setgroups is denied"
        yield HostStep("write_id_map", args, pointer=mappings.pointer, text=text)


def plan_root(config: Node, host: Host) -> Iterator[InitStep]:
    """Become the root of the user namespace, without the caller's groups (R064), unless an annotation wants them; capabilities stay as they are.

    Where id 0 is not mapped, the program's user makes the container.
    """
    uids, gids = _own(config)
    user = config.at("process", "user")
    uid = 0 if not uids or id_ranges.find(uids, 0) is not None else user.at("uid").number()
    gid = 0 if not gids or id_ranges.find(gids, 0) is not None else user.at("gid").number()
    pointer = config.at("linux", "uidMappings").pointer
    if not id_ranges.setgroups_denied(config, host) and not value_of(config, KEEP_GROUPS):
        yield InitStep("groups", [], name="leave groups", pointer=pointer, text="those of the caller")
    who = "root" if uid == 0 else "user"
    yield InitStep(
        "user",
        uid,
        gid,
        name=f"become {who} of the user namespace",
        pointer=pointer,
        text=f"uid {uid} gid {gid}",
    )


def _own(config: Node) -> tuple[Ranges, Ranges]:
    linux = config.at("linux")
    return id_ranges.read(linux.at("uidMappings")), id_ranges.read(linux.at("gidMappings"))


def apply(step: HostStep, context: Context) -> None:
    """Do one of the host steps.

    Raises StepFailed if the kernel refuses mappings, or if those of a joined user namespace differ from the config's.
    """
    if step.op == "write_id_map":
        ranges = _ranges(step.args["ranges"])
        if "program" in step.args:
            from ociruntime.linux.sub_ids import write_by

            write_by(str(step.args["program"]), context.pid, ranges, step)
            return
        if step.args.get("deny_setgroups"):
            with open(f"/proc/{context.pid}/setgroups", "wb", buffering=0) as file:
                file.write(b"deny")
        _write(context.pid, str(step.args["file"]), ranges, step)
    elif step.op == "hold_id_maps":
        context.slots[str(step.args["slot"])] = _hold(step)
    else:
        uids, gids = _ranges(step.args["uid"]), _ranges(step.args["gid"])
        if "slot" in step.args:
            found = _read(context.slots[str(step.args["slot"])], step)
            for what, told, real in (("uid", uids, found[0]), ("gid", gids, found[1])):
                if told and sorted(told) != sorted(real):
                    raise _failed(step, f"its {what} mappings are {id_ranges.words(real)}, not the config's")
            uids, gids = found
        context.facts["idmap"] = {"uid": uids, "gid": gids}


def _ranges(value: object) -> Ranges:
    assert isinstance(value, list)
    return value


def _failed(step: HostStep, reason: str, number: int = 0, hint: str = "") -> StepFailed:
    return StepFailed(reason, pointer=step.pointer, step=step.name, errno=number, hint=hint)


def _write(pid: int, file: str, ranges: Ranges, step: HostStep) -> None:
    """One write: the kernel takes no second one. It goes through the host's procfs, which no container controls."""
    text = id_ranges.lines(ranges).encode()
    try:
        with open(f"/proc/{pid}/{file}", "wb", buffering=0) as opened:
            opened.write(text)
    except OSError as error:
        number, of = error.errno or 0, ""
        if "destination" in step.args:
            from ociruntime.linux.refusals.mounts import id_maps_of_mount as refused

            of = f" of the mount on {step.args['destination']}"
        else:
            from ociruntime.linux.refusals.ids import map_refused as refused
        hint = _LIMIT if number == errno.EINVAL else str(refused(number, file, ranges) or "")
        raise _failed(step, f"{file}{of}: {len(ranges)} ranges", number, hint) from None


def _hold(step: HostStep) -> int:
    """A descriptor of a new user namespace with these mappings, in which no process is left."""
    holder = _waiting_child([], CLONE_NEWUSER, step)
    try:
        _write(holder.pid, "uid_map", _ranges(step.args["uid"]), step)
        _write(holder.pid, "gid_map", _ranges(step.args["gid"]), step)
        return os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        holder.kill()
        holder.close()


def _read(namespace: int, step: HostStep) -> tuple[Ranges, Ranges]:
    """The mappings of a user namespace, in the host's ids, as shown for a process that has entered it."""
    guest = _waiting_child([namespace], 0, step)
    try:
        return _map_of(guest.pid, "uid_map"), _map_of(guest.pid, "gid_map")
    finally:
        guest.kill()
        guest.close()


def _map_of(pid: int, file: str) -> Ranges:
    with open(f"/proc/{pid}/{file}", "rb", buffering=0) as opened:
        return [[int(number) for number in line.split()] for line in opened.readall().splitlines()]


def _waiting_child(joined: list[int], flags: int, step: HostStep) -> Child:
    """A process in a user namespace, that of a descriptor or a new one, that waits until it is killed."""
    from ociruntime.native.encode import encode
    from ociruntime.native.spawn import Child, ChildFailed
    from ociruntime.progress import SYNC_STARTED

    slots = [Slot("user") for _ in joined]
    steps = [*(InitStep("join", slot, CLONE_NEWUSER) for slot in slots), SyncStep("started", "")]
    buffer = encode(list(enumerate(steps)), [slot.key for slot in slots], 3)
    child = Child(buffer, records=len(steps), slots=joined, clone_flags=flags)
    try:
        child.wait_for(SYNC_STARTED)
    except ChildFailed as failure:
        child.kill()
        child.close()
        hint = "it is the runtime's own" if failure.errno == errno.EINVAL else ""
        raise _failed(step, "join user namespace", failure.errno, hint) from None
    except BaseException:
        child.kill()
        child.close()
        raise
    return child
