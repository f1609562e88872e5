"""The data set `nyu`, on made-up files of its formats."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from coupling import ConfigError, DataError
from coupling.testing import open_domains
from coupling_rgbd import nyu_labeled
from coupling_rgbd.nyu import Nyu
from coupling_rgbd.nyu_raw import RawFrames, raw_metres
from coupling_rgbd.testing import matlab_file, scene, write_nyu, write_raw_depth

SIZE = (48, 64)
MAT = "nyu_depth_v2_labeled.mat"


@pytest.fixture
def root(data: Path) -> Path:
    (data / "nyu-depth-v2").mkdir(parents=True)
    write_nyu(data / "nyu-depth-v2", 16, 24, size=SIZE, scenes=8)
    return data / "nyu-depth-v2"


def opened(modality: Any = "depth", **options: Any) -> Nyu:
    return Nyu(**{"modality": modality, "size": SIZE, "window": None, "verify": False, **options})


def rejected(modality: Any = "depth", **options: Any) -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        opened(modality, **options).prepare()
    return str(caught.value)


def test_labelled_frames_are_transposed(root: Path) -> None:
    color = opened("color")
    assert (len(color), color.shape) == (16, (3, *SIZE))
    drawn, metres = scene(np.random.default_rng(0), *SIZE)  # the first that was written
    expected = torch.from_numpy(drawn.astype(np.float64) / 127.5 - 1).permute(2, 0, 1).float()
    torch.testing.assert_close(color[0], expected, atol=1e-6, rtol=0)
    measured = opened(depths="measured", fill="zero", near=0.5, far=2.5)
    expected = torch.from_numpy(np.where(metres > 0, (metres - 0.5) / 2, 0))[None]
    torch.testing.assert_close(measured[0], expected, atol=1e-4, rtol=0)
    filled = opened(fill="zero", near=0.5, far=2.5)
    assert (filled[0] > 0).all()
    seen = measured[0] > 0
    torch.testing.assert_close(filled[0][seen], measured[0][seen], atol=1e-4, rtol=0)


def test_the_paper_s_size_and_windows(root: Path) -> None:
    depth = Nyu(modality="depth", verify=False)
    assert depth.shape == (1, 128, 128)
    assert depth.augmented([0, 0], [1, 2**40]).shape == (2, 1, 128, 128)
    assert not torch.equal(*depth.augmented([0, 0], [1, 2**40]))


def test_raw_frames_without_the_registered(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = opened("color", frames="raw")
    assert len(raw) == 24
    assert "16 color frames are registered with labelled ones and left out" in capfd.readouterr().err
    labelled = opened("color")
    both = torch.cat([raw.batch(range(24)), labelled.batch(range(16))])
    assert len(both.flatten(1).unique(dim=0)) == 40
    kept = opened("color", frames="raw", registered="keep")
    assert len(kept) == 40
    assert kept.source != raw.source
    assert "registered: leave-out" in (kept.overlap(labelled) or "")
    assert raw.overlap(labelled) is None
    assert len(opened("depth", frames="raw")) == 24
    assert "8 scenes are in both" in (raw.overlap(opened("depth", frames="raw")) or "")


def test_raw_depth_is_swapped_and_in_metres(root: Path) -> None:
    path = sorted((root / "raw").rglob("d-*.pgm"))[0]
    metres = RawFrames(path.parent, (path.name,)).metres(0)
    words = np.frombuffer(path.read_bytes()[-2 * SIZE[0] * SIZE[1] :], "<u2").reshape(SIZE)
    for row in range(0, SIZE[0], 5):
        for column in range(SIZE[1]):
            number = int(words[row, column])
            expected = 0 if number == 2047 else 351.3 / (1092.5 - number)
            assert metres[row, column] == pytest.approx(expected, rel=1e-5)
    swapped = path.with_name("d-swapped.pgm")
    swapped.write_bytes(b"P5 %d %d 65535\n" % SIZE[::-1] + words.astype(">u2").tobytes())
    np.testing.assert_array_equal(RawFrames(path.parent, (swapped.name,)).metres(0), metres)


def test_raw_frames_without_a_reading_are_rejected(root: Path) -> None:
    for path in (root / "raw").rglob("d-*.pgm"):
        size = 2 * SIZE[0] * SIZE[1]
        path.write_bytes(path.read_bytes()[:-size] + np.full(SIZE, 2047, "<u2").tobytes())
    assert "of 16 examined frames has a depth reading" in rejected(frames="raw")


def test_the_sensors_numbers_become_metres() -> None:
    assert raw_metres(np.array([2047, 1092, 1093, 1000, 0], np.uint16)).tolist() == pytest.approx(
        [0, 0, 0, 351.3 / 92.5, 351.3 / 1092.5]
    )


def test_the_paper_s_domains(root: Path) -> None:
    values = {
        "name": "nyu",
        "domains": {
            "color": {"dataset": {"name": "nyu", "modality": "color", "frames": "raw", "verify": False}},
            "depth": {"dataset": {"name": "nyu", "modality": "depth", "verify": False}},
        },
        "generator": {"architecture": "rgbd"},
        "discriminator": {"architecture": "rgbd"},
    }
    made = open_domains(values)
    assert [len(made[name]) for name in ("color", "depth")] == [24, 16]


def test_scenes_are_not_cut(root: Path) -> None:
    frames = opened()
    scenes = sorted({*(f"kitchen_{k:04d}" for k in range(0, 8, 2)), *(f"home_office_{k:04d}" for k in range(1, 8, 2))})
    written = [f"{('kitchen', 'home_office')[k % 2]}_{k % 8:04d}" for k in range(16)]
    assert frames.groups().tolist() == [scenes.index(scene) for scene in written]
    assert frames.labels is not None
    assert frames.labels.tolist() == [(k + 1) % 2 for k in range(16)]  # home_office, kitchen
    assert set(frames.attributes()) == {"scene", "kind"}
    raw = opened("color", frames="raw")
    assert raw.labels is None
    assert raw.groups().bincount().tolist() == [3] * 8


@pytest.fixture
def official(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The made-up labelled file, taken for the official one."""
    content = (root / MAT).read_bytes()
    monkeypatch.setattr(nyu_labeled, "SIZE", len(content))
    monkeypatch.setattr(nyu_labeled, "MD5", hashlib.md5(content).hexdigest())
    return root / MAT


READS_IT: list[dict[str, Any]] = [{"modality": "color"}, {"modality": "color", "frames": "raw"}, {"fill": "far"}]


def test_the_official_file_is_checked_once(official: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        for options in READS_IT:
            opened(**options, verify=True).prepare()
    assert capfd.readouterr().err.count(f"Checking {official}: done") == 1


@pytest.mark.parametrize("options", READS_IT, ids=str)
def test_a_file_of_another_size_is_an_error(official: Path, options: dict[str, Any]) -> None:
    size = official.stat().st_size
    with open(official, "ab") as file:
        file.write(b"more")
    text = rejected(**options, verify=True)
    assert f"{MAT}: is not the official file: it has {size + 4:,} bytes, expected {size:,}; get {MAT} (2,972," in text
    assert text.endswith(" again, or set `verify: false` to read another file of that layout")
    opened(**options).prepare()


@pytest.mark.parametrize("options", READS_IT, ids=str)
def test_a_file_with_another_checksum_is_an_error(official: Path, options: dict[str, Any]) -> None:
    opened(**options, verify=True).prepare()
    right = hashlib.md5(official.read_bytes()).hexdigest()
    with open(official, "r+b") as file:
        file.seek(200)  # in MATLAB's header, which nobody reads
        file.write(b"!")
    wrong = hashlib.md5(official.read_bytes()).hexdigest()
    text = rejected(**options, verify=True)
    assert f"{MAT}: is not the official file: its MD5 is {wrong}, expected {right}; get {MAT} (2,972,037,809 b" in text
    assert text.endswith(" again, or set `verify: false` to read another file of that layout")
    with pytest.raises(DataError, match="is not the official file"):
        opened(**options, verify=True)[0]  # decoded, but not of this file
    opened(**options).prepare()


def test_a_file_that_is_not_read_is_not_checked(root: Path) -> None:
    opened("color", frames="raw", registered="keep", verify=True).prepare()


@pytest.mark.parametrize("version", ["4", "5"])
def test_an_old_matlab_file_is_an_error(root: Path, version: Any) -> None:
    scipy.io.savemat(root / MAT, {"depths": np.ones((8, 6))}, format=version)
    text = rejected()
    assert f"a MATLAB {version} file, an old format: the labelled file is HDF5 (MATLAB 7.3)" in text
    assert "2,972,037,809 bytes" in text
    assert "'-v7.3'" in text


@pytest.mark.parametrize(
    ("content", "fragment"), [(b"", "is empty; "), (bytes(2000), "is empty, nothing but zero bytes; ")]
)
def test_an_empty_file_is_an_error(root: Path, content: bytes, fragment: str) -> None:
    (root / MAT).write_bytes(content)
    assert f"{MAT}: {fragment}get {MAT} (2,972,037,809 bytes" in rejected()


def test_other_kinds_of_files_are_named(root: Path) -> None:
    (root / MAT).write_bytes(b"\n<!DOCTYPE html>")
    assert "an HTML page, saved in place of the data; get nyu_depth_v2_labeled.mat" in rejected()
    (root / MAT).write_bytes(b"PK\x03\x04")
    assert "not an HDF5 file: it begins with '50 4b 03 04'" in rejected()


@pytest.mark.parametrize("share", [0.99, 0.5, 0.02])
def test_a_truncated_file_is_an_error(root: Path, share: float) -> None:
    content = (root / MAT).read_bytes()
    (root / MAT).write_bytes(content[: int(len(content) * share)])
    text = rejected()
    assert "truncated or damaged, " in text or "not an HDF5 file" in text
    assert "again" in text


def test_a_missing_file_is_an_error(root: Path) -> None:
    (root / MAT).unlink()
    text = rejected()
    assert f"{MAT} is not there; get {MAT}" in text
    assert "and put it there" in text
    assert f"{MAT} is not there" in rejected("color", frames="raw")
    assert len(opened("color", frames="raw", registered="keep")) == 40
    with pytest.raises(ConfigError, match="path 'x': there is no such folder"):
        opened(path="x")


@pytest.mark.parametrize("name", ["nyu_depth_v2_labeled (1).mat", "nyu_depth_v2_labelled.mat"])
def test_a_file_of_a_similar_name_is_proposed(root: Path, name: str) -> None:
    (root / MAT).rename(root / name)
    hint = f"did you mean '{name}'? Rename it if it is the official file; else get {MAT}"
    assert f"{MAT} is not there; {hint}" in rejected()
    assert hint in rejected("color", frames="raw")


def test_a_file_of_another_name_and_the_right_size_is_proposed(official: Path) -> None:
    official.rename(official.with_name("download"))
    assert f"{MAT} is not there, but 'download' has its size: rename it; else get {MAT}" in rejected()


def test_missing_raw_frames_are_an_error(root: Path) -> None:
    for path in (root / "raw").rglob("r-*"):
        path.unlink()
    assert "there are no r-*.ppm in its folders; put the scenes of the raw data" in rejected("color", frames="raw")


def test_another_hdf5_file_is_an_error(root: Path) -> None:
    (root / MAT).unlink()
    with matlab_file(root / MAT) as file:
        file["images"] = np.zeros((2, 3, 8, 6), np.uint8)
        file["depth"] = np.zeros((2, 8, 6), np.float32)
    assert "holds no depths, rawDepths, scenes, rawRgbFilenames, rawDepthFilenames, but depth, images" in rejected()


def test_damaged_raw_frames_are_listed(root: Path) -> None:
    path = next((root / "raw").rglob("r-*30.ppm"))
    path.write_bytes(path.read_bytes()[:-500])
    next((root / "raw").rglob("r-*31.ppm")).write_bytes(b"")
    text = rejected("color", frames="raw")
    assert "cannot read 2 of 24 samples" in text
    assert "an empty file" in text
    frames = opened("color", frames="raw", on_error="skip")
    frames.prepare()
    assert len(frames) == len(frames.groups()) == 22
    bad = next((root / "raw").rglob("d-*30.pgm"))
    height, width = SIZE
    bad.write_bytes(b"P5 %d %d 65535\n" % (width, height) + b"\xff" * (2 * height * width))
    assert "not raw depth of a Kinect: numbers up to 65535, expected 11 bits" in rejected(frames="raw")
    Image.new("L", (width, height), 9).save(bad)
    assert "8-bit pixels" in rejected(frames="raw")
    write_raw_depth(bad, np.ones(SIZE, np.float32))
    opened(frames="raw").prepare()


def test_the_error_without_h5py_names_the_package(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'coupling-rgbd[nyu]'" in rejected(near=0.5)
