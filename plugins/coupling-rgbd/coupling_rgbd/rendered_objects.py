"""The data set ``rendered-objects``."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from coupling.data_directory import data_directory
from coupling.dataset import Dataset
from coupling.errors import ConfigError
from coupling.prepared import prepared_images
from coupling_rgbd import kinect
from coupling_rgbd.depth import BACKGROUND, FAR, NEAR, to_levels, to_metres
from coupling_rgbd.objects import CATEGORIES
from coupling_rgbd.rendering import FIELD_OF_VIEW, RENDERER, render, render_packed


class RenderedObjects(Dataset):
    """Everyday objects in random views, rendered: colour, or depth, of each.

    Object ``i`` of a pool is the same object, in the same view, in either modality and at either
    size; pools of different ``count`` share none. So two domains that name the same pool get
    disjoint parts of it, and never the colour and the depth of one object.

    Colour: (3, size, size) in [-1, 1]. Depth: (1, size, size) in [0, 1], along the optical axis,
    growing with the distance: linear in metres from the near plane (0) to the far plane (1), where
    the background lies; exactly 0 is missing (with ``noise`` only). :meth:`depth_in_metres` is
    the way back.

    Rendered once, by all cores, into ``data_directory("rendered-objects")``: 20 KB an object at
    64 pixels, 80 KB at 128.
    """

    def __init__(
        self,
        *,
        modality: Annotated[
            Literal["color", "depth"],
            Field(description="colour in [-1, 1] (3 channels), or depth in [0, 1] (1 channel)"),
        ],
        count: Annotated[int, Field(ge=2, description="objects in the whole pool, all parts together")] = 5000,
        size: Annotated[Literal[64, 128], Field(description="height and width in pixels")] = 64,
        noise: Annotated[
            bool, Field(description="depth as a Kinect measures it: coarse steps, noise, holes (0)")
        ] = False,
    ) -> None:
        if noise and modality == "color":
            raise ConfigError("`noise` is the depth sensor's: leave it out, or choose `modality: depth`")
        self.modality = modality
        self.size = size
        self.noise = noise
        self.source = f"rendered-objects/{count}"
        self.shape = (3 if modality == "color" else 1, size, size)
        self.range = (-1.0, 1.0) if modality == "color" else (0.0, 1.0)
        self.labels = torch.arange(count) % len(CATEGORIES)
        """Category of each object, a number into :data:`coupling_rgbd.objects.CATEGORIES`."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Tensor:
        return self.batch([index])[0]

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples by object number, stacked: (len(indices), *shape)."""
        packed = self._packed[np.asarray(indices, np.intp)]
        if self.modality == "color":
            return _colour_range(packed[..., :3])
        levels = packed[..., 3] * np.uint16(256) + packed[..., 4]
        if self.noise:
            levels = np.stack([self._measured(i, depth) for i, depth in zip(indices, levels, strict=True)])
        return _depth_range(levels)

    def prepare(self) -> None:
        """Render the pool, unless it lies on disk already."""
        _ = self._packed

    def fingerprint(self) -> str:
        """The pool, what is seen of it, and the version of the renderer."""
        noise = "/noise" if self.noise else ""
        return f"{self.source}/{self.size}/{self.modality}{noise}:renderer {RENDERER}"

    def pair(self, number: int) -> tuple[Tensor, Tensor]:
        """The true pair of object ``number``: colour (3, size, size), depth (1, size, size).

        Rendered anew, without noise. Numbers from ``len(self)`` on are objects outside the pool,
        which no training has seen.
        """
        rendering = render(len(self), number, self.size)
        return _colour_range(rendering.colour), _depth_range(rendering.depth)

    @staticmethod
    def depth_in_metres(depth: Tensor) -> Tensor:
        """Metres from depth in [0, 1]; missing (0) stays 0."""
        return torch.where(depth > 0, NEAR + depth * (FAR - NEAR), 0.0)

    @functools.cached_property
    def _packed(self) -> NDArray[np.uint8]:
        """Colour and depth of the pool, (count, size, size, 5), a memory map."""
        count = len(self)
        return prepared_images(
            data_directory("rendered-objects"),
            {"dataset": "rendered-objects", "renderer": RENDERER, "count": count, "size": self.size},
            count,
            (self.size, self.size, 5),
            functools.partial(render_packed, pool=count, size=self.size),
            title="rendered objects",
        )

    def _measured(self, number: int, levels: NDArray[np.uint16]) -> NDArray[np.uint16]:
        focal_length = self.size / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2))
        # A third number keeps this stream apart from the one that drew the object.
        rng = np.random.default_rng((len(self), number, 1))
        return to_levels(kinect.measure(to_metres(levels), focal_length, rng))


def _colour_range(pixels: NDArray[np.uint8]) -> Tensor:
    """(..., height, width, 3) bytes to (..., 3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.moveaxis(pixels, -1, -3).astype(np.float32)) / 127.5 - 1


def _depth_range(levels: NDArray[np.uint16]) -> Tensor:
    """(..., height, width) 16-bit numbers to (..., 1, height, width) in [0, 1]."""
    return torch.from_numpy(levels.astype(np.float32))[..., None, :, :] / BACKGROUND
