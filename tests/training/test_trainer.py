"""A run and what it leaves on disk."""

from __future__ import annotations

import copy
import io
import json
import math
import os
import re
import stat
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

from coupling.api import load_config
from coupling.errors import ConfigError, DataError, InputError, RunError
from coupling.hookspecs import hookimpl
from coupling.losses.adversarial import NonSaturating
from coupling.plugins import Plugins
from coupling.runs import checkpoint
from coupling.runs.measured import Measured, Undefined
from coupling.training import progress_bar
from coupling.training.algorithm import MicroBatch
from coupling.training.ema import MovingAverage
from coupling.training.inputs import StepInputs
from coupling.training.setup import set_up
from coupling.training.state import finite, not_finite
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny


def run(path, *overrides, plugins=None):
    return train(tiny.config(*overrides), path, plugins=plugins or tiny.plugins())


def rows(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def summary(path):
    return json.loads((path / "summary.json").read_text())


def model_tensors(path):
    return checkpoint.newest(path / "checkpoints")[0].model()


def trainer(*overrides):
    return set_up(tiny.config(*overrides), tiny.plugins())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a run that measures two metrics: the first every 2 steps, the second at the end."""
    path = tmp_path_factory.mktemp("finished") / "run"
    assert run(path, "metrics=[{name: brightness, every: 2}, {name: brightness, domain: b}]").path == path
    return path


def test_a_run_directory_holds_the_files_that_the_design_names(finished):
    files = sorted(str(p.relative_to(finished)) for p in finished.rglob("*") if p.is_file())
    saved = [
        f"checkpoints/step-000000{n}/{f}"
        for n in (2, 4, 8)  # 2: where the first metric is best
        for f in ("manifest.json", "model.safetensors", "state.safetensors")
    ]
    pictures = [f"samples/step-000000{n}.png" for n in (0, 4, 8)]
    assert files == sorted(
        [*saved, *pictures, "config.yaml", "environment.json", "evaluation.json", "metrics.jsonl", "summary.json"]
    )


def test_the_environment_names_versions_processes_and_data(finished):
    environment = json.loads((finished / "environment.json").read_text())
    assert {"versions", "device", "num_processes", "precision", "data"} <= set(environment)
    assert environment["num_processes"] == 1
    assert {"coupling", "python", "torch", "accelerate"} <= set(environment["versions"])
    assert environment["data"] == {
        "a": "tiny:pool:33:16 of 33:06f17dd30e89f3cfc13e3c5ab848fa858e9ba5ec0e7aa2fe65df85c0fe338681",
        "b": "tiny:pool:33:17 of 33:90c30b70764a5779f790a96a1530b92e220e02712d2661fbe95d2219c39c9062",
    }


def test_each_line_of_losses_has_the_step_the_time_and_all_losses(finished):
    losses = [row for row in rows(finished) if "loss/generator/a" in row]
    assert [row["step"] for row in losses] == [2, 4, 6, 8]
    names = [f"loss/{team}/{d}" for team in ("discriminator", "generator") for d in "ab"]
    for row in losses:
        assert list(row) == ["step", "seconds", *names, "batch-diversity/a", "batch-diversity/b"]
        assert all(math.isfinite(value) for value in row.values())
    assert [row["seconds"] for row in losses] == sorted(row["seconds"] for row in losses)


def test_a_metric_is_measured_every_so_many_steps_or_at_the_end(finished):
    assert [row["step"] for row in rows(finished) if "brightness/a" in row] == [2, 4, 6, 8]
    assert [row["step"] for row in rows(finished) if "brightness/b" in row] == [8]  # no `every`: at the end only


def test_the_summary_has_the_last_and_the_best_score(finished):
    ended = summary(finished)
    assert (ended["status"], ended["step"]) == ("finished", 8)
    values = [(row["brightness/a"], row["step"]) for row in rows(finished) if "brightness/a" in row]
    best = max(values)
    assert ended["last"]["brightness/a"] == pytest.approx(values[-1][0], rel=1e-5)
    assert ended["best"]["brightness/a"]["value"] == pytest.approx(best[0], rel=1e-5)
    assert ended["best"]["brightness/a"]["step"] == best[1] == 2
    assert ended["best_checkpoint"] == "checkpoints/step-0000002"


def test_the_summary_has_what_stands_beside_the_last_score(tmp_path, monkeypatch):
    made = Measured(0.5, {"unrelated": 0.25}, {"real": 0.75, "same-image": 0.625}, {"way": 0.5, "other": 0.1})
    monkeypatch.setattr(tiny.Brightness, "measure", lambda self, evaluation: made)
    run(tmp_path / "run", "metrics=[brightness]")
    beside = summary(tmp_path / "run")["beside"]["brightness/a"]
    assert beside == {"unrelated": 0.25, "real": 0.75, "same-image": 0.625, "way": 0.5}


def test_a_run_starts_with_its_directory_device_and_sizes(tmp_path, capsys):
    run(tmp_path / "run")
    networks = trainer().networks
    total, shared = {}, {}
    for network in (networks.generator, networks.discriminator):
        team = network.graph.team
        total[team] = sum(p.numel() for p in network.parameters())
        shared[team] = sum(p.numel() for p, domains in network.sharing_sets() if len(domains) > 1)
        assert 0 < shared[team] < total[team]
    assert capsys.readouterr().err.splitlines()[:4] == [
        f"run: {tmp_path / 'run'}",
        "device: cpu, fp32",
        f"parameters: generators {total['generator']:,} ({shared['generator']:,} shared), "
        f"discriminators {total['discriminator']:,} ({shared['discriminator']:,} shared)",
        "samples: a 16, b 17; 8 steps of 4 a domain",
    ]


def test_the_recorded_configuration_is_complete_and_gives_the_same_run(tmp_path):
    run(tmp_path / "one", "training.steps=4")
    plain = yaml.safe_load((tmp_path / "one/config.yaml").read_text())
    assert plain["training"]["fresh_latent"] is False  # defaults too
    again = load_config(tmp_path / "one/config.yaml", plugins=tiny.plugins())
    train(again, tmp_path / "two", plugins=tiny.plugins())
    one, two = (checkpoint.newest(tmp_path / name / "checkpoints")[0].path for name in ("one", "two"))
    for name in ("model.safetensors", "state.safetensors", "manifest.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize(("better", "best"), [("higher", (3.0, 4)), ("lower", (1.0, 5))])
def test_the_best_value_and_its_first_step_are_kept_and_nan_is_logged_as_none(tmp_path, monkeypatch, better, best):
    values = [float("nan"), 2.0, 2.0, 3.0, 1.0, 1.0, 3.0, float("nan")]
    monkeypatch.setattr(tiny.Brightness, "better", better)
    monkeypatch.setattr(
        tiny.Brightness, "measure", lambda self, evaluation: Measured(values[evaluation.model.step - 1])
    )
    run(tmp_path / "run", "metrics=[{name: brightness, every: 1}]")
    ended = json.loads((tmp_path / "run/summary.json").read_text(), parse_constant=lambda text: pytest.fail(text))
    assert ended["best"]["brightness/a"] == {"value": best[0], "step": best[1]}
    assert ended["last"]["brightness/a"] == 3.0
    assert [row["brightness/a"] for row in rows(tmp_path / "run") if "brightness/a" in row] == [
        None if math.isnan(value) else value for value in values
    ]


def test_an_undefined_score_is_never_the_best_and_its_reason_is_kept(tmp_path, monkeypatch, capsys):
    values = {2: Undefined("too few samples"), 4: 0.5, 6: 0.25, 8: Undefined("the samples do not differ")}
    monkeypatch.setattr(
        tiny.Brightness, "measure", lambda self, evaluation: Measured(values[evaluation.model.step], {"unrelated": 0.1})
    )
    run(tmp_path / "run", "metrics=[{name: brightness, every: 2}]")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["best"]["brightness/a"] == {"value": 0.5, "step": 4}
    assert summary["best_checkpoint"] == "checkpoints/step-0000004"
    logged = [row["brightness/a"] for row in rows(tmp_path / "run") if "brightness/a" in row]
    assert logged == [None, 0.5, 0.25, None]
    records = json.loads((tmp_path / "run/evaluation.json").read_text())["brightness/a"]
    assert {step: record["value"] for step, record in records.items()} == {"2": None, "4": 0.5, "6": 0.25, "8": None}
    assert records["2"]["undefined"] == {"brightness/a": "too few samples"}
    assert "undefined" not in records["4"]
    assert "step 8: brightness/a undefined, unrelated 0.1000 (the samples do not differ)" in capsys.readouterr().err


def test_progress_is_a_line_where_there_is_no_terminal(tmp_path, capsys):
    run(tmp_path / "run")
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        r"tiny: step 8 of 8  D \d\.\d\d  G \d\.\d\d  [\d,]+ images/s(  \d+% waiting for data)?  0\.0 min left", last
    )


def test_progress_on_a_terminal_shows_losses_and_speed(monkeypatch):
    screen = Console(file=io.StringIO(), force_terminal=True, width=150)
    monkeypatch.setattr(progress_bar, "console", screen)
    with progress_bar.TrainingBar("faces", 3, 10, images=8, shown=True) as bar:
        bar.advance()
        bar.show(
            {"loss/generator/a": 1.0, "loss/generator/b": 0.5, "loss/generator/b/r1": 9.0, "loss/discriminator/a": 0.25}
        )
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen.file.getvalue())
    assert "faces" in text
    assert "4/10" in text
    assert "D 0.25  G 1.50" in text
    assert "images/s" in text


def test_another_seed_is_another_run(tmp_path):
    for seed in (0, 1):
        run(tmp_path / str(seed), "training.steps=1", f"seed={seed}")
    zero, one = (model_tensors(tmp_path / str(seed)) for seed in (0, 1))
    assert not any(torch.equal(zero[name], one[name]) for name in zero if name.endswith("0.weight"))


def test_model_file_holds_each_shared_layer_once(tmp_path):
    run(tmp_path / "run", "training.steps=1")
    names = set(model_tensors(tmp_path / "run"))
    layers = {name.split(".")[2] for name in names if name.startswith("generator.")}
    assert layers == {"layer1[a,b]", "layer2[a,b]", "layer3[a]", "layer3[b]"}
    assert {n.removeprefix("ema.") for n in names if n.startswith("ema.")} == {
        n.removeprefix("generator.") for n in names if n.startswith("generator.")
    }
    layers = {name.split(".")[2] for name in names if name.startswith("discriminator.")}
    assert layers == {"layer1[a]", "layer1[b]", "layer2[a,b]", "layer3[a,b]"}


def test_pictures_show_every_domain(tmp_path):
    run(tmp_path / "run", "training.steps=4")
    pictures = [Image.open(tmp_path / f"run/samples/step-000000{step}.png") for step in (0, 4)]
    assert pictures[0].size == pictures[1].size
    assert pictures[0].size[0] > 12 * 64  # twelve enlarged samples a row
    assert pictures[0].size[1] >= 2 * 64
    assert pictures[0].tobytes() != pictures[1].tobytes()


def test_domains_that_cannot_be_drawn_are_trained_without_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny.Tiny, "shape", (2, 2, 4))
    monkeypatch.setattr(tiny.Tiny, "__getitem__", lambda self, index: self.samples[index].reshape(2, 2, 4))
    run(tmp_path / "run", "training.steps=2")
    assert list((tmp_path / "run/samples").iterdir()) == []
    assert summary(tmp_path / "run")["status"] == "finished"


@pytest.mark.parametrize("team", ["generator", "discriminator"])
def test_a_loss_that_is_not_a_number_stops_the_run_and_is_named(tmp_path, team):
    breaking = f"losses=[non-saturating, {{name: breaking, step: 7, domain: b, team: {team}}}]"
    with pytest.raises(RunError, match=f"loss/{team}/b/breaking is nan at step 7") as error:
        run(tmp_path / "run", breaking, "training.log_every=4", "training.steps=12")
    assert "its last checkpoint is untouched" in str(error.value)
    assert summary(tmp_path / "run")["status"] == "failed"
    found, complaints = checkpoint.newest(tmp_path / "run/checkpoints")
    assert (found.step, complaints) == (4, [])
    assert all(t.isfinite().all() for t in found.model().values())
    assert [row["step"] for row in rows(tmp_path / "run")] == [4]


def test_weights_that_are_not_finite_do_not_replace_a_checkpoint(tmp_path, monkeypatch):
    """A finite loss may have an infinite gradient: then weights are not numbers before a loss is."""

    def steep(self, half):  # the root's slope is infinite at 0
        return {d: (x * 0).sum().sqrt() for d, x in half.fake_logits.items()} if half.step == 7 else {}

    monkeypatch.setattr(tiny.Slow, "generator", steep)
    with pytest.raises(RunError, match=r"generator: layers\.layer1\[a,b\]\.0\.weight is not finite at step 8"):
        run(tmp_path / "run", "losses=[non-saturating, {name: slow, seconds: 0}]")
    assert checkpoint.newest(tmp_path / "run/checkpoints")[0].step == 4
    assert summary(tmp_path / "run")["status"] == "failed"


@pytest.mark.parametrize("team", ["generator", "discriminator"])
def test_the_error_names_the_term_of_a_single_loss_too(tmp_path, monkeypatch, team):
    half = getattr(NonSaturating, team)

    def breaking(self, given):
        terms = half(self, given)
        return terms | {"b": terms["b"] * math.inf} if given.step == 6 else terms

    monkeypatch.setattr(NonSaturating, team, breaking)
    with pytest.raises(RunError, match=f"^loss/{team}/b/non-saturating is inf at step 7: "):
        run(tmp_path / "run", "training.log_every=4")


BREAKABLE = {  # where to find it in a trainer, and what the message calls it
    "weight": (lambda t: next(t.networks.discriminator.parameters()), r"discriminator: layers\.layer1\[a\]\.1\.weight"),
    "statistics": (
        lambda t: dict(t.networks.discriminator.named_buffers())["layers.layer1[b].2.running_var"],
        r"discriminator: layers\.layer1\[b\]\.2\.running_var",
    ),
    "average": (
        lambda t: next(t.average.networks["generator"].parameters()),
        r"average of the generator: layers\.layer1.*weight",
    ),
    "statistics of the average": (
        lambda t: dict(t.average.networks["generator"].named_buffers())["layers.layer2[a,b].1.running_mean"],
        r"average of the generator: layers\.layer2\[a,b\]\.1\.running_mean",
    ),
    "moment": (
        lambda t: t.algorithm.generators.optimizer.state[t.algorithm.generators.gradients.parameters[0]]["exp_avg_sq"],
        r"optimizer of the generator: layers\.layer1\[a,b\]\.0\.weight\.exp_avg_sq",
    ),
    "weight of a loss": (lambda t: t.networks.losses["head"].scale.weight, r"loss head: scale\.weight"),
}
NORMALISED = (
    "losses=[non-saturating, head]",
    "generator.architecture={name: linear, batch_norm: true}",
    "discriminator.architecture={name: linear, batch_norm: true}",
)


@pytest.mark.parametrize("what", BREAKABLE)
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_tensors_that_are_not_finite_are_named_and_not_saved(tmp_path, monkeypatch, what, value):
    """Every tensor of a checkpoint is checked, also those that no loss reads."""
    find, name = BREAKABLE[what]
    step = StepInputs.take_step

    def breaking(inputs, number, algorithm, average):
        losses = step(inputs, number, algorithm, average)
        if number == 7:
            networks = SimpleNamespace(generator=algorithm.g, discriminator=algorithm.f, losses=algorithm.losses)
            with torch.no_grad():
                find(SimpleNamespace(networks=networks, algorithm=algorithm, average=average)).view(-1)[-1] = value
        return losses

    monkeypatch.setattr(StepInputs, "take_step", breaking)
    with pytest.raises(RunError, match=f"^{name} is not finite at step 8: the run stops, its last checkpoint is un"):
        run(tmp_path / "run", *NORMALISED)
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["step-0000004"]


def test_many_broken_tensors_are_counted_and_the_weight_is_named(tmp_path):
    made = trainer(*NORMALISED)
    made.inputs.take_step(0, made.algorithm, made.average)
    for state in made.algorithm.generators.optimizer.state.values():
        state["exp_avg"].fill_(math.nan)
    with torch.no_grad():
        next(made.networks.generator.parameters()).fill_(math.inf)
    with pytest.raises(
        RunError, match=r"^generator: layers.*weight is not finite at step 1 \(nor are \d+ other tensors\)"
    ):
        made.state.check_finite(1, "")


def test_all_tensors_are_checked_in_one_transfer(monkeypatch):
    """On a GPU each transfer waits for the device."""
    made, asked = trainer(*NORMALISED), []
    made.inputs.take_step(0, made.algorithm, made.average)
    norm = torch.nn.utils.get_total_norm
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda x, kind: (asked.append(len(x)), norm(x, kind))[1])
    made.state.check_finite(1, "")
    assert len(asked) == 1
    networks = made.networks.generator, made.networks.discriminator, made.average.networks["generator"]
    floats = [x for network in networks for x in network.state_dict().values() if x.is_floating_point()]
    assert asked[0] > 2 * len(floats)  # the moments too


def test_tensors_that_an_architecture_made_infinite_are_saved(tmp_path, monkeypatch):
    """A mask of -inf, as in attention."""
    hidden = tiny.Linear._hidden

    class Masked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([0.0, -math.inf]))

        def forward(self, x):
            return x * self.mask.exp().sum()

    monkeypatch.setattr(tiny.Linear, "_hidden", lambda self, inputs: [*hidden(self, inputs), Masked()])
    run(tmp_path / "run", "training.steps=4")
    assert model_tensors(tmp_path / "run")["generator.layers.layer1[a,b].2.mask"].tolist() == [0, -math.inf]


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_finiteness_of_many_equals_that_of_each(kind, value):
    torch.manual_seed(0)
    largest = torch.full((2,), torch.finfo(kind).max, dtype=kind)
    tensors = {
        "a": torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last), "largest": largest,
        "none": torch.zeros(0), "whole": torch.tensor(3), "b": torch.randn(5, dtype=torch.float64).to(kind),
    }  # fmt: skip
    assert finite(tensors.values())
    assert not_finite(tensors) == []
    tensors["b"][3] = value
    tensors["a"][2, 1, 1, 0] = value
    assert not_finite(tensors) == [name for name, x in tensors.items() if not x.isfinite().all()] == ["a", "b"]
    assert finite([])


def test_values_outside_the_range_are_an_error_before_training(tmp_path):
    with pytest.raises(DataError, match=r"values lie in.*declared is \[-1, 1\]"):
        run(tmp_path / "run", "domains.b.dataset={name: tiny, count: 33, scale: 127.5, pool: loud}")
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_an_existing_directory_is_never_overwritten(tmp_path):
    run(tmp_path / "run", "training.steps=1")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="exists already and is never overwritten; add --resume"):
        run(tmp_path / "run", "training.steps=1")
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [run(None, "training.steps=1").path for _ in range(2)]
    assert list(map(str, paths)) == ["runs/tiny-001", "runs/tiny-002"]


def test_old_checkpoints_are_pruned(tmp_path):
    run(tmp_path / "run", "training.checkpoint_every=2", "training.keep_checkpoints=2")
    assert sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir()) == ["step-0000006", "step-0000008"]


def test_a_disk_that_is_full_ends_the_run_and_loses_nothing(tmp_path, monkeypatch):
    writes = iter([False, True])

    def full(path):
        if path.name == "model.safetensors" and next(writes):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "sync", full)
    with pytest.raises(RunError, match=r"step-0000008.*No space left on device.*--resume"):
        run(tmp_path / "run")
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["step-0000004"]
    assert summary(tmp_path / "run")["status"] == "failed"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_an_error(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(InputError, match="cannot be written"):
        run(tmp_path / "run")


# -- hooks ------------------------------------------------------------------------------------


def test_hooks_are_called_as_their_contract_says(tmp_path):
    calls = []

    class Watcher:
        @hookimpl
        def after_step(self, run, step, losses):
            assert (run.path / "metrics.jsonl").exists()
            calls.append((step, sorted(losses)))

        @hookimpl
        def after_training(self, run, model):
            assert checkpoint.newest(run.checkpoints)[0].step == 4
            calls.append((run.path, model.sample(2)["a"].shape))

    plugins = Plugins(("tests.support.tiny_plugin",), entry_points=False)
    plugins.manager.register(Watcher())
    run(tmp_path / "run", "training.steps=4", plugins=plugins)
    names = [f"loss/{team}/{d}" for team in ("discriminator", "generator") for d in "ab"]
    assert calls == [(2, names), (4, names), (tmp_path / "run", (2, 1, 4, 4))]


# -- what a step is ------------------------------------------------------------------------------


def test_moving_average_equals_its_formula_and_forgets_the_start_quickly():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    average = MovingAverage({"net": network}, 0.9)
    averaged = average.networks["net"]
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(0)
    for step in range(100):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        network(torch.randn(5, 2))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, live in network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * live if live.is_floating_point() else live.clone()
        if step == 0:  # nine tenths of the first weights are forgotten at once
            torch.testing.assert_close(averaged[0].weight, expected["0.weight"])
    for name, tensor in averaged.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    assert not any(p.requires_grad for p in averaged.parameters())
    assert not averaged.training


def test_ema_follows_the_live_generators():
    made = trainer()
    before = copy.deepcopy(made.average.networks["generator"].state_dict())
    made.inputs.take_step(0, made.algorithm, made.average)
    live = made.networks.generator.state_dict()
    for name, tensor in made.average.networks["generator"].state_dict().items():  # the first decay is 1 / 10
        torch.testing.assert_close(tensor, 0.1 * before[name] + 0.9 * live[name])


def test_discriminators_and_losses_can_be_averaged():
    """Running statistics are averaged too; a loss that refers to another refers to its average."""
    made = trainer(
        "losses=[non-saturating, {name: classification, domains: [a], classes: 2}, {name: entropy, domains: [b]}]",
        "discriminator.architecture={name: linear, batch_norm: true}",
        "training.ema_discriminators=true",
    )
    live = {"discriminator": made.networks.discriminator, "loss.classification": made.networks.losses["classification"]}
    before = {name: copy.deepcopy(network.state_dict()) for name, network in live.items()}
    made.inputs.take_step(0, made.algorithm, made.average)
    for name, network in live.items():
        averaged = made.average.networks[name]
        for key, tensor in averaged.state_dict().items():
            now = network.state_dict()[key]
            if now.is_floating_point():  # the first decay is 1 / 10
                torch.testing.assert_close(tensor, 0.1 * before[name][key] + 0.9 * now)
                assert not torch.equal(tensor, now)
            else:
                assert torch.equal(tensor, now)
        assert not averaged.training
    shown = made.model(1)
    assert shown.losses["entropy"].classification is shown.losses["classification"]
    assert shown.losses["classification"] is made.average.networks["loss.classification"]
    assert shown.discriminator is made.average.networks["discriminator"]


def test_fresh_latent_gives_the_generators_another_z():
    seen = {}
    for fresh in ("false", "true"):
        made = trainer(f"training.fresh_latent={fresh}")
        codes = []
        made.networks.generator.register_forward_pre_hook(lambda m, i, codes=codes: codes.append(i[0].clone()))
        made.inputs.take_step(0, made.algorithm, made.average)
        seen[fresh] = codes
    assert [len(codes) for codes in seen.values()] == [1, 2]
    assert torch.equal(seen["false"][0], seen["true"][0])  # the discriminators' z is the same
    assert not torch.equal(*seen["true"])


def test_freezing_does_not_change_the_generators_gradient():
    """It equals the gradient through the same discriminators without freezing."""
    made = trainer("optimizer={name: sgd, lr: 1.0e-9}")
    algorithm = made.algorithm
    z = made.inputs.latents.batch(0)
    network = algorithm.g
    seen = {}
    step = algorithm.generators.optimizer.step
    algorithm.generators.optimizer.step = lambda: (
        seen.update({n: p.grad.clone() for n, p in network.named_parameters()}),
        step(),
    )
    algorithm.generator_half(MicroBatch(0, z, z, {}), *algorithm.generate(z))
    algorithm.generators.step()
    for parameter in network.parameters():
        parameter.grad.zero_()
    logits = algorithm.f(None, network(z)).fake_logits
    torch.stack([torch.nn.functional.softplus(-x).mean() for x in logits.values()]).sum().backward()
    sharing = dict(network.sharing_sets())
    for name, parameter in network.named_parameters():
        expected = parameter.grad / len(sharing[parameter])
        torch.testing.assert_close(seen[name], expected, rtol=1e-4, atol=1e-7)
        assert expected.abs().max() > 0


def test_parameters_of_a_loss_belong_to_their_team():
    """They start from the seed, get the mean over the domains that use them, are trained and are saved."""
    first, again, other = (
        trainer("losses=[non-saturating, head]", "optimizer={name: sgd, lr: 1.0}", f"seed={seed}") for seed in (0, 0, 1)
    )
    weights = [made.networks.losses["head"].scale.weight for made in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    before = [p.clone() for p in first.networks.losses["head"].parameters()]
    real = {name: stream.batch(0) for name, stream in first.inputs.samples.items()}
    logits = again.algorithm.f(real).real_logits
    head = again.networks.losses["head"]
    mean = torch.stack([(head.scale(x) - 1).square().mean() for x in logits.values()]).mean()
    expected = torch.autograd.grad(mean, list(head.parameters()))
    first.inputs.take_step(0, first.algorithm, first.average)
    for old, gradient, new in zip(before, expected, first.networks.losses["head"].parameters(), strict=True):
        torch.testing.assert_close(new, old - gradient)


def test_a_step_does_not_depend_on_earlier_draws():
    made, other = (trainer("generator.architecture={name: linear, dropout: 0.5}") for _ in range(2))
    made.inputs.take_step(0, made.algorithm, made.average)
    torch.rand(7)
    torch.manual_seed(123)
    other.inputs.take_step(0, other.algorithm, other.average)
    for one, two in zip(made.networks.generator.parameters(), other.networks.generator.parameters(), strict=True):
        assert torch.equal(one, two)


# -- options of the loop -------------------------------------------------------------------------


def test_an_unknown_tracker_gets_the_nearest_name(tmp_path):
    with pytest.raises(ConfigError, match="no tracker is called 'tensorbord'; did you mean 'tensorboard'"):
        run(tmp_path / "run", "trackers=[tensorbord]")
    assert not (tmp_path / "run").exists()


def test_bf16_trains_and_keeps_weights_and_losses_in_single_precision(tmp_path):
    run(tmp_path / "run", "training.steps=2", "training.precision=bf16", "losses=[wasserstein, r1]")
    tensors = model_tensors(tmp_path / "run")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    assert all(t.isfinite().all() for t in tensors.values())
    assert json.loads((tmp_path / "run/environment.json").read_text())["precision"] == "bf16"
    run(tmp_path / "full", "training.steps=2", "losses=[wasserstein, r1]")
    full = model_tensors(tmp_path / "full")
    assert any(not torch.equal(full[name], tensors[name]) for name in full)  # it was in fact lower


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # its compiler uses what it deprecates,
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # and looks at .grad
def test_compiled_networks_give_the_same_steps(tmp_path):
    for compiled in ("false", "true"):
        run(tmp_path / compiled, f"training.compile={compiled}", "training.steps=4")
    plain, compiled = (model_tensors(tmp_path / name) for name in ("false", "true"))
    for name in plain:
        torch.testing.assert_close(plain[name], compiled[name], rtol=1e-3, atol=1e-4)


def test_every_loss_trains(tmp_path):
    names = tiny.plugins().registry.names("loss")
    classes = "{name: classification, domains: [a], classes: 2}"
    beside = {
        "r1": "{name: r1, every: 2}",
        "classification": classes,
        "entropy": f"{classes}, {{name: entropy, domains: [b]}}",
        "consistency": f"{classes}, {{name: consistency, domains: [b]}}",
        "class-recovery": f"{classes}, class-recovery",
        "code-recovery": "{name: code-recovery, numbers: 2}",
        "minimal-change": "{name: minimal-change, size: 2}",
        "branch-penalty": "{name: branch-penalty, layers: [2]}",
    }
    beside |= {name: name for name in ("distance-consistency", "feature-matching", "r2")}
    for name in sorted(set(names) - {"breaking", "slow", "head"}):
        losses = f"[hinge, {beside[name]}]" if name in beside else f"[{name}]"
        run(tmp_path / name, "training.steps=2", f"losses={losses}")
        assert summary(tmp_path / name)["status"] == "finished"


def test_one_domain_alone_and_the_conditional_gan_are_configurations(tmp_path):
    run(
        tmp_path / "five",
        "training.steps=1",
        *(f"domains.d{i}.dataset={{name: tiny, count: 40, pool: other}}" for i in range(3)),
    )
    assert len({n.split(".")[2] for n in model_tensors(tmp_path / "five") if n.startswith("generator.")}) == 7
    run(
        tmp_path / "conditional",
        "training.steps=1",
        "latent.condition=domain",
        "sharing.generator=[{first: 3}]",
        "sharing.discriminator=[{first: 3}]",
    )
    tensors = model_tensors(tmp_path / "conditional")
    assert tensors["generator.layers.layer1[a,b].0.weight"].shape == (6, 5 + 2)
    run(
        tmp_path / "softmax",
        "training.steps=1",
        "latent.condition=domain",
        "batch_statistics=joint",
        "generator.architecture={name: linear, batch_norm: true}",
        "sharing={generator: [{first: 3}], discriminator: [{first: 3}]}",
        "losses=[domain-softmax]",
    )
    tensors = model_tensors(tmp_path / "softmax")
    assert tensors["discriminator.layers.layer3[a,b].0.weight"].shape == (3, 6)
    plain = tiny.values("training.steps=1", "sharing={}")
    del plain["domains"]["b"]
    from coupling.api import parse_config

    train(parse_config(plain, plugins=tiny.plugins()), tmp_path / "one", plugins=tiny.plugins())
    assert summary(tmp_path / "one")["status"] == "finished"


def test_a_run_that_cannot_begin_leaves_nothing_behind(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("no API key configured")

    monkeypatch.setattr("accelerate.tracking.TensorBoardTracker.start", offline)
    with pytest.raises(InputError, match=r"trackers: tensorboard cannot be started: .*no API key.*log in, or leave it"):
        run(tmp_path / "run", "trackers=[tensorboard]")
    assert not (tmp_path / "run").exists()
    (tmp_path / "some").mkdir()
    with pytest.raises(InputError, match=r"trackers: tensorboard cannot be started"):
        run(tmp_path / "some/deeper/run", "trackers=[tensorboard]")
    assert list((tmp_path / "some").iterdir()) == []
    monkeypatch.undo()
    run(tmp_path / "run", "training.steps=1")
