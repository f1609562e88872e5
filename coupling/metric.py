"""What a metric is given and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from coupling.config import Config
from coupling.errors import ConfigError, PluginError
from coupling.model import CoupledModel
from coupling.parts import DomainData
from coupling.registry import Registry


@dataclass(frozen=True)
class Evaluation:
    """A model to be measured, with the domains' data for reference."""

    model: CoupledModel
    data: Mapping[str, DomainData]
    seed: int


class Metric(ABC):
    """A measure of a trained model."""

    better: Literal["higher", "lower"] = "higher"

    def check(self, data: Mapping[str, DomainData]) -> None:  # noqa: B027  (optional by design)
        """Raise :class:`coupling.errors.ConfigError` where this metric does not suit the domains."""

    def flat_name(self) -> str | None:
        """Flat name of the first value, where it is known before anything is measured.

        A sweep holds the name that its table is made of against it, before hours of training.
        """
        return None

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
    """The configuration's metrics, held against the domains; errors name the path."""
    metrics: list[Metric] = []
    for number, entry in enumerate(config.metrics):
        path = f"metrics[{number}]"
        metric: Metric = registry.build("metric", entry.name, entry.options, path)
        if not isinstance(metric, Metric):
            raise PluginError(f"{path} {entry.name}: gives a {type(metric).__name__}, no coupling.Metric")
        try:
            metric.check(data)
        except ConfigError as error:
            raise ConfigError(f"{path}.{error}") from None
        metrics.append(metric)
    return metrics
