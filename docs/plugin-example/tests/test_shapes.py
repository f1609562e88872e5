"""Every component alone, then all of them together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from coupling import ConfigError, Domain, load_config, load_model, train
from coupling_shapes.architecture import Small
from coupling_shapes.dataset import Shapes
from coupling_shapes.loss import variation
from coupling_shapes.metric import centres
from coupling_shapes.transform import Soften


@pytest.mark.parametrize("kind", ["disc", "square"])
def test_samples_are_what_the_data_set_declares(kind):
    shapes = Shapes(kind=kind, count=8)
    samples = shapes.batch(range(8))
    assert samples.shape == (8, *shapes.shape)
    assert samples.dtype == torch.float32
    assert samples.min() == 0
    assert samples.max() == 1
    assert torch.equal(samples[3], shapes[3])


def test_soften_keeps_the_range_and_a_flat_image():
    flat = torch.full((1, 1, 16, 16), 0.7)
    assert torch.allclose(Soften()(flat, (0.0, 1.0)), flat)
    dot = torch.zeros(1, 1, 5, 5)
    dot[..., 2, 2] = 1
    assert torch.allclose(Soften(radius=1)(dot, (0.0, 1.0))[0, 0, 1:4, 1:4], torch.full((3, 3), 1 / 9))


def test_the_networks_fit_their_domain():
    domain, small = Domain("colour", (3, 16, 16), (-1.0, 1.0)), Small()
    drawn = torch.nn.Sequential(*small.generator(domain, 10))(torch.randn(4, 10))
    assert drawn.shape == (4, *domain.shape)
    assert torch.nn.Sequential(*small.discriminator(domain, 2))(drawn).shape == (4, 2)
    with pytest.raises(ConfigError, match="'wide'"):
        small.generator(Domain("wide", (1, 16, 32), (0.0, 1.0)), 10)


def test_variation_and_centres_of_known_images():
    images = torch.zeros(1, 1, 4, 4)
    images[..., 1, 2] = 1
    assert variation(images).item() == pytest.approx(4 / 12)
    assert centres(images).tolist() == [[1, 2]]


def test_all_of_it_trains(tmp_path):
    plugins = "coupling_shapes.plugin"
    config = load_config(
        Path(__file__).parents[1] / "shapes.yaml",
        ["training.steps=2", "training.batch_size=4", "metrics.0.count=4"],
        plugins=plugins,
    )
    run = train(config, tmp_path / "run", plugins=plugins)
    samples = load_model(run.path, plugins=plugins).sample(2)
    assert {name: x.shape for name, x in samples.items()} == {"discs": (2, 1, 16, 16), "squares": (2, 1, 16, 16)}
