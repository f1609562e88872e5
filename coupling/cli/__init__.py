"""The command line: thin commands, in the order in which they are used."""

from __future__ import annotations

import click

from coupling.cli.authoring import new_plugin, plugins, schema
from coupling.cli.drawing import sample, transform, traverse
from coupling.cli.group import CouplingGroup, plugin_option, run_argument
from coupling.cli.results import evaluate, export, report
from coupling.cli.training import check, run, sweep
from coupling.version import __version__

__all__ = ["cli", "plugin_option", "run_argument"]


@click.group(cls=CouplingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="coupling")
def cli() -> None:
    """Coupled GANs: learn the joint distribution of unpaired image domains."""


for _command in (run, check, sweep, sample, traverse, evaluate, transform, report, export, plugins, new_plugin, schema):
    cli.add_command(_command)
