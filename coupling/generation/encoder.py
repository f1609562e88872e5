"""A network that guesses a sample's code, from which an inversion then starts beside its other starts.

It is a discriminator of the domain's own architecture with as many outputs as a code has numbers, so that a plugin's
domain of any shape has one. It learns from the model alone: codes z of the prior, their samples x = g(z), and
|E(x) - z|^2 with the error of the reconstruction g(E(x)), without which it would guess the mean of all codes that draw
much the same. No real sample is read.
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
from coupling.networks.architecture import layer_lists
from coupling.networks.coupled import to_device
from coupling.networks.latent import prior_of, sample_prior
from coupling.networks.mode import evaluating
from coupling.networks.weights import fingerprint
from coupling.plugins import GivenPlugins, Plugins, plugins_of
from coupling.runs.tensor_files import METADATA, plain_tensors, read_metadata, read_tensors
from coupling.system.atomic_files import write_bytes
from coupling.system.seeds import derive_seed, torch_generator
from coupling.system.terminal import print_line, progress

if TYPE_CHECKING:
    from coupling.model.model import CoupledModel


STEPS = 600


BATCH = 64


RATE = 2e-3


PIXELS = 10.0
"""Weight of the reconstruction's mean squared error, as a share of the range, beside that of the code."""


class Encoder:
    """Guesses codes of one domain's samples for one model."""

    def __init__(self, model: CoupledModel, domain: str, plugins: GivenPlugins = None, seed: int = 0) -> None:
        """One that has learned nothing yet; its first weights are a function of ``seed``."""
        model.chosen(domain)
        self.domain = model.domains[domain]
        self.model = model.digest
        """Digest of the model that it is for."""
        self.support = prior_of(model.config.latent)
        chosen = model.config.discriminator.architecture
        path = "discriminator.architecture"
        architecture = plugins_of(plugins).registry.build("architecture", chosen.name, chosen.options, path)
        size = model.config.latent.size
        layers = layer_lists("discriminator", architecture, [self.domain], size, derive_seed(seed, "encoder"))[domain]
        self.network = nn.Sequential(*layers)
        to_device(self.network, model.device)

    def __call__(self, samples: Tensor) -> Tensor:
        """(B, *shape) in the domain's range to codes (B, latent size) in the prior's support."""
        return self.support.inward(self.network(samples))

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, in hexadecimal."""
        return fingerprint(self.network)

    def save(self, path: Path) -> None:
        """Write the weights, and whose they are; raises OSError where that cannot be."""
        tensors = plain_tensors(self.network.state_dict())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, safetensors.torch.save(tensors, {METADATA: json.dumps(self._about())}))

    def load(self, path: Path) -> None:
        """Take the weights of a file; raises :class:`InputError` where it is damaged, or another model's."""
        about = read_metadata(path)
        if about != self._about():
            raise InputError(f"{path}: is an encoder of another model or domain, or none")
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
    codes = torch_generator(seed, "encoder", domain)
    low, high = encoder.domain.range
    encoder.network.train()
    with evaluating(model.generator), progress(f"learning an encoder of '{domain}'", steps) as advance:
        for _ in range(steps):
            z = sample_prior(model.config.latent, BATCH, codes).to(model.device)
            with torch.no_grad():
                samples = model.generator(z, [domain])[domain]
            guessed = encoder(samples)
            error = (model.generator(guessed, [domain])[domain] - samples) / (high - low)
            loss = (guessed - z).square().mean() + PIXELS * error.square().mean()
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient  # the generator's own are neither needed nor touched
            optimizer.step()
            rates.step()
            advance()
    encoder.network.eval().requires_grad_(False)
    return encoder


def load_or_train_encoder(model: CoupledModel, domain: str, plugins: Plugins, path: Path) -> Encoder:
    """The encoder kept at ``path``; where there is none of this model, it is learned and kept there."""
    if path.exists():
        encoder = Encoder(model, domain, plugins)
        try:
            encoder.load(path)
            return encoder
        except CouplingError as error:
            print_line(f"{error}; it is learned again")
    encoder = train_encoder(model, domain, plugins)
    try:
        encoder.save(path)
    except OSError as error:
        print_line(f"{path}: cannot be written ({error.strerror or error}), so it will be learned again next time")
    return encoder
