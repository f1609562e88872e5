"""A classifier on a discriminator layer, for domain adaptation (section 4): labels of some domains, classes for all.

The softmax layer reads a layer that the discriminators share. A classifier that is trained with the labels of one
domain therefore classifies every domain: f_i up to the tapped layer, then the same head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from coupling.domain import Domain
from coupling.errors import ConfigError, check_domain_name
from coupling.losses.augmentation import Augmentation, Rotate, Scale, Shear, Shift, Stretch
from coupling.losses.loss import DiscriminatorHalf, FeatureShapes, Loss, PerDomain, Weight
from coupling.system.terminal import warn

LAST_HIDDEN = -2
"""The last hidden layer of a discriminator: the one before its logits."""


Layer = Annotated[
    int, Field(description="discriminator layer to read: 1 is the first, -1 the last, -2 the last hidden one")
]


class Classification(Loss):
    """Cross-entropy of a softmax layer on a discriminator layer, in the labelled domains (section 4, adaptation).

    The head is a linear layer on the flattened output; its gradient is the mean over the domains that use it. With
    augmentation, the discriminators get a second batch of augmented samples, and the head classifies those.
    """

    reads_logits = False

    def __init__(
        self,
        *,
        domains: Annotated[
            list[str], Field(min_length=1, description="the labelled domains; no other labels are read")
        ],
        classes: Annotated[int, Field(ge=2, description="number of classes")] = 10,
        layer: Layer = LAST_HIDDEN,
        weight: Weight = 1.0,
        rotate: Rotate = 0.0,
        shift: Shift = 0.0,
        scale: Scale = 0.0,
        shear: Shear = 0.0,
        stretch: Stretch = 0.0,
    ) -> None:
        super().__init__()
        self.labelled = domains
        self.classes = classes
        self.layer = layer
        self.weight = weight
        self.augmentation = Augmentation(rotate, shift, scale, shear, stretch)
        self.head: nn.Module = nn.Identity()
        self._users = set(domains)

    def taps(self) -> Sequence[int]:
        """The layer that the head reads."""
        return (self.layer,)

    def labels(self, domains: Sequence[str]) -> Sequence[str]:
        """The labelled domains."""
        return self.labelled

    def unlabelled(self, domains: Sequence[str]) -> list[str]:
        """The domains without labels, in order."""
        return [domain for domain in domains if domain not in self.labelled]

    def users(self, domains: Sequence[str]) -> Sequence[str]:
        """The labelled domains, and the domains that another loss classifies."""
        return [domain for domain in domains if domain in self._users] or self.labelled

    def serve(self, domains: Sequence[str]) -> None:
        """Add the domains of another loss to those whose gradients the head averages."""
        self._users |= set(domains)

    def open(
        self,
        domains: Sequence[Domain],
        features: FeatureShapes,
        losses: Mapping[str, Loss],
    ) -> None:
        """Make the head; raises :class:`ConfigError` for an unknown domain or features of different sizes."""
        check_domains(self.labelled, domains)
        self.augmentation.check([domain for domain in domains if domain.name in self.labelled])
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(feature_count(domains, features, self.layer), self.classes))

    def check_labels(self, labels: Mapping[str, Tensor]) -> None:
        """Raise :class:`ConfigError` for a class outside 0 to classes - 1; warn about classes without a sample."""
        seen: set[int] = set()
        for domain, given in labels.items():
            present = set(given.unique().tolist())
            unknown = sorted(present - set(range(self.classes)))
            if unknown and min(unknown) < 0:
                raise ConfigError(
                    f"domains: '{domain}' has samples of class {min(unknown)}, but classes are numbered from 0; label "
                    "all samples, or leave out those without a label"
                )
            if unknown:
                raise ConfigError(
                    f"classes: {self.classes}, but domain '{domain}' has labels {in_words(unknown)}; classes are "
                    f"numbered from 0: give classes: {max(unknown) + 1} or more"
                )
            seen |= present
        missing = sorted(set(range(self.classes)) - seen)
        if missing:
            warn(f"classification: class {in_words(missing)} has no labelled sample, so it cannot be learned")

    def logits(self, features: Tensor) -> Tensor:
        """The tapped layer's outputs (B, ...) to logits (B, classes)."""
        scores: Tensor = self.head(features)
        return scores

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """weight * -log p(label), a mean over the real samples of each labelled domain."""
        terms = {}
        for domain in self.labelled:
            if self.augmentation:
                real = self.augmentation(
                    half.real[domain], half.uniform(f"augmented/{domain}", self.augmentation.numbers)
                )
                features = half.tap({domain: real}, self.layer)[domain]
            else:
                features = half.features[domain, self.layer][: len(half.real[domain])]
            terms[domain] = self.weight * F.cross_entropy(self.logits(features), half.labels[domain])
        return terms


def find_classification(losses: Mapping[str, Loss], use: str) -> Classification:
    """The configuration's classification loss, for a loss that needs it; ``use``: what that loss does with one.

    Raises:
        ConfigError: there is none, or several.
    """
    found = [loss for loss in losses.values() if isinstance(loss, Classification)]
    if len(found) != 1:
        raise ConfigError(
            f"{use} a classification loss, but the configuration has {len(found)} of them; list exactly one in losses"
        )
    return found[0]


def feature_count(domains: Sequence[Domain], features: FeatureShapes, layer: int) -> int:
    """How many features a sample has at a layer; raises :class:`ConfigError` unless they are as many in each domain."""
    sizes = {domain.name: math.prod(features[domain.name, layer]) for domain in domains}
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"'{name}' {size}" for name, size in sizes.items())
        raise ConfigError(
            f"layer: {layer} has {counts} features a sample; one layer that reads them in all domains needs a "
            "layer with equally many features in each"
        )
    return next(iter(sizes.values()))


def check_domains(named: Sequence[str], domains: Sequence[Domain]) -> None:
    """Raise :class:`ConfigError` for a name that no domain has."""
    known = [domain.name for domain in domains]
    for name in named:
        check_domain_name("domains", name, known)


def in_words(numbers: Sequence[int], most: int = 8) -> str:
    """Numbers in words: the first ``most`` of them, and how many more there are."""
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more
