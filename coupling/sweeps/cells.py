"""The cells of a sweep, opened and checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from coupling.batch import Batch
from coupling.config.config import Config
from coupling.data.domain_data import DomainData, open_domains
from coupling.errors import ConfigError, CouplingError, nearest
from coupling.losses.build import build_losses
from coupling.metrics.metric import metric_name, open_metrics
from coupling.model.parent import start_networks
from coupling.networks.build import assemble
from coupling.plugins import Plugins
from coupling.runs.metrics_log import MetricName
from coupling.sweeps.grid import Grid, GridRun
from coupling.system.terminal import progress


class Cells:
    """The cells of a grid, with their data: opened once for all runs that have the same."""

    def __init__(self, grid: Grid, plugins: Plugins) -> None:
        self.grid = grid
        self.plugins = plugins
        self._data: dict[str, dict[str, DomainData]] = {}
        self._fingerprints: dict[str, dict[str, tuple[str, ...]]] = {}

    @property
    def prepared(self) -> bool:
        """Whether the data are prepared, so that their fingerprints are known."""
        return bool(self._fingerprints)

    def fingerprints(self, run: GridRun) -> dict[str, tuple[str, ...]] | None:
        """Fingerprints of a run's data by domain, in all their forms; None before they are prepared."""
        return self._fingerprints.get(_data_key(run.config))

    def find_metric(self) -> str:
        """Flat name of the table's metric; raises :class:`ConfigError` unless every cell measures it."""
        found: dict[str, GridRun] = {}
        for run in one_of_each_cell(self.grid.runs):
            with naming(run):
                registry = self.plugins.registry
                losses = build_losses(run.config, registry)
                metrics = open_metrics(run.config, self._open(run.config), losses, registry)
                names = [metric_name(entry, metric) for entry, metric in zip(run.config.metrics, metrics, strict=True)]
                found.setdefault(choose_metric(self.grid.config.metric, names), run)
        if len(found) > 1:
            cells = "; ".join(f"{name} in cell {run.title}" for name, run in found.items())
            raise ConfigError(f"metric: the cells do not measure the same: {cells}; name one that all of them measure")
        return next(iter(found))

    def check(self, runs: Iterable[GridRun]) -> None:
        """Build the cell of each run; errors name it."""
        cells = one_of_each_cell(runs)
        if not cells:
            return
        with progress("Checking cells", len(cells)) as advance:
            for run in cells:
                with naming(run):
                    data = self._open(run.config)
                    domains = {name: d.domain for name, d in data.items()}
                    start_networks(run.config, assemble(run.config, domains, self.plugins.registry))
                    for name, domain in data.items():
                        Batch(run.config.training.batch_size).check_samples(len(domain), name)
                advance()

    def prepare(self) -> None:
        """Prepare the data once, before many processes read them, and compute their fingerprints."""
        for run in self.grid.runs:
            if (key := _data_key(run.config)) not in self._fingerprints:
                with naming(run):
                    data = self._open(run.config)
                    for domain in data.values():
                        domain.prepare()
                    self._fingerprints[key] = {name: domain.fingerprints for name, domain in data.items()}
                self._data.clear()  # the data of all seeds would fill the memory

    def _open(self, config: Config) -> dict[str, DomainData]:
        key = _data_key(config)
        if key not in self._data:
            self._data[key] = open_domains(config, self.plugins.registry)
        return self._data[key]


def one_of_each_cell(runs: Iterable[GridRun]) -> list[GridRun]:
    """The first run of each cell."""
    return list({run.labels: run for run in reversed(list(runs))}.values())[::-1]


def choose_metric(wanted: str | None, known: Sequence[MetricName]) -> str:
    """Flat name of the metric that ``wanted`` names, in full or by its beginning; the first by default."""
    if not known:
        raise ConfigError("metrics: there are none, so there is nothing to make a table of; add one")
    if wanted is None:
        return str(known[0])
    name = MetricName.parse(wanted)
    matching = dict.fromkeys(str(metric) for metric in known if metric == name or metric.extends(name))
    if not matching:
        raise ConfigError(f"metric: no run measures '{wanted}'; {nearest(wanted, map(str, known))}")
    if len(matching) > 1:
        raise ConfigError(f"metric: '{wanted}' may be {' or '.join(matching)}; name one of them")
    return next(iter(matching))


@contextmanager
def naming(run: GridRun) -> Iterator[None]:
    """A context in which errors name the cell of ``run``."""
    try:
        yield
    except CouplingError as error:
        raise type(error)(f"cell {run.title}: {error}") from None


def _data_key(config: Config) -> str:
    """Equal for configurations of the same data; the seed is part of it, since samples may be drawn by it."""
    return repr((config.plain()["domains"], config.seed))
