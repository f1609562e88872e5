"""Made-up files in CelebA's format, for tests and benchmarks: CelebA itself must not be passed on."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coupling_faces.decoding import OFFICIAL_SIZE
from coupling_faces.lists import NAMES


def write_celeba(
    folder: Path, count: int, *, images: Literal["zip", "folder"] = "zip", line_end: str = "\r\n", seed: int = 0
) -> NDArray[np.bool_]:
    """Write the three files into ``folder``, of ``count`` images; they are read with ``verify: false``.

    Returns the attributes that the list says: (count, 40), drawn with even chances. Of ten images,
    eight are for training, one for validation and one for testing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    flags = random.random((count, len(NAMES))) < 0.5
    names = [f"{number:06}.jpg" for number in range(1, count + 1)]
    rows = [
        f"{name} {' '.join(' 1' if flag else '-1' for flag in row)}" for name, row in zip(names, flags, strict=True)
    ]
    attributes = [str(count), " ".join(NAMES) + " ", *rows, ""]  # the official header ends in a space, too
    partition = [f"{name} {max(0, number % 10 - 7)}" for number, name in enumerate(names)]
    (folder / "list_attr_celeba.txt").write_bytes(line_end.join(attributes).encode())
    (folder / "list_eval_partition.txt").write_bytes(line_end.join([*partition, ""]).encode())
    if images == "folder":
        (folder / "img_align_celeba").mkdir(exist_ok=True)
        for name in names:
            (folder / "img_align_celeba" / name).write_bytes(photograph(random))
    else:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("img_align_celeba/", "")
            for name in names:
                archive.writestr(f"img_align_celeba/{name}", photograph(random))
    return flags


def photograph(random: np.random.Generator) -> bytes:
    """A JPEG file of CelebA's size in pixels and, nearly, in bytes (7.1 KB): noise with the spectrum of photographs."""
    width, height = OFFICIAL_SIZE
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    amplitude = 1 / np.maximum(frequency, 1 / height) ** 1.85
    light, *colours = (
        np.fft.irfft2(amplitude * np.exp(2j * np.pi * random.random(amplitude.shape)), s=(height, width))
        for _ in range(3)
    )
    light = light / light.std() * 50
    shades = [light + colour / colour.std() * 12 for colour in (*colours, -colours[0])]
    pixels = np.clip(np.stack(shades, axis=-1) + 120, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()
