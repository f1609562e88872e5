"""When each metric is due in training, and the last and best scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coupling.config.config import Config
from coupling.config.registry import Registry
from coupling.data.domain_data import DomainData
from coupling.losses.loss import Loss
from coupling.metrics.metric import open_metrics
from coupling.metrics.scoring import Score, describe_score, prepare_metric, score_metric
from coupling.model.model import CoupledModel
from coupling.system.terminal import print_line, warn


class Measurement:
    """Measures a model in training, on the main process."""

    def __init__(
        self, config: Config, data: Mapping[str, DomainData], losses: Mapping[str, Loss], registry: Registry
    ) -> None:
        self.metrics = list(zip(config.metrics, open_metrics(config, data, losses, registry), strict=True))
        self.data = data
        self.seed = config.seed
        self.best_scores = BestScores()

    def prepare(self) -> None:
        """Prepare every metric; the data must be prepared. Errors name the metric's place in the configuration."""
        if self.metrics and self.metrics[0][1].oracle:
            warn(
                f"metrics[0] {self.metrics[0][0].name}: reads labels that training does not, so the checkpoint kept as "
                "the best is selected by an oracle and is not a valid result; put a metric that reads no labels first"
            )
        for number, (_, metric) in enumerate(self.metrics):
            prepare_metric(metric, self.data, self.seed, f"metrics[{number}]")

    def due(self, step: int, last: bool) -> bool:
        """Whether any metric is to be measured after ``step``."""
        return any(_due(entry.every, step, last) for entry, _ in self.metrics)

    def leads(self, step: int) -> bool:
        """Whether the first metric is due: the checkpoint of its best step is kept."""
        return bool(self.metrics) and _due(self.metrics[0][0].every, step, last=False)

    def take(self, model: CoupledModel, step: int, last: bool, log: Callable[[Score], None]) -> bool:
        """Measure what is due; returns whether the first metric has a new best score.

        Raises:
            RunError: a metric failed; the message names it and says how to continue.
        """
        better = False
        for number, (entry, metric) in enumerate(self.metrics):
            if _due(entry.every, step, last):
                score = score_metric(metric, entry, model, self.data, self.seed)
                log(score)
                improved = self.best_scores.note(score.name, score.value, step, metric.improves)
                self.best_scores.beside[score.name] = score.beside
                if number == 0:
                    self.best_scores.leading, better = score.name, improved
                print_line(f"step {step:,}: {describe_score(score)}")
        return better


def _due(every: int | None, step: int, last: bool) -> bool:
    return last or (every is not None and step % every == 0)


@dataclass
class BestScores:
    """Last and best values by a metric's flat name. Part of a checkpoint, so that a resumed run keeps its best."""

    last: dict[str, float] = field(default_factory=dict)
    best: dict[str, dict[str, float]] = field(default_factory=dict)
    beside: dict[str, dict[str, float]] = field(default_factory=dict)
    """Floors, ceilings and the share of the way between them at the last measurement, by the metric's flat name."""
    leading: str | None = None
    """Flat name of the configuration's first metric: the checkpoint of its best step is kept."""

    @property
    def best_step(self) -> int | None:
        """The step at which the first metric was best; None before it was measured."""
        best = self.best.get(self.leading or "")
        return None if best is None else int(best["step"])

    def note(self, name: str, value: float, step: int, improves: Callable[[float, float], bool]) -> bool:
        """Keep a score; returns whether it is the best so far. A score that is not finite is left out."""
        if not math.isfinite(value):
            return False
        self.last[name] = value
        better = name not in self.best or improves(value, self.best[name]["value"])
        if better:
            self.best[name] = {"value": value, "step": step}
        return better

    def plain(self) -> dict[str, Any]:
        """The scores as plain data, for a checkpoint."""
        return {"last": self.last, "best": self.best, "beside": self.beside, "leading": self.leading}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Load what :meth:`plain` returned; scores that ``values`` lacks are empty."""
        self.last = dict(values.get("last", {}))
        self.best = dict(values.get("best", {}))
        self.beside = dict(values.get("beside", {}))
        self.leading = values.get("leading")
