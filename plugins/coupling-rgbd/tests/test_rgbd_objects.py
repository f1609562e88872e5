"""The data set `rgbd-objects`, on made-up files of its format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coupling import ConfigError, DataError
from coupling.testing import open_domains
from coupling_rgbd.rgbd_objects import RgbdObjects, View
from coupling_rgbd.testing import write_rgbd_objects

OBJECTS = {"apple": 3, "food_bag": 2, "water_bottle": 1}


@pytest.fixture
def root(data: Path) -> Path:
    write_rgbd_objects(data / "rgbd-dataset", OBJECTS, 6)
    return data / "rgbd-dataset"


def opened(modality: Any = "color", **options: Any) -> RgbdObjects:
    return RgbdObjects(modality=modality, **options)


def test_samples_are_the_files(root: Path) -> None:
    color, depth = opened("color", resize="none", size=(5, 7)), opened("depth", fill="zero", near=0.4, far=2.0)
    assert (len(color), color.shape) == (36, (3, 5, 7))
    assert (len(depth), depth.shape, depth.range) == (36, (1, 64, 64), (0.0, 1.0))
    view = depth.views[0]
    assert view.name == "apple/apple_1/apple_1_1_1"
    there = np.asarray(Image.open(root / f"{view.name}_depthcrop.png")).astype(np.float64) / 1000
    rows, columns = ((np.arange(64) + 0.5) * side / 64 for side in there.shape)
    metres = there[rows.astype(int)][:, columns.astype(int)]
    expected = torch.from_numpy(np.where(metres > 0, (metres - 0.4) / 1.6, 0)).float()
    torch.testing.assert_close(depth[0][0], expected, atol=1e-4, rtol=0)


@given(
    st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True),
    *(st.integers(0, 10**6) for _ in range(3)),
)
def test_names_are_parsed_from_the_right(category: str, instance: int, video: int, frame: int) -> None:
    stem, folder = f"{category}_{instance}_{video}_{frame}", f"{category}/{category}_{instance}"
    view = View.parse(stem, folder)
    assert view == View(category, instance, video, frame, folder)
    assert view is not None
    assert view.name == f"{folder}/{stem}"
    assert View.parse(stem, f"{category}x/{category}x_{instance}") is None
    assert View.parse(f"{stem}_crop", folder) is None


def test_labels_and_attributes_come_from_the_file_names(root: Path) -> None:
    objects = opened()
    assert objects.categories == ("apple", "food_bag", "water_bottle")
    assert objects.labels.tolist() == [0] * 18 + [1] * 12 + [2] * 6
    assert objects.groups().tolist() == [k // 6 for k in range(36)]
    known = objects.attributes()
    assert known["video"].tolist() == [0, 0, 1, 1, 2, 2] * 6
    assert torch.equal(known["object"], objects.groups())
    assert torch.equal(known["category"], objects.labels)
    assert all(x.dtype == torch.int64 for x in known.values())


def test_halves_are_of_objects(root: Path) -> None:
    values = {
        "name": "objects",
        "domains": {
            "color": {"dataset": {"name": "rgbd-objects", "modality": "color", "half": 1}},
            "depth": {"dataset": {"name": "rgbd-objects", "modality": "depth", "half": 2}},
        },
        "generator": {"architecture": "rgbd"},
        "discriminator": {"architecture": "rgbd"},
    }
    found = set()
    for seed in range(6):
        made = open_domains({**values, "seed": seed})
        halves = [{i // 6 for i in made[name].indices.tolist()} for name in ("color", "depth")]
        assert halves[0].isdisjoint(halves[1])
        assert [len(half) for half in halves] == [3, 3]
        assert [len(made[name]) for name in ("color", "depth")] == [18, 18]
        found.add(frozenset(halves[0]))
    assert len(found) > 1  # seeded


def test_every_other_frame_of_each_video(root: Path) -> None:
    objects = opened(every=2)
    assert len(objects) == 18
    assert {view.frame for view in objects.views} == {1}
    assert objects.groups().bincount().tolist() == [3] * 6


def test_skipped_frames_are_skipped_in_both_modalities(root: Path) -> None:
    (root / "apple/apple_1/apple_1_1_2_crop.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"apple/apple_1/apple_1_1_2: apple/.*_crop\.png: not an image, damaged"):
        opened().prepare()
    for modality in ("color", "depth"):
        objects = opened(modality, on_error="skip")
        objects.prepare()
        assert len(objects) == len(objects.labels) == len(objects.groups()) == 35
        assert objects.groups().bincount().tolist() == [5, 6, 6, 6, 6, 6]


@pytest.mark.parametrize("path", [None, "mine"])
def test_a_data_set_one_folder_deeper_is_found(data: Path, path: str | None, tmp_path: Path) -> None:
    place = data / "rgbd-dataset" if path is None else tmp_path / path
    write_rgbd_objects(place / "rgbd-dataset", OBJECTS, 6)
    objects = opened(path=path and str(place))
    assert len(objects) == 36
    assert objects.title == str(place / "rgbd-dataset")
    assert objects[35].shape == (3, 64, 64)
    write_rgbd_objects(place, {"pear": 1}, 1)  # neither the one nor the other may be left out unsaid
    with pytest.raises(DataError, match="rgbd-dataset/apple: is not the folder of an object"):
        opened(path=path and str(place))


@pytest.mark.parametrize("place", [".", "apple", "rgbd-dataset"])
def test_archives_that_are_not_unpacked_are_an_error(data: Path, place: str) -> None:
    folder = data / "rgbd-dataset" / place
    folder.mkdir(parents=True)
    for name in ("apple_1.tar", "apple_2.tar"):
        (folder / name).write_bytes(b"")
    text = r"holds 2 archives that are not unpacked, such as apple_1\.tar: unpack them there \(tar -xf apple_1\.tar\)"
    with pytest.raises(DataError, match=text):
        opened()


def test_a_folder_without_frames_is_an_error(data: Path) -> None:
    with pytest.raises(DataError, match=r"rgbd-dataset is not there\. Put the cropped images.*apple_1_1_1_crop\.png"):
        opened()
    with pytest.raises(ConfigError, match=r"path 'elsewhere': there is no such folder; put the cropped images"):
        opened(path="elsewhere")


def test_full_frames_in_place_of_the_cropped_are_an_error(root: Path) -> None:
    for path in sorted(root.rglob("*.png")):
        path.rename(path.with_name(re.sub("_?(depth|mask)?crop", lambda m: f"_{m[1]}" if m[1] else "", path.name)))
    assert (root / "apple/apple_1/apple_1_1_1_depth.png").exists()
    with pytest.raises(DataError, match="holds 144 other files; these are the full frames"):
        opened()


def test_a_folder_with_another_name_is_an_error(root: Path) -> None:
    (root / "apple/apple_1").rename(root / "apple/first")
    with pytest.raises(DataError, match=r"apple/first: is not the folder of an object: that is called category_inst"):
        opened()


@pytest.mark.parametrize("name", ["apple_2_1_1_crop.png", "apple_crop.png", "pear_1_1_1_depthcrop.png"])
def test_a_file_in_the_wrong_folder_is_an_error(root: Path, name: str) -> None:
    (root / "apple/apple_1" / name).write_bytes(b"")
    with pytest.raises(DataError, match=f"apple/apple_1/{name}: does not lie where its name belongs"):
        opened()


@pytest.mark.parametrize(("kind", "other"), [("crop", "depthcrop"), ("depthcrop", "crop")])
def test_a_frame_that_lacks_a_file_is_an_error(root: Path, kind: str, other: str) -> None:
    for number in (1, 2):
        (root / f"apple/apple_1/apple_1_1_{number}_{kind}.png").unlink()
    text = rf"apple_1_1_1_{other}\.png and 1 more of 36 without apple_1_1_1_{kind}\.png beside it"
    with pytest.raises(DataError, match=text):
        opened()


def test_depth_that_is_not_in_millimetres_is_an_error(root: Path) -> None:
    for path in root.rglob("*_depthcrop.png"):
        Image.fromarray(np.asarray(Image.open(path)) // np.uint16(100)).save(path)
    with pytest.raises(DataError, match=r"only 0% lie between near: 0\.5 and far: 1\.5"):
        opened("depth").prepare()
    opened("color").prepare()
