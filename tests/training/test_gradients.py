"""The fused average against an obvious reference: gradients, in float64, over random sharing graphs."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from coupling.domain import Domain
from coupling.errors import ConfigError, CouplingError
from coupling.losses.adversarial import (
    DomainSoftmax,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticPairing,
    Wasserstein,
)
from coupling.losses.loss import Loss
from coupling.losses.penalties import R1, R2
from coupling.networks.blocks import ChannelGains
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator
from coupling.networks.residual import Residual
from coupling.networks.spectral import SpectralLayer
from coupling.networks.style import StyleInput
from coupling.sharing.graph import Rule, SharingGraph
from coupling.training.algorithm import Algorithm1, MicroBatch
from coupling.training.gradients import GradientBuffer
from coupling.training.objective import mean_losses
from tests.support.reference import Reference
from tests.support.teams import make_team

WIDTH = 3
BATCH = 5
STYLE = 2
LOSSES = {
    "non-saturating": [NonSaturating],
    "minimax": [Minimax],
    "least-squares + r1": [LeastSquares, R1],
    "hinge": [Hinge],
    "wasserstein + penalty": [Wasserstein],
    "domain-softmax": [DomainSoftmax],
    "domain-softmax + r1": [DomainSoftmax, R1],
    "relativistic-pairing + r1 + r2": [RelativisticPairing, R1, R2],
}


KINDS = ("plain", "batch norm", "gains", "spectral")


def layer(kind: str, last: bool, outputs: int = WIDTH, inputs: int = WIDTH) -> nn.Module:
    parts: list[nn.Module] = [nn.Linear(inputs, outputs)]
    if kind == "batch norm" and not last:
        parts.append(nn.BatchNorm1d(outputs))
    if kind == "gains":
        parts.append(ChannelGains(outputs))
    if not last:
        parts.append(nn.PReLU())
    made = nn.Sequential(*parts)
    return SpectralLayer(made) if kind == "spectral" else made


@st.composite
def rules(draw, depths):
    names = list(depths)
    found = []
    for _ in range(draw(st.integers(0, 3))):
        domains = None
        if len(names) >= 2 and draw(st.booleans()):
            domains = tuple(draw(st.lists(st.sampled_from(names), min_size=2, unique=True)))
        depth = min(depths[d] for d in domains or names)
        kind = draw(st.sampled_from(["first", "last", "layers"]))
        if kind == "layers":
            chosen = draw(st.lists(st.integers(1, depth), min_size=1, unique=True))
            found.append(Rule(layers=tuple(chosen), domains=domains))
        else:
            found.append(Rule(**{kind: draw(st.integers(1, depth))}, domains=domains))
    return found


@st.composite
def coupled(draw):
    """Losses, graphs and layers of both teams."""
    name = draw(st.sampled_from(sorted(LOSSES)))
    names = [f"d{i}" for i in range(draw(st.integers(1, 5)))]
    kind, condition = draw(st.sampled_from(KINDS)), draw(st.booleans())
    torch.manual_seed(draw(st.integers(0, 10_000)))
    graphs, lists = {}, {}
    logits = len(names) + 1 if DomainSoftmax in LOSSES[name] else 1
    for team in ("generator", "discriminator"):
        depths = {name: draw(st.integers(1, 6)) for name in names}
        outputs = logits if team == "discriminator" else WIDTH
        inputs = WIDTH + len(names) if team == "generator" and condition else WIDTH
        lists[team] = {
            d: [
                layer(kind, i == n, outputs if i == n else WIDTH, inputs if i == 1 else WIDTH).double()
                for i in range(1, n + 1)
            ]
            for d, n in depths.items()
        }
        try:
            same_input = team == "generator" and not condition
            graphs[team] = SharingGraph(team, depths, draw(rules(depths)), same_input=same_input)
        except ConfigError:
            assume(False)
    return name, names, graphs, lists


def uniform(step: int, purpose: str, numbers: int) -> torch.Tensor:
    seed = sum(map(ord, purpose)) + step
    return torch.rand(BATCH, numbers, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm().clamp_min(1e-12)).item()


class Recorder(torch.optim.SGD):
    """SGD that keeps the gradients it was given."""

    def step(self, closure=None):
        self.seen = {p: p.grad.clone() for group in self.param_groups for p in group["params"]}
        return super().step(closure)


def compare(network, optimizer, expected):
    modules = dict(network.layers) | {f"style of {key}": module for key, module in network.styles.items()}
    assert set(modules) == set(expected)
    for key, module in modules.items():
        ours = torch.cat([optimizer.seen[p].flatten() for p in module.parameters()])
        theirs = torch.cat([gradient.flatten() for gradient in expected[key]])
        assert relative_error(ours, theirs) < 1e-10, (key, ours, theirs)


def styled(generator):
    """Let all private layers read style codes, by matrices that are not zero; {layer: matrix}."""
    groups = generator.graph.groups
    if any((domain,) not in [group.domains for group in groups] for domain in generator.graph.domains):
        return {}
    generator.style = STYLE
    for group in groups:
        if len(group.members) == 1:
            conditioned = group.members[0][1] == 1 and generator.condition
            reads = StyleInput(STYLE, WIDTH + len(generator.graph.domains) * conditioned)
            generator.styles[group.key] = reads.double()
            reads.weight.data.normal_()
    return {key: module.weight for key, module in generator.styles.items()}


@given(coupled(), st.booleans())
@settings(max_examples=70, deadline=None)
def test_step_equals_separate_networks_with_explicit_mean(made, with_styles):
    name, names, graphs, lists = made
    try:
        condition = not graphs["generator"].same_input
        generator = CoupledGenerator(graphs["generator"], copy.deepcopy(lists["generator"]), condition=condition)
        discriminator = CoupledDiscriminator(graphs["discriminator"], copy.deepcopy(lists["discriminator"]))
    except ConfigError:  # a rule ties a last layer (other width, no normalisation) to a middle one
        assume(False)
    styles = styled(generator) if with_styles else {}
    losses = {kind.__name__: kind() for kind in LOSSES[name]}
    teams = [make_team(n, losses, lambda p: Recorder(p, lr=0.1)) for n in (generator, discriminator)]
    domains = [Domain(n, (WIDTH,), (-1, 1)) for n in names]
    for loss in losses.values():
        loss.open(domains, {}, losses)
    algorithm = Algorithm1(domains, *teams, losses, autocast=contextlib.nullcontext, uniform=uniform)
    reference = Reference(graphs, lists, list(losses.values()), lambda p, n: uniform(0, p, n), styles)
    z = torch.randn(BATCH, WIDTH + generator.style * len(names), dtype=torch.float64)
    real = {n: torch.randn(BATCH, WIDTH, dtype=torch.float64) for n in names}

    expected = reference.discriminators(0, z, real)
    algorithm.step(0, z, real)
    compare(discriminator, teams[1].optimizer, expected)

    reference.adopt("discriminator", discriminator)  # the generators step through the UPDATED discriminators
    compare(generator, teams[0].optimizer, reference.generators(0, z, real))


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ({"between": "gains"}, {"generator": (1, 2, 3, 5), "discriminator": (3, 5)}),
        ({"between": "branches", "resampling": "bilinear"}, {"generator": (1, 3, 5), "discriminator": (5,)}),
        ({"minibatch_deviation": 2, "normalised": False, "fixup": False}, {"generator": (1, 3), "discriminator": (3,)}),
        ({"spectral": True, "fixup": False, "minibatch_deviation": 4}, {"generator": (1,), "discriminator": (2, 3)}),
    ],
)
def test_a_step_of_residual_networks_equals_separate_networks(options, shared):
    torch.manual_seed(0)
    domains = [Domain(n, (2, 9, 8), (-1, 1)) for n in "ab"]
    made = Residual(width=0.05, **options)
    lists = {
        "generator": {d.name: made.generator(d, WIDTH) for d in domains},
        "discriminator": {d.name: made.discriminator(d, 1) for d in domains},
    }
    for team in lists.values():
        for layers in team.values():
            nn.ModuleList(layers).double()
            for parameter in nn.ModuleList(layers).parameters():  # as after some steps: nothing is zero any more
                parameter.data += 0.1 * torch.randn_like(parameter)
    graphs = {
        t: SharingGraph(t, {d: len(x) for d, x in lists[t].items()}, [Rule(layers=shared[t])], same_input=t[0] == "g")
        for t in lists
    }
    generator = CoupledGenerator(graphs["generator"], copy.deepcopy(lists["generator"]))
    discriminator = CoupledDiscriminator(graphs["discriminator"], copy.deepcopy(lists["discriminator"]))
    losses = {"non-saturating": NonSaturating(), "relativistic-pairing": RelativisticPairing(), "r1": R1()}
    teams = [make_team(n, losses, lambda p: Recorder(p, lr=0.1)) for n in (generator, discriminator)]
    algorithm = Algorithm1(domains, *teams, losses, autocast=contextlib.nullcontext, uniform=uniform)
    reference = Reference(graphs, lists, list(losses.values()), lambda p, n: uniform(0, p, n))
    for step in range(2):
        z = torch.randn(BATCH, WIDTH, dtype=torch.float64)
        real = {d.name: torch.rand(BATCH, 2, 9, 8, dtype=torch.float64) for d in domains}
        reference.clear()
        expected = reference.discriminators(step, z, real)
        algorithm.step(step, z, real)
        compare(discriminator, teams[1].optimizer, expected)
        reference.adopt("discriminator", discriminator)
        compare(generator, teams[0].optimizer, reference.generators(step, z, real))
        reference.adopt("generator", generator)


def test_running_statistics_are_each_domains_own():
    graphs = {t: SharingGraph(t, {"a": 2, "b": 2}, [Rule(first=2)]) for t in ("discriminator",)}
    layers = {d: [layer("batch norm", False), layer("plain", True, 1)] for d in "ab"}
    alone = {d: copy.deepcopy(layers["a"][0]) for d in "ab"}
    network = CoupledDiscriminator(graphs["discriminator"], layers)
    real = {"a": torch.randn(8, WIDTH), "b": 5 + torch.randn(8, WIDTH)}
    network(real, {d: 100 + x for d, x in real.items()})
    [norm] = [m for m in network.modules() if type(m).__name__ == "DomainBatchNorm"]
    for slot, domain in enumerate("ab"):
        alone[domain](real[domain])
        torch.testing.assert_close(norm.running_mean[slot], alone[domain][1].running_mean)
        torch.testing.assert_close(norm.running_var[slot], alone[domain][1].running_var)
    network.eval()
    for domain in "ab":
        expected = network.layers["layer2[a,b]"](alone[domain].eval()(real[domain]))
        torch.testing.assert_close(network(real).real_logits[domain], expected)


def test_joint_statistics_couple_the_domains():
    """With joint statistics, domain a's loss has a gradient in domain b's private stem; per domain it has none."""
    for joint in (True, False):
        graph = SharingGraph("discriminator", {"a": 2, "b": 2}, [Rule(last=1)])
        torch.manual_seed(0)
        lists = {d: [layer("plain", False), nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 1))] for d in "ab"}
        network = CoupledDiscriminator(graph, lists, joint_statistics=joint)
        real = {d: torch.randn(8, WIDTH) for d in "ab"}
        network(real).real_logits["a"].square().sum().backward()
        stem = network.layers["layer1[b]"][0].weight.grad
        assert (stem is not None and stem.abs().max().item() > 1e-3) is joint


def test_joint_statistics_equal_one_batch_normalisation_over_everything():
    graph = SharingGraph("discriminator", {"a": 1, "b": 1}, [Rule(first=1)])
    torch.manual_seed(0)
    network = CoupledDiscriminator(graph, {d: [nn.BatchNorm1d(WIDTH)] for d in "ab"}, joint_statistics=True)
    plain = nn.BatchNorm1d(WIDTH)
    real, fake = ({d: torch.randn(8, WIDTH) + i for i, d in enumerate("ab")} for _ in range(2))
    output = network(real, fake)
    expected = plain(torch.cat([real["a"], real["b"]]))
    torch.testing.assert_close(torch.cat([output.real_logits["a"], output.real_logits["b"]]), expected)
    torch.testing.assert_close(network.layers["layer1[a,b]"].running_mean[0], plain.running_mean)
    expected = plain(torch.cat([fake["a"], fake["b"]]))
    torch.testing.assert_close(torch.cat([output.fake_logits["a"], output.fake_logits["b"]]), expected)


def test_views_keep_the_parameters_strides():
    convolution = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    buffer = GradientBuffer([(p, ("a", "b")) for p in convolution.parameters()])
    x = torch.randn(2, 4, 9, 9).to(memory_format=torch.channels_last)
    expected = torch.autograd.grad(convolution(x).square().sum(), list(convolution.parameters()))
    convolution(x).square().sum().backward()
    buffer.average()
    for parameter, gradient in zip(convolution.parameters(), expected, strict=True):
        assert parameter.grad.stride() == parameter.stride()
        torch.testing.assert_close(parameter.grad, gradient / 2)


def test_views_that_were_cut_loose_are_detected():
    linear = nn.Linear(2, 2)
    buffer = GradientBuffer([(p, ("a",)) for p in linear.parameters()])
    linear.zero_grad(set_to_none=True)
    linear(torch.ones(1, 2)).sum().backward()
    with pytest.raises(CouplingError, match="no longer a view"):
        buffer.average()


def test_frozen_discriminators_gather_no_gradient_in_the_generators_half():
    graph = {
        t: SharingGraph(t, {"a": 2, "b": 2}, [Rule(last=1)], same_input=t == "generator")
        for t in ("generator", "discriminator")
    }
    lists = {
        t: {d: [layer("batch norm", False), layer("plain", True, 1 if t == "discriminator" else WIDTH)] for d in "ab"}
        for t in graph
    }
    generator = CoupledGenerator(graph["generator"], lists["generator"])
    discriminator = CoupledDiscriminator(graph["discriminator"], lists["discriminator"])
    losses = {"non-saturating": NonSaturating()}
    teams = [make_team(n, losses, lambda p: torch.optim.SGD(p, lr=0.1)) for n in (generator, discriminator)]
    algorithm = Algorithm1([], *teams, losses, autocast=contextlib.nullcontext, uniform=uniform)
    before = [norm.running_mean.clone() for norm in discriminator._norms["layer1[a]"]]
    z = torch.randn(BATCH, WIDTH)
    algorithm.generator_half(MicroBatch(0, z, z, {}), *algorithm.generate(z))
    assert teams[1].gradients.flat.abs().max() == 0
    for norm, mean in zip(discriminator._norms["layer1[a]"], before, strict=True):
        assert torch.equal(norm.running_mean, mean)  # generated samples do not move them
    assert all(p.requires_grad for p in discriminator.parameters())


def test_the_shared_prefix_is_computed_once_for_any_number_of_domains():
    class Counter(nn.Module):
        calls = 0

        def forward(self, x):
            Counter.calls += 1
            return x

    names = [f"d{i}" for i in range(7)]
    graph = SharingGraph("generator", dict.fromkeys(names, 3), [Rule(first=2)], same_input=True)
    lists = {d: [Counter(), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)] for d in names}
    rows = []
    network = CoupledGenerator(graph, lists)
    network.layers[f"layer2[{','.join(names)}]"].register_forward_hook(lambda m, i, o: rows.append(len(i[0])))
    network(torch.zeros(BATCH, WIDTH))
    assert Counter.calls == 1
    assert rows == [BATCH]


class Scaled(Loss):
    """Owns a factor on the logits, which some of the domains use."""

    def __init__(self, team, users):
        super().__init__()
        self.team = team
        self.of = users
        self.factor = nn.Parameter(torch.tensor([0.5, 2.0], dtype=torch.float64))

    def users(self, domains):
        return self.of

    def term(self, logits):
        return {d: (self.factor * logits[d]).square().mean() for d in self.of}

    def discriminator(self, half):
        return self.term(half.real_logits)

    def generator(self, half):
        return self.term(half.fake_logits)


@pytest.mark.parametrize("team", ["discriminator", "generator"])
@pytest.mark.parametrize("users", [("a",), ("a", "c"), ("a", "b", "c")])
def test_a_losss_own_parameters_get_the_mean_over_their_users_from_their_teams_half(team, users):
    torch.manual_seed(0)
    graphs = {
        t: SharingGraph(t, dict.fromkeys("abc", 2), [Rule(last=1)], same_input=t == "generator")
        for t in ("generator", "discriminator")
    }
    lists = {
        t: {d: [layer("plain", False).double(), layer("plain", True, 1 if t == "discriminator" else WIDTH).double()]
            for d in "abc"}
        for t in graphs
    }  # fmt: skip
    generator = CoupledGenerator(graphs["generator"], lists["generator"])
    discriminator = CoupledDiscriminator(graphs["discriminator"], lists["discriminator"])
    losses = {"non-saturating": NonSaturating(), "scaled": Scaled(team, users)}
    teams = [make_team(n, losses, lambda p: Recorder(p, lr=0.1)) for n in (generator, discriminator)]
    algorithm = Algorithm1([], *teams, losses, autocast=contextlib.nullcontext, uniform=uniform)
    z = torch.randn(BATCH, WIDTH, dtype=torch.float64)
    real = {n: torch.randn(BATCH, WIDTH, dtype=torch.float64) for n in "abc"}
    factor = losses["scaled"].factor
    before = factor.detach().clone()
    logits = {d: x.detach() for d, x in discriminator(real).real_logits.items()}
    algorithm.step(0, z, real)
    if team == "generator":  # through the updated discriminators, on samples of the generators before their step
        for p, gradient in teams[0].optimizer.seen.items():
            p.data += 0.1 * gradient
        logits = {d: x.detach() for d, x in discriminator(None, generator(z)).fake_logits.items()}
    expected = []
    for domain in users:
        own = before.clone().requires_grad_()
        (own * logits[domain]).square().mean().backward()
        expected.append(own.grad)
    seen = teams[["generator", "discriminator"].index(team)].optimizer.seen[factor]
    assert relative_error(seen, torch.stack(expected).mean(0)) < 1e-10


def test_frozen_parameters_do_not_change():
    graph = {t: SharingGraph(t, {"a": 2}, same_input=t == "generator") for t in ("generator", "discriminator")}
    lists = {
        t: {"a": [layer("plain", False), layer("plain", True, 1 if t == "discriminator" else WIDTH)]} for t in graph
    }
    frozen = lists["discriminator"]["a"][0][0].weight.requires_grad_(False)
    networks = (
        CoupledGenerator(graph["generator"], lists["generator"]),
        CoupledDiscriminator(graph["discriminator"], lists["discriminator"]),
    )
    losses = {"non-saturating": NonSaturating()}
    teams = [make_team(n, losses, lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1)) for n in networks]
    algorithm = Algorithm1([], *teams, losses, autocast=contextlib.nullcontext, uniform=uniform)
    before = frozen.clone()
    for step in range(2):
        algorithm.step(step, torch.randn(BATCH, WIDTH), {"a": torch.randn(BATCH, WIDTH)})
    assert torch.equal(frozen, before)
    assert not frozen.requires_grad


def test_a_term_that_a_micro_batch_lacks_counts_as_0():
    one, half, other = (torch.tensor(value) for value in (1.0, 0.5, 3.0))
    assert mean_losses([{"a": one, "b": half}, {"a": other}]) == {"a": 2.0, "b": 0.25}
