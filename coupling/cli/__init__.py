"""The command line: thin commands, listed in the order in which they are used."""

from __future__ import annotations

from functools import partial

import click

from coupling.cli.authoring import doctor, help_, new_plugin, plugins, schema
from coupling.cli.cache import cache
from coupling.cli.demo import demo
from coupling.cli.drawing import sample, transform, traverse
from coupling.cli.explore import explore
from coupling.cli.group import CouplingGroup, plugin_option, run_argument
from coupling.cli.results import compare, evaluate, export, report
from coupling.cli.serve import push, serve
from coupling.cli.training import check, run, sweep
from coupling.system.terminal import console
from coupling.version import __version__

__all__ = ["cli", "plugin_option", "run_argument"]


@click.group(cls=CouplingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="coupling")
@click.option("-q", "--quiet", is_flag=True, help="Show results, warnings and errors only, no progress.")
@click.pass_context
def cli(ctx: click.Context, quiet: bool) -> None:
    """Coupled GANs: learn the joint distribution of unpaired image domains."""
    console.quiet = quiet
    ctx.call_on_close(partial(setattr, console, "quiet", False))


cli.add_section("Try a finished model", demo)
cli.add_section("Train", run, check)
cli.add_section("Draw with a trained model", sample, traverse, transform, explore, serve)
cli.add_section("Measure, report, export", evaluate, report, compare, export, push)
cli.add_section("Train many", sweep)
cli.add_section("Components and help", plugins, new_plugin, schema, doctor, cache, help_)
