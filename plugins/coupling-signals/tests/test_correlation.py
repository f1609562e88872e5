"""The correlation of generated pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from coupling import ConfigError, DomainData, Evaluation
from coupling.testing import open_domains
from coupling_signals.correlation import ViewCorrelation, _correlations
from coupling_signals.sounds import Sounds


def data(**domains: Any) -> dict[str, DomainData]:
    """Domains of sounds with these options."""
    network = {"architecture": "mlp"}
    values = {
        "name": "sounds",
        "domains": {name: {"dataset": {"name": "sounds", "count": 600} | options} for name, options in domains.items()},
        "generator": network,
        "discriminator": network,
    }
    return open_domains(values, plugins=["coupling_signals.plugin"])


class Model:
    """A model whose pairs are true pairs, of the sounds that its codes number; or no pairs."""

    def __init__(self, views: Sounds, *, paired: bool) -> None:
        self.views, self.paired = views, paired

    def latent(self, count: int, seed: int) -> Tensor:
        return torch.arange(count)

    def generate(self, z: Tensor, domains: tuple[str, str]) -> dict[str, Tensor]:
        waveforms = Sounds(count=600).batch(z.tolist())
        return {domains[0]: waveforms, domains[1]: self.views.of(waveforms if self.paired else waveforms.flip(0))}


@given(st.integers(0, 1000), st.floats(0.1, 5), st.floats(-1, 1))
def test_correlations_are_numpys_and_know_no_scale(seed: int, scale: float, shift: float) -> None:
    random = np.random.default_rng(seed)
    one, other = random.normal(size=(2, 3, 2, 5))
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(one, other, strict=True)]
    found = _correlations(torch.from_numpy(one), torch.from_numpy(other * scale + shift))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_constant_samples_correlate_with_none() -> None:
    assert _correlations(torch.ones(2, 5), torch.rand(2, 5)).tolist() == [0, 0]


@pytest.mark.parametrize("view", ["envelope", "spectrogram"])
def test_true_pairs_have_the_ceiling_and_unrelated_ones_the_floor(view: str) -> None:
    domains = data(waveform={}, other={"view": view})
    metric = ViewCorrelation(from_="waveform", to="other", count=300)
    metric.check(domains)
    paired, unrelated = (
        metric.measure(Evaluation(Model(domains["other"].dataset, paired=paired), domains, seed=0))  # type: ignore[arg-type]
        for paired in (True, False)
    )
    assert paired.value == pytest.approx(paired.ceilings["true-pairs"], abs=1e-6)
    assert paired.floors == unrelated.floors
    assert unrelated.value == pytest.approx(unrelated.floors["unrelated"], abs=0.12)
    assert unrelated.value < 0.6


def test_wrong_domains_are_errors() -> None:
    domains = data(waveform={}, envelope={"view": "envelope"}, changed={"transform": "negative"})
    for from_, to, message in (
        ("wave", "envelope", "from: no domain is called 'wave'; did you mean 'waveform'"),
        ("waveform", "envelop", "to: no domain is called 'envelop'; did you mean 'envelope'"),
        ("envelope", "envelope", "from: 'envelope' holds a view of sounds"),
        ("waveform", "changed", "to: 'changed' does not hold samples of the data set sounds as they are"),
    ):
        with pytest.raises(ConfigError, match=message):
            ViewCorrelation(from_=from_, to=to).check(domains)
