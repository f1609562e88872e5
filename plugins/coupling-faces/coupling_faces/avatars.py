"""Cartoon faces with and without attributes: a stand-in for CelebA that is drawn on the spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from coupling import ConfigError, Dataset, cached_images, cached_record, data_directory
from coupling_faces.rendering import ATTRIBUTES, MOST_FACES, TRAITS, Attribute, FacePool, Picture, Selection, Size


class Avatars(Dataset):
    """Avatars: cartoon faces with or without some attributes, drawn when first needed.

    Samples are (3, size, size) in [-1, 1]. All else about a face (hair, skin, eyes, clothes,
    background ...) is drawn from one and the same distribution whether an attribute is present or
    not. Each face is drawn from a number of its own, and domains whose options differ in anything
    have no number in common. The pictures are kept in `avatars/` in the data directory.
    """

    range = (-1.0, 1.0)

    def __init__(
        self,
        *,
        attribute: Annotated[
            Attribute | None, Field(description="the one thing that sets the domain apart (paper, section 4)")
        ] = None,
        present: Annotated[bool | None, Field(description="whether these faces have `attribute`")] = None,
        attributes: Annotated[
            dict[Attribute, bool] | None,
            Field(
                description="in place of `attribute` and `present`, any number of them at once: "
                "{smile: true, eyeglasses: false}; {}: faces of all kinds"
            ),
        ] = None,
        count: Annotated[int, Field(ge=1, le=MOST_FACES, description="number of faces")] = 10_000,
        size: Annotated[Size, Field(description="height and width in pixels")] = 64,
        jitter: Annotated[
            bool, Field(description="turn (5 degrees), move (3 %) and scale (5 %) each face at random")
        ] = False,
    ) -> None:
        self._pool = FacePool(_selection(attribute, present, attributes), count, size, jitter)
        self.shape = (3, size, size)
        chosen = "+".join(f"{name}={said}" for name, said in self._pool.selection) or "all"
        self.source = f"avatars/{chosen},count={count},size={size},jitter={jitter}".lower()

    def __len__(self) -> int:
        return self._pool.count

    def __getitem__(self, index: int) -> Tensor:
        return self.batch([index])[0]

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples ``indices``: (len(indices), 3, size, size), float32 in [-1, 1]."""
        return _samples(self._pictures[np.asarray(indices, dtype=np.int64)])

    def attributes(self) -> Mapping[str, Tensor]:
        """What was drawn for each face: by the name of the trait, numbers into its values in ``TRAITS``.

        First the three attributes, 1 where a face has it and 0 where not; then avataaars' own: hair
        style (``top``), ``hairColor``, ``skinColor``, ``clothes``, ``mouth`` and so on. Found once, on
        all cores, and kept beside the pictures.
        """
        pool = self._pool
        numbers = cached_images(
            data_directory("avatars"),
            {**pool.recipe(), "traits": TRAITS},
            pool.count,
            (1, 1, len(TRAITS)),
            pool.traits,
            title=f"attributes of {self._title}",
        )
        columns = torch.from_numpy(numbers.reshape(pool.count, len(TRAITS)).astype(np.int64))
        return {name: columns[:, column].contiguous() for column, name in enumerate(TRAITS)}

    def drawn(self, index: int) -> dict[str, str]:
        """What was drawn for sample ``index``: ``{"mouth": "smile", "hairColor": "#2c1b18", ...}``.

        The names are avataaars'. ``accessories`` (glasses) and ``facialHair`` are there only where
        the face wears them. Needs no :meth:`prepare`.
        """
        return self._pool.attributes(index)

    def held_out(self) -> Avatars:
        """Half as many other faces of the same options, which no training has seen."""
        pool = self._pool
        count = pool.count // 2 or 2
        return Avatars(attributes=dict(pool.selection), count=count, size=pool.size, jitter=pool.jitter)

    def counterparts(self, other: Dataset, indices: Sequence[int]) -> Tensor | None:
        """The faces ``indices`` of other avatars, drawn with the attributes of these: all else is the same."""
        if not isinstance(other, Avatars) or self.source == other.source:
            return super().counterparts(other, indices)
        own, their = self._pool, other._pool
        if (own.size, own.jitter) != (their.size, their.jitter):
            return None
        return _samples(np.stack([their.counterpart(index, own.selection) for index in indices]))

    def prepare(self) -> None:
        """Draw the faces, on all cores, unless they are there already."""
        _ = self._pictures

    def fingerprint(self) -> str:
        """The source and the SHA-256 of all pictures."""
        self.prepare()
        size = self._pool.size
        record = cached_record(data_directory("avatars"), self._pool.recipe(), len(self), (size, size, 3))
        return f"{self.source}:{record.sha256 if record else 'removed'}"

    @property
    def _title(self) -> str:
        said = [f"{'with' if present else 'without'} {name}" for name, present in self._pool.selection]
        return " ".join(["avatars", " and ".join(said)]).strip()

    @cached_property
    def _pictures(self) -> Picture:
        """(count, size, size, 3), read from disk as needed."""
        pool = self._pool
        shape = (pool.size, pool.size, 3)
        return cached_images(data_directory("avatars"), pool.recipe(), pool.count, shape, pool, title=self._title)


def _samples(pictures: Picture) -> Tensor:
    """uint8 (B, height, width, 3) to (B, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(127.5).sub_(1)


def _selection(
    attribute: Attribute | None, present: bool | None, attributes: Mapping[Attribute, bool] | None
) -> Selection:
    """The attributes that are said, one way or the other, in a fixed order."""
    if (attribute is None) != (present is None):
        raise ConfigError("`attribute` and `present` go together: say which, and true or false")
    if (attribute is None) == (attributes is None):
        raise ConfigError(
            "say either `attribute` and `present`, or `attributes`, such as {smile: true}; {} is faces of all kinds"
        )
    said = dict(attributes or {})
    if attribute is not None and present is not None:
        said[attribute] = present
    return tuple((name, said[name]) for name in ATTRIBUTES if name in said)
