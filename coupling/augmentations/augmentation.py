"""The contract of an augmentation: a random change of samples, the same function for real and generated ones.

The discriminators see real and generated samples through the same random changes, in both halves of a step. So they
cannot learn the few real samples by heart, and the generators do not learn to draw the changes (Zhao et al. 2020,
section 3; Karras et al. 2020, section 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from coupling.domain import Domain


class Augmentation(ABC):
    """A random change of the samples that the discriminators see."""

    numbers: int = 0
    """How many numbers in [0, 1) each sample needs."""

    def check(self, domain: Domain) -> None:  # noqa: B027  (optional by design)
        """Check that the samples of a domain can be changed in this way. Called once, before training.

        Args:
            domain: name, shape and range of the samples.

        Raises:
            ConfigError: the shape or range does not allow it.
        """

    @abstractmethod
    def __call__(self, samples: Tensor, numbers: Tensor, domain: Domain) -> Tensor:
        """Change each sample by its numbers; differentiable by the samples, twice if a gradient penalty is used.

        Draw nothing: what is random is a function of ``numbers``, so that a resumed run, and a run on any number of
        processes, computes exactly the same. Values may leave the domain's range.

        Args:
            samples: (B, *shape).
            numbers: (B, :attr:`numbers`) in [0, 1), each uniform.
            domain: name, shape and range of the samples.

        Returns:
            (B, *shape), a new tensor.
        """
