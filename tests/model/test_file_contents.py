"""Model files that are damaged, or were made to do harm: one message, or the right samples; never more memory."""

from __future__ import annotations

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
from torch import Tensor

from coupling.api import load_model
from coupling.config.config import build_config
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.model.model import CoupledModel
from coupling.networks.build import assemble
from coupling.plugins import Plugins
from coupling.runs.model_file import SHA256
from tests.conftest import rejected
from tests.support import tiny_plugin as tiny
from tests.support.model_files import changed, contents, load, same, trained_file, write

TINY = tiny.__file__


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_file(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def expected(trained: Path) -> dict[str, Tensor]:
    return load(trained).sample(3)


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
    rejected(command("sample", tmp_path / "model.safetensors", "--plugin", TINY), "is damaged")


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
    ("config.latent.style", 10**6, "latent.style: 1000000 is not valid"),
    ("config.latent.style", 3, "is in the network alone"),
    ("config.latent.size", -1, "latent.size: -1 is not valid"),
    ("config.losses", ["non-saturating"] * 101, "losses: has 101 entries; at most 100"),
    ("config.sharing.generator", [{"first": 1}] * 1001, "sharing.generator: has 1,001 entries; at most 1,000"),
    ("config.sharing.generator", [], "'generator.layers.layer1[a].0.weight' is in the network alone"),
    ("config.losses.1.classes", MILLION, "losses[1] classification: the layers have more than"),
    ("config.losses.1.layer", 9, "reads discriminator layer 9"),
    ("config.generator.architecture.name", "\x1b[2Junknown", r"no architecture is called '\x1b[2Junknown'"),
    ("config.batch_statistics", "apart", "batch_statistics: 'apart' is not valid"),
    ("config", [], "config: [] is not valid: should be a mapping of keys to values"),
    ("domains", {}, "domains: {} is not valid: should have at least one entry"),
    ("domains.a.shape", [1, 4, 5], "in the network"),
    ("domains.a.shape", [2**26, 2**26], "domains.a: "),
    ("domains.a.shape", [0, 4, 4], "domains.a.shape[0]: 0 is not valid"),
    ("domains.a.shape", [], "domains.a.shape: [] is not valid: should have at least one entry"),
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
