"""Checks of a transform."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from coupling.errors import ConfigError
from coupling.system.seeds import seed_all
from coupling.testing.check import RANGES, Check, Tests, require
from coupling.testing.noise import Noise


def _images(check: Check) -> Iterator[tuple[Tensor, tuple[float, float], Any]]:
    """Images that the transform accepts, their range, and the result."""
    transform = check.make()
    rejected = []
    for shape in check.shapes:
        for low, high in RANGES:
            images = low + (high - low) * Noise(shape=list(shape), seed=2).samples[:4]
            seed_all(2)
            try:
                made = transform(images.clone(), (low, high))
            except ConfigError as error:
                rejected.append(str(error))
                continue
            yield images, (low, high), made
    require(
        len(rejected) < len(check.shapes) * len(RANGES), f"accepts none of the shapes {check.shapes}: {rejected[:1]}"
    )


def _transformed(check: Check) -> None:
    for images, (low, high), made in _images(check):
        place = f"of {tuple(images.shape)} in [{low}, {high}]"
        require(isinstance(made, Tensor), f"makes a {type(made).__name__} {place}")
        require(made.dtype == images.dtype, f"makes {made.dtype} {place}, not {images.dtype}")
        require(len(made) == len(images), f"makes {len(made)} samples {place}")
        require(bool(made.isfinite().all()), f"makes infinite values {place}")
        least, most = made.min().item(), made.max().item()
        require(low <= least and most <= high, f"makes values in [{least}, {most}] {place}; the range must stay")


def _sample_by_sample(check: Check) -> None:
    transform = check.make()
    for images, span, made in _images(check):
        given = images.clone()
        seed_all(3)
        require(torch.allclose(transform(given, span), made, atol=1e-6), "gives different results for the same images")
        require(torch.equal(given, images), "changes the images that are passed to it")
        alone = torch.cat([transform(image[None].clone(), span) for image in images])
        require(torch.allclose(alone, made, atol=1e-5), "gives different results for a sample alone and in a batch")
        sent = pickle.loads(pickle.dumps(transform))  # noqa: S301  (our own)
        require(torch.allclose(sent(images.clone(), span), made, atol=1e-6), "gives a different result after pickling")


TESTS: Tests = {
    "keeps the range": _transformed,
    "does the same to each sample": _sample_by_sample,
}
