"""The built-in image operators against slow, obvious references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coupling.builtin import register_transforms
from coupling.config.registry import Registry
from coupling.data import drawings
from coupling.data.transforms import Edges, FalseColours, Negative, Rotate90
from coupling.errors import ConfigError

Range = tuple[float, float]
# Each float32 exactly: a bound that is not would itself lie outside.
UNEVEN: Range = (float(np.float32(-0.6)), float(np.float32(0.1)))  # where rounding carries both past it
RANGES: list[Range] = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), UNEVEN]

examples = settings(deadline=None, max_examples=50)  # an operator is slow the first time


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Range]:
    """A batch of 1 to 3 images with 1 to 3 channels and sides of 1 to 6 pixels, and its range.

    Values are coarse at times, so that flat regions and both bounds occur.
    """
    low, high = draw(st.sampled_from(RANGES))
    shape = draw(st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 6)] * 2))
    levels = draw(st.sampled_from([1, 2, 255, 2**20]))
    steps = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(0, levels, shape, endpoint=True)
    return torch.tensor(low + (high - low) * steps / levels, dtype=torch.float32), (low, high)


def dilation_minus_image(image: np.ndarray) -> np.ndarray:
    """For each pixel of one channel, how far the brightest of its neighbours lies above it."""
    result = np.zeros_like(image)
    height, width = image.shape
    for row in range(height):
        for column in range(width):
            neighbours = image[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            result[row, column] = neighbours.max() - image[row, column]
    return result


@examples
@given(batches())
def test_edges_are_the_dilation_minus_the_image(batch: tuple[Tensor, Range]) -> None:
    images, (low, high) = batch
    expected = [[low + dilation_minus_image(channel) for channel in image] for image in images.numpy()]
    torch.testing.assert_close(Edges()(images, (low, high)), torch.tensor(np.array(expected)))


def test_edges_of_a_dot_are_the_ring_around_it() -> None:
    dot = torch.zeros(1, 1, 5, 5)
    dot[..., 2, 2] = 1
    ring = torch.zeros(1, 1, 5, 5)
    ring[..., 1:4, 1:4] = 1
    ring[..., 2, 2] = 0
    assert torch.equal(Edges()(dot, (0.0, 1.0)), ring)
    assert torch.equal(Edges()(2 * dot - 1, (-1.0, 1.0)), 2 * ring - 1)


def test_edges_of_a_flat_image_are_nothing_at_the_border_too() -> None:
    assert torch.equal(Edges()(torch.full((1, 3, 4, 6), 0.5), (-1.0, 1.0)), torch.full((1, 3, 4, 6), -1.0))


@examples
@given(batches())
def test_negative_mirrors_the_range(batch: tuple[Tensor, Range]) -> None:
    images, (low, high) = batch
    share = (images.double() - low) / (high - low)
    negative = Negative()(images, (low, high))
    torch.testing.assert_close((negative.double() - low) / (high - low), 1 - share, rtol=0, atol=1e-6)


@pytest.mark.parametrize("turns", [1, 2, 3])
@examples
@given(batch=batches())
def test_rotation_is_numpys(turns: int, batch: tuple[Tensor, Range]) -> None:
    images, range = batch
    expected = [[np.rot90(channel, turns) for channel in image] for image in images.numpy()]
    assert torch.equal(Rotate90(turns=turns)(images, range), torch.tensor(np.array(expected)))


def test_one_turn_is_counter_clockwise() -> None:
    top_left = torch.tensor([[[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]])
    bottom_left = torch.tensor([[[[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]]])
    assert torch.equal(Rotate90()(top_left, (0.0, 1.0)), bottom_left)


@examples
@given(batches())
def test_false_colours_are_interpolated_between_the_stops(batch: tuple[Tensor, Range]) -> None:
    images, (low, high) = batch[0][:, :1], batch[1]
    share = (images.double() - low).div(high - low).numpy()
    stops = np.linspace(0, 1, len(drawings._STOPS))
    expected = np.concatenate([np.interp(share, stops, channel) for channel in zip(*drawings._STOPS, strict=True)], 1)
    coloured = FalseColours()(images, (low, high)).double()
    torch.testing.assert_close((coloured - low) / (high - low), torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_false_colours_are_of_one_channel() -> None:
    with pytest.raises(ConfigError, match="false-colours takes images of one channel, not of 3"):
        FalseColours()(torch.zeros(1, 3, 2, 2), (0.0, 1.0))


@pytest.mark.parametrize("transform", [Edges(), Negative(), Rotate90()], ids=lambda t: type(t).__name__)
@examples
@given(batch=batches())
def test_values_stay_in_the_range_and_the_argument_as_it_was(transform: Edges, batch: tuple[Tensor, Range]) -> None:
    images, (low, high) = batch
    before = images.clone()
    result = transform(images, (low, high))
    assert result.dtype == torch.float32
    assert low <= result.min().item()
    assert result.max().item() <= high
    assert torch.equal(images, before)


def test_all_are_registered_with_checked_options() -> None:
    registry = Registry()
    register_transforms(lambda name, make: registry.add("transform", name, make, "coupling"))
    assert registry.names("transform") == ["bars", "edges", "false-colours", "heat-map", "line", "negative", "rotate90"]
    assert registry.build("transform", "rotate90", {"turns": 3}, "transform").turns == 3
    for turns in (0, 4):
        with pytest.raises(ConfigError, match="turns"):
            registry.build("transform", "rotate90", {"turns": turns}, "transform")
