"""Callbacks from Python: what they are called with, that they cannot end a run, and what is an error."""

from __future__ import annotations

import functools
import json
import signal
from types import SimpleNamespace

import pytest

import coupling
from coupling.errors import InputError
from coupling.model.model import CoupledModel
from coupling.runs.directory import RunDirectory
from coupling.system.signals import Interrupted
from coupling.training.callbacks import HOOKS, Callbacks
from tests.support import tiny_plugin as tiny


@pytest.fixture
def train(tmp_path):
    def train(*callbacks, steps=4, **options):
        config = tiny.config(f"training.steps={steps}", "training.log_every=2")
        return coupling.train(config, tmp_path / "run", plugins=tiny.plugins(), callbacks=callbacks, **options)

    return train


class Recording:
    def __init__(self):
        self.steps, self.models = [], []

    def after_step(self, run, step, losses):
        self.steps.append((run, step, dict(losses)))

    def after_training(self, model, run):
        self.models.append((run, model))


def step_losses(line):
    """The losses in a line of metrics.jsonl."""
    return {name: value for name, value in line.items() if name not in ("step", "seconds") and "loss" in name}


def test_a_callback_gets_what_the_hooks_of_a_plugin_get(train):
    recording = Recording()
    run = train(recording)
    assert [step for _, step, _ in recording.steps] == [2, 4]
    assert all(isinstance(r, RunDirectory) and r.path == run.path for r, *_ in recording.steps)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    for (*_, step, losses), line in zip(recording.steps, [line for line in lines if step_losses(line)], strict=True):
        assert line["step"] == step
        assert losses == pytest.approx(step_losses(line), rel=1e-5)  # a line holds 6 digits
    [(finished, model)] = recording.models
    assert finished.path == run.path
    assert isinstance(model, CoupledModel)
    assert model.step == 4


def test_a_callback_takes_the_arguments_that_it_names(train):
    calls = []
    train(
        lambda step: calls.append(step),
        lambda **values: calls.append(sorted(values)),
        functools.partial(lambda factor, losses: calls.append(factor), 3),
        SimpleNamespace(after_training=lambda: calls.append("end")),
        lambda step, extra=1: calls.append((step, extra)),
    )
    assert calls == [2, ["losses", "run", "step"], 3, (2, 1), 4, ["losses", "run", "step"], 3, (4, 1), "end"]


def test_a_callback_that_fails_gives_a_warning_and_the_run_continues(train, capfd):
    def broken(step):
        raise ValueError("no disk")

    assert train(broken).read_json("summary.json")["status"] == "finished"
    messages = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: callbacks[0] failed")]
    assert len(messages) == 2
    assert "ValueError: no disk" in messages[0]


def test_a_callback_can_end_the_run_which_then_resumes(train):
    with pytest.raises(Interrupted):
        train(lambda step: signal.raise_signal(signal.SIGINT) if step == 2 else None)
    recording = Recording()
    assert train(recording, resume=True).read_json("summary.json")["step"] == 4
    assert [step for _, step, _ in recording.steps] == [4]


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([object()], "callbacks[0]: object is neither a function nor has the method after_step or after_training"),
        ([print, Recording], "callbacks[1]: is the class Recording; give an object of it: Recording()"),
        (Recording(), "is not a list; give [Recording]"),
        ("after_step", "is not a list"),
        ([lambda loss: None], "callbacks[0]: takes 'loss'; after_step gives run, step, losses, by name"),
        ([lambda step, /: None], "callbacks[0]: takes 'step'; after_step gives run, step, losses, by name"),
        (
            [SimpleNamespace(after_training=lambda step: None)],
            "callbacks[0].after_training: takes 'step'; after_training gives run, model",
        ),
        (
            [SimpleNamespace(after_steps=lambda step: None, after_training=lambda: None)],
            "callbacks[0]: no hook is called 'after_steps'; did you mean 'after_step'?",
        ),
    ],
)
def test_what_cannot_be_a_callback_is_one_message_before_anything_is_written(tmp_path, callbacks, message):
    with pytest.raises(InputError) as caught:
        coupling.train(tiny.config(), tmp_path / "run", plugins=tiny.plugins(), callbacks=callbacks)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_hooks_of_callbacks_are_those_of_plugins():
    assert HOOKS == {"after_step": ("run", "step", "losses"), "after_training": ("run", "model")}
    assert Callbacks().notify("after_step", run=None, step=1, losses={}) is None
