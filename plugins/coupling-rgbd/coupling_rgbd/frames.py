"""Colour or depth of frames that lie in files: decoded once, cut at random in training."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field
from torch import Tensor

from coupling import (
    CachedRecord,
    ConfigError,
    DataError,
    Dataset,
    ImageArray,
    OnError,
    Resize,
    Size,
    UnreadableImage,
    cached_images,
    cached_record,
    crop_images,
    data_directory,
    height_and_width,
    print_line,
)
from coupling_rgbd.depth import Fill, Outliers, Planes, completed, from_bytes, to_bytes
from coupling_rgbd.samples import COLOR_RANGE, DEPTH_RANGE, color_samples, depth_samples

Modality: TypeAlias = Literal["color", "depth"]

# Options that several data sets take. What they are called and mean is the same in all of them.
ModalityOption: TypeAlias = Annotated[
    Modality, Field(description="colour in [-1, 1] (3 channels), or depth in [0, 1] (1 channel)")
]
SizeOption: TypeAlias = Annotated[
    Size, Field(description="pixels that frames are brought to: one number or [height, width]")
]
WindowOption: TypeAlias = Annotated[
    Size | None,
    Field(
        description="pixels of the windows that are cut out of frames, one number or [height, width]: anywhere in "
        "training, the middle elsewhere; null: whole frames"
    ),
]
FlipOption: TypeAlias = Annotated[bool, Field(description="mirror every second sample of training, at random")]
NearOption: TypeAlias = Annotated[float, Field(gt=0, description="metres that depth 0 stands for; depth only")]
FarOption: TypeAlias = Annotated[float, Field(gt=0, description="metres that depth 1 stands for; depth only")]
OutliersOption: TypeAlias = Annotated[
    Outliers,
    Field(description="readings beyond near and far: clip moves them there, drop takes them for missing; depth only"),
]
FillOption: TypeAlias = Annotated[
    Fill,
    Field(
        description="what stands for missing readings: the nearest reading in the picture, the far plane, or "
        "zero, which is then kept for them; depth only"
    ),
]

_QUICK = 64  # frames that decode about as fast as worker processes start
_LOOKED_AT = 16  # frames whose readings are held against near and far


@dataclass(frozen=True)
class DepthRange:
    """How readings become depth in [0, 1]."""

    planes: Planes
    outliers: Outliers
    fill: Fill

    @classmethod
    def checked(cls, near: float, far: float, outliers: Outliers, fill: Fill) -> DepthRange:
        """Raises :class:`ConfigError` where near is not before far."""
        if near >= far:
            raise ConfigError(f"near: {near:g} is not before far: {far:g}; give metres, near < far")
        return cls(Planes(near, far), outliers, fill)


class Reader(Protocol):
    """Frames by number, as they were recorded. Picklable: worker processes read with it.

    Both methods raise :class:`UnreadableImage`, which names the frame.
    """

    @property
    def frames(self) -> Sequence[str]:
        """Their names, for messages."""

    def color(self, index: int) -> NDArray[np.uint8]:
        """(height, width, 3)."""

    def metres(self, index: int) -> NDArray[np.float32]:
        """(height, width); 0 where the sensor saw nothing."""


@dataclass(frozen=True)
class _Maker:
    """Makes stored frame ``index``: bytes (height, width, 3 of colour or 2 of depth)."""

    reader: Reader
    modality: Modality
    size: tuple[int, int]
    resize: Resize
    depth: DepthRange
    whole: bool
    """Whether the other modality must be readable too."""

    def __call__(self, index: int) -> ImageArray:
        if self.whole:
            (self.reader.metres if self.modality == "color" else self.reader.color)(index)
        if self.modality == "color":
            picture = Image.fromarray(self.reader.color(index))
            return np.asarray(self._sized(picture, Image.Resampling.LANCZOS, index))
        # Sampled, not averaged: between two surfaces, at the mean of their depths, there is nothing.
        picture = Image.fromarray(self.reader.metres(index))
        metres = np.asarray(self._sized(picture, Image.Resampling.NEAREST, index))
        depth = self.depth
        return to_bytes(depth.planes.to_levels(completed(metres, depth.planes, depth.outliers, depth.fill)))

    def _sized(self, picture: Image.Image, method: Image.Resampling, index: int) -> Image.Image:
        height, width = self.size
        if picture.size == (width, height):
            return picture
        if self.resize == "stretch":
            return picture.resize((width, height), method)
        if self.resize == "crop":
            return ImageOps.fit(picture, (width, height), method)
        raise DataError(
            f"{self.reader.frames[index]} is [{picture.height}, {picture.width}], expected [{height}, {width}] "
            f"([height, width]); to bring all to one size, give `size: [{height}, {width}]` (or another) and "
            "`resize: crop` or `resize: stretch`"
        )


class Frames(Dataset):
    """Colour, (3, height, width) in [-1, 1], or depth, (1, height, width) in [0, 1], of numbered frames.

    The numbers are those of both modalities: sample i of the colour and of the depth are one view.
    A subclass finds the frames and says in its constructor how they are looked at.
    """

    title: str
    """What the frames are called in messages."""

    def _open(
        self,
        *,
        room: str,
        key: dict[str, Any],
        reader: Reader,
        modality: Modality,
        size: tuple[int, int],
        resize: Resize,
        window: Size | None,
        flip: bool,
        depth: DepthRange,
        on_error: OnError = "stop",
        paired: bool = True,
    ) -> None:
        """Say how the frames are looked at: ``modality`` to ``on_error`` are the options of that name.

        ``room`` is the data directory's folder for the decoded frames; ``key`` holds all that the
        reader's frames depend on, as JSON values; ``paired`` says whether every frame has both
        modalities.
        """
        self.modality = modality
        self.depth = depth
        self._room = room
        self._reader = reader
        self._window = None if window is None else height_and_width(window)
        self._flip = flip
        self._on_error = on_error
        if self._window is not None and (self._window[0] > size[0] or self._window[1] > size[1]):
            raise ConfigError(
                f"window: {list(self._window)} is larger than the frames, {list(size)} ([height, width]); "
                "give a smaller window or a larger size"
            )
        self.shape = (3 if modality == "color" else 1, *(self._window or size))
        self.range = COLOR_RANGE if modality == "color" else DEPTH_RANGE
        self.drawn_by = "" if modality == "color" else "false-colours"
        self._maker = _Maker(reader, modality, size, resize, depth, whole=paired and on_error == "skip")
        self._stored_shape = (*size, 3 if modality == "color" else 2)
        seen: list[object] = [modality, resize]
        if modality == "depth":
            seen += [depth.planes.near, depth.planes.far, depth.outliers, depth.fill]
        self._key = {**key, "seen": seen, "whole": self._maker.whole}

    def __len__(self) -> int:
        """Number of frames; with ``on_error: skip`` and once they are prepared, of readable ones."""
        return len(self._kept)

    def __getitem__(self, index: int) -> Tensor:
        return self.batch([index])[0]

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples ``indices``: (len(indices), *shape) in the range; of windows, the middle ones."""
        return self._samples(indices, None)

    def augmented(self, indices: Sequence[int], keys: Sequence[int]) -> Tensor:
        """Samples ``indices``, each cut and flipped by its key."""
        return self._samples(indices, keys)

    def _samples(self, indices: Sequence[int], keys: Sequence[int] | None) -> Tensor:
        chosen = [self._stored[index] for index in indices]
        height, width = self._window or self._stored_shape[:2]
        pixels = crop_images(chosen, (height, width), keys, mirror=self._flip)
        return color_samples(pixels) if self.modality == "color" else depth_samples(from_bytes(pixels))

    def prepare(self) -> None:
        """Decode all frames, unless they already are."""
        _ = self._stored

    def fingerprint(self) -> str:
        """The stored frames themselves, wherever they came from, and what is cut out of them."""
        self.prepare()
        record = self._record()
        window = "" if self._window is None else f":window{self._window[0]}x{self._window[1]}"
        flip = ":flip" if self._flip else ""
        return f"{self._room}:{record.sha256 if record else 'removed'}{window}{flip}"

    @abstractmethod
    def advice(self, factor: float) -> str:
        """What to do where the readings lie between the planes once they are multiplied by ``factor``."""

    def check(self) -> None:
        """Raise :class:`DataError` where the files are not those they should be; called before frames are decoded.

        Most data sets take whatever files there are.
        """

    # -- the stored frames -------------------------------------------------------------------

    @cached_property
    def _stored(self) -> ImageArray:
        """(len(self), height, width, 3 or 2), a memory map."""
        self.check()
        if self.modality == "depth" and self._record() is None:
            self._look()
        stored = cached_images(
            data_directory(self._room),
            self._key,
            len(self._reader.frames),
            self._stored_shape,
            self._maker,
            title=f"{self.modality} of {self.title}",
            processes=1 if len(self._reader.frames) < _QUICK else None,
            on_error=self._on_error,
        )
        for made in ("_kept", "labels"):  # it may be known only now what can be read
            self.__dict__.pop(made, None)
        return stored

    @cached_property
    def _kept(self) -> NDArray[np.intp]:
        """Which of the reader's frames there are samples of."""
        record = self._record() if self._on_error == "skip" else None
        return np.delete(np.arange(len(self._reader.frames)), record.missing if record else ())

    def _record(self) -> CachedRecord | None:
        return cached_record(data_directory(self._room), self._key, len(self._reader.frames), self._stored_shape)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_stored", "_kept")}

    # -- the readings, held against what they are taken for -------------------------------------

    def _look(self) -> None:
        """Say what becomes of the readings; raise :class:`DataError` where they can't be what they are taken for."""
        frames = np.unique(np.linspace(0, len(self._reader.frames) - 1, _LOOKED_AT).astype(int))
        readings = []
        for index in frames.tolist():
            try:
                readings.append(self._reader.metres(index).ravel())
            except UnreadableImage:
                continue  # decoding all of them tells it
        if not readings:
            return
        everything = np.concatenate(readings)
        seen = everything[np.isfinite(everything) & (everything > 0)]
        planes = self.depth.planes
        if not len(seen):
            raise DataError(
                f"{self.title}: {len(readings)} frames looked at, and none has a depth reading: all are missing"
            )
        held = float(planes.hold(seen).mean())
        if held < 0.1:
            raise DataError(f"{self.title}: {implausible(seen, planes, self.advice)}")
        missing, beyond = 1 - len(seen) / len(everything), 1 - held
        filled = {"nearest": "become the nearest reading", "far": "become far", "zero": "stay 0"}[self.depth.fill]
        cut = {"clip": "are moved there", "drop": "count as missing"}[self.depth.outliers]
        print_line(
            f"depth of {self.title} (a look at {len(readings)} frames): {missing:.1%} missing, which {filled}; "
            f"{beyond:.1%} of the readings beyond {planes.near:g} to {planes.far:g} m, which {cut}"
        )


def implausible(seen: NDArray[np.float32], planes: Planes, advice: Callable[[float], str]) -> str:
    """Why readings ``seen``, in metres, cannot lie between ``planes``, and what to do."""
    low, middle, high = (f"{value:.3g}" for value in np.percentile(seen, [5, 50, 95]))
    text = (
        f"of the depth readings only {planes.hold(seen).mean():.0%} lie between near: {planes.near:g} and "
        f"far: {planes.far:g} metres; they are about {middle} m ({low} to {high})"
    )
    for factor, mistake in _MISTAKES.items():
        if planes.hold(seen * np.float32(factor)).mean() > 0.5:
            return f"{text}, which looks like {mistake}; {advice(factor)}"
    return f"{text}; set near and far to what the camera saw"


_MISTAKES = {
    1000.0: "metres read as millimetres",
    0.001: "millimetres read as metres",
    0.2: "steps of 0.2 mm (5000 a metre) read as millimetres",
}
"""What the readings must be multiplied by, and what was then mistaken for what."""


def listing_digest(root: Path, names: Sequence[str]) -> str:
    """Of the files' names, sizes and times: it changes when they do."""
    digest = hashlib.sha256()
    for name in names:
        try:
            found = (root / name).stat()
        except OSError:  # a link to nothing: decoding it will say so
            found = (root / name).lstat()
        digest.update(repr((name, found.st_size, found.st_mtime_ns)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
