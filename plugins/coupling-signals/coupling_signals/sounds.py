"""Sounds of plucked strings: computed from a seed, as waveforms, envelopes or spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from coupling import Dataset, derive_seed
from coupling_signals.views import HOP, WINDOW, envelope, spectrogram

View: TypeAlias = Literal["waveform", "envelope", "spectrogram"]

RATE = 1024
"""Samples a second, in hertz."""


LENGTH = 256
"""Samples in a sound: a quarter of a second."""


_PITCH = (40.0, 160.0)
"""Lowest and highest fundamental frequency, in hertz."""


_DECAY = (0.02, 0.12)
"""Shortest and longest time in which a note fades to 1/e, in seconds."""


_ATTACK = 0.004
"""Time in which a note rises, in seconds."""


_NOISE = 0.01
"""Standard deviation of the noise of the recording."""


_SHAPES = {"waveform": (1, LENGTH), "envelope": (1, LENGTH // HOP), "spectrogram": (WINDOW // 2, LENGTH // HOP)}


class Sounds(Dataset):
    """Sounds of plucked strings, or views of them: one or two notes each, computed when they are read.

    Waveforms are (1, 256) in [-1, 1]: a quarter of a second at 1024 samples a second. Envelopes are (1, 64) and
    spectrograms (16, 64), both in [0, 1] from silence to a sine of full range. Each note has a pitch from 40 to 160 Hz,
    three harmonics, an onset, a loudness and a decay, all drawn from the number of the sound. Domains of different
    views have the same sounds as source, and so get disjoint parts.
    """

    def __init__(
        self,
        *,
        view: Annotated[View, Field(description="what a sample shows of a sound")] = "waveform",
        count: Annotated[int, Field(ge=1, le=1_000_000, description="number of sounds")] = 30_000,
        seed: Annotated[int, Field(ge=0, description="seed of the sounds")] = 0,
    ) -> None:
        self.view: View = view
        self.count = count
        self.seed = seed
        self.shape = {
            "waveform": (1, LENGTH),
            "envelope": (1, LENGTH // HOP),
            "spectrogram": (WINDOW // 2, LENGTH // HOP),
        }[view]
        self.range = (-1.0, 1.0) if view == "waveform" else (0.0, 1.0)
        self.source = f"sounds/seed={seed},count={count}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return self.batch([index])[0]

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Sounds by number: float32 (len(indices), *shape)."""
        sounds = [_waveform(np.random.default_rng(derive_seed(self.seed, "sound", index))) for index in indices]
        return self.of(torch.from_numpy(np.stack(sounds))[:, None])

    def of(self, waveforms: Tensor) -> Tensor:
        """The view of waveforms, (B, 1, 256) in [-1, 1]: (B, *shape) in the range of this data set."""
        if self.view == "waveform":
            return waveforms
        return envelope(waveforms) if self.view == "envelope" else spectrogram(waveforms)

    def held_out(self) -> Sounds:
        """Other sounds, a tenth as many."""
        seed = derive_seed(self.seed, "held-out sounds")
        return Sounds(view=self.view, count=max(1, self.count // 10), seed=seed)

    def fingerprint(self) -> str:
        """Which sounds these are, and what the samples show of them."""
        return f"{super().fingerprint()}:{self.view}"


def _waveform(random: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """One sound: float32 (LENGTH,) in [-1, 1]."""
    time = np.arange(LENGTH) / RATE
    sound = random.normal(0, _NOISE, LENGTH)
    for onset in _onsets(random):
        pitch = np.exp(random.uniform(*np.log(_PITCH)))
        decay = np.exp(random.uniform(*np.log(_DECAY)))
        since = np.clip(time - onset, 0, None)
        shape = random.uniform(0.5, 1) * (1 - np.exp(-since / _ATTACK)) * np.exp(-since / decay)
        phase = 2 * np.pi * pitch * since
        sound += shape * (np.sin(phase) + np.sin(2 * phase) / 3 + np.sin(3 * phase) / 6)
    return np.clip(sound, -1, 1).astype(np.float32)


def _onsets(random: np.random.Generator) -> Sequence[float]:
    """Times of one or two notes, in seconds."""
    duration = LENGTH / RATE
    return [random.uniform(0, 0.9) * duration for _ in range(random.integers(1, 3))]
