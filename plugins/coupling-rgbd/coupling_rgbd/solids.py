"""Signed distances of simple solids, in numpy, over many points at once.

A signed distance is negative inside. Every function here never exceeds the true distance, and
none grows faster than the distance walked: that is all sphere tracing asks for. Lengths are in
the object's own unit; the y axis points up.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
"""float32, for speed: Python numbers leave it so."""


class Points(NamedTuple):
    """Points (N,) by coordinate, and their distance from the y axis, which most solids need."""

    x: Array
    y: Array
    z: Array
    r: Array

    @classmethod
    def at(cls, x: Array, y: Array, z: Array) -> Points:
        """Points at these coordinates."""
        return cls(x, y, z, np.sqrt(x * x + z * z))


def segment(u: Array, v: Array, start: tuple[float, float], end: tuple[float, float]) -> Array:
    """Distance to a segment in the (u, v) plane."""
    du, dv = end[0] - start[0], end[1] - start[1]
    u, v = u - start[0], v - start[1]
    along = np.clip((u * du + v * dv) / (du * du + dv * dv), 0, 1)
    u, v = u - along * du, v - along * dv
    distance: Array = np.sqrt(u * u + v * v)
    return distance


def rectangle(u: Array, v: Array, half: tuple[float, float], corner: float = 0.0) -> Array:
    """A rectangle about the origin of the (u, v) plane whose corners are rounded by ``corner``."""
    u, v = np.abs(u) - (half[0] - corner), np.abs(v) - (half[1] - corner)
    outside = np.sqrt(np.maximum(u, 0) ** 2 + np.maximum(v, 0) ** 2)
    distance: Array = outside + np.minimum(np.maximum(u, v), 0) - corner
    return distance


def wall(p: Points, *profile: tuple[float, float], thickness: float) -> Array:
    """A wall turned on a wheel: the polyline ``profile`` of (radius, height), round its edges."""
    pieces = [segment(p.r, p.y, a, b) for a, b in pairwise(profile)]
    distance: Array = np.minimum.reduce(pieces) - thickness
    return distance


def cylinder(p: Points, radius: float, low: float, high: float, corner: float = 0.0) -> Array:
    """An upright cylinder between two heights, its edges rounded by ``corner``."""
    return rectangle(p.r, p.y - (low + high) / 2, (radius, (high - low) / 2), corner)


def sphere(p: Points, centre: tuple[float, float, float], radius: float) -> Array:
    """A ball about ``centre``."""
    x, y, z = p.x - centre[0], p.y - centre[1], p.z - centre[2]
    distance: Array = np.sqrt(x * x + y * y + z * z) - radius
    return distance


def cut_shell(p: Points, centre: float, radius: float, rim: float, thickness: float) -> Array:
    """The part of a hollow sphere about (0, ``centre``, 0) that lies below ``centre + rim``."""
    y = p.y - centre
    opening = float(np.sqrt(radius**2 - rim**2))
    to_shell = np.abs(np.sqrt(p.r * p.r + y * y) - radius)
    to_rim = np.sqrt((p.r - opening) ** 2 + (y - rim) ** 2)
    distance: Array = np.where(rim * p.r < opening * y, to_rim, to_shell) - thickness
    return distance


def torus(p: Points, height: float, radius: float, thickness: float) -> Array:
    """A torus that lies flat at ``height``."""
    u, v = p.r - radius, p.y - height
    distance: Array = np.sqrt(u * u + v * v) - thickness
    return distance


def capsule(p: Points, start: tuple[float, float, float], end: tuple[float, float, float], radius: float) -> Array:
    """A rod with round ends."""
    dx, dy, dz = (b - a for a, b in zip(start, end, strict=True))
    x, y, z = p.x - start[0], p.y - start[1], p.z - start[2]
    along = np.clip((x * dx + y * dy + z * dz) / (dx * dx + dy * dy + dz * dz), 0, 1)
    x, y, z = x - along * dx, y - along * dy, z - along * dz
    distance: Array = np.sqrt(x * x + y * y + z * z) - radius
    return distance


def block(p: Points, centre: float, half: tuple[float, float, float], corner: float) -> Array:
    """A box about (0, ``centre``, 0), its edges rounded by ``corner``."""
    x = np.abs(p.x) - (half[0] - corner)
    y = np.abs(p.y - centre) - (half[1] - corner)
    z = np.abs(p.z) - (half[2] - corner)
    outside = np.sqrt(np.maximum(x, 0) ** 2 + np.maximum(y, 0) ** 2 + np.maximum(z, 0) ** 2)
    distance: Array = outside + np.minimum(np.maximum(np.maximum(x, y), z), 0) - corner
    return distance


def ear(p: Points, x: float, y: float, half: tuple[float, float], corner: float, thickness: float) -> Array:
    """A handle: a rounded rectangle of wire that stands upright about (x, y, 0)."""
    loop = rectangle(p.x - x, p.y - y, half, corner)
    distance: Array = np.sqrt(loop * loop + p.z * p.z) - thickness
    return distance


def blend(a: Array, b: Array, width: float) -> Array:
    """The union of two solids, the seam smoothed over ``width``."""
    overlap = np.maximum(width - np.abs(a - b), 0)
    distance: Array = np.minimum(a, b) - overlap * overlap / (4 * width)
    return distance
