"""Metrics of a trained model: ``coupling evaluate``, and the same in Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from coupling.config.config import Config, build_config, read_config
from coupling.config.overrides import override
from coupling.data.domain_data import DomainData, open_domains
from coupling.errors import InputError, check_domain_name
from coupling.metrics.choice import MetricChoice, choose_metrics
from coupling.metrics.metric import open_metric
from coupling.metrics.scoring import Score, prepare_metric, score_metric
from coupling.model.loading import read_model
from coupling.model.model import CoupledModel
from coupling.plugins import GivenPlugins, Plugins, plugins_of
from coupling.runs import checkpoint
from coupling.runs.directory import MARKER, RunDirectory
from coupling.runs.locations import run_directory_of
from coupling.runs.resumption import data_changes, differences
from coupling.system.atomic_files import writing
from coupling.system.device import chosen_device

Which = Literal["last", "best"]


@dataclass(frozen=True)
class Scores:
    """The scores of one model."""

    step: int
    """The model's training step."""
    scores: tuple[Score, ...]

    @property
    def values(self) -> dict[str, float]:
        """All values by flat name, with floors, ceilings and details; those without a value are NaN."""
        return {name: value for score in self.scores for name, value in score.values.items()}

    @property
    def undefined(self) -> dict[str, str]:
        """Why values are undefined, by flat name."""
        return {name: reason for score in self.scores for name, reason in score.undefined.items()}

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """The record of each metric's computation, by its flat name."""
        return {score.name: score.record for score in self.scores}


def evaluate(
    model: CoupledModel | str | Path,
    metrics: Iterable[MetricChoice] | None = None,
    *,
    which: Which = "last",
    output: str | Path | None = None,
    device: str | torch.device | None = None,
    overrides: Sequence[str] = (),
    plugins: GivenPlugins = None,
) -> Scores:
    """Measure a model: a run, a checkpoint in it, a model file, or a loaded model.

    Args:
        model: the model, which is compared with the data of its own configuration; these must exist.
        metrics: the configured ones of these names, or others with options; default: all configured ones.
        which: the newest checkpoint of a run, or that of the first metric's best step.
        output: directory for metrics.jsonl and evaluation.json; default: the run's own, which is locked
            meanwhile; nothing is written for a model without a run.
        device: where the model generates samples; default: a GPU if there is one. A loaded model stays where it is.
        overrides: changes of the configuration, as by ``--set`` (the path of a data set, for example).
        plugins: default: those installed.

    Raises:
        InputError: something does not exist or does not fit; or a process is training in the run.
        RunError: a metric failed.
    """
    plugins = plugins_of(plugins)
    with _opened(model, which, output is None, device, overrides, plugins) as subject:
        result = _measure(subject, metrics, plugins)
        _write(result, subject, None if output is None else Path(output))
    return result


@dataclass(frozen=True)
class _Subject:
    """A model to be measured, with its configuration, and its run if it lies in one."""

    model: CoupledModel
    config: Config
    run: RunDirectory | None = None


def _measure(subject: _Subject, metrics: Iterable[MetricChoice] | None, plugins: Plugins) -> Scores:
    """Measure a model by the chosen metrics."""
    model, config = subject.model, subject.config
    for name in config.domains:
        check_domain_name("domains", name, model.domains)
    chosen = choose_metrics(config, metrics, plugins)
    data = _open_data(subject, plugins)
    opened = [
        (entry, open_metric(entry, data, model.losses, plugins.registry, place), place) for entry, place in chosen
    ]
    for of in data.values():
        of.prepare()
    scores = []
    for entry, metric, place in opened:
        prepare_metric(metric, data, config.seed, place)
        scores.append(score_metric(metric, entry, model, data, config.seed))
    return Scores(model.step, tuple(scores))


@contextmanager
def _opened(
    model: CoupledModel | str | Path,
    which: Which,
    lock: bool,
    device: str | torch.device | None,
    overrides: Sequence[str],
    plugins: Plugins,
) -> Iterator[_Subject]:
    """A context with the model; its run, if any, is locked in it if ``lock`` says so."""
    if isinstance(model, CoupledModel):
        yield _Subject(model, _override(model.config, overrides, plugins))
        return
    path = Path(model)
    root = run_directory_of(path)
    if root is None:
        loaded = read_model(_find_checkpoint(path, which), plugins.registry, device=chosen_device(device))
        yield _Subject(loaded, _override(loaded.config, overrides, plugins))
        return
    config = read_config(root / MARKER, overrides, plugins.registry)
    _check_overrides(read_config(root / MARKER, (), plugins.registry), config)
    run = RunDirectory(root, config)
    if lock:
        run.lock()
    try:
        loaded = read_model(_find_checkpoint(path, which), plugins.registry, device=chosen_device(device))
        yield _Subject(loaded, config, run)
    finally:
        run.release()


def _find_checkpoint(path: Path, which: Which) -> Path:
    """The checkpoint to be measured."""
    if which == "last":
        return path
    if run_directory_of(path) != path:
        raise InputError(f"--checkpoint best: {path} is one model already; leave it out, or give the run's directory")
    try:
        best = json.loads((path / "summary.json").read_text(encoding="utf-8")).get("best_checkpoint")
    except (OSError, ValueError, AttributeError):
        best = None
    if not isinstance(best, str):
        raise InputError(
            f"--checkpoint best: {path} keeps no best checkpoint: it has measured no metric yet; leave it out for the "
            "newest"
        )
    return checkpoint.verified(path / best).path


def _override(config: Config, overrides: Sequence[str], plugins: Plugins) -> Config:
    """A model's own configuration with ``overrides``, validated against the installed data sets and metrics."""
    values = config.plain()
    for assignment in overrides:
        override(values, assignment)
    changed = build_config(values, plugins.registry)
    _check_overrides(config, changed)
    return changed


def _check_overrides(trained: Config, changed: Config) -> None:
    """Raise :class:`InputError` if anything but the data sets and the metrics was changed.

    The networks are trained already. The data were split by the seed, so with another seed the metrics would measure on
    samples that training has seen.
    """
    for line in differences(trained, changed):
        if not line.startswith(("domains", "metrics")):
            raise InputError(
                f"--set {line}: the model was trained with the former; only domains and metrics can differ"
            )


def _open_data(subject: _Subject, plugins: Plugins) -> Mapping[str, DomainData]:
    """Open the domains' data; it is an error if the model was trained on other data."""
    data = open_domains(subject.config, plugins.registry)
    changes = data_changes(subject.model.record.get("data", {}), {name: of.fingerprints for name, of in data.items()})
    if changes:
        raise InputError(
            "restore the data, or give the place of data that have moved by --set domains.NAME.dataset.path=PATH "
            "(held-out samples and the samples to compare with depend on the data); the model was trained on other "
            "data:\n  " + "\n  ".join(changes)
        )
    return data


def _write(result: Scores, subject: _Subject, output: Path | None) -> None:
    """Append to metrics.jsonl and evaluation.json of the run, or of ``output``."""
    run = subject.run
    seconds = 0.0 if run is None else run.seconds_at(result.step)
    if output is not None:
        with writing(f"--output {output}", "give another folder"):
            output.mkdir(parents=True, exist_ok=True)
        run = RunDirectory(output, subject.config)
    if run is None:
        return
    run.note(result.records, result.step)
    run.log(result.step, seconds, result.values, evaluated=True)
