"""The HTML report of a run: its content, and one self-contained page that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup
from PIL import Image

from coupling.config.components import MetricConfig
from coupling.config.config import read_config
from coupling.config.differences import without_defaults
from coupling.data.pictures import drawable, png, to_drawing, without_names
from coupling.errors import InputError, PluginError
from coupling.model.loading import read_model
from coupling.model.model import CoupledModel
from coupling.plugins import Plugins
from coupling.reports.curves import panels, plotted, term_panels
from coupling.reports.pages import json_in_page, page_template, png_source, report_files, write_page
from coupling.runs.directory import MARKER, RunDirectory
from coupling.runs.locations import run_directory_of
from coupling.runs.metrics_log import MetricName, is_below, read_log, read_metrics, read_reasons, read_undefined
from coupling.runs.provenance import session_starts
from coupling.sharing.picture import sharing_picture
from coupling.system.terminal import warn

_PATHS, _CODES = 4, 24
"""Paths of the traversal, and codes on each."""


_HEADLINES = 6
"""Maximum number of scores that are shown large."""


FLOORS = ("unrelated", "constant")
CEILINGS = ("true-pairs", "real")
"""Names of the values that a score is compared with, the first of which is preferred."""


def write_report(run: RunDirectory | None, model: CoupledModel | None, file: Path, plugins: Plugins) -> Path:
    """Write the page of ``run`` into ``file``; ``model`` generates its traversal, None if there is no checkpoint yet.

    ``run`` is None for a model that lies in no run: the page then shows what the model's file holds. Plugins add
    sections by the hook ``report_sections``. Raises :class:`InputError` if the page cannot be written.
    """
    if run is not None:
        content = _content(run, model, plugins)
    else:
        assert model is not None
        content = _content_of_model(model, plugins)
    return write_page(file, page_template("report.html.jinja").render(content))


def reported_run(run: Path, plugins: Plugins) -> RunDirectory | None:
    """The run of a path: a run's directory or a file in it; None for a model that lies in no run."""
    root = run_directory_of(run) if run.exists() else None
    return None if root is None else RunDirectory(root, read_config(root / MARKER, (), plugins.registry))


def model_of(run: Path, plugins: Plugins) -> CoupledModel | None:
    """The model of a run or of a checkpoint in it; None, with a warning, if a run has no checkpoint yet."""
    try:
        return read_model(run, plugins.registry)
    except InputError as error:
        if run_directory_of(run) != run:  # the path is one checkpoint, or a model file
            raise
        warn(f"{error}; the page shows nothing that the model draws, and no sharing graph")
        return None


def _content(run: RunDirectory, model: CoupledModel | None, plugins: Plugins) -> dict[str, Any]:
    summary, environment = run.read_json("summary.json"), run.read_json("environment.json")
    evaluation = run.read_json("evaluation.json")
    log = read_log(run.path)
    best = str(summary.get("best_checkpoint") or "").rpartition("-")[2]
    chosen = int(best) if best.isdecimal() else None
    answers = plugins.notify("report_sections", _titled, run=run)
    drawn = _drawn(run, model)
    pictures = _pictures(run, drawn)
    status = str(summary.get("status", "not finished"))
    return (
        report_files()
        | _model_content(model)
        | _curves(log)
        | {
            "name": run.config.name,
            "summary": _summary(run, summary, status),
            "failed": status.startswith("failed"),
            "facts": _facts(run, summary, environment),
            "missing": None,
            "pictures": pictures,
            "pictures_json": json_in_page(pictures),
            "drawn": drawn,
            "headlines": _headlines(log, run.config.metrics),
            "scores": _scores(log, summary, evaluation, chosen),
            "chosen": None if chosen is None else f"{chosen:,}",
            "leading": run.config.metrics[0].name if run.config.metrics else "",
            "measured": _yaml(evaluation) if evaluation else "",
            "sections": [section for answer in answers for section in answer],
            "differences": _yaml(without_defaults(run.config, plugins.registry)),
            "settings": run.config.yaml(),
            "environment": _yaml(environment),
        }
    )


def _content_of_model(model: CoupledModel, plugins: Plugins) -> dict[str, Any]:
    """The content for a model file, which holds no curves and no pictures."""
    record = dict(model.record)
    metrics: Mapping[str, float] = record.pop("metrics", {})
    facts = {"step": f"{model.step:,}", "domains": ", ".join(model.domains), "seed": str(model.config.seed)}
    line = {"step": model.step, "seconds": 0.0, **metrics}
    return (
        report_files()
        | _model_content(model)
        | _curves([])
        | {
            "name": model.config.name,
            "summary": f"A model after {model.step:,} steps; domains: {', '.join(model.domains)}.",
            "failed": False,
            "facts": facts | ({"device": str(record["device"])} if "device" in record else {}),
            "missing": "Not in the model's file; its run has it.",
            "pictures": [],
            "pictures_json": "",
            "drawn": [],
            "headlines": _headlines([line], ()),
            "scores": [[name, f"{value:.4g}", f"{model.step:,}", "", "", ""] for name, value in metrics.items()],
            "chosen": None,
            "leading": "",
            "measured": "",
            "sections": [],
            "differences": _yaml(without_defaults(model.config, plugins.registry)),
            "settings": model.config.yaml(),
            "environment": _yaml(record) if record else "not known",
        }
    )


def _model_content(model: CoupledModel | None) -> dict[str, Any]:
    """Traversal, sharing graph and number of parameters."""
    return {
        "traversal": None if model is None else _traversal(model),
        "untraversed": "There is no checkpoint yet." if model is None else "No domain can be drawn.",
        "step": None if model is None else f"{model.step:,}",
        "sharing": None if model is None else _sharing(model),
        "parameters": [] if model is None else _parameters(model),
    }


def _curves(log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The panels of logged values, those of single terms of the losses, and the library that draws them."""
    curves = [{"title": title} | plotted(lines) for title, lines in panels(log).items()]
    terms = [{"title": title} | plotted(lines) for title, lines in term_panels(log).items()]
    return {
        "curves": curves,
        "terms": terms if curves else [],
        "curves_json": json_in_page([*curves, *terms]),
    }


def _summary(run: RunDirectory, summary: Mapping[str, Any], status: str) -> str:
    """One sentence about the run."""
    steps = f": {summary['step']:,} of {summary['steps']:,} steps" if {"step", "steps"} <= summary.keys() else ""
    minutes = f" in {summary['seconds'] / 60:,.1f} minutes" if "seconds" in summary else ""
    collapsed = summary.get("collapsed", {})
    warning = "".join(f" Collapsed: {name} at step {step:,}." for name, step in collapsed.items())
    return f"{status.capitalize()}{steps}{minutes}; domains: {', '.join(run.config.domains)}.{warning}"


def _titled(answer: object) -> list[tuple[str, Markup]]:
    """The sections of a plugin's answer; empty if it answers None."""
    sections = [] if answer is None else answer
    if not isinstance(sections, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in sections
    ):
        raise PluginError(f"it gives {answer!r:.80}; give a list of pairs (title, html)")
    return [(title, Markup(html)) for title, html in sections]  # noqa: S704  (of a plugin, which the user has installed)


def _facts(run: RunDirectory, summary: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, str]:
    """The lines at the top, without those that the run does not know."""
    steps = f"{summary['step']:,} of {summary['steps']:,}" if {"step", "steps"} <= summary.keys() else None
    starts = session_starts(environment)
    minutes = f"{summary['seconds'] / 60:,.1f} minutes" if "seconds" in summary else None
    if minutes and len(starts) > 1:
        minutes += f" in all, in {len(starts)} sessions"
    facts = {
        "status": summary.get("status"),
        "step": steps,
        "trained for": minutes,
        "collapsed": ", ".join(f"{name} at step {step:,}" for name, step in summary.get("collapsed", {}).items())
        or None,
        "started": starts[0] if starts else None,
        "last resumed": starts[-1] if len(starts) > 1 else None,
        "domains": ", ".join(run.config.domains),
        "seed": run.config.seed,
        "device": environment.get("device"),
        "processes": environment.get("num_processes"),
        "directory": run.path.absolute(),
    }
    return {key: str(value) for key, value in facts.items() if value is not None}


def _pictures(run: RunDirectory, drawn: Sequence[str]) -> list[dict[str, str]]:
    """The pictures of samples by training step, the newest last, without the names at their left."""
    return [
        {
            "step": f"{int(file.stem.removeprefix('step-')):,}",
            "source": png_source(png(without_names(_opened(file), drawn))),
        }
        for file in sorted(run.samples.glob("step-*.png"))
    ]


def _opened(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.copy()


def _drawn(run: RunDirectory, model: CoupledModel | None) -> list[str]:
    """The domains in the rows of the pictures, as far as they are known."""
    if model is None:
        return list(run.config.domains)
    return [name for name, domain in model.domains.items() if domain.is_drawable]


def _traversal(model: CoupledModel) -> dict[str, Any] | None:
    """Paths between codes: a picture for each drawable domain, with a row for each path and a column for each code."""
    if not any(domain.is_drawable for domain in model.domains.values()):
        return None
    samples = model.traverse(_PATHS, _CODES, domains=drawable(model.domains))
    strips = []
    for name, path in samples.items():
        pixels = to_drawing(path.flatten(0, 1), model.domains[name])
        height, width = pixels.shape[1:3]
        sheet = pixels.reshape(_PATHS, _CODES, height, width, 3).transpose(0, 2, 1, 3, 4)
        image = Image.fromarray(sheet.reshape(_PATHS * height, _CODES * width, 3))
        strips.append({"domain": name, "source": png_source(png(image)), "ratio": f"{width} / {height}"})
    offsets = [100 * pair / (_PATHS - 1) for pair in range(_PATHS)]
    return {"strips": strips, "pairs": _PATHS, "steps": _CODES, "width": 200, "offsets": offsets}


def _headlines(log: Sequence[Mapping[str, Any]], metrics: Sequence[MetricConfig]) -> list[dict[str, Any]]:
    """The last values of metrics, those of the configuration first, each between its floor and ceiling."""
    last: dict[str, float] = {}
    for line in log:
        last |= read_metrics(line)
    order = {metric.name: number for number, metric in enumerate(metrics)}
    leading = [flat for flat in last if not is_below(flat, last)]
    leading.sort(key=lambda flat: order.get(MetricName.parse(flat).metric, len(order)))
    return [_headline(flat, last) for flat in leading[:_HEADLINES]]


def _headline(flat: str, last: Mapping[str, float]) -> dict[str, Any]:
    compared = {key: str(MetricName.parse(flat).under(key)) for key in (*FLOORS, *CEILINGS)}
    beside = {key: last[other] for key, other in compared.items() if other in last}
    floor = next((key for key in FLOORS if key in beside), None)
    ceiling = next((key for key in CEILINGS if key in beside), None)
    bar = None
    if floor and ceiling and beside[floor] != beside[ceiling]:
        bar = round(100 * (last[flat] - beside[floor]) / (beside[ceiling] - beside[floor]))
    shown = {key: f"{key.replace('-', ' ')} {value:.3g}" for key, value in beside.items()}
    return {
        "name": flat.replace("/", " / "),
        "value": f"{last[flat]:.4g}",
        "bar": bar,
        "floor": shown.get(floor or ""),
        "ceiling": shown.get(ceiling or ""),
        "beside": ", ".join(shown.values()),
    }


def _scores(
    log: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], evaluation: Mapping[str, Any], chosen: int | None
) -> list[list[str]]:
    """A row for each value: the last one and its step, that at step ``chosen``, the best one and its step if known."""
    reasons = read_reasons(evaluation)
    there: dict[str, str] = {}
    last: dict[str, tuple[str, int]] = {}
    for line in log:
        step = line["step"]
        shown = {name: f"{value:.4g}" for name, value in read_metrics(line).items()}
        for name in read_undefined(line):
            reason = reasons.get((name, step))
            shown[name] = f"undefined: {reason}" if reason else "undefined"
        last |= {name: (text, step) for name, text in shown.items()}
        if step == chosen:
            there |= shown
    best = summary.get("best", {})
    rows = []
    for name, (text, step) in last.items():
        found = best.get(name)
        noted = ["", ""] if found is None else [f"{found['value']:.4g}", f"{found['step']:,}"]
        rows.append([name, text, f"{step:,}", there.get(name, ""), *noted])
    return rows


def _sharing(model: CoupledModel) -> Markup:
    networks = (network for network in (model.generator, model.discriminator) if network is not None)
    return Markup(sharing_picture({network.graph.team: network.graph for network in networks}))  # noqa: S704


def _parameters(model: CoupledModel) -> list[list[str]]:
    networks = (network for network in (model.generator, model.discriminator) if network is not None)
    return [[network.graph.team, *(f"{count:,}" for count in network.parameter_counts())] for network in networks]


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=120)
