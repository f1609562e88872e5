"""The commands ``serve``, a page for models of any size, and ``push``, which puts a model and its page on the hub."""

from __future__ import annotations

from pathlib import Path

import click

from coupling.cli.group import HomePath, device_option, load_plugins, plugin_option, run_argument


@click.command()
@run_argument
@click.option("--host", help="Address to listen on; 0.0.0.0 lets other machines use the page (default: 127.0.0.1).")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port to listen on (default: the first free one from 7860)."
)
@click.option("--share", is_flag=True, help="Make a public link through gradio.live, for a week at most.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@click.option(
    "--write",
    "folder",
    metavar="FOLDER",
    type=HomePath(),
    help="Serve nothing; write a folder that serves the page with `python app.py`, as a Hugging Face Space does.",
)
@device_option
@plugin_option
def serve(
    run: Path,
    host: str | None,
    port: int | None,
    share: bool,
    opens: bool,
    folder: Path | None,
    device: str | None,
    modules: tuple[str, ...],
) -> None:
    """Serve a page that draws with the model on this machine.

    It has the controls of `coupling explore`, for models that are too large for a browser: every domain side by side,
    sliders for the main directions of the latent code, paths between codes, and pictures of your own.
    """
    from coupling.api import load_model
    from coupling.reports.space import write_space
    from coupling.reports.web_app import check_gradio, serve
    from coupling.system.device import chosen_device

    plugins = load_plugins(modules)
    if folder is not None:
        click.echo(str(write_space(load_model(run, plugins=plugins), folder, plugins.registry)))
        return
    check_gradio()
    model = load_model(run, device=chosen_device(device), plugins=plugins)
    serve(model, host, port, share=share, ready=click.launch if opens else lambda address: None)


@click.command()
@run_argument
@click.argument("repository", metavar="USER/MODEL")
@click.option("--space", is_flag=True, help="Also push a Space of the same name: a page on which to try the model.")
@click.option("--private", is_flag=True, help="Make new repositories private (default: as the account is set up).")
@plugin_option
def push(run: Path, repository: str, space: bool, private: bool, modules: tuple[str, ...]) -> None:
    """Put a trained model on the Hugging Face hub, with its card.

    Log in with `hf auth login` first. Missing repositories are created. Prints the addresses of their pages.
    """
    from coupling.api import load_model
    from coupling.reports.space import push_space

    plugins = load_plugins(modules)
    model = load_model(run, plugins=plugins)
    if space:  # first: what it lacks is then known before anything is uploaded
        click.echo(push_space(model, repository, plugins.registry, private=private or None))
    click.echo(model.push_to_hub(repository, private=private or None))
