"""The path between latent codes as a picture: one row a domain, as in the paper's figures; or moving."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from torch import Tensor

from coupling.data.pictures import drawable, picture_grid, save_png
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.model.interpolation import Interpolation, suited_to
from coupling.model.model import CoupledModel
from coupling.system.atomic_files import OTHER_OUTPUT, write_bytes, writing
from coupling.system.terminal import print_line

STEPS = {".png": 12, ".gif": 32}
"""Codes along a path where nothing is said, by the file's suffix."""


_TICK = 10
"""Milliseconds: a GIF counts time in these."""


_SHORTEST = 2 * _TICK
"""Viewers show frames that are shorter than this slowly."""


def check_file(file: Path) -> None:
    """Raise :class:`InputError` where ``file`` has a suffix that says nothing that can be drawn."""
    if file.suffix.lower() not in STEPS:
        raise InputError(f"--output {file}: a traversal is a .png or a .gif; give one of these suffixes")


def write_traversal(
    model: CoupledModel,
    file: Path,
    *,
    pairs: int,
    steps: int | None,
    seed: int,
    interpolation: Interpolation | None,
    seconds: float,
) -> Path:
    """Draw ``pairs`` paths between codes into ``file``, whose suffix says how; returns it.

    ``.png``: a row a domain, the path from left to right, pair below pair. ``.gif``: a column a pair, there
    and back in ``seconds``, for ever. Raises :class:`InputError` where it cannot be written, or no domain is of images.
    """
    check_file(file)
    kind = file.suffix.lower()
    domains = drawable(model.domains)
    steps = steps or STEPS[kind]
    if interpolation is None:
        interpolation = suited_to(model.config.latent.prior)
        print_line(f"{interpolation} path, as the prior is {model.config.latent.prior}")
    samples = model.traverse(pairs, steps, seed, domains=domains, interpolation=interpolation)
    with writing(file, OTHER_OUTPUT):
        file.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".png":
            save_png(paths_picture(samples, model.domains), file)
        else:
            frames = [
                picture_grid({name: x[:, step] for name, x in samples.items()}, model.domains, pairs)
                for step in range(steps)
            ]
            write_bytes(file, moving([*frames, *frames[-2:0:-1]], seconds))
    return file


def paths_picture(samples: Mapping[str, Tensor], domains: Mapping[str, Domain]) -> Image.Image:
    """Paths of :meth:`CoupledModel.traverse`, {domain: (pairs, steps, *shape)}, from left to right, pair below pair."""
    steps = next(iter(samples.values())).shape[1]
    return picture_grid({name: x.flatten(0, 1) for name, x in samples.items()}, domains, steps)


def moving(frames: list[Image.Image], seconds: float) -> bytes:
    """Pictures of one size as a GIF that repeats for ever, ``seconds`` a round.

    All have one palette, without dithering: with one each, and with dithering, what stands still would flicker.
    """
    width, height = frames[0].size
    film = Image.new("RGB", (width, height * len(frames)))
    for number, frame in enumerate(frames):
        film.paste(frame, (0, number * height))
    film = film.quantize(256, dither=Image.Dither.NONE)
    cut = [film.crop((0, n * height, width, (n + 1) * height)) for n in range(len(frames))]
    duration = max(_SHORTEST, round(seconds * 1000 / len(frames) / _TICK) * _TICK)
    buffer = io.BytesIO()
    cut[0].save(buffer, "GIF", save_all=True, append_images=cut[1:], duration=duration, loop=0)
    return buffer.getvalue()
