"""MNIST from small files in the official format, and from the official ones where they are at hand."""

from __future__ import annotations

import errno
import gzip
import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from coupling import DataError, data_directory
from coupling_digits import mnist
from coupling_digits.mnist import SPLITS, Mnist, Source, Split

OFFICIAL = data_directory("mnist").parent  # before any test sets $COUPLING_DATA
HAS_OFFICIAL = all(
    any((OFFICIAL / "mnist" / name).is_file() for name in source.names)
    for source in (SPLITS["train"].images, SPLITS["train"].labels)
)

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)
LABELS = np.arange(7, dtype=np.uint8)


def idx(elements: NDArray[np.uint8]) -> bytes:
    """The IDX file of an array of bytes."""
    dimensions = elements.ndim
    return bytes([0, 0, 8, dimensions]) + struct.pack(f">{dimensions}I", *elements.shape) + elements.tobytes()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `mnist/` in a data directory of the test's own."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    return tmp_path / "mnist"


@pytest.fixture
def made(directory: Path) -> Path:
    """`mnist/` with seven made-up images and labels to train on."""
    (directory / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (directory / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    return directory


@pytest.fixture
def official(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST's official files where they are at hand; else made-up ones, declared the official ones."""
    if HAS_OFFICIAL:
        monkeypatch.setenv("COUPLING_DATA", str(OFFICIAL))
    else:
        declare(monkeypatch, gzip.compress(idx(IMAGES)), gzip.compress(idx(LABELS)))


def declare(monkeypatch: pytest.MonkeyPatch, images: bytes, labels: bytes) -> None:
    """Let these gzip files be MNIST's official ones to train on."""

    def source(name: str, dimensions: int, content: bytes) -> Source:
        unpacked = gzip.decompress(content)
        return Source(name, dimensions, hashlib.md5(content).hexdigest(), hashlib.sha256(unpacked).hexdigest())

    split = Split(
        len(LABELS),
        source("train-images-idx3-ubyte", 3, images),
        source("train-labels-idx1-ubyte", 1, labels),
    )
    monkeypatch.setitem(SPLITS, "train", split)


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """The address of a web server of ``directory``."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory))) as web:
        thread = Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_port}/"
        finally:
            web.shutdown()
            thread.join()


def test_official_files_are_read(official: None) -> None:
    dataset = Mnist()
    dataset.prepare()
    assert len(dataset) == SPLITS["train"].size
    assert dataset.source == "mnist/train"
    batch = dataset.batch(range(len(dataset))[-5:])
    assert batch.shape == (5, 1, 28, 28)
    assert batch.dtype == torch.float32
    assert batch.min() == 0
    assert 0.9 < batch.max() <= 1
    assert dataset.labels is not None
    assert dataset.labels.shape == (len(dataset),)
    assert dataset.labels.dtype == torch.int64
    assert dataset.labels.min() == 0
    assert 6 <= dataset.labels.max() <= 9
    assert SPLITS["train"].images.sha256 in dataset.fingerprint()
    if HAS_OFFICIAL:
        assert dataset.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def test_own_files_are_read_exactly(made: Path) -> None:
    dataset = Mnist(verify=False)
    assert len(dataset) == 7
    expected = torch.tensor(IMAGES / 255, dtype=torch.float32)[:, None]
    torch.testing.assert_close(dataset.batch([6, 0, 0, 3]), expected[[6, 0, 0, 3]], rtol=0, atol=1e-7)
    assert torch.equal(dataset[4], dataset.batch([4])[0])
    assert dataset[4].shape == dataset.shape
    assert dataset.labels is not None
    assert dataset.labels.tolist() == list(range(7))


@pytest.mark.parametrize("name", SPLITS["test"].images.names)
def test_every_usual_name_is_found_packed_or_not(directory: Path, name: str) -> None:
    for content in (idx(IMAGES), gzip.compress(idx(IMAGES))):
        (directory / name).write_bytes(content)
        assert len(Mnist(split="test", verify=False)) == 7


def test_labels_are_optional_in_own_files_but_must_match(made: Path) -> None:
    (made / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:5]))
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte: 5 labels for 7 images"):
        Mnist(verify=False).prepare()
    (made / "train-labels-idx1-ubyte").unlink()
    assert Mnist(verify=False).labels is None


def test_fingerprint_follows_the_content_not_the_packing(made: Path) -> None:
    first = Mnist(verify=False).fingerprint()
    (made / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES), compresslevel=1))
    assert Mnist(verify=False).fingerprint() == first
    (made / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[::-1]))
    second = Mnist(verify=False).fingerprint()
    (made / "train-images-idx3-ubyte.gz").write_bytes(idx(IMAGES[::-1]))
    assert len({first, second, Mnist(verify=False).fingerprint()}) == 3


def test_construction_and_length_of_the_official_files_need_none(directory: Path) -> None:
    assert len(Mnist()) == 60_000
    assert len(Mnist(split="test")) == 10_000
    assert not list(directory.iterdir())


def test_other_content_is_rejected_unless_verify_is_false(made: Path) -> None:
    found = hashlib.sha256(idx(IMAGES)).hexdigest()
    with pytest.raises(DataError) as caught:
        Mnist().prepare()
    message = str(caught.value)
    for part in (
        str(made / "train-images-idx3-ubyte.gz"),
        found,
        SPLITS["train"].images.sha256,
        "verify: false",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n<!DOCTYPE html><html>Quota exceeded</html>", "an HTML page"),
        (b"", "begins with ''"),
        (gzip.compress(idx(IMAGES))[:-20], r"truncated or damaged gzip file, \d+ bytes"),
        (b"\x1f\x8b" + bytes(30), "truncated or damaged gzip file, 32 bytes"),
        (gzip.compress(idx(IMAGES))[:10] + b"\xff" * 40, r"damaged gzip file, 50 bytes"),
        (gzip.compress(idx(IMAGES))[:-8] + bytes(8), "truncated or damaged gzip file"),
        (idx(LABELS), "begins with '00 00 08 01', not '00 00 08 03'"),
        (b"\x89PNG\r\n", "begins with '89 50 4e 47'"),
        (idx(IMAGES)[:10], "its header ends after 10 of 16 bytes"),
        (idx(IMAGES)[:-1], "announces 7 x 28 x 28 = 5488 elements, but 5487 follow"),
        (idx(IMAGES) + b"\n", "5488 elements, but 5489 follow"),
    ],
    ids=[
        "HTML",
        "empty",
        "cut gzip",
        "no gzip",
        "deflate",
        "CRC",
        "labels",
        "PNG",
        "cut header",
        "cut",
        "longer",
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_damaged_files_are_named_with_what_was_found(made: Path, content: bytes, message: str, verify: bool) -> None:
    path = made / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        Mnist(verify=verify).prepare()
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("images", [IMAGES[:, :16, :16], IMAGES[:0]], ids=["small", "none"])
def test_own_images_must_be_28x28_and_at_least_one(made: Path, images: NDArray[np.uint8]) -> None:
    (made / "train-images-idx3-ubyte.gz").write_bytes(idx(images))
    shape = " x ".join(map(str, images.shape))
    with pytest.raises(DataError, match=rf"idx3-ubyte.gz: {shape} pixels, expected images of 28 x 28"):
        Mnist(verify=False).prepare()


def test_unreadable_file_is_named(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reject(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", reject)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: cannot be read \(Permission denied\)"):
        Mnist().prepare()


def test_own_files_that_are_missing_are_not_downloaded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.retrieve", lambda *_: pytest.fail("tried to download"))
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz is not there"):
        len(Mnist(split="test", verify=False))


def test_missing_files_are_downloaded_once_from_the_first_mirror_that_has_them(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [gzip.compress(idx(IMAGES)), gzip.compress(idx(LABELS))]
    declare(monkeypatch, *files)
    for mirror in ("bad", "good", "bad/mnist", "good/mnist"):
        (tmp_path / mirror).mkdir()
    for source, content in zip((SPLITS["train"].images, SPLITS["train"].labels), files, strict=True):
        (tmp_path / "good/mnist" / f"{source.name}.gz").write_bytes(content)
    (tmp_path / "bad/mnist/train-images-idx3-ubyte.gz").write_text("<html>an error page</html>")
    with server(tmp_path) as address:
        monkeypatch.setattr(mnist, "MIRRORS", (f"{address}bad/mnist/", f"{address}good/mnist/"))
        Mnist().prepare()
    assert sorted(path.name for path in directory.iterdir()) == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
    ]
    again = Mnist()  # the server is gone
    again.prepare()
    assert again.labels is not None
    assert again.labels.tolist() == list(range(7))


def test_failed_download_says_which_files_to_put_where(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirrors = ("http://127.0.0.1:1/first/", "http://127.0.0.1:1/second/")
    monkeypatch.setattr(mnist, "MIRRORS", mirrors)
    with pytest.raises(DataError) as caught:
        Mnist().prepare()
    message = str(caught.value)
    for part in (str(directory), *mirrors, "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        assert part in message
    assert not list(directory.iterdir())


def test_larger_frames_channels_and_ranges_are_of_the_same_digits(made: Path) -> None:
    plain = Mnist(verify=False).batch([2, 5])
    for size, border in ((32, (2, 2)), (33, (2, 3)), (28, (0, 0))):
        for mode, channels in (("gray", 1), ("rgb", 3)):
            for scale, low in (("unit", 0.0), ("signed", -1.0)):
                dataset = Mnist(verify=False, size=size, mode=mode, scale=scale)  # type: ignore[arg-type]
                batch = dataset.batch([2, 5])
                assert dataset.range == (low, 1.0)
                assert batch.shape == (2, channels, size, size) == (2, *dataset.shape)
                unit = (batch - low) / (1 - low)
                frame = torch.zeros(2, channels, size, size)
                frame[:, :, border[0] : size - border[1], border[0] : size - border[1]] = plain
                torch.testing.assert_close(unit, frame, rtol=0, atol=1e-6)
    shown = {Mnist(verify=False, **options).fingerprint() for options in ({}, {"size": 32}, {"mode": "rgb"})}
    assert len(shown) == 3
    assert Mnist(verify=False, size=28, mode="gray").fingerprint() == Mnist(verify=False).fingerprint()


def test_held_out_digits_are_shown_alike(made: Path) -> None:
    dataset = Mnist(verify=False, size=32, mode="rgb", scale="signed", count=3)
    assert dataset.held_out() is None  # own files that hold none
    (made / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES[::-1]))
    (made / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[::-1]))
    apart = dataset.held_out()
    assert apart is not None
    assert len(apart) == 7
    assert (apart.shape, apart.range) == (dataset.shape, dataset.range)
    assert apart.labels is not None
    assert apart.labels.tolist() == LABELS[::-1].tolist()
    assert torch.equal(apart[0], Mnist(verify=False, size=32, mode="rgb", scale="signed")[6])
    assert apart.held_out() is None
    official = Mnist().held_out()
    assert official is not None
    assert len(official) == 10_000
