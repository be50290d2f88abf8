# SPDX-License-Identifier: Apache-2.0
"""Are the pages for people true? Commands, outputs, links, and the files and verbs that they name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ociruntime.cli import flags

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "specs/*.md", "tests/vm/*.md", "bundle-examples/**/README.md")
    for path in REPOSITORY.glob(pattern)
    if path.is_file()
)


def page(name: str) -> str:
    """The text of a page."""
    return (REPOSITORY / name).read_text(encoding="utf-8")


def indented(text: str) -> str:
    """The text as a block of code."""
    return "".join(f"    {line}" for line in text.splitlines(keepends=True))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every link to a file of the repository is one."""
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    broken = [one for one in targets if "://" not in one and not (path.parent / one).exists()]
    assert broken == []


@pytest.mark.parametrize("shelf", ["docs", "docs/internals", "docs/evidence"])
def test_each_shelf_has_an_index(shelf: str) -> None:
    """Its README links to every page beside it, and docs/README.md to the README of the other two."""
    directory = REPOSITORY / shelf
    linked = set(re.findall(r"\]\(([^)#]+)\)", (directory / "README.md").read_text(encoding="utf-8")))
    assert {path.name for path in directory.glob("*.md")} - {"README.md"} - linked == set()
    if shelf == "docs":
        assert {"internals/README.md", "evidence/README.md"} <= linked


def test_pages_that_use_r_numbers_link_to_their_legend() -> None:
    """Who reads R092 on a page of specs/ or docs/ finds there where R numbers are explained."""
    legend = "README.md#r-numbers"
    using = [path for path in PAGES if re.search(r"\bR[0-2]\d\d\b", path.read_text(encoding="utf-8"))]
    assert len(using) > 5
    without = [path for path in using if legend not in path.read_text(encoding="utf-8")]
    assert without == [REPOSITORY / "docs/evidence/README.md"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_pages_fit_on_a_screen(path: Path) -> None:
    """Running text is at most 140 characters wide; tables and code are as wide as they must be."""
    wide = [
        number
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 140 and not line.startswith(("|", "    "))
    ]
    assert wide == []


def test_readme_shows_the_two_commands() -> None:
    """Each on a line of its own, as tests/fresh_machine.sh reads them; the first prints what is shown."""
    readme = page("README.md")
    assert re.findall(r"^ *(?:sudo )?(\./(?:try|check)[^#\n]*)$", readme, re.MULTILINE) == [
        "./try hello",
        "./check",
    ]
    assert "    sudo ./try hello\n" in readme
    assert indented(page("bundle-examples/hello/output.txt")) in readme


def test_readme_s_first_screen() -> None:
    """What it is, for whom, one command, a picture and the chart: all before the first heading."""
    first = page("README.md").partition("\n## ")[0]
    for part in (
        "An OCI container runtime",
        "For whom?",
        "    sudo ./try hello",
        "docs/picture.svg",
        "performance.svg",
    ):
        assert part in first, part
    assert re.findall(r"^    (sudo .*|\./.*)$", first, re.MULTILINE) == ["sudo ./try hello"]


def test_pictures_are_drawn_for_light_and_dark() -> None:
    """Each is well-formed, has a title for who can't see it, and takes the colours of the page."""
    pictures = [path for path in (REPOSITORY / "docs").rglob("*.svg") if "evidence" not in path.parts]
    assert pictures
    for path in pictures:
        tree = ET.parse(path)
        assert tree.findtext("{http://www.w3.org/2000/svg}title"), path
        assert "prefers-color-scheme:dark" in path.read_text(encoding="utf-8"), path


def test_readme_s_plan_is_real() -> None:
    """The lines are those of hello's plan on a machine with cgroup v2, some left out."""
    plan = [line.strip() for line in page("bundle-examples/hello/plan-v2.txt").splitlines()]
    shown = re.findall(r"^ +(\d+  (?:host|init|sync)  .*)$", page("README.md"), re.MULTILINE)
    assert len(shown) > 15
    assert [line for line in plan if line in shown] == shown
    assert "  init  exec /bin/sh " in plan[-1], "README says that the last one executes /bin/sh"


def test_the_verbs_are_listed_once() -> None:
    """docs/command-line.md has all of them; no other page has such a list, which would have to be kept true as well."""
    listed = re.findall(r"^## ([a-z]+)$", page("docs/command-line.md"), re.MULTILINE)
    assert set(listed) == {*flags.VERBS, *flags.LATER}
    for path in PAGES:
        rows = re.findall(r"^\| `([a-z]+)` \|", path.read_text(encoding="utf-8"), re.MULTILINE)
        again = set(rows) & set(flags.VERBS)
        assert len(again) < 4, (path, again)


def test_readme_names_what_others_lack() -> None:
    """The verbs that no other runtime has, and where those stand that this one doesn't have."""
    readme = page("README.md")
    for verb in ("validate", "plan", "gc", "compare", "doctor"):
        assert verb in flags.VERBS
        assert f"`{verb}`" in readme
    assert "](specs/not-supported.md)" in readme


def test_architecture_knows_every_file() -> None:
    """Each module of the package, and each directory of it, is in the page; and no other."""
    text = page("docs/architecture.md")
    package = REPOSITORY / "ociruntime"
    names = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.name
        not in {
            "__init__.py",
            "__main__.py",
            "_config_validator.py",
            "_seccomp.py",
            "_build.py",
        }
        and path.parent.name not in {"verbs", "cgroups"}
    }
    assert sorted(name for name in names if f"`{name}`" not in text) == []
    named = {name for name in re.findall(r"`([a-z_/]+\.(?:py|pyi|c|h|txt))`", text) if name != "python3"}
    assert sorted(name for name in named if not (package / name).exists()) == []


def test_pages_name_no_private_machine() -> None:
    """No page has a home directory or a registry's host."""
    private = re.compile(
        r"/home/[a-z]|/work/main|/var/folders|pypi\.|docker\.io|ghcr\.io|quay\.io|deb\.debian"
    )
    for path in PAGES:
        assert private.findall(path.read_text(encoding="utf-8")) == [], path


def test_changelog_keeps_its_form() -> None:
    """Keep a Changelog: the newest first, sections with known names."""
    text = page("CHANGELOG.md")
    assert re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)[0] == "Unreleased"
    sections = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_commands_of_the_pages_exist() -> None:
    """`python -m tests.unit.golden` and the scripts that the pages tell people to run are there."""
    for name in ("check", "try", "bundle-examples/make-rootfs", "tests/fresh_machine.sh"):
        assert os.access(REPOSITORY / name, os.X_OK), name
    commands = page("CONTRIBUTING.md") + page("bundle-examples/README.md")
    modules = set(re.findall(r"-m (tests\.[a-z]+(?:\.[a-z]+)*)", commands))
    assert len(modules) >= 2
    for module in modules:
        file = REPOSITORY / module.replace(".", "/")
        assert file.with_suffix(".py").is_file() or (file / "__main__.py").is_file(), module
    files = re.findall(r"\btests/[a-z_/]+\.(?:py|toml|sh)\b", "".join(path.read_text() for path in PAGES))
    for name in [*re.findall(r"sudo (tests/\S+)", commands), *files]:
        assert (REPOSITORY / name).is_file(), name


def test_security_numbers_each_invariant() -> None:
    """The rows are numbered from 1 on, in order; each names an attack that is there."""
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", page("SECURITY.md"), re.MULTILINE)
    table = page("SECURITY.md").split("## Invariants")[1].split("\n## ")[0]
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert table.count("\n|") == len(rows) + 2, "a row without a number"
    for number, row in rows:
        named = re.findall(r"`((?:tests/\w+/)?test_\w+\.py)`", row.split(" | ")[-1])
        assert named, number
        for name in named:
            path = REPOSITORY / (name if name.startswith("tests/") else f"tests/security/{name}")
            assert path.is_file(), (number, name)
