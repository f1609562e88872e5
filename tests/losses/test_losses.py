"""Each loss against its formula in probabilities; penalties against one autograd call a sample."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import nn

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.losses.adaptation import Consistency, Entropy
from coupling.losses.adversarial import (
    DomainSoftmax,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticPairing,
    Wasserstein,
)
from coupling.losses.classification import Classification
from coupling.losses.loss import DiscriminatorHalf, GeneratorHalf
from coupling.losses.matching import DistanceConsistency, FeatureMatching, MinimalChange
from coupling.losses.penalties import R1, R2, BranchPenalty
from coupling.losses.recovery import ClassRecovery, CodeRecovery
from coupling.plugins import Plugins

ADVERSARIAL = [NonSaturating, Minimax, LeastSquares, Hinge, Wasserstein]
LOGITS = torch.linspace(-8.03, 8, 33, dtype=torch.float64).unsqueeze(1)


def cross_entropy(real, fake):
    p, q = real.sigmoid(), fake.sigmoid()
    return -p.log().mean() - (1 - q).log().mean()


FORMULAS: dict[type, tuple[Any, Any]] = {
    NonSaturating: (cross_entropy, lambda fake: -fake.sigmoid().log().mean()),
    Minimax: (cross_entropy, lambda fake: (1 - fake.sigmoid()).log().mean()),
    LeastSquares: (
        lambda real, fake: 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean(),
        lambda fake: 0.5 * ((fake - 1) ** 2).mean(),
    ),
    Hinge: (
        lambda real, fake: (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean(),
        lambda fake: -fake.mean(),
    ),
    Wasserstein: (lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean()),
}


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_value_and_gradient_are_those_of_the_formula(kind):
    criticise, fool = FORMULAS[kind]
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        real = LOGITS[torch.randperm(33, generator=generator)].clone().requires_grad_()
        fake = (LOGITS * 0.7).clone().requires_grad_()
        for ours, theirs in (
            (kind().criticise(real, fake), criticise(real, fake)),
            (kind().fool(fake), fool(fake)),
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
            inputs = [real, fake]
            gradients = [
                torch.autograd.grad(v, inputs, allow_unused=True, materialize_grads=True) for v in (ours, theirs)
            ]
            for one, other in zip(*gradients, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_finite_at_any_logit(kind, size):
    real, fake = (torch.full((3, 1), sign * size, requires_grad=True) for sign in (1, -1))
    for value in (kind().criticise(real, fake), kind().criticise(fake, real), kind().fool(fake)):
        assert math.isfinite(value.item())
        gradients = torch.autograd.grad(value, [real, fake], allow_unused=True, materialize_grads=True)
        assert all(g.isfinite().all() for g in gradients)


def test_minimax_saturates_and_non_saturating_does_not():
    """Where the discriminator is sure of a generated sample, minimax has no gradient left."""
    slopes = {}
    for kind in (NonSaturating, Minimax):
        fake = torch.full((1, 1), -20.0, requires_grad=True)
        [slope] = torch.autograd.grad(kind().fool(fake), fake)
        slopes[kind] = slope.item()
    assert slopes[NonSaturating] == pytest.approx(-1)
    assert abs(slopes[Minimax]) < 1e-8
    assert slopes[Minimax] < 0  # both lower their loss by raising the logit


def critic(seed, outputs=1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


def half(critics, step=0, batch=4):
    generator = torch.Generator().manual_seed(step)
    real, fake = (
        {d: torch.randn(batch, 3, 2, 2, generator=generator, dtype=torch.float64) for d in critics} for _ in range(2)
    )
    share = {d: torch.rand(batch, 1, generator=generator, dtype=torch.float64) for d in critics}
    given = DiscriminatorHalf(
        step=step,
        domains=(),
        real=real,
        fake=fake,
        real_logits={d: critics[d](x) for d, x in real.items()},
        fake_logits={d: critics[d](x) for d, x in fake.items()},
        features={},
        score=lambda samples: {d: critics[d](x) for d, x in samples.items()},
        tap=lambda samples, layer: {},
        uniform=lambda purpose, numbers: share[purpose.split("/")[1]],
    )
    return given, share


def gradient_norms(critic, samples):
    """The norm of each sample's gradient, one call a sample, twice differentiable."""
    norms = []
    for sample in samples:
        x = sample[None].clone().requires_grad_()
        [gradient] = torch.autograd.grad(critic(x), x, create_graph=True)
        norms.append(gradient.square().sum().sqrt())
    return torch.stack(norms)


def compare(ours, theirs, critics):
    for d, net in critics.items():
        torch.testing.assert_close(ours[d], theirs[d], rtol=1e-10, atol=1e-12)
        parameters = list(net.parameters())[:3]  # the last bias has no part in a gradient of the input
        for one, other in zip(
            torch.autograd.grad(ours[d], parameters, retain_graph=True),
            torch.autograd.grad(theirs[d], parameters, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("kind", "which"), [(R1, "real"), (R2, "fake")])
def test_r1_and_r2_equal_a_loop_over_samples(kind, which):
    critics = {"a": critic(0), "b": critic(1)}
    given, _ = half(critics)
    theirs = {d: 3.0 / 2 * gradient_norms(critics[d], x).square().mean() for d, x in getattr(given, which).items()}
    compare(kind(gamma=3.0).discriminator(given), theirs, critics)


class Shifted(nn.Module):
    """Adds a steep function of the samples to all logits alike; a softmax of them does not change."""

    def __init__(self, critic):
        super().__init__()
        self.critic = critic

    def forward(self, x):
        return self.critic(x) + 7 * x.flatten(1).sum(1, keepdim=True).sin()


@pytest.mark.parametrize("kind", [R1, R2])
def test_penalties_of_a_softmax_are_those_of_the_margin_and_no_common_shift_changes_them(kind):
    critics = {"a": critic(0, 3), "b": critic(1, 3)}
    domains = [Domain(d, (3, 2, 2), (-1.0, 1.0)) for d in critics]
    softmax, penalty = DomainSoftmax(), kind(gamma=3.0)
    penalty.open(domains, {}, {"r": penalty, "domain-softmax": softmax})
    plain, shifted = (
        dataclasses.replace(half(nets)[0], domains=domains)
        for nets in (critics, {d: Shifted(net) for d, net in critics.items()})
    )
    theirs = {}
    for number, (d, net) in enumerate(critics.items(), 1):
        margin = lambda x, net=net, number=number: net(x)[:, number] - net(x)[:, 0]  # noqa: E731
        theirs[d] = 3.0 / 2 * gradient_norms(margin, penalty.penalised(plain)[d]).square().mean()
    compare(penalty.discriminator(plain), theirs, critics)
    compare(penalty.discriminator(shifted), theirs, critics)


@pytest.mark.parametrize("kind", [R1, R2])
def test_a_penalty_without_a_loss_that_reads_logits_is_an_error(kind):
    penalty = kind()
    losses = {"r": penalty, "feature-matching": FeatureMatching(), "other": kind()}
    with pytest.raises(ConfigError, match=r"no other loss reads logits \(r, feature-matching, other\); add an adver"):
        penalty.open([], {}, losses)
    penalty.open([], {}, losses | {"hinge": Hinge()})


def test_relativistic_pairing_is_the_logistic_loss_of_the_difference_in_each_pair():
    """log p of the right order of a pair, p the sigmoid of the difference of its logits."""
    generator = torch.Generator().manual_seed(0)
    real, fake = (
        {d: (3 * torch.randn(6, 1, generator=generator, dtype=torch.float64)).requires_grad_() for d in "ab"}
        for _ in range(2)
    )
    loss = RelativisticPairing(weight=2.0)
    given = dataclasses.replace(half({})[0], real_logits=real, fake_logits=fake)
    fooled = GeneratorHalf(0, (), torch.zeros(6, 1), {}, fake, {}, {}, {d: x.detach() for d, x in real.items()})
    for d in "ab":
        right = [-2 * (x - g).sigmoid().log() for x, g in zip(real[d], fake[d], strict=True)]
        wrong = [-2 * (g - x.detach()).sigmoid().log() for x, g in zip(real[d], fake[d], strict=True)]
        for ours, theirs in (
            (loss.discriminator(given)[d], torch.cat(right).mean()),
            (loss.generator(fooled)[d], torch.cat(wrong).mean()),
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
            gradients = [
                torch.autograd.grad(v, [real[d], fake[d]], allow_unused=True, materialize_grads=True, retain_graph=True)
                for v in (ours, theirs)
            ]
            torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_relativistic_pairing_is_finite_at_any_logit(size):
    real, fake = ({"a": torch.full((3, 1), s * size, requires_grad=True)} for s in (1, -1))
    given = dataclasses.replace(half({})[0], real_logits=real, fake_logits=fake)
    fooled = GeneratorHalf(0, (), torch.zeros(3, 1), {}, fake, {}, {}, real)
    value = RelativisticPairing().discriminator(given)["a"] + RelativisticPairing().generator(fooled)["a"]
    value.backward()
    assert value.isfinite()
    assert real["a"].grad.isfinite().all()


def test_r1_is_lazy_and_its_weight_makes_up_for_it():
    critics = {"a": critic(0)}
    every = R1(gamma=1.0).discriminator(half(critics, step=16)[0])["a"]
    lazy = R1(gamma=1.0, every=8)
    torch.testing.assert_close(lazy.discriminator(half(critics, step=16)[0])["a"], 8 * every)
    assert [s for s in range(24) if lazy.discriminator(half(critics, step=s)[0])] == [0, 8, 16]


def test_gradient_penalty_equals_a_loop_over_samples():
    critics = {"a": critic(0), "b": critic(1)}
    given, share = half(critics)
    theirs = {}
    for d in critics:
        e = share[d].reshape(-1, 1, 1, 1)
        norms = gradient_norms(critics[d], (1 - e) * given.real[d] + e * given.fake[d])
        theirs[d] = given.fake_logits[d].mean() - given.real_logits[d].mean() + 7 * ((norms - 1) ** 2).mean()
    compare(Wasserstein(penalty=7.0).discriminator(given), theirs, critics)


def test_gradient_penalty_is_finite_where_the_critic_is_flat():
    flat = critic(0)
    for p in flat.parameters():
        p.data.zero_()
    value = Wasserstein().discriminator(half({"a": flat})[0])["a"]
    gradients = torch.autograd.grad(value, list(flat.parameters()), allow_unused=True, materialize_grads=True)
    assert value.item() == pytest.approx(10, rel=1e-5)
    assert all(g.isfinite().all() for g in gradients)


def test_no_penalty_takes_no_second_pass():
    given, _ = half({"a": critic(0)})
    quick = DiscriminatorHalf(**{**given.__dict__, "score": None})
    value = Wasserstein(penalty=0).discriminator(quick)["a"]
    torch.testing.assert_close(value, given.fake_logits["a"].mean() - given.real_logits["a"].mean())


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_terms_are_one_scalar_a_domain_and_depend_on_that_domain_alone(kind):
    critics = {d: critic(i) for i, d in enumerate("abc")}
    given, _ = half(critics)
    terms = kind().discriminator(given)
    assert list(terms) == list("abc")
    assert all(value.shape == () for value in terms.values())
    first = next(critics["b"].parameters())
    [own] = torch.autograd.grad(terms["b"], first, retain_graph=True)
    [other] = torch.autograd.grad(terms["a"], first, allow_unused=True, materialize_grads=True)
    assert own.abs().max() > 0
    assert other.abs().max() == 0
    fooled = kind().generator(GeneratorHalf(0, (), given.real["a"], given.fake, given.fake_logits, {}))
    assert {d: v.shape for d, v in fooled.items()} == dict.fromkeys("abc", ())


@pytest.mark.parametrize("names", ["a", "ab", "dcab"])
def test_domain_softmax_is_the_formula_in_probabilities(names):
    """The classes: generated, then the domains in their order."""
    generator = torch.Generator().manual_seed(0)
    classes = len(names) + 1
    real, fake = (
        {d: (3 * torch.randn(5, classes, generator=generator, dtype=torch.float64)).requires_grad_() for d in names}
        for _ in range(2)
    )
    domains = [Domain(d, (1,), (0.0, 1.0)) for d in names]
    loss = DomainSoftmax()
    assert loss.outputs(len(names)) == classes
    given, _ = half({})
    given = dataclasses.replace(given, domains=domains, real_logits=real, fake_logits=fake)
    criticised = loss.discriminator(given)
    fooled = loss.generator(GeneratorHalf(0, domains, torch.zeros(5, 1), {}, fake, {}))
    assert list(criticised) == list(fooled) == list(names)
    for number, d in enumerate(names, 1):
        taken, seen = ((x[d].exp() / x[d].exp().sum(1, keepdim=True)) for x in (real, fake))
        expected = -taken[:, number].log().mean() - seen[:, 0].log().mean()
        torch.testing.assert_close(criticised[d], expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(fooled[d], -seen[:, number].log().mean(), rtol=1e-12, atol=1e-12)
        for ours, theirs in ((criticised[d], expected), (fooled[d], -seen[:, number].log().mean())):
            gradients = [
                torch.autograd.grad(v, [real[d], fake[d]], allow_unused=True, materialize_grads=True, retain_graph=True)
                for v in (ours, theirs)
            ]
            torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_domain_softmax_is_finite_at_any_logit(size):
    domains = [Domain(d, (1,), (0.0, 1.0)) for d in "ab"]
    logits = {d: torch.tensor([[size, 0.0, -size]] * 2, requires_grad=True) for d in "ab"}
    value = sum(DomainSoftmax().generator(GeneratorHalf(0, domains, torch.zeros(2, 1), {}, logits, {})).values())
    value.backward()
    assert value.isfinite()
    assert all(x.grad.isfinite().all() for x in logits.values())


def test_every_built_in_loss_is_tested_here():
    plugins = Plugins(entry_points=False)
    kinds = {c.make for (kind, _), c in plugins.registry.components.items() if kind == "loss"}
    elsewhere = {
        *(Classification, Consistency, Entropy),  # test_adaptation.py
        *(FeatureMatching, MinimalChange, DistanceConsistency),  # test_matching.py
        *(CodeRecovery, ClassRecovery),  # test_recovery.py
        BranchPenalty,  # test_branch_penalty.py
    }
    assert kinds == {*ADVERSARIAL, RelativisticPairing, R1, R2, DomainSoftmax} | elsewhere
