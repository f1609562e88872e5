"""Gradient penalties: how steep the discriminators are at real and at generated samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.losses.loss import DiscriminatorHalf, FeatureShapes, Loss, PerDomain

Gamma = Annotated[float, Field(ge=0, description="weight: gamma / 2 times the squared gradient")]


Every = Annotated[int, Field(ge=1, description="steps between penalties; the weight is multiplied by it")]


class GradientPenalty(Loss):
    """gamma / 2 times the squared gradient of the margin (:meth:`Loss.margin`) at some samples, every few steps."""

    reads_logits = False  # it adds to a loss that does

    def __init__(self, gamma: Gamma = 0.5, every: Every = 1) -> None:
        super().__init__()
        self.gamma = gamma
        self.every = every
        self._margins: tuple[Loss, ...] = ()  # a tuple hides it from torch: a submodule would have two owners

    def open(
        self,
        domains: Sequence[Domain],
        features: FeatureShapes,
        losses: Mapping[str, Loss],
    ) -> None:
        """Find the loss whose logits are penalised; raises :class:`ConfigError` if none reads logits."""
        self._margins = tuple(loss for loss in losses.values() if loss.reads_logits)
        if not self._margins:
            raise ConfigError(
                f"penalises the gradient of logits, but no other loss reads logits ({', '.join(losses)}); add an "
                "adversarial loss, such as non-saturating, or remove this one"
            )

    @abstractmethod
    def penalised(self, half: DiscriminatorHalf) -> Mapping[str, Tensor]:
        """The samples at which the gradient is penalised: {domain: (B, *shape)}."""

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """every * gamma / 2 * |dm(x)/dx|^2 in steps that are multiples of ``every``, no term in the others."""
        if half.step % self.every:
            return {}
        samples = {domain: x.detach().requires_grad_() for domain, x in self.penalised(half).items()}
        logits = half.score(samples)
        if self._margins:
            numbers = {domain.name: number for number, domain in enumerate(half.domains, start=1)}
            logits = {d: self._margins[0].margin(x, numbers[d]).unsqueeze(1) for d, x in logits.items()}
        weight = self.every * self.gamma / 2
        return {d: weight * squared.mean() for d, squared in squared_gradients(samples, logits).items()}


class R1(GradientPenalty):
    """Gradient penalty on real samples (Mescheder et al. 2018), computed every few steps."""

    def penalised(self, half: DiscriminatorHalf) -> Mapping[str, Tensor]:
        """The real samples."""
        return half.real


class R2(GradientPenalty):
    """Gradient penalty on generated samples (Mescheder et al. 2018), computed every few steps."""

    def penalised(self, half: DiscriminatorHalf) -> Mapping[str, Tensor]:
        """The generated samples."""
        return half.fake


def squared_gradients(inputs: Mapping[str, Tensor], logits: Mapping[str, Tensor]) -> PerDomain:
    """|df/dx|^2 of each sample, {domain: (B,)}; differentiable by the weights.

    ``inputs``: {domain: (B, *shape)}, from which ``logits``, {domain: (B, outputs)}, were computed.
    """
    total = torch.stack([value.sum() for value in logits.values()]).sum()
    gradients = torch.autograd.grad(total, list(inputs.values()), create_graph=True)
    return {d: g.flatten(1).square().sum(1) for d, g in zip(inputs, gradients, strict=True)}
