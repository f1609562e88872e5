"""Commands on what came of a run: ``evaluate``, ``report``, ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from coupling.cli.group import console, device_option, load_plugins, plugin_option, run_argument, set_option
from coupling.errors import InputError

if TYPE_CHECKING:
    from coupling.model.export import Format


@click.command()
@run_argument
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME",
    help="A configured metric, or NAME:key=value,... May be repeated (default: all configured ones).",
)  # fmt: skip
@click.option(
    "--checkpoint", "which", type=click.Choice(["last", "best"]), default="last", show_default=True,
    help="Which of a run's checkpoints; another one: give its path as RUN.",
)  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), help="Directory for the values (default: the run's own).")
@device_option
@set_option
@plugin_option
def evaluate(
    run: Path,
    metrics: tuple[str, ...],
    which: Literal["last", "best"],
    output: Path | None,
    device: str | None,
    overrides: tuple[str, ...],
    modules: tuple[str, ...],
) -> None:
    """Measure the saved model of RUN: prints a table, appends to metrics.jsonl and evaluation.json."""
    from coupling.cli.tables import print_scores, told
    from coupling.metrics.evaluate import evaluate

    result = evaluate(
        run,
        metrics or None,
        which=which,
        output=output,
        device=device,
        overrides=overrides,
        plugins=load_plugins(modules),
    )
    print_scores(result, console())
    told(result, run, output)


@click.command()
@run_argument
@click.option("--output", type=click.Path(path_type=Path), help="File (default: in the run, report.html).")
@plugin_option
def report(run: Path, output: Path | None, modules: tuple[str, ...]) -> None:
    """Write one HTML page about RUN that needs nothing else: samples, traversal, curves, scores, sharing, settings."""
    from coupling.reports.report import model_of, reported_run, write_report
    from coupling.runs.locations import output_path

    if output is not None and output.suffix not in (".html", ".htm"):
        raise InputError(f"--output {output}: a report is an .html file; give it this suffix")
    plugins = load_plugins(modules)
    directory = reported_run(run, plugins)
    click.echo(str(write_report(directory, model_of(run, plugins), output or output_path(run, "report.html"), plugins)))


@click.command()
@run_argument
@click.option("--format", "kind", type=click.Choice(["safetensors", "onnx"]), help="Default: as --output has it.")
@click.option("--output", metavar="PATH", type=click.Path(path_type=Path), help="File (default: in the run, its name).")
@click.option("--opset", default=18, show_default=True, type=click.IntRange(18, 23), help="ONNX: version of operators.")
@plugin_option
def export(run: Path, kind: Format | None, output: Path | None, opset: int, modules: tuple[str, ...]) -> None:
    """Write the model of RUN for others: safetensors for coupling, or its generators as one ONNX graph."""
    from coupling.api import load_model
    from coupling.model.export import export_onnx, export_safetensors, format_of
    from coupling.runs.locations import output_path

    kind = format_of(output, kind)
    model = load_model(run, plugins=load_plugins(modules))
    path = output or output_path(run, f"{model.config.name}.{kind}")
    if kind == "onnx":
        export_onnx(model, path, opset)
    else:
        export_safetensors(model, path)
    click.echo(str(path))
