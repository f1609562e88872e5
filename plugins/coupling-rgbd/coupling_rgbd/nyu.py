"""The data set ``nyu``: NYU Depth v2, indoor scenes in colour and depth."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from coupling import (
    ConfigError,
    DataError,
    Dataset,
    OnErrorOption,
    data_directory,
    expand_home,
    height_and_width,
    print_line,
)
from coupling_rgbd import nyu_labeled
from coupling_rgbd.camera import Camera
from coupling_rgbd.depth import Planes
from coupling_rgbd.frames import (
    DepthRange,
    FarOption,
    FillOption,
    FlipOption,
    Frames,
    Modality,
    ModalityOption,
    NearOption,
    OutliersOption,
    Reader,
    SizeOption,
    WindowOption,
    listing_digest,
)
from coupling_rgbd.nyu_labeled import Depths, Labeled, LabeledFrames
from coupling_rgbd.nyu_raw import RawFrames

_RAW = "the scenes of the raw data (folders of r-*.ppm and d-*.pgm) from https://cs.nyu.edu/~silberman/datasets/"
_FOCAL = 518.86
"""Focal length of the colour camera at 640 pixels (the authors' calibration), to which labelled depth is registered."""


class Nyu(Frames):
    """NYU Depth v2: colour or depth of indoor scenes, the labelled 1,449 frames or the raw ones.

    Read from `nyu-depth-v2/` in the data directory: nyu_depth_v2_labeled.mat, and the raw data's
    scenes in raw/. The paper took the depth of the labelled frames and the colour of the raw ones; those
    that are registered with the labelled frames are left out of the raw colour.

    Parts are made of whole scenes. Raw colour, raw depth and labelled frames are three sources.

    Raises:
        ConfigError: h5py is not installed.
        DataError: the files are not there, or the labelled file is none, of MATLAB 5, or truncated;
            :meth:`prepare`: a file is damaged, or the labelled one is not the official one.
    """

    def __init__(
        self,
        *,
        modality: ModalityOption,
        frames: Annotated[
            Literal["labeled", "raw"],
            Field(description="the 1,449 frames with registered depth, or all that the Kinect recorded"),
        ] = "labeled",
        depths: Annotated[
            Depths, Field(description="of labelled frames: completed by the authors, or as measured, with holes")
        ] = "filled",
        registered: Annotated[
            Literal["leave-out", "keep"],
            Field(description="what becomes of raw frames that the labelled ones were made from"),
        ] = "leave-out",
        path: Annotated[
            str | None,
            Field(min_length=1, description="the folder; null: nyu-depth-v2 in the data directory ($COUPLING_DATA)"),
        ] = None,
        near: NearOption = 0.7,
        far: FarOption = 10.0,
        outliers: OutliersOption = "clip",
        fill: FillOption = "nearest",
        size: SizeOption = (132, 176),
        window: WindowOption = 128,
        flip: FlipOption = False,
        on_error: OnErrorOption = "stop",
        verify: Annotated[
            bool,
            Field(
                description="read only the official labelled file, whose checksum is computed once; false: another "
                "file of its layout"
            ),
        ] = True,
    ) -> None:
        depth_range = DepthRange.checked(near, far, outliers, fill)
        root = data_directory("nyu-depth-v2") if path is None else expand_home(path)
        if path is not None and not root.is_dir():
            raise ConfigError(f"path '{path}': there is no such folder; it would hold {nyu_labeled.NAME} and raw/")
        file = root / nyu_labeled.NAME
        self._kinds: Sequence[str] = ()
        if frames == "labeled":
            reader, key = self._labeled(file, depths)
            key["depths"] = depths if modality == "depth" else ""
        else:
            reader, key = self._unlabeled(file, modality, leave_out=registered == "leave-out")
        read = frames == "labeled" or registered == "leave-out"
        self._official = file if verify and read else None
        self._raw = None if frames == "labeled" else registered
        which = "labeled" if frames == "labeled" else f"raw {modality} {registered}"
        source = f"nyu:{root.resolve()}:{which}"
        super().__init__(
            title=str(file if frames == "labeled" else root / "raw"),
            source=source,
            folder="nyu",
            key={"frames": source, **key},
            reader=reader,
            modality=modality,
            size=height_and_width(size),
            resize="stretch",  # the same proportions by default
            window=window,
            flip=flip,
            depth=depth_range,
            on_error=on_error,
            paired=frames == "labeled",
        )

    def _labeled(self, file: Path, depths: Depths) -> tuple[Reader, dict[str, Any]]:
        """The reader of the labelled file, and what its frames depend on."""
        described = nyu_labeled.described(file)
        self._scenes, self._kinds = described.scenes, described.kinds
        names = tuple(f"frame {number + 1} of {file.name}" for number in range(len(described.scenes)))
        return LabeledFrames(file, names, depths), {"listing": listing_digest(file.parent, [file.name])}

    def _unlabeled(self, file: Path, modality: Modality, *, leave_out: bool) -> tuple[Reader, dict[str, Any]]:
        """The reader of the raw files beside the labelled ``file``, and what its frames depend on."""
        root = file.parent / "raw"
        files = _raw_files(root, modality, nyu_labeled.described(file) if leave_out else None)
        self._scenes = tuple(name.rsplit("/", 1)[0] for name in files)
        return RawFrames(root, files), {"listing": listing_digest(root, files)}

    def check(self) -> None:
        """Compare the labelled file, if it is read, with its published size and MD5, once."""
        if self._official is not None:
            nyu_labeled.reject_other(self._official, self.cache.directory)

    def groups(self) -> Tensor:
        """The scene of each frame."""
        return self._numbered(self._scenes)

    @cached_property
    def labels(self) -> Tensor | None:
        """Kind of scene of each labelled frame: (len(self),) int64 in the order of the names; raw frames: None."""
        return self._numbered(self._kinds) if self._kinds else None

    def attributes(self) -> Mapping[str, Tensor]:
        """``scene``, and ``kind`` of scene where it is known."""
        return {"scene": self.groups(), **({} if self.labels is None else {"kind": self.labels})}

    def overlap(self, other: Dataset) -> str | None:
        """Raw frames that labelled ones were made from; raw colour and depth of one moment."""
        if not isinstance(other, Nyu):
            return None
        if self._raw and other._raw and self.modality != other.modality:
            common = set(self._scenes) & set(other._scenes)
            return f"{len(common)} scenes are in both, in colour and in depth" if common else None
        if "keep" in (self._raw, other._raw) and None in (self._raw, other._raw):
            return "raw frames that labelled ones were made from are kept (`registered: leave-out` leaves them out)"
        return None

    def _numbered(self, values: Sequence[str]) -> Tensor:
        numbers = {name: number for number, name in enumerate(sorted(set(values)))}
        return torch.tensor([numbers[values[index]] for index in self._kept.tolist()])

    def advice(self, factor: float) -> str:
        """The advice to get the official files, since their unit is known."""
        where = f"put {_RAW} in its place" if isinstance(self._reader, RawFrames) else nyu_labeled.ADVICE
        return f"these are not the official files' depths: {where}"

    @staticmethod
    def camera(options: Mapping[str, Any], shape: tuple[int, ...]) -> Camera:
        """The colour camera's; a crop is taken as if from the middle."""
        planes, size = Planes(options["near"], options["far"]), height_and_width(options["size"])
        return Camera(planes, 320 / _FOCAL, 240 / _FOCAL).windowed(size, (shape[1], shape[2]))


def _raw_files(root: Path, modality: Literal["color", "depth"], known: Labeled | None) -> tuple[str, ...]:
    """Raw frames of one modality, by their paths in ``root``, without those that labelled frames were made from."""
    prefix, suffix = ("r-", ".ppm") if modality == "color" else ("d-", ".pgm")
    found = sorted(name for name in _files(root) if _is(name, prefix, suffix))
    if not found:
        raise DataError(f"{root}: there are no {prefix}*{suffix} in its folders; put {_RAW} there, unpacked")
    kept = tuple(name for name in found if known is None or name.rsplit("/", 1)[-1] not in known.raw)
    if not kept:
        raise DataError(
            f"{root}: all {len(found)} {modality} frames are registered with labelled ones and left out; put more "
            "scenes there, or give `registered: keep`"
        )
    if len(kept) < len(found):
        print_line(f"{root}: {len(found) - len(kept)} {modality} frames are registered with labelled ones and left out")
    return kept


def _is(name: str, prefix: str, suffix: str) -> bool:
    last = name.rsplit("/", 1)[-1]
    return last.startswith(prefix) and last.endswith(suffix)


def _files(root: Path) -> Iterator[str]:
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        place = Path(folder).relative_to(root).as_posix()
        yield from (name if place == "." else f"{place}/{name}" for name in names)
