"""Images made once, by all cores, and then read from one memory-mapped file.

Rendering and decoding are too slow to repeat each epoch. :func:`cached_images` writes their result
as ``<hash of key>.npy`` with a record ``<hash of key>.json`` beside it. The array is streamed into a
temporary file that takes its name only when it is complete and on disk. So an interruption at any
moment leaves nothing that a later call would take for data. (The array is streamed, not mapped for writing,
because a full disk raises an exception in a write and a fatal signal in a mapping.)
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np

from coupling.data.images.image import ImageArray, UnreadableImage
from coupling.data.images.notes import Note, add_notes, collect_notes, print_notes
from coupling.errors import CouplingError, DataError, RunError
from coupling.system import atomic_files
from coupling.system.atomic_files import remove_torn
from coupling.system.resources import available_cores
from coupling.system.terminal import print_line, progress
from coupling.system.workers import Workers

MakeImage: TypeAlias = Callable[[int], ImageArray]
"""A function that makes image ``i``: uint8 (height, width, channels), the same each time."""


_FORMAT = 1  # part of every key: raise it when the files' layout changes


_MOST = 61  # processes that Windows can wait for


_FEW = 64  # with fewer images than this, starting processes takes longer than it saves


_CHUNK = 16  # most images in one task of a worker; it is also what an interruption waits for


_NAMED = 5  # samples that a message names before it only counts


STALE = 24 * 3600
"""Seconds after which a temporary file's writer is taken to have been killed."""


@dataclass(frozen=True)
class CachedRecord:
    """The record of cached images, kept beside them as ``.json``."""

    key: dict[str, object]
    shape: tuple[int, int, int, int]
    """(count, height, width, channels) of the array, without the samples left out."""
    sha256: str
    """SHA-256 of the array's bytes in C order, in hexadecimal digits."""
    left_out: tuple[str, ...]
    """One message for each sample that was left out (``on_error="skip"``)."""
    missing: tuple[int, ...] = ()
    """Numbers of those samples, ascending."""
    notes: tuple[Note, ...] = ()
    """Conversions that the images went through."""
    numbers_sha256: str | None = None
    """SHA-256 of the file with the whole numbers of a stream's samples; None: there is none, or it is of before."""


def cached_images(
    directory: Path,
    key: Mapping[str, object],
    count: int,
    shape: tuple[int, int, int],
    make: MakeImage,
    *,
    title: str,
    processes: int | None = None,
    on_error: Literal["stop", "skip"] = "stop",
) -> ImageArray:
    """Images ``make(0) ... make(count - 1)`` as a read-only memory-mapped array.

    Args:
        directory: where the files lie; made if necessary.
        key: all that the images depend on, as JSON values. The same key opens the same files.
        count: number of samples, at least 1.
        shape: (height, width, channels) of each image.
        make: makes sample ``i`` as uint8 of ``shape``, the same each time; picklable. Raises
            :class:`UnreadableImage` for a sample that cannot be read.
        title: what the progress bar and messages name, e.g. ``"Drawing avatars"``.
        processes: worker processes; default: one for each core, none for few images. 1: this process.
        on_error: "stop" raises one error for all unreadable samples; "skip" leaves them out and reports them.

    Returns:
        uint8, (number of readable samples, height, width, channels), C order.

    Raises:
        DataError: a sample is unreadable, not as declared, or could not be made; none is left; or
            ``directory`` cannot be written.
        RunError: a worker process died.
    """
    record = cached_record(directory, key, count, shape)
    images = None if record is None else open_array(directory, record)
    if record is not None and images is None:
        print_line(f"{title}: {array_path(directory, record.key)} is damaged or incomplete; making it again")
    if record is None or images is None or (record.left_out and on_error == "stop"):
        record = _prepare(directory, key, count, shape, make, title, processes, on_error)
        images = open_array(directory, record)
        if images is None:
            raise RunError(f"{title}: {array_path(directory, record.key)} was changed while it was being written")
    if record.left_out:
        print_line(f"{title}: left out {shortened(record.left_out, count)}")
    print_notes(record.notes, title)
    return images


def cached_record(
    directory: Path, key: Mapping[str, object], count: int, shape: tuple[int, int, int]
) -> CachedRecord | None:
    """The record of images prepared with these arguments of :func:`cached_images`; None: not yet."""
    whole_key = full_key(key, count, shape)
    try:
        record = json.loads(array_path(directory, whole_key).with_suffix(".json").read_text("utf-8"))
        if record["key"] != whole_key:
            return None
        left_out = tuple(record["left_out"])
        missing = tuple(record["missing"]) if left_out else ()
        notes = tuple(Note(*note) for note in record.get("notes", ()))
        numbers = record.get("numbers_sha256")
        return CachedRecord(whole_key, tuple(record["shape"]), record["sha256"], left_out, missing, notes, numbers)
    except (OSError, ValueError, KeyError, TypeError):  # absent or damaged
        return None


def full_key(key: Mapping[str, object], count: int, shape: tuple[int, int, int]) -> dict[str, object]:
    """All that the files depend on."""
    whole = {**key, "count": count, "shape": list(shape), "format": _FORMAT}
    return dict(json.loads(json.dumps(whole)))  # as it will be read back: tuples become lists


def array_path(directory: Path, whole_key: Mapping[str, object]) -> Path:
    """The file of the images of a :func:`full_key`; their record has the same name and the suffix ``.json``."""
    digest = hashlib.sha256(json.dumps(whole_key, sort_keys=True).encode()).hexdigest()
    return directory / f"{digest[:32]}.npy"


def open_array(directory: Path, record: CachedRecord) -> ImageArray | None:
    """The array, or None where the file is not there or not what ``record`` says: also its bytes are checked."""
    path = array_path(directory, record.key)
    try:
        images: np.memmap[Any, np.dtype[np.uint8]] = np.load(path, mmap_mode="r", allow_pickle=False)
        complete = path.stat().st_size == images.offset + images.nbytes
    except (OSError, ValueError):
        return None
    if not complete or images.shape != record.shape or images.dtype != np.uint8:
        return None
    return images if _is_sound(path, images, record.sha256) else None


_sound: set[tuple[object, ...]] = set()  # files that this process has checked, each as it was then


def _is_sound(path: Path, images: ImageArray, sha256: str) -> bool:
    """Whether the bytes of the array have this digest; read once in a process, as long as the file does not change."""
    found = path.stat()
    version = (path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, sha256)
    if version not in _sound and hashlib.sha256(images.data).hexdigest() == sha256:
        _sound.add(version)
    return version in _sound


def _prepare(
    directory: Path,
    key: Mapping[str, object],
    count: int,
    shape: tuple[int, int, int],
    make: MakeImage,
    title: str,
    processes: int | None,
    on_error: Literal["stop", "skip"],
) -> CachedRecord:
    if count < 1:
        raise DataError(f"{title}: there are no samples")
    whole_key = full_key(key, count, shape)
    path = array_path(directory, whole_key)
    digest, kept, unreadable, notes = hashlib.sha256(), 0, dict[int, str](), dict[str, Note]()
    made = _chunks(make, count, shape, title, processes)
    with progress(title, count) as advance, closing(made):
        first = next(made)  # before there is a file: a worker that runs an unguarded script stops here
        with replacing(path) as file:
            write_header(file, (0, *shape))
            for chunk, images, failed, more in chain([first], made):
                file.write(images.data)
                digest.update(images.data)
                kept += len(images)
                unreadable |= failed
                add_notes(notes, more)
                advance(len(chunk))
            left_out = tuple(unreadable.values())
            if left_out and on_error == "stop":
                raise DataError(
                    f"{title}: cannot read {shortened(left_out, count)}\nRepair or remove them, "
                    "or leave them out with `on_error: skip`."
                )
            if not kept:
                raise DataError(f"{title}: nothing is left without {shortened(left_out, count)}")
            file.seek(0)
            write_header(file, (kept, *shape))
    sha256, noted = digest.hexdigest(), tuple(notes.values())
    record = CachedRecord(whole_key, (kept, *shape), sha256, left_out, tuple(unreadable), noted)
    with replacing(path.with_suffix(".json")) as file:
        file.write(json.dumps(asdict(record), indent=1).encode())
    return record


def write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the ``.npy`` header; its length does not depend on the count, as NumPy pads it."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def shortened(messages: Sequence[str], count: int) -> str:
    """``messages`` on that many of ``count`` samples, the first of them in full."""
    lines = [f"{len(messages)} of {count} samples:", *messages[:_NAMED]]
    if len(messages) > _NAMED:
        lines.append(f"and {len(messages) - _NAMED} more")
    return "\n  ".join(lines)


def remove_outdated(directory: Path, key: Mapping[str, object], place: Sequence[str], state: Sequence[str]) -> None:
    """Remove images that were made of an earlier state of the same place.

    Args:
        directory: where the files lie.
        key: the key of the images that are valid.
        place: the entries of keys that name the place.
        state: the entries that tell its state: images of which one differs are removed.
    """
    valid = json.loads(json.dumps({name: key[name] for name in (*place, *state)}))
    for path in directory.glob("*.json"):
        try:
            found = json.loads(path.read_text("utf-8"))["key"]
            differing = {name for name, value in valid.items() if found.get(name) != value}
            if differing and not differing & set(place):
                path.with_suffix(".npy").unlink(missing_ok=True)
                path.unlink(missing_ok=True)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged, or in use on Windows
            continue


# ---------------------------------------------------------------------------- writing


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that becomes ``path`` as a whole; what killed processes have left of it is removed."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_torn(path.parent, path.name, STALE)  # a living process writes to its file all the time
        with atomic_files.replacing(path) as file:
            yield file


def writing(directory: Path) -> AbstractContextManager[Path]:
    """A block that writes into ``directory``; an operating-system error in it becomes a :class:`DataError`."""
    fix = "free disk space or fix the permissions, or set COUPLING_DATA to a directory elsewhere"
    return atomic_files.writing(directory, fix, DataError)


# ---------------------------------------------------------------------------- making

_Chunk: TypeAlias = tuple[range, ImageArray, dict[int, str], list[Note]]
"""Samples, the images of those that were readable, a message for each of the others, and conversions."""


def _chunks(
    make: MakeImage, count: int, shape: tuple[int, int, int], title: str, processes: int | None
) -> Generator[_Chunk, None, None]:
    """All samples in order, chunk by chunk."""
    if processes is None:
        processes = 1 if count < _FEW else min(available_cores(), _MOST)
    size = max(1, min(_CHUNK, count // (16 * processes)))
    chunks = [range(start, min(start + size, count)) for start in range(0, count, size)]
    processes = min(processes, len(chunks))
    if processes == 1:
        yield from (_make_chunk(make, chunk, shape, title) for chunk in chunks)
        return
    workers = Workers(functools.partial(_make_chunk, make, shape=shape, title=title), processes)
    try:
        yield from workers.map(chunks)
    except (BrokenProcessPool, OSError) as error:
        raise RunError(
            f"{title}: a worker process died or could not start ({error}). Memory may have run out; or the "
            "images are defined in the script itself, whose code must then be under "
            "`if __name__ == '__main__':`."
        ) from error
    finally:
        workers.close()


def _make_chunk(make: MakeImage, chunk: range, shape: tuple[int, int, int], title: str) -> _Chunk:
    with collect_notes() as notes:
        images, unreadable = _make_images(make, chunk, shape, title)
    return chunk, images, unreadable, list(notes.values())


def _make_images(
    make: MakeImage, chunk: range, shape: tuple[int, int, int], title: str
) -> tuple[ImageArray, dict[int, str]]:
    images, unreadable = np.empty((len(chunk), *shape), np.uint8), dict[int, str]()
    kept = 0
    for index in chunk:
        try:
            image = make(index)
        except UnreadableImage as error:
            unreadable[index] = str(error)
            continue
        except Exception as error:
            reason = str(error) if isinstance(error, CouplingError) else f"{type(error).__name__}: {error}"
            raise DataError(f"{title}: sample {index}: {reason}") from error
        if not isinstance(image, np.ndarray) or image.shape != shape or image.dtype != np.uint8:
            got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise DataError(f"{title}: sample {index} is {got}, expected uint8 {shape}")
        images[kept] = image
        kept += 1
    return images[:kept], unreadable
