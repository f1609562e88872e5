"""A trained model: what users import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coupling.config.config import Config
from coupling.domain import Domain
from coupling.errors import InputError, nearest
from coupling.losses.classification import Classification
from coupling.losses.loss import Loss
from coupling.model.interpolation import INTERPOLATIONS, Interpolation, path, suited_to
from coupling.model.inversion import Encoding, Search, Transformed, invert
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator
from coupling.networks.coupled import place as place_network
from coupling.networks.latent import draw, support_of
from coupling.networks.weights import description, fingerprint
from coupling.plugins import Plugins
from coupling.runs.hub import HubAddress
from coupling.system.device import usable
from coupling.system.seeds import generator as random_source

_BLOCK = 1024
"""Codes drawn in one call; a multiple of 16, in which torch draws normal numbers."""


class CoupledModel:
    """Generators of all domains, discriminators, losses (averaged weights where kept), in evaluation mode."""

    def __init__(
        self,
        config: Config,
        domains: Mapping[str, Domain],
        generator: CoupledGenerator,
        discriminator: CoupledDiscriminator | None = None,
        step: int = 0,
        losses: Mapping[str, Loss] | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        """``losses``: those of the training by name, for what they learned besides (a classifier, say).

        ``record``: what is known of the training, as JSON values: ``metrics`` by flat name, ``data``, ``versions``.
        """
        self.config = config
        self.domains = dict(domains)
        self.generator = generator
        self.discriminator = discriminator
        self.step = step
        self.losses = dict(losses or {})
        self.record = dict(record or {})

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.generator.parameters()).device

    def to(self, device: str | torch.device) -> CoupledModel:
        """Move the model; returns itself. Raises :class:`InputError` for a device that is not there."""
        try:
            place = usable(device)
        except InputError as error:
            raise InputError(f"device '{device}' cannot be used: {error}; the CPU is always there") from None
        networks = [self.generator, self.discriminator, *self.losses.values()]
        for network in networks:
            if network is not None:
                place_network(network, place)
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the generators' weights, in hexadecimal: the same in a run, its checkpoint and its export."""
        return fingerprint(self.generator)

    def description(self) -> dict[str, Any]:
        """What rebuilds the networks, as JSON values: configuration, domains, sharing graphs, step; and the record."""
        networks = [network for network in (self.generator, self.discriminator) if network is not None]
        graphs = {network.graph.team: network.graph for network in networks}
        known = {"record": self.record} if self.record else {}
        return description(self.config, self.domains, graphs, self.step) | known

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        device: str | torch.device = "cpu",
        plugins: Plugins | None = None,
    ) -> CoupledModel:
        """The model of a repository on the hub, "USER/MODEL", or of a folder that :meth:`save_pretrained` wrote."""
        from coupling.model.loading import load_model

        if Path(source).is_dir():
            return load_model(source, device=device, plugins=plugins)
        from coupling.runs.hub import download

        address = HubAddress(str(source).removeprefix("hf://"), revision)
        return load_model(download(address, token), device=device, plugins=plugins)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model's file, its configuration, a picture of samples and a card: what a repository holds."""
        from coupling.model.hub import save_pretrained

        save_pretrained(self, Path(folder))

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

        The repository is made at need; ``private`` is how. ``token``: by default the one of `hf auth login`. Raises
        :class:`InputError` where the hub refuses.
        """
        from coupling.model.hub import push_to_hub

        return push_to_hub(self, repository, private=private, token=token, revision=revision, message=message)

    def save(self, path: str | Path) -> None:
        """Write this model, its weights and what rebuilds it, as one safetensors file.

        :func:`coupling.load_model` takes it. Raises :class:`InputError` where it cannot be written.
        """
        from coupling.model.export import export_safetensors

        export_safetensors(self, Path(path))

    def latent(self, count: int, seed: int = 0, start: int = 0, truncation: float | None = None) -> Tensor:
        """Codes z from the prior, (count, latent size): those from ``start`` on in the endless row of ``seed``.

        Code k is a function of the seed and k: the same in a draw of any count. ``truncation``: see :meth:`codes`.
        """
        if count < 0 or start < 0:
            raise InputError(f"count is {count}, start is {start}; neither can be less than 0")
        first, stop = start // _BLOCK, -(-(start + count) // _BLOCK)
        blocks = islice(self.codes(seed, truncation), first, stop)
        drawn = torch.cat([torch.empty(0, self.config.latent.size), *blocks])
        return drawn[start - first * _BLOCK :][:count].clone()

    def codes(self, seed: int = 0, truncation: float | None = None) -> Iterator[Tensor]:
        """The endless row of codes of ``seed``, in blocks (1024, latent size).

        ``truncation``: no coordinate lies further out than this: typical samples rather than various ones. In units of
        the prior: below 1 for a uniform one, standard deviations for a normal one. Raises :class:`InputError` for
        another.
        """
        source = random_source(seed, "sample")
        support = support_of(self.config.latent)
        while True:  # in whole blocks, as torch's normal numbers depend on how many are drawn in one call
            block = draw(self.config.latent, _BLOCK, source)
            yield block if truncation is None else support.truncated(block, truncation)

    def sample(
        self, count: int, seed: int = 0, domains: Sequence[str] | None = None, batch_size: int = 256
    ) -> dict[str, Tensor]:
        """Corresponding samples: {domain: float tensor (count, *shape) in the domain's own range}."""
        if count < 1:
            raise InputError(f"count is {count}; a sample is of 1 or more")
        return self.generate(self.latent(count, seed), domains, batch_size)

    def chosen(self, domains: str | Sequence[str] | None) -> list[str]:
        """The domains that are meant, None being all; raises :class:`InputError` for one that the model lacks."""
        names = list(self.domains) if domains is None else [domains] if isinstance(domains, str) else list(domains)
        for name in names:
            if name not in self.domains:
                raise InputError(f"the model has no domain '{name}'; {nearest(name, self.domains)}")
        return names

    @torch.no_grad()
    def generate(self, z: Tensor, domains: Sequence[str] | None = None, batch_size: int = 256) -> dict[str, Tensor]:
        """g_i(z) of every domain, or of ``domains``: (B, latent size) to {domain: (B, *shape)}.

        The result is on the CPU. Raises :class:`InputError` for a z of another size or a domain
        that the model lacks.
        """
        size = self.config.latent.size
        if z.dim() != 2 or z.shape[1] != size:
            raise InputError(f"z has shape {tuple(z.shape)}; this model takes (B, {size})")
        chosen = self.chosen(domains)
        was_training = self.generator.training
        self.generator.eval()
        parts: dict[str, list[Tensor]] = {domain: [] for domain in chosen}
        for part in z.split(batch_size):
            for domain, samples in self.generator(part.to(self.device, torch.float32), chosen).items():
                parts[domain].append(samples.float().cpu())
        self.generator.train(was_training)
        return {domain: torch.cat(samples) for domain, samples in parts.items()}

    @torch.no_grad()
    def score(self, samples: Mapping[str, Tensor]) -> Tensor:
        """How real corresponding samples look: the mean of the discriminators' logits, (B,), on the CPU.

        ``samples``: {domain: (B, *shape)} in its range. A logit estimates the logarithm of how much likelier a sample
        is among real ones than among generated ones; so does their mean of a pair. For comparisons within a model
        alone. Raises :class:`InputError` where the model has no discriminators that tell real from generated.
        """
        if self.discriminator is None:
            raise InputError("this model has no discriminators, which score samples; load it from its run")
        if not samples:
            raise InputError("samples: there are none to score; give {domain: samples}")
        for name, x in samples.items():
            self._check_samples(x, name)
        was_training = self.discriminator.training
        self.discriminator.eval()
        logits = self.discriminator({name: x.to(self.device, torch.float32) for name, x in samples.items()})[0]
        self.discriminator.train(was_training)
        joined = torch.stack(list(logits.values()))
        if joined.shape[2] != 1:
            raise InputError(
                f"the discriminators of this model tell {joined.shape[2]} kinds of samples apart; only those that tell "
                "real from generated have a score"
            )
        return joined[..., 0].mean(0).float().cpu()

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

        Pair k goes from code 2k of ``latent(..., seed)`` to code 2k + 1, both included, in ``steps`` codes.
        ``interpolation``: "straight" or "spherical"; by default what suits the prior: straight for the uniform one,
        spherical for the normal one. The result is on the CPU. Raises :class:`InputError` for numbers or names that
        cannot be.
        """
        if pairs < 1 or steps < 2:
            raise InputError(f"{pairs} pairs and {steps} steps: a path is of 1 or more pairs and 2 or more steps")
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
        """The samples of other domains that correspond to samples of ``from_``: find their codes, and draw those.

        ``images``: (B, *shape) in the domain's range. ``to``: one domain or several; None: all others. ``search``
        says how the codes are searched for; its seed makes it repeatable. ``advance(n)`` is called as samples
        get done. ``encoder`` guesses codes, (B, *shape) to (B, latent size), from which one search of each sample
        starts (:func:`coupling.learned_encoder` gives one). Returns, on the CPU, ``images`` {domain: (B, *shape)},
        ``z`` (B, latent size), ``reconstruction`` (B, *shape) and ``error`` (B,), which is large where the model
        draws nothing like the sample: what is given for that one in another domain means nothing.

        Raises :class:`InputError` for a domain that the model lacks, and for samples that are not the domain's.
        """
        self._check_samples(images, from_)
        others = [name for name in self.chosen(to) if to is not None or name != from_]
        if from_ in others:
            raise InputError(f"'{from_}' is the domain that the images come from; name another one")
        if not others:
            raise InputError(f"the model has no other domain than '{from_}'")
        found = invert(self, images, from_, search or Search(), batch_size, advance, encoder)
        drawn = self.generate(found.z, others, batch_size)
        return Transformed(found.z, found.reconstruction, found.error, drawn)

    def _check_samples(self, samples: Tensor, domain: str) -> None:
        """Raise :class:`InputError` where samples are not what the domain's are."""
        self.chosen(domain)
        if not isinstance(samples, Tensor):
            raise InputError(
                f"images are a {type(samples).__name__}; give a torch.Tensor, such as torch.from_numpy(it)"
            )
        shape, (low, high) = self.domains[domain].shape, self.domains[domain].range
        if tuple(samples.shape[1:]) != shape:
            raise InputError(f"images have shape {tuple(samples.shape)}; domain '{domain}' takes (B, {shape})")
        if not samples.is_floating_point():
            raise InputError(f"images are {samples.dtype}; domain '{domain}' takes floats in [{low:g}, {high:g}]")
        if samples.numel() and not (low - 1e-3 <= samples.min() and samples.max() <= high + 1e-3):
            raise InputError(
                f"images lie in [{samples.min():g}, {samples.max():g}]; those of domain '{domain}' lie in "
                f"[{low:g}, {high:g}]: scale them"
            )

    @torch.no_grad()
    def classify(self, images: Tensor, domain: str, batch_size: int = 256) -> Tensor:
        """Class probabilities of samples of ``domain``: (B, *shape) in its range to (B, classes), on the CPU.

        The classifier is the one that a classification loss trained. Raises :class:`InputError` where there is
        none, for a domain that the model lacks, and for samples that are not the domain's.
        """
        heads = [loss for loss in self.losses.values() if isinstance(loss, Classification)]
        if not heads or self.discriminator is None:
            raise InputError("this model has no classifier: it was trained without a classification loss")
        self._check_samples(images, domain)
        was_training = self.discriminator.training
        self.discriminator.eval()
        parts = [
            heads[0]
            .logits(
                self.discriminator({domain: part.to(self.device, torch.float32)}, taps=[heads[0].layer])[2][
                    domain, heads[0].layer
                ]
            )
            .softmax(1)
            for part in images.split(batch_size)
        ]
        self.discriminator.train(was_training)
        return torch.cat(parts).float().cpu()
