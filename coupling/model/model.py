"""A trained model, as users import it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from coupling.errors import InputError, nearest
from coupling.model import export, hub
from coupling.model.directions import COUNT, Directions, principal_directions
from coupling.model.images import Images
from coupling.model.interpolation import INTERPOLATIONS, Interpolation, path, suited_to
from coupling.model.inversion import Encoding, Search, Transformed, invert
from coupling.model.sampler import CoupledSampler


class CoupledModel(CoupledSampler):
    """A trained model: draw, score, classify and transform samples, save and publish the model."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the files of a repository: the model, its configuration, a picture of samples and a card.

        Args:
            folder: where to write; it is made if necessary.

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
        """Upload the model with its card to the Hugging Face hub.

        Args:
            repository: "USER/MODEL"; a missing one is created.
            private: whether a new repository is private; None: as the account is set up.
            token: by default the one of ``hf auth login``.
            revision: a branch, created if necessary; None: the main branch.
            message: message of the commit.

        Returns:
            The address of the model's page.

        Raises:
            InputError: the name is not valid, or the hub rejects the upload.
        """
        return hub.push_to_hub(self, repository, private=private, token=token, revision=revision, message=message)

    def save(self, path: str | Path, *, generators_only: bool = False, half: bool = False) -> None:
        """Write the model as one safetensors file, which :func:`coupling.load_model` loads.

        Args:
            path: the file, which ends with .safetensors.
            generators_only: whether to leave out the discriminators and losses, which only scores, classes and
                feature errors need.
            half: whether to store the weights in 16 bits, which halves the file and rounds them.

        Raises:
            InputError: the file cannot be written, does not end with .safetensors, or a weight is too large for 16
                bits.
        """
        export.export_safetensors(self, Path(path), generators_only=generators_only, half=half)

    def images(
        self, samples: int | Mapping[str, Tensor] = 12, seed: int = 0, domains: Sequence[str] | None = None
    ) -> Images:
        """Draw corresponding samples as pictures; a notebook shows them as a grid.

        Args:
            samples: number of samples to draw, or samples to show as they are: {domain: (B, *shape)} in the domain's
                range, as :meth:`sample`, :meth:`generate` and :meth:`transform` return them.
            seed: seed of the codes that are drawn.
            domains: names of the domains; None: all. Domains that cannot be drawn are left out.

        Returns:
            {domain: list of PIL images}, with the methods ``grid`` and ``save``.

        Raises:
            InputError: the number is below 1, the model has no such domain, the samples do not fit it, or none of the
                domains can be drawn.
        """
        if isinstance(samples, int):
            return Images(self.sample(samples, seed, domains), self.domains)
        names = self.chosen(list(samples) if domains is None else domains)
        for name in names:
            if name not in samples:
                raise InputError(f"the samples have no domain '{name}'; {nearest(name, samples)}")
            self.check_samples(samples[name], name)
        return Images({name: samples[name] for name in names}, self.domains)

    def traverse(
        self,
        pairs: int = 4,
        steps: int = 12,
        seed: int = 0,
        domains: Sequence[str] | None = None,
        interpolation: Interpolation | None = None,
        batch_size: int = 256,
    ) -> dict[str, Tensor]:
        """Draw samples along the paths between pairs of codes (as in the paper's Figure 4).

        Pair k leads from code 2k of ``latent(..., seed)`` to code 2k + 1, both included.

        Args:
            pairs: number of paths, at least 1.
            steps: samples on each path, at least 2.
            seed: seed of the codes.
            domains: names of the domains; None: all.
            interpolation: "straight" or "spherical"; None: straight for the uniform prior, spherical for the normal
                one.
            batch_size: samples drawn at once; it limits the memory and does not change the samples.

        Returns:
            {domain: float32 (pairs, steps, *shape)} in the domain's range, on the CPU.

        Raises:
            InputError: a number is too small, or the model has no such domain or interpolation.
        """
        if pairs < 1 or steps < 2:
            raise InputError(f"pairs is {pairs}, steps is {steps}; give 1 or more pairs and 2 or more steps")
        way = interpolation or suited_to(self.config.latent.prior)
        if way not in INTERPOLATIONS:
            raise InputError(f"no interpolation is called '{way}'; {nearest(way, INTERPOLATIONS)}")
        ends = self.latent(2 * pairs, seed)
        codes = self.space.by_part(partial(path, steps=steps, way=way), ends[0::2], ends[1::2])
        samples = self.generate(codes.flatten(0, 1), domains, batch_size)
        return {name: x.unflatten(0, (pairs, steps)) for name, x in samples.items()}

    def directions(self, count: int = COUNT, seed: int = 0) -> Directions:
        """Find the main directions of the latent code: those along which the samples vary most.

        They are the principal components of the features that all domains share, carried back to the code
        (Härkönen et al. 2020, arXiv 2004.02546). ``model.generate(z + 2 * directions.moves[0])`` draws the codes
        z (B, latent size) moved by two standard deviations along the first.

        Args:
            count: number of directions, at most the size of a code.
            seed: seed of the 1,024 codes that they are found with.

        Returns:
            ``moves`` (count, latent size), and ``shares`` (count,) of the variation, each from 0 to 1.

        Raises:
            InputError: the number is out of range.
        """
        return principal_directions(self, count, seed)

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
        """Find the codes of samples of one domain, and draw the corresponding samples of other domains (section 4).

        Args:
            images: (B, *shape) in the range of domain ``from_``.
            from_: name of the domain that the images come from.
            to: one domain or several; None: all others.
            search: settings of the search for codes; its seed makes it repeatable.
            batch_size: searches that run at once; it limits the memory.
            advance: ``advance(n)`` is called when n more images are finished.
            encoder: guesses codes, (B, *shape) to (B, latent size); one search of each image starts from its guess
                (:func:`coupling.train_encoder` makes one).

        Returns:
            ``images`` {domain: (B, *shape)}, ``z`` (B, latent size), ``reconstruction`` (B, *shape) and ``error`` (B,),
            on the CPU. A large error means that the model cannot draw the image; then its images in other domains are
            meaningless.

        Raises:
            InputError: the model has no such domain, or the images have another shape or range than the domain.
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
