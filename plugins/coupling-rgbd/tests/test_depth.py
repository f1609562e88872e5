"""From a sensor's readings to what networks learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from coupling_rgbd.depth import FARTHEST, Planes, completed, from_bytes, to_bytes

PLANES = Planes(0.5, 4.0)
NAN, INF = float("nan"), float("inf")

readings = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    elements=st.sampled_from([0.0, -1.0, 0.25, 0.5, 0.75, 1.5, 2.0, 3.0, 4.0, 6.0, 80.0, NAN, INF]),
)


def _by_hand(metres: Any, outliers: str, fill: str) -> list[list[set[float]]]:
    """For each pixel the values that it may get: of several nearest readings any will do."""
    height, width = metres.shape
    seen = {
        (r, c): float(metres[r, c])
        for r in range(height)
        for c in range(width)
        if np.isfinite(metres[r, c]) and metres[r, c] > 0 and (outliers == "clip" or 0.5 <= metres[r, c] <= 4)
    }

    def allowed(r: int, c: int) -> set[float]:
        if (r, c) in seen:
            values = {seen[r, c]}
        elif fill == "zero":
            return {0.0}
        elif fill == "far" or not seen:
            values = {4.0}
        else:
            closest = min((a - r) ** 2 + (b - c) ** 2 for a, b in seen)
            values = {v for (a, b), v in seen.items() if (a - r) ** 2 + (b - c) ** 2 == closest}
        return {min(max(value, 0.5), 4.0) for value in values}

    return [[allowed(r, c) for c in range(width)] for r in range(height)]


@given(readings, st.sampled_from(["clip", "drop"]), st.sampled_from(["nearest", "far", "zero"]))
@settings(max_examples=150, deadline=None)
def test_completed_depth_follows_its_options(metres: Any, outliers: Any, fill: Any) -> None:
    made = completed(metres, PLANES, outliers, fill)
    assert made.dtype == np.float32
    for row, allowed_row in zip(made.tolist(), _by_hand(metres, outliers, fill), strict=True):
        for value, allowed in zip(row, allowed_row, strict=True):
            assert value in allowed


def test_levels_are_linear_in_metres_and_keep_missing_readings() -> None:
    levels = PLANES.to_levels(np.array([0, 0.1, 0.5, 2.25, 4, 9], np.float32))
    assert levels.tolist() == [0, 1, 1, 32768, FARTHEST, FARTHEST]
    assert PLANES.to_metres(levels).tolist() == pytest.approx([0, 0.5, 0.5, 2.25, 4, 4], abs=1e-4)


@given(arrays.arrays(np.uint16, st.tuples(st.integers(1, 5), st.integers(1, 5))))
def test_bytes_keep_all_bits(levels: Any) -> None:
    pairs = to_bytes(levels)
    assert pairs.dtype == np.uint8
    assert pairs.shape == (*levels.shape, 2)
    assert (pairs[..., 0].astype(int) * 256 + pairs[..., 1] == levels).all()
    np.testing.assert_array_equal(from_bytes(pairs), levels)
