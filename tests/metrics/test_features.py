"""Feature networks: what each name stands for, and that each says what it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from coupling.errors import ConfigError
from coupling.metrics import probe
from coupling.metrics.features import WIDEST, check_features, open_features
from coupling.metrics.probe_networks import FEATURES
from tests.support.toy_domains import opened

DATA = opened({"count": 400}, {"kind": "blank", "pool": "else"})


class Flat(nn.Module):
    """A module as somebody might have installed it: means of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        return self.dropout(self.scale * images.mean(3))  # (B, C, H)


READY = Flat()
NUMBER = 3


class Needy(nn.Module):
    def __init__(self, size):
        super().__init__()


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(probe, "STEPS", 40)
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))


def test_classes_are_the_last_hidden_layer_of_a_classifier_of_the_domains_own_samples():
    features = open_features("classes", DATA["a"])
    x = DATA["a"].read(range(6))
    assert features.extract(x).shape == (6, FEATURES)
    assert features.record["network"] == "classifier of the domain's own samples"
    assert features.record["size"] == FEATURES
    assert open_features("auto", DATA["a"]).record == features.record


def test_domains_without_labels_get_random_convolutions():
    features = open_features("auto", DATA["b"])
    assert features.record["network"] == "random convolutions"
    with pytest.raises(ConfigError, match="'b' have neither labels nor attributes; use random"):
        open_features("classes", DATA["b"])


def test_random_features_are_fixed_and_tell_pictures_apart():
    torch.manual_seed(3)
    first = open_features("random", DATA["a"])
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    second = open_features("random", DATA["a"])
    assert torch.equal(torch.rand(1), expected)
    x = DATA["a"].read(range(8))
    assert torch.equal(first.extract(x), second.extract(x))
    assert first.record == second.record
    assert first.record["size"] == first.extract(x).shape[1] == 32 + 64 + 4 * 128
    moved = first.extract(torch.cat([x[:1], x[:1].roll(4, 3)]))
    assert (moved[0] - moved[1]).abs().max() > 1e-3


def test_pixels_are_shares_of_the_range():
    features = open_features("pixels", DATA["a"])
    x = DATA["a"].read(range(3))
    assert torch.allclose(features.extract(x), (x.flatten(1) + 1) / 2)
    wide = opened({"count": 30, "side": 72}, {"pool": "else"})["a"]
    with pytest.raises(ConfigError, match=f"it must make \\(2, size\\) with a size of at most {WIDEST:,}"):
        open_features("pixels", wide)
    assert open_features("pixels", wide, widest=10**6).record["size"] == 72 * 72


@pytest.mark.parametrize("name", ["Flat", "READY"])
def test_a_module_of_installed_code_is_a_feature_network(name):
    features = open_features(f"{__name__}:{name}", DATA["a"])
    x = DATA["a"].read(range(5))
    assert torch.allclose(
        features.extract(x), 2 * x.mean(3).mean(2)
    )  # evaluated, not trained; further axes: their mean
    assert features.record["network"] == f"{__name__}:{name}"
    assert len(features.record["sha256"]) == 12


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NUMBER", "is a int; it must be a torch.nn.Module or its class"),
        ("pytest.fail", "it must be a torch.nn.Module"),  # nothing but a module is ever called
        ("Needy", "cannot be imported: TypeError"),
        ("Nothing", "cannot be imported"),
    ],
)
def test_code_that_is_not_a_feature_network_is_an_error(name, message):
    with pytest.raises(ConfigError, match=message):
        open_features(f"{__name__}:{name}", DATA["a"])
    with pytest.raises(ConfigError, match="cannot be imported: ModuleNotFoundError"):
        open_features("no_such_module:Net", DATA["a"])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("clases", "features: 'clases' is unknown; give one of auto, classes, random, pixels"),
        ("nowhere/net.onnx", "no such file"),
        ("weights.pt", "is unknown; give one of"),
    ],
)
def test_unknown_names_are_errors(chosen, message):
    with pytest.raises(ConfigError, match=message):
        check_features(chosen, DATA["a"])


def onnx_network(path, channels=3, batch="batch", side=16):
    """An ONNX file: the mean over rows, (batch, channels, side, side) to (batch, channels, side)."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    floats = onnx.TensorProto.FLOAT
    node = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0)
    entry = onnx.helper.make_tensor_value_info("x", floats, [batch, channels, side, side])
    leave = onnx.helper.make_tensor_value_info("y", floats, [batch, channels, side])
    graph = onnx.helper.make_graph([node], "means", [entry], [leave])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return str(path)


@pytest.mark.parametrize("batch", ["batch", 4])
def test_an_onnx_file_is_a_feature_network(tmp_path, batch):
    path = onnx_network(tmp_path / "means.onnx", batch=batch)
    check_features(path, DATA["a"])
    features = open_features(path, DATA["a"])
    x = DATA["a"].read(range(10))
    found = features.extract(x)
    assert found.shape == (10, 3)
    assert torch.allclose(found, ((x + 1) / 2).mean((1, 2, 3)).view(10, 1).expand(-1, 3), atol=1e-3)
    assert features.record["resizer"] == "bilinear, antialiased, 8x8 to 16x16"
    assert features.record["network"] == "means.onnx"


def test_an_onnx_file_of_the_domains_own_size_resizes_nothing(tmp_path):
    features = open_features(onnx_network(tmp_path / "means.onnx", channels=1, side=8), DATA["a"])
    x = DATA["a"].read(range(2))
    assert np.allclose(features.extract(x), ((x + 1) / 2).mean((1, 2, 3))[:, None], atol=1e-5)
    assert features.record["resizer"] == "none"


def test_files_that_are_not_networks_are_errors(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ConfigError, match="cannot be read as ONNX"):
        open_features(str(tmp_path / "text.onnx"), DATA["a"])
    with pytest.raises(ConfigError, match="it must take images"):
        open_features(onnx_network(tmp_path / "five.onnx", channels=5), DATA["a"])
