"""A sweep's file: the runs that it makes, and its errors; nothing is trained here."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling.errors import ConfigError
from coupling.plugins import installed
from coupling.sweeps.grid import Grid, SweepConfig, load_grid
from coupling.sweeps.json_schema import sweep_schema
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny

AXES = {
    "discriminator": {"none": {"sharing.discriminator": []}, "3": {"sharing.discriminator": [{"last": 1}]}},
    "generator": {
        "1": {"sharing.generator": [{"first": 1}]},
        "1-2": {"sharing.generator": [{"first": 2}]},
    },
}


def sweep_values(**changes):
    values = {"name": "s", "base": "tiny.yaml", "axes": AXES, "seeds": [0, 1]}
    return {key: value for key, value in {**values, **changes}.items() if value is not ...}


@pytest.fixture
def sweep(command):
    """``sweep(["--jobs", 1], seeds=[0])``: the command on the tiny plugin's configuration, with a metric."""

    def run(*arguments, to_base=(), **changes):
        plain = tiny.values("metrics=[{name: brightness, every: 2}]", "training.steps=4", *to_base)
        Path("tiny.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
        Path("s.yaml").write_text(yaml.safe_dump(sweep_values(**changes), sort_keys=False))
        return command("sweep", "s.yaml", "--plugin", TINY, *arguments)

    return run


@pytest.fixture
def dry(sweep):
    """The same, but nothing is run."""
    yield lambda *arguments, **changes: sweep("--dry-run", *arguments, **changes)
    assert not Path("sweeps").exists()


def grid(**changes):
    base = tiny.values("metrics=[brightness]")
    return Grid(SweepConfig.model_validate(sweep_values(**{"base": base, **changes})), tiny.plugins())


def test_every_combination_is_a_run_with_its_own_configuration_and_folder():
    runs = grid().runs
    assert [(*run.labels, run.seed) for run in runs] == list(itertools.product(["none", "3"], ["1", "1-2"], [0, 1]))
    assert len({run.folder for run in runs}) == len(runs)
    for run in runs:
        discriminator, generator = run.labels
        assert [rule.first for rule in run.config.sharing.generator] == [{"1": 1, "1-2": 2}[generator]]
        assert [rule.last for rule in run.config.sharing.discriminator] == ([] if discriminator == "none" else [1])
        assert run.config.seed == run.seed
    assert runs[3].folder == Path("runs/discriminator=none/generator=1-2/seed-1")
    assert runs[3].title == "discriminator=none, generator=1-2, seed 1"


def test_a_list_of_values_is_an_axis_on_the_key_that_it_is_called_after():
    listed = grid(axes={"training.batch_size": [2, 4], "optimizer.name": ["sgd", "adam"]})
    assert listed.axes == {"training.batch_size": ["2", "4"], "optimizer.name": ["sgd", "adam"]}
    assert [(r.config.training.batch_size, r.config.optimizer.name) for r in listed.runs[::2]] == [
        (2, "sgd"), (2, "adam"), (4, "sgd"), (4, "adam")
    ]  # fmt: skip


def test_seeds_alone_are_a_sweep():
    runs = grid(axes={}, seeds=[3, 1]).runs
    assert [(run.folder, run.title) for run in runs] == [
        (Path("runs/seed-3"), "seed 3"),
        (Path("runs/seed-1"), "seed 1"),
    ]


def test_values_of_one_cell_do_not_reach_another():
    """Labels may be one YAML node by an anchor, and an axis may change inside what another has set."""
    losses = ["non-saturating", {"name": "slow", "seconds": 0.0}]
    axes = {
        "losses": {"slow": {"losses": losses}},
        "pause": {"1": {"losses.1.seconds": 1}, "2": {"losses.1.seconds": 2}},
    }
    runs = grid(axes=axes).runs
    assert [run.config.losses[1].options["seconds"] for run in runs[::2]] == [1, 2]
    assert losses[1]["seconds"] == 0.0


values = st.one_of(st.integers(1, 9), st.floats(0.001, 0.1))
axes = st.dictionaries(
    st.sampled_from(["training.batch_size", "training.log_every", "latent.size", "training.steps"]),
    st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True), max_size=3,
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(axes=axes, seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True))
def test_a_grid_equals_nested_loops(axes, seeds):
    made = grid(axes=axes, seeds=seeds)
    expected = []
    for point in itertools.product(*axes.values()):
        for seed in seeds:
            plain = tiny.values(
                "metrics=[brightness]", f"seed={seed}", *(f"{k}={v}" for k, v in zip(axes, point, strict=True))
            )
            expected.append(plain)
    assert [run.config.yaml() for run in made.runs] == [
        tiny.parse_config(p, plugins=tiny.plugins()).yaml() for p in expected
    ]
    again = Grid(SweepConfig.model_validate(yaml.safe_load(made.yaml())), tiny.plugins())
    assert [run.config for run in again.runs] == [run.config for run in made.runs]


def test_set_changes_the_sweep_or_all_its_runs(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny.values("metrics=[brightness]")))
    path = tmp_path / "deeper" / "s.yaml"  # the base is found from the sweep's own folder
    path.write_text(yaml.safe_dump(sweep_values(base="../tiny.yaml", set={"training.steps": 7, "optimizer.lr": 0.5})))
    made = load_grid(path, ["seeds=[5]", "training.steps=9", "training.steps=3"], plugins=tiny.plugins())
    assert {(run.seed, run.config.training.steps, run.config.optimizer.lr) for run in made.runs} == {(5, 3, 0.5)}
    assert made.config.base["name"] == "tiny"  # whole: it runs again as it is


def test_only_chooses_cells():
    made = grid()
    assert [run.labels for run in made.chosen(["generator=1"])] == [("none", "1")] * 2 + [("3", "1")] * 2
    assert [run.labels for run in made.chosen(["generator=1", "discriminator=3"])] == [("3", "1")] * 2
    assert made.chosen(["generator=1", "generator=1-2"]) == made.chosen([]) == made.runs
    for choice, message in (
        ("generator", "--only generator: write it as AXIS=LABEL"),
        ("genrator=1", "no axis is called 'genrator'; did you mean 'generator'?"),
        ("generator=1_2", "no label of axis 'generator' is '1_2'; did you mean '1-2'?"),
    ):
        with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
            made.chosen([choice])


def axis(**labels):
    return {"axes": {"x": labels}}


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"sedes": [1]}, ["s.yaml: sedes: unknown key 'sedes'; did you mean 'seeds'?"]),
        ({"base": ...}, ["s.yaml: base: is required and not given"]),
        ({"name": "a/b"}, ["name: 'a/b' is not valid: a name consists of"]),
        ({"seeds": []}, ["seeds: [] is not valid"]),
        ({"seeds": [1, 1]}, ["seeds: [1, 1] is not valid: a seed is given twice"]),
        ({"seeds": [-1]}, ["seeds[0]: -1 is not valid"]),
        ({"base": "tyni.yaml"}, ["s.yaml: base: tyni.yaml: no such file; did you mean 'tiny.yaml'?"]),
        ({"base": "s.yaml"}, ["base: s.yaml: is a sweep itself; name the configuration of a run"]),
        ({"base": {"name": "x"}}, ["cell discriminator=none, generator=1: domains: is required"]),
        (axis(), ["axes.x: {} is not valid"]),
        ({"axes": {"training.steps": [2, 2]}}, ["axis 'training.steps' lists 2 twice"]),
        ({"axes": {"a/b": {"1": {}}}}, ["axes.a/b", "printable characters and no /"]),
        ({"axes": {"x": {"a/b": {}}}}, ["axes.x.a/b", "printable characters and no /"]),
        ({"axes": {"seed": [1, 2]}}, ["axes.seed", "is not called seed; the seeds have their own key"]),
        (axis(a={"sharng.generator": []}), ["cell x=a: sharng: unknown key 'sharng'; did you mean 'sharing'?"]),
        (axis(a={"training.stps": 2}), ["cell x=a: training.stps: unknown key 'stps'; did you mean 'steps'?"]),
        (axis(a={"training.steps.much": 2}, b={}), ["cell x=a: training.steps"]),
        (axis(a={"name.b": 2}), ["cell x=a: name: "]),
        (axis(a={"sharing.generator.7.first": 1}), ["axes.x.a.sharing.generator.7.first: 'sharing.generator' is a"]),
        (axis(a={"seed": 2}), ["axes.x.a: seed: the seeds of a sweep's runs are its key `seeds`"]),
        ({"set": {"seed": 3}}, ["set.seed: the seeds of a sweep's runs are its key `seeds`"]),
        ({"set": {"sharing.generator": []}}, ["set.sharing.generator: is set by axis 'generator' too"]),
        ({"seeds": 2}, ["seeds: 2 is not valid: should be a list, such as [2]"]),
        ({"seeds": []}, ["seeds: [] is not valid: should have at least one entry"]),
        ({"set": {"training.stps": 3}}, ["training.stps: unknown key 'stps'; did you mean 'steps'?"]),
        (axis(a={"optimizer.lr": 0.5}, b={"optimizer.lr": 0.5}), ["cells x=a, seed 0 and x=b, seed 0 are the same"]),
        (
            {"axes": {"x": {"a": {"training.steps": 2}}, "y": {"a": {"training": {"steps": 3}}}}},
            ["axes.x.a: training.steps: is set by axis 'y' too (axes.y.a: training), so one of the values"],
        ),
        (
            {"axes": {"x": {"a": {"domains.a.dataset.half": 1}}, "y": {"a": {"domains.*.dataset": "tiny"}}}},
            ["axes.x.a: domains.a.dataset.half: is set by axis 'y' too (axes.y.a: domains.*.dataset), so one of"],
        ),
        (axis(a={"generator.architecture": "linaer"}), ["cell x=a: generator.architecture: no", "'linear'?"]),
        (
            axis(a={}, b={"sharing.generator": [{"first": 9}]}),
            ["cell x=b, seed 0: sharing.generator[0] {first: 9}: the generator of domain 'a' has layers 1"],
        ),
        (axis(a={}, b={"training.batch_size": 99}), ["cell x=b, seed 0: training.batch_size: 99 is larger than the"]),
        ({"metric": "brightnes/a"}, ["metric: no run measures 'brightnes/a'", "'brightness/a'?"]),
        (axis(a={"metrics": []}), ["cell x=a, seed 0: metrics: there are none, so there is nothing"]),
    ],
)  # fmt: skip
def test_errors_of_a_sweep_are_found_before_anything_is_trained(sweep, changes, fragments):
    rejected(sweep(**changes), *fragments)
    assert not Path("sweeps").exists()


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--set", "sharing.generator=[]"], ["is set by axis 'generator' too (axes.generator.1: sharing.generator)"]),
        (["--set", "sharing.*=[]"], ["--set sharing.*=[]: is set by axis 'discriminator' too"]),
        (["--set", "sharing={}"], ["--set sharing={}: is set by axis 'discriminator' too"]),
        (["--set", "sharing.generator.0.first=2"], ["is set by axis 'generator' too"]),
        (["--set", "seed=3"], ["--set seed=3: the seeds of a sweep's runs are its key `seeds`"]),
        (["--set", "training.steps"], ["--set training.steps: write it as path.to.key=value"]),
        (["--set", "training.steps={"], ["not valid YAML"]),
        (["--set", "axes.optimizer.lr=[1, 1]"], ["axis 'optimizer.lr' lists 1 twice"]),
        (["--set", "training.stps=3"], ["training.stps: unknown key 'stps'"]),
        (["--only", "generator=3"], ["no label of axis 'generator' is '3'"]),
        (["--jobs", "0"], ["0 is not in the range"]),
    ],
)
def test_options_that_are_errors(sweep, arguments, fragments):
    rejected(sweep(*arguments), *fragments)
    assert not Path("sweeps").exists()


def test_an_axis_called_after_a_key_with_dots_is_made_and_replaced_by_set(dry):
    given = {"axes": {"optimizer.lr": [0.1]}}
    for text in ("[0.2, 0.4]", '{"b": {"optimizer.lr": 0.2}, "c": {"optimizer.lr": 0.4}}'):
        made = dry("--set", f"axes.optimizer.lr={text}", **given)
        assert made.exit_code == 0, made.output
        assert "optimizer.lr=0.1" not in made.output
        assert made.stdout.count("optimizer.lr=") >= 2
    made = dry("--set", "axes.optimizer.lr=[0.2, 0.4]", axes={})
    assert made.stdout.count("optimizer.lr=") >= 2


def test_a_metric_is_found_by_its_flat_name_or_its_beginning(dry):
    two = (
        "metrics=[{name: pixel-agreement, from: a, to: b, count: 4}, {name: pixel-agreement, from: b, to: a, count: 4}]"
    )
    assert dry(to_base=[two]).exit_code == 0
    assert dry(to_base=[two], metric="pixel-agreement/b/a").exit_code == 0
    rejected(dry(to_base=[two], metric="pixel-agreement/b/c"), "no run measures 'pixel-agreement/b/c'; did you mean")
    rejected(
        dry(to_base=[two], metric="pixel-agreement"),
        "metric: 'pixel-agreement' may be pixel-agreement/a/b or pixel-agreement/b/a; name one of them",
    )
    other = {"x": {"1": {}, "2": {"metrics": [{"name": "pixel-agreement", "from": "b", "to": "a", "count": 4}]}}}
    rejected(
        dry(to_base=[two], axes=other),
        "metric: the cells do not measure the same: pixel-agreement/a/b in cell x=1, seed 0; ",
        "; pixel-agreement/b/a in cell x=2, seed 0; name one",
    )
    assert dry(to_base=[two], axes=other, metric="pixel-agreement/b/a").exit_code == 0


def test_a_dry_run_prints_the_runs(dry):
    result = dry("--only", "discriminator=3")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert len(lines) == 5
    assert (
        "discriminator=3, generator=1-2, seed 1 new 0 of 4 sweeps/s/runs/discriminator=3/generator=1-2/seed-1" in lines
    )


def test_each_command_names_the_other_for_the_others_file(sweep, command):
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny.values()))
    rejected(
        command("sweep", "tiny.yaml", "--plugin", TINY), "tiny.yaml: is the configuration of a run", "base: tiny.yaml"
    )
    assert sweep("--dry-run").exit_code == 0
    for verb in ("run", "check"):
        rejected(command(verb, "s.yaml", "--plugin", TINY), "s.yaml: is a sweep", "coupling sweep s.yaml")
    for text, message in (("", "a sweep is a mapping"), ("- a", "a sweep is a mapping"), ("a: [", "not valid YAML")):
        Path("s.yaml").write_text(text)
        rejected(command("sweep", "s.yaml"), "s.yaml: ", message)
    rejected(command("sweep", "t.yaml"), "t.yaml: no such file; did you mean 's.yaml'?")


def test_a_launcher_is_an_error(sweep, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    rejected(sweep(), "coupling sweep starts processes of its own")


def test_the_schema_describes_a_sweep(command):
    schema = json.loads(command("schema", "--sweep", "--plugin", TINY).stdout)
    check = jsonschema.Draft202012Validator(schema)
    check.check_schema(schema)
    check.validate(sweep_values())
    check.validate(sweep_values(base=tiny.values()))
    check.validate(sweep_values(axes={"training.steps": [1, 2]}))
    for wrong in ({"sedes": [0]}, {"seeds": []}, {"base": {"naem": "x"}}, {"axes": {"x": {}}}):
        assert list(check.iter_errors(sweep_values(**wrong))), wrong
    for path in Path(__file__).parents[2].glob("examples/**/weight_sharing_*.yaml"):
        jsonschema.validate(yaml.safe_load(path.read_text()), sweep_schema(installed().registry))


def test_an_axis_may_vary_a_schedule_or_a_part_of_it():
    lr = [0.01, {"from": 0.01, "to": 0.001, "schedule": "cosine"}]
    made = grid(axes={"optimizer.lr": lr, "rise": {"short": {}, "long": {"training.steps": 16}}}, seeds=[0])
    assert [run.config.plain()["optimizer"]["lr"] for run in made.runs[:2]] == [0.01, 0.01]
    assert [run.config.optimizer.lr.end for run in made.runs[2:]] == [8, 16]
    base = tiny.values("metrics=[brightness]", "optimizer.lr={from: 0.01, to: 0.001}")
    parts = grid(base=base, axes={"optimizer.lr.to": [0.1, 0.2]}, seeds=[0])
    assert [run.config.optimizer.lr.to for run in parts.runs] == [0.1, 0.2]
