# SPDX-License-Identifier: Apache-2.0
"""Do the pages of `plan --format html` and `--trace FILE.html` work in a browser? Chromium, without a network.

Their pictures are kept: in the directory ARTEFACTS, by default `artefacts` in the repository. What needs no browser is in
tests/unit/test_page.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import browser as browsers
from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.browser import Browser
    from tests.harness.stage import Stage

pytestmark = [
    pytest.mark.skipif(
        runtime_under_test() in PEERS,
        reason="plan and --trace are this runtime's: run with RUNTIME=ociruntime",
    ),
    pytest.mark.skipif(
        not browsers.chromium(),
        reason="no Chromium: apt-get install chromium-headless-shell, or let CHROMIUM name one",
    ),
]

_ARTEFACTS = Path(os.environ.get("ARTEFACTS") or Path(__file__).parents[2] / "artefacts")
_PAGES = ("plan", "trace")
_SEEN = """[...document.querySelectorAll('main li[id]')].map(item => {
    const box = item.querySelector('summary').getBoundingClientRect()
    return [item.id, item.querySelector('b').innerText, box.width > 50 && box.height > 9 && box.left >= 0]
})"""
_HIDDEN = "[...document.querySelectorAll('main li.mounts[id]')].filter(item => item.offsetHeight == 0).length"
_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def browser() -> Iterator[Browser]:
    """One for each test: its processes come and go, and the check for what a test leaves behind would see them."""
    made = browsers.Browser()
    yield made
    made.close()


@pytest.fixture
def pages(stage: Stage) -> dict[str, Path]:
    """Both pages of a container with everything that a page may have to show."""

    def edit(config: dict[str, Any]) -> None:
        config["hooks"] = {
            "createRuntime": [{"path": "/bin/true", "args": ["<script>document.title = 'run'</script>"]}]
        }
        config["process"]["args"] = ["sh", "-c", "true '<img src=http://127.0.0.1/x onerror=alert(1)>'"]

    container = stage.container(edit=edit)
    found = {name: stage.directory / f"{name}.html" for name in _PAGES}
    shown = container.runtime.call("plan", "--format", "html", str(container.bundle.directory)).ok()
    found["plan"].write_text(shown.out)
    container.run(options=["--trace", str(found["trace"])]).ok()
    steps = container.runtime.call("plan", "--format", "json", str(container.bundle.directory)).ok().out
    (stage.directory / "plan.json").write_text(steps)
    return found


def numbers(stage: Stage) -> list[int]:
    """Of all steps that `plan --format json` has."""
    return [step["index"] for step in json.loads((stage.directory / "plan.json").read_text())["steps"]]


@pytest.mark.parametrize("name", _PAGES)
def test_every_step_is_seen(name: str, pages: dict[str, Path], stage: Stage, browser: Browser) -> None:
    """In light and dark, wide, narrow and on paper: each step, no word on the console, nothing wider than the page.

    Nothing but the file itself is asked for, and there is no network.
    """
    _ARTEFACTS.mkdir(exist_ok=True)
    looks = {
        "light": {"width": 1400},
        "dark": {"width": 1400, "dark": True},
        "narrow": {"width": 400},
        "between": {"width": 900},
    }
    pictures = set()
    for look, settings in looks.items():
        browser.open(pages[name], **settings)
        seen = browser.value(_SEEN)
        assert sorted(int(step) for _, step, _ in seen) == numbers(stage), look
        assert [step for step, _, visible in seen if not visible] == [], look
        assert browser.value(_OVERFLOW) <= 0, look
        assert browser.complaints() == []
        assert browser.requests() == [pages[name].as_uri()]
        picture = browser.picture(whole=True)
        assert picture.startswith(b"\x89PNG")
        pictures.add(picture)
        (_ARTEFACTS / f"{name}-{look}.png").write_bytes(picture)
    assert len(pictures) == len(looks), "each look has its own"
    assert browser.value("document.title") == (
        f"plan: {stage.directory}/bundle-1/config.json" if name == "plan" else "trace: run"
    )
    paper = browser.paper()
    assert paper.startswith(b"%PDF")
    (_ARTEFACTS / f"{name}.pdf").write_bytes(paper)


@pytest.mark.parametrize("name", _PAGES)
def test_the_policy_holds(name: str, pages: dict[str, Path], browser: Browser) -> None:
    """A script, a style and a picture that were got into a page after all are refused, and the console says so."""
    page = pages[name]
    text = page.read_text()
    foreign = "<script>document.title = 'run'</script><style>main{display:none}</style><img src=\"http://127.0.0.1/x\">"
    page.write_text(text.replace("<main", f"{foreign}<main"))
    browser.open(page)
    assert browser.value("document.title") != "run"
    assert browser.value("document.querySelector('main').offsetHeight") > 1000
    words = json.dumps(browser.complaints())
    assert words.count("Content Security Policy") == 3


@pytest.mark.parametrize("name", _PAGES)
def test_by_keyboard(name: str, pages: dict[str, Path], browser: Browser) -> None:
    """Tab goes through the subjects and then through the steps in order; space hides a subject, Enter opens a step."""
    browser.open(pages[name])
    subjects = browser.value("document.querySelectorAll('input').length")
    for _ in range(subjects):
        browser.press("Tab")
        if browser.value("document.activeElement.id") == "show-mounts":
            assert browser.value(_HIDDEN) == 0
            assert (
                browser.value("getComputedStyle(document.activeElement.parentElement).outlineStyle")
                == "solid"
            )
            browser.press(" ")
    mounts = browser.value("document.querySelectorAll('main li.mounts[id]').length")
    assert browser.value(_HIDDEN) == mounts > 5
    for number in (1, 2, 3):
        browser.press("Tab")
        assert browser.value("document.activeElement.closest('li').id") == f"step-{number}"
    assert browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert not browser.value("document.activeElement.parentElement.open")
    browser.press("Enter")
    assert browser.value("document.activeElement.parentElement.open")
    shown = browser.value("document.activeElement.parentElement.querySelector('dl').innerText")
    assert "subject" in shown


def test_bars_have_one_axis(pages: dict[str, Path], browser: Browser) -> None:
    """In the trace, host and container have columns of their own; a bar is where its step's times put it, on each row."""
    browser.open(pages["trace"])
    places = browser.value(
        "[...document.querySelectorAll('main li[id]')].map(item => {"
        "const at = item.querySelector('rect').getBoundingClientRect(), row = item.querySelector('svg').getBoundingClientRect();"
        "return [item.classList.contains('init'), item.querySelector('strong').getBoundingClientRect().left,"
        " row.left, row.right, at.left, at.right]})"
    )
    lanes = {side: {round(one[1]) for one in places if one[0] is side} for side in (False, True)}
    assert [len(columns) for columns in lanes.values()] == [1, 1]
    assert min(lanes[True]) - max(lanes[False]) > 50
    assert len({(round(one[2]), round(one[3])) for one in places}) == 1
    assert all(one[2] - 2 <= one[4] <= one[5] <= one[3] + 2 for one in places)


@pytest.mark.parametrize("how", ["failure", "start", "exec"])
def test_pages_of_other_traces(how: str, stage: Stage, browser: Browser) -> None:
    """A failure is named at the top; start and exec have pages too."""
    path = stage.directory / "other.html"
    options = ["--trace", str(path)]
    if how == "failure":
        stage.container("no-such-program").run(options=options).refused("not found")
    elif how == "start":
        container = stage.in_state("created")
        stage.runtime.call("start", container.id, options=options).ok()
    else:
        stage.runtime.call("exec", stage.running().id, "true", options=options).ok()
    browser.open(path)
    assert browser.complaints() == []
    shown = browser.value("document.body.innerText")
    last = {"failure": "executable file not found", "start": "exec sleep 100", "exec": "exec true"}[how]
    assert last in shown
    assert browser.value("document.querySelector('.failed') !== null") is (how == "failure")
    assert all(visible for _, _, visible in browser.value(_SEEN))
