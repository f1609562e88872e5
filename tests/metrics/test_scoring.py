"""A score as one line of the log."""

from __future__ import annotations

from coupling.metrics.scoring import Score, describe_score
from coupling.runs.measured import Measured, Undefined
from coupling.runs.metrics_log import MetricName


def line(measured):
    return describe_score(Score(MetricName("m", ("a", "b")), measured, {}))


def test_a_score_stands_beside_what_it_is_compared_with():
    measured = Measured(0.8, {"unrelated": 0.3}, {"true-pairs": 0.9}, {"recall": 0.5})
    assert line(measured) == "m/a/b 0.8000, unrelated 0.3000, true-pairs 0.9000, recall 0.5000"


def test_many_details_are_only_counted():
    details = {f"attribute-{number}": Measured(0.5, {"unrelated": 0.1}) for number in range(5)}
    measured = Measured(0.8, {"unrelated": 0.3}, {"true-pairs": 0.9}, {"way": 0.75, **details})
    assert line(measured) == "m/a/b 0.8000, unrelated 0.3000, true-pairs 0.9000, way 0.7500, and 10 more"


def test_an_undefined_score_has_its_reason():
    assert (
        line(Measured(Undefined("no samples"), {"unrelated": 0.3})) == "m/a/b undefined, unrelated 0.3000 (no samples)"
    )
