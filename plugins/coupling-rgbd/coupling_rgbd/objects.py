"""The categories of objects: composite solids of random proportions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coupling_rgbd.solids import (
    Array,
    Points,
    blend,
    block,
    capsule,
    cut_shell,
    cylinder,
    ear,
    sphere,
    torus,
    wall,
)

BODY, ACCENT = 0, 1
"""Finishes of a part: the object's pattern, or its plain second colour."""


@dataclass(frozen=True)
class Part:
    """A piece of an object in one finish; ``distance`` maps points (N,) to signed distances (N,)."""

    distance: Callable[[Points], Array]
    finish: int = BODY


@dataclass(frozen=True)
class Shape:
    """Parts, and a sphere about (0, ``centre``, 0) that holds them all."""

    parts: tuple[Part, ...]
    centre: float
    radius: float

    @classmethod
    def of(cls, *parts: Part, outline: list[tuple[float, float]]) -> Shape:
        """A shape whose outermost points, as (distance from the y axis, height), are ``outline``."""
        heights = [height for _, height in outline]
        centre = (min(heights) + max(heights)) / 2
        return cls(parts, centre, max(math.hypot(r, height - centre) for r, height in outline))

    def distance(self, points: Points) -> Array:
        """Signed distance of the whole."""
        distance: Array = np.minimum.reduce([part.distance(points) for part in self.parts])
        return distance

    def finish(self, points: Points) -> NDArray[np.int64]:
        """Finish of the part nearest to each point."""
        nearest = np.argmin([part.distance(points) for part in self.parts], axis=0)
        finishes: NDArray[np.int64] = np.array([part.finish for part in self.parts], np.int64)[nearest]
        return finishes


def _ball(rng: np.random.Generator) -> Shape:
    radius = rng.uniform(0.4, 0.5)
    return Shape.of(Part(lambda p: sphere(p, (0, 0, 0), radius)), outline=[(0, -radius), (radius, 0), (0, radius)])


def _bottle(rng: np.random.Generator) -> Shape:
    radius, shoulder = rng.uniform(0.17, 0.28), rng.uniform(0.45, 0.65)
    neck, mouth = rng.uniform(0.06, 0.09), rng.uniform(0.9, 1.05)

    def glass(p: Points) -> Array:
        return blend(cylinder(p, radius, 0, shoulder, 0.05), cylinder(p, neck, shoulder, mouth), 0.25)

    # The blend swells the neck where the two solids are near each other: the outline leaves room.
    return Shape.of(
        Part(glass),
        Part(lambda p: cylinder(p, neck + 0.035, mouth - 0.08, mouth + 0.03, 0.01), ACCENT),
        outline=[(radius, 0), (radius + 0.02, shoulder), (neck + 0.035, mouth + 0.03)],
    )


def _bowl(rng: np.random.Generator) -> Shape:
    radius, thickness = rng.uniform(0.5, 0.62), rng.uniform(0.025, 0.045)
    rim = rng.uniform(-0.25, 0.05)
    foot = rng.uniform(0.2, 0.28)
    opening = math.sqrt(radius**2 - rim**2)
    # The foot ends in the middle of the shell, so that it does not show inside.
    joint = radius - math.sqrt(radius**2 - foot**2)
    return Shape.of(
        Part(lambda p: cut_shell(p, radius, radius, rim, thickness)),
        Part(lambda p: wall(p, (foot, -0.06), (foot, joint), thickness=thickness), ACCENT),
        outline=[
            (foot + thickness, -0.06 - thickness),
            (radius + thickness if rim > 0 else opening + thickness, radius + min(rim, 0)),
            (opening + thickness, radius + rim + thickness),
        ],
    )


def _box(rng: np.random.Generator) -> Shape:
    width, height, depth = rng.uniform(0.28, 0.5), rng.uniform(0.2, 0.5), rng.uniform(0.28, 0.5)
    lid = rng.uniform(0.05, 0.1)
    corner = math.hypot(width + 0.03, depth + 0.03)
    return Shape.of(
        Part(lambda p: block(p, 0, (width, height, depth), 0.03)),
        Part(lambda p: block(p, height, (width + 0.03, lid, depth + 0.03), 0.02), ACCENT),
        outline=[(corner, -height), (corner, height + lid)],
    )


def _cap(rng: np.random.Generator) -> Shape:
    radius, flat = rng.uniform(0.42, 0.5), rng.uniform(0.75, 1.0)
    visor, reach = rng.uniform(0.34, 0.4), rng.uniform(0.3, 0.42)
    # Crown and peak together lie about the y axis.
    back = (reach + visor - radius) / 2

    def crown(p: Points) -> Array:
        # Divided by `flat`, y grows faster than the way walked; multiplying gives that back.
        squeezed = Points(p.x, p.y / np.float32(flat), p.z, p.r)
        distance: Array = np.maximum(sphere(squeezed, (-back, 0, 0), radius) * flat, -0.02 - p.y)
        return distance

    def peak(p: Points) -> Array:
        # Bent downward at the sides, as far as the peak reaches; 0.85 makes up for the bend's slope.
        bent = Points.at(p.x + (back - reach), p.y + 0.5 * np.minimum(p.z * p.z, visor**2), p.z)
        distance: Array = 0.85 * np.maximum(cylinder(bent, visor, -0.015, 0.025, 0.015), -back - p.x)
        return distance

    return Shape.of(
        Part(crown),
        Part(peak, ACCENT),
        Part(lambda p: sphere(p, (-back, radius * flat, 0), 0.045), ACCENT),
        outline=[(radius + back, -0.09), (radius + back, 0.025), (back + 0.045, radius * flat + 0.045)],
    )


def _cup(rng: np.random.Generator) -> Shape:
    radius, thickness = rng.uniform(0.4, 0.48), 0.03
    rim, saucer = rng.uniform(0.0, 0.15), rng.uniform(0.62, 0.75)
    loop = (rng.uniform(0.15, 0.19), rng.uniform(0.13, 0.17))
    middle = radius + 0.06

    def handle(p: Points) -> Array:
        distance: Array = np.maximum(
            ear(p, radius + 0.05, middle - 0.02, loop, 0.12, 0.035), -sphere(p, (0, middle, 0), radius)
        )
        return distance

    return Shape.of(
        Part(lambda p: cut_shell(p, middle, radius, rim, thickness)),
        Part(handle),
        Part(lambda p: wall(p, (0, 0), (0.4, 0), (saucer, 0.1), thickness=0.025), ACCENT),
        outline=[
            (0.4, -0.025),
            (saucer + 0.025, 0.075),
            (radius + 0.05 + loop[0] + 0.035, middle + loop[1]),
            (radius + thickness, middle + rim + thickness),
        ],
    )


def _lamp(rng: np.random.Generator) -> Shape:
    foot, height = rng.uniform(0.2, 0.3), rng.uniform(0.75, 0.95)
    lower, upper = rng.uniform(0.34, 0.46), rng.uniform(0.14, 0.26)
    drop, rise = rng.uniform(0.1, 0.2), rng.uniform(0.18, 0.28)
    return Shape.of(
        Part(lambda p: wall(p, (lower, height - drop), (upper, height + rise), thickness=0.02)),
        Part(lambda p: blend(cylinder(p, foot, 0, 0.07, 0.02), cylinder(p, 0.035, 0, height), 0.08), ACCENT),
        outline=[(foot + 0.01, -0.01), (lower + 0.02, height - drop), (upper + 0.02, height + rise + 0.02)],
    )


def _mug(rng: np.random.Generator) -> Shape:
    radius, height = rng.uniform(0.34, 0.46), rng.uniform(0.75, 1.05)
    thickness = rng.uniform(0.03, 0.045)
    loop = (rng.uniform(0.2, 0.28), height * rng.uniform(0.24, 0.32))

    def handle(p: Points) -> Array:
        distance: Array = np.maximum(ear(p, radius, height / 2, loop, 0.16, 0.05), radius - p.r)
        return distance

    return Shape.of(
        Part(lambda p: wall(p, (0, 0), (radius, 0), (radius, height), thickness=thickness)),
        Part(handle, int(rng.integers(2))),
        outline=[
            (radius + thickness, -thickness),
            (radius + thickness, height + thickness),
            (radius + loop[0] + 0.05, height / 2 + loop[1]),
        ],
    )


def _pear(rng: np.random.Generator) -> Shape:
    belly, top = rng.uniform(0.34, 0.42), rng.uniform(0.16, 0.22)
    height, lean = rng.uniform(0.75, 0.9), rng.uniform(-0.08, 0.08)

    def fruit(p: Points) -> Array:
        return blend(sphere(p, (0, belly, 0), belly), sphere(p, (0, height, 0), top), 0.4)

    tip = height + top + 0.17
    return Shape.of(
        Part(fruit),
        Part(lambda p: capsule(p, (0, height, 0), (lean, tip, 0), 0.03), ACCENT),
        outline=[(0, -0.02), (belly + 0.06, belly), (abs(lean) + 0.03, tip + 0.03)],
    )


def _ring(rng: np.random.Generator) -> Shape:
    radius, thickness = rng.uniform(0.34, 0.42), rng.uniform(0.13, 0.2)
    outer = radius + thickness + 0.02

    def icing(p: Points) -> Array:
        distance: Array = np.maximum(torus(p, 0, radius, thickness + 0.02), 0.03 - p.y)
        return distance

    return Shape.of(
        Part(lambda p: torus(p, 0, radius, thickness), ACCENT),
        Part(icing),
        outline=[(outer, 0), (radius, -thickness), (radius, thickness + 0.02)],
    )


def _stool(rng: np.random.Generator) -> Shape:
    seat, height = rng.uniform(0.3, 0.42), rng.uniform(0.65, 0.95)
    inner, outer = seat * 0.5, seat * rng.uniform(0.65, 0.85)
    leg, cushion = rng.uniform(0.035, 0.05), rng.uniform(0.03, 0.07)

    def legs(p: Points) -> Array:
        # One leg, mirrored into the four quarters.
        quarter = Points(np.abs(p.x), p.y, np.abs(p.z), p.r)
        return capsule(quarter, (inner, height, inner), (outer, 0, outer), leg)

    return Shape.of(
        Part(lambda p: cylinder(p, seat, height - cushion, height + cushion, 0.03)),
        Part(legs, ACCENT),
        outline=[(outer * math.sqrt(2) + leg, -leg), (seat, height + cushion)],
    )


CATEGORIES: dict[str, Callable[[np.random.Generator], Shape]] = {
    "ball": _ball,
    "bottle": _bottle,
    "bowl": _bowl,
    "box": _box,
    "cap": _cap,
    "cup": _cup,
    "lamp": _lamp,
    "mug": _mug,
    "pear": _pear,
    "ring": _ring,
    "stool": _stool,
}
"""Makers of a shape by category; their order numbers the categories."""
