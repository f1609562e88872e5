"""The reference says what applies of every public name: purpose, parameters, shapes, results, errors, source."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import coupling

DOCS = Path(__file__).parents[2] / "docs"


def load():
    sys.path.append(str(DOCS))
    try:
        from public_names import public_names
    finally:
        sys.path.remove(str(DOCS))
    members = [member for group in public_names().values() for member in group]
    return {m.name: m for member in members for m in (member, *member.members)}


MEMBERS = load()
CALLABLES = {name: m for name, m in MEMBERS.items() if m.kind in ("function", "method")}
CLASSES = {name: m for name, m in MEMBERS.items() if m.kind == "class"}

FROM_THE_PAPER = {
    "AdversarialLoss": "equation 1",
    "Convolutional": "Tables 12 to 14",
    "CoupledModel.classify": "section 4",
    "CoupledModel.transform": "section 4",
    "CoupledModel.traverse": "Figure 4",
    "SharingGraph": "equation 2",
    "deconvolution_layer": "Tables 11 to 14",
    "output_activation": "supplement",
    "train": "Algorithm 1",
}
"""Names that come from the paper, and the place in it that their descriptions name."""

SHAPE = re.compile(
    r"\((?:B|n|len\(|count|pairs|block|batch_size|latent)[^)]*\)|\*shape|[Aa]ny shape|scalar|attr:`shape`"
)


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_every_public_name_is_described(name):
    first = MEMBERS[name].doc.partition("\n\n")[0]
    assert len(first.split()) >= 3, first
    assert first.rstrip().endswith((".", ":", ")")), "the first paragraph is no sentence"


@pytest.mark.parametrize("name", sorted({**CALLABLES, **CLASSES}))
def test_every_parameter_is_described(name):
    member = MEMBERS[name]
    for parameter in member.parameters:
        assert re.search(rf"\b{parameter}\b", member.doc) or parameter in member.options, parameter


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_every_error_is_described(name):
    member = CALLABLES[name]
    errors = {error for error in member.raises if error in coupling.__all__}
    section = member.doc.partition("Raises:")[2]
    for error in errors:
        assert error in section, error


@pytest.mark.parametrize("name", sorted(name for name, m in CALLABLES.items() if "Tensor" in m.annotations))
def test_every_tensor_has_a_shape(name):
    assert SHAPE.search(CALLABLES[name].doc)


@pytest.mark.parametrize(("name", "source"), FROM_THE_PAPER.items())
def test_what_comes_from_the_paper_names_the_place(name, source):
    assert source in MEMBERS[name].doc


def test_the_page_has_a_section_for_each_public_name():
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    for name in coupling.__all__:
        assert f"\n### `{name}`\n" in page, name
