from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coupling_faces import rendering
from coupling_faces.avatars import Avatars
from coupling_faces.rendering import MOST_FACES, Attribute, FacePool, Size

ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of avatars, empty."""
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    return tmp_path / "avatars"


@st.composite
def faces(draw: st.DrawFn) -> tuple[FacePool, int]:
    count = draw(st.integers(1, MOST_FACES))
    pool = FacePool(
        draw(st.sampled_from(ATTRIBUTES)),
        draw(st.booleans()),
        count,
        draw(st.sampled_from(get_args(Size))),
        draw(st.booleans()),
    )
    return pool, draw(st.integers(0, count - 1))


@given(faces())
def test_a_face_number_tells_its_pool_and_index_so_no_two_pools_share_one(face: tuple[FacePool, int]) -> None:
    pool, index = face
    rest, found_index = divmod(pool.number(index), MOST_FACES)
    rest, count = divmod(rest, MOST_FACES)
    rest, size = divmod(rest, 2)
    rest, jitter = divmod(rest, 2)
    attribute, present = divmod(rest, 2)
    found = FacePool(ATTRIBUTES[attribute], bool(present), count + 1, get_args(Size)[size], bool(jitter))
    assert (found, found_index) == (pool, index)


def test_domains_with_different_options_have_different_sources() -> None:
    options = itertools.product(ATTRIBUTES, (True, False), (10, 20), get_args(Size), (True, False))
    sources = [
        Avatars(attribute=attribute, present=present, count=count, size=size, jitter=jitter).source
        for attribute, present, count, size, jitter in options
    ]
    assert len(set(sources)) == len(sources)


@pytest.mark.parametrize("index", [-1, 5])
def test_there_are_no_faces_beyond_the_count(index: int) -> None:
    with pytest.raises(IndexError):
        FacePool("smile", True, 5, 64, False).number(index)


TRAITS: dict[Attribute, tuple[str, ...]] = {
    "eyeglasses": ("accessories", "accessoriesColor"),
    "smile": ("mouth",),
    "blond-hair": ("hairColor",),
}
"""What an attribute decides; all else is free."""


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_the_attribute_alone_sets_two_domains_apart(attribute: Attribute) -> None:
    """The domains have no value of the attribute's trait in common, and the same share of all others."""
    count = 400
    drawn = [
        [pool.attributes(index) for index in range(count)]
        for pool in (FacePool(attribute, present, count, 64, False) for present in (True, False))
    ]
    for trait in set().union(*itertools.chain(*drawn)):
        with_it, without_it = (Counter(face.get(trait) for face in domain) for domain in drawn)
        shared = sum((with_it & without_it).values()) / count
        if trait in TRAITS[attribute]:
            assert shared == 0, trait
        else:
            assert shared > 0.8, (trait, with_it, without_it)
            assert len(with_it) > 1 or trait == "accessoriesColor", f"{trait} does not vary"


def test_glasses_darken_the_eyes_of_a_small_picture() -> None:
    def dark(present: bool) -> float:
        pool = FacePool("eyeglasses", present, 24, 64, False)
        eyes = np.stack([pool(index)[20:34, 14:50] for index in range(pool.count)])
        return float((eyes.max(-1) < 50).mean())

    assert dark(True) > dark(False) + 0.15


def test_a_face_is_reproduced_and_no_two_are_alike() -> None:
    pool = FacePool("smile", True, 8, 128, True)
    pictures = [pool(index) for index in range(pool.count)]
    assert all(picture.shape == (128, 128, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert all(np.array_equal(pool(index), picture) for index, picture in enumerate(pictures))
    assert len({picture.tobytes() for picture in pictures}) == pool.count


def test_samples_are_the_pictures_in_the_declared_range() -> None:
    avatars = Avatars(attribute="smile", present=False, count=5)
    batch = avatars.batch([4, 0, 4])  # not prepared: reading draws
    assert batch.shape == (3, *avatars.shape)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()
    picture = FacePool("smile", False, 5, 64, False)(4)
    assert torch.equal(batch[0], torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1)
    assert torch.equal(batch, torch.stack([avatars[4], avatars[0], avatars[4]]))
    assert avatars.range[0] <= batch.min() < batch.max() <= avatars.range[1]


def test_faces_are_drawn_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def avatars() -> Avatars:
        return Avatars(attribute="blond-hair", present=True, count=3)

    first = avatars()
    first.prepare()
    fingerprint = first.fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(FacePool, "__call__", lambda pool, index: pytest.fail("drawn again"))
        again = avatars()
        again.prepare()
        assert torch.equal(first[2], again[2])
        assert again.fingerprint() == fingerprint
    assert len(list(data.glob("*.npy"))) == 1

    monkeypatch.setattr(rendering, "version", lambda name: "99")  # a newer renderer may draw otherwise
    avatars().prepare()
    assert len(list(data.glob("*.npy"))) == 2


def test_the_recipe_follows_what_faces_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = FacePool("smile", True, 3, 64, False)
    recipe = pool.recipe()
    assert json.loads(json.dumps(recipe)) == recipe
    assert FacePool("smile", True, 3, 64, False).recipe() == recipe
    monkeypatch.setattr(rendering, "_PERCENT", {"accessories": 50, "facialHair": 15})
    assert pool.recipe() != recipe


def test_worker_processes_import_neither_torch_nor_coupling() -> None:
    program = "import sys, coupling_faces.rendering; print({'torch', 'coupling'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert printed.stdout.strip() == "set()"
