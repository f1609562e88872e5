"""Views of waveforms: the envelope and the spectrogram, both from 0 (silence) to 1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 32
"""Samples in a window."""


HOP = 4
"""Samples from one window to the next."""


_FLOOR = -50.0
"""Level that counts as silence, in decibels; 0 is a sine of full range."""


def envelope(waveforms: Tensor) -> Tensor:
    """Loudness over time: the root mean square in Hann windows, times the square root of two.

    (B, 1, L) in [-1, 1] -> (B, 1, L / 4) in [0, 1]. A sine of full range has the envelope 1.
    """
    weights = torch.hann_window(WINDOW, dtype=waveforms.dtype, device=waveforms.device)
    power = (_windows(waveforms).square() * weights).sum(-1) / weights.sum()
    return (2 * power).sqrt().clamp(0, 1)[:, None]


def spectrogram(waveforms: Tensor) -> Tensor:
    """Power over frequency and time: a short-time Fourier transform with Hann windows, in decibels.

    (B, 1, L) in [-1, 1] -> (B, 16, L / 4) in [0, 1], from -50 dB to 0 dB. The rows are the frequencies, the highest
    first; the constant part is left out.
    """
    weights = torch.hann_window(WINDOW, dtype=waveforms.dtype, device=waveforms.device)
    spectrum = torch.fft.rfft(_windows(waveforms) * weights)[..., 1:]
    amplitude = 2 * spectrum.abs() / weights.sum()
    decibels = 20 * amplitude.clamp(min=10 ** (_FLOOR / 20)).log10()
    share: Tensor = (1 - decibels / _FLOOR).clamp(0, 1)
    return share.transpose(1, 2).flip(1)


def _windows(waveforms: Tensor) -> Tensor:
    """Windows (B, L / 4, 32) around every fourth sample; silence lies beyond the ends."""
    left = (WINDOW - HOP) // 2
    return F.pad(waveforms[:, 0], (left, WINDOW - HOP - left)).unfold(1, WINDOW, HOP)
