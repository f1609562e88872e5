"""Samples as pixels, grids and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coupling.domain import Domain
from coupling.errors import InputError
from coupling.pictures import grid, save_png, to_pixels

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


@pytest.mark.parametrize("shape", [(2, 4, 4), (16,), (1, 4)])
def test_what_is_no_image_is_said(shape):
    domain = Domain("sound", shape, (0, 1))
    with pytest.raises(InputError, match=r"'sound'.* cannot be drawn as pictures"):
        to_pixels(torch.zeros(1, *shape), domain)
    with pytest.raises(InputError, match="none of the domains can be drawn"):
        grid({"sound": torch.zeros(1, *shape)}, {"sound": domain})


def test_a_column_is_one_latent_code_and_a_row_one_domain():
    first, second = (Domain(name, (3, 64, 64), (0, 1)) for name in ("first", "second"))
    samples = {d.name: torch.ones(3, 3, 64, 64) for d in (first, second)}
    colours = {("first", 1): (255, 0, 0), ("second", 1): (0, 255, 0), ("first", 2): (0, 0, 255)}
    for (name, number), colour in colours.items():
        samples[name][number] = torch.tensor(colour).reshape(3, 1, 1) / 255
    picture = grid(samples, {"first": first, "second": second}, columns=2)
    red, green, blue = (columns_of(picture, colour) for colour in colours.values())
    assert red[:2] == green[:2]  # the same column
    assert red[3] < green[2]  # the first domain above the second
    assert blue[2] > green[3]  # the third sample in a further band ...
    assert blue[0] < red[0]  # ... which starts at the left again
    for left, right, top, bottom in (red, green, blue):
        assert (right - left + 1, bottom - top + 1) == (64, 64)


def test_small_samples_are_enlarged_by_whole_pixels_and_sizes_may_differ():
    domains = {d.name: d for d in (GRAY, COLOUR, Domain("vector", (5,), (0, 1)))}
    samples = {"gray": torch.zeros(20, 1, 4, 6), "colour": torch.zeros(20, 3, 8, 8), "vector": torch.zeros(20, 5)}
    picture = grid(samples, domains)
    assert picture.size[0] > 12 * 64
    assert picture.size[1] > 2 * 2 * 64  # two bands of two domains; what is no image is left out


def test_the_domains_names_stand_beside_their_rows():
    domain = Domain("a-rather-long-name", (1, 64, 64), (0, 1))
    picture = grid({domain.name: torch.ones(1, 1, 64, 64)}, {domain.name: domain})
    left = np.asarray(picture)[:, : picture.size[0] - 64 - 4]
    assert (left < 128).any()  # ink
    assert left.shape[1] > 100


def test_a_png_is_written_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "grid.png"
    picture = grid({"gray": torch.rand(4, 1, 4, 6)}, {"gray": GRAY})
    save_png(picture, path)
    assert Image.open(path).tobytes() == picture.tobytes()
    before = path.read_bytes()

    def half(self, content):
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        save_png(picture, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]
