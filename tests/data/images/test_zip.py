"""The data set `image-folder` on zips, and folders and zips that overlap."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from coupling.api import parse_config
from coupling.data.domain_data import open_domains
from coupling.data.images import folder_files, places, zip_files
from coupling.data.images.folder import ImageFolder
from coupling.errors import ConfigError, DataError
from coupling.plugins import Plugins
from tests.conftest import rejected
from tests.data.images.test_folder import as_sample, noise, save


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def png(seed: int = 0, height: int = 6, width: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(height, width, seed=seed)).save(file, "PNG")
    return file.getvalue()


def pack(
    path: Path, members: dict[str, bytes] | list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return path


def open_zip(path: Path, **options: Any) -> ImageFolder:
    return ImageFolder(path=str(path), **options)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_zip_is_the_folder_that_was_packed(tmp_path: Path, compression: int) -> None:
    for seed, name in enumerate(("b.png", "a/z.png", "a/deep/y.bmp")):
        save(tmp_path / "pictures" / name, noise(seed=seed))
    (tmp_path / "pictures" / "notes.txt").write_text("no image")
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w", compression) as archive:
        for file in sorted((tmp_path / "pictures").rglob("*"), reverse=True):
            archive.write(file, file.relative_to(tmp_path / "pictures"))
    folder, packed = ImageFolder(path=str(tmp_path / "pictures")), open_zip(tmp_path / "pictures.zip")
    assert len(packed) == 3
    assert torch.equal(packed.batch(range(3)), folder.batch(range(3)))
    assert packed.fingerprint() == folder.fingerprint()
    assert packed.source != folder.source


def test_nothing_is_unpacked_and_no_path_in_a_zip_can_do_harm(tmp_path: Path, data: Path) -> None:
    members = {"../../evil.png": png(1), "/etc/evil.png": png(2), "a/./b.png": png(3), "c\\d.png": png(4)}
    path = pack(tmp_path / "inner" / "x.zip", members) if (tmp_path / "inner").mkdir() is None else None
    assert path is not None
    images = open_zip(path)
    images.prepare()
    assert len(images) == 4
    here = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert {name.partition("/")[0] for name in here} == {"inner", "data"}
    assert {Path(name).suffix for name in here if name.startswith("data")} == {".npy", ".json"}
    assert not Path("/etc/evil.png").exists()


def test_hidden_files_and_other_files_are_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = {
        "a.png": png(), "folder/": b"", ".hidden.png": png(1), "folder/.b.png": png(2), "notes.txt": b"x",
        "inner.zip": b"PK", "__MACOSX/._a.png": b"resource fork", "__MACOSX/folder/a.png": png(3), ".git/c.png": png(4),
    }  # fmt: skip
    path = pack(tmp_path / "x.zip", members)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "../a.png")
    images = open_zip(path)
    images.prepare()
    assert len(images) == 1
    assert "5 hidden or other files (2 hidden, 1 .txt, 1 .zip, 1 link) are ignored" in capsys.readouterr().err


def test_the_later_of_two_members_of_one_name_counts(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = pack(tmp_path / "x.zip", [("a.png", png(1)), ("b.png", png(2)), ("a.png", png(3))])
    images = open_zip(path)
    assert len(images) == 2
    torch.testing.assert_close(images[0], as_sample(noise(seed=3)), rtol=0, atol=1e-6)


def test_a_changed_zip_is_decoded_again(tmp_path: Path) -> None:
    before = open_zip(pack(tmp_path / "x.zip", {"a.bmp": png(1)})).fingerprint()
    assert open_zip(pack(tmp_path / "x.zip", {"a.bmp": png(2)})).fingerprint() != before


def test_folders_of_a_zip_can_be_classes(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", {"top/cat/a.png": png(), "top/dog/a.png": png(1)})
    labels = open_zip(path, classes=["dog", "cat"]).labels
    assert labels is not None
    assert labels.tolist() == [1, 0]


def test_a_zip_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    files = places.image_files(str(pack(tmp_path / "x.zip", {"a.png": png(5)})))
    with files.open(0) as first, pickle.loads(pickle.dumps(files)).open(0) as second:
        assert first.read() == second.read() == png(5)


# ------------------------------------------------------------------ what can be wrong


def encrypt(path: Path) -> None:
    """Set the flag of encryption on every member, in both of the zip's lists."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(signature, at + 4)
    path.write_bytes(content)


def flip(path: Path) -> None:
    """One bit in the middle of the first image, stored as it is."""
    content = bytearray(path.read_bytes())
    at = content.find(b"IDAT") + 20
    content[at] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"), [(encrypt, "a.png: is encrypted; pack the images again"), (flip, "a.png: Bad CRC-32")]
)
def test_members_that_cannot_be_read_are_errors(tmp_path: Path, harm: Any, message: str) -> None:
    path = pack(tmp_path / "x.zip", {"a.png": png(1, 64, 64), "b.png": png(2, 64, 64)})
    harm(path)
    with pytest.raises(DataError, match=message):
        open_zip(path, size=64).prepare()
    if harm is encrypt:
        with pytest.raises(DataError, match="nothing is left without 2 of 2"):
            open_zip(path, size=64, on_error="skip").prepare()
    else:
        images = open_zip(path, on_error="skip", size=64)
        images.prepare()
        torch.testing.assert_close(images[0], as_sample(noise(64, 64, seed=2)), rtol=0, atol=1e-6)


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path: Path) -> None:
    """Pillow stops reading at the end of the pixels: the checksum is for the whole member."""
    path = pack(tmp_path / "x.zip", {"a.bmp": png() + b"trailing"})
    content = path.read_bytes().replace(b"trailing", b"trailinG")
    path.write_bytes(content)
    with pytest.raises(DataError, match="Bad CRC-32"):
        open_zip(path, size=(6, 8)).prepare()


def test_a_member_that_promises_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "x.zip", {"a.png": bytes(10**6), "b.png": png()}, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zip_files, "_LARGEST", 10**5)
    with pytest.raises(DataError, match=r"a\.png: unpacks to 1,000,000 bytes, more than any image"):
        open_zip(path, size=(6, 8)).prepare()


def bomb(height: int = 20_000, width: int = 20_000) -> bytes:
    """A small PNG of 400 million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_an_image_beyond_pillows_limit_is_an_error(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", {"a.png": bomb(), "b.png": png()})
    with pytest.raises(DataError, match=r"a\.png: Image size \(400000000 pixels\) exceeds limit.*scale it down"):
        open_zip(path, size=(6, 8)).prepare()
    images = open_zip(path, size=(6, 8), on_error="skip")
    images.prepare()
    assert len(images) == 1


def test_a_large_photograph_within_pillows_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # warns above 40, raises an error above 80
    save(tmp_path / "pictures" / "a.png", noise(6, 8))
    assert len(ImageFolder(path=str(tmp_path / "pictures"))) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><title>Quota exceeded</title>", "not a zip but a web page"),
        (b"PK\3\4 and then the connection was lost", "damaged or not whole .*download or pack it again"),
        (b"", "not a zip"),
    ],
)
def test_files_that_are_not_zips_are_errors(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_zip(tmp_path / "x.zip")


def test_a_zip_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", {f"{k}.png": png(k) for k in range(5)})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged or not whole"):
        open_zip(path)


def test_another_kind_of_archive_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(ConfigError, match="another kind of archive: unpack it, or pack it as a zip"):
        open_zip(tmp_path / "x.tar.gz")


def test_a_zip_is_recognised_under_another_name(tmp_path: Path) -> None:
    assert len(open_zip(pack(tmp_path / "x.cbz", {"a.png": png()}))) == 1


def test_the_error_for_a_missing_zip_names_the_nearest(tmp_path: Path) -> None:
    pack(tmp_path / "summer.zip", {"a.png": png()})
    with pytest.raises(ConfigError, match=r"there is no 'sumer\.zip' in .*did you mean 'summer\.zip'\?"):
        open_zip(tmp_path / "sumer.zip")


def test_the_error_for_a_zip_without_images_counts_its_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.zip holds no images.* but 2 hidden or other files"):
        open_zip(pack(tmp_path / "x.zip", {"a.txt": b"", "inner.zip": b""}))


# ------------------------------------------------------------------ pools that overlap


def domains(*paths: Path, **common: Any) -> dict[str, Any]:
    values = {
        "name": "overlap",
        "domains": {
            f"d{k}": {"dataset": {"name": "image-folder", "path": str(p), **common}} for k, p in enumerate(paths)
        },
        "generator": {"architecture": "mlp"},
        "discriminator": {"architecture": "mlp"},
    }
    plugins = Plugins(entry_points=False)
    return open_domains(parse_config(values, plugins=plugins), plugins.registry)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for seed in range(4):
        save(tmp_path / "all" / "one" / f"{seed}.png", noise(seed=seed))
        save(tmp_path / "all" / "two" / f"{seed}.png", noise(seed=10 + seed))
    return tmp_path / "all"


def test_folders_beside_each_other_do_not_overlap(pictures: Path) -> None:
    """Their files have the same names and sizes, and other contents."""
    made = domains(pictures / "one", pictures / "two")
    assert [len(domain) for domain in made.values()] == [4, 4]


def test_the_same_folder_by_a_link_is_one_source(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pictures / "one")
    made = domains(pictures / "one", tmp_path / "link")
    parts = [set(domain.indices.tolist()) for domain in made.values()]
    assert [len(part) for part in parts] == [2, 2]
    assert not parts[0] & parts[1]


def inside(pictures: Path, elsewhere: Path) -> Path:
    return pictures


def linked_inside(pictures: Path, elsewhere: Path) -> Path:
    elsewhere.mkdir()
    (elsewhere / "there").symlink_to(pictures / "one")
    return elsewhere


def links_by_other_names(pictures: Path, elsewhere: Path) -> Path:
    elsewhere.mkdir()
    for file in (pictures / "one").iterdir():
        (elsewhere / f"train-{file.name}").symlink_to(file)
    return elsewhere


def copied(pictures: Path, elsewhere: Path) -> Path:
    return Path(shutil.copytree(pictures / "one", elsewhere / "sub" / "deep").parent)


def zipped(pictures: Path, elsewhere: Path) -> Path:
    return Path(shutil.make_archive(str(elsewhere), "zip", pictures))


@pytest.mark.parametrize("place", [inside, linked_inside, links_by_other_names, copied, zipped])
def test_pools_that_overlap_are_an_error(pictures: Path, tmp_path: Path, place: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        domains(pictures / "one", place(pictures, tmp_path / "elsewhere"))
    message = str(caught.value)
    assert message.startswith("domains.d1.dataset: domains 'd0' and 'd1' have samples in common: 4 images, ")
    assert "set `part: all` in both" in message


def test_overlapping_pools_with_given_parts_are_a_warning(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = domains(pictures, pictures / "one", part="all")
    assert [len(domain) for domain in made.values()] == [8, 4]
    assert "domains 'd0' and 'd1' have samples in common: 4 images" in capsys.readouterr().err


def test_a_few_files_in_common_are_found_and_warned_of(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(40):
        save(tmp_path / "many" / f"x{seed}.png", noise(seed=100 + seed))
        save(tmp_path / "others" / f"x{seed}.png", noise(seed=100 + seed + 1000 * (seed != 7)))
    sizes = {file.stat().st_size for file in (tmp_path / "many").iterdir()}
    assert len(sizes) == 1  # names and sizes all agree: only the contents tell them apart
    domains(tmp_path / "many", tmp_path / "others")
    assert "warning: domains 'd0' and 'd1' have samples in common: 1 image, x7.png, is in" in capsys.readouterr().err


def test_overlap_does_not_fail_on_damaged_files(pictures: Path, tmp_path: Path) -> None:
    packed = zipped(pictures / "two", tmp_path / "elsewhere")
    flip(packed)
    os.symlink(tmp_path / "nothing", pictures / "one" / "0.bmp")
    domains(pictures / "one", packed, size=8, resize="stretch")


def test_the_command_line_reports_overlapping_folders(command: Any, pictures: Path) -> None:
    Path("c.yaml").write_text(
        "name: x\n"
        f"domains: {{a: {{dataset: {{name: image-folder, path: {pictures}}}}}, "
        f"b: {{dataset: {{name: image-folder, path: {pictures}/two}}}}}}\n"
        "generator: {architecture: mlp}\ndiscriminator: {architecture: mlp}\n"
    )
    rejected(command("check", "c.yaml"), "domains 'a' and 'b' have samples in common: 4 images, 0.png for one")


def test_places_of_many_equal_files_are_not_read_whole(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(60):
        save(tmp_path / "many" / f"x{seed}.png", noise(seed=100 + seed))
    copy = Path(shutil.copytree(tmp_path / "many", tmp_path / "copy"))
    read: list[int] = []
    original = folder_files.FolderFiles._checksum

    def counting(self: Any, index: int) -> Any:
        read.append(index)
        return original(self, index)

    monkeypatch.setattr(folder_files.FolderFiles, "_checksum", counting)
    with pytest.raises(ConfigError, match="60 images, "):
        domains(tmp_path / "many", copy)
    assert len(read) == 2 * 16
