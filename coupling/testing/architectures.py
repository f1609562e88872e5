"""Checks of an architecture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.testing.check import RANGES, Check, Tests, require
from coupling.testing.small_run import LATENT, configured, opened, trained


def _accepted(check: Check) -> Iterator[tuple[Any, Domain]]:
    """The architecture with the domains that it accepts, one for each number of channels."""
    architecture = check.make()
    rejected, taken = [], set()
    for number, shape in enumerate(check.shapes):
        domain = Domain("domain", tuple(shape), RANGES[number % 2])
        if shape[0] in taken:
            continue
        try:
            architecture.generator(domain, LATENT)
            architecture.discriminator(domain, 1)
        except ConfigError as error:
            rejected.append(str(error))
            continue
        taken.add(shape[0])
        yield architecture, domain
    require(bool(taken), f"accepts none of the shapes {check.shapes}: {rejected[:1]}")


def _networks(architecture: Any, domain: Domain, outputs: int = 1) -> tuple[nn.Module, nn.Module]:
    lists = architecture.generator(domain, LATENT), architecture.discriminator(domain, outputs)
    for team, layers in zip(("generator", "discriminator"), lists, strict=True):
        require(isinstance(layers, list) and bool(layers), f"{team}() gives {layers!r:.80}, not a list of layers")
        require(
            all(isinstance(layer, nn.Module) for layer in layers),
            f"{team}() gives a list with something else than nn.Module",
        )
    return nn.Sequential(*lists[0]), nn.Sequential(*lists[1])


_UNSUITED = "an architecture raises coupling.ConfigError for a domain that it cannot draw"


def _maps(check: Check) -> None:
    for architecture, domain in _accepted(check):
        for outputs in (1, 3):
            g, f = _networks(architecture, domain, outputs)
            drawn = g(torch.randn(4, LATENT))
            require(tuple(drawn.shape) == (4, *domain.shape), f"draws {tuple(drawn.shape)} for {domain}; {_UNSUITED}")
            low, high = domain.range
            least, most = drawn.min().item(), drawn.max().item()
            require(
                low <= least and most <= high,
                f"draws values in [{least}, {most}] for {domain}; end it with output_activation(domain)",
            )
            logits = f(drawn)
            require(
                tuple(logits.shape) == (4, outputs),
                f"gives {tuple(logits.shape)} logits, expected {(4, outputs)}, for {domain}",
            )
            require(bool(logits.isfinite().all()), f"logits are not finite for {domain}")


def _gradients(check: Check) -> None:
    for architecture, domain in _accepted(check):
        g, f = _networks(architecture, domain)
        z = torch.randn(4, LATENT, requires_grad=True)
        f(g(z)).square().sum().backward()
        require(z.grad is not None and bool(z.grad.isfinite().all()), f"no gradient reaches z for {domain}")
        for team, network in (("generator", g), ("discriminator", f)):
            for name, parameter in network.named_parameters():
                if parameter.requires_grad:
                    got = parameter.grad is not None and bool(parameter.grad.isfinite().all())
                    require(got, f"the {team}'s parameter {name} gets no finite gradient for {domain}")


def _second_derivative(check: Check) -> None:
    for architecture, domain in _accepted(check):
        f = _networks(architecture, domain)[1]
        low, high = domain.range
        x = (low + (high - low) * torch.rand(4, *domain.shape)).requires_grad_()
        (slope,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
        require(bool(slope.isfinite().all()), f"the discriminator has no finite gradient for its input, for {domain}")
        if slope.requires_grad:  # the penalty of a linear discriminator does not reach its parameters
            slope.square().sum().backward()


def _makes_new_layers(check: Check) -> None:
    for architecture, domain in _accepted(check):
        twice = []
        for seed in (5, 5):
            torch.manual_seed(seed)
            twice.append(_networks(architecture, domain))
        for team, one, other in zip(("generator", "discriminator"), *twice, strict=True):
            own = {id(parameter) for parameter in one.parameters()}
            shared = [name for name, parameter in other.named_parameters() if id(parameter) in own]
            require(
                not shared,
                f"two calls give {team}s with {shared[:1]} in common; make new layers, the sharing rules tie them",
            )
            states = one.state_dict(), other.state_dict()
            require(states[0].keys() == states[1].keys(), f"two calls give {team}s with different parameters")
            equal = all(torch.equal(states[0][name], states[1][name]) for name in states[0])
            require(equal, f"the {team}'s initial weights do not depend on torch's seed alone")


def _couples(check: Check) -> None:
    """Two domains that share a layer, trained for two steps as in a run."""
    for architecture, domain in _accepted(check):
        data = {"name": "conformance", "shape": list(domain.shape), "range": list(domain.range)}
        chosen = {"architecture": {**check.options, "name": check.component.name}}
        first = 1 if len(architecture.generator(domain, LATENT)) > 1 else 0
        last = 1 if len(architecture.discriminator(domain, 1)) > 1 else 0
        config = configured(
            check,
            domains={"one": {"dataset": data}, "two": {"dataset": data}},
            generator=chosen,
            discriminator=chosen,
            sharing={
                "generator": [{"first": 1}] if first else [],
                "discriminator": [{"last": 1}] if last else [],
            },
        )
        for losses in trained(config, check, opened(check, config.plain()["domains"]))[1]:
            require(all(math.isfinite(value) for value in losses.values()), f"training gives losses {losses}")


TESTS: Tests = {
    "maps codes to samples and samples to logits": _maps,
    "gradients reach all parameters": _gradients,
    "can be differentiated twice": _second_derivative,
    "makes new layers that depend on the seed alone": _makes_new_layers,
    "domains can share layers": _couples,
}
