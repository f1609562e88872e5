"""Scores of a model: a metric's values, and the record of how they were computed."""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from coupling.config.components import MetricConfig
from coupling.data.domain_data import DomainData
from coupling.errors import CouplingError, RunError
from coupling.metrics.metric import Evaluation, Metric, NotFiniteError, metric_name
from coupling.metrics.pairs import WAY
from coupling.model.model import CoupledModel
from coupling.networks.mode import evaluating
from coupling.runs.measured import Detail, Measured, Undefined, reason_undefined
from coupling.runs.metrics_log import MetricName, flat_values
from coupling.system.device import is_out_of_memory
from coupling.system.foreign_code import guarded
from coupling.version import __version__

_FIX = "fix it, then continue with --resume"


_FEW = 6
"""Largest number of values beside a score that its line in the log shows in full."""


@dataclass(frozen=True)
class Score:
    """The values of one metric for one model."""

    metric: MetricName
    measured: Measured
    record: dict[str, Any]
    """What the values were computed with, as JSON values."""

    @property
    def name(self) -> str:
        """Flat name of the value."""
        return str(self.metric)

    @property
    def undefined(self) -> dict[str, str]:
        """Why values are undefined, by flat name."""
        return _reasons(self.values)

    @property
    def value(self) -> float:
        """The metric's value."""
        return self.measured.value

    @property
    def beside(self) -> dict[str, float]:
        """The floors, the ceilings and the share of the way between them, by name, without those that are undefined."""
        found: dict[str, Detail] = {**self.measured.floors, **self.measured.ceilings}
        found |= {WAY: self.measured.details[WAY]} if WAY in self.measured.details else {}
        return {key: value for key, value in found.items() if isinstance(value, float) and math.isfinite(value)}

    @property
    def values(self) -> dict[str, float]:
        """All values by flat name: the metric's own first, then its floors, ceilings and details."""
        return flat_values(self.metric, self.measured)


def _reasons(values: Mapping[str, float]) -> dict[str, str]:
    return {name: reason for name, value in values.items() if (reason := reason_undefined(value)) is not None}


def prepare_metric(metric: Metric, data: Mapping[str, DomainData], seed: int, path: str) -> None:
    """Let a metric prepare; errors name ``path``."""
    with guarded(f"{path}: prepare()", f"{path}."):
        metric.prepare(data, seed)


def score_metric(
    metric: Metric, entry: MetricConfig, model: CoupledModel, data: Mapping[str, DomainData], seed: int
) -> Score:
    """Measure a model by one metric, and record what the values were computed with.

    Raises:
        RunError: the metric failed; the message names it and says how to continue.
    """
    evaluation = Evaluation(model, data, seed)
    started = time.monotonic()
    with _explaining(entry.name, model.step), evaluating(model.discriminator):  # its statistics must not change
        try:
            measured = metric.measure(evaluation)
        except NotFiniteError as error:
            measured = Measured(Undefined(str(error)))
    name = metric_name(entry, metric)
    _check_measured(measured, name)
    undefined = _reasons(flat_values(name, measured))
    record = {
        "value": None if str(name) in undefined else measured.value,
        **({"undefined": undefined} if undefined else {}),
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
    return Score(name, measured, record)


def describe_score(score: Score) -> str:
    """The value with what it is compared with, and its details if they are few, in one line; why it is undefined."""
    start = f"{score.name}/"
    others = {name.removeprefix(start): value for name, value in score.values.items() if name != score.name}
    shown = others if len(others) <= _FEW else score.beside
    more = f", and {len(others) - len(shown)} more" if len(shown) < len(others) else ""
    values = ", ".join([f"{score.name} {score.value:.4f}", *(f"{key} {value:.4f}" for key, value in shown.items())])
    reasons = "; ".join(dict.fromkeys(score.undefined.values()))
    return f"{values}{more} ({reasons})" if reasons else f"{values}{more}"


def _check_measured(measured: object, name: MetricName) -> None:
    """Raise :class:`RunError` unless a metric answered an object with numbers."""
    if not isinstance(measured, Measured):
        raise RunError(
            f"metric '{name.metric}': measure() gives a {type(measured).__name__}; it returns coupling.Measured: {_FIX}"
        )
    for flat, value in flat_values(name, measured).items():
        if not isinstance(value, float | int):
            raise RunError(
                f"metric '{name.metric}': measure() gives a {type(value).__name__} as '{flat}'; it returns "
                f"coupling.Measured with numbers: {_FIX}"
            )


@contextmanager
def _explaining(name: str, step: int) -> Iterator[None]:
    """A context in which any error of a metric becomes a message that names it."""
    try:
        yield
    except CouplingError:
        raise
    except (Exception, SystemExit) as error:  # a plugin's metric may fail in any way
        if is_out_of_memory(error):  # explained by the caller
            raise
        raise RunError(
            f"metric '{name}' failed at step {step:,}: {type(error).__name__}: {error}; leave it out of metrics or "
            f"{_FIX}"
        ) from error
