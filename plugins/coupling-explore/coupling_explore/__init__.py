"""The files of onnxruntime-web (MIT licence, Microsoft), which run a model in the browser."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "runtime"


def version() -> str | None:
    """The version of onnxruntime-web; None if the distribution was built where it could not be fetched."""
    stamp = _FOLDER / "version.txt"
    return stamp.read_text("utf-8") if stamp.is_file() else None


def script() -> bytes:
    """The JavaScript module, compressed with gzip."""
    return (_FOLDER / "runtime.mjs.gz").read_bytes()


def binary() -> bytes:
    """The WebAssembly module, compressed with gzip."""
    return (_FOLDER / "runtime.wasm.gz").read_bytes()
