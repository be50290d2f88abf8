# SPDX-License-Identifier: Apache-2.0
"""Is the list of parts of a wheel valid CycloneDX 1.6, and does it say what it has read, and nothing else?

tests/native/test_wheel.py looks at the one of a wheel with a snapshot.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import platform
import re
import shutil
import subprocess
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from ociruntime import __version__
from ociruntime.native import _build_sbom as sbom
from tests.unit.test_package import sdist, wheel  # noqa: F401 (fixtures)

GLIBC = Path(sbom._output(["gcc", "-print-file-name=libc.a"]))


def schema(name: str) -> dict[str, Any]:
    """One of CycloneDX's own."""
    file = importlib.resources.files("cyclonedx.schema") / "_res" / f"{name}.SNAPSHOT.schema.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))


def validator() -> Draft7Validator:
    """CycloneDX's schema, with the lists of licences and signatures that it refers to."""
    found = [
        (one["$id"], Resource.from_contents(one)) for one in map(schema, ("bom-1.6", "spdx", "jsf-0.82"))
    ]
    return Draft7Validator(schema("bom-1.6"), registry=Registry().with_resources(found))


def _licences(document: dict[str, Any]) -> list[str]:
    parts = [document["metadata"]["component"], *document["components"]]
    return [licence["expression"] for part in parts for licence in part.get("licenses", [])]


def check(document: dict[str, Any]) -> None:
    """Valid by that schema; its references are those of components, each named once."""
    assert [error.message for error in validator().iter_errors(document)] == []
    names = set(re.findall(r"[^()\s]+", " ".join(_licences(document)))) - {"AND", "OR", "WITH"}
    assert names <= {"GCC-exception-3.1", *schema("spdx")["enum"]}
    references = [one["bom-ref"] for one in document["components"]]
    assert len(set(references)) == len(references)
    assert document["dependencies"] == [{"ref": "ociruntime", "dependsOn": references}]


def read(path: Path) -> dict[str, Any]:
    """The list in a wheel, which has one."""
    with zipfile.ZipFile(path) as archive:
        (name,) = (one for one in archive.namelist() if ".dist-info/sboms/" in one)
        assert name.endswith(".dist-info/sboms/ociruntime.cdx.json")
        return dict(json.loads(archive.read(name)))


def test_the_validator_sees_a_mistake() -> None:
    """It is the schema that decides."""
    document = sbom.document("1", {})
    check(document)
    document["components"] = [{"name": "without a type"}]
    assert [error.message for error in validator().iter_errors(document)] == ["'type' is a required property"]


def test_a_wheel_without_a_snapshot(wheel: Path) -> None:  # noqa: F811
    """Nothing is linked into it but our own init; the list says which wheel and which tools."""
    document = read(wheel)
    check(document)
    assert document["metadata"]["component"]["version"] == __version__
    assert {tool["name"] for tool in document["metadata"]["tools"]["components"]} >= {"setuptools", "cffi"}
    assert [part["bom-ref"] for part in document["components"]] == (
        [] if platform.machine() in {"x86_64", "aarch64"} else [f"{sbom.INIT}:glibc"]
    )


def test_parts_are_read_from_what_was_linked(tmp_path: Path) -> None:
    """Of a known library name and licence; of an unknown one its file name; versions only where something says them."""
    known, unknown = tmp_path / "libseccomp.a", tmp_path / "libsomething.a"
    known.write_bytes(b"one")
    unknown.write_bytes(b"two")
    files = {path.name: str(path) for path in (known, unknown, GLIBC.resolve())}
    document = sbom.document("1", files)
    check(document)
    parts = {part["name"]: part for part in document["components"]}
    assert set(parts) == {"libseccomp", "libsomething.a", "glibc"}
    assert parts["libseccomp"]["licenses"] == [{"expression": "LGPL-2.1-only"}]
    (file,) = parts["libseccomp"]["components"]
    assert file["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"one").hexdigest()}]
    assert {"version", "purl"} & {*parts["libseccomp"], *file} == set(), "no package has this file"
    assert {"licenses", "version", "purl"} & set(parts["libsomething.a"]) == set()
    linked = [one["value"] for one in parts["glibc"]["properties"] if one["name"] == "ociruntime:linked-into"]
    assert linked == ["ociruntime"]
    assert str(tmp_path) not in json.dumps(document), "the builder's directories are nobody's business"


def test_the_c_library_says_its_version() -> None:
    """The one in libc.a is that which this machine's own programs are told."""
    said = subprocess.run(["getconf", "GNU_LIBC_VERSION"], capture_output=True, text=True, check=True).stdout
    assert sbom.parts_in(str(GLIBC.resolve())) == [
        sbom.Part("glibc", said.split()[1].strip(), "LGPL-2.1-or-later")
    ]


def test_another_c_library(tmp_path: Path) -> None:
    """It isn't called glibc if it does not say so."""
    (tmp_path / "libc.a").write_bytes(b"!<arch>\n")
    assert sbom.parts_in(str(tmp_path / "libc.a")) == [sbom.Part("libc")]


def test_files_of_python() -> None:
    """The static library and its extension modules are CPython, of the version that runs."""
    names = [f"{sysconfig.get_config_var('DESTSHARED')}/_json.so", "/somewhere/libpython3.11.a"]
    assert {sbom.parts_in(name)[0][:2] for name in names} == {("cpython", platform.python_version())}


@pytest.mark.parametrize(
    ("package", "expected"),
    [("2.36-9+deb12u10", "2.36"), ("1:1.2-3-4", "1.2-3"), ("2.5.4", "2.5.4"), ("12.2.0-14", "12.2.0")],
)
def test_the_upstream_version(package: str, expected: str) -> None:
    """Epoch and revision are the distribution's."""
    assert sbom.upstream(package) == expected


def test_the_package_of_a_file() -> None:
    """Its name, version and architecture are dpkg's; a file of no package has none."""
    assert sbom.package_of(__file__) is None
    package = sbom.package_of(str(GLIBC.resolve()))
    if shutil.which("dpkg-query") is None:
        return  # the rest is Debian's
    assert package is not None
    shown = ["dpkg-query", "-W", "-f", "${Version}", "libc6-dev"]
    assert package.version == subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    system = platform.freedesktop_os_release()["ID"]
    assert package.purl.startswith(f"pkg:deb/{system}/libc6-dev@2.")


def test_the_time_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two builds write the same list, unless SOURCE_DATE_EPOCH is set."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    first = sbom.document("1", {})
    assert "timestamp" not in first["metadata"]
    assert first == sbom.document("1", {})
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    document = sbom.document("1", {})
    check(document)
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
