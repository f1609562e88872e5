"""The architecture `rgbd` against Tables 13 and 14."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coupling import ConfigError, Domain
from coupling_rgbd.networks import Rgbd


def _domains(size: int) -> list[Domain]:
    return [Domain("color", (3, size, size), (-1.0, 1.0)), Domain("depth", (1, size, size), (0.0, 1.0))]


def _structure(layer: nn.Module) -> list[tuple[str, torch.Size]]:
    return [(name, tensor.shape) for name, tensor in layer.state_dict().items()]


def _convolutions(layers: list[nn.Module]) -> list[tuple[int, int, int]]:
    """Channels out, kernel size and stride of each convolution, transposed or not."""
    modules = [module for layer in layers for module in layer.modules()]
    return [
        (m.out_channels, m.kernel_size[0], m.stride[0])
        for m in modules
        if isinstance(m, nn.ConvTranspose2d | nn.Conv2d)
    ]


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("which", [0, 1])
def test_from_latent_to_picture_to_logits(size: int, which: int) -> None:
    domain = _domains(size)[which]
    rgbd = Rgbd(width=0.05)
    generator = nn.Sequential(*rgbd.generator(domain, 10))
    discriminator = nn.Sequential(*rgbd.discriminator(domain, 3))
    pictures = generator(torch.randn(4, 10))
    assert pictures.shape == (4, *domain.shape)
    assert domain.range[0] <= pictures.min()
    assert pictures.max() <= domain.range[1]
    logits = discriminator(pictures)
    assert logits.shape == (4, 3)
    logits.sum().backward()
    assert all(p.grad is not None for p in generator.parameters())


@pytest.mark.parametrize("size", [64, 128])
def test_channels_and_kernels_are_the_paper_s(size: int) -> None:
    domain = _domains(size)[0]
    with torch.device("meta"):
        generator = Rgbd().generator(domain, 100)
        discriminator = Rgbd().discriminator(domain, 1)
    sixth = (32, 3, 1) if size == 64 else (32, 4, 2)
    assert _convolutions(generator) == [
        (1024, 4, 1), (512, 4, 2), (256, 4, 2), (128, 4, 2), (64, 4, 2), sixth, (3, 3, 1),
    ]  # fmt: skip
    assert _convolutions(discriminator) == [
        (32, 5, 2), (64, 5, 2), (128, 5, 2), (256, 3, 2), (512, 3, 2), (1024, 3, 2),
    ]  # fmt: skip
    linear = [m for layer in discriminator[6:] for m in layer.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [2048, 1]


@pytest.mark.parametrize("size", [64, 128])
def test_the_paper_s_shared_layers_have_one_structure(size: int) -> None:
    colour, depth = _domains(size)
    rgbd = Rgbd(width=0.05)
    generators = list(zip(rgbd.generator(colour, 10), rgbd.generator(depth, 10), strict=True))
    discriminators = list(zip(rgbd.discriminator(colour, 1), rgbd.discriminator(depth, 1), strict=True))
    assert len(generators) == 7
    assert len(discriminators) == 8
    assert all(_structure(a) == _structure(b) for a, b in generators[:5] + discriminators[2:])
    assert _structure(generators[-1][0]) != _structure(generators[-1][1])


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 64, 128), (64, 64), (1, 96, 96)])
def test_other_shapes_are_an_error_that_names_the_domain(shape: tuple[int, ...]) -> None:
    domain = Domain("scenes", shape, (0.0, 1.0))
    for make in (Rgbd().generator, Rgbd().discriminator):
        with pytest.raises(ConfigError, match="scenes"):
            make(domain, 1)
