"""The data set ``image-folder``: the images of a folder or a zip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from coupling.data.dataset import Dataset
from coupling.data.images.cached_dataset import CachedImages
from coupling.data.images.decoding import (
    CropOption,
    Fit,
    FlipOption,
    ModeOption,
    OnErrorOption,
    ResizeOption,
    SizeOption,
    WindowOption,
    height_and_width,
)
from coupling.data.images.files import ImageFiles, classes_of, in_words
from coupling.data.images.image import ImageArray, UnreadableImage
from coupling.data.images.image_cache import ImageCache
from coupling.data.images.pixels import DECODER, decode_image
from coupling.data.images.places import image_files
from coupling.errors import DataError
from coupling.system.data_directory import data_directory
from coupling.system.terminal import print_line

_QUICK = 64 * 2**20  # bytes of image files that decode about as fast as worker processes start


PathOption: TypeAlias = Annotated[str, Field(min_length=1, description="the folder or zip; ~ is your home directory")]

ClassesOption: TypeAlias = Annotated[
    list[str] | None,
    Field(
        min_length=1,
        description="folders in it whose images are the classes; labels number the classes of all domains by name, "
        "in the order in which the domains list them; default: no labels",
    ),
]


class ImageFolder(CachedImages):
    """All images of a folder and its subfolders, or of a zip, decoded once and then read from one file.

    Samples are float32 (3 or 1, height, width) in [-1, 1], in the order of their paths, which are also
    their identities. EXIF orientation is applied, transparency is laid over white. Files that are hidden,
    have another suffix or belong to a run are ignored and counted. A zip is read where it lies: nothing of
    it is unpacked to disk.

    Raises:
        ConfigError: ``path`` is not a folder or zip.
        DataError: there are no images in it, or one lies in none of the ``classes``; :meth:`prepare`: an
            image is damaged, encrypted, of pixels whose range is not known, or of another size that ``resize``
            does not change. ``on_error: skip`` leaves such images out and counts them.
    """

    def __init__(
        self,
        *,
        path: PathOption,
        size: SizeOption = None,
        crop: CropOption = None,
        resize: ResizeOption = "none",
        window: WindowOption = None,
        flip: FlipOption = False,
        mode: ModeOption = "rgb",
        classes: ClassesOption = None,
        on_error: OnErrorOption = "stop",
    ) -> None:
        self._files = image_files(path)
        if self._files.ignored:
            print_line(f"{self._files.root}: {in_words(self._files.ignored)} are ignored")
        self._class_names = None if classes is None else list(classes)
        self._classes = None if self._class_names is None else classes_of(self._files, self._class_names)
        self._numbers = self._class_names or []
        crop = None if crop is None else height_and_width(crop)
        height, width = height_and_width(size) if size else crop or _first_size(self._files, skip=on_error == "skip")
        fit = Fit(height, width, 3 if mode == "rgb" else 1, resize, crop)
        source = str(self._files.root)
        # The folder itself too: names, sizes and times alone may agree by chance of how they were made.
        key: dict[str, object] = {"images": source, "listing": self._files.digest, "resize": resize, "decoder": DECODER}
        if crop is not None:
            key["crop"] = crop
        cache = ImageCache(
            data_directory("image-folder"),
            key,
            len(self._files),
            fit.shape,
            _Decoder(self._files, fit),
            title=f"Images of {source}",
            processes=1 if self._files.size < _QUICK else None,
            on_error=on_error,
            place=("images",),
            state=("listing", "decoder"),
        )
        cut = None if window is None else height_and_width(window)
        super().__init__(cache, source=source, kind="image-folder", window=cut, flip=flip)

    @property
    def labels(self) -> Tensor | None:
        """Class of each image by the folder it lies in: (len(self),) int64; None without ``classes``."""
        if self._classes is None or self._class_names is None:
            return None
        numbers = torch.tensor([self._numbers.index(name) for name in self._class_names])[self._classes]
        return numbers[torch.from_numpy(self.cache.readable)] if self.counted_by_prepare else numbers

    def class_counts(self) -> Mapping[str, int] | None:
        """Number of images of each of the ``classes``; None without these."""
        if self._classes is None or self._class_names is None:
            return None
        return {name: self._classes.count(number) for number, name in enumerate(self._class_names)}

    def number_classes(self, names: Sequence[str]) -> None:
        """Let :attr:`labels` be numbers into ``names``."""
        self._numbers = list(names)

    def identities(self) -> Sequence[str]:
        """The path of each image in the folder or zip, as :func:`identities_of` writes it."""
        names = self._files.identities
        return [names[number] for number in self.cache.readable] if self.counted_by_prepare else names

    def overlap(self, other: Dataset) -> str | None:
        """The images that are in both folders or zips, found by name, size and content."""
        return self._files.in_common(other._files) if isinstance(other, ImageFolder) else None

    @property
    def images(self) -> ImageArray:
        """The decoded images: uint8 (len(self), height, width, channels), a memory map; made when first read."""
        if self.cache.is_open:
            return self.cache.images
        try:
            return self.cache.images
        finally:
            self._files.close()


def _first_size(files: ImageFiles, *, skip: bool) -> tuple[int, int]:
    """(height, width) of the first image, upright; with ``skip`` of the first that can be read."""
    try:
        for index in range(len(files)):
            try:
                with files.open(index) as file:
                    image = decode_image(file, files.files[index].name)
                    return image.height, image.width
            except UnreadableImage:
                if not skip:
                    raise
    finally:
        files.close()
    raise DataError(f"none of the {len(files)} images in {files.root} can be opened")


@dataclass(frozen=True)
class _Decoder:
    """Makes sample ``index``: uint8 (height, width, channels)."""

    files: ImageFiles
    fit: Fit

    def __call__(self, index: int) -> ImageArray:
        name = self.files.files[index].name
        with self.files.open(index) as file:
            return self.fit(decode_image(file, name), name)
