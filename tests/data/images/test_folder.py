"""The data set `image-folder`, on real files."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import torch
from PIL import Image

from coupling.builtin import register_datasets
from coupling.config.registry import options_model
from coupling.data.images import cache, image_cache
from coupling.data.images import folder as datasets
from coupling.data.images.folder import ImageFolder
from coupling.data.images.huggingface import HuggingFace
from coupling.data.images.image import ImageArray
from coupling.data.table import Table
from coupling.errors import ConfigError, DataError, ProgramError


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def noise(height: int = 6, width: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path: Path, image: Image.Image | np.ndarray[Any, Any] | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = noise() if image is None else image
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def as_sample(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    """uint8 (height, width, channels) by the definition of the range [-1, 1]."""
    return torch.tensor(pixels).permute(2, 0, 1).double().div(255).mul(2).sub(1).float()


def test_samples_are_the_pixels(folder: Path) -> None:
    pixels = [noise(seed=seed) for seed in range(3)]
    pixels[0][0, 0] = (0, 255, 128)
    for name, image in zip(("a.png", "b/a.BMP", "c.webp"), pixels, strict=True):
        save(folder / name, image, **({"lossless": True} if name.endswith("webp") else {}))
    images = ImageFolder(path=str(folder))
    assert len(images) == 3
    assert images.shape == (3, 6, 8)
    assert images.range == (-1.0, 1.0)
    assert images.source == str(folder.resolve())
    images.prepare()
    assert len(images) == 3
    for index, expected in enumerate(pixels):
        assert images[index].dtype == torch.float32
        torch.testing.assert_close(images[index], as_sample(expected), rtol=0, atol=1e-6)
    assert images[0][:2, 0, 0].tolist() == [-1.0, 1.0]
    batch = images.batch([2, 0, 2])
    assert batch.shape == (3, 3, 6, 8)
    assert batch.is_contiguous()
    assert torch.equal(batch, torch.stack([images[2], images[0], images[2]]))


def test_construction_decodes_and_writes_nothing(folder: Path, data: Path) -> None:
    save(folder / "a.png")
    (folder / "b.png").write_bytes(b"damaged")
    assert len(ImageFolder(path=str(folder))) == 2
    assert not data.exists()


def test_images_are_decoded_again_when_the_folder_or_the_options_change(
    folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(folder / "a.png")
    decoded: list[int] = []
    original = datasets._Decoder.__call__

    def counting(self: Any, index: int) -> Any:
        decoded.append(index)
        return original(self, index)

    monkeypatch.setattr(datasets._Decoder, "__call__", counting)
    first = ImageFolder(path=str(folder))
    for _ in range(2):
        ImageFolder(path=str(folder)).prepare()
    assert first[0].shape == (3, 6, 8)
    assert decoded == [0]

    gray = ImageFolder(path=str(folder), mode="gray")
    assert gray[0].shape == (1, 6, 8)
    assert len(decoded) == 2

    os.utime(path, (1, 1))
    ImageFolder(path=str(folder)).prepare()
    assert len(decoded) == 3

    save(folder / "b.png", noise(seed=1))
    both = ImageFolder(path=str(folder))
    both.prepare()
    assert len(decoded) == 5
    assert len(both) == 2


def test_folders_that_list_alike_are_not_confused(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two")):
        os.utime(save(tmp_path / name / "a.bmp", noise(seed=seed)), (1, 1))
    one, two = (ImageFolder(path=str(tmp_path / name)) for name in ("one", "two"))
    assert not torch.equal(one[0], two[0])
    assert one.fingerprint() != two.fingerprint()


def test_the_fingerprint_tells_the_images_not_the_place(tmp_path: Path) -> None:
    save(tmp_path / "one" / "a.png", noise())
    save(tmp_path / "two" / "b.bmp", noise())
    prints = {ImageFolder(path=str(tmp_path / name)).fingerprint() for name in ("one", "two")}
    assert len(prints) == 1


def test_the_decoder_can_be_sent_to_other_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(70):
        save(folder / f"{index:02}.png", noise(seed=index))
    (folder / "30.png").write_bytes(b"damaged")
    sent: list[Any] = []

    def make_images(
        directory: Path, key: Any, count: int, shape: Any, make: Any, *, processes: int | None, **named: Any
    ) -> ImageArray:
        sent.append(processes)
        make = pickle.loads(pickle.dumps(make))
        return cache.cached_images(directory, key, count, shape, make, processes=1, **named)

    monkeypatch.setattr(image_cache, "cached_images", make_images)
    monkeypatch.setattr(datasets, "_QUICK", 0)
    images = ImageFolder(path=str(folder), on_error="skip")
    images.prepare()
    assert sent == [None]
    assert len(images) == 69
    for index in (0, 29, 30, 68):
        expected = as_sample(noise(seed=index + (index >= 30)))
        torch.testing.assert_close(images[index], expected, rtol=0, atol=1e-6)


def test_home_and_the_current_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder / "a.png")
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    monkeypatch.chdir(folder.parent)
    assert ImageFolder(path="~/pictures").source == ImageFolder(path="pictures").source == str(folder.resolve())


def test_links_are_followed_but_not_round(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "a.png")
    save(folder / "b.png")
    try:
        (folder / "linked").symlink_to(tmp_path / "elsewhere")
        (folder / "linked" / "back").symlink_to(folder)
    except OSError:
        pytest.skip("no symbolic links here")
    assert len(ImageFolder(path=str(folder))) == 2


def test_other_files_are_ignored_and_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder / "a.png")
    save(folder / ".hidden.png")
    save(folder / ".thumbnails" / "a.png")
    (folder / "notes.txt").touch()
    images = ImageFolder(path=str(folder))
    assert len(images) == 1
    images.prepare()
    assert "2 hidden or other files (1 hidden, 1 .txt) are ignored" in capsys.readouterr().err


# ------------------------------------------------------------------ sizes


def test_size_defaults_to_the_first_image_upright(folder: Path) -> None:
    pixels = noise(8, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    save(folder / "a.png", np.rot90(pixels, 1), exif=exif)
    save(folder / "b.png", noise(8, 6, seed=1))
    images = ImageFolder(path=str(folder))
    assert images.shape == (3, 8, 6)
    torch.testing.assert_close(images[0], as_sample(pixels), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [None, 6, (6, 8)])
def test_another_size_is_an_error_that_names_the_fix(folder: Path, size: Any) -> None:
    save(folder / "a.png", noise(6, 8 if size != 6 else 6))
    save(folder / "b.png", noise(4, 5))
    expected = "[6, 6]" if size == 6 else "[6, 8]"
    with pytest.raises(DataError) as caught:
        ImageFolder(path=str(folder), size=size).prepare()
    assert f"b.png is [4, 5], expected {expected}" in str(caught.value)
    assert f"`size: {expected}`" in str(caught.value)
    assert "`resize: crop`" in str(caught.value)


def test_stretch_keeps_everything(folder: Path) -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 200
    save(folder / "a.png", pixels)
    sample = ImageFolder(path=str(folder), size=8, resize="stretch")[0]
    assert sample.shape == (3, 8, 8)
    assert sample[0, 4, 0] == -1
    torch.testing.assert_close(sample[0, 4, 7], torch.tensor(200 / 127.5 - 1))


def test_crop_keeps_proportions_and_the_middle(folder: Path) -> None:
    pixels = np.zeros((32, 64, 3), np.uint8)  # black, but for the middle
    pixels[:, 16:48] = 200
    pixels[12:20, 28:36] = 100  # a square stays a square
    save(folder / "a.png", pixels)
    save(folder / "b.png", pixels.transpose(1, 0, 2))
    images = ImageFolder(path=str(folder), size=(16, 16), resize="crop")
    for index in range(2):
        grey = (images[index][0] + 1) * 127.5
        assert grey.shape == (16, 16)
        assert grey.min() > 80
        assert [row for row in range(16) if grey[row, 8] < 150] == [6, 7, 8, 9]
        assert [column for column in range(16) if grey[8, column] < 150] == [6, 7, 8, 9]


def test_crop_cuts_the_middle_out_before_resizing(folder: Path) -> None:
    pixels = noise(20, 31)
    save(folder / "a.png", pixels)
    cut = ImageFolder(path=str(folder), crop=(10, 9))
    assert cut.shape == (3, 10, 9)
    torch.testing.assert_close(cut[0], as_sample(pixels[5:15, 11:20]), rtol=0, atol=1e-6)
    smaller = ImageFolder(path=str(folder), crop=16, size=8, resize="stretch")[0]
    by_hand = Image.fromarray(pixels[2:18, 7:23]).resize((8, 8), Image.Resampling.LANCZOS)
    torch.testing.assert_close(smaller, as_sample(np.asarray(by_hand)), rtol=0, atol=1e-6)
    with pytest.raises(DataError, match=r"a\.png is \[20, 31\] .*smaller than `crop: \[21, 21\]`; crop less"):
        ImageFolder(path=str(folder), crop=21).prepare()


# ------------------------------------------------------------------ labels


def test_folders_can_be_classes(folder: Path) -> None:
    for number, name in enumerate(("cat/a.png", "cat/old/b.png", "dog/a.png", "dog/cat/c.png")):
        save(folder / name, noise(seed=number))
    images = ImageFolder(path=str(folder), classes=["dog", "cat"])
    assert images.labels is not None
    assert images.labels.tolist() == [1, 1, 0, 1]  # the innermost folder that is a class
    assert ImageFolder(path=str(folder)).labels is None


def test_labels_follow_the_images_that_are_left(folder: Path) -> None:
    for name in ("cat/a.png", "cat/b.png", "dog/a.png"):
        save(folder / name)
    (folder / "cat/a.png").write_bytes(b"damaged")
    images = ImageFolder(path=str(folder), size=(6, 8), classes=["cat", "dog"], on_error="skip")
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1]
    assert len(images) == 2


def test_every_image_lies_in_a_class_and_a_class_may_be_empty(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat/a.png", "dog/a.png"):
        save(folder / name)
    images = ImageFolder(path=str(folder), classes=["cat", "dogs", "dog"])
    assert images.class_counts() == {"cat": 1, "dogs": 0, "dog": 1}
    assert images.labels is not None
    assert images.labels.tolist() == [0, 2]
    message = capsys.readouterr().err
    assert f"warning: classes: no image in {folder} lies in a folder 'dogs'; did you mean 'dog'?" in message
    with pytest.raises(DataError, match=r"dog/a\.png in .* lies in no folder that is a class \(cat\); name all"):
        ImageFolder(path=str(folder), classes=["cat"])
    with pytest.raises(DataError, match="classes: names the folder 'cat' twice; name each once"):
        ImageFolder(path=str(folder), classes=["cat", "dog", "cat"])


# ------------------------------------------------------------------ modes


def palette() -> Image.Image:
    image = Image.new("P", (8, 6), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return image


@pytest.mark.parametrize(
    ("image", "rgb"),
    [
        (Image.new("L", (8, 6), 77), (77, 77, 77)),
        (Image.new("1", (8, 6), 1), (255, 255, 255)),
        (palette(), (10, 20, 30)),
        (Image.new("RGBA", (8, 6), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (8, 6), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("LA", (8, 6), (0, 0)), (255, 255, 255)),
    ],
    ids=["gray", "bilevel", "palette", "transparent", "opaque", "gray transparent"],
)
def test_images_of_other_modes_become_colour(folder: Path, image: Image.Image, rgb: tuple[int, int, int]) -> None:
    save(folder / "a.png", image)
    torch.testing.assert_close(ImageFolder(path=str(folder))[0][:, 3, 4], torch.tensor(rgb) / 127.5 - 1)


def test_the_mode_gray_makes_one_channel(folder: Path) -> None:
    pixels = noise(channels=1)
    save(folder / "a.png", pixels)
    save(folder / "b.png", np.repeat(pixels[:, :, None], 3, axis=2))
    images = ImageFolder(path=str(folder), mode="gray")
    assert images.shape == (1, 6, 8)
    for index in range(2):
        torch.testing.assert_close(images[index], as_sample(pixels[:, :, None]), rtol=0, atol=1e-6)


def test_deeper_values_are_scaled_where_their_range_is_known(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder / "a.png")
    save(folder / "b.png", np.full((6, 8), 40_000, np.uint16))
    images = ImageFolder(path=str(folder))
    torch.testing.assert_close(images[1], as_sample(np.full((6, 8, 3), 40_000 >> 8, np.uint8)), rtol=0, atol=1e-6)
    assert "16-bit values scaled to 8 bits: 1 image (b.png for one)" in capsys.readouterr().err
    ImageFolder(path=str(folder)).prepare()
    assert "16-bit values scaled to 8 bits: 1 image (b.png for one)" in capsys.readouterr().err  # at each start
    save(folder / "c.tif", np.zeros((6, 8), np.int32))
    with pytest.raises(DataError, match=r"c\.tif: has 32-bit gray pixels, whose range is not known; convert it"):
        ImageFolder(path=str(folder)).prepare()


# ------------------------------------------------------------------ what can be wrong


def cut(path: Path) -> None:
    save(path, noise(64, 64))
    path.write_bytes(path.read_bytes()[:4000])


def damage_pixels(path: Path) -> None:
    save(path, noise(64, 64))
    content = bytearray(path.read_bytes())
    content[100:200] = bytes(100)
    path.write_bytes(content)


def text(path: Path) -> None:
    path.write_text("<html>quota exceeded</html>")


def empty(path: Path) -> None:
    path.touch()


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "nothing")


@pytest.mark.parametrize("harm", [cut, damage_pixels, text, empty, link_to_nothing])
@pytest.mark.parametrize("name", ["a.png", "m.png"])
def test_unreadable_images_are_an_error_or_left_out(
    folder: Path, harm: Callable[[Path], None], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(3):
        save(folder / f"good-{index}.png", noise(64, 64, seed=index))
    harm(folder / name)
    with pytest.raises(DataError, match=name):
        ImageFolder(path=str(folder)).prepare()

    images = ImageFolder(path=str(folder), on_error="skip")
    with pytest.raises(ProgramError, match=r"only after prepare\(\)"):
        len(images)
    images.prepare()
    assert len(images) == 3
    for index in range(3):
        torch.testing.assert_close(images[index], as_sample(noise(64, 64, seed=index)), rtol=0, atol=1e-6)
    assert f"left out 1 of 4 samples:\n  {name}: " in capsys.readouterr().err
    another = ImageFolder(path=str(folder), on_error="skip")  # as on another process, before it reads
    with pytest.raises(ProgramError):
        len(another)
    another.prepare()
    assert len(another) == 3


def test_a_folder_of_unreadable_images_is_an_error(folder: Path) -> None:
    text(folder / "a.png")
    with pytest.raises(DataError, match="none of the 1 images"):
        ImageFolder(path=str(folder), on_error="skip")


def test_the_error_for_a_missing_folder_names_the_nearest(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no 'picture' in .*did you mean 'pictures'\?"):
        ImageFolder(path=str(folder.parent / "picture" / "deep"))


def test_a_file_in_place_of_a_folder_is_an_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is a file, neither folder nor zip"):
        ImageFolder(path=str(save(folder / "a.png")))


def test_an_unknown_home_directory_is_an_error() -> None:
    with pytest.raises(ConfigError, match="path '~no-such-user-here/x'"):
        ImageFolder(path="~no-such-user-here/x")


def test_the_error_for_a_folder_without_images_counts_its_files(folder: Path) -> None:
    (folder / "deep").mkdir()
    for name in ("a.txt", "b.csv", "deep/c"):
        (folder / name).touch()
    with pytest.raises(DataError, match=r"holds no images.* but 3 hidden or other files .*; .*\.png"):
        ImageFolder(path=str(folder))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": ""},
        {"path": "x", "size": 0},
        {"path": "x", "size": [4, 0]},
        {"path": "x", "size": [4, 4, 4]},
        {"path": "x", "mode": "cmyk"},
        {"path": "x", "resize": "fit"},
        {"path": "x", "crop": 0},
        {"path": "x", "classes": []},
        {"path": "x", "on_error": "ignore"},
    ],
)
def test_options_are_bounded(options: dict[str, Any]) -> None:
    model = options_model("image-folder", ImageFolder)
    with pytest.raises(pydantic.ValidationError):
        model.model_validate(options)


def test_options_as_yaml_gives_them(folder: Path) -> None:
    save(folder / "a.png")
    checked = options_model("image-folder", ImageFolder).model_validate({"path": str(folder), "size": [6, 8]})
    images = ImageFolder(**{key: getattr(checked, key) for key in type(checked).model_fields})
    assert images[0].shape == (3, 6, 8)


def test_the_data_set_is_registered() -> None:
    registered: dict[str, Any] = {}
    register_datasets(registered.__setitem__)
    assert registered == {"image-folder": ImageFolder, "huggingface": HuggingFace, "table": Table}


def test_other_processes_open_the_file_rather_than_get_a_copy(folder: Path) -> None:
    save(folder / "a.png", noise(200, 200))
    images = ImageFolder(path=str(folder))
    expected = images[0]
    pickled = pickle.dumps(images)
    assert len(pickled) < 10_000
    assert torch.equal(pickle.loads(pickled)[0], expected)


# ------------------------------------------------------------------ which files, and their cache


def test_files_without_a_suffix_are_recognised_by_their_content(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (name, kind) in enumerate([("a", "PNG"), ("b", "JPEG"), ("c.jfif", "JPEG"), ("d.JPE", "JPEG")]):
        save(folder / name, noise(seed=number), format=kind)
    (folder / "README").write_text("no image")
    os.mkfifo(folder / "pipe") if hasattr(os, "mkfifo") else None
    images = ImageFolder(path=str(folder))
    assert images.identities() == ["a", "b", "c.jfif", "d.JPE"]
    assert "1 without suffix" in capsys.readouterr().err  # at once: `coupling check` decodes nothing
    torch.testing.assert_close(images[0], as_sample(noise()), rtol=0, atol=1e-6)


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no time of an entry's change")
def test_another_content_of_equal_size_and_time_is_noticed(folder: Path) -> None:
    path = save(folder / "a.bmp", noise(seed=0))
    before = path.stat()
    ImageFolder(path=str(folder)).prepare()
    save(path, noise(seed=1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    torch.testing.assert_close(ImageFolder(path=str(folder))[0], as_sample(noise(seed=1)), rtol=0, atol=1e-6)


def test_the_cache_of_an_earlier_state_is_removed(folder: Path, data: Path, tmp_path: Path) -> None:
    save(folder / "a.png")
    save(tmp_path / "other" / "a.png")
    for path in (folder, tmp_path / "other"):
        ImageFolder(path=str(path)).prepare()
    ImageFolder(path=str(folder), mode="gray").prepare()
    assert len(list(data.rglob("*.npy"))) == 3
    save(folder / "b.png", noise(seed=1))
    ImageFolder(path=str(folder)).prepare()
    assert len(list(data.rglob("*.npy"))) == len(list(data.rglob("*.json"))) == 2
    assert ImageFolder(path=str(tmp_path / "other")).cache.record is not None


def test_a_spoilt_cache_is_made_again(folder: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder / "a.png")
    images = ImageFolder(path=str(folder))
    images.prepare()
    (path,) = data.rglob("*.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    again = ImageFolder(path=str(folder))
    torch.testing.assert_close(again[0], as_sample(noise()), rtol=0, atol=1e-6)
    assert f"{path} is damaged or incomplete; making it again" in capsys.readouterr().err
