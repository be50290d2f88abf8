# SPDX-License-Identifier: Apache-2.0
"""What is linked into the programs of a wheel? A list of parts (SBOM) in CycloneDX 1.6, in .dist-info/sboms (PEP 770).

Everything in it was read from the files that have been linked, from the package that the system says they belong to, or from
the tools themselves. What can't be read is left out, such as the version of a library without one. It has no serial
number, and a time only by SOURCE_DATE_EPOCH: the same build writes the same list. Used by setup.cfg, never at run time.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import setuptools

from ociruntime.native._build import compiler, has_own_libc
from ociruntime.native._build_sdist import asked_time

if TYPE_CHECKING:
    from collections.abc import Mapping

SNAPSHOT = "ociruntime"
INIT = "ociruntime/native/ociruntime-init"

_LIBC = re.compile(r"lib(c|m|mvec|pthread|rt|dl|util|resolv|crypt)(-[\d.]+)?\.a")
# Static library without lib and .a -> (the project's name, its licence).
_KNOWN = {
    "gcc": ("libgcc", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    "gcc_eh": ("libgcc", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    "seccomp": ("libseccomp", "LGPL-2.1-only"),
    "z": ("zlib", "Zlib"),
    "expat": ("expat", "MIT"),
    "ffi": ("libffi", "MIT"),
}


class Part(NamedTuple):
    """A project that is linked in. version and licence are "" if they can't be read."""

    name: str
    version: str = ""
    licence: str = ""


class Package(NamedTuple):
    """A package of the system: its version there, and its package URL."""

    version: str
    purl: str


def write(dist_info: str, version: str, linked: Mapping[str, str]) -> None:
    """Write the list of a wheel.

    version  of ociruntime
    linked   of the snapshot: file name -> path, as cli/snapshot/build.py says; empty without one
    """
    path = os.path.join(dist_info, "sboms", "ociruntime.cdx.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document(version, linked), file, indent=2)
        file.write("\n")


def document(version: str, linked: Mapping[str, str]) -> dict[str, Any]:
    """The list. Arguments as for `write`."""
    parts = _components(linked, SNAPSHOT)
    if not has_own_libc():
        parts += _components(_static_libc(), INIT)
    subject = {"type": "application", "bom-ref": "ociruntime", "name": "ociruntime", "version": version}
    metadata: dict[str, Any] = {
        "lifecycles": [{"phase": "build"}],
        "tools": {"components": _tools()},
        "component": {**subject, "licenses": [{"expression": "Apache-2.0"}]},
    }
    if (seconds := asked_time()) is not None:
        metadata = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)), **metadata}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": parts,
        "dependencies": [{"ref": "ociruntime", "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def _components(files: Mapping[str, str], program: str) -> list[dict[str, Any]]:
    """The projects of which these files are, with the files in them."""
    by_part: dict[Part, list[str]] = {}
    for path in files.values():
        for part in parts_in(path):
            by_part.setdefault(part, []).append(path)
    return [_component(part, paths, program) for part, paths in sorted(by_part.items())]


def _component(part: Part, paths: list[str], program: str) -> dict[str, Any]:
    """One of them."""
    # libffi is in a file of cffi, whose version and package are not its own.
    package = package_of(min(paths)) if part.name != "libffi" else None
    version = part.version or (upstream(package.version) if package else "")
    purl = package.purl if package else f"pkg:pypi/cffi@{version}" if part.name == "cffi" else ""
    return {
        "type": "library",
        "bom-ref": f"{program}:{part.name}",
        "name": part.name,
        **({"version": version} if version else {}),
        **({"licenses": [{"expression": part.licence}]} if part.licence else {}),
        **({"purl": purl} if purl else {}),
        "properties": [{"name": "ociruntime:linked-into", "value": program}],
        "components": [_file(path) for path in sorted(paths)],
    }


def _file(path: str) -> dict[str, Any]:
    """One file that was linked, with its digest. Its directory is the builder's own matter."""
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    package = package_of(path)
    return {
        "type": "file",
        "name": os.path.basename(path),
        **({"version": package.version, "purl": package.purl} if package else {}),
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def parts_in(path: str) -> list[Part]:
    """The projects that a static library or a shared object consists of."""
    name = os.path.basename(path)
    python = Part("cpython", platform.python_version(), "Python-2.0.1")
    if re.fullmatch(r"libpython[\d.]+\.a", name) or os.path.dirname(path) == sysconfig.get_config_var(
        "DESTSHARED"
    ):
        return [python]
    if name.startswith("_cffi_backend."):
        backend = Part("cffi", importlib.metadata.version("cffi"), _licence("cffi"))
        # If it asks for no libffi, its makers have put one in.
        return [backend] if "libffi" in _needed(path) else [backend, Part("libffi", "", "MIT")]
    if _LIBC.fullmatch(name):
        return [_libc(path)]
    known = _KNOWN.get(name.removeprefix("lib").removesuffix(".a"))
    return [Part(known[0], "", known[1]) if known else Part(name)]


def _libc(path: str) -> Part:
    """Which C library, by what libc.a says of itself."""
    with open(os.path.join(os.path.dirname(path), "libc.a"), "rb") as file:
        said = re.search(rb"GNU C Library .* version (\d+(?:\.\d+)+)", file.read())
    return Part("glibc", said[1].decode(), "LGPL-2.1-or-later") if said else Part("libc")


def _static_libc() -> dict[str, str]:
    """The C library that init is linked with where it has none of its own."""
    return {"libc.a": os.path.realpath(_output([*compiler(), "-print-file-name=libc.a"]))}


def _needed(path: str) -> str:
    """The libraries that a shared object asks the dynamic linker for."""
    return " ".join(re.findall(r"\(NEEDED\).*\[(.+)\]", _output(["readelf", "-d", path])))


def _licence(distribution: str) -> str:
    """The licence that a Python package names as an SPDX expression, or ""."""
    metadata = importlib.metadata.metadata(distribution)
    return str((metadata.get_all("License-Expression") or [""])[0])


def package_of(path: str) -> Package | None:
    """The package of the system that a file belongs to; None if none has it, or there is no package manager that we know."""
    if shutil.which("dpkg-query"):
        owner = _output(["dpkg-query", "-S", path]).rpartition(": ")[0]
        fields = "${Package} ${Version} ${Architecture}"
        return _package("deb", _output(["dpkg-query", "-W", "-f", fields, owner])) if owner else None
    if shutil.which("rpm"):
        return _package("rpm", _output(["rpm", "-qf", "--qf", "%{NAME} %{VERSION}-%{RELEASE} %{ARCH}", path]))
    return None


def _package(kind: str, said: str) -> Package | None:
    """`libc6-dev 2.36-9 amd64` as a package, or None if it is something else."""
    words = said.split()
    if len(words) != 3:
        return None
    name, version, architecture = words
    try:
        system = platform.freedesktop_os_release()["ID"]
    except OSError:  # no os-release(5), so whose package it is can't be said
        return None
    return Package(version, f"pkg:{kind}/{system}/{quote(name)}@{quote(version)}?arch={architecture}")


def upstream(version: str) -> str:
    """A package's version without epoch and revision: `1:2.36-9` is 2.36."""
    return re.sub(r"^\d+:|-[^-]*$", "", version)


def _tools() -> list[dict[str, str]]:
    """What has built the wheel."""
    command = compiler()
    tools = {
        "setuptools": setuptools.__version__,
        "cffi": importlib.metadata.version("cffi"),
        os.path.basename(command[0]): _output([*command, "-dumpfullversion"]),
    }
    return [
        {"type": "application", "name": name, **({"version": version} if version else {})}
        for name, version in tools.items()
    ]


def _output(command: list[str]) -> str:
    """What a program prints; "" if it fails, such as dpkg-query for a file that is of no package."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    return done.stdout.strip() if done.returncode == 0 else ""
