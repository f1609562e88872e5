"""How well a model can draw real samples, which decides what is flagged."""

from __future__ import annotations

import pytest

import coupling
from coupling.generation.coverage import load_or_measure_coverage, measure_coverage
from coupling.model.inversion import Search, invert
from tests.support import tiny_plugin as tiny
from tests.support.invertible_models import load, trained


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch):
    monkeypatch.setattr("coupling.data.held_out.LEAST", 10)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def model(run):
    return load(run)


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


def test_without_held_out_samples_those_of_the_training_are_used(model, monkeypatch):
    monkeypatch.setattr(tiny.Tiny, "held_out", lambda self: None)
    measured = measure_coverage(model, "a", Search(restarts=1, iterations=1), tiny.plugins(), count=7)
    assert (measured.count, measured.held_out) == (7, False)
    assert "7 training samples" in str(measured)


def test_without_data_a_warning_says_that_coverage_is_not_checked(model, monkeypatch, capsys, tmp_path):
    def gone(self):
        raise coupling.errors.DataError("pictures: no such folder")

    monkeypatch.setattr(tiny.Tiny, "held_out", gone)
    assert load_or_measure_coverage(model, "a", Search(), tiny.plugins(), tmp_path) is None
    assert "coverage is not checked, because there are no real samples of 'a'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
