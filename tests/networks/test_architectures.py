"""The built-in architectures: what their layers take, give, learn and reject."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coupling.builtin import register_architectures
from coupling.config.registry import Registry
from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.networks.architecture import layer_lists
from coupling.networks.architectures import MLP, Upsampling
from coupling.networks.coupled import CoupledGenerator, structural_difference, team_graph
from coupling.sharing.graph import Rule

ARCHITECTURES: dict[str, Any] = {
    "mlp": MLP(hidden=12, layers=2),
    "mlp, plain": MLP(hidden=12, layers=2, normalised=False, activation="relu"),
    "upsampling": Upsampling(width=0.1),
}
examples = settings(deadline=None, max_examples=25)
ranges = st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])


@st.composite
def any_domains(draw: st.DrawFn) -> Domain:
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    return Domain("any", tuple(shape), draw(ranges))


@st.composite
def image_domains(draw: st.DrawFn) -> Domain:
    """Images whose sides halve evenly down to 4 to 7 pixels (the longer one to 4 to 14)."""
    halvings = draw(st.integers(1, 3))
    short, long = draw(st.integers(4, 7)), draw(st.integers(4, 14))
    sides = draw(st.permutations([short * 2**halvings, max(short, long) * 2**halvings]))
    return Domain("images", (draw(st.integers(1, 4)), *sides), draw(ranges))


cases = st.one_of(
    st.tuples(st.just("mlp"), any_domains()),
    st.tuples(st.just("mlp"), image_domains()),
    st.tuples(st.just("mlp, plain"), any_domains()),
    st.tuples(st.just("upsampling"), image_domains()),
)


def assert_learns(layers: nn.Sequential, output: Tensor) -> None:
    """Every parameter gets a gradient that is finite and not zero (as a bias before BN would get)."""
    weights = torch.randn(output.shape, dtype=output.dtype)
    for name, gradient in zip(
        dict(layers.named_parameters()), torch.autograd.grad((output * weights).sum(), layers.parameters()), strict=True
    ):
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 1e-13, name


@examples
@given(cases, st.integers(1, 9), st.sampled_from([torch.float32, torch.float64]))
def test_a_generator_draws_the_domain(case: tuple[str, Domain], latent: int, dtype: torch.dtype) -> None:
    name, domain = case
    torch.manual_seed(0)
    layers = nn.Sequential(*ARCHITECTURES[name].generator(domain, latent)).to(dtype)
    output = layers(torch.rand(4, latent, dtype=dtype) * 2 - 1)
    assert output.shape == (4, *domain.shape)
    assert output.dtype == dtype
    low, high = domain.range
    assert low <= output.min()
    assert output.max() <= high
    assert_learns(layers, output)


@examples
@given(cases, st.integers(1, 3), st.sampled_from([torch.float32, torch.float64]))
def test_a_discriminator_judges_the_domain(case: tuple[str, Domain], outputs: int, dtype: torch.dtype) -> None:
    name, domain = case
    torch.manual_seed(0)
    layers = nn.Sequential(*ARCHITECTURES[name].discriminator(domain, outputs)).to(dtype)
    low, high = domain.range
    logits = layers(low + (high - low) * torch.rand(4, *domain.shape, dtype=dtype))
    assert logits.shape == (4, outputs)
    assert logits.dtype == dtype
    assert_learns(layers, logits)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_are_not_bounded(name: str) -> None:
    layers = nn.Sequential(*ARCHITECTURES[name].discriminator(Domain("a", (1, 8, 8), (0.0, 1.0)), 1))
    x = torch.rand(64, 1, 8, 8)
    assert layers(1e4 * x).abs().max() > 100 * layers(x).abs().max()  # a sigmoid would saturate


def sizes(layers: list[nn.Module], x: Tensor) -> list[tuple[int, ...]]:
    """Shape of one sample after each layer."""
    found = []
    for layer in layers:
        x = layer(x)
        found.append(tuple(x.shape[1:]))
    return found


FACES = Domain("faces", (3, 64, 64), (-1.0, 1.0))


def test_upsampling_layers_are_those_documented() -> None:
    generator = Upsampling().generator(FACES, 100)
    hidden = [(128, 4, 4), (128, 8, 8), (64, 16, 16), (48, 32, 32), (32, 64, 64)]
    assert sizes(generator, torch.zeros(2, 100)) == [*hidden, (3, 64, 64)]
    discriminator = Upsampling().discriminator(FACES, 1)
    hidden = [(32, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4)]
    assert sizes(discriminator, torch.zeros(2, 3, 64, 64)) == [*hidden, (1,)]


def test_mlp_layers_are_those_documented() -> None:
    domain = Domain("digits", (1, 28, 28), (0.0, 1.0))
    assert sizes(MLP().generator(domain, 100), torch.zeros(2, 100)) == [(1024,)] * 4 + [(1, 28, 28)]
    assert sizes(MLP().discriminator(domain, 1), torch.zeros(2, 1, 28, 28)) == [(1024,)] * 4 + [(1,)]


def test_width_scales_channels_and_slope_is_the_discriminators() -> None:
    wide = Upsampling(width=0.5, slope=0.1)
    assert sizes(wide.generator(FACES, 9), torch.zeros(2, 9))[0] == (64, 4, 4)
    first = wide.discriminator(FACES, 1)[0]
    x = torch.randn(1, 3, 64, 64)
    assert isinstance(first, nn.Sequential)
    before = first[0](x)
    torch.testing.assert_close(first(x), torch.where(before < 0, 0.1 * before, before))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_domains_of_different_shapes_can_share_layers(name: str) -> None:
    """As documented: all but the last of an MLP; what lies between 4x4 and the size of upsampling."""
    small, large = Domain("small", (1, 16, 16), (0.0, 1.0)), Domain("large", (3, 64, 64), (-1.0, 1.0))
    lists = layer_lists("generator", ARCHITECTURES[name], [small, large], 9, seed=0)
    first = len(lists["small"]) - 1
    graph = team_graph("generator", lists, [Rule(first=first)], same_input=True)
    images = CoupledGenerator(graph, lists)(torch.randn(2, 9))
    assert {d: tuple(x.shape) for d, x in images.items()} == {"small": (2, 1, 16, 16), "large": (2, 3, 64, 64)}
    judges = [ARCHITECTURES[name].discriminator(domain, 1) for domain in (small, large)]
    for one, other in zip(judges[0][1:][::-1], judges[1][::-1], strict=False):
        assert structural_difference(one, other) == ""


@pytest.mark.parametrize("architecture", [MLP(hidden=300), Upsampling()])
def test_signals_keep_their_size_at_the_start(architecture: MLP | Upsampling) -> None:
    """He's initialisation: activations neither die nor explode with depth."""
    torch.manual_seed(0)
    x = torch.randn(32, 3, 64, 64)
    layers = architecture.discriminator(FACES, 1)
    scales = [x.square().mean().sqrt()]
    for layer in layers:
        x = layer(x)
        scales.append(x.square().mean().sqrt())
    for before, after in pairwise(scales):
        assert 0.4 < after / before < 2.5


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((3, 60, 64), "56x64 would fit"),
        ((3, 64, 60), "64x56 would fit"),
        ((3, 64, 72), "64x64 would fit"),
        ((1, 30, 30), "28x28 would fit"),
        ((3, 100, 132), "96x128 would fit"),
        ((3, 7, 64), "8x8 or more"),
        ((784,), "images (channels, height, width)"),
        ((0, 32, 32), "images (channels, height, width)"),
    ],
)
@pytest.mark.parametrize("team", ["generator", "discriminator"])
def test_upsampling_rejects_sides_that_do_not_halve(team: str, shape: tuple[int, ...], fix: str) -> None:
    with pytest.raises(ConfigError) as error:
        getattr(Upsampling(), team)(Domain("edges", shape, (0.0, 1.0)), 5)
    for part in ("domain 'edges'", str(shape), "'upsampling'", fix):
        assert part in str(error.value)


@settings(deadline=None)
@given(st.integers(8, 300), st.integers(8, 300))
def test_the_size_that_upsampling_proposes_fits(height: int, width: int) -> None:
    thin = Upsampling(width=0.01)
    try:
        thin.discriminator(Domain("a", (1, height, width), (0.0, 1.0)), 1)
    except ConfigError as error:
        advice = str(error).split("; ")[-1].split(" ")[0]
        thin.discriminator(Domain("a", (1, *map(int, advice.split("x"))), (0.0, 1.0)), 1)


@pytest.mark.parametrize("shape", [(), (3, 0, 2)])
@pytest.mark.parametrize("team", ["generator", "discriminator"])
def test_mlp_rejects_samples_without_numbers(team: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="domain 'edges' has samples of shape"):
        getattr(MLP(), team)(Domain("edges", shape, (0.0, 1.0)), 5)


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    register_architectures(lambda name, component: registry.add("architecture", name, component, "builtin"))
    return registry


@pytest.mark.parametrize(
    ("name", "options", "place"),
    [
        ("mlp", {"hidden": 0}, "generator.hidden"),
        ("mlp", {"layers": 0}, "generator.layers"),
        ("mlp", {"layer": 3}, "did you mean 'layers'?"),
        ("upsampling", {"width": 0}, "generator.width"),
        ("upsampling", {"width": 17}, "generator.width"),
        ("upsampling", {"slope": -0.1}, "generator.slope"),
    ],
)
def test_options_out_of_bounds_are_rejected(registry: Registry, name: str, options: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError, match=place.replace("?", r"\?")):
        registry.build("architecture", name, options, "generator")


def test_every_option_and_component_is_described(registry: Registry) -> None:
    assert registry.names("architecture") == ["mlp", "residual", "upsampling", "upsampling-1d"]
    for name in registry.names("architecture"):
        component = registry.get("architecture", name, "")
        assert component.description
        assert all(option.description for option in component.options.model_fields.values())
