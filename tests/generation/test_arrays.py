"""Samples that are not images: how they are written, and read again."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from coupling.api import load_model
from coupling.data.pictures import to_pixels
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.generation.arrays import array_file, array_header
from coupling.generation.given_samples import read_samples
from coupling.generation.samples import write_samples
from coupling.generation.selection import BLOCK, Selection
from coupling.training.trainer import train
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny

ROW = Domain("row", (4,), (-1.0, 1.0))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a domain of images, one of rows, and one that is not drawn."""
    path = tmp_path_factory.mktemp("runs") / "run"
    return train(tiny.config(*tiny.MIXED), path, plugins=tiny.plugins()).path


@pytest.fixture(scope="module")
def model(run):
    return load_model(run, plugins=tiny.plugins())


def contents(root, kind):
    """{(domain, number, suffix): content} of a zip or a webdataset, read without our code."""
    found = {}
    if kind == "zip":
        for path in root.glob("*.zip"):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    number, suffix = name.split(".")
                    found[path.stem, int(number), suffix] = archive.read(name)
        return found
    for path in root.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                number, domain, suffix = member.name.split(".")
                found[domain, int(number), suffix] = tar.extractfile(member).read()
    return found


@given(arrays.arrays(np.float32, arrays.array_shapes(max_dims=4), elements=st.floats(-1, 1, width=32)))
def test_an_array_is_the_file_that_numpy_writes(array):
    expected = io.BytesIO()
    np.save(expected, array)
    assert array_file(torch.from_numpy(array)) == expected.getvalue()
    assert array_file(torch.from_numpy(array)).startswith(array_header(array.shape))


def test_a_folder_has_one_array_for_each_domain_and_the_drawings(model, tmp_path, monkeypatch):
    monkeypatch.setattr("coupling.generation.samples.PART", 4)
    root = write_samples(Selection(model, 3), tmp_path / "set", 10)
    samples = model.sample(10, seed=3, batch_size=BLOCK)
    for name in "bc":
        np.testing.assert_allclose(np.load(root / f"{name}.npy"), samples[name], atol=1e-6)
    assert sorted(p.name for p in root.iterdir()) == ["a", "b", "b.npy", "c.npy", "grid.png", "manifest.json"]
    drawn = to_pixels(torch.from_numpy(np.load(root / "b.npy")), model.domains["b"])
    for number in range(10):
        assert np.array_equal(np.asarray(Image.open(root / "b" / f"{number:06d}.png")), drawn[number])
    described = json.loads((root / "manifest.json").read_text())["domains"]
    assert described["b"] == {"shape": [16], "range": [-1.0, 1.0], "files": ["npy", "png"]}
    assert described["c"]["files"] == ["npy"]
    assert described["a"]["mode"] == "L"


@pytest.mark.parametrize("kind", ["zip", "webdataset"])
def test_zips_and_webdatasets_carry_the_arrays(model, tmp_path, kind):
    root = write_samples(Selection(model, 3), tmp_path / "set", 6, kind)
    samples = model.sample(6, seed=3, batch_size=BLOCK)
    found = contents(root, kind)
    files = [("a", "png"), ("b", "npy"), ("b", "png"), ("c", "npy")]
    assert sorted(found) == sorted((name, number, suffix) for name, suffix in files for number in range(6))
    for name in "bc":
        for number in range(6):
            array = np.load(io.BytesIO(found[name, number, "npy"]))
            np.testing.assert_allclose(array, samples[name][number], atol=1e-6)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the library leaves its files to the garbage collector
def test_webdataset_decodes_the_arrays(model, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    root = write_samples(Selection(model, 3), tmp_path / "set", 3, "webdataset")
    read = list(webdataset.WebDataset(str(root / "pairs-000000.tar"), shardshuffle=False).decode("l8"))
    samples = model.sample(3, seed=3, batch_size=BLOCK)
    for number, sample in enumerate(read):
        np.testing.assert_allclose(sample["b.npy"], samples["b"][number], atol=1e-6)


def test_a_missing_array_of_a_complete_set_is_an_error(model, tmp_path):
    write_samples(Selection(model), tmp_path / "set", 3)
    (tmp_path / "set" / "c.npy").unlink()
    with pytest.raises(InputError, match=r"1 of its files are missing \(c.npy\)"):
        write_samples(Selection(model), tmp_path / "set", 3)


# -- given arrays ---------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """Save an array as a file."""

    def save(array, name="x.npy"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        np.save(path, array)
        return path

    return save


def test_a_file_holds_one_sample_or_several(saved):
    one, several = np.linspace(-1, 1, 4), np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    given = read_samples([saved(one), saved(several, "many.npy")], ROW)
    assert given.names == ["x", "many-000000", "many-000001", "many-000002"]
    assert given.samples.dtype == torch.float32
    assert np.array_equal(given.samples.numpy(), np.stack([one.astype(np.float32), *several]))
    assert given.changes == [""] * 4


def test_folders_and_zips_of_arrays(saved, tmp_path):
    saved(np.zeros(4), "set/b.npy"), saved(np.ones(4), "set/a.npy")
    (tmp_path / "set" / "a.png").write_bytes(b"a drawing")
    assert read_samples([tmp_path / "set"], ROW).names == ["a", "b"]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("b.npy", "a.npy", "a.png"):
            archive.write(tmp_path / "set" / name, name)
    given = read_samples([tmp_path / "set.zip"], ROW)
    assert given.names == ["a", "b"]
    assert given.samples[:, 0].tolist() == [1, 0]


def test_an_array_may_hold_images(saved):
    domain = Domain("gray", (1, 2, 2), (0.0, 1.0))
    given = read_samples([saved(np.full((5, 1, 2, 2), 0.3))], domain)
    assert given.samples.shape == (5, 1, 2, 2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"x.npy: holds an array of shape \(5,\); samples of domain 'row' are arrays of shape \(4,\)"),
        (np.full(4, 1.5), r"x.npy: values lie in \[1.5, 1.5\]; scale them into \[-1, 1\]"),
        (np.array([0, 0, 0, np.nan]), r"values lie in \[nan, nan\]"),
        (np.array([0, 0, np.inf, 0]), r"values lie in \[0, inf\]"),
        (np.zeros(4, complex), "holds values of type complex128; give real numbers"),
        (np.array(["a"] * 4), "holds values of type <U1"),
        (np.zeros((0, 4)), r"x.npy: holds no sample"),
    ],
)
def test_arrays_that_do_not_fit_are_errors(saved, array, message):
    with pytest.raises(InputError, match=message):
        read_samples([saved(array)], ROW)


def test_pickles_damaged_files_and_empty_folders_are_errors(saved, tmp_path):
    path = tmp_path / "objects.npy"
    np.save(path, np.array([{}], object), allow_pickle=True)
    whole = saved(np.zeros(4))
    cut = tmp_path / "cut.npy"
    cut.write_bytes(whole.read_bytes()[:-3])
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.zip").write_bytes(b"x")
    for bad in (path, cut):
        with pytest.raises(InputError, match=r"not a .npy, damaged, or of Python objects"):
            read_samples([bad], ROW)
    with pytest.raises(InputError, match=r"empty: holds no .npy"):
        read_samples([tmp_path / "empty"], ROW)
    with pytest.raises(InputError, match=r"no.zip: cannot be read: File is not a zip file"):
        read_samples([tmp_path / "no.zip"], ROW)


# -- the commands ---------------------------------------------------------------------------------


def test_what_sample_writes_transform_reads(command, run, model):
    assert command("sample", run, "--count", 4, "--seed", 5, "--plugin", TINY, "--output", "set").exit_code == 0
    result = command("transform", run, "set/b.npy", "--from", "b", "--plugin", TINY, "--output", "out", "--no-flag")
    assert result.exit_code == 0, result.output
    with Path("out/errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [f"b-{number:06d}" for number in range(4)]
    assert all(float(row["error"]) < 0.02 for row in rows)  # the model can draw them
    samples = model.sample(4, seed=5, batch_size=BLOCK)
    for number in range(4):
        again = np.load(f"out/b/b-{number:06d}.npy")
        assert np.abs(again - samples["b"][number].numpy()).max() < 0.1
        assert np.load(f"out/c/b-{number:06d}.npy").shape == (2, 4, 4)
        assert Path(f"out/a/b-{number:06d}.png").exists()
        assert Path(f"out/b/b-{number:06d}.png").exists()
    assert not list(Path("out/c").glob("*.png"))
    assert Path("out/grid.png").exists()


def test_an_image_is_translated_into_a_domain_that_is_not_drawn(command, run):
    Image.new("L", (4, 4), 90).save("x.png")
    quick = ["--no-flag", "--iterations", 1, "--restarts", 1]
    result = command("transform", run, "x.png", "--from", "a", "--to", "c", "--plugin", TINY, "--output", "out", *quick)
    assert result.exit_code == 0, result.output
    assert np.load("out/c/x.npy").shape == (2, 4, 4)


def test_an_array_that_does_not_fit_writes_nothing(command, run):
    np.save("x.npy", np.zeros(5))
    result = command("transform", run, "x.npy", "--from", "b", "--plugin", TINY, "--output", "out")
    rejected(result, "x.npy: holds an array of shape (5,)")
    assert not Path("out").exists()


def test_check_says_how_each_domain_is_written_and_drawn(command):
    overrides = [word for change in tiny.MIXED for word in ("--set", change)]
    Path("c.yaml").write_text(yaml.safe_dump(tiny.values(), sort_keys=False))
    result = command("check", "c.yaml", "--plugin", TINY, *overrides)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split()[-2:] for line in result.stdout.splitlines()[2:5]}
    lines = result.stdout.splitlines()
    assert lines[1].split()[-2:] == ["written", "drawn"]
    assert rows["a"] == ["png", "image"]
    assert rows["b"] == ["png", "line"]  # npy, png
    assert "npy, png" in lines[3]
    assert rows["c"] == ["npy", "no"]
