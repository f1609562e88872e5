"""Translation of given images into other domains, with the error of each reconstruction, as files."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image
from torch import Tensor

from coupling.data.pictures import picture_grid, save_png, to_pixels
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.generation.arrays import array_file, write_table
from coupling.generation.given_samples import GivenSamples
from coupling.generation.sample_files import suffixes
from coupling.model.inversion import Encoding, Search, Transformed
from coupling.model.model import CoupledModel
from coupling.runs.locations import output_path
from coupling.system.atomic_files import OTHER_OUTPUT, replacing, try_writing, write_text, writing
from coupling.system.terminal import progress

_GRID = 48
"""Maximum number of images in the grid."""


_ERRORS = "errors.csv"


def wanted_domains(model: CoupledModel, from_: str, to: Sequence[str]) -> list[str]:
    """The domains to translate into: ``to``, or all others; raises :class:`InputError` if there are none."""
    model.chosen([from_])
    others = model.chosen(list(dict.fromkeys(to))) if to else [name for name in model.domains if name != from_]
    if from_ in others:
        raise InputError(f"--to {from_}: is the domain that the images come from; name another one")
    if not others:
        raise InputError(f"the model has no other domain than '{from_}'")
    return others


def check_output(run: Path, output: Path | None) -> None:
    """Check that results can be written, before any work.

    Raises :class:`InputError` if that fails, or ``output`` holds results of an earlier call, which would be mixed with
    new ones.
    """
    if output is not None and (output / _ERRORS).exists():
        raise InputError(f"{output}: holds results of an earlier call ({_ERRORS}); give another --output")
    place = output or output_path(run, "transformed")
    with writing(place, OTHER_OUTPUT):
        try_writing(place if output is not None else place.parent)


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
    given: GivenSamples,
    from_: str,
    to: Sequence[str],
    search: Search,
    encoder: Encoding | None = None,
) -> Transformed:
    """Translate the given images from ``from_`` into ``to``, with a progress bar."""
    with progress("inverting", len(given.files)) as advance:
        return model.transform(given.samples, from_, list(to), search, advance=advance, encoder=encoder)


def write_transformed(
    model: CoupledModel, given: GivenSamples, from_: str, found: Transformed, threshold: float | None, folder: Path
) -> None:
    """Write ``<domain>/<name>.png``, ``grid.png`` and ``errors.csv`` into ``folder``.

    Samples that are not images are ``<domain>/<name>.npy``, with a PNG beside it if they can be drawn. Rows of a table
    are ``<domain>.csv``, too, in the order of ``errors.csv``. The samples of the domain ``from_`` are the
    reconstructions. Raises :class:`InputError` if that fails.
    """
    samples = {from_: found.reconstruction} | found.images
    rows = {f"{from_}, given": given.samples, f"{from_}, drawn": found.reconstruction} | found.images
    domains = {f"{from_}, {what}": model.domains[from_] for what in ("given", "drawn")} | model.domains
    with writing(folder, OTHER_OUTPUT):
        for domain, drawn in samples.items():
            (folder / domain).mkdir(exist_ok=True)
            _write_samples(drawn, given.names, model.domains[domain], folder / domain)
        if any(domains[name].is_drawable for name in rows):
            save_png(picture_grid({name: x[:_GRID] for name, x in rows.items()}, domains), folder / "grid.png")
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["image", "name", "error", "covered", "changes"])
        for row in zip(given.files, given.names, found.error.tolist(), given.changes, strict=True):
            file, name, error, changes = row
            writer.writerow([file, name, f"{error:.6g}", covered_text(error, threshold), changes])
        write_text(folder / _ERRORS, text.getvalue())


def _write_samples(samples: Tensor, names: Sequence[str], domain: Domain, folder: Path) -> None:
    """Write each sample as the files of its domain."""
    if "npy" in suffixes(domain):
        for name, sample in zip(names, samples, strict=True):
            (folder / f"{name}.npy").write_bytes(array_file(sample))
    if domain.columns:
        with replacing(folder.with_name(f"{domain.name}.csv")) as file:
            write_table(file, samples.cpu().numpy(), domain.columns)
    if "png" in suffixes(domain):
        for name, pixels in zip(names, to_pixels(samples, domain), strict=True):
            Image.fromarray(pixels).save(folder / f"{name}.png")


def covered_text(error: float, threshold: float | None) -> str:
    """Whether an image of this error is covered: "yes", "no", or "" without a threshold."""
    return "" if threshold is None else "no" if error > threshold else "yes"
