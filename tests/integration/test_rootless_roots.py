# SPDX-License-Identifier: Apache-2.0
"""Which root file systems and groups can an ordinary user's container have that take a mount, or the caller's groups?"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.stage import new_id
from tests.integration.test_rootless import bundle_of, map_many
from tests.integration.unprivileged import UID, User, command

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = command()
pytestmark = [
    pytest.mark.skipif(runtime_under_test() in ("runc", "crun"), reason="its own command is called"),
    pytest.mark.skipif(
        not COMMAND,
        reason="the working tree is in a directory that only root can search: move it, or chmod a+x",
    ),
]
_GROUP = 54399
# Some hosts keep /dev/fuse for root: here it is as udev makes it.
_FUSE = 'mknod "$FILES/fuse" c 10 229 && chmod 666 "$FILES/fuse" && mount --bind "$FILES/fuse" /dev/fuse'


@pytest.mark.skipif(shutil.which("fuse-overlayfs") is None, reason="fuse-overlayfs is not installed")
@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="the kernel has no fuse")
def test_fuse_overlayfs(user: User) -> None:
    """As root of a container: written to, seen by exec, and gone with its process."""

    def change(config: dict[str, Any]) -> None:
        config["root"]["readonly"] = False
        linux = config["linux"]
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "user"]
        del linux["uidMappings"], linux["gidMappings"]

    script = "echo new >/work/file; grep -c '^fuse-overlayfs / ' /proc/mounts; id -u"
    directory = bundle_of(user, "sh", "-c", script, change=change)
    for name in ("upper", "work"):
        (directory / name).mkdir()
    (directory / "rootfs").rename(directory / "lower")
    (directory / "rootfs").mkdir()
    user.own(directory)
    options = f"lowerdir={directory}/lower,upperdir={directory}/upper,workdir={directory}/work"
    words = (
        f"fuse-overlayfs -o {options} {directory}/rootfs && {COMMAND} run --bundle {directory} {new_id()}; "
        f"umount {directory}/rootfs"
    )
    enter = (
        "unshare",
        "--user",
        "--map-root-user",
        "--map-auto",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
    )
    done = user.call(*enter, "sh", "-c", words, before=_FUSE)
    assert done.ok().out.split() == ["1", "0"]
    assert (directory / "upper" / "work" / "file").read_text() == "new\n"


@pytest.mark.parametrize("many", [False, True], ids=["one id", "sub-ids"])
@pytest.mark.parametrize("keep", [False, True], ids=["left", "kept"])
def test_the_caller_s_groups(place: Path, many: bool, keep: bool) -> None:
    """With the annotation they let the program at files of a group that isn't mapped; without it only where setgroups is denied."""
    user = User(place, sub_ids=65536 if many else 0)
    secret = user.home / "secret"
    secret.write_text("of the group\n")
    os.chown(secret, 0, _GROUP)
    secret.chmod(0o640)

    def change(config: dict[str, Any]) -> None:
        if many:
            map_many(config)
        if keep:
            config["annotations"] = {"run.oci.keep_original_groups": "1"}
        config["mounts"].append(
            {"destination": "/mnt", "type": "bind", "source": str(user.home), "options": ["rbind", "ro"]}
        )

    directory = bundle_of(user, "cat", "/mnt/secret", change=change)
    script = f'exec setpriv --reuid {UID} --regid {UID} --groups {_GROUP} --inh-caps=-all "$@"'
    done = user.call(COMMAND, "run", "--bundle", directory, new_id(), before=script)
    if keep or not many:
        assert done.ok().out == "of the group\n"
    else:
        assert "Permission denied" in done.err
