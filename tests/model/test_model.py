"""What users import: a model from a run, a checkpoint or a file."""

from __future__ import annotations

import json
import shutil

import pytest
import safetensors.torch
import torch
from PIL import Image

import coupling
from coupling.api import load_model, parse_config
from coupling.errors import CouplingError, InputError
from coupling.generation.samples import write_samples
from coupling.generation.selection import Selection
from coupling.model.sampler import CoupledSampler
from coupling.networks.latent import sample_prior
from coupling.runs import checkpoint
from coupling.system.seeds import torch_generator
from coupling.training.recorder import open_run
from coupling.training.setup import set_up
from coupling.training.trainer import Trainer, train
from tests.support import tiny_plugin as tiny


def load(path, **options):
    return load_model(path, plugins=tiny.plugins(), **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, and its trainer."""
    config = tiny.config("generator.architecture={name: linear, batch_norm: true, dropout: 0.2}")
    session = set_up(config, tiny.plugins())
    path = tmp_path_factory.mktemp("runs") / "run"
    Trainer(session, open_run(session, path, resume=False)).run()
    return path, session


@pytest.fixture
def run(trained):
    return trained[0]


def test_the_average_is_loaded_and_the_live_weights_on_request(trained):
    run, session = trained
    z = torch.rand(6, 5) * 2 - 1
    averaged, live = load(run), load(run, live=True)
    assert averaged.step == 8
    expected = session.average.networks["generator"](z)
    session.networks.generator.eval()
    expected_live = session.networks.generator(z)
    for name in "ab":
        assert torch.equal(averaged.generate(z)[name], expected[name])
        assert torch.equal(live.generate(z)[name], expected_live[name])
        assert not torch.equal(expected[name], expected_live[name])
    assert torch.equal(session.model(8).generate(z)["a"], expected["a"])


def test_loading_needs_no_data(run, monkeypatch):
    monkeypatch.setattr(tiny.Tiny, "__init__", lambda self, **options: pytest.fail("the data set was opened"))
    assert load(run).sample(1)["a"].shape == (1, 1, 4, 4)


def test_without_an_average_the_live_weights_are_loaded(tmp_path):
    train(tiny.config("training.ema=null", "training.steps=1"), tmp_path / "run", plugins=tiny.plugins())
    assert torch.equal(load(tmp_path / "run").sample(2)["a"], load(tmp_path / "run", live=True).sample(2)["a"])


def test_the_order_of_the_domains_is_kept(tmp_path):
    """It is the order of every picture, and of the code that tells a conditional generator its domain."""
    plain = tiny.values("training.steps=1", "latent.condition=domain")
    plain["domains"] = {name: plain["domains"][old] for name, old in (("z", "a"), ("y", "b"))}
    session = set_up(parse_config(plain, plugins=tiny.plugins()), tiny.plugins())
    Trainer(session, open_run(session, tmp_path / "run", resume=False)).run()
    model = load(tmp_path / "run")
    assert list(model.domains) == list(model.sample(1)) == ["z", "y"]
    codes = model.latent(2)
    for name, x in session.model(8).generate(codes).items():
        assert torch.equal(model.generate(codes)[name], x)


def test_every_form_of_a_run_is_the_same_model(run, tmp_path):
    newest = run / "checkpoints/step-0000008"
    shutil.copy(newest / "model.safetensors", tmp_path / "exported.safetensors")
    forms = [run, str(run), newest, newest / "model.safetensors", tmp_path / "exported.safetensors"]
    samples = [load(form).sample(3)["b"] for form in forms]
    assert all(torch.equal(samples[0], other) for other in samples)
    earlier = load(run / "checkpoints/step-0000004")
    assert earlier.step == 4
    assert not torch.equal(earlier.sample(3)["b"], samples[0])


def test_samples_have_the_domains_shape_and_range_and_depend_on_the_seed_alone(run):
    model = load(run)
    samples = model.sample(20, seed=3)
    assert list(samples) == ["a", "b"]
    for x in samples.values():
        assert x.shape == (20, 1, 4, 4)
        assert x.dtype == torch.float32
        assert x.abs().max() <= 1
        assert not x.requires_grad
    torch.manual_seed(5)
    assert torch.equal(load(run).sample(20, seed=3)["a"], samples["a"])
    assert not torch.equal(model.sample(20, seed=4)["a"], samples["a"])
    torch.testing.assert_close(model.sample(20, seed=3, batch_size=7)["a"], samples["a"])


@pytest.mark.parametrize("prior", ["uniform", "normal"])
@pytest.mark.parametrize("size", [5, 5000, 300_000])
def test_large_codes_are_drawn_in_parts_of_the_same_sequence(size, prior):
    config = tiny.config(f"latent.size={size}", f"latent.prior={prior}")
    sampler = CoupledSampler(config, {}, generator=None)
    expected = sample_prior(config.latent, 48, torch_generator(3, "sample"))
    assert torch.equal(sampler.latent(20, seed=3), expected[:20])
    assert torch.equal(sampler.latent(3, seed=3, start=17), expected[17:20])
    assert torch.equal(next(sampler.codes(3, block=32)), expected[:32])


def test_generate_takes_chosen_domains_and_any_float(run):
    model = load(run)
    z = model.latent(4)
    assert list(model.generate(z, ["b"])) == ["b"]
    assert list(model.generate(z, ["b", "a"])) == ["b", "a"]
    assert torch.equal(model.generate(z.double())["a"], model.generate(z)["a"])
    assert model.generate(z[:0])["a"].shape == (0, 1, 4, 4)
    with pytest.raises(InputError, match=r"z has shape \(4, 4\); this model takes \(B, 5\)"):
        model.generate(z[:, :4])
    with pytest.raises(InputError, match="the model has no domain 'c'; known: a, b"):
        model.generate(z, ["a", "c"])


def test_drawing_from_a_model_in_training_leaves_it_in_training(trained):
    model = trained[1].model(8)
    model.generator.train()
    before = {name: t.clone() for name, t in model.generator.state_dict().items()}
    model.sample(3)
    assert model.generator.training
    assert all(torch.equal(before[name], t) for name, t in model.generator.state_dict().items())
    model.generator.eval()


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_loaded(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/checkpoints/step-0000008/model.safetensors").write_bytes(b"torn")
    assert load(tmp_path / "run").step == 4
    assert "step-0000008" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"step-0000008: model\.safetensors has 4 bytes"):
        load(tmp_path / "run/checkpoints/step-0000008")
    shutil.rmtree(tmp_path / "run/checkpoints/step-0000004")
    with pytest.raises(InputError, match=r"no intact checkpoint: .*step-0000008"):
        load(tmp_path / "run")


def test_paths_without_a_model_are_rejected(run, tmp_path):
    with pytest.raises(InputError, match=r"run1: no such run; did you mean '.*run'"):
        load(run.with_name("run1"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path / "empty", tmp_path / "notes.txt"):
        with pytest.raises(InputError, match="neither a run directory, nor a checkpoint"):
            load(path)
    safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not a model that coupling wrote"):
        load(tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load(tmp_path / "text.safetensors")


@pytest.mark.parametrize("content", ["[]", "{}", '{"config": {}, "domains": {}, "step": 1}', '{"domains": 3}'])
def test_metadata_of_another_kind_are_rejected(tmp_path, content):
    path = tmp_path / "strange.safetensors"
    safetensors.torch.save_file({"w": torch.ones(1)}, path, {"coupling": content})
    with pytest.raises(InputError, match=r"strange\.safetensors"):
        load(path)


def altered(run, path, tensors=None, **metadata):
    """A model file like the run's, with other tensors or metadata."""
    whole, _ = checkpoint.newest(run / "checkpoints")
    described = whole.metadata() | metadata
    safetensors.torch.save_file(tensors or whole.model(), path, {"coupling": json.dumps(described)})
    return path


def test_tensors_that_do_not_fit_the_configuration_are_named(run, tmp_path):
    tensors = checkpoint.newest(run / "checkpoints")[0].model()
    name = "ema.layers.layer2[a,b].0.weight"
    wide = altered(run, tmp_path / "wide.safetensors", {**tensors, name: torch.ones(6, 7)})
    with pytest.raises(InputError) as error:
        load(wide)
    assert f"'{name}' has shape (6, 7) in the file, (6, 6) in the network" in str(error.value)
    del tensors[name]
    with pytest.raises(InputError, match=r"weight' is in the network alone"):
        load(altered(run, tmp_path / "less.safetensors", tensors))


def test_a_model_of_a_plugin_that_is_not_there_says_so(run):
    from coupling.plugins import Plugins

    with pytest.raises(CouplingError, match="no architecture is called 'linear'"):
        load_model(run, plugins=Plugins(entry_points=False))


def test_the_public_name_is_this_one():
    assert coupling.load_model is load_model


def test_samples_are_written_as_corresponding_files(run, tmp_path):
    model = load(run)
    folder = write_samples(Selection(model, seed=1), tmp_path / "sampled", 3)
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.png"))
    assert files == [*(f"{d}/{n:06d}.png" for d in "ab" for n in range(3)), "grid.png"]
    samples = model.sample(3, seed=1)
    for d in "ab":
        pixels = torch.tensor(list(Image.open(folder / d / "000002.png").convert("L").tobytes()))
        expected = ((samples[d][2] + 1) * 127.5).round().flatten().long()
        assert (pixels - expected).abs().max() <= 1


def test_a_negative_seed_is_rejected(run):
    model = load(run)
    for draw in (model.sample, model.latent, model.traverse):
        with pytest.raises(InputError, match="seed is -1"):
            draw(2, seed=-1)
    with pytest.raises(InputError, match="seed is -1"):
        next(model.codes(-1))
