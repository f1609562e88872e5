"""The interface of a metric: what it is given and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from coupling.config.config import Config, MetricConfig
from coupling.config.registry import Registry
from coupling.data.domain_data import DomainData
from coupling.errors import PluginError
from coupling.losses.build import build_losses
from coupling.losses.loss import Loss
from coupling.model.model import CoupledModel
from coupling.runs.measured import Measured
from coupling.runs.metrics_log import MetricName
from coupling.system.foreign_code import guarded


@dataclass(frozen=True)
class Evaluation:
    """A model to be measured, with the domains' data to compare with."""

    model: CoupledModel
    data: Mapping[str, DomainData]
    seed: int
    notes: dict[str, Any] = field(default_factory=dict)
    """How a metric was computed, as JSON values: see :meth:`note`."""

    def note(self, **details: Any) -> None:
        """Record what the values were computed with: number of samples, feature network, resizer ...

        The record is written to the run's ``evaluation.json``. The domains' data, the seed and the metric's options
        are always in it.
        """
        self.notes.update(details)


class Metric(ABC):
    """A measure of a trained model."""

    better: Literal["higher", "lower"] = "higher"
    """Which of two values is the better one."""

    domains: Sequence[str] = ()
    """The domains in the value's name, ``<metric>/<domain>...``; empty for a value of all domains."""

    def check(self, data: Mapping[str, DomainData]) -> None:  # noqa: B027  (optional by design)
        """Raise :class:`coupling.errors.ConfigError` if this metric does not fit the domains."""

    def check_losses(self, losses: Mapping[str, Loss]) -> None:  # noqa: B027  (optional by design)
        """Raise :class:`coupling.errors.ConfigError` if the training's losses do not provide what this metric reads.

        A metric of the model's classifier looks for the loss that owns it. ``losses``: by name, perhaps not yet opened.
        """

    @property
    def oracle(self) -> bool:
        """Whether it reads labels that training does not read: a checkpoint selected by it is an oracle's."""
        return False

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:  # noqa: B027  (optional by design)
        """Prepare for measuring; called once when the data are ready, before anything is trained or measured.

        Slow work, or work that may turn out to be impossible, belongs here: training a probe, for example. Errors are
        raised as in :meth:`check`.
        """

    def improves(self, value: float, best: float) -> bool:
        """Whether ``value`` is better than ``best``; an equal value is not."""
        return value > best if self.better == "higher" else value < best

    @abstractmethod
    def measure(self, evaluation: Evaluation) -> Measured:
        """The value, with its floors, ceilings and details.

        What it draws at random must depend on ``evaluation.seed`` alone.
        """


def metric_name(entry: MetricConfig, metric: Metric) -> MetricName:
    """Name of a configured metric's value."""
    return MetricName(entry.name, tuple(metric.domains))


def open_metrics(config: Config, data: Mapping[str, DomainData], registry: Registry) -> list[Metric]:
    """The configuration's metrics, checked against the domains and losses; errors name the path."""
    losses = build_losses(config, registry)
    return [
        open_metric(entry, data, losses, registry, f"metrics[{number}]") for number, entry in enumerate(config.metrics)
    ]


def open_metric(
    entry: MetricConfig, data: Mapping[str, DomainData], losses: Mapping[str, Loss], registry: Registry, path: str
) -> Metric:
    """One metric, checked against the domains and losses; errors name ``path``."""
    metric: Metric = registry.build("metric", entry.name, entry.options, path)
    if not isinstance(metric, Metric):
        raise PluginError(f"{path} {entry.name}: gives a {type(metric).__name__}, not a coupling.Metric")
    if metric.better not in ("higher", "lower"):
        raise PluginError(f"{path} {entry.name}: better is {metric.better!r}; use 'higher' or 'lower'")
    with guarded(f"{path}: the check of {registry.get('metric', entry.name, path)}", f"{path}."):
        metric.check(data)
        metric.check_losses(losses)
    return metric
