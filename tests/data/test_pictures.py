"""Samples as pixels, grids and files."""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from coupling.data.pictures import _FRAME, _alike, drawable, picture_grid, save_png, to_drawing, to_pixels
from coupling.data.transforms import FalseColours
from coupling.domain import Domain
from coupling.errors import InputError

GRAY = Domain("gray", (1, 4, 6), (0, 1))
COLOUR = Domain("colour", (3, 8, 8), (-1, 1))


def columns_of(picture, colour):
    """Where pixels of a colour are: (first, last) column, (first, last) row."""
    where = np.argwhere((np.asarray(picture) == colour).all(-1))
    return where[:, 1].min(), where[:, 1].max(), where[:, 0].min(), where[:, 0].max()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255), (-3, 0.5)])
def test_the_ends_of_the_range_are_black_and_white(low, high):
    domain = Domain("d", (1, 1, 3), (low, high))
    samples = torch.tensor([low, (low + high) / 2, high]).reshape(1, 1, 1, 3)
    assert to_pixels(samples, domain)[0, 0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
    beyond = torch.tensor([low - 5.0, high + 5.0, high]).reshape(1, 1, 1, 3)
    assert to_pixels(beyond, domain)[0, 0, :, 0].tolist() == [0, 255, 255]


def test_channels_and_memory_format():
    samples = torch.rand(2, 3, 8, 8) * 2 - 1
    pixels = to_pixels(samples.to(memory_format=torch.channels_last), COLOUR)
    assert pixels.shape == (2, 8, 8, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    expected = ((samples + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(pixels, expected)
    assert to_pixels(torch.rand(5, 1, 4, 6).bfloat16(), GRAY).shape == (5, 4, 6, 3)


def test_not_a_number_is_drawn_black():
    pixels = to_pixels(torch.full((1, 1, 4, 6), float("nan")), GRAY)
    assert pixels.max() == 0


@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 2, 3, 4)])
def test_a_shape_without_a_drawing_is_an_error(shape):
    domain = Domain("sound", shape, (0, 1))
    with pytest.raises(InputError, match=r"'sound'.* cannot be drawn as pictures"):
        to_pixels(torch.zeros(1, *shape), domain)
    with pytest.raises(InputError, match="none of the domains can be drawn"):
        picture_grid({"sound": torch.zeros(1, *shape)}, {"sound": domain})


def test_a_column_is_one_latent_code_and_a_row_one_domain():
    first, second = (Domain(name, (3, 64, 64), (0, 1)) for name in ("first", "second"))
    samples = {d.name: torch.ones(3, 3, 64, 64) for d in (first, second)}
    colours = {("first", 1): (255, 0, 0), ("second", 1): (0, 255, 0), ("first", 2): (0, 0, 255)}
    for (name, number), colour in colours.items():
        samples[name][number] = torch.tensor(colour).reshape(3, 1, 1) / 255
    picture = picture_grid(samples, {"first": first, "second": second}, columns=2)
    red, green, blue = (columns_of(picture, colour) for colour in colours.values())
    assert red[:2] == green[:2]  # the same column
    assert red[3] < green[2]  # the first domain above the second
    assert blue[2] > green[3]  # the third sample in a further band ...
    assert blue[0] < red[0]  # ... which starts at the left again
    for left, right, top, bottom in (red, green, blue):
        assert (right - left + 1, bottom - top + 1) == (64, 64)


def test_domains_that_cannot_be_drawn_are_left_out():
    domains = {d.name: d for d in (GRAY, COLOUR, Domain("volume", (2, 5, 1), (0, 1)))}
    samples = {"gray": torch.zeros(20, 1, 4, 6), "colour": torch.zeros(20, 3, 8, 8), "volume": torch.zeros(20, 2, 5, 1)}
    picture = picture_grid(samples, domains)
    without = picture_grid({name: samples[name] for name in ("gray", "colour")}, domains)
    assert picture.tobytes() == without.tobytes()
    assert picture.size[0] > 12 * 64
    assert picture.size[1] > 2 * 2 * 40  # two bands of two domains


def cells(shapes):
    """A grid of two columns of domains of these (height, width), each in a colour of its own; where each cell lies."""
    domains = {f"d{k}": Domain(f"d{k}", (3, *shape), (0, 1)) for k, shape in enumerate(shapes)}
    colours = [((k + 1) * 40, 10, 200) for k in range(len(shapes))]
    samples = {
        name: torch.tensor(colour).div(255).reshape(1, 3, 1, 1).expand(2, *domain.shape)
        for (name, domain), colour in zip(domains.items(), colours, strict=True)
    }
    picture = picture_grid(samples, domains)
    return picture, [columns_of(picture, colour) for colour in colours]


@pytest.mark.parametrize(
    ("shapes", "drawn"),
    [
        (((28, 28), (64, 64)), ((56, 56), (64, 64))),  # twice, and as it is
        (((32, 32), (64, 64)), ((64, 64), (64, 64))),
        (((16, 16), (28, 28), (128, 128)), ((128, 128), (140, 140), (128, 128))),
        (((8, 8), (8, 8)), ((64, 64), (64, 64))),
        (((64, 64), (100, 100)), ((100, 100), (100, 100))),  # no whole factor comes near
        (((20, 40), (40, 20)), ((40, 80), (80, 40))),
        (((132, 176), (33, 44)), ((132, 176), (132, 176))),
        (((200, 200), (300, 300)), ((300, 300), (300, 300))),
        (((1, 64), (64, 64)), ((1, 64), (64, 64))),
    ],
    ids=str,
)
def test_domains_of_different_size_are_drawn_about_alike(shapes, drawn):
    picture, found = cells(shapes)
    rows = []
    for (height, width), (left, right, top, bottom) in zip(drawn, found, strict=True):
        assert bottom - top + 1 == height
        rows.append((top, bottom))
        first = np.asarray(picture)[top, left : right + 1]
        assert (first == first[0]).all(-1).sum() == 2 * width  # two columns
    assert all(above[1] < below[0] for above, below in pairwise(rows))
    centres = {(left + right) / 2 for left, right, _, _ in found}
    assert max(centres) - min(centres) <= 1  # cells of a column are about one axis


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=5))
def test_the_longer_sides_are_within_a_quarter_of_each_other(sizes):
    drawn = _alike(sizes, None)
    largest = max(max(size) for size in sizes)
    wanted = largest * max(1, -(-64 // largest))
    for before, after in zip(sizes, drawn, strict=True):
        assert wanted * 0.75 <= max(after) <= wanted * 1.25
        factor = max(after) / max(before)
        assert abs(after[0] - before[0] * factor) <= 1  # proportions stay
        assert abs(after[1] - before[1] * factor) <= 1
        assert factor == 1 or max(before) <= max(after)  # nothing is made smaller


@pytest.mark.parametrize("factor", [2, 3])
def test_whole_factors_keep_pixels_crisp(factor):
    small, large = Domain("small", (1, 32, 32), (0, 1)), Domain("large", (1, 32 * factor, 32 * factor), (0, 1))
    samples = {"small": torch.rand(1, 1, 32, 32), "large": torch.zeros(1, 1, 32 * factor, 32 * factor)}
    picture = np.asarray(picture_grid(samples, {"small": small, "large": large}))
    pixels = to_pixels(samples["small"], small)[0]
    side = 32 * max(factor, 2)
    cell = picture[2 : 2 + side, picture.shape[1] - 4 - side : picture.shape[1] - 4]
    assert any(
        np.array_equal(picture[2 : 2 + side, left : left + side], pixels.repeat(side // 32, 0).repeat(side // 32, 1))
        for left in range(picture.shape[1] - side + 1)
    ), cell.shape


# -- domains that are drawn in another way --------------------------------------------------------


def as_curve(samples, range):
    """(B, N) as black pictures with a white dot a number."""
    low, high = range
    rows = ((high - samples) / (high - low) * 15).round().long()
    pictures = torch.full((len(samples), 1, 16, samples.shape[1]), float(low))
    return pictures.scatter_(2, rows[:, None, None, :], high)


CURVES = Domain("curves", (20,), (-2, 2), "curve", as_curve)
DEPTH = Domain("depth", (1, 8, 8), (0, 1), "false-colours", FalseColours())


def test_a_domain_without_images_has_the_pixels_of_its_drawing():
    samples = torch.linspace(-2, 2, 20).expand(3, 20)
    pixels = to_pixels(samples, CURVES)
    assert pixels.shape == (3, 16, 20, 3)
    assert np.argwhere(pixels[0, :, :, 0])[:, 0].tolist() == sorted(np.argwhere(pixels[0, :, :, 0])[:, 0].tolist())
    assert pixels[0, 15, 0, 0] == 255  # the lowest at the bottom left
    assert pixels[0, 0, 19, 0] == 255
    assert np.array_equal(to_drawing(samples, CURVES), pixels)
    assert drawable({"curves": CURVES, "other": Domain("other", (2, 3, 3), (0, 1))}) == ["curves"]
    picture_grid({"curves": samples}, {"curves": CURVES})


def test_an_image_that_is_drawn_in_another_way_keeps_its_values():
    samples = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    assert (
        to_pixels(samples, DEPTH)[0, :, :, 0].reshape(-1).tolist() == (samples * 255).round().byte().flatten().tolist()
    )
    drawn = to_drawing(samples, DEPTH).reshape(64, 3).astype(int)
    assert len({tuple(colour) for colour in drawn}) == 64
    assert drawn[0].tolist() == [0, 0, 0]
    brightness = drawn @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > 0).all()


def test_the_grid_shows_the_drawing():
    depth, plain = DEPTH, Domain("plain", (1, 8, 8), (0, 1))
    samples = torch.full((1, 1, 8, 8), 0.6)
    picture = picture_grid({"depth": samples, "plain": samples}, {"depth": depth, "plain": plain})
    right = np.asarray(picture)[:, picture.width - 4 - 64 :]  # without the names
    colour = to_drawing(samples, depth)[0, 0, 0]
    assert (right == colour).all(-1).sum() == 64 * 64
    assert (right == 153).all(-1).sum() == 64 * 64


def test_drawings_have_a_frame_between_neighbours_and_images_have_none():
    line = Domain("line", (1, 16), (0, 1))
    picture = picture_grid({"line": torch.rand(3, 1, 16)}, {"line": line})
    left, right, top, bottom = columns_of(picture, ImageColor.getrgb(_FRAME))
    assert (right - left + 1, bottom - top + 1) == (3 * 130, 66)
    pixels = np.asarray(picture)
    for column in (0, 129, 130, 259, 260, 389):
        assert (pixels[top : bottom + 1, left + column] == ImageColor.getrgb(_FRAME)).all()
    image = picture_grid({"gray": torch.ones(3, 1, 4, 6)}, {"gray": GRAY})
    assert not (np.asarray(image) == ImageColor.getrgb(_FRAME)).all(-1).any()


def test_the_domains_names_stand_beside_their_rows():
    domain = Domain("a-rather-long-name", (1, 64, 64), (0, 1))
    picture = picture_grid({domain.name: torch.ones(1, 1, 64, 64)}, {domain.name: domain})
    left = np.asarray(picture)[:, : picture.size[0] - 64 - 4]
    assert (left < 128).any()  # ink
    assert left.shape[1] > 100


def test_a_png_is_written_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "grid.png"
    picture = picture_grid({"gray": torch.rand(4, 1, 4, 6)}, {"gray": GRAY})
    save_png(picture, path)
    assert Image.open(path).tobytes() == picture.tobytes()
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_png(picture, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]
