"""coupling evaluate: which model, which metrics, what is printed, and what is written where."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console

import coupling
from coupling.api import load_model
from coupling.cli.score_tables import print_scores
from coupling.config.components import MetricConfig
from coupling.errors import ConfigError, InputError
from coupling.metrics import probe
from coupling.metrics.choice import choose_metrics
from coupling.metrics.evaluate import evaluate
from coupling.runs.directory import RunDirectory
from coupling.runs.measured import Measured, Undefined
from coupling.training.trainer import train
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny
from tests.support import toy_domains as squares

METRICS = (
    "metrics=[{name: brightness, every: 2}, {name: brightness, domain: b}, "
    "{name: pixel-agreement, from: a, to: b, count: 8}]"
)
STEPS = "training.steps=4", "training.checkpoint_every=2"


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    train(tiny.config(METRICS, *STEPS), path, plugins=tiny.plugins())
    return path


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def measure(path, *metrics, **options):
    return evaluate(path, metrics or None, plugins=tiny.plugins(), **options)


@pytest.mark.parametrize("what", ["a run", "a model"])
def test_settings_of_the_training_cannot_be_changed(run, what):
    """By the seed the data are cut: with another one, samples of the training would count as held out."""
    given = run if what == "a run" else load_model(run, plugins=tiny.plugins())
    before = lines(run)
    for change, fragment in (("seed=5", "--set seed: 0 -> 5: "), ("latent.size=7", "--set latent.size: 5 -> 7: ")):
        with pytest.raises(InputError, match=fragment):
            measure(given, overrides=[change])
    other = "domains={a: {dataset: {name: tiny, count: 33}}, c: {dataset: {name: tiny, count: 33}}}"
    with pytest.raises(InputError, match="domains: no domain is called 'c'; known: a, b"):
        measure(given, "brightness", overrides=[other, "metrics=[]", "sharing={}"][:1])
    assert lines(run) == before


def test_all_configured_metrics_of_the_newest_checkpoint(run):
    before = lines(run)
    result = measure(run)
    assert result.step == 4
    assert [score.name for score in result.scores] == ["brightness/a", "brightness/b", "pixel-agreement/a/b"]
    *unchanged, added = lines(run)
    assert unchanged == before
    assert added["step"] == added["checkpoint"] == 4
    assert added["seconds"] == before[-1]["seconds"]
    trained = {k: v for line in before if line["step"] == 4 for k, v in line.items() if k in result.values}
    assert {k: pytest.approx(v, rel=1e-5) for k, v in trained.items()} == {k: result.values[k] for k in trained}
    assert list(added)[:3] == ["step", "seconds", "checkpoint"]
    assert all(isinstance(value, int | float) for value in added.values())
    assert not (run / ".lock").exists()


def test_the_record_says_what_each_value_was_computed_with(run):
    assert json.loads((run / "evaluation.json").read_text())["brightness/a"]["2"]["step"] == 2  # in training too
    result = measure(run)
    record = json.loads((run / "evaluation.json").read_text())["pixel-agreement/a/b"]["4"]
    assert record == json.loads(json.dumps(result.records["pixel-agreement/a/b"]))
    assert record["value"] == result.values["pixel-agreement/a/b"]
    assert record["metric"] == {"name": "pixel-agreement", "from": "a", "to": "b", "count": 8, "tolerances": []}
    assert record["pairs"] == 8
    assert record["data"] == {
        "a": "tiny:pool:33:16 of 33:06f17dd30e89f3cfc13e3c5ab848fa858e9ba5ec0e7aa2fe65df85c0fe338681",
        "b": "tiny:pool:33:17 of 33:90c30b70764a5779f790a96a1530b92e220e02712d2661fbe95d2219c39c9062",
    }
    assert record["seed"] == 0
    assert record["device"] == "cpu"
    assert record["better"] == "higher"
    assert set(record["versions"]) == {"coupling", "torch"}


def test_chosen_metrics_with_and_without_options(run):
    assert [s.name for s in measure(run, "brightness").scores] == ["brightness/a", "brightness/b"]
    assert [s.name for s in measure(run, "brightness:domain=b").scores] == ["brightness/b"]
    asked = {"name": "pixel-agreement", "from": "b", "to": "a", "count": 4}
    for spelt in (asked, "pixel-agreement:from=b,to=a,count=4", json.dumps(asked)):
        result = measure(run, spelt)
        assert next(iter(result.values)) == "pixel-agreement/b/a"
        assert result.records["pixel-agreement/b/a"]["pairs"] == 4


def test_options_may_hold_lists_and_mappings():
    config = tiny.config()
    text = "pixel-agreement:from=a,to=b,tolerances=[0.1, 0.2]"
    (entry, place), = choose_metrics(config, [text], tiny.plugins())  # fmt: skip
    assert entry == MetricConfig(
        name="pixel-agreement", options={"from": "a", "to": "b", "count": 10_000, "tolerances": [0.1, 0.2]}
    )
    assert place == "--metric pixel-agreement"
    text = "label-agreement:from=a,to=b,probe={name: tiny, pool: x, count: 40}"
    ((entry, _),) = choose_metrics(config, [text], tiny.plugins())
    assert entry.options["probe"] == {"name": "tiny", "pool": "x", "count": 40}


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("brightnes", "--metric brightnes: no metric is called 'brightnes'; did you mean 'brightness'?"),
        ("brightness:domian=a", "unknown option 'domian'"),
        ("brightness:domain", "'domain' is not key=value; write name:key=value"),
        ("pixel-agreement:count=0", "count"),
        ("label-agreement", "give its options: --metric label-agreement:key=value,key=value"),
        ("{name: brightness, domain: [}", "not valid YAML"),
        ("label-agreement:from=a,to=c", "to: no domain is called 'c'"),
        ("{domain: a}", "is required and not given"),
    ],
)
def test_metrics_that_are_not_valid_are_errors(run, metric, message):
    before = (run / "metrics.jsonl").read_text()
    with pytest.raises(ConfigError) as error:
        measure(run, metric)
    assert message in str(error.value)
    assert (run / "metrics.jsonl").read_text() == before
    assert not (run / ".lock").exists()


def test_a_configuration_without_metrics_is_an_error(tmp_path):
    train(tiny.config("training.steps=1"), tmp_path / "run", plugins=tiny.plugins())
    with pytest.raises(InputError, match=r"names no metrics; name one by --metric NAME.*brightness"):
        measure(tmp_path / "run")
    assert measure(tmp_path / "run", "brightness").step == 1


def test_the_best_checkpoint_or_any_can_be_measured(run):
    summary = json.loads((run / "summary.json").read_text())
    best = int(summary["best_checkpoint"][-7:])
    assert measure(run, which="best").step == best
    result = measure(run / "checkpoints/step-0000002", "brightness:domain=a")
    assert result.step == 2
    added = lines(run)[-1]
    assert (added["step"], added["checkpoint"]) == (2, 2)
    assert added["seconds"] <= lines(run)[0]["seconds"]
    assert measure(run / "checkpoints/step-0000002/model.safetensors").step == 2
    with pytest.raises(InputError, match="is one model already"):
        measure(run / "checkpoints/step-0000002", which="best")
    (run / "summary.json").write_text("{}")
    with pytest.raises(InputError, match="keeps no best checkpoint"):
        measure(run, which="best")


def test_a_run_that_a_living_process_trains_is_left_alone(run):
    living = RunDirectory(run, tiny.config())
    living.lock()
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    try:
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} .* or give another --output"):
            measure(run)
        result = measure(run, output=run.parent / "elsewhere")  # beside it, one may look
    finally:
        assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
        living.release()
    assert lines(run.parent / "elsewhere")[-1]["checkpoint"] == result.step == 4


def test_measured_values_stay_when_the_run_is_resumed(run):
    """The checkpoint is what it was; what the training itself measured last is measured again at its new end."""
    measure(run, "brightness:domain=b")
    config = tiny.config(METRICS, "training.steps=6", "training.checkpoint_every=2")
    train(config, run, resume=True, plugins=tiny.plugins())
    evaluated = [line for line in lines(run) if "checkpoint" in line]
    assert [line["step"] for line in evaluated] == [4]
    seconds = [line["seconds"] for line in lines(run)]
    assert seconds == sorted(seconds)
    assert sum("brightness/b" in line for line in lines(run)) == 2  # the one evaluated at 4, the one at the end


def test_a_model_without_a_run_can_be_measured(run, tmp_path, capsys):
    file = tmp_path / "exported.safetensors"
    shutil.copy(run / "checkpoints/step-0000004/model.safetensors", file)
    expected = measure(run, "brightness").values
    assert measure(file, "brightness").values == expected
    assert measure(load_model(file, plugins=tiny.plugins()), "brightness").values == expected
    assert not (tmp_path / "metrics.jsonl").exists()
    measure(file, "brightness", output=tmp_path / "new" / "folder")
    assert lines(tmp_path / "new" / "folder")[-1].keys() == {"step", "seconds", "checkpoint", *expected}
    assert set(json.loads((tmp_path / "new" / "folder" / "evaluation.json").read_text())) == {
        "brightness/a",
        "brightness/b",
    }


def test_other_data_than_those_of_the_training_are_an_error(run):
    environment = json.loads((run / "environment.json").read_text())
    environment["data"]["b"] = "tiny:pool:34:part2of2"
    (run / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(InputError, match=r"trained on other data:\n  domains\.b: tiny:pool:34.* -> tiny"):
        measure(run)


def test_data_of_another_domain_are_named(run):
    environment = json.loads((run / "environment.json").read_text())
    before = dict(environment["data"])
    environment["data"] = {"a": before["b"], "b": before["a"]}
    (run / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(InputError) as error:
        measure(run)
    first, a, b = str(error.value).splitlines()
    assert first.startswith("restore the data, or give the place of data that have moved by --set domains.NAME")
    assert a.endswith("(the data of domain 'b')")
    assert b.endswith("(the data of domain 'a')")
    assert max(map(len, (a, b))) < 120


def test_an_unknown_device_is_an_error(run):
    with pytest.raises(InputError, match=r"--device gpu: .*give cpu, or leave it out"):
        measure(run, device="gpu")


def test_the_command_prints_and_writes_the_values(train, command):
    assert train(METRICS, *STEPS, "--output", "out").exit_code == 0
    result = command("evaluate", "out", "--plugin", TINY, "--metric", "pixel-agreement", "--verbose")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    values = lines(Path("out"))[-1]
    shown = [f"{values[f'pixel-agreement/a/b{end}']:.4g}" for end in ("", "/unrelated")]
    assert ["pixel-agreement/a/b", *shown] in rows
    assert (
        "name: pixel-agreement, from: a, to: b, count: 8, tolerances: none; seed 0; higher is better" in result.stdout
    )
    assert "data of a: tiny:pool:33:16 of 33:06f17dd3" in result.stdout
    written = "appended to out/metrics.jsonl\ndetails: out/evaluation.json"
    assert written in result.stderr
    at_checkpoint = command("evaluate", "out/checkpoints/step-0000004", "--plugin", TINY, "--metric", "pixel-agreement")
    assert written in at_checkpoint.stderr


def test_descriptions_keep_their_indentation_in_a_narrow_terminal(run):
    text = io.StringIO()
    print_scores(measure(run, "pixel-agreement"), Console(file=text, width=60), verbose=True)
    described = text.getvalue().split("\npixel-agreement/a/b\n")[1].splitlines()
    assert len(described) > 2
    assert all(line.startswith("  ") and len(line.rstrip()) <= 60 for line in described)


def test_the_command_prints_one_value_for_each_metric(train, command):
    """Details, and what a metric was computed with, are printed with --verbose only."""
    tolerances = METRICS.replace("count: 8", "count: 8, tolerances: [0.1, 0.2]")
    assert train(tolerances, *STEPS, "--output", "out").exit_code == 0
    result = command("evaluate", "out", "--plugin", TINY)
    assert result.exit_code == 0, result.output
    step, heading, *rows = [line.split() for line in result.stdout.splitlines()]
    assert step == ["step", "4"]
    assert heading[:2] == ["metric", "value"]
    assert [row[0] for row in rows] == ["brightness/a", "brightness/b", "pixel-agreement/a/b"]
    assert "more values, and what all were computed with: --verbose" in result.stderr
    verbose = command("evaluate", "out", "--plugin", TINY, "--verbose").stdout
    assert len(verbose.splitlines()) > len(rows) + 2
    assert "tolerances: 0.1, 0.2" in verbose


def test_undefined_values_are_shown_as_such_with_the_reason(run, monkeypatch):
    same = Measured(Undefined("the samples do not differ"), {"unrelated": 0.125})
    monkeypatch.setattr(tiny.Brightness, "measure", lambda self, evaluation: same)
    result = measure(run, "brightness:domain=a")
    assert math.isnan(result.values["brightness/a"])
    assert result.undefined == {"brightness/a": "the samples do not differ"}
    assert lines(run)[-1]["brightness/a"] is None
    assert lines(run)[-1]["brightness/a/unrelated"] == 0.125
    record = json.loads((run / "evaluation.json").read_text())["brightness/a"]["4"]
    assert record["value"] is None
    assert record["undefined"] == result.undefined
    for verbose, reason in ((False, "brightness/a is undefined: the"), (True, "  undefined brightness/a: the")):
        screen = Console(file=io.StringIO(), width=100)
        print_scores(result, screen, verbose=verbose)
        shown = screen.file.getvalue()
        assert ["brightness/a", "undefined", "0.125"] in [line.split() for line in shown.splitlines()]
        assert f"{reason} samples do not differ" in shown


def test_ceilings_and_the_way_between_floor_and_ceiling_have_columns(run, monkeypatch):
    made = Measured(
        0.5, {"unrelated": 0.25}, {"true-pairs": 0.75, "same-image": 0.625}, {"way": 0.5, "corner": Measured(0.125)}
    )
    monkeypatch.setattr(tiny.Brightness, "measure", lambda self, evaluation: made)
    result = measure(run, "brightness:domain=a")
    assert result.values["brightness/a/way"] == lines(run)[-1]["brightness/a/way"] == 0.5
    screen = Console(file=io.StringIO(), width=100)
    print_scores(result, screen, verbose=True)
    shown = [line.split() for line in screen.file.getvalue().splitlines()]
    assert ["metric", "value", "unrelated", "same", "image", "real", "way"] in shown
    assert ["brightness/a", "0.5", "0.25", "0.625", "0.75", "0.5"] in shown
    assert ["brightness/a/corner", "0.125"] in shown
    assert not any("brightness/a/way" in line for line in shown)


def test_errors_of_the_command_are_one_message(train, command, tmp_path):
    assert train(METRICS, "--output", "out").exit_code == 0
    rejected(command("evaluate", "nowhere", "--plugin", TINY), "nowhere: no such run")
    rejected(
        command("evaluate", "out", "--plugin", TINY, "--metric", "pixel-agrement"), "did you mean 'pixel-agreement'?"
    )
    rejected(command("evaluate", "out", "--plugin", TINY, "--checkpoint", "worst"), "'worst' is not one of")
    (tmp_path / "file").write_text("")
    rejected(command("evaluate", "out", "--plugin", TINY, "--output", "file"), "--output file: cannot be written")
    changed = command("evaluate", "out", "--plugin", TINY, "--set", "domains.a.dataset.count=34")
    rejected(changed, "domain")


def test_metrics_with_probes_train_and_measure_in_a_run(tmp_path, monkeypatch):
    """A probe is learned before the first step, and kept for the next measurement."""
    monkeypatch.setattr(probe, "STEPS", 40)
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    values = tiny.values(*STEPS)
    values["domains"] = {
        "a": {"dataset": {"name": "squares", "count": 120, "test": 60}},
        "b": {"dataset": {"name": "squares", "count": 120, "test": 60, "transform": "negative"}},
    }
    values["metrics"] = [
        {"name": "label-agreement", "from": "a", "to": "b", "count": 20, "every": 2},
        {"name": "frechet-distance", "domain": ["a", "b"], "count": 20},
    ]
    config = coupling.api.parse_config(values, plugins=squares.PLUGINS)
    assert yaml.safe_load(config.yaml())["metrics"][1]["domain"] == ["a", "b"]
    run = train(config, tmp_path / "run", plugins=squares.PLUGINS)
    assert sum("label-agreement/a/b" in line for line in lines(run.path)) == 2
    monkeypatch.setattr(probe.Probe, "train", lambda _: pytest.fail("learned again"))
    result = evaluate(run.path, plugins=squares.PLUGINS)
    last = {k: v for line in lines(run.path)[:-1] for k, v in line.items()}
    for name, value in result.values.items():
        assert value == pytest.approx(last[name], rel=1e-4), name


def test_an_impossible_metric_is_an_error_before_the_first_step(tmp_path, monkeypatch):
    values = tiny.values(*STEPS)
    values["domains"] = {
        name: {"dataset": {"name": "squares", "kind": "color", "count": 120, "test": 60}} for name in "ab"
    }
    values["metrics"] = [{"name": "label-agreement", "from": "a", "to": "b"}]
    with pytest.raises(ConfigError, match=r"metrics\[0\]\.probe: samples of squares:pool\+test have no labels"):
        train(
            coupling.api.parse_config(values, plugins=squares.PLUGINS),
            tmp_path / "run",
            plugins=squares.PLUGINS,
        )
    assert not (tmp_path / "run").exists()
