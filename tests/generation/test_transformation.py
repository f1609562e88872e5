"""The transform command."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import coupling
from coupling.data.pictures import to_pixels
from coupling.generation.encoder import Encoder
from coupling.generation.transformation import results_folder
from coupling.model.inversion import Search
from coupling.model.model import CoupledModel
from coupling.training.trainer import train
from tests.conftest import rejected
from tests.support import tiny_plugin as tiny
from tests.support.invertible_models import load, trained, transform, write_pictures


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch):
    monkeypatch.setattr("coupling.data.held_out.LEAST", 10)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def model(run):
    return load(run)


@pytest.fixture
def pictures(tmp_path, model):
    return write_pictures(tmp_path / "pictures", model)


@pytest.fixture
def copied(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def test_transform_writes_images_grid_and_errors(command, copied, pictures, model):
    result = transform(command, copied, pictures, "--from", "a", "--to", "b")
    assert result.exit_code == 0, result.output
    assert "pictures: 1 hidden or other files (" in result.stderr
    assert "95% of 10 held-out samples of 'a'" in result.stderr
    *rows, last = result.stdout.splitlines()
    assert last == f"{copied}/transformed"
    assert "inverting 10 real samples of 'a'" in result.stderr
    assert rows[0].split() == ["image", "error", "covered", "changes"]
    table = {Path(row.split()[0]).name: row.split()[1:] for row in rows[1:]}
    assert list(table) == ["checkers.png", "drawn0.png", "drawn1.png", "drawn2.png", "large.bmp"]
    assert all(table[f"drawn{n}.png"][1] == "yes" for n in range(3))
    assert table["checkers.png"][1] == "no"
    assert table["large.bmp"][2:] == ["resized", "from", "8×8"]
    assert "not covered: 1 of 5 images" in result.stderr
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
    assert "inverting 10 real samples" not in again.stderr


def test_the_threshold_can_be_given_or_left_out(command, copied, pictures):
    quick = ["--iterations", 3, "--restarts", 1]
    result = transform(command, copied, pictures, "--from", "a", "--threshold", 0.9, *quick)
    assert " no " not in result.stdout
    assert "held-out" not in result.stderr
    silent = transform(command, copied, pictures, "--from", "a", "--no-flag", *quick)
    assert silent.stdout.splitlines()[0].split() == ["image", "error", "changes"]
    assert "covered" in result.stdout
    assert "unknown" not in silent.stdout
    assert not (copied / "coverage.json").exists()


def test_undecodable_file_names_and_repeated_domains_work(command, copied, pictures, tmp_path):
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


def test_the_results_of_a_checkpoint_are_beside_it(command, copied, pictures):
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
    rejected(again, "mine: holds results of an earlier call (errors.csv); give another --output")


def test_two_calls_at_the_same_time_get_two_folders(copied):
    assert [results_folder(copied, None).name for _ in range(3)] == ["transformed", "transformed-2", "transformed-3"]


def test_a_wrong_argument_is_an_error(command, copied, pictures):
    def rejected_with(*arguments, fragment):
        rejected(transform(command, copied, *arguments), fragment)

    rejected_with(pictures, fragment="Missing option '--from'")
    rejected_with("--from", "a", fragment="Missing argument 'IMAGE...'")
    rejected_with(pictures, "--from", "aa", fragment="the model has no domain 'aa'; did you mean 'a'?")
    rejected_with(pictures, "--from", "a", "--to", "c", fragment="the model has no domain 'c'")
    rejected_with(pictures, "--from", "a", "--to", "a", fragment="--to a: is the domain that the images come from")
    rejected_with(pictures, "--from", "a", "--restarts", 0, fragment="0 is not in the range")
    rejected_with(pictures, "--from", "a", "--threshold", "nan", fragment="'nan' is not a number")
    rejected_with(pictures, "--from", "a", "--feature-weight", -1, fragment="-1.0 is not in the range")
    rejected_with(
        pictures,
        "--from",
        "a",
        "--feature-weight",
        1,
        "--feature-layer",
        7,
        fragment="error: --feature-layer 7; the dis",
    )
    rejected_with(pictures / "notes.txt", "--from", "a", fragment="notes.txt: not an image, damaged")
    rejected_with(pictures / "drawn9.png", "--from", "a", fragment="drawn9.png: no such image or folder; did you mean")
    assert not (copied / "transformed").exists()
    Path("file").write_text("x")
    quick = ["--iterations", 1, "--no-flag"]
    rejected_with(pictures, "--from", "a", *quick, "--output", "file", fragment="file: cannot be written")


@pytest.mark.parametrize(
    "arguments",
    [("--feature-weight", 1, "--feature-layer", 99), ("--output", "file/results")],
    ids=["option", "output"],
)
def test_a_mistake_is_found_before_any_work(command, copied, pictures, arguments):
    Path("file").write_text("x")
    text = rejected(transform(command, copied, pictures, "--from", "a", *arguments), f"{arguments[-1]}")
    assert text.count("\n") <= 1
    assert "inverting" not in text
    assert "warning" not in text


def test_one_bad_image_does_not_stop_the_others(command, copied, pictures):
    """The sound images get the results that they get alone; the others are listed, and the exit code is 2."""
    quick = ["--from", "a", "--iterations", 3, "--no-flag"]
    alone = transform(command, copied, pictures / "drawn0.png", pictures / "drawn1.png", *quick, "--output", "alone")
    assert alone.exit_code == 0, alone.output
    bad = pictures / "notes.txt", pictures / "missing.png"
    given = pictures / "drawn0.png", *bad, pictures / "drawn1.png"
    result = transform(command, copied, *given, *quick, "--output", "mixed")
    message = rejected(result, "2 of 4 images could not be used:")
    assert message.index("warning: 2 of 4 images cannot be used") < message.index("error: ")
    for line, path, reason in zip(message.splitlines()[-2:], bad, ("not an image", "no such image"), strict=True):
        assert line.startswith(f"  {path}: ")
        assert reason in line
    assert result.stdout == alone.stdout.replace("alone", "mixed")
    files = [path.relative_to("alone") for path in Path("alone").rglob("*.*")]
    assert len(files) == 6
    for file in files:
        assert (Path("mixed") / file).read_bytes() == (Path("alone") / file).read_bytes()


def test_one_bad_image_is_an_error_with_strict(command, copied, pictures):
    given = pictures / "drawn0.png", pictures / "notes.txt"
    result = transform(command, copied, *given, "--from", "a", "--strict")
    rejected(result, "1 of 2 images cannot be used:\n", "notes.txt: not an image")
    assert result.stdout == ""
    assert not (copied / "transformed").exists()


def test_a_model_of_one_domain_cannot_transform(tmp_path, command, pictures):
    values = tiny.values("training.steps=1")
    del values["domains"]["b"]
    config = coupling.api.parse_config(values, plugins=tiny.plugins())
    path = train(config, tmp_path / "one", plugins=tiny.plugins()).path
    rejected(transform(command, path, pictures, "--from", "a"), "the model has no other domain than 'a'")


def test_the_commands_options_reach_the_search(command, copied, pictures, monkeypatch):
    """The encoder reaches it too."""
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
    rejected(transform(command, copied, pictures, "--from", "a", "--device", "cuda:99"), "--device cuda:99: ")


def test_transform_trains_an_encoder_once(command, copied, pictures, monkeypatch):
    monkeypatch.setattr("coupling.generation.encoder.STEPS", 20)
    arguments = (copied, pictures, "--from", "a", "--restarts", "2", "--iterations", "10", "--encoder")
    result = transform(command, *arguments)
    assert result.exit_code == 0, result.output
    assert "training an encoder of 'a': 0/20" in result.stderr
    (kept,) = copied.glob("encoder-a-*.safetensors")
    stamp = kept.stat().st_mtime_ns
    again = transform(command, *arguments)
    assert again.stdout.splitlines()[:-1] == result.stdout.splitlines()[:-1]
    assert "learning" not in again.stderr
    assert kept.stat().st_mtime_ns == stamp
    assert len(json.loads((copied / "coverage.json").read_text())) == 1
    transform(command, *arguments[:-1])
    assert len(json.loads((copied / "coverage.json").read_text())) == 2  # another search has other errors
