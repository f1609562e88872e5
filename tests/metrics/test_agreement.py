"""Label and attribute agreement, held against models of which it is known how often they are right."""

from __future__ import annotations

import pytest
import torch

from coupling.errors import ConfigError
from coupling.metrics import probe
from coupling.metrics.agreement import AttributeAgreement, LabelAgreement, agreement_by_chance, share_belonging
from coupling.metrics.metric import Evaluation
from coupling.metrics.pairs import share_of_way
from coupling.runs.measured import Undefined
from coupling.system.seeds import derive_seed
from tests.support.flat import flat
from tests.support.toy_domains import Drawn, Squares, opened

LABELLED = {"test": 300}


@pytest.fixture(scope="module", autouse=True)
def quick(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "STEPS", 80)
        patch.setenv("COUPLING_DATA", str(tmp_path_factory.mktemp("data")))  # probes are learned once for all tests
        yield


def label_agreement(model, data=None, **options):
    data = data or opened(LABELLED, {**LABELLED, "transform": "negative"})
    metric = LabelAgreement(from_="a", to="b", **{"count": 400, **options})
    metric.check(data)
    evaluation = Evaluation(model, data, seed=0)
    return flat(metric, evaluation), evaluation


class Negated(Drawn):
    """Draws domain b as the negative of squares."""

    def generate(self, z, domains=None):
        drawn = super().generate(z, domains)
        return {name: -x if name == "b" else x for name, x in drawn.items()}


@pytest.mark.parametrize("wrong", [0.0, 0.25, 1.0])
def test_label_agreement_is_the_share_of_pairs_of_one_class(wrong):
    values, evaluation = label_agreement(Negated({"a": "plain", "b": "plain"}, wrong))
    name = "label-agreement/a/b"
    assert next(iter(values)) == name
    assert values[name] == pytest.approx(1 - wrong, abs=0.02)
    assert values[f"{name}/unrelated"] == pytest.approx(0.25, abs=0.02)
    assert values[f"{name}/true-pairs"] > 0.95
    assert values[f"{name}/accuracy/a"] > 0.95
    assert evaluation.notes["pairs"] == 400
    assert set(evaluation.notes["probes"]) == {"a", "b"}


class Blurred(Drawn):
    """Draws squares that are hard to tell from the background, on noise."""

    def generate(self, z, domains=None):
        noise = torch.Generator().manual_seed(0)
        return {
            name: 0.1 * x + 0.5 * torch.randn(x.shape, generator=noise)
            for name, x in super().generate(z, domains).items()
        }


@pytest.mark.parametrize("kind", [LabelAgreement, AttributeAgreement])
def test_the_blur_ceiling_is_how_often_two_probes_agree_on_one_image(kind):
    kinds = {LabelAgreement: ("plain", "plain"), AttributeAgreement: ("marked", "unmarked")}[kind]
    data = opened(*({"kind": one, "test": 300} for one in kinds))
    values = {}
    for model in (Drawn, Blurred):
        metric = kind(from_="a", to="b", count=300)
        metric.check(data)
        evaluation = Evaluation(model(dict(zip("ab", kinds, strict=True))), data, seed=0)
        values[model] = flat(metric, evaluation)
        drawn = evaluation.model.generate(evaluation.model.latent(300, derive_seed(0, kind.kind)), ["a", "b"])
        alike = []
        for domain, samples in drawn.items():
            first, second = metric._probes[domain], metric._probes[domain].second()
            second.load_or_train()
            for head in ("class",) if kind is LabelAgreement else ("corner", "brightness"):
                answers = [[probe(sample[None])[head].item() for sample in samples] for probe in (first, second)]
                alike.append(sum(one == other for one, other in zip(*answers, strict=True)) / 300)
        assert values[model][f"{kind.kind}/a/b/same-image"] == pytest.approx(sum(alike) / len(alike), abs=0.01)
        assert set(evaluation.notes["second_probes"]) == {"a", "b"}
    assert values[Drawn][f"{kind.kind}/a/b/same-image"] > 0.95
    assert values[Blurred][f"{kind.kind}/a/b/same-image"] < 0.9


def test_the_way_leads_from_the_floor_to_true_pairs():
    values, _ = label_agreement(Negated({"a": "plain", "b": "plain"}, 0.5))
    name = "label-agreement/a/b"
    floor, ceiling = values[f"{name}/unrelated"], values[f"{name}/true-pairs"]
    assert values[f"{name}/way"] == pytest.approx((values[name] - floor) / (ceiling - floor))
    assert values[f"{name}/way"] == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize(
    ("value", "floor", "ceiling", "better", "way"),
    [(0.5, 0.25, 0.75, "higher", 0.5), (0.75, 1.0, 0.5, "lower", 0.5), (0.1, 0.2, 0.4, "higher", -0.5)],
)
def test_the_share_of_the_way_by_hand(value, floor, ceiling, better, way):
    assert share_of_way(value, floor, ceiling, better) == pytest.approx(way)


@pytest.mark.parametrize(("floor", "ceiling", "better"), [(1.0, 0.9, "higher"), (0.1, 0.2, "lower"), (1, 1, "lower")])
def test_there_is_no_way_where_unrelated_samples_are_as_alike_as_true_pairs(floor, ceiling, better):
    assert "as alike as true pairs" in share_of_way(0.5, floor, ceiling, better).reason
    assert share_of_way(Undefined("because"), floor, ceiling, better).reason == "because"


def test_a_model_that_draws_one_class_agrees_by_chance_alone():
    """Its floor says so."""

    class One(Negated):
        def latent(self, count, seed=0):
            return torch.tensor([[2.0, 2.0, 1.0]]).expand(count, 3)

    values, _ = label_agreement(One({"a": "plain", "b": "plain"}))
    assert isinstance(values["label-agreement/a/b/way"], Undefined)
    assert values["label-agreement/a/b"] == values["label-agreement/a/b/unrelated"] == 1


def test_domains_without_true_pairs_have_the_probes_accuracy_for_a_ceiling():
    data = opened(LABELLED, {**LABELLED, "pool": "else"})
    values, _ = label_agreement(Drawn({"a": "plain", "b": "plain"}), data)
    assert not {"label-agreement/a/b/true-pairs", "label-agreement/a/b/way"} & set(values)
    assert values["label-agreement/a/b/accuracy/b"] > 0.95


def test_classes_without_a_held_out_sample_are_reported(capsys):
    class Two(Squares):
        @property
        def labels(self):
            return self.corner % 2

        def held_out(self):
            apart = super().held_out()
            apart.__class__ = Two
            return apart

    data = opened(LABELLED, {**LABELLED, "pool": "else"})
    data["b"].dataset.__class__ = Two
    values, _ = label_agreement(Drawn({"a": "plain", "b": "plain"}), data)
    text = capsys.readouterr().err
    assert "no held-out sample of 'b' is of class 2, 3, so its classifier never answers that class" in text
    assert values["label-agreement/a/b"] < 0.7
    Two.labels = property(lambda self: self.corner + 4)
    with pytest.raises(ConfigError, match="to: 'a' and 'b' have no class in common: 0, 1, 2, 3, and 4, 5, 6, 7"):
        label_agreement(Drawn({"a": "plain", "b": "plain"}), data)


def test_samples_without_labels_are_an_error():
    data = opened({"kind": "blank", "test": 50}, LABELLED)
    with pytest.raises(ConfigError, match=r"probe: samples of squares:pool\+test have no labels"):
        label_agreement(Drawn({"a": "blank", "b": "plain"}), data)
    values, _ = label_agreement(
        Drawn({"a": "plain", "b": "plain"}), data, probe={"a": {"name": "squares", "pool": "third"}}
    )
    assert values["label-agreement/a/b"] > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"from_": "c", "to": "b"}, "from: no domain is called 'c'"),
        ({"from_": "a", "to": "a"}, "to: is 'a' like from"),
    ],
)
@pytest.mark.parametrize("kind", [LabelAgreement, AttributeAgreement])
def test_domains_that_do_not_fit_are_errors(kind, options, message):
    with pytest.raises(ConfigError, match=message):
        kind(**options).check(opened(LABELLED, LABELLED))


def test_missing_held_out_samples_are_an_error_before_anything_is_read():
    with pytest.raises(ConfigError, match="learns from samples that no domain trains on, of which there are 0"):
        LabelAgreement(from_="a", to="b").check(opened({}, {}))


def attribute_agreement(model, data=None, **options):
    data = data or opened({"kind": "marked", "test": 300}, {"kind": "unmarked", "test": 300})
    metric = AttributeAgreement(from_="a", to="b", **{"count": 400, **options})
    metric.check(data)
    evaluation = Evaluation(model, data, seed=0)
    return flat(metric, evaluation), evaluation


def test_attribute_agreement_counts_all_attributes_but_the_domains_own():
    values, evaluation = attribute_agreement(Drawn({"a": "marked", "b": "unmarked"}, wrong=0.5))
    name = "attribute-agreement/a/b"
    assert values[f"{name}/corner"] == pytest.approx(0.5, abs=0.03)
    assert values[f"{name}/brightness"] == pytest.approx(1.0, abs=0.03)
    assert values[name] == pytest.approx((values[f"{name}/corner"] + values[f"{name}/brightness"]) / 2)
    assert values[f"{name}/corner/unrelated"] == pytest.approx(0.25, abs=0.03)
    assert values[f"{name}/brightness/unrelated"] == pytest.approx(0.5, abs=0.03)
    assert values[f"{name}/true-pairs"] > 0.95  # the same square with and without the mark
    assert values[f"{name}/belongs/a"] == values[f"{name}/belongs/b"] == pytest.approx(1, abs=0.03)
    assert values[f"{name}/belongs/a/real"] > 0.95
    assert evaluation.notes["attributes"] == ["corner", "brightness"]
    assert evaluation.notes["apart"] == {"a": ["mark"], "b": ["mark"]}
    assert not any("number" in key for key in values)  # always the same: it cannot disagree


def test_samples_without_their_domains_attribute_do_not_belong():
    values, _ = attribute_agreement(Drawn({"a": "unmarked", "b": "unmarked"}))
    assert values["attribute-agreement/a/b/belongs/a"] < 0.05
    assert values["attribute-agreement/a/b/belongs/b"] > 0.95


def test_only_chosen_attributes_count():
    values, _ = attribute_agreement(Drawn({"a": "marked", "b": "unmarked"}, wrong=0.5), attributes=["corner"])
    assert values["attribute-agreement/a/b"] == values["attribute-agreement/a/b/corner"]
    assert "attribute-agreement/a/b/brightness" not in values
    with pytest.raises(ConfigError, match="no attribute 'cornre'; did you mean 'corner'"):
        attribute_agreement(Drawn({"a": "marked", "b": "unmarked"}), attributes=["cornre"])
    with pytest.raises(ConfigError, match="could agree or not"):
        attribute_agreement(Drawn({"a": "marked", "b": "unmarked"}), attributes=["mark"])


def test_labels_stand_in_for_attributes_where_shapes_differ():
    data = opened({"test": 300}, {"test": 300, "transform": "rotate90", "side": 8})
    values, _ = attribute_agreement(Drawn({"a": "plain", "b": "plain"}), data)
    assert "attribute-agreement/a/b/class" in values
    assert not any("belongs" in key for key in values)


def test_domains_without_labels_or_attributes_are_an_error():
    data = opened({"kind": "color", "test": 50}, {"kind": "depth", "test": 50})
    with pytest.raises(ConfigError, match="have no attribute in common; known are none, and none"):
        attribute_agreement(Drawn({"a": "color", "b": "depth"}), data)


def test_agreement_by_chance_is_that_of_all_pairs():
    one, other = torch.randint(0, 4, (50,)), torch.randint(0, 6, (30,))
    assert agreement_by_chance(one, other) == pytest.approx((one[:, None] == other).float().mean().item())


def test_belonging_needs_every_own_attribute():
    found = {"x": torch.tensor([0, 0, 1, 1]), "y": torch.tensor([2, 3, 2, 3])}
    assert share_belonging(found, {"x": torch.tensor([1]), "y": torch.tensor([2, 5])}) == 0.25
