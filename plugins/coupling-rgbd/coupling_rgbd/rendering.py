"""Pictures of random objects: colour and depth from one sphere-traced view.

Plain numpy, and nothing else is imported: worker processes start fast.

The camera is a pinhole that looks at the object from ``DISTANCE`` metres away; rays are scaled
to advance one unit along the optical axis, so the way walked is the depth itself.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coupling_rgbd.depth import FARTHEST, Planes, to_bytes
from coupling_rgbd.objects import ACCENT, CATEGORIES, Shape
from coupling_rgbd.solids import Array, Points

RENDERER = 2
"""Version of what is drawn: raised when the same number no longer gives the same picture."""

PLANES = Planes(near=0.7, far=1.2)
"""Near and far plane of the pictures' depth. The empty background lies in the far plane."""

FIELD_OF_VIEW = 25.0
"""Angle of view, in degrees, across the picture's width and height alike."""

DISTANCE = 0.9
"""Distance from the camera to the middle of the view, in metres."""

ELEVATIONS = (10, 60)
"""Lowest and highest that the camera stands, in degrees above the object's middle."""

PATTERNS = ("plain", "bands", "sectors", "checks")
"""Patterns of the body's paint."""

STEPS = 48
TOLERANCE, RELAXATION = 1e-3, 1.06
"""Tracing stops this near to the surface (in radii of the object), and the limit grows by this
factor a step. Rays that graze the object creep; they are taken to meet it once they have come
within half a pixel, instead of being followed for hundreds of steps."""


@dataclass(frozen=True)
class Rendering:
    """A picture of an object."""

    category: str
    colour: NDArray[np.uint8]
    """(size, size, 3)."""
    depth: NDArray[np.uint16]
    """(size, size), numbers of :mod:`coupling_rgbd.depth`; nothing is missing."""
    mask: NDArray[np.bool_]
    """(size, size), true where the object is."""


@dataclass(frozen=True)
class _View:
    """Position of the camera, in the object's own coordinates and radii."""

    origin: Array
    right: Array
    up: Array
    forward: Array
    metres: float
    """Length of the object's radius."""
    elevation: float
    """Degrees above the object's middle."""

    @classmethod
    def random(cls, rng: np.random.Generator) -> _View:
        azimuth, degrees = rng.uniform(0, 2 * math.pi), rng.uniform(*ELEVATIONS)
        elevation = math.radians(degrees)
        roll, metres = math.radians(rng.uniform(-5, 5)), rng.uniform(0.145, 0.18)
        outward = np.array(
            [
                math.cos(elevation) * math.sin(azimuth),
                math.sin(elevation),
                math.cos(elevation) * math.cos(azimuth),
            ]
        )
        right = np.array([math.cos(azimuth), 0, -math.sin(azimuth)])
        up = np.cross(outward, right)
        right, up = (
            math.cos(roll) * right + math.sin(roll) * up,
            math.cos(roll) * up - math.sin(roll) * right,
        )
        shift = rng.uniform(-0.008, 0.008, 2) / metres
        origin = outward * (DISTANCE / metres) + shift[0] * right + shift[1] * up
        origin, right, up, forward = (v.astype(np.float32) for v in (origin, right, up, -outward))
        return cls(origin, right, up, forward, metres, degrees)

    def directions(self, size: int) -> Array:
        """Rays (3, size * size), row by row from the top left, each 1 long along ``forward``."""
        steps = ((np.arange(size) + 0.5) * 2 / size - 1) * math.tan(math.radians(FIELD_OF_VIEW) / 2)
        v, u = np.meshgrid(-steps, steps, indexing="ij")
        axes = np.stack([self.right, self.up, self.forward], axis=1)
        grid = np.stack([u.ravel(), v.ravel(), np.ones(size * size)]).astype(np.float32)
        directions: Array = axes @ grid
        return directions


@dataclass(frozen=True)
class _Paint:
    """Colours (3,) in [0, 1] and the pattern of the body."""

    hue: float
    """Hue of the body's first colour, from 0 to 1."""
    colours: tuple[Array, Array, Array]
    background: Array
    pattern: str
    waves: float
    phase: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> _Paint:
        hue = rng.uniform()
        hues = (hue, hue + rng.uniform(0.15, 0.85), rng.uniform())
        colours = [
            np.array(colorsys.hsv_to_rgb(h % 1, rng.uniform(0.35, 0.95), rng.uniform(0.5, 1.0)), np.float32)
            for h in hues
        ]
        background = np.array(
            colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0, 0.2), rng.uniform(0.3, 0.95)), np.float32
        )
        pattern = PATTERNS[rng.integers(4)]
        return cls(
            hue,
            (colours[0], colours[1], colours[2]),
            background,
            pattern,
            rng.uniform(2, 4),
            rng.uniform(0, 2 * math.pi),
        )

    def on(self, shape: Shape, points: Points) -> Array:
        """Colours (3, N) of the surface at ``points``, given in the object's radii about its centre."""
        scale = np.float32(math.pi * self.waves)
        wave: Array
        if self.pattern == "bands":
            wave = np.sin(scale * points.y + self.phase)
        elif self.pattern == "sectors":
            wave = np.sin(round(2 * self.waves) * np.arctan2(points.z, points.x) + self.phase)
        elif self.pattern == "checks":
            # The body's faces lie on no zero of a sine, so that no check flickers along a flat face.
            wave = 2 * (
                np.sin(scale * points.x + 0.7) * np.sin(scale * points.y + 0.7) * np.sin(scale * points.z + 0.7)
            )
        else:
            wave = np.ones_like(points.x)
        # Steep but not a jump: a hard edge would only alias.
        share = np.clip(0.5 + 2.5 * wave, 0, 1)
        first, second, accent = (colour[:, None] for colour in self.colours)
        body = second + share * (first - second)
        painted: Array = np.where(shape.finish(_natural(shape, points)) == ACCENT, accent, body)
        return painted


def _natural(shape: Shape, points: Points) -> Points:
    """The same points in the units the shape's parts are written in."""
    radius = np.float32(shape.radius)
    return Points(points.x * radius, points.y * radius + np.float32(shape.centre), points.z * radius, points.r * radius)


def _distance(shape: Shape, points: Points) -> Array:
    return shape.distance(_natural(shape, points)) / np.float32(shape.radius)


def _along(origin: Array, directions: Array, way: Array) -> Points:
    x, y, z = (o + d * way for o, d in zip(origin, directions, strict=True))
    return Points.at(x, y, z)


def _trace(shape: Shape, view: _View, directions: Array) -> tuple[NDArray[np.intp], Array]:
    """Sphere tracing: the rays that meet the object, and how far along they do."""
    # Only the rays through the unit sphere, and only from where they enter it to where they leave.
    square = (directions * directions).sum(axis=0)
    middle = -(view.origin @ directions) / square
    chord = middle * middle - (view.origin @ view.origin - 1) / square
    ray = np.flatnonzero(chord > 0)
    half = np.sqrt(chord[ray])
    way, leave = middle[ray] - half, middle[ray] + half
    slowness = 1 / np.sqrt(square[ray])
    directions = directions[:, ray]
    rays, ways = [], []
    for step in range(STEPS):
        distance = _distance(shape, _along(view.origin, directions, way))
        way = way + distance * slowness
        met = distance < TOLERANCE * RELAXATION**step
        rays.append(ray[met])
        ways.append(way[met])
        going = np.flatnonzero(~met & (way < leave))
        if not going.size:
            break
        ray, way, leave, slowness = ray[going], way[going], leave[going], slowness[going]
        directions = directions[:, going]
    return np.concatenate(rays), np.concatenate(ways)


def _normals(shape: Shape, points: Points) -> Array:
    """Outward unit normals (3, N), by differences at the corners of a small tetrahedron."""
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
    x, y, z = (
        (coordinate + 2e-3 * corners[:, axis, None]).astype(np.float32).ravel()
        for axis, coordinate in enumerate(points[:3])
    )
    distance = _distance(shape, Points.at(x, y, z)).reshape(4, -1)
    gradient = corners.T @ distance
    normals: Array = gradient / np.maximum(np.sqrt((gradient * gradient).sum(axis=0)), 1e-9)
    return normals


@dataclass(frozen=True)
class Scene:
    """All that is random about a picture."""

    category: str
    shape: Shape
    view: _View
    paint: _Paint
    light: Array
    """Unit vector (3,) toward it, in the object's own coordinates."""
    ambient: float
    shine: float

    @classmethod
    def draw(cls, pool: int, number: int) -> Scene:
        """Object ``number`` of pool ``pool``; categories follow one another in turn."""
        rng = np.random.default_rng((pool, number))
        category = list(CATEGORIES)[number % len(CATEGORIES)]
        shape = CATEGORIES[category](rng)
        view, paint = _View.random(rng), _Paint.random(rng)
        # The light stands over the camera's shoulder, so that no view is only shadow.
        aside, above = rng.uniform(-1.0, 1.0), rng.uniform(0.3, 1.1)
        light = view.right * aside + view.up * above - view.forward
        light = (light / np.linalg.norm(light)).astype(np.float32)
        return cls(category, shape, view, paint, light, rng.uniform(0.3, 0.45), rng.uniform(0.0, 0.4))


def render(pool: int, number: int, size: int) -> Rendering:
    """Object ``number`` of pool ``pool`` as a picture of ``size`` x ``size`` pixels.

    The same at every size. Objects of different pools, or of different numbers, are drawn
    independently.
    """
    scene = Scene.draw(pool, number)
    shape, view, light = scene.shape, scene.view, scene.light
    directions = view.directions(size)
    ray, way = _trace(shape, view, directions)
    points = _along(view.origin, directions[:, ray], way)
    normals = _normals(shape, points)

    toward = -directions[:, ray] / np.sqrt((directions[:, ray] ** 2).sum(axis=0))
    halfway = light[:, None] + toward
    halfway /= np.sqrt((halfway * halfway).sum(axis=0))
    lambert = np.maximum(light @ normals, 0)
    highlight = scene.shine * np.maximum((normals * halfway).sum(axis=0), 0) ** 32
    # Ambient occlusion from one look outward: corners and hollows receive less.
    reach = np.float32(0.15)
    outward = Points.at(*(p + reach * n for p, n in zip(points[:3], normals, strict=True)))
    openness = 0.4 + 0.6 * np.clip(_distance(shape, outward) / reach, 0, 1)
    brightness = openness * (scene.ambient + (1 - scene.ambient) * lambert)
    lit = scene.paint.on(shape, points) * brightness + highlight

    colour = np.repeat(scene.paint.background[:, None], size * size, axis=1)
    colour[:, ray] = lit
    depth = np.full(size * size, FARTHEST, np.uint16)
    depth[ray] = PLANES.to_levels((way * view.metres).astype(np.float32))
    mask = np.zeros(size * size, np.bool_)
    mask[ray] = True
    pixels = np.rint(np.clip(colour.T, 0, 1) * 255).astype(np.uint8)
    return Rendering(scene.category, pixels.reshape(size, size, 3), depth.reshape(size, size), mask.reshape(size, size))


def render_packed(index: int, *, pool: int, size: int, first: int = 0) -> NDArray[np.uint8]:
    """Colour and depth of object ``first + index``, (size, size, 5): red, green, blue, depth's two bytes."""
    rendering = render(pool, first + index, size)
    packed: NDArray[np.uint8] = np.concatenate([rendering.colour, to_bytes(rendering.depth)], axis=2)
    return packed
