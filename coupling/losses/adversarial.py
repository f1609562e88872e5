"""Adversarial losses. They read logits, not probabilities, which is stable at any size."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from coupling.losses.loss import AdversarialLoss, DiscriminatorHalf, GeneratorHalf, Loss, PerDomain, Weight
from coupling.losses.penalties import squared_gradients


class NonSaturating(AdversarialLoss):
    """Cross-entropy where the generator maximises log f(g(z)) (Goodfellow et al. 2014, section 3)."""

    def criticise(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log f(x) - log(1 - f(g(z))), f the sigmoid of the logit."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def fool(self, fake: Tensor) -> Tensor:
        """-log f(g(z))."""
        return F.softplus(-fake).mean()


class Minimax(NonSaturating):
    """The paper's V (equations 1 and 3), where the generator maximises -log(1 - f(g(z))), which saturates."""

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
    """Hinge loss with a margin of 1 for real and for generated samples (Lim & Ye 2017)."""

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
        penalty: Annotated[float, Field(ge=0, description="weight of the gradient penalty; 0: no penalty")] = 10.0,
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
        """The critic's difference plus penalty * (|gradient| - 1)^2 at points between real and generated samples."""
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


class RelativisticPairing(Loss):
    """Softplus of the difference between a real and a generated sample's logits (RpGAN, arXiv 2501.05441, section 2).

    A generated sample has to look more real than the real sample of the same place in the batch, so all modes of the
    data count. Use it with both penalties, ``r1`` and ``r2``: without them it may diverge.
    """

    needs_real_logits = True

    def __init__(self, *, weight: Weight = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def outputs(self, domains: int) -> int:
        """One logit for each sample."""
        return 1

    def discriminator(self, half: DiscriminatorHalf) -> PerDomain:
        """log(1 + exp(f(g(z)) - f(x))), a mean over pairs."""
        return {d: self.weight * F.softplus(half.fake_logits[d] - x).mean() for d, x in half.real_logits.items()}

    def generator(self, half: GeneratorHalf) -> PerDomain:
        """log(1 + exp(f(x) - f(g(z)))), a mean over pairs."""
        return {d: self.weight * F.softplus(half.real_logits[d] - g).mean() for d, g in half.fake_logits.items()}


class DomainSoftmax(Loss):
    """Softmax over "generated, real of domain 1, ..., real of domain N": the paper's conditional GAN (Table 5).

    One discriminator classifies the samples of all domains into these N + 1 classes; the generator is trained so that
    its samples are classified as real ones of their domain. Use it with ``latent: {condition: domain}`` and every
    layer shared. The mean over domains then weights the classes by their samples: each domain's real samples
    1 / (2N), generated samples 1 / 2.
    """

    def outputs(self, domains: int) -> int:
        """1 + domains: the logit of generated samples, then one for each domain, in order."""
        return domains + 1

    def margin(self, logits: Tensor, number: int) -> Tensor:
        """log p(d | x) - log p(generated | x): logit d minus logit 0, which no common shift of the logits changes."""
        return logits[:, number] - logits[:, 0]

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
    """The class of each domain's real samples, from 1; generated samples have class 0."""
    return {domain.name: number for number, domain in enumerate(half.domains, start=1)}


def _surprise(logits: Tensor, number: int) -> Tensor:
    """Mean of -log p(class ``number``), from logits (B, classes)."""
    return -F.log_softmax(logits, dim=1)[:, number].mean()
