"""The controls of a page that draws with a model: number of a code, path, truncation, main directions, own samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock

import torch
from PIL import Image
from torch import Tensor

from coupling.data.csv_file import original
from coupling.data.pictures import drawable, to_drawing
from coupling.errors import InputError, nearest
from coupling.generation.given_samples import read_samples
from coupling.model.directions import COUNT, principal_directions
from coupling.model.interpolation import between, suited_to
from coupling.model.inversion import Search, invert
from coupling.model.model import CoupledModel
from coupling.version import __version__

LARGEST_NUMBER = 999_999_999
"""Largest number of a code."""


MOVE = 4.0
"""How far a slider moves a code along a direction, in standard deviations, to both sides."""


@dataclass(frozen=True)
class Slider:
    """The values of a slider."""

    least: float
    most: float
    step: float


def truncation_slider(prior: str) -> Slider:
    """The bounds of a code's numbers for a prior; the largest means that there is no bound."""
    return Slider(0.1, 1, 0.05) if prior == "uniform" else Slider(0.3, 3.1, 0.1)


def about(model: CoupledModel) -> str:
    """What a page says about its model."""
    return f"Generators after {model.step:,} steps, SHA-256 {model.digest}; made by coupling {__version__}."


@dataclass(frozen=True)
class Position:
    """The values of all controls, from which a code follows."""

    number: int = 1
    """The code is that of ``model.latent(1, seed=number)``."""
    to: int = 2
    """Number of the code at the end of the path."""
    share: float = 0.0
    """Share of the path: 0 at its beginning, 1 at its end."""
    truncation: float | None = None
    """Largest number in a code; None: no bound."""
    moves: Sequence[float] = ()
    """How far to go along each main direction, in standard deviations."""
    own: Tensor | None = None
    """The code of a sample that a user has given, (1, latent size), in place of the numbered one."""


@dataclass(frozen=True)
class OwnSample:
    """A sample that a user has given, as the model sees it."""

    z: Tensor
    """Its code, (1, latent size)."""
    given: Image.Image
    reconstruction: Image.Image
    """What the model draws from the code in the same domain."""
    error: float
    """Root mean squared difference of the two, as a share of the range's width."""


class Controls:
    """Draws with a model from the values of a page's controls. It may be used from several threads.

    Raises:
        InputError: none of the domains can be drawn.
    """

    def __init__(self, model: CoupledModel) -> None:
        self.model = model
        self.domains = drawable(model.domains)
        """Names of the domains that are drawn."""
        self.left_out = [name for name in model.domains if name not in self.domains]
        """Names of the others."""
        self.tables = [name for name in self.domains if model.domains[name].columns]
        """Names of the drawn domains whose samples are rows of tables."""
        self.directions = principal_directions(model, min(COUNT, model.latent_size))
        self.truncation = truncation_slider(model.config.latent.prior)
        self._lock = Lock()  # normalisation layers note which samples they get before each call

    def code(self, position: Position) -> Tensor:
        """The code of a position of the controls: (1, latent size).

        Raises:
            InputError: a number is not from 0 to :data:`LARGEST_NUMBER`, or the truncation is not valid.
        """
        space = self.model.space
        z = self._numbered(position.number, position.truncation) if position.own is None else position.own
        if position.share:
            end = self._numbered(position.to, position.truncation)
            way = suited_to(self.model.config.latent.prior)
            z = space.by_part(partial(between, share=torch.tensor(position.share), way=way), z, end)
        if any(position.moves):
            z = space.prior.nearest(z + torch.tensor([position.moves]) @ self.directions.moves[: len(position.moves)])
        return z

    def _numbered(self, number: int, truncation: float | None) -> Tensor:
        if not 0 <= number <= LARGEST_NUMBER:
            raise InputError(f"the number of a code is {number}; give 0 to {LARGEST_NUMBER:,}")
        return self.model.latent(1, number, truncation=truncation)

    def pictures(self, z: Tensor) -> dict[str, Image.Image]:
        """What a code (1, latent size) draws in each domain, as pictures for people."""
        with self._lock:
            samples = self.model.generate(z, self.domains)
        return {name: self._picture(x, name) for name, x in samples.items()}

    def rows(self, z: Tensor) -> dict[str, dict[str, float]]:
        """The rows of tables that a code (1, latent size) draws: {domain: {column: value in its unit}}."""
        with self._lock:
            samples = self.model.generate(z, self.tables) if self.tables else {}
        rows = {}
        for name, x in samples.items():
            columns = self.model.domains[name].columns
            values = original(x.numpy(), columns)[0].tolist()
            rows[name] = {column.name: value for column, value in zip(columns, values, strict=True)}
        return rows

    def own_sample(self, file: Path, domain: str, search: Search | None = None) -> OwnSample:
        """Find the code of the first sample in a file: an image, cut to the domain's shape, a .npy, or a .csv.

        Raises:
            InputError: the file cannot be used, or no domain of this name is drawn; the message says why.
        """
        if domain not in self.domains:
            raise InputError(f"no domain '{domain}' is drawn; {nearest(domain, self.domains)}")
        given = read_samples([file], self.model.domains[domain], fit="crop").samples[:1]
        with self._lock:
            found = invert(self.model, given, domain, search or Search())
        return OwnSample(
            found.z, self._picture(given, domain), self._picture(found.reconstruction, domain), found.error.item()
        )

    def _picture(self, samples: Tensor, name: str) -> Image.Image:
        return Image.fromarray(to_drawing(samples, self.model.domains[name])[0])
