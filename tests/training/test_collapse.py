"""The warning of collapsed generators: its measure against a loop over pairs, and when it is printed."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling.networks.latent import LatentBatches
from coupling.training import collapse
from coupling.training.collapse import CollapseWarning
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny


def alone(numbers):
    return numbers


def root_mean_square_distance(samples):
    pairs = itertools.combinations(samples.double().flatten(1), 2)
    squares = [(one - other).square().sum().item() for one, other in pairs]
    return math.sqrt(sum(squares) / len(squares))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), count=st.integers(2, 6), parts=st.integers(1, 3), scale=st.floats(0, 5))
def test_the_diversity_is_the_ratio_of_the_distances_of_pairs_over_all_micro_batches(seed, count, parts, scale):
    random = torch.Generator().manual_seed(seed)
    shapes = {"a": (1, 3, 3), "b": (7,)}
    real = {d: torch.rand(count * parts, *shape, generator=random) for d, shape in shapes.items()}
    fake = {d: 3 + scale * torch.rand(count * parts, *shape, generator=random) for d, shape in shapes.items()}
    made = CollapseWarning(list(shapes), 5, alone)
    for part in range(parts):
        own = slice(part * count, (part + 1) * count)
        made.add(9, {d: x[own] for d, x in real.items()}, {d: x[own] for d, x in fake.items()})
    found = made.take()
    for d in shapes:
        expected = root_mean_square_distance(fake[d]) / root_mean_square_distance(real[d])
        assert found[f"batch-diversity/{d}"] == pytest.approx(expected, rel=1e-2, abs=5e-3)


def test_the_mean_of_two_processes_sums_is_that_of_one_process():
    random = torch.Generator().manual_seed(0)
    real, fake = torch.rand(8, 5, generator=random), 2 * torch.rand(8, 5, generator=random)
    whole, *halves = (CollapseWarning(["a"], 1, alone) for _ in range(3))
    whole.add(0, {"a": real}, {"a": fake})
    for half, own in zip(halves, (slice(0, 4), slice(4, 8)), strict=True):
        half.add(0, {"a": real[own]}, {"a": fake[own]})
    sums = [half._sums["a"] for half in halves]
    halves[0]._across = lambda numbers: torch.stack(sums).mean(0)
    assert halves[0].take() == pytest.approx(whole.take(), rel=1e-5)


def test_only_steps_that_are_logged_are_measured():
    made, x = CollapseWarning(["a"], 3, alone), {"a": torch.rand(4, 2)}
    measured = []
    for step in range(9):
        made.add(step, x, x)
        measured += [step + 1] if made.take() else []
    assert measured == [3, 6, 9]


def test_real_samples_that_do_not_differ_give_no_warning():
    made, x = CollapseWarning(["a"], 1, alone), {"a": torch.full((4, 2), 0.5)}
    made.add(0, x, x)
    values = made.take()
    assert math.isnan(values["batch-diversity/a"])
    assert made.note(1, values) == []


def warned(diversities, every=100):
    made = CollapseWarning(["a", "b"], every, alone)
    steps = []
    for number, value in enumerate(diversities, 1):
        step = number * every
        texts = made.note(step, {"batch-diversity/a": value, "batch-diversity/b": 0.9})
        assert all("collapsed in domain 'a'" in text and "losses" in text for text in texts)
        steps += [step] * len(texts)
        restored = CollapseWarning(["a", "b"], every, alone)
        restored.restore(json.loads(json.dumps(made.plain())))  # as in a resumed run
        made = restored
    return steps, made.collapsed


def test_it_warns_once_when_all_diversities_of_300_steps_were_below_a_tenth():
    assert warned([0.5, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05]) == ([500], {"a": 500})
    assert warned([0.05, 0.05, 0.3, 0.05, 0.05, 0.05]) == ([], {})
    assert warned([0.05] * 5 + [0.5] * 3) == ([400], {})
    assert warned([0.0] * 3, every=1000) == ([3000], {"a": 3000})
    assert warned([math.nan] * 9) == ([], {})


@pytest.fixture
def collapsing(monkeypatch):
    monkeypatch.setattr(collapse, "SPAN", 4)
    batch = LatentBatches.batch
    monkeypatch.setattr(
        LatentBatches, "batch", lambda self, *given: batch(self, *given) * 0
    )  # one code for all samples


def test_a_run_warns_on_stderr_and_notes_it_in_its_files(tmp_path, collapsing, capsys):
    train(tiny.config("training.log_every=2"), tmp_path / "run", plugins=tiny.plugins())
    printed = capsys.readouterr().err.splitlines()
    for domain in "ab":
        [line] = [line for line in printed if f"collapsed in domain '{domain}'" in line]
        assert line.startswith("warning: step 6: the generators have collapsed")
        assert "start a new run with a gradient penalty" in line
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["batch-diversity/a"] for line in lines if "batch-diversity/a" in line] == pytest.approx(
        [0] * 4, abs=1e-2
    )
    assert json.loads((tmp_path / "run/summary.json").read_text())["collapsed"] == {"a": 6, "b": 6}


def test_a_healthy_run_does_not_warn(tmp_path, capsys):
    train(tiny.config("training.log_every=2"), tmp_path / "run", plugins=tiny.plugins())
    assert "collapsed" not in capsys.readouterr().err
    assert json.loads((tmp_path / "run/summary.json").read_text())["collapsed"] == {}
