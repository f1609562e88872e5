"""Several processes compute what one computes, send no more than they must, and end together."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from coupling.batch import Batch
from coupling.errors import ConfigError, InputError
from coupling.runs import checkpoint
from coupling.training import launch
from coupling.training.setup import set_up
from coupling.training.trainer import train
from tests.benchmarks import scaling
from tests.support import launched_runs as processes
from tests.support import tiny_plugin as tiny
from tests.support.launched_runs import environment, on_two

TORCHRUN = ("torch.distributed.run", "--nproc_per_node", "2", "--standalone")
CONFIG = (
    # SGD: Adam would hide a gradient that is a constant times too large.
    "optimizer={name: sgd, lr: {from: 0.02, to: 0.01, schedule: cosine, end: 4}, momentum: {from: 0.2, to: 0.5}}",
    "optimizer.momentum.end=4",
    "losses=[{name: wasserstein, penalty: {from: 1, to: 0.5, end: 4}}, {name: r1, every: 2}, head, "
    "{name: classification, domains: [a], classes: 2}, {name: consistency, threshold: 0, teacher: averaged}, "
    "{name: entropy, weight: 1}]",
    "domains.c.dataset={name: tiny, count: 13, pool: other, roll: true}",
    "sharing.generator=[{first: 1}, {layers: [2], domains: [a, b]}]",
    "sharing.discriminator=[{last: 1}, {layers: [2], domains: [b, c]}]",
    "training.steps=5",
    "training.batch_size=8",
    "training.checkpoint_every=3",
    "training.ema={from: 0.9, to: 0.5, end: 4}",
    "training.ema_discriminators=true",
    "augmentation={operations: [{name: translation, share: 0.25}, {name: cutout, domains: [a, b]}, flip]}",
    "augmentation.adaptive={every: 2, images: 40, target: 0}",
    "metrics=[{name: brightness, every: 2}]",
)
NORMALISED = (
    *CONFIG,
    "generator.architecture={name: linear, batch_norm: true}",
    "discriminator.architecture={name: linear, batch_norm: true}",
)
STATELESS = (*NORMALISED, "generator.architecture={name: linear, batch_norm: true, running: false}")

RESIDUAL = (
    *CONFIG,
    "latent.style=2",
    "losses=[non-saturating, {name: r1, every: 2}]",
    "generator.architecture={name: residual, width: 0.05, between: branches, normalised: false}",
    "discriminator.architecture={name: residual, width: 0.05, spectral: true, fixup: false, minibatch_deviation: 4}",
    "sharing.discriminator=[{last: 1}]",
)

# Gradients so small that nothing overflows: one process has sums over twice as many samples, which may overflow first.
HALF = (*NORMALISED, "losses=[non-saturating]", "training.precision=fp16", "training.checkpoint_every=4")


def tensors(path):
    found, complaints = checkpoint.newest(path / "checkpoints")
    assert complaints == []
    return found.model()


def rows(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def picture(path):
    return np.asarray(Image.open(sorted((path / "samples").iterdir())[-1]), dtype=int)


def error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


CASES = [
    {"losses": losses, "batch_norm": batch_norm, "kind": kind, **more}
    for kind in ("float64", "float32")
    for losses, batch_norm, more in [
        *((losses, batch_norm, {}) for losses in processes.LOSSES for batch_norm in (False, True)),
        ("least-squares + r1", True, {"joint": True}),
        ("wasserstein + penalty", False, {"accumulate": 2}),
        ("non-saturating", True, {"fresh": True}),
        ("terms of several samples", True, {}),
    ]
]


TRAFFIC = [
    {"losses": losses, "batch_norm": False, "names": [f"d{i}" for i in range(n)], **more}
    for n, losses, more in [
        (2, "non-saturating", {}),
        (4, "wasserstein + penalty", {}),
        (8, "least-squares + r1", {}),
        (4, "non-saturating", {"accumulate": 2}),
    ]
]
NORMALISED_TRAFFIC = {"losses": "non-saturating", "batch_norm": True, "names": ["d0", "d1"]}


def with_unreadable(folder):
    """Settings of two domains that share 40 images in ``folder``, which are made if needed; one cannot be read."""
    random = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for number in range(40):
        Image.fromarray(random.integers(0, 255, (4, 4, 3), np.uint8)).save(folder / f"{number:02d}.png")
    (folder / "07.png").write_text("no image")
    entry = f"{{name: image-folder, path: {folder}, on_error: skip}}"
    return (
        f"domains={{a: {{dataset: {entry}}}, b: {{dataset: {entry}}}}}",
        "training.steps=2",
        "optimizer={name: sgd, lr: 0.1}",
        "metrics=[{name: diversity, domain: a, features: pixels, count: 10}]",
    )


def child(parent):
    """A fourth domain joins the three of CONFIG, of which one is frozen with all that it shares."""
    joined = "domains.d.dataset={name: tiny, count: 20, pool: third}"
    return *CONFIG, joined, f"training.start_from={parent}", "training.freeze.generator=[{domains: [a]}]"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with the results of two processes for all these tests; they are started once."""
    folder = tmp_path_factory.mktemp("two")
    on_two(
        (processes.write_gradients, {"cases": CASES, "folder": folder}),
        (processes.write_traffic, {"cases": [*TRAFFIC, NORMALISED_TRAFFIC], "path": folder / "traffic"}),
        (processes.disagree, {"path": folder}),
        (processes.run, {"path": folder / "two", "overrides": CONFIG}),
        (processes.run, {"path": folder / "parts", "overrides": CONFIG, "interrupt": [1, 1]}),
        (processes.run, {"path": folder / "parts", "overrides": CONFIG, "resume": True}),
        (processes.run, {"path": folder / "normal-two", "overrides": NORMALISED, "writes": folder / "writes"}),
        (processes.run, {"path": folder / "stateless-two", "overrides": STATELESS}),
        (processes.run, {"path": folder / "residual-two", "overrides": RESIDUAL}),
        (processes.run, {"path": folder / "child-two", "overrides": child(folder / "two")}),
        (processes.run, {"path": folder / "half-two", "overrides": HALF}),
        (processes.disagree_on_resume, {"path": folder / "half-two", "overrides": HALF}),
        (processes.run, {"path": folder / "overflow", "overrides": HALF, "overflow": [1, 4]}),
        (
            processes.run,
            {"path": folder / "skipping", "overrides": with_unreadable(folder / "pictures"), "data": folder / "data"},
        ),
    )
    return folder


def test_gradients_of_two_processes_equal_those_of_one(done):
    """Both teams, partial sharing, all losses, batch normalisation synchronised: to rounding."""
    for number, case in enumerate(CASES):
        case = {**case, "accumulate": 1}
        one = processes.gradients(**{**case, "kind": getattr(torch, case["kind"])})
        exact = processes.gradients(**{**case, "kind": torch.float64})
        zero, two = (safetensors.torch.load_file(done / f"{number}-{rank}.safetensors") for rank in (0, 1))
        assert set(one) == set(two) == set(zero)
        for name, expected in one.items():
            assert torch.equal(zero[name], two[name]), (case, name)  # running statistics too
            limit = 1e-12 if case["kind"] == "float64" else 1e-6
            if case["batch_norm"]:  # in single precision, one process is itself off by 1e-6
                limit += 2 * error(expected.double(), exact[name])
            assert error(two[name], expected) < limit, (case, name, error(two[name], expected))
            assert error(expected.double(), exact[name]) < 1e-5
            assert expected.norm() > 1e-3


@pytest.mark.parametrize(("count", "shared"), [(1, (3, 2)), (2, (3, 2)), (4, (3, 2)), (4, (0, 0)), (4, (5, 4))])
def test_the_documented_formulas_give_what_a_step_needs(count, shared):
    """Parameters, bytes of training state, operations; ``tests/benchmarks/scaling.py`` continues to 16 domains."""
    found, _, _ = scaling.measured(count, 0.125, 4, 1, shared)
    assert found == scaling.expected(count, 0.125, 1, shared)
    assert scaling.expected(count, 0.125, 2, shared).sent == tuple(4 * n for n in reversed(found.parameters.values()))


def test_statistics_that_are_not_synchronised_give_other_gradients():
    """So the test above would notice a normalisation over half the batch."""
    whole = processes.gradients("non-saturating", batch_norm=True)
    halves = processes.gradients("non-saturating", batch_norm=True, accumulate=2)
    assert error(halves["generator"], whole["generator"]) > 1e-3


@pytest.mark.parametrize("losses", processes.LOSSES)
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients_equal_those_of_the_whole_batch(losses, fresh, parts):
    whole = processes.gradients(losses, batch_norm=False, fresh=fresh)
    cut = processes.gradients(losses, batch_norm=False, fresh=fresh, accumulate=parts)
    for name, expected in whole.items():
        assert error(cut[name], expected) < 1e-12, name


def test_a_step_sends_each_teams_unique_parameters_once(done):
    """Nothing for frozen discriminators, nothing twice for shared layers, nothing more for micro-batches."""
    *plain, normalised = json.loads((done / "traffic").read_text())
    for case, found in zip(TRAFFIC, plain, strict=True):
        assert found["sent"] == found["unique"], case  # the discriminators', then the generators'
    assert plain[1]["unique"] == plain[3]["unique"] != plain[2]["unique"]

    # The statistics of batch normalisation: a mean and a variance, forward and backward; float32.
    sent = normalised["sent"]
    for size in normalised["unique"]:
        sent.remove(size)
    # Generator: layers of 4 and 3 channels, computed once. Discriminator: 4 (each domain alone), 5 (both together).
    generator = [4 * 4, 4 * 3]
    discriminator = [4 * 4, 4 * 4, 4 * 5 * 2]  # of generated samples; with real ones, twice that
    forward = [*generator, *(2 * size for size in discriminator), *discriminator]
    assert sorted(sent) == sorted([*forward * 4])


def test_two_processes_equal_one_and_a_resumed_run_equals_an_uninterrupted_one(done, tmp_path):
    """Whole runs: penalties, plain SGD, batch normalisation; a signal to one process; what is written."""
    names = "one", "normal", "stateless", "residual", "child"
    one, normal, stateless, residual, forked = (tmp_path / name for name in names)
    two, parts, normal_two = done / "two", done / "parts", done / "normal-two"
    train(tiny.config(*CONFIG), one, plugins=tiny.plugins())
    train(tiny.config(*NORMALISED), normal, plugins=tiny.plugins())
    train(tiny.config(*STATELESS), stateless, plugins=tiny.plugins())
    train(tiny.config(*RESIDUAL), residual, plugins=tiny.plugins())
    train(tiny.config(*child(done / "two")), forked, plugins=tiny.plugins())
    for path, count in ((one, 1), (two, 2), (parts, 2), (normal_two, 2)):
        assert json.loads((path / "environment.json").read_text())["num_processes"] == count
    others = (stateless, done / "stateless-two"), (residual, done / "residual-two"), (forked, done / "child-two")
    for alone, together in ((one, two), (normal, normal_two), *others):
        for ours, theirs in zip(rows(together), rows(alone), strict=True):
            assert ours == pytest.approx(theirs | {"seconds": ours["seconds"]}, rel=1e-4, abs=1e-5)
        assert np.abs(picture(together) - picture(alone)).max() <= 1
        expected, found = tensors(alone), tensors(together)
        assert list(expected) == list(found)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
    one, two, parts = map(tensors, (one, two, parts))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-6)
        assert torch.equal(parts[name], two[name]), name
    start = set_up(tiny.config(*CONFIG), tiny.plugins()).networks.generator.state_dict()
    moved = max((one[f"generator.{name}"] - tensor).abs().max().item() for name, tensor in start.items())
    assert moved > 1e-3  # else anything would be equal

    main, other = ((done / f"writes-{rank}").read_text().split() for rank in (0, 1))
    assert any("checkpoints" in path for path in main)
    assert other == []


def scales(path):
    """Each team's loss scale, and its steps since the last overflow."""
    state = checkpoint.newest(path / "checkpoints")[0].state()
    found = {name.removeprefix("loss_scale."): x.item() for name, x in state.items() if name.startswith("loss_scale.")}
    return {team: (found[f"{team}.scale"], found[f"{team}.since"]) for team in ("generator", "discriminator")}


def test_half_precision_on_two_processes_equals_that_on_one(done, tmp_path):
    """Batch normalisation and gradients across processes, each team with one scale for all processes."""
    train(tiny.config(*HALF), tmp_path, plugins=tiny.plugins())
    expected, found = tensors(tmp_path), tensors(done / "half-two")
    assert list(expected) == list(found)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=2e-5)
    assert scales(done / "half-two") == scales(tmp_path) == dict.fromkeys(("generator", "discriminator"), (2.0**16, 5))


def test_an_overflow_in_one_process_leaves_the_step_out_in_all(done):
    """The last step of the discriminators, in all processes; nothing else is left out."""
    path = done / "overflow"
    assert scales(path) == {"generator": (2.0**16, 5), "discriminator": (2.0**15, 0)}
    before, after = (checkpoint.verified(path / f"checkpoints/step-000000{step}").model() for step in (4, 5))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    trained = {name for name in changed if not name.endswith(("running_mean", "running_var"))}
    assert {name.split(".")[0] for name in trained} == {"generator", "ema", "ema_discriminator"}  # an average moves on
    zero, one = (Path(f"{path}-weights-{rank}").read_text() for rank in (0, 1))
    assert zero == one


@pytest.mark.parametrize(
    "backend",
    ["eager", pytest.param("inductor", marks=pytest.mark.slow)],  # without and with the compiler's own code
)
def test_compiled_teams_on_two_processes_take_the_steps_of_one(tmp_path, backend):
    compiled = (*CONFIG, "training.compile=true")
    job = (processes.run, {"path": tmp_path / "two", "overrides": compiled, "backend": backend})
    on_two(job, warnings="default", timeout=600)  # the compiler warns of itself
    train(tiny.config(*CONFIG), tmp_path / "one", plugins=tiny.plugins())
    expected, found = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert list(expected) == list(found)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_processes_that_start_differently_are_an_error(done):
    for rank in (0, 1):
        message = (done / f"message-{rank}").read_text()
        assert "the processes do not agree on the initial weights: process 1 differs from process 0" in message
    assert not (done / "run").exists()


def test_processes_that_restore_different_weights_are_an_error(done):
    for rank in (0, 1):
        message = Path(f"{done / 'half-two'}-message-{rank}").read_text()
        assert "the processes do not agree on the restored weights: process 1 differs from process 0" in message


def test_a_process_that_dies_ends_the_others_with_a_message(tmp_path):
    command = [sys.executable, "-m", *TORCHRUN]
    command += [processes.__file__, json.dumps([["die", {"path": str(tmp_path / "run")}]])]
    started = time.monotonic()
    ended = subprocess.run(
        command, env=environment(ACCELERATE_USE_CPU="true"), capture_output=True, text=True, timeout=60, check=False
    )
    lasted = time.monotonic() - started
    assert ended.returncode != 0
    assert "process 0 of 2 lost the others: one has died" in ended.stderr
    assert "--resume" in ended.stderr
    assert started + lasted - float((tmp_path / "died").read_text()) < 30, "seconds after the death"
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "failed"


@pytest.fixture
def alone(monkeypatch):
    """An environment without the variables of a launcher that started the tests."""
    for name in os.environ:
        if name.startswith(
            ("ACCELERATE_", "MASTER_", "RANK", "WORLD_SIZE", "GROUP_", "OMPI_", "PMI_", "MV2_", "SLURM_")
        ):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "variables",
    [
        {"MASTER_PORT": "29500", "MASTER_ADDR": "localhost"},
        {"MASTER_PORT": "29500", "ACCELERATE_MIXED_PRECISION": "no"},
        {"WORLD_SIZE": "2"},
        {"RANK": "3"},
        {"RANK": "0", "WORLD_SIZE": "many"},
    ],
    ids=str,
)
def test_exported_variables_alone_do_not_make_a_launch(alone, monkeypatch, tmp_path, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launch.is_main_process()
    run = train(tiny.config(), tmp_path / "run", plugins=tiny.plugins())
    assert json.loads((run.path / "environment.json").read_text())["num_processes"] == 1


class Parent:
    """A process of which command line and environment are known."""

    def __init__(self, words, variables):
        self.words, self.variables = words, variables

    def cmdline(self):
        return self.words.split()

    def environ(self):
        return self.variables


@pytest.mark.parametrize(
    "words",
    ["python /bin/accelerate launch --cpu --num_processes 2 x", "/bin/accelerate-launch x",
     "python -m accelerate.commands.launch x"],
)  # fmt: skip
def test_one_process_in_place_of_several_is_an_error(alone, monkeypatch, words):
    """The port that `accelerate launch` sets for several processes; not one that it was given itself."""
    parents = [Parent("sh -c x", {"MASTER_PORT": "29500"}), Parent(words, {}), Parent("bash", {})]
    monkeypatch.setattr("psutil.Process.parents", lambda _: parents)
    set_up(tiny.config(), tiny.plugins())
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(InputError, match="started only this one"):
        set_up(tiny.config(), tiny.plugins())
    parents[1].variables["MASTER_PORT"] = "29500"
    set_up(tiny.config(), tiny.plugins())


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_processes_that_are_not_connected_are_an_error(alone, monkeypatch, tmp_path, variable):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv(variable, "1")
    set_up(tiny.config(), tiny.plugins())
    monkeypatch.setenv(variable, "2")
    message = r"^(launched as 2 processes|started 2 times by mpirun \(\w+_SIZE\)), but"
    with pytest.raises(InputError, match=message) as error:
        train(tiny.config(), tmp_path / "run", plugins=tiny.plugins())
    assert "accelerate launch --multi_gpu --num_processes N, on CPUs with ACCELERATE_USE_CPU=true" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_the_tasks_of_a_slurm_step_are_an_error(alone, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    with pytest.raises(InputError, match=r"started 8 times by srun .* none of the others: .* env -u SLURM_STEP_NUM_T"):
        set_up(tiny.config(), tiny.plugins())


def test_a_command_that_slurm_starts_once_is_valid(alone, monkeypatch):
    """A batch script, a shell in an allocation, a step of one task, and the shell of ``srun --ntasks 4 --pty bash``."""
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_NPROCS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    set_up(tiny.config(), tiny.plugins())
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    set_up(tiny.config(), tiny.plugins())
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_PTY_PORT", "34889")
    with pytest.raises(InputError, match="started 4 times by srun"):  # of an srun in that shell: no terminal
        set_up(tiny.config(), tiny.plugins())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    set_up(tiny.config(), tiny.plugins())


def test_connected_launchers_are_valid(alone, monkeypatch):
    """``srun --ntasks 2 torchrun --nnodes 2 --nproc_per_node 2``, and the same without a rendezvous address."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    launch._check_connected(4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    with pytest.raises(InputError, match=r"started 2 times by srun .* connected with none of the others"):
        launch._check_connected(2)
    monkeypatch.delenv("GROUP_WORLD_SIZE")  # a script that exports torch's variables for each task
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("WORLD_SIZE", "4")
    launch._check_connected(4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="connected with 1 of the others"):
        launch._check_connected(2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), r"training\.batch_size: 4 cannot be divided among 3 processes; choose a multiple of 3"),
        (("training.accumulate=2",), r"among 3 processes times 2 micro-batches .* a multiple of 6"),
    ],
)
def test_a_batch_that_cannot_be_divided_is_an_error(monkeypatch, overrides, message):
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", 3)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match=message):
        set_up(tiny.config(*overrides), tiny.plugins())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "launched with FSDP: .* trains generators and discriminators"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "launched with DeepSpeed: .* trains generators and discriminators"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "launched with Megatron-LM: .* trains generators and discriminators"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "training.precision: fp32, but launched with mixed precision bf16"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "training.accumulate: 1, but launched with 4"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "training.compile: false, but launched with a dynamo backend"),
    ],
)
def test_launches_that_contradict_the_configuration_are_errors(alone, monkeypatch, variables, message):
    set_up(tiny.config(), tiny.plugins())
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        set_up(tiny.config(), tiny.plugins())


@pytest.mark.parametrize(
    ("count", "overrides", "message"),
    [
        (2, (), None),
        (2, ("training.sync_batch_norm=false",), "over the 4 samples a domain of one process"),
        (1, ("training.accumulate=4",), "over the 2 samples a domain of one micro-batch"),
        (2, ("training.sync_batch_norm=false", "training.batch_size=32"), None),
        (1, (), None),
    ],
)
def test_batch_statistics_of_few_samples_get_a_warning(count, overrides, message):
    from coupling.training.batch_statistics import set_statistics

    teams = processes.networks(True)
    settings = tiny.config("training.batch_size=8", *overrides).training
    batch = Batch(settings.batch_size, count, accumulate=settings.accumulate)
    warning = set_statistics(teams, batch, synchronised=settings.sync_batch_norm)
    assert (warning is None) is (message is None)
    assert message is None or message in warning
    assert set_statistics(processes.networks(False), batch, synchronised=settings.sync_batch_norm) is None


@pytest.mark.parametrize(("count", "accumulate", "synchronised"), [(8, 1, "false"), (1, 8, "true"), (2, 4, "false")])
def test_batch_statistics_of_one_sample_are_an_error(count, accumulate, synchronised):
    from coupling.training.batch_statistics import set_statistics

    overrides = ("training.batch_size=8", f"training.accumulate={accumulate}")
    settings = tiny.config(*overrides, f"training.sync_batch_norm={synchronised}").training
    batch = Batch(settings.batch_size, count, accumulate=settings.accumulate)
    with pytest.raises(ConfigError, match=r"training\.batch_size: 8 leaves one sample .* choose 16 or more"):
        set_statistics(processes.networks(True), batch, synchronised=settings.sync_batch_norm)


def test_an_average_that_would_differ_between_processes_is_an_error():
    from coupling.training.batch_statistics import set_statistics

    def given(count, synchronised, batch_norm=True):
        settings = tiny.config(f"training.sync_batch_norm={synchronised}").training
        teams = processes.networks(batch_norm)
        batch = Batch(settings.batch_size, count)
        return set_statistics(teams, batch, synchronised=settings.sync_batch_norm, averaged=teams[1])

    with pytest.raises(ConfigError, match=r"training\.sync_batch_norm: false .* the averaged discriminators"):
        given(2, "false")
    given(2, "true")
    given(1, "false")
    given(2, "false", batch_norm=False)


def coupling_run(config, output):
    return ["-m", "coupling", "run", str(config), "--plugin", tiny.__file__, "--output", str(output)]


def configured(tmp_path, *overrides):
    """The path of a configuration of two steps."""
    config = tmp_path / "config.yaml"
    config.write_text(tiny.config("training.steps=2", *overrides).yaml())
    return config


def make_accelerator(tmp_path, launcher, *overrides, **variables):
    """``coupling run`` on tests/support/tiny_plugin.py under a launcher, as a user would."""
    return subprocess.run(
        [sys.executable, "-m", *launcher, *coupling_run(configured(tmp_path, *overrides), tmp_path / "run")],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


ACCELERATE = ("accelerate.commands.launch",)


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        TORCHRUN,
        (*ACCELERATE, "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"),
    ],
)
def test_the_command_runs_under_a_launcher(tmp_path, launcher):
    ended = make_accelerator(tmp_path, launcher, ACCELERATE_USE_CPU="true")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [str(tmp_path / "run")]  # the main process alone prints
    assert json.loads((tmp_path / "run/environment.json").read_text())["num_processes"] == 2
    assert [row["step"] for row in rows(tmp_path / "run")] == [2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--cpu --num_processes 2", "started only this one"),
        ("--multi_gpu --num_processes 2 --main_process_port 0", "launched as 2 processes, but they are not connected"),
        ("--use_fsdp --num_processes 2 --main_process_port 0", "launched with FSDP"),
        ("--use_megatron_lm --num_processes 2 --main_process_port 0", "launched with Megatron-LM"),
        ("--cpu --num_processes 1 --mixed_precision bf16", "training.precision: fp32, but launched with"),
    ],
)
def test_launches_that_cannot_work_are_errors(tmp_path, options, message):
    if "multi_gpu" in options and torch.cuda.is_available():
        pytest.skip("with GPUs, they are connected")
    ended = make_accelerator(tmp_path, (*ACCELERATE, *options.split()))
    assert ended.returncode != 0
    assert re.search(message, ended.stderr), ended.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs an mpirun")
def test_mpirun_connects_processes_only_with_accelerates_variables(tmp_path):
    """Some MPIs start no more processes than cores, and none for root, without an option."""
    allowed = dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1")
    allowed["PRTE_MCA_rmaps_default_mapping_policy"] = ":oversubscribe"
    command = [sys.executable, *coupling_run(configured(tmp_path), tmp_path / "run")]

    def started(**variables):
        return subprocess.run(
            ["mpirun", "-n", "2", *command],
            env=environment(**allowed, **variables), capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    ended = started()
    assert ended.returncode == 2, ended.stderr
    assert "error: started 2 times by mpirun" in ended.stderr
    assert not (tmp_path / "run").exists()
    ended = started(ACCELERATE_USE_CPU="true", MASTER_ADDR="127.0.0.1")
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "run/environment.json").read_text())["num_processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("where", [0, 1])
def test_killing_a_process_under_the_launcher_ends_the_run(tmp_path, where):
    """The real command; SIGKILL from outside, to the main process or the other."""
    config = configured(tmp_path, "training.steps=100000", "losses=[non-saturating, {name: slow}]")
    process = subprocess.Popen(
        [sys.executable, "-m", *TORCHRUN, *coupling_run(config, tmp_path / "run")],
        env=environment(ACCELERATE_USE_CPU="true"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 120
        while not list((tmp_path / "run").glob("checkpoints/step-*")):
            assert time.monotonic() < end
            time.sleep(0.2)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        by_rank = {}
        for child in children:
            variables = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
            by_rank |= {int(v.removeprefix("RANK=")): int(child) for v in variables if v.startswith("RANK=")}
        os.kill(by_rank[where], signal.SIGKILL)
        killed = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert process.returncode != 0
        assert time.monotonic() - killed < 40
        assert f"process {1 - where} of 2 lost the others" in errors
    finally:
        process.kill()


def test_two_processes_leave_out_the_unreadable_images_that_one_leaves_out(done, tmp_path, monkeypatch):
    """``on_error: skip`` with an empty cache: the samples are counted by one process before both cut them."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    train(tiny.config(*with_unreadable(done / "pictures")), tmp_path / "one", plugins=tiny.plugins())
    ours, theirs = (
        json.loads((path / "environment.json").read_text()) for path in (tmp_path / "one", done / "skipping")
    )
    assert theirs["num_processes"] == 2
    assert ours["data"] == theirs["data"]
    assert ":19 of 39:" in ours["data"]["a"]
    for name, tensor in tensors(tmp_path / "one").items():
        torch.testing.assert_close(tensors(done / "skipping")[name], tensor, rtol=1e-4, atol=1e-5)
