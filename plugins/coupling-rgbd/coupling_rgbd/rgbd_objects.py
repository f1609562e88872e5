"""The data set ``rgbd-objects``: the RGB-D Object Dataset of the University of Washington."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from coupling import ConfigError, DataError, OnErrorOption, ResizeOption, data_directory, expand_home, height_and_width
from coupling_rgbd.camera import Camera
from coupling_rgbd.depth import Planes
from coupling_rgbd.frames import (
    DepthRange,
    FarOption,
    FillOption,
    FlipOption,
    Frames,
    ModalityOption,
    NearOption,
    OutliersOption,
    SizeOption,
    WindowOption,
    listing_digest,
)
from coupling_rgbd.pairs import FilePairs

_FOLDER = "rgbd-dataset"
_LAYOUT = "rgbd-dataset/apple/apple_1/apple_1_1_1_crop.png and apple_1_1_1_depthcrop.png"
_WHERE = "the cropped images, unpacked, from https://rgbd-dataset.cs.washington.edu"
_FILE = re.compile(r"(?P<object>(?P<category>.+)_(?P<instance>\d+))_(?P<video>\d+)_(?P<frame>\d+)")
_INSTANCE = re.compile(r".+_\d+")
_COLOR, _DEPTH = "_crop.png", "_depthcrop.png"
_FIELD_OF_VIEW = 9.0
"""Degrees: an object of some 90 pixels in a frame of 640 that a Kinect sees at 57 degrees."""


@dataclass(frozen=True)
class View:
    """A cropped frame. Names are parsed from the right, because categories hold underscores too."""

    category: str
    instance: int
    """Number of the object in its category."""
    video: int
    """1, 2 or 4: the camera stood 30, 45 or 60 degrees above the turntable."""
    frame: int
    folder: str
    """category/category_instance."""

    @classmethod
    def parse(cls, stem: str, folder: str) -> View | None:
        """The view of a file's name without its ending, in ``folder``; None for other names."""
        found = _FILE.fullmatch(stem)
        if found is None or folder != f"{found['category']}/{found['object']}":
            return None
        return cls(found["category"], int(found["instance"]), int(found["video"]), int(found["frame"]), folder)

    @property
    def name(self) -> str:
        """Path of its files in the data set's folder, without their endings."""
        return f"{self.folder}/{self.category}_{self.instance}_{self.video}_{self.frame}"


class RgbdObjects(Frames):
    """RGB-D Object Dataset: colour or depth of 300 objects on a turntable, cropped to the object.

    Read from `rgbd-dataset/` in the data directory, as its archives unpack:
    category/category_instance/category_instance_video_frame_crop.png, and _depthcrop.png, millimetres
    in 16 bits, 0 missing. Any part of it will do: some categories, say.

    Parts are made of whole objects: the colour of one half of the objects, and the depth of the
    other, is `half: 1` and `half: 2`, which is also what two domains get that say nothing.

    Raises:
        DataError: the files are not there, are of other names, or one of a pair is missing;
            :meth:`prepare`: a file is damaged, or is not depth in millimetres.
    """

    def __init__(
        self,
        *,
        modality: ModalityOption,
        path: Annotated[
            str | None,
            Field(min_length=1, description="the folder; null: rgbd-dataset in the data directory ($COUPLING_DATA)"),
        ] = None,
        every: Annotated[int, Field(ge=1, description="take each n-th frame of every video")] = 1,
        size: SizeOption = 64,
        resize: ResizeOption = "stretch",
        near: NearOption = 0.5,
        far: FarOption = 1.5,
        outliers: OutliersOption = "clip",
        fill: FillOption = "nearest",
        window: WindowOption = None,
        flip: FlipOption = False,
        on_error: OnErrorOption = "stop",
    ) -> None:
        depth_range = DepthRange.checked(near, far, outliers, fill)
        root = data_directory(_FOLDER) if path is None else expand_home(path)
        if path is not None and not root.is_dir():
            raise ConfigError(f"path '{path}': there is no such folder; put {_WHERE} there, as {_LAYOUT}")
        if root.is_dir() and _folders(root) == [root / _FOLDER]:  # as some unpack it
            root = root / _FOLDER
        self.views = _views(root, every)
        """All frames, unreadable ones included, in the order of category, object, video and frame."""
        color, depth = (tuple(view.name + ending for view in self.views) for ending in (_COLOR, _DEPTH))
        source = f"rgbd-objects:{root.resolve()}"
        super().__init__(
            title=str(root),
            source=source,
            folder="rgbd-objects",
            key={"frames": source, "listing": listing_digest(root, [*color, *depth])},
            reader=FilePairs(root, tuple(view.name for view in self.views), color, depth, unit=0.001),
            modality=modality,
            size=height_and_width(size),
            resize=resize,
            window=window,
            flip=flip,
            depth=depth_range,
            on_error=on_error,
        )

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, in the order of the labels."""
        return tuple(sorted({view.category for view in self.views}))

    @cached_property
    def labels(self) -> Tensor:
        """Category of each frame, a number into :attr:`categories`."""
        return self._numbered(self.categories, [view.category for view in self.views])

    def groups(self) -> Tensor:
        """The object of each frame."""
        objects = [view.folder for view in self.views]
        return self._numbered(sorted(set(objects)), objects)

    def attributes(self) -> Mapping[str, Tensor]:
        """``category``, ``object`` (over all categories) and ``video`` (the camera's elevation, from low) of each."""
        videos = [view.video for view in self.views]
        elevation = self._numbered(sorted(set(videos)), videos)
        return {"category": self.labels, "object": self.groups(), "video": elevation}

    def _numbered(self, names: Any, values: list[Any]) -> Tensor:
        """Numbers into ``names`` of those of ``values``, one a view, that there are samples of."""
        numbers = {name: number for number, name in enumerate(names)}
        return torch.tensor([numbers[values[index]] for index in self._kept.tolist()])

    def advice(self, factor: float) -> str:
        """The advice to get the official files, which are in millimetres."""
        return f"the official files are in millimetres: put {_WHERE} in {self.title}"

    @staticmethod
    def camera(options: Mapping[str, Any], shape: tuple[int, ...]) -> Camera:
        """A camera that is about right for most objects: the size of the crop is not known for a drawn picture."""
        planes = Planes(options["near"], options["far"])
        return Camera.of(planes, _FIELD_OF_VIEW, (1, 1)).windowed(
            height_and_width(options["size"]), (shape[1], shape[2])
        )


def _views(root: Path, every: int) -> list[View]:
    """All views whose two files are there; raises :class:`DataError` for a file that is missing or misplaced."""
    colors, depths = set[View](), set[View]()
    full_frames = others = 0
    for folder, name in _names(root):
        known = next((kind for kind in (_DEPTH, _COLOR) if name.endswith(kind)), None)
        if known is None:
            full_frames += _FILE.fullmatch(re.sub(r"(_depth|_mask)?\.png$", "", name)) is not None
            others += 1
            continue
        view = View.parse(name.removesuffix(known), folder)
        if view is None:
            raise DataError(
                f"{root / folder / name}: does not lie where its name belongs: files are "
                f"category/category_instance/category_instance_video_frame{known}, such as {_LAYOUT}; "
                "give files and folders their official names back, or move it away"
            )
        (colors if known == _COLOR else depths).add(view)
    if not colors and not depths:
        packed = sorted([*root.glob("*.tar"), *root.glob("*/*.tar")])
        if packed:
            raise DataError(
                f"{root} holds {len(packed)} archives that are not unpacked, such as {packed[0].name}: unpack them "
                f"there (tar -xf {packed[0].name}), so that their files are {_LAYOUT}"
            )
        there = f"holds {others} other files" if root.is_dir() else "is not there"
        kind = "; these are the full frames, which the paper did not use" if full_frames else ""
        raise DataError(f"{root} {there}{kind}. Put {_WHERE} there: {_LAYOUT}")
    _check_pairs(root, colors, depths)
    ordered = sorted(colors, key=lambda view: (view.category, view.instance, view.video, view.frame))
    numbers: dict[tuple[str, int], int] = {}
    kept = []
    for view in ordered:
        number = numbers.setdefault((view.folder, view.video), 0)
        if number % every == 0:
            kept.append(view)
        numbers[view.folder, view.video] += 1
    return kept


def _check_pairs(root: Path, colors: set[View], depths: set[View]) -> None:
    """Raise :class:`DataError` if one file of a pair is missing."""
    for ones, rest, ending, missing in ((colors, depths, _COLOR, _DEPTH), (depths, colors, _DEPTH, _COLOR)):
        alone = sorted(view.name for view in ones - rest)
        if alone:
            more = f" and {len(alone) - 1} more of {len(ones)}" if len(alone) > 1 else ""
            raise DataError(
                f"{root / (alone[0] + ending)}{more} without {Path(alone[0] + missing).name} beside it; every frame "
                "needs both: unpack the archive of its category again, or move the rest away"
            )


def _names(root: Path) -> Iterator[tuple[str, str]]:
    """(category/object, file's name) of all files two folders down; raises :class:`DataError` for other folders."""
    if not root.is_dir():
        return
    for category in _folders(root):
        for instance in _folders(category):
            folder = f"{category.name}/{instance.name}"
            names = [entry.name for entry in os.scandir(instance) if not entry.name.startswith(".")]
            if names and _INSTANCE.fullmatch(instance.name) is None:
                raise DataError(
                    f"{root / folder}: is not the folder of an object: that is called category_instance, such as "
                    f"{category.name}/{category.name}_1; give it its official name back, or move it away"
                )
            yield from ((folder, name) for name in names)


def _folders(root: Path) -> list[Path]:
    with os.scandir(root) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
