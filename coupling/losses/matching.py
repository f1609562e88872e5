"""Losses between the domains' samples of one code: equal features, similar pictures, equal neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.losses.classification import LAST_HIDDEN, Layer, check_domains
from coupling.losses.loss import (
    DiscriminatorHalf,
    FeatureShapes,
    GeneratorHalf,
    Loss,
    PerDomain,
    Weight,
    generated_features,
)

Compared = Annotated[
    list[str] | None, Field(min_length=2, description="the domains that are compared with each other; null: all")
]


class FeatureMatching(Loss):
    """Squared distance between the domains' features of samples generated from one z (the authors' adaptation code).

    A domain's term is half the mean over the other domains, so that the terms of two domains add up to their distance.
    Without normalisation discriminators can lower it by smaller features. ``variance`` divides by the variance of the
    features over the batch (RegCGAN, arXiv 1805.02456, normalises by batch normalisation): samples that do not
    correspond have a distance of 2. ``cosine`` is 1 minus the cosine.
    """

    reads_logits = False

    def __init__(
        self,
        *,
        layer: Layer = LAST_HIDDEN,
        weight: Weight = 0.01,
        normalise: Annotated[
            Literal["none", "variance", "cosine"],
            Field(description="what makes the distance independent of the features' size"),
        ] = "none",
        half: Annotated[
            Literal["discriminator", "generator", "both"], Field(description="networks that it trains")
        ] = "discriminator",
    ) -> None:
        super().__init__()
        self.layer = layer
        self.weight = weight
        self.normalise = normalise
        self.trained = half

    def trains(self, team: str) -> bool:
        """Whether ``half`` names the team, or both."""
        return self.trained in (team, "both")

    def taps(self) -> Sequence[int]:
        """The layer whose outputs are compared."""
        return (self.layer,)

    def open(
        self,
        domains: Sequence[Domain],
        features: FeatureShapes,
        losses: Mapping[str, Loss],
    ) -> None:
        """Raise :class:`ConfigError` if there is one domain alone, or the features have different shapes."""
        shapes = {domain.name: features[domain.name, self.layer] for domain in domains}
        _check_several([domain.name for domain in domains])
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"'{name}' {shape}" for name, shape in shapes.items())
            raise ConfigError(f"layer: {self.layer} gives {found}; choose a layer with the same shape in each domain")

    def check_batch(self, samples: int) -> None:
        """Raise :class:`ConfigError` if the variance would be that of a single sample."""
        if self.normalise == "variance" and samples < 2:
            raise ConfigError(
                "normalise: variance is over the samples of a process's micro-batch, which is one; raise "
                "training.batch_size, lower training.accumulate, or use cosine"
            )

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """weight / 2 * |f_d(g_d(z)) - f_e(g_e(z))|^2, a mean over the batch and the other domains e; see ``half``."""
        return self._terms(half) if self.trains("discriminator") else {}

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """The same, through the frozen discriminators; see ``half``."""
        return self._terms(half) if self.trains("generator") else {}

    def _terms(self, half: DiscriminatorHalf | GeneratorHalf) -> PerDomain:
        drawn = {d: x.flatten(1) for d, x in generated_features(half, self.layer).items()}
        spread = {d: _variance(half, x) for d, x in drawn.items()} if self.normalise == "variance" else {}

        def distance(one: str, other: str) -> Tensor:
            if self.normalise == "cosine":
                return (1 - F.cosine_similarity(drawn[one], drawn[other])).mean()
            squared = (drawn[one] - drawn[other]).square().sum(1).mean()
            return squared / ((spread[one] + spread[other]) / 2).clamp_min(1e-12) if spread else squared

        return _over_others(list(drawn), distance, self.weight / 2)


class MinimalChange(Loss):
    """L1 distance between the pooled pictures of the domains' samples of one z, in the generators' half.

    A prior for domains of one colour space that differ in details, such as faces with and without glasses: what need
    not change stays. The principle is that of i-StyleGAN (Xie et al., ICLR 2023), applied to pictures: pooled to
    ``size`` x ``size``, so that details may differ. Not for edges, negatives or depth.
    """

    reads_logits = False

    def __init__(
        self,
        *,
        domains: Compared = None,
        size: Annotated[int, Field(ge=1, description="height and width of the pooled pictures")] = 8,
        weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.domains = list(domains or ())
        self.size = size
        self.weight = weight
        self._ranges: dict[str, tuple[float, float]] = {}

    def open(
        self,
        domains: Sequence[Domain],
        features: FeatureShapes,
        losses: Mapping[str, Loss],
    ) -> None:
        """Raise :class:`ConfigError` unless the samples are images of equally many channels, large enough to pool."""
        check_domains(self.domains, domains)
        compared = [domain for domain in domains if domain.name in (self.domains or [d.name for d in domains])]
        _check_several([domain.name for domain in compared])
        shapes = ", ".join(f"'{domain.name}' {domain.shape}" for domain in compared)
        if any(len(domain.shape) != 3 for domain in compared):
            raise ConfigError(f"domains: pictures are of shape (channels, height, width), but the shapes are {shapes}")
        if len({domain.shape[0] for domain in compared}) > 1:
            raise ConfigError(
                f"domains: pictures of different channels cannot be compared: {shapes}; list domains of equally many "
                "channels, or use distance-consistency"
            )
        if any(min(domain.shape[1:]) < self.size for domain in compared):
            raise ConfigError(f"size: {self.size} is larger than a picture: {shapes}; give a smaller size")
        self._ranges = {domain.name: domain.range for domain in compared}

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """weight / 2 * mean |pool(g_d(z)) - pool(g_e(z))|, a mean over the other domains; ranges as [-1, 1]."""
        pooled = {}
        for domain, (low, high) in self._ranges.items():
            small = F.adaptive_avg_pool2d(half.fake[domain], self.size)
            pooled[domain] = (small - low) / (high - low) * 2 - 1
        return _over_others(list(pooled), lambda d, e: (pooled[d] - pooled[e]).abs().mean(), self.weight / 2)


class DistanceConsistency(Loss):
    """Equal neighbours in all domains: which samples of a group of codes are similar (Ojha et al. 2021, section 3.1).

    In each domain, a sample of a group of codes has a softmax over the cosines of its features with those of the
    others. The loss is the Kullback-Leibler divergence from the other domains' distributions, which are held fixed.
    Pixels and colours need not correspond, so it suits edges, depth and photographs. Features are those of a
    discriminator layer (there: of the generator), so no samples are generated beside the step's.
    """

    reads_logits = False

    def __init__(
        self,
        *,
        domains: Compared = None,
        group: Annotated[int, Field(ge=3, description="samples that are compared with each other")] = 4,
        layer: Layer = LAST_HIDDEN,
        weight: Weight = 100.0,
    ) -> None:
        super().__init__()
        self.domains = list(domains or ())
        self.group = group
        self.layer = layer
        self.weight = weight

    def taps(self) -> Sequence[int]:
        """The layer whose outputs are compared."""
        return (self.layer,)

    def open(
        self,
        domains: Sequence[Domain],
        features: FeatureShapes,
        losses: Mapping[str, Loss],
    ) -> None:
        """Raise :class:`ConfigError` for an unknown domain, or if there is one domain alone."""
        check_domains(self.domains, domains)
        self.domains = self.domains or [domain.name for domain in domains]
        _check_several(self.domains)

    def check_batch(self, samples: int) -> None:
        """Raise :class:`ConfigError` unless a process's micro-batch consists of whole groups."""
        if samples % self.group:
            raise ConfigError(
                f"group: a process's micro-batch has {samples} samples, which cannot be divided into groups of "
                f"{self.group}; choose training.batch_size, training.accumulate and group so that it can"
            )

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """weight * KL(p_e || p_d), a mean over the batch and the other domains e."""
        seen = generated_features(half, self.layer)
        logs = {domain: self._log_probabilities(seen[domain]) for domain in self.domains}

        def divergence(domain: str, other: str) -> Tensor:
            fixed = logs[other].detach()
            return (fixed.exp() * (fixed - logs[domain])).sum(2).mean()

        return _over_others(self.domains, divergence, self.weight)

    def _log_probabilities(self, features: Tensor) -> Tensor:
        """Features (B, ...) to logs of a distribution over the others of the group, (B / group, group, group - 1)."""
        directions = F.normalize(features.flatten(1), dim=1).unflatten(0, (-1, self.group))
        cosines = directions @ directions.transpose(1, 2)
        others = ~torch.eye(self.group, dtype=torch.bool, device=features.device)
        logs: Tensor = cosines[:, others].unflatten(1, (self.group, self.group - 1)).log_softmax(2)
        return logs


def _check_several(domains: Sequence[str]) -> None:
    if len(domains) < 2:
        raise ConfigError("compares domains, but there is only one; remove this loss")


def _over_others(domains: Sequence[str], distance: Callable[[str, str], Tensor], weight: float) -> PerDomain:
    """weight times the mean of ``distance(d, e)`` over the other domains e, for each domain d."""
    return {d: weight * torch.stack([distance(d, e) for e in domains if e != d]).mean() for d in domains}


def _variance(half: DiscriminatorHalf | GeneratorHalf, features: Tensor) -> Tensor:
    """The sum over features, (B, size), of their variance over the samples of all processes."""
    variance: Tensor = half.mean((features - half.mean(features)).square()).sum()
    return variance
