"""Losses that recover what a sample was generated from: numbers of its code, or a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import nn
from torch.nn import functional as F

from coupling.domain import Domain
from coupling.losses.classification import (
    LAST_HIDDEN,
    Classification,
    Layer,
    check_domains,
    feature_count,
    find_classification,
)
from coupling.losses.loss import (
    DiscriminatorHalf,
    FeatureShapes,
    GeneratorHalf,
    Loss,
    PerDomain,
    Weight,
    generated_features,
)


class CodeRecovery(Loss):
    """Squared error of a guess of the code from a discriminator layer's features (InfoGAN, arXiv 1606.03657).

    One linear layer for all domains guesses the first ``numbers`` of z from the features of generated samples. In both
    halves: the discriminators learn to recognise these numbers, the generators to show them, in each domain alike. It
    bounds the mutual information of code and sample from below, for a normal distribution of fixed variance.
    """

    reads_logits = False

    def __init__(
        self,
        *,
        numbers: Annotated[int, Field(ge=1, description="how many of z's numbers are guessed, from the first")] = 16,
        layer: Layer = LAST_HIDDEN,
        weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.numbers = numbers
        self.layer = layer
        self.weight = weight
        self.head: nn.Module = nn.Identity()

    def code_size(self) -> int:
        """As many as are guessed."""
        return self.numbers

    def taps(self) -> Sequence[int]:
        """The layer that the head reads."""
        return (self.layer,)

    def open(
        self,
        domains: Sequence[Domain],
        features: FeatureShapes,
        losses: Mapping[str, Loss],
    ) -> None:
        """Make the head; raises :class:`ConfigError` for features of different sizes."""
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(feature_count(domains, features, self.layer), self.numbers))

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """weight * (q(g_d(z)) - z)^2, a mean over samples and the guessed numbers; q: the head on the layer."""
        return self._terms(half)

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """The same, through the frozen discriminators and head."""
        return self._terms(half)

    def _terms(self, half: DiscriminatorHalf | GeneratorHalf) -> PerDomain:
        wanted = half.z[:, : self.numbers]
        return {
            d: self.weight * F.mse_loss(self.head(x), wanted) for d, x in generated_features(half, self.layer).items()
        }


class ClassRecovery(Loss):
    """Cross-entropy of the classifier on generated samples with the class of their code (CDRD, arXiv 1705.01314).

    The class of a code is the place of the largest of its first C numbers, C the classes of the configuration's
    classification loss: all are equally likely, and the prior does not change. The classifier learns what a class looks
    like from the labels of any domain; both halves then tie the class of each domain's samples to the code. No pair is
    needed, and labels of one domain are enough.
    """

    reads_logits = False

    def __init__(
        self,
        *,
        domains: Annotated[
            list[str] | None,
            Field(min_length=1, description="the domains whose generated samples are classified; null: all"),
        ] = None,
        weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.domains = list(domains or ())
        self.weight = weight
        self._found: tuple[Classification, ...] = ()  # a tuple hides it from torch: a submodule would have two owners

    def code_size(self) -> int:
        """One for each class: the largest decides."""
        return self._found[0].classes if self._found else 0

    def open(
        self,
        domains: Sequence[Domain],
        features: FeatureShapes,
        losses: Mapping[str, Loss],
    ) -> None:
        """Find the classification loss; raises :class:`ConfigError` unless there is exactly one."""
        check_domains(self.domains, domains)
        found = find_classification(losses, "classifies by")
        self.domains = self.domains or [domain.name for domain in domains]
        found.serve(self.domains)
        self._found = (found,)

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """weight * -log p(class of z | g_d(z)), a mean over the generated samples."""
        return self._terms(half)

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """The same, through the frozen discriminators and head."""
        return self._terms(half)

    def _terms(self, half: DiscriminatorHalf | GeneratorHalf) -> PerDomain:
        classification = self._found[0]
        wanted = half.z[:, : classification.classes].argmax(1)
        seen = generated_features(half, classification.layer)
        return {d: self.weight * F.cross_entropy(classification.logits(seen[d]), wanted) for d in self.domains}
