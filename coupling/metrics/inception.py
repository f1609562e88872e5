"""Inception's features, on which published Fréchet distances (FID) are computed, by torch-fidelity.

The weights are the user's file: they are not downloaded, and they are safetensors, since reading a pickle could execute
it.
"""

from __future__ import annotations

import importlib.metadata
import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from coupling.domain import Domain
from coupling.errors import ConfigError, cause
from coupling.system.checksums import digest
from coupling.system.data_directory import data_directory

PUBLISHED = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
"""The weights of the network of the paper of FID, as torch-fidelity publishes them."""

_PORTION = 50


def weights_file() -> Path:
    """The file of the weights."""
    return data_directory("inception") / "weights.safetensors"


def check_inception(domain: Domain) -> None:
    """Raise :class:`ConfigError` if the network cannot take the domain's samples, or something is not there."""
    if not domain.is_image:
        raise ConfigError(f"features: inception takes images; samples of '{domain.name}' are {domain.shape}")
    if find_spec("torch_fidelity") is None:
        raise ConfigError("features: inception needs torch-fidelity: pip install 'coupling-gan[fid]'")
    path = weights_file()
    if not path.is_file():
        raise ConfigError(
            f"features: inception: {path} is not there; download {PUBLISHED} and convert it there "
            "(docs/metrics.md, Features, has the command)"
        )


def open_inception(domain: Domain) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    """The network, as images (B, 1 or 3, H, W) in the domain's range to features (B, 2048), and its record.

    Raises:
        ConfigError: the file holds other weights, or torch-fidelity cannot be imported.
    """
    path, (low, high) = weights_file(), domain.range
    network = _network(path)

    def extract(samples: Tensor) -> Tensor:
        pixels = ((samples.float() - low) / (high - low)).clamp(0, 1).mul(255).round().byte()
        with torch.no_grad():
            parts = [network(part.expand(-1, 3, -1, -1))[0] for part in pixels.split(_PORTION)]
        return torch.cat(parts).float()

    height, width = domain.shape[1:]
    version = importlib.metadata.version("torch-fidelity")
    record = {
        "network": f"inception-v3-compat of torch-fidelity {version}",
        "sha256": digest(path)[:12],
        "resizer": f"bilinear as of TensorFlow 1, {height}x{width} to 299x299, on 8-bit values",
    }
    return extract, record


def _network(path: Path) -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except Exception as error:  # above all if its torchvision does not fit this torch
        raise ConfigError(f"features: inception: torch-fidelity cannot be imported: {cause(error)}") from error
    own = io.BytesIO()  # the class reads a pickle, so it gets one that was written here
    try:
        torch.save(load_file(path), own)
        own.seek(0)
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], own)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"features: inception: {path} does not hold Inception's weights: {reason}") from error
