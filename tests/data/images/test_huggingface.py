"""The data set `huggingface`, on folders that the library `datasets` wrote; nothing is downloaded."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from coupling.api import parse_config
from coupling.data.domain_data import open_domains
from coupling.data.images import stream_cache
from coupling.data.images.huggingface import HuggingFace
from coupling.errors import ConfigError, DataError
from coupling.plugins import Plugins
from tests.conftest import rejected
from tests.data.images.test_folder import as_sample, noise, save

datasets = pytest.importorskip("datasets")

COUNT = 9
CLASSES = [0, 1, 0, 2, 1, 0, 2, 0, 1]
FEATURES = datasets.Features(
    {
        "picture": datasets.Image(),
        "kind": datasets.ClassLabel(names=["cat", "dog", "owl"]),
        "indoors": datasets.Value("bool"),
        "age": datasets.Value("int32"),
        "offset": datasets.Value("int64"),
        "place": datasets.Value("string"),
        "weight": datasets.Value("float32"),
        "raw": datasets.Value("binary"),
        "several": datasets.List(datasets.Image()),
    }
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The library's own cache, one for all tests: what is unchanged is not made again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        datasets.disable_progress_bars()
        yield


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where prepared images go, empty in each test."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "huggingface"


def encoded(seed: int, height: int = 6, width: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(height, width, seed=seed)).save(file, "PNG")
    return file.getvalue()


def rows(images: list[bytes | None] | None = None) -> Any:
    """Nine rows: every kind of column."""
    images = [encoded(k) for k in range(COUNT)] if images is None else images
    return datasets.Dataset.from_dict(
        {
            "picture": [None if image is None else {"bytes": image, "path": None} for image in images],
            "kind": CLASSES,
            "indoors": [k % 2 == 0 for k in range(COUNT)],
            "age": list(range(COUNT)),
            "offset": list(range(-1, COUNT - 1)),
            "place": ["here" if k < 5 else "there" for k in range(COUNT)],
            "weight": [k / 2 for k in range(COUNT)],
            "raw": images,
            "several": [[]] * COUNT,
        },
        features=FEATURES,
    )


def parquet(folder: Path, table: Any, *, name: str = "train", shards: int = 2) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(shards):
        table.shard(shards, k, contiguous=True).to_parquet(folder / f"{name}-{k:05d}-of-{shards:05d}.parquet")
    return str(folder)


def saved(folder: Path, table: Any) -> str:
    table.save_to_disk(folder)
    return str(folder)


def saved_splits(folder: Path, table: Any) -> str:
    datasets.DatasetDict(train=table, test=table.select(range(3))).save_to_disk(folder)
    return str(folder)


KINDS = {"parquet": parquet, "saved": saved, "saved splits": saved_splits}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of two Parquet files."""
    return parquet(tmp_path_factory.mktemp("place") / "rows", rows())


def expected(*seeds: int) -> torch.Tensor:
    return torch.stack([as_sample(noise(seed=seed)) for seed in seeds])


# ------------------------------------------------------------------ what is read


@pytest.mark.parametrize("streaming", [False, True], ids=["table", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_the_pixels_and_labels_the_classes(tmp_path: Path, kind: str, streaming: bool) -> None:
    path = KINDS[kind](tmp_path / "rows", rows())
    images = HuggingFace(path=path, streaming=streaming, limit=COUNT)
    assert len(images) == COUNT
    assert (images.shape, images.range) == ((3, 6, 8), (-1.0, 1.0))
    images.prepare()
    torch.testing.assert_close(images.batch(range(COUNT)), expected(*range(COUNT)), rtol=0, atol=1e-6)
    assert images.labels is not None
    assert images.labels.dtype == torch.int64
    assert images.labels.tolist() == CLASSES
    known = {name: values.tolist() for name, values in images.attributes().items()}
    assert known == {"indoors": [1, 0] * 4 + [1], "age": list(range(COUNT))}  # offset is negative somewhere
    again = pickle.loads(pickle.dumps(images))
    assert torch.equal(again.batch([3, 0]), images.batch([3, 0]))
    assert again.fingerprint() == images.fingerprint()


def test_a_stream_and_a_table_and_a_folder_hold_the_same(place: str, tmp_path: Path) -> None:
    for seed in range(COUNT):
        save(tmp_path / "folder" / f"{seed}.png", noise(seed=seed))
    prints = {
        HuggingFace(path=place).fingerprint(),
        HuggingFace(path=place, streaming=True, limit=COUNT).fingerprint(),
        HuggingFace(path=str(tmp_path / "folder")).fingerprint(),
    }
    assert len(prints) == 1


def test_an_image_folder_of_the_library_is_read(tmp_path: Path) -> None:
    for seed, name in enumerate(("train/cat/a.png", "train/cat/b.png", "train/dog/c.png", "test/dog/d.png")):
        save(tmp_path / "pets" / name, noise(seed=seed))
    images = HuggingFace(path=str(tmp_path / "pets"))
    torch.testing.assert_close(images.batch([0, 1, 2]), expected(0, 1, 2), rtol=0, atol=1e-6)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 1]
    apart = images.held_out()
    assert apart is not None
    assert apart.labels is not None
    assert (apart.labels.tolist(), len(apart)) == ([1], 1)
    assert apart.held_out() is None


def test_sizes_and_modes_are_those_of_image_folder(place: str) -> None:
    images = HuggingFace(path=place, size=[4, 5], resize="stretch", mode="gray")
    assert images[0].shape == (1, 4, 5)
    by_hand = Image.fromarray(noise(seed=2)).convert("L").resize((5, 4), Image.Resampling.LANCZOS)
    torch.testing.assert_close(images[2], as_sample(np.asarray(by_hand)[..., None]), rtol=0, atol=1e-6)
    cut = HuggingFace(path=place, crop=4)
    torch.testing.assert_close(cut[1], as_sample(noise(seed=1)[1:5, 2:6]), rtol=0, atol=1e-6)
    with pytest.raises(DataError, match=r"row 0 is \[6, 8\], expected \[4, 4\].*`resize: crop`"):
        HuggingFace(path=place, size=4).prepare()


def test_a_column_of_bytes_is_read(place: str) -> None:
    assert torch.equal(HuggingFace(path=place, image="raw")[4], HuggingFace(path=place)[4])


@pytest.mark.parametrize("streaming", [False, True], ids=["table", "stream"])
@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ({"kind": "cat"}, [0, 2, 5, 7]),
        ({"kind": 0}, [0, 2, 5, 7]),
        ({"kind": ["dog", "owl"]}, [1, 3, 4, 6, 8]),
        ({"kind": "cat", "place": "there"}, [5, 7]),
        ({"indoors": False}, [1, 3, 5, 7]),
        ({"weight": [1, 1.5]}, [2, 3]),
        ({"age": [8, 0]}, [0, 8]),
    ],
    ids=str,
)
def test_the_filter_takes_matching_samples(
    place: str, wanted: dict[str, Any], chosen: list[int], streaming: bool
) -> None:
    images = HuggingFace(path=place, filter=wanted, streaming=streaming, limit=len(chosen) if streaming else None)
    assert len(images) == len(chosen)
    torch.testing.assert_close(images.batch(range(len(chosen))), expected(*chosen), rtol=0, atol=1e-6)
    assert images.labels is not None
    assert images.labels.tolist() == [CLASSES[k] for k in chosen]
    assert images.attributes()["age"].tolist() == chosen


def test_the_limit_takes_the_first_samples(place: str) -> None:
    images = HuggingFace(path=place, filter={"kind": "cat"}, limit=3)
    assert images.attributes()["age"].tolist() == [0, 2, 5]
    with pytest.raises(DataError, match=r"limit: 5, but .* has 4 samples that the filter takes; lower it"):
        HuggingFace(path=place, filter={"kind": "cat"}, limit=5)


@pytest.mark.parametrize("streaming", [False, True], ids=["table", "stream"])
def test_unreadable_images_are_an_error_or_left_out(
    tmp_path: Path, streaming: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    images: list[bytes | None] = [encoded(k) for k in range(COUNT)]
    images[0], images[4] = None, b"<html>"
    path = parquet(tmp_path / "rows", rows(images))
    options: dict[str, Any] = {"path": path, "streaming": streaming, "limit": 7 if streaming else None}
    with pytest.raises(DataError, match="row 0: holds no image"):
        HuggingFace(**options, size=(6, 8)).prepare()
    skipping = HuggingFace(**options, on_error="skip")
    skipping.prepare()
    left = [1, 2, 3, 5, 6, 7, 8]
    assert len(skipping) == 7
    torch.testing.assert_close(skipping.batch(range(7)), expected(*left), rtol=0, atol=1e-6)
    assert skipping.labels is not None
    assert skipping.labels.tolist() == [CLASSES[k] for k in left]
    text = capsys.readouterr().err
    assert "left out 2 of 9 samples:" in text
    assert "row 4: not an image" in text


def test_labels_of_only_some_samples_are_an_error(tmp_path: Path) -> None:
    table = rows().remove_columns("kind").add_column("kind", [0, -1, 0, 1, 1, 0, 1, 0, 1])
    table = table.cast_column("kind", datasets.ClassLabel(names=["a", "b"]))
    path = parquet(tmp_path / "rows", table)
    with pytest.raises(DataError, match=r"column 'kind' names no class \(null or negative\) for 1 of 9"):
        _ = HuggingFace(path=path).labels
    none = table.remove_columns("kind").add_column("kind", [-1] * COUNT).cast_column("kind", table.features["kind"])
    assert HuggingFace(path=parquet(tmp_path / "none", none)).labels is None
    chosen = HuggingFace(path=path, label="indoors").labels
    assert chosen is not None
    assert chosen.tolist() == [1, 0] * 4 + [1]


def test_changed_files_are_decoded_again(tmp_path: Path) -> None:
    before = HuggingFace(path=parquet(tmp_path / "rows", rows())).fingerprint()
    again = HuggingFace(path=parquet(tmp_path / "rows", rows([encoded(k + 50) for k in range(COUNT)])))
    assert again.fingerprint() != before


def test_several_processes_decode_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What decodes them can be sent: it is, to a process of its own, and gives the same."""
    images = HuggingFace(path=parquet(tmp_path / "rows", rows()))
    sent: list[bytes] = []

    def cached_images(directory: Path, key: Any, count: int, shape: Any, make: Any, **named: Any) -> Any:
        sent.append(pickle.dumps(make))
        return np.stack([pickle.loads(sent[0])(index) for index in range(count)])

    monkeypatch.setattr("coupling.data.images.huggingface_images.cached_images", cached_images)
    torch.testing.assert_close(images.batch([8, 1]), expected(8, 1), rtol=0, atol=1e-6)
    assert len(sent[0]) < 20_000  # the rows stay on disk


# ------------------------------------------------------------------ streams


def test_a_prepared_stream_is_read_from_disk_alone(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"path": place, "streaming": True, "limit": 5, "size": (6, 8), "resize": "stretch"}
    first = HuggingFace(**options)
    fingerprint, labels = first.fingerprint(), first.labels
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *a, **k: pytest.fail("asked again"))
    again = HuggingFace(**options)
    assert again.fingerprint() == fingerprint
    assert labels is not None
    assert again.labels is not None
    assert again.labels.tolist() == labels.tolist() == CLASSES[:5]
    assert again.attributes().keys() == {"indoors", "age"}


class Counting:
    """Counts the rows that are read of a stream, and breaks off after some of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        self.stop = 10**9
        original = datasets.IterableDataset.__iter__

        def counted(stream: Any) -> Iterator[Any]:
            for example in original(stream):
                if len(self.rows) >= self.stop:
                    raise ConnectionError("the line went dead")
                if "age" in example:
                    self.rows.append(example["age"])
                yield example

        monkeypatch.setattr(datasets.IterableDataset, "__iter__", counted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [0, 1, 2, 5, 7])
def test_a_stream_that_broke_off_continues_where_it_was(
    tmp_path: Path,
    data: Path,
    kind: str,
    stop: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = KINDS[kind](tmp_path / "rows", rows())
    options: dict[str, Any] = {
        "path": path,
        "streaming": True,
        "limit": 7,
        "size": (6, 8),
        "filter": {"age": [*range(1, 9)]},
    }
    monkeypatch.setattr(stream_cache, "_EVERY", 2)
    counting = Counting(monkeypatch)
    counting.stop = stop
    images = HuggingFace(**options)
    with pytest.raises(DataError, match=rf"the stream broke off after {stop} rows: ConnectionError: .*try again"):
        images.prepare()
    assert not list(data.glob("*.npy"))
    counting.rows, counting.stop = [], 10**9
    kept = (stop - 1) // 2 * 2 if stop else 0  # row 0 is not wanted
    images.prepare()
    assert counting.rows == list(range(kept + 1 if kept else 0, 8))
    assert (f"continuing after the {kept} images" in capsys.readouterr().err) == (kept > 0)
    torch.testing.assert_close(images.batch(range(7)), expected(*range(1, 8)), rtol=0, atol=1e-6)
    assert images.labels is not None
    assert images.labels.tolist() == CLASSES[1:8]
    assert {file.suffix for file in data.iterdir()} == {".npy", ".json", ".safetensors"}


def test_a_higher_limit_continues_where_a_stream_ended(place: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_cache, "_EVERY", 1)
    counting = Counting(monkeypatch)
    with pytest.raises(DataError, match=r"the stream ends after 4 images, fewer than the limit of 20; set limit: 4"):
        HuggingFace(path=place, streaming=True, limit=20, filter={"kind": "cat"}, size=(6, 8)).prepare()
    counting.rows = []
    fewer = HuggingFace(path=place, streaming=True, limit=4, filter={"kind": "cat"}, size=(6, 8))
    fewer.prepare()
    assert counting.rows == []  # they were all there
    torch.testing.assert_close(fewer.batch(range(4)), expected(0, 2, 5, 7), rtol=0, atol=1e-6)


def test_a_changed_byte_in_the_labels_of_a_stream_is_noticed(
    place: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = HuggingFace(path=place, streaming=True, limit=5, size=(6, 8))
    images.prepare()
    (path,) = data.glob("*.numbers.safetensors")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    again = HuggingFace(path=place, streaming=True, limit=5, size=(6, 8))
    assert again.labels is not None
    assert again.labels.tolist() == CLASSES[:5]
    assert "damaged or incomplete; reading it again" in capsys.readouterr().err


def another_version(data: Path) -> None:
    (journal,) = data.glob("*.journal.json")
    journal.write_text(json.dumps(json.loads(journal.read_text()) | {"stamp": "another"}))


def cut_short(data: Path) -> None:
    (part,) = data.glob("*.part")
    part.write_bytes(part.read_bytes()[:-1])


class Died(BaseException):
    """What no code catches."""


@pytest.mark.parametrize("last", range(1, 8))
def test_an_interruption_at_any_write_loses_no_image(place: str, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies as it gives a file its name: one of three journals, the numbers, the record, the images."""
    monkeypatch.setattr(stream_cache, "_EVERY", 2)
    replace, renamed = os.replace, itertools.count(1)

    def dying(source: Any, target: Any) -> None:
        if next(renamed) == last:
            raise Died
        replace(source, target)

    images = HuggingFace(path=place, streaming=True, limit=5, size=(6, 8))
    with monkeypatch.context() as patch, pytest.raises(Died) if last < 7 else contextlib.nullcontext():
        patch.setattr(os, "replace", dying)
        images.prepare()
    images.prepare()
    torch.testing.assert_close(images.batch(range(5)), expected(*range(5)), rtol=0, atol=1e-6)
    assert images.labels is not None
    assert images.labels.tolist() == CLASSES[:5]


@pytest.mark.parametrize(
    ("harm", "fragment"), [(another_version, "are of another version"), (cut_short, "are damaged")]
)
def test_a_journal_that_does_not_fit_is_not_trusted(
    place: str,
    data: Path,
    harm: Any,
    fragment: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stream_cache, "_EVERY", 1)
    counting = Counting(monkeypatch)
    counting.stop = 4
    images = HuggingFace(path=place, streaming=True, limit=6, size=(6, 8))
    with pytest.raises(DataError, match="broke off"):
        images.prepare()
    harm(data)
    counting.rows, counting.stop = [], 10**9
    images.prepare()
    assert fragment in capsys.readouterr().err
    assert counting.rows == list(range(6))
    torch.testing.assert_close(images.batch(range(6)), expected(*range(6)), rtol=0, atol=1e-6)


def test_a_disk_that_is_too_small_is_an_error_before_anything_is_read(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(monkeypatch)
    monkeypatch.setattr(stream_cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(DataError, match=r"5 images of .* need 0\.0 GB, and .* has 0\.0 GB left; lower limit or size"):
        HuggingFace(path=place, streaming=True, limit=5, size=(6, 8)).prepare()
    assert counting.rows == []


def test_a_stream_without_a_limit_is_an_error(place: str) -> None:
    with pytest.raises(ConfigError, match=r"streaming: the length of a stream is unknown.* give limit"):
        HuggingFace(path=place, streaming=True)


def test_a_stream_that_began_another_way_is_not_mixed_in(place: str) -> None:
    dogs = HuggingFace(path=place, streaming=True, limit=2, filter={"kind": "dog"}, size=(6, 8))
    cats = HuggingFace(path=place, streaming=True, limit=2, filter={"kind": "cat"}, size=(6, 8))
    torch.testing.assert_close(dogs.batch([0, 1]), expected(1, 4), rtol=0, atol=1e-6)
    torch.testing.assert_close(cats.batch([0, 1]), expected(0, 2), rtol=0, atol=1e-6)


# ------------------------------------------------------------------ domains of one data set


def domains(path: str, *options: dict[str, Any]) -> dict[str, Any]:
    values = {
        "name": "hub",
        "domains": {
            f"d{k}": {"dataset": {"name": "huggingface", "path": path, **own}} for k, own in enumerate(options)
        },
        "generator": {"architecture": "mlp"},
        "discriminator": {"architecture": "mlp"},
    }
    plugins = Plugins(entry_points=False)
    return open_domains(parse_config(values, plugins=plugins), plugins.registry)


STREAM = {"streaming": True, "limit": 2, "size": [6, 8]}


@pytest.mark.parametrize("more", [{}, STREAM], ids=["table", "stream"])
def test_one_pool_is_cut_into_disjoint_parts(place: str, more: dict[str, Any]) -> None:
    made = domains(
        place, {"filter": {"kind": "cat"}, **more}, {"filter": {"kind": "cat"}, "transform": "negative", **more}
    )
    parts = [set(domain.indices.tolist()) for domain in made.values()]
    assert not parts[0] & parts[1]
    assert sum(map(len, parts)) == (2 if more else 4)


@pytest.mark.parametrize("more", [{}, STREAM], ids=["table", "stream"])
@pytest.mark.parametrize(
    ("one", "other"),
    [({"kind": "cat"}, {"kind": "dog"}), ({"kind": "cat", "indoors": True}, {"kind": ["dog", "owl"]})],
    ids=str,
)
def test_filters_that_exclude_each_other_are_two_pools(place: str, one: Any, other: Any, more: dict[str, Any]) -> None:
    made = domains(place, {"filter": one, **more}, {"filter": other, **more})
    assert [domain.part for domain in made.values()] == [(1, 1), (1, 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (({}, {"filter": {"kind": "cat"}}), "samples in common: 4 rows of"),
        (({"limit": 3}, {"split": "train"}), "samples in common: 3 rows of"),
        ((STREAM, {**STREAM, "filter": {"kind": "cat"}}), "both read .* no column's filter keeps them apart"),
        ((STREAM, {}), "both read .* no column's filter keeps them apart"),
        (({**STREAM, "filter": {"kind": 0}}, {**STREAM, "filter": {"kind": "cat"}}), "keeps them apart"),
    ],
    ids=range(5),
)
def test_a_selection_within_another_or_of_a_stream_is_an_error(place: str, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        domains(place, *options)


def test_a_partial_overlap_is_a_warning(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    domains(place, {"filter": {"indoors": True}}, {"filter": {"kind": "cat"}})
    message = capsys.readouterr().err
    assert "samples in common: 2 rows of" in message
    assert "which are 5 of one and 4 of the other" in message


def test_images_of_an_earlier_state_are_removed(tmp_path: Path, data: Path) -> None:
    place = parquet(tmp_path / "rows", rows(), shards=1)
    for options in ({}, {"filter": {"kind": "cat"}}, {"resize": "crop", "size": 4}):
        HuggingFace(path=place, **options).prepare()
    other = parquet(tmp_path / "other", rows(), shards=1)
    HuggingFace(path=other).prepare()
    assert len(list(data.glob("*.npy"))) == 4
    parquet(tmp_path / "rows", rows([encoded(k + 50) for k in range(COUNT)]), shards=1)
    HuggingFace(path=place).prepare()
    assert len(list(data.glob("*.npy"))) == len(list(data.glob("*.json"))) == 2


# ------------------------------------------------------------------ what a folder holds besides


def run_directory(path: Path, *images: str) -> Path:
    """A directory that looks like a run's, with pictures."""
    (path / "checkpoints").mkdir(parents=True)
    (path / "config.yaml").touch()
    for seed, name in enumerate(images):
        save(path / name, noise(seed=100 + seed))
    return path


@pytest.mark.parametrize("name", ["faces-001", "train-001", "test-001"])
@pytest.mark.parametrize("kind", ["images", "parquet", "split"])
def test_runs_in_a_folder_are_no_samples(tmp_path: Path, kind: str, name: str) -> None:
    for seed in range(3 if kind != "parquet" else 0):
        save(tmp_path / "x" / ("validation" if kind == "split" else "own") / f"{seed}[1].png", noise(seed=seed))
    if kind == "parquet":
        rows([encoded(k) for k in range(COUNT)]).to_parquet(tmp_path / "x" / "a.parquet")
    path = str(tmp_path / "x")
    before = HuggingFace(path=path, **({"image": "picture"} if kind == "parquet" else {}))
    before.prepare()
    run_directory(tmp_path / "x" / "runs" / name, *(f"samples/{number}.png" for number in range(20)))
    after = HuggingFace(path=path, **({"image": "picture"} if kind == "parquet" else {}))
    after.prepare()
    assert after.fingerprint() == before.fingerprint()
    assert after.held_out() is None


def test_a_folder_of_runs_alone_has_no_samples(tmp_path: Path) -> None:
    run_directory(tmp_path / "runs" / "x-001", "samples/1.png")
    with pytest.raises(DataError, match="no files that `datasets` can read"):
        HuggingFace(path=str(tmp_path))


def test_a_file_that_two_patterns_of_a_split_match_is_one_sample(tmp_path: Path) -> None:
    """`datasets` lists it twice, so that two parts would have it in common; a run below changed that."""
    for seed, name in enumerate(("train/train-a/1.png", "train/train-a/2.png", "train/3.png")):
        save(tmp_path / "x" / name, noise(seed=seed))
    (tmp_path / "x" / "train" / "LICENSE").write_text("of a kind that `datasets` does not know")
    before = HuggingFace(path=str(tmp_path / "x"))
    before.prepare()
    assert len(before) == 3
    run_directory(tmp_path / "x" / "runs" / "x-001", "samples/1.png")
    after = HuggingFace(path=str(tmp_path / "x"))
    after.prepare()
    assert after.fingerprint() == before.fingerprint()


def test_files_in_two_splits_get_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "train" / "test-drives" / "1.png", noise())
    assert len(HuggingFace(path=str(tmp_path))) == 1
    assert "1 files (train/test-drives/1.png for one) belong to both splits train and test" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no time of the entry")
@pytest.mark.parametrize("kind", ["images", "parquet", "saved"])
def test_another_content_of_equal_size_and_time_is_noticed(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "x"

    def write(shade: int) -> None:
        image = io.BytesIO()
        Image.new("RGB", (8, 8), (shade,) * 3).save(image, "bmp")
        features = datasets.Features(picture=datasets.Image())
        made = datasets.Dataset.from_dict({"picture": [{"bytes": image.getvalue(), "path": None}]}, features)
        place.mkdir(exist_ok=True)
        if kind == "images":
            (place / "1.bmp").write_bytes(image.getvalue())
        elif kind == "parquet":
            made.to_parquet(place / "1.parquet")
        else:
            shutil.rmtree(place)
            made.save_to_disk(place)
        for file in place.rglob("*"):
            os.utime(file, (1, 1))

    found = []
    for shade in (10, 200):
        write(shade)
        found.append(int(HuggingFace(path=str(place)).images[0, 0, 0, 0]))
    assert found == [10, 200]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes in folders")
def test_pipes_in_a_folder_are_not_opened(tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise())
    os.mkfifo(tmp_path / "b.png")
    assert len(HuggingFace(path=str(tmp_path))) == 1


# ------------------------------------------------------------------ what can be wrong


@pytest.mark.parametrize("streaming", [False, True], ids=["table", "stream"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "pictur"}, r"image: .* has no column 'pictur'; did you mean 'picture'\?"),
        ({"label": "kin"}, r"label: .* has no column 'kin'; did you mean 'kind'\?"),
        (
            {"label": "place"},
            r"label: column 'place' of .* is of text; a label is a class.* its columns: .*age \(whole",
        ),
        (
            {"image": "age"},
            r"image: column 'age' of .* holds no images but whole numbers; its columns: picture \(image",
        ),
        ({"image": "several"}, r"image: column 'several' of .* holds no images but List"),
        ({"filter": {"kin": "cat"}}, r"filter\.kin: .* has no column 'kin'; did you mean 'kind'\?"),
        ({"filter": {"kind": "dogs"}}, r"filter\.kind: there is no class 'dogs'; did you mean 'dog'\?"),
        ({"filter": {"kind": 3}}, r"filter\.kind: 3 is not a class; give a name or one of 0 to 2"),
        ({"filter": {"indoors": "yes"}}, r"filter\.indoors: 'yes' is not one of the column's values, .* truth values"),
        ({"filter": {"age": True}}, r"filter\.age: True is not one of the column's values, which are whole numbers"),
        ({"filter": {"several": "x"}}, r"filter\.several: a column of List cannot be filtered by value"),
        ({"split": "trian"}, r"split: .* has no split 'trian'; did you mean 'train'\?"),
        ({"config": "big"}, r"config: .* has no 'big'; known: default"),
        ({"revision": "main"}, r"revision: .* is a folder, which has no revisions; leave it out"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_the_data_are_errors(
    place: str, options: dict[str, Any], message: str, streaming: bool
) -> None:
    more: dict[str, Any] = {"streaming": True, "limit": 3} if streaming else {}
    with pytest.raises(ConfigError, match=message):
        HuggingFace(path=place, **options, **more)


def test_the_error_for_a_filter_without_samples_lists_the_values(place: str) -> None:
    with pytest.raises(DataError, match=r"filter\.place: no sample .* has nowhere; the column holds here, there"):
        HuggingFace(path=place, filter={"place": "nowhere"})


def test_several_columns_of_images_need_a_choice(tmp_path: Path) -> None:
    table = rows().rename_column("raw", "other").cast_column("other", datasets.Image())
    with pytest.raises(ConfigError, match=r"image: .* has several columns of images; give the one"):
        HuggingFace(path=parquet(tmp_path / "rows", table))
    none = rows().select_columns(["age", "place"])
    with pytest.raises(
        ConfigError, match=r"image: .* has no column of images; .* age \(whole numbers\), place \(text\)"
    ):
        HuggingFace(path=parquet(tmp_path / "none", none))


@pytest.mark.parametrize("kind", ["parquet", "saved splits"])
def test_the_only_split_or_train_is_the_default(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        path = parquet(tmp_path / "rows", rows(), name="validation")
        parquet(tmp_path / "rows", rows().select(range(2)), name="test")
    else:
        path = str(tmp_path / "rows")
        datasets.DatasetDict(validation=rows(), test=rows().select(range(2))).save_to_disk(path)
    with pytest.raises(ConfigError, match=r"has no split 'train'; give one of (test, validation|validation, test)"):
        HuggingFace(path=path)
    assert len(HuggingFace(path=path, split="test")) == 2
    only = parquet(tmp_path / "only", rows(), name="validation")
    assert len(HuggingFace(path=only)) == COUNT


@pytest.mark.usefixtures("data")
def test_paths_without_a_data_set_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "rows.parquet").write_bytes(b"")
    for path, error, message in (
        (tmp_path / "emty", ConfigError, r"there is no 'emty' in .*; did you mean 'empty'\?"),
        (tmp_path / "empty", DataError, "there are no files that `datasets` can read"),
        (tmp_path / "rows.parquet", ConfigError, "is a file; give the folder that it lies in"),
        ("imagefolder", ConfigError, "'imagefolder' is a format, not a data set; give the folder"),
        ("pandas", ConfigError, "'pandas' is a format"),  # it would read pickles
    ):
        with pytest.raises(error, match=message):
            HuggingFace(path=str(path))


def test_damaged_files_are_an_error(tmp_path: Path) -> None:
    path = Path(parquet(tmp_path / "rows", rows(), shards=1))
    (file,) = path.iterdir()
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"`datasets` cannot read it|cannot be reached or read"):
        HuggingFace(path=str(path))


def test_the_error_without_a_network_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"user/pictures cannot be reached or read: .*Without a network, give the path"):
        HuggingFace(path="user/pictures")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'u/x' is a gated dataset on the Hub."),
            r"u/x is gated: ask for access at https://huggingface\.co/datasets/u/x, then log in with `hf auth login`",
        ),
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'u/x' doesn't exist on the Hub or cannot be accessed."),
            r"doesn't exist on the Hub.* Write path as USER/NAME, or give a folder",
        ),
        (
            RuntimeError("Dataset scripts are no longer supported, but found x.py"),
            r"loaded by a script of its own, and no code of a data set is run; .*refs/convert/parquet",
        ),
        (
            ValueError("Config name is missing.\nPlease pick one among the available configs: ['a', 'b']\nExample"),
            r"config: u/x has several configurations; give one of a, b",
        ),
        (KeyError("surprise"), r"u/x: `datasets` cannot read it: KeyError: 'surprise'"),
    ],
    ids=["gated", "absent", "script", "configurations", "surprise"],
)
def test_errors_of_the_hub_are_one_message(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: Any, **named: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset_builder", load)
    with pytest.raises((DataError, ConfigError), match=message):
        HuggingFace(path="u/x")


def test_the_error_without_the_library_names_the_package(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"needed and cannot be imported .*pip install 'coupling-gan\[huggingface\]'"):
        HuggingFace(path=place)


def test_nothing_is_imported_before_it_is_needed() -> None:
    program = "import sys, coupling.plugins; coupling.plugins.installed(); print('datasets' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert printed.stdout.strip() == "False"


def test_the_command_line_reports_errors_of_the_data_set(command: Any, place: str) -> None:
    values: dict[str, Any] = {
        "name": "hub",
        "domains": {
            "cats": {"dataset": {"name": "huggingface", "path": place, "filter": {"kind": "cat"}}},
            "dogs": {"dataset": {"name": "huggingface", "path": place, "filter": {"kind": "dogs"}}},
        },
        "generator": {"architecture": "mlp"},
        "discriminator": {"architecture": "mlp"},
        "training": {"steps": 1, "batch_size": 2},
    }
    Path("c.yaml").write_text(yaml.safe_dump(values))
    rejected(
        command("check", "c.yaml"), "domains.dogs.dataset: filter.kind: there is no class 'dogs'; did you mean 'dog'?"
    )
    for wrong in ("filter.kind=[[dog]]", "limit=0"):
        rejected(
            command("check", "c.yaml", "--set", f"domains.dogs.dataset.{wrong}"),
            "domains.dogs.dataset.",
            "is not valid",
        )
    result = command("run", "c.yaml", "--set", "domains.dogs.dataset.filter.kind=dog", "--output", "run")
    assert result.exit_code == 0, result.output
    again = command("check", "run/config.yaml")  # what it wrote can be read
    assert again.exit_code == 0, again.output
