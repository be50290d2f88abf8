# SPDX-License-Identifier: Apache-2.0
"""How does a test call a runtime's command? One class for ours, runc and crun, with a private --root.

RUNTIME=ociruntime|launcher|runc|crun, or an absolute path, chooses the runtime under test; launcher is our command in its
ordinary form (command.py).
Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from tests.harness import command

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.harness.bundle import Bundle

# How many times as long as usual everything may take; the virtual machine of tests/vm, which emulates, sets it.
PATIENCE = float(os.environ.get("OCIRUNTIME_TEST_PATIENCE", "1"))
TIMEOUT = 30.0 * PATIENCE
# Others that tests compare with.
PEERS = ("runc", "crun")
# What every id, cgroup and directory of this test session (or worker) begins with; no mark is the beginning of another.
MARK = f"ociruntime-test-{os.getpid():06x}"
MARK_VARIABLE = "OCIRUNTIME_TEST_MARK"
# Which cgroup driver every runtime is told to use: "systemd", in a machine of tests/systemd; else its default.
DRIVER_VARIABLE = "OCIRUNTIME_TEST_DRIVER"
DRIVER = os.environ.get(DRIVER_VARIABLE, "")
# A fixed environment: what the tests see must not depend on the shell that started them.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    MARK_VARIABLE: MARK,
}


@dataclass(frozen=True)
class Result:
    """How one call of the command ended; `by` is the runtime's name, or nothing for an engine that called it."""

    code: int
    out: str
    err: str
    seconds: float
    by: str = ""

    def ok(self) -> Result:
        """Itself, after a check that the call succeeded."""
        assert self.code == 0, f"exit {self.code}: {self.err or self.out}"
        return self

    def refused(self, word: str, *words: str) -> Result:
        """Itself, after a check that it failed with one line of error that has all these words: a pointer, a reason.

        Any failure would do without them: a verb that is gone, a bug. A peer says it in its own words.
        """
        assert self.code != 0, f"succeeded: {self.out}"
        assert "Traceback" not in self.err, self.err
        if self.by in PEERS:
            return self
        if self.by:
            errors = [line for line in self.err.splitlines() if _is_error(line, self.by)]
            assert len(errors) == 1, f"{len(errors)} lines of error: {self.err!r}"
        assert "internal error" not in self.err, self.err
        for one in (word, *words):
            assert one in self.err, f"{one!r} is not in: {self.err}"
        return self


def _is_error(line: str, program: str) -> bool:
    """Whether the runtime says with this line why it failed, as text or as JSON; a warning doesn't."""
    if line.startswith("{"):
        return '"level":"error"' in line
    return line.startswith(f"{program}: ") and not line.startswith(f"{program}: warning: ")


def decode(data: bytes) -> str:
    """Bytes of a program as text; what is not UTF-8 survives."""
    return data.decode("utf-8", "surrogateescape")


class Runtime:
    """The command of one runtime, with a --root of its own."""

    def __init__(self, name: str, root: Path, scratch: Path) -> None:
        self.command = command_of(name)
        self.name = os.path.basename(name)
        self.root = root
        self.scratch = scratch

    def __repr__(self) -> str:
        return f"Runtime({self.name!r})"

    def argv(self, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """The command line: global `options`, then verb and arguments."""
        driver = ["--systemd-cgroup"] if DRIVER == "systemd" and "--cgroup-manager" not in options else []
        return [*self.command, "--root", str(self.root), *driver, *options, *arguments]

    def start_call(
        self,
        *arguments: str,
        options: Sequence[str] = (),
        out: int | IO[bytes] = subprocess.PIPE,
        err: int | IO[bytes] = subprocess.PIPE,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        pass_fds: Sequence[int] = (),
        ignore_signals: Sequence[signal.Signals] = (),
    ) -> subprocess.Popen[bytes]:
        """Start the command and return at once."""
        command = self.argv(*arguments, options=options)
        if ignore_signals:
            command = [*_ignoring(ignore_signals), *command]
        how: dict[str, Any] = {
            "stdout": out, "stderr": err, "cwd": cwd, "pass_fds": pass_fds,
            "env": ENVIRONMENT if env is None else dict(env),
        }  # fmt: skip
        if self.name == "crun" and stdin == subprocess.DEVNULL:
            # With a user namespace it gives its stdin to the container's root: never the host's /dev/null.
            with open(self.scratch / "no-input", "a+b") as empty:
                return subprocess.Popen(command, stdin=empty, **how)
        return subprocess.Popen(command, stdin=stdin, **how)

    def call(self, *arguments: str, timeout: float = TIMEOUT, **how: Any) -> Result:
        """Run the command to its end, with its output in pipes that are read to EOF."""
        began = time.monotonic()
        process = self.start_call(*arguments, **how)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as late:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            raise AssertionError(
                f"{self.name} {arguments[0]}: not ended, or its output still held, after {timeout} s: "
                f"{decode((late.stdout or b'') + (late.stderr or b''))}"
            ) from None
        seconds = time.monotonic() - began
        return Result(process.returncode, decode(out or b""), decode(err or b""), seconds, self.name)

    def prepare(self, bundle: Bundle) -> None:
        """Make the bundle readable for this runtime: crun 1.8 refuses ociVersion above 1.0."""
        version = bundle.config.get("ociVersion")
        if self.name == "crun" and isinstance(version, str) and re.match(r"1\.[123]\.\d+", version):
            bundle.config["ociVersion"] = "1.0.2"
            bundle.write()

    def ids(self) -> list[str]:
        """The ids that have a state directory; @ is in none, but in the name of what belongs to no container."""
        names = os.listdir(self.root) if self.root.is_dir() else []
        return sorted(name for name in names if not name.startswith("@"))


def _ignoring(signals: Sequence[signal.Signals]) -> list[str]:
    """A command prefix that starts the rest with these signals ignored."""
    names = " ".join(one.name.removeprefix("SIG") for one in signals)
    return ["/bin/sh", "-c", f"trap '' {names}; exec \"$@\"", "sh"]


def command_of(name: str) -> list[str]:
    """The absolute command line of a runtime: a peer's on PATH, or ours beside this interpreter."""
    if os.path.isabs(name):
        return [name]
    if name == "ociruntime":
        path = command.our_command() if os.path.exists(command.LAUNCHER) else None
    else:
        path = shutil.which(name, path=ENVIRONMENT["PATH"])
    if path is None:
        remedy = "pip install -e ." if name == "ociruntime" else f"apt-get install {name}"
        raise FileNotFoundError(f"no command {name}: {remedy}")
    return [path]


def runtime_under_test() -> str:
    """The name (or absolute path) of the runtime that the tests are about."""
    name = os.environ.get("RUNTIME", "ociruntime")
    return "ociruntime" if name == "launcher" else name


class Container:
    """One container that a test makes: its id, bundle and files for its output."""

    def __init__(self, runtime: Runtime, bundle: Bundle, container_id: str) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.id = container_id
        self.created = False
        self.out_file = runtime.scratch / f"{container_id}.out"
        self.err_file = runtime.scratch / f"{container_id}.err"

    def create(self, *flags: str, options: Sequence[str] = (), **how: Any) -> Result:
        """`create`, with files as the container's output; `err` has what the runtime and the container wrote."""
        self.runtime.prepare(self.bundle)
        with open(self.out_file, "wb") as out, open(self.err_file, "wb") as err:
            result = self.runtime.call(
                "create", "--bundle", str(self.bundle.directory), *flags, self.id,
                options=options, out=out, err=err, **how,
            )  # fmt: skip
        self.created = self.created or result.code == 0
        return Result(result.code, self.output(), self.errors(), result.seconds, result.by)

    def run(self, *flags: str, options: Sequence[str] = (), **how: Any) -> Result:
        """`run` in the foreground (unless --detach is among the flags), output in pipes."""
        self.runtime.prepare(self.bundle)
        result = self.runtime.call(
            "run", "--bundle", str(self.bundle.directory), *flags, self.id, options=options, **how
        )
        if result.code == 0 and ("--detach" in flags or "-d" in flags or "--keep" in flags):
            self.created = True
        return result

    def begin_run(self, *flags: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start `run` and return at once."""
        self.runtime.prepare(self.bundle)
        return self.runtime.start_call("run", "--bundle", str(self.bundle.directory), *flags, self.id, **how)

    def start(self, **how: Any) -> Result:
        return self.runtime.call("start", self.id, **how)

    def exec(self, *program: str, flags: Sequence[str] = (), **how: Any) -> Result:
        """`exec` in the foreground, output in pipes."""
        return self.runtime.call("exec", *flags, self.id, *program, **how)

    def kill(self, *signal_and_flags: str, **how: Any) -> Result:
        return self.runtime.call("kill", self.id, *signal_and_flags, **how)

    def delete(self, *flags: str, **how: Any) -> Result:
        result = self.runtime.call("delete", *flags, self.id, **how)
        if result.code == 0:
            self.created = False
        return result

    def state(self) -> dict[str, Any]:
        """The state document; the call must succeed."""
        document = json.loads(self.runtime.call("state", self.id).ok().out)
        assert isinstance(document, dict)
        return document

    def status(self) -> str:
        """The state's status, or "" when there is no such container."""
        result = self.runtime.call("state", self.id)
        return str(json.loads(result.out)["status"]) if result.code == 0 else ""

    def wait_for(self, status: str, seconds: float = 10.0) -> None:
        """Wait until the container has this status."""
        end = time.monotonic() + seconds * PATIENCE
        while (now := self.status()) != status:
            assert time.monotonic() < end, f"{self.id} is {now or 'gone'}, not {status}, after {seconds} s"
            time.sleep(0.02)

    def wait_for_output(self, text: str, seconds: float = 10.0) -> None:
        """Wait until the container has written `text` on its stdout file."""
        end = time.monotonic() + seconds * PATIENCE
        while text not in self.output():
            assert time.monotonic() < end, f"no {text!r} in {self.output()!r} after {seconds} s"
            time.sleep(0.02)

    def output(self) -> str:
        return decode(self.out_file.read_bytes())

    def errors(self) -> str:
        return decode(self.err_file.read_bytes())

    def finish(self) -> str:
        """start, wait for the end, delete; returns what the program wrote on stdout."""
        self.start().ok()
        self.wait_for("stopped")
        self.delete().ok()
        return self.output()
