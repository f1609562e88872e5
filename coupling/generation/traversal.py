"""Paths between latent codes, as a picture with a row for each domain (the paper's figures), or as an animation."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from coupling.data.pictures import drawable, picture_grid, save_png
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.generation.video import CODECS, check_video, video
from coupling.model.interpolation import Interpolation, suited_to
from coupling.model.model import CoupledModel
from coupling.system.atomic_files import OTHER_OUTPUT, write_bytes, writing
from coupling.system.terminal import print_line

STEPS = {".png": 12, ".gif": 32, ".mp4": 51, ".webm": 51}
"""Default number of codes on a path, by the suffix of the file."""


REACH = 3.0
"""How far a code is moved along a main direction, to both sides, in standard deviations of the features."""


_TICK = 10
"""Unit of time in a GIF, in milliseconds."""


_SHORTEST = 2 * _TICK
"""Shortest duration of a frame, in milliseconds; viewers show shorter ones slowly."""


def check_file(file: Path) -> None:
    """Raise :class:`InputError` if ``file`` is no picture or video, or nothing installed can write it."""
    if file.suffix.lower() not in STEPS:
        raise InputError(f"--output {file}: a traversal is written as {', '.join(STEPS)}; give one of these suffixes")
    if file.suffix.lower() in CODECS:
        check_video(f"--output {file}")


def write_traversal(
    model: CoupledModel,
    file: Path,
    *,
    pairs: int,
    steps: int | None,
    seed: int,
    interpolation: Interpolation | None,
    seconds: float,
    scale: int | None = None,
) -> Path:
    """Draw ``pairs`` paths between codes into ``file``; returns it.

    A ``.png`` has a row for each domain, with the path from left to right, and the pairs below each other. A ``.gif``,
    ``.mp4`` or ``.webm`` has a column for each pair and runs forward and back in ``seconds``, a ``.gif`` forever.
    ``scale`` is that of :func:`coupling.picture_grid`.

    Raises:
        InputError: the file has another suffix or cannot be written, or the samples of no domain are images.
    """
    check_file(file)
    if interpolation is None:
        interpolation = suited_to(model.config.latent.prior)
        print_line(f"{interpolation} path, because the prior is {model.config.latent.prior}")
    steps = steps or STEPS[file.suffix.lower()]
    samples = model.traverse(pairs, steps, seed, domains=drawable(model.domains), interpolation=interpolation)
    return _write(samples, model.domains, file, seconds, scale)


def write_directions(
    model: CoupledModel,
    file: Path,
    *,
    directions: int,
    steps: int | None,
    seed: int,
    seconds: float,
    scale: int | None = None,
) -> Path:
    """Draw code 0 of ``seed``, moved along each of the main directions, into ``file``; returns it.

    The moves go from -3 to 3 standard deviations of the features. The picture is that of :func:`write_traversal`, with
    a direction in place of a pair. With an odd number of ``steps``, the default, the middle one is the code itself.

    Raises:
        InputError: the file has another suffix or cannot be written, the samples of no domain are images, or a code has
            fewer directions.
    """
    check_file(file)
    steps = steps or STEPS[file.suffix.lower()] | 1
    main = model.directions(directions)
    for number, share in enumerate(main.shares.tolist(), 1):
        print_line(f"direction {number}: {share:.0%} of the variation")
    moves = torch.linspace(-REACH, REACH, steps)[:, None] * main.moves[:, None]
    codes = model.space.prior.nearest((model.latent(1, seed) + moves).flatten(0, 1))
    drawn = model.generate(codes, drawable(model.domains))
    samples = {name: x.unflatten(0, (directions, steps)) for name, x in drawn.items()}
    return _write(samples, model.domains, file, seconds, scale)


def _write(
    samples: Mapping[str, Tensor], domains: Mapping[str, Domain], file: Path, seconds: float, scale: int | None
) -> Path:
    """Write paths, {domain: (paths, steps, *shape)}, as the suffix of the file says; returns the file."""
    kind = file.suffix.lower()
    paths, steps = next(iter(samples.values())).shape[:2]
    with writing(file, OTHER_OUTPUT):
        file.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".png":
            save_png(paths_picture(samples, domains, scale), file)
        else:
            frames = [
                picture_grid({name: x[:, step] for name, x in samples.items()}, domains, paths, scale)
                for step in range(steps)
            ]
            frames += frames[-2:0:-1]
            write_bytes(file, moving(frames, seconds) if kind == ".gif" else video(frames, seconds, kind))
    return file


def paths_picture(
    samples: Mapping[str, Tensor], domains: Mapping[str, Domain], scale: int | None = None
) -> Image.Image:
    """A picture of paths of :meth:`CoupledModel.traverse`: {domain: (pairs, steps, *shape)} in the domain's range."""
    steps = next(iter(samples.values())).shape[1]
    return picture_grid({name: x.flatten(0, 1) for name, x in samples.items()}, domains, steps, scale)


def moving(frames: list[Image.Image], seconds: float) -> bytes:
    """A GIF of pictures of one size that repeats forever; ``seconds``: duration of a round.

    All frames have one palette, without dithering: otherwise parts that do not move would flicker.
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
