"""The command ``demo``: finished models that travel with the plugins."""

from __future__ import annotations

import click

from coupling.cli.group import console
from coupling.runs.demos import demo_names


def complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The demos whose name begins with ``incomplete``, for the completion of shells."""
    return [name for name in demo_names() if name.startswith(incomplete)]


@click.command()
@click.argument("name", required=False, shell_complete=complete_name)
def demo(name: str | None) -> None:
    """List finished models to try without training.

    Every command that takes RUN also takes demo:NAME. With a NAME, print what the model is and the configuration that
    made it.
    """
    from coupling.cli.demo_tables import print_demo, print_demos

    if name is None:
        print_demos(console())
    else:
        print_demo(name.removeprefix("demo:"), console())
