"""Trials of freshly built networks: errors that would otherwise appear in training appear before it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from coupling.config.config import Config
from coupling.domain import Domain
from coupling.errors import ConfigError, CouplingError, cause
from coupling.losses.loss import FeatureShapes
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator, CoupledNetwork
from coupling.networks.latent import LatentSpace
from coupling.networks.mode import evaluating

_TRIED = 8
"""Samples on which the domains of a conditional generator are compared."""


_ALIKE = 1e-3
"""Difference between two domains, as a share of the spread of one domain's samples, that rounding can explain."""


@torch.no_grad()
def try_generators(
    generator: CoupledGenerator, domains: Mapping[str, Domain], latent: int, taps: Iterable[int] = ()
) -> FeatureShapes:
    """Draw two samples of each domain from codes of size ``latent``.

    Returns the shape of one sample of each tapped output, {(domain, layer): shape}.

    Raises:
        ConfigError: the layers do not fit each other, or a sample has another shape than its domain.
    """
    fake, drawn = _evaluated(generator, lambda: generator.tapped(torch.zeros(2, latent), list(taps)))
    for name, samples in fake.items():
        shape = tuple(samples.shape[1:])
        if shape != domains[name].shape:
            raise ConfigError(
                f"generator: gives samples of shape {shape} for domain '{name}', whose shape is "
                f"{domains[name].shape}; choose another architecture or size"
            )
    return {node: tuple(output.shape[1:]) for node, output in drawn.items()}


@torch.no_grad()
def input_shapes(generator: CoupledGenerator, latent: int) -> dict[tuple[str, int], tuple[int, ...]]:
    """The shape of one sample of each layer's input, {(domain, layer): shape}; ``latent``: size of the codes.

    Raises:
        ConfigError: the layers do not fit each other.
    """
    inputs = generator.inputs(torch.zeros(2, latent))
    taps = range(1, max(generator.graph.depths.values()))
    outputs = _evaluated(generator, lambda: generator.run(inputs, [(2, True)], taps)[1])
    first = {(domain, 0): x for domain, x in inputs.items()}
    return {(domain, number + 1): tuple(x.shape[1:]) for (domain, number), x in (first | outputs).items()}


@torch.no_grad()
def try_discriminators(
    discriminator: CoupledDiscriminator, domains: Mapping[str, Domain], outputs: int, taps: Iterable[int]
) -> FeatureShapes:
    """Compute the logits and the tapped outputs of two blank samples of each domain.

    Returns the shape of one sample of each tapped output, {(domain, layer): shape}.

    Raises:
        ConfigError: the layers do not fit each other, or a sample gets another number of logits than ``outputs``.
    """
    blank = {name: torch.zeros(2, *domain.shape) for name, domain in domains.items()}
    output = _evaluated(discriminator, lambda: discriminator(blank, taps=list(taps)))
    for name, logits in output.real_logits.items():
        shape = tuple(logits.shape[1:])
        if shape != (outputs,):
            raise ConfigError(f"discriminator: gives {shape} logits a sample for domain '{name}', wanted ({outputs},)")
    return {node: tuple(tapped.shape[1:]) for node, tapped in output.features.items()}


def _evaluated(network: CoupledNetwork, compute: Callable[[], Any]) -> Any:
    """Compute in evaluation mode; raises :class:`ConfigError` if a layer, which may be a plugin's, fails."""
    try:
        with evaluating(network):
            return compute()
    except CouplingError:
        raise
    except Exception as error:
        raise ConfigError(f"{network.graph.team}: the layers do not fit each other: {cause(error)}") from error


@torch.no_grad()
def check_condition(generator: CoupledGenerator, config: Config) -> None:
    """Raise :class:`ConfigError` if all domains of a conditional generator draw the same samples.

    The domain that is appended to z only adds a constant to the first layer's output, the same for all samples of the
    domain. Batch normalisation of each domain's samples by their own mean subtracts it again.
    """
    if len(generator.graph.domains) < 2 or config.batch_statistics == "joint":
        return
    trial = copy.deepcopy(generator).train()
    size = LatentSpace(config.latent, config.domains).size
    z = torch.rand(_TRIED, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    try:
        samples = trial(z)
    except Exception:  # a plugin's layer that fails in training mode alone: training reports it
        return
    first, *others = samples.values()
    for other in others:
        if first.shape != other.shape or (first - other).abs().max() > _ALIKE * first.std(0).max():
            return
    raise ConfigError(
        "latent.condition: domain: all domains draw the same samples, because per-domain batch normalisation removes "
        "the constant that tells the domains apart; set batch_statistics: joint"
    )
