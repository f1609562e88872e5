"""Values of a metric by flat name, as they are written into files."""

from __future__ import annotations

from coupling.config.components import MetricConfig
from coupling.metrics.metric import Evaluation, Metric, metric_name
from coupling.plugins import installed
from coupling.runs.metrics_log import flat_values


def flat(metric: Metric, evaluation: Evaluation) -> dict[str, float]:
    """What ``metric`` measures, under the name that it is registered by."""
    registered = installed().registry.components
    (name,) = (name for (kind, name), found in registered.items() if kind == "metric" and found.make is type(metric))
    return flat_values(metric_name(MetricConfig(name=name), metric), metric.measure(evaluation))
