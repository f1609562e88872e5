"""A schedule is its formula, ends with the run, and is checked where it stands."""

from __future__ import annotations

import math
from typing import Annotated

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from coupling.config.config import build_config
from coupling.config.json_schema import config_schema
from coupling.config.registry import options_model
from coupling.config.schedules import Schedule, in_words, number_at, or_schedule
from coupling.errors import ConfigError
from tests.support import tiny_plugin as tiny

GAMMA = "losses=[non-saturating, {name: r1, gamma: %s}]"


def schedule(**keys):
    return Schedule.model_validate({"from": 2.0, "to": 1.0} | keys).completed(10, "here")


def reference(step, first, last, kind, start, end, warm_up):
    """The number at a step, read from a table of all steps."""
    table = []
    for number in range(end):
        passed = max(0, number - start) / max(1, end - start)
        weight = passed if kind == "linear" else 0.5 - 0.5 * math.cos(math.pi * passed)
        table.append(first * (1 - weight) + last * weight)
    value = table[step] if step < end else last
    return value if step + 1 >= warm_up else value / warm_up * (step + 1)


@given(
    st.integers(0, 60),
    st.floats(-10, 10),
    st.floats(-10, 10),
    st.sampled_from(["linear", "cosine"]),
    st.integers(0, 50).flatmap(lambda end: st.tuples(st.integers(0, end), st.just(end))),
    st.integers(0, 50),
)
def test_a_schedule_is_its_formula(step, first, last, kind, times, warm_up):
    start, end = times
    made = schedule(**{"from": first, "to": last, "schedule": kind, "start": 0, "end": 0})
    made = made.model_copy(update={"start": start, "end": end, "warm_up": warm_up})
    expected = reference(step, first, last, kind, start, end, warm_up)
    assert made.at(step) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_the_ends_are_exact():
    made = schedule(**{"from": 0.3, "to": 0.1, "schedule": "cosine", "start": 3, "end": 7})
    assert [made.at(step) for step in (0, 3, 7, 9, 1000)] == [0.3, 0.3, 0.1, 0.1, 0.1]
    assert made.at(5) == pytest.approx(0.2)


def test_a_constant_with_a_warm_up_rises_to_its_number():
    made = Schedule.model_validate({"from": 2.0, "schedule": "constant", "warm_up": 4}).completed(10, "here")
    assert [made.at(step) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_a_number_is_the_same_in_every_step():
    assert number_at(0.5, 0) == number_at(0.5, 1000) == 0.5


def test_shares_become_steps_and_a_missing_end_is_the_end_of_the_run():
    assert schedule(start="25%", warm_up="10%").plain() == {
        "from": 2.0, "to": 1.0, "schedule": "linear", "start": 2, "end": 10, "warm_up": 1,
    }  # fmt: skip


def test_a_schedule_may_begin_where_it_ends():
    made = schedule(start=4, end=4)
    assert [made.at(step) for step in (3, 4)] == [2.0, 1.0]


def test_a_completed_configuration_has_all_times_as_steps_and_is_read_back():
    config = tiny.config(
        "optimizer.lr={from: 0.01, to: 0, schedule: cosine, start: 50%}",
        "optimizer.betas=[0, {from: 0.5, to: 0.9}]",
        "discriminator.optimizer.lr={from: 0.1, schedule: constant, warm_up: 25%}",
        "training.ema={from: 0, to: 0.5}",
        GAMMA % "{from: 2, to: 0.2, end: 3}",
    )
    registry = tiny.plugins().registry
    assert [path for path, _ in config.schedules(registry)] == [
        "optimizer.lr", "optimizer.betas[1]", "discriminator.optimizer.lr", "training.ema", "losses[1].gamma",
    ]  # fmt: skip
    plain = config.plain()
    assert plain["optimizer"]["lr"] == {
        "from": 0.01, "to": 0.0, "schedule": "cosine", "start": 4, "end": 8, "warm_up": 0,
    }  # fmt: skip
    assert plain["discriminator"]["optimizer"]["lr"] == {"from": 0.1, "schedule": "constant", "warm_up": 2}
    assert plain["losses"][1]["gamma"]["end"] == 3
    assert build_config(plain, registry) == config
    assert config.team_optimizer("discriminator").lr.at(1) == 0.1
    assert config.team_optimizer("generator").lr.at(0) == 0.01


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimizer.lr={from: 1, to: 2, end: 9}", "optimizer.lr.end: 9 is after the end of the run, training.steps: 8"),
        ("optimizer.lr={from: 1, to: 2, start: 9}", "optimizer.lr.start: 9 is after the end of the run"),
        ("training.ema={from: 0, to: .5, warm_up: 9}", "training.ema.warm_up: 9 is after the end .* give at most 8"),
        (GAMMA % "{from: 1, to: 2, end: 9}", r"losses\[1\].gamma.end: 9 is after the end of the run"),
        ("optimizer.lr={from: 1, to: 2, start: 5, end: 25%}", "optimizer.lr.start: 5 is after its end, 25%; give"),
        ("optimizer.lr={from: 1, to: 2, end: 101%}", "optimizer.lr.end: '101%' is not valid: write a share"),
        ("optimizer.lr={from: 1, to: 2, end: soon}", "optimizer.lr.end: 'soon' is not valid: write a share"),
        ("optimizer.lr={from: 1, to: 2, end: 2.5}", "optimizer.lr.end: 2.5 is not valid: should be a valid integer"),
        ("optimizer.lr={from: 1}", "optimizer.lr: .* linear needs a last number; give to, or schedule: constant"),
        ("optimizer.lr={to: 1}", "optimizer.lr.from: is required and not given"),
        ("optimizer.lr={from: 1, to: 2, schedule: constant}", "constant keeps the number; leave to, start and end out"),
        ("optimizer.lr={from: 1, to: 2, schedule: cosin}", "optimizer.lr.schedule: 'cosin' is not valid"),
        ("optimizer.lr={from: 1, too: 2}", "optimizer.lr.too: unknown key 'too'; did you mean 'to'"),
        ("optimizer.lr={from: -1, to: 2}", "optimizer.lr.from: -1 is not valid: should be greater than or equal to 0"),
        ("optimizer.lr={from: true, to: 2}", "optimizer.lr.from: true is not valid: should be a number, not true"),
        ("optimizer.betas=[0, {from: 0, to: 1}]", r"optimizer.betas\[1\].to: 1 is not valid: should be less than 1"),
        ("generator.optimizer.momentum={from: 0, to: 1}", "generator.optimizer.momentum.to: 1 is not valid"),
        (GAMMA % "{from: 1, to: -2}", r"losses\[1\].gamma.to: -2 is not valid"),
        ("losses=[{name: non-saturating, weight: {from: 1, tu: 2}}]", r"losses\[0\].weight.tu: unknown option 'tu'"),
        ("losses=[non-saturating, {name: r1, every: {from: 8, to: 1}}]", r"losses\[1\].every: .*valid integer"),
        ("training.steps={from: 8, to: 1}", "training.steps: .* valid integer"),
    ],
)  # fmt: skip
def test_a_wrong_schedule_is_an_error_with_its_place_value_and_fix(assignment, message):
    with pytest.raises(ConfigError, match=message):
        tiny.config(assignment)


def test_a_schedule_without_an_end_is_shorter_in_a_shorter_run():
    assert tiny.config("training.steps=2", "optimizer.lr={from: 1, to: 2, start: 50%}").optimizer.lr.end == 2


def test_editors_know_schedules():
    validator = jsonschema.Draft202012Validator(config_schema(tiny.plugins().registry))
    right = ["optimizer.lr={from: 1, to: 0, schedule: cosine, start: 60%}", GAMMA % "{from: 1, to: 2, end: 5}"]
    wrong = ["optimizer.lr={from: 1, too: 0}", "optimizer.lr={from: -1}", "training.steps={from: 1, to: 2}"]
    wrong += [GAMMA % "{from: -1, to: 2}", GAMMA % "{from: 1, end: half}"]
    assert [validator.is_valid(tiny.values(assignment)) for assignment in right + wrong] == [True] * 2 + [False] * 5


@pytest.mark.parametrize(
    ("annotation", "follows"),
    [
        (float, True),
        (Annotated[float, Field(ge=0, description="factor")], True),
        (float | None, True),
        (Annotated[Annotated[float, Field(gt=0)] | None, Field(description="factor")], True),
        (int, False),
        (bool, False),
        (str, False),
        (list[float], False),
        (dict[str, float], False),
    ],
)
def test_numbers_with_fractions_may_follow_a_schedule(annotation, follows):
    def make(*, x: annotation = 1) -> None: ...

    make.__annotations__["x"] = annotation
    model = options_model("loss", make, or_schedule)
    taken = [model.model_validate({"x": value}).x for value in ([{"from": 1, "to": 2}] if follows else [])]
    assert all(isinstance(value, Schedule) for value in taken)
    assert ("Schedule" in str(model.model_json_schema())) is follows


def test_a_schedule_in_words():
    assert in_words(5e-4) == "0.0005"
    assert in_words(schedule(start=700 % 9, end="100%")) == "2 to 1 (linear, steps 7 to 10)"
    assert in_words(Schedule.model_validate({"from": 2, "schedule": "constant", "warm_up": 4})) == (
        "2 (constant, warm-up 4)"
    )
