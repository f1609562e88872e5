"""Terms that compare domains or own a head: gradients of a whole step against separate networks."""

from __future__ import annotations

import contextlib
import copy
from functools import partial

import pytest
import torch
from torch import nn

from coupling.domain import Domain
from coupling.losses.adversarial import NonSaturating, RelativisticPairing
from coupling.losses.classification import Classification
from coupling.losses.matching import DistanceConsistency, FeatureMatching, MinimalChange
from coupling.losses.penalties import BranchPenalty
from coupling.losses.recovery import ClassRecovery, CodeRecovery
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator
from coupling.networks.trial import try_discriminators
from coupling.sharing.graph import Rule, SharingGraph
from coupling.training.algorithm import Algorithm1
from tests.support.reference import Reference
from tests.support.teams import make_team
from tests.training.test_gradients import Recorder, compare, relative_error, uniform

BATCH, SIZE, WIDTH = 8, 6, 5
SHAPE = (2, 4, 4)
NAMES = ("a", "b", "c")
TERMS = {
    "feature matching": [partial(FeatureMatching, half="both", weight=0.5)],
    "feature matching, variance": [partial(FeatureMatching, half="both", weight=0.5, normalise="variance")],
    "feature matching, cosine": [partial(FeatureMatching, half="generator", weight=0.5, normalise="cosine")],
    "minimal change": [partial(MinimalChange, size=2, domains=["a", "c"])],
    "distance consistency": [DistanceConsistency],
    "code recovery": [partial(CodeRecovery, numbers=4)],
    "class recovery": [partial(Classification, domains=["a"], classes=3), partial(ClassRecovery, domains=["b", "c"])],
    "relativistic pairing": [RelativisticPairing],
    "branch penalty": [partial(BranchPenalty, layers=[2], weight=3.0)],
}


def networks():
    def linear(inputs, outputs):
        return nn.Sequential(nn.Linear(inputs, outputs), nn.Tanh())

    torch.manual_seed(0)
    lists = {
        "generator": {
            d: [
                linear(SIZE, WIDTH),
                linear(WIDTH, WIDTH),
                nn.Sequential(linear(WIDTH, 32), nn.Unflatten(1, SHAPE)),
            ]
            for d in NAMES
        },
        "discriminator": {
            d: [nn.Sequential(nn.Flatten(), linear(32, WIDTH)), linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)]
            for d in NAMES
        },
    }
    rules = {
        "generator": [Rule(first=1), Rule(layers=(2,), domains=("a", "b"))],
        "discriminator": [Rule(layers=(2,)), Rule(last=1, domains=("b", "c"))],
    }
    graphs = {t: SharingGraph(t, dict.fromkeys(NAMES, 3), rules[t], same_input=t == "generator") for t in rules}
    for layers in (layers for team in lists.values() for layers in team.values()):
        nn.ModuleList(layers).double()
    return graphs, lists


@pytest.mark.parametrize("name", TERMS)
def test_a_step_with_a_term_equals_separate_networks_with_an_explicit_mean(name):
    graphs, lists = networks()
    generator = CoupledGenerator(graphs["generator"], copy.deepcopy(lists["generator"]))
    discriminator = CoupledDiscriminator(graphs["discriminator"], copy.deepcopy(lists["discriminator"]))
    losses = {str(number): make() for number, make in enumerate([NonSaturating, *TERMS[name]])}
    domains = [Domain(d, SHAPE, (-1, 1)) for d in NAMES]
    taps = {layer for loss in losses.values() for layer in loss.taps()}
    shapes = try_discriminators(copy.deepcopy(discriminator).float(), {d.name: d for d in domains}, 1, taps)
    for loss in losses.values():
        loss.open(domains, shapes, losses)
        loss.double()
    kept = copy.deepcopy(losses)
    labels = {"a": torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])} if name == "class recovery" else {}
    teams = [make_team(n, losses, lambda p: Recorder(p, lr=0.1)) for n in (generator, discriminator)]
    algorithm = Algorithm1(domains, *teams, losses, autocast=contextlib.nullcontext, uniform=uniform)
    reference = Reference(graphs, lists, list(kept.values()), lambda p, n: uniform(0, p, n), together=True)
    reference.labels = labels
    z = torch.randn(BATCH, SIZE, dtype=torch.float64)
    real = {d: torch.rand(BATCH, *SHAPE, dtype=torch.float64) for d in NAMES}

    expected = reference.discriminators(0, z, real)
    algorithm.step(0, z, real, labels=labels)
    compare(discriminator, teams[1].optimizer, expected)
    for own, slow in zip(losses.values(), kept.values(), strict=True):  # heads: the mean over the domains that use them
        for ours, theirs in zip(own.parameters(), slow.parameters(), strict=True):
            assert relative_error(teams[1].optimizer.seen[ours], theirs.grad / len(slow.users(NAMES))) < 1e-10

    reference.adopt("discriminator", discriminator)  # the generators step through the UPDATED discriminators and heads
    for own, slow in zip(losses.values(), kept.values(), strict=True):
        slow.load_state_dict(own.state_dict())
    compare(generator, teams[0].optimizer, reference.generators(0, z, real))
