"""Model files that are damaged, or were made to do harm: one message, or the right samples; never more memory."""

from __future__ import annotations

import copy
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from coupling.api import load_model
from coupling.config.config import build_config
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.model.model import CoupledModel
from coupling.networks.build import assemble
from coupling.plugins import Plugins
from coupling.runs.model_file import SHA256, with_digest
from coupling.training.trainer import train
from tests.conftest import refused
from tests.support import tiny_plugin as tiny

LOSSES = "losses=[non-saturating, {name: classification, domains: [a], classes: 2}, head]"
TINY = tiny.__file__


def load(path: Path) -> CoupledModel:
    return load_model(path, plugins=tiny.plugins())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model with batch normalisation, a classifier and a loss with parameters."""
    folder = tmp_path_factory.mktemp("trained")
    config = tiny.config(LOSSES, "generator.architecture={name: linear, batch_norm: true}", "training.steps=3")
    train(config, folder / "run", plugins=tiny.plugins())
    load(folder / "run").save(folder / "model.safetensors")
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def expected(trained: Path) -> dict[str, Tensor]:
    return load(trained).sample(3)


def contents(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A file's description without its digest, and its tensors."""
    with safetensors.safe_open(file, "pt") as opened:
        values = json.loads(opened.metadata()["coupling"])
    values.pop(SHA256)
    return values, safetensors.torch.load_file(file)


def write(path: Path, values: Any, tensors: dict[str, Tensor], *, digest: bool = True) -> Path:
    """A file with this description and these tensors, by default with the right digest."""
    values = with_digest(values, tensors) if digest and isinstance(values, dict) else values
    safetensors.torch.save_file(tensors, path, {"coupling": json.dumps(values)})
    return path


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of nested values with one of them changed; ``path``: its keys with dots between them."""
    values = copy.deepcopy(values)
    *parents, last = path.split(".")
    place: Any = values
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return values


# -- damage ----------------------------------------------------------------------------------------


def test_a_saved_model_carries_its_digest_which_is_checked(trained, tmp_path):
    values, tensors = contents(trained)
    name = "generator.layers.layer1[a,b].0.weight"
    tensors[name].view(torch.uint8)[0, 0] ^= 1  # one bit of one number
    with safetensors.safe_open(trained, "pt") as opened:
        kept = json.loads(opened.metadata()["coupling"])[SHA256]
    flipped = write(tmp_path / "flipped.safetensors", {**values, SHA256: kept}, tensors, digest=False)
    with pytest.raises(InputError, match=r"flipped\.safetensors: is damaged: .* does not match its SHA-256"):
        load(flipped)
    tensors[name].view(torch.uint8)[0, 0] ^= 1
    other = changed(values, "domains.a.range", [-1.0, 0.5])
    with pytest.raises(InputError, match="does not match its SHA-256"):
        load(write(tmp_path / "range.safetensors", {**other, SHA256: kept}, tensors, digest=False))
    load(write(tmp_path / "again.safetensors", {**values, SHA256: kept}, tensors, digest=False))


def test_a_file_of_an_earlier_version_needs_no_digest(trained, expected, tmp_path):
    values, tensors = contents(trained)
    samples = load(write(tmp_path / "old.safetensors", values, tensors, digest=False)).sample(3)
    assert all(torch.equal(samples[name], x) for name, x in expected.items())


def test_a_damaged_file_is_one_message_and_exit_code_2(trained, tmp_path, command):
    content = bytearray(trained.read_bytes())
    content[-5] ^= 16
    (tmp_path / "model.safetensors").write_bytes(content)
    refused(command("sample", tmp_path / "model.safetensors", "--plugin", TINY), "is damaged")


def test_saving_a_model_of_an_earlier_version_adds_the_digest_alone(tmp_path):
    file = Path(__file__).parents[1] / "compat/model.safetensors"
    load_model(file).save(tmp_path / "model.safetensors")
    with safetensors.safe_open(file, "pt") as old, safetensors.safe_open(tmp_path / "model.safetensors", "pt") as new:
        assert set(old.keys()) == set(new.keys())
        before, after = (json.loads(opened.metadata()["coupling"]) for opened in (old, new))
    assert re.fullmatch("[0-9a-f]{64}", after.pop(SHA256))
    assert {key: after[key] for key in ("domains", "sharing", "step")} == {
        key: before[key] for key in ("domains", "sharing", "step")
    }


# -- descriptions that do not fit ------------------------------------------------------------------

MILLION = 1_000_000
CASES: list[tuple[str, Any, str]] = [
    # A network of 36 TB: 3 million units twice, 4 bytes each.
    ("config.generator.architecture", {"name": "mlp", "hidden": 3 * MILLION, "layers": 2}, "numbers, too many for the"),
    ("config.discriminator.architecture.width", 3 * MILLION, "numbers, too many for the file"),
    ("config.generator.architecture", {"name": "mlp", "layers": 10**9}, "generator.architecture.layers: 1000000000"),
    ("config.generator.architecture.width", 10**30, "failed"),
    ("config.generator.architecture.width", 7, r"has shape (6, 5) in the file, (7, 5) in the network"),
    ("config.latent.size", MILLION, "numbers, too many for the file"),
    ("config.latent.size", 10**12, "latent.size: 1000000000000 is not valid"),
    ("config.latent.size", -1, "latent.size: -1 is not valid"),
    ("config.losses", ["non-saturating"] * 101, "losses: has 101 entries; at most 100"),
    ("config.sharing.generator", [{"first": 1}] * 1001, "sharing.generator: has 1,001 entries; at most 1,000"),
    ("config.sharing.generator", [], "'generator.layers.layer1[a].0.weight' is in the network alone"),
    ("config.losses.1.classes", MILLION, "losses[1] classification: the layers have more than"),
    ("config.losses.1.layer", 9, "reads discriminator layer 9"),
    ("config.generator.architecture.name", "\x1b[2Junknown", r"no architecture is called '\x1b[2Junknown'"),
    ("config.batch_statistics", "apart", "batch_statistics: 'apart' is not valid"),
    ("config", [], "config: [] is not valid: should be a mapping of keys to values"),
    ("domains", {}, "domains: {} is not valid: is empty"),
    ("domains.a.shape", [1, 4, 5], "in the network"),
    ("domains.a.shape", [2**26, 2**26], "domains.a: "),
    ("domains.a.shape", [0, 4, 4], "domains.a.shape[0]: 0 is not valid"),
    ("domains.a.shape", [], "domains.a.shape: [] is not valid: is empty"),
    ("domains.a.shape", [1] * 9, "domains.a.shape: "),
    ("domains.a.shape", "14", "domains.a.shape: '14' is not valid"),
    ("domains.a.range", [1.0, -1.0], "range: [1.0, -1.0] is not [lowest, highest]"),
    ("domains.a.range", [0.0, 1e300], "domains.a.range[1]: 1e+300 is not valid"),
    ("domains.a.range", [0.0, float("inf")], "domains.a.range[1]: inf is not valid"),
    ("domains.a.range", [0.0], "domains.a.range[1]: is required"),
    ("domains.a.drawn_by", "x" * 1000, "domains.a.drawn_by"),
    ("sharing.generator.depths.a", 4, "its sharing graph is not that of its configuration"),
    ("step", -1, "step: -1 is not valid"),
    ("step", 2**70, "step: "),
    ("step", "many", "step: 'many' is not valid"),
    ("record", {"metrics": {"x": "high"}}, "record.metrics.x: 'high' is not valid"),
    ("record", {"metric": {}}, "record.metric: unknown key 'metric'; did you mean 'metrics'?"),
    ("sha256", "0" * 63, "sha256: "),
    ("secret", 1, "secret: unknown key 'secret'"),
]


@pytest.mark.parametrize(
    ("path", "value", "message"), CASES, ids=[f"{path}-{n}" for n, (path, _, _) in enumerate(CASES)]
)
def test_a_description_that_does_not_fit_is_rejected(trained, tmp_path, path, value, message):
    values, tensors = contents(trained)
    file = write(tmp_path / "m.safetensors", changed(values, path, value), tensors, digest=path != "sha256")
    with pytest.raises(InputError, match=re.escape(message)) as error:
        load(file)
    assert str(error.value).startswith(f"{file}: ")
    assert str(error.value).count(str(file)) == 1
    assert len(str(error.value)) < 3000


@pytest.mark.parametrize("key", ["config", "domains", "sharing", "step"])
def test_a_description_without_a_key_is_rejected(trained, tmp_path, key):
    values, tensors = contents(trained)
    del values[key]
    with pytest.raises(InputError, match=rf"(?s)not a model that coupling wrote.*{key}: is required"):
        load(write(tmp_path / "m.safetensors", values, tensors))


def test_domains_in_another_order_are_rejected(trained, tmp_path):
    values, tensors = contents(trained)
    values["domains"] = dict(reversed(values["domains"].items()))
    with pytest.raises(InputError, match="domains: the configuration has a, b, the file describes b, a"):
        load(write(tmp_path / "m.safetensors", values, tensors))


def test_tensors_of_another_type_are_rejected(trained, tmp_path):
    values, tensors = contents(trained)
    name = "generator.layers.layer1[a,b].0.weight"
    tensors[name] = tensors[name].double()
    with pytest.raises(InputError, match=r"weight' has type F64 in the file, F32 in the network"):
        load(write(tmp_path / "m.safetensors", values, tensors))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "not a model that coupling wrote"),
        ('{"config": ' * 900 + "1" + "}" * 900, "m.safetensors: "),
        (json.dumps({"config": [0] * 60_000}), "more than 50,000 values"),
        (
            json.dumps({"config": "x" * 2**22}),
            "its metadata have 4,194,318 characters; a model's have at most 4,194,304",
        ),
        ('{"step": 1' + "0" * 5000 + "}", "not a model that coupling wrote"),
    ],
    ids=["deep", "nested", "many", "long", "large"],
)
def test_metadata_beyond_bounds_are_rejected(tmp_path, text, message):
    safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / "m.safetensors", {"coupling": text})
    with pytest.raises(InputError, match=message):
        load(tmp_path / "m.safetensors")


def test_a_header_beyond_bounds_is_rejected(tmp_path):
    header = b"{" + b" " * 2**24 + b"}"
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match="its header has 16,777,218 bytes; a model's has at most 16,777,216"):
        load(tmp_path / "m.safetensors")


# -- layers that no file can fill ------------------------------------------------------------------

LAYERS = '''
import torch
from torch import nn
from coupling.networks.layers import output_activation

class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        {body}
    def forward(self, x):
        return x + self.offset

class Odd:
    """Odd."""
    def generator(self, domain, latent):
        last = [nn.Linear(6, domain.size), nn.Unflatten(1, domain.shape), output_activation(domain)]
        return [nn.Sequential(nn.Linear(latent, 6), Shift()), nn.Sequential(*last)]
    def discriminator(self, domain, outputs):
        return [nn.Flatten(), nn.Linear(domain.size, outputs)]

@hookimpl
def register_architectures(register): register("odd", Odd)
'''


@pytest.mark.parametrize(
    "body",
    [
        "self.offset = torch.arange(6.0)",
        "self.register_buffer('offset', torch.arange(6.0), persistent=False)",
        "self.offset = float(torch.arange(6.0).sum())",
        "self.register_buffer('offset', torch.arange(6.0))",
        "self.offset = torch.randn(6)",
    ],
)
def test_layers_that_compute_or_keep_tensors_of_their_own_are_loaded_right(plugin, tmp_path, body):
    plugins = Plugins((str(plugin(LAYERS.format(body=body))),), entry_points=False)
    values = tiny.values("generator.architecture=odd", "discriminator.architecture=odd", "sharing={}")
    config = build_config(values, plugins.registry, data=False)
    domains = {name: Domain(name, (1, 4, 4), (-1.0, 1.0)) for name in "ab"}
    made = assemble(config, domains, plugins.registry)
    with torch.no_grad():
        for parameter in made.generator.parameters():
            parameter.add_(0.1)
    model = CoupledModel(config, domains, made.generator, made.discriminator, 1, made.losses)
    model.save(tmp_path / "m.safetensors")
    assert same(load_model(tmp_path / "m.safetensors", plugins=plugins).sample(3), model.sample(3))


# -- memory ----------------------------------------------------------------------------------------

MEASURE = """
import resource, sys, torch
from coupling.api import load_model
from coupling.plugins import Plugins
plugins = Plugins(entry_points=False)
def load(path):
    try:
        return load_model(path, plugins=plugins)
    except Exception as error:
        return error
load(sys.argv[1])  # what torch and the framework need once
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = load(sys.argv[2])
print(type(result).__name__, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def saved(path: Path, hidden: int) -> Path:
    """A model of two domains that share nearly all."""
    values = tiny.values()
    for team in ("generator", "discriminator"):
        values[team]["architecture"] = {"name": "mlp", "layers": 2, "hidden": hidden}
    config = build_config(values, tiny.plugins().registry, data=False)
    domains = {name: Domain(name, (1, 4, 4), (-1.0, 1.0)) for name in "ab"}
    made = assemble(config, domains, tiny.plugins().registry)
    CoupledModel(config, domains, made.generator, made.discriminator, 1, made.losses).save(path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other units")
def test_loading_takes_at_most_three_times_the_files_memory(tmp_path):
    small, large = saved(tmp_path / "small.safetensors", 16), saved(tmp_path / "large.safetensors", 2048)
    values, tensors = contents(small)
    values["config"]["generator"]["architecture"]["hidden"] = 3 * MILLION
    hostile = write(tmp_path / "hostile.safetensors", values, tensors)

    def measured(file: Path) -> tuple[str, int]:
        out = subprocess.run(
            [sys.executable, "-c", MEASURE, str(small), str(file)],
            check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        kind, kilobytes = out.stdout.split()
        return kind, int(kilobytes) * 1024

    size = large.stat().st_size
    assert size > 2**25
    kind, memory = measured(large)
    assert kind == "CoupledModel"
    assert memory < 3 * size
    kind, memory = measured(hostile)
    assert kind == "TooLargeError"
    assert memory < 2**24


# -- fuzz ------------------------------------------------------------------------------------------


def outcome(path: Path) -> dict[str, Tensor] | None:
    """The samples of a file; None if it is rejected with one message that names it (the command's exit code is 2)."""
    try:
        return load(path).sample(3)
    except InputError as error:
        if str(path) not in str(error):
            raise
        return None


def same(samples: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return list(samples) == list(expected) and all(torch.equal(samples[name], x) for name, x in expected.items())


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
def test_damaged_files(trained, expected, tmp_path, data):
    check_damage(trained, expected, tmp_path, data)


@quick
@given(data=st.data())
def test_edited_descriptions(trained, tmp_path, data):
    check_description(trained, tmp_path, data)


@pytest.mark.slow
@thorough
@given(data=st.data())
def test_many_damaged_files(trained, expected, tmp_path, data):
    check_damage(trained, expected, tmp_path, data)


@pytest.mark.slow
@thorough
@given(data=st.data())
def test_many_edited_descriptions(trained, tmp_path, data):
    check_description(trained, tmp_path, data)
