"""The same configuration and seed give the same run, wherever the data lie and whatever was done before."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from coupling import evaluate, load_model, train
from coupling.api import parse_config
from coupling.data.domain_data import open_domains
from coupling.errors import ConfigError, InputError
from coupling.runs import checkpoint
from tests.conftest import TINY
from tests.support import killed_runs
from tests.support import tiny_plugin as tiny

COUNT = 40
METRIC = {"name": "frechet-distance", "domain": "a", "features": "pixels", "count": 10, "every": 4}


def draw(root, count=COUNT, seed=0):
    """A folder of different pictures, 4x4, in two subfolders."""
    source = np.random.default_rng(seed)
    for number in range(count):
        file = root / f"{number % 2}" / f"{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.integers(0, 255, (4, 4, 3), np.uint8)).save(file)
    return root


def values(path, *overrides, **options):
    """A configuration whose two domains share the images of ``path``."""
    made = tiny.values(*overrides)
    entry = {"name": "image-folder", "path": str(path), **options}
    made["domains"] = {"a": {"dataset": dict(entry)}, "b": {"dataset": {**entry, "transform": "negative"}}}
    return made


def configuration(path, *overrides, **options):
    return parse_config(values(path, *overrides, **options), plugins=tiny.plugins())


def run(path, output, *overrides, resume=False, **options):
    return train(configuration(path, *overrides, **options), output, resume=resume, plugins=tiny.plugins()).path


def opened(config):
    return open_domains(config, tiny.plugins().registry)


def assert_same(one, other):
    """The last checkpoints of two runs are equal bit for bit, and so are their logs but for the seconds."""
    found = [checkpoint.newest(path / "checkpoints") for path in (one, other)]
    assert [complaints for _, complaints in found] == [[], []]
    ours, theirs = (killed_runs.everything(newest) for newest, _ in found)
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    logs = [[json.loads(line) for line in (p / "metrics.jsonl").read_text().splitlines()] for p in (one, other)]
    assert [row | {"seconds": 0} for row in logs[0]] == [row | {"seconds": 0} for row in logs[1]]


def contents(config):
    """The pictures of each domain, as they are read."""
    made = opened(config)
    for data in made.values():
        data.prepare()
    return {name: data.dataset.batch(data.indices.tolist()) for name, data in made.items()}


def recorded(run):
    return json.loads((run / "environment.json").read_text())["data"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pictures(tmp_path):
    return draw(tmp_path / "pictures")


# -- places ------------------------------------------------------------------------------------------


def test_two_places_give_the_same_weights_bit_for_bit(tmp_path, pictures, monkeypatch):
    whole = run(pictures, tmp_path / "whole", metrics := f"metrics=[{json.dumps(METRIC)}]")
    copy = Path(shutil.copytree(pictures, tmp_path / "elsewhere" / "deep"))
    for file in copy.rglob("*.png"):
        os.utime(file, (1, 1))  # a copy need not keep the times
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "other cache"))
    moved = run(copy, tmp_path / "moved", metrics)
    assert_same(whole, moved)  # weights, averages, optimizers, losses and metrics
    assert recorded(whole) == recorded(moved)
    zipped = run(shutil.make_archive(str(tmp_path / "packed"), "zip", pictures), tmp_path / "zipped", metrics)
    assert_same(whole, zipped)


def test_a_moved_data_set_is_accepted_by_resume_and_evaluate(tmp_path, pictures):
    whole = run(pictures, tmp_path / "whole", "training.steps=8")
    parts = run(pictures, tmp_path / "parts", "training.steps=4")
    moved = pictures.rename(tmp_path / "moved")
    run(moved, parts, "training.steps=8", resume=True)
    assert_same(whole, parts)
    assert f"path: {moved}" in (parts / "config.yaml").read_text()
    model = load_model(whole, plugins=tiny.plugins())
    model.save(tmp_path / "model.safetensors")
    place = [f"domains.{d}.dataset.path={moved}" for d in "ab"]
    for subject in (whole, tmp_path / "model.safetensors"):
        evaluate(subject, metrics=[METRIC], overrides=place, plugins=tiny.plugins())


def test_other_images_in_the_same_place_are_rejected_by_resume_and_evaluate(tmp_path, pictures):
    before = run(pictures, tmp_path / "run", "training.steps=4")
    load_model(before, plugins=tiny.plugins()).save(tmp_path / "model.safetensors")
    shutil.rmtree(pictures)
    draw(pictures, seed=1)
    with pytest.raises(InputError, match=r"trained on other data:\n  domains\.a: image-folder:\w+:20 of 40:\w+ -> "):
        run(pictures, before, "training.steps=8", resume=True)
    for subject in (before, tmp_path / "model.safetensors"):
        with pytest.raises(InputError, match=r"trained on other data:\n  domains\.a: image-folder"):
            evaluate(subject, metrics=[METRIC], plugins=tiny.plugins())


def test_the_same_images_under_other_names_are_other_samples(tmp_path, pictures):
    """The pictures are the same, but each domain gets others of them."""
    before = run(pictures, tmp_path / "run", "training.steps=4")
    for file in sorted(pictures.rglob("*.png")):
        file.rename(file.with_name(f"x{file.name}"))
    with pytest.raises(InputError, match="trained on other data") as error:
        run(pictures, before, "training.steps=8", resume=True)
    content = [line.split(" -> ") for line in str(error.value).splitlines() if " -> " in line]
    assert all(old.split(":")[2] == new.split(":")[1] for old, new in content)


def test_other_options_still_make_another_run(tmp_path, pictures):
    before = run(pictures, tmp_path / "run", "training.steps=4")
    with pytest.raises(InputError, match=r"another configuration:\n  domains\.a\.dataset\.mode: 'rgb' -> 'gray'"):
        run(pictures, before, "training.steps=8", resume=True, mode="gray")


# -- runs of earlier versions ------------------------------------------------------------------------


def rewrite_record(run, part):
    """Let a run's record name the part of each domain, as earlier versions did."""
    file = run / "environment.json"
    environment = json.loads(file.read_text())
    for number, (name, text) in enumerate(environment["data"].items(), start=1):
        environment["data"][name] = ":".join([*text.split(":")[:-2], part.format(number)])
    file.write_text(json.dumps(environment))


def test_an_earlier_run_whose_cut_is_known_is_resumed(tmp_path, pictures):
    """All images of two folders: nothing was cut by the place."""
    made = values(pictures)
    made["domains"]["b"]["dataset"]["path"] = str(draw(tmp_path / "more", seed=2))
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    for path, steps in ((whole, 8), (parts, 4)):
        made["training"]["steps"] = steps
        train(parse_config(made, plugins=tiny.plugins()), path, plugins=tiny.plugins())
    rewrite_record(parts, "part1of1")
    made["training"]["steps"] = 8
    train(parse_config(made, plugins=tiny.plugins()), parts, resume=True, plugins=tiny.plugins())
    assert_same(whole, parts)
    assert recorded(parts) == recorded(whole)


def test_an_earlier_run_that_was_cut_by_the_place_is_rejected(tmp_path, pictures):
    before = run(pictures, tmp_path / "run", "training.steps=4")
    rewrite_record(before, "part{}of2")
    with pytest.raises(InputError, match=r"part1of2 -> image-folder.*\n    \(an earlier version .* by the path of its"):
        run(pictures, before, "training.steps=8", resume=True)
    with pytest.raises(InputError, match="an earlier version of coupling made this record"):
        evaluate(before, metrics=[METRIC], plugins=tiny.plugins())


# -- the first run and the second ----------------------------------------------------------------------


@pytest.fixture
def ruined(pictures):
    """One image of forty that cannot be read."""
    (pictures / "1" / "07.png").write_bytes(b"no image")
    return pictures


def test_the_halves_of_a_folder_with_a_ruined_image_are_disjoint(ruined, cache):
    first = contents(config := configuration(ruined, on_error="skip"))
    again = contents(config)
    shutil.rmtree(cache)
    anew = contents(config)
    assert [len(pictures) for pictures in first.values()] == [19, 20]
    assert not {x.numpy().tobytes() for x in first["a"]} & {x.numpy().tobytes() for x in first["b"]}
    for other in (again, anew):
        assert all(torch.equal(first[name], other[name]) for name in first)


def test_the_first_run_with_an_empty_cache_is_the_second(tmp_path, ruined, cache):
    metrics = "metrics=[" + json.dumps(METRIC) + ", {name: diversity, domain: b, count: 8}]"
    first = run(ruined, tmp_path / "first", metrics, on_error="skip")
    second = run(ruined, tmp_path / "second", metrics, on_error="skip")
    assert_same(first, second)
    assert recorded(first) == recorded(second)
    shutil.rmtree(cache)
    run(ruined, second, metrics, "training.steps=12", on_error="skip", resume=True)
    run(ruined, first, metrics, "training.steps=12", on_error="skip", resume=True)
    assert_same(first, second)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "c.yaml"],
        ["evaluate", "model.safetensors", "--metric", json.dumps(METRIC), "--output", "out"],
        ["transform", "model.safetensors", "picture.png", "--from", "a", "--to", "b", "--output", "out"],
    ],
    ids=lambda words: words[0],
)
def test_a_command_prints_the_same_with_an_empty_and_a_full_cache(tmp_path, ruined, command, words):
    made = values(ruined, "training.steps=2", on_error="skip")
    Path("c.yaml").write_text(yaml.safe_dump(made | {"metrics": [METRIC]}, sort_keys=False))
    shutil.copy(ruined / "0" / "00.png", "picture.png")
    model = load_model(run(ruined, tmp_path / "run", "training.steps=2", on_error="skip"), plugins=tiny.plugins())
    model.save(tmp_path / "model.safetensors")
    shutil.rmtree(os.environ["COUPLING_DATA"])
    outputs = []
    for _ in range(2):
        result = command(*words, "--plugin", TINY)
        assert result.exit_code == 0, result.output
        outputs.append(result.stdout)
        shutil.rmtree("out", ignore_errors=True)
    assert outputs[0] == outputs[1]


# -- what lies in the folder ---------------------------------------------------------------------------


def test_a_run_may_lie_in_the_folder_of_its_images(tmp_path, pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    monkeypatch.setenv("COUPLING_DATA", str(pictures / "cache"))
    before = run(".", pictures / "runs" / "x-001", "training.steps=4")
    assert list((before / "samples").glob("*.png"))
    first = recorded(before)
    run(".", before, "training.steps=8", resume=True)
    assert recorded(before) == first
    assert_same(run(pictures, tmp_path / "whole", "training.steps=8"), before)


def test_an_image_in_common_is_a_warning_and_a_folder_in_common_an_error(tmp_path, pictures, capsys):
    more = draw(tmp_path / "more", seed=5)
    shutil.copy(pictures / "0" / "00.png", more / "0" / "twin.png")
    shutil.copy(pictures / "0" / "00.png", more / "0" / "00.png")  # of the same name too: so it is found
    made = values(pictures)
    made["domains"]["b"]["dataset"]["path"] = str(more)
    opened(parse_config(made, plugins=tiny.plugins()))
    assert "warning: domains 'a' and 'b' have samples in common: 1 image, 00.png, is in" in capsys.readouterr().err
    made["domains"]["b"]["dataset"]["path"] = str(pictures / "0")
    with pytest.raises(ConfigError, match=r"have samples in common: 20 images, .* set `part: all` in both"):
        opened(parse_config(made, plugins=tiny.plugins()))
