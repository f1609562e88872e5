"""A team's objective: the terms of all losses, checked and added up, and the values that are logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from coupling.errors import PluginError, nearest
from coupling.losses.loss import DiscriminatorHalf, GeneratorHalf, Loss, PerDomain
from coupling.runs.metrics_log import LossName
from coupling.sharing.graph import TeamName
from coupling.system.foreign_code import guarded

Losses = dict[str, Tensor]
"""Scalars by the flat name of a :class:`LossName`; also one for each term if an objective has several."""


def term(name: str, loss: Loss, team: TeamName, half: DiscriminatorHalf | GeneratorHalf) -> PerDomain:
    """The term that a loss adds to a team's objective: {domain: scalar}.

    Raises :class:`PluginError` if the loss fails or returns anything else.
    """
    with guarded(f"loss '{name}' on the {team}s"):
        values: PerDomain = getattr(loss, team)(half)
    if not isinstance(values, Mapping):
        raise PluginError(f"loss '{name}': {team}() gives a {type(values).__name__}; return {{domain: scalar}}")
    for domain, value in values.items():
        if domain not in half.fake:
            raise PluginError(
                f"loss '{name}': {team}() gives a term for domain '{domain}'; {nearest(str(domain), half.fake)}"
            )
        if not isinstance(value, Tensor) or value.dim() != 0:
            found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
            raise PluginError(
                f"loss '{name}': {team}() gives, for domain '{domain}', something of {found}; return one scalar tensor "
                "per domain, such as the mean over the batch"
            )
    return values


def combine(team: str, terms: Mapping[str, PerDomain], *, named: bool) -> tuple[Tensor, Losses]:
    """The objective (the sum over domains and terms) and its detached parts; ``named``: also those of each term.

    Raises :class:`PluginError` if no loss has a term in this step.
    """
    totals: Losses = {}
    parts: Losses = {}
    for name, per_domain in terms.items():
        for domain, value in per_domain.items():
            key = str(LossName(team, domain))
            totals[key] = totals[key] + value if key in totals else value
            parts[str(LossName(team, domain, name))] = value.detach()
    if not totals:
        raise PluginError(f"losses: none of {', '.join(terms)} gives the {team}s a term in this step; one of them must")
    objective = torch.stack(list(totals.values())).sum()
    record = {key: value.detach() for key, value in totals.items()}
    return objective, record | parts if named else record


def mean_losses(records: Sequence[Losses]) -> Losses:
    """Each loss's mean over micro-batches of equal size; a term that a micro-batch lacks counts as 0."""
    names = dict.fromkeys(name for record in records for name in record)
    return {
        name: torch.stack([record[name] for record in records if name in record]).sum() / len(records) for name in names
    }
