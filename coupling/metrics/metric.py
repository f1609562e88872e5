"""The interface of a metric: what it is given and what it answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from coupling.config.components import MetricConfig
from coupling.config.config import Config
from coupling.config.registry import Registry
from coupling.data.domain_data import DomainData
from coupling.errors import PluginError
from coupling.losses.loss import Loss
from coupling.model.model import CoupledModel
from coupling.runs.measured import Measured
from coupling.runs.metrics_log import MetricName
from coupling.system.foreign_code import guarded


@dataclass(frozen=True)
class Evaluation:
    """A model to be measured, with the domains' data to compare with."""

    model: CoupledModel
    """The model to be measured."""
    data: Mapping[str, DomainData]
    """The data of its domains by name, to compare with."""
    seed: int
    """Seed of everything that a metric draws at random."""
    notes: dict[str, Any] = field(default_factory=dict)
    """How a metric was computed, as JSON values: see :meth:`note`."""

    def generate(self, z: Tensor, domains: Sequence[str]) -> dict[str, Tensor]:
        """Draw corresponding samples.

        Args:
            z: codes, (B, latent size).
            domains: names of the domains.

        Returns:
            {domain: float32 (B, *shape)} in the domain's range, on the CPU.

        Raises:
            NotFiniteError: a value of a sample is not a finite number; the score is then undefined.
        """
        samples = self.model.generate(z, domains)
        for domain, batch in samples.items():
            check_finite(batch, f"generated samples of '{domain}'")
        return samples

    def note(self, **details: Any) -> None:
        """Record what the values were computed with: number of samples, feature network, resizer ...

        The record is written to the run's ``evaluation.json``. The domains' data, the seed and the metric's options
        are always in it.

        Args:
            details: JSON values by name.
        """
        self.notes.update(details)


class NotFiniteError(ArithmeticError):
    """A model computed NaN or infinity, so that a metric has no value; the message is the reason."""


def check_finite(values: Tensor, what: str) -> None:
    """Raise :class:`NotFiniteError` if any of ``values`` is not a finite number; ``what`` names them."""
    if not torch.isfinite(values).all():
        raise NotFiniteError(f"{what} are not finite numbers")


class Metric(ABC):
    """A measure of a trained model."""

    better: Literal["higher", "lower"] = "higher"
    """Which of two values is the better one."""

    range: tuple[float, float] = (-math.inf, math.inf)
    """Lowest and highest possible value. A value that would lie outside, or means nothing, is ``Undefined(reason)``."""

    domains: Sequence[str] = ()
    """The domains in the value's name, ``<metric>/<domain>...``; empty for a value of all domains."""

    def check(self, data: Mapping[str, DomainData]) -> None:  # noqa: B027  (optional by design)
        """Check that this metric fits the domains.

        Args:
            data: the data of the domains by name.

        Raises:
            ConfigError: it does not.
        """

    def check_losses(self, losses: Mapping[str, Loss]) -> None:  # noqa: B027  (optional by design)
        """Check that the training's losses provide what this metric reads.

        A metric of the model's classifier looks for the loss that owns it.

        Args:
            losses: the losses by name, perhaps not yet opened.

        Raises:
            ConfigError: they do not.
        """

    @property
    def oracle(self) -> bool:
        """Whether it reads labels that training does not read: a checkpoint selected by it is an oracle's."""
        return False

    def prepare(self, data: Mapping[str, DomainData], seed: int) -> None:  # noqa: B027  (optional by design)
        """Prepare for measuring; called once when the data are ready, before anything is trained or measured.

        Slow work, or work that may turn out to be impossible, belongs here: training a probe, for example. Errors are
        raised as in :meth:`check`.

        Args:
            data: the data of the domains by name.
            seed: seed of the run.
        """

    def improves(self, value: float, best: float) -> bool:
        """Whether a value is better than another; an equal value is not.

        Args:
            value: the new value.
            best: the best value so far.
        """
        return value > best if self.better == "higher" else value < best

    @abstractmethod
    def measure(self, evaluation: Evaluation) -> Measured:
        """Measure the model. Everything that is drawn at random must depend on ``evaluation.seed`` alone.

        Args:
            evaluation: the model, the data of its domains, and the seed.

        Returns:
            The value, with its floors, ceilings and details.
        """


def describe_range(bounds: tuple[float, float]) -> str:
    """A range in words: ``0 to 1``, ``0 or more``, ``any number``."""
    low, high = bounds
    if math.isinf(low):
        return "any number" if math.isinf(high) else f"{high:g} or less"
    return f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"


def _is_range(bounds: object) -> bool:
    return (
        isinstance(bounds, tuple)
        and len(bounds) == 2
        and all(isinstance(bound, float | int) for bound in bounds)
        and bounds[0] < bounds[1]
    )


def metric_name(entry: MetricConfig, metric: Metric) -> MetricName:
    """Name of a configured metric's value."""
    return MetricName(entry.name, tuple(metric.domains))


def open_metrics(
    config: Config, data: Mapping[str, DomainData], losses: Mapping[str, Loss], registry: Registry
) -> list[Metric]:
    """The configuration's metrics, checked against the domains and losses; errors name the path."""
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
    if not _is_range(metric.range):
        raise PluginError(f"{path} {entry.name}: range is {metric.range!r}; use (lowest, highest), such as (0.0, 1.0)")
    with guarded(f"{path}: the check of {registry.get('metric', entry.name, path)}", f"{path}."):
        metric.check(data)
        metric.check_losses(losses)
    return metric
