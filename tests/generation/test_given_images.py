"""Images that a user gives: which are converted, and which are errors."""

from __future__ import annotations

import re
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from coupling.domain import Domain
from coupling.errors import InputError
from coupling.generation.given_samples import read_samples

GRAY = Domain("gray", (1, 8, 8), (0.0, 1.0))
COLOUR = Domain("colour", (3, 8, 8), (-1.0, 1.0))


@pytest.fixture
def picture(tmp_path):
    """Save pixels (or an image) as a file."""

    def save(content, name="x.png", **options):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        image = content if isinstance(content, Image.Image) else Image.fromarray(content)
        image.save(path, **options)
        return path

    return save


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_values_take_the_domains_range(picture):
    pixels = noise(8, 8)
    given = read_samples([picture(pixels)], GRAY)
    torch.testing.assert_close(given.samples, torch.from_numpy(pixels / 255.0).float()[None, None])
    colours = noise(8, 8, 3)
    given = read_samples([picture(colours)], COLOUR)
    expected = torch.from_numpy(colours / 127.5 - 1).float().permute(2, 0, 1)[None]
    torch.testing.assert_close(given.samples, expected)
    assert given.changes == [""]


def test_gray_and_colour_become_each_other(picture):
    gray = noise(8, 8)
    given = read_samples([picture(gray)], COLOUR)
    assert given.changes == ["gray to colour"]
    assert all(torch.equal(given.samples[:, 0], given.samples[:, channel]) for channel in (1, 2))
    given = read_samples([picture(np.stack([gray] * 3, 2))], GRAY)  # as `coupling sample` writes gray domains
    assert given.changes == [""]
    torch.testing.assert_close(given.samples[0, 0], torch.from_numpy(gray / 255.0).float())
    given = read_samples([picture(noise(8, 8, 3))], GRAY)
    assert given.changes == ["colour to gray"]


def test_images_of_eight_bits_are_converted(picture):
    gray = noise(8, 8)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        given = read_samples([picture(Image.fromarray(gray).convert(mode))], GRAY)
        assert given.samples.shape == (1, 1, 8, 8)
        if mode != "1":
            torch.testing.assert_close(given.samples[0, 0], torch.from_numpy(gray / 255.0).float(), atol=0.01, rtol=0)
        assert given.changes == [""], mode  # opaque
    clear = np.zeros((8, 8, 4), np.uint8)
    given = read_samples([picture(clear)], GRAY)
    assert given.changes == ["laid over white"]
    assert (given.samples == 1).all()


def test_sizes_are_changed_but_not_aspect_ratios(picture):
    given = read_samples([picture(noise(16, 16))], GRAY)
    assert given.samples.shape == (1, 1, 8, 8)
    assert given.changes == ["resized from 16×16"]
    assert read_samples([picture(noise(4, 4))], GRAY).changes == ["resized from 4×4"]
    wide = picture(noise(8, 16), "wide.png")
    with pytest.raises(InputError, match=r"wide\.png: is 16×8 \(width×height\), another aspect ratio than the .* 8×8"):
        read_samples([wide], GRAY)
    halves = np.repeat(np.array([[0] * 4 + [100] * 8 + [0] * 4], np.uint8), 8, 0)
    cut = read_samples([picture(halves)], GRAY, "crop")
    assert (cut.samples * 255 == 100).all()
    stretched = read_samples([picture(halves)], GRAY, "stretch")
    assert stretched.samples[0, 0, :, 0].max() < 0.1


def test_images_are_turned_as_their_exif_says(picture):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    given = read_samples([picture(pixels, exif=exif)], GRAY)
    assert given.samples[0, 0, :, 4:].min() > 0.5
    assert given.samples[0, 0, :, :4].max() < 0.1


def test_a_folder_may_hold_other_files(picture, tmp_path, capsys):
    picture(noise(8, 8), "set/b.png")
    picture(noise(8, 8), "set/a.jpg")
    picture(noise(8, 8), "set/deeper/a.png")
    picture(noise(8, 8), "set/.hidden.png")
    (tmp_path / "set" / "readme.txt").write_text("x")
    single = picture(noise(8, 8), "A.png")
    given = read_samples([tmp_path / "set", single], GRAY)
    found = [str(file.relative_to(tmp_path)) for file in given.files]
    assert found == ["set/a.jpg", "set/b.png", "set/deeper/a.png", "A.png"]
    assert given.names == ["a", "b", "a-2", "A-3"]  # also where the file system knows no capitals
    assert "set: 2 hidden or other files (" in capsys.readouterr().err


def test_a_zip_is_read(picture, tmp_path):
    pixels = noise(8, 8)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.write(picture(pixels, "b.png"), "deep/b.png")
        archive.writestr("notes.txt", "x")
    given = read_samples([tmp_path / "images.zip"], GRAY)
    assert given.names == ["b"]
    assert given.files == [tmp_path / "images.zip" / "deep" / "b.png"]
    torch.testing.assert_close(given.samples[0, 0], torch.from_numpy(pixels / 255.0).float())


def test_deeper_values_and_cmyk_are_converted_and_reported(picture):
    given = read_samples([picture(np.full((8, 8), 40_000, np.uint16))], GRAY)
    assert given.changes == ["16-bit values scaled to 8 bits"]
    torch.testing.assert_close(given.samples, torch.full((1, 1, 8, 8), (40_000 >> 8) / 255))
    given = read_samples([picture(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "x.tif")], COLOUR)
    assert given.changes == ["CMYK converted to RGB without a colour profile"]
    assert given.samples[0, :, 0, 0].tolist() == [1, -1, -1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Image.new("I", (8, 8)), "has 32-bit gray pixels, whose range is not known"),
        (Image.new("F", (8, 8)), "has floating-point pixels"),
    ],
)
def test_images_of_other_depths_are_errors(picture, content, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read_samples([picture(content, "x.tif")], GRAY)


def test_files_that_are_not_images_are_errors(picture, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    whole = picture(noise(64, 64, 3), "whole.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (8, 8)).save(
        tmp_path / "film.gif", save_all=True, append_images=[Image.new("L", (8, 8), 200)]
    )  # fmt: skip
    good = picture(noise(8, 8), "good.png")
    names = ("text.png", "torn.png", "film.gif")
    with pytest.raises(InputError) as error:
        read_samples([*(tmp_path / name for name in names), good], GRAY, strict=True)
    lines = str(error.value).splitlines()
    assert lines[0] == "3 of 4 images cannot be used:"
    assert "text.png: not an image, damaged, or of a kind unknown here" in lines[1]
    assert "torn.png: " in lines[2]
    assert "film.gif: holds 2 images; give a file with one" in lines[3]
    with pytest.raises(InputError, match=r"goood\.png: no such image or folder; did you mean '.*good\.png'"):
        read_samples([tmp_path / "goood.png"], GRAY)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.txt").write_text("x")
    with pytest.raises(InputError, match="empty holds no images, not even in subfolders, but 1 hidden or other files"):
        read_samples([tmp_path / "empty"], GRAY)
    for number in range(12):
        (tmp_path / "empty" / f"{number}.png").write_text("x")
    with pytest.raises(InputError, match="and 2 more"):
        read_samples([tmp_path / "empty"], GRAY)


def test_files_that_cannot_be_used_are_left_out(picture, tmp_path, capsys):
    """Damaged files, also in folders and zips, and paths that are not there."""
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04")
    first, last = noise(8, 8), noise(8, 8)[::-1].copy()
    picture(first, "set/a.png")
    (tmp_path / "set" / "b.png").write_text("hello")
    paths = ["text.png", "set", "missing.png", "empty", "torn.zip"]
    given = read_samples([*(tmp_path / name for name in paths), picture(last, "z.png")], GRAY)
    assert given.files == [tmp_path / "set" / "a.png", tmp_path / "z.png"]
    expected = torch.from_numpy(np.stack([first, last]) / 255.0).float()[:, None]
    torch.testing.assert_close(given.samples, expected)
    assert given.changes == ["", ""]
    assert len(given.errors) == 5
    for name, error in zip(["text.png", "b.png", "missing.png", "empty", "torn.zip"], given.errors, strict=True):
        assert name in error
    assert "warning: 5 of 7 images cannot be used" in capsys.readouterr().err
    with pytest.raises(InputError) as caught:
        given.check_complete()
    assert str(caught.value).splitlines() == ["5 of 7 images could not be used:", *(f"  {e}" for e in given.errors)]


def test_sound_files_pass_the_check(picture):
    read_samples([picture(noise(8, 8))], GRAY).check_complete()


def test_a_huge_image_is_an_error(picture, monkeypatch):
    path = picture(noise(64, 64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match=r"x\.png: Image size \(4096 pixels\) exceeds limit"):
        read_samples([path], GRAY)


def test_an_image_for_a_domain_without_images_is_an_error(picture):
    with pytest.raises(InputError, match=r"x.png: not a .npy.* samples of domain 'points' are arrays of shape \(7,\)"):
        read_samples([picture(noise(8, 8))], Domain("points", (7,), (0, 1)))
