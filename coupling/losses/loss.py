"""What a loss is given and what it answers.

A loss is a term of the two teams' objectives. It answers one scalar a domain, so that "the
gradient of domain d" is well defined and shared layers get the mean of them. A loss never steps an
optimizer and never scales by the number of domains: that is the framework's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from coupling.domain import Domain

PerDomain = dict[str, Tensor]
"""{domain: tensor}."""


FeatureShapes = Mapping[tuple[str, int], tuple[int, ...]]
"""{(domain, layer): shape of one sample of that layer's output}."""


Weight = Annotated[float, Field(ge=0, description="of this term")]


def _mean(x: Tensor) -> Tensor:
    return x.mean(0)


@dataclass(frozen=True)
class Averaged:
    """The moving averages of the discriminators and of the losses' parameters (``training.ema_discriminators``)."""

    losses: Mapping[str, Loss]
    """The configuration's, by name."""
    tap: Callable[[Mapping[str, Tensor], int], PerDomain]
    """A layer's outputs in the averaged discriminators: ({domain: samples}, layer). Carries no gradient."""


@dataclass(frozen=True)
class DiscriminatorHalf:
    """The discriminators' half of a step. Tensors are {domain: (B, ...)}; ``fake`` carries no gradient."""

    step: int
    domains: Sequence[Domain]
    real: Mapping[str, Tensor]
    fake: Mapping[str, Tensor]
    real_logits: Mapping[str, Tensor]
    fake_logits: Mapping[str, Tensor]
    features: Mapping[tuple[str, int], Tensor]
    """Outputs of the layers that some loss taps, real samples first: {(domain, layer): (2B, ...)}."""
    score: Callable[[Mapping[str, Tensor]], PerDomain]
    """Another pass through the discriminators: {domain: samples} to logits; twice differentiable."""
    tap: Callable[[Mapping[str, Tensor], int], PerDomain]
    """Another pass, up to a layer: ({domain: samples}, layer) to that layer's outputs."""
    uniform: Callable[[str, int], Tensor]
    """``uniform(purpose, numbers)``: (B, numbers) in [0, 1), float32 on the samples' device, a function of
    seed, step and purpose."""
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    """Classes of the real samples, {domain: (B,) int64}, of the domains that some loss names (:meth:`Loss.labels`)."""
    averaged: Averaged | None = None
    """For losses that need it (:attr:`Loss.needs_average`); None where no average is kept."""
    mean: Callable[[Tensor], Tensor] = _mean
    """(B, ...) to (...): the mean over the samples of all processes, of one micro-batch. For what is no mean of
    samples' own terms, such as the entropy of a mean; every process must ask for it equally often."""


@dataclass(frozen=True)
class GeneratorHalf:
    """The generators' half of a step, through the updated discriminators, which are frozen."""

    step: int
    domains: Sequence[Domain]
    z: Tensor
    fake: Mapping[str, Tensor]
    fake_logits: Mapping[str, Tensor]
    features: Mapping[tuple[str, int], Tensor]
    mean: Callable[[Tensor], Tensor] = _mean
    """As in the other half."""


class Loss(nn.Module):
    """A term of the objectives. Override one half or both.

    A loss may own parameters; they belong to the team named by :attr:`team` and join its gradient
    buffer, optimizer and checkpoint, shared by the domains that :meth:`users` names.
    """

    team = "discriminator"
    needs_average = False
    """Whether it reads ``half.averaged``, which there is with ``training.ema_discriminators``."""

    def __init__(self) -> None:
        super().__init__()

    def outputs(self, domains: int) -> int | None:
        """Logits a sample that this loss reads, for a number of domains; None: any number will do."""
        return None

    def taps(self) -> Sequence[int]:
        """Discriminator layers whose outputs this loss reads (``half.features``): 1 is the first, -1 the last."""
        return ()

    def labels(self, domains: Sequence[str]) -> Sequence[str]:
        """Domains whose labels this loss reads (``half.labels``). No other domain's are read in training."""
        return ()

    def open(
        self,
        domains: Sequence[Domain],
        features: FeatureShapes,
        losses: Mapping[str, Loss],
    ) -> None:
        """Called once, when the networks exist and before anything is counted or trained.

        ``features``: shape of one sample of each tapped output, {(domain, layer): shape}; parameters that
        depend on them are made here, from torch's own generator, which is seeded. ``losses``: all of the
        configuration by name, opened in its order. Raises :class:`coupling.errors.ConfigError` where the
        loss does not suit the domains.
        """

    def check_labels(self, labels: Mapping[str, Tensor]) -> None:
        """Called once before training with all labels of the domains that :meth:`labels` names, {domain: (n,)}.

        Raises :class:`coupling.errors.ConfigError` where they do not suit the loss.
        """

    def users(self, domains: Sequence[str]) -> Sequence[str]:
        """Domains that share the parameters this loss owns."""
        return domains

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """This term of each discriminator's objective: {domain: scalar}; empty for none."""
        return {}

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """This term of each generator's objective: {domain: scalar}; empty for none."""
        return {}


class AdversarialLoss(Loss, ABC):
    """A loss that reads one domain's logits at a time: say how to criticise and how to fool.

    A weight of 0 leaves the networks to the other terms: a classifier's part without the GAN's, say.
    """

    def __init__(self, *, weight: Weight = 1.0) -> None:
        super().__init__()
        self.weight = weight

    @abstractmethod
    def criticise(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's scalar, from logits (B, 1) of real and of generated samples."""

    @abstractmethod
    def fool(self, fake: Tensor) -> Tensor:
        """The generator's scalar, from logits (B, 1) of its samples."""

    def outputs(self, domains: int) -> int:
        """One logit a sample."""
        return 1

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """``weight * criticise``, each domain for itself."""
        return {d: self.weight * self.criticise(half.real_logits[d], half.fake_logits[d]) for d in half.real_logits}

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """``weight * fool``, each domain for itself."""
        return {d: self.weight * self.fool(logits) for d, logits in half.fake_logits.items()}


def labelled_domains(losses: Iterable[Loss], domains: Sequence[str]) -> list[str]:
    """The domains whose labels some loss reads in training, in the losses' order."""
    return list(dict.fromkeys(name for loss in losses for name in loss.labels(domains)))
