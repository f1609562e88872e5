"""The contract with users and plugins changes only with a line in the changelog, and nothing goes without a warning."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def load():
    spec = importlib.util.spec_from_file_location("docs_contract", DOCS / "contract.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONTRACT = load()
OLD = {"hook after_step": ["run", "step"], "name train": ["config"], "key training.ema": [], "loss hinge": []}
RELEASED = "## 0.2.0 (unreleased)\n\n{newest}\n\n## 0.1.0\n\nThe first.\n\n### Deprecated\n\n{older}\n"


def changed(new, newest="", older=""):
    return CONTRACT.problems(OLD, OLD | new, RELEASED.format(newest=newest, older=older))


def without(name, newest="", older=""):
    rest = {entry: takes for entry, takes in OLD.items() if entry != name}
    return CONTRACT.problems(OLD, rest, RELEASED.format(newest=newest, older=older))


def test_what_changed_since_the_last_release_is_in_the_changelog():
    old = json.loads((DOCS / "contract.json").read_text())
    changelog = (DOCS.parent / "CHANGELOG.md").read_text()
    assert CONTRACT.problems(old, CONTRACT.contract(), changelog) == []


def test_the_contract_has_hooks_names_keys_and_options():
    found = CONTRACT.contract()
    assert found["hook after_step"] == ["run", "step", "losses"]
    assert found["name train"][:2] == ["config", "output"]
    assert found["name CoupledModel.sample"] == ["count", "seed", "domains", "batch_size"]
    assert found["key training.precision"] == ["fp32", "bf16", "fp16"]
    assert "option loss r1 gamma" in found
    assert "dataset mnist" not in found  # plugins have their own


def test_no_change_needs_no_line():
    assert changed({}) == []


@pytest.mark.parametrize(
    ("new", "word"),
    [
        ({"hook before_step": ["run"]}, "before_step"),
        ({"name CoupledModel.images": []}, "images"),
        ({"key training.schedule": []}, "schedule"),
        ({"name train": ["config", "callbacks"]}, "callbacks"),
        ({"option loss r1 each": []}, "each"),
    ],
)
def test_what_is_new_needs_a_line(new, word):
    [message] = changed(new)
    assert message.endswith(f"{word}`")
    assert changed(new, newest=f"- `train(..., {word}=1)` is new.") == []
    assert changed(new, newest=f"- {word} without marks, and `{word}s`.") != []


@pytest.mark.parametrize(
    ("entry", "part", "name"),
    [
        ("loss r2", "option loss r2 gamma", "r2"),
        ("name Images", "name Images.grid", "Images"),
        ("key augmentation", "key augmentation.target", "augmentation"),
        ("key operations", "key operations.i.name", "operations"),
    ],
)
def test_a_line_on_something_new_is_enough_for_its_parts(entry, part, name):
    assert len(changed({entry: [], part: []})) == 1
    assert changed({entry: [], part: []}, newest=f"- `{name}`") == []


@pytest.mark.parametrize("name", OLD)
def test_what_is_gone_needs_a_line_and_an_earlier_deprecation(name):
    word = name.split()[-1].rpartition(".")[2]
    removed, deprecated = f"### Removed\n\n- `{word}`.", f"- `{word}`: use another one."
    assert "is gone, and" in without(name)[0]
    assert "is gone, and" in without(name, newest=f"- `{word}` is gone.")[0]
    assert "no earlier release has" in without(name, newest=removed)[0]
    assert without(name, newest=removed, older=deprecated) == []
    assert without(name, newest=removed + f"\n\n### Deprecated\n\n{deprecated}") != []


def test_an_argument_that_is_gone_needs_the_same():
    new = {"hook after_step": ["run"]}
    assert changed(new) == [
        'hook after_step: no longer takes step, and "Removed" in the newest section of CHANGELOG.md lacks `step`'
    ]
    assert changed(new, newest="### Removed\n\n- `step`", older="- `step` of `after_step`") == []
