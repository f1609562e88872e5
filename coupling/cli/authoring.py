"""Commands for authors of plugins and configurations: ``plugins``, ``new-plugin``, ``schema``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from coupling.cli.group import console, load_plugins, plugin_option
from coupling.plugins import installed
from coupling.system.terminal import print_line


@click.command()
@click.argument("name", required=False)
@plugin_option
def plugins(name: str | None, modules: tuple[str, ...]) -> None:
    """List what is registered and by whom; with NAME, one component's options."""
    from coupling.cli.tables import print_component, print_plugins

    if name is None:
        print_plugins(installed(modules), console())
    else:
        print_component(name, load_plugins(modules), console())


@click.command("new-plugin")
@click.argument("name")
def new_plugin(name: str) -> None:
    """Write a plugin as a starting point: the folder coupling-NAME, which installs, passes its tests and runs."""
    from coupling.cli.new_plugin import write_plugin

    folder = write_plugin(name, Path(), load_plugins(()).registry)
    word = folder.name.removeprefix("coupling-")
    print_line(f"next: cd {folder} && pip install -e '.[test]' && pytest && coupling run {word}.yaml")
    click.echo(str(folder))


@click.command()
@click.option("--sweep", is_flag=True, help="Of a sweep's file, rather than a run's configuration.")
@plugin_option
def schema(sweep: bool, modules: tuple[str, ...]) -> None:
    """Print the JSON schema of the configuration, with all plugins' options."""
    from coupling.config.json_schema import config_schema
    from coupling.sweeps.json_schema import sweep_schema

    make = sweep_schema if sweep else config_schema
    click.echo(json.dumps(make(load_plugins(modules).registry), indent=2))
