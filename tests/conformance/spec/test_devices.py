# SPDX-License-Identifier: Apache-2.0
"""config-linux.md, Devices and Default Devices; runtime-linux.md, Dev symbolic links: what is in the container's /dev?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.spec.departs import departs
from tests.harness.configuration import Config, set_capabilities, writable_root

if TYPE_CHECKING:
    from tests.harness.stage import Stage

_STAT = "stat -c '%n %F %t:%T %a %u:%g'"


def _device(path: str, kind: str, *numbers: int, **more: Any) -> Config:
    return {"path": path, "type": kind, **dict(zip(("major", "minor"), numbers, strict=False)), **more}


def _with(*devices: Config) -> Any:
    def edit(config: Config) -> None:
        writable_root(config)
        config["linux"]["devices"] = list(devices)

    return edit


def test_listed_devices(stage: Stage) -> None:
    """R105, R106, R108, R109: each type, numbers, mode and owner are those of the entry, anywhere in the root."""
    devices = (
        _device("/dev/a", "c", 1, 3, fileMode=0o640, uid=7, gid=8),
        _device("/dev/below/u", "u", 1, 5, fileMode=0o600),
        _device("/work/b", "b", 4095, 7, fileMode=0o660, uid=0, gid=5),
        _device("/work/p", "p", fileMode=0o622, uid=1, gid=2),
    )
    out = stage.show(f"{_STAT} /dev/a /dev/below/u /work/b /work/p", edit=_with(*devices))
    assert out.splitlines() == [
        "/dev/a character special file 1:3 640 7:8",
        "/dev/below/u character special file 1:5 600 0:0",
        "/work/b block special file fff:7 660 0:5",
        "/work/p fifo 0:0 622 1:2",
    ]


def test_mode_is_not_masked(stage: Stage) -> None:
    """R109: the runtime's umask takes nothing from fileMode."""
    container = stage.container(
        "stat", "-c", "%a", "/dev/a", edit=_with(_device("/dev/a", "c", 1, 3, fileMode=0o666))
    )
    script = 'umask 077; exec "$0" "$@"'
    stage.runtime.command = ["/bin/sh", "-c", script, *stage.runtime.command]
    assert container.run().ok().out == "666\n"


@departs(both="takes what is there for the device")
@pytest.mark.parametrize("content", ["file", "directory"])
def test_something_else_is_there(stage: Stage, content: str) -> None:
    """R107: what is at the path and is not that device is an error, and stays what it is."""
    container = stage.container("true", edit=_with(_device("/work/it", "c", 1, 3)))
    place = container.bundle.rootfs / "work/it"
    if content == "file":
        place.write_text("precious")
    else:
        place.mkdir()
    container.create().refused("/linux/devices/0", "/work/it")
    assert container.status() == ""
    assert place.is_dir() if content == "directory" else place.read_text() == "precious"


def test_default_devices(stage: Stage) -> None:
    """R112, R094: the six default devices are there, and usable by everybody."""
    names = "null zero full random urandom tty"

    def edit(config: Config) -> None:
        config["process"]["user"] = {"uid": 1000, "gid": 1000}

    script = f"cd /dev; stat -c '%n %F %t:%T %a' {names}; echo x >null; head -c 1 zero | od -An -tx1; echo x >full || echo full; head -c 9 random urandom | wc -c"
    out = stage.container("sh", "-c", script, edit=edit).run().ok().out.splitlines()
    assert out[:6] == [
        "null character special file 1:3 666",
        "zero character special file 1:5 666",
        "full character special file 1:7 666",
        "random character special file 1:8 666",
        "urandom character special file 1:9 666",
        "tty character special file 5:0 666",
    ]
    assert out[6].strip() == "00"
    assert out[7] == "full"


def test_ptmx(stage: Stage) -> None:
    """R114: /dev/ptmx is the container's own: opening it makes a terminal in the container's /dev/pts, not the host's."""
    out = stage.show(
        "stat -L -c '%t:%T' /dev/ptmx; ls /dev/pts; exec 3<>/dev/ptmx; ls /dev/pts; readlink -f /dev/ptmx"
    )
    lines = out.split()
    assert lines[0] == "5:2"
    assert lines[1:] in (["ptmx", "0", "ptmx", "/dev/pts/ptmx"], ["ptmx", "0", "ptmx", "/dev/ptmx"])


def test_links(stage: Stage) -> None:
    """R241: /dev/fd, stdin, stdout and stderr lead to /proc/self/fd."""
    out = stage.show("cd /dev; for one in fd stdin stdout stderr; do readlink $one; done")
    assert out.split() == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]


def test_devices_that_are_not_listed(stage: Stage) -> None:
    """R111: a device that is neither listed nor a default one can't be opened, even if there is a node for it."""

    def edit(config: Config) -> None:
        writable_root(config)
        set_capabilities(config, "CAP_MKNOD")

    script = (
        "cd /work; mknod mem c 1 1; mknod loop b 7 0; mknod mine c 1 3;"
        "for one in mem loop mine; do head -c 0 $one 2>/dev/null && : <$one && echo $one; done"
    )
    assert stage.container("sh", "-c", script, edit=edit).run().out.split() == ["mine"]
