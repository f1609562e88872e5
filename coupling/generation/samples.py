"""Corresponding samples as files, to train other models on. An interrupted call is continued by the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from io import BytesIO
from itertools import chain, groupby
from pathlib import Path
from typing import TypeAlias

import torch
from PIL import Image
from torch import Tensor

from coupling.data.pictures import picture_grid, save_png, to_pixels
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.generation.arrays import array_file
from coupling.generation.manifest import Manifest, image_mode
from coupling.generation.sample_files import FORMATS, Add, Format, SampleFiles, Suffix, suffixes
from coupling.generation.selection import Selection
from coupling.system.atomic_files import OTHER_OUTPUT, remove_torn, writing
from coupling.system.file_lock import RunLock
from coupling.system.resources import available_cores
from coupling.system.terminal import print_line, progress

Samples: TypeAlias = dict[str, Tensor]
"""Some samples in order: {domain: (n, *shape)} in its range."""


Encoded: TypeAlias = dict[Suffix, bytes]
"""The contents of the files of one sample, by their suffix."""


PART = 1024
"""Samples in a part; an interrupted call is continued after the last whole part."""


SHARD = 4096
"""Default number of samples in a shard of a webdataset; a shard is a part."""


_GRID = 48
"""Maximum number of samples in the grid."""


_AHEAD = 4
"""Portions that are encoded and written while the next one is drawn."""


_COMPRESSION = 1
"""Level of zlib: the lowest takes two thirds of the default level's time, for files that are 5 % larger."""


def write_samples(
    selection: Selection,
    root: Path,
    count: int,
    kind: Format = "folder",
    shard_size: int | None = None,
    source: str = "",
    scale: int | None = None,
) -> Path:
    """Write the first ``count`` samples of ``selection`` into ``root``, with ``grid.png`` and ``manifest.json``.

    Images of one channel are gray. Samples that are not images are arrays, with a PNG beside it if they can be drawn.
    If ``root`` holds a part of the same samples, the rest is written; the result is the same, byte for byte.

    Args:
        selection: the samples.
        root: directory to write to; made if it is not there.
        count: number of samples.
        kind: format of the files (:mod:`coupling.generation.sample_files`).
        shard_size: samples in a shard of a webdataset.
        source: name of the model in the manifest.
        scale: that of ``grid.png`` (:func:`coupling.picture_grid`); if it is given, the grid is drawn again.

    Returns:
        ``root``.

    Raises:
        InputError: ``root`` cannot be written, holds other files or is in use.
    """
    if shard_size is not None and kind != "webdataset":
        raise InputError(
            f"--shard-size {shard_size}: a {kind} has no shards; give --format webdataset, or leave it out"
        )
    files = FORMATS[kind](root, selection.model.domains, count)
    part = shard_size or (SHARD if kind == "webdataset" else PART)
    manifest = Manifest(root, selection, count, kind, part, source)
    with writing(root, f"{OTHER_OUTPUT}, or free disk space: the same command then continues"):
        root.mkdir(parents=True, exist_ok=True)
        lock = RunLock(root)
        try:
            remove_torn(root)
            manifest.resume()
            _write_rest(selection, files, manifest)
            if scale is not None and any(domain.is_drawable for domain in files.domains.values()):
                _draw_grid(selection, files, count, scale)
        finally:
            lock.release()
    return root


def _write_rest(selection: Selection, files: SampleFiles, manifest: Manifest) -> None:
    """Write the samples that are not written yet."""
    start, count, root = manifest.written, manifest.count, files.root
    if manifest.complete:
        _check_files(files, manifest)
        print_line(f"{root}: all {count:,} samples are there; delete it to draw them again")
        files.sweep()
        return
    if start:
        print_line(f"{root}: {start:,} of {count:,} samples are there; continuing")
    manifest.record(start)
    try:
        _write_parts(selection, files, manifest)
        files.finish(manifest.parts)
        manifest.record(count, complete=True)
    except KeyboardInterrupt:
        print_line(f"{root}: {manifest.written:,} of {count:,} samples are kept; the same command continues")
        raise
    files.sweep()


def _check_files(files: SampleFiles, manifest: Manifest) -> None:
    """Raise :class:`InputError` if files of a complete set are missing."""
    missing = [name for name in files.names(manifest.parts) if not (files.root / name).exists()]
    if missing:
        names = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise InputError(
            f"{files.root}: it was complete, but {len(missing):,} of its files are missing ({names}); delete it to "
            "draw them again"
        )


def _write_parts(selection: Selection, files: SampleFiles, manifest: Manifest) -> None:
    """Draw the samples that are not written yet, and write them part by part."""
    start, part = manifest.written, manifest.part
    domains = files.domains
    portions = selection.samples(start, manifest.count, list(domains))
    if start == 0 and any(domain.is_drawable for domain in domains.values()):
        portions = _with_grid(portions, domains, files.root)
    with (
        ThreadPoolExecutor(available_cores()) as encoders,
        ThreadPoolExecutor(1) as writer,  # meanwhile this thread draws
        progress("sampling", manifest.count - start) as advance,
    ):
        for number, cut in groupby(_cut(portions, start, part), lambda portion: portion[0] // part):
            with files.part(number) as add:
                _write_part(cut, domains, add, encoders, writer, advance)
            manifest.record(min(manifest.count, (number + 1) * part))


def _write_part(
    portions: Iterable[tuple[int, Samples]],
    domains: Mapping[str, Domain],
    add: Add,
    encoders: Executor,
    writer: Executor,
    advance: Callable[[int], None],
) -> None:
    """Encode and write the portions of a part, each with the number of its first sample."""
    waiting: deque[Future[int]] = deque()
    for first, portion in portions:
        contents = {name: encoders.submit(_encode, x, domains[name]) for name, x in portion.items()}
        waiting.append(writer.submit(_write_portion, add, first, contents))
        if len(waiting) > _AHEAD:
            advance(waiting.popleft().result())
    for written in waiting:
        advance(written.result())


def _draw_grid(selection: Selection, files: SampleFiles, count: int, scale: int) -> None:
    """Draw ``grid.png`` at another scale."""
    _with_grid(selection.samples(0, min(count, _GRID), list(files.domains)), files.domains, files.root, scale)


def _with_grid(
    portions: Iterator[Samples], domains: Mapping[str, Domain], root: Path, scale: int | None = None
) -> Iterator[Samples]:
    """The same portions; writes the first samples as ``grid.png`` before it returns."""
    seen: list[Samples] = []
    for portion in portions:
        seen.append(portion)
        if sum(len(next(iter(p.values()))) for p in seen) >= _GRID:
            break
    shown = {name: torch.cat([portion[name] for portion in seen])[:_GRID] for name in domains}
    save_png(picture_grid(shown, domains, scale=scale), root / "grid.png")
    return chain(seen, portions)


def _cut(portions: Iterable[Samples], start: int, part: int) -> Iterator[tuple[int, Samples]]:
    """Cut the portions, whose first sample is number ``start``, where a part ends; with the number of their first."""
    for portion in portions:
        stop = start + len(next(iter(portion.values())))
        while start < stop:
            end = min(stop, (start // part + 1) * part)
            yield start, {name: x[len(x) - (stop - start) :][: end - start] for name, x in portion.items()}
            start = end


def _write_portion(add: Add, first: int, contents: Mapping[str, Future[list[Encoded]]]) -> int:
    """Write a portion as soon as it is encoded; returns its number of samples."""
    encoded = {name: future.result() for name, future in contents.items()}
    count = len(next(iter(encoded.values())))
    for number in range(count):
        for name, samples in encoded.items():
            for suffix, content in samples[number].items():
                add(first + number, name, suffix, content)
    return count


def _encode(samples: Tensor, domain: Domain) -> list[Encoded]:
    """Samples (n, *shape) in the domain's range as the contents of files."""
    wanted = suffixes(domain)
    encoded: list[Encoded] = [{} for _ in range(len(samples))]
    if "npy" in wanted:
        for files, sample in zip(encoded, samples, strict=True):
            files["npy"] = array_file(sample)
    if "png" in wanted:
        for files, png in zip(encoded, _pngs(samples, domain), strict=True):
            files["png"] = png
    return encoded


def _pngs(samples: Tensor, domain: Domain) -> list[bytes]:
    """Images or drawings of samples (n, *shape) in the domain's range, as PNGs."""
    pngs = []
    gray = image_mode(domain) == "L"
    for pixels in to_pixels(samples, domain):
        file = BytesIO()
        Image.fromarray(pixels[..., 0] if gray else pixels).save(file, "PNG", compress_level=_COMPRESSION)
        pngs.append(file.getvalue())
    return pngs
