"""The command line: thin commands, and the only place that turns errors into exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from rich.console import Console

from coupling import __version__
from coupling.errors import CouplingError, InputError, nearest
from coupling.interruption import Terminated, terminable
from coupling.plugins import Plugins, installed
from coupling.terminal import remark, show_origin

if TYPE_CHECKING:  # torch comes with it, which --help does without
    from coupling.export import Format
    from coupling.given_images import Fit
    from coupling.interpolation import Interpolation
    from coupling.sample_files import Format as SampleFormat


class CouplingGroup(click.Group):
    """The command group; errors of ours are one message and an exit code, never a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and exit with the code that the design fixes."""
        try:
            return super().main(*args, **kwargs)
        except CouplingError as error:
            show_origin(error)
            remark(str(error) if error.exit_code > 128 else f"error: {error}")  # an interruption is no error
            sys.exit(error.exit_code)
        except OSError as error:  # the commands name the files they write: what is left is their output
            show_origin(error)
            remark(f"error: the output cannot be written: {error.strerror or error}")
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """An interruption before or after training, which saves for itself, has the shell's own exit code."""
        try:
            with terminable():
                return super().invoke(ctx)
        except Terminated:
            remark("terminated")
            ctx.exit(143)
        except KeyboardInterrupt:
            remark("interrupted")
            ctx.exit(130)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Own commands first; plugins are asked only for a name that is none of ours."""
        return super().get_command(ctx, cmd_name) or _plugin_commands().get(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Own commands and the plugins'."""
        return [*super().list_commands(ctx), *_plugin_commands()]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown command gets the nearest name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            _remark_broken(installed())
            ctx.fail(f"no command '{args[0]}'; {nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def _plugin_commands() -> Mapping[str, click.Command]:
    return installed().commands()


@click.group(cls=CouplingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="coupling")
def cli() -> None:
    """Coupled GANs: learn the joint distribution of unpaired image domains."""


plugin_option = click.option(
    "--plugin", "modules", multiple=True, metavar="MODULE", help="A plugin module or .py file to load besides."
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="K=V", help="Override a key: training.steps=10. May be repeated."
)
device_option = click.option("--device", help="Where the model is: cpu, cuda ... (default: a GPU where there is one).")
run_argument = click.argument("run", type=click.Path(path_type=Path))
config_argument = click.argument("config", type=click.Path(path_type=Path))


def with_config(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments that every command on a configuration takes."""
    return config_argument(set_option(plugin_option(command)))


def _load_plugins(modules: Iterable[str]) -> Plugins:
    plugins = installed(tuple(modules))
    _remark_broken(plugins)
    return plugins


def _console() -> Console:
    """Prints results as they are: descriptions hold brackets and colons that are no markup."""
    width = None if sys.stdout.isatty() else 240  # a pipe has no width: lines stay whole, to be searched
    return Console(markup=False, highlight=False, emoji=False, width=width)


def _remark_broken(plugins: Plugins) -> None:
    for name, reason in plugins.registry.broken.items():
        remark(f"plugin '{name}' is left out: {reason}")


@cli.command()
@with_config
@click.option("--output", type=click.Path(path_type=Path), help="Directory of the run (default: runs/<name>-<NNN>).")
@click.option("--resume", is_flag=True, help="Go on with the run in --output, or the newest of this name.")
def run(config: Path, overrides: tuple[str, ...], modules: tuple[str, ...], output: Path | None, resume: bool) -> None:
    """Train CONFIG. Also: accelerate launch -m coupling run CONFIG."""
    from coupling.config import load_config
    from coupling.trainer import train

    plugins = _load_plugins(modules)
    directory = train(load_config(config, overrides, plugins=plugins), output, resume=resume, plugins=plugins)
    if os.environ.get("RANK", "0") == "0":  # every process of a launch comes here; one speaks
        click.echo(str(directory.path))


@cli.command()
@with_config
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the sharing graph into this SVG file.")
def check(config: Path, overrides: tuple[str, ...], modules: tuple[str, ...], picture: Path | None) -> None:
    """Validate and build CONFIG; print domains, sharing, parameters, cost of a step. Trains nothing."""
    from coupling.config import load_config
    from coupling.inspection import print_check
    from coupling.sharing_picture import sharing_picture

    plugins = _load_plugins(modules)
    networks = print_check(load_config(config, overrides, plugins=plugins), plugins, _console())
    if picture is not None:
        try:
            picture.write_text(sharing_picture(networks.graphs), encoding="utf-8")
        except OSError as error:
            raise InputError(f"--picture {picture}: cannot be written: {error.strerror}") from None


@cli.command()
@with_config
@click.option("--output", type=click.Path(path_type=Path), help="Directory of the sweep (default: sweeps/<name>).")
@click.option("--jobs", type=click.IntRange(1), help="Runs at once (default: one a GPU, or one a core).")
@click.option("--only", multiple=True, metavar="AXIS=LABEL", help="Run only these cells. May be repeated.")
@click.option("--dry-run", is_flag=True, help="Validate, and print the runs and how far each is; train nothing.")
def sweep(
    config: Path,
    overrides: tuple[str, ...],
    modules: tuple[str, ...],
    output: Path | None,
    jobs: int | None,
    only: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Run the grid and seeds of CONFIG, or go on with them; write and print the table."""
    from coupling.grid import load_grid
    from coupling.inspection import print_standings
    from coupling.sweep import Sweep

    plugins = _load_plugins(modules)
    work = Sweep(load_grid(config, overrides, plugins=plugins), output, plugins, modules=modules, only=only)
    if dry_run:
        work.directory.refuse_other()
        work.check()
        print_standings(work.standings(), _console())
        return
    table = work.run(jobs)
    if table.results:
        click.echo(table.markdown())
    click.echo(str(work.directory.path))
    if (failure := work.failed()) is not None:
        raise failure


@cli.command()
@run_argument
@click.option("--count", default=64, show_default=True, type=click.IntRange(1), help="Samples a domain.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the latent codes.")
@click.option(
    "--format", "kind", type=click.Choice(["folder", "zip", "webdataset"]), default="folder", show_default=True,
    help="PNGs in a folder a domain, in a zip a domain, or pairs in tar shards.",
)  # fmt: skip
@click.option("--shard-size", type=click.IntRange(1), help="Samples in a shard of a webdataset (default: 4096).")
@click.option(
    "--truncation", type=click.FloatRange(0, min_open=True), help="Furthest coordinate of a code: typical samples only."
)
@click.option(
    "--keep", type=click.FloatRange(0, 1, min_open=True),
    help="Share of the codes that is kept: those that the discriminators take for real first.",
)  # fmt: skip
@device_option
@click.option("--output", type=click.Path(path_type=Path), help="Directory (default: in the run, sampled).")
@plugin_option
def sample(
    run: Path,
    count: int,
    seed: int,
    kind: SampleFormat,
    shard_size: int | None,
    truncation: float | None,
    keep: float | None,
    device: str | None,
    output: Path | None,
    modules: tuple[str, ...],
) -> None:
    """Draw corresponding images of RUN, or go on with it: OUTPUT/<domain>/000000.png, a grid, a manifest."""
    from coupling.device import chosen_device
    from coupling.model import load_model
    from coupling.run_directory import beside
    from coupling.sampling import write_samples
    from coupling.selection import Selection

    model = load_model(run, device=chosen_device(device), plugins=_load_plugins(modules))
    selection = Selection(model, seed, truncation, keep)
    click.echo(str(write_samples(selection, output or beside(run, "sampled"), count, kind, shard_size, str(run))))


@cli.command()
@run_argument
@click.option("--steps", type=click.IntRange(2, 256), help="Codes along a path (default: 12, of a GIF 32).")
@click.option("--pairs", default=4, show_default=True, type=click.IntRange(1, 64), help="Paths.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the latent codes.")
@click.option(
    "--interpolation",
    type=click.Choice(["straight", "spherical"]),
    help="Default: straight for a uniform prior, spherical for a normal one.",
)
@click.option(
    "--seconds", default=4.0, show_default=True, type=click.FloatRange(0.1, 600), help="Of a GIF, there and back."
)
@click.option("--output", type=click.Path(path_type=Path), help="A .png or .gif (default: in the run, traversal.png).")
@device_option
@plugin_option
def traverse(
    run: Path,
    steps: int | None,
    pairs: int,
    seed: int,
    interpolation: Interpolation | None,
    seconds: float,
    device: str | None,
    output: Path | None,
    modules: tuple[str, ...],
) -> None:
    """Draw the paths between latent codes of RUN in every domain: a picture, or one that moves."""
    from coupling.device import chosen_device
    from coupling.model import load_model
    from coupling.run_directory import beside
    from coupling.traversal import check_file, write_traversal

    file = output or beside(run, "traversal.png")
    check_file(file)
    model = load_model(run, device=chosen_device(device), plugins=_load_plugins(modules))
    write_traversal(model, file, pairs=pairs, steps=steps, seed=seed, interpolation=interpolation, seconds=seconds)
    click.echo(str(file))


@cli.command()
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
    from coupling.evaluation import evaluate, print_scores, told

    result = evaluate(
        run,
        metrics or None,
        which=which,
        output=output,
        device=device,
        overrides=overrides,
        plugins=_load_plugins(modules),
    )
    print_scores(result, _console())
    told(result, run, output)


@cli.command()
@run_argument
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path))
@click.option("--from", "from_", required=True, metavar="DOMAIN", help="The domain that the images are of.")
@click.option("--to", multiple=True, metavar="DOMAIN", help="A domain to carry them into (default: all others).")
@click.option("--output", type=click.Path(path_type=Path), help="Directory (default: in the run, transformed).")
@click.option("--fit", type=click.Choice(["crop", "stretch"]), help="What may be done to other proportions.")
@click.option(
    "--encoder", "encodes", is_flag=True,
    help="Start one search an image where an encoder says, which is learned at first and kept.",
)  # fmt: skip
@click.option("--restarts", default=4, show_default=True, type=click.IntRange(1, 1024), help="Starts an image.")
@click.option("--iterations", default=200, show_default=True, type=click.IntRange(0), help="Of L-BFGS, at most.")
@click.option(
    "--feature-weight", default=0.0, show_default=True, type=click.FloatRange(0), help="Of features beside pixels."
)
@click.option("--feature-layer", default=-2, show_default=True, help="Discriminator layer that gives the features.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the codes to start from.")
@click.option(
    "--threshold", type=click.FloatRange(0), help="Error above which an image is flagged (default: measured)."
)
@click.option("--no-flag", is_flag=True, help="Do not measure which error real samples of the domain have.")
@device_option
@plugin_option
def transform(
    run: Path,
    images: tuple[Path, ...],
    from_: str,
    to: tuple[str, ...],
    output: Path | None,
    fit: Fit | None,
    encodes: bool,
    restarts: int,
    iterations: int,
    feature_weight: float,
    feature_layer: int,
    seed: int,
    threshold: float | None,
    no_flag: bool,
    device: str | None,
    modules: tuple[str, ...],
) -> None:
    """Carry IMAGEs, files or folders, from one domain of RUN into others; print how well each was found."""
    from coupling.coverage import known_coverage
    from coupling.device import chosen_device
    from coupling.encoder import known_encoder
    from coupling.given_images import read_images
    from coupling.inversion import Search
    from coupling.model import load_model
    from coupling.run_directory import beside, run_of
    from coupling.transformation import (
        check_output,
        print_errors,
        results_folder,
        transform_files,
        wanted_domains,
        write_transformed,
    )

    plugins = _load_plugins(modules)
    model = load_model(run, device=chosen_device(device), plugins=plugins)
    others = wanted_domains(model, from_, to)
    check_output(output)
    given = read_images(images, model.domains[from_], fit)
    search = Search(
        restarts=restarts,
        iterations=iterations,
        feature_weight=feature_weight,
        feature_layer=feature_layer,
        seed=seed,
    )
    encoder = None
    if encodes:
        kept = beside(run, f"encoder-{from_}-{model.digest[:8]}.safetensors")
        encoder = known_encoder(model, from_, plugins, kept)
    if threshold is None and not no_flag:
        coverage = known_coverage(model, from_, search, plugins, run_of(run), encoder)
        if coverage is not None:
            remark(str(coverage))
            threshold = coverage.threshold
    found = transform_files(model, given, from_, others, search, encoder)
    folder = results_folder(run, output)
    write_transformed(model, given, from_, found, threshold, folder)
    print_errors(given, found, threshold, _console())
    click.echo(str(folder))


@cli.command()
@run_argument
@click.option("--output", type=click.Path(path_type=Path), help="File (default: in the run, report.html).")
@plugin_option
def report(run: Path, output: Path | None, modules: tuple[str, ...]) -> None:
    """Write one HTML page about RUN that needs nothing else: samples, traversal, curves, scores, sharing, settings."""
    from coupling.report import model_of, reported_run, write_report
    from coupling.run_directory import beside

    plugins = _load_plugins(modules)
    directory = reported_run(run, plugins)
    click.echo(str(write_report(directory, model_of(run, plugins), output or beside(run, "report.html"), plugins)))


@cli.command()
@run_argument
@click.option("--format", "kind", type=click.Choice(["safetensors", "onnx"]), help="Default: as --output has it.")
@click.option("--output", metavar="PATH", type=click.Path(path_type=Path), help="File (default: in the run, its name).")
@click.option("--opset", default=18, show_default=True, type=click.IntRange(18, 23), help="ONNX: version of operators.")
@plugin_option
def export(run: Path, kind: Format | None, output: Path | None, opset: int, modules: tuple[str, ...]) -> None:
    """Write the model of RUN for others: safetensors for coupling, or its generators as one ONNX graph."""
    from coupling.export import export_onnx, export_safetensors, format_of
    from coupling.model import load_model
    from coupling.run_directory import beside

    kind = format_of(output, kind)
    model = load_model(run, plugins=_load_plugins(modules))
    path = output or beside(run, f"{model.config.name}.{kind}")
    if kind == "onnx":
        export_onnx(model, path, opset)
    else:
        export_safetensors(model, path)
    click.echo(str(path))


@cli.command()
@click.argument("name", required=False)
@plugin_option
def plugins(name: str | None, modules: tuple[str, ...]) -> None:
    """List what is registered and by whom; with NAME, one component's options."""
    from coupling.inspection import print_component, print_plugins

    if name is None:
        print_plugins(installed(modules), _console())
    else:
        print_component(name, _load_plugins(modules), _console())


@cli.command("new-plugin")
@click.argument("name")
def new_plugin(name: str) -> None:
    """Write a plugin as a starting point: the folder coupling-NAME, which installs, passes its tests and runs."""
    from coupling.new_plugin import write_plugin

    folder = write_plugin(name, Path(), _load_plugins(()).registry)
    word = folder.name.removeprefix("coupling-")
    remark(f"next: cd {folder} && pip install -e '.[test]' && pytest && coupling run {word}.yaml")
    click.echo(str(folder))


@cli.command()
@click.option("--sweep", is_flag=True, help="Of a sweep's file, rather than a run's configuration.")
@plugin_option
def schema(sweep: bool, modules: tuple[str, ...]) -> None:
    """Print the JSON schema of the configuration, with all plugins' options."""
    from coupling.schema import config_schema, sweep_schema

    make = sweep_schema if sweep else config_schema
    click.echo(json.dumps(make(_load_plugins(modules).registry), indent=2))
