"""Tables and figure of made-up results."""

from __future__ import annotations

import io
import itertools
import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coupling.errors import RunError
from coupling.sweeps.directory import RunStatus
from coupling.sweeps.figure import figure
from coupling.sweeps.grid import GridRun
from coupling.sweeps.results import Results, read_result
from coupling.sweeps.table import Result, Spread, Table
from tests.support import tiny_plugin as tiny

M = "pixel-agreement/a/b"


def result(labels, seed, best, last, beside=(), steps=50):
    return Result(tuple(labels), seed, steps, {M: last}, {M: {"value": best, "step": 30}}, dict(beside))


TWO_BY_TWO = {"one": ["x", "y"], "two": ["a", "b"]}
FILLED = [
    result(("x", "a"), 0, 0.5, 0.4),
    result(("x", "a"), 1, 0.7, 0.4),
    result(("x", "b"), 0, 0.25, 0.125),
    result(("y", "b"), 0, 2.0, 1.0),
    result(("y", "b"), 1, 4.0, 1.0),
    result(("y", "b"), 2, 6.0, 4.0),
]  # nothing in cell (y, a)


def test_a_cell_is_the_mean_and_sample_deviation_of_its_seeds():
    assert (
        Table("t", TWO_BY_TWO, M, [], FILLED).csv()
        == """\
one,iteration,a mean,a std,a seeds,b mean,b std,b seeds
x,best,0.6,0.14142135623730948,2,0.25,,1
y,best,,,0,4.0,2.0,3
x,last,0.4,0.0,2,0.125,,1
y,last,,,0,2.0,1.7320508075688772,3
"""
    )


def test_runs_csv_has_a_line_for_each_run():
    assert (
        Table("t", TWO_BY_TWO, M, [], FILLED).tidy_csv()
        == """\
one,two,seed,metric,best,best_step,last,last_step
x,a,0,pixel-agreement/a/b,0.5,30,0.4,50
x,a,1,pixel-agreement/a/b,0.7,30,0.4,50
x,b,0,pixel-agreement/a/b,0.25,30,0.125,50
y,b,0,pixel-agreement/a/b,2.0,30,1.0,50
y,b,1,pixel-agreement/a/b,4.0,30,1.0,50
y,b,2,pixel-agreement/a/b,6.0,30,4.0,50
"""
    )


def test_rows_and_columns_without_a_finished_run_are_left_out():
    assert (
        Table("t", TWO_BY_TWO, M, [], FILLED[:2]).csv()
        == """\
one,iteration,a mean,a std,a seeds
x,best,0.6,0.14142135623730948,2
x,last,0.4,0.0,2
"""
    )
    empty = Table("t", TWO_BY_TWO, M, [], [])
    assert (empty.rows, empty.columns) == ([], [])


def test_a_sweep_without_axes_is_one_cell():
    assert (
        Table("t", {}, M, [], [result((), 0, 1.0, 0.5), result((), 1, 3.0, 0.5)]).csv()
        == """\
iteration,mean,std,seeds
best,2.0,1.4142135623730951,2
last,0.5,0.0,2
"""
    )


def test_three_axes_make_rows_of_two_labels():
    axes = {"one": ["x"], "two": ["a", "b"], "three": ["1"]}
    made = [result(("x", "a", "1"), 0, 1.0, 0.5), result(("x", "b", "1"), 0, 3.0, 0.25)]
    assert (
        Table("t", axes, M, [], made).csv()
        == """\
one,two,iteration,1 mean,1 std,1 seeds
x,a,best,1.0,,1
x,b,best,3.0,,1
x,a,last,0.5,,1
x,b,last,0.25,,1
"""
    )


numbers = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9)


@given(numbers)
def test_a_spread_is_that_of_numpy(values):
    spread = Spread.of(values)
    assert spread.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert spread.seeds == len(values)
    if len(values) == 1:
        assert spread.std is None
    else:
        assert spread.std == pytest.approx(np.std(values, ddof=1), abs=1e-6)


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


def test_the_tables_in_markdown_have_mean_and_deviation():
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


def test_values_that_differ_from_model_to_model_have_tables_or_columns_of_their_own():
    axes = {"discriminator": ["none"], "generator": ["1", "1-2"]}
    beside = {f"{M}/unrelated": 0.25, f"{M}/true-pairs": 0.75}
    results = [
        result(("none", g), seed, 0.5, 0.5, beside | {f"{M}/way": 0.5 + 0.125 * seed, f"{M}/same-image": 0.625})
        for g in axes["generator"]
        for seed in range(2)
    ]
    table = Table("t", axes, M, ["unrelated", "true-pairs"], results)
    text = table.markdown()
    assert "Baselines: unrelated 0.2500, true-pairs 0.7500." in text
    assert text.endswith(
        f"""\
## {M}/way, last iteration

| discriminator \\ generator | 1 | 1-2 |
| --- | --- | --- |
| none | 0.5625 ± 0.0884 | 0.5625 ± 0.0884 |

## {M}/same-image, last iteration

| discriminator \\ generator | 1 | 1-2 |
| --- | --- | --- |
| none | 0.6250 ± 0.0000 | 0.6250 ± 0.0000 |
"""
    )
    assert f"none,{M}/same-image,0.625,0.0,2,0.625,0.0,2" in table.csv().splitlines()
    single = Table("t", {"generator": ["1"]}, M, [], [replace(r, labels=("1",)) for r in results[:2]]).markdown()
    assert single.endswith(
        "| generator | Best iteration of each run | Last iteration | "
        "way, last iteration | same-image, last iteration |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| 1 | 0.5000 ± 0.0000 | 0.5000 ± 0.0000 | 0.5625 ± 0.0884 | 0.6250 ± 0.0000 |\n"
    )


def test_the_step_that_another_metric_chooses_has_its_own_table():
    axes, made = {"y": ["1"], "x": ["1"]}, [result(["1", "1"], seed, 0.9, 0.5) for seed in range(3)]
    chosen = [replace(r, leading="information", chosen={M: 0.7 + 0.1 * r.seed}) for r in made]
    text = Table("t", axes, M, [], chosen).markdown()
    assert re.findall("^## (.*)$", text, re.MULTILINE) == [
        f"Best iteration of each run, chosen by {M} itself (an oracle's choice)",
        "Iteration of each run's best information",
        "Last iteration",
    ]
    assert "| 1 | 0.8000 ± 0.1000 |" in text
    assert "\n1,chosen,0.7999999" in Table("t", axes, M, [], chosen).csv()
    unmeasured = [*chosen[:2], replace(chosen[2], chosen={})]
    assert Table("t", axes, M, [], unmeasured).spread(("1",), "1", "chosen").seeds == 2
    for leading in (M, None):  # chosen by the table's own metric, it is the best
        assert "chosen" not in Table("t", axes, M, [], [replace(r, leading=leading) for r in made]).csv()


def test_values_at_the_chosen_step_are_read_from_the_runs_log(tmp_path):
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


def test_a_metric_that_is_undefined_after_the_last_step_is_missing_with_its_reason(tmp_path):
    """summary.json keeps the last value that there was; a table of last values must not show it."""
    run = tmp_path / "run"
    config = tiny.config("metrics=[{name: brightness, every: 2}]", "training.steps=4")
    run.mkdir()
    rows = [{"step": 2, "seconds": 1.0, "brightness/a": 0.5}, {"step": 4, "seconds": 1.0, "brightness/a": None}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "summary.json").write_text(
        json.dumps({"last": {"brightness/a": 0.5}, "best": {"brightness/a": {"value": 0.5, "step": 2}}})
    )
    status = RunStatus(GridRun(("1",), 0, config, run, "x=1, seed 0"), run, "finished", 4)
    results = Results(SimpleNamespace(), SimpleNamespace(), "brightness/a")
    assert results.of(status) is None
    assert results.missing([status]) == [f"x=1, seed 0: no finite brightness/a in {run}/summary.json"]
    record = {"brightness/a": {"4": {"value": None, "undefined": {"brightness/a": "the samples do not differ"}}}}
    (run / "evaluation.json").write_text(json.dumps(record))
    assert results.missing([status]) == [
        f"x=1, seed 0: brightness/a is undefined: the samples do not differ ({run}/evaluation.json)"
    ]


def test_one_axis_makes_one_table_and_none_one_row():
    one = Table("t", {"width": ["1", "2", "3"]}, M, [], [result([x], 0, 0.5, 12345.678) for x in "23"]).markdown()
    heads = "| width | Best iteration of each run | Last iteration |\n| --- | --- | --- |\n"
    assert f"{heads}| 2 | 0.5000 | 1.235e+04 |\n| 3 | 0.5000 | 1.235e+04 |\n" in one
    assert "over 1 seed;" in one
    none = Table("t", {}, M, [], [result([], s, s, s / 1e5) for s in range(2)]).markdown()
    assert "| pixel-agreement/a/b | 0.5000 ± 0.7071 |" in none
    assert "| pixel-agreement/a/b | 5e-06 ± 7.071e-06 |" in none
    bars = Table("t", {"a|b": ["c|d"]}, M, [], [result(["c|d"], 0, 1, 1)]).markdown()
    assert r"| a\|b | Best" in bars
    assert r"| c\|d | 1.0000" in bars


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


def test_without_matplotlib_the_error_names_the_package(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RunError, match=r"matplotlib is not installed; pip install 'coupling-gan\[plots\]'"):
        figure(Table("t", {}, M, [], [result([], 0, 1, 1)]))
