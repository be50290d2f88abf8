# SPDX-License-Identifier: Apache-2.0
"""features.md, features-linux.md: is everything that `features` lists recognised, and the document as they want it?"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.spec.departs import departs
from tests.harness.configuration import Config, set_capabilities, with_namespace, writable_root
from tests.harness.driver import ENVIRONMENT

if TYPE_CHECKING:
    from tests.harness.stage import Stage


_SCHEMA = Path(__file__).parents[3] / "specs/features.schema.json"


pytestmark = departs(crun="1.8 doesn't have the verb")


@pytest.fixture
def features(stage: Stage) -> dict[str, Any]:
    """What the runtime says of itself."""
    document = json.loads(stage.runtime.call("features").ok().out)
    assert isinstance(document, dict)
    return document


def _values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [one for member in value.values() for one in _values(member)]
    return [one for member in value for one in _values(member)] if isinstance(value, list) else [value]


def _unknown(value: Any, schema: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    """Names of members that the schema doesn't have, at any depth."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    known = schema["properties"]
    unknown = [name for name in value if name not in known]
    return unknown + [
        one for name, member in value.items() if name in known for one in _unknown(member, known[name], whole)
    ]


def _number(version: str) -> list[int]:
    return [int(one) for one in version.partition("-")[0].split(".")]


def test_not_the_host_s(stage: Stage, features: dict[str, Any]) -> None:
    """R242: the content does not depend on the host: without /sys, /proc, cgroups and privileges it is the same."""
    command = " ".join(stage.runtime.argv("features"))
    script = f"umount -l /sys /proc; exec setpriv --inh-caps=-all --bounding-set=-all {command}"
    seen = subprocess.run(
        ["unshare", "--mount", "--net", "--ipc", "sh", "-c", script],
        env=ENVIRONMENT, capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(seen.stdout) == features


def test_nothing_is_null(features: dict[str, Any]) -> None:
    """R243: null is "not known" and nothing else: this runtime knows what it does, and prints none."""
    assert None not in _values(features)


def test_versions(stage: Stage, features: dict[str, Any]) -> None:
    """R244, R245, R246: the oldest and the newest version are accepted in a config, and in this order."""
    low, high = features["ociVersionMin"], features["ociVersionMax"]
    assert _number(low) <= _number(high)
    for version in (low, high):
        stage.run("true", edit=lambda config, version=version: config.update(ociVersion=version)).ok()


def test_hooks(stage: Stage, features: dict[str, Any]) -> None:
    """R248: each kind of hook that is listed is run."""
    note = stage.directory / "hooks.ran"
    container = stage.container("true", edit=writable_root)
    bundle = container.bundle
    for kind in features["hooks"]:
        file = "/work/ran" if kind == "startContainer" else str(note)
        shell = "/bin/sh"
        hook = {"path": shell, "args": ["sh", "-c", f"echo {kind} >>{file}"]}
        bundle.config.setdefault("hooks", {})[kind] = [hook]
    bundle.write()
    container.run().ok()
    ran = note.read_text().split() + (bundle.rootfs / "work/ran").read_text().split()
    assert sorted(ran) == sorted(features["hooks"])


def test_nothing_newer_than_the_newest_version(stage: Stage, features: dict[str, Any]) -> None:
    """R247: what is listed is in the specification of ociVersionMax: the schema of features has each property."""
    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    assert _unknown(features, schema, schema) == []


_FOR_BINDS = {"bind", "rbind", "remount", "idmap", "ridmap"}


@departs(runc="lists defaults, and hands it to the file system")
def test_mount_options(stage: Stage, features: dict[str, Any]) -> None:
    """R249, R250: each option that is listed is recognised: none reaches a file system, which would refuse it."""
    words = [word for word in features["mountOptions"] if word not in _FOR_BINDS]
    assert not {"size", "mode", "uid", "data"} & {word.partition("=")[0] for word in words}

    def edit(config: Config) -> None:
        writable_root(config)
        for word in words:
            config["mounts"].append(
                {"destination": f"/mnt/{word}", "type": "tmpfs", "source": "tmpfs", "options": [word]}
            )

    seen = stage.show("grep -c ' /mnt/' /proc/mounts", edit=edit)
    assert int(seen) == len(words)


def test_annotations(features: dict[str, Any]) -> None:
    """R251: annotations follow the rules of those of a config: text to text, no empty name."""
    annotations = features.get("annotations", {})
    assert all(name and isinstance(value, str) for name, value in annotations.items())
    assert all(re.match(r"[a-z0-9]+(\.[\w-]+)+", name) for name in annotations)


def test_namespaces(stage: Stage, features: dict[str, Any]) -> None:
    """R252: each type of namespace that is listed can be new in a config."""
    kinds = features["linux"]["namespaces"]

    def edit(config: Config) -> None:
        for kind in kinds:
            with_namespace(config, kind)
        if "user" in kinds:
            one = [{"containerID": 0, "hostID": 0, "size": 65536}]
            config["linux"].update(uidMappings=one, gidMappings=one)

    seen = stage.show("for one in /proc/self/ns/*; do readlink $one; done | sort -u | wc -l", edit=edit)
    assert int(seen) >= len(kinds)


def test_capabilities(stage: Stage, features: dict[str, Any]) -> None:
    """R253: each capability that is listed is a name that a config may have, and none is warned about as unknown."""
    names = features["linux"]["capabilities"]
    container = stage.container("true", edit=lambda config: set_capabilities(config, *names))
    log = stage.directory / "log"
    container.run(options=["--log", str(log)])
    text = log.read_text() if log.exists() else ""
    assert not [name for name in names if f"{name} is no" in text or f"unknown capability {name}" in text], (
        text
    )


@departs(runc="1.1 lists none")
def test_memory_policies(stage: Stage, features: dict[str, Any]) -> None:
    """R256: each mode and flag that is listed can be used in a config."""
    listed = features["linux"]["memoryPolicy"]
    policies: list[Config] = [
        {"mode": mode} if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else {"mode": mode, "nodes": "0"}
        for mode in listed["modes"]
    ]
    policies += [{"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]} for flag in listed["flags"]]
    for policy in policies:
        stage.run("true", edit=lambda config, policy=policy: config["linux"].update(memoryPolicy=policy)).ok()


@departs(runc="1.1 knows no id-mapped mounts")
def test_id_mapped_mounts(features: dict[str, Any]) -> None:
    """R257: mounts can be id-mapped, and the document says so."""
    assert features["linux"]["mountExtensions"]["idmap"]["enabled"] is True
