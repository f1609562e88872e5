"""Latent codes, samples, scores and class probabilities of a trained model."""

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
from coupling.networks.latent import LatentSpace
from coupling.networks.mode import evaluating
from coupling.networks.weights import description, fingerprint
from coupling.system.device import usable

_BLOCK = 1024
"""Codes drawn in one call."""


_GROUP = 16
"""torch draws normal numbers in groups of 16, so draws of whole groups make the same sequence."""


_NUMBERS = 2**22
"""Numbers that :meth:`CoupledSampler.latent` draws in one call, about."""


class CoupledSampler:
    """Draws from the generators of all domains; scores and classifies with the discriminators and losses."""

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
        """``losses``: the losses of the training by name, which may have learned a classifier, say.

        ``record``: JSON values about the training: ``metrics`` by flat name, ``data``, ``versions``.
        """
        self.config = config
        self.domains = dict(domains)
        self.generator = generator
        self.discriminator = discriminator
        self.step = step
        self.losses = dict(losses or {})
        self.record = dict(record or {})
        self.space = LatentSpace(config.latent, config.domains)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.generator.parameters()).device

    def to(self, device: str | torch.device) -> Self:
        """Move the model to a device and return it.

        Args:
            device: "cpu", "cuda", "cuda:1", "mps", or a torch.device.

        Raises:
            InputError: this machine has no such device.
        """
        try:
            target = usable(device)
        except InputError as error:
            raise InputError(f"device '{device}' cannot be used: {error}; use device 'cpu'") from None
        networks = [self.generator, self.discriminator, *self.losses.values()]
        for network in networks:
            if network is not None:
                to_device(network, target)
        return self

    @property
    def latent_size(self) -> int:
        """Numbers in a code: ``latent.size``, and with ``latent.style`` that many more for each domain, in order."""
        return self.space.size

    @property
    def digest(self) -> str:
        """SHA-256 of the generators' weights in hexadecimal: the same for a run, its checkpoint and its export."""
        return fingerprint(self.generator)

    def description(self) -> dict[str, Any]:
        """JSON values that rebuild the networks: configuration, domains, sharing graphs, step, and the record."""
        networks = [network for network in (self.generator, self.discriminator) if network is not None]
        graphs = {network.graph.team: network.graph for network in networks}
        known = {"record": self.record} if self.record else {}
        return description(self.config, self.domains, graphs, self.step) | known

    def latent(self, count: int, seed: int = 0, start: int = 0, truncation: float | None = None) -> Tensor:
        """Codes ``start`` to ``start + count - 1`` of the infinite sequence of a seed.

        Code k depends on the seed and k alone.

        Args:
            count: number of codes.
            seed: seed of the sequence.
            start: number of the first code.
            truncation: largest coordinate; see :meth:`codes`.

        Returns:
            (count, latent size), float32 on the CPU.

        Raises:
            InputError: ``count``, ``start`` or ``seed`` is below 0, or the truncation is not valid.
        """
        if count < 0 or start < 0 or seed < 0:
            raise InputError(f"count is {count}, start is {start}, seed is {seed}; each is 0 or more")
        size = self.space.size
        block = min(_BLOCK, max(_NUMBERS // size // _GROUP, 1) * _GROUP)
        first, stop = start // block, -(-(start + count) // block)
        blocks = islice(self.codes(seed, truncation, block), first, stop)
        drawn = torch.cat([torch.empty(0, size), *blocks])
        return drawn[start - first * block :][:count].clone()

    def codes(self, seed: int = 0, truncation: float | None = None, block: int = _BLOCK) -> Iterator[Tensor]:
        """The infinite sequence of codes of a seed from the prior, in parts.

        Args:
            seed: seed of the sequence.
            truncation: largest coordinate, for more typical and less varied samples: between 0 and 1 for a uniform
                prior, a number of standard deviations above 0 for a normal one; None: no limit.
            block: codes in a part, a multiple of 16; it does not change the sequence.

        Yields:
            (block, latent size), float32 on the CPU.

        Raises:
            InputError: ``seed`` is below 0, or the truncation is not valid.
        """
        if seed < 0:
            raise InputError(f"seed is {seed}; it is 0 or more")
        sources = self.space.sources(seed, "sample")
        prior = self.space.prior
        while True:
            codes = self.space.draw(block, sources)
            yield codes if truncation is None else prior.truncated(codes, truncation)

    def sample(
        self, count: int, seed: int = 0, domains: Sequence[str] | None = None, batch_size: int = 256
    ) -> dict[str, Tensor]:
        """Draw corresponding samples of the domains.

        Args:
            count: number of samples of each domain, at least 1.
            seed: seed of the codes; the same seed draws the same samples.
            domains: names of the domains; None: all.
            batch_size: samples drawn at once; it limits the memory and does not change the samples.

        Returns:
            {domain: float32 (count, *shape)} in the domain's range, on the CPU.

        Raises:
            InputError: ``count`` is below 1, ``seed`` is below 0, or the model has no such domain.
        """
        if count < 1:
            raise InputError(f"count is {count}; give 1 or more")
        return self.generate(self.latent(count, seed), domains, batch_size)

    def chosen(self, domains: str | Sequence[str] | None) -> list[str]:
        """The names of domains as a list.

        Args:
            domains: one name or several; None: all.

        Raises:
            InputError: the model has no such domain.
        """
        names = list(self.domains) if domains is None else [domains] if isinstance(domains, str) else list(domains)
        for name in names:
            if name not in self.domains:
                raise InputError(f"the model has no domain '{name}'; {nearest(name, self.domains)}")
        return names

    @torch.no_grad()
    def generate(self, z: Tensor, domains: Sequence[str] | None = None, batch_size: int = 256) -> dict[str, Tensor]:
        """Draw g_i(z), the samples of given codes.

        Args:
            z: codes, (B, latent size).
            domains: names of the domains; None: all.
            batch_size: samples drawn at once; it limits the memory and does not change the samples.

        Returns:
            {domain: float32 (B, *shape)} in the domain's range, on the CPU.

        Raises:
            InputError: z has another size, or the model has no such domain.
        """
        size = self.space.size
        if z.dim() != 2 or z.shape[1] != size:
            latent = self.config.latent
            added = f": {latent.size} numbers for all domains, then {latent.style} for each" if latent.style else ""
            raise InputError(f"z has shape {tuple(z.shape)}; this model takes (B, {size}){added}")
        chosen = self.chosen(domains)
        parts: dict[str, list[Tensor]] = {domain: [] for domain in chosen}
        with evaluating(self.generator):
            for part in z.split(batch_size):
                for domain, samples in self.generator(part.to(self.device, torch.float32), chosen).items():
                    parts[domain].append(samples.float().cpu())
        return {domain: torch.cat(samples) for domain, samples in parts.items()}

    @torch.no_grad()
    def score(self, samples: Mapping[str, Tensor]) -> Tensor:
        """How real corresponding samples look: the mean of the discriminators' logits.

        A logit estimates log(p_real / p_generated) of a sample; the mean estimates it for the corresponding samples
        together. Compare scores of one model only.

        Args:
            samples: {domain: (B, *shape)} in the domain's range.

        Returns:
            (B,), float32 on the CPU.

        Raises:
            InputError: the model has no discriminators with one logit, or the samples are not valid.
        """
        if self.discriminator is None:
            raise InputError("this model has no discriminators, which scores need; load it from its run")
        if not samples:
            raise InputError("samples: is empty; give {domain: samples}")
        for name, x in samples.items():
            self.check_samples(x, name)
        with evaluating(self.discriminator):
            logits = self.discriminator.logits({d: x.to(self.device, torch.float32) for d, x in samples.items()})
        joined = torch.stack(list(logits.values()))
        if joined.shape[2] != 1:
            raise InputError(
                f"the discriminators of this model give {joined.shape[2]} logits a sample; a score needs one logit, "
                "real against generated"
            )
        return joined[..., 0].mean(0).float().cpu()

    def check_samples(self, samples: Tensor, domain: str) -> None:
        """Check that samples have the type, shape and range of a domain.

        Args:
            samples: (B, *shape) floats in the domain's range.
            domain: name of the domain.

        Raises:
            InputError: the model has no such domain, or the samples do not fit it.
        """
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
        """Class probabilities of samples, by the classifier that a classification loss trained (section 4).

        Args:
            images: (B, *shape) in the domain's range.
            domain: name of the domain.
            batch_size: samples classified at once; it limits the memory.

        Returns:
            (B, classes), float32 on the CPU; each row adds up to 1.

        Raises:
            InputError: there is no classifier, the model has no such domain, or the samples are not valid.
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
