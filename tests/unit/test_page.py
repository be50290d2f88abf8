# SPDX-License-Identifier: Apache-2.0
"""Are the pages of `plan --format html` and `--trace FILE.html` complete, safe and small? Without a browser.

tests/integration/test_pages.py looks at them in Chromium.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from ociruntime.bundle import Bundle
from ociruntime.check import check
from ociruntime.errors import RuntimeFailure
from ociruntime.launch.trace import Trace
from ociruntime.launch.trace_page import Axis
from ociruntime.native.encode import OPS as INIT_OPS
from ociruntime.ops import OPS
from ociruntime.plan import order
from ociruntime.plan.html import _OF_INIT, _OF_MODULE, SUBJECTS, escaped, subject_of
from ociruntime.plan.page import Box, boxes, page
from ociruntime.plan.style import STYLE, STYLE_HASH
from ociruntime.verbs.plan import PLACEHOLDER
from tests.harness.configuration import default_config
from tests.unit import golden
from tests.unit.markup import Element, read

if TYPE_CHECKING:
    from pathlib import Path

    from ociruntime.step import Plan, Step

_HYBRID = golden.MACHINES["plan.txt"]
_FIXED, _EACH = 14_000, 1_000  # bytes: of a page without steps, and of a step with all its arguments
_MS = 1_000_000

# What would end a tag, an attribute or a style, start a script, or reorder a line.
_HOSTILE = '</code></style><script>alert(1)</script><img src=x onerror=alert(2)>" onclick="x" \'&lt;&amp;\u202e\x1b[31m'


def planned(bundle: Bundle) -> Plan:
    """The plan of a bundle on a machine that never changes."""
    check.require(bundle.config)
    return order.make(bundle, _HYBRID, order.Options(container_id=PLACEHOLDER))


def example(name: str) -> Plan:
    """The plan of a bundle example."""
    return planned(golden.load(name))


def hostile() -> Plan:
    """Hostile text wherever a config may have text that gets into a step."""
    config = default_config(_HOSTILE)
    config["hostname"] = "host"
    config["annotations"] = {"org.example." + _HOSTILE: _HOSTILE}
    config["process"]["args"] = [_HOSTILE, _HOSTILE]
    config["process"]["env"] = ["A=" + _HOSTILE]
    config["process"]["cwd"] = "/" + _HOSTILE
    config["linux"]["maskedPaths"] = ["/" + _HOSTILE]
    config["linux"]["cgroupsPath"] = "/" + _HOSTILE.replace("\x1b", "")
    config["mounts"].append(
        {"destination": "/" + _HOSTILE, "type": "bind", "source": "/" + _HOSTILE, "options": ["bind"]}
    )
    config["mounts"].append(
        {"destination": "/t", "type": _HOSTILE, "source": _HOSTILE, "options": [_HOSTILE]}
    )
    config["hooks"] = {
        "createRuntime": [{"path": "/" + _HOSTILE, "args": [_HOSTILE], "env": ["B=" + _HOSTILE]}]
    }
    return planned(Bundle("/bundles/" + _HOSTILE, _HOSTILE, json.dumps(config).encode()))


def traced(tmp_path: Path, made: Plan, failure: BaseException | None = None, verb: str = "run") -> str:
    """The page of a trace in which each step of a plan took one ms more than the one before."""
    path = tmp_path / "trace.html"
    trace = Trace(str(path), verb)
    trace._begun -= (10 + sum(range(len(made.steps) + 1))) * _MS
    trace._prepares = trace._begun + 2 * _MS
    moment = trace._begun + 5 * _MS
    for index, step in enumerate(made.steps):
        trace.add(index, step, moment, moment + (index + 1) * _MS)
        moment += (index + 1) * _MS
    trace.write(failure)
    return path.read_text(encoding="utf-8")


def steps_in(root: Element) -> list[Element]:
    """What the page shows of each step, in order."""
    return [one for one in root.all("li") if one.attributes.get("id", "").startswith("step-")]


def summary(item: Element) -> tuple[str, str, str]:
    """(number, what, property) of a step in the page."""
    (line,) = item.all("summary")
    pointers = line.all("code")
    return line.all("b")[0].text(), line.all("span")[0].text().strip(), pointers[0].text() if pointers else ""


def expected(index: int, step: Step) -> tuple[str, str, str]:
    """What `summary` must say of a step."""

    def safe(text: str) -> str:
        return (
            text
            if text.isprintable()
            else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
        )

    return str(index), safe(f"{step.name} {step.text}").strip(), safe(step.pointer)


@pytest.mark.parametrize("name", golden.names())
def test_the_page_of_a_plan_has_every_step(name: str) -> None:
    """In order, each with its number, words, property, subject and arguments; in a page that is well formed and small."""
    made = example(name)
    shown = page(f"bundle-examples/{name}/config.json", made)
    items = steps_in(read(shown))
    assert [summary(item) for item in items] == [expected(*pair) for pair in enumerate(made.steps, 1)]
    for item, step in zip(items, made.steps, strict=True):
        assert item.classes == {step.where, subject_of(step)}
        arguments = getattr(step, "args", {})
        least = len(arguments) if isinstance(arguments, dict) else len(tuple(arguments))
        assert len(item.all("dt")) >= 3 + least
    assert len(shown.encode()) < _FIXED + _EACH * len(made.steps)


@pytest.mark.parametrize("name", golden.names())
def test_the_page_of_a_trace_has_every_step(name: str, tmp_path: Path) -> None:
    """In the order of time, each with its property and duration, and a bar that is on the axis."""
    made = example(name)
    shown = traced(tmp_path, made)
    items = steps_in(read(shown))
    assert [summary(item) for item in items] == [expected(*pair) for pair in enumerate(made.steps, 1)]
    right = 0.0
    for number, (item, step) in enumerate(zip(items, made.steps, strict=True), 1):
        assert item.classes == {"host" if step.where == "host" else "init", step.where, subject_of(step)}
        assert item.all("small")[0].text() == f"{number}.000"
        (bar,) = item.all("rect")
        left, width = (float(bar.attributes[name].rstrip("%")) for name in ("x", "width"))
        assert left == pytest.approx(right, abs=0.01)
        right = left + width
    assert right <= 100.01
    assert len(shown.encode()) < _FIXED + 2 * _EACH * len(made.steps)


def test_what_a_config_says_is_text(tmp_path: Path) -> None:
    """Hostile names, arguments, paths, annotations and hooks come as text, and characters that reorder lines as escapes."""
    made = hostile()
    for shown in (page(_HOSTILE, made), traced(tmp_path, made, RuntimeFailure(_HOSTILE))):
        root = read(shown)
        assert [summary(item) for item in steps_in(root)] == [
            expected(*pair) for pair in enumerate(made.steps, 1)
        ]
        assert shown.count("alert(1)") > 10
        assert "<img" not in shown
        assert not any(letter in shown for letter in "\u202e\x1b")
        assert shown.isascii() or shown.replace("\u00b7", "").isascii()


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    """A path in another encoding is shown as an escape, on both pages."""
    config = default_config("true")
    config["process"]["cwd"] = "/x\udce9"
    made = planned(Bundle("/b", "config.json", json.dumps(config).encode()))
    assert "/x\\udce9" in page("x\udce9", made)
    assert "/x\\udce9" in traced(tmp_path, made)


def test_the_policy_of_a_page() -> None:
    """Nothing may be fetched or run, and the only style sheet is the one that the hash names."""
    hashed = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    assert f"sha256-{hashed}" == STYLE_HASH, f'STYLE_HASH = "sha256-{hashed}"'
    root = read(page("config.json", example("hello")))
    (policy,) = [one for one in root.all("meta") if "http-equiv" in one.attributes]
    wanted = f"default-src 'none'; style-src '{STYLE_HASH}'; base-uri 'none'; form-action 'none'"
    assert policy.attributes == {"http-equiv": "Content-Security-Policy", "content": wanted}
    (style,) = root.all("style")
    assert style.text() == STYLE
    assert not re.search(r"url\(|@import|https?:", STYLE)


def test_every_operation_has_a_subject() -> None:
    """Those of init and those of the host; and each subject has a colour, a class and a box that hides it."""
    assert set(_OF_INIT) == {name for name in INIT_OPS if name != "none"}
    assert set(_OF_MODULE) == set(OPS.values())
    assert {*_OF_INIT.values(), *_OF_MODULE.values()} <= set(SUBJECTS)
    for subject in SUBJECTS:
        assert STYLE.count(f"--{subject}:#") == 2, "light and dark"
        assert f".{subject}{{--c:var(--{subject})}}" in STYLE
        assert f"body:has(#show-{subject}:not(:checked)) main .{subject}" in STYLE


def luminance(colour: str) -> float:
    """WCAG 2, relative luminance."""
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(scheme: int) -> None:
    """Text has a contrast of 4.5, and colours of 3, on each ground: WCAG 2.2, 1.4.3 and 1.4.11."""
    colours = [
        dict(re.findall(r"--(\w+):#(\w+)", block))
        for block in re.findall(r":root\{(--bg.*?)\}", STYLE, re.DOTALL)
    ][scheme]
    for ground in ("bg", "card", "host", "soft"):
        for name, least in (("ink", 4.5), ("dim", 4.5), *((subject, 3.0) for subject in SUBJECTS)):
            light, dark = sorted((luminance(colours[ground]), luminance(colours[name])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= least, f"{name} on {ground}"


def tree(box: Box) -> list[object]:
    """The boxes in a box: (title, names, [boxes])."""
    return [(one.title, one.names, tree(one)) for one in box.children if isinstance(one, Box)]


_ROOT = ("its own root file system", [], [])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("hello", [("new namespaces", ["network", "ipc", "uts", "pid", "mount"], [_ROOT])]),
        (
            "userns",
            [
                (
                    "a helper, still in the host's namespaces",
                    [],
                    [
                        (
                            "new namespace",
                            ["user"],
                            [("new namespaces", ["network", "uts", "pid", "mount"], [("new namespace", ["ipc"], [_ROOT])])],
                        )
                    ],
                )
            ],
        ),
        (
            "joined-namespaces",
            [
                (
                    "a helper, still in the host's namespaces",
                    [],
                    [("joined namespaces", ["network", "uts"], [("new namespaces", ["ipc", "pid", "mount"], [_ROOT])])],
                )
            ],
        ),
    ],
)  # fmt: skip
def test_namespaces_are_nested_boxes(name: str, wanted: list[object]) -> None:
    """A box opens where a step makes or enters namespaces, a user namespace is around what it owns, the root is inside."""
    made = example(name)
    assert tree(boxes(made)) == wanted
    found = read(page("config.json", made)).all("li", "box")
    assert len(found) == str(wanted).count("(")
    inner = [step for step in made.steps if step.where == "init"][-1]
    assert summary(steps_in(found[-1])[-1])[1] == f"{inner.name} {inner.text}".strip()


def test_without_namespaces() -> None:
    """A container that shares all namespaces has a box all the same, which says so."""
    config = default_config("true")
    config.pop("hostname", None)
    config["linux"] = {"namespaces": [{"type": "mount"}]}
    assert tree(boxes(planned(Bundle("/b", "c", json.dumps(config).encode())))) == [
        ("new namespace", ["mount"], [_ROOT])
    ]
    shared = copy.deepcopy(config)
    shared["linux"] = {}
    shared["mounts"] = []
    (outer,) = tree(boxes(planned(Bundle("/b", "c", json.dumps(shared).encode()))))
    assert isinstance(outer, tuple)
    assert outer[:2] == ("in the host's namespaces", [])


def test_a_trace_that_failed_says_so(tmp_path: Path) -> None:
    """The page has the error; that of a success has no such line."""
    (line,) = read(traced(tmp_path, example("hello"), RuntimeFailure("not found"))).all("p", "failed")
    assert line.text() == "It failed. not found"
    assert not read(traced(tmp_path, example("hello"))).all("p", "failed")


def test_a_trace_without_steps(tmp_path: Path) -> None:
    """An operation that failed before its first step has a page too."""
    path = tmp_path / "trace.html"
    Trace(str(path), "create").write(RuntimeFailure("no such bundle"))
    assert "no such bundle" in read(path.read_text()).text()


def test_a_wait_that_began_before_start(tmp_path: Path) -> None:
    """In a trace of start, init has waited since create: its bar begins with the axis, and ends where the wait does."""
    path = tmp_path / "trace.html"
    trace = Trace(str(path), "start")
    trace._begun -= 1_000 * _MS
    waits, last = [
        pair for pair in example("hello").init_steps() if "start" in pair[1].text or pair[1].name == "exec"
    ]
    trace.add(*waits, trace._begun - 3_600_000 * _MS, trace._begun + 200 * _MS)
    trace.add(*last, trace._begun + 200 * _MS, trace._begun + 1_000 * _MS)
    trace.write()
    root = read(path.read_text())
    bars = [item.all("rect")[0].attributes for item in steps_in(root)]
    places = [(float(bar["x"].rstrip("%")), float(bar["width"].rstrip("%"))) for bar in bars]
    assert places[0] == (0, pytest.approx(20, abs=5))
    assert places[1] == (pytest.approx(places[0][1]), pytest.approx(80, abs=5))
    facts = [one.text() for one in root.all("header")[0].all("dt")]
    assert "ask init" not in facts, "no step began after the operation had"


def test_ticks_are_few_and_round() -> None:
    """From a microsecond to an hour, an axis has three to nine ticks, at 1, 2 or 5 times a power of ten."""
    for length in (1_000, 7_300, 50_000, 999_999, 8_000_001, 43 * _MS, 3_600_000 * _MS):
        ticks = Axis(12345, 12345 + length).ticks()
        assert 2 <= len(ticks) <= 9
        assert ticks[0] == 12345
        assert str(ticks.step).rstrip("0") in {"1", "2", "5"}


def test_escaped() -> None:
    """The five characters of HTML; what is not printable as in errors."""
    assert escaped("<a b=\"c\" d='&'>\n") == "&lt;a b=&quot;c&quot; d=&#x27;&amp;&#x27;&gt;\\n"
