"""Distances between sets of features, held against slow references and against what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling.metrics import distances


def drawn(count, size, seed=0, scale=1.0, shift=0.0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) * scale + shift


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks smaller than the sets, so that what is added up over blocks is tested."""
    monkeypatch.setattr(distances, "_BLOCK", 7)


def test_frechet_of_gaussians_whose_distance_is_known():
    """|m - n|^2 + sum over axes of (s - t)^2 for diagonal covariances; here they are exact, not drawn."""
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).double()  # covariance 8/7 on the diagonal
    unit = corners * (7 / 8) ** 0.5
    assert torch.allclose(distances.covariance(unit), torch.eye(3, dtype=torch.float64))
    s, t = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 1.0])
    expected = 5.0**2 + float((s - t).square().sum())
    assert distances.frechet(unit * s, unit * t + torch.tensor([0.0, 3.0, 4.0])) == pytest.approx(expected)


def test_frechet_against_the_square_root_of_a_matrix():
    one, other = drawn(60, 5) @ drawn(5, 5, 1), drawn(50, 5, 2, 2.0, 1.0)
    a, b = (np.cov(x.double().numpy(), rowvar=False) for x in (one, other))
    means = (one.double().mean(0) - other.double().mean(0)).square().sum().item()
    expected = means + np.trace(a + b - 2 * np.real(scipy.linalg.sqrtm(a @ b)))
    assert distances.frechet(one, other) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_fewer_samples_than_numbers():
    """Singular covariances, as of any small set."""
    x = drawn(6, 20)
    assert distances.frechet(x, x) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(distances.frechet(x, drawn(5, 20, 1)))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 6), st.integers(0, 1000))
def test_kernel_distance_by_a_double_loop(n, m, size, seed):
    x, y = drawn(n, size, seed).double(), drawn(m, size, seed + 1, 1.5).double()

    def k(a, b):
        return (float(a @ b) / size + 1) ** 3

    def within(z):
        pairs = [k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]
        return sum(pairs) / len(pairs)

    across = sum(k(a, b) for a in x for b in y) / (n * m)
    assert distances.kernel(x, y) == pytest.approx(within(x) + within(y) - 2 * across, rel=1e-9, abs=1e-9)


def test_kernel_distance_is_unbiased():
    """0 in the mean over draws of one distribution, however few the samples; the Fréchet distance is not."""
    found = [distances.kernel(drawn(20, 4, s), drawn(20, 4, s + 5000)) for s in range(300)]
    error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found)) < 4 * error
    assert np.mean([distances.frechet(drawn(20, 4, s), drawn(20, 4, s + 5000)) for s in range(50)]) > 0.3


@settings(deadline=None, max_examples=30)
@given(st.integers(5, 25), st.integers(5, 25), st.integers(1, 4), st.integers(0, 1000))
def test_precision_and_recall_by_brute_force(n, m, k, seed):
    real, fake = drawn(n, 3, seed).double(), drawn(m, 3, seed + 1, 1.0, 0.7).double()

    def radius(points, i):
        return sorted(float((points[i] - other).norm()) for j, other in enumerate(points) if j != i)[k - 1]

    def covered(points, by):
        radii = [radius(by, i) for i in range(len(by))]
        return np.mean([any(float((p - q).norm()) <= r for q, r in zip(by, radii, strict=True)) for p in points])

    expected = covered(fake, real), covered(real, fake)
    assert distances.precision_recall(real, fake, k) == pytest.approx(expected)


def test_missing_kinds_lower_recall_and_false_kinds_lower_precision():
    left, right = drawn(40, 2, 0, 0.1, -5.0), drawn(40, 2, 1, 0.1, 5.0)
    real = torch.cat([left, right])
    missing = distances.precision_recall(real, drawn(40, 2, 2, 0.1, 5.0))
    made_up = distances.precision_recall(left, torch.cat([drawn(40, 2, 3, 0.1, -5.0), right]))
    assert missing[0] > 0.9
    assert missing[1] == pytest.approx(0.5, abs=0.05)
    assert made_up[0] == pytest.approx(0.5, abs=0.05)
    assert made_up[1] > 0.9


def test_neighbours_and_mean_distance_by_brute_force():
    x = drawn(23, 4).double()
    apart = torch.stack([(x - row).norm(dim=1) for row in x])
    for k in (1, 3):
        expected = apart.sort(1).values[:, k]
        assert torch.allclose(distances.neighbour_distances(x, k), expected, atol=1e-6)
    assert distances.mean_distance(x) == pytest.approx(float(apart.sum() / (23 * 22)), abs=1e-6)


def test_duplicates_have_a_neighbour_at_no_distance():
    x = drawn(5, 3, scale=100.0)
    assert distances.neighbour_distances(torch.cat([x, x])).max() < 1e-4


def test_sliced_wasserstein_against_numpy():
    one, other = drawn(30, 4), drawn(30, 4, 1, 2.0)
    directions = distances.directions(4, 16, torch.Generator().manual_seed(0))
    assert torch.allclose(directions.norm(dim=0), torch.ones(16))
    squares = []
    for direction in directions.numpy().T.astype(float):
        a, b = (np.sort(x.numpy().astype(float) @ direction) for x in (one, other))
        squares.append(np.mean((a - b) ** 2))
    found = distances.sliced_wasserstein(one @ directions, other @ directions)
    assert found == pytest.approx(np.mean(squares) ** 0.5, rel=1e-5)


def test_sliced_wasserstein_of_a_shift():
    """A shift by v is |v · direction| along each direction: |v| / sqrt(size) in the mean square."""
    x, shift = drawn(10, 50), torch.full((50,), 2.0)
    directions = distances.directions(50, 4000, torch.Generator().manual_seed(0))
    found = distances.sliced_wasserstein(x @ directions, (x + shift) @ directions)
    assert found == pytest.approx(2.0, rel=0.05)
