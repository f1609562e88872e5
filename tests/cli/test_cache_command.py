"""``coupling cache``: it lists what this package keeps, and removes that alone."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coupling.data.images.folder import ImageFolder
from coupling.data.images.image_cache import ImageCache
from coupling.system.data_directory import data_directory
from coupling.system.file_lock import FileLock
from tests.conftest import rejected


def zeros(index):
    return np.zeros((4, 4, 3), np.uint8)


@pytest.fixture
def folder(command, tmp_path):
    """Five images that are in the cache."""
    for number in range(5):
        path = tmp_path / "pictures" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((6, 8, 3), number, np.uint8)).save(path)
    ImageFolder(path=str(tmp_path / "pictures")).prepare()
    return tmp_path / "pictures"


@pytest.fixture
def listed(command):
    """``listed()``: the entries that the command lists."""

    def listed():
        result = command("cache", "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["entries"]

    return listed


def test_an_empty_cache(command, listed):
    assert listed() == []
    assert "0 entries, 0 bytes" in command("cache").stdout
    assert "removed 0 entries" in command("cache", "clear").stdout


def test_it_shows_what_each_entry_holds_and_was_made_of(command, listed, folder):
    [entry] = listed()
    assert entry["folder"] == "image-folder"
    assert entry["content"] == "5 images of 6x8"
    assert entry["source"] == str(folder)
    assert not entry["gone"]
    assert entry["bytes"] == sum(Path(file).stat().st_size for file in entry["files"]) > 5 * 6 * 8 * 3
    text = command("cache").stdout
    assert entry["name"][:8] in text
    assert "5 images of 6x8" in text
    shutil.rmtree(folder)
    assert listed()[0]["gone"]
    assert "(no longer there)" in command("cache").stdout


@pytest.mark.parametrize("names", [(), ("image-folder",), ("NAME",)], ids=["all", "folder", "name"])
def test_removed_entries_are_made_again(command, listed, folder, names):
    fingerprint = ImageFolder(path=str(folder)).fingerprint()
    names = [listed()[0]["name"][:8] if name == "NAME" else name for name in names]
    assert "removed 1 entries" in command("cache", "clear", *names).stdout
    assert listed() == []
    assert list(data_directory("image-folder").iterdir()) == []
    assert ImageFolder(path=str(folder)).fingerprint() == fingerprint


def test_others_stay(command, listed, folder):
    assert len(ImageCache(data_directory("other"), {"x": 1}, 2, (4, 4, 3), zeros, title="x").images) == 2
    assert len(listed()) == 2
    command("cache", "clear", "other")
    assert [entry["folder"] for entry in listed()] == ["image-folder"]
    command("cache", "clear", "--gone")
    assert [entry["folder"] for entry in listed()] == ["image-folder"]
    shutil.rmtree(folder)
    command("cache", "clear", "--gone")
    assert listed() == []


def test_files_of_users_are_never_listed_or_removed(command, listed, tmp_path):
    """Also where their names are made like ours: a data set of frames that are named by a digest."""
    name = "d41d8cd98f00b204e9800998ecf8427e"
    root = tmp_path / "data"
    for file in ("mnist/train.gz", f"kinect/depth/{name}.npy", f"kinect/depth/{name}.json", f"sets/{name}.safetensors"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text('{"key": {"images": "x"}, "shape": [1, 2, 3, 3]}')
    (root / f"{name}.part").touch()
    before = sorted(root.rglob("*"))
    assert listed() == []
    assert command("cache", "clear").exit_code == 0
    assert sorted(root.rglob("*")) == before


def test_an_unknown_name_is_an_error(command, folder):
    rejected(command("cache", "clear", "image-foldr"), "no entry or folder is called 'image-foldr'", "'image-folder'")


def test_what_killed_processes_left_is_removed_and_what_others_write_stays(command, listed, folder):
    place = data_directory("image-folder")
    old, new = (place / f".{digit * 32}.npy.{'0' * 12}.tmp" for digit in "ab")
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 10**6,) * 2)
    result = command("cache", "clear")
    assert result.exit_code == 1
    assert f"1 entries are in use or cannot be removed:\n  image-folder/{'b' * 32}" in result.stderr
    assert sorted(place.iterdir()) == [new]


def test_an_unfinished_stream_is_removed_unless_it_is_being_read(command, listed):
    place = data_directory("huggingface")
    place.mkdir(parents=True)
    name = "c" * 32
    (place / f"{name}.part").write_bytes(bytes(10))
    (place / f"{name}.journal.json").write_text('{"rows": 7, "stamp": "a/b"}')
    [entry] = listed()
    assert (entry["content"], entry["source"]) == ("7 images of an unfinished stream", "a/b")
    lock = FileLock(place / f"{name}.lock")
    lock.acquire()
    assert command("cache", "clear").exit_code == 1
    assert (place / f"{name}.part").is_file()
    lock.release()
    assert command("cache", "clear").exit_code == 0
    assert list(place.iterdir()) == []
