"""Cartoon faces with and without an attribute: a stand-in for CelebA that is drawn on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from coupling.data_directory import data_directory
from coupling.dataset import Dataset
from coupling.prepared import prepared_images, prepared_record
from coupling_faces.rendering import MOST_FACES, Attribute, FacePool, Picture, Size


class Avatars(Dataset):
    """Avatars: cartoon faces with or without one attribute, drawn when first needed.

    Samples are (3, size, size) in [-1, 1]. All else about a face (hair, skin, eyes, clothes,
    background ...) is drawn from one and the same distribution whether the attribute is present or
    not. Each face is drawn from a number of its own, and domains whose options differ in anything
    have no number in common. The pictures are kept in `avatars/` in the data directory.
    """

    range = (-1.0, 1.0)

    def __init__(
        self,
        *,
        attribute: Annotated[Attribute, Field(description="what sets the domain apart (paper, section 4)")],
        present: Annotated[bool, Field(description="whether these faces have the attribute")],
        count: Annotated[int, Field(ge=1, le=MOST_FACES, description="number of faces")] = 10_000,
        size: Annotated[Size, Field(description="height and width in pixels")] = 64,
        jitter: Annotated[
            bool, Field(description="turn (5 degrees), move (3 %) and scale (5 %) each face at random")
        ] = False,
    ) -> None:
        self._pool = FacePool(attribute, present, count, size, jitter)
        self.shape = (3, size, size)
        self.source = f"avatars/{attribute}={present},count={count},size={size},jitter={jitter}".lower()

    def __len__(self) -> int:
        return self._pool.count

    def __getitem__(self, index: int) -> Tensor:
        return self.batch([index])[0]

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples ``indices``: (len(indices), 3, size, size), float32 in [-1, 1]."""
        chosen = torch.from_numpy(self._pictures[np.asarray(indices, dtype=np.int64)])
        return chosen.permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(127.5).sub_(1)

    def attributes(self, index: int) -> dict[str, str]:
        """What was drawn for sample ``index``: ``{"mouth": "smile", "hairColor": "#2c1b18", ...}``.

        The names are avataaars'. ``accessories`` (glasses) and ``facialHair`` are there only where
        the face wears them. Needs no :meth:`prepare`.
        """
        return self._pool.attributes(index)

    def prepare(self) -> None:
        """Draw the faces, on all cores, unless they are there already."""
        _ = self._pictures

    def fingerprint(self) -> str:
        """The source and the SHA-256 of all pictures."""
        self.prepare()
        size = self._pool.size
        record = prepared_record(data_directory("avatars"), self._pool.recipe(), len(self), (size, size, 3))
        return f"{self.source}:{record.sha256 if record else 'removed'}"

    @cached_property
    def _pictures(self) -> Picture:
        """(count, size, size, 3), read from disk as needed."""
        pool = self._pool
        return prepared_images(
            data_directory("avatars"),
            pool.recipe(),
            pool.count,
            (pool.size, pool.size, 3),
            pool,
            title=f"avatars {'with' if pool.present else 'without'} {pool.attribute}",
        )
