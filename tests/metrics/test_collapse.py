"""The measure of collapse, held against plain loops over pairs."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling.metrics.collapse import relative_diversity
from coupling.runs.measured import Undefined


def mean_of_pairs(samples):
    pairs = list(itertools.permutations(samples.double().flatten(1), 2))
    return sum(float((one - other).norm()) for one, other in pairs) / len(pairs)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), real=st.integers(2, 9), generated=st.integers(2, 9), scale=st.floats(0, 10))
def test_it_is_the_ratio_of_mean_distances_of_pairs(seed, real, generated, scale):
    random = torch.Generator().manual_seed(seed)
    one = torch.rand(real, 1, 3, 3, generator=random)
    other = 5 + scale * torch.rand(generated, 1, 3, 3, generator=random)
    assert relative_diversity(one, other) == pytest.approx(mean_of_pairs(other) / mean_of_pairs(one), abs=1e-6)


def test_collapsed_samples_have_0_and_equally_varied_ones_1():
    random = torch.Generator().manual_seed(0)
    real, generated = torch.rand(64, 8, generator=random), torch.rand(64, 8, generator=random)
    assert relative_diversity(real, generated) == pytest.approx(1, abs=0.05)
    assert relative_diversity(real, generated[:1].expand(64, 8)) == pytest.approx(0, abs=1e-6)
    assert relative_diversity(real, 1e-3 * generated) == pytest.approx(1e-3, rel=0.05)


def test_a_few_samples_give_the_same_on_average():
    """A batch of training estimates the same number as thousands of samples do."""
    random = torch.Generator().manual_seed(0)
    real, generated = torch.rand(2000, 4, generator=random), 0.5 * torch.rand(2000, 4, generator=random)
    batches = [relative_diversity(a, b) for a, b in zip(real.split(8), generated.split(8), strict=True)]
    assert sum(batches) / len(batches) == pytest.approx(relative_diversity(real, generated), rel=0.05)


@pytest.mark.parametrize(
    ("real", "generated", "reason"),
    [
        (torch.rand(1, 3), torch.rand(4, 3), "there are fewer than 2 samples"),
        (torch.rand(4, 3), torch.rand(1, 3), "there are fewer than 2 samples"),
        (torch.full((4, 3), 0.7), torch.rand(4, 3), "the real samples do not differ"),
        (torch.full((4, 3), 0.7) + torch.tensor([[0.0], [1e-7], [0.0], [0.0]]), torch.rand(4, 3), "do not differ"),
        (torch.tensor([[1.0], [math.nan]]), torch.rand(4, 1), "real samples are not finite numbers"),
        (torch.rand(4, 1), torch.tensor([[1.0], [math.inf]]), "generated samples are not finite numbers"),
    ],
)
def test_without_a_value_it_gives_the_reason(real, generated, reason):
    value = relative_diversity(real, generated)
    assert isinstance(value, Undefined)
    assert reason in value.reason


def test_gradients_are_not_needed():
    assert relative_diversity(torch.rand(4, 3), torch.rand(4, 3, requires_grad=True)) > 0
