"""Mixed precision and micro-batches: the same steps, with less memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coupling.config.sections import OptimizerConfig
from coupling.errors import ConfigError, RunError
from coupling.runs import checkpoint
from coupling.training.build import make_optimizer
from coupling.training.gradients import GradientBuffer
from coupling.training.precision import LossScale
from coupling.training.setup import set_up
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny


def run(path, *overrides, resume=False):
    return train(tiny.config(*overrides), path, resume=resume, plugins=tiny.plugins())


def saved(path):
    found, complaints = checkpoint.newest(path / "checkpoints")
    assert complaints == []
    return found


def scaled_parameter(optimizer, value=1.0):
    """One parameter with its buffer, optimizer and scale."""
    parameter = nn.Parameter(torch.full((3,), value))
    buffer = GradientBuffer([(parameter, ("a",))])
    return parameter, buffer, make_optimizer(optimizer, buffer.parameters), LossScale(torch.device("cpu"))


def backward(parameter, scale, factor):
    scale.scaled((parameter * factor).sum()).backward()


OPTIMIZERS = [
    OptimizerConfig(name="adam", lr=0.1),
    OptimizerConfig(name="sgd", lr=0.1, momentum=0.5),
    OptimizerConfig(name="rmsprop", lr=0.1),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_step_that_overflows_is_left_out_and_changes_nothing_but_the_scale(optimizer, bad):
    """Also as the first step, after which torch's fused SGD would keep uninitialised momentum."""
    parameter, buffer, made, scale = scaled_parameter(optimizer)
    expected, plain, other, _ = scaled_parameter(optimizer)
    before = scale.tensors()["scale"].item()
    for factor in (bad, 2.0, bad, 3.0):
        backward(parameter, scale, factor)
        if scale.unscale(buffer.flat, made):
            made.step()
        buffer.clear()
        if factor in (2.0, 3.0):
            (expected * factor).sum().backward()
            other.step()
            plain.clear()
    torch.testing.assert_close(parameter, expected, rtol=1e-6, atol=0)
    assert parameter.isfinite().all()
    assert scale.tensors()["scale"].item() == before / 4
    assert scale.tensors()["since"].item() == 1


def test_the_scale_keeps_gradients_that_half_precision_would_lose():
    tiny_factor = 2.0**-26  # below half precision's smallest number
    parameter, buffer, made, scale = scaled_parameter(OPTIMIZERS[1])

    def gradient(objective):
        half = parameter.half()
        objective((half * half.new_tensor(1.0)).float().sum() * tiny_factor).backward()
        return buffer.flat.clone()

    assert gradient(lambda x: x).eq(0).all()
    gradient(scale.scaled)
    assert scale.unscale(buffer.flat, made)
    torch.testing.assert_close(buffer.flat, torch.full((3,), tiny_factor))


def test_gradients_that_no_scale_makes_finite_end_the_run():
    parameter, buffer, made, scale = scaled_parameter(OPTIMIZERS[0])

    def overflow():
        for _ in range(100):
            backward(parameter, scale, float("inf"))
            assert not scale.unscale(buffer.flat, made)
            buffer.clear()

    with pytest.raises(RunError, match=r"training\.precision: fp16: gradients are not finite"):
        overflow()


HALF = ("training.precision=fp16", "losses=[non-saturating, {name: r1, every: 2}]", "training.steps=6")


def test_half_precision_trains_with_one_scale_per_team(tmp_path):
    """Both teams step, in lower precision, and each keeps its own scale."""
    session = set_up(tiny.config(*HALF), tiny.plugins())
    teams = session.algorithm.generators, session.algorithm.discriminators
    assert teams[0].scale is not None
    assert teams[0].scale is not teams[1].scale
    start = [p.detach().clone() for team in teams for p in team.network.parameters()]
    seen = []
    z = session.inputs.latents.batch(0)
    with session.algorithm.autocast():
        seen = {x.dtype for x in session.algorithm.f(session.algorithm.g(z)).real_logits.values()}
    assert seen == {torch.float16}
    for step in range(3):
        session.inputs.take_step(step, session.algorithm, session.average)
    moved = [
        (p - s).abs().max() for p, s in zip((p for t in teams for p in t.network.parameters()), start, strict=True)
    ]
    assert min(moved) > 0
    assert all(team.scale.tensors()["scale"] == 2.0**16 for team in teams)  # nothing overflowed
    assert all(team.scale.tensors()["since"] == 3 for team in teams)
    assert all(p.dtype == torch.float32 for team in teams for p in team.network.parameters())


def test_an_overflow_in_one_team_does_not_affect_the_other():
    session = set_up(tiny.config(*HALF), tiny.plugins())
    generators, discriminators = session.algorithm.generators, session.algorithm.discriminators
    start = [p.detach().clone() for p in discriminators.network.parameters()]
    average = discriminators.gradients.average
    discriminators.gradients.average = lambda: (average(), discriminators.gradients.flat[0].fill_(float("inf")))
    before = [p.detach().clone() for p in generators.network.parameters()]
    session.inputs.take_step(0, session.algorithm, session.average)
    assert all(torch.equal(p, s) for p, s in zip(discriminators.network.parameters(), start, strict=True))
    assert not all(torch.equal(p, s) for p, s in zip(generators.network.parameters(), before, strict=True))
    assert discriminators.scale.tensors()["scale"] == 2.0**15
    assert generators.scale.tensors()["scale"] == 2.0**16


def test_resuming_in_half_precision_is_exact(tmp_path):
    """The scales are part of the checkpoint: with other scales, the last bits would differ."""
    run(tmp_path / "one", *HALF)
    run(tmp_path / "two", *HALF, "training.steps=3")
    run(tmp_path / "two", *HALF, resume=True)
    one, two = saved(tmp_path / "one"), saved(tmp_path / "two")
    for ours, theirs in ((two.model(), one.model()), (two.state(), one.state())):
        assert list(ours) == list(theirs)
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), name
    assert one.state()["loss_scale.generator.since"] == 6


def test_a_scale_is_restored():
    scales = [LossScale(torch.device("cpu")) for _ in range(2)]
    parameter, buffer, made, _ = scaled_parameter(OPTIMIZERS[0])
    for factor in (float("inf"), 1.0, 1.0):
        backward(parameter, scales[0], factor)
        scales[0].unscale(buffer.flat, made)
        buffer.clear()
    scales[1].restore(scales[0].tensors())
    assert scales[1].tensors() == scales[0].tensors() == {"scale": torch.tensor(2.0**15), "since": torch.tensor(2)}
    assert scales[1].scaled(torch.ones(())).item() == 2.0**15


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_micro_batches_train_like_the_whole_batch(tmp_path, precision):
    """With SGD, so that a wrong factor would show."""
    common = (
        f"training.precision={precision}",
        "optimizer={name: sgd, lr: 0.05}",
        "losses=[non-saturating, r1]",
        "training.steps=3",
        "training.batch_size=8",
    )
    run(tmp_path / "whole", *common)
    run(tmp_path / "cut", *common, "training.accumulate=4")
    whole, cut = (saved(tmp_path / name).model() for name in ("whole", "cut"))
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], rtol=1e-5 if precision == "fp32" else 2e-2, atol=1e-3)
    if precision == "fp32":
        for name in whole:
            torch.testing.assert_close(cut[name], whole[name], rtol=1e-5, atol=1e-6)


def test_micro_batches_are_forwarded_one_at_a_time():
    session = set_up(tiny.config("training.batch_size=8", "training.accumulate=4"), tiny.plugins())
    sizes = []
    hook = session.networks.generator.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    session.inputs.take_step(0, session.algorithm, session.average)
    hook.remove()
    assert sizes == [2] * 8  # four in each half


def test_a_batch_that_cannot_be_divided_into_micro_batches_is_an_error():
    with pytest.raises(ConfigError, match=r"batch_size: 4 cannot be divided among 3 micro-batches \(training\.accum"):
        set_up(tiny.config("training.accumulate=3"), tiny.plugins())
