"""The base of data sets of recorded frames: colour or depth, decoded once, cropped at random in training."""

from __future__ import annotations

import hashlib
import unicodedata
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field
from torch import Tensor

from coupling import (
    DECODER,
    CachedImages,
    ConfigError,
    DataError,
    ImageArray,
    ImageCache,
    OnError,
    Resize,
    Size,
    UnreadableImage,
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
_LOOKED_AT = 16  # frames whose readings are compared with near and far


@dataclass(frozen=True)
class DepthRange:
    """The mapping of readings to depth in [0, 1]."""

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


class Frames(CachedImages):
    """Colour, (3, height, width) in [-1, 1], or depth, (1, height, width) in [0, 1], of numbered frames.

    Sample i of the colour and sample i of the depth are one view. A subclass finds the frames.
    """

    def __init__(
        self,
        *,
        title: str,
        source: str,
        folder: str,
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
        """Set how the frames become samples: ``modality`` to ``on_error`` are the options of that name.

        Args:
            title: name of the frames in messages.
            source: see :attr:`coupling.Dataset.source`.
            folder: folder of the data directory for the decoded frames.
            key: all that the reader's frames depend on, as JSON values.
            reader: reads the frames.
            modality: colour or depth.
            size: (height, width) of the decoded frames.
            resize: what is done to frames of another size.
            window: (height, width) that is cut out of frames; None: whole frames.
            flip: whether training mirrors every second sample.
            depth: range of the depth.
            on_error: "stop" or "skip".
            paired: whether every frame has both modalities.
        """
        self.modality: Modality = modality
        self.depth = depth
        self.title = title
        self._reader = reader
        self._window = None if window is None else height_and_width(window)
        self._flip = flip
        if self._window is not None and (self._window[0] > size[0] or self._window[1] > size[1]):
            raise ConfigError(
                f"window: {list(self._window)} is larger than the frames, {list(size)} ([height, width]); "
                "give a smaller window or a larger size"
            )
        self._maker = _Maker(reader, modality, size, resize, depth, whole=paired and on_error == "skip")
        seen: list[object] = [modality, resize]
        if modality == "color":
            seen.append(f"decoder {DECODER}")
        if modality == "depth":
            seen += [depth.planes.near, depth.planes.far, depth.outliers, depth.fill]
        cache = ImageCache(
            data_directory(folder),
            {**key, "seen": seen, "whole": self._maker.whole},
            len(reader.frames),
            (*size, 3 if modality == "color" else 2),
            self._maker,
            title=f"{modality} of {title}",
            processes=1 if len(reader.frames) < _QUICK else None,
            on_error=on_error,
            place=("frames",),
            state=("listing",) if "listing" in key else (),
        )
        super().__init__(cache, source=source, kind=folder)
        self.shape = (3 if modality == "color" else 1, *(self._window or size))
        self.range = COLOR_RANGE if modality == "color" else DEPTH_RANGE
        self.drawn_by = "" if modality == "color" else "false-colours"

    @property
    def images(self) -> ImageArray:
        """The decoded frames: uint8 (len(self), height, width, 3 of colour or 2 of depth), a memory map."""
        if not self.cache.is_open:
            self.check()
            if self.modality == "depth" and self.cache.record is None:
                self._look()
        return self.cache.images

    def identities(self) -> list[str]:
        """The name of each frame: the path of its files in the folder, without what they have in common."""
        return [unicodedata.normalize("NFC", self._reader.frames[index]) for index in self._kept.tolist()]

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Samples ``indices``: (len(indices), *shape) in the range; of windows, the middle ones."""
        return self._samples(indices, None)

    def augmented(self, indices: Sequence[int], keys: Sequence[int]) -> Tensor:
        """Samples ``indices``, each cut and flipped by its key."""
        return self._samples(indices, keys)

    def _samples(self, indices: Sequence[int], keys: Sequence[int] | None) -> Tensor:
        images = self.images
        chosen = [images[index] for index in indices]
        height, width = self._window or self.cache.shape[:2]
        pixels = crop_images(chosen, (height, width), keys, mirror=self._flip)
        return color_samples(pixels) if self.modality == "color" else depth_samples(from_bytes(pixels))

    def fingerprint(self) -> str:
        """Identifies the decoded frames, wherever they came from, and what is cut out of them."""
        window = "" if self._window is None else f":window{self._window[0]}x{self._window[1]}"
        flip = ":flip" if self._flip else ""
        return f"{super().fingerprint()}{window}{flip}"

    @abstractmethod
    def advice(self, factor: float) -> str:
        """The advice if the readings lie between the planes once they are multiplied by ``factor``."""

    def check(self) -> None:
        """Raise :class:`DataError` if the files are not the expected ones; called before frames are decoded.

        Most data sets take whatever files there are.
        """

    @property
    def _kept(self) -> NDArray[np.intp]:
        """Numbers of the reader's frames that there are samples of."""
        return self.cache.readable if self.counted_by_prepare else np.arange(self.cache.count)

    # -- plausibility of the readings -----------------------------------------------------------

    def _look(self) -> None:
        """Print how readings are treated; raise :class:`DataError` if the unit or the planes do not fit them."""
        frames = np.unique(np.linspace(0, len(self._reader.frames) - 1, _LOOKED_AT).astype(int))
        readings = []
        for index in frames.tolist():
            try:
                readings.append(self._reader.metres(index).ravel())
            except UnreadableImage:
                continue  # decoding all of them reports it
        if not readings:
            return
        everything = np.concatenate(readings)
        seen = everything[np.isfinite(everything) & (everything > 0)]
        planes = self.depth.planes
        if not len(seen):
            raise DataError(
                f"{self.title}: none of {len(readings)} examined frames has a depth reading: all are missing"
            )
        held = float(planes.hold(seen).mean())
        if held < 0.1:
            raise DataError(f"{self.title}: {implausible(seen, planes, self.advice)}")
        missing, beyond = 1 - len(seen) / len(everything), 1 - held
        filled = {"nearest": "become the nearest reading", "far": "become far", "zero": "stay 0"}[self.depth.fill]
        cut = {"clip": "are moved there", "drop": "count as missing"}[self.depth.outliers]
        print_line(
            f"depth of {self.title} (from {len(readings)} frames): {missing:.1%} missing, which {filled}; "
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
"""{factor that makes the readings plausible: the mistake that it indicates}."""


def listing_digest(root: Path, names: Sequence[str]) -> str:
    """A digest of the files' names, sizes and times of the last changes of content and entry."""
    digest = hashlib.sha256()
    for name in names:
        try:
            found = (root / name).stat()
        except OSError:  # a link to nothing: decoding it will say so
            found = (root / name).lstat()
        state = (name, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        digest.update(repr(state).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
