"""L-BFGS on many small problems at once; each row of a matrix is one problem.

torch.optim.LBFGS treats all rows as one problem, with one step length and one curvature, so that the worst row delays
all others. Here every row has its own history, step length and end (Nocedal & Wright, *Numerical Optimization*,
algorithm 7.4, for each row); only the arithmetic is shared. The line search brackets a step that meets the weak Wolfe
conditions (Lewis & Overton 2013, algorithm 2.6). It suits networks: it needs no second derivative, and activations
have kinks. Finished rows are no longer computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor], Tensor]
"""``objective(x, rows)``: x (B, n) and the numbers of its rows (B,) to values (B,).

It is differentiable, and each value depends on its own row alone."""


_DECREASE = 1e-4
"""Share of the decrease predicted by the slope that a step must reach (Armijo condition)."""


_FLATTER = 0.9
"""Share of the initial slope below which a step must bring the slope (Wolfe condition)."""


_TRIALS = 20
"""Largest number of steps tried along one direction."""


@dataclass(frozen=True)
class Minima:
    """The end point of each row."""

    x: Tensor
    """(B, n): the end points."""
    value: Tensor
    """(B,): the objective there."""
    evaluations: int
    """Number of rows evaluated in total."""


@dataclass
class _Points:
    """Points of some rows, with the values and gradients of the objective."""

    x: Tensor
    value: Tensor
    gradient: Tensor

    def of(self, rows: Tensor) -> _Points:
        return _Points(self.x[rows], self.value[rows], self.gradient[rows])

    def put(self, rows: Tensor, other: _Points) -> None:
        self.x[rows], self.value[rows], self.gradient[rows] = other.x, other.value, other.gradient


class _History:
    """The last steps of each row and the changes of its gradient along them; zeros stand for missing steps."""

    def __init__(self, like: Tensor, memory: int) -> None:
        rows, size = like.shape
        self.steps = like.new_zeros(memory, rows, size)
        self.changes = like.new_zeros(memory, rows, size)
        self.inverse = like.new_zeros(memory, rows)
        """1 / (step · change); 0 stands for a missing pair and has no effect."""
        self.scale = like.new_zeros(rows)
        """Scale of the initial inverse Hessian; 0: unknown."""
        self.newest = -1

    def of(self, rows: Tensor) -> None:
        """Keep only these rows."""
        self.steps, self.changes = self.steps[:, rows], self.changes[:, rows]
        self.inverse, self.scale = self.inverse[:, rows], self.scale[rows]

    def add(self, step: Tensor, change: Tensor) -> None:
        """Add a step (B, n) and the change of the gradient (B, n), except in rows whose curvature is not positive."""
        product = (step * change).sum(1)
        square = change.square().sum(1)
        good = product > torch.finfo(step.dtype).eps * square
        self.newest = (self.newest + 1) % len(self.steps)
        self.steps[self.newest] = torch.where(good[:, None], step, 0)
        self.changes[self.newest] = torch.where(good[:, None], change, 0)
        self.inverse[self.newest] = torch.where(good, 1 / torch.where(good, product, 1), 0)
        self.scale = torch.where(good, product / torch.where(good, square, 1), self.scale)

    def forget(self, rows: Tensor) -> None:
        """Delete the history of ``rows``, a mask (B,)."""
        self.inverse[:, rows] = 0
        self.scale[rows] = 0

    def direction(self, gradient: Tensor) -> Tensor:
        """The descent direction (B, n) by the two-loop recursion; steepest descent in rows without history."""
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
    """The objective with its gradient, and a count of the evaluated rows."""

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
    """Minimise the objective from each row of ``start``, (B, n), independently of the other rows.

    A row ends after ``iterations``, when all components of its gradient are at most ``gradient`` in magnitude, when an
    iteration lowers its value by less than the share ``decrease``, or when no step lowers it. Values that are not
    finite count as too high; the values at ``start`` must be finite. ``memory``: steps in the history.
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
        after = _searched(evaluate, rows, now, *_first_step(history, now.gradient))
        history.add(after.x - now.x, after.gradient - now.gradient)
        lowered = now.value - after.value
        ended.put(rows, after)
        unfinished = (lowered > decrease * torch.maximum(now.value.abs(), after.value.abs())) & (
            after.gradient.abs().amax(1) > gradient
        )
        now = after
        if not unfinished.all():
            kept, rows = _kept(rows, unfinished)
            now = after.of(kept)
            history.of(kept)
    return Minima(ended.x, ended.value, evaluate.count)


def _first_step(history: _History, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's direction (B, n) and the first step length (B,) along it."""
    direction = history.direction(gradient)
    uphill = (direction * gradient).sum(1) >= 0
    if uphill.any():  # rounding makes it so in rare cases
        history.forget(uphill)
        direction = torch.where(uphill[:, None], -gradient, direction)
    unscaled = torch.clamp(1 / gradient.abs().sum(1), max=1)
    return direction, torch.where(history.scale > 0, 1, unscaled)


def _kept(rows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Positions in ``rows`` where ``mask`` holds, and the rows at these positions."""
    places = mask.nonzero()[:, 0]
    return places, rows[places]


def _searched(evaluate: _Evaluations, rows: Tensor, now: _Points, direction: Tensor, length: Tensor) -> _Points:
    """Each row's point along its direction that meets the weak Wolfe conditions, or the best one found."""
    found = now.of(torch.arange(len(rows), device=rows.device))
    slope = (now.gradient * direction).sum(1)
    # The bracket: at ``low`` the value meets Armijo and still falls; at ``high`` it is too high, or it rises.
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
    """The next step length: twice the last one without an upper bound, else the parabola's minimum in the bracket.

    The parabola has the value and slope at ``low`` and the value at ``high``; its minimum is clamped to between 10 %
    and 50 % of the bracket.
    """
    width = high - low
    curvature = high_value - low_value - low_slope * width
    share = torch.where(curvature > 0, -low_slope * width / (2 * curvature), 0.5).nan_to_num(0.5).clamp(0.1, 0.5)
    share = torch.where(high_value.isfinite(), share, 0.5)
    return torch.where(high.isfinite(), low + share * width, 2 * low)
