"""The data set `rendered-objects`."""

from __future__ import annotations

import colorsys
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coupling import ConfigError
from coupling_rgbd.objects import CATEGORIES
from coupling_rgbd.rendered_objects import RenderedObjects
from coupling_rgbd.rendering import PLANES, Scene

COUNT = 44


@pytest.fixture(scope="module", autouse=True)
def _data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One pool for all tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUPLING_DATA", str(tmp_path_factory.mktemp("data")))
        yield


def _objects(modality: Any, count: int = COUNT, **options: Any) -> RenderedObjects:
    return RenderedObjects(modality=modality, count=count, **options)


@pytest.mark.parametrize(("modality", "noise"), [("color", False), ("depth", False), ("depth", True)])
def test_samples_have_the_declared_shape_and_range(modality: str, noise: bool) -> None:
    objects = _objects(modality, noise=noise)
    batch = objects.batch(range(COUNT))
    low, high = objects.range
    assert batch.shape == (COUNT, *objects.shape)
    assert batch.dtype == torch.float32
    assert low <= batch.min()
    assert batch.max() <= high
    assert batch.max() - batch.min() > 0.9 * (high - low)
    assert torch.equal(batch[5], objects[5])
    assert torch.equal(batch[[7, 3]], objects.batch([7, 3]))
    with pytest.raises(IndexError):
        objects[COUNT]


def test_source_and_length_are_those_of_the_pool() -> None:
    pool = [_objects("color"), _objects("depth"), _objects("depth", noise=True), _objects("color", size=128)]
    assert len({(o.source, len(o)) for o in pool}) == 1
    assert len({o.fingerprint() for o in pool}) == len(pool)
    assert _objects("color", count=COUNT + 1).source != pool[0].source


def test_pair_is_the_pool_s_colour_and_depth_of_one_object() -> None:
    colour, depth = _objects("color"), _objects("depth")
    for number in (0, 17, COUNT - 1):
        pair = colour.pair(number)
        assert torch.equal(pair[0], colour[number])
        assert torch.equal(pair[1], depth[number])


def test_pairs_outside_the_pool_are_new_objects() -> None:
    objects = _objects("color")
    assert (objects.batch(range(COUNT)) != objects.pair(COUNT)[0]).flatten(1).any(dim=1).all()


def test_pools_of_different_count_share_no_object() -> None:
    one, other = _objects("color"), _objects("color", count=COUNT + 11)
    assert all(not torch.equal(one.pair(n)[0], other.pair(n)[0]) for n in range(11))


def test_depth_in_metres() -> None:
    depth = torch.tensor([0.0, 1e-4, 0.5, 1.0])
    expected = torch.tensor([0.0, PLANES.near, (PLANES.near + PLANES.far) / 2, PLANES.far])
    torch.testing.assert_close(RenderedObjects.depth_in_metres(depth), expected, atol=1e-4, rtol=0)
    metres = RenderedObjects.depth_in_metres(_objects("depth").batch(range(COUNT)))
    assert metres.min() > PLANES.near
    assert metres.max() <= PLANES.far


def test_noise_leaves_holes_and_is_the_same_each_time() -> None:
    clean, noisy = _objects("depth"), _objects("depth", noise=True)
    one, again = noisy.batch(range(COUNT)), _objects("depth", noise=True).batch(range(COUNT))
    assert torch.equal(one, again)
    # The empty corner has one true depth, so what differs there is noise, and each object's own.
    assert len(set(one[:, 0, 0, 0].tolist())) > 1
    missing = one == 0
    assert 0.01 < missing.float().mean() < 0.2
    error = (one - clean.batch(range(COUNT)))[~missing]
    assert 0 < error.abs().mean() < 0.02
    assert not (clean.batch(range(COUNT)) == 0).any()


def test_noise_of_colour_is_an_error() -> None:
    with pytest.raises(ConfigError, match="noise"):
        _objects("color", noise=True)


def test_labels_name_the_categories() -> None:
    labels = _objects("color").labels
    assert labels.dtype == torch.int64
    assert len(labels) == COUNT
    assert torch.bincount(labels).tolist() == [COUNT // len(CATEGORIES)] * len(CATEGORIES)


def test_attributes_are_those_of_the_drawn_objects() -> None:
    known = _objects("depth", count=440).attributes()
    sizes = {"category": len(CATEGORIES), "elevation": 3, "pattern": 4, "hue": 6}
    assert {name: len(values.unique()) for name, values in known.items()} == sizes
    assert all(len(values) == 440 and values.dtype == torch.int64 for values in known.values())
    plain = torch.nonzero(known["pattern"] == 0).flatten().tolist()
    for number in plain[:20]:
        scene = Scene.draw(440, number)
        red, green, blue = scene.paint.colours[0].tolist()
        hue = colorsys.rgb_to_hsv(red, green, blue)[0]
        assert known["hue"][number] == round(6 * hue) % 6
        height = scene.view.origin[1] / np.linalg.norm(scene.view.origin)
        assert known["elevation"][number] == pytest.approx(3 * (np.degrees(np.arcsin(height)) - 10) / 50 - 0.5, abs=0.6)


def test_objects_held_out_are_no_object_of_the_pool() -> None:
    for modality in ("color", "depth"):
        objects = _objects(modality)
        held_out = objects.held_out()
        assert held_out is not None
        assert len(held_out) == len(held_out.labels) == 22
        assert held_out.source != objects.source
        assert held_out.held_out() is None
        if modality == "color":
            assert torch.equal(held_out[3], objects.pair(COUNT + 3)[0])
            assert torch.equal(held_out.attributes()["category"][:5], (torch.arange(5) + COUNT) % len(CATEGORIES))


def test_pool_is_rendered_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    objects = _objects("color", count=4)
    assert not list(tmp_path.iterdir())
    objects.prepare()
    made = sorted(path.name for path in (tmp_path / "rendered-objects").iterdir())
    monkeypatch.setattr("coupling_rgbd.rendered_objects.render_packed", pytest.fail)
    _objects("depth", count=4).prepare()
    assert sorted(path.name for path in (tmp_path / "rendered-objects").iterdir()) == made


def test_every_option_is_described() -> None:
    for parameter in list(inspect.signature(RenderedObjects.__init__, eval_str=True).parameters.values())[1:]:
        assert parameter.annotation.__metadata__[0].description
