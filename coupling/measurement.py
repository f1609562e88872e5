"""The configuration's metrics: when each is due, and how they stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from coupling.config import Config
from coupling.errors import CouplingError, RunError
from coupling.metric import Evaluation, Metric, open_metrics
from coupling.model import CoupledModel
from coupling.parts import DomainData
from coupling.registry import Registry
from coupling.standings import Standings
from coupling.terminal import remark


class Measurement:
    """Measures a model in training, on the main process."""

    def __init__(self, config: Config, data: Mapping[str, DomainData], registry: Registry) -> None:
        self.metrics = list(zip(config.metrics, open_metrics(config, data, registry), strict=True))
        self.data = data
        self.seed = config.seed
        self.standings = Standings()

    def due(self, step: int, last: bool) -> bool:
        """Whether any metric is to be measured after ``step``."""
        return any(_due(entry.every, step, last) for entry, _ in self.metrics)

    def leads(self, step: int) -> bool:
        """Whether the first metric is due: the checkpoint of its best step is kept."""
        return bool(self.metrics) and _due(self.metrics[0][0].every, step, last=False)

    def take(self, model: CoupledModel, step: int, last: bool, log: Callable[[Mapping[str, float]], None]) -> bool:
        """Measure what is due; whether the first metric is better than ever.

        Raises:
            RunError: a metric failed; the message names it and says how to go on.
        """
        better = False
        evaluation = Evaluation(model, self.data, self.seed)
        for number, (entry, metric) in enumerate(self.metrics):
            if _due(entry.every, step, last):
                values = _measured(metric, evaluation, entry.name)
                log(values)
                name, value = next(iter(values.items()))
                improved = self.standings.note(name, value, step, metric.improves)
                if number == 0:
                    self.standings.leading, better = name, improved
                remark(f"step {step:,}: " + ", ".join(f"{k} {v:.4f}" for k, v in values.items()))
        return better


def _due(every: int | None, step: int, last: bool) -> bool:
    return last or (every is not None and step % every == 0)


def _measured(metric: Metric, evaluation: Evaluation, name: str) -> dict[str, float]:
    discriminator = evaluation.model.discriminator
    if discriminator is not None:
        discriminator.eval()  # a metric may ask it, and must not move its statistics
    try:
        return metric.measure(evaluation)
    except CouplingError:
        raise
    except Exception as error:  # a plugin's metric may fail in any way
        raise RunError(
            f"metric '{name}' failed at step {evaluation.model.step:,}: {type(error).__name__}: {error}; leave it out "
            "of metrics or mend it, then go on with --resume"
        ) from error
    finally:
        if discriminator is not None:
            discriminator.train()
