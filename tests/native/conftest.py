# SPDX-License-Identifier: Apache-2.0
"""The command as a snapshot, built once for a session."""

from __future__ import annotations

import pytest

from ociruntime.cli.snapshot.build import BuildError, build, find_archive
from tests.harness.programs import compiled
from tests.native.snapshots import LAUNCHER

TELLING = r"""
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv, char **envp) {
  for (int i = 1; i < argc; i++) fwrite(argv[i], 1, strlen(argv[i]) + 1, stdout);
  fputs("--", stdout), fputc(0, stdout);
  for (; *envp; envp++) fwrite(*envp, 1, strlen(*envp) + 1, stdout);
  fputs("--", stdout), fputc(0, stdout);
  sigset_t mask;
  sigprocmask(SIG_BLOCK, NULL, &mask);
  for (int n = 1; n < NSIG; n++) {
    struct sigaction now;
    if (sigaction(n, NULL, &now) == 0 && (now.sa_handler == SIG_IGN || sigismember(&mask, n)))
      printf("%d%s ", n, sigismember(&mask, n) ? "blocked" : "");
  }
  return 42;
}
"""


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command."""
    try:
        find_archive()
    except BuildError as failure:
        pytest.skip(f"no static libpython: {failure}")
    target = tmp_path_factory.mktemp("snapshot") / "ociruntime"
    build(str(target))
    return str(target)


@pytest.fixture
def both(snapshot: str) -> tuple[str, str]:
    """The commands that are compared."""
    return LAUNCHER, snapshot


@pytest.fixture(scope="session")
def telling(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A snapshot whose "ordinary launcher" is a program that tells with what it has been called."""
    assert snapshot
    directory = tmp_path_factory.mktemp("telling")
    (directory / "telling.c").write_text(TELLING)
    launcher = compiled(directory / "telling.c", directory / "launcher")
    build(str(directory / "ociruntime"), launcher=str(launcher))
    return str(directory / "ociruntime")
