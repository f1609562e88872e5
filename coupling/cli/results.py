"""Commands that measure, describe and export a trained model: ``evaluate``, ``report``, ``compare``, ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from coupling.cli.group import (
    HomePath,
    RunPath,
    console,
    device_option,
    load_plugins,
    plugin_option,
    run_argument,
    set_option,
)
from coupling.cli.json_documents import evaluated, json_option, print_json
from coupling.errors import InputError
from coupling.system.collector import rare_collections

if TYPE_CHECKING:
    from coupling.model.export import Format


@click.command()
@run_argument
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME",
    help="A metric of the configuration, or NAME:key=value,... May be repeated (default: all of the configuration).",
)  # fmt: skip
@click.option(
    "--checkpoint", "which", type=click.Choice(["last", "best"]), default="last", show_default=True,
    help="Checkpoint to measure. For another one, give its path as RUN.",
)  # fmt: skip
@click.option("--output", type=HomePath(), help="Directory to write the values to (default: the run).")
@click.option("--verbose", is_flag=True, help="Also print details of each value, and what it was computed with.")
@json_option
@device_option
@set_option
@plugin_option
def evaluate(
    run: Path,
    metrics: tuple[str, ...],
    which: Literal["last", "best"],
    output: Path | None,
    verbose: bool,
    as_json: bool,
    device: str | None,
    overrides: tuple[str, ...],
    modules: tuple[str, ...],
) -> None:
    """Measure a trained model with metrics.

    Prints a table of the values, and adds them to metrics.jsonl and evaluation.json in the run's directory.
    """
    with rare_collections():
        from coupling.cli.score_tables import print_destination, print_scores
        from coupling.metrics.evaluate import evaluate
        from coupling.runs.locations import run_directory_of

    result = evaluate(
        run,
        metrics or None,
        which=which,
        output=output,
        device=device,
        overrides=overrides,
        plugins=load_plugins(modules),
    )
    if as_json:
        print_json(evaluated(result, output or run_directory_of(run)))
    else:
        print_scores(result, console(), verbose=verbose)
    print_destination(result, run, output)


@click.command()
@run_argument
@click.option("--output", type=HomePath(), help="HTML file to write (default: report.html in the run).")
@plugin_option
def report(run: Path, output: Path | None, modules: tuple[str, ...]) -> None:
    """Write an HTML page about a run.

    The page is one file: samples, a traversal, curves, scores, the sharing graph, configuration and environment.
    """
    from coupling.reports.report import model_of, reported_run, write_report
    from coupling.runs.locations import output_path

    if output is not None and output.suffix not in (".html", ".htm"):
        raise InputError(f"--output {output}: a report is an .html file; give a name that ends in .html")
    plugins = load_plugins(modules)
    directory = reported_run(run, plugins)
    click.echo(str(write_report(directory, model_of(run, plugins), output or output_path(run, "report.html"), plugins)))


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", type=RunPath())
@click.option(
    "--count", default=12, show_default=True, type=click.IntRange(1, 48), help="Number of samples of each run."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Random seed of the latent codes.")
@click.option("--output", default="compare.html", show_default=True, type=HomePath(), help="HTML file to write.")
@plugin_option
def compare(runs: tuple[Path, ...], count: int, seed: int, output: Path, modules: tuple[str, ...]) -> None:
    """Write an HTML page that compares runs.

    The page is one file: settings that differ, samples of equal latent codes, scores side by side, curves.
    """
    from coupling.reports.comparison import check_runs, write_comparison

    if output.suffix not in (".html", ".htm"):
        raise InputError(f"--output {output}: a comparison is an .html file; give a name that ends in .html")
    check_runs(runs)
    click.echo(str(write_comparison(runs, output, load_plugins(modules), count=count, seed=seed)))


@click.command()
@run_argument
@click.option(
    "--format",
    "kind",
    type=click.Choice(["safetensors", "onnx"]),
    help="Format of the file (default: from the suffix of --output).",
)
@click.option(
    "--output",
    metavar="PATH",
    type=HomePath(),
    help="File to write (default: in the run, under its name).",
)
@click.option(
    "--opset", default=18, show_default=True, type=click.IntRange(18, 23), help="ONNX: version of the operator set."
)
@click.option("--generators-only", is_flag=True, help="safetensors: leave out the discriminators and losses.")
@click.option("--half", is_flag=True, help="safetensors: store the weights in 16 bits, which halves the file.")
@plugin_option
def export(
    run: Path,
    kind: Format | None,
    output: Path | None,
    opset: int,
    generators_only: bool,
    half: bool,
    modules: tuple[str, ...],
) -> None:
    """Write a trained model as one file, safetensors or ONNX.

    safetensors holds the whole model, for coupling. ONNX holds the generators as one graph, for other programs.
    """
    from coupling.api import load_model
    from coupling.model.export import export_onnx, export_safetensors, format_of
    from coupling.runs.locations import output_path

    kind = format_of(output, kind)
    if kind == "onnx" and (generators_only or half):
        raise InputError("--generators-only and --half are for --format safetensors; an ONNX file holds the generators")
    model = load_model(run, plugins=load_plugins(modules))
    path = output or output_path(run, f"{model.config.name}.{kind}")
    if kind == "onnx":
        export_onnx(model, path, opset)
    else:
        export_safetensors(model, path, generators_only=generators_only, half=half)
    click.echo(str(path))
