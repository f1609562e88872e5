"""The page that compares runs: one file, with what differs first."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from coupling.api import load_model
from coupling.data.pictures import picture_grid
from coupling.errors import InputError
from coupling.reports.comparison import check_runs, write_comparison
from coupling.training.trainer import train
from tests.conftest import TINY, rejected
from tests.reports.test_report import Page
from tests.support import tiny_plugin as tiny

METRIC = "metrics=[{name: brightness, every: 4}]"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that differ in the seed and the learning rate, and one with other codes."""
    root = tmp_path_factory.mktemp("runs")
    changes = {"one": (), "two": ("seed=3", "optimizer.lr=0.002"), "wide": ("latent.size=7",)}
    return [
        train(tiny.config(METRIC, *overrides), root / name, plugins=tiny.plugins()).path
        for name, overrides in changes.items()
    ]


def page(runs, file):
    return Page(write_comparison(runs, file, tiny.plugins()).read_text())


def test_the_page_is_one_file_and_says_first_what_differs(runs, tmp_path):
    found = page(runs[:2], tmp_path / "compare.html")
    assert found.fetched == []
    assert found.titles == ["Settings that differ", "Samples", "Scores", "Curves"]
    assert ["seed", "0", "3"] in found.rows
    assert ["optimizer.lr", "0.01", "0.002"] in found.rows
    settings = found.rows[3 + 1 : found.rows.index(["metric", "A", "B"])]
    assert [row[0] for row in settings] == ["seed", "optimizer.lr"]  # nothing else


def test_pictures_are_of_equal_codes(runs, tmp_path):
    found = page(runs[:2], tmp_path / "compare.html")
    assert "the same in all runs" in found.text
    assert len(found.pictures) == 2
    for run, picture in zip(runs, found.pictures, strict=False):
        model = load_model(run, plugins=tiny.plugins())
        expected = picture_grid(model.sample(12, seed=0), model.domains)
        assert np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(expected))


def test_runs_with_other_codes_are_compared_and_the_page_says_so(runs, tmp_path):
    found = page(runs, tmp_path / "compare.html")
    assert "their columns have nothing in common" in found.text
    assert ["latent.size", "5", "5", "7"] in found.rows


def test_scores_are_side_by_side_with_floors_below(runs, tmp_path):
    copies = []
    for number, run in enumerate(runs[:2]):
        copy = shutil.copytree(run, tmp_path / f"copy{number}")
        line = {"step": 8, "seconds": 1.0, "agreement/a/b": 0.7 + number / 10, "agreement/a/b/unrelated": 0.25}
        with (copy / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        copies.append(copy)
    with (copies[0] / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 8, "seconds": 1.0, "one-alone": 3}) + "\n")
    found = page(copies, tmp_path / "compare.html")
    found.rows = [[cell.strip() for cell in row] for row in found.rows]  # steps stand in elements of their own
    assert ["agreement/a/b", "0.7", "0.8"] in found.rows
    assert "(8)" in found.text
    assert ["agreement/a/b/unrelated", "0.25", "0.25"] in found.rows
    assert ["one-alone", "3", ""] in found.rows
    text = (tmp_path / "compare.html").read_text()
    assert '<tr class="below"><th scope="row">agreement/a/b/unrelated' in text
    curves = json.loads(re.search(r'id="curves-data">(.*?)</script>', text)[1])
    agreement = next(curve for curve in curves if curve["title"] == "agreement/a/b")
    assert [line["label"] for line in agreement["lines"]] == ["A", "B"]  # a line for each run
    assert agreement["data"][0] == [8]
    assert not any("loss" in curve["title"] for curve in curves)


def test_settings_that_differ_are_short(tmp_path):
    """Options with their defaults are left out of lists, and of components that only one of the runs has."""
    changes = {
        "one": ("losses=[non-saturating]", "domains.b.dataset.scale=0.5"),
        "two": (
            "losses=[non-saturating, {name: r1, gamma: 2.0}]",
            "training.ema=null",
            "domains.c={dataset: {name: tiny, pool: c}}",
        ),
    }
    found = page(
        [train(tiny.config(*given), tmp_path / name, plugins=tiny.plugins()).path for name, given in changes.items()],
        tmp_path / "compare.html",
    )
    settings = {row[0]: row[1:] for row in found.rows[3:]}
    assert settings["losses"] == ["[non-saturating]", "[non-saturating, {name: r1, gamma: 2.0}]"]
    assert settings["training.ema"] == ["0.9", "null"]
    assert settings["domains.b.dataset.scale"] == ["0.5", "1.0"]
    assert settings["domains.c.dataset.name"] == ["", "tiny"]
    assert not [
        key
        for key in settings
        if key.startswith("domains.c.") and key not in ("domains.c.dataset.name", "domains.c.dataset.pool")
    ]


def test_equal_runs_have_equal_settings(runs, tmp_path):
    copy = shutil.copytree(runs[0], tmp_path / "copy")
    assert "None: all settings are equal." in page([runs[0], copy], tmp_path / "compare.html").text


def test_a_run_without_a_checkpoint_and_a_model_without_a_run(runs, tmp_path):
    young = shutil.copytree(runs[0], tmp_path / "young")
    shutil.rmtree(young / "checkpoints")
    (young / "checkpoints").mkdir()
    model = tmp_path / "exported.safetensors"
    shutil.copy(runs[1] / "checkpoints" / "step-0000008" / "model.safetensors", model)
    found = page([young, model], tmp_path / "compare.html")
    assert "A: There is no checkpoint yet." in found.text
    assert len(found.pictures) == 1
    assert any(row[:1] == ["B"] and "model" in row for row in found.rows)


def test_text_of_users_is_escaped(runs, tmp_path):
    copy = shutil.copytree(runs[0], tmp_path / "<b>bold")
    text = write_comparison([runs[0], copy], tmp_path / "compare.html", tiny.plugins()).read_text()
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a"], "one run, a, cannot be compared; give two or more"),
        (["a", "b", "./a"], "a is given twice; give each run once"),
        ([f"r{n}" for n in range(27)], "27 runs are too many for a page; give at most 26"),
    ],
)
def test_wrong_numbers_of_runs_are_errors(paths, message):
    with pytest.raises(InputError, match=message):
        check_runs([Path(path) for path in paths])


def test_the_command_writes_the_page(command, runs):
    result = command("compare", *runs[:2], "--plugin", TINY)
    assert (result.exit_code, result.stdout) == (0, "compare.html\n"), result.output
    assert Page(Path("compare.html").read_text()).pictures
    rejected(command("compare", runs[0]), "cannot be compared")
    rejected(command("compare", *runs[:2], "--output", "c.txt"), "a comparison is an .html file")
    rejected(command("compare", runs[0], "nowhere", "--plugin", TINY), "nowhere: no such run")
    rejected(command("compare"), "Missing argument 'RUN RUN...'")
