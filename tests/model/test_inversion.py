"""From images to codes and into other domains: the search, the prior's support, what is covered, and the command."""

from __future__ import annotations

import copy
import csv
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import coupling
from coupling.api import load_model
from coupling.config.config import LatentConfig
from coupling.data.pictures import to_pixels
from coupling.errors import InputError
from coupling.generation.coverage import load_or_measure_coverage, measure_coverage
from coupling.generation.encoder import Encoder, load_or_train_encoder, train_encoder
from coupling.generation.transformation import results_folder
from coupling.model.inversion import Search, invert
from coupling.model.model import CoupledModel
from coupling.networks.latent import NormalPrior, prior_of
from coupling.training.trainer import train
from tests.conftest import TINY, refused
from tests.support import tiny_plugin as tiny


def trained(tmp_path_factory, *changes):
    path = tmp_path_factory.mktemp("runs") / "run"
    return train(tiny.config("generator.architecture.width=12", *changes), path, plugins=tiny.plugins()).path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three domains, and a normal prior."""
    values = ["training.steps=2", "latent.prior=normal"]
    return load(trained(tmp_path_factory, *values, "domains.c.dataset={name: tiny, count: 33}"))


@pytest.fixture(scope="module")
def model(run):
    return load(run)


def load(path):
    return load_model(path, plugins=tiny.plugins())


# -- the support -----------------------------------------------------------------------------------


@pytest.mark.parametrize("latent", [LatentConfig(prior="uniform", size=7), LatentConfig(prior="normal", size=7)])
def test_codes_never_leave_the_support_and_come_back_as_they_were(latent):
    support = prior_of(latent)
    source = torch.Generator().manual_seed(1)
    for size in (0.0, 1e-3, 1.0, 100.0):
        z = support.inward(torch.randn(50, 7, generator=source) * size)
        assert z.isfinite().all()
        if latent.prior == "uniform":
            assert z.abs().max() <= 1
        elif size:
            assert support.least * 0.999 <= z.norm(dim=1).min()
            assert z.norm(dim=1).max() <= support.most * 1.001
    z = torch.rand(50, 7, generator=source) * 1.9 - 0.95
    if latent.prior == "normal":
        z = z / z.norm(dim=1, keepdim=True) * math.sqrt(7)
    torch.testing.assert_close(support.inward(support.outward(z)), z)
    u = support.outward(torch.ones(1, 7)).requires_grad_()
    assert torch.autograd.grad(support.inward(u).sum(), u)[0].isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 10, 100])
def test_the_shell_holds_nearly_all_of_the_prior(size):
    shell = NormalPrior(size)
    norms = torch.randn(40_000, size, generator=torch.Generator().manual_seed(size)).norm(dim=1)
    assert 0 < (norms > shell.most).float().mean() < 0.003
    assert (norms < shell.least).float().mean() < 0.003


# -- the search ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model", "three"])
def test_what_the_model_drew_is_found_again(name, request):
    model = request.getfixturevalue(name)
    z = model.latent(30, seed=9)
    drawn = model.generate(z)
    found = model.transform(drawn["a"], "a", "b")
    assert found.error.shape == (30,)
    assert found.error.max() < 3e-3  # less than 8 bits tell apart
    torch.testing.assert_close(found.reconstruction, drawn["a"], atol=0.01, rtol=0)
    assert (found.images["b"] - drawn["b"]).abs().mean() < 0.02  # a code for each picture, here
    assert list(found.images) == ["b"]


def test_codes_images_and_errors_belong_together(model):
    images = tiny.Tiny(count=5, pool="other").samples
    found = model.transform(images, "b", "a", Search(iterations=5))
    assert found.z.shape == (5, 5)
    assert found.z.abs().max() <= 1
    again = model.generate(found.z)
    torch.testing.assert_close(again["b"], found.reconstruction)
    torch.testing.assert_close(again["a"], found.images["a"])
    expected = [((x - y) / 2).square().mean().sqrt() for x, y in zip(images, found.reconstruction, strict=True)]
    torch.testing.assert_close(found.error, torch.stack(expected))


def test_the_best_restart_is_kept(model):
    """As if each were searched for alone, from one of the nearest samples."""
    images = tiny.Tiny(count=4, pool="other").samples
    together = invert(model, images, "a", Search(restarts=3, trial=10, iterations=10))
    codes = model.latent(1024)
    drawn = model.generate(codes)["a"]
    for image, error in zip(images, together.error, strict=True):
        near = (drawn - image).flatten(1).square().sum(1).argsort()[:3]
        assert error <= min(_searched_alone(model, image, codes[start]) for start in near) * 1.05 + 1e-4


def _searched_alone(model, image, code):
    u = code.clamp(-0.999, 0.999).atanh()[None].double().requires_grad_()
    generator = copy.deepcopy(model.generator).double()
    optimizer = torch.optim.LBFGS([u], max_iter=10, line_search_fn="strong_wolfe", history_size=10)

    def closure():
        optimizer.zero_grad()
        loss = ((generator(u.tanh(), ["a"])["a"] - image) / 2).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return closure().item() ** 0.5


def test_more_work_finds_more(model):
    images = tiny.Tiny(count=12, pool="other").samples
    errors = [
        invert(model, images, "a", search).error.mean()
        for search in (Search(1, candidates=1, iterations=0), Search(1, iterations=0), Search(1), Search(8))
    ]
    assert errors[0] > errors[1] > errors[2] >= errors[3] - 1e-4


def test_a_sample_does_not_depend_on_those_beside_it_and_the_seed_says_all(model):
    images = tiny.Tiny(count=9, pool="other").samples
    search = Search(iterations=20)
    whole = model.transform(images, "a", "b", search)
    assert torch.equal(whole.z, model.transform(images, "a", "b", search).z)
    small = model.transform(images, "a", "b", search, batch_size=8)
    torch.testing.assert_close(small.error, whole.error, atol=1e-3, rtol=0)
    alone = model.transform(images[3:4], "a", "b", search)
    torch.testing.assert_close(alone.error, whole.error[3:4], atol=1e-3, rtol=0)
    other = model.transform(images, "a", "b", Search(iterations=20, seed=1))
    assert not torch.equal(other.z, whole.z)


def test_features_count_where_they_are_asked_for(model):
    images = tiny.Tiny(count=6, pool="other").samples
    plain = invert(model, images, "a", Search())
    features = invert(model, images, "a", Search(feature_weight=10.0, feature_layer=1))

    def distance(found):
        taps = [model.discriminator({"a": x}, taps=[1]).features["a", 1] for x in (found.reconstruction, images)]
        return (taps[0] - taps[1]).square().sum(1).mean()

    assert distance(features) < distance(plain)
    assert features.error.mean() > plain.error.mean()  # the price of it


def test_any_domain_into_any_others(three):
    images = tiny.Tiny(count=3, pool="other").samples
    assert list(three.transform(images, "b").images) == ["a", "c"]
    assert list(three.transform(images, "b", ["c"]).images) == ["c"]
    found = three.transform(images, "c", ["b", "a"])
    assert list(found.images) == ["b", "a"]
    assert found.z.norm(dim=1).max() <= NormalPrior(5).most * 1.001


def test_no_images_give_nothing_and_the_model_stays_as_it_was(model):
    model.generator.train()
    empty = model.transform(torch.zeros(0, 1, 4, 4), "a")
    assert empty.images["b"].shape == (0, 1, 4, 4)
    assert empty.error.shape == (0,)
    assert model.generator.training
    model.generator.eval()


def test_progress_is_told(model):
    done = []
    model.transform(torch.zeros(5, 1, 4, 4), "a", search=Search(restarts=2, iterations=1), batch_size=4,
                    advance=done.append)  # fmt: skip
    assert done == [2, 2, 1]


@pytest.mark.parametrize(
    ("images", "arguments", "message"),
    [
        (torch.zeros(1, 4, 4), ("a",), r"images have shape \(1, 4, 4\); domain 'a' takes \(B, \(1, 4, 4\)\)"),
        (torch.zeros(2, 1, 4, 5), ("a",), "images have shape"),
        (torch.full((2, 1, 4, 4), 255.0), ("a",), r"images lie in \[255, 255\]; those of domain 'a' lie in \[-1, 1\]"),
        (torch.full((2, 1, 4, 4), torch.nan), ("a",), r"images lie in \[nan, nan\]"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), ("a",), r"images are torch.uint8; domain 'a' takes floats in"),
        (torch.zeros(2, 1, 4, 4), ("d",), "the model has no domain 'd'; known: a, b"),
        (torch.zeros(2, 1, 4, 4), ("a", "d"), "the model has no domain 'd'"),
        (torch.zeros(2, 1, 4, 4), ("a", ["b", "a"]), "'a' is the domain that the images come from"),
        (torch.zeros(2, 1, 4, 4), ("a", "b", Search(restarts=0)), "restarts is 0; it is 1 or more"),
        (torch.zeros(2, 1, 4, 4), ("a", "b", Search(restarts=9, candidates=8)), "candidates is 8; it is 9 or more"),
        (torch.zeros(2, 1, 4, 4), ("a", "b", Search(feature_weight=-1)), "feature_weight is -1"),
        (torch.zeros(2, 1, 4, 4), ("a", "b", Search(feature_weight=math.nan)), "feature_weight is nan"),
        (
            torch.zeros(2, 1, 4, 4),
            ("a", "b", Search(feature_weight=1, feature_layer=4)),
            "feature_layer is 4; the discriminator of domain 'a' has layers 1 to 3",
        ),
    ],
)
def test_what_cannot_be_is_said(model, images, arguments, message):
    with pytest.raises(InputError, match=message):
        model.transform(images, *arguments)


def test_the_public_names():
    assert coupling.Search is Search


# -- what is covered -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch):
    monkeypatch.setattr("coupling.data.held_out.LEAST", 10)


def test_coverage_is_measured_on_held_out_samples_and_kept(model, run, monkeypatch, tmp_path, capsys):
    search = Search(restarts=1, iterations=10)
    measured = measure_coverage(model, "a", search, tiny.plugins())
    assert (measured.count, measured.held_out) == (10, True)
    samples = tiny.Tiny(count=10, pool="pool+test").samples
    errors = invert(model, samples, "a", search).error
    assert measured.threshold == pytest.approx(float(errors.quantile(0.95)), rel=0.02)
    assert measured.median == pytest.approx(float(errors.median()), rel=0.02)
    assert "95% of 10 held-out samples of 'a' have an error of at most" in str(measured)

    folder = tmp_path / "run"
    folder.mkdir()
    first = load_or_measure_coverage(model, "a", search, tiny.plugins(), folder)
    assert first == measured
    monkeypatch.setattr("coupling.generation.coverage.open_domains", lambda *_: pytest.fail("measured again"))
    assert load_or_measure_coverage(load(run), "a", search, tiny.plugins(), folder) == measured
    for other in (Search(restarts=2, iterations=10), Search(restarts=1, iterations=10, feature_weight=1)):
        with pytest.raises(pytest.fail.Exception, match="measured again"):
            load_or_measure_coverage(model, "a", other, tiny.plugins(), folder)
    (folder / "coverage.json").write_text('{"torn')
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        load_or_measure_coverage(model, "a", search, tiny.plugins(), folder)


def test_without_held_out_samples_those_of_the_training_are_taken(model, monkeypatch):
    monkeypatch.setattr(tiny.Tiny, "held_out", lambda self: None)
    measured = measure_coverage(model, "a", Search(restarts=1, iterations=1), tiny.plugins(), count=7)
    assert (measured.count, measured.held_out) == (7, False)
    assert "7 training samples" in str(measured)


def test_without_data_no_flag_can_be_given_and_it_is_said(model, monkeypatch, capsys, tmp_path):
    def gone(self):
        raise coupling.errors.DataError("pictures: no such folder")

    monkeypatch.setattr(tiny.Tiny, "held_out", gone)
    assert load_or_measure_coverage(model, "a", Search(), tiny.plugins(), tmp_path) is None
    assert "no image can be flagged, as no real samples of 'a' can be had" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path, model):
    """A folder: three images that the model drew, one that it could not, one of another size, and a text."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    drawn = model.sample(3, seed=4)["a"]
    for number, pixels in enumerate(to_pixels(drawn, model.domains["a"])):
        Image.fromarray(pixels).save(folder / f"drawn{number}.png")
    Image.fromarray((np.indices((4, 4)).sum(0) % 2 * 255).astype(np.uint8)).save(folder / "checkers.png")
    Image.fromarray(to_pixels(drawn, model.domains["a"])[0]).resize((8, 8), 0).save(folder / "large.bmp")
    (folder / "notes.txt").write_text("x")
    return folder


@pytest.fixture
def copied(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def transform(command, *arguments):
    return command("transform", *arguments, "--plugin", TINY)


def test_transform(command, copied, pictures, model):
    result = transform(command, copied, pictures, "--from", "a", "--to", "b")
    assert result.exit_code == 0, result.output
    assert "pictures: 1 hidden or other files (" in result.stderr
    assert "95% of 10 held-out samples of 'a'" in result.stderr
    *rows, last = result.stdout.splitlines()
    assert last == f"{copied}/transformed"
    assert rows[0].split() == ["image", "error", "covered", "changes"]
    table = {Path(row.split()[0]).name: row.split()[1:] for row in rows[1:]}
    assert list(table) == ["checkers.png", "drawn0.png", "drawn1.png", "drawn2.png", "large.bmp"]
    assert all(table[f"drawn{n}.png"][1] == "yes" for n in range(3))
    assert table["checkers.png"][1] == "no"
    assert table["large.bmp"][2:] == ["resized", "from", "8×8"]
    assert "1 of 5 images are not covered" in result.stderr
    folder = copied / "transformed"
    names = ["checkers", "drawn0", "drawn1", "drawn2", "large"]
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.*")) == sorted(
        ["errors.csv", "grid.png", *(f"{d}/{name}.png" for d in "ab" for name in names)]
    )
    with (folder / "errors.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["covered"] for line in lines] == ["no", "yes", "yes", "yes", "yes"]
    drawn = model.sample(3, seed=4)
    for domain in "ab":
        for number in range(3):
            written = np.asarray(Image.open(folder / domain / f"drawn{number}.png"), int)
            expected = to_pixels(drawn[domain], model.domains[domain])[number].astype(int)
            assert np.abs(written - expected).mean() < 6, (domain, number)
    with Image.open(folder / "grid.png") as grid:
        assert grid.height > 3 * 64  # given, drawn, the other domain
    kept = json.loads((copied / "coverage.json").read_text())
    assert len(kept) == 1
    again = transform(command, copied, pictures, "--from", "a", "--output", "again")
    assert again.stdout.splitlines()[:-1] == rows  # --to: all others
    assert "inverting 10 samples" not in again.stderr


def test_a_threshold_of_ones_own_or_none(command, copied, pictures):
    quick = ["--iterations", 3, "--restarts", 1]
    told = transform(command, copied, pictures, "--from", "a", "--threshold", 0.9, *quick)
    assert " no " not in told.stdout
    assert "held-out" not in told.stderr
    silent = transform(command, copied, pictures, "--from", "a", "--no-flag", *quick)
    assert silent.stdout.splitlines()[0].split() == ["image", "error", "changes"]
    assert "covered" in told.stdout
    assert "unknown" not in silent.stdout
    assert not (copied / "coverage.json").exists()


def test_a_name_that_is_no_text_and_a_domain_named_twice(command, copied, pictures, tmp_path):
    strange = tmp_path / "strange"
    strange.mkdir()
    try:
        shutil.copy(os.fsencode(pictures / "drawn0.png"), os.fsencode(strange) + b"/\xff.png")
    except OSError:
        pytest.skip("a file system on which all names are text")
    quick = ["--iterations", 1, "--restarts", 1, "--no-flag"]
    result = transform(command, copied, strange, "--from", "a", "--to", "b", "--to", "b", *quick)
    assert result.exit_code == 0, result.output
    assert "left out" not in result.stderr
    assert "udcff.png" in (copied / "transformed/errors.csv").read_text()


def test_a_checkpoints_results_lie_beside_it(command, copied, pictures):
    result = transform(command, copied / "checkpoints/step-0000004", pictures / "drawn0.png", "--from", "a",
                       "--iterations", 1)  # fmt: skip
    assert result.stdout.splitlines()[-1] == f"{copied}/transformed-step-0000004"
    assert (copied / "coverage.json").is_file()
    exported = copied.parent / "exported.safetensors"
    shutil.copy(copied / "checkpoints/step-0000004/model.safetensors", exported)
    result = transform(command, exported, pictures / "drawn0.png", "--from", "a", "--iterations", 1)
    assert result.exit_code == 0, result.output
    assert not (copied.parent / "coverage.json").exists()  # a model without a run


def test_results_of_several_calls_are_not_mixed_up(command, copied, pictures):
    def names(*arguments):
        result = transform(command, copied, *arguments, "--from", "a", "--iterations", 1, "--no-flag")
        folder = Path(result.stdout.splitlines()[-1])
        with (folder / "errors.csv").open() as file:
            listed = [line["name"] for line in csv.DictReader(file)]
        assert sorted(p.stem for p in (folder / "b").iterdir()) == listed
        return folder.name, listed

    assert names(pictures / "drawn0.png", pictures / "drawn1.png") == ("transformed", ["drawn0", "drawn1"])
    assert names(pictures / "drawn2.png") == ("transformed-2", ["drawn2"])
    assert names(pictures / "drawn1.png", "--output", "mine") == ("mine", ["drawn1"])
    assert names(pictures / "drawn1.png") == ("transformed-3", ["drawn1"])
    again = transform(command, copied, pictures / "drawn0.png", "--from", "a", "--output", "mine")
    refused(again, "mine: holds what an earlier call has made (errors.csv); give another --output")


def test_two_calls_at_a_time_have_a_folder_each(copied):
    assert [results_folder(copied, None).name for _ in range(3)] == ["transformed", "transformed-2", "transformed-3"]


def test_bad_input(command, copied, pictures):
    def refuse(*arguments, fragment):
        refused(transform(command, copied, *arguments), fragment)

    refuse(pictures, fragment="Missing option '--from'")
    refuse("--from", "a", fragment="Missing argument 'IMAGE...'")
    refuse(pictures, "--from", "aa", fragment="the model has no domain 'aa'; did you mean 'a'?")
    refuse(pictures, "--from", "a", "--to", "c", fragment="the model has no domain 'c'")
    refuse(pictures, "--from", "a", "--to", "a", fragment="--to a: is the domain that the images come from")
    refuse(pictures, "--from", "a", "--restarts", 0, fragment="0 is not in the range")
    refuse(pictures, "--from", "a", "--threshold", "nan", fragment="'nan' is not a number")
    refuse(pictures, "--from", "a", "--feature-weight", -1, fragment="-1.0 is not in the range")
    refuse(pictures, "--from", "a", "--feature-weight", 1, "--feature-layer", 7, fragment="feature_layer is 7")
    refuse(pictures / "notes.txt", "--from", "a", fragment="notes.txt: not an image, damaged")
    refuse(pictures / "drawn9.png", "--from", "a", fragment="drawn9.png: no such image or folder; did you mean")
    assert not (copied / "transformed").exists()
    Path("file").write_text("x")
    quick = ["--iterations", 1, "--no-flag"]
    refuse(pictures, "--from", "a", *quick, "--output", "file", fragment="file: cannot be written")


def test_a_model_of_one_domain_has_nowhere_to_go(tmp_path, command, pictures):
    values = tiny.values("training.steps=1")
    del values["domains"]["b"]
    config = coupling.api.parse_config(values, plugins=tiny.plugins())
    path = train(config, tmp_path / "one", plugins=tiny.plugins()).path
    refused(transform(command, path, pictures, "--from", "a"), "the model has no other domain than 'a'")


# -- the encoder -----------------------------------------------------------------------------------


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


def test_one_start_is_the_encoders_guess(model):
    """As if searched for alone from there; the others are the nearest candidates, as without it."""
    images = tiny.Tiny(count=6, pool="other").samples
    codes = model.latent(6, seed=77).clamp(-0.99, 0.99)
    guess = lambda samples: codes  # noqa: E731
    found = invert(model, images, "a", Search(restarts=1, iterations=0), encoder=guess)
    torch.testing.assert_close(found.z, codes)
    searched = invert(model, images, "a", Search(restarts=3, trial=20, iterations=20), encoder=guess).error
    without = invert(model, images, "a", Search(restarts=2, trial=20, iterations=20)).error
    alone = invert(model, images, "a", Search(restarts=1, iterations=20), encoder=guess).error
    torch.testing.assert_close(searched, torch.minimum(without, alone), atol=2e-3, rtol=0)


def test_an_encoder_is_kept_for_its_model_alone(model, three, encoder, tmp_path, monkeypatch, capsys):
    path = tmp_path / "folder" / "encoder.safetensors"
    encoder.save(path)
    monkeypatch.setattr("coupling.generation.encoder.STEPS", 2)
    monkeypatch.setattr("coupling.generation.encoder.train_encoder", lambda *_: pytest.fail("learned again"))
    assert load_or_train_encoder(model, "a", tiny.plugins(), path).digest == encoder.digest
    for other, domain in ((three, "a"), (model, "b")):
        with pytest.raises(pytest.fail.Exception, match="learned again"):
            load_or_train_encoder(other, domain, tiny.plugins(), path)
        assert "is an encoder of another model or domain, or none; it is learned again" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(pytest.fail.Exception, match="learned again"):
        load_or_train_encoder(model, "a", tiny.plugins(), path)


def test_the_commands_options_reach_the_search(command, copied, pictures, monkeypatch):
    """And the encoder does."""
    seen = []
    real = CoupledModel.transform

    def noted(self, images, from_, to, search, **more):
        seen.append((search, more["encoder"]))
        return real(self, images, from_, to, search, **more)

    monkeypatch.setattr(CoupledModel, "transform", noted)
    monkeypatch.setattr("coupling.generation.encoder.STEPS", 2)
    options = ("--restarts", "2", "--iterations", "3", "--seed", "7", "--feature-weight", "0.5", "--feature-layer", "1")
    result = transform(command, copied, pictures, "--from", "a", "--no-flag", "--encoder", "--device", "cpu", *options)
    assert result.exit_code == 0, result.output
    ((search, encoder),) = seen
    assert search == Search(restarts=2, iterations=3, seed=7, feature_weight=0.5, feature_layer=1)
    assert isinstance(encoder, Encoder)
    refused(transform(command, copied, pictures, "--from", "a", "--device", "cuda:99"), "--device cuda:99: ")


def test_transform_with_an_encoder(command, copied, pictures, monkeypatch):
    monkeypatch.setattr("coupling.generation.encoder.STEPS", 20)
    arguments = (copied, pictures, "--from", "a", "--restarts", "2", "--iterations", "10", "--encoder")
    result = transform(command, *arguments)
    assert result.exit_code == 0, result.output
    assert "learning an encoder of 'a': 0/20" in result.stderr
    (kept,) = copied.glob("encoder-a-*.safetensors")
    stamp = kept.stat().st_mtime_ns
    again = transform(command, *arguments)
    assert again.stdout.splitlines()[:-1] == result.stdout.splitlines()[:-1]
    assert "learning" not in again.stderr
    assert kept.stat().st_mtime_ns == stamp
    assert len(json.loads((copied / "coverage.json").read_text())) == 1
    transform(command, *arguments[:-1])
    assert len(json.loads((copied / "coverage.json").read_text())) == 2  # another search has other errors
