"""Residual networks: any size, what each option does, and their parts against slow references."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.networks.blocks import AddedBranch, ChannelGains, MinibatchDeviation, ResidualBlock, down_block, up_block
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator, structural_difference, team_graph
from coupling.networks.residual import Residual
from coupling.networks.spectral import SpectralLayer
from coupling.sharing.graph import Rule

FACES = Domain("faces", (3, 64, 64), (-1.0, 1.0))


def shapes(layers: list[nn.Module], x: Tensor) -> list[tuple[int, ...]]:
    """Shape of one sample after each layer."""
    found = []
    for layer in layers:
        x = layer(x)
        found.append(tuple(x.shape[1:]))
    return found


options: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "resampling": st.sampled_from(["nearest", "bilinear"]),
        "normalised": st.booleans(),
        "between": st.sampled_from(["gains", "branches", None]),
        "minibatch_deviation": st.sampled_from([2, 4, None]),
        "spectral": st.booleans(),
    }
)


@settings(deadline=None, max_examples=20)
@given(st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)), options)
def test_images_of_any_size_are_drawn_and_judged_by_layers_that_learn(shape: tuple[int, ...], chosen: Any) -> None:
    torch.manual_seed(0)
    domain = Domain("images", shape, (0.0, 3.0))
    made = Residual(width=0.05, fixup=False, **chosen)
    generator = nn.Sequential(*made.generator(domain, 5)).double()
    discriminator = nn.Sequential(*made.discriminator(domain, 2)).double()
    assert len(generator) == len(discriminator)
    for parameter in (*generator.parameters(), *discriminator.parameters()):
        parameter.data += 0.1 * torch.randn_like(parameter)  # as after some steps: no branch is zero any more
    drawn = generator(torch.randn(6, 5, dtype=torch.float64))
    assert drawn.shape == (6, *shape)
    assert drawn.min() >= 0
    assert drawn.max() <= 3
    logits = discriminator(drawn)
    assert logits.shape == (6, 2)
    for network, output in ((generator, drawn), (discriminator, logits)):
        weights = torch.randn(output.shape, dtype=output.dtype)
        gradients = torch.autograd.grad((output * weights).sum(), list(network.parameters()), retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in gradients)
        # A PReLU whose few inputs are all positive has no gradient of its slope.
        assert all(gradient.abs().max() > 0 for gradient in gradients if gradient.numel() > 1)


def test_the_layers_are_those_documented() -> None:
    hidden = [(128, 4, 4), (128, 8, 8), (64, 16, 16), (48, 32, 32), (32, 64, 64)]
    assert shapes(Residual().generator(FACES, 100), torch.zeros(2, 100)) == [*hidden, (3, 64, 64)]
    judged = [(16, 64, 64), (32, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4)]
    assert shapes(Residual().discriminator(FACES, 1), torch.zeros(2, 3, 64, 64)) == [*judged, (1,)]
    twice = [shape for shape in hidden for _ in range(2)]
    assert shapes(Residual(between="gains").generator(FACES, 9), torch.zeros(2, 9)) == [*twice, (3, 64, 64)]
    room = Domain("room", (1, 60, 80), (0.0, 1.0))
    sides = [shape[1:] for shape in shapes(Residual(width=0.05).generator(room, 9), torch.zeros(2, 9))]
    assert sides == [(4, 5), (8, 10), (15, 20), (30, 40), (60, 80), (60, 80)]


def test_domains_of_different_sizes_can_share_layers() -> None:
    domains = [Domain("small", (1, 16, 16), (0.0, 1.0)), Domain("large", (3, 64, 64), (-1.0, 1.0))]
    made = Residual(width=0.1)
    lists = {d.name: made.generator(d, 9) for d in domains}
    generator = CoupledGenerator(team_graph("generator", lists, [Rule(first=3)], same_input=True), lists)
    drawn = generator(torch.randn(2, 9))
    assert {d: tuple(x.shape[1:]) for d, x in drawn.items()} == {d.name: d.shape for d in domains}
    lists = {d.name: made.discriminator(d, 1) for d in domains}
    graph = team_graph("discriminator", lists, [Rule(last=3)], same_input=False)
    assert CoupledDiscriminator(graph, lists)(drawn).real_logits["large"].shape == (2, 1)


def test_layers_that_cut_off_differently_are_not_equal() -> None:
    one, other = (up_block(2, 2, (n, 0), resampling="nearest", normalised=False, last=0.0) for n in (0, 1))
    assert "crop" in structural_difference(one, other)


@pytest.mark.parametrize("between", ["gains", "branches"])
def test_layers_between_others_begin_as_the_identity(between: Any) -> None:
    for team, size in (("generator", 9), ("discriminator", 1)):
        torch.manual_seed(0)
        layers = getattr(Residual(width=0.1, between=between), team)(FACES, size)
        assert len(layers) == 11
        for layer in layers[1::2]:
            assert isinstance(layer, ChannelGains | AddedBranch)
            channels = next(p.shape[0] if between == "gains" else p.shape[1] for p in layer.parameters())
            x = torch.randn(3, channels, 5, 4)
            assert torch.equal(layer(x), x)


def test_gains_multiply_and_shift_each_channel() -> None:
    gains = ChannelGains(3)
    gains.gain.data = torch.tensor([1.0, 2.0, 3.0])
    gains.shift.data = torch.tensor([0.0, 10.0, 0.0])
    for x in (torch.randn(4, 3), torch.randn(4, 3, 5, 2)):
        expected = torch.stack([x[:, 0], 2 * x[:, 1] + 10, 3 * x[:, 2]], 1)
        torch.testing.assert_close(gains(x), expected)


def test_private_gains_between_shared_layers_are_all_that_tells_two_domains_apart() -> None:
    domains = [Domain(name, (3, 16, 16), (-1.0, 1.0)) for name in "ab"]
    lists = {d.name: Residual(width=0.1, between="gains").generator(d, 9) for d in domains}  # 7 layers
    graph = team_graph("generator", lists, [Rule(first=3), Rule(layers=(5, 7))], same_input=True)
    generator = CoupledGenerator(graph, lists)
    private = [parameter for parameter, users in generator.sharing_sets() if len(users) == 1]
    assert sorted(tuple(p.shape) for p in private) == [(6,)] * 4 + [(13,)] * 4
    z = torch.randn(4, 9)
    drawn = generator(z)
    assert torch.equal(drawn["a"], drawn["b"])
    rows = []
    generator.layers["layer3[a,b]"].register_forward_hook(lambda m, i, o: rows.append(len(i[0])))
    generator.layers["layer5[a,b]"].register_forward_hook(lambda m, i, o: rows.append(len(i[0])))
    generator.layers["layer4[b]"].gain.data.mul_(2)  # type: ignore[union-attr,operator]
    drawn = generator(z)
    assert not torch.allclose(drawn["a"], drawn["b"])
    assert rows == [4, 8]  # once where shared, side by side behind the private layers


@pytest.mark.parametrize("fixup", [True, False])
def test_fixup_begins_with_the_skip_paths_alone(fixup: bool) -> None:
    layers = Residual(width=0.1, fixup=fixup).generator(FACES, 9)
    blocks = [layer for layer in layers if isinstance(layer, ResidualBlock)]
    assert len(blocks) == 4
    x = torch.randn(2, 13, 4, 4)
    assert torch.equal(blocks[0](x), blocks[0].skip(x)) is fixup


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("sides", [(5, 8), (6, 7), (1, 1)])
def test_halving_rounds_up_and_doubling_with_a_cut_reverses_it(resampling: Any, sides: tuple[int, int]) -> None:
    down = down_block(2, 3, resampling=resampling, slope=0.2, last=1.0)
    small = down(torch.randn(4, 2, *sides))
    assert small.shape == (4, 3, -(-sides[0] // 2), -(-sides[1] // 2))
    crop = (small.shape[2] * 2 - sides[0], small.shape[3] * 2 - sides[1])
    up = up_block(3, 2, crop, resampling=resampling, normalised=True, last=1.0)
    assert up(small).shape == (4, 2, *sides)


@pytest.mark.parametrize("fixup", [True, False])
def test_signals_keep_their_size_at_the_start(fixup: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 3, 32, 32)
    for layer in Residual(fixup=fixup).discriminator(Domain("a", (3, 32, 32), (-1.0, 1.0)), 1):
        before, x = x.square().mean().sqrt(), layer(x)
        assert 0.3 < x.square().mean().sqrt() / before < 2.5


# -- standard deviation within a minibatch ---------------------------------------------------------


@given(st.integers(1, 13), st.integers(2, 5))
@settings(deadline=None)
def test_the_deviation_is_that_of_groups_of_neighbours(count: int, group: int) -> None:
    x = torch.randn(count, 2, 3, 4, dtype=torch.float64)
    output = MinibatchDeviation(group)(x)
    assert torch.equal(output[:, :2], x)
    number = -(-count // group)
    rest = []
    for part in x.tensor_split(number):
        assert len(part) <= group
        deviation = sum(part[:, c, i, j].std(correction=0) for c in range(2) for i in range(3) for j in range(4)) / 24
        rest += [deviation] * len(part)
    torch.testing.assert_close(output[:, 2], torch.stack(rest)[:, None, None].expand(-1, 3, 4), atol=1e-4, rtol=0)


def test_parts_of_whole_groups_have_the_deviation_of_the_batch() -> None:
    """So that several processes and micro-batches compute what one batch does."""
    x = torch.randn(12, 2, 3, 3)
    layer = MinibatchDeviation(4)
    torch.testing.assert_close(torch.cat([layer(part) for part in (x[:8], x[8:])]), layer(x))


def test_real_and_generated_samples_have_deviations_of_their_own() -> None:
    domains = [Domain(name, (1, 8, 8), (-1.0, 1.0)) for name in "ab"]
    lists = {d.name: Residual(width=0.05, minibatch_deviation=2).discriminator(d, 1) for d in domains}
    graph = team_graph("discriminator", lists, [Rule(last=3)], same_input=False)
    alone = nn.Sequential(*copy.deepcopy(lists["a"]))
    discriminator = CoupledDiscriminator(graph, lists)
    real, fake = ({d: torch.randn(4, 1, 8, 8) for d in "ab"} for _ in range(2))
    output = discriminator(real, fake)
    for domain in "ab":
        torch.testing.assert_close(output.real_logits[domain], alone(real[domain]))
        torch.testing.assert_close(output.fake_logits[domain], alone(fake[domain]))


# -- spectral normalisation ------------------------------------------------------------------------


def singular_values(layer: nn.Module) -> list[float]:
    """The largest singular value of each weight with which a layer computes."""
    modules = [m for m in layer.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return [float(torch.linalg.matrix_norm(m.weight.detach().flatten(1), 2)) for m in modules]


def test_the_largest_singular_value_is_one_and_stays_so_while_the_weights_move() -> None:
    torch.manual_seed(0)
    layer = SpectralLayer(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(72, 5)))
    assert singular_values(layer) == pytest.approx([1, 1], rel=0.05)
    for _ in range(60):
        for parameter in layer.parameters():
            parameter.data += 0.003 * torch.randn_like(parameter)
        layer.after_step()
    assert singular_values(layer) == pytest.approx([1, 1], rel=0.05)


def test_passes_do_not_change_what_is_computed() -> None:
    layer = SpectralLayer(nn.Linear(4, 3))
    x = torch.randn(2, 4)
    first = layer(x)
    state = copy.deepcopy(layer.state_dict())
    assert torch.equal(layer(x), first)
    assert torch.equal(layer.eval()(x), first)
    assert all(torch.equal(state[name], tensor) for name, tensor in layer.state_dict().items())


def test_the_gradient_is_that_of_the_quotient() -> None:
    """d(W / |u^T W|) by automatic differentiation of the formula in the paper: u^T W v, with constant u and v."""
    torch.manual_seed(0)
    linear = nn.Linear(4, 3, bias=False).double()
    weight = linear.weight.detach().clone().requires_grad_()
    layer = SpectralLayer(linear)
    u = layer.state_dict()["layer.parametrizations.weight.0.u"]
    v = (u @ weight).detach()
    v = v / v.norm()
    x = torch.randn(5, 4, dtype=torch.float64)
    factors = torch.randn(5, 3, dtype=torch.float64)
    (expected,) = torch.autograd.grad((x @ (weight / (u @ weight @ v)).T * factors).sum(), weight)
    (found,) = torch.autograd.grad((layer(x) * factors).sum(), list(layer.parameters()))
    torch.testing.assert_close(found, expected)


def test_zero_weights_with_spectral_normalisation_are_an_error() -> None:
    with pytest.raises(ConfigError, match="spectral: true cannot scale weights that are zero; set fixup: false"):
        Residual(spectral=True)


@pytest.mark.parametrize("shape", [(784,), (0, 32, 32), (3, 32, 0), (2, 3, 4, 5)])
@pytest.mark.parametrize("team", ["generator", "discriminator"])
def test_what_is_no_image_is_an_error(team: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"domain 'a' has samples of shape .*'residual' takes images"):
        getattr(Residual(), team)(Domain("a", shape, (0.0, 1.0)), 5)
