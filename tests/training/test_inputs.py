"""Training, the conformance tests and the count of a step's cost take the same steps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from coupling.data.domain_data import open_domains
from coupling.testing.small_run import STEPS, trained
from coupling.training.algorithm import Algorithm1
from coupling.training.cost import step_cost
from coupling.training.ema import MovingAverage
from coupling.training.setup import set_up
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny

OVERRIDES = (
    f"training.steps={STEPS}", "training.fresh_latent=true", "training.ema=0.9",
    "losses=[non-saturating, {name: classification, domains: [a], classes: 2}]",
)  # fmt: skip


class Recorded:
    """The arguments of each call of Algorithm1.step, the state of the random source in it, and the updates."""

    def __init__(self, monkeypatch):
        self.steps = []
        self.updates = []
        step, update = Algorithm1.step, MovingAverage.update

        def recorded_step(algorithm, number, z, real, fresh_z=None, labels=None):
            noise = algorithm.uniform(number, "test", 3).clone()
            self.steps.append((number, torch.initial_seed(), z, fresh_z, dict(real), dict(labels or {}), noise))
            return step(algorithm, number, z, real, fresh_z, labels)

        def recorded_update(average, number):
            self.updates.append(number)
            return update(average, number)

        monkeypatch.setattr(Algorithm1, "step", recorded_step)
        monkeypatch.setattr(MovingAverage, "update", recorded_update)

    def take(self):
        """What was recorded since the last call."""
        taken = self.steps, self.updates
        self.steps, self.updates = [], []
        return taken


@pytest.fixture
def recorded(monkeypatch):
    return Recorded(monkeypatch)


def data_of(config):
    return open_domains(config, tiny.plugins().registry)


def assert_equal(one, other):
    """Equal nested values; tensors bit for bit."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, (list, tuple)):
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    elif isinstance(one, dict):
        assert_equal(list(one.items()), list(other.items()))
    else:
        assert one == other


def test_the_conformance_tests_take_the_steps_of_training(recorded, tmp_path):
    config = tiny.config(*OVERRIDES)
    train(config, tmp_path / "run", plugins=tiny.plugins())
    training = recorded.take()
    trained(config, SimpleNamespace(plugins=tiny.plugins()), data_of(config))
    assert_equal(recorded.take(), training)


def test_the_cost_is_counted_on_a_step_of_training(recorded, tmp_path):
    config = tiny.config(*OVERRIDES, "training.batch_size=2")  # the size that the count uses
    train(config, tmp_path / "run", plugins=tiny.plugins())
    steps, updates = recorded.take()
    step_cost(config, {name: d.domain for name, d in data_of(config).items()}, tiny.plugins().registry)
    (counted,), counted_updates = recorded.take()
    number, seed, z, fresh_z, real, labels, noise = counted
    assert_equal((number, seed, z, fresh_z, noise), (*steps[1][:4], steps[1][6]))
    assert counted_updates == [updates[1]]
    assert {name: x.shape for name, x in real.items()} == {name: x.shape for name, x in steps[1][4].items()}
    assert {name: (x.shape, x.dtype) for name, x in labels.items()} == {
        name: (x.shape, x.dtype) for name, x in steps[1][5].items()
    }


def test_a_step_is_fed_the_samples_and_their_labels(recorded):
    session = set_up(tiny.config(*OVERRIDES), tiny.plugins())
    session.inputs.take_step(1, session.algorithm, session.average)
    (_, _, z, fresh_z, real, labels, _), *_ = recorded.take()[0]
    numbers = {name: batches.numbers(1) for name, batches in session.inputs.samples.items()}
    assert list(real) == ["a", "b"]
    for name, samples in real.items():
        assert torch.equal(samples, session.data[name].read(numbers[name]))
    assert list(labels) == ["a"]
    assert torch.equal(labels["a"], torch.as_tensor(session.data["a"].labels(np.asarray(numbers["a"]))))
    assert z.shape == fresh_z.shape == (4, session.config.latent.size)
    assert not torch.equal(z, fresh_z)


def test_without_fresh_latent_codes_a_step_draws_z_alone(recorded):
    session = set_up(tiny.config(), tiny.plugins())
    session.inputs.take_step(0, session.algorithm)
    (_, _, _, fresh_z, _, labels, _), *_ = recorded.take()[0]
    assert fresh_z is None
    assert labels == {}


def test_a_step_without_an_average_updates_none(recorded):
    session = set_up(tiny.config(*OVERRIDES), tiny.plugins())
    session.inputs.take_step(0, session.algorithm)
    assert recorded.take()[1] == []
