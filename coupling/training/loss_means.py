"""The losses in metrics.jsonl: means over the steps since the previous line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from coupling.errors import RunError
from coupling.runs.metrics_log import LossName
from coupling.training.objective import Losses

NOT_FINITE = (
    "the run stops, its last checkpoint is untouched; lower optimizer.lr, use precision: fp32, or another loss, "
    "in a new run"
)
"""Advice that follows the name of a number that is not finite."""


class LossMeans:
    """The mean of each loss since the last line.

    Sums and counts are part of a checkpoint, so that the first line of a resumed run covers the same steps as
    in an uninterrupted run.
    """

    def __init__(self, across: Callable[[Tensor], Tensor], advice: str, only: Mapping[str, str] | None = None) -> None:
        """``across``: the mean over processes. ``advice``: what to do about a number that is not finite.

        ``only``: {team: its only term} where a team's objective has one term, which is then not logged by itself.
        """
        self._across = across
        self._advice = advice
        self._only = dict(only or {})
        self._pending: list[tuple[int, Losses]] = []
        self._sums: dict[str, float] = {}
        self._steps = 0

    def add(self, step: int, losses: Losses) -> None:
        """Keep the losses of ``step`` (from 1) on the device."""
        self._pending.append((step, losses))

    def read(self) -> None:
        """Add the kept losses to the sums in one transfer. It waits for the device, so call it rarely.

        Raises :class:`RunError` that names the term, domain and step of a loss that is not finite.
        """
        if not self._pending:
            return
        numbers = torch.stack([value.float() for _, losses in self._pending for value in losses.values()])
        row = iter(self._across(numbers).tolist())
        for step, losses in self._pending:
            values = {name: next(row) for name in losses}
            for name, value in sorted(values.items(), key=lambda item: _is_total(item[0])):
                if not math.isfinite(value):
                    raise RunError(f"{self._with_term(name)} is {value} at step {step}: {self._advice}")
            for name, value in values.items():
                self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += len(self._pending)
        self._pending.clear()

    def _with_term(self, name: str) -> str:
        """The name of a loss with its term, even if the team has only one."""
        loss = LossName.parse(name)
        if loss is None or loss.term is not None:
            return name
        return str(replace(loss, term=self._only.get(loss.team)))

    def take(self) -> dict[str, float]:
        """Return the means and start new ones after this step.

        A term that is computed every few steps counts as 0 in the other steps, so that terms add up to the total.
        """
        self.read()
        means = {name: total / self._steps for name, total in self._sums.items()}
        self._sums, self._steps = {}, 0
        return means

    def plain(self) -> dict[str, Any]:
        """Sums so far and their number of steps, for a checkpoint."""
        self.read()
        return {"steps": self._steps, "sums": dict(self._sums)}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Load what :meth:`plain` returned."""
        self._pending.clear()
        self._steps, self._sums = values.get("steps", 0), dict(values.get("sums", {}))


def _is_total(name: str) -> bool:
    """Whether a loss is the sum of its terms."""
    loss = LossName.parse(name)
    return loss is not None and loss.term is None
