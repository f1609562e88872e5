"""The data set ``color-depth-folder``: colour and depth files of a folder."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from coupling import (
    ConfigError,
    DataError,
    Dataset,
    OnErrorOption,
    PartialOverlap,
    ResizeOption,
    Size,
    data_directory,
    expand_home,
    height_and_width,
    nearest,
)
from coupling_rgbd.camera import FRAME, Camera
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
    WindowOption,
    listing_digest,
)
from coupling_rgbd.image_files import COLOR_SUFFIXES, DEPTH_SUFFIXES, read_numbers
from coupling_rgbd.pairs import FilePairs

_NAMED = 3  # files that a message names before it only counts

_Pattern = Annotated[str, Field(min_length=1, pattern=r"\*")]


class ColorDepthFolder(Frames):
    """Colour or depth of a folder of frames: color/NAME.jpg and depth/NAME.png, as a Kinect records them.

    Every frame has both files. Domains over one folder get parts of whole blocks of neighbouring
    frames: a camera moves slowly, and a frame is nearly the next one.

    Depth files hold 16-bit whole numbers (PNG, PGM, TIFF) or floats (TIFF, .npy), distances along the
    optical axis; 0, infinite or not a number: missing. Frames of other names than pairs, and other
    files, are errors or ignored: a colour file without its depth is an error, as is the reverse.

    Raises:
        ConfigError: there is no such folder, or options contradict each other.
        DataError: files are missing; :meth:`prepare`: a file is damaged, is of 8 bits, is not as
            large as the others, or the readings can't be metres between near and far.
    """

    def __init__(
        self,
        *,
        path: Annotated[
            str, Field(min_length=1, description="the folder, or its name in the data directory ($COUPLING_DATA)")
        ],
        modality: ModalityOption,
        color: Annotated[
            _Pattern, Field(description="where the colour files lie in it; * stands for a frame's name")
        ] = "color/*",
        depth: Annotated[
            _Pattern, Field(description="where the depth files lie in it; * stands for a frame's name")
        ] = "depth/*",
        unit: Annotated[
            float, Field(gt=0, description="metres of one step of the depth files: 0.001 is millimetres, 1 metres")
        ] = 0.001,
        near: NearOption = 0.5,
        far: FarOption = 5.0,
        outliers: OutliersOption = "clip",
        fill: FillOption = "nearest",
        size: Annotated[
            Size | None,
            Field(description="pixels that frames are brought to: one number or [height, width]; null: the first's"),
        ] = None,
        resize: ResizeOption = "none",
        window: WindowOption = None,
        flip: FlipOption = False,
        blocks: Annotated[
            int,
            Field(ge=1, description="runs of neighbouring frames, by name, that parts are made of; domains share none"),
        ] = 20,
        gap: Annotated[
            int, Field(ge=0, description="frames left out between two blocks, so that their ends differ too")
        ] = 0,
        field_of_view: Annotated[
            float, Field(gt=0, lt=180, description="degrees across a frame's width; only point clouds need it")
        ] = 57.0,
        on_error: OnErrorOption = "stop",
    ) -> None:
        depth_range = DepthRange.checked(near, far, outliers, fill)
        root = _root(path)
        pairs = _pairs(root, color, depth)
        block = _blocks(len(pairs), blocks, gap)
        kept = [pair for pair, number in zip(pairs, block, strict=True) if number >= 0]
        frames, color_files, depth_files = (tuple(column) for column in zip(*kept, strict=True))
        self._block = torch.from_numpy(block[block >= 0])
        self._colors, self._depths = ([root / name for name in names] for names in (color_files, depth_files))
        self._unit = unit
        source = f"{root}:{color},{depth}"
        super().__init__(
            title=str(root),
            source=source,
            folder="color-depth-folder",
            # The folder itself too: names, sizes and times alone may agree by chance of how they were made.
            key={
                "frames": source,
                "listing": listing_digest(root, [*color_files, *depth_files]),
                **({"unit": unit} if modality == "depth" else {}),
            },
            reader=FilePairs(root, frames, color_files, depth_files, unit),
            modality=modality,
            size=height_and_width(size) if size is not None else _size_of(root, depth_files[0]),
            resize=resize,
            window=window,
            flip=flip,
            depth=depth_range,
            on_error=on_error,
        )

    def groups(self) -> Tensor:
        """The block of each frame."""
        return self._block[torch.from_numpy(self._kept)]

    def overlap(self, other: Dataset) -> str | None:
        """Files that are in both, whatever the folder is called and the patterns are.

        A :class:`PartialOverlap` where each has frames that share no file with the other's.
        """
        if not isinstance(other, ColorDepthFolder):
            return None
        own, others = (
            [{str(path.resolve()) for path in files} for files in zip(one._colors, one._depths, strict=True)]
            for one in (self, other)
        )
        common = set().union(*own) & set().union(*others)
        if not common:
            return None
        message = f"{len(common)} files, {min(common)} for one, are of frames of both"
        contained = any(all(files & common for files in frames) for frames in (own, others))
        return message if contained else PartialOverlap(message)

    def fingerprint(self) -> str:
        """The stored frames, what is cut out of them, and their blocks."""
        return f"{super().fingerprint()}:{len(self._block.unique())} blocks"

    def advice(self, factor: float) -> str:
        """Advice on the option `unit`, which makes the readings plausible."""
        return f"set `unit: {self._unit * factor:g}`"

    @staticmethod
    def camera(options: Mapping[str, Any], shape: tuple[int, ...]) -> Camera | None:
        """The camera of samples of ``shape``; None for windows of frames of unknown size.

        Frames that are resized are taken to have a Kinect's proportions, 4:3.
        """
        planes = Planes(options["near"], options["far"])
        if options["size"] is None:
            whole = options["window"] is None
            return Camera.of(planes, options["field_of_view"], (shape[1], shape[2])) if whole else None
        size = height_and_width(options["size"])
        frame = size if options["resize"] == "none" else FRAME
        camera = Camera.of(planes, options["field_of_view"], frame).resized(size, options["resize"])
        return camera.windowed(size, (shape[1], shape[2]))


def _root(path: str) -> Path:
    """The folder that ``path`` means: one of that name, else one in the data directory."""
    for candidate in (expand_home(path), data_directory(path)):
        if candidate.is_dir():
            return candidate.resolve()
        if candidate.exists():
            raise ConfigError(f"path '{path}': {candidate} is a file, not a folder of colour and depth frames")
    parent = data_directory(".").resolve()
    known = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    raise ConfigError(
        f"path '{path}': there is no such folder, here or in {parent}; give a folder that holds color/ and depth/, "
        f"with a file in each for every frame ({nearest(path, known)})"
    )


def _pairs(root: Path, color: str, depth: str) -> list[tuple[str, str, str]]:
    """(frame's name, colour file, depth file), in the order of the names, numbers in them by their value."""
    colors, depths = _found(root, color, COLOR_SUFFIXES), _found(root, depth, DEPTH_SUFFIXES)
    for one, pattern, option in ((colors, color, "color"), (depths, depth, "depth")):
        if not one:
            raise DataError(
                f"{root}: there are no files {pattern} (option `{option}`); it holds {_listing(root)}; "
                "say where they lie, * standing for a frame's name"
            )
    for one, other, missing in ((colors, depths, f"depth file ({depth})"), (depths, colors, f"colour file ({color})")):
        alone = sorted(one.keys() - other.keys(), key=_natural)
        if alone:
            more = f" and {len(alone) - _NAMED} more" if len(alone) > _NAMED else ""
            files = ", ".join(one[name] for name in alone[:_NAMED])
            raise DataError(
                f"{root}: {files}{more} of {len(one)} have no {missing}; every frame needs both: "
                "add what is missing, or move the rest away"
            )
    return [(name, colors[name], depths[name]) for name in sorted(colors, key=_natural)]


def _found(root: Path, pattern: str, suffixes: Iterable[str]) -> dict[str, str]:
    """Files of ``root`` that ``pattern`` means, by the frame's name; hidden ones are left out."""
    open_end = pattern.endswith("*")
    expression = re.compile("([^/]*)".join(re.escape(piece) for piece in pattern.split("*")))
    files: dict[str, str] = {}
    for path in sorted(root.glob(pattern)):
        name = path.relative_to(root).as_posix()
        matched = expression.fullmatch(name.removesuffix(path.suffix) if open_end else name)
        if matched is None or path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.exists() and not path.is_file():  # a folder, or a pipe, whose reading would never end
            continue
        frame = "/".join(matched.groups())
        if frame in files:
            raise DataError(f"{root}: {files[frame]} and {name} are both of frame '{frame}'; move one of them away")
        files[frame] = name
    return files


def _natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts frame-10 after frame-9."""
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in re.split(r"(\d+)", name)]


def _listing(root: Path) -> str:
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in root.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"


def _blocks(count: int, blocks: int, gap: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The block of each of ``count`` frames; -1: left out, since it lies between two blocks."""
    starts = [math.ceil(count * block / blocks) for block in range(blocks + 1)]
    block = np.arange(count) * blocks // count
    if gap:
        for start in starts[1:-1]:
            block[max(start - gap, 0) : start] = -1
        if len(np.unique(block[block >= 0])) < min(blocks, count):
            raise ConfigError(
                f"gap: {gap} leaves nothing of some of the {blocks} blocks of {count} frames; "
                "give a smaller gap, or fewer blocks"
            )
    return block


def _size_of(root: Path, name: str) -> tuple[int, int]:
    """(height, width) of a depth file: what colour has beyond depth's resolution, no pair can use."""
    if not name.lower().endswith(".npy"):
        try:
            with Image.open(root / name) as image:
                return image.height, image.width
        except OSError:
            pass  # reported like the damage of all other files
    height, width = read_numbers(root, name).shape
    return height, width
