"""The coverage of a model: the images that it reconstructs about as well as real samples of the domain.

Inversion finds the best code for any image, also for one that the model cannot draw; its images in other domains then
mean nothing. So the error of an image is compared with the errors of real samples of the domain, held-out ones if the
data set has any. An image whose error is higher than nearly all of these is not covered.
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
from coupling.runs.demos import demo_name, find_demo
from coupling.runs.locations import run_directory_of
from coupling.system.atomic_files import write_text
from coupling.system.seeds import derive_seed
from coupling.system.terminal import print_line, progress, warn

FILE = "coverage.json"
"""File in the run's directory with what was measured, so that it is measured once."""


COUNT = 100
"""Number of samples that are inverted."""


QUANTILE = 0.95
"""Share of the real samples that count as covered."""


@dataclass(frozen=True)
class Coverage:
    """The errors of real samples of a domain."""

    domain: str
    threshold: float
    """The error that the share :data:`QUANTILE` of the samples does not exceed."""
    median: float
    count: int
    """Number of samples."""
    held_out: bool
    """Whether the model was trained without these samples."""
    data: str
    """Fingerprint of the data."""

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
    """Invert ``count`` real samples of ``domain``, from the data set that the model was trained on.

    Raises:
        InputError: the data cannot be read, or are not those of the training.
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
    pool, unseen = _pool(data, domain)
    pool.prepare()
    order = torch.Generator().manual_seed(derive_seed(search.seed, "coverage"))
    samples = pool.read(torch.randperm(len(pool), generator=order)[:count].tolist())
    with progress(f"inverting {len(samples)} real samples of '{domain}' to measure their errors", len(samples)) as (
        advance
    ):
        error = invert(model, samples, domain, search, advance=advance, encoder=encoder).error
    threshold, median = float(error.quantile(QUANTILE)), float(error.median())
    return Coverage(domain, threshold, median, len(samples), unseen, pool.fingerprint)


def _pool(data: Mapping[str, DomainData], domain: str) -> tuple[DomainData, bool]:
    """Real samples of a domain, and whether the model was trained without them."""
    try:
        return held_out(data, domain), True
    except ConfigError:  # too few are held out
        return data[domain], False


def load_or_measure_coverage(
    model: CoupledModel,
    domain: str,
    search: Search,
    plugins: Plugins,
    run: Path | None,
    encoder: Encoder | None = None,
) -> Coverage | None:
    """The coverage that was measured before, from the directory ``run``; else measure it and save it there.

    Returns None, with a warning that gives the reason, if the data cannot be read.
    """
    key = coverage_key(model, domain, search, encoder)
    kept = _read(None if run is None else run / FILE)
    found = _known(kept, key)
    if found is not None:
        return found
    try:
        found = measure_coverage(model, domain, search, plugins, encoder=encoder)
    except InputError as error:
        warn(f"coverage is not checked, because there are no real samples of '{domain}' to compare with: {error}")
        return None
    if run is not None:
        try:
            write_text(run / FILE, json.dumps(kept | {key: asdict(found)}, indent=2) + "\n")
        except OSError as error:
            warn(f"{run / FILE}: cannot be written ({error.strerror}), so coverage will be measured again next time")
    return found


def load_or_measure_threshold(
    model: CoupledModel, domain: str, search: Search, plugins: Plugins, run: Path, encoder: Encoder | None
) -> float | None:
    """Print the coverage of a domain and return its threshold; None if it cannot be measured.

    ``run``: a run directory, in which the coverage is saved, or any path that a model can be loaded from.
    """
    demo = demo_name(run)
    if demo is not None:  # a demo is tried without its data
        coverage = _known(_read(find_demo(demo).coverage), coverage_key(model, domain, search, encoder))
    else:
        coverage = load_or_measure_coverage(model, domain, search, plugins, run_directory_of(run), encoder)
    if coverage is None:
        if demo is not None:
            print_line(f"demo:{demo}: whether the model covers an image is not checked; --threshold sets a limit")
        return None
    print_line(str(coverage))
    return coverage.threshold


def _known(kept: Mapping[str, dict[str, Any]], key: str) -> Coverage | None:
    """The earlier measurement of a key; None if there is none, or another version wrote it."""
    try:
        return Coverage(**kept[key]) if key in kept else None
    except TypeError:
        return None


def coverage_key(model: CoupledModel, domain: str, search: Search, encoder: Encoder | None) -> str:
    """Identifies what the coverage depends on: weights, domain and search."""
    networks = [model.generator] + ([model.discriminator] if model.discriminator and search.feature_weight else [])
    values = {"weights": fingerprint(*networks)[:16], "domain": domain, "count": COUNT, "quantile": QUANTILE}
    guesses = {} if encoder is None else {"encoder": encoder.digest[:16]}
    return json.dumps(values | search.plain() | guesses)


def _read(file: Path | None) -> dict[str, dict[str, Any]]:
    """Earlier measurements by key; empty if there is no file, or it is damaged."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
