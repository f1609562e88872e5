"""The decoder of images against files whose true pixels are known, and against a slow reader."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, ImageOps

from coupling.data.images.image import UnreadableImage
from coupling.data.images.jpeg_damage import _end_of_pixels
from coupling.data.images.notes import collect_notes
from coupling.data.images.pixels import decode_image, opaque
from tests.support.image_files import PNG, chunk, png, tiff

RANDOM = np.random.default_rng(0)


def decode(content: bytes, **options: Any) -> tuple[Image.Image, list[str]]:
    with collect_notes() as notes:
        image = decode_image(io.BytesIO(content), "x", **options)
    return image, list(notes)


def rgb(content: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(opaque(decode(content)[0], "RGB"))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def values(channels: int, kind: Any, height: int = 5, width: int = 7) -> np.ndarray[Any, Any]:
    return RANDOM.integers(0, np.iinfo(kind).max, (height, width, channels), kind, endpoint=True)


def over_white(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """RGB of (height, width, 1 to 4) values of 8 bits, by definition."""
    colours = pixels[..., : (3 if pixels.shape[2] > 2 else 1)].astype(float)
    share = pixels[..., -1:] / 255 if pixels.shape[2] in (2, 4) else 1.0
    return np.broadcast_to(colours * share + 255 * (1 - share), (*pixels.shape[:2], 3))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_kinds_of_png_are_decoded(channels: int, kind: Any) -> None:
    pixels = values(channels, kind)
    upper = pixels if kind == np.uint8 else pixels >> 8
    found, notes = decode(png(pixels))
    np.testing.assert_allclose(np.asarray(opaque(found, "RGB"), float), over_white(upper), atol=1)
    assert notes == ([] if kind == np.uint8 else ["16-bit values scaled to 8 bits"])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(("channels", "photometric"), [(1, 1), (1, 0), (3, 2), (4, 2)])
def test_all_kinds_of_tiff_are_decoded(channels: int, photometric: int, kind: Any, order: str) -> None:
    pixels = values(channels, kind)
    content = tiff(pixels, photometric=photometric, order=order, alpha=channels == 4)
    upper = pixels if kind == np.uint8 else pixels >> 8
    if photometric == 0:
        upper = 255 - upper
    if (photometric, kind, order) == (0, np.uint16, ">"):  # unknown to Pillow
        with pytest.raises(UnreadableImage, match="kind unknown here"):
            rgb(content)
        return
    found = rgb(content).astype(float)
    np.testing.assert_allclose(found, over_white(upper), atol=1)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_ranges_that_are_not_known_are_errors(kind: Any) -> None:
    with pytest.raises(UnreadableImage, match=r"x: has (32-bit gray|floating-point) pixels, whose range is not known"):
        decode(tiff(np.ones((5, 7, 1), kind), photometric=1))


@pytest.mark.parametrize("channels", [1, 3])
def test_deep_values_that_would_be_nearly_black_are_reported(channels: int) -> None:
    dark = np.full((5, 7, channels), 4000, np.uint16)  # millimetres, or 12 bits
    assert decode(png(dark))[1] == ["16-bit values, all below a sixteenth of their range: nearly black"]
    assert decode(png(dark + np.uint16(4096)))[1] == ["16-bit values scaled to 8 bits"]


def test_portable_gray_maps_of_any_range_are_scaled() -> None:
    pixels = values(1, np.uint16)[..., 0]
    wide = b"P5 7 5 65535\n" + pixels.astype(">u2").tobytes()
    assert np.array_equal(rgb(wide)[..., 0], pixels >> 8)
    narrow = b"P5 7 5 4095\n" + (pixels >> 4).astype(">u2").tobytes()
    np.testing.assert_allclose(rgb(narrow)[..., 0].astype(float), pixels / 257, atol=1)


def test_a_transparent_colour_of_16_bits_is_read_in_gray_only() -> None:
    pixels = values(1, np.uint16)
    key = int(pixels[2, 3, 0])
    found = rgb(png(pixels, chunk(b"tRNS", struct.pack(">H", key))))
    assert found[2, 3].tolist() == [255, 255, 255]
    with pytest.raises(UnreadableImage, match="transparent colour of 16 bits"):
        decode(png(values(3, np.uint16), chunk(b"tRNS", bytes(6))))


# ------------------------------------------------------------------ colour profiles


def linear_profile(kind: bytes = b"RGB ") -> bytes:
    """A colour profile of sRGB's primaries whose values are linear (gamma 1)."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", content, 128)[0]
    for number in range(count):
        tag, place, size = struct.unpack_from(">4sII", content, 132 + 12 * number)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            content[place : place + size] = (b"curv" + bytes(8)).ljust(size, b"\0")  # a curve of no points: linear
    content[16:20] = kind
    return bytes(content)


def test_colour_profiles_are_converted() -> None:
    pixels = values(3, np.uint8)
    found, notes = decode(encoded(Image.fromarray(pixels), "PNG", icc_profile=linear_profile()))
    linear = pixels / 255
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    np.testing.assert_allclose(np.asarray(found, float), srgb, atol=2)
    assert notes == ["colour profile converted to sRGB"]
    alpha = values(4, np.uint8)
    clear, _ = decode(encoded(Image.fromarray(alpha), "PNG", icc_profile=linear_profile()))
    assert np.array_equal(np.asarray(clear)[..., 3], alpha[..., 3])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_srgb_changes_no_byte(kind: str) -> None:
    image = Image.fromarray(values(3, np.uint8, 16, 16))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode(encoded(image, kind, icc_profile=profile))[1] == []
    assert np.array_equal(rgb(encoded(image, kind, icc_profile=profile)), rgb(encoded(image, kind)))


@pytest.mark.parametrize("profile", [b"x", bytes(200), linear_profile()[:300], linear_profile(b"CMYK")])
def test_damaged_profiles_are_ignored_with_a_warning(profile: bytes) -> None:
    image = Image.fromarray(values(3, np.uint8))
    found, notes = decode(encoded(image, "PNG", icc_profile=profile))
    assert np.array_equal(np.asarray(found), np.asarray(image))
    assert notes == ["damaged or unfit colour profile ignored"]


# ------------------------------------------------------------------ metadata


def exif(value: bytes, kind: int, count: int) -> bytes:
    """EXIF with an orientation of any kind."""
    return b"Exif\0\0MM\0*" + struct.pack(">IHHHI", 8, 1, 0x0112, kind, count) + value.ljust(4, b"\0") + bytes(4)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_orientation_is_turned_upright(kind: str, turn: int) -> None:
    pixels = values(3, np.uint8, 16, 24)
    orientation = Image.Exif()
    orientation[0x0112] = turn
    content = encoded(Image.fromarray(pixels), kind, exif=orientation)
    with Image.open(io.BytesIO(content)) as image:
        plain = pixels if kind == "TIFF" else np.asarray(image.convert("RGB"))
    expected = {
        1: plain,
        2: plain[:, ::-1],
        3: plain[::-1, ::-1],
        4: plain[::-1],
        5: plain.transpose(1, 0, 2),
        6: plain[::-1].transpose(1, 0, 2),
        7: plain[::-1, ::-1].transpose(1, 0, 2),
        8: plain[:, ::-1].transpose(1, 0, 2),
    }[turn]
    assert np.array_equal(rgb(content), expected)
    if kind != "TIFF":  # which Pillow turns itself
        assert np.array_equal(np.asarray(decode(content, turn=False)[0].convert("RGB")), plain)


@pytest.mark.parametrize(
    "metadata",
    [
        exif(b"6", 2, 1),
        exif(b"top", 2, 4),
        exif(struct.pack(">H", 9), 3, 1),
        exif(struct.pack(">I", 2**31), 4, 2**28),
        exif(bytes(4), 12, 9),
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0nonsense",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_that_breaks_the_specification_is_ignored(kind: str, metadata: bytes) -> None:
    image = Image.fromarray(values(3, np.uint8, 16, 16))
    assert np.array_equal(rgb(encoded(image, kind, exif=metadata)), rgb(encoded(image, kind)))


@pytest.mark.parametrize(
    "metadata",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 * 10**6))),
        chunk(b"tEXt", b"Comment\0" + b"x" * 3 * 10**6),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * 2 * 10**6)),
        chunk(b"zTXt", b"Comment\0\7damaged"),
        chunk(b"tEXt", b"broken\0")[:-1] + b"?",
        chunk(b"iCCP", b"name\0\1damaged"),
        chunk(b"pHYs", b"1"),
        chunk(b"eXIf", b"nonsense"),
    ],
)
@pytest.mark.parametrize("behind", [False, True])
def test_png_files_with_odd_metadata_are_read(metadata: bytes, behind: bool) -> None:
    pixels = values(3, np.uint8)
    content = png(pixels) if behind else png(pixels, metadata)
    if behind:
        content = content.removesuffix(chunk(b"IEND", b"")) + metadata + chunk(b"IEND", b"")
    assert np.array_equal(rgb(content), pixels)


def test_a_large_profile_of_a_png_still_counts() -> None:
    pixels = values(3, np.uint8)
    profile = linear_profile()
    large = chunk(b"iCCP", b"name\0\0" + zlib.compress(profile + bytes(2 * 10**6)))
    small = chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))
    assert np.array_equal(rgb(png(pixels, large)), rgb(png(pixels, small)))
    assert not np.array_equal(rgb(png(pixels, small)), pixels)


# ------------------------------------------------------------------ several pictures


def test_the_first_picture_of_a_phones_jpeg_is_read() -> None:
    first, second = (Image.fromarray(values(3, np.uint8, 16, 16)) for _ in range(2))
    content = encoded(first, "MPO", save_all=True, append_images=[second])
    assert np.array_equal(rgb(content), rgb(encoded(first, "JPEG")))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_several_frames_are_an_error(kind: str) -> None:
    frames = [Image.fromarray(values(3, np.uint8, 16, 16)) for _ in range(3)]
    with pytest.raises(UnreadableImage, match="x: holds 3 images; give a file with one"):
        decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_previews_in_a_tiff_do_not_count() -> None:
    pixels = values(3, np.uint8, 16, 16)
    preview = Image.fromarray(pixels[::2, ::2])
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    content = encoded(Image.fromarray(pixels), "TIFF", save_all=True, append_images=[preview])
    assert np.array_equal(rgb(content), pixels)


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 3])
@pytest.mark.parametrize("ending", [b"", b"\xff\xd9", bytes(50)])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_jpegs_that_end_too_early_are_errors(
    monkeypatch: pytest.MonkeyPatch, share: float, ending: bytes, restarts: int, progressive: bool
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as another library may have set it
    image = Image.fromarray(values(3, np.uint8, 60, 90))
    content = encoded(image, "JPEG", progressive=progressive, restart_marker_blocks=restarts)
    assert np.array_equal(rgb(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    end = int(len(content) * share)
    if content[end - 1] == 0xFF:  # with a stuffed byte, which is one value
        end -= 1
    if progressive and share > 0.5:
        pytest.skip("the last passes of a progressive file only refine it")
    with pytest.raises(UnreadableImage, match="x: "):
        decode(content[:end] + ending)
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_overwritten_jpegs_are_errors() -> None:
    content = encoded(Image.fromarray(values(3, np.uint8, 60, 90)), "JPEG", quality=95)
    for seed in range(20):
        ruin = np.random.default_rng(seed).bytes(len(content) // 2)
        with pytest.raises(UnreadableImage, match="x: "):
            decode(content[: len(content) // 2] + ruin + b"\xff\xd9")


@pytest.mark.parametrize("shade", [0, 127, 128, 255])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 1}])
def test_sound_jpegs_of_one_shade_are_not_damaged(shade: int, options: dict[str, Any]) -> None:
    assert (rgb(encoded(Image.new("RGB", (50, 41), (shade,) * 3), "JPEG", **options)) == shade).all()


# ------------------------------------------------------------------ all at once


def slowly(content: bytes) -> np.ndarray[Any, Any]:
    """RGB by Pillow alone."""
    with Image.open(io.BytesIO(content)) as image:
        whole = ImageOps.exif_transpose(image).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB"))


FORMATS = {
    "BMP": ("1", "L", "P", "RGB"),
    "JPEG": ("L", "RGB"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "WEBP": ("RGB", "RGBA"),
}


@st.composite
def files(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(sorted(FORMATS)))
    mode = draw(st.sampled_from(FORMATS[kind]))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    image = Image.fromarray(random.integers(0, 256, (height, width, 4), np.uint8), "RGBA").convert("RGB")
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(random.integers(0, 256, (height, width), np.uint8)))
    options: dict[str, Any] = {}
    if kind in ("JPEG", "PNG", "TIFF", "WEBP") and draw(st.booleans()):
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = draw(st.integers(1, 8))
    if kind == "JPEG":
        options |= {"progressive": draw(st.booleans()), "quality": draw(st.integers(5, 100))}
    return encoded(image.convert(mode), kind, **options)


@settings(max_examples=100, deadline=None)
@given(files())
def test_images_of_8_bits_have_the_pixels_that_pillow_reads(content: bytes) -> None:
    found, notes = decode(content)
    assert np.array_equal(np.asarray(opaque(found, "RGB")), slowly(content))
    assert notes == []


@settings(max_examples=100, deadline=None)
@given(files(), st.data())
def test_damage_is_an_error_or_gives_the_pixels_that_pillow_reads(content: bytes, data: st.DataObject) -> None:
    made = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(made) - 1))
        if data.draw(st.booleans()):
            made[place] ^= 1 << data.draw(st.integers(0, 7))
        elif place:
            del made[place:]
    try:
        found = rgb(bytes(made))
    except UnreadableImage:
        return
    try:
        expected = slowly(bytes(made))
    except Exception:  # metadata alone were damaged
        expected = slowly(content)
    assert found.shape == expected.shape


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([0xFF, 0xFF, 0x00, 0xD0, 0xD7, 0xD9, 0x01, 0x80]), max_size=12).map(bytes))
def test_the_end_of_compressed_pixels_is_what_a_regular_expression_finds(content: bytes) -> None:
    found = re.search(rb"\xff+([^\x00\xd0-\xd7\xff])", content)
    place, restarts = _end_of_pixels(content, 0)
    assert place == (len(content) if found is None else found.start())
    if found is not None:
        expected = [marker[1][0] - 0xD0 for marker in re.finditer(rb"\xff([\xd0-\xd7])", content[:place])]
        assert restarts == expected


def test_a_postscript_program_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    with pytest.raises(UnreadableImage, match="not an image"):
        decode_image(tmp_path / "x.png", "x.png")
    assert PNG.startswith(b"\x89")
