"""L-BFGS on many small problems at once, a row each.

torch.optim.LBFGS takes all rows for one problem: one step length and one curvature for all, so that the worst row
holds up the others and none gets its own. Here every row has its own history, step and end (Nocedal & Wright,
*Numerical Optimization*, algorithm 7.4, row by row); what is done in one go is only the arithmetic. The line search
brackets a step that meets the weak Wolfe conditions (Lewis & Overton 2013, algorithm 2.6), which suits networks: it
needs no second derivative, and their activations have kinks. Rows that are done are no longer computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor], Tensor]
"""(x (B, n), numbers of its rows (B,)) to values (B,); differentiable, and a value depends on its own row alone."""


_DECREASE = 1e-4
"""Share of the decrease that the slope promises, which a step must bring (Armijo)."""


_FLATTER = 0.9
"""Share of the slope, below which a step must bring it (Wolfe)."""


_TRIALS = 20
"""Steps tried along one direction."""


@dataclass(frozen=True)
class Minima:
    """Where each row ended."""

    x: Tensor
    """(B, n)"""
    value: Tensor
    """(B,)"""
    evaluations: int
    """Rows evaluated, all together: what it cost."""


@dataclass
class _Points:
    """Points of some rows: where, how high, how steep."""

    x: Tensor
    value: Tensor
    gradient: Tensor

    def of(self, rows: Tensor) -> _Points:
        return _Points(self.x[rows], self.value[rows], self.gradient[rows])

    def put(self, rows: Tensor, other: _Points) -> None:
        self.x[rows], self.value[rows], self.gradient[rows] = other.x, other.value, other.gradient


class _History:
    """The last steps of each row and how the gradient changed along them; rows that have none have zeros."""

    def __init__(self, like: Tensor, memory: int) -> None:
        rows, size = like.shape
        self.steps = like.new_zeros(memory, rows, size)
        self.changes = like.new_zeros(memory, rows, size)
        self.inverse = like.new_zeros(memory, rows)
        """1 / (step · change); 0: no such pair, which then does nothing."""
        self.scale = like.new_zeros(rows)
        """Of the initial inverse Hessian; 0: none known."""
        self.newest = -1

    def of(self, rows: Tensor) -> None:
        """Keep these rows alone."""
        self.steps, self.changes = self.steps[:, rows], self.changes[:, rows]
        self.inverse, self.scale = self.inverse[:, rows], self.scale[rows]

    def add(self, step: Tensor, change: Tensor) -> None:
        """Note a step (B, n); rows along which the gradient did not grow would make no positive Hessian: left out."""
        product = (step * change).sum(1)
        square = change.square().sum(1)
        good = product > torch.finfo(step.dtype).eps * square
        self.newest = (self.newest + 1) % len(self.steps)
        self.steps[self.newest] = torch.where(good[:, None], step, 0)
        self.changes[self.newest] = torch.where(good[:, None], change, 0)
        self.inverse[self.newest] = torch.where(good, 1 / torch.where(good, product, 1), 0)
        self.scale = torch.where(good, product / torch.where(good, square, 1), self.scale)

    def forget(self, rows: Tensor) -> None:
        """``rows``, a mask, start anew."""
        self.inverse[:, rows] = 0
        self.scale[rows] = 0

    def direction(self, gradient: Tensor) -> Tensor:
        """- inverse Hessian times gradient, by the two loops; where nothing is known the steepest descent."""
        order = [(self.newest - age) % len(self.steps) for age in range(len(self.steps))]
        found = gradient.clone()
        weights = {}
        for i in order:
            weights[i] = self.inverse[i] * (self.steps[i] * found).sum(1)
            found -= weights[i][:, None] * self.changes[i]
        found *= torch.where(self.scale > 0, self.scale, 1)[:, None]
        for i in reversed(order):
            back = self.inverse[i] * (self.changes[i] * found).sum(1)
            found += (weights[i] - back)[:, None] * self.steps[i]
        return -found


class _Evaluations:
    """The objective with its gradient, and a count of the rows it was asked for."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.count = 0

    def __call__(self, x: Tensor, rows: Tensor) -> _Points:
        self.count += len(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = self.objective(x, rows)
            (gradient,) = torch.autograd.grad(values.sum(), x)
        return _Points(x.detach(), values.detach(), gradient)


def minimise(
    objective: Objective,
    start: Tensor,
    iterations: int = 100,
    *,
    memory: int = 10,
    gradient: float = 1e-5,
    decrease: float = 1e-9,
) -> Minima:
    """Minimise each row of ``start`` (B, n) for itself.

    A row ends after ``iterations``, where no number of its gradient is above ``gradient``, where an iteration
    lowered its value by less than the share ``decrease``, or where no step lowers it. A value that is not finite
    counts as too high; the start's must be finite.
    """
    evaluate = _Evaluations(objective)
    rows = torch.arange(len(start), device=start.device)
    ended = evaluate(start.clone(), rows)
    now = ended.of(rows)
    history = _History(start, memory)
    _, rows = _kept(rows, now.gradient.abs().amax(1) > gradient)
    now = now.of(rows)
    history.of(rows)
    for _ in range(iterations):
        if not len(rows):
            break
        direction = history.direction(now.gradient)
        uphill = (direction * now.gradient).sum(1) >= 0
        if uphill.any():  # rounding; rare
            history.forget(uphill)
            direction = torch.where(uphill[:, None], -now.gradient, direction)
        first = torch.clamp(1 / now.gradient.abs().sum(1), max=1)
        length = torch.where(history.scale > 0, 1, first)
        after = _searched(evaluate, rows, now, direction, length)
        history.add(after.x - now.x, after.gradient - now.gradient)
        lowered = now.value - after.value
        ended.put(rows, after)
        going = (lowered > decrease * torch.maximum(now.value.abs(), after.value.abs())) & (
            after.gradient.abs().amax(1) > gradient
        )
        if going.all():
            now = after
            continue
        kept, rows = _kept(rows, going)
        now = after.of(kept)
        history.of(kept)
    return Minima(ended.x, ended.value, evaluate.count)


def _kept(rows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Places in ``rows`` where ``mask`` holds, and the rows there."""
    places = mask.nonzero()[:, 0]
    return places, rows[places]


def _searched(evaluate: _Evaluations, rows: Tensor, now: _Points, direction: Tensor, length: Tensor) -> _Points:
    """Each row's point along its direction that meets the weak Wolfe conditions, or the best that was found."""
    found = now.of(torch.arange(len(rows), device=rows.device))
    slope = (now.gradient * direction).sum(1)
    # The bracket: at ``low`` the value is low enough and still falls, at ``high`` it is too high or rises.
    low, high = torch.zeros_like(length), torch.full_like(length, torch.inf)
    low_value, low_slope, high_value = now.value.clone(), slope.clone(), torch.full_like(length, torch.inf)
    searching = torch.arange(len(rows), device=rows.device)
    for _ in range(_TRIALS):
        step = length[searching]
        tried = evaluate(now.x[searching] + step[:, None] * direction[searching], rows[searching])
        height, steepness = tried.value, (tried.gradient * direction[searching]).sum(1)
        enough = height <= now.value[searching] + _DECREASE * step * slope[searching]
        enough &= height.isfinite() & steepness.isfinite()
        good = searching[enough]
        found.put(good, tried.of(enough.nonzero()[:, 0]))
        low[good], low_value[good], low_slope[good] = step[enough], height[enough], steepness[enough]
        bad = searching[~enough]
        high[bad], high_value[bad] = step[~enough], height[~enough]
        searching = searching[~(enough & (steepness >= _FLATTER * slope[searching]))]
        if not len(searching):
            break
        bounds = (b[searching] for b in (low, high, low_value, low_slope, high_value))
        length[searching] = _next(*bounds)
    return found


def _next(low: Tensor, high: Tensor, low_value: Tensor, low_slope: Tensor, high_value: Tensor) -> Tensor:
    """Where to try next: beyond, while nothing is too far; then the parabola's lowest place, well inside the bracket.

    The parabola has the value and slope at ``low`` and the value at ``high``.
    """
    width = high - low
    curvature = high_value - low_value - low_slope * width
    share = torch.where(curvature > 0, -low_slope * width / (2 * curvature), 0.5).nan_to_num(0.5).clamp(0.1, 0.5)
    share = torch.where(high_value.isfinite(), share, 0.5)
    return torch.where(high.isfinite(), low + share * width, 2 * low)
