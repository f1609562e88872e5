"""Networks without memory, filled from tensors: the same as networks that were built with memory and loaded."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coupling.domain import Domain
from coupling.networks.architecture import layer_lists
from coupling.networks.build import Networks
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator, team_graph
from coupling.networks.skeleton import TooLargeError, build_without_memory, fill, is_filled, limited
from coupling.sharing.graph import Rule

DOMAINS = {name: Domain(name, (4,), (-1.0, 1.0)) for name in "ab"}


class Plain(nn.Module):
    """A layer whose tensors are all in its state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("scale", torch.full((4,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x)) * self.scale


class SharedWeight(nn.Module):
    """Two layers with one weight, and one normalisation in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        norm = nn.BatchNorm1d(4)
        self.norms = nn.ModuleList([norm, norm])

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[1](self.second(self.norms[0](self.first(x))))


class SpectralNorm(Plain):
    """A parametrised weight."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.utils.parametrizations.spectral_norm(self.linear)


class Constant(Plain):
    """A tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = torch.arange(4.0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.offset


class HiddenConstant(Plain):
    """A tensor that only a closure holds."""

    def __init__(self) -> None:
        super().__init__()
        offset = torch.arange(4.0)
        self.shift = lambda x: x + offset

    def forward(self, x: Tensor) -> Tensor:
        return self.shift(super().forward(x))


class Fleeting(Plain):
    """A buffer that is in no state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.arange(4.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.offset


class Computing(Plain):
    """A number that is computed with tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.arange(4.0).sum().item()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.factor


class OnTheProcessor(Plain):
    """A buffer with numbers even where others have none."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.arange(4.0, device="cpu"), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.offset


class Architecture:
    """One middle layer of a given kind."""

    def __init__(self, kind: type[nn.Module]) -> None:
        self.kind = kind

    def generator(self, domain: Domain, latent: int) -> list[nn.Module]:
        return [nn.Linear(latent, 4), self.kind(), nn.Sequential(nn.Linear(4, 4), nn.Tanh())]

    def discriminator(self, domain: Domain, outputs: int) -> list[nn.Module]:
        return [nn.Linear(4, 4), self.kind(), nn.Linear(4, outputs)]


def networks(kind: type[nn.Module], seed: int = 0) -> Networks:
    """A small model."""
    made: dict[str, Any] = {}
    for team, size, network in (("generator", 3, CoupledGenerator), ("discriminator", 1, CoupledDiscriminator)):
        lists = layer_lists(team, Architecture(kind), list(DOMAINS.values()), size, seed)
        made[team] = network(team_graph(team, lists, [Rule(layers=(2,))], same_input=team == "generator"), lists)
    return Networks(DOMAINS, made["generator"], made["discriminator"], {}, {})


@pytest.mark.parametrize("kind", [Plain, SharedWeight, SpectralNorm, OnTheProcessor])
def test_filled_networks_draw_and_judge_as_loaded_ones(kind):
    trained = networks(kind, seed=1)
    torch.manual_seed(0)
    for _ in range(3):  # move the running statistics
        trained.generator(torch.randn(8, 3))
    bare = build_without_memory(lambda: networks(kind))
    assert bare is not None
    assert not is_filled(bare.generator)
    for name, module in bare.named_networks.items():
        source = trained.named_networks[name].state_dict()
        fill(module, source)
        assert is_filled(module)
        assert [(n, p.shape) for n, p in module.named_parameters()] == [
            (n, p.shape) for n, p in trained.named_networks[name].named_parameters()
        ]
        for key, tensor in module.state_dict().items():
            assert torch.equal(tensor, source[key])
            assert tensor.data_ptr() != source[key].data_ptr()
    z = torch.randn(5, 3)
    samples, expected = bare.generator.eval()(z), trained.generator.eval()(z)
    for domain in DOMAINS:
        assert torch.equal(samples[domain], expected[domain])
    logits = bare.discriminator.eval().logits(samples)
    for domain, x in trained.discriminator.eval().logits(expected).items():
        assert torch.equal(logits[domain], x)


@pytest.mark.parametrize("kind", [Constant, HiddenConstant, Fleeting, Computing])
def test_networks_that_no_file_can_fill_are_recognised(kind):
    assert build_without_memory(lambda: networks(kind)) is None


def test_no_initial_weights_are_drawn():
    states = []

    class Recording(Plain):
        def __init__(self) -> None:
            states.append(torch.get_rng_state())
            super().__init__()
            states.append(torch.get_rng_state())

    assert build_without_memory(lambda: networks(Recording)) is not None
    assert len(states) == 8  # two domains, two teams
    assert all(torch.equal(before, after) for before, after in zip(states[::2], states[1::2], strict=True))
    networks(Recording)
    assert not torch.equal(states[-2], states[-1])


def test_a_limit_ends_the_building_of_networks():
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 10**12)

    with pytest.raises(TooLargeError, match="the layers have more than 1,000 numbers"), limited(100, 1000):
        build_without_memory(lambda: networks(Wide))
    with pytest.raises(TooLargeError, match="the layers have more than 5 tensors"), limited(5, 1000):
        networks(Plain)
    networks(Plain)


def test_a_limit_is_for_its_own_thread():
    def build() -> None:
        made.append(networks(Plain))

    made: list[Networks] = []
    with limited(0, 0):
        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
    assert made
