"""Measures of whole distributions: what each sees, in one domain and in pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from coupling.errors import ConfigError
from coupling.metrics import distances, probe
from coupling.metrics.distribution_metrics import (
    Diversity,
    FrechetDistance,
    KernelDistance,
    PrecisionRecall,
    SlicedWasserstein,
)
from coupling.metrics.features import open_features
from coupling.metrics.metric import Evaluation
from coupling.system.seeds import derive_seed
from tests.support.flat import flat
from tests.support.toy_domains import Drawn, opened

METRICS = [FrechetDistance, KernelDistance, PrecisionRecall, Diversity, SlicedWasserstein]
GRAIN = 0.05
SAMPLES = {"count": 400, "grain": GRAIN}
PLAIN = {"a": "plain", "b": "plain"}


@pytest.fixture(scope="module", autouse=True)
def quick(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "STEPS", 40)
        patch.setenv("COUPLING_DATA", str(tmp_path_factory.mktemp("data")))
        yield


class Noisy(Drawn):
    """Adds the data's noise; ``few``: draws one corner alone; ``far``: the negative."""

    def __init__(self, kinds, few=False, far=False, wrong=0.0):
        super().__init__(kinds, wrong)
        self.few, self.far = few, far

    def latent(self, count, seed=0):
        z = super().latent(count, seed)
        return z.new_zeros(count, 3) if self.few else z

    def generate(self, z, domains=None):
        random = torch.Generator().manual_seed(1)
        drawn = super().generate(z, domains)
        noise = GRAIN * torch.rand(len(z), 1, 8, 8, generator=random)
        noisy = {name: x - x.sign() * noise for name, x in drawn.items()}
        return {name: x.neg() if self.far else x for name, x in noisy.items()}


def measure(kind, model, data=None, domain="a", **options):
    data = data or opened(SAMPLES, {**SAMPLES, "transform": "negative"})
    metric = kind(
        **{"domain": [domain] if isinstance(domain, str) else domain, "count": 100, "features": "random"} | options
    )
    metric.check(data)
    evaluation = Evaluation(model, data, seed=0)
    return flat(metric, evaluation), evaluation


@pytest.mark.parametrize("kind", METRICS)
def test_a_good_model_is_like_real_samples_and_a_bad_one_is_not(kind):
    good, evaluation = measure(kind, Noisy(PLAIN))
    bad, _ = measure(kind, Noisy(PLAIN, few=True, far=kind is not Diversity))
    name = f"{kind.kind}/a"
    assert next(iter(good)) == name
    sign = 1 if kind.better == "lower" else -1
    assert sign * bad[name] > sign * good[name]
    assert abs(good[name] - good[f"{name}/real"]) < abs(bad[name] - bad[f"{name}/real"])
    assert good[f"{name}/real"] == bad[f"{name}/real"]
    notes = evaluation.notes
    assert notes["samples"] == 100
    assert {"network", "size", "resizer"} <= set(notes["features"]["a"])


def test_the_reference_and_the_other_real_samples_are_apart_and_of_the_domains_own_part():
    data = opened(SAMPLES, SAMPLES)
    metric = FrechetDistance(domain=["a"], count=1000, features="pixels")
    seen = []
    data["a"].dataset.__class__ = type("Spy", (type(data["a"].dataset),), {
        "batch": lambda self, indices: (seen.append(list(indices)), super(type(self), self).batch(indices))[1]
    })  # fmt: skip
    metric.check(data)
    metric.prepare(data, 0)
    read = [indices for indices in seen if len(indices) == 100]
    assert len(read) == 2  # 1000 are not there: half of the domain's 200 each
    assert sorted(read[0] + read[1]) == data["a"].indices.tolist()


def test_values_are_those_of_the_functions():
    data = opened(SAMPLES, SAMPLES)
    model = Noisy(PLAIN)
    metric = FrechetDistance(domain=["a"], count=60, features="pixels")
    drawn = []
    generate = model.generate
    model.generate = lambda z, domains: drawn.append(generate(z, domains)) or drawn[-1]
    value = flat(metric, Evaluation(model, data, 0))["frechet-distance/a"]
    samples = torch.cat([x["a"] for x in drawn]).flatten(1)
    order = np.random.default_rng(derive_seed(0, "real samples", "squares:pool")).permutation(200)
    real = data["a"].read(np.sort(order[:60])).flatten(1)
    spread = real.var(0).mean().sqrt()
    expected = distances.frechet((real - real.mean(0)) / spread, (samples - real.mean(0)) / spread)
    assert value == pytest.approx(expected, rel=1e-4)


def test_a_joint_distance_is_that_of_concatenated_features_from_true_pairs():
    """By hand: sample for sample, the eigenvalues of the product, and what the transform makes of a real sample."""
    data = opened(SAMPLES, {**SAMPLES, "transform": "negative"})
    model = Noisy(PLAIN)
    networks = {domain: open_features("pixels", data[domain]) for domain in "ab"}
    order = np.random.default_rng(derive_seed(0, "real samples", "squares:pool")).permutation(200)
    real = [data["a"].dataset[int(data["a"].indices[n])][None] for n in order[:90]]
    pairs = {"a": real, "b": [-x for x in real]}
    z = model.latent(90, derive_seed(0, "distribution"))
    drawn = {"ab"[k]: x.split(1) for k, x in enumerate(model.generate(z, ["a", "b"]).values())}
    columns = {"pairs": [], "drawn": []}
    for domain in "ab":
        wanted, made = (
            np.concatenate([networks[domain].extract(x).double().numpy() for x in samples[domain]])
            for samples in (pairs, drawn)
        )
        middle, scale = wanted.mean(0), wanted.var(0, ddof=1).mean() ** 0.5
        columns["pairs"].append((wanted - middle) / scale)
        columns["drawn"].append((made - middle) / scale)
    one, other = (np.concatenate(part, 1) for part in columns.values())
    a, b = np.cov(one.T), np.cov(other.T)
    crossed = np.linalg.eigvals(a @ b).real.clip(0) ** 0.5
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * crossed.sum()
    values, evaluation = measure(FrechetDistance, model, data, ["a", "b"], count=90, features="pixels")
    assert values["frechet-distance/a/b"] == pytest.approx(expected, rel=1e-3)
    assert evaluation.notes["reference"] == "true pairs of 90 samples of 'a'"
    values, _ = measure(PrecisionRecall, model, data, ["a", "b"], count=90, features="pixels")
    near = np.sort(np.linalg.norm(one[:, None] - one[None], axis=2), 1)[:, 3]
    precision = np.mean([(np.linalg.norm(one - x, axis=1) <= near).any() for x in other])
    assert values["precision-recall/a/b/precision"] == pytest.approx(precision)


@pytest.mark.parametrize("kind", [FrechetDistance, KernelDistance, PrecisionRecall, SlicedWasserstein])
def test_the_joint_distribution_sees_wrong_pairs_that_no_domain_alone_does(kind):
    """Each domain's samples are right; only who goes with whom is wrong."""

    class Pairs(Noisy):
        def generate(self, z, domains=None):
            drawn = super().generate(z, domains)
            return {name: -x if name == "b" else x for name, x in drawn.items()}

    right, _ = measure(kind, Pairs(PLAIN), domain=["a", "b"])
    wrong, _ = measure(kind, Pairs(PLAIN, wrong=1.0), domain=["a", "b"])
    name = f"{kind.kind}/a/b"
    sign = 1 if kind.better == "lower" else -1
    assert sign * wrong[name] > sign * right[name]
    assert sign * right[f"{name}/unrelated"] > sign * right[name]
    assert abs(wrong[name] - right[name]) > 3 * abs(right[name] - right[f"{name}/real"])


def test_a_count_above_the_number_of_samples_is_reported(capsys):
    measure(SlicedWasserstein, Noisy(PLAIN), count=100)
    assert "count" not in capsys.readouterr().err
    _, evaluation = measure(SlicedWasserstein, Noisy(PLAIN), count=5000)
    assert "count is 5,000, but 'a' has 200 samples" in capsys.readouterr().err
    assert evaluation.notes["samples"] == 100


def test_domains_without_true_pairs_are_rejected():
    data = opened(SAMPLES, {**SAMPLES, "pool": "else"})
    with pytest.raises(ConfigError, match="domain: true pairs of a, b are unknown"):
        measure(FrechetDistance, Noisy(PLAIN), data, domain=["a", "b"])


def test_precision_and_recall_say_which_is_missing():
    few, _ = measure(PrecisionRecall, Noisy(PLAIN, few=True))
    name = "precision-recall/a"
    assert few[f"{name}/recall"] < 0.5
    assert few[name] == pytest.approx(
        2 / (1 / few[f"{name}/precision"] + 1 / few[f"{name}/recall"]) if few[f"{name}/precision"] else 0
    )


def test_the_same_again_and_again_is_no_diversity():
    class Same(Noisy):
        def generate(self, z, domains=None):
            return {name: x[:1].expand_as(x) for name, x in super().generate(z, domains).items()}

    values, _ = measure(Diversity, Noisy(PLAIN))
    assert values["diversity/a"] == pytest.approx(1, abs=0.1)
    assert values["diversity/a/duplicates"] < 0.1
    values, _ = measure(Diversity, Noisy(PLAIN, few=True))
    assert values["diversity/a"] < 0.5
    values, _ = measure(Diversity, Same(PLAIN))
    assert values["diversity/a"] == pytest.approx(0, abs=1e-3)
    assert values["diversity/a/duplicates"] == 1


def test_sliced_wasserstein_takes_pictures_of_any_size():
    data = opened({"count": 40, "side": 72}, {"pool": "else"})
    metric = SlicedWasserstein(domain=["a"], count=10)
    metric.prepare(data, 0)
    assert metric._reference[0].shape == (10, 512)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": ["c"]}, "domain: no domain is called 'c'"),
        ({"domain": ["a", "a"]}, "names a domain twice"),
        ({"domain": ["a"], "features": "inceptoin"}, "features: 'inceptoin' is unknown; give one of"),
        ({"domain": ["a"], "neighbours": 60}, "neighbours: 60 among 50 samples; give fewer"),
    ],
)
def test_options_that_do_not_fit_are_rejected(options, message):
    with pytest.raises(ConfigError, match=message):
        PrecisionRecall(**{"count": 50, **options}).check(opened(SAMPLES, SAMPLES))
