"""The output of `coupling evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from coupling.cli.tables import table
from coupling.metrics.evaluate import Scores
from coupling.metrics.pairs import SAME_IMAGE, WAY
from coupling.metrics.scoring import Score
from coupling.runs.locations import run_directory_of
from coupling.runs.measured import Measured, reason_undefined
from coupling.runs.metrics_log import walk
from coupling.runs.resumption import abbreviated
from coupling.system.terminal import print_line

Row = tuple[str, float, dict[str, float]]
"""Name of a value, the value, and the values beside it by column."""


_COLUMNS = {"unrelated": "unrelated", SAME_IMAGE: "same image", "real": "real", WAY: "way"}
"""Columns of values beside a value, with their titles."""


def print_scores(result: Scores, console: Console, *, verbose: bool) -> None:
    """Print the value of each metric beside its floor and ceilings, and the share of the way between them.

    ``verbose``: also the details of each value, and what each metric was computed with.
    """
    console.print(f"step {result.step:,}", style="bold")
    details = [list(_all_rows(score)) for score in result.scores]
    if not verbose:
        headlines = [rows[0] for rows in details]
        console.print(_table(headlines))
        for score in result.scores:
            if (reason := reason_undefined(score.value)) is not None:
                console.print(f"{score.name} is undefined: {reason}")
        if (others := sum(map(len, details)) - len(headlines)) > 0:
            print_line(f"{others} more value{'s' if others > 1 else ''}, and what all were computed with: --verbose")
        return
    console.print(_table([row for rows in details for row in rows]))
    for score in result.scores:
        console.print(f"\n{score.name}", style="bold")
        for line in _description(score):
            console.print(Padding(Text(line, overflow="fold"), (0, 0, 0, 2), expand=False))


def print_destination(result: Scores, run: Path, output: Path | None) -> None:
    """Print the files that the values were written to, on standard error."""
    root = output or run_directory_of(run)
    if root is None:
        print_line(f"{run} is not in a run directory, so nothing was written; --output DIR keeps the values")
    else:
        print_line(f"step {result.step:,}: appended to {root / 'metrics.jsonl'}")  # two lines, for narrow terminals
        print_line(f"details: {root / 'evaluation.json'}")


def _table(rows: list[Row]) -> Table:
    columns = [column for column in _COLUMNS if any(column in beside for *_, beside in rows)]
    made = table("metric", "value", *(_COLUMNS[column] for column in columns))
    for name, value, beside in rows:
        made.add_row(name, f"{value:.4g}", *(f"{beside[c]:.4g}" if c in beside else "" for c in columns))
    return made


def _all_rows(score: Score) -> Iterator[Row]:
    """The rows of a metric's value and of its details, without those that have a column."""
    values = list(walk(score.metric, score.measured))
    in_columns = {name.under(WAY) for name, value in values if isinstance(value.details.get(WAY), float)}
    for name, value in values:
        if name not in in_columns:
            yield from _rows(str(name), value)


def _rows(name: str, measured: Measured) -> Iterator[Row]:
    """The row of a value, then a row for each of its floors that has no column."""
    floors, ceilings, way = measured.floors, dict(measured.ceilings), measured.details.get(WAY)
    beside = {"unrelated": floors["unrelated"]} if "unrelated" in floors else {}
    beside |= {SAME_IMAGE: ceilings.pop(SAME_IMAGE)} if SAME_IMAGE in ceilings else {}
    if ceilings:
        beside["real"] = ceilings.get("true-pairs", next(iter(ceilings.values())))
    beside |= {WAY: way} if isinstance(way, float) else {}
    yield name, measured.value, beside
    for key, floor in floors.items():
        if key != "unrelated":
            yield f"{name}/{key}", floor, {}


_NOT_DESCRIBED = ("value", "better", "metric", "step", "seed", "data", "versions", "measured", "took", "device")
"""Keys of a record that the first lines of the description have, or only evaluation.json."""


def _description(score: Score) -> Iterator[str]:
    """Lines on what a metric was computed with; evaluation.json has all of it."""
    record = score.record
    yield f"{_in_words(record['metric'])}; seed {record['seed']}; {record['better']} is better"
    for domain, fingerprint in record["data"].items():
        yield f"data of {domain}: {abbreviated(fingerprint)}"
    for key, value in record.items():
        if key not in _NOT_DESCRIBED and value not in ({}, [], None):
            parts = value.items() if isinstance(value, Mapping) else [("", value)]
            yield from (" ".join(f"{key} {name}".split()) + f": {_in_words(part)}" for name, part in parts)


def _in_words(value: object) -> str:
    """A JSON value without brackets and quotes."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_in_words(part)}" for key, part in value.items() if part is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value)) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).lower() if isinstance(value, bool) else str(value)
