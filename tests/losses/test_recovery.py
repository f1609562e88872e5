"""Recovery of the code and of its class, against loops over samples, and as parts of a run."""

from __future__ import annotations

import math

import pytest
import torch

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.losses.classification import Classification
from coupling.losses.loss import DiscriminatorHalf, GeneratorHalf
from coupling.losses.recovery import ClassRecovery, CodeRecovery
from coupling.training.setup import set_up
from tests.support import tiny_plugin as tiny

BATCH, SIZE, LAYER = 6, 5, -2
DOMAINS = [Domain(d, (1, 2, 2), (-1.0, 1.0)) for d in "ab"]
FEATURES = {(d.name, LAYER): (2, 3) for d in DOMAINS}


def halves():
    random = torch.Generator().manual_seed(0)
    drawn = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64)  # noqa: E731
    fake = {d.name: drawn(BATCH, 1, 2, 2) for d in DOMAINS}
    features = {(d.name, LAYER): drawn(2 * BATCH, 2, 3).requires_grad_() for d in DOMAINS}
    logits = {d.name: drawn(BATCH, 1) for d in DOMAINS}
    z = drawn(BATCH, SIZE)
    discriminator = DiscriminatorHalf(
        0, DOMAINS, fake, fake, logits, logits, features, lambda x: x, lambda x, _: x, lambda *_: z, z=z
    )
    return discriminator, GeneratorHalf(0, DOMAINS, z, fake, logits, {k: x[BATCH:] for k, x in features.items()})


def compare(ours, theirs, inputs):
    assert list(ours) == list(theirs)
    for d in ours:
        torch.testing.assert_close(ours[d], theirs[d], rtol=1e-10, atol=1e-12)
        found = [
            torch.autograd.grad(x[d], inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
            for x in (ours, theirs)
        ]
        torch.testing.assert_close(*found, rtol=1e-8, atol=1e-12)


def test_code_recovery_is_the_mean_squared_error_of_the_guess():
    loss = CodeRecovery(numbers=3, weight=2.0)
    loss.open(DOMAINS, FEATURES, {})
    loss.double()
    linear = loss.head[1]
    for team, half in zip(("discriminator", "generator"), halves(), strict=True):
        theirs = {}
        for d in "ab":
            squares = []
            for x, z in zip(half.features[d, LAYER][-BATCH:], half.z, strict=True):
                guess = linear.weight @ x.flatten() + linear.bias
                squares += [(guess[k] - z[k]) ** 2 for k in range(3)]
            theirs[d] = 2.0 * sum(squares) / len(squares)
        compare(getattr(loss, team)(half), theirs, [*half.features.values(), *loss.parameters()])
    assert loss.users("ab") == "ab"


def test_class_recovery_is_the_cross_entropy_with_the_largest_number_of_the_code():
    classification = Classification(domains=["a"], classes=4)
    loss = ClassRecovery(weight=2.0)
    losses = {"classification": classification, "class-recovery": loss}
    for one in losses.values():
        one.open(DOMAINS, FEATURES, losses)
    classification.double()
    linear = classification.head[1]
    for team, half in zip(("discriminator", "generator"), halves(), strict=True):
        theirs = {}
        for d in "ab":
            terms = []
            for x, z in zip(half.features[d, LAYER][-BATCH:], half.z.tolist(), strict=True):
                p = (linear.weight @ x.flatten() + linear.bias).exp()
                terms.append(-(p[z.index(max(z[:4]))] / p.sum()).log())
            theirs[d] = 2.0 * sum(terms) / len(terms)
        compare(getattr(loss, team)(half), theirs, [*half.features.values(), *classification.parameters()])
    assert list(classification.users(["a", "b"])) == ["a", "b"]  # the head's gradient is the mean over both
    assert list(loss.parameters()) == []


def test_all_classes_of_a_code_are_equally_likely():
    z = torch.randn(8000, 10, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(z[:, :5].argmax(1), minlength=5) / len(z)
    assert (shares - 0.2).abs().max() < 0.02


TEACHING = "optimizer={name: adam, lr: 0.02, betas: [0.0, 0.9]}"


def test_the_code_can_be_recovered_after_some_steps():
    """The head's guess is better than the mean of the prior."""
    made = set_up(
        tiny.config("losses=[non-saturating, {name: code-recovery, numbers: 2, weight: 5.0}]", TEACHING), tiny.plugins()
    )
    for step in range(150):
        losses = made.inputs.take_step(step, made.algorithm, None)
    prior = made.inputs.latents.batch(0)[:, :2].var().item()
    for d in "ab":
        assert losses[f"loss/discriminator/{d}/code-recovery"].item() < 5.0 * 0.5 * prior


def test_labels_of_one_domain_tie_the_class_of_both_to_the_code():
    losses = "losses=[non-saturating, {name: classification, domains: [a], classes: 2}, class-recovery]"
    made = set_up(tiny.config(losses, TEACHING), tiny.plugins())
    found = []
    for step in range(150):
        record = made.inputs.take_step(step, made.algorithm, None)
        found.append([record[f"loss/generator/{d}/class-recovery"].item() for d in "ab"])
    for values in zip(*found[-20:], strict=True):
        assert sum(values) / 20 < 0.8 * math.log(2)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (
            "[non-saturating, {name: code-recovery, numbers: 99}]",
            r"losses\[1\] code-recovery: reads 99 numbers of the latent code, which has \d+; give latent.size: 99",
        ),
        (
            "[non-saturating, {name: classification, domains: [a], classes: 50}, class-recovery]",
            r"losses\[2\] class-recovery: reads 50 numbers of the latent code",
        ),
        ("[non-saturating, class-recovery]", r"losses\[1\] class-recovery: classifies by a classification loss, but"),
        ("[non-saturating, {name: code-recovery, layer: 9}]", "code-recovery reads discriminator layer 9, but domain"),
        (
            "[{name: feature-matching, half: both}, r1]",
            r"losses\[1\] r1: penalises the gradient of logits, but no other loss reads logits \(feature",
        ),
        ("[{name: feature-matching, half: generator}]", "nothing here trains the discriminators"),
        ("[{name: feature-matching}]", "nothing here trains the generators"),
        (
            "[non-saturating, {name: distance-consistency, group: 3}]",
            r"losses\[1\] distance-consistency: group: a process's micro-batch has 4 samples",
        ),
    ],
)
def test_configurations_that_do_not_fit_are_errors_before_training(losses, message):
    with pytest.raises(ConfigError, match=message):
        set_up(tiny.config(f"losses={losses}"), tiny.plugins())
