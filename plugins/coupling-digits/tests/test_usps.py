"""USPS from small files in its published formats, and from the official digits where they are at hand."""

from __future__ import annotations

import bz2
import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from coupling import ConfigError, DataError, data_directory
from coupling_digits import download, usps
from coupling_digits.usps import SPLITS, Content, Split, Usps

OFFICIAL = data_directory("usps").parent  # before any test sets $COUPLING_DATA
HAS_OFFICIAL = (OFFICIAL / "usps" / "usps.h5").is_file()

LEVELS = np.random.default_rng(0).integers(0, 2001, (7, 16, 16))
LEVELS[0, 0, :2] = 0, 2000
LABELS = np.array([6, 5, 4, 7, 0, 9, 1])


def libsvm(levels=LEVELS, labels=LABELS) -> bytes:
    """As published: labels from 1, values from -1 to 1 in thousandths, zeros left out."""
    lines = []
    for label, image in zip(labels, levels, strict=True):
        values = (image.ravel() - 1000) / 1000
        pairs = [f"{i}:{v:.6g}" for i, v in enumerate(values, 1) if v]
        lines.append(" ".join([str(label + 1), *pairs]) + " \n")
    return "".join(lines).encode()


def write_hdf5(path: Path, data=None, target=LABELS, name: str = "train/data") -> None:
    with h5py.File(path, "w") as file:
        file[name] = (LEVELS / 2000).astype(np.float32).reshape(len(LEVELS), -1) if data is None else data
        if target is not None:
            file["train/target"] = target


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `usps/` in a data directory of the test's own."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    (tmp_path / "usps").mkdir()
    return tmp_path / "usps"


def digest() -> str:
    return Content(Path(), "", LEVELS.astype(np.int16), LABELS.astype(np.uint8)).sha256


def declare(monkeypatch: pytest.MonkeyPatch, *, md5: str = "", sha256: str = "") -> None:
    """Let the seven digits be USPS's official ones to train on."""
    monkeypatch.setitem(SPLITS, "train", Split(len(LABELS), "usps", md5, sha256))


@pytest.mark.skipif(not HAS_OFFICIAL, reason="USPS is not at hand")
@pytest.mark.parametrize(
    ("split", "size", "first"), [("train", 7291, [6, 5, 4, 7, 3]), ("test", 2007, [9, 6, 3, 6, 6])]
)
def test_official_digits_are_read(split, size, first, monkeypatch):
    monkeypatch.setenv("COUPLING_DATA", str(OFFICIAL))
    dataset = Usps(split=split)
    dataset.prepare()
    assert len(dataset) == size
    assert dataset.labels.shape == (size,)
    assert dataset.labels.dtype == torch.int64
    assert dataset.labels[:5].tolist() == first
    assert dataset.labels.bincount().min() >= 147
    batch = dataset.batch(range(200))
    assert batch.shape == (200, 1, 28, 28)
    assert batch.dtype == torch.float32
    assert (batch.min(), batch.max()) == (0, 1)
    assert 0.2 < batch.mean() < 0.35
    with h5py.File(OFFICIAL / "usps" / "usps.h5") as file:
        published = torch.from_numpy(file[f"{split}/data"][:200]).unflatten(1, (1, 16, 16))
    torch.testing.assert_close(Usps(split=split, size=16).batch(range(200)), published, rtol=0, atol=1e-6)


def test_libsvm_and_hdf5_give_the_same_samples_and_fingerprint(directory):
    made = {}
    for name, write in {
        "usps.bz2": lambda path: path.write_bytes(bz2.compress(libsvm())),
        "usps": lambda path: path.write_bytes(libsvm()),
        "usps.h5": write_hdf5,
        "usps.hdf5": lambda path: write_hdf5(path, target=LABELS.astype(np.int32)),
    }.items():
        write(directory / name)
        dataset = Usps(verify=False, size=16)
        made[name] = dataset.fingerprint()
        torch.testing.assert_close(dataset.batch(range(7))[:, 0], torch.tensor(LEVELS / 2000, dtype=torch.float32))
        assert torch.equal(dataset[3], dataset.batch([5, 3])[1])
        assert dataset.labels.tolist() == LABELS.tolist()
        (directory / name).unlink()
    assert len(set(made.values())) == 1
    assert digest() in made["usps"]


@pytest.mark.parametrize("packed", [True, False])
def test_a_renamed_file_is_recognised_by_its_content(directory, packed):
    (directory / "usps.bz2").write_bytes(bz2.compress(libsvm()) if packed else libsvm())
    assert len(Usps(verify=False)) == 7
    write_hdf5(directory / "usps.bz2")
    assert len(Usps(verify=False)) == 7


@pytest.mark.parametrize("size", [16, 20, 28, 32])
def test_sizes_against_plain_interpolation(directory, size):
    write_hdf5(directory / "usps.h5")
    small = torch.tensor(LEVELS / 2000, dtype=torch.float32)[:, None]
    for resize, before in (("bilinear", small), ("pad", F.pad(small, (3, 3, 3, 3)))):
        dataset = Usps(verify=False, size=size, resize=resize)
        assert dataset.shape == (1, size, size)
        batch = dataset.batch(range(7))
        if size >= before.shape[2]:  # enlarged: no neighbourhood is averaged
            expected = F.interpolate(before, (size, size), mode="bilinear", align_corners=False)
            torch.testing.assert_close(batch, expected, rtol=0, atol=1e-5)
        assert batch.shape[1:] == dataset.shape
        assert batch.min() >= 0
        assert batch.max() <= 1
    fingerprints = {Usps(verify=False, size=size, resize=r).fingerprint() for r in ("bilinear", "pad")}
    assert len(fingerprints) == 2


def test_padded_digits_are_as_large_as_mnists(directory):
    """16 pixels in a frame of 22 are 20.4 in one of 28; MNIST's digits are 20."""
    write_hdf5(directory / "usps.h5", np.ones((7, 256)) * np.array([[0.0]] + [[1.0]] * 6))
    ink = Usps(verify=False, resize="pad")[1][0] > 0.5
    assert ink.any(0).sum() == ink.any(1).sum() == 20


def test_draws_pick_images_and_labels_alike(directory):
    write_hdf5(directory / "usps.h5")
    dataset = Usps(verify=False, size=16, count=4, draw=1)
    assert len(dataset) == 4
    everything = Usps(verify=False, size=16)
    for sample, label in zip(dataset.batch(range(4)), dataset.labels, strict=True):
        [number] = [i for i in range(7) if torch.equal(everything[i], sample)]
        assert everything.labels[number] == label
    with pytest.raises(ConfigError, match="count: 8 is more than the 7 samples of usps/train"):
        len(Usps(verify=False, count=8))


def test_official_by_content_or_by_the_published_file(directory, monkeypatch):
    packed = bz2.compress(libsvm())
    (directory / "usps.bz2").write_bytes(packed)
    declare(monkeypatch, sha256=digest())
    Usps().prepare()
    declare(monkeypatch, md5=hashlib.md5(packed).hexdigest())
    Usps().prepare()
    declare(monkeypatch, md5="0" * 32, sha256="f" * 64)
    with pytest.raises(DataError) as caught:
        Usps().prepare()
    for part in (str(directory / "usps.bz2"), digest(), "expected 7 with " + "f" * 64, "verify: false"):
        assert part in str(caught.value)


def test_another_split_of_the_same_digits_is_rejected(directory):
    write_hdf5(directory / "usps.h5")
    with pytest.raises(DataError, match=r"its 7 samples to train have SHA-256 .* expected 7291"):
        Usps().prepare()


BAD = {
    "HTML": (b"\n<!DOCTYPE html><html>Not found</html>", "an HTML page"),
    "empty": (b"", "is empty"),
    "cut bzip2": (bz2.compress(libsvm())[:-20], r"truncated or damaged bzip2 file, \d+ bytes"),
    "no bzip2": (b"BZh9" + bytes(30), "truncated or damaged bzip2 file, 34 bytes"),
    "HTML, packed": (bz2.compress(b"<html>"), "an HTML page"),
    "text": (b"7 1:0.5\nseven digits\n", "line 2 is not `label index:value ...`.*'seven digits'"),
    "cut line": (libsvm()[:-8], "line 7 is not|not USPS|its values"),
    "columns": (b"7 257:0.5\n", "line 1 is not .* indices from 1 to 256: '7 257:0.5'"),
    "index 0": (b"7 0:0.5\n", "line 1 is not .* indices from 1 to 256"),
    "MNIST's range": (b"7 1:255 2:0\n", r"its values lie in \[0, 255\], expected \[-1, 1\] from paper to ink; scale"),
    "never dark": (b"7 1:0.5 2:0.1\n", r"its values lie in \[0, 0.5\], expected \[-1, 1\]"),
    "not numbers": (b"7 1:nan 2:1\n", r"its values lie in \[nan, nan\]"),
    "labels from 0": (libsvm(labels=LABELS - 1), "its labels are not whole numbers from 1 to 10"),
    "half a label": (b"7.5 1:1 2:-1\n", "line 1 is not"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_damaged_libsvm_files_are_named_with_what_was_found(directory, content, message):
    path = directory / "usps.bz2"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        Usps(verify=content == BAD["cut line"][0]).prepare()  # a line cut short may still be one
    assert str(caught.value).startswith(f"{path}: ")


BAD_HDF5 = {
    "0 to 255": ({"data": LEVELS.reshape(7, 256) / 2000 * 255}, r"lie in \[0, 255\], expected \[0, 1\]"),
    "bytes": ({"data": np.full((7, 256), 255, np.uint8)}, r"lie in \[255, 255\], expected \[0, 1\]"),
    "-1 to 1": ({"data": LEVELS.reshape(7, 256) / 1000 - 1}, r"lie in \[-1, 1\], expected \[0, 1\]"),
    "scaled twice": ({"data": LEVELS.reshape(7, 256) / 2000 / 255}, r"lie in \[0, 0.0039\d+\], expected \[0, 1\]"),
    "size": ({"data": np.zeros((7, 784))}, "train/data is 7 x 784, expected images of 16 x 16"),
    "no samples": (
        {"data": np.zeros((0, 256)), "target": np.zeros(0)},
        "train/data is 0 x 256, expected images of 16 x 16",
    ),
    "few labels": ({"target": LABELS[:5]}, r"train/target is \(5,\), expected 7 labels"),
    "labels 1 to 10": ({"target": LABELS + 1}, "labels are not whole numbers from 0 to 9"),
    "half labels": ({"target": LABELS + 0.5}, "labels are not whole numbers from 0 to 9"),
    "name": ({"name": "train/dat"}, "has no data set 'train/data'; did you mean 'train/dat'?"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_HDF5.values(), ids=BAD_HDF5)
def test_wrong_hdf5_files_are_named_with_what_was_found(directory, arguments, message):
    path = directory / "usps.h5"
    write_hdf5(path, **arguments)
    with pytest.raises(DataError, match=message) as caught:
        Usps(verify=False).prepare()
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("damage", [lambda b: b[:300], lambda b: b[: len(b) // 2], lambda b: b"PK" + b[2:]])
def test_damaged_hdf5_files_are_named(directory, damage):
    path = directory / "usps.h5"
    write_hdf5(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="truncated or damaged, or not an HDF5 file"):
        Usps(verify=False).prepare()


def test_labels_are_optional_in_own_hdf5(directory):
    write_hdf5(directory / "usps.h5", target=None)
    assert Usps(verify=False).labels is None


def test_missing_files_are_downloaded_or_the_error_names_the_folder(directory, monkeypatch):
    with pytest.raises(DataError, match=r"none of usps.bz2, usps, usps.h5, usps.hdf5 is there, and 'verify: false'"):
        len(Usps(verify=False))
    monkeypatch.setattr(usps, "MIRRORS", ("http://127.0.0.1:1/",))
    with pytest.raises(DataError) as caught:
        Usps(split="test").prepare()
    for part in (str(directory), "http://127.0.0.1:1/usps.t.bz2", "Put usps.t.bz2 there", "usps.h5"):
        assert part in str(caught.value)
    packed = bz2.compress(libsvm())
    declare(monkeypatch, md5=hashlib.md5(packed).hexdigest())

    def retrieve(url, known_hash, name, folder):
        assert (url, known_hash) == ("http://127.0.0.1:1/usps.bz2", f"md5:{hashlib.md5(packed).hexdigest()}")
        (folder / name).write_bytes(packed)
        return folder / name

    monkeypatch.setattr(download.pooch, "retrieve", retrieve)
    Usps().prepare()
    assert Usps().labels.tolist() == LABELS.tolist()


def test_channels_and_range(directory):
    write_hdf5(directory / "usps.h5")
    plain = Usps(verify=False).batch([2, 5])
    shown = Usps(verify=False, mode="rgb", scale="signed")
    assert (shown.shape, shown.range) == ((3, 28, 28), (-1.0, 1.0))
    torch.testing.assert_close(shown.batch([2, 5]), plain.expand(-1, 3, -1, -1) * 2 - 1)
    assert shown.fingerprint() != Usps(verify=False).fingerprint()


def test_held_out_digits_are_shown_alike(directory):
    (directory / "usps").write_bytes(libsvm())
    dataset = Usps(verify=False, size=32, resize="pad", mode="rgb", scale="signed", count=3)
    assert dataset.held_out() is None  # own files that hold none
    (directory / "usps.t").write_bytes(libsvm(LEVELS[::-1], LABELS[::-1]))
    apart = dataset.held_out()
    assert len(apart) == 7
    assert (apart.shape, apart.range) == (dataset.shape, dataset.range)
    assert apart.labels.tolist() == LABELS[::-1].tolist()
    whole = Usps(verify=False, size=32, resize="pad", mode="rgb", scale="signed")
    assert torch.equal(apart[0], whole[6])
    assert apart.held_out() is None
    assert len(Usps().held_out()) == 2007
