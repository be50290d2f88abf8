# SPDX-License-Identifier: Apache-2.0
"""Do the newest commits have the form that CONTRIBUTING.md asks for? Subject `area: words`, and a body that says why."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness import skips

REPOSITORY = Path(__file__).parents[2]
COUNT = 30
LONGEST = 72

# Commits authored before this moment don't count: the rule is younger, and some of them have no body.
BEGIN = "2026-12-01T06:15:00+00:00"

_AREA = r"(?:English|[a-z][a-z0-9_./-]*)"
_SUBJECT = re.compile(rf"{_AREA}(?:, {_AREA})*: \S.*")
_TRAILER = re.compile(
    r"(?:Signed-off-by|Co-authored-by|Reviewed-by|Acked-by|Tested-by|Change-Id): ", re.IGNORECASE
)


class Commit(NamedTuple):
    """One commit; `authored` is its date, as ISO 8601 in UTC."""

    name: str
    authored: str
    subject: str
    body: str


def newest(directory: Path, count: int) -> list[Commit]:
    """The newest commits but merges, whose words are git's, or as many of them as a shallow clone has."""
    command = [
        "git",
        "-c",
        f"safe.directory={directory}",
        "-C",
        str(directory),
        "log",
        "--no-merges",
        f"-{count}",
    ]
    form = ["--date=format-local:%Y-%m-%dT%H:%M:%S+00:00", "--format=%h%x00%ad%x00%s%x00%b%x1e"]
    done = subprocess.run(
        [*command, *form], env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}, capture_output=True, check=True
    )
    records = done.stdout.decode("utf-8", "replace").split("\x1e")
    return [Commit(*record.strip("\n").split("\0")) for record in records if record.strip()]


def mistakes(subject: str, body: str) -> list[str]:
    """What is wrong with the form of a commit."""
    found = []
    if not _SUBJECT.fullmatch(subject):
        found.append("the subject is not `area: words`")
    if len(subject) > LONGEST:
        found.append(f"the subject has {len(subject)} characters, more than {LONGEST}")
    if subject.endswith("."):
        found.append("the subject ends with a full stop")
    said = [line for line in body.splitlines() if line.strip() and not _TRAILER.match(line)]
    if not said:
        found.append("no body says why")
    return found


def test_the_newest_commits_have_the_form() -> None:
    """The newest thirty, as far as they are younger than the rule."""
    if skips.HOST_KINDS["no git history"]():
        pytest.skip(
            "there is no git history here: clone the repository, and install git, to check its commits"
        )
    wrong = [
        f"{commit.name} {commit.subject!r}: {mistake}"
        for commit in newest(REPOSITORY, COUNT)
        if commit.authored >= BEGIN
        for mistake in mistakes(commit.subject, commit.body)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "subject",
    [
        "mounts: keep nosuid of a bind's source",
        "cgroups, mounts: refuse paths that the kernel can't take",
        "tests/vm: wait for the agent",
        "linux/cgroups: thaw what the container froze",
        "x: " + 69 * "y",
    ],
)
def test_good_commits_pass(subject: str) -> None:
    """One area or several, up to 72 characters."""
    assert mistakes(subject, "It was lost.\n") == []


@pytest.mark.parametrize(
    ("subject", "body", "mistake"),
    [
        ("keep nosuid", "Why.", "area: words"),
        ("mounts:keep nosuid", "Why.", "area: words"),
        ("mounts: ", "Why.", "area: words"),
        ("Mounts: keep nosuid", "Why.", "area: words"),
        ("mounts and binds: keep nosuid", "Why.", "area: words"),
        ("Merge branch 'topic'", "", "area: words"),
        ("", "Why.", "area: words"),
        ("mounts: keep nosuid.", "Why.", "full stop"),
        ("x: " + 70 * "y", "Why.", "73 characters"),
        ("mounts: keep nosuid", "", "no body"),
        ("mounts: keep nosuid", " \n\n", "no body"),
        ("mounts: keep nosuid", "Signed-off-by: A <a@example.org>\n", "no body"),
    ],
)
def test_bad_commits_are_found(subject: str, body: str, mistake: str) -> None:
    """Each by the words that tell what is wrong."""
    assert [one for one in mistakes(subject, body) if mistake in one]


def test_commits_are_read_as_they_are(tmp_path: Path) -> None:
    """Subjects, bodies of several lines and dates come from git, the newest first; merges are left out."""
    if skips.HOST_KINDS["no git history"]():
        pytest.skip(
            "there is no git history here: clone the repository, and install git, to check its commits"
        )
    git = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    for number in (1, 2):
        words = ["-m", f"area: number {number}", "-m", "Why\nso."]
        date = f"2030-01-0{number}T01:00:00+02:00"
        environment = {**os.environ, "GIT_COMMITTER_DATE": date}
        command = [*git, "commit", "-q", "--allow-empty", "--date", date, *words]
        subprocess.run(command, env=environment, check=True)
    merge = ["merge", "-q", "--no-ff", "-m", "Merge branch 'topic'", "topic"]
    for words in (["branch", "topic"], ["reset", "-q", "--hard", "HEAD~1"], merge):
        subprocess.run([*git, *words], check=True)
    assert [commit[1:] for commit in newest(tmp_path, COUNT)] == [
        ("2030-01-01T23:00:00+00:00", "area: number 2", "Why\nso."),
        ("2029-12-31T23:00:00+00:00", "area: number 1", "Why\nso."),
    ]
