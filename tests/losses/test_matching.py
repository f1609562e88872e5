"""Terms between the domains' samples of one code, against loops over samples and pairs of domains."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.losses.loss import DiscriminatorHalf, GeneratorHalf
from coupling.losses.matching import DistanceConsistency, FeatureMatching, MinimalChange

BATCH = 8
NAMES = "abc"
LAYER = -2


def halves(shape=(3,), names=NAMES, seed=0, channels=2):
    """Both halves of a step with random features of ``shape``; in the discriminators' half, real samples come first."""
    random = torch.Generator().manual_seed(seed)
    drawn = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64)  # noqa: E731
    fake = {d: drawn(BATCH, channels, 9, 12).tanh().requires_grad_() for d in names}
    features = {(d, LAYER): drawn(2 * BATCH, *shape).requires_grad_() for d in names}
    domains = [Domain(d, (channels, 9, 12), (-1.0, 1.0)) for d in names]
    logits = {d: drawn(BATCH, 1) for d in names}
    discriminator = DiscriminatorHalf(
        0, domains, fake, fake, logits, logits, features, lambda x: x, lambda x, _: x, lambda *_: logits["a"]
    )
    generated = {key: x[BATCH:] for key, x in features.items()}
    return discriminator, GeneratorHalf(0, domains, drawn(BATCH, 4), fake, logits, generated)


def opened(loss, half, shape=(3,)):
    loss.open(half.domains, {(d.name, LAYER): shape for d in half.domains}, {"loss": loss})
    return loss


def compare(ours, theirs, inputs):
    """Values and gradients by ``inputs``."""
    assert list(ours) == list(theirs)
    for d in ours:
        torch.testing.assert_close(ours[d], theirs[d], rtol=1e-10, atol=1e-12)
        found = [
            torch.autograd.grad(x[d], inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
            for x in (ours, theirs)
        ]
        torch.testing.assert_close(*found, rtol=1e-8, atol=1e-12)


def loop(names, distance):
    """Half the mean distance to the other domains, for each domain."""
    return {d: sum(distance(d, e) for e in names if e != d) / (len(names) - 1) / 2 for d in names}


def by_hand(normalise, f):
    """The distance of two domains' features, {domain: (B, ...)}, sample by sample."""

    def variance(x):
        flat = x.flatten(1)
        return sum(flat[:, i].var(unbiased=False) for i in range(flat.shape[1]))

    def distance(d, e):
        terms = []
        for x, y in zip(f[d].flatten(1), f[e].flatten(1), strict=True):
            cosine = (x * y).sum() / (x.norm() * y.norm())
            terms.append(1 - cosine if normalise == "cosine" else ((x - y) ** 2).sum())
        mean = sum(terms) / len(terms)
        return mean / ((variance(f[d]) + variance(f[e])) / 2) if normalise == "variance" else mean

    return distance


@pytest.mark.parametrize("normalise", ["none", "variance", "cosine"])
@pytest.mark.parametrize(("names", "shape"), [("ab", (3,)), ("abc", (2, 2, 3))])
def test_feature_matching_is_the_loop_over_samples_in_both_halves(normalise, names, shape):
    for team, half in zip(("discriminator", "generator"), halves(shape, names), strict=True):
        loss = opened(FeatureMatching(weight=3.0, normalise=normalise, half="both"), half, shape)
        f = {d: half.features[d, LAYER][-BATCH:] for d in names}
        theirs = {d: 3.0 * value for d, value in loop(names, by_hand(normalise, f)).items()}
        compare(getattr(loss, team)(half), theirs, list(half.features.values()))


@pytest.mark.parametrize("normalise", ["variance", "cosine"])
def test_normalised_matching_does_not_depend_on_the_features_size(normalise):
    """So discriminators cannot lower it by smaller features."""
    _, half = halves()
    small = GeneratorHalf(0, half.domains, half.z, half.fake, {}, {k: 1e-3 * x for k, x in half.features.items()})
    loss = opened(FeatureMatching(normalise=normalise, half="generator"), half)
    torch.testing.assert_close(loss.generator(half), loss.generator(small))


def test_a_distance_of_2_belongs_to_samples_that_do_not_correspond():
    random = torch.Generator().manual_seed(0)
    features = {(d, LAYER): torch.randn(4000, 5, generator=random) for d in "ab"}
    half = GeneratorHalf(0, [], torch.zeros(1), {d: torch.zeros(4000, 1) for d in "ab"}, {}, features)
    terms = FeatureMatching(weight=1.0, normalise="variance", half="generator").generator(half)
    assert sum(terms.values()).item() == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("half", ["discriminator", "generator", "both"])
def test_feature_matching_trains_the_networks_that_it_names(half):
    loss = FeatureMatching(half=half)
    for team, given in zip(("discriminator", "generator"), halves(), strict=True):
        assert loss.trains(team) == (half in (team, "both")) == bool(getattr(loss, team)(given))


def test_minimal_change_is_the_mean_difference_of_block_means():
    _, half = halves()
    domains = [Domain("a", (2, 9, 12), (-1.0, 1.0)), Domain("b", (2, 9, 12), (-1.0, 3.0)), Domain("c", (9,), (0, 1))]
    loss = MinimalChange(domains=["a", "b"], size=3, weight=4.0)
    loss.open(domains, {}, {})

    def blocks(x, low, high):
        scaled = (x - low) / (high - low) * 2 - 1
        return torch.stack(
            [
                scaled[:, :, 3 * i : 3 * i + 3, 4 * j : 4 * j + 4].mean((2, 3))
                for i, j in itertools.product(range(3), range(3))
            ]
        )

    one, other = blocks(half.fake["a"], -1.0, 1.0), blocks(half.fake["b"], -1.0, 3.0)
    expected = 4.0 / 2 * (one - other).abs().mean()
    compare(loss.generator(half), {"a": expected, "b": expected}, [half.fake["a"], half.fake["b"]])
    assert loss.trains("generator")
    assert not loss.trains("discriminator")


def test_pictures_of_the_same_blocks_cost_nothing():
    x = torch.rand(2, 3, 16, 16)
    moved = x.unflatten(2, (8, 2)).flip(3).flatten(2, 3)  # details within a block differ
    half = GeneratorHalf(0, [], torch.zeros(2, 1), {"a": x, "b": moved}, {}, {})
    loss = MinimalChange()
    loss.open([Domain(d, (3, 16, 16), (0.0, 1.0)) for d in "ab"], {}, {})
    assert loss.generator(half)["a"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("names", "group"), [("ab", 4), ("abc", 8)])
def test_distance_consistency_is_the_loop_over_groups_and_samples(names, group):
    _, half = halves((2, 3), names)
    loss = opened(DistanceConsistency(group=group, weight=5.0), half, (2, 3))

    def distribution(d, i):
        first = i // group * group
        x = half.features[d, LAYER].flatten(1)
        cosines = [F.cosine_similarity(x[i], x[j], dim=0) for j in range(first, first + group) if j != i]
        return torch.stack(cosines).softmax(0)

    def divergence(d, e):
        terms = []
        for i in range(BATCH):
            p, q = distribution(e, i).detach(), distribution(d, i)
            terms.append((p * (p / q).log()).sum())
        return sum(terms) / BATCH

    theirs = {d: 5.0 * sum(divergence(d, e) for e in names if e != d) / (len(names) - 1) for d in names}
    compare(loss.generator(half), theirs, list(half.features.values()))


def test_equal_neighbours_cost_nothing_whatever_the_features_are():
    features = torch.randn(8, 5)
    turned, _ = torch.linalg.qr(torch.randn(5, 5))
    kept = {("a", LAYER): features, ("b", LAYER): 3 * features @ turned}
    half = GeneratorHalf(0, [], torch.zeros(8, 1), {d: torch.zeros(8, 1) for d in "ab"}, {}, kept)
    loss = DistanceConsistency(domains=["a", "b"])
    assert loss.generator(half)["a"].item() == pytest.approx(0, abs=1e-4)


IMAGES = [Domain("a", (3, 16, 16), (0.0, 1.0)), Domain("b", (1, 16, 16), (0.0, 1.0)), Domain("c", (5,), (0.0, 1.0))]


@pytest.mark.parametrize(
    ("loss", "domains", "message"),
    [
        (MinimalChange(), IMAGES[:2], r"domains: pictures of different channels .*'a' \(3, 16, 16\), 'b' \(1, 16, "),
        (MinimalChange(), [IMAGES[0], IMAGES[2]], r"domains: pictures are of shape \(channels, height, width\), but"),
        (MinimalChange(), IMAGES[:1], "compares domains, but there is only one; remove this loss"),
        (MinimalChange(domains=["a", "x"]), IMAGES[:2], "domains: no domain is called 'x'"),
        (MinimalChange(size=17), [IMAGES[0], Domain("d", (3, 20, 20), (0.0, 1.0))], "size: 17 is larger than"),
        (DistanceConsistency(), IMAGES[:1], "compares domains, but there is only one; remove this loss"),
        (DistanceConsistency(domains=["a", "x"]), IMAGES[:2], "domains: no domain is called 'x'"),
        (FeatureMatching(), IMAGES[:1], "compares domains, but there is only one; remove this loss"),
    ],
)  # fmt: skip
def test_domains_that_do_not_fit_are_errors(loss, domains, message):
    with pytest.raises(ConfigError, match=message):
        loss.open(domains, {(d.name, LAYER): (3,) for d in domains}, {})


def test_features_of_different_shapes_are_an_error():
    with pytest.raises(ConfigError, match=r"layer: -2 gives 'a' \(3,\), 'b' \(4,\); choose a layer with the same"):
        FeatureMatching().open(IMAGES[:2], {("a", LAYER): (3,), ("b", LAYER): (4,)}, {})


def test_batches_that_do_not_fit_are_errors():
    DistanceConsistency().check_batch(8)
    with pytest.raises(ConfigError, match="group: a process's micro-batch has 6 samples, which cannot be divided into"):
        DistanceConsistency().check_batch(6)
    FeatureMatching(normalise="cosine").check_batch(1)
    with pytest.raises(ConfigError, match="normalise: variance is over the samples of a process's micro-batch, which"):
        FeatureMatching(normalise="variance").check_batch(1)
