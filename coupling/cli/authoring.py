"""Commands for authors of plugins and configurations: ``plugins``, ``new-plugin``, ``schema``, ``doctor``, ``help``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from coupling.cli import json_documents
from coupling.cli.group import console, load_plugins, plugin_option, root_group
from coupling.cli.json_documents import json_option, print_json
from coupling.cli.new_plugin import write_plugin
from coupling.errors import InputError
from coupling.plugins import installed
from coupling.system.terminal import print_line


@click.command()
@click.argument("name", required=False, metavar="[KIND|NAME]")
@click.option("--available", is_flag=True, help="List plugins that can be installed, and what is installed of them.")
@json_option
@plugin_option
@click.pass_context
def plugins(ctx: click.Context, name: str | None, available: bool, as_json: bool, modules: tuple[str, ...]) -> None:
    """List the components that configurations may name.

    KIND is architecture, dataset, transform, loss or metric, and lists the components of this kind only. With the NAME
    of a component, print its options.
    """
    from coupling.cli import component_tables as tables

    if available:
        _list_available(name, as_json)
        return
    kind = None if name is None else tables.kind_called(name)
    ours = root_group(ctx).commands
    if name is not None and kind is None:
        found = load_plugins(modules)
        if as_json:
            print_json(json_documents.with_options(tables.components_called(name, found)))
        else:
            tables.print_component(name, found, console())
    elif as_json:
        found = installed(modules)
        commands = tables.plugin_commands(ours) if kind is None else {}
        print_json(json_documents.listed(tables.components_of(kind, found), found, commands))
    else:
        tables.print_plugins(installed(modules), kind, ours, console())


def _list_available(name: str | None, as_json: bool) -> None:
    from coupling.cli.available_plugins import available_plugins, print_available

    if name is not None:
        raise InputError(f"--available lists whole plugins; leave '{name}' out, or --available")
    if as_json:
        print_json({"available": [plugin.plain() for plugin in available_plugins()]})
    else:
        print_available(console())


@click.command("new-plugin")
@click.argument("name")
def new_plugin(name: str) -> None:
    """Write a plugin to start from into the folder coupling-NAME.

    It can be installed, passes its tests, and has a configuration that trains with it. NAME may also be given as
    coupling-NAME.
    """
    folder = write_plugin(name, Path(), load_plugins(()).registry)
    word = folder.name.removeprefix("coupling-")
    print_line(f"next: cd {folder} && pip install -e '.[test]' && pytest && coupling run {word}.yaml")
    click.echo(str(folder))


@click.command()
@click.option("--sweep", is_flag=True, help="Print the schema of a sweep's file, not of a run's configuration.")
@plugin_option
def schema(sweep: bool, modules: tuple[str, ...]) -> None:
    """Print the JSON schema of configurations, for editors.

    It has the options of all components of the installed plugins.
    """
    from coupling.config.json_schema import config_schema
    from coupling.sweeps.json_schema import sweep_schema

    make = sweep_schema if sweep else config_schema
    click.echo(json.dumps(make(load_plugins(modules).registry), indent=2))


@click.command()
@json_option
@plugin_option
def doctor(as_json: bool, modules: tuple[str, ...]) -> None:
    """Show what this environment has, and what is wrong with it.

    Versions, devices, Accelerate's configuration, extras, plugins with the reasons of those that failed, and the data
    that are there. Reports of bugs should include it.
    """
    from coupling.cli.diagnosis import diagnose

    facts = diagnose(installed(modules))
    if as_json:
        print_json(facts)
        return
    problems = facts.pop("problems")
    for section, values in facts.items():
        click.echo(f"{section}")
        for name, value in values.items():
            click.echo(f"  {name}: {value}")
    for problem in problems:
        click.echo(f"problem: {problem}")
    click.echo(
        "no problem was found" if not problems else f"{len(problems)} found; the lines above say how to fix them"
    )


@click.command("help")
@click.argument("command", required=False)
@click.pass_context
def help_(ctx: click.Context, command: str | None) -> None:
    """Show the help of a command, or this list of commands."""
    root = ctx.find_root()
    if command is None:
        click.echo(root.get_help())
        return
    name, found, _ = root_group(ctx).resolve_command(root, [command])
    assert found is not None
    found.make_context(name, ["--help"], parent=root)  # prints the help and exits
