"""The demos of our plugins: small, finished, and made by the configuration beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from coupling.api import load_config, load_model
from coupling.plugins import installed
from coupling.runs.demos import Demo, demo_names, find_demo

ROOT = Path(__file__).parents[2]
FILES = sorted(ROOT.glob("plugins/*/coupling_*/demos/*.safetensors"))


@pytest.fixture(params=FILES, ids=[path.stem for path in FILES])
def demo(request: pytest.FixtureRequest) -> Demo:
    return Demo(request.param.stem, "", request.param)


def test_our_demos_are_found_by_their_names():
    assert {path.stem for path in FILES} <= set(demo_names())
    assert {find_demo(path.stem).file.name for path in FILES} == {path.name for path in FILES}


def test_a_demo_is_small_and_its_digest_fits(demo):
    assert demo.file.stat().st_size <= 2_000_000
    model = load_model(demo.file)  # raises if the content does not match its SHA-256
    assert model.config.training.steps == model.step


def test_the_configuration_beside_a_demo_made_it(demo):
    assert load_config(demo.configuration).completed(installed().registry) == load_model(demo.file).config
    assert demo.about


def test_a_demo_names_its_scores(demo):
    assert load_model(demo.file).record["metrics"]
