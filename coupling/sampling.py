"""Corresponding images as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from coupling.errors import InputError
from coupling.model import CoupledModel
from coupling.pictures import drawable, grid, save_png, to_pixels
from coupling.terminal import progress

_GRID = 48
"""Samples in the grid, at most."""


def _refuse_mixture(folder: Path, domains: Sequence[str], count: int) -> None:
    """Refuse a folder in which samples of an earlier, larger draw would be left beside the new ones."""
    for name in domains:
        if (folder / name / f"{count:06d}.png").exists():
            raise InputError(
                f"{folder}: holds more than {count} samples of an earlier draw, which the new ones "
                "would be mixed with; give another --output, or delete it"
            )


def write_samples(model: CoupledModel, folder: Path, count: int, seed: int) -> Path:
    """Write ``folder/<domain>/000000.png`` ... and ``folder/grid.png``; image k is of one z in all domains.

    Returns ``folder``. Raises :class:`InputError` where it cannot be written, or no domain is of images.
    """
    drawn = drawable(model.domains)
    z = model.latent(count, seed)
    _refuse_mixture(folder, drawn, count)
    try:
        for name in drawn:
            (folder / name).mkdir(parents=True, exist_ok=True)
        written = 0
        with progress("sampling", count) as advance:
            for part in z.split(256):
                samples = model.generate(part, drawn)
                if written == 0:
                    first = {name: x[:_GRID] for name, x in samples.items()}
                    save_png(grid(first, model.domains), folder / "grid.png")
                for name in drawn:
                    for offset, pixels in enumerate(to_pixels(samples[name], model.domains[name])):
                        Image.fromarray(pixels).save(folder / name / f"{written + offset:06d}.png")
                written += len(part)
                advance(len(part))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}; give another --output") from None
    return folder
