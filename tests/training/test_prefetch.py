"""The inputs of the next step are read while a step computes; nothing else changes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from coupling.api import parse_config
from coupling.data.batches import Batches
from coupling.data.domain_data import DomainData
from coupling.errors import DataError, RunError
from coupling.plugins import Plugins
from coupling.runs import checkpoint
from coupling.training.prefetch import Prefetch
from coupling.training.progress_bar import TrainingBar
from coupling.training.setup import set_up
from coupling.training.trainer import train
from tests.support import launched_runs as processes
from tests.support import tiny_plugin as tiny
from tests.support.killed_runs import everything

CPU = torch.device("cpu")
EVERYTHING = (
    "training.fresh_latent=true",
    "losses=[{name: wasserstein}, {name: classification, domains: [a], classes: 2}]",
    "augmentation={operations: [{name: translation, share: 0.25}, flip], adaptive: {}}",
    "generator.architecture={name: linear, dropout: 0.2}",
    "discriminator.architecture={name: linear, dropout: 0.2}",
    "metrics=[{name: brightness, every: 3}]",
)
ROLLED = ("domains.a.dataset.roll=true", "domains.b.dataset={name: tiny, count: 9, pool: other, roll: true}")


def folder(path, size=6):
    source = np.random.default_rng(ord(path.name[-1]))
    path.mkdir()
    for number in range(9):
        Image.fromarray(source.integers(0, 255, (size, size, 3), np.uint8)).save(path / f"{number}.png")
    return str(path)


def arrays(path):
    return tiny.values(*EVERYTHING, *ROLLED)


def images(path):
    options = {"name": "image-folder", "window": 4, "flip": True}
    domains = {d: {"dataset": options | {"path": folder(path / d)}} for d in "ab"}
    return tiny.values("losses=[non-saturating]") | {"domains": domains}


def table(path):
    rows = np.random.default_rng(0).normal(size=(40, 3))
    np.savetxt(path / "t.csv", rows, delimiter=",", header="x,y,z", comments="")
    domains = {d: {"dataset": {"name": "table", "path": str(path / "t.csv")}} for d in "ab"}
    return tiny.values("losses=[least-squares]") | {"domains": domains}


def stream(path):
    paths = [path / d / f"{n}.png" for d in [folder(path / "a")[-1]] for n in range(9)]
    made = datasets.Dataset.from_dict({"image": [{"bytes": p.read_bytes(), "path": None} for p in paths]},
                                      features=datasets.Features(image=datasets.Image()))  # fmt: skip
    (path / "rows").mkdir()
    made.to_parquet(path / "rows/train.parquet")
    options = {"name": "huggingface", "path": str(path / "rows"), "streaming": True, "limit": 9}
    return tiny.values("losses=[hinge]") | {"domains": {d: {"dataset": dict(options)} for d in "ab"}}


DATA = {"arrays": arrays, "images": images, "table": table, "stream": stream}


def assert_same(one, other):
    ours, theirs = (checkpoint.newest(path / "checkpoints")[0] for path in (one, other))
    assert ours.progress() == theirs.progress()
    ours, theirs = everything(ours), everything(theirs)
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    logs = [(path / "metrics.jsonl").read_text().splitlines() for path in (one, other)]
    logs = [[json.loads(line) | {"seconds": 0} for line in lines] for lines in logs]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("data", DATA)
def test_every_tensor_is_that_of_a_run_without_it(tmp_path, monkeypatch, data):
    """Of the whole checkpoint and every line of the log; also of a run that is resumed in the other way."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    values = DATA[data](tmp_path)

    def run(name, *, resume=False, plugins=None, **training):
        config = parse_config(values | {"training": values["training"] | training}, plugins=tiny.plugins())
        train(config, tmp_path / name, resume=resume, plugins=plugins or tiny.plugins())

    run("with", steps=9)
    run("without", steps=9, prefetch=False)
    assert_same(tmp_path / "with", tmp_path / "without")
    run("parts", steps=4, prefetch=False)
    run("parts", steps=9, resume=True)
    run("others", steps=4)
    run("others", steps=9, resume=True, prefetch=False)
    run("whole", steps=9)
    for name in ("parts", "others", "whole"):
        assert everything(checkpoint.newest(tmp_path / name / "checkpoints")[0]).keys()
        assert_weights_alike(tmp_path / name, tmp_path / "with")


def assert_weights_alike(one, other):
    ours, theirs = (everything(checkpoint.newest(path / "checkpoints")[0]) for path in (one, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


class Watch:
    """The calls of every domain's data: their thread, samples and keys, and how many run at once."""

    def __init__(self, monkeypatch):
        self.calls, self.most, self._now = [], 0, 0
        read, expect = DomainData.read, DomainData.expect

        def watched(data, numbers, keys=None):
            self._now += 1
            self.most = max(self.most, self._now)
            self.calls.append(("read", data.domain.name, list(map(int, numbers)), keys))
            time.sleep(0.002)
            try:
                return read(data, numbers, keys)
            finally:
                self._now -= 1

        def expected(data, numbers, keys):
            self.calls.append(("expect", data.domain.name, list(map(int, numbers)), keys))
            return expect(data, numbers, keys)

        monkeypatch.setattr(DomainData, "read", watched)
        monkeypatch.setattr(DomainData, "expect", expected)


def test_the_data_see_the_same_calls_and_never_two_at_once(tmp_path, monkeypatch):
    """In training, and by a metric that reads samples between the steps."""
    watch = Watch(monkeypatch)
    metrics = "metrics=[{name: sliced-wasserstein, domain: a, count: 8, every: 2}]"
    seen = []
    for prefetch in ("true", "false"):
        train(tiny.config(metrics, f"training.prefetch={prefetch}"), tmp_path / prefetch, plugins=tiny.plugins())
        seen.append(watch.calls)
        watch.calls = []
    assert watch.most == 1
    training = [[call for call in calls if call[3] is not None] for calls in seen]
    assert training[0] == training[1]
    assert len(training[0]) == 2 * 2 * (8 + 1)  # the first one is read before the run, too
    assert sorted(map(repr, seen[0])) == sorted(map(repr, seen[1]))


def test_noise_is_drawn_ahead_where_the_step_before_asked_for_it(monkeypatch):
    session = set_up(tiny.config(*EVERYTHING), tiny.plugins())
    inputs, drawn = session.inputs, []
    draw = inputs._uniform
    monkeypatch.setattr(
        inputs, "_uniform", lambda *use: (drawn.append((threading.current_thread().name, use)), draw(*use))[1]
    )
    with inputs.ahead(4):
        for step in range(4):
            inputs.take_step(step, session.algorithm, session.average)
    ahead = {step: {use[1:] for name, use in drawn if use[0] == step and name != "MainThread"} for step in range(4)}
    uses = {use[1:] for _, use in drawn if use[0] == 1}
    assert len(uses) == 2 * 4  # of each domain: real and generated samples, the penalty's points, the other half
    assert ahead == {0: set(), 1: set(), 2: uses, 3: uses}


class Noisy:
    """Adds noise of a global generator, as a transform should not."""

    kind = "torch"

    def __call__(self, images, range):
        drawn = {"torch": torch.rand, "numpy": lambda n: torch.tensor(np.random.rand(n)),
                 "python": lambda n: torch.tensor([random.random() for _ in [0] * n])}  # fmt: skip
        return (images + 0.1 * drawn[Noisy.kind](len(images)).view(-1, 1, 1, 1).float()).clamp(-1, 1)


@pytest.mark.parametrize("kind", ["torch", "numpy", "python"])
def test_data_that_draw_from_a_global_generator_are_read_in_the_step(tmp_path, monkeypatch, kind):
    """Its state belongs to the step that computes, whose dropout draws from it too."""
    monkeypatch.setattr(Noisy, "kind", kind)
    plugins = Plugins(("tests.support.tiny_plugin",), entry_points=False)
    plugins.registry.add("transform", "noisy", Noisy, "test")
    values = tiny.values("generator.architecture={name: linear, dropout: 0.2}", "domains.a.dataset.transform=noisy")
    for prefetch in (True, False):
        given = values | {"training": values["training"] | {"prefetch": prefetch}}
        train(parse_config(given, plugins=plugins), tmp_path / str(prefetch), plugins=plugins)
    assert_same(tmp_path / "True", tmp_path / "False")


def breaking(monkeypatch, step, error):
    batch = Batches.batch

    def broken(batches, number):
        if number == step and batches.data.domain.name == "b":
            raise error
        return batch(batches, number)

    monkeypatch.setattr(Batches, "batch", broken)


@pytest.mark.parametrize("prefetch", ["true", "false"])
def test_an_error_of_the_data_comes_at_its_step(tmp_path, monkeypatch, prefetch):
    """The steps before it are done and saved; the message and the exit code do not depend on the thread."""
    settings = ("training.checkpoint_every=1", "training.log_every=1", f"training.prefetch={prefetch}")
    train(tiny.config(*settings), tmp_path / "whole", plugins=tiny.plugins())
    with monkeypatch.context() as patch:
        breaking(patch, 5, DataError("domains.b.dataset: gone"))
        with pytest.raises(RunError) as caught:
            train(tiny.config(*settings), tmp_path / "run", plugins=tiny.plugins())
    assert str(caught.value) == "step 6: domains.b.dataset: gone; fix it, then continue with --resume"
    assert caught.value.exit_code == 1
    assert json.loads((tmp_path / "run/summary.json").read_text())["step"] == 5
    assert checkpoint.newest(tmp_path / "run/checkpoints")[0].step == 5
    train(tiny.config(*settings), tmp_path / "run", resume=True, plugins=tiny.plugins())
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_an_error_of_a_step_that_is_not_taken_is_not_told(tmp_path, monkeypatch):
    breaking(monkeypatch, 4, DataError("gone"))
    stop = tiny.AfterStep(4, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Exception, match="SIGTERM at step 4: saved"):
        train(tiny.config(), tmp_path / "run", plugins=stop.plugins())
    train(tiny.config("training.steps=4"), tmp_path / "short", plugins=tiny.plugins())


HANGING = """
import time
from tests.support.tiny_plugin import *
from coupling.data.batches import Batches
batch = Batches.batch
def hanging(batches, step):
    if step == 4:
        time.sleep(300)
    return batch(batches, step)
Batches.batch = hanging
"""


def test_a_signal_does_not_wait_for_a_read_that_hangs(tmp_path):
    """The step is finished and saved; then the process ends, although the next samples are still being read."""
    (tmp_path / "hanging.py").write_text(HANGING)
    slow = "losses=[non-saturating, {name: slow, seconds: 0.5}]"
    (tmp_path / "config.yaml").write_text(tiny.config("training.log_every=1", slow).yaml())
    command = [sys.executable, "-m", "coupling", "run", tmp_path / "config.yaml", "--output", tmp_path / "run"]
    command += ["--plugin", tmp_path / "hanging.py"]
    child = subprocess.Popen(command, env=processes.environment(), stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run/metrics.jsonl"
    try:
        while child.poll() is None and not (log.is_file() and '"step": 3' in log.read_text()):
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == 130, err
    assert "SIGINT at step 4: saved in" in err
    assert checkpoint.newest(tmp_path / "run/checkpoints")[0].step == 4


@pytest.mark.parametrize("steps", [1, 5])
def test_steps_are_read_once_in_order_and_none_beyond_the_last(steps):
    asked, threads = [], set()

    def reading(step):
        asked.append(step)
        return lambda: (threads.add((threading.current_thread().name, torch.get_num_threads())), step)[1]

    prefetch = Prefetch(reading, steps, CPU)
    assert [prefetch.take(step) for step in range(steps)] == list(range(steps))
    prefetch.settle()
    prefetch.close()
    assert asked == list(range(steps))
    assert threads == {("coupling-prefetch", 1)}  # it has no helpers that would disturb those of the steps


def test_steps_in_another_order_are_read_again():
    prefetch = Prefetch(lambda step: lambda: step, 9, CPU)
    assert [prefetch.take(step) for step in (0, 5, 2, 3)] == [0, 5, 2, 3]
    prefetch.close()


@pytest.mark.parametrize(
    ("waited", "text"), [(2.0, ""), (4.0, "  4% waiting for data"), (50.0, "  50% waiting for data")]
)
def test_the_share_of_waiting_is_shown_above_three_per_cent(monkeypatch, capsys, waited, text):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bar = TrainingBar("run", 0, 1, images=100, shown=True)
    bar.advance()
    now[0] = 100.0
    bar.show({}, waited)
    assert f"1 images/s{text}  0.0 min left" in capsys.readouterr().err
