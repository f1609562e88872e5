"""Numbers that follow a schedule: what each step is computed with, also after a resume and with several processes."""

from __future__ import annotations

import math

import pytest
import torch

from coupling.config.config import build_config
from coupling.errors import ConfigError, InputError
from coupling.losses.loss import Loss
from coupling.training.setup import set_up
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny
from tests.training.test_resume import assert_same, crash

STEPS = 12
SCHEDULED = (
    f"training.steps={STEPS}", "training.log_every=1", "training.checkpoint_every=3", "training.sample_every=6",
    "optimizer.lr={from: 0.02, to: 0.002, schedule: cosine}",
    "optimizer.betas=[0.0, {from: 0.5, to: 0.9, start: 25%}]",
    "optimizer.weight_decay={from: 0, to: 0.1}",
    "generator.optimizer.lr={from: 0.01, schedule: constant, warm_up: 4}",
    "losses=[{name: non-saturating, weight: {from: 1, to: 0.5}}, r1]",
    "losses.1={name: r1, gamma: {from: 2, to: 0.2, end: 9}, every: 2}",
    "training.ema={from: 0.2, to: 0.9}", "training.ema_discriminators=true",
)  # fmt: skip


def line(first, last, start, end, step):
    return first if step < start else last if step >= end else first + (last - first) * (step - start) / (end - start)


def test_each_step_is_computed_with_its_numbers():
    session = set_up(tiny.config(*SCHEDULED), tiny.plugins())
    algorithm, average = session.algorithm, session.average
    for step in range(STEPS):
        before = [x.clone() for x in average._floats[0]]
        session.inputs.take_step(step, algorithm, average)
        (generators,), (discriminators,) = (
            team.optimizer.param_groups for team in (algorithm.generators, algorithm.discriminators)
        )
        falling = 0.002 + (0.02 - 0.002) * (1 + math.cos(math.pi * step / STEPS)) / 2
        assert discriminators["lr"] == pytest.approx(falling)
        assert generators["lr"] == pytest.approx(0.01 * min(1, (step + 1) / 4))
        for group in (generators, discriminators):
            assert group["betas"] == pytest.approx((0.0, line(0.5, 0.9, 3, STEPS, step)))
            assert group["weight_decay"] == pytest.approx(line(0, 0.1, 0, STEPS, step))
        for losses in (algorithm.losses, average.networks):
            named = {name.removeprefix("loss."): loss for name, loss in losses.items()}
            assert named["non-saturating"].weight == pytest.approx(line(1, 0.5, 0, STEPS, step))
            assert named["r1"].gamma == pytest.approx(line(2, 0.2, 0, 9, step))
        decay = min(line(0.2, 0.9, 0, STEPS, step), (1 + step) / (10 + step))
        for old, new, live in zip(before, *average._floats, strict=True):
            torch.testing.assert_close(new, decay * old + (1 - decay) * live)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_a_scheduled_step_is_that_of_an_optimizer_made_with_its_numbers(name):
    """The reference is a new optimizer in each step, made from plain numbers, with the state of the one before."""
    given = "optimizer={name: %s, lr: %s, momentum: %s, betas: [%s, 0.9]}"
    moving = "{from: 0.02, to: 0.01}", "{from: 0.2, to: 0.6}", "{from: 0.3, to: 0.7}"
    ours, theirs = (
        set_up(tiny.config("training.ema=null", given % (name, *numbers)), tiny.plugins())
        for numbers in (moving, (0.02, 0.2, 0.3))
    )
    for step in range(5):
        ours.inputs.take_step(step, ours.algorithm)
        numbers = {"lr": line(0.02, 0.01, 0, 8, step), "momentum": line(0.2, 0.6, 0, 8, step)}
        numbers["betas"] = (line(0.3, 0.7, 0, 8, step), 0.9)
        for team in (theirs.algorithm.generators, theirs.algorithm.discriminators):
            old = team.optimizer
            kept = {key: value for key, value in old.param_groups[0].items() if key not in ("params", *numbers)}
            own = {key: value for key, value in numbers.items() if key in old.param_groups[0]}
            known = {k: v for k, v in kept.items() if k in type(old).__init__.__code__.co_varnames}
            team.optimizer = type(old)(team.gradients.parameters, **own, **known)
            team.optimizer.state.update(old.state)
        theirs.inputs.take_step(step, theirs.algorithm)
    for network in ("generator", "discriminator"):
        pairs = zip(
            getattr(ours.networks, network).parameters(), getattr(theirs.networks, network).parameters(), strict=True
        )
        for one, other in pairs:
            torch.testing.assert_close(one, other)


def test_a_resumed_run_follows_the_same_schedules(tmp_path):
    config = tiny.config(*SCHEDULED)
    train(config, tmp_path / "whole", plugins=tiny.plugins())
    with pytest.raises(KeyError):
        train(config, tmp_path / "parts", plugins=tiny.AfterStep(8, crash).plugins())
    train(config, tmp_path / "parts", resume=True, plugins=tiny.plugins())
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_more_steps_would_change_a_schedule_that_ends_with_the_run(tmp_path):
    lr = "optimizer.lr={from: 0.01, to: 0.001%s}"
    train(tiny.config("training.steps=2", lr % ""), tmp_path / "open", plugins=tiny.plugins())
    with pytest.raises(InputError, match=r"optimizer.lr.end: 2 -> 4"):
        train(tiny.config("training.steps=4", lr % ""), tmp_path / "open", resume=True, plugins=tiny.plugins())
    train(tiny.config("training.steps=2", lr % ", end: 2"), tmp_path / "ends", plugins=tiny.plugins())
    train(tiny.config("training.steps=4", lr % ", end: 2"), tmp_path / "ends", resume=True, plugins=tiny.plugins())


class Derived(Loss):
    """A loss that keeps nothing of its option."""

    def __init__(self, *, share: float = 0.5) -> None:
        super().__init__()
        self.both = (share, 1 - share)


def test_a_loss_that_does_not_keep_its_option_cannot_follow_a_schedule():
    plugins = tiny.AfterStep(0, crash).plugins()
    plugins.registry.add("loss", "derived", Derived, "test")
    values = tiny.values("losses=[non-saturating, {name: derived, share: {from: 0, to: 1}}]")
    config = build_config(values, plugins.registry)
    with pytest.raises(ConfigError, match=r"losses\[1\].share: cannot follow a schedule, because loss 'derived'"):
        set_up(config, plugins)


def test_a_loss_may_set_what_it_derives_from_its_option():
    class Half(Loss):
        def __init__(self, *, share: float = 0.5) -> None:
            super().__init__()
            self.share = share
            self.rest = 1 - share

        def set_numbers(self, step):
            super().set_numbers(step)
            self.rest = 1 - self.share

    loss = Half()
    loss.schedules = {"share": tiny.config("optimizer.lr={from: 0, to: 1}").optimizer.lr}
    loss.set_numbers(2)
    assert (loss.share, loss.rest) == (0.25, 0.75)
