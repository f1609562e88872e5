"""Tables and figure of made-up results, against slow and obvious computations."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from coupling.errors import RunError
from coupling.sweeps.directory import RunStatus
from coupling.sweeps.figure import figure
from coupling.sweeps.grid import GridRun
from coupling.sweeps.results import read_result
from coupling.sweeps.table import Result, Table
from tests.support import tiny_plugin as tiny

M = "pixel-agreement/a/b"


def result(labels, seed, best, last, beside=(), steps=50):
    return Result(tuple(labels), seed, steps, {M: last}, {M: {"value": best, "step": 30}}, dict(beside))


@st.composite
def grids(draw):
    """Axes, and results of some of their cells and seeds."""
    names = ["one", "two", "three"][: draw(st.integers(0, 3))]
    axes = {name: [f"{name}-{i}" for i in range(draw(st.integers(1, 3)))] for name in names}
    number = st.floats(-1e3, 1e3)
    results = [
        result(labels, seed, draw(number), draw(number))
        for labels in itertools.product(*axes.values())
        for seed in range(3)
        if draw(st.booleans())
    ]
    return axes, results


@settings(max_examples=60, deadline=None)
@given(grids())
def test_each_cell_is_the_mean_and_sample_deviation_of_its_seeds(made):
    axes, results = made
    table = Table("t", axes, M, [], results)
    lines = list(csv.DictReader(io.StringIO(table.csv())))
    seen = 0
    for of in ("best", "last"):
        for labels in itertools.product(*axes.values()):
            values = [r.best[M]["value"] if of == "best" else r.last[M] for r in results if r.labels == labels]
            outer, column = labels[:-1], (labels or ("",))[-1]
            spread = table.spread(outer, column, of)
            found = [
                line for line in lines
                if line["iteration"] == of and all(line[a] == b for a, b in zip(list(axes)[:-1], outer, strict=True))
            ]  # fmt: skip
            key = f"{column} ".lstrip()
            if not values:
                assert spread is None
                assert all(line.get(f"{key}seeds", "0") == "0" and not line.get(f"{key}mean") for line in found)
                continue
            seen += 1
            [line] = found
            mean = sum(values) / len(values)
            std = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else None
            assert spread.seeds == int(line[f"{key}seeds"]) == len(values)
            assert spread.mean == float(line[f"{key}mean"]) == pytest.approx(mean, abs=1e-9)
            if std is None:
                assert spread.std is None
                assert line[f"{key}std"] == ""
            else:
                assert spread.std == float(line[f"{key}std"]) == pytest.approx(std, abs=1e-6)
    assert seen == 2 * len({r.labels for r in results})
    tidy = list(csv.DictReader(io.StringIO(table.tidy_csv())))
    assert [
        (*(line[a] for a in axes), int(line["seed"]), float(line["best"]), float(line["last"])) for line in tidy
    ] == [(*r.labels, r.seed, r.best[M]["value"], r.last[M]) for r in results]


def paper():
    """Four by four with three seeds, agreement rising along the columns."""
    axes = {"discriminator": ["none", "4", "4,3", "4,3,2"], "generator": ["1", "1-2", "1-3", "1-4"]}
    beside = {f"{M}/unrelated": 0.8, f"{M}/constant": 0.87}
    results = [
        result((d, g), seed, 0.9 + 0.01 * j + 0.001 * seed, 0.89 + 0.01 * j, beside)
        for (_, d), (j, g) in itertools.product(*map(enumerate, axes.values()))
        for seed in range(3)
    ]  # fmt: skip
    return axes, results


def test_markdown():
    axes, results = paper()
    results = [r for r in results if r.labels[0] in ("none", "4,3") and r.labels != ("4,3", "1-4")]
    text = Table("t", axes, M, ["unrelated", "constant", "absent"], results).markdown()
    assert (
        text
        == """\
# t: pixel-agreement/a/b

Mean ± standard deviation (n - 1) over 3 seeds; 50 steps. Baselines: unrelated 0.8000, constant 0.8700.

## Best iteration of each run

| discriminator \\ generator | 1 | 1-2 | 1-3 | 1-4 |
| --- | --- | --- | --- | --- |
| none | 0.9010 ± 0.0010 | 0.9110 ± 0.0010 | 0.9210 ± 0.0010 | 0.9310 ± 0.0010 |
| 4,3 | 0.9010 ± 0.0010 | 0.9110 ± 0.0010 | 0.9210 ± 0.0010 | – |

## Last iteration

| discriminator \\ generator | 1 | 1-2 | 1-3 | 1-4 |
| --- | --- | --- | --- | --- |
| none | 0.8900 ± 0.0000 | 0.9000 ± 0.0000 | 0.9100 ± 0.0000 | 0.9200 ± 0.0000 |
| 4,3 | 0.8900 ± 0.0000 | 0.9000 ± 0.0000 | 0.9100 ± 0.0000 | – |
"""
    )
    uneven = Table("t", axes, M, [], results[1:]).markdown()
    assert "over seeds, their number in parentheses" in uneven
    assert "| none | 0.9015 ± 0.0007 (2) | 0.9110 ± 0.0010 (3) | " in uneven


def test_what_another_metric_chooses_has_its_own_table():
    """Where that metric is the first of the runs', and by what was measured at the step of its best."""
    axes, made = {"x": ["1"]}, [result(["1"], seed, 0.9, 0.5) for seed in range(3)]
    chosen = [replace(r, leading="information", chosen={M: 0.7 + 0.1 * r.seed}) for r in made]
    text = Table("t", axes, M, [], chosen).markdown()
    assert re.findall("^## (.*)$", text, re.MULTILINE) == [
        f"Best iteration of each run, chosen by {M} itself (an oracle's choice)",
        "Iteration of each run's best information",
        "Last iteration",
    ]
    assert "| pixel-agreement/a/b | 0.8000 ± 0.1000 |" in text
    assert "\nchosen,0.7999999" in Table("t", axes, M, [], chosen).csv()
    unmeasured = [*chosen[:2], replace(chosen[2], chosen={})]
    assert Table("t", axes, M, [], unmeasured).spread((), "1", "chosen").seeds == 2
    for leading in (M, None):  # chosen by the table's own metric, it is the best
        assert "chosen" not in Table("t", axes, M, [], [replace(r, leading=leading) for r in made]).csv()


def test_what_is_chosen_is_read_from_the_runs_log(tmp_path):
    run = tmp_path / "run"
    config = tiny.config("metrics=[{name: information, domain: a, every: 2}, {name: accuracy, domain: b, every: 2}]")
    run.mkdir()
    rows = [
        {"step": step, "seconds": 1.0, name: value}
        for step, values in ((2, (0.5, 0.1)), (4, (0.9, 0.3)), (6, (0.8, 0.7)), (8, (0.1, 0.6)))
        for name, value in zip(("information/a", "accuracy/b"), values, strict=True)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = {
        "last": {"information/a": 0.1, "accuracy/b": 0.6},
        "best": {"information/a": {"value": 0.9, "step": 4}, "accuracy/b": {"value": 0.7, "step": 6}},
    }
    (run / "summary.json").write_text(json.dumps(summary))
    found = read_result(RunStatus(GridRun(("1",), 0, config, run, ""), run, "finished", 8))
    assert (found.leading, found.chosen) == ("information/a", {"information/a": 0.9, "accuracy/b": 0.3})


def test_one_axis_or_none_make_one_row():
    one = Table("t", {"width": ["1", "2"]}, M, [], [result(["2"], 0, 0.5, 12345.678)]).markdown()
    assert "| width | 2 |\n| --- | --- |\n| pixel-agreement/a/b | 0.5000 |" in one
    assert "| pixel-agreement/a/b | 1.235e+04 |" in one
    assert "over 1 seed;" in one
    none = Table("t", {}, M, [], [result([], s, s, s / 1e5) for s in range(2)]).markdown()
    assert "| pixel-agreement/a/b | 0.5000 ± 0.7071 |" in none
    assert "| pixel-agreement/a/b | 5e-06 ± 7.071e-06 |" in none
    bars = Table("t", {"a|b": ["c|d"]}, M, [], [result(["c|d"], 0, 1, 1)]).markdown()
    assert r"| a\|b | c\|d |" in bars


def colours(picture):
    pixels, counts = np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(map(int, p)): int(n) for p, n in zip(pixels, counts, strict=True)}


def test_the_figure_shows_a_line_a_row():
    pytest.importorskip("matplotlib")
    axes, results = paper()
    shown = []
    for rows in (["none"], axes["discriminator"]):
        png = figure(Table("t", axes, M, ["unrelated"], [r for r in results if r.labels[0] in rows]))
        assert png.startswith(b"\x89PNG")
        with Image.open(io.BytesIO(png)) as picture:
            picture.load()
            assert min(picture.size) > 400
            shown.append(colours(picture))
    # matplotlib's first colours: one for each line, and only for lines that are there
    first = [(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40)]
    assert [shown[0].get(c, 0) > 100 for c in first] == [True, False, False, False]
    assert [shown[1].get(c, 0) > 100 for c in first] == [True] * 4


def test_the_figure_takes_any_table():
    pytest.importorskip("matplotlib")
    for axes, results in (
        ({}, [result([], 0, 0.5, 0.4)]),
        ({"x": ["1", "2"]}, [result(["2"], s, 0.5, 0.4) for s in range(2)]),
        ({"x": ["1"], "y": ["2"], "z$_": ["3", "$\\x$"]}, [result(["1", "2", z], 0, 0.5, 0.4) for z in ("3", "$\\x$")]),
        ({"x": [str(i) for i in range(12)], "y": ["2"]}, [result([str(i), "2"], 0, i, i) for i in range(12)]),
    ):
        assert figure(Table("t", axes, M, ["unrelated"], results)).startswith(b"\x89PNG")


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RunError, match=r"matplotlib is not installed; pip install 'coupling-gan\[plots\]'"):
        figure(Table("t", {}, M, [], [result([], 0, 1, 1)]))
