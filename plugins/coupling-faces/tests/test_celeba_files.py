"""Errors of CelebA's files: each is one message that names the file and the fix."""

from __future__ import annotations

import io
import random
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from coupling import DataError, data_directory
from coupling.testing import invoke
from coupling_faces import archive, celeba, lists, official_files
from coupling_faces.archive import images_of
from coupling_faces.celeba import CelebA
from coupling_faces.lists import NAMES, face_list
from coupling_faces.official_files import ATTRIBUTES, FILES, IMAGES, PARTITION, OfficialFile
from coupling_faces.testing import write_celeba

CONFIG = """
name: smiling
domains:
  smiling: {dataset: {name: celeba, size: 64, attributes: {Smiling: true}}}
  serious: {dataset: {name: celeba, size: 64, attributes: {Smiling: false}}}
generator:     {architecture: {name: faces, width: 0.03125}}
discriminator: {architecture: {name: faces, width: 0.03125}}
training: {steps: 1, batch_size: 2}
"""

Coupling = Callable[..., Result]


@pytest.fixture
def coupling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Coupling:
    """``coupling("run", ...)`` on a configuration of CelebA; more arguments are overrides."""
    monkeypatch.chdir(tmp_path)
    Path("smiling.yaml").write_text(CONFIG)

    def command(verb: str, *overrides: str) -> Result:
        sets = [part for change in overrides for part in ("--set", change)]
        return invoke(verb, "smiling.yaml", *sets)

    return command


OWN = ("domains.smiling.dataset.verify=false", "domains.serious.dataset.verify=false")


@pytest.fixture
def made(data: Path) -> Path:
    """The folder of made-up files, where they are looked for."""
    write_celeba(data / "celeba", 12)
    return data / "celeba"


@pytest.fixture
def official(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, taken for the official ones."""
    for name in ("IMAGES", "ATTRIBUTES", "PARTITION"):
        file: OfficialFile = getattr(official_files, name)
        content = (made / file.name).read_bytes()
        known = file._replace(size=len(content), md5=official_files._md5(content))
        for module in (official_files, archive, lists):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, known)
    return made


def rejected(result: Result, *fragments: str) -> None:
    """One message that holds ``fragments``, exit code 2, no traceback."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stderr.count("rror: ") == 1
    for fragment in fragments:
        assert fragment in result.stderr, result.stderr


def wanted(folder: Path) -> tuple[str, ...]:
    """What to put where: the three names and sizes."""
    sizes = ("img_align_celeba.zip", "1,443,490,838", "list_attr_celeba.txt", "26,721,026", "list_eval_partition.txt")
    return (*sizes, "2,836,386", str(folder), "downloads nothing", "mmlab.ie.cuhk.edu.hk")


def test_an_empty_folder_is_an_error(coupling: Coupling, data: Path) -> None:
    result = coupling("check")
    rejected(result, "domains.smiling.dataset", "list_attr_celeba.txt is not there", *wanted(data / "celeba"))
    assert not data.exists()


def test_the_official_files_have_the_documented_sizes() -> None:
    assert [(file.name, file.size) for file in FILES] == [
        ("img_align_celeba.zip", 1_443_490_838),
        ("list_attr_celeba.txt", 26_721_026),
        ("list_eval_partition.txt", 2_836_386),
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_missing_file_is_an_error_that_names_it(file: OfficialFile, coupling: Coupling, made: Path) -> None:
    (made / file.name).unlink()
    partition = "domains.smiling.dataset.partition=train"
    rejected(coupling("run", *OWN, partition), f"{file.name} is not there", *wanted(made))


@pytest.mark.parametrize("name", ["list_attr_celeba (1).txt", "list_attr_celeba.csv", "list_attr_celebA.txt"])
def test_a_file_of_a_similar_name_is_proposed(name: str, coupling: Coupling, made: Path) -> None:
    (made / ATTRIBUTES.name).rename(made / name)
    rejected(coupling("check", *OWN), f"did you mean '{name}'? Rename it", *wanted(made))


def test_a_file_of_another_name_and_the_right_size_is_proposed(coupling: Coupling, made: Path) -> None:
    (made / ATTRIBUTES.name).unlink()
    with open(made / "download", "wb") as file:
        file.truncate(ATTRIBUTES.size)
    rejected(coupling("check"), "'download' has its size: rename it")


PAGE = b"\xef\xbb\xbf\r\n <!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>" + 2000 * b" "


@pytest.mark.parametrize("content", [PAGE, b"<html></html>", b""], ids=["page with BOM", "page", "nothing"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize("verify", [(), OWN], ids=["official", "own"])
def test_a_web_page_in_the_file_s_place_is_an_error(
    content: bytes, file: OfficialFile, verify: tuple[str, ...], coupling: Coupling, official: Path
) -> None:
    (official / file.name).write_bytes(content)
    for verb in ("check", "run"):
        result = coupling(verb, "domains.smiling.dataset.partition=train", *verify)
        rejected(result, str(official / file.name), "is a web page" if content else "is empty", *wanted(official)[4:])


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.97], ids=str)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize("verify", [(), OWN], ids=["official", "own"])
def test_a_download_that_was_cut_off_is_an_error(
    keep: float, file: OfficialFile, verify: tuple[str, ...], coupling: Coupling, official: Path
) -> None:
    content = (official / file.name).read_bytes()
    (official / file.name).write_bytes(content[: int(keep * len(content))])
    result = coupling("run", "domains.smiling.dataset.partition=train", *verify)
    cut = "cut off; get it again" if file is not IMAGES or not verify else "is not a zip, or has lost its end"
    rejected(result, str(official / file.name), cut)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_that_is_not_the_official_one_is_an_error(
    file: OfficialFile, coupling: Coupling, official: Path
) -> None:
    content = bytearray((official / file.name).read_bytes())
    if file is IMAGES:
        content += b"more"  # a comment, which zips may have
    elif file is ATTRIBUTES:
        last = content.rindex(b"-1")
        content[last : last + 2] = b" 1"
    else:
        content = content.replace(b"12.jpg 0", b"12.jpg 1").replace(b"000009.jpg 1", b"000009.jpg 0")
    (official / file.name).write_bytes(content)
    result = coupling("run", "domains.smiling.dataset.partition=train")
    rejected(result, f"{official / file.name}: is not the official file", "its MD5 is", "`verify: false`")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_either_kind_of_line_end_is_official(end: str, official: Path, coupling: Coupling) -> None:
    for file in (ATTRIBUTES, PARTITION):
        lines = (official / file.name).read_text().splitlines()
        (official / file.name).write_bytes(end.join([*lines, ""]).encode())
    result = coupling("run", "domains.smiling.dataset.partition=train")
    assert result.exit_code == 0, result.output


def test_the_zip_is_checked_once(
    official: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for times in (1, 0):
        archive._zip.cache_clear()
        CelebA(size=64).prepare()
        assert capsys.readouterr().err.count(f"Checking {official / IMAGES.name}: done") == times
    content = (official / IMAGES.name).read_bytes()
    time.sleep(0.01)
    (official / IMAGES.name).write_bytes(content)
    CelebA(size=64).prepare()
    assert "Checking" in capsys.readouterr().err


def test_a_damaged_list_is_an_error(coupling: Coupling, made: Path) -> None:
    path = made / ATTRIBUTES.name
    lines = path.read_text().splitlines()
    cases = {
        "line 1 is 'image_id,": ["image_id," + ",".join(NAMES), *lines[2:]],
        "line 2 calls attribute 32 'Grinning', the official list has 'Smiling'": [
            lines[0],
            lines[1].replace("Smiling", "Grinning"),
            *lines[2:],
        ],
        "line 2 names 39 attributes": [lines[0], lines[1].replace("Young", ""), *lines[2:]],
        "line 5 is '000003.jpg": [*lines[:4], lines[4].replace("-1", "0", 1), *lines[5:]],
        "line 6 is '000004.jpg": [*lines[:5], lines[5] + "  1", *lines[6:]],
        "line 1 says 12 images, but 13 follow": [*lines, lines[-1].replace("12.jpg", "13.jpg")],
        "names '000001.jpg' more than once": [*lines[:3], lines[2], *lines[4:]],
        "is one line, 'Hello'": ["Hello"],
    }
    for number, (message, rows) in enumerate(cases.items()):
        path.write_text("\n".join(rows) + "\n" * (1 + number % 2))
        lists._face_list.cache_clear()
        rejected(coupling("check", *OWN), f"{path}: {message}")


def test_a_partition_list_of_other_images_is_an_error(coupling: Coupling, made: Path) -> None:
    path = made / PARTITION.name
    lines = path.read_text().splitlines()
    cases = {
        "has no row for 2 images of list_attr_celeba.txt, '000003.jpg' for one": [*lines[:2], *lines[4:]],
        "line 3 is '000003.jpg 3'; each has an image and 0, 1 or 2": [*lines[:2], "000003.jpg 3", *lines[3:]],
        "line 1 is 'image_id,partition'": ["image_id,partition", *lines],
    }
    for message, rows in cases.items():
        path.write_text("\n".join(rows))
        lists._partition.cache_clear()
        rejected(coupling("check", *OWN, "domains.serious.dataset.partition=test"), f"{path}: {message}")


def rewrite(path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    """Pack a zip anew with each member's name and content changed, or without it."""
    with zipfile.ZipFile(path) as old:
        members = [(name, old.read(name)) for name in old.namelist() if not name.endswith("/")]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in members:
            if changed := change(*member):
                new.writestr(*changed)


def test_missing_images_of_the_list_are_an_error(coupling: Coupling, made: Path) -> None:
    rewrite(made / IMAGES.name, lambda name, content: (name, content) if int(name[-6:-4]) < 8 else None)
    expected = f"{made / IMAGES.name}: lacks 5 of the 12 images of list_attr_celeba.txt, '000008.jpg' for one"
    rejected(coupling("run", *OWN), expected)
    with zipfile.ZipFile(made / IMAGES.name) as opened:
        opened.extractall(made)
    (made / IMAGES.name).unlink()
    rejected(coupling("run", *OWN), f"{made / 'img_align_celeba'}: lacks 5 of the 12", "put the zip itself there")


def test_images_beyond_the_list_are_left_out_and_counted(coupling: Coupling, made: Path) -> None:
    with zipfile.ZipFile(made / IMAGES.name, "a") as opened:
        opened.writestr("img_align_celeba/000001 (1).jpg", b"a copy")
        opened.writestr("__MACOSX/._000001.jpg", b"")
    result = coupling("run", *OWN)
    assert result.exit_code == 0, result.output
    assert "2 images that list_attr_celeba.txt does not name are left out" in result.stderr


LIVE = ("domains.smiling.dataset.cache=false", "domains.serious.dataset.cache=false",
        "domains.smiling.dataset.workers=0", "domains.serious.dataset.workers=0")  # fmt: skip


@pytest.mark.parametrize("way", [(), LIVE], ids=["cache", "live"])
@pytest.mark.parametrize("part", ["content", "header", "size"])
def test_a_damaged_member_of_the_zip_is_an_error(
    part: str, way: tuple[str, ...], coupling: Coupling, made: Path
) -> None:
    path = made / IMAGES.name
    content = bytearray(path.read_bytes())
    for number in range(1, 13):
        begin = content.index(f"{number:06}.jpg".encode()) + 10
        if part == "content":
            content[begin + 500 : begin + 504] = b"torn"
        elif part == "header":
            content[begin - 57 : begin - 54] = b"bad"
        elif part == "size":  # the extra field's: what follows is shifted
            content[begin - 29] = 9
    path.write_bytes(content)
    result = coupling("run", *OWN, *way)
    rejected(result, f"{path}: img_align_celeba/0000", "is damaged in the zip (its CRC-32 is wrong); get the zip again")


@pytest.mark.parametrize("way", [(), LIVE], ids=["cache", "live"])
@pytest.mark.parametrize("content", [b"text", b"\xff\xd8\xff\xe0 no JPEG", b"torn"], ids=["text", "marker", "torn"])
def test_a_file_that_is_not_an_image_is_an_error(
    content: bytes, way: tuple[str, ...], coupling: Coupling, made: Path
) -> None:
    rewrite(made / IMAGES.name, lambda name, whole: (name, whole[:-3000] if content == b"torn" else content))
    rejected(coupling("run", *OWN, *way), "000", ".jpg: ", "get the images again")


def test_an_image_of_another_size_is_an_error(
    official: Path, coupling: Coupling, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(official / IMAGES.name) as opened:
        opened.extractall(official)
    (official / IMAGES.name).unlink()
    file = io.BytesIO()
    Image.new("RGB", (218, 178)).save(file, "JPEG")
    (official / "img_align_celeba/000002.jpg").write_bytes(file.getvalue())
    rejected(coupling("run"), "000002.jpg: is 218x178 pixels, CelebA's aligned images are 178x218", "`verify: false`")
    assert coupling("run", *OWN).exit_code == 0


@pytest.mark.parametrize(("field", "value", "message"), [(8, 1, "is encrypted"), (10, 12, "not deflate")])
def test_encrypted_or_otherwise_compressed_zips_are_errors(
    field: int, value: int, message: str, coupling: Coupling, made: Path
) -> None:
    content = bytearray((made / IMAGES.name).read_bytes())
    begin = 0
    while (begin := content.find(b"PK\1\2", begin + 1)) >= 0:
        content[begin + field] = value
    (made / IMAGES.name).write_bytes(content)
    rejected(coupling("run", *OWN), "img_align_celeba/000001.jpg", message, "unpack them into a folder")


def test_its_options_are_shown() -> None:
    text = " ".join(invoke("plugins", "celeba").stdout.split())
    assert "attributes mapping of text to true | false | null null which of the 40 attributes" in text


def test_an_unknown_attribute_is_an_error(coupling: Coupling) -> None:
    result = coupling("check", "domains.smiling.dataset.attributes={Smilling: true}")
    rejected(result, "domains.smiling.dataset.attributes.Smilling", "did you mean 'Smiling'?")


def test_attributes_that_no_image_has_are_an_error(coupling: Coupling, made: Path) -> None:
    everything = ", ".join(f"{name}: true" for name in NAMES)
    result = coupling("check", *OWN, f"domains.smiling.dataset.attributes={{{everything}}}")
    rejected(result, "domains.smiling.dataset: attributes: no image of partition 'all' has {5_o_Clock_Shadow: true")


def test_selections_with_images_in_common_give_a_warning(coupling: Coupling, made: Path) -> None:
    flags = face_list(made, False).flags
    common = int((flags[:, NAMES.index("Smiling")] & flags[:, NAMES.index("Young")]).sum())
    result = coupling("check", *OWN, "domains.serious.dataset.attributes={Young: true}")
    assert result.exit_code == 0, result.output
    assert f"domains 'smiling' and 'serious' have samples in common: {common} images of" in result.stderr
    assert "in common" not in coupling("check", *OWN).stderr


def test_a_selection_within_another_is_an_error(coupling: Coupling, made: Path) -> None:
    all_images = (*OWN, "domains.serious.dataset.attributes={}")
    rejected(coupling("check", *all_images), "domains 'smiling' and 'serious' have samples in common")
    meant = [f"domains.{name}.dataset.part=all" for name in ("smiling", "serious")]
    result = coupling("check", *all_images, *meant)
    assert result.exit_code == 0, result.output
    assert "have samples in common" in result.stderr


def test_too_little_disk_space_is_an_error(coupling: Coupling, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(10**9, 10**9 - 5, 5)
    monkeypatch.setattr(celeba.shutil, "disk_usage", lambda place: full)
    rejected(coupling("run", *OWN), "the decoded images take 0.0 GB", "`cache: false`", "COUPLING_DATA")
    assert coupling("run", *OWN, *LIVE).exit_code == 0


def test_a_note_that_cannot_be_written_is_ignored(official: Path) -> None:
    notes = official.parent / "file"
    notes.write_text("")
    faces = face_list(official, True)
    assert images_of(official, faces, True, notes)(0).startswith(b"\xff\xd8")


flag_rows = st.integers(1, 6).flatmap(
    lambda count: st.lists(
        st.lists(st.booleans(), min_size=len(NAMES), max_size=len(NAMES)), min_size=count, max_size=count
    )
)


@settings(max_examples=60, deadline=None)
@given(flag_rows, st.sampled_from(["\n", "\r\n"]), st.integers(0, 2), st.booleans(), st.integers(0, 10**6))
def test_lists_are_read_with_any_spacing(rows: list[list[bool]], end: str, empty: int, mark: bool, seed: int) -> None:
    chance = random.Random(seed)

    def spaced(*words: str) -> str:
        return "".join(word + chance.choice((" ", "  ", "\t", " \t ")) for word in words)

    lines = [str(len(rows)), spaced(*NAMES)]
    lines += [spaced(f"{n:06}.jpg", *("1" if flag else "-1" for flag in row)) for n, row in enumerate(rows)]
    folder = data_directory("celeba")
    folder.mkdir(parents=True, exist_ok=True)
    content = end.join(lines) + end * empty
    (folder / ATTRIBUTES.name).write_bytes(b"\xef\xbb\xbf" * mark + content.encode())
    lists._face_list.cache_clear()
    faces = face_list(folder, verify=False)
    assert faces.names == tuple(f"{n:06}.jpg" for n in range(len(rows)))
    assert np.array_equal(faces.flags, np.array(rows))


PAPER = {"Smiling": (97_669, 104_930), "Blond_Hair": (29_983, 172_616), "Eyeglasses": (13_193, 189_406)}
"""Images with and without each attribute (section 4.2)."""


def test_domains_are_as_large_as_the_paper_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # where the data are, not where tests put theirs
    folder = data_directory("celeba")
    try:
        faces = face_list(folder, verify=True)
    except DataError as error:
        pytest.skip(f"needs the official list_attr_celeba.txt: {str(error).partition('. ')[0]}")
    for name, counts in PAPER.items():
        assert tuple(int(faces.where({name: present}).sum()) for present in (True, False)) == counts
