# SPDX-License-Identifier: Apache-2.0
"""How does a plan look as a page? `plan --format html`: namespaces as nested boxes, and each step where it happens.

The outermost box is the host. A step that makes or enters namespaces, or changes the root, opens a box in the box that it is
in: all that init does from then on happens inside. Steps of the host are in the host's lane, beside the step at which init
waits for them. Nothing is fetched, and no script runs: see plan/html.py.
"""

from __future__ import annotations

from ociruntime.linux.namespaces import TYPES
from ociruntime.native.encode import named
from ociruntime.ops import OPS
from ociruntime.plan.html import SUBJECTS, document, escaped, header, legend, operation, pairs, subject_of
from ociruntime.step import HostStep, InitStep, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ociruntime.step import Plan, Step

_DEEPEST = 9  # for which plan/style.py has a class
_JOINED = "joined namespaces"
_ROOTS = {
    "pivot_root": "its own root file system",
    "move_root": "its own root file system",
    "chroot": "its own root directory",
}
_FOOTER = (
    "<footer>Enter or a click opens a step: who does it, and with which arguments. At the right of a step stands the"
    " property of config.json that causes it.</footer>"
)


class Box:
    """Where steps happen.

    title     what is true inside
    names     the namespaces that are new or joined
    children  steps with their numbers, and boxes, in order
    """

    def __init__(self, title: str, names: Iterable[str] = ()) -> None:
        self.title = title
        self.names = list(names)
        self.children: list[tuple[int, Step] | Box] = []


def page(path: str, made: Plan) -> str:
    """The page of a plan. path: of the config file."""
    steps = made.steps
    sides = [step.where for step in steps]
    facts = {
        "steps": f"{len(steps)}",
        "on the host": f"{sides.count('host')}",
        "in the container": f"{sides.count('init')}",
        "where both meet": f"{sides.count('sync')}",
        "namespaces of its own": " ".join(_own(made)) or "none",
    }
    subjects = [subject_of(step) for step in steps]
    body = [
        header("What create and start would do", path, facts),
        legend({subject: str(subjects.count(subject)) for subject in SUBJECTS if subject in subjects}),
        '<main class="plan">',
        "<h2>Host <small>what the runtime does, outside</small></h2>",
        *_list(boxes(made), 0),
        "</main>",
        _FOOTER,
    ]
    return document(f"plan: {path}", body)


def boxes(made: Plan) -> Box:
    """The host, with everything in it."""
    host = inner = Box("")
    for index, step in enumerate(made.steps, 1):
        inner.children.append((index, step))
        for title, names in _entered(step, made):
            if title == inner.title == _JOINED:  # joins come one after the other, and share a box
                inner.names += names
                continue
            box = Box(title, names)
            inner.children.append(box)
            inner = box
    return host


def _entered(step: Step, made: Plan) -> Iterator[tuple[str, list[str]]]:
    """(title, namespaces) of each box that a step opens, from the outer to the inner one."""
    op = operation(step)
    if op == "clone_init" and not made.clone_flags:
        yield f"{'a helper, still ' if made.forks() else ''}in the host's namespaces", []
    elif op == "clone_init":
        yield from _new(made.clone_flags)
    elif isinstance(step, InitStep):
        arguments = named(step)
        if op in ("unshare", "fork"):
            yield from _new(arguments["flags"])
        elif op == "join":
            yield _JOINED, _names(arguments["types"])
        elif op in _ROOTS:
            yield _ROOTS[op], []


def _new(flags: object) -> Iterator[tuple[str, list[str]]]:
    """A user namespace owns those that are made with it, so they are inside it."""
    names = _names(flags)
    if "user" in names and len(names) > 1:
        yield "new namespace", ["user"]
        names.remove("user")
    if names:
        yield "new namespaces" if len(names) > 1 else "new namespace", names


def _names(flags: object) -> list[str]:
    assert isinstance(flags, int)
    return [name for name, flag in TYPES.items() if flags & flag]


def _own(made: Plan) -> list[str]:
    """The types of all namespaces that are not the host's."""
    names = {name for step in made.steps for _, found in _entered(step, made) for name in found}
    return [name for name in TYPES if name in names]


def _list(box: Box, depth: int) -> Iterator[str]:
    """What is in a box, as a list; the class says how far a step of the host must be moved back to its lane."""
    yield f'<ol class="in{min(depth, _DEEPEST)}">'
    for child in box.children:
        if isinstance(child, Box):
            names = "".join(f"<em>{escaped(name)}</em>" for name in child.names)
            first = "Container <small>what its first process does, init</small>" if not depth else ""
            yield f'<li class="box">{first and f"<h2>{first}</h2>"}<h3>{escaped(child.title)} {names}</h3>'
            yield from _list(child, depth + 1)
            yield "</li>"
        else:
            yield _item(*child)
    yield "</ol>"


def _item(index: int, step: Step) -> str:
    pointer = f"<code>{escaped(step.pointer)}</code>" if step.pointer else ""
    return (
        f'<li class="{step.where} {subject_of(step)}" id="step-{index}"><details><summary><b>{index}</b>'
        f"<span><strong>{escaped(step.name)}</strong> {escaped(step.text)}</span>{pointer}</summary>{pairs(_told(step))}</details></li>"
    )


def _told(step: Step) -> Iterator[tuple[str, object]]:
    """What an opened step says: who does it, why, and with which arguments."""
    if isinstance(step, HostStep):
        yield "done by", f"the runtime on the host, ociruntime/{OPS[step.op].replace('.', '/')}"
        yield "can be undone", step.undoable
    elif isinstance(step, InitStep):
        yield "done by", f"init, operation {step.op}"
    else:
        yield "done by", "both: init waits until the host has done the steps that follow"
    yield "subject", subject_of(step)
    yield "property", step.pointer or "none: every container has this step"
    if isinstance(step, HostStep):
        yield from step.args.items()
    elif isinstance(step, InitStep):
        for name, argument in named(step).items():
            yield name, shown(argument)
