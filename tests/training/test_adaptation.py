"""Classification on shared layers, and the terms and measures that go with it."""

from __future__ import annotations

import json
import math
from functools import partial

import pytest
import safetensors.torch
import torch

from coupling.api import load_model
from coupling.data.held_out import set_apart
from coupling.errors import ConfigError, DataError, InputError
from coupling.losses.augmentation import Augmentation
from coupling.metrics.accuracy import Accuracy
from coupling.metrics.metric import Evaluation
from coupling.model.export import export_safetensors
from coupling.runs import checkpoint
from coupling.runs.directory import RunDirectory
from coupling.training.recorder import open_run
from coupling.training.setup import set_up
from coupling.training.trainer import Trainer, train
from tests.conftest import rejected
from tests.support import tiny_plugin as tiny
from tests.support.flat import flat

CLASSES = "losses=[non-saturating, {name: classification, domains: [a], classes: 2, weight: 3.0}]"
ALL = (
    "losses=[non-saturating, {name: classification, domains: [a], classes: 2, weight: 3.0}, "
    "{name: entropy, domains: [b]}, {name: consistency, domains: [b], threshold: 0.5}, "
    "{name: feature-matching, weight: 0.5}]"
)


def trainer(*overrides):
    return set_up(tiny.config(*overrides), tiny.plugins())


def first_half(made):
    """The discriminators' half of the first step, as losses receive it."""
    seen = {}
    classification = made.networks.losses["classification"]
    plain = classification.discriminator

    def spy(half):
        seen["half"] = half
        return plain(half)

    classification.discriminator = spy
    made.inputs.take_step(0, made.algorithm, made.average)
    return seen["half"]


def hidden(made, domain, samples):
    """Two layers of the linear discriminator, by hand."""
    for number in (1, 2):
        samples = made.networks.discriminator.layers[made.networks.discriminator.graph.group_of[domain, number].key](
            samples
        )
    return samples


def test_every_term_is_its_formula():
    made = trainer(ALL, "optimizer={name: sgd, lr: 1.0e-12}")  # the weights stay
    half = first_half(made)
    losses = made.networks.losses
    head = losses["classification"].head
    assert set(half.labels) == {"a"}
    p = head(hidden(made, "a", half.real["a"])).softmax(1)
    chosen = made.inputs.samples["a"].numbers(0)
    expected = made.data["a"].dataset.labels[made.data["a"].indices[chosen]]
    assert half.labels["a"].tolist() == expected.tolist()
    slow = -sum(p[i, c].log() for i, c in enumerate(expected.tolist())) / len(expected) * 3
    torch.testing.assert_close(losses["classification"].discriminator(half)["a"], slow)

    q = head(hidden(made, "b", half.real["b"])).softmax(1)
    sure = -sum(x * math.log(x) for row in q.tolist() for x in row) / len(q)
    varied = -sum(x * math.log(x) for x in q.mean(0).tolist())
    torch.testing.assert_close(
        losses["entropy"].discriminator(half)["b"].item(), 0.1 * (sure - varied), rtol=1e-4, atol=1e-6
    )

    consistency = losses["consistency"]
    numbers = half.uniform("changed/b", 4)
    changed = torch.cat(
        [consistency.augmentation(x[None], n[None]) for x, n in zip(half.real["b"], numbers, strict=True)]
    )
    terms = []
    for row, other in zip(q, head(hidden(made, "b", changed)).log_softmax(1), strict=True):
        terms.append(-other[row.argmax()].item() if row.max() >= 0.5 else 0.0)
    assert consistency.discriminator(half)["b"].item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)

    f, g = (hidden(made, d, half.fake[d]) for d in "ab")
    distance = sum(((one - other) ** 2).sum() for one, other in zip(f, g, strict=True)) / len(f)
    matching = losses["feature-matching"].discriminator(half)
    torch.testing.assert_close(matching["a"] + matching["b"], 0.5 * distance)
    torch.testing.assert_close(matching["a"], matching["b"])


TEACHER = (
    "losses=[non-saturating, {name: classification, domains: [a], classes: 2, weight: 3.0}, "
    "{name: consistency, domains: [b], threshold: 0.5, teacher: averaged}]"
)


def test_an_averaged_teacher_classifies_the_sample_before_augmentation():
    made = trainer(TEACHER, "training.ema_discriminators=true", "training.ema=0.9", "training.batch_size=16")
    for step in range(20):
        made.inputs.take_step(step, made.algorithm, made.average)
    half = first_half(made)
    consistency = made.networks.losses["consistency"]
    learned = made.networks.losses["classification"].head
    with torch.no_grad():  # the averages of the step before: this one has not ended when its terms are taken
        term = consistency.discriminator(half)["b"]
        live = learned(hidden(made, "b", half.real["b"])).softmax(1)
        kept = made.average.networks
        x = half.real["b"]
        for number in (1, 2):
            x = kept["discriminator"].layers[kept["discriminator"].graph.group_of["b", number].key](x)
        taught = kept["loss.classification"].head(x).softmax(1)
        changed = consistency.augmentation(half.real["b"], half.uniform("changed/b", 4))
        other = learned(hidden(made, "b", changed)).log_softmax(1)
    assert not torch.allclose(live, taught, atol=1e-3)
    expected = [-o[t.argmax()].item() if t.max() >= 0.5 else 0.0 for o, t in zip(other, taught, strict=True)]
    assert term.item() == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_a_teacher_without_an_average_is_an_error():
    with pytest.raises(ConfigError, match=r"^losses\[2\] consistency: reads .* set training\.ema_discriminators: true"):
        trainer(TEACHER)


@pytest.mark.parametrize(("losses", "users"), [(CLASSES, 1), (ALL, 2)])
def test_the_heads_gradient_is_the_mean_over_the_domains_that_use_it(losses, users):
    made = trainer(losses, "optimizer={name: sgd, lr: 1.0}")
    head = made.networks.losses["classification"].head
    before = [p.clone() for p in head.parameters()]
    again = trainer(losses, "optimizer={name: sgd, lr: 1.0}")
    half = first_half(again)  # the gradient of the same step, by hand, before it moves anything
    fresh = trainer(losses)
    terms = []
    for name, loss in fresh.networks.losses.items():
        if name in ("classification", "entropy", "consistency"):
            features = {(d, -2): hidden(fresh, d, torch.cat([half.real[d], half.fake[d]])) for d in "ab"}
            given = type(half)(
                **{**half.__dict__, "features": features, "tap": partial(fresh.algorithm._tap, fresh.algorithm.f)}
            )
            terms += list(loss.discriminator(given).values())
    expected = torch.autograd.grad(
        torch.stack(terms).sum() / users, list(fresh.networks.losses["classification"].head.parameters())
    )
    made.inputs.take_step(0, made.algorithm, made.average)
    for old, gradient, new in zip(before, expected, head.parameters(), strict=True):
        torch.testing.assert_close(new, old - gradient, rtol=1e-4, atol=1e-5)


def test_a_target_label_is_never_read_in_training(tmp_path, monkeypatch):
    read = []
    plain = tiny.Tiny.labels.fget

    def labels(self):
        read.append(self.source)
        return plain(self)

    monkeypatch.setattr(tiny.Tiny, "labels", property(labels))
    pools = ("domains.a.dataset.pool=source", "domains.b.dataset.pool=target")
    train(
        tiny.config(ALL, *pools, "metrics=[{name: information, domain: b, every: 2}]"),
        tmp_path / "run",
        plugins=tiny.plugins(),
    )
    assert set(read) == {"tiny:source"}


@pytest.mark.parametrize(
    ("first", "warned"),
    [
        ("{name: accuracy, domain: b}", True),
        ("accuracy", True),
        ("{name: accuracy, domain: a}", False),
        ("information", False),
    ],
)
def test_a_checkpoint_chosen_by_target_labels_gets_a_warning(tmp_path, capsys, first, warned):
    config = tiny.config(ALL, f"metrics=[{first}, {{name: accuracy, domain: b}}]", "training.steps=1")
    train(config, tmp_path / "run", plugins=tiny.plugins())
    assert ("is selected by an oracle and is not a valid result" in capsys.readouterr().err) == warned


def test_the_classifier_learns_is_saved_and_classifies_every_domain(tmp_path):
    metrics = (
        "metrics=[{name: information, domain: b, every: 50}, {name: accuracy, domain: a}, {name: accuracy, domain: b}]"
    )
    made = train(
        tiny.config(
            ALL, "training.steps=200", "domains.a.dataset.pool=source", "domains.b.dataset.pool=target", metrics
        ),
        tmp_path / "run",
        plugins=tiny.plugins(),
    )
    model = load_model(made.path, plugins=tiny.plugins())
    last = made.read_json("summary.json")["last"]
    for domain, pool in (("a", "source"), ("b", "target")):
        data = tiny.Tiny(count=33, pool=pool)
        p = model.classify(data.samples, domain)
        assert p.shape == (33, 2)
        torch.testing.assert_close(p.sum(1), torch.ones(33))
        assert last[f"accuracy/{domain}"] == pytest.approx((p.argmax(1) == data.labels).float().mean().item())
    assert last["accuracy/a"] > 0.9
    rows = (made.path / "metrics.jsonl").read_text()
    assert '"accuracy/b/held-out"' in rows
    mean = p.double().mean(0)
    mutual = -(mean * mean.log()).sum() + (p.double() * p.double().log()).sum(1).mean()
    assert last["information/b"] == pytest.approx(mutual.item(), abs=1e-5)
    assert made.read_json("summary.json")["best_checkpoint"] is not None  # by information, the first metric


def test_a_model_without_a_classifier_says_so(tmp_path):
    made = train(tiny.config("training.steps=1"), tmp_path / "run", plugins=tiny.plugins())
    with pytest.raises(InputError, match="trained without a classification loss"):
        load_model(made.path, plugins=tiny.plugins()).classify(torch.zeros(1, 1, 4, 4), "a")
    made = train(tiny.config("training.steps=1", CLASSES), tmp_path / "other", plugins=tiny.plugins())
    model = load_model(made.path, plugins=tiny.plugins())
    for images, domain, message in (
        (torch.zeros(1, 1, 4, 4), "c", "no domain 'c'"),
        (torch.zeros(1, 1, 5, 4), "a", r"takes \(B, \(1, 4, 4\)\)"),
        (torch.full((1, 1, 4, 4), 255.0), "a", r"lie in \[255, 255\]"),
    ):
        with pytest.raises(InputError, match=message):
            model.classify(images, domain)


THREE = (
    "domains={a: {dataset: {name: tiny, count: 40, pool: source}}, b: {dataset: {name: tiny, count: 30, pool: target}},"
    " c: {dataset: {name: tiny, count: 20, pool: third}}}",
    "losses=[non-saturating, {name: classification, domains: [a], classes: 2, weight: 3.0}, entropy, "
    "{name: consistency, threshold: 0.5}, feature-matching]",
    "metrics=[{name: information, every: 100}, accuracy]",
)
TERMS = {"classification": "a", "entropy": "bc", "consistency": "bc", "feature-matching": "abc"}


def test_a_classifier_adapts_to_any_number_of_domains(tmp_path):
    """One domain has labels; terms and metrics of the others take all domains without labels by default."""
    made = trainer(*THREE, "training.steps=200", "training.ema_discriminators=true")
    losses = made.networks.losses
    assert losses["entropy"].domains == losses["consistency"].domains == ["b", "c"]
    assert losses["classification"].users(list("abc")) == ["a", "b", "c"]
    assert made.inputs.labelled == ["a"]
    Trainer(made, open_run(made, tmp_path / "run", resume=False)).run()
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    terms = {name for row in rows for name in row if name.startswith("loss/discriminator/")}
    for term, domains in TERMS.items():
        assert {name.split("/")[2] for name in terms if name.endswith(f"/{term}")} == set(domains)
    (last,) = (row for row in rows if "accuracy" in row)
    model = load_model(tmp_path / "run", plugins=tiny.plugins())
    for domain, data in made.data.items():
        right = model.classify(data.dataset.samples, domain).argmax(1) == data.dataset.labels
        assert last[f"accuracy/{domain}"] == pytest.approx(right.float().mean().item())
        assert f"accuracy/{domain}/held-out" in last
    assert last["accuracy"] == pytest.approx((last["accuracy/b"] + last["accuracy/c"]) / 2)
    assert last["accuracy/a"] > 0.9
    informed = [row for row in rows if "information" in row]
    assert [row["step"] for row in informed] == [100, 200]
    for row in informed:
        assert row["information"] == pytest.approx((row["information/b"] + row["information/c"]) / 2, rel=1e-4)
        assert "information/a" not in row
    assert set(RunDirectory(tmp_path / "run", made.config).read_json("summary.json")["last"]) == {
        "information",
        "accuracy",
    }


def test_one_key_swaps_source_and_target(tmp_path):
    made = trainer(*THREE, "losses.1.domains=[c]")
    assert made.inputs.labelled == ["c"]
    assert made.networks.losses["entropy"].domains == ["a", "b"]
    with pytest.raises(
        ConfigError, match=r"\[2\] entropy: needs a domain without labels, but every domain is labelled"
    ):
        trainer(*THREE, "losses.1.domains=[a, b, c]")


def test_accuracy_is_first_the_value_that_the_protocol_asks_for(monkeypatch, tmp_path):
    made = trainer(*THREE)
    model, apart = made.model(0), {name: set_apart(data) for name, data in made.data.items()}

    def share(domain, data):
        samples = range(len(data))
        return (model.classify(data.read(samples), domain).argmax(1) == data.labels(samples)).float().mean().item()

    for tested_on, first, beside in (("own", made.data, apart), ("held-out", apart, made.data)):
        monkeypatch.setattr(tiny.Tiny, "tested_on", tested_on)
        other = {"own": "held-out", "held-out": "own"}[tested_on]
        evaluation = Evaluation(model, made.data, 0)
        values = flat(Accuracy(), evaluation)
        for domain in "abc":
            assert values[f"accuracy/{domain}"] == pytest.approx(share(domain, first[domain]))
            assert values[f"accuracy/{domain}/{other}"] == pytest.approx(share(domain, beside[domain]))
        assert evaluation.notes["tested_on"] == dict.fromkeys("abc", tested_on)
        named = flat(Accuracy(domain="b"), Evaluation(model, made.data, 0))
        assert next(iter(named.items())) == ("accuracy/b", values["accuracy/b"])
    monkeypatch.setattr(tiny.Tiny, "held_out", lambda self: None)
    with pytest.raises(ConfigError, match="domain: 'a' is tested on its held-out samples, of which there are none"):
        Accuracy().prepare(made.data, 0)


def test_a_domain_without_labels_has_no_accuracy(monkeypatch):
    """It is left out by default, and an error before training where it is named."""
    plain = tiny.Tiny.labels.fget
    known = property(lambda self: plain(self) if self.source == "tiny:source" else None)
    monkeypatch.setattr(tiny.Tiny, "labels", known)
    made = trainer(*THREE)
    made.measurement.prepare()
    values = flat(Accuracy(), Evaluation(made.model(0), made.data, 0))
    assert set(values) == {"accuracy", "accuracy/a"}
    with pytest.raises(ConfigError, match=r"metrics\[0\]\.domain: 'b' is tested on its own samples, of which"):
        trainer(*THREE, "metrics=[{name: accuracy, domain: b}]")
    monkeypatch.setattr(tiny.Tiny, "labels", None)
    with pytest.raises(ConfigError, match=r"metrics\[0\]\.domain: no domain has labels to compare"):
        trainer(CLASSES, "metrics=[accuracy]")


AVERAGED = (CLASSES, "training.ema_discriminators=true", "metrics=[{name: accuracy, domain: b}]")


def test_the_averaged_classifier_is_used(tmp_path):
    """Metrics, the loaded model and its export use it; the live one is used on request."""
    made = trainer(*AVERAGED)
    Trainer(made, open_run(made, tmp_path / "run", resume=False)).run()
    images = tiny.Tiny(count=9).samples
    loaded, live = (load_model(tmp_path / "run", plugins=tiny.plugins(), live=live) for live in (False, True))
    head = made.average.networks["loss.classification"]
    tapped = made.average.networks["discriminator"]({"b": images}, taps=[-2]).features
    expected = head.logits(tapped["b", -2]).softmax(1)
    torch.testing.assert_close(loaded.classify(images, "b"), expected)
    assert not torch.allclose(live.classify(images, "b"), expected)
    torch.testing.assert_close(live.classify(images, "b"), made_live(made, images))
    own = made.data["b"]
    share = (loaded.classify(own.read(range(len(own))), "b").argmax(1) == own.labels(range(len(own)))).float().mean()
    assert RunDirectory(tmp_path / "run", made.config).read_json("summary.json")["last"]["accuracy/b"] == pytest.approx(
        share.item()
    )
    export_safetensors(loaded, tmp_path / "model.safetensors")
    exported = load_model(tmp_path / "model.safetensors", plugins=tiny.plugins())
    torch.testing.assert_close(exported.classify(images, "b"), expected)


def made_live(made, images):
    return made.networks.losses["classification"].logits(hidden(made, "b", images)).softmax(1)


def test_a_checkpoint_without_the_classifiers_average_classifies_but_cannot_be_resumed(tmp_path):
    """It classifies with the live classifier."""
    train(tiny.config(CLASSES, "training.steps=2"), tmp_path / "run", plugins=tiny.plugins())
    found, _ = checkpoint.newest(tmp_path / "run/checkpoints")
    assert not any(name.startswith(("ema_discriminator.", "ema_loss.")) for name in found.model())
    with pytest.raises(InputError, match=r"training\.ema_discriminators: false -> true"):
        train(tiny.config(*AVERAGED), tmp_path / "run", resume=True, plugins=tiny.plugins())
    with pytest.raises(InputError, match=r"'ema_discriminator\.layers.* is in the network alone"):
        trainer(*AVERAGED).state.restore(found)
    described = found.metadata() | {"config": tiny.config(*AVERAGED).plain()}
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file(found.model(), file, {"coupling": json.dumps(described)})
    images = tiny.Tiny(count=9).samples
    expected = load_model(tmp_path / "run", plugins=tiny.plugins()).classify(images, "b")
    assert torch.equal(load_model(file, plugins=tiny.plugins()).classify(images, "b"), expected)


def test_an_average_without_a_decay_is_an_error():
    with pytest.raises(
        ConfigError, match=r"^training\.ema_discriminators: true needs a decay, but training\.ema is null"
    ):
        tiny.config("training.ema=null", "training.ema_discriminators=true")


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ("[non-saturating, {name: classification, domains: [c]}]", r"\[1\] classification: domains: no domain .* 'c'"),
        ("[non-saturating, {name: entropy, domains: [b]}]", "has 0 of them"),
        ("[minimax, {name: classification, domains: [a], classes: 2}, {name: entropy, domains: [x]}]", "called 'x'"),
        ("[non-saturating, {name: classification, domains: [a], layer: 9}]", "reads discriminator layer 9"),
        ("[non-saturating, {name: classification, domains: [a], layer: -4}]", "reads discriminator layer -4"),
        (
            "[non-saturating, {name: classification, domains: [a], classes: 2}, "
            "{name: consistency, domains: [b], rotate: 0, shift: 0, scale: 0}]",
            "all are 0",
        ),
    ],
)  # fmt: skip
def test_losses_that_do_not_fit_the_domains_are_errors(losses, message):
    with pytest.raises(ConfigError, match=message):
        trainer(f"losses={losses}")


def test_labels_that_do_not_fit_are_errors(monkeypatch, capsys):
    monkeypatch.setattr(tiny.Tiny, "labels", property(lambda self: torch.full((len(self),), 4)))
    with pytest.raises(ConfigError, match=r"losses\[1\]\.classes: 2, but domain 'a' has labels 4.*classes: 5 or more"):
        trainer(CLASSES)
    trainer(CLASSES.replace("classes: 2", "classes: 5"))
    assert "warning: classification: class 0, 1, 2, 3 has no labelled sample" in capsys.readouterr().err
    monkeypatch.setattr(tiny.Tiny, "labels", property(lambda self: torch.arange(len(self)) % 3 - 1))
    with pytest.raises(
        ConfigError, match=r"losses\[1\]\.domains: 'a' has samples of class -1, but classes are numbered from 0"
    ):
        trainer(CLASSES)
    monkeypatch.setattr(tiny.Tiny, "labels", None)
    with pytest.raises(DataError, match=r"domains\.a\.dataset: its samples have no labels"):
        trainer(CLASSES)


ACCURACY = "metrics=[{name: accuracy, domain: b}]"


def test_a_metric_of_a_missing_classifier_is_an_error_before_training(train):
    for metric in (ACCURACY, ACCURACY.replace("accuracy", "information")):
        for verb in ("run", "check"):
            rejected(
                train(metric, verb=verb), "metrics[0].domain: there is no classifier to measure; name a classification"
            )
    assert train("--output", "out").exit_code == 0


def test_samples_of_a_class_that_the_classifier_lacks_count_as_wrong_with_a_warning(tmp_path, monkeypatch, capsys):
    plain = tiny.Tiny.labels.fget
    monkeypatch.setattr(
        tiny.Tiny, "labels", property(lambda self: plain(self) + (5 if self.source == "tiny:target" else 0))
    )
    changes = (CLASSES, ACCURACY, "domains.a.dataset.pool=source", "domains.b.dataset.pool=target", "training.steps=1")
    made = train(tiny.config(*changes), tmp_path / "run", plugins=tiny.plugins())
    assert "accuracy/b: samples of class 5, 6 count as wrong: the classifier knows classes 0 to 1" in (
        capsys.readouterr().err
    )
    assert made.read_json("summary.json")["last"]["accuracy/b"] == 0
    (record,) = made.read_json("evaluation.json")["accuracy/b"].values()
    assert record["samples"] == {"b": {"own": 33, "held-out": 10}}


def test_augmentation_is_the_documented_affine_map():
    images = torch.rand(3, 2, 8, 8)
    still = torch.full((3, 4), 0.5)
    torch.testing.assert_close(Augmentation(30, 0.2, 0.3)(images, still), images, rtol=1e-4, atol=1e-5)
    quarter = Augmentation(90, 0, 0)(images, torch.tensor([[1.0, 0.5, 0.5, 0.5]]).expand(3, 4))
    turned = [torch.rot90(images, k, dims=(2, 3)) for k in (1, 3)]
    assert min((quarter - t).abs().max().item() for t in turned) < 1e-4
    moved = Augmentation(0, 0.25, 0)(images, torch.tensor([[0.5, 0.5, 1.0, 0.5]]).expand(3, 4))
    torch.testing.assert_close(moved[..., :-2], images[..., 2:], rtol=1e-4, atol=1e-5)
    assert not Augmentation(0, 0, 0)


def test_slant_and_stretch_have_the_documented_size():
    still = torch.full((1, 6), 0.5)
    random = torch.rand(1, 2, 8, 12)
    torch.testing.assert_close(Augmentation(30, 0.2, 0.3, 0.5, 0.5)(random, still), random, rtol=1e-4, atol=1e-5)
    y, x = (ramp.float()[None, None] for ramp in torch.meshgrid(torch.arange(9), torch.arange(21), indexing="ij"))
    image = torch.cat([x, y], 1)  # each pixel says where it comes from
    slanted = Augmentation(0, 0, 0, shear=0.5)(image, torch.tensor([[0.5, 0.5, 0.5, 0.5, 1.0, 0.5]]))
    torch.testing.assert_close(slanted[:, :1], (x + 0.5 * (y - 4)).clamp(0, 20))
    torch.testing.assert_close(slanted[:, 1:], y)
    wide = Augmentation(0, 0, 0, stretch=1)(image, torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.5, 1.0]]))
    torch.testing.assert_close(wide[:, :1], 10 + (x - 10) / 2)
    torch.testing.assert_close(wide[:, 1:], (4 + (y - 4) * 2).clamp(0, 8))
    narrow = Augmentation(0, 0, 0, stretch=1)(image, torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.5, 0.0]]))
    torch.testing.assert_close(narrow[:, :1], (10 + (x - 10) * 2).clamp(0, 20))
    torch.testing.assert_close(narrow[:, 1:], 4 + (y - 4) / 2)


def test_a_long_image_is_turned_without_being_sheared():
    image = torch.zeros(1, 1, 9, 27)
    image[..., 4, 4:23] = 1.0  # a line of 19 pixels, turned upright: at most the nine rows are left of it
    turned = Augmentation(90, 0, 0)(image, torch.tensor([[1.0, 0.5, 0.5, 0.5]]))
    columns = (turned[0, 0] > 0.5).any(0).nonzero().flatten().tolist()
    assert columns == [13]
    assert (turned[0, 0, :, 13] > 0.5).sum() == 9
