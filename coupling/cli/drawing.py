"""Commands that draw with a trained model: ``sample``, ``traverse``, ``transform``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from coupling.cli.group import Number, console, device_option, load_plugins, plugin_option, run_argument
from coupling.system.terminal import print_line

if TYPE_CHECKING:
    from coupling.generation.given_images import Fit
    from coupling.generation.sample_files import Format as SampleFormat
    from coupling.model.interpolation import Interpolation


@click.command()
@run_argument
@click.option("--count", default=64, show_default=True, type=click.IntRange(1), help="Samples a domain.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the latent codes.")
@click.option(
    "--format", "kind", type=click.Choice(["folder", "zip", "webdataset"]), default="folder", show_default=True,
    help="PNGs in a folder a domain, in a zip a domain, or pairs in tar shards.",
)  # fmt: skip
@click.option("--shard-size", type=click.IntRange(1), help="Samples in a shard of a webdataset (default: 4096).")
@click.option(
    "--truncation", type=Number(0, min_open=True), help="Furthest coordinate of a code: typical samples only."
)
@click.option(
    "--keep", type=Number(0, 1, min_open=True),
    help="Share of the codes that is kept: those that the discriminators take for real first.",
)  # fmt: skip
@device_option
@click.option("--output", type=click.Path(path_type=Path), help="Directory (default: in the run, sampled).")
@plugin_option
def sample(
    run: Path,
    count: int,
    seed: int,
    kind: SampleFormat,
    shard_size: int | None,
    truncation: float | None,
    keep: float | None,
    device: str | None,
    output: Path | None,
    modules: tuple[str, ...],
) -> None:
    """Draw corresponding images of RUN, or go on with it: OUTPUT/<domain>/000000.png, a grid, a manifest."""
    from coupling.api import load_model
    from coupling.generation.samples import write_samples
    from coupling.generation.selection import Selection
    from coupling.runs.locations import output_path
    from coupling.system.device import chosen_device

    model = load_model(run, device=chosen_device(device), plugins=load_plugins(modules))
    selection = Selection(model, seed, truncation, keep)
    click.echo(str(write_samples(selection, output or output_path(run, "sampled"), count, kind, shard_size, str(run))))


@click.command()
@run_argument
@click.option("--steps", type=click.IntRange(2, 256), help="Codes along a path (default: 12, of a GIF 32).")
@click.option("--pairs", default=4, show_default=True, type=click.IntRange(1, 64), help="Paths.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the latent codes.")
@click.option(
    "--interpolation",
    type=click.Choice(["straight", "spherical"]),
    help="Default: straight for a uniform prior, spherical for a normal one.",
)
@click.option("--seconds", default=4.0, show_default=True, type=Number(0.1, 600), help="Of a GIF, there and back.")
@click.option("--output", type=click.Path(path_type=Path), help="A .png or .gif (default: in the run, traversal.png).")
@device_option
@plugin_option
def traverse(
    run: Path,
    steps: int | None,
    pairs: int,
    seed: int,
    interpolation: Interpolation | None,
    seconds: float,
    device: str | None,
    output: Path | None,
    modules: tuple[str, ...],
) -> None:
    """Draw the paths between latent codes of RUN in every domain: a picture, or one that moves."""
    from coupling.api import load_model
    from coupling.generation.traversal import check_file, write_traversal
    from coupling.runs.locations import output_path
    from coupling.system.device import chosen_device

    file = output or output_path(run, "traversal.png")
    check_file(file)
    model = load_model(run, device=chosen_device(device), plugins=load_plugins(modules))
    write_traversal(model, file, pairs=pairs, steps=steps, seed=seed, interpolation=interpolation, seconds=seconds)
    click.echo(str(file))


@click.command()
@run_argument
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path))
@click.option("--from", "from_", required=True, metavar="DOMAIN", help="The domain that the images are of.")
@click.option("--to", multiple=True, metavar="DOMAIN", help="A domain to carry them into (default: all others).")
@click.option("--output", type=click.Path(path_type=Path), help="Directory (default: in the run, transformed).")
@click.option("--fit", type=click.Choice(["crop", "stretch"]), help="What may be done to other proportions.")
@click.option(
    "--encoder", "encodes", is_flag=True,
    help="Start one search an image where an encoder says, which is learned at first and kept.",
)  # fmt: skip
@click.option("--restarts", default=4, show_default=True, type=click.IntRange(1, 1024), help="Starts an image.")
@click.option("--iterations", default=200, show_default=True, type=click.IntRange(0), help="Of L-BFGS, at most.")
@click.option("--feature-weight", default=0.0, show_default=True, type=Number(0), help="Of features beside pixels.")
@click.option("--feature-layer", default=-2, show_default=True, help="Discriminator layer that gives the features.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the codes to start from.")
@click.option("--threshold", type=Number(0), help="Error above which an image is flagged (default: measured).")
@click.option("--no-flag", is_flag=True, help="Do not measure which error real samples of the domain have.")
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
    restarts: int,
    iterations: int,
    feature_weight: float,
    feature_layer: int,
    seed: int,
    threshold: float | None,
    no_flag: bool,
    device: str | None,
    modules: tuple[str, ...],
) -> None:
    """Carry IMAGEs, files or folders, from one domain of RUN into others; print how well each was found."""
    from coupling.api import load_model
    from coupling.cli.tables import print_errors
    from coupling.generation.coverage import load_or_measure_coverage
    from coupling.generation.encoder import load_or_train_encoder
    from coupling.generation.given_images import read_images
    from coupling.generation.transformation import (
        check_output,
        results_folder,
        transform_files,
        wanted_domains,
        write_transformed,
    )
    from coupling.model.inversion import Search
    from coupling.runs.locations import output_path, run_directory_of
    from coupling.system.device import chosen_device

    plugins = load_plugins(modules)
    model = load_model(run, device=chosen_device(device), plugins=plugins)
    others = wanted_domains(model, from_, to)
    check_output(output)
    given = read_images(images, model.domains[from_], fit)
    search = Search(
        restarts=restarts,
        iterations=iterations,
        feature_weight=feature_weight,
        feature_layer=feature_layer,
        seed=seed,
    )
    encoder = None
    if encodes:
        kept = output_path(run, f"encoder-{from_}-{model.digest[:8]}.safetensors")
        encoder = load_or_train_encoder(model, from_, plugins, kept)
    if threshold is None and not no_flag:
        coverage = load_or_measure_coverage(model, from_, search, plugins, run_directory_of(run), encoder)
        if coverage is not None:
            print_line(str(coverage))
            threshold = coverage.threshold
    found = transform_files(model, given, from_, others, search, encoder)
    folder = results_folder(run, output)
    write_transformed(model, given, from_, found, threshold, folder)
    print_errors(given, found, threshold, console())
    click.echo(str(folder))
