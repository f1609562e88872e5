"""Penalties: how steep the discriminators are at samples, and how much private generator layers change."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.losses.loss import DiscriminatorHalf, FeatureShapes, GeneratorHalf, Loss, PerDomain, Weight

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


class BranchPenalty(Loss):
    """L1 norm of what private generator layers add to their input ("minimal change", i-StyleGAN, Xie et al. 2023).

    For layers that add a branch, as those of ``residual`` with ``between: branches``: the L1 norm keeps zero what a
    domain does not need.
    """

    reads_logits = False

    def __init__(
        self,
        *,
        layers: Annotated[
            list[Annotated[int, Field(ge=2)]],
            Field(min_length=1, description="generator layers whose change is penalised, numbered from 1 at the input"),
        ],
        weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.layers = sorted(set(layers))
        self.weight = weight

    def generator_taps(self) -> Sequence[int]:
        """The layers, and those before them."""
        return sorted({tap for layer in self.layers for tap in (layer - 1, layer)})

    def check_drawn(self, shapes: FeatureShapes) -> None:
        """Raise :class:`ConfigError` if a layer's output and its input have different shapes."""
        for (domain, layer), shape in shapes.items():
            before = shapes.get((domain, layer - 1))
            if layer in self.layers and shape != before:
                raise ConfigError(
                    f"layers: generator layer {layer} of domain '{domain}' turns {before} into {shape}, so it adds "
                    "nothing to its input; name layers that add a branch, such as the even layers of residual with "
                    "between: branches"
                )

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """weight * mean |h_l - h_(l-1)|, h_l the output of layer l, a mean over the layers too."""

        def added(domain: str, layer: int) -> Tensor:
            return (half.drawn[domain, layer] - half.drawn[domain, layer - 1]).abs().mean()

        return {d: self.weight * torch.stack([added(d, layer) for layer in self.layers]).mean() for d in half.fake}
