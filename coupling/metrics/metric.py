"""What a metric is given and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from coupling.config.config import Config, MetricConfig
from coupling.config.registry import Registry
from coupling.data.domain_data import DomainData
from coupling.errors import PluginError
from coupling.losses.build import build_losses
from coupling.losses.loss import Loss
from coupling.model.model import CoupledModel
from coupling.system.foreign_code import guarded


@dataclass(frozen=True)
class Evaluation:
    """A model to be measured, with the domains' data for reference."""

    model: CoupledModel
    data: Mapping[str, DomainData]
    seed: int
    notes: dict[str, Any] = field(default_factory=dict)
    """What a metric says of how it was computed, as JSON values: see :meth:`note`."""

    def note(self, **details: Any) -> None:
        """Say what the values were computed with: number of samples, feature network, resizer ...

        It goes with them into the run's ``evaluation.json``. The domains' data, the seed and the metric's options are
        noted by themselves.
        """
        self.notes.update(details)


class Metric(ABC):
    """A measure of a trained model."""

    better: Literal["higher", "lower"] = "higher"
    """Which of two values is the better one."""

    def check(self, data: Mapping[str, DomainData]) -> None:  # noqa: B027  (optional by design)
        """Raise :class:`coupling.errors.ConfigError` where this metric does not suit the domains."""

    def check_losses(self, losses: Mapping[str, Loss]) -> None:  # noqa: B027  (optional by design)
        """Raise :class:`coupling.errors.ConfigError` where the training's losses do not leave what this metric reads.

        A metric of the model's classifier looks for the loss that owns it. ``losses``: by name, perhaps not yet opened.
        """

    @property
    def oracle(self) -> bool:
        """Whether it reads what training must not, so that a step chosen by it would be an oracle's."""
        return False

    def flat_name(self) -> str | None:
        """Flat name of the first value, where it is known before anything is measured.

        A sweep holds the name that its table is made of against it, before hours of training.
        """
        return None

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:  # noqa: B027  (optional by design)
        """Called once when the data are ready, before anything is trained or measured.

        What is slow, or may turn out to be impossible, belongs here: training a probe, say. Errors are raised as
        in :meth:`check`.
        """

    def improves(self, value: float, best: float) -> bool:
        """Whether ``value`` is better than the best so far; a tie is not."""
        return value > best if self.better == "higher" else value < best

    @abstractmethod
    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """Values by flat name: ``<metric>/<domain>...``.

        The first is the metric itself; what follows it (baselines, details) has names that extend
        it by ``/``.
        """


def open_metrics(config: Config, data: Mapping[str, DomainData], registry: Registry) -> list[Metric]:
    """The configuration's metrics, held against the domains and losses; errors name the path."""
    losses = build_losses(config, registry)
    return [
        open_metric(entry, data, losses, registry, f"metrics[{number}]") for number, entry in enumerate(config.metrics)
    ]


def open_metric(
    entry: MetricConfig, data: Mapping[str, DomainData], losses: Mapping[str, Loss], registry: Registry, path: str
) -> Metric:
    """One metric, held against the domains and losses; errors name ``path``."""
    metric: Metric = registry.build("metric", entry.name, entry.options, path)
    if not isinstance(metric, Metric):
        raise PluginError(f"{path} {entry.name}: gives a {type(metric).__name__}, no coupling.Metric")
    if metric.better not in ("higher", "lower"):
        raise PluginError(f"{path} {entry.name}: better is {metric.better!r}; say 'higher' or 'lower'")
    with guarded(f"{path}: the check of {registry.get('metric', entry.name, path)}", f"{path}."):
        metric.check(data)
        metric.check_losses(losses)
    return metric
