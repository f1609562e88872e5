"""What the discriminators see in a step with augmentation, and probabilities that adapt."""

from __future__ import annotations

import json

import pytest
import torch

from coupling.augmentations.augmentation import Augmentation
from coupling.config.config import build_config
from coupling.config.sections import AdaptiveConfig, AugmentationConfig
from coupling.domain import Domain
from coupling.errors import ConfigError, PluginError
from coupling.networks.coupled import CoupledDiscriminator
from coupling.system.seeds import torch_generator
from coupling.training.augmenter import Adaptation, Augmenter
from coupling.training.setup import set_up
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny
from tests.training.test_resume import assert_same, crash

OPERATIONS = "augmentation.operations=[{name: translation, share: 0.25}, {name: cutout, domains: [b]}, flip]"
ADAPTIVE = "augmentation.adaptive={every: 2, images: 40, target: 0.2}"


def tiny_session(*overrides):
    return set_up(tiny.config(*overrides), tiny.plugins())


def slow_changes(session, step, purpose, samples, probability):
    """Each sample alone, each operation only where its number says so; the draws from their seed."""
    made = {}
    for name, batch in samples.items():
        several = session.networks.augmentations[name]
        count = sum(1 + operation.numbers for operation in several)
        generator = torch_generator(session.config.seed, "loss", f"augmentation/{purpose}/{name}", step)
        rows = torch.rand(len(batch), count, generator=generator)
        changed = []
        for x, row in zip(batch, rows, strict=True):
            place = 0
            for operation in several:
                numbers = row[place + 1 : place + 1 + operation.numbers]
                if row[place] < probability:
                    x = operation(x[None], numbers[None], session.networks.domains[name])[0]
                place += 1 + operation.numbers
            changed.append(x)
        made[name] = torch.stack(changed)
    return made


class Seen:
    """What the discriminators were given, in order."""

    def __init__(self, monkeypatch):
        self.calls = []
        forward, logits = CoupledDiscriminator.forward, CoupledDiscriminator.logits

        def recorded(network, real, fake, taps):
            self.calls.append((real, fake))
            return forward(network, real, fake, taps)

        def scored(network, samples):
            self.calls.append((samples, None))
            return logits(network, samples)

        monkeypatch.setattr(CoupledDiscriminator, "forward", recorded)
        monkeypatch.setattr(CoupledDiscriminator, "logits", scored)


@pytest.mark.parametrize("probability", ["1.0", "0.6", "{from: 0, to: 1}"])
def test_discriminators_see_changed_samples_in_both_halves(monkeypatch, probability):
    session = tiny_session(OPERATIONS, f"augmentation.probability={probability}", "losses=[non-saturating, r1]")
    seen = Seen(monkeypatch)
    half = {}
    for team in ("discriminator", "generator"):
        kept = session.networks.losses["non-saturating"]
        plain = getattr(kept, team)
        setattr(kept, team, lambda given, team=team, plain=plain: (half.__setitem__(team, given), plain(given))[1])
    for step in (0, 3):
        seen.calls.clear()
        session.inputs.take_step(step, session.algorithm)
        (real, fake), (scored, _), (none, again) = seen.calls
        share = 0.125 * step if "from" in probability else float(probability)
        expected = slow_changes(session, step, "discriminator/real", half["discriminator"].real, share)
        torch.testing.assert_close(real, expected)
        torch.testing.assert_close(scored, expected)
        generated = half["discriminator"].fake
        torch.testing.assert_close(fake, slow_changes(session, step, "discriminator/generated", generated, share))
        torch.testing.assert_close(again, slow_changes(session, step, "generator/generated", generated, share))
        torch.testing.assert_close(generated, {d: x.detach() for d, x in half["generator"].fake.items()})
        assert none is None


def test_real_samples_in_the_generators_half_are_changed_too(monkeypatch):
    session = tiny_session(OPERATIONS, "augmentation.probability=0.6", "losses=[relativistic-pairing]")
    seen = Seen(monkeypatch)
    session.inputs.take_step(2, session.algorithm)
    plain = {name: samples.batch(2) for name, samples in session.inputs.samples.items()}
    torch.testing.assert_close(seen.calls[-1][0], slow_changes(session, 2, "generator/real", plain, 0.6))


def test_the_generators_get_the_gradient_through_the_changes():
    """The reference back-propagates through the slow changes, one sample at a time."""
    session = tiny_session(OPERATIONS, "augmentation.probability=0.7", "training.ema=null")
    algorithm = session.algorithm
    z = session.inputs.latents.batch(0)
    part = algorithm._micro_batches(0, z, {}, z, {})[0]
    fake, drawn = algorithm.generate(z)
    algorithm.generators.gradients.clear()
    algorithm.generator_half(part, fake, drawn)
    ours = algorithm.generators.gradients.flat.clone()
    algorithm.generators.gradients.clear()
    seen = slow_changes(session, 0, "generator/generated", algorithm.generate(z)[0], 0.7)
    logits = session.networks.discriminator.logits(seen)
    torch.stack([torch.nn.functional.softplus(-x).mean() for x in logits.values()]).sum().backward()
    torch.testing.assert_close(ours, algorithm.generators.gradients.flat)


def test_without_augmentation_nothing_is_drawn_and_samples_stay(monkeypatch):
    session = tiny_session()
    assert session.algorithm.augmenter is None
    seen = Seen(monkeypatch)
    session.inputs.take_step(0, session.algorithm)
    for name, x in seen.calls[0][0].items():
        assert torch.equal(x, session.inputs.samples[name].batch(0))


def test_micro_batches_see_what_one_batch_sees(monkeypatch):
    settings = OPERATIONS, "augmentation.probability=0.5"
    sessions = [tiny_session(*settings, f"training.accumulate={accumulate}") for accumulate in (1, 2)]
    seen = Seen(monkeypatch)
    batches = []
    for session in sessions:
        seen.calls.clear()
        session.inputs.take_step(0, session.algorithm)
        reals = [real for real, _ in seen.calls if real is not None]
        batches.append({name: torch.cat([real[name] for real in reals]) for name in reals[0]})
    torch.testing.assert_close(*batches)


def slow_shares(logits, config, batch_size):
    """The probability after each step, from the logits {domain: (B, 1)} of each."""
    shares, kept, table = dict.fromkeys(logits[0], 0.0), {name: [] for name in logits[0]}, []
    for step, given in enumerate(logits, start=1):
        for name, x in given.items():
            kept[name] += x.flatten().tolist()
            if step % config.every == 0:
                measure = sum((value > 0) - (value < 0) for value in kept[name]) / len(kept[name])
                moved = (
                    batch_size * config.every / config.images * ((measure > config.target) - (measure < config.target))
                )
                shares[name] = min(1.0, max(0.0, shares[name] + moved))
                kept[name] = []
        table.append(dict(shares))
    return table


def test_a_probability_rises_while_a_discriminator_overfits():
    config = AdaptiveConfig(target=0.5, every=3, images=60)
    adaptation = Adaptation(config, ["a", "b"], 8, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    logits = [
        {"a": torch.randn(8, 1, generator=generator) + 2, "b": torch.randn(8, 1, generator=generator) - step / 9}
        for step in range(12)
    ]
    expected = slow_shares(logits, config, 8)
    for step, given in enumerate(logits):
        adaptation.note({name: x[:5] for name, x in given.items()})  # micro-batches
        adaptation.note({name: x[5:] for name, x in given.items()})
        adaptation.move(step)
        assert {name: share.item() for name, share in adaptation.shares.items()} == pytest.approx(expected[step])
    assert expected[-1]["a"] == 1.0
    assert expected[-1]["b"] == 0.0


def test_a_restored_adaptation_continues_in_the_middle_of_an_interval():
    config = AdaptiveConfig(target=0.1, every=4, images=50)
    whole, first, second = (Adaptation(config, ["a"], 4, torch.device("cpu")) for _ in range(3))
    logits = [torch.randn(4, 1, generator=torch.Generator().manual_seed(step)) + 0.5 for step in range(12)]
    for step, x in enumerate(logits):
        for adaptation in (whole, first if step < 6 else second):
            adaptation.note({"a": x})
            adaptation.move(step)
        if step == 5:
            second.restore(json.loads(json.dumps(first.plain())))
    assert whole.plain() == second.plain()


def test_the_highest_probability_limits_an_adaptive_one():
    config = AugmentationConfig.model_validate({"operations": ["flip"], "probability": 0.25, "adaptive": {}})
    adaptation = Adaptation(config.adaptive, ["a"], 4, torch.device("cpu"))
    adaptation.restore({"probabilities": [0.9]})
    domain = Domain("a", (1, 1, 2), (-1, 1))

    class Marked(Augmentation):
        def __call__(self, samples, numbers, domain):
            return samples + 1

    drawn = torch.linspace(0, 1, 101)[:-1, None]
    augmenter = Augmenter(config, {"a": domain}, {"a": [Marked()]}, lambda *_: drawn, adaptation)
    made = augmenter(0, "x", {"a": torch.zeros(100, 1, 1, 2)}, slice(None))["a"]
    assert made[:, 0, 0, 0].tolist() == [1.0] * 25 + [0.0] * 75
    assert augmenter.observe(0, {"a": torch.ones(4, 1)})["augmentation-probability/a"] == 0.25


def test_a_resumed_run_continues_with_its_probabilities(tmp_path):
    config = tiny.config(
        OPERATIONS, ADAPTIVE, "training.steps=12", "training.log_every=1", "training.checkpoint_every=3",
        "training.sample_every=6", "losses=[hinge, {name: r1, every: 4}]",
    )  # fmt: skip
    train(config, tmp_path / "whole", plugins=tiny.plugins())
    with pytest.raises(KeyError):
        train(config, tmp_path / "parts", plugins=tiny.AfterStep(8, crash).plugins())
    train(config, tmp_path / "parts", resume=True, plugins=tiny.plugins())
    assert_same(tmp_path / "whole", tmp_path / "parts")
    rows = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert {row["augmentation-probability/a"] for row in rows} > {0.0}


def with_plugin(operation):
    plugins = tiny.AfterStep(0, crash).plugins()
    plugins.registry.add("augmentation", "own", operation, "test")
    return plugins


class Shorter(Augmentation):
    """One that loses a row."""

    def __call__(self, samples, numbers, domain):
        return samples[:, :, 1:]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("augmentation.operations=[colour]", r"augmentation.operations\[0\] colour: needs images of 3 channels, but"),
        ("augmentation.operations=[translation, {name: flip, domains: [c]}]", r"operations\[1\].domains: .*'c'"),
        ("augmentation.operations=[{name: cutout, sides: 1}]", r"operations\[0\].sides: unknown option 'sides' of"),
        ("augmentation.operations=[cutuot]", r"operations\[0\]: no augmentation is called 'cutuot'; did you mean 'cut"),
        ("augmentation.adaptive={}", "augmentation.adaptive: there are no operations"),
        ("augmentation={operations: [flip], adaptive: {tarket: 1}}", "adaptive.tarket: unknown key 'tarket'; did you"),
        ("augmentation={operations: [flip], probability: 1.5}", "augmentation.probability: 1.5 is not valid"),
        ("augmentation={operations: [flip], probability: {from: 0, to: 1, end: 99}}", "probability.end: 99 is after"),
    ],
)  # fmt: skip
def test_wrong_augmentation_is_an_error_with_its_place(assignment, message):
    with pytest.raises(ConfigError, match=message):
        tiny_session(assignment)


def test_an_adaptive_probability_needs_one_logit():
    settings = ("latent.condition=domain", "losses=[domain-softmax]", "sharing.discriminator=[{first: 3}]", OPERATIONS)
    tiny_session(*settings)
    with pytest.raises(ConfigError, match=r"augmentation.adaptive: reads the sign of one logit .* the losses give 3"):
        tiny_session(*settings, ADAPTIVE)


def test_a_plugins_augmentation_that_changes_the_shape_is_an_error_before_training():
    values = tiny.values("augmentation.operations=[own]")
    plugins = with_plugin(Shorter)
    with pytest.raises(
        PluginError, match=r"operations\[0\] own: from samples of shape \(2, 1, 4, 4\) .* \(2, 1, 3, 4\)"
    ):
        set_up(build_config(values, plugins.registry), plugins)
    plugins = with_plugin(tiny.Head)
    with pytest.raises(PluginError, match=r"gives a Head; an augmentation is a subclass of coupling.Augmentation"):
        set_up(build_config(values, plugins.registry), plugins)


def test_a_model_is_loaded_without_the_plugin_of_its_augmentation(tmp_path):
    from coupling.api import load_model

    class Kept(Augmentation):
        """Nothing changes."""

        def __call__(self, samples, numbers, domain):
            return samples * 1

    plugins = with_plugin(Kept)
    values = tiny.values("augmentation.operations=[own]", "training.steps=1")
    run = train(build_config(values, plugins.registry), tmp_path / "run", plugins=plugins)
    assert load_model(run.path, plugins=tiny.plugins()).sample(2)["a"].shape == (2, 1, 4, 4)
