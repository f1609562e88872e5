"""From samples to codes and into other domains."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import coupling
from coupling.errors import InputError
from coupling.model.inversion import Search, invert
from coupling.networks.latent import NormalPrior
from tests.support import tiny_plugin as tiny
from tests.support.invertible_models import load, three_domains, trained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return three_domains(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def model(run):
    return load(run)


@pytest.mark.parametrize("name", ["model", "three"])
def test_samples_of_the_model_are_found_again(name, request):
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


def test_progress_is_reported(model):
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
def test_arguments_that_do_not_fit_are_rejected(model, images, arguments, message):
    with pytest.raises(InputError, match=message):
        model.transform(images, *arguments)


def test_the_public_names():
    assert coupling.Search is Search


def test_one_start_is_the_encoders_guess(model):
    """As if searched for alone from there; the others are the nearest candidates, as without it."""
    images = tiny.Tiny(count=6, pool="other").samples
    codes = model.latent(6, seed=77).clamp(-0.99, 0.99)

    def guess(samples):
        return codes

    found = invert(model, images, "a", Search(restarts=1, iterations=0), encoder=guess)
    torch.testing.assert_close(found.z, codes)
    searched = invert(model, images, "a", Search(restarts=3, trial=20, iterations=20), encoder=guess).error
    without = invert(model, images, "a", Search(restarts=2, trial=20, iterations=20)).error
    alone = invert(model, images, "a", Search(restarts=1, iterations=20), encoder=guess).error
    torch.testing.assert_close(searched, torch.minimum(without, alone), atol=2e-3, rtol=0)
