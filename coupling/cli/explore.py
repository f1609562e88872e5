"""The command ``explore``: a page that draws with a model in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from coupling.cli.group import HomePath, load_plugins, plugin_option, run_argument
from coupling.errors import InputError


@click.command()
@run_argument
@click.option("--output", type=HomePath(), help="HTML file to write (default: explore.html in the run).")
@click.option(
    "--encoder",
    "domain",
    metavar="DOMAIN",
    help="Let users of the page give samples of this domain; an encoder is trained once and saved.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@plugin_option
def explore(run: Path, output: Path | None, domain: str | None, opens: bool, modules: tuple[str, ...]) -> None:
    """Write a page that draws with the model in a browser.

    The page is one file and needs no network: every domain side by side, sliders for the main directions of the latent
    code, paths between codes that play, and links that show the same picture.
    """
    from coupling.api import load_model
    from coupling.generation.encoder import encoder_file, load_or_train_encoder
    from coupling.reports.explorer import page_domains, write_explorer
    from coupling.runs.locations import output_path

    if output is not None and output.suffix not in (".html", ".htm"):
        raise InputError(f"--output {output}: a page is an .html file; give a name that ends in .html")
    plugins = load_plugins(modules)
    model = load_model(run, plugins=plugins)
    page_domains(model, domain)  # before an encoder is trained
    encoder = (
        None if domain is None else load_or_train_encoder(model, domain, plugins, encoder_file(run, model, domain))
    )
    file = write_explorer(model, output or output_path(run, "explore.html"), encoder)
    click.echo(str(file))
    if opens:
        click.launch(str(file.absolute()))
