"""Model files that are damaged or edited at random: rejected with one message, or the right samples."""

from __future__ import annotations

import copy
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from coupling.config.config import build_config
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.model.model import CoupledModel
from coupling.networks.build import assemble
from tests.support import tiny_plugin as tiny
from tests.support.model_files import contents, load, same, trained_file, write


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_file(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def expected(trained: Path) -> dict[str, Tensor]:
    return load(trained).sample(3)


def outcome(path: Path) -> dict[str, Tensor] | None:
    """The samples of a file; None if it is rejected with one message that names it (the command's exit code is 2)."""
    try:
        return load(path).sample(3)
    except InputError as error:
        if str(path) not in str(error):
            raise
        return None


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """A file's bytes, flipped, cut, overwritten, doubled or moved in some places."""
    made = bytearray(content)
    header = struct.unpack("<Q", content[:8])[0] + 8
    for _ in range(draw(st.integers(1, 4))):
        end = draw(st.sampled_from([8, header, len(made)]))
        place = draw(st.integers(0, max(min(end, len(made)) - 1, 0)))
        kind = draw(st.sampled_from(["flip", "set", "cut", "zero", "insert", "delete", "swap"]))
        length = draw(st.integers(1, 64))
        if kind == "flip" and made:
            made[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and made:
            made[place] = draw(st.integers(0, 255))
        elif kind == "cut":
            del made[place:]
        elif kind == "zero":
            made[place : place + length] = bytes(len(made[place : place + length]))
        elif kind == "insert":
            made[place:place] = draw(st.binary(min_size=1, max_size=64))
        elif kind == "delete":
            del made[place : place + length]
        elif kind == "swap":
            made[place : place + 2 * length] = made[place + length : place + 2 * length] + made[place : place + length]
    return bytes(made)


def check_damage(trained: Path, expected: dict[str, Tensor], folder: Path, data: st.DataObject) -> None:
    """A file with damaged bytes is rejected, or draws the samples of the sound one."""
    path = folder / "damaged.safetensors"
    path.write_bytes(data.draw(damage(trained.read_bytes())))
    samples = outcome(path)
    assert samples is None or same(samples, expected)


NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([0, 1, 2, 5, 6, 2**31, 2**63, 10**40, 0.5, 1e-320, 1e308, float("inf"), float("nan")]),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=8), st.sampled_from(["a", "b", "linear", "mlp"])
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
KEYS = st.sampled_from(["domains", "shape", "range", "size", "prior", "name", "first", "width", "hidden", "x"])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in JSON values."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(p for key, part in inner for p in places(part, (*path, key)))]


@st.composite
def edited(draw: st.DrawFn, values: dict[str, Any]) -> dict[str, Any]:
    """JSON values, some of which are replaced, removed, added, doubled or swapped."""
    made = copy.deepcopy(values)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(places(made)))
        owner: Any = made
        for key in parents:
            owner = owner[key]
        kind = draw(st.sampled_from(["replace", "replace", "number", "remove", "add", "double"]))
        if kind == "replace":
            owner[last] = draw(JSON)
        elif kind == "number":
            owner[last] = draw(NUMBERS)
        elif kind == "remove":
            del owner[last]
        elif kind == "add" and isinstance(owner[last], dict):
            owner[last][draw(KEYS)] = draw(JSON)
        elif kind == "double" and isinstance(owner[last], list):
            owner[last] = owner[last] * 2
        if not made:
            break
    return made


def reference(values: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The samples by an independent slow way: networks that are built and tried out as for training, then loaded."""
    registry = tiny.plugins().registry
    config = build_config(values["config"], registry, data=False)
    domains = {n: Domain(n, tuple(d["shape"]), tuple(d["range"])) for n, d in values["domains"].items()}
    made = assemble(config, domains, registry)
    for prefix, module in made.named_networks.items():
        start = f"{prefix}."
        module.load_state_dict({n.removeprefix(start): x for n, x in tensors.items() if n.startswith(start)})
    return CoupledModel(config, domains, made.generator).sample(3)


def check_description(trained: Path, folder: Path, data: st.DataObject) -> None:
    """A file whose description was changed on purpose is rejected, or draws what the description says."""
    values, tensors = contents(trained)
    values = data.draw(edited(values))
    path = folder / "edited.safetensors"
    try:
        write(path, values, tensors, digest=data.draw(st.booleans()))
    except (ValueError, UnicodeEncodeError):
        assume(False)  # no JSON
    samples = outcome(path)
    if samples is not None:
        assert same(samples, reference(values, tensors))


quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
thorough = settings(quick, max_examples=500)


@quick
@given(data=st.data())
def test_damaged_files_are_rejected_or_draw_the_same(trained, expected, tmp_path, data):
    check_damage(trained, expected, tmp_path, data)


@quick
@given(data=st.data())
def test_edited_descriptions_are_rejected_or_hold(trained, tmp_path, data):
    check_description(trained, tmp_path, data)


@pytest.mark.slow
@thorough
@given(data=st.data())
def test_many_damaged_files_are_rejected_or_draw_the_same(trained, expected, tmp_path, data):
    check_damage(trained, expected, tmp_path, data)


@pytest.mark.slow
@thorough
@given(data=st.data())
def test_many_edited_descriptions_are_rejected_or_hold(trained, tmp_path, data):
    check_description(trained, tmp_path, data)
