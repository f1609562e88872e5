"""The configuration's metrics: when each is due, what they were computed with, and how they stand."""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from coupling import __version__
from coupling.config import Config, MetricConfig
from coupling.errors import CouplingError, RunError
from coupling.guest import guarded
from coupling.memory import is_shortage
from coupling.metric import Evaluation, Metric, open_metrics
from coupling.model import CoupledModel
from coupling.parts import DomainData
from coupling.registry import Registry
from coupling.standings import Standings
from coupling.terminal import remark


@dataclass(frozen=True)
class Score:
    """What one metric measured."""

    name: str
    """Flat name of the metric itself."""
    values: dict[str, float]
    """By flat name, the metric itself first, then what stands beside it."""
    record: dict[str, Any]
    """What they were computed with, as JSON values."""


class Measurement:
    """Measures a model in training, on the main process."""

    def __init__(self, config: Config, data: Mapping[str, DomainData], registry: Registry) -> None:
        self.metrics = list(zip(config.metrics, open_metrics(config, data, registry), strict=True))
        self.data = data
        self.seed = config.seed
        self.standings = Standings()

    def prepare(self) -> None:
        """Let every metric get ready, once the data are; errors name its place."""
        if self.metrics and self.metrics[0][1].oracle:
            remark(
                f"metrics[0] {self.metrics[0][0].name}: reads labels that training does not, so the checkpoint kept as "
                "the best is an oracle's choice, and no result; put a metric that reads none first"
            )
        for number, (_, metric) in enumerate(self.metrics):
            prepare(metric, self.data, self.seed, f"metrics[{number}]")

    def due(self, step: int, last: bool) -> bool:
        """Whether any metric is to be measured after ``step``."""
        return any(_due(entry.every, step, last) for entry, _ in self.metrics)

    def leads(self, step: int) -> bool:
        """Whether the first metric is due: the checkpoint of its best step is kept."""
        return bool(self.metrics) and _due(self.metrics[0][0].every, step, last=False)

    def take(self, model: CoupledModel, step: int, last: bool, log: Callable[[Score], None]) -> bool:
        """Measure what is due; whether the first metric is better than ever.

        Raises:
            RunError: a metric failed; the message names it and says how to go on.
        """
        better = False
        for number, (entry, metric) in enumerate(self.metrics):
            if _due(entry.every, step, last):
                score = measured(metric, entry, model, self.data, self.seed)
                log(score)
                improved = self.standings.note(score.name, score.values[score.name], step, metric.improves)
                if number == 0:
                    self.standings.leading, better = score.name, improved
                remark(f"step {step:,}: " + ", ".join(f"{k} {v:.4f}" for k, v in score.values.items()))
        return better


def _due(every: int | None, step: int, last: bool) -> bool:
    return last or (every is not None and step % every == 0)


def prepare(metric: Metric, data: Mapping[str, DomainData], seed: int, path: str) -> None:
    """Let a metric get ready; errors name ``path``."""
    with guarded(f"{path}: prepare()", f"{path}."):
        metric.prepare(data, seed)


def measured(
    metric: Metric, entry: MetricConfig, model: CoupledModel, data: Mapping[str, DomainData], seed: int
) -> Score:
    """A metric's values and what they were computed with.

    Raises:
        RunError: the metric failed; the message names it and says how to go on.
    """
    evaluation = Evaluation(model, data, seed)
    started = time.monotonic()
    discriminator = model.discriminator
    was_training = discriminator is not None and discriminator.training
    if discriminator is not None:
        discriminator.eval()  # a metric may ask it, and must not move its statistics
    try:
        values = metric.measure(evaluation)
    except CouplingError:
        raise
    except (Exception, SystemExit) as error:  # a plugin's metric may fail in any way
        if is_shortage(error):  # told by others
            raise
        raise RunError(
            f"metric '{entry.name}' failed at step {model.step:,}: {type(error).__name__}: {error}; leave it out "
            "of metrics or mend it, then go on with --resume"
        ) from error
    finally:
        if discriminator is not None:
            discriminator.train(was_training)
    if not isinstance(values, Mapping) or not all(isinstance(value, float | int) for value in values.values()):
        raise RunError(
            f"metric '{entry.name}': measure() gives {_shown(values)}; it returns {{flat name: number}}, its own value "
            "first: mend it, then go on with --resume"
        )
    if not values:
        raise RunError(f"metric '{entry.name}': measure() gives no value; mend it, then go on with --resume")
    name = next(iter(values))
    record = {
        "value": values[name] if math.isfinite(values[name]) else None,
        "better": metric.better,
        "metric": entry.plain(),
        "step": model.step,
        "seed": seed,
        "data": {domain: of.fingerprint for domain, of in data.items()},
        **evaluation.notes,
        "versions": {"coupling": __version__, "torch": importlib.metadata.version("torch")},
        "device": model.device.type,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "took": round(time.monotonic() - started, 1),
    }
    return Score(name, values, record)


def _shown(values: object) -> str:
    if not isinstance(values, Mapping):
        return f"a {type(values).__name__}"
    name, value = next((n, v) for n, v in values.items() if not isinstance(v, float | int))
    return f"a {type(value).__name__} as '{name}'"
