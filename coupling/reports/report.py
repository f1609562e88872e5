"""The HTML report of a run: its content, and one self-contained page that loads nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from coupling.config.config import read_config
from coupling.data.pictures import drawable, png
from coupling.errors import InputError, PluginError
from coupling.generation.traversal import paths_picture
from coupling.model.loading import read_model
from coupling.model.model import CoupledModel
from coupling.plugins import Plugins
from coupling.reports.curves import panels, plot
from coupling.runs.directory import MARKER, RunDirectory
from coupling.runs.locations import run_directory_of
from coupling.runs.metrics_log import read_log, read_metrics, read_reasons, read_undefined
from coupling.sharing.picture import sharing_picture
from coupling.system.atomic_files import OTHER_OUTPUT, write_text, writing
from coupling.system.terminal import warn
from coupling.version import __version__

_EARLIER = 5
"""Maximum number of pictures of earlier steps."""


_PATHS, _CODES = 3, 12


def write_report(run: RunDirectory | None, model: CoupledModel | None, file: Path, plugins: Plugins) -> Path:
    """Write the page of ``run`` into ``file``; ``model`` generates its traversal, None if there is no checkpoint yet.

    ``run`` is None for a model that lies in no run: the page then shows what the model's file holds. Plugins add
    sections by the hook ``report_sections``. Raises :class:`InputError` if the page cannot be written.
    """
    if run is not None:
        content = _content(run, model, plugins)
    else:
        assert model is not None
        content = _content_of_model(model)
    text = _template().render(content)
    with writing(file, OTHER_OUTPUT):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    return file


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
        warn(f"{error}; the report has no traversal and no sharing graph")
        return None


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("coupling.reports", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("report.html.jinja")


def _content(run: RunDirectory, model: CoupledModel | None, plugins: Plugins) -> dict[str, Any]:
    summary, environment = run.read_json("summary.json"), run.read_json("environment.json")
    evaluation = run.read_json("evaluation.json")
    log = read_log(run.path)
    best = str(summary.get("best_checkpoint") or "").rpartition("-")[2]
    chosen = int(best) if best.isdecimal() else None
    answers = plugins.notify("report_sections", _titled, run=run)
    return _model_content(model) | {
        "name": run.config.name,
        "facts": _facts(run, summary, environment),
        "missing": None,
        "pictures": _pictures(run),
        "plots": [Markup(plot(title, lines)) for title, lines in panels(log).items()],  # noqa: S704  (matplotlib made it)
        "scores": _scores(log, summary, evaluation, chosen),
        "chosen": None if chosen is None else f"{chosen:,}",
        "leading": run.config.metrics[0].name if run.config.metrics else "",
        "measured": _yaml(evaluation) if evaluation else "",
        "sections": [section for answer in answers for section in answer],
        "settings": run.config.yaml(),
        "environment": _yaml(environment),
    }


def _content_of_model(model: CoupledModel) -> dict[str, Any]:
    """The content for a model file, which holds no curves and no pictures."""
    record = dict(model.record)
    metrics: Mapping[str, float] = record.pop("metrics", {})
    facts = {"step": f"{model.step:,}", "domains": ", ".join(model.domains), "seed": str(model.config.seed)}
    return _model_content(model) | {
        "name": model.config.name,
        "facts": facts | ({"device": str(record["device"])} if "device" in record else {}),
        "missing": "Not in the model's file; its run has it.",
        "pictures": [],
        "plots": [],
        "scores": [[name, f"{value:.4g}", f"{model.step:,}", "", "", ""] for name, value in metrics.items()],
        "chosen": None,
        "leading": "",
        "measured": "",
        "sections": [],
        "settings": model.config.yaml(),
        "environment": _yaml(record) if record else "not known",
    }


def _model_content(model: CoupledModel | None) -> dict[str, Any]:
    """Traversal, sharing graph and number of parameters."""
    return {
        "version": __version__,
        "traversal": None if model is None else _traversal(model),
        "untraversed": "There is no checkpoint yet." if model is None else "No domain can be drawn.",
        "step": None if model is None else f"{model.step:,}",
        "sharing": None if model is None else _sharing(model),
        "parameters": [] if model is None else _parameters(model),
    }


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
    minutes = f"{summary['seconds'] / 60:,.1f} minutes" if "seconds" in summary else None
    facts = {
        "status": summary.get("status"),
        "step": steps,
        "trained for": minutes,
        "collapsed": ", ".join(f"{name} at step {step:,}" for name, step in summary.get("collapsed", {}).items())
        or None,
        "started": environment.get("started"),
        "domains": ", ".join(run.config.domains),
        "seed": run.config.seed,
        "device": environment.get("device"),
        "processes": environment.get("num_processes"),
        "directory": run.path.absolute(),
    }
    return {key: str(value) for key, value in facts.items() if value is not None}


def _source(file: bytes) -> str:
    """A PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(file).decode()


def _pictures(run: RunDirectory) -> list[dict[str, str]]:
    """The newest picture of samples, then earlier ones, evenly spread."""
    files = sorted(run.samples.glob("step-*.png"))
    earlier = files[:-1]
    count = min(_EARLIER, len(earlier))
    chosen = [earlier[round(i * (len(earlier) - 1) / max(1, count - 1))] for i in reversed(range(count))]
    return [
        {"step": f"{int(file.stem.removeprefix('step-')):,}", "source": _source(file.read_bytes())}
        for file in (*files[-1:], *chosen)
    ]


def _traversal(model: CoupledModel) -> str | None:
    """Paths between codes in all drawable domains; None if there is none."""
    if not any(domain.is_drawable for domain in model.domains.values()):
        return None
    samples = model.traverse(_PATHS, _CODES, domains=drawable(model.domains))
    return _source(png(paths_picture(samples, model.domains)))


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
