"""Pictures of samples that are not images: lines, bars, heat maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from coupling.data.drawings import Bars, HeatMap, Line, default_drawing, false_colours
from coupling.data.pictures import drawn_as, to_drawing, to_pixels
from coupling.domain import Domain
from coupling.errors import ConfigError

RANGE = (-2.0, 2.0)
sequences = arrays.arrays(np.float32, st.tuples(st.just(2), st.integers(1, 400)), elements=st.floats(-2, 2, width=32))


def height(value):
    """The row of a value, from 0 at the bottom."""
    return round((value + 2) / 4 * 63)


def ink(picture):
    """{column: rows from the bottom} of black pixels."""
    rows, columns = np.nonzero(picture.numpy() == RANGE[0])
    return {column: sorted(63 - rows[columns == column]) for column in sorted(set(columns))}


@given(sequences)
def test_a_line_shows_every_value_and_never_breaks(values):
    for sequence, picture in zip(values, Line()(torch.from_numpy(values), RANGE)[:, 0], strict=True):
        assert picture.shape == (64, 128)
        drawn = ink(picture)
        assert sorted(drawn) == list(range(128))
        for number, value in enumerate(sequence):
            place = number / max(1, len(sequence) - 1) * 128
            near = {min(127, max(0, math.floor(place + shift))) for shift in (-1e-3, 1e-3)}
            rows = [row for column in near for row in drawn[column]]
            assert min(rows) - 1 <= height(value) <= max(rows) + 1
        for column, rows in drawn.items():
            assert rows == list(range(rows[0], rows[-1] + 1))  # without gaps
            if column:
                assert rows[0] <= drawn[column - 1][-1] + 1
                assert drawn[column - 1][0] <= rows[-1] + 1


@given(arrays.arrays(np.float32, st.tuples(st.just(2), st.integers(1, 70)), elements=st.floats(-2, 2, width=32)))
def test_bars_reach_from_zero_to_the_value(values):
    for row, picture in zip(values, Bars()(torch.from_numpy(values), RANGE)[:, 0], strict=True):
        wide = picture.shape[1] // len(row)
        drawn = ink(picture)
        for number, value in enumerate(row):
            low, high = sorted((height(0), height(value)))
            for column in range(number * wide, (number + 1) * wide - 1):
                assert (drawn[column][0], drawn[column][-1]) == (low, high)
            assert (number + 1) * wide - 1 not in drawn


def test_bars_start_at_the_lowest_value_if_zero_is_outside_the_range():
    picture = Bars()(torch.tensor([[3.0, 5.0]]), (3.0, 5.0))[0, 0]
    assert (picture[:, 0] == 3).sum() == 1
    assert (picture[:, 64] == 3).sum() == 64


def test_a_heat_map_has_a_rectangle_for_each_value():
    values = torch.linspace(-2, 2, 6).reshape(1, 2, 3)
    picture = HeatMap()(values, RANGE)
    assert picture.shape == (1, 3, 64, 126)
    assert torch.equal(picture[:, :, ::32, ::42], false_colours(values[:, None], RANGE))
    assert HeatMap()(torch.zeros(2, 200, 300), RANGE).shape == (2, 3, 200, 300)


@pytest.mark.parametrize("drawing", [Line(), Bars(), HeatMap()])
def test_not_a_number_is_drawn_as_the_middle_or_lowest_value(drawing):
    shape = (1, 3, 4) if isinstance(drawing, HeatMap) else (1, 4)
    picture = drawing(torch.full(shape, float("nan")), RANGE)
    assert torch.isfinite(picture).all()


@pytest.mark.parametrize(
    ("drawing", "shape", "message"),
    [
        (Line(), (2, 4), r"line draws samples of shape \(n,\) or \(1, n\), not \(2, 4\)"),
        (Bars(), (1, 2, 4), r"bars draws samples of shape \(n,\) or \(1, n\), not \(1, 2, 4\)"),
        (HeatMap(), (4,), r"heat-map draws samples of shape \(h, w\), not \(4,\)"),
    ],
)
def test_a_drawing_says_which_shapes_it_takes(drawing, shape, message):
    with pytest.raises(ConfigError, match=message):
        drawing(torch.zeros(2, *shape), RANGE)


@pytest.mark.parametrize(
    ("shape", "name"),
    [((7,), "line"), ((1, 7), "line"), ((2, 7), "heat-map"), ((3, 4, 4), "image"), ((2, 4, 4), ""), ((1, 1, 1, 1), "")],
)
def test_the_shape_chooses_the_drawing(shape, name):
    domain = Domain("d", shape, RANGE)
    assert drawn_as(domain) == name
    assert domain.is_drawable == bool(name)
    assert (default_drawing(shape) is None) == (name in ("", "image"))
    if name:
        pixels = to_pixels(torch.zeros(2, *shape), domain)
        assert np.array_equal(pixels, to_drawing(torch.zeros(2, *shape), domain))
        assert pixels.shape[3] == 3


def test_a_drawing_that_the_data_set_names_comes_first():
    domain = Domain("d", (5,), RANGE, "bars", Bars())
    assert drawn_as(domain) == "bars"
    samples = torch.rand(1, 5)
    assert np.array_equal(to_pixels(samples, domain)[0, :, :, 0] == 0, Bars()(samples, RANGE)[0, 0].numpy() == -2)
