"""Inception's features by torch-fidelity: from the user's weights, on the pixels that published distances use.

Its torchvision, of which this network needs nothing, is replaced by an empty module.
"""

from __future__ import annotations

import importlib.util
import sys
from unittest.mock import MagicMock

import pytest
import torch
from safetensors.torch import save_file

from coupling.errors import ConfigError
from coupling.metrics import inception
from coupling.metrics.distances import frechet
from coupling.metrics.features import check_features, open_features
from tests.support.toy_domains import opened

if importlib.util.find_spec("torch_fidelity") is None:
    pytest.skip("torch-fidelity is not installed", allow_module_level=True)

DATA = opened({"count": 400}, {"kind": "blank", "pool": "else"})["a"]


@pytest.fixture(autouse=True, scope="module")
def torchvision():
    """A torchvision that can be imported and has nothing."""
    names = ["torchvision", *(f"torchvision.{name}" for name in ("datasets", "transforms", "transforms.functional"))]
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            module = MagicMock()
            module.__spec__ = None
            patch.setitem(sys.modules, name, module)
        yield
        for name in [name for name in sys.modules if name.partition(".")[0] == "torch_fidelity"]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def weights(tmp_path_factory, torchvision):
    """The network with random weights, and a data directory that holds them."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(torch, "load", lambda *_, **__: None)
        network = FeatureExtractorInceptionV3("inception", ["2048"], "none")
    data = tmp_path_factory.mktemp("data")
    (data / "inception").mkdir()
    save_file(network.state_dict(), data / "inception" / "weights.safetensors")
    return network, data


@pytest.fixture
def network(weights, monkeypatch):
    monkeypatch.setenv("COUPLING_DATA", str(weights[1]))
    return weights[0]


def test_features_are_those_of_the_network_on_8_bit_colour_pixels(network):
    features = open_features("inception", DATA)
    samples = DATA.read(range(3))
    pixels = ((samples + 1) / 2 * 255).round().byte().expand(-1, 3, -1, -1)
    [expected] = network(pixels)
    assert torch.equal(features.extract(samples), expected)
    assert expected.shape == (3, 2048)
    assert not features.scaled
    assert features.record["size"] == 2048
    assert features.record["network"].startswith("inception-v3-compat of torch-fidelity ")
    assert "to 299x299" in features.record["resizer"]


def test_the_distance_is_that_of_torch_fidelity(network):
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    one, other = torch.randn(2, 60, 8, dtype=torch.float64) * torch.arange(1, 9)
    other = other + 1
    theirs = fid_statistics_to_metric(
        *({"mu": x.mean(0).numpy(), "sigma": torch.cov(x.T).numpy()} for x in (one, other)), False
    )
    assert frechet(one, other) == pytest.approx(next(iter(theirs.values())), rel=1e-6)


def test_weights_of_another_network_are_one_message(network, monkeypatch, tmp_path):
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    path = tmp_path / "inception" / "weights.safetensors"
    path.parent.mkdir()
    save_file({"fc.weight": torch.zeros(3)}, path)
    with pytest.raises(ConfigError, match="does not hold Inception's weights: Error"):
        open_features("inception", DATA)
    path.write_bytes(b"a pickle")
    with pytest.raises(ConfigError, match="does not hold Inception's weights"):
        open_features("inception", DATA)


def test_what_is_missing_is_an_error_before_training(network, monkeypatch, tmp_path):
    check_features("inception", DATA)
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=r"inception.weights\.safetensors is not there; download https://") as caught:
        check_features("inception", DATA)
    assert inception.PUBLISHED in str(caught.value)
    monkeypatch.setattr(inception, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'coupling-gan\[fid\]'"):
        check_features("inception", DATA)


def test_a_torchvision_that_does_not_fit_is_one_message(network, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ConfigError, match="torch-fidelity cannot be imported"):
        open_features("inception", DATA)
