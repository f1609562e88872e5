"""Commands that draw with a trained model: ``sample``, ``traverse``, ``transform``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coupling.cli.group import (
    HomePath,
    Number,
    console,
    device_option,
    load_plugins,
    options_as_typed,
    plugin_option,
    run_argument,
)
from coupling.cli.json_documents import json_option, print_json
from coupling.errors import InputError

if TYPE_CHECKING:
    from coupling.generation.given_images import Fit
    from coupling.generation.sample_files import Format as SampleFormat
    from coupling.model.interpolation import Interpolation


scale_option = click.option(
    "--scale", type=click.IntRange(1, 32), help="Enlarge the pixels of the picture by this factor (default: by size)."
)


@click.command()
@run_argument
@click.option(
    "--count", default=64, show_default=True, type=click.IntRange(1), help="Number of samples in each domain."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Random seed of the latent codes.")
@click.option(
    "--format", "kind", type=click.Choice(["folder", "zip", "webdataset"]), default="folder", show_default=True,
    help="Files in one folder or one zip for each domain, or pairs in tar shards.",
)  # fmt: skip
@click.option("--shard-size", type=click.IntRange(1), help="Samples in each shard of a webdataset (default: 4096).")
@click.option(
    "--truncation",
    type=Number(0, min_open=True),
    help="Largest absolute number in a latent code; smaller values give more typical samples.",
)
@click.option(
    "--keep", type=Number(0, 1, min_open=True),
    help="Share of the samples to keep: those that the discriminators find most real.",
)  # fmt: skip
@scale_option
@device_option
@click.option("--output", type=HomePath(), help="Directory to write to (default: sampled in the run).")
@json_option
@plugin_option
def sample(
    run: Path,
    count: int,
    seed: int,
    kind: SampleFormat,
    shard_size: int | None,
    truncation: float | None,
    keep: float | None,
    scale: int | None,
    device: str | None,
    output: Path | None,
    as_json: bool,
    modules: tuple[str, ...],
) -> None:
    """Draw corresponding samples in all domains.

    Writes OUTPUT/DOMAIN/000000.png and so on, OUTPUT/DOMAIN.npy for samples that are not images, a grid and a
    manifest. The same command continues an interrupted one.
    """
    from coupling.api import load_model
    from coupling.generation.manifest import FILE as MANIFEST
    from coupling.generation.samples import write_samples
    from coupling.generation.selection import Selection
    from coupling.runs.locations import output_path
    from coupling.system.device import chosen_device

    model = load_model(run, device=chosen_device(device), plugins=load_plugins(modules))
    with options_as_typed(["truncation"]):
        selection = Selection(model, seed, truncation, keep)
    folder = output or output_path(run, "sampled")
    root = write_samples(selection, folder, count, kind, shard_size, str(run), scale)
    if as_json:
        print_json({"directory": root, **json.loads((root / MANIFEST).read_text(encoding="utf-8"))})
    else:
        click.echo(str(root))


@click.command()
@run_argument
@click.option(
    "--steps",
    type=click.IntRange(2, 256),
    help="Latent codes on each path (default: 12 for a PNG, 32 for a GIF, 51 for a video).",
)
@click.option("--pairs", type=click.IntRange(1, 64), help="Number of paths between two latent codes (default: 4).")
@click.option(
    "--directions",
    type=click.IntRange(1, 64),
    help="Instead of paths between codes, move one code along this many main directions, 3 deviations to both sides.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Random seed of the latent codes.")
@click.option(
    "--interpolation",
    type=click.Choice(["straight", "spherical"]),
    help="Shape of the paths (default: straight for a uniform prior, spherical for a normal one).",
)
@click.option(
    "--seconds",
    default=4.0,
    show_default=True,
    type=Number(0.1, 600),
    help="Duration of a GIF or video: forward along the paths and back.",
)
@click.option(
    "--output",
    type=HomePath(),
    help="File to write: .png, .gif, .mp4 or .webm (default: traversal.png or directions.png in the run).",
)
@scale_option
@device_option
@plugin_option
def traverse(
    run: Path,
    steps: int | None,
    pairs: int | None,
    directions: int | None,
    seed: int,
    interpolation: Interpolation | None,
    seconds: float,
    scale: int | None,
    device: str | None,
    output: Path | None,
    modules: tuple[str, ...],
) -> None:
    """Draw paths between latent codes in every domain.

    Writes a picture (PNG), an animation (GIF) or a video (MP4, WebM).
    """
    from coupling.api import load_model
    from coupling.generation.traversal import check_file, write_directions, write_traversal
    from coupling.runs.locations import output_path
    from coupling.system.device import chosen_device

    if directions is not None and (pairs is not None or interpolation is not None):
        other = "--pairs" if pairs is not None else "--interpolation"
        raise InputError(f"{other} is about paths between codes, and --directions draws none; leave out one of them")
    file = output or output_path(run, "traversal.png" if directions is None else "directions.png")
    check_file(file)
    model = load_model(run, device=chosen_device(device), plugins=load_plugins(modules))
    if directions is None:
        write_traversal(
            model, file, pairs=pairs or 4, steps=steps, seed=seed, interpolation=interpolation, seconds=seconds,
            scale=scale,
        )  # fmt: skip
    else:
        write_directions(model, file, directions=directions, steps=steps, seed=seed, seconds=seconds, scale=scale)
    click.echo(str(file))


@click.command()
@run_argument
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=HomePath())
@click.option("--from", "from_", required=True, metavar="DOMAIN", help="Domain of the given images.")
@click.option(
    "--to",
    multiple=True,
    metavar="DOMAIN",
    help="Domain to translate the images into. May be repeated (default: all others).",
)
@click.option("--output", type=HomePath(), help="Directory to write to (default: transformed in the run).")
@click.option(
    "--fit",
    type=click.Choice(["crop", "stretch"]),
    help="How to fit images of another aspect ratio (default: they are an error).",
)
@click.option(
    "--encoder", "encodes", is_flag=True,
    help="Start one search of each image at the guess of an encoder, which is trained once and saved.",
)  # fmt: skip
@click.option(
    "--restarts", default=4, show_default=True, type=click.IntRange(1, 1024), help="Random restarts for each image."
)
@click.option(
    "--iterations", default=200, show_default=True, type=click.IntRange(0), help="Maximum number of L-BFGS iterations."
)
@click.option(
    "--feature-weight",
    default=0.0,
    show_default=True,
    type=Number(0),
    help="Weight of the error of discriminator features, which is added to that of pixels.",
)
@click.option(
    "--feature-layer",
    default=-2,
    show_default=True,
    help="Discriminator layer of the features; negative numbers count from the last.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Random seed of the codes from which the searches start.",
)
@click.option(
    "--threshold",
    type=Number(0),
    help="Error above which an image counts as not covered (default: measured on real samples).",
)
@click.option("--no-flag", is_flag=True, help="Skip the check for images that the model cannot draw.")
@click.option("--strict", is_flag=True, help="Stop if one of the images cannot be used; do nothing with the others.")
@device_option
@plugin_option
def transform(
    run: Path,
    images: tuple[Path, ...],
    from_: str,
    to: tuple[str, ...],
    output: Path | None,
    fit: Fit | None,
    encodes: bool,
    threshold: float | None,
    no_flag: bool,
    strict: bool,
    device: str | None,
    modules: tuple[str, ...],
    **search: Any,
) -> None:
    """Translate images from one domain into others.

    An IMAGE is a file, or a folder or zip of images; for domains that are not images, of arrays (.npy). Writes the
    translated images, and prints the error of each reconstruction. Images that cannot be used are listed at the end.
    """
    from coupling.api import load_model
    from coupling.cli.tables import print_errors
    from coupling.generation import transformation
    from coupling.generation.coverage import load_or_measure_threshold
    from coupling.generation.encoder import encoder_file, load_or_train_encoder
    from coupling.generation.given_samples import read_samples
    from coupling.model.inversion import Search, check_search
    from coupling.system.device import chosen_device

    plugins = load_plugins(modules)
    model = load_model(run, device=chosen_device(device), plugins=plugins)
    others = transformation.wanted_domains(model, from_, to)
    settings = Search(**search)
    with options_as_typed(search):
        check_search(model, from_, settings)
    transformation.check_output(run, output)
    given = read_samples(images, model.domains[from_], fit, strict=strict)
    encoder = load_or_train_encoder(model, from_, plugins, encoder_file(run, model, from_)) if encodes else None
    if threshold is None and not no_flag:
        threshold = load_or_measure_threshold(model, from_, settings, plugins, run, encoder)
    found = transformation.transform_files(model, given, from_, others, settings, encoder)
    folder = transformation.results_folder(run, output)
    transformation.write_transformed(model, given, from_, found, threshold, folder)
    print_errors(given, found, threshold, console())
    click.echo(str(folder))
    given.check_complete()
