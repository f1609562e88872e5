"""The command group, which alone turns errors into exit codes, and the options that several commands take."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem
from rich.console import Console

from coupling.cli.plugin_commands import hook_is_used, hooked_commands, listed_commands
from coupling.errors import CouplingError, InputError, nearest
from coupling.plugins import Plugins, installed
from coupling.runs.demos import demo_name, demo_names
from coupling.system.collector import rare_collections
from coupling.system.file_names import expand_home
from coupling.system.signals import Terminated, terminable
from coupling.system.terminal import print_important, show_origin, warn


class CouplingGroup(click.Group):
    """The command group. Our own errors end as one message and an exit code, never as a traceback.

    Help, completion and the message on an unknown command import neither torch nor plugins, so that they are quick.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections: dict[str, list[click.Command]] = {}

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit with its code."""
        try:
            return super().main(*args, **kwargs)
        except CouplingError as error:
            show_origin(error)
            is_error = error.exit_code <= 128  # an interruption is none
            print_important(f"error: {error}" if is_error else str(error))
            sys.exit(error.exit_code)
        except OSError as error:  # commands catch errors of the files that they write; this is standard output
            show_origin(error)
            print_important(f"error: the output cannot be written: {error.strerror or error}")
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an interruption outside training exits with the code that a shell gives it."""
        try:
            with terminable():
                return super().invoke(ctx)
        except Terminated:
            print_important("terminated")
            ctx.exit(143)
        except KeyboardInterrupt:
            print_important("interrupted")
            ctx.exit(130)

    def add_section(self, title: str, *commands: click.Command) -> None:
        """Add commands, which the help lists together under ``title``."""
        self.sections[title] = list(commands)
        for command in commands:
            self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our own commands in the order in which they were added, then those of the entry-point group."""
        return list(dict.fromkeys([*self.commands, *listed_commands()]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Our own commands come first, then those of the entry-point group, then those of the hook."""
        return (
            super().get_command(ctx, cmd_name)
            or listed_commands().get(cmd_name)
            or hooked_commands(self.commands).get(cmd_name)
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section, each with the whole first sentence of its help."""
        others: list[click.Command] = [
            command for name, command in listed_commands().items() if name not in self.commands
        ]
        for title, commands in {**self.sections, "Commands of plugins": others}.items():
            if commands:
                with formatter.section(title):
                    formatter.write_dl([(str(c.name), c.get_short_help_str(limit=200)) for c in commands])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command as click does; an unknown one is an error that proposes the nearest name."""
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            known = [*self.list_commands(ctx), *hooked_commands(self.commands)]
            if hook_is_used():
                warn_of_broken(installed())  # the command may be one of theirs
            if demo_name(name) is not None:
                ctx.fail(f"'{name}' is a model, not a command; put a command before it: coupling sample {name}")
            ctx.fail(f"no command '{name}'; {nearest(name, known)}")
        return super().resolve_command(ctx, args)


class Number(click.FloatRange):
    """A number in a range; "nan" is an error."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert as click does, but reject "nan", which is neither below nor above any bound."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class HomePath(click.Path):
    """A path, with the home directory in place of ``~``: shells insert it in ``--output ~/x``, not in ``--output=~/x``.

    A user that does not exist is an error.
    """

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert text to a :class:`Path`.

        Args:
            value: text of the command line.
            param: the option or argument, which messages name.
            ctx: context of the command.
        """
        name = "path" if param is None else param.opts[0]
        return expand_home(Path(str(super().convert(value, param, ctx))), name)


plugin_option = click.option(
    "--plugin",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="Also load this plugin: a module or a .py file. May be repeated.",
)
"""Decorator of a command that takes ``--plugin``: the parameter ``modules`` is what ``plugins=`` of a function
takes."""


set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="K=V",
    help="Change a key of the configuration, for example training.steps=10. May be repeated.",
)


device_option = click.option("--device", help="Where the model runs: cpu, cuda, ... (default: a GPU if there is one).")


class RunPath(HomePath):
    """A run, a model or the address of a demo; completion offers the names of demos beside paths."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer the demos whose address begins with ``incomplete``, and paths.

        Args:
            ctx: context of the command.
            param: the argument.
            incomplete: what has been typed of it.
        """
        demos = [CompletionItem(f"demo:{name}") for name in demo_names() if f"demo:{name}".startswith(incomplete)]
        return [*demos, *([] if incomplete.startswith("demo:") else super().shell_complete(ctx, param, incomplete))]


run_argument = click.argument("run", type=RunPath())
"""Decorator of a command that takes RUN: a run directory, a checkpoint or a model; the parameter ``run`` is a Path."""


config_argument = click.argument("config", type=HomePath())


def with_config(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and options that every command on a configuration takes."""
    return config_argument(set_option(plugin_option(command)))


def root_group(ctx: click.Context) -> CouplingGroup:
    """The group ``coupling`` that a command belongs to."""
    group = ctx.find_root().command
    assert isinstance(group, CouplingGroup)
    return group


@rare_collections()
def load_plugins(modules: Iterable[str]) -> Plugins:
    """Load the installed plugins and the modules of ``--plugin``; warn of those that cannot be used."""
    plugins = installed(tuple(modules))
    warn_of_broken(plugins)
    return plugins


def warn_of_broken(plugins: Plugins) -> None:
    """Warn of every installed plugin that could not be loaded."""
    for name, reason in plugins.registry.broken.items():
        warn(f"plugin '{name}' is left out: {reason}")


@contextmanager
def options_as_typed(options: Iterable[str]) -> Iterator[None]:
    """A block in which an error "NAME is VALUE; FIX" becomes "--NAME VALUE; FIX" for these names of parameters."""
    try:
        yield
    except InputError as error:
        name, separator, rest = str(error).partition(" is ")
        if not separator or name not in options:
            raise
        raise type(error)(f"--{name.replace('_', '-')} {rest}") from None


def console() -> Console:
    """A console that prints results as they are: brackets and colons in descriptions are not markup."""
    width = None if sys.stdout.isatty() else 240  # a pipe has no width: lines stay whole, to be searched
    return Console(markup=False, highlight=False, emoji=False, width=width)
