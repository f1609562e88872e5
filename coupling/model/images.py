"""Corresponding samples as pictures, for programs and notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image
from torch import Tensor

from coupling.data.pictures import drawable, picture_grid, png, save_png, to_pixels
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.system.atomic_files import OTHER_OUTPUT, writing


class Images(Mapping[str, list[Image.Image]]):
    """Corresponding samples as pictures: {domain: list of PIL images}, in the pixels that ``coupling sample`` writes.

    ``images["glasses"][k]`` and ``images["no-glasses"][k]`` belong together. A notebook shows the grid.

    Args:
        samples: {domain: (B, *shape)} in the domain's range.
        domains: {name: domain} of at least these samples. Domains that cannot be drawn are left out.

    Raises:
        InputError: none of the domains can be drawn.
    """

    def __init__(self, samples: Mapping[str, Tensor], domains: Mapping[str, Domain]) -> None:
        names = drawable({name: domains[name] for name in samples})
        self._samples = {name: samples[name] for name in names}
        self._domains = {name: domains[name] for name in names}
        self._pictures = {name: _pictures(x, domains[name]) for name, x in self._samples.items()}

    def __getitem__(self, domain: str) -> list[Image.Image]:
        """The pictures of a domain."""
        return self._pictures[domain]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pictures)

    def __len__(self) -> int:
        """Number of domains."""
        return len(self._pictures)

    def __repr__(self) -> str:
        parts = [f"{name}: {len(all_)} of {all_[0].width}x{all_[0].height}" for name, all_ in self.items()]
        return f"Images({', '.join(parts)})"

    def _repr_png_(self) -> bytes:
        """The grid, which a notebook shows."""
        return png(self.grid())

    def grid(self, columns: int = 12, scale: int | None = None) -> Image.Image:
        """A picture of all samples: each column is one code, each row one domain.

        Args:
            columns: columns beside each other; further samples continue below.
            scale: enlarge pixels by this factor; None: so that the largest picture has 64 pixels or more.

        Raises:
            InputError: a number is below 1.
        """
        if columns < 1 or (scale is not None and scale < 1):
            raise InputError(f"columns is {columns}, scale is {scale}; give 1 or more")
        return picture_grid(self._samples, self._domains, columns, scale)

    def save(self, path: str | Path, columns: int = 12, scale: int | None = None) -> None:
        """Write the grid as a PNG file.

        Args:
            path: the file; an existing one is replaced.
            columns: as of :meth:`grid`.
            scale: as of :meth:`grid`.

        Raises:
            InputError: the file cannot be written, does not end with .png, or a number is below 1.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise InputError(f"{path}: a grid is a PNG file; give a name that ends with .png")
        with writing(path, OTHER_OUTPUT):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_png(self.grid(columns, scale), path)


def _pictures(samples: Tensor, domain: Domain) -> list[Image.Image]:
    """Samples (B, *shape) as pictures, gray where they have one channel."""
    pixels = to_pixels(samples, domain)
    gray = domain.is_image and domain.shape[0] == 1
    return [Image.fromarray(x[..., 0] if gray else x) for x in pixels]
