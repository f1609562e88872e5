"""MNIST-M: made from small files, and official ones imitated in a folder and in an archive."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coupling import ConfigError, DataError
from coupling_digits import mnist_m_made, mnist_m_official, photographs
from coupling_digits.mnist_m import MnistM
from coupling_digits.mnist_m_official import ARCHIVE_MD5, SIZES

DIGITS = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)
PHOTOGRAPHS = np.random.default_rng(1).integers(0, 256, (3, 40, 36, 3), np.uint8)
PICTURES = np.random.default_rng(2).integers(0, 256, (5, 32, 32, 3), np.uint8)


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with seven MNIST digits in each split, and an empty `mnist_m/`."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist_m").mkdir()
    for stem, order in (("train", 1), ("t10k", -1)):
        images, labels = DIGITS[::order], LABELS[::order]
        folder = tmp_path / "mnist"
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, *images.shape) + images.tobytes())
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, len(labels)) + labels.tobytes())
    return tmp_path


@pytest.fixture
def backgrounds(data: Path) -> str:
    """A folder with three small photographs, one in a subfolder, and another file."""
    folder = data / "photographs"
    (folder / "more").mkdir(parents=True)
    for name, pixels in zip(("a.png", "b.bmp", "more/c.png"), PHOTOGRAPHS, strict=True):
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("not one of them")
    return str(folder)


def files(split: str = "train", names=None) -> dict[str, bytes]:
    """Five pictures as the archive holds them, not in the order of the list."""
    names = names or [f"{n:08d}.png" for n in (4, 0, 3, 1, 2)]
    listed = "".join(f"{name} {number}\n" for number, name in enumerate(names))
    made = {f"mnist_m/mnist_m_{split}_labels.txt": listed.encode()}
    return made | {f"mnist_m/mnist_m_{split}/{n}": png(p) for n, p in sorted(zip(names, PICTURES, strict=True))}


def pack(path: Path, content: dict[str, bytes], mode: str = "w:gz") -> None:
    with tarfile.open(path, mode) as tar:
        for name, file in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(file)
            tar.addfile(member, io.BytesIO(file))


def unpack(folder: Path, content: dict[str, bytes]) -> None:
    for name, file in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file)


def bytes_of(images: torch.Tensor) -> np.ndarray:
    return ((images + 1) * 127.5).round().numpy().astype(np.uint8).transpose(0, 2, 3, 1)


# ---------------------------------------------------------------------------- made


def test_made_images_are_the_difference_of_a_patch_and_the_digit(data, backgrounds):
    dataset = MnistM(origin="made", backgrounds=backgrounds, verify=False)
    assert (len(dataset), dataset.shape, dataset.range) == (7, (3, 32, 32), (-1.0, 1.0))
    dataset.prepare()
    batch = dataset.batch(range(7))
    assert batch.dtype == torch.float32
    assert torch.equal(batch[3], dataset[3])
    assert dataset.labels.tolist() == LABELS.tolist()
    places = set()
    for image, digit in zip(bytes_of(batch).astype(int), DIGITS, strict=True):
        framed = np.pad(digit.astype(int), 2)[:, :, None]
        found = [
            (p, y, x)
            for p, photograph in enumerate(PHOTOGRAPHS.astype(int))
            for y in range(40 - 31)
            for x in range(36 - 31)
            if (np.abs(photograph[y : y + 32, x : x + 32] - framed) == image).all()
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len({p for p, _, _ in places}) > 1
    assert len(places) > 4


def test_made_images_are_kept_and_follow_all_they_depend_on(data, backgrounds, monkeypatch):
    def made(**options):
        return MnistM(origin="made", verify=False, **{"backgrounds": backgrounds, **options})

    first = made().fingerprint()
    kept = sorted(path.name for path in (data / "mnist_m").iterdir())
    assert len(kept) == 2
    with monkeypatch.context() as patched:
        patched.setattr(mnist_m_made, "pixels", lambda *_: pytest.fail("made again"))
        assert made().fingerprint() == first
    others = {made(seed=1).fingerprint(), made(scale="unit").fingerprint(), made(count=3).fingerprint()}
    Image.fromarray(PHOTOGRAPHS[0]).save(Path(backgrounds) / "more/c.png")
    assert len({first, *others, made().fingerprint()}) == 5


def test_made_images_count_as_mnists_digits(data, backgrounds):
    """So that a domain of MNIST and one of MNIST-M never get one digit twice."""
    from coupling_digits.mnist import Mnist

    for options in ({}, {"count": 4, "draw": 1}):
        over = MnistM(origin="made", backgrounds=backgrounds, verify=False, **options)
        plain = Mnist(verify=False, **options)
        assert over.source == plain.source
        assert torch.equal(over.labels, plain.labels)


def test_made_test_images_are_of_the_test_digits(data, backgrounds):
    dataset = MnistM(origin="made", backgrounds=backgrounds, verify=False, scale="unit", seed=4, count=2)
    apart = dataset.held_out()
    assert apart.labels.tolist() == LABELS[::-1].tolist()
    assert (apart.range, apart.source) == ((0.0, 1.0), "mnist/test")
    assert 0 <= apart.batch(range(7)).min() < 0.1 < apart.batch(range(7)).max() <= 1
    assert apart.held_out() is None
    (data / "mnist/t10k-images-idx3-ubyte").unlink()
    assert dataset.held_out() is None


def test_scikit_images_photographs_are_the_default_backgrounds(data):
    pytest.importorskip("skimage")
    dataset = MnistM(origin="made", verify=False)
    dataset.prepare()
    assert dataset.batch(range(7)).std() > 0.2
    assert len(photographs.photographs(None)) == len(photographs.SHIPPED)


def test_without_scikit_image_the_error_names_the_package(data, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install 'coupling-digits\[photographs\]', or name a folder"):
        MnistM(origin="made", verify=False)


def test_another_scikit_image_may_lack_photographs(data, monkeypatch):
    pytest.importorskip("skimage")
    monkeypatch.setattr(photographs, "SHIPPED", ("moonrise.png",))
    with pytest.raises(DataError, match=r"moonrise.png is not there; pip install -U scikit-image"):
        MnistM(origin="made", verify=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.png", b"<html>", "d.png: not an image, damaged, or of a kind unknown here"),
        ("d.png", png(PHOTOGRAPHS[0])[:400], "d.png: .*truncated"),
        ("d.png", png(PHOTOGRAPHS[0, :, :31]), "d.png is 40 x 31, too small for backgrounds of 32 x 32"),
    ],
)
def test_bad_photographs_are_named(data, backgrounds, name, content, message):
    (Path(backgrounds) / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        MnistM(origin="made", backgrounds=backgrounds, verify=False).prepare()


def test_photographs_are_read_by_the_decoder_of_all_images(tmp_path):
    upright = Image.fromarray(PHOTOGRAPHS[0])
    exif = Image.Exif()
    exif[0x0112] = 3
    upright.rotate(180).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(photographs.pixels(tmp_path / "turned.png", 32), PHOTOGRAPHS[0])


def test_runs_hidden_files_and_pipes_are_no_photographs(tmp_path):
    for name in ("b.png", "a/c.png", "runs/x-001/samples/1.png", ".trash/d.png", ".e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(PHOTOGRAPHS[0]))
    (tmp_path / "runs/x-001/checkpoints").mkdir()
    (tmp_path / "runs/x-001/config.yaml").touch()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "f.png")
    assert photographs.photographs(str(tmp_path)) == [tmp_path / "a/c.png", tmp_path / "b.png"]


def test_a_folder_without_photographs_is_an_error(data, tmp_path):
    with pytest.raises(ConfigError, match="backgrounds: 'elsewhere' is not there; name a folder"):
        MnistM(origin="made", backgrounds="elsewhere", verify=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        MnistM(origin="made", backgrounds=str(tmp_path / "file"), verify=False)
    with pytest.raises(DataError, match=r"backgrounds: .* holds no images, .* images are files named .bmp, .*"):
        MnistM(origin="made", backgrounds=str(data / "mnist"), verify=False)
    with pytest.raises(ConfigError, match="backgrounds: is for 'origin: made'"):
        MnistM(backgrounds=str(data))


# ---------------------------------------------------------------------------- official


@pytest.mark.parametrize("kind", ["folder", "nested folder", "archive", "plain archive"])
def test_official_files_in_the_order_of_the_list(data, kind):
    directory = data / "mnist_m"
    content = files() | files("test")
    if "archive" in kind:
        pack(directory / "mnist_m.tar.gz", content, "w:gz" if kind == "archive" else "w")
    else:
        unpack(directory if kind == "nested folder" else data, content)
    dataset = MnistM(verify=False)
    assert (len(dataset), dataset.source) == (5, "mnist-m/train")
    dataset.prepare()
    assert (bytes_of(dataset.batch([4, 0, 2])) == PICTURES[[4, 0, 2]]).all()
    assert dataset.labels.tolist() == [0, 1, 2, 3, 4]
    drawn = MnistM(verify=False, count=2, draw=1)
    for image, label in zip(drawn.batch([0, 1]), drawn.labels, strict=True):
        assert torch.equal(image, dataset[label])
    assert dataset.held_out().source == "mnist-m/test"
    if "archive" in kind:  # which is not read again
        (directory / "mnist_m.tar.gz").unlink()
        assert MnistM(verify=False).labels.tolist() == [0, 1, 2, 3, 4]
        assert (bytes_of(MnistM(verify=False).batch([1])) == PICTURES[[1]]).all()


def test_unpacked_images_that_change_are_decoded_again(data):
    unpack(data, files())
    MnistM(verify=False).prepare()
    path = data / "mnist_m/mnist_m_train/00000004.png"  # the first of the list
    path.write_bytes(png(PICTURES[1]))
    assert (bytes_of(MnistM(verify=False).batch([0])) == PICTURES[[1]]).all()
    assert len(list((data / "mnist_m").glob("*.npy"))) == 1  # those of the earlier state are removed


def test_archive_is_checked_before_it_is_read(data, monkeypatch):
    path = data / "mnist_m/mnist_m.tar.gz"
    pack(path, files() | files("test"))
    monkeypatch.setitem(SIZES, "train", 5)
    with pytest.raises(DataError) as caught:
        MnistM().prepare()
    found = hashlib.md5(path.read_bytes()).hexdigest()
    for part in (str(path), found, ARCHIVE_MD5, f"{path.stat().st_size} bytes", "verify: false"):
        assert part in str(caught.value)
    monkeypatch.setattr(mnist_m_official, "ARCHIVE_MD5", found)
    assert (bytes_of(MnistM().batch([1])) == PICTURES[[1]]).all()


def test_construction_and_length_of_the_official_files_need_none(data):
    assert (len(MnistM()), len(MnistM(split="test")), len(MnistM().held_out())) == (59_001, 9_001, 9_001)
    with pytest.raises(ConfigError, match="count: 59002 is more than the 59001 samples of mnist-m/train"):
        MnistM(count=59_002)


def test_the_error_for_missing_files_names_the_files_and_the_folder(data):
    with pytest.raises(DataError) as caught:
        MnistM().prepare()
    for part in (str(data / "mnist_m"), "mnist_m.tar.gz", "mnist_m_train/", "mnist_m_train_labels.txt", "origin: made"):
        assert part in str(caught.value)
    (data / "mnist_m").mkdir(exist_ok=True)
    (data / "mnist_m" / "mnist_m (1).tar.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"is there; did you mean 'mnist_m \(1\)\.tar\.gz'\? Rename it"):
        MnistM().prepare()


CUT = object()


@pytest.mark.parametrize(
    ("damage", "verify", "message"),
    [
        (b"\n<html>quota exceeded</html>", True, "an HTML page"),
        (b"\n<html>quota exceeded</html>", False, "truncated or damaged archive, 28 bytes"),
        (b"", False, "truncated or damaged archive, 0 bytes"),
        (CUT, False, r"truncated or damaged archive, \d+ bytes"),
        (CUT, True, "a download that was cut short"),
        ({"x.png": b""}, False, "holds no mnist_m_train_labels.txt"),
        (dict(list(files().items())[:-1]), False, "holds no mnist_m_train/0000000"),
    ],
)
def test_damaged_archives_are_named(data, damage, verify, message):
    path = data / "mnist_m/mnist_m.tar.gz"
    if isinstance(damage, dict):
        pack(path, damage)
    elif damage is CUT:
        pack(path, files())
        path.write_bytes(path.read_bytes()[:-9000])
    else:
        path.write_bytes(damage)
    with pytest.raises(DataError, match=message) as caught:
        MnistM(verify=verify).prepare()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mnist_m_train_labels.txt", b"<html>", "an HTML page"),
        ("mnist_m_train_labels.txt", b"", "is empty"),
        ("mnist_m_train_labels.txt", b"0.png 1\n1.png ten\n", "line 2 is not `name label` .* '1.png ten'"),
        ("mnist_m_train_labels.txt", b"0.png 12\n", "line 1 is not"),
        ("mnist_m_train_labels.txt", b"../0.png 1\n", "line 1 is not"),
        ("mnist_m_train_labels.txt", b"gone.png 1\n", "gone.png: cannot be read"),
        ("mnist_m_train/00000003.png", b"<html>", "00000003.png: not an image"),
        ("mnist_m_train/00000003.png", png(PICTURES[0])[:300], "00000003.png"),
        ("mnist_m_train/00000003.png", png(PICTURES[0, :28, :28]), "3.png: is 28 x 28 pixels, expected 32 x 32"),
    ],
)
def test_bad_files_are_named(data, name, content, message):
    unpack(data, files())
    (data / "mnist_m" / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        MnistM(verify=False).prepare()


def test_half_unpacked_files_are_rejected(data):
    unpack(data, files())
    with pytest.raises(DataError, match=r"mnist_m_train_labels.txt: lists 5 images, the official one 59001"):
        MnistM().prepare()
