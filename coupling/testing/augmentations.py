"""Checks of an augmentation."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from coupling.augmentations.augmentation import Augmentation
from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.system.seeds import seed_all
from coupling.testing.check import RANGES, Check, Tests, require
from coupling.testing.noise import Noise

_COUNT = 4


def _changed(check: Check) -> Iterator[tuple[Any, Tensor, Tensor, Domain, Tensor]]:
    """The augmentation, samples of a shape that it accepts, numbers, their domain, and the result."""
    operation = check.make()
    require(isinstance(operation, Augmentation), f"gives a {type(operation).__name__}, not a coupling.Augmentation")
    rejected = []
    for shape in check.shapes:
        for low, high in RANGES:
            domain = Domain("one", tuple(shape), (low, high))
            try:
                operation.check(domain)
            except ConfigError as error:
                rejected.append(str(error))
                continue
            samples = low + (high - low) * Noise(shape=list(shape), seed=2).samples[:_COUNT]
            numbers = torch.rand(_COUNT, operation.numbers, generator=torch.Generator().manual_seed(1))
            seed_all(2)
            yield operation, samples, numbers, domain, operation(samples.clone(), numbers, domain)
    require(
        len(rejected) < len(check.shapes) * len(RANGES), f"accepts none of the shapes {check.shapes}: {rejected[:1]}"
    )


def _finite(check: Check) -> None:
    for _, samples, _, domain, made in _changed(check):
        require(isinstance(made, Tensor), f"makes a {type(made).__name__}, not a tensor")
        require(made.shape == samples.shape, f"makes {tuple(made.shape)} from {tuple(samples.shape)}")
        require(made.dtype == samples.dtype, f"makes {made.dtype} from {samples.dtype}")
        require(bool(made.isfinite().all()), f"makes infinite values of shape {domain.shape}")


def _by_numbers(check: Check) -> None:
    for operation, samples, numbers, domain, made in _changed(check):
        given = samples.clone()
        seed_all(3)
        again = operation(given, numbers, domain)
        require(torch.equal(again, made), "gives different results for the same numbers: what is random is in them")
        require(torch.equal(given, samples), "changes the samples that are passed to it")
        several = zip(samples, numbers, strict=True)
        alone = torch.cat([operation(x[None].clone(), n[None], domain) for x, n in several])
        require(torch.allclose(alone, made, atol=1e-5), "gives different results for a sample alone and in a batch")
        sent = pickle.loads(pickle.dumps(operation))  # noqa: S301  (our own)
        require(torch.equal(sent(samples, numbers, domain), made), "gives a different result after pickling")


def _differentiable(check: Check) -> None:
    for operation, samples, numbers, domain, _ in _changed(check):
        given = samples.clone().requires_grad_()
        made = operation(given, numbers, domain)
        require(made.requires_grad, "loses the gradient of the samples, so that the generators would not be trained")
        (gradient,) = torch.autograd.grad(made.square().sum(), given, create_graph=True)
        require(bool(gradient.isfinite().all()), f"gives infinite gradients for shape {domain.shape}")
        require(gradient.requires_grad, "is not twice differentiable, as a gradient penalty needs")


TESTS: Tests = {
    "keeps shape and type": _finite,
    "is a function of its numbers": _by_numbers,
    "is twice differentiable": _differentiable,
}
