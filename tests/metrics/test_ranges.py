"""Every metric's value lies in its stated range, or is undefined with a reason, whatever finite numbers it is given."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coupling.config.components import MetricConfig
from coupling.data.dataset import Dataset
from coupling.data.domain_data import DomainData
from coupling.domain import Domain
from coupling.metrics.accuracy import Accuracy, Information
from coupling.metrics.agreement import AttributeAgreement, LabelAgreement
from coupling.metrics.depth_error import DepthError
from coupling.metrics.distribution_metrics import (
    Diversity,
    FrechetDistance,
    KernelDistance,
    PrecisionRecall,
    SlicedWasserstein,
)
from coupling.metrics.metric import Metric, describe_range
from coupling.metrics.pixel_agreement import PixelAgreement
from coupling.metrics.scoring import score_metric
from coupling.plugins import Plugins, installed
from coupling.runs.measured import Undefined

COUNT = 6
SHAPE = (1, 2, 2)
DISTRIBUTIONS = [FrechetDistance, KernelDistance, PrecisionRecall, Diversity, SlicedWasserstein]

numbers = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 1e-30, 1e-7, 1 + 1e-7]),  # ties, zeros and differences of rounding alone
    st.floats(-1e6, 1e6, width=32),
)


def batches(count, values=numbers):
    """Samples (count, *SHAPE)."""
    return arrays(np.float32, (count, *SHAPE), elements=values).map(torch.from_numpy)


class Given(Dataset):
    """Given samples, with given labels."""

    shape = SHAPE
    range = (-1.0, 1.0)
    source = "given"

    def __init__(self, samples, labels=None):
        self.samples = samples
        self.given = labels

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]

    @property
    def labels(self):
        return self.given


class Model:
    """Generates given samples, whatever z; classifies by given probabilities."""

    step = 1
    discriminator = None
    device = torch.device("cpu")
    losses = {}  # noqa: RUF012  (read only)

    def __init__(self, generated, probabilities=None):
        self.generated = generated
        self.probabilities = probabilities

    def latent(self, count, seed):
        return torch.arange(count, dtype=torch.float32)[:, None]

    def generate(self, z, domains):
        return {domain: self.generated[domain][z[:, 0].long()] for domain in domains}

    def classify(self, samples, domain):
        return self.probabilities[: len(samples)]


def data_of(**samples):
    """Domains of given samples."""
    return {
        name: DomainData(Domain(name, SHAPE, (-1.0, 1.0)), Given(*given), (1, 1), [], seed=0)
        for name, given in samples.items()
    }


def score(metric, model, data):
    """The score, after checking that every value is in range, or undefined with a reason."""
    made = score_metric(metric, MetricConfig(name="made"), model, data, 0)
    low, high = metric.range
    values = [made.value, *made.measured.floors.values(), *made.measured.ceilings.values()]
    for value in values:
        assert isinstance(value, Undefined) or low <= value <= high, (made.name, value)
    for name, value in made.values.items():
        assert math.isfinite(value) or made.undefined[name], name
    assert made.record["value"] == (made.value if math.isfinite(made.value) else None)
    assert made.record.get("undefined", {}) == made.undefined
    return made


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
@settings(max_examples=40, deadline=None)
@given(real=batches(2 * COUNT), generated=batches(COUNT))
def test_distances_and_diversity_lie_in_their_ranges(kind, real, generated):
    made = score(kind(domain=["a"], count=COUNT, features="pixels"), Model({"a": generated}), data_of(a=(real,)))
    if kind is SlicedWasserstein:
        assert made.undefined == {}
    if kind is PrecisionRecall and not made.undefined:
        assert all(0 <= value <= 1 for value in made.values.values())


@settings(max_examples=40, deadline=None)
@given(real=batches(8), generated=batches(8), other=batches(8))
def test_pixel_agreement_lies_in_its_range(real, generated, other):
    metric = PixelAgreement(from_="a", to="b", count=8, tolerances=[0.1])
    made = score(metric, Model({"a": generated, "b": other}), data_of(a=(real,), b=(other,)))
    assert all(0 <= value <= 1 for value in made.values.values())


@settings(max_examples=40, deadline=None)
@given(
    probabilities=arrays(np.float64, (COUNT, 3), elements=st.floats(0, 1)).filter(lambda p: (p.sum(1) > 0).all()),
    labels=arrays(np.int64, COUNT, elements=st.integers(0, 4)),
)
def test_accuracy_and_information_lie_in_their_ranges(probabilities, labels):
    p = torch.from_numpy(probabilities / probabilities.sum(1, keepdims=True))
    data = data_of(a=(torch.zeros(COUNT, *SHAPE), torch.from_numpy(labels)))
    assert score(Accuracy(domain="a"), Model({}, p), data).undefined == {}
    information = score(Information(domain="a"), Model({}, p), data)
    assert information.value <= math.log(3) + 1e-9
    assert score(Information(), Model({}, p), data).value == information.value


classes = arrays(np.int64, COUNT, elements=st.integers(0, 2)).map(torch.from_numpy)


@settings(max_examples=40, deadline=None)
@given(one=classes, other=classes, real=st.floats(0, 1))
def test_agreement_lies_in_its_range(one, other, real):
    zeros = {domain: torch.zeros(COUNT, *SHAPE) for domain in "ab"}
    probes = {
        domain: SimpleNamespace(
            accuracy={domain: {"class": real, "hair": real}}, record={}, answer={"class": k, "hair": k}
        )
        for domain, k in (("a", one), ("b", other))
    }
    label = LabelAgreement(from_="a", to="b", count=COUNT)
    attribute = AttributeAgreement(from_="a", to="b", count=COUNT)
    attribute._common = ["class", "hair"]
    for metric in (label, attribute):
        metric._probes = metric._seconds = {domain: _Answering(probe) for domain, probe in probes.items()}
        made = score(metric, Model(zeros), data_of(a=(zeros["a"],), b=(zeros["b"],)))
        assert all(0 <= value <= 1 for value in made.values.values())
        assert made.values["made/a/b/same-image"] == 1


class _Answering:
    """A probe that gives the same answer for any samples."""

    def __init__(self, probe):
        self.accuracy, self.record, self.answer = probe.accuracy, probe.record, probe.answer

    def __call__(self, samples):
        return self.answer


@settings(max_examples=60, deadline=None)
@given(
    colour=batches(4), depth=batches(4), estimated=batches(4, st.floats(0, 1, width=32)),
    metres=st.sampled_from([(None, None), (0.0, 10.0), (0.5, 4.0)]), missing=st.sampled_from([0.0, 0.01, 0.9]),
)  # fmt: skip
def test_depth_error_lies_in_its_range(colour, depth, estimated, metres, missing):
    metric = DepthError(from_="a", to="b", count=4, missing=missing, near=metres[0], far=metres[1])
    data = data_of(a=(colour,), b=(depth,))
    metric.pools = data
    metric._probe = metric._second = _Answering(SimpleNamespace(accuracy={}, record={}, answer=estimated))
    metric._real = dict.fromkeys(("error", "absolute", "relative", "compared"), 0.0)
    made = score(metric, Model({"a": colour, "b": depth}), data)
    assert 0 <= made.values["made/a/b/compared"] <= 1
    found = {name: value for name, value in made.values.items() if not isinstance(value, Undefined)}
    assert all(value >= 0 for name, value in found.items() if not name.endswith("/way"))
    assert all(value <= 1 for name, value in found.items() if name.endswith("/way"))


def test_every_metric_of_the_package_states_its_range():
    registry = installed().registry
    stated = {name: describe_range(registry.components["metric", name].make.range) for name in registry.names("metric")}
    shares = ("accuracy", "attribute-agreement", "label-agreement", "pixel-agreement", "precision-recall")
    expected = dict.fromkeys(shares, "0 to 1")
    expected |= dict.fromkeys(
        ("depth-error", "diversity", "frechet-distance", "information", "sliced-wasserstein"), "0 or more"
    )
    assert {name: stated[name] for name in (*expected, "kernel-distance")} == {
        **expected, "kernel-distance": "any number"
    }  # fmt: skip
    assert describe_range((-1.0, 1.0)) == "-1 to 1"
    assert describe_range((-math.inf, 0.0)) == "0 or less"
    assert describe_range(Metric.range) == "any number"


@pytest.mark.parametrize("kind", [FrechetDistance, KernelDistance, PrecisionRecall, Diversity])
def test_real_samples_that_do_not_differ_leave_a_metric_undefined(kind):
    """Once, such a value was divided by next to nothing: 7e13."""
    real, generated = torch.full((2 * COUNT, *SHAPE), 0.3), torch.rand(COUNT, *SHAPE)
    made = score(kind(domain=["a"], count=COUNT, features="random"), Model({"a": generated}), data_of(a=(real,)))
    assert made.undefined == {"made/a": "real samples of 'a' do not differ in their features"}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("kind", [*DISTRIBUTIONS, PixelAgreement])
def test_generated_samples_that_are_not_finite_leave_a_metric_undefined(kind, bad):
    real, generated = torch.rand(2 * COUNT, *SHAPE), torch.rand(COUNT, *SHAPE)
    generated[1, 0, 0, 0] = bad
    options = {"from_": "b", "to": "a"} if kind is PixelAgreement else {"domain": ["a"], "features": "random"}
    metric = kind(count=COUNT, **options)
    made = score(metric, Model({"a": generated, "b": real}), data_of(a=(real,), b=(real,)))
    assert list(made.undefined.values()) == ["generated samples of 'a' are not finite numbers"]


def test_probabilities_that_are_not_finite_leave_the_classifiers_metrics_undefined():
    data = data_of(a=(torch.zeros(2, *SHAPE), torch.zeros(2, dtype=torch.int64)))
    for metric in (Accuracy(domain="a"), Information(domain="a")):
        made = score(metric, Model({}, torch.full((2, 3), math.nan)), data)
        assert list(made.undefined.values()) == ["class probabilities of 'a' are not finite numbers"]


def test_depth_without_a_known_pixel_is_undefined():
    metric = DepthError(from_="a", to="b", count=4, missing=0.5)
    dark = torch.full((4, *SHAPE), -1.0)
    data = data_of(a=(dark,), b=(dark,))
    metric.pools = data
    metric._probe = metric._second = _Answering(SimpleNamespace(accuracy={}, record={}, answer=torch.zeros(4, *SHAPE)))
    metric._real = {"error": 0.1, "absolute": 0.1, "compared": 1.0}
    made = score(metric, Model({"a": dark, "b": dark}), data)
    assert made.undefined["made/a/b"] == "the depth of every pixel is missing"
    assert made.values["made/a/b/compared"] == 0


def test_the_page_on_metrics_gives_the_same_ranges():
    page = (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8")
    registry = Plugins(entry_points=False).registry
    for name in registry.names("metric"):
        section = page.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
        assert f"| range | {describe_range(registry.components['metric', name].make.range)}" in section, name
