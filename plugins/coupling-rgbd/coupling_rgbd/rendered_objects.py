"""The data set ``rendered-objects``."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from coupling import ConfigError, Dataset, cached_images, data_directory
from coupling_rgbd import kinect
from coupling_rgbd.camera import Camera
from coupling_rgbd.depth import from_bytes
from coupling_rgbd.objects import CATEGORIES
from coupling_rgbd.rendering import (
    ELEVATIONS,
    FIELD_OF_VIEW,
    PATTERNS,
    PLANES,
    RENDERER,
    Scene,
    render,
    render_packed,
)
from coupling_rgbd.samples import COLOR_RANGE, DEPTH_RANGE, color_samples, depth_samples

HUES, HEIGHTS = 6, 3
"""Classes of the attributes ``hue`` (from red, a sixth of the circle each) and ``elevation`` (from low)."""

HELD_OUT = 5
"""One object outside the pool for so many in it is shown by :meth:`RenderedObjects.held_out`."""


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
        self.count = self.pool = count
        self.first = 0
        self.size = size
        self.noise = noise
        self.source = f"rendered-objects/{count}"
        self.shape = (3 if modality == "color" else 1, size, size)
        self.range = COLOR_RANGE if modality == "color" else DEPTH_RANGE
        self.drawn_by = "" if modality == "color" else "false-colours"

    def __len__(self) -> int:
        return self.count

    @functools.cached_property
    def labels(self) -> Tensor:
        """Category of each object, a number into :data:`coupling_rgbd.objects.CATEGORIES`: (count,) int64."""
        return torch.arange(self.first, self.first + self.count) % len(CATEGORIES)

    def attributes(self) -> Mapping[str, Tensor]:
        """What was drawn for each object, (count,) int64 each; a renderer's knowledge, nothing is estimated.

        ``category``; ``elevation`` of the camera in three classes; ``pattern`` of the body, a number
        into :data:`coupling_rgbd.rendering.PATTERNS`; ``hue`` of the body's first colour in six
        classes. Depth shows the first two alone.
        """
        return self._attributes

    @functools.cached_property
    def _attributes(self) -> dict[str, Tensor]:
        scenes = [Scene.draw(self.pool, self.first + index) for index in range(self.count)]
        low, high = ELEVATIONS
        return {
            "category": self.labels,
            "elevation": torch.tensor([int(HEIGHTS * (s.view.elevation - low) / (high - low)) for s in scenes]),
            "pattern": torch.tensor([PATTERNS.index(s.paint.pattern) for s in scenes]),
            "hue": torch.tensor([round(HUES * s.paint.hue) % HUES for s in scenes]),
        }

    def __getitem__(self, index: int) -> Tensor:
        return self.batch([index])[0]

    def held_out(self) -> RenderedObjects | None:
        """Objects that no training over this pool has seen, in the same modality; of these, None."""
        if self.first:
            return None
        other = RenderedObjects(modality=self.modality, count=self.pool, size=self.size, noise=self.noise)
        other.first, other.count = self.pool, max(2 * len(CATEGORIES), self.pool // HELD_OUT)
        other.source = f"{self.source}/held-out"
        return other

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples by object number, stacked: (len(indices), *shape)."""
        packed = self._packed[np.asarray(indices, np.intp)]
        if self.modality == "color":
            return color_samples(packed[..., :3])
        levels = from_bytes(packed[..., 3:])
        if self.noise:
            levels = np.stack([self._measured(i, depth) for i, depth in zip(indices, levels, strict=True)])
        return depth_samples(levels)

    def prepare(self) -> None:
        """Render the pool, unless it lies on disk already."""
        _ = self._packed

    def fingerprint(self) -> str:
        """The pool, what is seen of it, and the version of the renderer."""
        noise = "/noise" if self.noise else ""
        return f"{self.source}/{self.size}/{self.modality}{noise}:renderer {RENDERER}"

    def pair(self, number: int) -> tuple[Tensor, Tensor]:
        """The true pair of object ``number`` of the pool: colour (3, size, size), depth (1, size, size).

        Rendered anew, without noise. Numbers from ``count`` on are objects outside the pool, which
        no training has seen.
        """
        rendering = render(self.pool, number, self.size)
        return color_samples(rendering.colour), depth_samples(rendering.depth)

    @staticmethod
    def depth_in_metres(depth: Tensor) -> Tensor:
        """Metres from depth in [0, 1]; missing (0) stays 0."""
        return torch.where(depth > 0, PLANES.near + depth * (PLANES.far - PLANES.near), 0.0)

    @staticmethod
    def camera(options: Mapping[str, Any], shape: tuple[int, ...]) -> Camera:
        """Of all these pictures, whatever the options."""
        return Camera.of(PLANES, FIELD_OF_VIEW, (1, 1))

    @functools.cached_property
    def _packed(self) -> NDArray[np.uint8]:
        """Colour and depth of the pool, (count, size, size, 5), a memory map."""
        first = {"first": self.first} if self.first else {}
        return cached_images(
            data_directory("rendered-objects"),
            {"dataset": "rendered-objects", "renderer": RENDERER, "count": self.pool, "size": self.size, **first},
            self.count,
            (self.size, self.size, 5),
            functools.partial(render_packed, pool=self.pool, size=self.size, first=self.first),
            title="rendered objects",
        )

    def _measured(self, number: int, levels: NDArray[np.uint16]) -> NDArray[np.uint16]:
        focal_length = self.size / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2))
        # A third number keeps this stream apart from the one that drew the object.
        rng = np.random.default_rng((self.pool, self.first + number, 1))
        return PLANES.to_levels(kinect.measure(PLANES.to_metres(levels), focal_length, rng))
