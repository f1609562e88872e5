"""Files that a user gives, as samples of a domain: images, and arrays of other data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from coupling.domain import Domain
from coupling.errors import InputError, nearest
from coupling.generation.given_arrays import SUFFIX, arrays_at, rows_at
from coupling.generation.given_images import Fit, images_at
from coupling.generation.given_sample import GivenSample
from coupling.system.terminal import warn

_LISTED = 10
"""Files that the message lists at most if nothing is done with the others."""


@dataclass(frozen=True)
class GivenSamples:
    """Samples of one domain, with the files that hold them."""

    files: list[Path]
    names: list[str]
    """A name for each: its file's name without the suffix, with a number if two are alike."""
    samples: Tensor
    """(B, *shape), float32 in the domain's range."""
    changes: list[str]
    """How each was converted ("resized from 56×56"); empty if it was not."""
    errors: list[str] = field(default_factory=list)
    """A message for each given file that cannot be used, with the reason."""

    def check_complete(self) -> None:
        """Raise :class:`InputError` if there are files that cannot be used; it lists all of them with the reasons."""
        if self.errors:
            count = len(self.files) + len(self.errors)
            raise InputError(_message(f"{len(self.errors)} of {count} images could not be used", self.errors))


def read_samples(
    paths: Sequence[Path], domain: Domain, fit: Fit | None = None, *, strict: bool = False
) -> GivenSamples:
    """Read the samples in files, and in folders (with their subfolders) and zips, in order.

    Samples of images are image files. Those of another size are resized; those of another aspect ratio only with
    ``fit``. Colour becomes gray, and gray colour. Values 0 to 255 become the domain's range. Samples of other domains
    are .npy files: arrays of one sample or of several, in the domain's range. A single .npy may hold images too. Rows
    of a table are .csv files, in the units of its columns. Files that cannot be used are left out, with a warning.

    Args:
        paths: files, folders and zips.
        domain: the domain that the samples belong to.
        fit: how to fit images of another aspect ratio; None: they cannot be used.
        strict: whether a single file that cannot be used is an error.

    Raises:
        InputError: none of the files can be used, or not all of them with ``strict``; it names them and the reasons.
    """
    found = [sample for path in paths for sample in _samples(path, domain, fit)]
    given = [sample for sample in found if isinstance(sample, GivenSample)]
    errors = [message for message in found if isinstance(message, str)]
    if errors and (strict or not given):
        more = [f"and {len(errors) - _LISTED} more"] if len(errors) > _LISTED else []
        head = f"{len(errors)} of {len(found)} images cannot be used"
        raise InputError(errors[0] if len(found) == 1 else _message(head, [*errors[:_LISTED], *more]))
    if errors:
        warn(f"{len(errors)} of {len(found)} images cannot be used; the reasons follow at the end")
    files = [sample.file for sample in given]
    samples = torch.stack([sample.sample for sample in given])
    return GivenSamples(files, _names(files), samples, [sample.change for sample in given], errors)


def _samples(path: Path, domain: Domain, fit: Fit | None) -> Iterator[GivenSample | str]:
    """Each sample at ``path``, or the message on why it cannot be used."""
    if not path.exists():
        try:
            siblings = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        except OSError:
            siblings = []
        yield f"{path}: no such image or folder; {nearest(str(path), siblings)}"
    elif not path.is_dir() and not path.is_file():
        yield f"{path}: is not a regular file"  # reading a pipe may wait forever
    elif domain.columns and path.suffix.lower() == ".csv":
        yield from rows_at(path, domain)
    elif domain.is_image and path.suffix.lower() != SUFFIX:
        yield from images_at(path, domain, fit)
    else:
        yield from arrays_at(path, domain)


def _message(head: str, lines: Sequence[str]) -> str:
    """A message with a line for each of ``lines``."""
    return "\n  ".join([f"{head}:", *lines])


def _names(files: Sequence[Path]) -> list[str]:
    """Names of files without suffix, with a number where two differ at most in upper and lower case."""
    names: list[str] = []
    taken: set[str] = set()
    for file in files:
        name, number = file.stem, 2
        while name.casefold() in taken:
            name, number = f"{file.stem}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names
