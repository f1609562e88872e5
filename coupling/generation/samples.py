"""Corresponding samples as files: pairs that others train on. What was interrupted goes on."""

from __future__ import annotations

import importlib.metadata
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from coupling.data.pictures import drawable, picture_grid, save_png, to_pixels
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.generation.sample_files import FORMATS, Add, Format, SampleFiles
from coupling.generation.selection import BLOCK, Selection
from coupling.networks.weights import fingerprint
from coupling.system.atomic_files import OTHER_OUTPUT, remove_torn, write_text, writing
from coupling.system.file_lock import FILE as LOCK
from coupling.system.file_lock import RunLock
from coupling.system.resources import cores
from coupling.system.terminal import print_line, progress
from coupling.version import __version__

MANIFEST = "manifest.json"


PART = 1024
"""Samples between two moments from which an interrupted draw goes on."""


SHARD = 4096
"""Samples in a shard of a webdataset, which is a part."""


_GRID = 48
"""Samples in the grid, at most."""


_AHEAD = 4
"""Portions that are encoded and written while the next one is drawn."""


_PACKING = 1
"""Of zlib: the lowest level takes two thirds of the usual one's time, for files a twentieth larger."""


_PACKAGES = ("torch", "pillow")
"""What a pixel, or a byte of a file, may depend on besides."""


_SAID = ("model", "written", "complete")
"""What a manifest says that does not tell one draw from another."""


def write_samples(
    selection: Selection,
    root: Path,
    count: int,
    kind: Format = "folder",
    shard_size: int | None = None,
    source: str = "",
) -> Path:
    """Write the first ``count`` samples of ``selection`` into ``root``, with ``grid.png`` and ``manifest.json``.

    ``kind`` chooses the files (:mod:`coupling.generation.sample_files`); ``shard_size``: samples in a shard of a
    webdataset. Images of one channel are gray. Where ``root`` holds a part of the same draw, the rest is written, and
    the result is the same, byte for byte. ``source`` is what the manifest calls the model. Returns ``root``.

    Raises :class:`InputError` where it cannot be written, holds anything else, is in use, or no domain is of images.
    """
    if shard_size is not None and kind != "webdataset":
        raise InputError(
            f"--shard-size {shard_size}: a {kind} has no shards; give --format webdataset, or leave it out"
        )
    files = FORMATS[kind](root, drawable(selection.model.domains))
    manifest = _manifest(
        selection, files.domains, count, kind, shard_size or (SHARD if kind == "webdataset" else PART), source
    )
    with writing(root, f"{OTHER_OUTPUT}, or free disk space: the same command then continues"):
        root.mkdir(parents=True, exist_ok=True)
        lock = RunLock(root)
        try:
            remove_torn(root)
            manifest = _found(root, manifest) or manifest
            try:
                _go_on(selection, files, manifest)
            except KeyboardInterrupt:
                print_line(f"{root}: {manifest['written']:,} of {count:,} samples are kept; the same command goes on")
                raise
        finally:
            lock.release()
    return root


def _manifest(
    selection: Selection, domains: Sequence[str], count: int, kind: Format, part: int, source: str
) -> dict[str, Any]:
    """What is drawn, as JSON values, and that nothing of it is written yet."""
    model = selection.model
    choosing = model.discriminator if selection.keep is not None else None
    return {
        "model": source,
        "name": model.config.name,
        "step": model.step,
        "generators": model.digest,
        "discriminators": None if choosing is None else fingerprint(choosing),
        "seed": selection.seed,
        "count": count,
        "truncation": selection.truncation,
        "keep": selection.keep,
        "kept": selection.kept / BLOCK,
        "format": kind,
        "part": part,
        "domains": {
            name: {"shape": [*d.shape], "range": [*d.range], "mode": _mode(d)}
            for name, d in model.domains.items()
            if name in domains
        },
        "device": model.device.type,
        "versions": {"coupling": __version__} | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "written": 0,
        "complete": False,
    }


def _found(root: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest in ``root`` of the draw that is wanted; raises :class:`InputError` where anything else is there."""
    try:
        found = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        there, here = dict(_flat(found)), dict(_flat(wanted))
    except FileNotFoundError:
        others = sorted(path.name for path in root.iterdir() if path.name != LOCK)
        if others:
            raise InputError(
                f"{root}: holds '{others[0]}' and no {MANIFEST}, so it is no draw to go on with; give another --output"
            ) from None
        return None
    except (ValueError, AttributeError):
        raise InputError(f"{root}: its {MANIFEST} is damaged; delete the directory, or give another --output") from None
    for key in dict.fromkeys([*here, *there]):
        if key not in _SAID and there.get(key) != here.get(key):
            raise InputError(
                f"{root}: holds another draw, whose {key} is {there.get(key)}, not {here.get(key)}; give another "
                "--output, or delete the directory"
            )
    return dict(found)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Values by their path: ("versions.torch", "2.13.0")."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _go_on(selection: Selection, files: SampleFiles, manifest: dict[str, Any]) -> None:
    """Write what of the draw is not yet written."""
    count, part, start = manifest["count"], manifest["part"], manifest["written"]
    domains = {name: selection.model.domains[name] for name in files.domains}

    def note(written: int, *, complete: bool = False) -> None:
        manifest.update(written=written, complete=complete)
        write_text(files.root / MANIFEST, json.dumps(manifest, indent=2) + "\n")

    if manifest["complete"]:
        gone = [name for name in files.names(count, -(-count // part)) if not (files.root / name).exists()]
        if gone:
            listed = ", ".join(gone[:3]) + (" ..." if len(gone) > 3 else "")
            raise InputError(
                f"{files.root}: it was complete, but {len(gone):,} of its files are gone ({listed}); delete it to draw "
                "them again"
            )
        print_line(f"{files.root}: all {count:,} samples are there; delete it to draw them again")
        files.sweep()
        return
    if start:
        print_line(f"{files.root}: {start:,} of {count:,} samples are there; going on")
    note(start)
    portions = selection.samples(start, count, files.domains)
    portions = portions if start else _pictured(portions, domains, files.root)
    with (
        ThreadPoolExecutor(cores()) as encoders,
        ThreadPoolExecutor(1) as writer,  # this thread draws meanwhile
        progress("sampling", count - start) as advance,
    ):
        for number, cut in groupby(_cut(portions, start, part), lambda one: one[0] // part):
            with files.part(number) as add:
                waiting: deque[Future[int]] = deque()
                for first, portion in cut:
                    images = {name: encoders.submit(_pngs, x, domains[name]) for name, x in portion.items()}
                    waiting.append(writer.submit(_put, add, first, images))
                    if len(waiting) > _AHEAD:
                        advance(waiting.popleft().result())
                for written in waiting:
                    advance(written.result())
            note(min(count, (number + 1) * part))
    files.finish(-(-count // part))
    note(count, complete=True)
    files.sweep()


def _pictured(
    portions: Iterator[dict[str, Tensor]], domains: Mapping[str, Domain], root: Path
) -> Iterator[dict[str, Tensor]]:
    """The same portions, the first of them drawn as a grid before they go on."""
    seen: list[dict[str, Tensor]] = []
    for portion in portions:
        seen.append(portion)
        if sum(len(next(iter(p.values()))) for p in seen) >= _GRID:
            break
    shown = {name: torch.cat([portion[name] for portion in seen])[:_GRID] for name in domains}
    save_png(picture_grid(shown, domains), root / "grid.png")
    return chain(seen, portions)


def _cut(portions: Iterable[dict[str, Tensor]], start: int, part: int) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """The portions, of samples from ``start`` on, so cut that none is of two parts, with the number of their first."""
    for portion in portions:
        stop = start + len(next(iter(portion.values())))
        while start < stop:
            end = min(stop, (start // part + 1) * part)
            yield start, {name: x[len(x) - (stop - start) :][: end - start] for name, x in portion.items()}
            start = end


def _put(add: Add, first: int, images: Mapping[str, Future[list[bytes]]]) -> int:
    """Write a portion as soon as it is encoded; returns its number of samples."""
    encoded = {name: future.result() for name, future in images.items()}
    count = len(next(iter(encoded.values())))
    for number in range(count):
        for name, pngs in encoded.items():
            add(first + number, name, pngs[number])
    return count


def _pngs(samples: Tensor, domain: Domain) -> list[bytes]:
    files = []
    for pixels in to_pixels(samples, domain):
        file = BytesIO()
        Image.fromarray(pixels if _mode(domain) == "RGB" else pixels[..., 0]).save(file, "PNG", compress_level=_PACKING)
        files.append(file.getvalue())
    return files


def _mode(domain: Domain) -> str:
    """Pillow's mode of its files."""
    return "L" if domain.is_image and domain.shape[0] == 1 else "RGB"
