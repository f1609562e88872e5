"""Windows and mirror images of image-folder and huggingface, as training and metrics read them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from coupling.api import parse_config
from coupling.batch import Batch
from coupling.data.batches import Batches
from coupling.data.domain_data import open_domains
from coupling.data.images.folder import ImageFolder
from coupling.errors import ConfigError
from coupling.plugins import Plugins

COUNT, HEIGHT, WIDTH = 5, 7, 9


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images whose pixels tell image, row and column."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    path = tmp_path / "pictures"
    path.mkdir()
    for number in range(COUNT):
        rows, columns = np.mgrid[:HEIGHT, :WIDTH]
        pixels = np.stack([rows, columns, np.full_like(rows, number)], -1).astype(np.uint8)
        Image.fromarray(pixels).save(path / f"{number}.png")
    return path


def pixels(samples):
    return ((samples + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def read(dataset, number, key):
    """What one sample is by definition: (top, left, mirrored) from the pixels, and whether all pixels agree."""
    (made,) = pixels(dataset.augmented([number], [key]))
    mirrored = made[0, 0, 1] > made[0, -1, 1]
    plain = made[:, ::-1] if mirrored else made
    top, left = int(plain[0, 0, 0]), int(plain[0, 0, 1])
    rows, columns = np.mgrid[top : top + dataset.shape[1], left : left + dataset.shape[2]]
    assert np.array_equal(plain, np.stack([rows, columns, np.full_like(rows, number)], -1))
    return top, left, bool(mirrored)


def test_training_reads_every_window_on_both_sides(folder):
    dataset = ImageFolder(path=str(folder), window=(6, 7), flip=True)
    assert dataset.shape == (3, 6, 7)
    found = {read(dataset, key % COUNT, key) for key in range(200)}
    assert found == {(top, left, side) for top in range(2) for left in range(3) for side in (False, True)}


def test_metrics_read_the_middle_not_mirrored(folder):
    dataset = ImageFolder(path=str(folder), window=5, flip=True)
    made = pixels(dataset.batch(range(COUNT)))
    assert made[:, 0, 0].tolist() == [[1, 2, number] for number in range(COUNT)]
    assert torch.equal(dataset[3], dataset.batch([3])[0])


@pytest.mark.parametrize("options", [{"flip": True}, {"window": (7, 9), "flip": True}])
def test_whole_images_are_mirrored_alone(folder, options):
    dataset = ImageFolder(path=str(folder), **options)
    assert {read(dataset, 0, key) for key in range(20)} == {(0, 0, False), (0, 0, True)}


def test_without_them_training_reads_the_images(folder):
    dataset = ImageFolder(path=str(folder))
    assert torch.equal(dataset.augmented([1, 2], [5, 6]), dataset.batch([1, 2]))


def test_the_stored_images_are_the_same_for_all_windows(folder):
    whole, part = ImageFolder(path=str(folder)), ImageFolder(path=str(folder), window=4, flip=True)
    assert whole.fingerprint() == part.fingerprint()
    assert whole.cache.directory == part.cache.directory


def test_a_window_larger_than_the_images_is_an_error(folder):
    with pytest.raises(ConfigError, match="window: 8x8 pixels are more than the images have, 7x9; give a smaller"):
        ImageFolder(path=str(folder), window=8)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_read_depends_on_seed_and_position_alone(folder, processes):
    config = parse_config(
        {
            "name": "windows",
            "domains": {"a": {"dataset": {"name": "image-folder", "path": str(folder), "window": 4, "flip": True}}},
            "generator": {"architecture": "mlp"},
            "discriminator": {"architecture": "mlp"},
        },
        plugins=Plugins(entry_points=False),
    )

    def batches(number):
        data = open_domains(config, Plugins(entry_points=False).registry)["a"]
        data.prepare()
        return Batches(data, 3, Batch(4, processes, number))

    parts = [batches(number) for number in range(processes)]
    whole = Batches(parts[0].data, 3, Batch(4))
    for step in (0, 1, 5):
        together = torch.cat([part.batch(step) for part in parts])
        assert torch.equal(together, whole.batch(step))
    assert not torch.equal(whole.batch(0)[:, 2:], whole.batch(5)[:, 2:])
