"""How a domain is drawn, from its data set to the pictures of a model that has no data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from coupling.data.domain_data import open_domains
from coupling.errors import ConfigError, PluginError
from coupling.plugins import Plugins
from tests.conftest import TINY
from tests.support import tiny_plugin as tiny

CURVES = """
import torch
from coupling import Dataset
class Curves(Dataset):
    '''Twelve numbers each.'''
    shape, range, source, drawn_by = (12,), (-1.0, 1.0), "curves", "curve"
    def __len__(self): return 40
    def __getitem__(self, index): return torch.linspace(-1, 1, 12).roll(index)
class Curve:
    '''A white dot a number.'''
    def __call__(self, samples, range):
        rows = ((range[1] - samples) / (range[1] - range[0]) * 15).round().long()
        pictures = torch.full((len(samples), 1, 16, 12), range[0])
        return pictures.scatter_(2, rows[:, None, None, :], range[1])
@hookimpl
def register_datasets(register): register("curves", Curves)
@hookimpl
def register_transforms(register): register("curve", Curve)
"""


DEPTHS = """
import torch
from coupling import Dataset
class Depths(Dataset):
    '''Slopes.'''
    shape, range, source, drawn_by = (1, 4, 4), (-1.0, 1.0), "depths", "false-colours"
    def __len__(self): return 40
    def __getitem__(self, index): return torch.linspace(-1, 1, 16).roll(index).reshape(1, 4, 4)
@hookimpl
def register_datasets(register): register("depths", Depths)
"""


def configuration(**domains: str) -> None:
    values = tiny.values("training.steps=2")
    values["domains"] = {name: {"dataset": dataset} for name, dataset in domains.items()}
    values["sharing"]["discriminator"] = [{"last": 1}]
    Path("c.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def test_other_data_than_images_are_drawn_in_training_and_from_the_model_alone(command, plugin):
    configuration(curves="curves")
    path = plugin(CURVES)
    result = command("run", "c.yaml", "--plugin", TINY, "--plugin", path, "--output", "run")
    assert result.exit_code == 0, result.output
    picture = np.asarray(Image.open("run/samples/step-0000002.png"))
    assert picture.shape[0] > 64
    result = command("sample", "run", "--count", 3, "--plugin", TINY, "--plugin", path)
    assert result.exit_code == 0, result.output
    pixels = np.asarray(Image.open("run/sampled/curves/000002.png"))
    assert pixels.shape == (16, 12, 3)
    assert (pixels[..., 0] == 255).sum(0).tolist() == [1] * 12  # one dot a number
    assert np.load("run/sampled/curves.npy").shape == (3, 12)
    without = command("sample", "run", "--count", 1, "--plugin", TINY, "--output", "other")
    assert without.exit_code == 0, without.output
    text = without.stderr
    assert "domain 'curves': drawn_by: no transform is called 'curve'" in text
    assert "its samples are drawn as their shape suggests" in text
    assert np.asarray(Image.open("other/curves/000000.png")).shape == (64, 128, 3)  # a line


def test_an_image_domain_without_the_plugin_that_draws_it_is_drawn_as_it_is(command, plugin):
    configuration(a="depths")
    result = command("run", "c.yaml", "--plugin", TINY, "--plugin", plugin(DEPTHS), "--output", "run")
    assert result.exit_code == 0, result.output
    assert command("sample", "run", "--count", 2, "--plugin", TINY).exit_code == 0
    grey = np.asarray(Image.open("run/sampled/a/000000.png"))
    assert grey.ndim == 2  # files hold the values ...
    drawn = np.asarray(Image.open("run/sampled/grid.png"))
    assert (drawn[..., 0] != drawn[..., 2]).any()  # ... and the grid the drawing
    file = Path("run/checkpoints/step-0000002/model.safetensors")
    model = file.read_bytes().replace(b"false-colours", b"no-such-thing")
    Path("model.safetensors").write_bytes(model)
    other = command("sample", "model.safetensors", "--count", 2, "--plugin", TINY, "--output", "other")
    assert other.exit_code == 0, other.output
    assert "no transform is called 'no-such-thing'" in other.stderr
    assert "its samples are drawn as they are" in other.stderr
    plain = np.asarray(Image.open("other/grid.png"))
    assert (plain[..., 0] == plain[..., 2]).all()


@pytest.mark.parametrize(
    ("drawn_by", "message"),
    [
        ("false-colors", "domains.a.dataset: .*: drawn_by: no transform is called 'false-colors'; did you mean"),
        ("rotate91", "did you mean 'rotate90'"),
    ],
)
def test_an_unknown_drawing_is_an_error(monkeypatch, drawn_by, message):
    monkeypatch.setattr(tiny.Tiny, "drawn_by", drawn_by)
    with pytest.raises(ConfigError, match=message):
        open_domains(tiny.config(), tiny.plugins().registry)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return samples[:, 0]", r"drawn_by 'bad' makes \(2, 4, 4\) of 2 samples; pictures are \(2, 1 or 3"),
        ("return samples.expand(-1, 2, 4, 4)", r"makes \(2, 2, 4, 4\) of 2 samples"),
        ("return None", "does not take its samples: AttributeError"),
        ("1 / 0", "does not take its samples: ZeroDivisionError"),
    ],
)
def test_a_drawing_that_makes_no_pictures_is_an_error(command, plugin, monkeypatch, body, message):
    monkeypatch.setattr(tiny.Tiny, "drawn_by", "bad")
    path = plugin(
        f"class Bad:\n    '''Bad.'''\n    def __call__(self, samples, range):\n        {body}\n"
        "@hookimpl\ndef register_transforms(register): register('bad', Bad)"
    )
    with pytest.raises(PluginError, match=message):
        open_domains(tiny.config(), Plugins(("tests.support.tiny_plugin", str(path)), entry_points=False).registry)


def test_transformed_samples_lose_the_drawing(monkeypatch):
    monkeypatch.setattr(tiny.Tiny, "drawn_by", "false-colours")
    made = open_domains(tiny.config("domains.a.dataset.transform=negative"), tiny.plugins().registry)
    assert made["a"].domain.drawing is None
    assert made["b"].domain.drawing is not None
    assert made["b"].domain.is_drawable
