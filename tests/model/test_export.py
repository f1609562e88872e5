"""A model for others: what an exported file holds, that it is the same model, and what cannot be exported."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from coupling.api import load_model, parse_config
from coupling.domain import Domain
from coupling.errors import InputError, RunError
from coupling.model.export import export_onnx, export_safetensors
from coupling.model.model import CoupledModel
from coupling.networks.architecture import layer_lists
from coupling.networks.architectures import Upsampling
from coupling.networks.convolutional import Convolutional
from coupling.networks.coupled import CoupledGenerator, team_graph
from coupling.networks.layers import Deconvolution
from coupling.networks.residual import Residual
from coupling.runs import checkpoint
from coupling.runs.tensor_files import read_tensors
from coupling.sharing.graph import Rule
from coupling.training.trainer import train
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


def trained(path, *changes):
    values = tiny.values("training.steps=2", *changes)
    return train(parse_config(values, plugins=tiny.plugins()), path, plugins=tiny.plugins()).path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    normal = "generator.architecture={name: linear, batch_norm: true, dropout: 0.3}"
    return trained(tmp_path_factory.mktemp("runs") / "run", normal)


def load(path):
    return load_model(path, plugins=tiny.plugins())


def drawn(content, z):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, session.run(None, {"z": z.numpy()})), strict=True))


def agree(model, path):
    for count in (1, 2, 7):
        z = model.latent(count, seed=count)
        expected, found = model.generate(z), drawn(path.read_bytes(), z)
        assert list(found) == list(expected)
        for name, x in expected.items():
            torch.testing.assert_close(found[name], x, atol=1e-5, rtol=1e-4)


# -- safetensors -----------------------------------------------------------------------------------


def test_the_exported_file_is_the_same_model_and_no_more(run, tmp_path):
    model, path = load(run), tmp_path / "deep" / "model.safetensors"
    model.save(path)
    again = load(path)
    assert (again.step, again.config, again.domains, again.digest) == (2, model.config, model.domains, model.digest)
    z = model.latent(5)
    for name, x in model.generate(z).items():
        assert torch.equal(again.generate(z)[name], x)
    tensors = read_tensors(path)
    assert {name.partition(".")[0] for name in tensors} == {"generator", "discriminator"}
    whole = checkpoint.newest(run / "checkpoints")[0].model()
    for name, x in tensors.items():  # the averaged weights under the generator's name
        assert torch.equal(x, whole[name.replace("generator.", "ema.", 1)])
    assert not torch.equal(tensors["generator.layers.layer1[a,b].0.weight"],
                           whole["generator.layers.layer1[a,b].0.weight"])  # fmt: skip
    export_safetensors(again, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_the_file_holds_the_parameters_of_losses(tmp_path):
    loss = "losses=[non-saturating, {name: classification, domains: [a], classes: 2}]"
    model = load(trained(tmp_path / "run", loss))
    model.save(tmp_path / "m.safetensors")
    images = torch.zeros(3, 1, 4, 4)
    assert torch.equal(load(tmp_path / "m.safetensors").classify(images, "b"), model.classify(images, "b"))


# -- ONNX ------------------------------------------------------------------------------------------


def test_the_graph_draws_what_the_model_draws_for_any_batch(run, tmp_path):
    model = load(run)
    export_onnx(model, tmp_path / "m.onnx")
    agree(model, tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    assert {i.version for i in proto.opset_import if i.domain == ""} == {18}
    [z] = proto.graph.input
    assert z.name == "z"
    assert [d.dim_param or d.dim_value for d in z.type.tensor_type.shape.dim] == ["batch", 5]
    shapes = {o.name: [d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim] for o in proto.graph.output}
    assert shapes == {"a": ["batch", 1, 4, 4], "b": ["batch", 1, 4, 4]}
    about = json.loads({p.key: p.value for p in proto.metadata_props}["coupling"])
    assert about["domains"]["a"] == {"shape": [1, 4, 4], "range": [-1, 1]}
    assert (about["prior"], about["digest"]) == ("uniform", model.digest)
    assert parse_config(about["config"], plugins=tiny.plugins()) == model.config


@pytest.mark.parametrize(("shared", "layers"), [(0, 9), (1, 7), (2, 5), (3, 3)])
def test_shared_layers_are_in_the_graph_once(tmp_path, shared, layers):
    """Three domains of three layers: as many matrix products, and as many weights, as there are different layers."""
    rules = "[]" if not shared else f"[{{first: {shared}}}]"
    changes = [f"sharing.generator={rules}", "domains.c.dataset={name: tiny, count: 33}"]
    model = load(trained(tmp_path / "run", *changes))
    export_onnx(model, tmp_path / "m.onnx")
    agree(model, tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    kinds = Counter(node.op_type for node in proto.graph.node)
    assert kinds["Gemm"] + kinds["MatMul"] == layers
    assert kinds["PRelu"] == layers - (3 if shared < 3 else 1)
    matrices = [i for i in proto.graph.initializer if len(i.dims) == 2 and math.prod(i.dims) > 1]
    assert len(matrices) == layers
    weights = sum(p.numel() for p in model.generator.parameters() if p.dim() == 2)
    assert sum(math.prod(matrix.dims) for matrix in matrices) == weights


@pytest.mark.parametrize(
    "changes",
    [
        ["latent.condition=domain", "sharing.generator=[{first: 3}]"],
        ["latent.prior=normal", "training.ema=null"],
        ["latent={size: 4, style: 3, prior: normal}", "generator.architecture.batch_norm=true"],
        ["sharing.generator=[{layers: [2]}]", "generator.architecture.batch_norm=true"],
        ["sharing.generator=[{layers: [2]}]", "generator.architecture.batch_norm=true", "batch_statistics=joint"],
        ["generator.architecture=mlp", "sharing.generator=[{first: 4}]"],
    ],
)
def test_every_kind_of_sharing_can_be_exported(tmp_path, changes):
    model = load(trained(tmp_path / "run", *changes))
    export_onnx(model, tmp_path / "m.onnx")
    agree(model, tmp_path / "m.onnx")


def test_convolutions_are_exported_as_convolutions():
    """For others to compute as they like, not as it is fastest here."""
    layers = [
        torch.nn.Sequential(torch.nn.Unflatten(1, (6, 1, 1)), Deconvolution(6, 64, 4)),
        Deconvolution(64, 1, 3, stride=2, padding=1),
    ]
    model = torch.nn.Sequential(*layers).eval()
    exported = torch.export.export(model, (torch.zeros(2, 6),)).module()
    called = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert sum("conv_transpose2d" in name for name in called) == 2
    assert not any("matmul" in name or "im2col" in name or "col2im" in name for name in called)
    torch.testing.assert_close(exported(torch.ones(2, 6)), model(torch.ones(2, 6)))


@pytest.mark.parametrize(
    "architecture",
    [
        Upsampling(width=0.1),
        Convolutional(width=0.02),
        Residual(width=0.1, between="gains"),
        Residual(width=0.1, between="branches", resampling="bilinear", normalised=False),
        Residual(width=0.1, spectral=True, fixup=False),
    ],
)
def test_the_architectures_for_images_can_be_exported(tmp_path, architecture):
    """Built and exported without training; domains of different channels and ranges."""
    sides = {Upsampling: (16, 16), Convolutional: (64, 64), Residual: (33, 21)}[type(architecture)]
    domains = {"a": Domain("a", (3, *sides), (-1, 1)), "b": Domain("b", (1, *sides), (0, 2))}
    lists = layer_lists("generator", architecture, list(domains.values()), 5, 0)
    graph = team_graph("generator", lists, [Rule(first=3)], same_input=True)
    model = CoupledModel(tiny.config(), domains, CoupledGenerator(graph, lists).eval())
    export_onnx(model, tmp_path / "m.onnx")
    agree(model, tmp_path / "m.onnx")


def test_a_layer_that_cannot_be_exported_is_an_error_and_the_model_stays_as_it_was(run, tmp_path, monkeypatch):
    model = load(run)
    model.generator.train()

    def forward(self, z, domains=None):
        return dict.fromkeys("ab", z if z.sum() > 0 else -z)  # what is computed depends on the numbers

    monkeypatch.setattr(type(model.generator), "forward", forward)
    with pytest.raises(RunError, match=r"cannot be exported as ONNX, opset 18: .*--format safetensors"):
        export_onnx(model, tmp_path / "m.onnx")
    assert model.generator.training
    assert not (tmp_path / "m.onnx").exists()


def test_a_graph_that_draws_something_else_is_not_written(run, tmp_path, monkeypatch):
    model = load(run)
    monkeypatch.setattr(
        type(model), "generate", lambda self, z: {d: torch.zeros(len(z), 1, 4, 4) for d in self.domains}
    )
    with pytest.raises(RunError, match="draws other samples than torch: they differ by up to"):
        export_onnx(model, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


# -- the command -----------------------------------------------------------------------------------


def test_the_command_writes_both_formats(run, command, tmp_path):
    result = command("export", run, "--plugin", TINY)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{run}/tiny.safetensors\n"
    result = command("export", run, "--format", "onnx", "--plugin", TINY)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{run}/tiny.onnx\n"
    assert "onnxruntime draws the same samples as torch" in result.stderr
    by_suffix = command("export", run / "tiny.safetensors", "--output", "m.onnx", "--opset", 20, "--plugin", TINY)
    assert by_suffix.exit_code == 0, by_suffix.output
    assert {i.version for i in onnx.load("m.onnx").opset_import if i.domain == ""} == {20}
    agree(load(run), Path("m.onnx"))
    beside = command("export", run / "checkpoints/step-0000002", "--plugin", TINY)
    assert beside.stdout == f"{run}/tiny-step-0000002.safetensors\n"


def test_wrong_arguments_are_errors(run, command, monkeypatch):
    def rejected_with(*arguments, fragment):
        rejected(command("export", *arguments, "--plugin", TINY), fragment)

    rejected_with(run, "--output", "m.pt", fragment="--output m.pt: a model is a .safetensors or a .onnx file")
    rejected_with(
        run, "--output", "m.onnx", "--format", "safetensors", fragment="--format safetensors is a .safetensors file"
    )
    rejected_with(run, "--format", "pickle", fragment="'pickle' is not one of")
    rejected_with(run, "--opset", 9, fragment="9 is not in the range")
    rejected_with(run / "none", fragment="no such run")
    Path("file").write_text("x")
    for name in ("m.safetensors", "m.onnx"):
        rejected_with(run, "--output", f"file/{name}", fragment=f"file/{name}: cannot be written")
    export_onnx(load(run), Path("whole.onnx"))
    rejected_with(
        "whole.onnx", fragment="whole.onnx: an ONNX graph, which onnxruntime loads; coupling takes the run, or"
    )
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    rejected_with(
        run, "--format", "onnx", fragment="the package 'onnxscript' is needed: pip install 'coupling-gan[onnx]'"
    )


def test_what_is_no_model_file_is_an_error(run):
    model = load(run)
    with pytest.raises(InputError, match="samples: is empty"):
        model.score({})
    with pytest.raises(InputError, match=r"model\.txt: a model's file ends with \.safetensors"):
        model.save("model.txt")


# -- small files --------------------------------------------------------------------------------------


def test_generators_alone_draw_the_same(run, tmp_path):
    model = load(run)
    model.save(tmp_path / "small.safetensors", generators_only=True)
    small = load(tmp_path / "small.safetensors")
    z = model.latent(3)
    for name, samples in model.generate(z).items():
        assert torch.equal(small.generate(z)[name], samples)
    assert small.digest == model.digest
    assert not any(name.startswith("discriminator") for name in read_tensors(tmp_path / "small.safetensors"))


def test_generators_that_were_loaded_alone_can_be_saved_again(run, tmp_path):
    load(run).save(tmp_path / "one.safetensors", generators_only=True)
    load(tmp_path / "one.safetensors").save(tmp_path / "two.safetensors", generators_only=True)
    again = load(tmp_path / "two.safetensors")
    assert again.digest == load(run).digest
    again.save_pretrained(tmp_path / "folder")
    assert load(tmp_path / "folder").digest == again.digest


def test_generators_alone_give_no_scores_and_are_saved_as_they_are(run, tmp_path):
    load(run).save(tmp_path / "small.safetensors", generators_only=True)
    small = load(tmp_path / "small.safetensors")
    with pytest.raises(InputError, match="has no discriminators, which scores need"):
        small.score(small.sample(2))
    small.save(tmp_path / "again.safetensors")
    assert read_tensors(tmp_path / "again.safetensors").keys() == read_tensors(tmp_path / "small.safetensors").keys()


def test_half_precision_halves_the_file_and_draws_nearly_the_same(run, tmp_path):
    model = load(run)
    model.save(tmp_path / "half.safetensors", half=True)
    half = load(tmp_path / "half.safetensors")
    stored = read_tensors(tmp_path / "half.safetensors")
    assert all(tensor.dtype != torch.float32 for tensor in stored.values())
    assert all(parameter.dtype == torch.float32 for parameter in half.generator.parameters())
    z = model.latent(3)
    for name, samples in model.generate(z).items():
        torch.testing.assert_close(half.generate(z)[name], samples, atol=1e-2, rtol=0)


def test_a_weight_beyond_16_bits_is_an_error(run, tmp_path):
    model = load(run)
    with torch.no_grad():
        next(model.generator.parameters()).view(-1)[0] = 1e6
    with pytest.raises(InputError, match="numbers above 65,504"):
        model.save(tmp_path / "half.safetensors", half=True)
    assert not list(tmp_path.iterdir())


def test_options_of_small_files_are_for_safetensors(command, run):
    rejected(command("export", run, "--format", "onnx", "--half"), "--half are for --format safetensors")
