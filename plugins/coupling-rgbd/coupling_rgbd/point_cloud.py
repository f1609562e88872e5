"""Points in space from a colour and a depth picture, and pictures of them from other viewpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupling import write_bytes
from coupling_rgbd.camera import Camera

BACKGROUND = 0.95
"""Depth from which on points are background, or too far to be distinguished from it. Not 1, since a
network draws a background that is only nearly as far as the farthest."""

_STEEPEST = math.tan(math.radians(84))
"""Slope of a surface against the picture's plane beyond which it is none: pixels across an edge, whose
depths lie between those of two surfaces."""

_FINER = 2
"""Pixels of a view that are drawn for each one shown, along each side."""

_STRETCH = 1.3
"""Distance of neighbouring points on a surface, in drawn pixels, over that seen from the camera."""


@dataclass(frozen=True)
class PointCloud:
    """A pair of pictures as points in space, one for each pixel that shows a surface."""

    grid: NDArray[np.float32]
    """(height, width, 3) in metres: x right, y down, z away from the camera."""
    color: NDArray[np.uint8]
    """(height, width, 3)."""
    kept: NDArray[np.bool_]
    """Pixels that are points."""
    smooth: NDArray[np.float32]
    """Largest step of depth between neighbouring pixels of one surface, (height, width) in metres."""

    @classmethod
    def of(
        cls, color: NDArray[np.uint8], depth: NDArray[np.float32], camera: Camera, background: float = BACKGROUND
    ) -> PointCloud:
        """The points of a pair: colour (H, W, 3), depth (H, W) in [0, 1].

        Left out are missing depths (0), depths from ``background`` on, and pixels that bridge an edge.
        """
        seen = (depth > 0) & (depth < background)
        grid = camera.points(depth)
        z = grid[..., 2]
        smooth = _STEEPEST * 2 * camera.across * z / depth.shape[1]
        return cls(grid, color, seen & (_steps(z, seen) < smooth), smooth)

    def __len__(self) -> int:
        return int(self.kept.sum())

    @property
    def points(self) -> NDArray[np.float32]:
        """(len(self), 3) in metres: x right, y down, z away from the camera."""
        return self.grid[self.kept]

    @property
    def colors(self) -> NDArray[np.uint8]:
        """(len(self), 3)."""
        return self.color[self.kept]

    def view(self, yaw: float, pitch: float, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The points from another viewpoint, on white: (*size, 3).

        Args:
            yaw: degrees by which the viewer goes round the points, to the right.
            pitch: degrees by which the viewer rises.
            size: (height, width) in pixels.
        """
        height, width = size
        canvas = np.full((height * _FINER, width * _FINER, 3), 255, np.float32)
        if len(self):
            low, high = np.percentile(self.points, [1, 99], axis=0)
            middle, turn = (low + high) / 2, _turned(yaw, pitch)
            away = np.array([0, 0, middle[2]])

            def seen(points: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
                turned = (points - middle) @ turn.T + away
                z = np.maximum(turned[:, 2], 1e-2)
                return turned[:, :2] / z[:, None], z

            # As large as it fits, all but stray points.
            plane, z = seen(self.points)
            half = np.array([width, height]) * _FINER / 2
            scale = float((half / np.maximum(1.08 * np.percentile(np.abs(plane), 99.9, axis=0), 1e-6)).min())
            pixel = scale * 2 * abs(float(self.grid[0, -1, 0] / self.grid[0, -1, 2])) / self.grid.shape[1]
            painter = _Painter(canvas)
            painter.paint(plane * scale + half, z, self.colors, max(1, round(0.4 * pixel)))
            points, colors = self._surfaces(math.ceil(_STRETCH * pixel))
            plane, z = seen(points)
            painter.paint(plane * scale + half, z, colors, 2)
        shown: NDArray[np.uint8] = np.rint(canvas.reshape(height, _FINER, width, _FINER, 3).mean((1, 3))).astype(
            np.uint8
        )
        return shown

    def _surfaces(self, finer: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Points and colours on surfaces: ``finer`` along each side of four pixels that lie on one."""
        z = self.grid[..., 2]
        corners = [(slice(i, z.shape[0] - 1 + i), slice(j, z.shape[1] - 1 + j)) for i in (0, 1) for j in (0, 1)]
        depths = np.stack([z[c] for c in corners])
        whole = np.logical_and.reduce([self.kept[c] for c in corners])
        whole &= depths.max(0) - depths.min(0) < self.smooth[:-1, :-1]
        steps = (np.arange(finer) + 0.5) / finer
        u, v = np.meshgrid(steps, steps, indexing="ij")
        shares = np.stack([(1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v]).reshape(4, -1).astype(np.float32)

        def between(values: NDArray[Any]) -> NDArray[np.float32]:
            four = np.stack([values[c][whole] for c in corners]).astype(np.float32)
            mixed: NDArray[np.float32] = np.einsum("cks,cn->kns", four, shares).reshape(-1, values.shape[-1])
            return mixed

        return between(self.grid), np.rint(between(self.color)).astype(np.uint8)

    def write_ply(self, path: Path) -> None:
        """Write a binary PLY file that viewers open, as a whole: x right, y up, z toward the viewer, in metres."""
        vertices = np.empty(
            len(self), [(axis, "<f4") for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")]
        )
        for axis, sign, values in zip("xyz", (1, -1, -1), self.points.T, strict=True):
            vertices[axis] = sign * values
        for channel, values in zip(("red", "green", "blue"), self.colors.T, strict=True):
            vertices[channel] = values
        properties = [f"property float {axis}" for axis in "xyz"]
        properties += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
        header = [
            "ply",
            "format binary_little_endian 1.0",
            "comment metres; x right, y up, z toward the camera, which is at the origin",
            f"element vertex {len(self)}",
            *properties,
            "end_header",
        ]
        write_bytes(path, "\n".join(header).encode() + b"\n" + vertices.tobytes())


class _Painter:
    """A picture (height, width, 3) on which nearer points cover farther ones."""

    def __init__(self, picture: NDArray[np.float32]) -> None:
        self._picture = picture
        self._nearest = np.full(picture.shape[:2], np.inf)

    def paint(
        self, places: NDArray[np.float64], z: NDArray[np.float64], colors: NDArray[np.uint8], radius: int
    ) -> None:
        """Draw points as discs: ``places`` (N, 2) are (x, y) in pixels, ``z`` (N,) distances, ``radius`` in pixels."""
        order = np.argsort(-z, kind="stable")  # of points on one pixel the last written stays
        across = np.arange(1 - radius, radius)
        y, x = (offsets.ravel() for offsets in np.meshgrid(across, across, indexing="ij"))
        disc = y * y + x * x < radius * radius
        row, column = (
            (np.floor(places[order, axis]).astype(np.int64)[:, None] + offsets[disc]).ravel()
            for axis, offsets in ((1, y), (0, x))
        )
        point = np.repeat(order, disc.sum())
        inside = (row >= 0) & (row < len(self._picture)) & (column >= 0) & (column < self._picture.shape[1])
        row, column, point = row[inside], column[inside], point[inside]
        top = np.full(self._nearest.shape, -1)
        top[row, column] = point
        at = top >= 0
        at[at] = z[top[at]] < self._nearest[at]
        self._nearest[at] = z[top[at]]
        self._picture[at] = colors[top[at]]


def _steps(z: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The step of depth at each pixel: the smaller of the steps to either side, in the steeper direction.

    The smaller one, since the last pixel of a surface is no bridge. Where a neighbour is missing, its step
    is 0.
    """
    largest = np.zeros_like(z)
    for axis in (0, 1):
        step = np.abs(np.diff(z, axis=axis))
        both = np.logical_and(*(np.take(seen, range(k, z.shape[axis] - 1 + k), axis) for k in (0, 1)))
        step = np.where(both, step, 0)
        padding = [(0, 0), (0, 0)]
        padding[axis] = (1, 1)
        padded = np.pad(step, padding)
        before, after = (np.take(padded, range(k, z.shape[axis] + k), axis) for k in (0, 1))
        largest = np.maximum(largest, np.minimum(before, after))
    return largest


def _turned(yaw: float, pitch: float) -> NDArray[np.float64]:
    """The rotation of points that shows them to a viewer who went right by ``yaw`` and up by ``pitch``."""
    a, b = math.radians(yaw), math.radians(pitch)
    round_y = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    round_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    turned: NDArray[np.float64] = round_x @ round_y
    return turned
