"""The comparison of several runs: one self-contained HTML page, with what differs in their settings first."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from coupling.config.config import Config
from coupling.config.differences import without_default_options
from coupling.config.registry import Registry
from coupling.data.pictures import drawable, picture_grid, png
from coupling.errors import InputError
from coupling.model.model import CoupledModel
from coupling.plugins import Plugins
from coupling.reports.curves import Line, panels, plotted
from coupling.reports.pages import json_in_page, page_template, png_source, report_files, write_page
from coupling.reports.report import model_of, reported_run
from coupling.runs.directory import RunDirectory
from coupling.runs.metrics_log import is_below, read_log, read_metrics
from coupling.runs.resumption import flat_settings, flat_values

MOST = len(string.ascii_uppercase)
"""Largest number of runs on a page: each is called by a letter."""


@dataclass(frozen=True)
class _Compared:
    """A run, or a model that lies in no run."""

    letter: str
    path: Path
    config: Config
    run: RunDirectory | None
    model: CoupledModel | None
    """None: there is no checkpoint yet."""
    log: Sequence[Mapping[str, Any]]

    @property
    def scores(self) -> dict[str, tuple[float, int]]:
        """The last value of each metric, with its floors, ceilings and details, and the step of it."""
        if self.run is None:
            assert self.model is not None
            return {name: (value, self.model.step) for name, value in self.model.record.get("metrics", {}).items()}
        return {name: (value, line["step"]) for line in self.log for name, value in read_metrics(line).items()}


def write_comparison(paths: Sequence[Path], file: Path, plugins: Plugins, *, count: int = 12, seed: int = 0) -> Path:
    """Write the page that compares runs into ``file``; returns it.

    Args:
        paths: runs, checkpoints or models, two or more.
        file: the HTML file.
        plugins: the plugins of the runs' components.
        count: samples that are drawn of each run, from equal codes.
        seed: seed of the codes.

    Raises:
        InputError: there are fewer than two runs, or one twice, a run cannot be read, or the page cannot be written.
    """
    check_runs(paths)
    runs = [_open(letter, path, plugins) for letter, path in zip(string.ascii_uppercase, paths, strict=False)]
    curves = [{"title": title} | plotted(lines) for title, lines in _curves(runs).items()]
    content = {
        "runs": [_facts(run) for run in runs],
        "letters": [run.letter for run in runs],
        "settings": _differences(runs, plugins.registry),
        "pictures": [_picture(run, count, seed) for run in runs],
        "codes": _codes(runs, seed),
        "scores": _scores(runs),
        "curves": curves,
        "curves_json": json_in_page(curves),
    } | report_files()
    return write_page(file, page_template("comparison.html.jinja").render(content))


def check_runs(paths: Sequence[Path]) -> None:
    """Raise :class:`InputError` if there are fewer than two runs, too many, or one twice."""
    if len(paths) < 2:
        raise InputError(f"one run, {paths[0]}, cannot be compared; give two or more, or use `coupling report`")
    if len(paths) > MOST:
        raise InputError(f"{len(paths)} runs are too many for a page; give at most {MOST}")
    twice = [path for number, path in enumerate(paths) if path.absolute() in [p.absolute() for p in paths[:number]]]
    if twice:
        raise InputError(f"{twice[0]} is given twice; give each run once")


def _open(letter: str, path: Path, plugins: Plugins) -> _Compared:
    run, model = reported_run(path, plugins), model_of(path, plugins)
    if run is not None:
        return _Compared(letter, path, run.config, run, model, read_log(run.path))
    assert model is not None  # a path that is neither is an error
    return _Compared(letter, path, model.config, None, model, [])


def _facts(compared: _Compared) -> dict[str, str]:
    """What the page says about a run at its top."""
    summary = {} if compared.run is None else compared.run.read_json("summary.json")
    step = summary.get("step", None if compared.model is None else compared.model.step)
    minutes = f"{summary['seconds'] / 60:,.1f} minutes" if "seconds" in summary else ""
    networks = [] if compared.model is None else [compared.model.generator, compared.model.discriminator]
    parameters = sum(network.parameter_counts()[0] for network in networks if network is not None)
    return {
        "letter": compared.letter,
        "path": str(compared.path),
        "name": compared.config.name,
        "status": str(summary.get("status", "model")),
        "step": "" if step is None else f"{step:,}",
        "time": minutes,
        "seed": str(compared.config.seed),
        "parameters": f"{parameters:,}" if parameters else "",
    }


def _differences(runs: Sequence[_Compared], registry: Registry) -> list[tuple[str, list[str]]]:
    """Settings whose values are not equal in all runs: key, and the value of each run ("" where it has none).

    What has its default is left out within lists of components, and of components that only some of the runs have.
    """
    flat = [flat_settings(run.config) for run in runs]
    chosen = [flat_values(without_default_options(run.config, registry)) for run in runs]
    rows = []
    for key in dict.fromkeys(key for settings in flat for key in settings):
        everywhere = all(key in settings for settings in flat)
        # A component without options is its name alone.
        if not everywhere and not any(key in given or key.removesuffix(".name") in given for given in chosen):
            continue
        values = [settings.get(key) for settings in flat]
        if not everywhere or any(value != values[0] for value in values):
            shortest = [settings | given for settings, given in zip(flat, chosen, strict=True)]
            rows.append((key, [_shown(found[key]) if key in found else "" for found in shortest]))
    return rows


def _shown(value: object) -> str:
    """A value as YAML writes it, on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=2**30)
    return text.strip().removesuffix("...").strip()


def _picture(compared: _Compared, count: int, seed: int) -> dict[str, str]:
    """Samples of a run, drawn from the codes of ``seed``, or why there are none."""
    picture = {"letter": compared.letter, "source": "", "step": "", "missing": ""}
    model = compared.model
    if model is None:
        return picture | {"missing": "There is no checkpoint yet."}
    if not any(domain.is_drawable for domain in model.domains.values()):
        return picture | {"missing": "No domain can be drawn."}
    samples = model.sample(count, seed=seed, domains=drawable(model.domains))
    source = png_source(png(picture_grid(samples, model.domains, count)))
    return picture | {"source": source, "step": f"{model.step:,}"}


def _codes(runs: Sequence[_Compared], seed: int) -> str:
    """What the columns of the pictures mean."""
    if len({(run.config.latent.prior, run.config.latent.size) for run in runs}) == 1:
        return f"A column is one latent code (seed {seed}), the same in all runs; a row is one domain."
    return (
        f"A column is one latent code (seed {seed}); a row is one domain. The runs have different latent codes, so "
        "their columns have nothing in common."
    )


def _scores(runs: Sequence[_Compared]) -> list[dict[str, Any]]:
    """A row for each value: its name, whether it stands below another, and the value and step of each run."""
    scores = [run.scores for run in runs]
    names = list(dict.fromkeys(name for found in scores for name in found))
    return [
        {
            "name": name,
            "below": is_below(name, names),
            "values": [
                (f"{found[name][0]:.4g}", f"{found[name][1]:,}") if name in found else ("", "") for found in scores
            ],
        }
        for name in names
    ]


def _curves(runs: Sequence[_Compared]) -> dict[str, dict[str, Line]]:
    """{title: {letter: line}}: the values of each metric by step, a line for each run; losses are left out."""
    found: dict[str, dict[str, Line]] = {}
    for run in runs:
        for title, lines in panels([read_metrics(line) | {"step": line["step"]} for line in run.log]).items():
            for label, line in lines.items():
                name = title if label == "mean" else f"{title}/{label}"
                found.setdefault(name, {})[run.letter] = line
    return {name: lines for name, lines in found.items() if not is_below(name, found)}
