"""Losses for domains without labels, on a classifier's predictions or on features (domain adaptation)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.losses.augmentation import Augmentation, Rotate, Scale, Shear, Shift, Stretch
from coupling.losses.classification import Classification, check_domains, find_classification
from coupling.losses.loss import DiscriminatorHalf, FeatureShapes, Loss, PerDomain, Weight

Unlabelled = Annotated[
    list[str] | None,
    Field(min_length=1, description="the domains without labels; null: all that the classification loss does not list"),
]


class Classified(Loss):
    """A loss on the predictions of the configuration's classification loss, in domains without labels."""

    reads_logits = False

    def __init__(self, domains: Sequence[str] | None, weight: float) -> None:
        super().__init__()
        self.domains = list(domains or ())
        self.weight = weight
        self._found: tuple[Classification, ...] = ()  # a tuple hides it from torch: a submodule would have two owners

    @property
    def classification(self) -> Classification:
        """The classification loss, which owns the head."""
        return self._found[0]

    def open(
        self,
        domains: Sequence[Domain],
        features: FeatureShapes,
        losses: Mapping[str, Loss],
    ) -> None:
        """Find the classification loss; raises :class:`ConfigError` unless there is exactly one."""
        check_domains(self.domains, domains)
        found = find_classification(losses, "reads the predictions of")
        self.domains = self.domains or found.unlabelled([domain.name for domain in domains])
        if not self.domains:
            raise ConfigError("needs a domain without labels, but every domain is labelled; remove this loss")
        found.serve(self.domains)
        self._found = (found,)

    def real_logits(self, half: DiscriminatorHalf, domain: str) -> Tensor:
        """The classifier's logits of the real samples, (B, classes)."""
        return self.classification.logits(half.features[domain, self.classification.layer][: len(half.real[domain])])


class Entropy(Classified):
    """Certain and varied predictions in domains without labels: the mutual information of sample and class.

    The mean entropy of the predictions (Grandvalet & Bengio 2004) minus ``variety`` times the entropy of their mean.
    Without the second part, one class for all samples would be the minimum (Krause et al. 2010).
    """

    def __init__(
        self,
        *,
        domains: Unlabelled = None,
        weight: Weight = 0.1,
        variety: Annotated[float, Field(ge=0, description="factor of the entropy of the mean prediction")] = 1.0,
    ) -> None:
        super().__init__(domains, weight)
        self.variety = variety

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """weight * (mean H(p) - variety * H(mean p)) on real samples."""
        terms = {}
        for domain in self.domains:
            log_p = self.real_logits(half, domain).log_softmax(1)
            mean = half.mean(log_p.exp())
            sure = -(log_p.exp() * log_p).sum(1).mean()
            varied = -(mean * mean.clamp_min(1e-12).log()).sum()
            terms[domain] = self.weight * (sure - self.variety * varied)
        return terms


class Consistency(Classified):
    """Cross-entropy of augmented samples with the class predicted for the plain ones (Sohn et al. 2020, section 2).

    Only samples whose predicted class has a probability of ``threshold`` or more count. The prediction is the
    network's own, or that of its moving average (Tarvainen & Valpola 2017), which makes fewer errors.
    """

    def __init__(
        self,
        *,
        domains: Unlabelled = None,
        weight: Weight = 1.0,
        threshold: Annotated[
            float, Field(ge=0, le=1, description="lowest probability of a predicted class that counts")
        ] = 0.9,
        teacher: Annotated[
            Literal["live", "averaged"],
            Field(description="network that predicts the class; averaged: the discriminators' moving average"),
        ] = "live",
        rotate: Rotate = 15.0,
        shift: Shift = 0.1,
        scale: Scale = 0.15,
        shear: Shear = 0.0,
        stretch: Stretch = 0.0,
    ) -> None:
        super().__init__(domains, weight)
        self.threshold = threshold
        self.needs_average = teacher == "averaged"
        self.augmentation = Augmentation(rotate, shift, scale, shear, stretch)

    def open(
        self,
        domains: Sequence[Domain],
        features: FeatureShapes,
        losses: Mapping[str, Loss],
    ) -> None:
        """Find the classification loss; raises :class:`ConfigError` if a domain's samples are not images."""
        super().open(domains, features, losses)
        if not self.augmentation:
            raise ConfigError(
                "rotate, shift, scale, shear, stretch: all are 0, so the samples would not change; set one of them"
            )
        self.augmentation.check([domain for domain in domains if domain.name in self.domains])

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """weight * -log p(class of x | augmented x), a mean in which samples below ``threshold`` count as 0."""
        terms = {}
        for domain in self.domains:
            sure, taught = self._unchanged(half, domain).softmax(1).max(1)
            changed = self.augmentation(half.real[domain], half.uniform(f"changed/{domain}", self.augmentation.numbers))
            features = half.tap({domain: changed}, self.classification.layer)[domain]
            each = F.cross_entropy(self.classification.logits(features), taught, reduction="none")
            terms[domain] = self.weight * (each * (sure >= self.threshold)).mean()
        return terms

    def _unchanged(self, half: DiscriminatorHalf, domain: str) -> Tensor:
        """The teacher's logits of the real samples, (B, classes), without a gradient."""
        if not self.needs_average:
            return self.real_logits(half, domain).detach()
        averaged = half.averaged
        assert averaged is not None  # build_losses has checked it
        [classifier] = [loss for loss in averaged.losses.values() if isinstance(loss, Classification)]
        return classifier.logits(averaged.tap({domain: half.real[domain]}, classifier.layer)[domain])
