"""Adversarial losses and gradient penalties. All read logits, never probabilities: stable at any size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from coupling.losses.loss import AdversarialLoss, DiscriminatorHalf, GeneratorHalf, Loss, PerDomain, Weight


class NonSaturating(AdversarialLoss):
    """Cross-entropy; the generator maximises log f(g(z)) (Goodfellow et al. 2014, section 3)."""

    def criticise(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log f(x) - log(1 - f(g(z))), f the sigmoid of the logit."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def fool(self, fake: Tensor) -> Tensor:
        """-log f(g(z))."""
        return F.softplus(-fake).mean()


class Minimax(NonSaturating):
    """The paper's V (equations 1 and 3): the generator maximises -log(1 - f(g(z))), which saturates."""

    def fool(self, fake: Tensor) -> Tensor:
        """log(1 - f(g(z)))."""
        return -F.softplus(fake).mean()


class LeastSquares(AdversarialLoss):
    """Squared distance to 1 (real) and 0 (generated) (Mao et al. 2017)."""

    def criticise(self, real: Tensor, fake: Tensor) -> Tensor:
        """((f(x) - 1)^2 + f(g(z))^2) / 2, f the logit itself."""
        return ((real - 1).square().mean() + fake.square().mean()) / 2

    def fool(self, fake: Tensor) -> Tensor:
        """(f(g(z)) - 1)^2 / 2."""
        return (fake - 1).square().mean() / 2


class Hinge(AdversarialLoss):
    """Margins of one on both sides (Lim & Ye 2017)."""

    def criticise(self, real: Tensor, fake: Tensor) -> Tensor:
        """max(0, 1 - f(x)) + max(0, 1 + f(g(z)))."""
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def fool(self, fake: Tensor) -> Tensor:
        """-f(g(z))."""
        return -fake.mean()


class Wasserstein(AdversarialLoss):
    """Earth mover's distance with gradient penalty (Gulrajani et al. 2017)."""

    def __init__(
        self,
        penalty: Annotated[float, Field(ge=0, description="weight of the gradient penalty; 0 for none")] = 10.0,
        weight: Weight = 1.0,
    ) -> None:
        super().__init__(weight=weight)
        self.penalty = penalty

    def criticise(self, real: Tensor, fake: Tensor) -> Tensor:
        """f(g(z)) - f(x)."""
        return fake.mean() - real.mean()

    def fool(self, fake: Tensor) -> Tensor:
        """-f(g(z))."""
        return -fake.mean()

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """The critic's difference and, between real and generated samples, (|gradient| - 1)^2."""
        losses = super().discriminator(half)
        if self.penalty == 0:
            return losses
        between = {}
        for domain, real in half.real.items():
            share = half.uniform(f"between/{domain}", 1).to(real).reshape(-1, *[1] * (real.dim() - 1))
            between[domain] = torch.lerp(real, half.fake[domain], share).requires_grad_()
        for domain, squared in squared_gradients(between, half.score(between)).items():
            norm = (squared + 1e-12).sqrt()  # the root's slope is infinite at 0
            losses[domain] = losses[domain] + self.penalty * (norm - 1).square().mean()
        return losses


class DomainSoftmax(Loss):
    """Softmax over "generated, real of domain 1, ..., of domain N": the paper's conditional GAN (Table 5).

    One discriminator for all domains says which of N + 1 kinds a sample is; the generator is trained to be
    taken for real of the domain it was asked for. Meant for ``latent: {condition: domain}`` with every
    layer shared, where the mean over domains makes the classes as frequent as their samples are: each
    domain's real samples 1 / (2N), generated ones 1 / 2.
    """

    def outputs(self, domains: int) -> int:
        """One logit for generated samples, then one for each domain, in order."""
        return domains + 1

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """-log p(d | x) - log p(generated | g(z, d))."""
        numbers = _numbers(half)
        return {
            d: _surprise(real, numbers[d]) + _surprise(half.fake_logits[d], 0) for d, real in half.real_logits.items()
        }

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """-log p(d | g(z, d))."""
        numbers = _numbers(half)
        return {d: _surprise(fake, numbers[d]) for d, fake in half.fake_logits.items()}


def _numbers(half: DiscriminatorHalf | GeneratorHalf) -> dict[str, int]:
    """The class of each domain's real samples; 0 is that of generated ones."""
    return {domain.name: number for number, domain in enumerate(half.domains, start=1)}


def _surprise(logits: Tensor, number: int) -> Tensor:
    """Mean of -log p(class ``number``), from logits (B, classes)."""
    return -F.log_softmax(logits, dim=1)[:, number].mean()


class R1(Loss):
    """Gradient penalty on real samples (Mescheder et al. 2018), taken every few steps."""

    def __init__(
        self,
        gamma: Annotated[float, Field(ge=0, description="weight: gamma / 2 times the squared gradient")] = 0.5,
        every: Annotated[int, Field(ge=1, description="steps between penalties; its weight is times this")] = 1,
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.every = every

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """every * gamma / 2 * |df(x)/dx|^2 on the steps that are multiples of ``every``."""
        if half.step % self.every:
            return {}
        real = {domain: x.detach().requires_grad_() for domain, x in half.real.items()}
        weight = self.every * self.gamma / 2
        return {d: weight * squared.mean() for d, squared in squared_gradients(real, half.score(real)).items()}


def squared_gradients(inputs: Mapping[str, Tensor], logits: Mapping[str, Tensor]) -> PerDomain:
    """|df/dx|^2 of each sample, {domain: (B,)}, differentiable with respect to the weights."""
    total = torch.stack([value.sum() for value in logits.values()]).sum()
    gradients = torch.autograd.grad(total, list(inputs.values()), create_graph=True)
    return {d: g.flatten(1).square().sum(1) for d, g in zip(inputs, gradients, strict=True)}
