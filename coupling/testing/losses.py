"""Checks of a loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from coupling.config.config import Config
from coupling.errors import PluginError
from coupling.losses.loss import Loss
from coupling.system.seeds import seed_all
from coupling.testing.check import Check, Tests, require
from coupling.testing.small_run import STEPS, assembled, configured, opened, trained


def _loss_config(check: Check) -> Config:
    """A configuration with the loss: alone if it trains both teams, else beside others."""
    own = {**check.options, "name": check.component.name}
    loss = check.make()
    require(isinstance(loss, Loss), f"gives a {type(loss).__name__}, not a coupling.Loss")
    halves = [loss.trains(half) for half in ("discriminator", "generator")]
    require(any(halves), "has neither a discriminator() nor a generator() of its own")
    others = [] if all(halves) and loss.outputs(2) is not None else list(check.losses)
    names = [other if isinstance(other, str) else other["name"] for other in others]
    beside = [other for other, name in zip(others, names, strict=True) if name != check.component.name]
    return configured(check, losses=[*beside, own])


def _terms(check: Check) -> None:
    config = _loss_config(check)
    seen: list[tuple[str, str]] = []
    wrong: list[str] = []

    def recorded(half: str, answer: Callable[[Any], Any], given: Any) -> Any:
        terms = answer(given)
        try:
            _check_terms(half, terms, [domain.name for domain in given.domains])
        except AssertionError as error:
            wrong.append(str(error))
        seen.extend((half, domain) for domain in terms)
        return terms

    data = opened(check, config.plain()["domains"])
    networks = assembled(config, check, data)
    loss = list(networks.losses.values())[-1]
    for half in ("discriminator", "generator"):
        setattr(loss, half, partial(recorded, half, getattr(loss, half)))
    try:
        trained(config, check, data, networks)
    except PluginError:
        if not wrong:  # the messages collected here say more
            raise
    require(not wrong, "".join(wrong[:1]))
    require(bool(seen), f"gave no term in {STEPS} steps")


def _check_terms(half: str, terms: Any, known: list[str]) -> None:
    require(isinstance(terms, dict), f"{half}() gives a {type(terms).__name__}, not {{domain: scalar}}")
    for domain, value in terms.items():
        require(domain in known, f"{half}() gives a term for '{domain}'; domains: {', '.join(known)}")
        require(isinstance(value, Tensor), f"{half}() gives a {type(value).__name__} for '{domain}', not a tensor")
        require(value.dim() == 0, f"{half}() gives {tuple(value.shape)} for '{domain}', not a scalar")
        require(bool(value.isfinite()), f"{half}() gives {value.item()} for '{domain}'")


def _repeats(check: Check) -> None:
    config = _loss_config(check)
    runs = []
    for seed in (1, 2):
        seed_all(seed)  # a loss draws its numbers by half.uniform
        networks, losses = trained(config, check, opened(check, config.plain()["domains"]))
        runs.append((networks, losses))
    require(runs[0][1] == runs[1][1], f"two runs of one seed differ: {runs[0][1]}, {runs[1][1]}")
    for name, parameter in list(runs[0][0].losses.values())[-1].named_parameters():
        require(bool(parameter.isfinite().all()), f"its parameter {name} is not finite after {STEPS} steps")


TESTS: Tests = {
    "gives a finite scalar for each domain": _terms,
    "two runs of one seed are equal": _repeats,
}
