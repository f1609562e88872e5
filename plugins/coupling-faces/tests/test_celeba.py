from __future__ import annotations

import io
import itertools
import pickle
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydantic
import pytest
import torch
from PIL import Image

from coupling import ConfigError, RunError, data_directory
from coupling.testing import options_of, training_batches
from coupling_faces import live
from coupling_faces.celeba import CelebA
from coupling_faces.decoding import Decoder
from coupling_faces.lists import NAMES
from coupling_faces.testing import write_celeba

COUNT = 20
PLACES = ("", "Img/", "img_align_celeba/")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up files, the images in a zip; nothing may be changed there."""
    path = tmp_path_factory.mktemp("celeba")
    write_celeba(path, COUNT)
    return path


@pytest.fixture(scope="module")
def flags(folder: Path) -> Mapping[str, list[bool]]:
    """The attributes, read from the list the plain way."""
    rows = (folder / "list_attr_celeba.txt").read_text().splitlines()
    names = rows[1].split()
    values = [row.split()[1:] for row in rows[2:]]
    return {name: [row[column] == "1" for row in values] for column, name in enumerate(names)}


@pytest.fixture(scope="module")
def unpacked(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, the images in a folder, as they are after unpacking."""
    path = tmp_path_factory.mktemp("unpacked")
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (path / name).write_bytes((folder / name).read_bytes())
    with zipfile.ZipFile(folder / "img_align_celeba.zip") as archive:
        archive.extractall(path)
    return path


@pytest.fixture(scope="module")
def workers() -> Iterator[None]:
    """Processes are kept from one test to the next, and end after the last."""
    yield
    live._workers.cache_clear()


def celeba(folder: Path, **options: Any) -> CelebA:
    return CelebA(path=str(folder), verify=False, **options)


def photographs(unpacked: Path) -> list[Image.Image]:
    files = sorted((unpacked / "img_align_celeba").iterdir())
    return [Image.open(io.BytesIO(path.read_bytes())) for path in files]


def pixels(samples: torch.Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Samples in [-1, 1] as uint8 (B, height, width, 3)."""
    return samples.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()


WAYS: list[dict[str, Any]] = [{"cache": True}, {"cache": False, "workers": 0}, {"cache": False, "workers": 2}]


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("images", ["folder", "unpacked"])
def test_samples_are_the_resized_photographs(images: str, way: dict[str, Any], request: Any, unpacked: Path) -> None:
    made = celeba(request.getfixturevalue(images), **way)
    assert (len(made), made.shape, made.range) == (COUNT, (3, 128, 128), (-1.0, 1.0))
    made.prepare()
    batch = made.batch([3, 0, 19, 3])
    assert batch.dtype == torch.float32
    assert batch.shape == (4, 3, 128, 128)
    expected = [np.asarray(image.resize((132, 132), Image.Resampling.LANCZOS)) for image in photographs(unpacked)]
    for sample, number in zip(pixels(batch), (3, 0, 19, 3), strict=True):
        assert np.array_equal(sample, expected[number][2:130, 2:130])
    assert torch.equal(made[19], batch[2])


def test_training_reads_every_window_of_the_resized_image(folder: Path, unpacked: Path) -> None:
    made = celeba(folder, size=64, resize=66, flip=True)
    whole = np.asarray(photographs(unpacked)[7].resize((66, 66), Image.Resampling.LANCZOS))
    windows = {
        (top, left, flip): whole[top : top + 64, left : left + 64][:, :: -1 if flip else 1].tobytes()
        for top, left, flip in itertools.product(range(3), range(3), (False, True))
    }
    read = [sample.tobytes() for sample in pixels(made.augmented([7] * 300, list(range(10**9, 10**9 + 300))))]
    assert set(read) == set(windows.values())


@pytest.mark.parametrize(("flip", "seen"), [(False, 1), (True, 2)])
def test_the_middle_is_read_where_that_is_wanted(folder: Path, flip: bool, seen: int) -> None:
    made = celeba(folder, size=64, crop="centre", flip=flip)
    middle = pixels(made.batch([4]))[0]
    read = {sample.tobytes() for sample in pixels(made.augmented([4] * 50, list(range(50))))}
    assert read == {middle.tobytes(), middle[:, ::-1].tobytes()} if flip else {middle.tobytes()}
    assert len(read) == seen


def test_the_paper_s_sizes_are_the_default_and_others_follow(folder: Path) -> None:
    sides = {size: celeba(folder, size=size)._side for size in (128, 64, 96, 160, 8)}
    assert sides == {128: 132, 64: 66, 96: 99, 160: 165, 8: 8}


def test_a_square_is_stretched_or_cut_out(folder: Path, unpacked: Path) -> None:
    image = photographs(unpacked)[2]
    cut = image.crop((0, 20, 178, 198)).resize((64, 64), Image.Resampling.LANCZOS)
    stretched = image.resize((64, 64), Image.Resampling.LANCZOS)
    for aspect, expected in (("crop", cut), ("stretch", stretched)):
        sample = pixels(celeba(folder, size=64, resize=64, aspect=aspect).batch([2]))[0]
        assert np.array_equal(sample, np.asarray(expected))


def test_a_domain_holds_all_images_with_its_attributes(folder: Path, flags: Mapping[str, list[bool]]) -> None:
    whole = celeba(folder)
    for selection in ({"Smiling": True}, {"Smiling": False}, {"Smiling": True, "Eyeglasses": False, "Young": True}):
        made = celeba(folder, attributes=selection)
        expected = [n for n in range(COUNT) if all(flags[name][n] == present for name, present in selection.items())]
        assert len(made) == len(expected)
        assert torch.equal(made.batch(range(len(made))), whole.batch(expected))


def test_four_domains_of_two_attributes_are_disjoint_and_all(folder: Path) -> None:
    made = [
        celeba(folder, attributes={"Smiling": smiling, "Eyeglasses": glasses})
        for smiling, glasses in itertools.product((True, False), repeat=2)
    ]
    assert sum(len(domain) for domain in made) == COUNT
    assert len({domain.source for domain in made}) == 4
    assert [one.overlap(other) for one, other in itertools.combinations(made, 2)] == [None] * 6


def test_the_images_that_two_selections_share_are_counted(folder: Path, flags: Mapping[str, list[bool]]) -> None:
    common = sum(s and g for s, g in zip(flags["Smiling"], flags["Eyeglasses"], strict=True))
    smiling, glasses = (celeba(folder, attributes={name: True}) for name in ("Smiling", "Eyeglasses"))
    assert common > 0
    assert smiling.overlap(glasses) == f"{common} images of {smiling.source} are of {glasses.source} too"
    assert f"{common} images" in glasses.overlap(smiling)
    assert smiling.overlap(SimpleNamespace()) is None


def test_the_source_depends_on_the_selection_alone(folder: Path) -> None:
    one = celeba(folder, attributes={"Smiling": True, "Eyeglasses": False}, size=64)
    other = celeba(folder, attributes={"Eyeglasses": False, "Smiling": True}, cache=False, flip=True)
    assert one.source == other.source == "celeba/all/eyeglasses=false,smiling=true"
    assert celeba(folder, partition="train").source == "celeba/train/"


def test_partitions_are_the_authors(folder: Path, flags: Mapping[str, list[bool]]) -> None:
    rows = (folder / "list_eval_partition.txt").read_text().splitlines()
    whole = celeba(folder)
    for number, name in enumerate(("train", "valid", "test")):
        expected = [n for n, row in enumerate(rows) if row.split()[1] == str(number)]
        made = celeba(folder, partition=name)
        assert torch.equal(made.batch(range(len(made))), whole.batch(expected))
    gender = flags["Male"][rows.index("000010.jpg 2")]
    held_out = celeba(folder, partition="train", attributes={"Male": gender}, size=64).held_out()
    assert held_out is not None
    assert held_out.source == f"celeba/test/male={gender}".lower()
    assert held_out.shape == (3, 64, 64)
    assert whole.held_out() is None
    assert celeba(folder, partition="test").held_out() is None


def test_the_partition_list_is_needed_for_a_partition_only(folder: Path, tmp_path: Path) -> None:
    for name in ("list_attr_celeba.txt", "img_align_celeba.zip"):
        (tmp_path / name).symlink_to(folder / name)
    assert len(celeba(tmp_path).batch([0])) == 1


def test_all_attributes_are_known_of_every_sample(folder: Path, flags: Mapping[str, list[bool]]) -> None:
    made = celeba(folder, attributes={"Smiling": False})
    found = made.attributes()
    assert tuple(found) == NAMES == tuple(flags)
    chosen = [n for n in range(COUNT) if not flags["Smiling"][n]]
    for name, values in found.items():
        assert values.dtype == torch.int64
        assert values.tolist() == [flags[name][n] for n in chosen]
    assert made.labels is None


def read_by(made: CelebA, process: int = 0, processes: int = 1) -> Callable[[int], torch.Tensor]:
    return training_batches(made, 4, seed=3, process=process, processes=processes)


@pytest.mark.usefixtures("workers")
def test_training_reads_the_same_in_every_way_and_on_two_processes(folder: Path) -> None:
    reference = read_by(celeba(folder, size=64, flip=True, cache=False, workers=0))
    steps = range(7)  # beyond the first epoch
    expected = {step: reference(step) for step in steps}
    assert not torch.equal(expected[0], expected[5])
    for way in WAYS:
        read = read_by(celeba(folder, size=64, flip=True, **way))
        assert all(torch.equal(read(step), expected[step]) for step in steps)
        later = read_by(celeba(folder, size=64, flip=True, **way))
        assert torch.equal(later(6), expected[6])  # as after a resume
        halves = [read_by(celeba(folder, size=64, flip=True, **way), rank, 2) for rank in (0, 1)]
        assert torch.equal(torch.cat([half(5) for half in halves]), expected[5])


@pytest.mark.usefixtures("workers")
def test_workers_decode_expected_samples_in_advance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = celeba(folder, size=64, cache=False, workers=2)
    begun: list[list[int]] = []
    begin = live.LiveImages._begin
    monkeypatch.setattr(live.LiveImages, "_begin", lambda self, numbers: begun.append(numbers) or begin(self, numbers))
    made.expect([1, 2, 3], [0, 0, 0])
    deadline = time.monotonic() + 60
    while not all(future.done() for future in made._live._ahead[1]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    made.batch([5])  # a metric, in between
    expected = made.batch([1, 2, 3])
    assert begun == [[1, 2, 3], [5]]
    assert torch.equal(expected, celeba(folder, size=64, cache=False, workers=0).batch([1, 2, 3]))


def test_domains_have_their_workers_in_common(folder: Path) -> None:
    one, other = (celeba(folder, attributes={"Smiling": smiling}, cache=False, workers=1) for smiling in (True, False))
    assert one._live.decoder is other._live.decoder
    assert live._workers(one._live.decoder, 1) is live._workers(other._live.decoder, 1)
    live._workers.cache_clear()


def test_a_worker_that_dies_is_an_error(folder: Path) -> None:
    made = celeba(folder, size=64, cache=False, workers=1)
    made.batch([0])
    for process in live._workers(made._live.decoder, 1)._executor._processes.values():
        process.kill()
    with pytest.raises(RunError, match=r"a worker process that decodes images died.*lower `workers`"):
        made.batch([0])
    live._workers.cache_clear()


def test_images_are_decoded_once_for_all_selections(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    original = Decoder.__call__
    monkeypatch.setattr(Decoder, "__call__", lambda self, number: decoded.append(number) or original(self, number))
    for selection in ({"Smiling": True}, {"Smiling": False}, {"Young": True}):
        celeba(folder, attributes=selection, size=64).prepare()
    celeba(folder, size=60, resize=66, partition="test").prepare()
    assert decoded == list(range(COUNT))
    assert len(list((data_directory("celeba") / "prepared").glob("*.npy"))) == 1
    celeba(folder, size=64, aspect="crop").prepare()
    assert len(decoded) == 2 * COUNT


def test_an_image_that_changes_is_decoded_again(unpacked: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    (copy / "img_align_celeba").mkdir(parents=True)
    for path in (*unpacked.glob("*.txt"), *unpacked.glob("*/*.jpg")):
        (copy / path.relative_to(unpacked)).write_bytes(path.read_bytes())
    before, print_before = celeba(copy, size=64).batch([0, 1]), celeba(copy, size=64).fingerprint()
    (copy / "img_align_celeba/000001.jpg").write_bytes((copy / "img_align_celeba/000003.jpg").read_bytes())
    (copy / "img_align_celeba/000004.jpg").replace(copy / "img_align_celeba/x.jpg")  # the folder's own time changes
    (copy / "img_align_celeba/x.jpg").replace(copy / "img_align_celeba/000004.jpg")
    after = celeba(copy, size=64)
    assert not torch.equal(after.batch([0]), before[:1])
    assert torch.equal(after.batch([1]), before[1:])
    assert after.fingerprint() != print_before
    assert len(list((data_directory("celeba") / "prepared").glob("*.npy"))) == 1  # the earlier images are removed


def test_the_fingerprint_tells_images_and_selection_not_the_place(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert celeba(folder).fingerprint() == celeba(tmp_path, cache=False).fingerprint()
    prints = {
        celeba(folder, **options).fingerprint()
        for options in ({}, {"partition": "train"}, {"attributes": {"Male": True}}, {"size": 64}, {"aspect": "crop"})
    }
    assert len(prints) == 5


def test_it_can_be_sent_to_another_process(folder: Path) -> None:
    made = celeba(folder, size=64, cache=False, workers=0)
    sample = made[3]
    assert torch.equal(pickle.loads(pickle.dumps(made))[3], sample)


@pytest.mark.parametrize("place", ["Img/img_align_celeba.zip", *(f"{above}img_align_celeba" for above in PLACES)])
def test_files_may_lie_as_on_the_authors_drive(place: str, folder: Path, unpacked: Path, tmp_path: Path) -> None:
    source = folder / "img_align_celeba.zip" if place.endswith("zip") else unpacked / "img_align_celeba"
    for path, target in ((place, source), ("Anno/list_attr_celeba.txt", folder / "list_attr_celeba.txt")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(target)
    assert torch.equal(celeba(tmp_path, size=64)[5], celeba(folder, size=64)[5])


def test_stored_members_are_read_as_well_as_deflated_ones(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list_attr_celeba.txt").symlink_to(folder / "list_attr_celeba.txt")
    with (
        zipfile.ZipFile(folder / "img_align_celeba.zip") as old,
        zipfile.ZipFile(tmp_path / "img_align_celeba.zip", "w") as new,
    ):
        for number, member in enumerate(reversed(old.infolist())):
            method = zipfile.ZIP_STORED if number % 2 else zipfile.ZIP_DEFLATED
            new.writestr(member.filename.rpartition("/")[2] or "empty/", old.read(member), method)
    made = celeba(tmp_path, size=64, cache=False, workers=0)
    assert torch.equal(made.batch(range(COUNT)), celeba(folder, size=64).batch(range(COUNT)))


def test_options_are_checked_with_the_nearest_name(folder: Path) -> None:
    options = options_of(CelebA)
    with pytest.raises(pydantic.ValidationError, match="no attribute is called 'Smilling'; did you mean 'Smiling'"):
        options.model_validate({"attributes": {"Smilling": True}})
    with pytest.raises(pydantic.ValidationError, match="did you mean 'Eyeglasses'"):
        options.model_validate({"attributes": {"eyeglasses": True}})
    with pytest.raises(ConfigError, match=r"^attributes: no attribute is called 'Smilin'; did you mean 'Smiling'\?$"):
        celeba(folder, attributes={"Smilin": True})
    assert options.model_json_schema()["properties"]["attributes"]["propertyNames"]["enum"] == list(NAMES)
    with pytest.raises(ConfigError, match=r"resize: 100 pixels are less than `size`, 128, .* give 128 or more"):
        celeba(folder, resize=100)


def test_grey_photographs_become_colour(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "img_align_celeba").mkdir()
    (tmp_path / "list_attr_celeba.txt").write_bytes((unpacked / "list_attr_celeba.txt").read_bytes())
    for path in (unpacked / "img_align_celeba").iterdir():
        file = io.BytesIO()
        Image.open(io.BytesIO(path.read_bytes())).convert("L").save(file, "JPEG")
        (tmp_path / "img_align_celeba" / path.name).write_bytes(file.getvalue())
    sample = celeba(tmp_path, size=64)[0]
    assert torch.equal(sample[0], sample[1])
