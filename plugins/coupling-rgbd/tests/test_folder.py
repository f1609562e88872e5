"""The data set `color-depth-folder`, on real files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from coupling import ConfigError, DataError, PartialOverlap, ProgramError
from coupling.testing import open_domains
from coupling_rgbd.folder import ColorDepthFolder, _blocks, _natural
from coupling_rgbd.testing import millimetres, scene, write_frames

SIZE = (12, 16)


@pytest.fixture
def folder(data: Path, tmp_path: Path) -> Path:
    write_frames(tmp_path / "frames", 10, size=SIZE)
    return tmp_path / "frames"


def opened(path: Path, modality: Any, **options: Any) -> ColorDepthFolder:
    return ColorDepthFolder(path=str(path), modality=modality, **options)


def message(path: Path, modality: Any = "depth", **options: Any) -> str:
    """What preparing the data set is rejected with."""
    with pytest.raises((ConfigError, DataError)) as caught:
        opened(path, modality, **options).prepare()
    return str(caught.value)


def save_depth(path: Path, values: Any) -> None:
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)


def test_samples_are_the_files(folder: Path) -> None:
    color, depth = opened(folder, "color"), opened(folder, "depth", near=0.7, far=2.0, fill="zero")
    assert (len(color), color.shape, color.range) == (10, (3, *SIZE), (-1.0, 1.0))
    assert (len(depth), depth.shape, depth.range) == (10, (1, *SIZE), (0.0, 1.0))
    pixels = np.asarray(Image.open(folder / "color/frame-000003.png")).astype(np.float64)
    expected = torch.from_numpy(pixels / 255 * 2 - 1).permute(2, 0, 1).float()
    torch.testing.assert_close(color[3], expected, atol=1e-6, rtol=0)
    metres = np.asarray(Image.open(folder / "depth/frame-000003.png")) / 1000
    expected = torch.from_numpy(np.where(metres > 0, (metres - 0.7) / 1.3, 0)).float()[None]
    torch.testing.assert_close(depth[3], expected, atol=1e-4, rtol=0)
    assert torch.equal(depth.batch([4, 3])[1], depth[3])
    with pytest.raises(IndexError):
        color[10]


def test_missing_readings_are_filled_unless_zero_is_asked_for(folder: Path) -> None:
    holes = (opened(folder, "depth", fill="zero").batch(range(10)) == 0).numpy()
    assert 0.05 < holes.mean() < 0.15
    for fill in ("nearest", "far"):
        filled = opened(folder, "depth", fill=fill).batch(range(10)).numpy()
        assert filled.min() > 0
        assert (filled[holes] == 1).all() == (fill == "far")


@pytest.mark.parametrize(("resize", "size"), [("stretch", 8), ("crop", (8, 8)), ("crop", (6, 16))])
def test_depth_is_sampled_and_never_mixed(folder: Path, resize: Any, size: Any) -> None:
    depth = opened(folder, "depth", size=size, resize=resize, fill="zero", near=0.7, far=2.0)
    height, width = (size, size) if isinstance(size, int) else size
    assert depth.shape == (1, height, width)
    for index in range(3):
        there = opened(folder, "depth", fill="zero", near=0.7, far=2.0)[index].unique().tolist()
        assert set(depth[index].unique().tolist()) <= set(there)


def test_windows_are_cut_alike_in_both_modalities_by_key(folder: Path) -> None:
    options = {"window": 8, "flip": True}
    color, depth = opened(folder, "color", **options), opened(folder, "depth", **options)
    whole = opened(folder, "color").batch(range(10)), opened(folder, "depth").batch(range(10))
    assert color.shape == (3, 8, 8)
    assert torch.equal(color.batch([2])[0], whole[0][2, :, 2:10, 4:12])
    keys = [7, 123456789, 2**62 + 12345, 8]
    found = set()
    for key in keys:
        cut = color.augmented([5], [key])[0], depth.augmented([5], [key])[0]
        places = [
            (top, left, flipped)
            for top in range(5)
            for left in range(9)
            for flipped in (False, True)
            if all(
                torch.equal(c, (w.flip(-1) if flipped else w))
                for c, w in zip(cut, (x[5, :, top : top + 8, left : left + 8] for x in whole), strict=True)
            )
        ]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) == len(keys)
    assert color.fingerprint() != opened(folder, "color").fingerprint()


def test_source_is_the_folder_and_domains_share_no_block(folder: Path) -> None:
    common = {"name": "color-depth-folder", "path": str(folder), "blocks": 5}
    values = {
        "name": "room",
        "domains": {m: {"dataset": {**common, "modality": m}} for m in ("color", "depth")},
        "generator": {"architecture": "mlp"},
        "discriminator": {"architecture": "mlp"},
    }
    made = open_domains(values)
    blocks = [{i // 2 for i in made[m].indices.tolist()} for m in ("color", "depth")]
    assert blocks[0].isdisjoint(blocks[1])
    assert sorted(len(b) for b in blocks) == [2, 3]
    assert sorted([*made["color"].indices, *made["depth"].indices]) == list(range(10))


@given(st.integers(1, 300), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_blocks_are_runs_of_nearly_one_length(count: int, blocks: int) -> None:
    numbers = _blocks(count, blocks, 0)
    lengths = np.bincount(numbers)
    assert (np.diff(numbers) >= 0).all()
    assert len(lengths[lengths > 0]) == min(count, blocks)
    assert lengths.max() - lengths[lengths > 0].min() <= 1


@given(st.integers(20, 300), st.integers(2, 10), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_a_gap_keeps_the_blocks_ends_apart(count: int, blocks: int, gap: int) -> None:
    if np.bincount(_blocks(count, blocks, 0))[:-1].min() <= gap:  # the last block has no gap behind it
        with pytest.raises(ConfigError, match="smaller gap, or fewer blocks"):
            _blocks(count, blocks, gap)
        return
    numbers = _blocks(count, blocks, gap)
    kept = np.flatnonzero(numbers >= 0)
    steps = np.diff(kept)
    apart = np.diff(numbers[kept]) > 0
    assert apart.sum() == blocks - 1
    assert (steps[apart] == gap + 1).all()
    assert (steps[~apart] == 1).all()


def test_frames_are_in_the_order_of_their_numbers(data: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "f", 3, size=SIZE)
    for kind in ("color", "depth"):
        for old, new in zip(range(3), (10, 9, 2), strict=True):
            (tmp_path / "f" / kind / f"frame-{old:06d}.png").rename(tmp_path / "f" / kind / f"{new}.png")
    assert opened(tmp_path / "f", "color")._reader.frames == ("2", "9", "10")
    assert sorted(["a10", "a9", "b", "2", "10a"], key=_natural) == ["2", "10a", "a9", "a10", "b"]


def test_patterns_describe_other_layouts(folder: Path) -> None:
    for path in list(folder.rglob("*.png")):
        place = folder / "seq-01"
        place.mkdir(exist_ok=True)
        path.rename(place / f"{path.stem}.{path.parent.name}.png")
    frames = opened(folder, "depth", color="*/*.color.png", depth="*/*.depth.png")
    assert len(frames) == 10
    assert frames._reader.frames[0] == "seq-01/frame-000000"
    frames.prepare()
    assert "there are no files color/*" in message(folder)


def test_a_name_means_a_folder_in_the_data_directory(data: Path) -> None:
    write_frames(data / "room", 2, size=SIZE)
    assert len(ColorDepthFolder(path="room", modality="color")) == 2
    with pytest.raises(ConfigError, match=r"path 'rom': there is no such folder.*holds color/ and depth/.*mean 'room'"):
        ColorDepthFolder(path="rom", modality="color")
    (data / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        ColorDepthFolder(path="file", modality="color")


@pytest.mark.parametrize(
    ("removed", "fragment"),
    [
        ("depth/frame-000004.png", r"color/frame-000004\.png of 10 have no depth file \(depth/\*\)"),
        ("color/frame-000004.png", r"depth/frame-000004\.png of 10 have no colour file \(color/\*\)"),
    ],
)
def test_a_frame_that_lacks_a_file_is_an_error(folder: Path, removed: str, fragment: str) -> None:
    (folder / removed).unlink()
    with pytest.raises(DataError, match=fragment):
        opened(folder, "color")


def test_a_folder_without_frames_is_an_error(folder: Path) -> None:
    shutil.rmtree(folder / "depth")
    assert "there are no files depth/* (option `depth`); it holds color/" in message(folder)


def test_two_files_of_one_frame_are_an_error(folder: Path) -> None:
    Image.new("RGB", (16, 12)).save(folder / "color/frame-000000.jpg")
    assert "are both of frame 'frame-000000'" in message(folder)


def test_depth_of_8_bits_is_an_error(folder: Path) -> None:
    Image.new("L", (16, 12), 3).save(folder / "depth/frame-000001.png")
    text = message(folder)
    assert "frame-000001: depth/frame-000001.png: 8-bit pixels (kind 'L'); depth files hold 16-bit" in text
    assert "a picture of the depth" in text


@pytest.mark.parametrize("kind", ["color", "depth"])
def test_damaged_files_are_listed_with_the_reasons(folder: Path, kind: Any) -> None:
    path = folder / kind / "frame-000001.png"
    path.write_bytes(path.read_bytes()[:-80])
    (folder / kind / "frame-000002.png").write_bytes(b"<html>Not found</html>")
    (folder / kind / "frame-000003.png").write_bytes(b"")
    text = message(folder, kind)
    assert "cannot read 3 of 10 samples" in text
    assert f"{kind}/frame-000001.png: " in text
    assert "frame-000002.png: an HTML page, saved in place of the image" in text
    assert "frame-000003.png: an empty file" in text
    assert "on_error: skip" in text


def test_skipped_frames_are_skipped_in_both_modalities(folder: Path) -> None:
    (folder / "depth/frame-000001.png").write_bytes(b"damaged")
    (folder / "color/frame-000008.png").write_bytes(b"damaged")
    sets = [opened(folder, m, on_error="skip", blocks=5) for m in ("color", "depth")]
    for one in sets:
        one.prepare()
        assert len(one) == 8
        assert one.groups().tolist() == [0, 1, 1, 2, 2, 3, 3, 4]
        again = opened(folder, one.modality, on_error="skip")
        with pytest.raises(ProgramError, match=r"only after prepare\(\)"):
            len(again)
        again.prepare()
        assert len(again) == 8
    assert "cannot read 1 of 10" in message(folder, "color")


def test_a_depth_file_without_a_reading_is_an_error(folder: Path) -> None:
    save_depth(folder / "depth/frame-000001.png", np.zeros(SIZE, np.uint16))
    assert "frame-000001.png: holds no reading: every pixel is missing (0)" in message(folder)


def _floats(folder: Path, suffix: str, factor: float = 1.0) -> None:
    for path in sorted((folder / "depth").iterdir()):
        metres = np.asarray(Image.open(path)).astype(np.float32) / 1000 * np.float32(factor)
        path.unlink()
        save_depth(path.with_suffix(suffix), metres)


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_metres_read_as_millimetres_are_recognised(folder: Path, suffix: str) -> None:
    before = opened(folder, "depth").batch(range(10))
    _floats(folder, suffix)
    text = message(folder)
    assert "of the depth readings only 0% lie between near: 0.5 and far: 5 metres" in text
    assert "looks like metres read as millimetres; set `unit: 1`" in text
    torch.testing.assert_close(opened(folder, "depth", unit=1.0).batch(range(10)), before, atol=1e-4, rtol=0)


def test_millimetres_read_as_metres_are_recognised(folder: Path) -> None:
    assert "looks like millimetres read as metres; set `unit: 0.001`" in message(folder, unit=1.0)


def test_steps_of_a_fifth_of_a_millimetre_are_recognised(folder: Path) -> None:
    for path in (folder / "depth").iterdir():
        save_depth(path, np.asarray(Image.open(path)) * np.uint16(5))
    text = message(folder, near=0.5, far=2.0)
    assert "steps of 0.2 mm (5000 a metre) read as millimetres; set `unit: 0.0002`" in text


def test_planes_without_a_reading_between_them_are_an_error(folder: Path) -> None:
    assert "; set near and far to what the camera saw" in message(folder, near=2.5, far=3.0)
    with pytest.raises(ConfigError, match="near: 2 is not before far: 1"):
        opened(folder, "depth", near=2, far=1)


def test_a_message_says_how_readings_are_treated(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    opened(folder, "depth", near=1.1, far=2.0, outliers="drop").prepare()
    text = capfd.readouterr().err
    assert "% missing, which become the nearest reading" in text
    assert "beyond 1.1 to 2 m, which count as missing" in text


def test_frames_of_another_size_are_an_error(folder: Path) -> None:
    color, metres = scene(np.random.default_rng(0), 24, 32)
    Image.fromarray(color).save(folder / "color/frame-000001.png")
    save_depth(folder / "depth/frame-000001.png", millimetres(metres))
    text = message(folder, "color")
    assert "frame-000001 is [24, 32], expected [12, 16]" in text
    assert "`resize: crop` or `resize: stretch`" in text
    assert opened(folder, "color", resize="stretch").batch(range(10)).shape == (10, 3, *SIZE)


def test_a_window_larger_than_the_frames_is_an_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"window: \[14, 8\] is larger than the frames, \[12, 16\]"):
        opened(folder, "color", window=(14, 8))


def test_decoded_once_and_again_when_files_or_options_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(folder, "depth")
    first.prepare()
    assert opened(folder, "depth").fingerprint() == first.fingerprint()
    assert opened(folder, "depth", far=6.0).fingerprint() != first.fingerprint()
    assert opened(folder, "depth", blocks=4).fingerprint() != first.fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr("coupling_rgbd.frames._Maker.__call__", lambda *_: 1 / 0)
        opened(folder, "depth").prepare()
    os.utime(folder / "depth/frame-000001.png", (1, 1))
    again = []
    original = opened(folder, "depth")._maker.__class__.__call__
    monkeypatch.setattr("coupling_rgbd.frames._Maker.__call__", lambda s, i: again.append(i) or original(s, i))
    opened(folder, "depth").prepare()
    assert again == list(range(10))


def test_one_folder_by_two_patterns_is_noticed(folder: Path) -> None:
    one, other = opened(folder, "color"), opened(folder, "depth", depth="depth/*.png", color="color/*.png")
    assert "20 files" in (one.overlap(other) or "")
    assert one.overlap(opened(folder, "depth")) is not None  # asked only of other sources


def test_a_partial_overlap_differs_from_one_within_the_other(folder: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    for modality in ("color", "depth"):
        (second / modality).mkdir(parents=True)
        for file in sorted((folder / modality).iterdir())[:4]:
            (second / modality / file.name).symlink_to(file)
    one, other = opened(folder, "color"), opened(second, "depth")
    assert type(one.overlap(other)) is str
    for modality in ("color", "depth"):
        file = second / modality / sorted(path.name for path in (second / modality).iterdir())[0]
        own = file.read_bytes()
        file.unlink()
        file.write_bytes(own)
    assert "6 files" in (one.overlap(opened(second, "depth")) or "")
    assert isinstance(one.overlap(opened(second, "depth")), PartialOverlap)


def test_frames_of_an_earlier_state_are_removed(folder: Path, data: Path) -> None:
    for modality in ("color", "depth"):
        opened(folder, modality).prepare()
    os.utime(folder / "depth/frame-000001.png", (1, 1))
    opened(folder, "depth").prepare()
    assert len(list((data / "color-depth-folder").glob("*.npy"))) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no time of the entry")
def test_another_content_of_equal_size_and_time_is_noticed(folder: Path) -> None:
    file = folder / "color/frame-000001.png"
    content, times = file.read_bytes(), file.stat()
    before = opened(folder, "color").cache.key
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert opened(folder, "color").cache.key != before


def test_frames_of_a_real_kitchen_can_be_read() -> None:
    """Where the data directory has them: 1,000 frames of a kitchen."""
    root = Path(os.environ.get("COUPLING_DATA", "")) / "kinect-indoor"
    if not root.is_dir():
        pytest.skip("no kinect-indoor in the data directory")
    depth = opened(root, "depth", near=0.8, far=4.0)
    assert (len(depth), depth.shape) == (1000, (1, 132, 176))
    made = depth._maker(0)
    assert made.shape == (132, 176, 2)
    assert made.max() > 0
