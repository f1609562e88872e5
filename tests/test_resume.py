"""N + M steps in one go equal N, an end of any kind, a resume, M: bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from coupling import checkpoint
from coupling.errors import InputError
from coupling.interruption import Interrupted
from coupling.plugins import Plugins
from coupling.trainer import Trainer, train
from tests import tiny

EVERYTHING = (
    "domains.a.dataset={name: tiny, count: 21}",  # 5.25 steps an epoch
    "domains.b.dataset={name: tiny, count: 9, pool: other}",  # 2.25
    "generator.architecture={name: linear, batch_norm: true, dropout: 0.3}",
    "discriminator.architecture={name: linear, batch_norm: true, dropout: 0.2}",
    "losses=[hinge, {name: r1, every: 8}, head]",
    "training.fresh_latent=true",
    "metrics=[{name: brightness, every: 3}]",
)
CASES = {
    "plain": (),
    "everything": EVERYTHING,
    "wasserstein with momentum": ("losses=[wasserstein]", "optimizer={name: sgd, lr: 0.01, momentum: 0.5}"),
    "no average": ("training.ema=null", "optimizer.name=rmsprop"),
}
INTERVALS = ("training.log_every=3", "training.checkpoint_every=3", "training.sample_every=6")


def run(path, *overrides, resume=False, plugins=None):
    return train(tiny.config(*INTERVALS, *overrides), path, resume=resume, plugins=plugins or tiny.plugins())


def tensors(path):
    """Everything that the newest checkpoint holds."""
    found, complaints = checkpoint.newest(path / "checkpoints")
    assert complaints == []
    return found.model() | {f"state.{name}": t for name, t in found.state().items()}


def lines(path):
    """metrics.jsonl without the seconds."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") >= 0 for row in rows)
    return rows


def assert_same(one, other):
    ours, theirs = tensors(one), tensors(other)
    assert list(ours) == list(theirs)
    assert any(name.startswith("state.discriminator.") for name in ours)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert lines(one) == lines(other)
    pictures = [{p.name: p.read_bytes() for p in (path / "samples").iterdir()} for path in (one, other)]
    assert pictures[0] == pictures[1]
    summaries = [json.loads((path / "summary.json").read_text()) for path in (one, other)]
    for summary in summaries:
        del summary["seconds"]
    assert summaries[0] == summaries[1]


@pytest.mark.parametrize("case", CASES)
def test_stopping_at_a_step_and_going_on_changes_nothing(tmp_path, case):
    run(tmp_path / "whole", "training.steps=12", *CASES[case])
    run(tmp_path / "parts", "training.steps=6", *CASES[case])
    middle = tensors(tmp_path / "parts")
    run(tmp_path / "parts", "training.steps=12", *CASES[case], resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    final = tensors(tmp_path / "whole")
    assert any(not torch.equal(final[name], middle[name]) for name in final)
    assert yaml.safe_load((tmp_path / "parts/config.yaml").read_text())["training"]["steps"] == 12


class Ending:
    """A plugin that ends a run after the step ``at`` is logged."""

    def __init__(self, at, how):
        self.at = at
        self.how = how

    def plugins(self):
        plugins = Plugins(("tests.tiny",), entry_points=False)
        plugins.manager.register(self)
        return plugins

    @tiny.hookimpl
    def after_step(self, step):
        if step == self.at:
            self.how()


def crash():
    raise KeyError("a bug in a plugin")


def test_what_was_logged_after_the_last_checkpoint_is_forgotten(tmp_path):
    settings = ("training.steps=12", "training.log_every=1", *EVERYTHING)
    run(tmp_path / "whole", *settings)
    with pytest.raises(KeyError):
        run(tmp_path / "parts", *settings, plugins=Ending(8, crash).plugins())
    assert json.loads((tmp_path / "parts/summary.json").read_text())["status"] == "failed"
    with (tmp_path / "parts/metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "sec')  # torn in the middle of a line
    run(tmp_path / "parts", *settings, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_death_right_after_a_checkpoint_loses_no_measurement_and_no_picture(tmp_path, monkeypatch):
    settings = ("training.steps=12", *EVERYTHING)
    run(tmp_path / "whole", *settings)
    save = Trainer._save

    def die(trainer):
        save(trainer)
        if trainer.step == 6:
            raise KeyError("power")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", die)
        with pytest.raises(KeyError):
            run(tmp_path / "parts", *settings)
    run(tmp_path / "parts", *settings, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_measurement_at_the_end_only_is_made_at_the_new_end(tmp_path):
    settings = ("metrics=[{name: brightness}]", "training.log_every=3")
    run(tmp_path / "whole", "training.steps=6", *settings)
    run(tmp_path / "parts", "training.steps=3", *settings)
    run(tmp_path / "parts", "training.steps=6", *settings, resume=True)
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")


@pytest.mark.parametrize(("at", "number"), [(4, signal.SIGTERM), (5, signal.SIGINT)])
def test_a_signal_saves_at_once_and_leaves_no_trace_in_the_result(tmp_path, at, number):
    """It comes in the middle of a step's end, which is the worst moment: the next step is done and saved."""
    settings = ("training.steps=12", "training.log_every=1", *EVERYTHING)
    run(tmp_path / "whole", *settings)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=r"at step \d+: saved in .*--resume") as caught:
        run(tmp_path / "parts", *settings, plugins=Ending(at, lambda: os.kill(os.getpid(), number)).plugins())
    assert caught.value.exit_code == 128 + number
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    summary = json.loads((tmp_path / "parts/summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("interrupted", at + 1)
    assert checkpoint.newest(tmp_path / "parts/checkpoints")[0].step == summary["step"]
    run(tmp_path / "parts", *settings, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_signal_at_the_last_step_changes_nothing(tmp_path):
    run(tmp_path / "whole", "training.steps=6")
    ending = Ending(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    run(tmp_path / "signalled", "training.steps=6", plugins=ending.plugins())
    assert_same(tmp_path / "whole", tmp_path / "signalled")


def test_damaged_checkpoints_are_skipped_and_the_steps_done_again(tmp_path, capsys):
    settings = ("training.steps=12", *EVERYTHING)
    run(tmp_path / "whole", *settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    torn = tmp_path / "parts/checkpoints/step-0000012/state.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1])
    (tmp_path / "parts/checkpoints/step-0000009/manifest.json").unlink()
    run(tmp_path / "parts", *settings, resume=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "step-0000012: state.safetensors has" in said
    assert "step-0000009: no checkpoint: manifest.json is missing" in said
    assert "going on from step 6 of 12" in said
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_without_a_checkpoint_it_starts_again(tmp_path):
    run(tmp_path / "whole", "training.steps=4")
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts/checkpoints")
    (tmp_path / "parts/checkpoints").mkdir()
    run(tmp_path / "parts", "training.steps=4", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_going_on_with_a_finished_run_changes_nothing(tmp_path):
    run(tmp_path / "whole", "training.steps=4")
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    run(tmp_path / "again", "training.steps=4", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "again")


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    run(tmp_path / "run", "training.steps=2")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(InputError) as error:
        run(
            tmp_path / "run",
            "training.steps=4",
            "training.batch_size=8",
            "optimizer.lr=0.5",
            "sharing.generator=[{first: 1}]",
            resume=True,
        )
    message = str(error.value)
    assert "training.batch_size: 4 -> 8" in message
    assert "optimizer.lr: 0.01 -> 0.5" in message
    assert "sharing.generator" in message
    assert "training.steps" not in message
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_intervals_may_change(tmp_path):
    run(tmp_path / "run", "training.steps=2")
    settings = ("training.steps=4", "training.log_every=1", "training.keep_checkpoints=1", "training.sample_every=9")
    run(tmp_path / "run", *settings, resume=True)
    assert [row["step"] for row in lines(tmp_path / "run")] == [2, 3, 4]
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["step-0000004"]


def test_there_is_nothing_to_go_on_with(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"--resume: .*missing is no run directory"):
        run(tmp_path / "missing", resume=True)
    assert not (tmp_path / "missing").exists()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there is no run of 'tiny' under runs/ yet"):
        run(None, resume=True)


def saved(path):
    return max((int(p.name[5:]) for p in path.glob("checkpoints/step-*")), default=0)


def test_signals_and_kills_of_real_processes(tmp_path):
    """SIGTERM exits 143, SIGINT 130, kill -9 in the middle of anything; the end is that of one go."""
    slow = "losses=[non-saturating, {name: slow, seconds: 0.01}]"
    settings = ("training.steps=2000", "training.checkpoint_every=2", "training.log_every=1", slow, *EVERYTHING[:3])
    config = tmp_path / "config.yaml"
    config.write_text(tiny.config(*INTERVALS, *settings).yaml())
    path = tmp_path / "run"
    numbers = [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]
    command = [sys.executable, "-W", "error", __file__, config, path, *(str(int(number)) for number in numbers)]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert [int(code) for code in ended.stdout.split()] == [143, -9, 130, -9, -9, 143]
    said = " ".join(ended.stderr.split())
    assert "Traceback" not in said
    assert said.count(f"saved in {path}; go on with --resume") == 3
    assert saved(path) < 2000
    settings = (*settings, f"training.steps={saved(path) + 4}")
    run(path, *settings, resume=True)
    run(tmp_path / "whole", *settings)
    assert_same(tmp_path / "whole", path)


def interrupt(config, path, numbers):
    """Run and resume the command, each time until a signal; print the exit codes.

    Each is a process of its own, forked from this one, which has imported torch for all of them.
    """
    from coupling.cli import cli

    command = ["run", config, "--plugin", "tests.tiny", "--output", path]
    for delay, number in enumerate(numbers):
        before = saved(Path(path))
        child = os.fork()
        if child == 0:
            cli.main([*command, "--resume"] if before else command)
        while saved(Path(path)) < before + 4:
            time.sleep(0.005)
        time.sleep(0.003 * delay)
        os.kill(child, int(number))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    import torch._dynamo  # as the first step of an optimizer would

    from coupling.plugins import installed

    installed(("tests.tiny",))
    interrupt(*sys.argv[1:3], sys.argv[3:])
