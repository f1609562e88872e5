"""Fetch the files of onnxruntime-web from the npm registry while the distribution is built."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VERSION = "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""The registry's digest of this version's archive, in base64."""

FILES = {"ort.wasm.bundle.min.mjs": "runtime.mjs", "ort-wasm-simd-threaded.wasm": "runtime.wasm"}
"""File of the archive's folder ``dist``: name in this distribution, compressed with gzip."""


class RuntimeHook(BuildHookInterface):  # type: ignore[misc]  # hatchling is untyped
    """Puts the files into the package; without a network the distribution is built without them, with a warning."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the files, unless those of this version are there."""
        folder = Path(self.root) / "coupling_explore" / "runtime"
        stamp = folder / "version.txt"
        if not (stamp.is_file() and stamp.read_text("utf-8") == VERSION):
            try:
                archive = _archive()
            except (OSError, ValueError) as error:
                self.app.display_warning(
                    f"onnxruntime-web {VERSION} cannot be fetched: {error}; `coupling explore` needs it: install "
                    "coupling-explore again where the npm registry can be reached"
                )
                return
            _write(archive, folder)
        build_data["artifacts"].append("coupling_explore/runtime/*")


def _archive() -> bytes:
    """The archive of the package; raises ValueError if its digest is another one."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    if not registry.startswith(("https://", "http://")):
        raise ValueError(f"NPM_CONFIG_REGISTRY is {registry!r}, not an address that begins with https://")
    address = f"{registry}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    with urllib.request.urlopen(address, timeout=300) as answer:  # noqa: S310  (checked above)
        content: bytes = answer.read()
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != SHA512:
        raise ValueError(f"{address} is damaged: its SHA-512 is not that of onnxruntime-web {VERSION}")
    return content


def _write(archive: bytes, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for source, name in FILES.items():
            member = files.extractfile(f"package/dist/{source}")
            assert member is not None
            (folder / f"{name}.gz").write_bytes(gzip.compress(member.read(), mtime=0))
    (folder / "version.txt").write_text(VERSION, "utf-8")  # last: its presence says that the others are whole
