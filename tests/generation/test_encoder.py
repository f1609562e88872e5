"""Encoders, which guess codes."""

from __future__ import annotations

import pytest

from coupling.generation.encoder import load_or_train_encoder, train_encoder
from coupling.networks.latent import NormalPrior
from tests.support import tiny_plugin as tiny
from tests.support.invertible_models import load, three_domains, trained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def model(run):
    return load(run)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return three_domains(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def encoder(model):
    return train_encoder(model, "a", tiny.plugins(), steps=300)


def test_an_encoder_guesses_codes_that_draw_nearly_the_sample(model, encoder):
    z = model.latent(200, seed=5)
    drawn = model.generate(z, ["a"])["a"]
    guessed = encoder(drawn)
    assert guessed.shape == (200, 5)
    assert guessed.abs().max() <= 1
    apart = (model.generate(guessed, ["a"])["a"] - drawn).square().mean()
    assert apart < 0.5 * drawn.var(0).mean()  # two layers of six units, inverted by as small ones


def test_an_encoder_is_a_function_of_the_model_and_its_seed(model, three):
    before = model.digest
    one, same, other = (train_encoder(model, "a", tiny.plugins(), steps=2, seed=seed) for seed in (0, 0, 1))
    assert one.digest == same.digest != other.digest
    assert model.digest == before
    assert all(p.grad is None for p in model.generator.parameters())
    codes = train_encoder(three, "c", tiny.plugins(), steps=2)(three.sample(4)["c"])
    assert NormalPrior(5).least * 0.999 <= codes.norm(dim=1).min()  # a normal prior's support


def test_an_encoder_is_saved_for_its_model_only(model, three, encoder, tmp_path, monkeypatch, capsys):
    path = tmp_path / "folder" / "encoder.safetensors"
    encoder.save(path)
    monkeypatch.setattr("coupling.generation.encoder.STEPS", 2)
    monkeypatch.setattr("coupling.generation.encoder.train_encoder", lambda *_: pytest.fail("learned again"))
    assert load_or_train_encoder(model, "a", tiny.plugins(), path).digest == encoder.digest
    for other, domain in ((three, "a"), (model, "b")):
        with pytest.raises(pytest.fail.Exception, match="learned again"):
            load_or_train_encoder(other, domain, tiny.plugins(), path)
        assert "is not an encoder of this model and domain; it is trained again" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(pytest.fail.Exception, match="learned again"):
        load_or_train_encoder(model, "a", tiny.plugins(), path)
