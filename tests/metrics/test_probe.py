"""Probes: what they learn, that they are the same each time, and that they are saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from coupling.data.domain_data import DomainData
from coupling.data.held_out import held_out, split
from coupling.errors import DataError
from coupling.metrics import probe
from coupling.metrics.classifier import Classifier, classify_pool, known_classes
from coupling.metrics.depth_estimator import DepthEstimator, share_of_range
from coupling.metrics.probe import Probe
from coupling.metrics.probe_networks import FEATURES, Hourglass, run_in_portions, trunk
from tests.support.toy_domains import opened

MARKED = opened({"kind": "marked", "test": 200}, {"kind": "unmarked", "test": 200})


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(probe, "STEPS", 60)
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))


def learn(seed_of_others: int = 0) -> Classifier:
    pool = held_out(opened({"test": 200}, {"pool": "else"}), "a")
    torch.manual_seed(seed_of_others)
    return trained({"a": pool}, {"a": {"class": pool.dataset.labels}})


def trained(*arguments) -> Classifier:
    made = Classifier(*arguments)
    made.load_or_train()
    return made


def test_a_classifier_learns_and_says_how_good_it_is_on_samples_it_has_not_seen():
    pool = held_out(opened({"test": 200}, {"pool": "else"}), "a")
    learned, tested = split(pool)
    made = trained({"a": pool}, {"a": {"class": pool.dataset.labels}})
    guessed = made(pool.read(tested))["class"]
    right = (guessed == pool.dataset.labels[torch.from_numpy(pool.indices[tested])]).float().mean().item()
    assert made.accuracy == {"a": {"class": pytest.approx(right)}}
    assert made.record["accuracy"] == {"a/class": round(right, 4)}
    assert right > 0.95
    assert made.features(pool.read(tested)).shape == (len(tested), FEATURES)
    assert made.record["learned"] == len(learned)
    assert made.record["samples of"] == "squares:pool+test"


def test_a_probe_depends_on_its_samples_alone():
    first = learn()
    torch.manual_seed(5)
    expected = torch.rand(3)
    for path in (probe.data_directory("probes")).iterdir():
        path.unlink()
    torch.manual_seed(5)
    second = learn(5)
    assert torch.equal(torch.rand(3), expected)  # and it draws nothing that others would have drawn
    for one, other in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_trained_probe_is_saved_and_loaded(monkeypatch):
    first = learn()
    monkeypatch.setattr(Probe, "train", lambda _: pytest.fail("learned again"))
    again = learn()
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(first.features(x), again.features(x))
    assert (first.accuracy, first.record) == (again.accuracy, again.record)


def test_a_second_probe_differs_in_its_seed_alone_and_is_saved_too(monkeypatch):
    first = learn()
    second = first.second()
    second.load_or_train()
    assert (second.heads, second.key()) == (first.heads, first.key())
    assert second.record["sha256"] != first.record["sha256"]
    assert second.accuracy["a"]["class"] > 0.95
    x = torch.rand(64, 1, 8, 8)
    assert not torch.equal(first.features(x), second.features(x))
    monkeypatch.setattr(Probe, "train", lambda _: pytest.fail("learned again"))
    again = learn().second()
    again.load_or_train()
    assert torch.equal(again.features(x), second.features(x))


@pytest.mark.parametrize("damage", [b"", b"torn", None])
def test_probes_of_damaged_files_are_trained_again(damage):
    first = learn()
    (path,) = probe.data_directory("probes").iterdir()
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    assert torch.equal(first.features(torch.ones(1, 1, 8, 8)), learn().features(torch.ones(1, 1, 8, 8)))


def test_a_changed_byte_in_a_saved_probe_is_noticed():
    first = learn()
    (path,) = probe.data_directory("probes").iterdir()
    content = bytearray(path.read_bytes())
    content[-10] ^= 0x40
    path.write_bytes(content)
    assert torch.equal(first.features(torch.ones(1, 1, 8, 8)), learn().features(torch.ones(1, 1, 8, 8)))
    assert path.read_bytes() != content


def test_other_samples_transforms_or_classes_are_another_probe():
    pool = held_out(opened({"test": 200}, {"pool": "else"}), "a")
    labels = pool.dataset.labels
    digests = set()
    turned = held_out(opened({"test": 200, "transform": "negative"}, {"pool": "else"}), "a")
    for data, classes in (
        (pool, labels),
        (turned, labels),
        (pool.within(pool.indices[:150]), labels),
        (pool, (labels + 1) % 4),
    ):
        digests.add(trained({"a": data}, {"a": {"class": classes}}).record["sha256"])
    assert len(digests) == 4


def test_a_directory_that_cannot_be_written_only_gives_a_warning(monkeypatch, tmp_path, capsys):
    (tmp_path / "data").write_text("in the way")
    assert learn().accuracy["a"]["class"] > 0.9
    assert "not saved, it will be trained again next time" in capsys.readouterr().err


def test_one_probe_for_two_domains_distinguishes_them():
    pools = {name: held_out(MARKED, name) for name in "ab"}
    classes = {name: {k: v for k, v in known_classes(p).items() if k != "number"} for name, p in pools.items()}
    made = trained(pools, classes)
    assert [set(made.accuracy[domain]) for domain in "ab"] == [{"corner", "brightness", "mark"}] * 2
    for name, pool in pools.items():
        guesses = classify_pool(made, pool, np.arange(len(pool)))
        assert (guesses["mark"] == int(name == "a")).float().mean() > 0.95


def test_classes_that_are_not_valid_are_errors():
    pool = held_out(MARKED, "a")
    with pytest.raises(DataError, match="class numbers run from 0 to 0; a probe needs two classes or more"):
        Classifier({"a": pool}, {"a": {"number": pool.dataset.attributes()["number"]}})
    with pytest.raises(DataError, match="run from -1 to 3"):
        Classifier({"a": pool}, {"a": {"corner": torch.where(torch.arange(200) == 3, -1, pool.dataset.corner)}})


def test_attributes_of_another_length_are_the_data_sets_fault(monkeypatch):
    pool = held_out(MARKED, "a")
    monkeypatch.setattr(pool.dataset, "corner", torch.zeros(3))
    with pytest.raises(DataError, match=r"attribute 'corner' has shape \(3,\) for 200 samples"):
        known_classes(pool)


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 9), (2, 1, 1), (12,), (3, 7)])
def test_any_shape_goes_through(shape):
    from coupling.domain import Domain

    data = DomainData(Domain("x", shape, (0.0, 255.0)), None, (1, 1), [], 0)
    features = run_in_portions(torch.nn.Sequential(*trunk(data)), torch.rand(3, *shape) * 255)
    assert features.shape == (3, FEATURES)
    if len(shape) == 3:
        assert run_in_portions(Hourglass(shape[0]), torch.rand(2, *shape)).shape == (2, 1, *shape[1:])


def test_a_depth_estimator_learns_and_ignores_missing_depths(monkeypatch):
    monkeypatch.setattr(probe, "STEPS", 150)
    data = opened({"kind": "color", "test": 200}, {"kind": "depth", "test": 200})
    colour, depth = (held_out(data, name) for name in "ab")
    made = DepthEstimator(colour, depth, missing=0.0)
    made.load_or_train()
    tested = split(colour)[1]
    error = (made(colour.read(tested)) - share_of_range(depth, depth.read(tested))).abs().mean().item()
    assert error < 0.06
    assert made.record["absolute error"] == pytest.approx(error, abs=1e-4)
    assert made.record["learned"] == 160  # pairs
    near = DepthEstimator(colour, depth, missing=0.9)
    near.load_or_train()  # the background alone is left, at 1
    assert near.record["absolute error"] < 0.02
    assert near(colour.read(tested)).mean() > made(colour.read(tested)).mean() + 0.03
