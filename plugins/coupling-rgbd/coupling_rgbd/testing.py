"""Made-up files in the formats of this plugin's data sets, for tests: those themselves must not be passed on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def scene(random: np.random.Generator, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A block before a sloping wall: colour (height, width, 3), and depth in metres with 10 % missing (0)."""
    down, across = np.mgrid[:height, :width] / max(height, width)
    metres = 1.3 + 0.15 * random.uniform(-1, 1) * across + 0.05 * random.uniform(-1, 1) * down
    inside = (np.abs(across - random.uniform(0.3, 0.7)) < 0.2) & (np.abs(down - random.uniform(0.3, 0.7)) < 0.2)
    metres = np.where(inside, metres - 0.3, metres)
    color = random.uniform(40, 255, 3) * np.where(inside, 1, 0.6)[..., None] / (0.5 + metres[..., None])
    metres[random.random((height, width)) < 0.1] = 0
    return np.clip(color, 0, 255).astype(np.uint8), metres.astype(np.float32)


def millimetres(metres: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Metres as depth files hold them."""
    return np.rint(metres * 1000).astype(np.uint16)


def write_frames(folder: Path, count: int, *, size: tuple[int, int] = (132, 176), seed: int = 0) -> None:
    """Write color/frame-000000.png and depth/frame-000000.png ... as ``color-depth-folder`` reads them."""
    random = np.random.default_rng(seed)
    for name in ("color", "depth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        color, metres = scene(random, *size)
        Image.fromarray(color).save(folder / f"color/frame-{number:06d}.png")
        Image.fromarray(millimetres(metres)).save(folder / f"depth/frame-{number:06d}.png")


def write_rgbd_objects(folder: Path, objects: dict[str, int], frames: int, *, seed: int = 0) -> None:
    """Write ``frames`` views of each object, of videos 1, 2 and 4 in turn: ``objects`` counts them by category."""
    random = np.random.default_rng(seed)
    for category, count in objects.items():
        for instance in range(1, count + 1):
            place = folder / category / f"{category}_{instance}"
            place.mkdir(parents=True, exist_ok=True)
            for number in range(frames):
                color, metres = scene(random, int(random.integers(50, 90)), int(random.integers(50, 90)))
                stem = f"{category}_{instance}_{(1, 2, 4)[number % 3]}_{number // 3 + 1}"
                Image.fromarray(color).save(place / f"{stem}_crop.png")
                Image.fromarray(millimetres(metres)).save(place / f"{stem}_depthcrop.png")
                Image.fromarray(np.uint8(255) * (metres > 0)).save(place / f"{stem}_maskcrop.png")
                (place / f"{stem}_loc.txt").write_text("200,150")


def write_nyu(
    folder: Path, labeled: int, raw: int, *, size: tuple[int, int] = (48, 64), scenes: int = 8, seed: int = 0
) -> None:
    """Write nyu_depth_v2_labeled.mat and raw/; of each scene's raw frames, the first are the labelled ones.

    It is read with ``verify: false``.
    """
    random = np.random.default_rng(seed)
    pictures, depths, holes = [], [], []
    names, rooms = [], [f"{('kitchen', 'home_office')[k % 2]}_{k:04d}" for k in range(scenes)]
    for room in rooms:
        (folder / "raw" / room).mkdir(parents=True, exist_ok=True)
    for number in range(labeled + raw):
        color, metres = scene(random, *size)
        room, stamp = rooms[number % scenes], f"{1300000000 + number}.{number:06d}-{number}"
        if number < labeled:
            pictures.append(color)
            holes.append(metres)
            depths.append(np.where(metres > 0, metres, metres.max()))
            names.append(f"{room}/r-{stamp}.ppm")
        Image.fromarray(color).save(folder / "raw" / room / f"r-{stamp}.ppm")
        write_raw_depth(folder / "raw" / room / f"d-{stamp}.pgm", metres)
    kinds = [rooms[k % scenes].rsplit("_", 1)[0] for k in range(labeled)]
    with matlab_file(folder / "nyu_depth_v2_labeled.mat") as file:
        file["images"] = np.stack(pictures).transpose(0, 3, 2, 1)
        file["depths"] = np.stack(depths).transpose(0, 2, 1).astype(np.float32)
        file["rawDepths"] = np.stack(holes).transpose(0, 2, 1)
        write_cells(file, "rawRgbFilenames", names)
        write_cells(file, "rawDepthFilenames", [name.replace("r-", "d-").replace(".ppm", ".pgm") for name in names])
        write_cells(file, "scenes", [rooms[k % scenes] for k in range(labeled)])
        write_cells(file, "sceneTypes", kinds)


def write_raw_depth(path: Path, metres: NDArray[np.float32]) -> None:
    """Write the Kinect's numbers for ``metres``, the low byte first though PGM means the high one."""
    numbers = np.where(metres > 0, np.rint(1092.5 - 351.3 / np.maximum(metres, 0.1)), 2047).astype("<u2")
    height, width = metres.shape
    path.write_bytes(b"P5 %d %d 65535\n" % (width, height) + numbers.tobytes())


def matlab_file(path: Path) -> Any:
    """An HDF5 file that begins as MATLAB's do, for writing; to be used in a ``with`` statement."""
    import h5py

    file = h5py.File(path, "w", userblock_size=512)
    file.close()
    with open(path, "r+b") as header:
        header.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128))
    return h5py.File(path, "r+")


def write_cells(file: Any, key: str, texts: Iterable[str]) -> None:
    """Write a cell array of texts: references to columns of character codes."""
    import h5py

    cells = file.require_group("#refs#")
    references = []
    for number, text in enumerate(texts):
        cells[f"{key}{number}"] = np.array([[ord(letter)] for letter in text], np.uint16)
        references.append(cells[f"{key}{number}"].ref)
    file.create_dataset(key, data=np.array([references], dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)
