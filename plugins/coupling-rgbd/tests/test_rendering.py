"""One view gives colour, depth and mask that belong together."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coupling_rgbd.depth import FARTHEST
from coupling_rgbd.objects import CATEGORIES
from coupling_rgbd.rendering import DISTANCE, FIELD_OF_VIEW, PLANES, render, render_packed

numbers = st.integers(0, 10**9)


@given(numbers)
@settings(max_examples=60, deadline=None)
def test_colour_and_depth_have_one_silhouette(number: int) -> None:
    rendering = render(5000, number, 64)
    np.testing.assert_array_equal(rendering.depth < FARTHEST, rendering.mask)
    background = rendering.colour[0, 0]
    differs = (rendering.colour != background).any(axis=2)
    # An object's pixel may have the background's very colour; a background pixel may have no other.
    assert not (differs & ~rendering.mask).any()
    assert (rendering.mask & ~differs).sum() <= 0.02 * rendering.mask.sum()


@given(numbers)
@example(135733191)  # came within half a pixel of the edge when objects were 3 % larger
@settings(max_examples=60, deadline=None)
def test_object_lies_in_the_picture_and_between_the_planes(number: int) -> None:
    rendering = render(5000, number, 64)
    assert 0.05 < rendering.mask.mean() < 0.85
    edge = np.concatenate([rendering.mask[[0, -1]].ravel(), rendering.mask[:, [0, -1]].ravel()])
    assert not edge.any()
    metres = PLANES.to_metres(rendering.depth)[rendering.mask]
    assert metres.min() > PLANES.near
    assert metres.max() < PLANES.far - 0.05


@given(numbers)
@settings(max_examples=15, deadline=None)
def test_same_object_at_both_sizes_and_each_time(number: int) -> None:
    small, large = render(5000, number, 64), render(5000, number, 128)
    np.testing.assert_array_equal(small.colour, render(5000, number, 64).colour)
    np.testing.assert_array_equal(small.depth, render(5000, number, 64).depth)
    quarters = large.mask.reshape(64, 2, 64, 2).mean(axis=(1, 3))
    certain = (quarters == 0) | (quarters == 1)
    # Parts thinner than a pixel may fall between the small picture's rays.
    assert (small.mask[certain] == (quarters[certain] == 1)).mean() > 0.995


@given(st.lists(st.tuples(st.integers(2, 10**6), numbers), min_size=2, max_size=4, unique=True))
@settings(max_examples=15, deadline=None)
def test_different_pools_and_numbers_are_different_objects(identities: list[tuple[int, int]]) -> None:
    pictures = {render(pool, number, 64).colour.tobytes() for pool, number in identities}
    assert len(pictures) == len(identities)


@pytest.mark.parametrize("number", [n * len(CATEGORIES) for n in range(4)])
def test_depth_of_a_ball_is_a_sphere_in_metres(number: int) -> None:
    rendering = render(5000, number, 128)
    assert rendering.category == "ball"
    steps = ((np.arange(128) + 0.5) / 64 - 1) * math.tan(math.radians(FIELD_OF_VIEW / 2))
    z = PLANES.to_metres(rendering.depth).astype(np.float64)
    x, y = (z * steps[None, :])[rendering.mask], (z * steps[:, None])[rendering.mask]
    z = z[rendering.mask]
    # A sphere is linear in its centre and in (radius² - |centre|²).
    design = np.stack([2 * x, 2 * y, 2 * z, np.ones_like(x)], axis=1)
    solution = np.linalg.lstsq(design, x * x + y * y + z * z, rcond=None)[0]
    radius = math.sqrt(solution[3] + (solution[:3] ** 2).sum())
    residual = np.sqrt((x - solution[0]) ** 2 + (y - solution[1]) ** 2 + (z - solution[2]) ** 2) - radius
    assert solution[2] == pytest.approx(DISTANCE, abs=1e-3)
    assert 0.15 <= radius <= 0.185
    assert np.abs(residual).max() < 1e-3
    assert residual.std() < 2e-4


def test_packed_keeps_all_sixteen_bits() -> None:
    rendering, packed = render(50, 7, 64), render_packed(7, pool=50, size=64)
    np.testing.assert_array_equal(packed[..., :3], rendering.colour)
    np.testing.assert_array_equal(packed[..., 3].astype(np.uint16) * 256 + packed[..., 4], rendering.depth)


@given(st.floats(PLANES.near, PLANES.far))
def test_metres_survive_sixteen_bits(metres: float) -> None:
    there = PLANES.to_levels(np.array([metres, 0], np.float32))
    back = PLANES.to_metres(there)
    assert back[0] == pytest.approx(metres, abs=1e-5)
    assert there[0] > 0
    assert there[1] == back[1] == 0


def test_rendering_imports_neither_torch_nor_coupling() -> None:
    program = "import sys, coupling_rgbd.rendering; assert not {'torch', 'coupling', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
