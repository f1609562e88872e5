"""Metrics on a trained model: ``coupling evaluate``, and the same in Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic
import torch

from coupling.config.config import Config, MetricConfig, build_config, metric_entry, read_config
from coupling.config.overrides import override
from coupling.config.validation import describe
from coupling.config.yaml_text import parse_yaml
from coupling.data.domain_data import DomainData, open_domains
from coupling.errors import ConfigError, InputError, check_domain_name
from coupling.metrics.metric import open_metric
from coupling.metrics.scoring import Score, prepare_metric, score_metric
from coupling.model.loading import read_model
from coupling.model.model import CoupledModel
from coupling.plugins import GivenPlugins, Plugins, plugins_of
from coupling.runs import checkpoint
from coupling.runs.directory import MARKER, RunDirectory
from coupling.runs.locations import run_directory_of
from coupling.runs.resumption import differences
from coupling.system.device import chosen_device

Which = Literal["last", "best"]


Wanted = str | Mapping[str, Any]
"""A metric: its name, ``name:key=value,...``, or ``{name: ..., key: value}``."""


@dataclass(frozen=True)
class Scores:
    """What was measured on one model."""

    step: int
    """Of the model."""
    scores: tuple[Score, ...]

    @property
    def values(self) -> dict[str, float]:
        """All values by flat name, floors and ceilings too."""
        return {name: value for score in self.scores for name, value in score.values.items()}

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """What each metric was computed with, by its flat name."""
        return {score.name: score.record for score in self.scores}


def evaluate(
    model: CoupledModel | str | Path,
    metrics: Iterable[Wanted] | None = None,
    *,
    which: Which = "last",
    output: str | Path | None = None,
    device: str | torch.device | None = None,
    overrides: Sequence[str] = (),
    plugins: GivenPlugins = None,
) -> Scores:
    """Measure a model: a run, a checkpoint in it, a model file, or a loaded model.

    Args:
        model: what is measured, with the data of its own configuration for reference. They must be there.
        metrics: the configured ones of these names, or others with options; default: all configured ones.
        which: of a run, the newest checkpoint or that of the first metric's best step.
        output: directory for metrics.jsonl and evaluation.json; default: the run's own, which is locked
            meanwhile; nothing is written for a model without a run.
        device: where the model draws; default: a GPU where there is one. A loaded model stays where it is.
        overrides: changes of the configuration, as by ``--set`` (the place of a data set, say).
        plugins: default: those installed.

    Raises:
        InputError: something does not exist, or does not suit; a living process trains in the run.
        RunError: a metric failed.
    """
    plugins = plugins_of(plugins)
    with ExitStack() as stack:
        if isinstance(model, CoupledModel):
            run, loaded = None, model
            config = _changed(model.config, overrides, plugins)
        else:
            path = Path(model)
            root = run_directory_of(path)
            run = None
            if root is not None:
                run = RunDirectory(root, read_config(root / MARKER, overrides, plugins.registry))
                _refuse_without_effect(read_config(root / MARKER, (), plugins.registry), run.config)
            if run is not None and output is None:
                run.lock()
                stack.callback(run.release)
            loaded = read_model(_chosen(path, which), plugins.registry, device=chosen_device(device))
            config = run.config if run is not None else _changed(loaded.config, overrides, plugins)
        for name in config.domains:
            check_domain_name("domains", name, loaded.domains)
        wanted = chosen_metrics(config, metrics, plugins)
        data = _data(config, run, plugins)
        opened = [
            (entry, open_metric(entry, data, loaded.losses, plugins.registry, place), place) for entry, place in wanted
        ]
        for of in data.values():
            of.prepare()
        scores = []
        for entry, metric, place in opened:
            prepare_metric(metric, data, config.seed, place)
            scores.append(score_metric(metric, entry, loaded, data, config.seed))
        result = Scores(loaded.step, tuple(scores))
        _write(result, run, None if output is None else Path(output), config)
    return result


def chosen_metrics(
    config: Config, metrics: Iterable[Wanted] | None, plugins: Plugins
) -> list[tuple[MetricConfig, str]]:
    """The metrics to be measured, each with its place in messages.

    A name alone stands for all configured metrics of that name; where there is none, for the metric with its defaults.
    """
    if metrics is None:
        if not config.metrics:
            raise InputError(
                "the configuration names no metrics; name one by --metric NAME or --metric NAME:key=value; known: "
                + ", ".join(plugins.registry.names("metric"))
            )
        return [(entry, f"metrics[{number}]") for number, entry in enumerate(config.metrics)]
    chosen: list[tuple[MetricConfig, str]] = []
    for wanted in metrics:
        said = f"--metric {wanted if isinstance(wanted, str) else dict(wanted)}"
        entry = _parsed(wanted, said)
        place = f"--metric {entry.name}"
        known = [(c, f"metrics[{number}]") for number, c in enumerate(config.metrics) if c.name == entry.name]
        if known and not entry.options:
            chosen += known
            continue
        try:
            options = plugins.registry.completed("metric", entry.name, entry.options, place)
        except ConfigError as error:
            if entry.options or "is required" not in str(error):
                raise
            raise ConfigError(f"{error}\ngive its options: --metric {entry.name}:key=value,key=value") from None
        chosen.append((entry.model_copy(update={"options": options}), place))
    return chosen


def _parsed(wanted: Wanted, place: str) -> MetricConfig:
    """One ``--metric``."""
    value: Any = wanted
    try:
        if isinstance(wanted, str):
            if wanted.lstrip().startswith("{"):
                value = parse_yaml(wanted)
            elif ":" in wanted:
                name, _, options = wanted.partition(":")
                value = {"name": name} | dict(_assignment(part) for part in _parts(options))
        return MetricConfig.model_validate(metric_entry(value))
    except pydantic.ValidationError as error:
        raise ConfigError(describe(error, MetricConfig, value, place)) from None
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}; write name:key=value,key=value or {{name: ..., key: value}}") from None


def _parts(text: str) -> list[str]:
    """``a=1,b=[2, 3]`` cut at its outer commas."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _assignment(part: str) -> tuple[str, Any]:
    key, separator, value = part.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"'{part}' is no key=value")
    return key.strip(), parse_yaml(value)


def _chosen(path: Path, which: Which) -> Path:
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


def _changed(config: Config, overrides: Sequence[str], plugins: Plugins) -> Config:
    """A model's own configuration, held against the installed data sets and metrics too."""
    values = config.plain()
    for assignment in overrides:
        override(values, assignment)
    changed = build_config(values, plugins.registry)
    _refuse_without_effect(config, changed)
    return changed


def _refuse_without_effect(trained: Config, changed: Config) -> None:
    """Raise :class:`InputError` where more was changed than the places of the data and the metrics.

    The networks are trained; and by the seed the data were cut, so that another one would measure on samples that the
    training has seen.
    """
    for line in differences(trained, changed):
        if not line.startswith(("domains", "metrics")):
            raise InputError(
                f"--set {line}: the model was trained with the former; only domains and metrics can differ"
            )


def _data(config: Config, run: RunDirectory | None, plugins: Plugins) -> dict[str, DomainData]:
    """The domains' data; refused where they are not those that the run was trained on."""
    data = open_domains(config, plugins.registry)
    trained = {} if run is None else run.read_json("environment.json").get("data", {})
    for name, before in trained.items():
        now = data[name].fingerprint
        if now != before:
            raise InputError(
                f"domains.{name}: the run was trained on other data: {before} -> {now}; bring them back: what is held "
                "out, and what is compared with, would be another"
            )
    return data


def _write(result: Scores, run: RunDirectory | None, output: Path | None, config: Config) -> None:
    """Append to metrics.jsonl and evaluation.json of the run, or of ``output``."""
    seconds = 0.0 if run is None else run.seconds_at(result.step)
    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--output {output}: cannot be written: {error.strerror or error}") from None
        run = RunDirectory(output, config)
    if run is None:
        return
    run.note(result.records, result.step)
    run.log(result.step, seconds, result.values, evaluated=True)
