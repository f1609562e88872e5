"""Seeds for everything that is drawn: each a pure function of the run's seed and what it is for."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2^63) for a purpose: the same for the same words, unrelated for other words.

    Args:
        seed: seed of the run.
        purpose: words and numbers that name what is drawn.
    """
    text = repr((seed, *purpose)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def seed_all(seed: int) -> None:
    """Seed every global random generator: torch's on all devices, numpy's and Python's, which a plugin may use."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def torch_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator seeded for ``purpose``. On the CPU, so that every device draws the same."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))
