"""Translation of given images into other domains, with the error of each reconstruction, as files."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from coupling.data.pictures import drawable, picture_grid, save_png, to_pixels
from coupling.errors import InputError
from coupling.generation.given_images import GivenImages
from coupling.model.inversion import Encoding, Search, Transformed
from coupling.model.model import CoupledModel
from coupling.runs.locations import output_path
from coupling.system.atomic_files import OTHER_OUTPUT, write_text, writing
from coupling.system.terminal import progress, warn

_GRID = 48
"""Maximum number of images in the grid."""


_ERRORS = "errors.csv"


def wanted_domains(model: CoupledModel, from_: str, to: Sequence[str]) -> list[str]:
    """The domains of images to translate into: ``to``, or all others; raises :class:`InputError` if there are none."""
    model.chosen([from_])
    others = model.chosen(list(dict.fromkeys(to))) if to else [name for name in model.domains if name != from_]
    if from_ in others:
        raise InputError(f"--to {from_}: is the domain that the images come from; name another one")
    if not others:
        raise InputError(f"the model has no other domain than '{from_}'")
    drawn = drawable({name: model.domains[name] for name in others})
    if len(drawn) < len(others):
        warn(
            f"left out, because their samples are not images: {', '.join(name for name in others if name not in drawn)}"
        )
    return drawn


def check_output(output: Path | None) -> None:
    """Raise :class:`InputError` if ``output`` holds results of an earlier call, which would be mixed with new ones."""
    if output is not None and (output / _ERRORS).exists():
        raise InputError(f"{output}: holds results of an earlier call ({_ERRORS}); give another --output")


def results_folder(run: Path, output: Path | None) -> Path:
    """Make the folder for the results: ``output``, or ``transformed``, ``transformed-2``, ... in the run.

    Two calls at the same time get a folder each. Raises :class:`InputError` if the folder cannot be made.
    """
    first = output or output_path(run, "transformed")
    with writing(first, OTHER_OUTPUT):
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            return output
        for number in itertools.count(1):
            folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
            with suppress(FileExistsError):  # of another call
                folder.mkdir(parents=True)
                return folder
    raise AssertionError


def transform_files(
    model: CoupledModel,
    given: GivenImages,
    from_: str,
    to: Sequence[str],
    search: Search,
    encoder: Encoding | None = None,
) -> Transformed:
    """Translate the given images from ``from_`` into ``to``, with a progress bar."""
    with progress("inverting", len(given.files)) as advance:
        return model.transform(given.samples, from_, list(to), search, advance=advance, encoder=encoder)


def write_transformed(
    model: CoupledModel, given: GivenImages, from_: str, found: Transformed, threshold: float | None, folder: Path
) -> None:
    """Write ``<domain>/<name>.png``, ``grid.png`` and ``errors.csv`` into ``folder``.

    The images of the domain ``from_`` are the reconstructions. Raises :class:`InputError` if that fails.
    """
    samples = {from_: found.reconstruction} | found.images
    rows = {f"{from_}, given": given.samples, f"{from_}, drawn": found.reconstruction} | found.images
    domains = {f"{from_}, {what}": model.domains[from_] for what in ("given", "drawn")} | model.domains
    with writing(folder, OTHER_OUTPUT):
        for domain, drawn in samples.items():
            (folder / domain).mkdir(exist_ok=True)
            for name, pixels in zip(given.names, to_pixels(drawn, model.domains[domain]), strict=True):
                Image.fromarray(pixels).save(folder / domain / f"{name}.png")
        save_png(picture_grid({name: x[:_GRID] for name, x in rows.items()}, domains), folder / "grid.png")
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["image", "name", "error", "covered", "changes"])
        for row in zip(given.files, given.names, found.error.tolist(), given.changes, strict=True):
            file, name, error, changes = row
            writer.writerow([file, name, f"{error:.6g}", covered_text(error, threshold), changes])
        write_text(folder / _ERRORS, text.getvalue())


def covered_text(error: float, threshold: float | None) -> str:
    """Whether an image of this error is covered: "yes", "no", or "" without a threshold."""
    return "" if threshold is None else "no" if error > threshold else "yes"
