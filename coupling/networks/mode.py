"""Training and evaluation mode of networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*networks: nn.Module | None) -> Iterator[None]:
    """Put networks into evaluation mode for a block; then each of their modules gets back the mode that it had.

    The modes come back after an exception too. None stands for a network that a model lacks.
    """
    modes = [(module, module.training) for network in networks if network is not None for module in network.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
