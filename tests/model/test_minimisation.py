"""Batched L-BFGS against scipy's, row by row, against the answer where it is known, and against itself, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling.model.minimisation import minimise

ROWS, SIZE = 20, 12


def rosenbrock(steepness):
    def value(x, rows):
        bend = steepness[rows][:, None] * (x[:, 1:] - x[:, :-1] ** 2) ** 2
        return (bend + (1 - x[:, :-1]) ** 2).sum(1)

    return value


def network():
    """A distance to what a small network with kinks draws, as inversion has it."""
    torch.manual_seed(3)
    layers = torch.nn.Sequential(
        torch.nn.Linear(SIZE, 30), torch.nn.PReLU(), torch.nn.Linear(30, 40), torch.nn.Tanh()
    ).double()
    targets = layers(torch.randn(ROWS, SIZE, dtype=torch.float64)).detach()
    return lambda x, rows: (layers(x) - targets[rows]).square().sum(1)


def problems():
    source = torch.Generator().manual_seed(1)
    start = torch.randn(ROWS, SIZE, dtype=torch.float64, generator=source)
    steepness = torch.rand(ROWS, dtype=torch.float64, generator=source) * 100 + 1
    return {"rosenbrock": (rosenbrock(steepness), start), "network": (network(), start)}


@pytest.mark.parametrize("name", ["rosenbrock", "network"])
def test_as_good_and_as_cheap_as_scipy_row_by_row(name):
    optimize = pytest.importorskip("scipy.optimize")
    objective, start = problems()[name]
    found = minimise(objective, start, 1000, gradient=1e-6, decrease=0)
    evaluations = 0
    values = []
    for row in range(ROWS):

        def value(x, row=row):
            x = torch.tensor(x[None], requires_grad=True)
            height = objective(x, torch.tensor([row]))
            (gradient,) = torch.autograd.grad(height.sum(), x)
            return height.item(), gradient[0].numpy()

        options = {"maxiter": 1000, "maxfun": 10_000, "gtol": 1e-6, "ftol": 0}
        reference = optimize.minimize(value, start[row].numpy(), jac=True, method="L-BFGS-B", options=options)
        evaluations += reference.nfev
        values.append(reference.fun)
    assert np.median(found.value.numpy() - values) < 1e-9
    assert (found.value.numpy() < np.array(values) + 1e-6).mean() >= 0.9  # from a few starts to another valley
    assert found.evaluations < 1.5 * evaluations


def test_better_than_torch_which_takes_all_rows_for_one_problem():
    """With as many evaluations of every row, and badly scaled rows."""
    scales = torch.logspace(-2, 2, ROWS, dtype=torch.float64)
    objective, start = problems()["rosenbrock"]

    def scaled(x, rows):
        return scales[rows] * objective(x, rows)

    found = minimise(scaled, start, 60, gradient=0, decrease=0)
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([x], max_iter=60, max_eval=found.evaluations // ROWS, line_search_fn="strong_wolfe",
                                  tolerance_grad=0, tolerance_change=0)  # fmt: skip
    rows = torch.arange(ROWS)

    def closure():
        optimizer.zero_grad()
        total = scaled(x, rows).sum()
        total.backward()
        return total

    optimizer.step(closure)
    shares = found.value / scales, scaled(x, rows).detach() / scales
    assert shares[0].median() < 0.1 * shares[1].median()


def test_the_known_minimum_of_quadratics():
    source = torch.Generator().manual_seed(0)
    root = torch.randn(ROWS, SIZE, SIZE, dtype=torch.float64, generator=source)
    curvature = root @ root.transpose(1, 2) + 0.1 * torch.eye(SIZE, dtype=torch.float64)
    tilt = torch.randn(ROWS, SIZE, dtype=torch.float64, generator=source)

    def objective(x, rows):
        return 0.5 * torch.einsum("bi,bij,bj->b", x, curvature[rows], x) - (tilt[rows] * x).sum(1)

    found = minimise(objective, torch.zeros(ROWS, SIZE, dtype=torch.float64), 500, gradient=1e-9, decrease=0)
    torch.testing.assert_close(found.x, torch.linalg.solve(curvature, tilt), atol=1e-6, rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=6, unique=True), st.integers(0, 25))
def test_a_row_does_not_depend_on_the_others(chosen, iterations):
    rows = torch.tensor(chosen)
    for objective, start in problems().values():
        whole = minimise(objective, start, iterations)
        part = minimise(lambda x, numbers, objective=objective: objective(x, rows[numbers]), start[rows], iterations)
        torch.testing.assert_close(part.value, whole.value[rows], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(part.x, whole.x[rows], rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([torch.float32, torch.float64]))
def test_it_never_goes_up_and_leaves_the_start_as_it_was(seed, kind):
    start = torch.randn(6, SIZE, generator=torch.Generator().manual_seed(seed)).to(kind) * 3
    before = start.clone()
    objective = rosenbrock(torch.linspace(1, 100, 6).to(kind))
    first = objective(start, torch.arange(6))
    found = [minimise(objective, start, iterations) for iterations in (0, 3, 30)]
    assert torch.equal(start, before)
    assert torch.equal(found[0].x, start)
    for earlier, later in zip([first, *(f.value for f in found)], [f.value for f in found], strict=False):
        assert (later <= earlier * (1 + 1e-6)).all()
    for result in found:
        torch.testing.assert_close(result.value, objective(result.x, torch.arange(6)))


def test_values_that_are_not_finite_are_too_high():
    """log is none below 0: a step over the edge is taken back."""

    def objective(x, rows):
        return (x - 1e-3 * x.log()).sum(1)

    found = minimise(objective, torch.tensor([[0.5], [3.0]]), 100)
    torch.testing.assert_close(found.x, torch.full((2, 1), 1e-3), rtol=1e-2, atol=0)


def test_rows_that_are_done_cost_nothing():
    """One row is at its minimum from the beginning."""
    asked = []

    def objective(x, rows):
        asked.append(rows.tolist())
        return (x - torch.tensor([[0.0], [5.0]])[rows]).square().sum(1)

    found = minimise(objective, torch.zeros(2, 1), 20)
    assert asked[0] == [0, 1]
    assert all(rows == [1] for rows in asked[1:])
    torch.testing.assert_close(found.x, torch.tensor([[0.0], [5.0]]))
    assert found.evaluations == sum(map(len, asked))


def test_no_rows_at_all():
    found = minimise(lambda x, rows: x.sum(1), torch.zeros(0, 3))
    assert found.x.shape == (0, 3)
    assert found.value.shape == (0,)
