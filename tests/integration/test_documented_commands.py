# SPDX-License-Identifier: Apache-2.0
"""Are docs/start.md and docs/recipes.md true? Their commands are run as they are written, and print what is shown.

Only places are others: directories below /tmp, where containers are kept, and the container's name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.harness.driver import MARK, runtime_under_test

TREE = Path(__file__).parents[2]
PLACES = ("/tmp/box", "/tmp/judge", "/tmp/sandbox", "/tmp/report", "/tmp/image", "/tmp/bundle", "/tmp/trace")
DEMO = f"{MARK}-demo"


def block(page: str, heading: str, number: int = 0) -> list[str]:
    """The lines of the nth block of code below a heading."""
    text = (TREE / "docs" / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", text, re.MULTILINE)
    return [line[4:] for line in blocks[number].splitlines() if line]


class Reader:
    """Somebody who follows a page, in a shell in the repository's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        commands = directory / "bin"
        commands.mkdir()
        (commands / "ociruntime").write_text(
            f'#!/bin/sh\nexec {runtime_under_test()} --root {directory}/state "$@"\n'
        )
        (commands / "ociruntime").chmod(0o755)
        (commands / "python3").symlink_to(sys.executable)
        self.environment = {
            **os.environ,
            "PATH": f"{os.path.dirname(sys.executable)}:/usr/sbin:/usr/bin:/sbin:/bin",
        }

    def typed(self, line: str) -> str:
        """The line with other places and another name, without sudo and the remark behind it."""
        line = re.sub(r"   +\S.*$", "", line).replace("sudo ", "")
        line = re.sub(r"(\.venv/bin/|\b)ociruntime(?= )", str(self.directory / "bin/ociruntime"), line)
        return re.sub(r"\bdemo\b", DEMO, self.place(line))

    def place(self, text: str) -> str:
        """The text with our directories in place of those below /tmp."""
        for place in PLACES:
            text = text.replace(place, f"{self.directory}/{place.rpartition('/')[2]}")
        return text

    def run(self, *lines: str, expected: int = 0) -> str:
        """What the lines print, each in a shell of its own; all must end with this exit code."""
        output = ""
        for line in lines:
            # The container keeps its standard streams open, so a pipe would not end.
            with open(self.directory / "output", "w+", encoding="utf-8") as file:
                done = subprocess.run(
                    ["sh", "-c", self.typed(line)],
                    cwd=TREE,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    check=False,
                    timeout=60,
                )
                file.seek(0)
                output += (said := file.read())
            assert done.returncode == expected, (line, said)
        return output

    def sit_at(self, line: str, session: list[str]) -> None:
        """Run the line at a terminal, and type the inputs of a session, which begin with a prompt; the rest is what is printed."""
        terminal = pexpect.spawn(
            "sh",
            ["-c", self.typed(line)],
            cwd=TREE,
            env={**self.environment, "TERM": "dumb"},
            timeout=30,
            encoding="utf-8",
        )
        terminal.expect_exact("/ # ")
        for shown in session:
            if shown.startswith("/ # "):
                terminal.sendline(shown.removeprefix("/ # "))
                terminal.expect_exact("\n")  # the echo
            else:
                terminal.expect_exact(shown)
        terminal.expect(pexpect.EOF)
        terminal.close()


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Nothing is there yet."""
    return Reader(tmp_path)


def test_the_first_shell(reader: Reader) -> None:
    """Five commands; the last one starts a shell, in which the page's own session is typed."""
    build, *prepare, run = block("start.md", "Your first shell in a container")
    assert (build, len(prepare)) == (
        "sudo ./try hello",
        3,
    )  # the first is README's, for tests/fresh_machine.sh
    plan = reader.run(*prepare)
    reader.sit_at(run, block("start.md", "Your first shell in a container", 1))
    lines = [re.sub(r"^ *\d+ +", "", line).replace("cgroup, ", "") for line in plan.splitlines()]
    shown = [
        reader.place(re.sub(r"^ *\d+ +", "", line))
        for line in block("start.md", "What happened")
        if "  " in line
    ]
    assert len(shown) > 8
    assert [line for line in lines if line in shown] == shown


def test_what_happens_as_a_page(reader: Reader) -> None:
    """Both commands write a page."""
    reader.run(*block("start.md", "Your first shell in a container")[1:3])
    plan, run = block("start.md", "What happens, as a page")
    reader.run(plan)
    reader.sit_at(run, ["/ # exit"])
    for page in ("plan.html", "trace.html"):
        assert (reader.directory / "box" / page).read_text().startswith("<!DOCTYPE html>")


def test_the_mistake(reader: Reader) -> None:
    """`validate` names the property, as the page says."""
    reader.run(*block("start.md", "Your first shell in a container")[1:3])
    spoil, ask = block("start.md", "What happened", 1)
    reader.run(spoil)
    assert "/hostname" in reader.run(ask, expected=1)


def test_as_an_engine(reader: Reader) -> None:
    """From create to delete."""
    reader.run(*block("start.md", "Your first shell in a container")[1:3])
    lines = block("start.md", "As an engine does it")
    create = next(number for number, line in enumerate(lines) if " create " in line)
    reader.run(*lines[:create])
    try:
        said = {line.split()[2]: reader.run(line) for line in lines[create:]}
    finally:
        reader.run("ociruntime delete --force demo")
    assert list(said) == ["create", "state", "start", "exec", "list", "kill", "delete"]
    assert json.loads(said["state"])["status"] == "created"
    header, *processes = said["exec"].splitlines()
    assert ("PID" in header, len(processes)) == (True, 2)
    assert "running" in said["list"]


@pytest.mark.parametrize("heading", ["Run a program that you don't trust", "A sandbox for an agent"])
def test_programs_of_the_library(reader: Reader, heading: str) -> None:
    """The two examples print what is shown."""
    assert reader.run(*block("recipes.md", heading)).splitlines() == block("recipes.md", heading, 1)


def test_a_report(reader: Reader) -> None:
    """It says how the program ended."""
    said = reader.run(*block("recipes.md", "Run a program that you don't trust", 2))
    assert json.loads(said)["exitCode"] == 3


def bundle(reader: Reader) -> None:
    """The bundle that the page speaks of: a program that waits."""
    place = reader.place("/tmp/bundle")
    reader.run(f"bundle-examples/make-rootfs busybox {place}/rootfs", f"ociruntime spec --bundle {place}")
    config = Path(place, "config.json")
    text = config.read_text(encoding="utf-8").replace('"terminal": true', '"terminal": false')
    config.write_text(text.replace('"sh"', '"sleep", "1"'), encoding="utf-8")


def test_something_does_not_work(reader: Reader) -> None:
    """All commands of that recipe, on a bundle that works, and on its container."""
    bundle(reader)
    heading = "Something does not work"
    reader.run(*block("recipes.md", heading))
    trace = json.loads(Path(reader.place("/tmp/trace.json")).read_text(encoding="utf-8"))
    assert trace
    config = Path(reader.place("/tmp/bundle/config.json"))
    config.write_text(config.read_text(encoding="utf-8").replace('"1"', '"100"'), encoding="utf-8")
    try:
        reader.run("ociruntime create --bundle /tmp/bundle demo", "ociruntime start demo")
        said = [reader.run(line) for line in block("recipes.md", heading, 1)]
    finally:
        reader.run("ociruntime delete --force demo")
    assert json.loads(said[0])["state"]["id"] == DEMO
    assert "sleep" in said[1]
    assert "Name:" in said[2]
    assert json.loads(said[3])["id"] == DEMO


def test_another_runtime(reader: Reader) -> None:
    """Compare and gc."""
    bundle(reader)
    reader.run(*block("recipes.md", "Something does not work", 2))


def test_a_container_from_an_image(reader: Reader) -> None:
    """The image is one of ours, in a directory, so that nothing is fetched."""
    missing = [name for name in ("skopeo", "umoci") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed (apt-get install skopeo umoci)")
    source, unpacked = reader.directory / "source", reader.directory / "unpacked"
    reader.run(
        f"umoci init --layout {source}",
        f"umoci new --image {source}:latest",
        f"umoci config --image {source}:latest --config.cmd /bin/sh",
        f"umoci unpack --image {source}:latest {unpacked}",
        f"rmdir {unpacked}/rootfs; bundle-examples/make-rootfs busybox {unpacked}/rootfs",
        f"umoci repack --image {source}:latest {unpacked}",
    )
    copy, unpack, run = block("recipes.md", "A container from an image")
    reader.run(copy.replace("docker://busybox:latest", f"oci:{source}:latest"), unpack)
    reader.sit_at(run, ["/ # echo I am $$", "I am 1", "/ # exit"])
