"""The digit networks against Table 11 and Table 2 of the paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coupling import ConfigError, Domain
from coupling.testing import build
from coupling_digits import plugin
from coupling_digits.architectures import Digits, Digits32, FullyConnectedDigits

GREY = Domain("digits", (1, 28, 28), (0.0, 1.0))
COLOUR = Domain("colour", (3, 28, 28), (-1.0, 1.0))
BYTES = Domain("bytes", (2, 28, 28), (0.0, 255.0))


def outputs(layers: list[nn.Module], x: Tensor) -> list[Tensor]:
    """Each layer's output in turn."""
    return [x := layer(x) for layer in layers]


def weights(layers: list[nn.Module]) -> list[int]:
    """Numbers of parameters, a layer each."""
    return [sum(parameter.numel() for parameter in layer.parameters()) for layer in layers]


def test_generator_is_table_11s() -> None:
    layers = Digits().generator(GREY, latent=100)
    shapes = [tuple(x.shape[1:]) for x in outputs(layers, torch.rand(2, 100))]
    assert shapes == [(1024, 4, 4), (512, 7, 7), (256, 13, 13), (128, 25, 25), (1, 28, 28)]
    kernels = [100 * 1024 * 16, 1024 * 512 * 9, 512 * 256 * 9, 256 * 128 * 9, 128 * 36 + 1]
    normalisations = [2 * 1024 + 1, 2 * 512 + 1, 2 * 256 + 1, 2 * 128 + 1, 0]  # and a PReLU each
    assert weights(layers) == [sum(pair) for pair in zip(kernels, normalisations, strict=True)]


def test_rotations_generator_is_table_2s() -> None:
    layers = FullyConnectedDigits().generator(GREY, latent=100)
    shapes = [tuple(x.shape[1:]) for x in outputs(layers, torch.rand(2, 100))]
    assert shapes == [(1024,)] * 4 + [(1, 28, 28)]
    hidden = 2 * 1024 + 1
    assert weights(layers) == [100 * 1024 + hidden] + [1024 * 1024 + hidden] * 3 + [1025 * 784]


@pytest.mark.parametrize("architecture", [Digits(), FullyConnectedDigits()])
def test_discriminator_is_table_11s_for_both(architecture: Digits) -> None:
    layers = architecture.discriminator(GREY, outputs=1)
    shapes = [tuple(x.shape[1:]) for x in outputs(layers, torch.rand(2, 1, 28, 28))]
    assert shapes == [(20, 12, 12), (50, 4, 4), (500,), (1,)]
    assert weights(layers) == [26 * 20, (20 * 25 + 1) * 50, 801 * 500 + 1, 501]


def test_generator_agrees_with_plain_deconvolutions() -> None:
    torch.manual_seed(0)
    layers = nn.ModuleList(Digits(width=0.05).generator(GREY, latent=10)).eval()
    plain = nn.Sequential(
        *(
            nn.Sequential(nn.ConvTranspose2d(a, b, k, s, p, bias=False), nn.BatchNorm2d(b), nn.PReLU())
            for a, b, k, s, p in [(10, 51, 4, 1, 0), (51, 26, 3, 2, 1), (26, 13, 3, 2, 1), (13, 6, 3, 2, 1)]
        ),
        nn.ConvTranspose2d(6, 1, 6, padding=1),
    ).eval()
    for own, reference in zip(layers.parameters(), plain.parameters(), strict=True):
        reference.data.copy_(own.data)
    z = torch.rand(4, 10)
    torch.testing.assert_close(outputs(list(layers), z)[-1], plain(z[:, :, None, None]).sigmoid())


@pytest.mark.parametrize("domain", [GREY, COLOUR, BYTES], ids=lambda domain: domain.name)
@pytest.mark.parametrize("architecture", [Digits(width=0.05), FullyConnectedDigits(width=0.05)])
def test_any_channels_and_range(architecture: Digits, domain: Domain) -> None:
    torch.manual_seed(0)
    generator = architecture.generator(domain, latent=102)
    discriminator = architecture.discriminator(domain, outputs=3)
    images = outputs(generator, torch.rand(8, 102) * 200 - 100)[-1]
    low, high = domain.range
    assert images.shape == (8, *domain.shape)
    assert low <= images.min() < (low + high) / 2 < images.max() <= high
    logits = outputs(discriminator, images)[-1]
    assert logits.shape == (8, 3)
    torch.autograd.backward((logits**2).sum())
    for layer in [*generator, *discriminator]:
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None, (layer, name)
            assert parameter.grad.abs().sum() > 0, (layer, name)


def test_logits_are_not_squashed() -> None:
    torch.manual_seed(0)
    layers = Digits().discriminator(BYTES, outputs=1)
    assert outputs(layers, 255 * torch.rand(8, 2, 28, 28))[-1].abs().max() > 1


def test_width_scales_hidden_layers_alone() -> None:
    thin = Digits(width=0.01)
    shapes = [tuple(x.shape[1:]) for x in outputs(thin.generator(COLOUR, 5), torch.rand(2, 5))]
    assert shapes == [(10, 4, 4), (5, 7, 7), (3, 13, 13), (1, 25, 25), (3, 28, 28)]
    shapes = [tuple(x.shape[1:]) for x in outputs(thin.discriminator(GREY, 2), torch.rand(2, 1, 28, 28))]
    assert shapes == [(4, 12, 12), (4, 4, 4), (5,), (2,)]


def test_dropout_precedes_the_last_layer_alone() -> None:
    torch.manual_seed(0)
    layers = Digits(width=0.1, dropout=0.5).discriminator(GREY, outputs=1)
    images = torch.rand(4, 1, 28, 28)
    first, second = outputs(layers, images), outputs(layers, images)
    assert torch.equal(first[2], second[2])
    assert not torch.equal(first[3], second[3])
    layers[3].eval()
    assert torch.equal(layers[3](first[2]), layers[3](first[2]))
    assert not any(isinstance(m, nn.Dropout) for layer in Digits().discriminator(GREY, 1) for m in layer.modules())


SQUARE = Domain("photographs", (3, 32, 32), (-1.0, 1.0))


def test_larger_networks_are_the_slides() -> None:
    torch.manual_seed(0)
    generator, discriminator = Digits32().generator(SQUARE, 100), Digits32().discriminator(SQUARE, 1)
    shapes = [tuple(x.shape[1:]) for x in outputs(generator, torch.rand(2, 100))]
    assert shapes == [(128, 8, 8), (128, 16, 16), (64, 32, 32), (3, 32, 32)]
    assert weights(generator) == [100 * 8192 + 256, 128 * 128 * 9 + 256, 128 * 64 * 9 + 128, 64 * 3 * 9 + 3]
    shapes = [tuple(x.shape[1:]) for x in outputs(discriminator, torch.rand(2, 3, 32, 32))]
    assert shapes == [(16, 16, 16), (32, 8, 8), (64, 4, 4), (128, 2, 2), (1,)]
    halvings = [a * b * 9 + 2 * b for a, b in ((16, 32), (32, 64), (64, 128))]
    assert weights(discriminator) == [3 * 16 * 9 + 16, *halvings, 513]
    assert [sum(isinstance(m, nn.Dropout2d) for m in layer.modules()) for layer in discriminator] == [1, 1, 1, 1, 0]
    plain = Digits32(dropout=0).discriminator(SQUARE, 1)
    assert not any(isinstance(m, nn.Dropout2d) for layer in plain for m in layer.modules())
    thin = [tuple(x.shape[1:]) for x in outputs(Digits32(width=0.5).generator(SQUARE, 5), torch.rand(2, 5))]
    assert thin == [(64, 8, 8), (64, 16, 16), (32, 32, 32), (3, 32, 32)]


def test_larger_networks_learn_everywhere() -> None:
    torch.manual_seed(0)
    layers = [*Digits32(width=0.1).generator(SQUARE, 10), *Digits32(width=0.1).discriminator(SQUARE, 3)]
    images = outputs(layers[:4], torch.rand(8, 10))[-1]
    assert -1 <= images.min() < 0 < images.max() <= 1
    logits = outputs(layers, torch.rand(8, 10))[-1]
    assert logits.shape == (8, 3)
    torch.autograd.backward((logits**2).sum())
    for layer in layers:
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None, (layer, name)
            assert parameter.grad.abs().sum() > 0, (layer, name)
    with pytest.raises(ConfigError, match=r"'digits'.*32, 32"):
        Digits32().generator(GREY, 100)
    with pytest.raises(ConfigError, match=r"'digits'.*32, 32"):
        Digits32().discriminator(GREY, 1)


@pytest.mark.parametrize("architecture", [Digits(), FullyConnectedDigits()])
@pytest.mark.parametrize("shape", [(1, 32, 32), (28, 28), (1, 28, 27), (100,)])
def test_other_shapes_are_rejected_by_name(architecture: Digits, shape: tuple[int, ...]) -> None:
    domain = Domain("street-numbers", shape, (0.0, 1.0))
    with pytest.raises(ConfigError, match=r"'street-numbers'.*28, 28"):
        architecture.generator(domain, 100)
    with pytest.raises(ConfigError, match=r"'street-numbers'.*28, 28"):
        architecture.discriminator(domain, 1)


def test_all_is_registered_with_checked_options() -> None:
    architectures: dict[str, Callable[..., Any]] = {}
    datasets: dict[str, Callable[..., Any]] = {}
    plugin.register_architectures(architectures.__setitem__)
    plugin.register_datasets(datasets.__setitem__)
    assert sorted(architectures) == ["digits", "digits-fc", "digits32"]
    assert sorted(datasets) == ["mnist", "mnist-m", "usps"]
    for make in architectures.values():
        assert build(make, {"width": 0.5, "dropout": 0.5}).dropout == 0.5
        for options in ({"width": 0}, {"dropout": 1.0}, {"depth": 3}):
            with pytest.raises(ConfigError, match=next(iter(options))):
                build(make, options)
    assert len(build(datasets["mnist"], {"split": "test"})) == 10_000
    with pytest.raises(ConfigError, match="split"):
        build(datasets["mnist"], {"split": "validation"})
