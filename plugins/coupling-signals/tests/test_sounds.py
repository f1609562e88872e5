"""Sounds, their envelopes and their spectrograms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coupling.testing import open_domains
from coupling_signals.sounds import LENGTH, RATE, Sounds
from coupling_signals.views import envelope, spectrogram


def sine(frequency: float, loudness: float = 1.0) -> torch.Tensor:
    """A sine of this frequency in hertz, (1, 1, LENGTH) in [-1, 1]."""
    return loudness * torch.sin(2 * torch.pi * frequency * torch.arange(LENGTH) / RATE).reshape(1, 1, -1)


def test_a_sound_depends_on_its_number_and_the_seed_only() -> None:
    sounds = Sounds(count=20)
    assert torch.equal(sounds[7], Sounds(count=20)[7])
    assert torch.equal(sounds.batch([7, 3]), torch.stack([sounds[7], sounds[3]]))
    assert not torch.equal(sounds[7], Sounds(count=20, seed=1)[7])
    assert len({tuple(sound.flatten().tolist()) for sound in sounds.batch(range(20))}) == 20


def test_sounds_use_their_range_and_each_has_a_note() -> None:
    sounds = Sounds(count=300).batch(range(300))
    assert sounds.shape == (300, 1, LENGTH)
    assert sounds.dtype == torch.float32
    assert -1 <= sounds.min() < -0.9
    assert 0.9 < sounds.max() <= 1
    assert (sounds.abs().amax(2) > 0.1).all()


@pytest.mark.parametrize(("view", "make"), [("envelope", envelope), ("spectrogram", spectrogram)])
def test_views_are_true_pairs_of_the_waveforms(view: str, make) -> None:
    sounds = Sounds(count=20)
    views = Sounds(view=view, count=20)
    assert views.source == sounds.source
    assert views.fingerprint() != sounds.fingerprint()
    made = views.counterparts(sounds, [4, 9])
    assert made is not None
    assert torch.equal(made, make(sounds.batch([4, 9])))
    assert made.shape[1:] == views.shape
    assert 0 <= made.min() < 0.1 < 0.3 < made.max() <= 1


def test_domains_of_different_views_have_no_sound_in_common() -> None:
    domains = {view: {"dataset": {"name": "sounds", "view": view, "count": 90}} for view in ("waveform", "envelope")}
    domains["half"] = {"dataset": {"name": "sounds", "view": "spectrogram", "count": 90}}
    network = {"architecture": "upsampling-1d"}
    values = {"name": "sounds", "domains": domains, "generator": network, "discriminator": network}
    opened = open_domains(values, plugins=["coupling_signals.plugin"])
    numbers = np.concatenate([data.indices for data in opened.values()])
    assert sorted(numbers) == list(range(90))


def test_held_out_sounds_are_others_of_the_same_view() -> None:
    sounds = Sounds(view="envelope", count=20)
    other = sounds.held_out()
    assert (len(other), other.source != sounds.source, other.view) == (2, True, "envelope")
    assert not any(torch.equal(other[0], sounds[index]) for index in range(20))


@pytest.mark.parametrize("loudness", [1.0, 0.5, 0.0])
def test_the_envelope_of_a_sine_is_its_loudness(loudness: float) -> None:
    found = envelope(sine(128, loudness))
    assert found.shape == (1, 1, LENGTH // 4)
    inside = found[..., 8:-8]  # windows that lie in the sound
    torch.testing.assert_close(inside, torch.full_like(inside, loudness), atol=0.01, rtol=0)


@given(st.integers(1, 15), st.floats(0.05, 1))
def test_the_spectrogram_of_a_sine_is_brightest_at_its_frequency(number: int, loudness: float) -> None:
    found = spectrogram(sine(number * RATE / 32, loudness))[0]
    assert found.shape == (16, LENGTH // 4)
    middle = found[:, 20]
    assert middle.argmax() == 16 - number  # the highest frequency is the first row
    assert (middle.max() - 1) * 50 == pytest.approx(20 * np.log10(loudness), abs=0.1)


def test_the_spectrogram_is_a_plain_fourier_transform_of_each_window() -> None:
    waveform = Sounds()[5]
    found = spectrogram(waveform[None])[0]
    padded = np.pad(waveform[0].numpy().astype(float), (14, 14))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(32) / 32)
    for frame in range(0, 64, 7):
        piece = padded[4 * frame : 4 * frame + 32] * window
        for number in range(1, 17):
            total = abs(sum(piece[n] * np.exp(-2j * np.pi * number * n / 32) for n in range(32)))
            decibels = max(-50, 20 * np.log10(max(2 * total / window.sum(), 1e-9)))
            assert (found[16 - number, frame] - 1) * 50 == pytest.approx(min(decibels, 0), abs=0.05)
