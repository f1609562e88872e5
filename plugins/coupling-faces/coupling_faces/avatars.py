"""Cartoon faces with and without attributes: a substitute for CelebA that needs no download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from coupling import CachedImages, ConfigError, Dataset, ImageCache, data_directory, signed_samples
from coupling_faces.rendering import ATTRIBUTES, MOST_FACES, TRAITS, Attribute, FacePool, Selection, Size


class Avatars(CachedImages):
    """Avatars: cartoon faces with or without some attributes, drawn when first needed.

    Samples are (3, size, size) in [-1, 1]. All else about a face (hair, skin, eyes, clothes,
    background ...) is drawn from one and the same distribution whether an attribute is present or
    not. Each face is drawn from a number of its own, and domains whose options differ in anything
    have no number in common. The pictures are kept in `avatars/` in the data directory.
    """

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
        self._pool = pool = FacePool(_selection(attribute, present, attributes), count, size, jitter)
        chosen = "+".join(f"{name}={value}" for name, value in pool.selection) or "all"
        source = f"avatars/{chosen},count={count},size={size},jitter={jitter}".lower()
        title = _title(pool.selection)
        directory, shape = data_directory("avatars"), (size, size, 3)
        super().__init__(ImageCache(directory, pool.recipe(), count, shape, pool, title=title), source=source)

    def attributes(self) -> Mapping[str, Tensor]:
        """The traits of each face: {name: (len(self),) int64 numbers into its values in ``TRAITS``}.

        First the three attributes, 1 where a face has it and 0 where not; then avataaars' own: hair
        style (``top``), ``hairColor``, ``skinColor``, ``clothes``, ``mouth`` and so on. Found once, on
        all cores, and kept beside the pictures.
        """
        pool = self._pool
        stored = ImageCache(
            data_directory("avatars"),
            {**pool.recipe(), "traits": TRAITS},
            pool.count,
            (1, 1, len(TRAITS)),
            pool.traits,
            title=f"attributes of {self.cache.title}",
        )
        columns = torch.from_numpy(stored.images.reshape(pool.count, len(TRAITS)).astype(np.int64))
        return {name: columns[:, column].contiguous() for column, name in enumerate(TRAITS)}

    def drawn(self, index: int) -> dict[str, str]:
        """The traits of sample ``index``: ``{"mouth": "smile", "hairColor": "#2c1b18", ...}``.

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
        return signed_samples(np.stack([their.counterpart(index, own.selection) for index in indices]))


def _title(selection: Selection) -> str:
    parts = [f"{'with' if present else 'without'} {name}" for name, present in selection]
    return " ".join(["avatars", " and ".join(parts)]).strip()


def _selection(
    attribute: Attribute | None, present: bool | None, attributes: Mapping[Attribute, bool] | None
) -> Selection:
    """The attributes that the options name, in a fixed order."""
    if (attribute is None) != (present is None):
        raise ConfigError("`attribute` and `present` go together: give both or neither")
    if (attribute is None) == (attributes is None):
        raise ConfigError(
            "give either `attribute` and `present`, or `attributes`: {smile: true}, say; {} means faces of all kinds"
        )
    given = dict(attributes or {})
    if attribute is not None and present is not None:
        given[attribute] = present
    return tuple((name, given[name]) for name in ATTRIBUTES if name in given)
