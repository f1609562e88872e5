"""Small models for tests of inversion, and the transform command on them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from coupling.api import load_model
from coupling.data.pictures import to_pixels
from coupling.training.trainer import train
from tests.conftest import TINY
from tests.support import tiny_plugin as tiny


def load(path):
    return load_model(path, plugins=tiny.plugins())


def trained(folder, *changes):
    """A short run with generators of twelve units."""
    return train(tiny.config("generator.architecture.width=12", *changes), folder / "run", plugins=tiny.plugins()).path


def three_domains(folder):
    """A model of three domains, with a normal prior."""
    changes = ["training.steps=2", "latent.prior=normal", "domains.c.dataset={name: tiny, count: 33}"]
    return load(trained(folder, *changes))


def write_pictures(folder, model):
    """A folder: three images that the model drew, one that it could not, one of another size, and a text."""
    folder.mkdir()
    drawn = model.sample(3, seed=4)["a"]
    for number, pixels in enumerate(to_pixels(drawn, model.domains["a"])):
        Image.fromarray(pixels).save(folder / f"drawn{number}.png")
    Image.fromarray((np.indices((4, 4)).sum(0) % 2 * 255).astype(np.uint8)).save(folder / "checkers.png")
    Image.fromarray(to_pixels(drawn, model.domains["a"])[0]).resize((8, 8), 0).save(folder / "large.bmp")
    (folder / "notes.txt").write_text("x")
    return folder


def transform(command, *arguments):
    return command("transform", *arguments, "--plugin", TINY)
