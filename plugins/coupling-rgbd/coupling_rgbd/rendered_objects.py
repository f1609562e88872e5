"""The data set ``rendered-objects``: colour or depth of rendered everyday objects."""

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

from coupling import CachedImages, ConfigError, ImageCache, data_directory
from coupling_rgbd import kinect
from coupling_rgbd.camera import Camera
from coupling_rgbd.depth import from_bytes
from coupling_rgbd.frames import Modality
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
"""Objects of the pool for each held-out object."""


class RenderedObjects(CachedImages):
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
            Modality,
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
        self._open(modality, range(count), count, size, noise)

    def _open(self, modality: Modality, objects: range, pool: int, size: int, noise: bool) -> None:
        """Show ``objects`` of a pool of ``pool`` objects; those beyond the pool are held out."""
        self.modality: Modality = modality
        self.objects = objects
        self.pool = pool
        self.size = size
        self.noise = noise
        first = objects.start
        key = {"dataset": "rendered-objects", "renderer": RENDERER, "count": pool, "size": size}
        cache = ImageCache(
            data_directory("rendered-objects"),
            {**key, "first": first} if first else key,
            len(objects),
            (size, size, 5),
            functools.partial(render_packed, pool=pool, size=size, first=first),
            title="rendered objects",
        )
        source = f"rendered-objects/{pool}" + ("/held-out" if first else "")
        super().__init__(cache, source=source)
        self.shape = (3 if modality == "color" else 1, size, size)
        self.range = COLOR_RANGE if modality == "color" else DEPTH_RANGE
        self.drawn_by = "" if modality == "color" else "false-colours"

    @functools.cached_property
    def labels(self) -> Tensor:
        """Category of each object, a number into :data:`coupling_rgbd.objects.CATEGORIES`: (count,) int64."""
        return torch.tensor(self.objects) % len(CATEGORIES)

    def attributes(self) -> Mapping[str, Tensor]:
        """The drawn properties of each object, (len(self),) int64 each; they are known exactly.

        ``category``; ``elevation`` of the camera in three classes; ``pattern`` of the body, a number
        into :data:`coupling_rgbd.rendering.PATTERNS`; ``hue`` of the body's first colour in six
        classes. Depth shows the first two alone.
        """
        return self._attributes

    @functools.cached_property
    def _attributes(self) -> dict[str, Tensor]:
        scenes = [Scene.draw(self.pool, number) for number in self.objects]
        low, high = ELEVATIONS
        return {
            "category": self.labels,
            "elevation": torch.tensor([int(HEIGHTS * (s.view.elevation - low) / (high - low)) for s in scenes]),
            "pattern": torch.tensor([PATTERNS.index(s.paint.pattern) for s in scenes]),
            "hue": torch.tensor([round(HUES * s.paint.hue) % HUES for s in scenes]),
        }

    def held_out(self) -> RenderedObjects | None:
        """Objects that no training over this pool has seen, in the same modality; of these, None."""
        if self.objects.start:
            return None
        other = RenderedObjects.__new__(RenderedObjects)
        last = self.pool + max(2 * len(CATEGORIES), self.pool // HELD_OUT)
        other._open(self.modality, range(self.pool, last), self.pool, self.size, self.noise)
        return other

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples by object number, stacked: (len(indices), *shape)."""
        packed = self.images[np.asarray(indices, np.intp)]
        if self.modality == "color":
            return color_samples(packed[..., :3])
        levels = from_bytes(packed[..., 3:])
        if self.noise:
            levels = np.stack([self._measured(i, depth) for i, depth in zip(indices, levels, strict=True)])
        return depth_samples(levels)

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
        """The camera of all these pictures."""
        return Camera.of(PLANES, FIELD_OF_VIEW, (1, 1))

    def _measured(self, number: int, levels: NDArray[np.uint16]) -> NDArray[np.uint16]:
        focal_length = self.size / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2))
        # A third number keeps this stream apart from the one that drew the object.
        rng = np.random.default_rng((self.pool, self.objects[number], 1))
        return PLANES.to_levels(kinect.measure(PLANES.to_metres(levels), focal_length, rng))
