"""The configuration's metrics: when each is due, what they were computed with, and how they stand."""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from coupling.config.config import MetricConfig
from coupling.data.domain_data import DomainData
from coupling.errors import CouplingError, RunError
from coupling.metrics.metric import Evaluation, Metric
from coupling.model.model import CoupledModel
from coupling.networks.mode import evaluating
from coupling.system.device import is_out_of_memory
from coupling.system.foreign_code import guarded
from coupling.version import __version__


@dataclass(frozen=True)
class Score:
    """What one metric measured."""

    name: str
    """Flat name of the metric itself."""
    values: dict[str, float]
    """By flat name, the metric itself first, then what stands beside it."""
    record: dict[str, Any]
    """What they were computed with, as JSON values."""


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
    try:
        with evaluating(model.discriminator):  # a metric may call it, which must not move its statistics
            values = metric.measure(evaluation)
    except CouplingError:
        raise
    except (Exception, SystemExit) as error:  # a plugin's metric may fail in any way
        if is_out_of_memory(error):  # told by others
            raise
        raise RunError(
            f"metric '{entry.name}' failed at step {model.step:,}: {type(error).__name__}: {error}; leave it out "
            "of metrics or mend it, then go on with --resume"
        ) from error
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
