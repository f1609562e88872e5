"""Tables made at random, as the library `datasets` reads them: the samples of a slow reader, or an error with a row."""

from __future__ import annotations

import csv
import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from coupling.data.images.huggingface import HuggingFace
from coupling.errors import CouplingError
from tests.data.images.test_fuzz import POSIX, SIZE, contents, slow_pixels

datasets = pytest.importorskip("datasets")
# `datasets` leaves the file open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file .*metadata.csv:ResourceWarning")


@dataclass(frozen=True)
class Row:
    """A sample of a table."""

    content: bytes | None
    """The encoded image; None: there is none."""
    kind: int
    """0, 1 or 2; -1: unknown."""
    place: str


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    damaged = draw(st.booleans())
    content = st.one_of(contents(), st.none()) if damaged else contents()
    one = st.builds(Row, content, st.sampled_from([0, 1, 2]), st.sampled_from(["here", "there", "a\nb", "ä"]))
    return draw(st.lists(one, min_size=1, max_size=6))


@contextmanager
def places() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUPLING_DATA", f"{folder}/data")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", Path(folder) / "datasets")
        datasets.disable_progress_bars()
        place = Path(folder).resolve() / "x"
        place.mkdir()
        yield place
        gc.collect()  # while the warning is ignored


def write_parquet(place: Path, rows: list[Row], shards: int) -> None:
    """Images in the table itself, in one or several files."""
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "kind": datasets.ClassLabel(names=["cat", "dog", "owl"]),
            "place": datasets.Value("string"),
        }
    )
    table = datasets.Dataset.from_dict(
        {
            "picture": [None if row.content is None else {"bytes": row.content, "path": None} for row in rows],
            "kind": [row.kind for row in rows],
            "place": [row.place for row in rows],
        },
        features=features,
    )
    for number in range(shards):
        name = f"train-{number:05d}-of-{shards:05d}.parquet"
        table.shard(shards, number, contiguous=True).to_parquet(place / name)


def write_csv(place: Path, rows: list[Row], shards: int) -> None:
    """A folder of images with `metadata.csv`, in the order of the rows; missing images are missing files."""
    with open(place / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "kind", "place"])
        for number, row in enumerate(rows):
            table.writerow([f"{number:02d}.png", row.kind, row.place])
            (place / f"{number:02d}.png").write_bytes(row.content or b"")


WRITE = {"parquet": write_parquet, "csv": write_csv}


def expected(rows: list[Row]) -> list[np.ndarray[Any, Any] | None]:
    """The samples by the slow reader, one after the other; None: it cannot be read."""
    return [None if row.content is None else slow_pixels(row.content) for row in rows]


def check(rows: list[Row], kind: str, shards: int, on_error: str, filtered: bool) -> None:
    with places() as place:
        WRITE[kind](place, rows, min(shards, len(rows)))
        chosen = [number for number, row in enumerate(rows) if not filtered or row.place == rows[0].place]
        options: dict[str, Any] = {"path": str(place), "size": SIZE, "on_error": on_error}
        if filtered:
            options["filter"] = {"place": rows[0].place}
        pixels = expected([rows[number] for number in chosen])
        readable = [number for number, image in enumerate(pixels) if image is not None]
        if len(readable) == len(chosen) or (on_error == "skip" and readable):
            images = HuggingFace(**options)
            images.prepare()
            assert list(images.identities()) == [f"{number:012d}" for number in readable]
            for number, image in zip(readable, images.images, strict=True):
                assert np.array_equal(image, pixels[number]), number
            if kind == "parquet":
                assert images.labels is not None
                assert images.labels.tolist() == [rows[chosen[number]].kind for number in readable]
            return
        with pytest.raises(CouplingError) as caught:
            HuggingFace(**options).prepare()
        assert caught.value.exit_code == 2
        bad = next(number for number, image in zip(chosen, pixels, strict=True) if image is None)
        assert f"row {bad}" in str(caught.value)


PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking would take minutes: a case takes half a second
CI = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
LONG = settings(max_examples=300, parent=CI)
ARGUMENTS = {
    "rows": tables(),
    "kind": st.sampled_from(["parquet", "csv"]),
    "shards": st.integers(1, 3),
    "on_error": st.sampled_from(["stop", "skip"]),
    "filtered": st.booleans(),
}


@POSIX
@CI
@given(**ARGUMENTS)
def test_samples_or_an_error_that_names_a_row(
    rows: list[Row], kind: str, shards: int, on_error: str, filtered: bool
) -> None:
    check(rows, kind, shards, on_error, filtered)


@pytest.mark.slow
@POSIX
@LONG
@given(**ARGUMENTS)
def test_samples_or_an_error_that_names_a_row_at_length(
    rows: list[Row], kind: str, shards: int, on_error: str, filtered: bool
) -> None:
    check(rows, kind, shards, on_error, filtered)
