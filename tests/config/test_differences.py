"""The settings that differ from the defaults, as a configuration that means the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from coupling.api import load_config, parse_config
from coupling.config.differences import without_defaults
from coupling.plugins import installed
from tests.support import tiny_plugin as tiny

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def test_defaults_are_left_out():
    registry = tiny.plugins().registry
    values = tiny.values()
    completed = parse_config(values, plugins=tiny.plugins()).completed(registry)
    found = without_defaults(completed, registry)
    assert "batch_statistics" not in found
    assert "optimizer" not in found["generator"]
    assert parse_config(found, plugins=tiny.plugins()).completed(registry) == completed


@pytest.mark.parametrize("path", [p for p in EXAMPLES if "\ndomains:" in p.read_text()], ids=lambda path: path.stem)
def test_the_differences_of_an_example_mean_the_same(path):
    registry = installed().registry
    completed = load_config(path).completed(registry)
    found = without_defaults(completed, registry)
    assert parse_config(found).completed(registry) == completed
    assert len(str(found)) < len(str(completed.plain()))


def test_options_of_a_component_that_is_not_installed_stay():
    config = parse_config(tiny.values(), plugins=tiny.plugins()).completed(tiny.plugins().registry)
    found = without_defaults(config, installed().registry)
    assert found["domains"]["a"]["dataset"]["count"] == config.domains["a"].dataset.options["count"]
