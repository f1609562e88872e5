"""The model of a run, a checkpoint, a file, a folder, or a repository on the hub."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from coupling.config.config import Config, build_config
from coupling.config.registry import Registry
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.losses.build import logit_count
from coupling.model.description import check_config, read_description
from coupling.model.model import CoupledModel
from coupling.networks.build import Networks, assemble
from coupling.networks.latent import LatentSpace
from coupling.networks.skeleton import build_without_memory, fill, is_filled, limited
from coupling.networks.trial import try_discriminators, try_generators
from coupling.networks.weights import average_prefix, check_tensors
from coupling.runs.locations import locate
from coupling.runs.model_file import ModelFile, open_model_file
from coupling.runs.provenance import training_record
from coupling.system.collector import rare_collections
from coupling.system.device import is_out_of_memory
from coupling.system.terminal import warn

_TENSORS = 300_000
"""Largest number of tensors that are made while networks are built."""


_DISCRIMINATORS = 2**24
"""Largest number of numbers of discriminators that are built for a file without them, in one domain."""


_MESSAGE = 2000
"""Longest part of a message that quotes a file."""


@rare_collections()
def read_model(
    path: str | Path,
    registry: Registry,
    *,
    device: str | torch.device = "cpu",
    live: bool = False,
    token: str | None = None,
) -> CoupledModel:
    """The model of a run directory, a checkpoint in it, a model file, or a model on the hub, ``hf://USER/MODEL``.

    It has the moving average of the weights if the run kept one, unless ``live``. The plugins of the architectures and
    losses must be installed, not those of the data.

    The file's description is checked first. The networks are then built without memory and compared with the file's
    header, so that nothing is allocated for a file that does not fit.

    Raises:
        InputError: there is no model, it is damaged, or it does not fit; the message says why.
    """
    file = locate(path, token)
    try:
        with open_model_file(file) as content:
            model = _read(content, registry, live=live)
    except InputError as error:
        raise type(error)(_quotable(str(error))) from None
    except RecursionError:
        raise InputError(f"{file}: its metadata are nested too deeply for a model that coupling wrote") from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(f"{file}: needs more memory than this machine has") from None
    return model.to(device)


def _quotable(message: str) -> str:
    """A message that quotes a file: control characters, which could change a terminal, are escaped."""
    shown = message if len(message) <= _MESSAGE else message[:_MESSAGE] + " ..."
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in shown)


def _read(content: ModelFile, registry: Registry, *, live: bool) -> CoupledModel:
    """The model of an open file; raises :class:`InputError` if it does not fit its description."""
    described = read_description(content)
    domains = {name: _with_drawing(domain.domain(name), registry) for name, domain in described.domains.items()}
    try:
        config = build_config(described.config, registry, data=False)
        check_config(config, described)
        networks = _Builder(config, domains, registry, content, live).networks()
    except InputError as error:
        prefix = "" if str(error).startswith(str(content.path)) else f"{content.path}: "
        raise type(error)(f"{prefix}{error}") from None
    for module in networks.named_networks.values():
        module.eval().requires_grad_(False)
    record = content.values.get("record") or training_record(content.path, described.step)
    if described.networks is not None:
        return CoupledModel(config, domains, networks.generator, None, described.step, {}, record)
    return CoupledModel(
        config, domains, networks.generator, networks.discriminator, described.step, networks.losses, record
    )


@dataclass(frozen=True)
class _Builder:
    """Builds the networks of a configuration with the tensors of a file."""

    config: Config
    domains: Mapping[str, Domain]
    registry: Registry
    content: ModelFile
    live: bool

    def networks(self) -> Networks:
        """The networks; raises :class:`InputError` if the file does not fit them."""
        with self._limited():
            networks = build_without_memory(self._build_and_try)
        if networks is not None:
            parts = self._checked_parts(networks)
            for module, prefix in parts:
                fill(module, self.content.read(prefix))
            if all(is_filled(module) for module, _ in parts):
                return networks
        with self._limited():
            networks = self._build()
        for module, prefix in self._checked_parts(networks):
            module.load_state_dict(self.content.read(prefix))
        self._try(networks)
        return networks

    def _limited(self) -> AbstractContextManager[None]:
        # Before layers are tied, each domain has its own: at most the file's, times the domains. Twice, as
        # normalisations are replaced, and some more, as layers may have buffers that are in no file.
        numbers = sum(math.prod(info.shape) for info in self.content.tensors.values())
        tensors = 2 * len(self.domains) * len(self.content.tensors) + 1000
        if self._generators_only:  # discriminators are built, too, for the checks of the configuration
            tensors, numbers = tensors + 1000 * len(self.domains), numbers + _DISCRIMINATORS
        return limited(tensors=min(tensors, _TENSORS), numbers=2 * len(self.domains) * numbers + 2**20)

    @property
    def _generators_only(self) -> bool:
        return self.content.values.get("networks") is not None

    def _build(self) -> Networks:
        return assemble(self.config, self.domains, self.registry, trial=False)

    def _build_and_try(self) -> Networks:
        networks = self._build()
        self._try(networks)
        return networks

    def _try(self, networks: Networks) -> None:
        """Raise :class:`ConfigError` if the layers do not fit each other and the domains."""
        try_generators(networks.generator, self.domains, LatentSpace(self.config.latent, self.domains).size)
        try_discriminators(networks.discriminator, self.domains, logit_count(networks.losses, len(self.domains)), ())

    def _checked_parts(self, networks: Networks) -> list[tuple[nn.Module, str]]:
        """Each network with the prefix of its tensors; raises :class:`InputError` if the file does not fit them."""
        parts = []
        named = {"generator": networks.generator} if self._generators_only else networks.named_networks
        for name, module in named.items():
            average = average_prefix(name)
            prefix = average if not self.live and self.content.part(average) else name
            check_tensors(module, self.content.part(prefix), prefix, self.content.path)
            parts.append((module, prefix))
        # A file of generators that was written from one has no graph of discriminators.
        known = ("generator", *self.content.values["sharing"]) if self._generators_only else tuple(networks.graphs)
        graphs = {team: graph.plain() for team, graph in networks.graphs.items() if team in known}
        if json.loads(json.dumps(graphs)) != self.content.values["sharing"]:
            raise InputError(f"{self.content.path}: its sharing graph is not that of its configuration")
        self.content.verify()
        return parts


def _with_drawing(domain: Domain, registry: Registry) -> Domain:
    """The domain with its drawing; without it, with a warning, if the plugin that draws is not installed."""
    if not domain.drawn_by:
        return domain
    try:
        drawing = registry.build("transform", domain.drawn_by, {}, f"domain '{domain.name}': drawn_by")
    except InputError as error:
        warn(f"{error}; its samples are drawn {'as they are' if domain.is_image else 'as their shape suggests'}")
        return domain
    return replace(domain, drawing=drawing)
