"""Which images a model covers: those that it draws about as well as images of the domain that it was made for.

Inversion finds the best code for any image, also for one that the model can draw nothing like; the samples of other
domains are then worth nothing. So an image's error is held against those of real samples of the domain, held-out
ones where the data set has any: what is worse than nearly all of them is flagged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from coupling.data.domain_data import DomainData, open_domains
from coupling.data.held_out import held_out
from coupling.errors import ConfigError, DataError, InputError
from coupling.generation.encoder import Encoder
from coupling.model.inversion import Search, invert
from coupling.model.model import CoupledModel
from coupling.networks.weights import fingerprint
from coupling.plugins import Plugins, installed
from coupling.system.atomic_files import write_text
from coupling.system.seeds import derive_seed
from coupling.system.terminal import print_line, progress

FILE = "coverage.json"
"""In the run's directory: what was measured, so that it is measured once."""


COUNT = 100
"""Samples of the domain that are inverted."""


QUANTILE = 0.95
"""Share of the domain's own samples that count as covered."""


@dataclass(frozen=True)
class Coverage:
    """The errors that real samples of a domain have."""

    domain: str
    threshold: float
    """The error that the share :data:`QUANTILE` of them does not exceed."""
    median: float
    count: int
    """Samples inverted."""
    held_out: bool
    """Whether the model was trained without them."""
    data: str
    """Identifies the data set."""

    def __str__(self) -> str:
        kind = "held-out" if self.held_out else "training"
        return (
            f"{QUANTILE:.0%} of {self.count} {kind} samples of '{self.domain}' have an error of at most "
            f"{self.threshold:.3f} (median {self.median:.3f})"
        )


def measure_coverage(
    model: CoupledModel,
    domain: str,
    search: Search,
    plugins: Plugins | None = None,
    *,
    count: int = COUNT,
    encoder: Encoder | None = None,
) -> Coverage:
    """Invert ``count`` real samples of ``domain``, of the data set that the model was trained on.

    Raises :class:`InputError` where the data cannot be had; the message says why.
    """
    plugins = plugins or installed()
    model.chosen(domain)
    model.config.check(plugins.registry)
    data = open_domains(model.config, plugins.registry)
    now, then = data[domain].domain, model.domains[domain]
    if (now.shape, now.range) != (then.shape, then.range):
        raise DataError(
            f"domains.{domain}.dataset: its samples are now of shape {now.shape} in {list(now.range)}, not those that "
            "the model was trained on"
        )
    pool, apart = _pool(data, domain)
    pool.prepare()
    order = torch.Generator().manual_seed(derive_seed(search.seed, "coverage"))
    samples = pool.read(torch.randperm(len(pool), generator=order)[:count].tolist())
    with progress(f"inverting {len(samples)} samples of '{domain}', to know the errors of real ones", len(samples)) as (
        advance
    ):
        error = invert(model, samples, domain, search, advance=advance, encoder=encoder).error
    threshold, median = float(error.quantile(QUANTILE)), float(error.median())
    return Coverage(domain, threshold, median, len(samples), apart, pool.fingerprint)


def _pool(data: Mapping[str, DomainData], domain: str) -> tuple[DomainData, bool]:
    """Real samples of a domain, and whether no domain trained on them."""
    try:
        return held_out(data, domain), True
    except ConfigError:  # there are too few
        return data[domain], False


def load_or_measure_coverage(
    model: CoupledModel,
    domain: str,
    search: Search,
    plugins: Plugins,
    run: Path | None,
    encoder: Encoder | None = None,
) -> Coverage | None:
    """The same, read from the directory of ``run`` where it was measured before, and kept there.

    None, with a remark that says why, where the data cannot be had.
    """
    key = _key(model, domain, search, encoder)
    kept = _read(run)
    try:
        if key in kept:
            return Coverage(**kept[key])
    except TypeError:  # written by another version
        pass
    try:
        found = measure_coverage(model, domain, search, plugins, encoder=encoder)
    except InputError as error:
        print_line(f"no image can be flagged, as no real samples of '{domain}' can be had to compare with: {error}")
        return None
    if run is not None:
        try:
            write_text(run / FILE, json.dumps(kept | {key: asdict(found)}, indent=2) + "\n")
        except OSError as error:
            print_line(f"{run / FILE}: cannot be written ({error.strerror}), so this will be measured again next time")
    return found


def _key(model: CoupledModel, domain: str, search: Search, encoder: Encoder | None) -> str:
    networks = [model.generator] + ([model.discriminator] if model.discriminator and search.feature_weight else [])
    values = {"weights": fingerprint(*networks)[:16], "domain": domain, "count": COUNT, "quantile": QUANTILE}
    guesses = {} if encoder is None else {"encoder": encoder.digest[:16]}
    return json.dumps(values | search.plain() | guesses)


def _read(run: Path | None) -> dict[str, dict[str, Any]]:
    try:
        kept = json.loads((run / FILE).read_text(encoding="utf-8")) if run is not None else {}
    except (OSError, ValueError):  # none yet, or damaged: it is measured again
        return {}
    return kept if isinstance(kept, dict) else {}
