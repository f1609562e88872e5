"""Commands that train, ``run`` and ``sweep``, and ``check``, which validates a configuration."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from coupling.cli import json_documents
from coupling.cli.group import HomePath, console, load_plugins, with_config
from coupling.cli.json_documents import json_option, print_json
from coupling.errors import InputError
from coupling.system.allocator import keep_freed_memory
from coupling.system.atomic_files import try_writing, writing
from coupling.system.collector import rare_collections


@click.command()
@with_config
@click.option("--output", type=HomePath(), help="Directory of the run (default: runs/NAME-001, 002, ...).")
@click.option("--resume", is_flag=True, help="Continue the run in --output, or the newest run of this name.")
def run(config: Path, overrides: tuple[str, ...], modules: tuple[str, ...], output: Path | None, resume: bool) -> None:
    """Train the networks that CONFIG describes.

    Several processes or GPUs: accelerate launch -m coupling run CONFIG.
    """
    with rare_collections():
        from coupling.api import load_config
        from coupling.system.terminal import print_line
        from coupling.training.launch import is_main_process
        from coupling.training.trainer import train

    keep_freed_memory()
    plugins = load_plugins(modules)
    directory = train(load_config(config, overrides, plugins=plugins), output, resume=resume, plugins=plugins)
    if is_main_process():  # every process of a launch comes here
        click.echo(str(directory.path))
        given = [str(directory.path), *(word for module in modules for word in ("--plugin", module))]
        print_line("next: " + "; ".join(shlex.join(["coupling", verb, *given]) for verb in ("sample", "report")))


@click.command()
@with_config
@click.option("--picture", type=HomePath(), help="Also draw the sharing graph into this SVG file.")
@json_option
def check(
    config: Path, overrides: tuple[str, ...], modules: tuple[str, ...], picture: Path | None, as_json: bool
) -> None:
    """Check CONFIG and build its networks, without training.

    Prints the domains, the shared layers, the numbers of parameters and the cost of a training step. If CONFIG extends
    another file, it also prints the complete configuration.
    """
    from coupling.api import load_config
    from coupling.cli.check_tables import build, print_check
    from coupling.config.inheritance import extended_files
    from coupling.config.json_schema import outdated_schema, schema_address
    from coupling.config.yaml_text import read_text
    from coupling.sharing.picture import sharing_picture
    from coupling.system.terminal import warn

    if picture is not None and picture.suffix != ".svg":
        raise InputError(f"--picture {picture}: the picture is an SVG file; give a name that ends in .svg")
    if picture is not None:
        with writing(f"--picture {picture}", "give another file"):
            try_writing(picture.parent)
    plugins = load_plugins(modules)
    checked = load_config(config, overrides, plugins=plugins)
    data, networks = build(checked, plugins)
    parents = extended_files(config)
    if as_json:
        print_json(json_documents.checked(checked, parents, data, networks, plugins))
    else:
        print_check(checked, data, networks, plugins, console())
    if (version := outdated_schema(read_text(config))) is not None:
        warn(f"{config}: its first line names the schema of version {version}; this is {schema_address('run')}")
    if parents and not as_json:
        click.echo(f"\nconfiguration, complete with {', '.join(map(str, parents))}\n{checked.yaml()}", nl=False)
    if picture is not None:
        with writing(f"--picture {picture}", "give another file"):
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_text(sharing_picture(networks.graphs), encoding="utf-8")


@click.command()
@with_config
@click.option("--output", type=HomePath(), help="Directory of the sweep (default: sweeps/NAME).")
@click.option(
    "--jobs", type=click.IntRange(1), help="Runs at the same time (default: one for each GPU, or for each core)."
)
@click.option(
    "--only", multiple=True, metavar="AXIS=LABEL", help="Run only the cells with this label. May be repeated."
)
@click.option("--dry-run", is_flag=True, help="Check all runs and print how far each is, without training.")
@json_option
def sweep(
    config: Path,
    overrides: tuple[str, ...],
    modules: tuple[str, ...],
    output: Path | None,
    jobs: int | None,
    only: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train every cell of a grid with every seed.

    CONFIG is a sweep's file. The same command continues an interrupted sweep. Writes and prints a table of the results.
    """
    from coupling.cli.tables import print_statuses
    from coupling.sweeps.grid import load_grid
    from coupling.sweeps.sweep import Sweep

    plugins = load_plugins(modules)
    work = Sweep(load_grid(config, overrides, plugins=plugins), output, plugins, modules=modules, only=only)
    if dry_run:
        work.directory.check_not_taken()
        work.check()
        if as_json:
            print_json(json_documents.swept(work, None, work.statuses()))
        else:
            print_statuses(work.statuses(), console())
        return
    table = work.run(jobs)
    if as_json:
        print_json(json_documents.swept(work, table, work.statuses()))
    else:
        if table.results:
            click.echo(table.markdown())
        click.echo(str(work.directory.path))
    if (failure := work.failed()) is not None:
        raise failure
