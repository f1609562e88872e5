"""An open model file, whose header is checked before any tensor is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from coupling.errors import InputError
from coupling.runs.tensor_files import METADATA

_HEADER = 2**24
"""Largest header in bytes: about 100,000 tensors."""


_DESCRIPTION = 2**22
"""Longest description in characters."""


_VALUES = 50_000
"""Largest number of values in a description."""


SHA256 = "sha256"
"""Key of the digest in a description; files of earlier versions have none."""


_TYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.complex64: "C64",
}
"""The format's names of types."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor without its numbers."""

    dtype: str
    """The type's name in the safetensors format, such as F32."""
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> TensorInfo:
        """The type and shape of a tensor."""
        return cls(_TYPES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))


class ModelFile:
    """A safetensors file that describes a model. Tensors are read from the disk when they are asked for."""

    def __init__(self, path: Path, file: Any) -> None:
        """``file``: what safetensors opened.

        Raises:
            InputError: the description is missing, too long, or not a JSON mapping.
        """
        self.path = path
        self._file = file
        self._description = (file.metadata() or {}).get(METADATA, "")
        self.values = self._parsed()
        """The description: JSON values."""
        self._half = self.values.get("half") is True
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        self.tensors = {
            name: TensorInfo(self._type(part.get_dtype()), tuple(part.get_shape())) for name, part in slices.items()
        }
        """Types and shapes by name; 16-bit numbers that stand for 32-bit ones have the type that they are read as."""

    def _parsed(self) -> dict[str, Any]:
        if len(self._description) > _DESCRIPTION:
            raise InputError(
                f"{self.path}: its metadata have {len(self._description):,} characters; a model's have at most "
                f"{_DESCRIPTION:,}"
            )
        try:
            values = json.loads(self._description)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise InputError(f"{self.path}: a safetensors file, but not a model that coupling wrote")
        if _count(values) > _VALUES:
            raise InputError(f"{self.path}: its metadata have more than {_VALUES:,} values, too many for a model")
        return values

    def _type(self, stored: str) -> str:
        return "F32" if self._half and stored == "F16" else stored

    def part(self, prefix: str) -> dict[str, TensorInfo]:
        """Types and shapes of the tensors whose names begin with ``<prefix>.``, by the rest of their names."""
        start = f"{prefix}."
        return {name.removeprefix(start): info for name, info in self.tensors.items() if name.startswith(start)}

    def read(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``<prefix>.``; the system reads them from the disk as they are used."""
        stored = {name: self._file.get_tensor(f"{prefix}.{name}") for name in self.part(prefix)}
        return {name: t.float() if self._half and t.dtype == torch.float16 else t for name, t in stored.items()}

    def verify(self) -> None:
        """Compare the content with the digest in the description, if there is one.

        Raises:
            InputError: the file has changed since it was written.
        """
        kept = self.values.get(SHA256)
        if kept is None:
            return
        described = {key: value for key, value in self.values.items() if key != SHA256}
        digest = _digest(described, ((name, self._file.get_tensor(name)) for name in sorted(self.tensors)))
        if digest != kept:
            raise InputError(
                f"{self.path}: is damaged: its content does not match its SHA-256; copy, download or export it again"
            )


def _count(value: object) -> int:
    """Number of JSON values in ``value``; counting ends above the largest number."""
    waiting, count = [value], 0
    while waiting and count <= _VALUES:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return count


@contextmanager
def open_model_file(path: Path) -> Iterator[ModelFile]:
    """Open a model file for the block.

    Raises:
        InputError: it cannot be read, is damaged, or is not a model that coupling wrote.
    """
    try:
        with path.open("rb") as raw:
            header = int.from_bytes(raw.read(8), "little")
        if header > _HEADER:
            raise InputError(
                f"{path}: cannot be read as safetensors: its header has {header:,} bytes; a model's has at most "
                f"{_HEADER:,}"
            )
        opened = safetensors.safe_open(path, framework="pt")
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {error}") from None
    with opened as file:
        yield ModelFile(path, file)


def with_digest(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """``description`` with the SHA-256 of itself and of ``tensors``."""
    return {**description, SHA256: _digest(description, ((name, tensors[name]) for name in sorted(tensors)))}


def _digest(description: Mapping[str, Any], tensors: Iterator[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256(json.dumps(description).encode())
    for name, tensor in tensors:
        hash_tensor(digest, name, tensor)
    return digest.hexdigest()


def hash_tensor(digest: hashlib._Hash, name: str, tensor: Tensor) -> None:
    """Add a tensor's name, type, shape and numbers to a digest."""
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
