"""Checks of a metric."""

from __future__ import annotations

import math

from coupling.metrics.metric import Evaluation, describe_range, metric_name, open_metrics
from coupling.model.model import CoupledModel
from coupling.runs.measured import Measured, Undefined
from coupling.runs.metrics_log import flat_values
from coupling.system.seeds import seed_all
from coupling.testing.check import Check, Tests, require
from coupling.testing.small_run import assembled, configured, opened


def _measures(check: Check) -> None:
    own = {**check.options, "name": check.component.name}
    config = configured(check, losses=list(check.losses), metrics=[own])
    found = []
    for seed in (1, 2):
        data = opened(check, config.plain()["domains"])
        for domain in data.values():
            domain.prepare()
        networks = assembled(config, check, data)
        for module in (networks.generator, networks.discriminator, *networks.losses.values()):
            module.eval().requires_grad_(False)
        domains = {name: domain.domain for name, domain in data.items()}
        model = CoupledModel(config, domains, networks.generator, networks.discriminator, 0, networks.losses)
        (metric,) = open_metrics(config, data, networks.losses, check.plugins.registry)
        seed_all(seed)  # what a metric draws, it draws by the evaluation's seed
        measured = metric.measure(Evaluation(model, data, config.seed))
        require(isinstance(measured, Measured), f"measure() gives a {type(measured).__name__}, not a coupling.Measured")
        for name in metric.domains:
            require(name in data, f"domains names '{name}', which is not a domain")
        values = flat_values(metric_name(config.metrics[0], metric), measured)
        for name, value in values.items():
            require(isinstance(value, float | int), f"'{name}' is a {type(value).__name__}, not a number")
            if not isinstance(value, Undefined):
                require(math.isfinite(value), f"'{name}' is {float(value)}; give coupling.Undefined(reason)")
        low, high = metric.range
        inside = isinstance(measured.value, Undefined) or low <= measured.value <= high
        require(inside, f"the value {measured.value} is not in its range, {describe_range(metric.range)}")
        found.append({name: repr(value) for name, value in values.items()})
    require(found[0] == found[1], f"measures other values of the same model: {found[0]}, {found[1]}")


TESTS: Tests = {
    "measures finite numbers, twice the same": _measures,
}
