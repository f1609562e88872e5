"""What sphere tracing asks of a signed distance, for every category."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling_rgbd.objects import ACCENT, BODY, CATEGORIES
from coupling_rgbd.solids import Points, cut_shell, rectangle, segment

categories = st.sampled_from(sorted(CATEGORIES))
seeds = st.integers(0, 2**32 - 1)


def _points(coordinates: np.ndarray) -> Points:
    return Points.at(*coordinates.astype(np.float32))


@given(categories, seeds)
@settings(max_examples=60, deadline=None)
def test_distance_grows_no_faster_than_the_way_walked(category: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = CATEGORIES[category](rng)
    here = rng.uniform(-1, 1, (3, 2000)) * shape.radius + [[0], [shape.centre], [0]]
    there = here + rng.normal(size=here.shape) * 0.1
    assert shape.distance(_points(here)).dtype == np.float32
    change = np.abs(shape.distance(_points(there)) - shape.distance(_points(here)))
    assert (change <= np.linalg.norm(there - here, axis=0) + 1e-5).all()


@given(categories, seeds)
@settings(max_examples=60, deadline=None)
def test_object_lies_within_its_sphere_and_fills_much_of_it(category: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = CATEGORIES[category](rng)
    directions = rng.normal(size=(3, 4000))
    directions /= np.linalg.norm(directions, axis=0)
    centre = np.array([[0], [shape.centre], [0]])
    assert (shape.distance(_points(centre + directions * shape.radius)) >= -1e-5).all()
    assert (shape.distance(_points(centre + directions * shape.radius * 0.85)) < 0.1 * shape.radius).any()


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_finish_names_a_part_that_is_there(category: str) -> None:
    shape = CATEGORIES[category](np.random.default_rng(0))
    centre = np.array([[0], [shape.centre], [0]])
    points = _points(centre + np.random.default_rng(1).uniform(-1, 1, (3, 5000)))
    assert set(np.unique(shape.finish(points))) <= {part.finish for part in shape.parts} <= {BODY, ACCENT}


def test_segment_and_rectangle_against_known_distances() -> None:
    u, v = np.array([0.5, -3.0, 2.0], np.float32), np.array([2.0, 4.0, 0.0], np.float32)
    np.testing.assert_allclose(segment(u, v, (0, 0), (1, 0)), [2, 5, 1], rtol=1e-6)
    np.testing.assert_allclose(rectangle(u, v, (1, 1)), [1, np.hypot(2, 3), 1], rtol=1e-6)
    inside = np.zeros(1, np.float32)
    np.testing.assert_allclose(rectangle(inside, inside, (1, 0.5), 0.2), [-0.5], rtol=1e-6)


def test_cut_shell_is_open_above_and_closed_below() -> None:
    axis = Points.at(*np.array([[0, 0, 0], [-1, 0, 1], [0, 0, 0]], np.float32))
    below, middle, above = cut_shell(axis, 0, 1, 0, 0.1)
    np.testing.assert_allclose([below, middle, above], [-0.1, 0.9, np.sqrt(2) - 0.1], rtol=1e-5)
