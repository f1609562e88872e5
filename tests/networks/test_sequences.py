"""The networks for sequences, as their table says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coupling.config.registry import Registry
from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.networks.layers import PReLU
from coupling.networks.sequences import Upsampling1d


def domain(*shape: int) -> Domain:
    return Domain("sound", shape, (-1.0, 1.0))


@pytest.mark.parametrize("shape", [(1, 8), (16, 64), (2, 96), (1, 256), (3, 28)])
def test_layers_fit_together_and_the_domain(shape: tuple[int, int]) -> None:
    halvings = (shape[1] // 4).bit_length() - 1
    generator = Upsampling1d(width=0.25).generator(domain(*shape), latent=10)
    discriminator = Upsampling1d(width=0.25).discriminator(domain(*shape), outputs=3)
    assert (len(generator), len(discriminator)) == (halvings + 2, halvings + 1)
    sequences = nn.Sequential(*generator)(torch.randn(4, 10))
    assert sequences.shape == (4, *shape)
    assert -1 <= sequences.min() < sequences.max() <= 1
    assert nn.Sequential(*discriminator)(sequences).shape == (4, 3)


def test_each_layer_has_the_channels_and_the_length_of_the_table() -> None:
    x, lengths = torch.randn(2, 7), []
    for layer in Upsampling1d().generator(domain(1, 64), latent=7):
        x = layer(x)
        lengths.append(tuple(x.shape[1:]))
    assert lengths == [(128, 4), (128, 8), (64, 16), (48, 32), (32, 64), (1, 64)]
    lengths = []
    for layer in Upsampling1d().discriminator(domain(1, 64), outputs=1):
        x = layer(x)
        lengths.append(tuple(x.shape[1:]))
    assert lengths == [(32, 32), (64, 16), (128, 8), (256, 4), (1,)]


def test_a_doubling_layer_is_upsampling_convolution_normalisation_and_activation() -> None:
    layer = Upsampling1d(kernel=7).generator(domain(1, 64), latent=7)[1]
    assert [type(module) for module in layer] == [nn.Upsample, nn.Conv1d, nn.BatchNorm1d, PReLU]  # type: ignore[arg-type]
    x = torch.randn(3, 128, 4)
    convolution, normalisation, activation = list(layer)[1:]  # type: ignore[call-overload]
    repeated = x.repeat_interleave(2, 2)
    expected = torch.stack(
        [
            (nn.functional.pad(repeated, (3, 3))[:, None, :, n : n + 7] * convolution.weight).sum((2, 3))
            for n in range(8)
        ],
        2,
    )
    torch.testing.assert_close(layer(x), activation(normalisation(expected)), atol=1e-4, rtol=1e-4)


def test_sequences_of_different_lengths_share_their_first_and_last_layers() -> None:
    long, short = domain(1, 256), domain(16, 64)
    generators = [Upsampling1d().generator(d, latent=7) for d in (long, short)]
    discriminators = [Upsampling1d().discriminator(d, outputs=1) for d in (long, short)]

    def shapes(layer: nn.Module) -> list[torch.Size]:
        return [parameter.shape for parameter in layer.parameters()]

    assert [shapes(a) for a in generators[0][:5]] == [shapes(b) for b in generators[1][:5]]
    assert [shapes(a) for a in discriminators[0][-4:]] == [shapes(b) for b in discriminators[1][-4:]]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((64,), r"shape \(64,\); architecture 'upsampling-1d' takes sequences \(channels, length\)"),
        ((1, 64, 64), "takes sequences"),
        ((0, 64), "takes sequences"),
        ((1, 6), "give a length of 8 or more"),
        ((1, 66), "64 would fit: cut or resample to it"),
    ],
)
@pytest.mark.parametrize("team", ["generator", "discriminator"])
def test_other_shapes_are_an_error(team: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        getattr(Upsampling1d(), team)(domain(*shape), 5)


def test_an_even_kernel_is_an_error() -> None:
    registry = Registry()
    registry.add("architecture", "upsampling-1d", Upsampling1d, "builtin")
    with pytest.raises(ConfigError, match=r"generator.kernel.*4 is even; give an odd number"):
        registry.build("architecture", "upsampling-1d", {"kernel": 4}, "generator")
