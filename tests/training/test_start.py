"""Training that starts from a trained model: exact on resume without the parent, frozen layers stay as they are."""

from __future__ import annotations

import shutil

import pytest
import torch

from coupling.api import load_model
from coupling.errors import InputError
from coupling.training.setup import set_up
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny
from tests.training.test_resume import assert_same, crash

NORM = (
    "generator.architecture={name: linear, batch_norm: true, dropout: 0.2}",
    "discriminator.architecture={name: linear, batch_norm: true}",
)
C = "domains.c.dataset={name: tiny, count: 13, pool: other}"
FROZEN = "training.freeze={generator: [{domains: [a, b]}], discriminator: [{first: 1}]}"


@pytest.fixture
def parent(tmp_path):
    return train(tiny.config("training.steps=3", *NORM), tmp_path / "parent", plugins=tiny.plugins()).path


def child(parent, *overrides):
    intervals = ("training.log_every=1", "training.checkpoint_every=4", "training.sample_every=4")
    return tiny.config(*NORM, C, "training.steps=12", *intervals, f"training.start_from={parent}", *overrides)


@pytest.mark.parametrize("at", [2, 6])
def test_a_resumed_run_needs_no_parent(tmp_path, parent, at):
    config = child(parent)
    train(config, tmp_path / "whole", plugins=tiny.plugins())
    with pytest.raises(KeyError):
        train(config, tmp_path / "parts", plugins=tiny.AfterStep(at, crash).plugins())
    shutil.rmtree(parent)
    train(config, tmp_path / "parts", resume=True, plugins=tiny.plugins())
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert (tmp_path / "parts/parent.json").read_text() == (tmp_path / "whole/parent.json").read_text()


def test_a_run_that_ended_before_its_first_checkpoint_cannot_be_resumed(tmp_path, parent):
    config = child(parent)
    with pytest.raises(KeyError):
        train(config, tmp_path / "parts", plugins=tiny.AfterStep(2, crash).plugins())
    shutil.rmtree(tmp_path / "parts/checkpoints")
    with pytest.raises(InputError, match=r"ended before its first checkpoint, so that .* start a new run without"):
        train(config, tmp_path / "parts", resume=True, plugins=tiny.plugins())


def test_frozen_domains_draw_the_same_while_a_new_one_learns(tmp_path, parent):
    before = load_model(parent, plugins=tiny.plugins()).sample(5, seed=1)
    start = set_up(child(parent, FROZEN), tiny.plugins()).model(0).sample(5, seed=1)
    run = train(child(parent, FROZEN), tmp_path / "child", plugins=tiny.plugins())
    after = load_model(run.path, plugins=tiny.plugins()).sample(5, seed=1)
    for name in ("a", "b"):
        assert torch.equal(before[name], after[name])
    assert not torch.equal(start["c"], after["c"])


def test_frozen_layers_are_in_no_buffer_and_keep_all_their_tensors(parent):
    session = set_up(child(parent, FROZEN), tiny.plugins())
    trained = {id(p) for team in (session.algorithm.generators, session.algorithm.discriminators)
               for p in team.gradients.parameters}  # fmt: skip
    kept = {}
    for network, keys in (
        (session.networks.generator, ["layer1[a,b,c]", "layer2[a,b,c]", "layer3[a]", "layer3[b]"]),
        (session.networks.discriminator, ["layer1[a]", "layer1[b]", "layer1[c]"]),
    ):
        for key, layer in network.layers.items():
            assert all((id(p) in trained) is (key not in keys) for p in layer.parameters()), key
            if key in keys:
                kept |= {(network, key, name): x.clone() for name, x in layer.state_dict().items()}
    for step in range(3):
        session.inputs.take_step(step, session.algorithm, session.average)
    for (network, key, name), x in kept.items():
        assert torch.equal(network.layers[key].state_dict()[name], x), (key, name)


def test_the_average_starts_where_the_networks_start(parent):
    session = set_up(child(parent), tiny.plugins())
    live = session.networks.generator.state_dict()
    for name, x in session.average.networks["generator"].state_dict().items():
        assert torch.equal(x, live[name])


def test_check_prints_what_is_taken(parent, command, tmp_path):
    from tests.conftest import TINY

    (tmp_path / "child.yaml").write_text(child(parent).yaml())
    done = command("check", "child.yaml", "--plugin", TINY)
    assert done.exit_code == 0, done.output
    assert f"start from {parent} (step 3" in done.output
    assert "domains: c from a" in done.output
