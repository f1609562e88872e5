"""The errors of a structured-light sensor in a depth picture: coarse steps, noise, holes.

A Kinect measures disparity between its infrared projector and its camera, in whole numbers:
metres = 351.3 / (1092.5 - number), so a step grows with the square of the distance (2.3 mm at
0.9 m). It sees nothing where an object keeps the projector's light off, and little of surfaces
that it meets at a flat angle.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BASELINE = 0.075
"""Distance from the camera to the projector on its right, in metres."""

STEEPEST = math.tan(math.radians(78))
"""Slope of a surface against the picture's plane beyond which half the light is lost."""


def measure(metres: NDArray[np.float32], focal_length: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Depth (height, width) in metres as the sensor gives it; 0 where it saw nothing.

    Args:
        metres: the true depth, nothing missing.
        focal_length: of the camera, in pixels.
        rng: draws the noise.
    """
    number = np.rint(1092.5 - 351.3 / metres + rng.normal(0, 0.4, metres.shape))
    measured = 351.3 / (1092.5 - number)
    missing = _shadow(metres, focal_length) | _specks(metres.shape, rng)
    missing |= _slope(metres, focal_length) > STEEPEST * rng.uniform(0.5, 2, metres.shape)
    return np.where(missing, 0, measured).astype(np.float32)


def _shadow(metres: NDArray[np.float32], focal_length: float) -> NDArray[np.bool_]:
    """Pixels at which something nearer stands between the point and the projector: to the left of objects."""
    column = np.arange(metres.shape[1]) - focal_length * BASELINE / metres
    # From the projector, too, what lies further right must appear further right.
    right = np.minimum.accumulate(column[:, ::-1], axis=1)[:, ::-1]
    shadow = np.zeros(metres.shape, np.bool_)
    shadow[:, :-1] = column[:, :-1] >= right[:, 1:]
    return shadow


def _slope(metres: NDArray[np.float32], focal_length: float) -> NDArray[np.float64]:
    """Rise of depth over the width that a pixel covers there."""
    down, across = np.gradient(metres.astype(np.float64))
    slope: NDArray[np.float64] = np.hypot(down, across) * focal_length / metres
    return slope


def _specks(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A few small round holes."""
    height, width = shape
    rows, columns = np.ogrid[:height, :width]
    specks = np.zeros(shape, np.bool_)
    for _ in range(rng.poisson(2)):
        row, column, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.01, 0.03) * width
        specks |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    return specks
