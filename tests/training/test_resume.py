"""N + M steps in one go equal N, an end of any kind, a resume, M: bit for bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml

from coupling.api import parse_config
from coupling.errors import InputError
from coupling.plugins import Plugins
from coupling.reports.report import write_report
from coupling.runs import checkpoint, directory
from coupling.runs.directory import RunDirectory
from coupling.runs.measured import Measured
from coupling.system import signals
from coupling.system.signals import Interrupted
from coupling.training.inputs import StepInputs
from coupling.training.measurement import Measurement
from coupling.training.recorder import Recorder
from coupling.training.setup import set_up
from coupling.training.trainer import train
from tests.support import killed_runs
from tests.support import launched_runs as processes
from tests.support import tiny_plugin as tiny
from tests.support.killed_runs import KilledRun

EVERYTHING = (
    "domains.a.dataset={name: tiny, count: 21, roll: true}",  # 5.25 steps an epoch
    "domains.b.dataset={name: tiny, count: 9, pool: other}",  # 2.25
    "generator.architecture={name: linear, batch_norm: true, dropout: 0.3}",
    "discriminator.architecture={name: linear, batch_norm: true, dropout: 0.2}",
    "generator.initialisation=alike",
    "losses=[hinge, {name: r1, every: 8}, head]",
    "training.fresh_latent=true",
    "metrics=[{name: brightness, every: 3}]",
)
CASES = {
    "plain": (),
    "everything": EVERYTHING,
    "wasserstein with momentum": ("losses=[wasserstein]", "optimizer={name: sgd, lr: 0.01, momentum: 0.5}"),
    "discriminators averaged": (*EVERYTHING, "training.ema_discriminators=true"),
    "a teacher": (
        "losses=[non-saturating, {name: classification, domains: [a], classes: 2}, "
        "{name: consistency, threshold: 0, teacher: averaged}]",
        "training.ema_discriminators=true",
    ),
    "residual with style codes": (
        "latent={size: 4, style: 2}",
        "generator.architecture={name: residual, width: 0.05, between: gains}",
        "discriminator.architecture={name: residual, width: 0.05, spectral: true, fixup: false}",
        "discriminator.architecture.minibatch_deviation=2",
        "sharing.discriminator=[{last: 1}]",
    ),
    "no average": ("training.ema=null", "optimizer.name=rmsprop"),
}
INTERVALS = ("training.log_every=3", "training.checkpoint_every=3", "training.sample_every=6")


@pytest.fixture
def tmp_path():
    """A folder in memory if possible: these tests sync hundreds of files to the disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


def run(path, *overrides, resume=False, plugins=None):
    return train(tiny.config(*INTERVALS, *overrides), path, resume=resume, plugins=plugins or tiny.plugins())


def tensors(path):
    """All tensors of the newest checkpoint."""
    found, complaints = checkpoint.newest(path / "checkpoints")
    assert complaints == []
    return killed_runs.everything(found)


def lines(path):
    """metrics.jsonl without the seconds."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") >= 0 for row in rows)
    return [list(row.items()) for row in rows]  # their order too


def assert_same(one, other):
    ours, theirs = tensors(one), tensors(other)
    assert list(ours) == list(theirs)
    assert any(name.startswith("state.discriminator.") for name in ours)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert lines(one) == lines(other)
    progress = [checkpoint.newest(path / "checkpoints")[0].progress() for path in (one, other)]
    assert progress[0] == progress[1]
    assert [p for path in (one, other) for p in path.rglob(".*")] == []  # nothing half-written, no lock
    pictures = [{p.name: p.read_bytes() for p in (path / "samples").iterdir()} for path in (one, other)]
    assert pictures[0] == pictures[1]
    summaries = [json.loads((path / "summary.json").read_text()) for path in (one, other)]
    for summary in summaries:
        del summary["seconds"]
    assert summaries[0] == summaries[1]


@pytest.mark.parametrize("case", CASES)
def test_stopping_at_a_step_and_resuming_changes_nothing(tmp_path, case):
    run(tmp_path / "whole", "training.steps=12", *CASES[case])
    run(tmp_path / "parts", "training.steps=6", *CASES[case])
    middle = tensors(tmp_path / "parts")
    run(tmp_path / "parts", "training.steps=12", *CASES[case], resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    final = tensors(tmp_path / "whole")
    assert any(not torch.equal(final[name], middle[name]) for name in final)
    assert yaml.safe_load((tmp_path / "parts/config.yaml").read_text())["training"]["steps"] == 12


def crash():
    raise KeyError("a bug in a plugin")


def test_lines_that_were_logged_after_the_last_checkpoint_are_removed(tmp_path):
    settings = ("training.steps=12", "training.log_every=1", *EVERYTHING)
    run(tmp_path / "whole", *settings)
    with pytest.raises(KeyError):
        run(tmp_path / "parts", *settings, plugins=tiny.AfterStep(8, crash).plugins())
    assert json.loads((tmp_path / "parts/summary.json").read_text())["status"] == "failed"
    with (tmp_path / "parts/metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "sec')  # torn in the middle of a line
    for torn in (".summary.json.0123456789ab.tmp", "samples/.step-0000009.png.0123456789ab.tmp"):
        (tmp_path / "parts" / torn).touch()  # and of a file
    run(tmp_path / "parts", *settings, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_kill_right_after_a_checkpoint_loses_no_measurement_and_no_picture(tmp_path, monkeypatch):
    settings = ("training.steps=12", *EVERYTHING)
    run(tmp_path / "whole", *settings)
    save = Recorder.save

    def die(recorder):
        save(recorder)
        if recorder.step == 6:
            raise KeyError("power")

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "save", die)
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


@pytest.mark.parametrize(("at", "number"), [(4, signal.SIGTERM), (5, signal.SIGINT), (4, signal.SIGHUP)])
def test_a_signal_saves_at_once_and_leaves_no_trace_in_the_result(tmp_path, at, number):
    """It comes at the worst moment: at the end of a step, right after the check for signals."""
    settings = ("training.steps=12", "training.log_every=1", *EVERYTHING)
    run(tmp_path / "whole", *settings)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=r"at step \d+: saved in .*--resume") as caught:
        run(tmp_path / "parts", *settings, plugins=tiny.AfterStep(at, lambda: os.kill(os.getpid(), number)).plugins())
    assert caught.value.exit_code == 128 + number
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    summary = json.loads((tmp_path / "parts/summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("interrupted", at)
    assert checkpoint.newest(tmp_path / "parts/checkpoints")[0].step == summary["step"]
    run(tmp_path / "parts", *settings, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("at", [3, 6, 12])
def test_a_signal_interrupts_a_measurement_which_the_resumed_run_repeats(tmp_path, monkeypatch, at):
    """A launcher waits 30 seconds, and a measurement may take minutes, at the last step too."""
    settings = ("training.steps=12", *EVERYTHING)
    run(tmp_path / "whole", *settings)
    take = Measurement.take

    def signalled(measurement, model, step, *more):
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        return take(measurement, model, step, *more)

    started = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(Measurement, "take", signalled)
        with pytest.raises(Interrupted, match=f"at step {at}: saved"):
            run(tmp_path / "parts", *settings)
        assert time.monotonic() - started < 60
        with pytest.raises(Interrupted, match=f"at step {at}: saved"):  # also one that it goes on with
            run(tmp_path / "parts", *settings, resume=True)
    assert json.loads((tmp_path / "parts/summary.json").read_text())["status"] == "interrupted"
    run(tmp_path / "parts", *settings, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_signal_twice_at_once_counts_once_and_a_later_one_kills(tmp_path, monkeypatch):
    """A launcher forwards a signal that all processes got; a user who presses Ctrl-C again later cannot wait."""

    def twice():
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="SIGINT at step 2: saved"):
        run(tmp_path / "once", "training.log_every=1", plugins=tiny.AfterStep(2, twice).plugins())
    monkeypatch.setattr(signals, "_ECHO", -1.0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", "training.log_every=1", plugins=tiny.AfterStep(2, twice).plugins())


def test_a_signal_to_all_processes_of_a_launch_saves(tmp_path):
    """A scheduler sends it to the launcher and to the processes, and the launcher forwards it to these too."""
    slow = "losses=[non-saturating, {name: slow, seconds: 0.05}]"
    config = tmp_path / "config.yaml"
    config.write_text(tiny.config("training.steps=2000", "training.log_every=1", slow).yaml())
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "coupling"]
    command += ["run", config, "--plugin", "tests.support.tiny_plugin", "--output", tmp_path / "run"]
    launcher = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=processes.environment(ACCELERATE_USE_CPU="true"),
    )  # fmt: skip
    try:
        while not (tmp_path / "run/metrics.jsonl").is_file() and launcher.poll() is None:
            time.sleep(0.05)
        family = [*psutil.Process(launcher.pid).children(recursive=True), launcher]
        for member in family:
            member.send_signal(signal.SIGTERM)
        _, err = launcher.communicate(timeout=60)
    finally:
        launcher.kill()
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["status"] == "interrupted", err
    assert saved(tmp_path / "run") == summary["step"] > 0
    assert f"SIGTERM at step {summary['step']}: saved in" in err
    assert launcher.returncode == 1  # the launcher's own: it knows no other


def test_other_versions_get_a_warning_and_the_earlier_sessions_are_kept(tmp_path, capsys):
    run(tmp_path / "run", "training.steps=3")
    file = tmp_path / "run/environment.json"
    first = json.loads(file.read_text())
    run(tmp_path / "run", "training.steps=4", resume=True)
    assert "--resume:" not in capsys.readouterr().err
    second = json.loads(file.read_text())
    assert second["before"] == [first]
    second["versions"]["torch"], second["num_processes"] = "2.0.0", 4
    file.write_text(json.dumps(second))
    run(tmp_path / "run", "training.steps=5", resume=True)
    printed = capsys.readouterr().err
    assert (
        f"versions.torch: 2.0.0 -> {torch.__version__}; the results may differ from those of an uninterrupted run"
        in printed
    )
    assert "num_processes: 4 -> 1" in printed
    earlier = json.loads(file.read_text())["before"]
    assert [session["versions"]["torch"] for session in earlier] == [torch.__version__, "2.0.0"]
    assert all("before" not in session for session in earlier)
    page = write_report(RunDirectory(tmp_path / "run", tiny.config()), None, tmp_path / "r.html", tiny.plugins())
    facts = re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", page.read_text())
    assert ("started", first["started"]) in facts
    minutes = json.loads((tmp_path / "run/summary.json").read_text())["seconds"] / 60
    assert ("trained for", f"{minutes:,.1f} minutes in all, in 3 sessions") in facts


@pytest.mark.parametrize("name", ["environment.json", "summary.json", "evaluation.json"])
@pytest.mark.parametrize("content", [b"[]", b"3", b"\xff\xfe", b"{", b"{}", None])
def test_damaged_side_files_do_not_stop_a_resume(tmp_path, name, content):
    settings = ("training.steps=6", *EVERYTHING)
    run(tmp_path / "run", "training.steps=3", *EVERYTHING)
    (tmp_path / "run" / name).unlink()
    if content is not None:
        (tmp_path / "run" / name).write_bytes(content)
    run(tmp_path / "run", *settings, resume=True)
    assert json.loads((tmp_path / "run" / name).read_text())
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "finished"


def test_a_checkpoint_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """For a loss of power: first the log, then each file, their folder, the name, and the folder of the name."""
    done = []

    def noted(place, name, tell):
        real = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: (done.append(tell(*a)), real(*a, **k))[1])

    noted(checkpoint, "sync", lambda path: ("sync", path.name))
    noted(directory, "sync", lambda path: ("sync", path.name))
    noted(Path, "rename", lambda old, new: ("rename", new.name))
    run(tmp_path / "run", "training.steps=3")
    temporary, final = ".step-0000003.tmp", "step-0000003"
    names = ["metrics.jsonl", "model.safetensors", "state.safetensors", "manifest.json", temporary]
    assert done == [*(("sync", name) for name in names), ("rename", final), ("sync", "checkpoints")]


@pytest.mark.parametrize("at", [4, 6, 7])
def test_a_stop_by_a_signal_adds_no_line_to_the_log(tmp_path, monkeypatch, at):
    """The checkpoint holds the losses since the last line, so that the next mean covers the same steps."""
    settings = ("training.steps=12", "training.log_every=5", *EVERYTHING)
    run(tmp_path / "whole", *settings)
    one_step = StepInputs.take_step

    def signalled(inputs, step, *rest):
        if step == at - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return one_step(inputs, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(StepInputs, "take_step", signalled)
        with pytest.raises(Interrupted, match=f"at step {at}"):
            run(tmp_path / "parts", *settings)
    assert [dict(row)["step"] for row in lines(tmp_path / "parts") if len(row) > 2] == [5][: at // 5]
    run(tmp_path / "parts", *settings, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


SETTINGS = (
    "training.steps=9",
    "training.checkpoint_every=3",
    "training.log_every=2",
    "training.sample_every=9",
    "training.keep_checkpoints=1",
    "domains.a.dataset={name: tiny, count: 21, roll: true}",  # the first epoch ends within step 6
    "domains.b.dataset={name: tiny, count: 9, pool: other}",  # and here within steps 3, 5, 7
    "metrics=[{name: brightness, every: 2}]",
)


def assert_survived(tmp_path, ways, **every):
    """Check that a run that is killed in these ``ways`` and resumed ends like an uninterrupted one.

    ``ways``: values of :class:`KilledRun`, by name; ``every``: further values of each run.
    """
    runs = [KilledRun(tmp_path / "whole", SETTINGS, **every)]
    for number, way in enumerate(ways):
        path = tmp_path / str(number)
        runs += [KilledRun(path, SETTINGS, **every, **way), KilledRun(path, SETTINGS, resume=True, **every)]
    codes = killed_runs.codes(runs)
    assert set(codes[::2]) == {0}, codes
    for number in range(len(ways)):
        assert_same(tmp_path / "whole", tmp_path / str(number))
        kept = [sorted(p.name for p in (tmp_path / n / "checkpoints").iterdir()) for n in ("whole", str(number))]
        assert kept[0] == kept[1] == ["step-0000002", "step-0000009"]  # the best, and the newest
    return codes[1::2]


STEPS = range(1, 10)  # before the first checkpoint, in the first epoch of each domain, across the ends of epochs
OPERATIONS = range(36)  # on files, in the whole of a step's end: the log, the checkpoint, the metric, the pruning
BEHIND = range(11)  # of the thread that writes the checkpoint of step 3, while step 4 computes
TORN = [{"torn_file": name, "at": at} for at in (2, 6) for name in ("model.safetensors", "state.safetensors")]


def test_a_run_killed_at_some_moments_ends_like_an_uninterrupted_one(tmp_path):
    """It is killed in a step, before a file operation of a checkpoint, in the middle of one of its files."""
    steps, operations = STEPS[::4], OPERATIONS[:20:4]
    ways = [{"in_step": n} for n in steps] + [{"operation": n, "at": 6} for n in operations] + TORN[1:3]
    ways += [{"operation": n, "at": 3, "behind": True} for n in BEHIND[::5]]
    assert assert_survived(tmp_path, ways) == [-9] * len(ways)


@pytest.mark.slow
def test_a_run_killed_at_every_moment_ends_like_an_uninterrupted_one(tmp_path):
    """It is killed in every step, before every file operation of a checkpoint, in the middle of each of its files."""
    ways = [{"in_step": n} for n in STEPS] + TORN
    assert assert_survived(tmp_path / "one", ways) == [-9] * len(ways)
    codes = assert_survived(tmp_path / "two", [{"operation": n, "at": 6} for n in OPERATIONS])
    operations = codes.count(-9)
    assert 20 < operations < len(OPERATIONS)  # the last ones come after all of them
    assert codes == [-9] * operations + [0] * (len(OPERATIONS) - operations)
    behind = [{"operation": n, "at": 3, "behind": True} for n in BEHIND]
    assert assert_survived(tmp_path / "three", behind) == [-9] * len(behind)
    print(f"{len(behind)} kills in the thread that writes a checkpoint")
    print(f"{len(ways) + operations} kills, {operations} of them before a file operation of one checkpoint")


def test_two_processes_of_which_one_is_killed_end_like_an_uninterrupted_run(tmp_path):
    """Every tensor of model, average and optimizers is equal, and so are the lines of metrics.jsonl."""
    (code,) = assert_survived(tmp_path, [{"rank": 1, "in_step": 5}], processes=2)
    assert code != 0
    assert json.loads((tmp_path / "whole/environment.json").read_text())["num_processes"] == 2
    names = set(tensors(tmp_path / "whole"))
    for prefix in ("generator.", "discriminator.", "ema.", "state.generator.", "state.discriminator."):
        assert any(name.startswith(prefix) for name in names)


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_at_more_moments_end_like_an_uninterrupted_run(tmp_path):
    torn = {"torn_file": "model.safetensors", "at": 6}
    ways = [{"in_step": 2}, {"rank": 1, "in_step": 8}, {"operation": 9, "at": 6}, torn]
    codes = assert_survived(tmp_path, ways, processes=2)
    assert all(code != 0 for code in codes)
    assert json.loads((tmp_path / "whole/environment.json").read_text())["num_processes"] == 2


def test_the_best_checkpoint_is_kept_beside_the_newest(tmp_path, monkeypatch):
    """Also if no checkpoint is due at its step; the second metric does not count; the best score survives a resume."""
    values = {"a": [1, 5, 2, 3, 4, 7, 6, 7, 0, 8, 0, 0], "b": range(12)}
    monkeypatch.setattr(
        tiny.Brightness,
        "measure",
        lambda self, evaluation: Measured(values[self.domains[0]][evaluation.model.step - 1]),
    )
    settings = (
        "training.checkpoint_every=4",
        "training.keep_checkpoints=1",
        "metrics=[{name: brightness, every: 1}, {name: brightness, domain: b, every: 1}]",
    )
    kept = {3: [2, 3], 4: [2, 4], 7: [6, 7], 9: [6, 9], 12: [10, 12]}
    for steps, expected in kept.items():
        run(tmp_path / "run", *settings, f"training.steps={steps}", resume=steps > 3)
        summary = json.loads((tmp_path / "run/summary.json").read_text())
        assert sorted(int(p.name[5:]) for p in (tmp_path / "run/checkpoints").iterdir()) == expected
        assert summary["best_checkpoint"] == f"checkpoints/step-{expected[0]:07d}"
        assert summary["best"]["brightness/a"]["step"] == expected[0]
        assert checkpoint.verified(tmp_path / "run" / summary["best_checkpoint"]).step == expected[0]
    run(tmp_path / "whole", *settings, "training.steps=12")
    assert [t.tolist() for t in tensors(tmp_path / "whole").values()] == [
        t.tolist() for t in tensors(tmp_path / "run").values()
    ]


def test_without_a_metric_there_is_no_best_checkpoint(tmp_path):
    run(tmp_path / "run", "training.steps=2")
    assert json.loads((tmp_path / "run/summary.json").read_text())["best_checkpoint"] is None


def test_a_resumed_run_has_the_best_score_of_its_checkpoint(tmp_path, monkeypatch):
    """A better score of a later step, which is lost, must not hide the one that the resumed run has."""
    values = [0, 3, 1, 1, 9, 2, 2, 2]
    monkeypatch.setattr(
        tiny.Brightness, "measure", lambda self, evaluation: Measured(values[evaluation.model.step - 1])
    )
    settings = ("training.checkpoint_every=4", "metrics=[{name: brightness, every: 1}]")
    run(tmp_path / "run", *settings, "training.steps=6")
    for step in (5, 6):
        shutil.rmtree(tmp_path / f"run/checkpoints/step-{step:07d}")
    run(tmp_path / "run", *settings, "training.steps=4", resume=True)
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["best"]["brightness/a"] == {"value": 3, "step": 2}
    assert summary["best_checkpoint"] is None  # it went when that of step 5 came


def test_a_signal_at_the_last_step_changes_nothing(tmp_path):
    run(tmp_path / "whole", "training.steps=6")
    ending = tiny.AfterStep(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
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
    text = " ".join(capsys.readouterr().err.split())
    assert "step-0000012: state.safetensors has" in text
    assert "step-0000009: not a checkpoint: manifest.json is missing" in text
    assert "resuming from step 6 of 12" in text
    assert_same(tmp_path / "whole", tmp_path / "parts")


def contents(folder):
    return {p.relative_to(folder): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_resuming_a_finished_run_changes_nothing(tmp_path, capsys, monkeypatch):
    """No file changes and no hook is called; without its last checkpoint, the run is continued."""
    run(tmp_path / "run", "training.steps=4", "training.checkpoint_every=2")
    before = contents(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Plugins, "notify", lambda *a, **k: pytest.fail("a hook was called"))
        run(tmp_path / "run", "training.steps=4", "training.checkpoint_every=2", resume=True)
    assert "finished at step 4; set more training.steps to continue" in capsys.readouterr().err
    assert contents(tmp_path / "run") == before

    shutil.copytree(tmp_path / "run", tmp_path / "again")
    shutil.rmtree(tmp_path / "again/checkpoints/step-0000004")
    run(tmp_path / "again", "training.steps=4", "training.checkpoint_every=2", resume=True)
    assert "resuming from step 2 of 4" in capsys.readouterr().err
    assert_same(tmp_path / "run", tmp_path / "again")


def test_another_configuration_is_an_error_that_shows_the_difference(tmp_path):
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


def test_a_checkpoint_that_shares_other_layers_is_an_error_that_shows_the_difference(tmp_path, monkeypatch):
    """The configuration is the same, but a plugin's architecture has changed."""
    run(tmp_path / "run", "training.steps=2")
    layers = tiny.Linear.discriminator

    def deeper(self, domain, outputs):
        first, *rest = layers(self, domain, outputs)
        return [first, torch.nn.Identity(), *rest]

    monkeypatch.setattr(tiny.Linear, "discriminator", deeper)
    with pytest.raises(InputError) as error:
        run(tmp_path / "run", "training.steps=4", resume=True)
    message = str(error.value)
    assert "step-0000002: does not fit its configuration: it shares other layers:\n" in message
    assert "discriminator: only in the checkpoint: layer2[a,b]" in message
    assert "discriminator: only in the configuration: layer2[a], layer2[b], layer4[a,b]" in message
    assert "generator" not in message


def test_a_checkpoint_of_other_shapes_is_an_error_that_shows_the_differences(tmp_path, monkeypatch):
    run(tmp_path / "run", "training.steps=2")
    hidden = tiny.Linear._hidden
    monkeypatch.setattr(
        tiny.Linear, "_hidden", lambda self, inputs: [*hidden(self, inputs), torch.nn.Linear(self.width, self.width)]
    )
    with pytest.raises(InputError) as error:
        run(tmp_path / "run", "training.steps=4", resume=True)
    message = str(error.value)
    assert "step-0000002: does not fit its configuration:\n" in message
    for layer in (1, 2):
        name = f"'generator.layers.layer{layer}[a,b].2.weight'"
        assert f"{name} is in the network alone" in message
    assert len(message.splitlines()) == 5


def test_other_data_are_an_error_that_shows_the_difference(tmp_path, monkeypatch):
    """A folder with more images has other epochs: the resumed run would be neither the one nor the other."""
    run(tmp_path / "run", "training.steps=2")
    monkeypatch.setattr(tiny.Tiny, "fingerprint", lambda self: "tiny:other:33")
    with pytest.raises(InputError) as error:
        run(tmp_path / "run", "training.steps=4", resume=True)
    part = "16 of 33:06f17dd30e89f3cfc13e3c5ab848fa858e9ba5ec0e7aa2fe65df85c0fe338681"
    short = part[: len("16 of 33:06f17dd3")]
    assert f"domains.a: tiny:pool:33:{short} -> tiny:other:33:{short}" in str(error.value)
    assert json.loads((tmp_path / "run/environment.json").read_text())["data"]["a"] == f"tiny:pool:33:{part}"


def test_checkpoints_of_another_format_are_neither_skipped_nor_replaced(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "VERSION", 7)
        run(tmp_path / "run", "training.steps=3")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="written in checkpoint format 7; this version of coupling reads 1: continue"):
        run(tmp_path / "run", "training.steps=6", resume=True)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_a_resumed_run_may_have_other_intervals(tmp_path):
    run(tmp_path / "run", "training.steps=2")
    settings = ("training.steps=4", "training.log_every=1", "training.keep_checkpoints=1", "training.sample_every=9")
    run(tmp_path / "run", *settings, resume=True)
    assert [dict(row)["step"] for row in lines(tmp_path / "run")] == [2, 3, 4]
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["step-0000004"]


def test_resuming_without_a_run_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"--resume: .*missing is not a run directory"):
        run(tmp_path / "missing", resume=True)
    assert not (tmp_path / "missing").exists()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there is no run of 'tiny' under runs/ yet"):
        run(None, resume=True)


def test_without_a_directory_the_newest_run_of_the_configuration_is_resumed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for rate in (0.02, 0.02, 0.01):
        run(None, "training.steps=3", f"optimizer.lr={rate}")
    capsys.readouterr()
    assert run(None, "training.steps=4", "optimizer.lr=0.02", resume=True).path == Path("runs/tiny-002")
    assert "runs/tiny-002: resuming from step 3 of 4" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"runs/tiny-003 was made with another configuration:\n  optimizer\.lr: 0\.01"):
        run(None, "optimizer.lr=0.5", resume=True)


def saved(path):
    return max((int(p.name[5:]) for p in path.glob("checkpoints/step-*")), default=0)


def test_real_processes_survive_signals_and_kills(tmp_path):
    """SIGTERM exits with 143, SIGINT with 130; the run ends like an uninterrupted one, also after kill -9."""
    slow = "losses=[non-saturating, {name: slow, seconds: 0.01}]"
    settings = ("training.steps=2000", "training.checkpoint_every=2", "training.log_every=1", slow, *EVERYTHING[:3])
    config = tmp_path / "config.yaml"
    config.write_text(tiny.config(*INTERVALS, *settings).yaml())
    path = tmp_path / "run"
    numbers = [signal.SIGTERM, signal.SIGKILL, signal.SIGINT]
    command = [sys.executable, "-W", "error", __file__, config, path, *(str(int(number)) for number in numbers)]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert [int(code) for code in ended.stdout.split()] == [143, -9, 130]
    text = " ".join(ended.stderr.split())
    assert "Traceback" not in text
    assert text.count(f"saved in {path}; continue with --resume") == 2
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

    command = ["run", config, "--plugin", "tests.support.tiny_plugin", "--output", path]
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

    installed(("tests.support.tiny_plugin",))
    interrupt(*sys.argv[1:3], sys.argv[3:])


def test_domains_in_another_order_are_another_run(tmp_path):
    """Without sharing the tensors have the same names, but first weights, pictures and optimizers follow the order."""
    config = tiny.config("sharing={}", "training.steps=2")
    train(config, tmp_path / "run", plugins=tiny.plugins())
    values = tiny.values("sharing={}", "training.steps=4")
    values["domains"] = dict(reversed(values["domains"].items()))
    with pytest.raises(InputError, match="domains: a, b -> b, a, in another order"):
        train(parse_config(values, plugins=tiny.plugins()), tmp_path / "run", resume=True, plugins=tiny.plugins())


def test_an_optimizers_state_belongs_to_named_parameters(tmp_path):
    """The error names a parameter that was frozen or is trained only now: it must not get the moments of others."""
    overrides = "training.steps=2", "training.checkpoint_every=2"
    train(tiny.config(*overrides), tmp_path / "run", plugins=tiny.plugins())
    found, _ = checkpoint.newest(tmp_path / "run" / "checkpoints")
    session = set_up(tiny.config(*overrides), tiny.plugins())
    team = session.state.teams[0]
    name = session.state._parameter_names(team)[0]
    assert f"generator.{name}.exp_avg" in found.state()
    saved = {k.removeprefix("generator."): v for k, v in found.state().items() if k.startswith("generator.")}
    assert len(session.state._numbered(team, saved, found)) == len(saved)
    less = {k: v for k, v in saved.items() if not k.startswith(f"{name}.")}
    with pytest.raises(InputError, match="the checkpoint has nothing for " + re.escape(name)):
        session.state._numbered(team, less, found)
    with pytest.raises(InputError, match="the checkpoint has nothing for"):
        session.state._numbered(team, {}, found)
    with pytest.raises(InputError, match=r"more\.exp_avg belongs to a parameter that is not trained here"):
        session.state._numbered(team, saved | {"more.exp_avg": torch.ones(1)}, found)
    with pytest.raises(InputError, match="has shape"):
        session.state._numbered(team, saved | {f"{name}.exp_avg": torch.ones(77)}, found)
