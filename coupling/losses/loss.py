"""The contract of a loss: its inputs and its results.

A loss is a term of the generators' and the discriminators' objectives. It returns one scalar for each domain, so that
each domain has a gradient of its own and shared layers get the mean of them. The framework steps the optimizers and
takes the mean over domains; a loss does neither.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from coupling.config.schedules import Schedule
from coupling.domain import Domain

PerDomain = dict[str, Tensor]
"""One tensor for each domain: {domain: tensor}."""


FeatureShapes = Mapping[tuple[str, int], tuple[int, ...]]
"""{(domain, layer): shape of one sample of that layer's output}."""


Weight = Annotated[float, Field(ge=0, description="factor of this term")]


def _mean(x: Tensor) -> Tensor:
    return x.mean(0)


@dataclass(frozen=True)
class Averaged:
    """The moving averages of the discriminators and of the losses' parameters (``training.ema_discriminators``)."""

    losses: Mapping[str, Loss]
    """The configuration's losses by name, with averaged parameters."""
    tap: Callable[[Mapping[str, Tensor], int], PerDomain]
    """``tap(samples, layer)``: a layer's outputs in the averaged discriminators, {domain: (B, *shape)} to
    {domain: (B, ...)}, without a gradient."""


@dataclass(frozen=True)
class DiscriminatorHalf:
    """The discriminators' half of a step. Tensors are {domain: (B, ...)}; ``fake`` has no gradient."""

    step: int
    """Number of the step, from 0."""
    domains: Sequence[Domain]
    """All domains, in the order of the configuration."""
    real: Mapping[str, Tensor]
    """Real samples: {domain: (B, *shape)} in the domain's range."""
    fake: Mapping[str, Tensor]
    """Generated samples: {domain: (B, *shape)}, without a gradient."""
    real_logits: Mapping[str, Tensor]
    """Logits of the real samples: {domain: (B, outputs)}."""
    fake_logits: Mapping[str, Tensor]
    """Logits of the generated samples: {domain: (B, outputs)}."""
    features: Mapping[tuple[str, int], Tensor]
    """Outputs of the layers that some loss taps, {(domain, layer): (2B, ...)}: the real samples first."""
    score: Callable[[Mapping[str, Tensor]], PerDomain]
    """Another pass through the discriminators, {domain: (B, *shape)} to logits {domain: (B, outputs)}; twice
    differentiable."""
    tap: Callable[[Mapping[str, Tensor], int], PerDomain]
    """``tap(samples, layer)``: another pass up to a layer, {domain: (B, *shape)} to its outputs {domain: (B, ...)}."""
    uniform: Callable[[str, int], Tensor]
    """``uniform(purpose, numbers)``: (B, numbers) in [0, 1), float32 on the samples' device; they depend on
    the seed, the step and the purpose alone."""
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    """Classes of the real samples, {domain: (B,) int64}, for the domains in :meth:`Loss.labels` of some loss."""
    averaged: Averaged | None = None
    """The moving averages, for losses with :attr:`Loss.needs_average`; None if none are kept."""
    z: Tensor = field(default_factory=lambda: torch.empty(0))
    """Latent codes of the generated samples: (B, latent size)."""
    mean: Callable[[Tensor], Tensor] = _mean
    """(B, ...) to (...): the mean over the samples of all processes, in one micro-batch. A loss that is not a plain
    average over samples needs it (the entropy of a mean, say). Every process must call it equally often."""


@dataclass(frozen=True)
class GeneratorHalf:
    """The generators' half of a step: through the updated discriminators, which are frozen."""

    step: int
    """Number of the step, from 0."""
    domains: Sequence[Domain]
    """All domains, in the order of the configuration."""
    z: Tensor
    """Latent codes: (B, latent size); first the numbers that all domains read, then each domain's style code."""
    fake: Mapping[str, Tensor]
    """Samples g_i(z): {domain: (B, *shape)} in the domain's range."""
    fake_logits: Mapping[str, Tensor]
    """Logits of the samples: {domain: (B, outputs)}."""
    features: Mapping[tuple[str, int], Tensor]
    """Outputs of the discriminators' layers that some loss taps: {(domain, layer): (B, ...)}."""
    real: Mapping[str, Tensor] = field(default_factory=dict)
    """Real samples of the step: {domain: (B, *shape)} in the domain's range."""
    real_logits: Mapping[str, Tensor] = field(default_factory=dict)
    """Logits of the real samples, without a gradient: {domain: (B, outputs)}; empty unless some loss has
    :attr:`Loss.needs_real_logits`."""
    mean: Callable[[Tensor], Tensor] = _mean
    """The same as in :class:`DiscriminatorHalf`."""
    drawn: Mapping[tuple[str, int], Tensor] = field(default_factory=dict)
    """Outputs of the generators' layers in :meth:`Loss.generator_taps` of some loss: {(domain, layer): (B, ...)}."""


class Loss(nn.Module):
    """A term of the objectives. Override :meth:`discriminator`, :meth:`generator`, or both.

    A loss may own parameters. They belong to :attr:`team`: its optimizer steps them and its checkpoints hold them.
    The domains in :meth:`users` share them.
    """

    team = "discriminator"
    """Team whose optimizer steps the loss's own parameters: "discriminator" or "generator"."""
    needs_average = False
    """Whether it reads ``half.averaged``, which needs ``training.ema_discriminators: true``."""
    needs_real_logits = False
    """Whether it reads ``half.real_logits`` in the generators' half. They cost one more pass of the real samples
    through the updated discriminators, which is computed only if some loss asks for it."""
    reads_logits = True
    """Whether it reads logits. Gradient penalties are penalties on the logits that another loss reads."""

    schedules: Mapping[str, Schedule] = {}
    """Options that follow a schedule, by name; the framework sets it."""

    def __init__(self) -> None:
        super().__init__()

    def set_numbers(self, step: int) -> None:
        """Set the options that follow a schedule to their values of a step: attributes of the same names.

        Args:
            step: number of the step, from 0.
        """
        for name, schedule in self.schedules.items():
            setattr(self, name, schedule.at(step))

    def outputs(self, domains: int) -> int | None:
        """Number of logits of each sample that this loss reads; None: any number.

        Args:
            domains: number of domains.
        """
        return None

    def margin(self, logits: Tensor, number: int) -> Tensor:
        """The number by which this loss tells real samples of a domain from generated ones, (B,).

        Gradient penalties take its gradient. By default it is the logit; the sum, if there are several. A loss that
        does not change when all logits of a sample rise by the same number, such as a softmax, must override it: a
        discriminator could hold the sum flat and stay as steep as it likes.

        Args:
            logits: logits of one domain's samples, (B, outputs).
            number: number of the domain, from 1, in the order of the configuration.
        """
        return logits.sum(1)

    def trains(self, team: str) -> bool:
        """Whether it adds terms to a team's objective; by default, whether it overrides the method of that name.

        Args:
            team: "discriminator" or "generator".
        """
        return getattr(type(self), team) is not getattr(Loss, team)

    def code_size(self) -> int:
        """How many numbers of the latent code it reads, from the first; the code must have as many."""
        return 0

    def taps(self) -> Sequence[int]:
        """Discriminator layers whose outputs this loss reads in ``half.features``: 1 is the first, -1 the last."""
        return ()

    def generator_taps(self) -> Sequence[int]:
        """Generator layers whose outputs this loss reads in ``half.drawn``: 1 is the first, -1 the last."""
        return ()

    def check_drawn(self, shapes: FeatureShapes) -> None:
        """Check the shapes of the outputs in ``half.drawn``. Called after :meth:`open`, before training.

        Args:
            shapes: shape of one sample of each output in :meth:`generator_taps`, {(domain, layer): shape}.

        Raises:
            ConfigError: the loss does not suit the generators.
        """

    def labels(self, domains: Sequence[str]) -> Sequence[str]:
        """Domains whose labels this loss reads in ``half.labels``. Training reads no other labels.

        Args:
            domains: names of all domains.
        """
        return ()

    def open(
        self,
        domains: Sequence[Domain],
        features: FeatureShapes,
        losses: Mapping[str, Loss],
    ) -> None:
        """Check the domains and make parameters that depend on features. Called once, before training.

        Draw initial parameters from torch's global random generator, which is seeded.

        Args:
            domains: all domains, in the order of the configuration.
            features: shape of one sample of each tapped output, {(domain, layer): shape}.
            losses: all losses of the configuration by name; they are opened in its order.

        Raises:
            ConfigError: the loss does not suit the domains.
        """

    def check_labels(self, labels: Mapping[str, Tensor]) -> None:
        """Check all labels of the domains in :meth:`labels`. Called once, before training.

        Args:
            labels: {domain: (n,) int64}, classes of all samples.

        Raises:
            ConfigError: the labels do not suit the loss.
        """

    def check_batch(self, samples: int) -> None:
        """Check the number of samples that it gets at once. Called after :meth:`open`, before training.

        Args:
            samples: samples of each domain in a micro-batch of one process.

        Raises:
            ConfigError: the loss cannot be computed on as many samples.
        """

    def users(self, domains: Sequence[str]) -> Sequence[str]:
        """Domains that share the parameters of this loss; their gradients are averaged (Algorithm 1).

        Args:
            domains: names of all domains.
        """
        return domains

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """This term of each discriminator's objective, {domain: scalar}; empty: no term in this step.

        Args:
            half: samples, logits and features of this step.
        """
        return {}

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """This term of each generator's objective, {domain: scalar}; empty: no term in this step.

        Args:
            half: samples, logits and features of this step.
        """
        return {}


class AdversarialLoss(Loss, ABC):
    """A loss that reads the logits of one domain at a time, as in the paper's equation 1.

    Override :meth:`criticise` and :meth:`fool`.

    Args:
        weight: factor of both terms; with 0 only the other losses train the networks.
    """

    def __init__(self, *, weight: Weight = 1.0) -> None:
        super().__init__()
        self.weight = weight

    @abstractmethod
    def criticise(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's scalar for one domain.

        Args:
            real: logits of real samples, (B, 1).
            fake: logits of generated samples, (B, 1).
        """

    @abstractmethod
    def fool(self, fake: Tensor) -> Tensor:
        """The generator's scalar for one domain.

        Args:
            fake: logits of generated samples, (B, 1).
        """

    def outputs(self, domains: int) -> int:
        """One logit for each sample.

        Args:
            domains: number of domains; it does not matter.
        """
        return 1

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """``weight * criticise`` for each domain, {domain: scalar}.

        Args:
            half: samples and logits of this step.
        """
        return {d: self.weight * self.criticise(half.real_logits[d], half.fake_logits[d]) for d in half.real_logits}

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """``weight * fool`` for each domain, {domain: scalar}.

        Args:
            half: samples and logits of this step.
        """
        return {d: self.weight * self.fool(logits) for d, logits in half.fake_logits.items()}


def generated_features(half: DiscriminatorHalf | GeneratorHalf, layer: int) -> PerDomain:
    """The outputs of a tapped layer for the generated samples, {domain: (B, ...)}."""
    return {d: half.features[d, layer][-len(samples) :] for d, samples in half.fake.items()}


def labelled_domains(losses: Iterable[Loss], domains: Sequence[str]) -> list[str]:
    """The domains whose labels some loss reads in training, in the order of the losses."""
    return list(dict.fromkeys(name for loss in losses for name in loss.labels(domains)))
