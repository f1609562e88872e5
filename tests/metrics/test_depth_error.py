"""Depth error: of true pairs, of pairs that are wrong, in shares and in metres."""

from __future__ import annotations

import pytest
import torch

from coupling.errors import ConfigError
from coupling.metrics import probe
from coupling.metrics.depth_error import DepthError, Errors
from coupling.metrics.metric import Evaluation
from coupling.system.seeds import derive_seed
from tests.support.flat import flat
from tests.support.toy_domains import Drawn, opened

NAME = "depth-error/a/b"
VIEWS = {"kind": "color", "test": 300}, {"kind": "depth", "test": 300}


@pytest.fixture(scope="module", autouse=True)
def quick(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "STEPS", 150)
        patch.setenv("COUPLING_DATA", str(tmp_path_factory.mktemp("data")))
        yield


def measure(model, data=None, **options):
    data = data or opened(*VIEWS)
    metric = DepthError(from_="a", to="b", **{"count": 300, **options})
    metric.check(data)
    evaluation = Evaluation(model, data, seed=0)
    return flat(metric, evaluation), evaluation


def test_true_pairs_are_as_near_as_real_ones_and_wrong_ones_as_far_as_unrelated():
    right, evaluation = measure(Drawn({"a": "color", "b": "depth"}))
    wrong, _ = measure(Drawn({"a": "color", "b": "depth"}, wrong=1.0))
    assert next(iter(right)) == NAME
    assert right[NAME] == pytest.approx(right[f"{NAME}/real"], abs=0.02)
    assert right[NAME] < 0.5 * right[f"{NAME}/unrelated"]
    assert wrong[NAME] > 0.9 * wrong[f"{NAME}/unrelated"]
    assert right[f"{NAME}/absolute"] <= right[NAME]
    assert f"{NAME}/relative" not in right
    assert evaluation.notes["unit"] == "share of the range"


def test_the_blur_ceiling_is_the_difference_of_two_estimates_from_one_image():
    metric = DepthError(from_="a", to="b", count=40)
    data = opened(*VIEWS)
    metric.check(data)
    evaluation = Evaluation(Drawn({"a": "color", "b": "depth"}), data, seed=0)
    values = flat(metric, evaluation)
    z = evaluation.model.latent(40, derive_seed(0, "depth-error"))
    colour = evaluation.model.generate(z, ["a"])["a"]
    second = metric._probe.second()
    second.load_or_train()
    squares = [(metric._probe(x[None]) - second(x[None])).square() for x in colour]
    assert values[f"{NAME}/same-image"] == pytest.approx(torch.cat(squares).mean().sqrt().item(), rel=1e-3)
    floor, ceiling = values[f"{NAME}/unrelated"], values[f"{NAME}/real"]
    assert values[f"{NAME}/way"] == pytest.approx((values[NAME] - floor) / (ceiling - floor))
    assert f"{NAME}/absolute/way" in values
    assert f"{NAME}/compared/way" not in values


def test_errors_are_in_metres_with_near_and_far():
    shares, _ = measure(Drawn({"a": "color", "b": "depth"}, wrong=0.5))
    metres, _ = measure(Drawn({"a": "color", "b": "depth"}, wrong=0.5), near=1.0, far=3.0)
    for key in ("", "/unrelated", "/real", "/absolute"):
        assert metres[NAME + key] == pytest.approx(2 * shares[NAME + key], rel=1e-4)
    assert 0 < metres[f"{NAME}/relative"] < metres[f"{NAME}/absolute"]


def test_errors_equal_those_computed_by_hand():
    metric = DepthError(from_="a", to="b", missing=0.1, near=1.0, far=2.0)
    errors = Errors(metric)
    given = torch.tensor([0.05, 0.5, 1.0, 0.25]).view(1, 1, 2, 2)
    errors.add(given, torch.tensor([0.9, 0.5, 0.7, 0.35]).view(1, 1, 2, 2))  # the first is missing
    values = errors.values()
    assert values["error"] == pytest.approx(((0.3**2 + 0.1**2) / 3) ** 0.5, rel=1e-5)
    assert values["absolute"] == pytest.approx(0.4 / 3, rel=1e-5)
    assert values["relative"] == pytest.approx((0.3 / 2.0 + 0.1 / 1.25) / 3, rel=1e-5)
    assert values["compared"] == 0.75


def test_domains_and_options_that_do_not_fit_are_errors():
    with pytest.raises(ConfigError, match=r"to: depth images are of shape \(1, height, width\)"):
        DepthError(from_="b", to="a").check(opened(*VIEWS))
    with pytest.raises(ConfigError, match="near and far: give both, near less than far"):
        DepthError(from_="a", to="b", near=2.0, far=1.0)
    apart = opened(VIEWS[0], {**VIEWS[1], "pool": "else"})
    with pytest.raises(ConfigError, match="probe: no true pairs to learn from"):
        DepthError(from_="a", to="b").check(apart)
