from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coupling import ConfigError
from coupling_faces import rendering
from coupling_faces.avatars import Avatars
from coupling_faces.rendering import ATTRIBUTES, MOST_FACES, TRAITS, Attribute, FacePool, Selection, Size

SELECTIONS: list[Selection] = [
    tuple((name, present) for name, present in zip(ATTRIBUTES, values, strict=True) if present is not None)
    for values in itertools.product((None, False, True), repeat=len(ATTRIBUTES))
]


def pool(selection: dict[Attribute, bool], count: int, size: Size = 64, jitter: bool = False) -> FacePool:
    return FacePool(tuple(selection.items()), count, size, jitter)


@st.composite
def faces(draw: st.DrawFn) -> tuple[FacePool, int]:
    count = draw(st.integers(1, MOST_FACES))
    made = FacePool(
        draw(st.sampled_from(SELECTIONS)), count, draw(st.sampled_from(get_args(Size))), draw(st.booleans())
    )
    return made, draw(st.integers(0, count - 1))


def selection_of(number: int) -> Selection:
    """The way back from the first digit of a face's number."""
    if number < 6:
        return ((ATTRIBUTES[number // 2], bool(number % 2)),)
    digits = [(number - 6) // 3**place % 3 for place in range(len(ATTRIBUTES))][::-1]
    return tuple((name, digit == 2) for name, digit in zip(ATTRIBUTES, digits, strict=True) if digit)


@given(faces())
def test_a_face_number_tells_its_pool_and_index_so_no_two_pools_share_one(face: tuple[FacePool, int]) -> None:
    made, index = face
    rest, found_index = divmod(made.number(index), MOST_FACES)
    rest, count = divmod(rest, MOST_FACES)
    rest, is_large = divmod(rest, 2)
    rest, jitter = divmod(rest, 2)
    is_small, selection = divmod(rest, 1000)
    size = 32 if is_small else 128 if is_large else 64
    found = FacePool(selection_of(selection), count + 1, size, bool(jitter))
    assert (found, found_index) == (made, index)


def test_faces_of_one_attribute_are_those_of_earlier_versions() -> None:
    """Their numbers are part of what a configuration means; measured results depend on them."""
    assert pool({"eyeglasses": True}, 10_000).number(0) == 4_009_999_000_000
    assert pool({"blond-hair": False}, 5, 128, True).number(3) == 19_000_004_000_003


def test_domains_with_different_options_have_different_sources() -> None:
    options = itertools.product(SELECTIONS, (10, 20), get_args(Size), (True, False))
    sources = [
        Avatars(attributes=dict(selection), count=count, size=size, jitter=jitter).source
        for selection, count, size, jitter in options
    ]
    assert len(set(sources)) == len(sources)


def test_one_attribute_may_be_given_by_either_option() -> None:
    one, other = Avatars(attribute="smile", present=False), Avatars(attributes={"smile": False})
    assert one.source == other.source == "avatars/smile=false,count=10000,size=64,jitter=false"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either `attribute` and `present`, or `attributes`"),
        ({"attribute": "smile", "present": True, "attributes": {}}, "give either"),
        ({"attribute": "smile"}, "`attribute` and `present` go together"),
        ({"present": False, "attributes": {"smile": True}}, "`attribute` and `present` go together"),
    ],
)
def test_options_that_contradict_each_other_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Avatars(**options)


@pytest.mark.parametrize("index", [-1, 5])
def test_there_are_no_faces_beyond_the_count(index: int) -> None:
    with pytest.raises(IndexError):
        pool({"smile": True}, 5).number(index)


DECIDED: dict[Attribute, tuple[str, ...]] = {
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
        [made.attributes(index) for index in range(count)]
        for made in (pool({attribute: present}, count) for present in (True, False))
    ]
    for trait in set().union(*itertools.chain(*drawn)):
        with_it, without_it = (Counter(face.get(trait) for face in domain) for domain in drawn)
        shared = sum((with_it & without_it).values()) / count
        if trait in DECIDED[attribute]:
            assert shared == 0, trait
        else:
            assert shared > 0.8, (trait, with_it, without_it)
            assert len(with_it) > 1 or trait == "accessoriesColor", f"{trait} does not vary"


def test_glasses_darken_the_eyes_of_a_small_picture() -> None:
    def dark(present: bool) -> float:
        made = pool({"eyeglasses": present}, 24)
        eyes = np.stack([made(index)[20:34, 14:50] for index in range(made.count)])
        return float((eyes.max(-1) < 50).mean())

    assert dark(True) > dark(False) + 0.15


def test_a_face_is_reproduced_and_no_two_are_alike() -> None:
    made = pool({"smile": True}, 8, 128, True)
    pictures = [made(index) for index in range(made.count)]
    assert all(picture.shape == (128, 128, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert all(np.array_equal(made(index), picture) for index, picture in enumerate(pictures))
    assert len({picture.tobytes() for picture in pictures}) == made.count


def test_samples_are_the_pictures_in_the_declared_range() -> None:
    avatars = Avatars(attribute="smile", present=False, count=5)
    batch = avatars.batch([4, 0, 4])  # not prepared: reading draws
    assert batch.shape == (3, *avatars.shape)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()
    picture = pool({"smile": False}, 5)(4)
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
    assert len(list(data.glob("avatars/*.npy"))) == 1

    monkeypatch.setattr(rendering, "version", lambda name: "99")  # a newer renderer may draw otherwise
    avatars().prepare()
    assert len(list(data.glob("avatars/*.npy"))) == 2


def test_the_traits_of_every_face_are_those_that_were_drawn() -> None:
    avatars = Avatars(attributes={"smile": True, "eyeglasses": False}, count=30)
    found = avatars.attributes()
    assert list(found) == list(TRAITS)
    for index in range(30):
        drawn = avatars.drawn(index)
        traits = {name: TRAITS[name][int(values[index])] for name, values in found.items()}
        assert traits.pop("smile") == "yes"
        assert traits.pop("eyeglasses") == "no"
        assert traits.pop("blond-hair") == ("yes" if drawn["hairColor"] in ("#e8c04f", "#f2dc8c") else "no")
        assert {name: value for name, value in traits.items() if value} == drawn
    assert all(values.dtype == torch.int64 and values.shape == (30,) for values in found.values())
    assert all(found[name].unique().numel() > 1 for name in ("top", "hairColor", "skinColor", "clothes", "mouth"))


def test_several_attributes_hold_at_once() -> None:
    count = 60
    for smile, glasses in itertools.product((True, False), repeat=2):
        faces = [pool({"eyeglasses": glasses, "smile": smile}, count).attributes(index) for index in range(count)]
        assert {"accessories" in face for face in faces} == {glasses}
        assert {face["mouth"] in ("smile", "default") for face in faces} == {smile}
    of_all_kinds = [pool({}, count).attributes(index) for index in range(count)]
    assert {"accessories" in face for face in of_all_kinds} == {True, False}


def test_held_out_faces_are_others_of_the_same_kind() -> None:
    avatars = Avatars(attributes={"smile": True}, count=9, size=128, jitter=True)
    held_out = avatars.held_out()
    assert (len(held_out), held_out.shape) == (4, avatars.shape)
    assert held_out.source != avatars.source
    assert {held_out.drawn(index)["mouth"] for index in range(4)} <= {"smile", "default"}
    assert len(Avatars(attributes={}, count=1).held_out()) == 2


def test_the_key_depends_on_the_style_of_the_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    made = pool({"smile": True}, 3)
    recipe = made.recipe()
    assert json.loads(json.dumps(recipe)) == recipe
    assert pool({"smile": True}, 3).recipe() == recipe
    monkeypatch.setattr(rendering, "_PERCENT", {"accessories": 50, "facialHair": 15})
    assert made.recipe() != recipe


def test_worker_processes_import_neither_torch_nor_coupling() -> None:
    program = "import sys, coupling_faces.rendering; print({'torch', 'coupling'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert printed.stdout.strip() == "set()"
