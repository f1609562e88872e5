"""Drawing from a trained model: latent codes, samples, scores and class probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Self

import torch
from torch import Tensor

from coupling.config.config import Config
from coupling.domain import Domain
from coupling.errors import InputError, nearest
from coupling.losses.classification import Classification
from coupling.losses.loss import Loss
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator, to_device
from coupling.networks.latent import prior_of, sample_prior
from coupling.networks.mode import evaluating
from coupling.networks.weights import description, fingerprint
from coupling.system.device import usable
from coupling.system.seeds import torch_generator

_BLOCK = 1024
"""Codes drawn in one call; a multiple of 16, in which torch draws normal numbers."""


class CoupledSampler:
    """Generators of all domains, discriminators and losses (averaged weights where kept), in evaluation mode."""

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

    def to(self, device: str | torch.device) -> Self:
        """Move the model; returns itself. Raises :class:`InputError` for a device that is not there."""
        try:
            place = usable(device)
        except InputError as error:
            raise InputError(f"device '{device}' cannot be used: {error}; the CPU is always there") from None
        networks = [self.generator, self.discriminator, *self.losses.values()]
        for network in networks:
            if network is not None:
                to_device(network, place)
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
        source = torch_generator(seed, "sample")
        support = prior_of(self.config.latent)
        while True:  # in whole blocks, as torch's normal numbers depend on how many are drawn in one call
            block = sample_prior(self.config.latent, _BLOCK, source)
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
        parts: dict[str, list[Tensor]] = {domain: [] for domain in chosen}
        with evaluating(self.generator):
            for part in z.split(batch_size):
                for domain, samples in self.generator(part.to(self.device, torch.float32), chosen).items():
                    parts[domain].append(samples.float().cpu())
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
            self.check_samples(x, name)
        with evaluating(self.discriminator):
            logits = self.discriminator.logits({d: x.to(self.device, torch.float32) for d, x in samples.items()})
        joined = torch.stack(list(logits.values()))
        if joined.shape[2] != 1:
            raise InputError(
                f"the discriminators of this model tell {joined.shape[2]} kinds of samples apart; only those that tell "
                "real from generated have a score"
            )
        return joined[..., 0].mean(0).float().cpu()

    def check_samples(self, samples: Tensor, domain: str) -> None:
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
        self.check_samples(images, domain)
        classifier = heads[0]
        parts = []
        with evaluating(self.discriminator, classifier):
            for part in images.split(batch_size):
                samples = {domain: part.to(self.device, torch.float32)}
                features = self.discriminator.features(samples, classifier.layer)[domain]
                parts.append(classifier.logits(features).softmax(1))
        return torch.cat(parts).float().cpu()
