from __future__ import annotations

import pytest
import torch
from torch import nn

from coupling import ConfigError, Domain, PReLU
from coupling_faces.architecture import Faces


def domain(*shape: int) -> Domain:
    return Domain("faces", shape, (-1.0, 1.0))


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_layers_fit_together_and_the_domain(channels: int, side: int) -> None:
    faces, shape = Faces(width=1 / 32), (channels, side, side)
    generator = faces.generator(domain(*shape), latent=10)
    discriminator = faces.discriminator(domain(*shape), outputs=3)
    assert (len(generator), len(discriminator)) == (7, 8)
    images = nn.Sequential(*generator)(torch.randn(4, 10))
    assert images.shape == (4, *shape)
    assert -1 <= images.min() < images.max() <= 1
    assert nn.Sequential(*discriminator)(images).shape == (4, 3)


def kernels(layers: list[nn.Module]) -> list[tuple[int, ...]]:
    """Outputs, kernel size and stride of each layer; of a dense one the outputs."""
    found: list[tuple[int, ...]] = []
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, nn.ConvTranspose2d | nn.Conv2d):
                found.append((module.out_channels, module.kernel_size[0], module.stride[0]))
            elif isinstance(module, nn.Linear):
                found.append((module.out_features,))
    return found


def test_full_width_is_the_papers_table() -> None:
    with torch.device("meta"):
        generator = Faces().generator(domain(3, 128, 128), latent=100)
        small = Faces().generator(domain(3, 64, 64), latent=100)
        discriminator = Faces().discriminator(domain(3, 128, 128), outputs=1)
    first = [(1024, 4, 1), (512, 4, 2), (256, 4, 2), (128, 4, 2), (64, 4, 2)]
    assert kernels(generator) == [*first, (32, 4, 2), (3, 3, 1)]  # Table 12
    assert kernels(small) == [*first, (32, 3, 1), (3, 3, 1)]  # Table 13
    assert kernels(discriminator) == [
        *((32, 5, 2), (64, 5, 2), (128, 5, 2), (256, 3, 2), (512, 3, 2), (1024, 3, 2)),
        *((2048,), (1,)),
    ]


def test_each_hidden_layer_is_normalised_and_activated() -> None:
    faces, shape = Faces(width=1 / 32), domain(3, 64, 64)
    for layer in (*faces.generator(shape, latent=10)[:-1], *faces.discriminator(shape, outputs=1)[:-1]):
        kinds = [type(module) for module in layer.children()]
        assert kinds[-2:] in ([nn.BatchNorm2d, PReLU], [nn.BatchNorm1d, PReLU])


@pytest.mark.parametrize("shape", [(3, 96, 96), (3, 64, 128), (64, 64), (64,)])
def test_other_shapes_are_rejected_by_name(shape: tuple[int, ...]) -> None:
    for build in (Faces().generator, Faces().discriminator):
        with pytest.raises(ConfigError, match="'faces'"):
            build(domain(*shape), 1)
