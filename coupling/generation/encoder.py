"""An encoder: a network that guesses the code of a sample, from which one search of an inversion starts.

It is a discriminator of the domain's own architecture, with as many outputs as a code has numbers, so that it fits the
domains of plugins. It learns from the model alone: codes z of the prior and their samples x = g(z). Its loss is
|E(x) - z|^2 and the error of the reconstruction g(E(x)). Without the latter it would guess the mean of all codes that
draw similar samples. No real sample is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from torch import Tensor, nn

from coupling.errors import CouplingError, InputError
from coupling.networks.architecture import after_step_calls, layer_lists
from coupling.networks.coupled import to_device
from coupling.networks.mode import evaluating
from coupling.networks.weights import fingerprint
from coupling.plugins import GivenPlugins, Plugins, plugins_of
from coupling.runs.locations import output_path
from coupling.runs.tensor_files import METADATA, plain_tensors, read_metadata, read_tensors
from coupling.system.atomic_files import write_bytes
from coupling.system.seeds import derive_seed
from coupling.system.terminal import progress, warn

if TYPE_CHECKING:
    from coupling.model.model import CoupledModel


STEPS = 600
"""Training steps."""


BATCH = 64
"""Samples in a step."""


RATE = 2e-3
"""Highest learning rate."""


PIXELS = 10.0
"""Weight of the reconstruction's mean squared error, as a share of the range; the error of the code has weight 1."""


class Encoder:
    """Guesses the codes of one domain's samples for one model."""

    def __init__(self, model: CoupledModel, domain: str, plugins: GivenPlugins = None, seed: int = 0) -> None:
        """Make an untrained encoder, whose weights are a function of ``seed``."""
        model.chosen(domain)
        self.domain = model.domains[domain]
        self.model = model.digest
        """Digest of the model."""
        self.support = model.space.prior
        chosen = model.config.discriminator.architecture
        path = "discriminator.architecture"
        architecture = plugins_of(plugins).registry.build("architecture", chosen.name, chosen.options, path)
        layers = layer_lists(
            "discriminator", architecture, [self.domain], model.space.size, derive_seed(seed, "encoder")
        )[domain]
        self.network = nn.Sequential(*layers)
        to_device(self.network, model.device)

    def __call__(self, samples: Tensor) -> Tensor:
        """Guess codes (B, latent size), in the prior's support, of samples (B, *shape) in the domain's range."""
        return self.support.inward(self.network(samples))

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, in hexadecimal."""
        return fingerprint(self.network)

    def save(self, path: Path) -> None:
        """Write the weights, with the model and domain that they belong to; raises OSError if that fails."""
        tensors = plain_tensors(self.network.state_dict())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, safetensors.torch.save(tensors, {METADATA: json.dumps(self._about())}))

    def load(self, path: Path) -> None:
        """Read the weights from a file; raises :class:`InputError` if it is damaged or belongs to another model."""
        about = read_metadata(path)
        if about != self._about():
            raise InputError(f"{path}: is not an encoder of this model and domain")
        try:
            self.network.load_state_dict(read_tensors(path))
        except RuntimeError as error:
            raise InputError(f"{path}: does not fit the model's architecture: {error}") from None
        self.network.eval()

    def _about(self) -> Mapping[str, str]:
        return {"encoder": self.domain.name, "model": self.model}


def train_encoder(
    model: CoupledModel,
    domain: str,
    plugins: GivenPlugins = None,
    *,
    steps: int | None = None,
    seed: int = 0,
) -> Encoder:
    """Train an encoder: a network that guesses the code of a sample, from which :meth:`CoupledModel.transform` starts.

    It learns from samples of the model alone.

    Args:
        model: the model; it is not changed.
        domain: name of the domain whose samples are encoded.
        plugins: names of modules or .py files to load besides the installed plugins.
        steps: batches to learn from; None: 600.
        seed: seed of the initial weights and of the codes.

    Returns:
        A function of samples, (B, *shape) in the domain's range to (B, latent size).

    Raises:
        InputError: the model has no such domain.
    """
    steps = STEPS if steps is None else steps
    encoder = Encoder(model, domain, plugins, seed)
    parameters = list(encoder.network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=1e-2)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=max(steps, 2))
    followers = after_step_calls(encoder.network)
    sources = model.space.sources(seed, "encoder", domain)
    low, high = encoder.domain.range
    encoder.network.train()
    with evaluating(model.generator), progress(f"training an encoder of '{domain}'", steps) as advance:
        for _ in range(steps):
            z = model.space.draw(BATCH, sources).to(model.device)
            with torch.no_grad():
                samples = model.generator(z, [domain])[domain]
            guessed = encoder(samples)
            error = (model.generator(guessed, [domain])[domain] - samples) / (high - low)
            loss = (guessed - z).square().mean() + PIXELS * error.square().mean()
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient  # those of the generator are neither needed nor changed
            optimizer.step()
            for call in followers:
                call()
            rates.step()
            advance()
    encoder.network.eval().requires_grad_(False)
    return encoder


def load_or_train_encoder(model: CoupledModel, domain: str, plugins: Plugins, path: Path) -> Encoder:
    """The encoder in the file ``path``; if it is not there or not of this model, it is trained and saved there."""
    if path.exists():
        encoder = Encoder(model, domain, plugins)
        try:
            encoder.load(path)
            return encoder
        except CouplingError as error:
            warn(f"{error}; it is trained again")
    encoder = train_encoder(model, domain, plugins)
    try:
        encoder.save(path)
    except OSError as error:
        warn(f"{path}: cannot be written ({error.strerror or error}), so the encoder will be trained again next time")
    return encoder


def encoder_file(run: Path, model: CoupledModel, domain: str) -> Path:
    """The file in which the encoder of a domain is saved; ``run``: the path that the model was loaded from."""
    return output_path(run, f"encoder-{domain}-{model.digest[:8]}.safetensors")
