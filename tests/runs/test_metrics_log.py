"""Flat names of losses and metrics: made and read in one place."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupling.runs.measured import Measured, Undefined, reason_undefined
from coupling.runs.metrics_log import (
    LossName,
    MetricName,
    describe_losses,
    flat_values,
    read_losses,
    read_metrics,
    read_reasons,
    read_undefined,
)

words = st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True)
LINE = {
    "step": 4,
    "seconds": 1.5,
    "checkpoint": 4,
    "loss/generator/a": 1.0,
    "loss/generator/b": 0.5,
    "loss/generator/a/r1": 9.0,
    "loss/discriminator/a": 2.0,
    "accuracy": 0.5,
    "accuracy/a": None,
    "accuracy/a/held-out": 0.25,
}


@given(words, words, st.none() | words)
def test_a_losss_name_is_read_as_it_was_written(team, domain, term):
    name = LossName(team, domain, term)
    assert LossName.parse(str(name)) == name


@given(words.filter(lambda word: word != "loss"), st.lists(words, max_size=4).map(tuple))
def test_a_metrics_name_is_read_as_it_was_written(metric, path):
    name = MetricName(metric, path)
    assert MetricName.parse(str(name)) == name
    assert LossName.parse(str(name)) is None
    assert name.under("x").extends(name)
    assert not name.extends(name)
    assert not MetricName(f"{metric}x", path).extends(MetricName(metric))


def test_names_by_example():
    assert str(LossName("generator", "a")) == "loss/generator/a"
    assert str(LossName("generator", "a", "r1")) == "loss/generator/a/r1"
    assert str(MetricName("label-agreement", ("a", "b")).under("unrelated")) == "label-agreement/a/b/unrelated"
    assert LossName.parse("loss/generator") is None


def test_flat_values_of_a_measured_object():
    measured = Measured(
        0.5,
        floors={"unrelated": 0.1, "constant": 0.2},
        ceilings={"real": 0.9},
        details={
            "recall": 0.7,
            "corner": Measured(0.6, {"unrelated": 0.3}, details={"accuracy": {"a": 0.8}}),
            "belongs": {"a": Measured(1.0, ceilings={"real": 0.95})},
        },
    )
    assert list(flat_values(MetricName("m", ("a",)), measured).items()) == [
        ("m/a", 0.5),
        ("m/a/unrelated", 0.1),
        ("m/a/constant", 0.2),
        ("m/a/real", 0.9),
        ("m/a/recall", 0.7),
        ("m/a/corner", 0.6),
        ("m/a/corner/unrelated", 0.3),
        ("m/a/corner/accuracy/a", 0.8),
        ("m/a/belongs/a", 1.0),
        ("m/a/belongs/a/real", 0.95),
    ]


def test_a_line_is_read_by_kind():
    assert read_losses(LINE) == {
        LossName("generator", "a"): 1.0,
        LossName("generator", "b"): 0.5,
        LossName("generator", "a", "r1"): 9.0,
        LossName("discriminator", "a"): 2.0,
    }
    assert read_metrics(LINE) == {"accuracy": 0.5, "accuracy/a/held-out": 0.25}
    assert read_undefined(LINE) == ["accuracy/a"]
    assert describe_losses(LINE) == "D 2.00  G 1.50"
    assert describe_losses({"step": 1}) == ""


def test_reasons_are_read_from_records_with_and_without_them():
    evaluation = {"m/a": {"2": {"value": 1.0}, "4": {"value": None, "undefined": {"m/a": "why", "m/a/real": "too"}}}}
    assert read_reasons(evaluation) == {("m/a", 4): "why", ("m/a/real", 4): "too"}


def test_an_undefined_value_is_a_number_that_is_none_with_a_reason():
    value = Undefined("the samples do not differ")
    assert math.isnan(value)
    assert str(value) == "undefined: the samples do not differ"
    assert f"{value:.4g}" == f"{value:.4f}" == f"{value}" == "undefined"
    assert repr(value) == "Undefined('the samples do not differ')"
    for same in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
        assert (type(same), same.reason) == (Undefined, value.reason)
    assert reason_undefined(value) == "the samples do not differ"
    assert reason_undefined(1.0) is None
    assert reason_undefined(math.inf) == "the metric computed inf"


@pytest.mark.parametrize("width", [12, 20])
def test_an_undefined_value_fits_into_columns(width):
    assert f"{Undefined('x'):>{width}s}" == "undefined".rjust(width)
