"""Commands that train: ``run``, ``sweep``, and ``check``, which looks at what would be."""

from __future__ import annotations

from pathlib import Path

import click

from coupling.cli.group import console, load_plugins, with_config
from coupling.errors import InputError


@click.command()
@with_config
@click.option("--output", type=click.Path(path_type=Path), help="Directory of the run (default: runs/<name>-<NNN>).")
@click.option("--resume", is_flag=True, help="Go on with the run in --output, or the newest of this name.")
def run(config: Path, overrides: tuple[str, ...], modules: tuple[str, ...], output: Path | None, resume: bool) -> None:
    """Train CONFIG. Also: accelerate launch -m coupling run CONFIG."""
    from coupling.api import load_config
    from coupling.training.launch import speaks
    from coupling.training.trainer import train

    plugins = load_plugins(modules)
    directory = train(load_config(config, overrides, plugins=plugins), output, resume=resume, plugins=plugins)
    if speaks():  # every process of a launch comes here
        click.echo(str(directory.path))


@click.command()
@with_config
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the sharing graph into this SVG file.")
def check(config: Path, overrides: tuple[str, ...], modules: tuple[str, ...], picture: Path | None) -> None:
    """Validate and build CONFIG; print domains, sharing, parameters, cost of a step. Trains nothing."""
    from coupling.api import load_config
    from coupling.cli.tables import print_check
    from coupling.sharing.picture import sharing_picture

    if picture is not None and picture.suffix != ".svg":
        raise InputError(f"--picture {picture}: is drawn as SVG; give it the suffix .svg")
    plugins = load_plugins(modules)
    networks = print_check(load_config(config, overrides, plugins=plugins), plugins, console())
    if picture is not None:
        try:
            picture.write_text(sharing_picture(networks.graphs), encoding="utf-8")
        except OSError as error:
            raise InputError(f"--picture {picture}: cannot be written: {error.strerror}") from None


@click.command()
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
    from coupling.cli.tables import print_statuses
    from coupling.sweeps.grid import load_grid
    from coupling.sweeps.sweep import Sweep

    plugins = load_plugins(modules)
    work = Sweep(load_grid(config, overrides, plugins=plugins), output, plugins, modules=modules, only=only)
    if dry_run:
        work.directory.check_not_taken()
        work.check()
        print_statuses(work.statuses(), console())
        return
    table = work.run(jobs)
    if table.results:
        click.echo(table.markdown())
    click.echo(str(work.directory.path))
    if (failure := work.failed()) is not None:
        raise failure
