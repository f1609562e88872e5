"""Samples as PIL images and as a grid, which notebooks show."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from coupling.data.pictures import picture_grid, to_pixels
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.model.images import Images

COLOUR = Domain("colour", (3, 4, 6), (0.0, 1.0))
GRAY = Domain("gray", (1, 4, 6), (-1.0, 1.0))
FOUR_AXES = Domain("four-axes", (2, 3, 4, 5), (-1.0, 1.0))
DOMAINS = {d.name: d for d in (COLOUR, GRAY, FOUR_AXES)}


@pytest.fixture
def images():
    return Images({name: torch.rand(5, *domain.shape) for name, domain in DOMAINS.items()}, DOMAINS)


def test_images_are_the_models_samples(model):
    images = model.images(3, seed=4)
    samples = model.sample(3, seed=4)
    assert list(images) == list(samples)
    for name, pictures in images.items():
        assert [picture.mode for picture in pictures] == ["L"] * 3
        pixels = to_pixels(samples[name], model.domains[name])[..., 0]
        assert np.array_equal(np.stack([np.asarray(picture) for picture in pictures]), pixels)


def test_given_samples_are_shown_as_they_are(model):
    samples = model.sample(3, seed=4)
    for images in (model.images(samples), model.images(samples, domains=["b"])):
        assert np.array_equal(images["b"][2], model.images(3, seed=4)["b"][2])
    assert list(images) == ["b"]


def test_a_colour_domain_has_colour_images_and_a_domain_without_pictures_is_left_out(images):
    assert {name: (pictures[0].mode, pictures[0].size) for name, pictures in images.items()} == {
        "colour": ("RGB", (6, 4)),
        "gray": ("L", (6, 4)),
    }
    assert len(images) == 2
    assert repr(images) == "Images(colour: 5 of 6x4, gray: 5 of 6x4)"


def test_a_notebook_shows_the_grid(images):
    shown = Image.open(io.BytesIO(images._repr_png_()))
    assert np.array_equal(shown, images.grid())


@pytest.mark.parametrize("scale", [1, 2, 7])
def test_scale_enlarges_each_pixel(images, scale):
    small, large = images.grid(scale=1), images.grid(scale=scale)
    label = small.width - 5 * (6 + 2) - 2
    assert large.width == label + 5 * (6 * scale + 2) + 2
    first = np.asarray(large)[2 : 2 + 4 * scale, label : label + 6 * scale]
    assert np.array_equal(first, np.asarray(images["colour"][0]).repeat(scale, 0).repeat(scale, 1))


def test_without_scale_small_pictures_are_enlarged_to_64_pixels(images):
    assert images.grid().size == images.grid(scale=11).size


def test_the_grid_is_that_of_the_command(images):
    assert np.array_equal(images.grid(3), picture_grid(images._samples, DOMAINS, 3))


def test_the_grid_is_saved_as_png(images, tmp_path):
    images.save(tmp_path / "new" / "grid.png", columns=2, scale=3)
    assert np.array_equal(Image.open(tmp_path / "new" / "grid.png"), images.grid(2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.images(0), "count is 0"),
        (lambda model: model.images(2, domains=["c"]), "no domain 'c'"),
        (lambda model: model.images({"c": torch.zeros(1)}), "no domain 'c'"),
        (lambda model: model.images({"a": torch.zeros(1, 3)}), "takes"),
        (lambda model: model.images({"a": torch.full((1, 1, 4, 4), 9.0)}), "lie in"),
        (lambda model: model.images({"a": torch.zeros(1, 1, 4, 4)}, domains=["b"]), "samples have no domain 'b'"),
        (lambda model: model.images({}), "none of the domains"),
        (lambda model: model.images(2).grid(0), "columns is 0"),
        (lambda model: model.images(2).grid(scale=0), "scale is 0"),
        (lambda model: model.images(2).save("grid.jpg"), "ends with .png"),
        (lambda model: Images({"four-axes": torch.zeros(1, 2, 3, 4, 5)}, DOMAINS), "none of the domains"),
    ],
)
def test_bad_input_is_one_message(model, call, message):
    with pytest.raises(InputError, match=message):
        call(model)


def test_a_file_that_cannot_be_written_is_one_message(images, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"grid\.png"):
        images.save(tmp_path / "file" / "grid.png")
