"""A trained model, as users import it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from coupling.errors import InputError, nearest
from coupling.model import export, hub
from coupling.model.interpolation import INTERPOLATIONS, Interpolation, path, suited_to
from coupling.model.inversion import Encoding, Search, Transformed, invert
from coupling.model.sampler import CoupledSampler


class CoupledModel(CoupledSampler):
    """A trained model: draw, score, classify and transform samples, save and publish the model."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the files of a repository: the model, its configuration, a picture of samples and a card.

        Raises:
            InputError: the folder cannot be written.
        """
        hub.save_pretrained(self, Path(folder))

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        message: str = "Upload a coupled GAN",
    ) -> str:
        """Upload the model with its card to "USER/MODEL" on the hub; returns the address of its page.

        A missing repository is created, private if ``private`` is true. ``token``: by default the one of
        ``hf auth login``. ``revision``: a branch, created if needed.

        Raises:
            InputError: the name is not valid, or the hub rejects the upload.
        """
        return hub.push_to_hub(self, repository, private=private, token=token, revision=revision, message=message)

    def save(self, path: str | Path) -> None:
        """Write the model as one safetensors file, which :func:`coupling.load_model` loads.

        Raises:
            InputError: the file cannot be written, or does not end with .safetensors.
        """
        export.export_safetensors(self, Path(path))

    def traverse(
        self,
        pairs: int = 4,
        steps: int = 12,
        seed: int = 0,
        domains: Sequence[str] | None = None,
        interpolation: Interpolation | None = None,
        batch_size: int = 256,
    ) -> dict[str, Tensor]:
        """Samples along the paths between pairs of codes: {domain: float tensor (pairs, steps, *shape)} in its range.

        Pair k leads from code 2k of ``latent(..., seed)`` to code 2k + 1, both included, in ``steps`` codes.
        ``interpolation``: "straight" or "spherical"; by default straight for the uniform prior and spherical for the
        normal one. The result is on the CPU.

        Raises:
            InputError: a number is too small, or the model has no such domain or interpolation.
        """
        if pairs < 1 or steps < 2:
            raise InputError(f"pairs is {pairs}, steps is {steps}; give 1 or more pairs and 2 or more steps")
        way = interpolation or suited_to(self.config.latent.prior)
        if way not in INTERPOLATIONS:
            raise InputError(f"no interpolation is called '{way}'; {nearest(way, INTERPOLATIONS)}")
        ends = self.latent(2 * pairs, seed)
        codes = path(ends[0::2], ends[1::2], steps, way)
        samples = self.generate(codes.flatten(0, 1), domains, batch_size)
        return {name: x.unflatten(0, (pairs, steps)) for name, x in samples.items()}

    def transform(
        self,
        images: Tensor,
        from_: str,
        to: str | Sequence[str] | None = None,
        search: Search | None = None,
        batch_size: int = 256,
        advance: Callable[[int], object] = lambda done: None,
        encoder: Encoding | None = None,
    ) -> Transformed:
        """Find the codes of samples of domain ``from_``, and draw the corresponding samples of other domains.

        ``images``: (B, *shape) in the domain's range. ``to``: one domain or several; None: all others. ``search``:
        settings of the search for codes; its seed makes it repeatable. ``advance(n)`` is called when n more samples
        are finished. ``encoder`` guesses codes, (B, *shape) to (B, latent size); one search of each sample starts from
        its guess (:func:`coupling.train_encoder` makes one).

        Returns, on the CPU, ``images`` {domain: (B, *shape)}, ``z`` (B, latent size), ``reconstruction`` (B, *shape)
        and ``error`` (B,). A large error means that the model cannot draw the sample; its images in other domains
        are then meaningless.

        Raises:
            InputError: the model has no such domain, or the samples have another shape or range than the domain.
        """
        self.check_samples(images, from_)
        others = [name for name in self.chosen(to) if to is not None or name != from_]
        if from_ in others:
            raise InputError(f"'{from_}' is the domain that the images come from; name another one")
        if not others:
            raise InputError(f"the model has no other domain than '{from_}'")
        found = invert(self, images, from_, search or Search(), batch_size, advance, encoder)
        drawn = self.generate(found.z, others, batch_size)
        return Transformed(found.z, found.reconstruction, found.error, drawn)
