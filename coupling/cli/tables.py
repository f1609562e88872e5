"""What `coupling check` and `coupling plugins` print."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from coupling.config.config import Config
from coupling.data.batches import Batches
from coupling.data.domain_data import DomainData, open_domains
from coupling.generation.given_images import GivenImages
from coupling.generation.transformation import _covered
from coupling.metrics.evaluate import Scores
from coupling.metrics.metric import open_metrics
from coupling.metrics.scoring import Score
from coupling.model.inversion import Transformed
from coupling.networks.build import Networks, assemble
from coupling.networks.coupled import CoupledNetwork
from coupling.plugins import Plugins
from coupling.runs.locations import run_directory_of
from coupling.runs.measured import Measured
from coupling.runs.metrics_log import walk
from coupling.sweeps.directory import RunStatus
from coupling.system.atomic_files import printable
from coupling.system.terminal import print_line
from coupling.training.batch_statistics import JOINT, set_statistics
from coupling.training.cost import separate, step_cost
from coupling.training.launch import refuse_unfit


def print_scores(result: Scores, console: Console) -> None:
    """A table of all values: unrelated pairs and what real samples have beside each; then what they were made with."""
    found = [(str(name), value) for score in result.scores for name, value in walk(score.metric, score.measured)]
    rows = [row for name, value in found for row in _score_rows(name, value)]
    shown = [column for column in ("unrelated", "real") if any(column in beside for *_, beside in rows)]
    made = table("metric", "value", *shown)
    notes = {score.name: number for number, score in enumerate(result.scores, 1)}
    for name, value, beside in rows:
        label = name + (f" [{notes[name]}]" if name in notes else "")
        made.add_row(label, f"{value:.4g}", *(f"{beside[c]:.4g}" if c in beside else "" for c in shown))
    console.print(f"step {result.step:,}", style="bold")
    console.print(made)
    for score in result.scores:
        console.print(f"[{notes[score.name]}] {_described(score)}")


def _score_rows(name: str, measured: Measured) -> Iterator[tuple[str, float, dict[str, float]]]:
    """Rows of a value: its name, the value, and the columns beside it; floors that have no column have a row."""
    floors, ceilings = measured.floors, measured.ceilings
    beside = {"unrelated": floors["unrelated"]} if "unrelated" in floors else {}
    if ceilings:
        beside["real"] = ceilings.get("true-pairs", next(iter(ceilings.values())))
    yield name, measured.value, beside
    for key, floor in floors.items():
        if key != "unrelated":
            yield f"{name}/{key}", floor, {}


_SHOWN_APART = ("value", "better", "metric", "step", "seed", "data", "versions", "measured", "took", "device")


def _described(score: Score) -> str:
    """What a score was computed with; evaluation.json has all of it."""
    record = score.record
    lines = [f"{_plain(record['metric'])}; seed {record['seed']}; {record['better']} is better"]
    lines += [f"data of {name}: {_short(text)}" for name, text in record["data"].items()]
    for key, value in record.items():
        if key not in _SHOWN_APART and value not in ({}, [], None):
            parts = value.items() if isinstance(value, Mapping) else [("", value)]
            lines += [" ".join(f"{key} {name}".split()) + f": {_plain(part)}" for name, part in parts]
    return "\n    ".join(lines)


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(part)}" for key, part in value.items() if part is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)


def _short(fingerprint: str) -> str:
    """A fingerprint whose digests are cut to eight characters."""
    return ":".join(part[:8] if len(part) == 64 else part for part in fingerprint.split(":"))


def told(result: Scores, run: str | Path, output: Path | None) -> None:
    """Say where the values went."""
    root = output or run_directory_of(Path(run))
    if root is None:
        print_line(f"{run} is in no run directory, so nothing was written; --output DIR keeps the values")
    else:
        print_line(f"step {result.step:,}: appended to {root / 'metrics.jsonl'}; details in {root / 'evaluation.json'}")


def table(*columns: str, whole: Container[str] = ()) -> Table:
    """A plain table for results, without boxes; long text continues on the next line.

    Args:
        columns: the headings.
        whole: columns whose text is never broken, such as names.
    """
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column in whole)
    return made


def print_check(config: Config, plugins: Plugins, console: Console) -> Networks:
    """Build a configuration, and print its domains, sharing tables, parameters and cost; returns what was built."""
    refuse_unfit(config, 1)
    data = open_domains(config, plugins.registry)
    networks = assemble(config, {name: d.domain for name, d in data.items()}, plugins.registry)
    for domain in data.values():  # refuses a batch that is larger than the data set
        Batches(domain, config.seed, config.training.batch_size)
    set_statistics((networks.generator, networks.discriminator), config.training, 1)
    open_metrics(config, data, plugins.registry)
    console.print("domains", style="bold")
    console.print(_domains_table(config, data))
    for network in (networks.generator, networks.discriminator):
        console.print(f"\n{network.graph.team}: equal letters are one layer, · is private", style="bold")
        console.print(_sharing_table(network))
    console.print(f"\nparameters, beside {len(networks.domains)} separate GANs", style="bold")
    console.print(_parameters_table(networks))
    domains = networks.domains
    shared, alone = (step_cost(c, domains, plugins.registry) for c in (config, separate(config)))
    console.print(
        f"\na step: {shared / 1e6:,.1f} million operations a sample, {len(domains)} separate GANs "
        f"{alone / 1e6:,.1f} million ({alone / shared:.2f} times as many)"
    )
    if config.batch_statistics == "joint":
        console.print(f"\n{JOINT}")
    drawn_alike = all(len(g.members) == len(networks.domains) for g in networks.generator.graph.groups)
    if len(networks.domains) > 1 and drawn_alike and config.latent.condition is None:
        console.print(
            "\nevery generator layer is shared by all domains: one code draws the same sample in all of them; share "
            "fewer layers, or set latent.condition: domain"
        )
    return networks


def _part(domain: DomainData) -> str:
    if domain.part == (1, 1):
        return "all"
    whole = "" if domain.dataset.groups() is None else ", in whole groups"
    return f"{domain.part[0]} of {domain.part[1]}{whole}"


def _domains_table(config: Config, data: dict[str, DomainData]) -> Table:
    made = table("name", "data set", "shape", "range", "samples", "part")
    for name, domain in data.items():
        low, high = domain.domain.range
        made.add_row(
            name,
            config.domains[name].dataset.name,
            " × ".join(map(str, domain.domain.shape)),
            f"{low:g} to {high:g}",
            f"{len(domain):,}",
            _part(domain),
        )
    return made


def _sharing_table(network: CoupledNetwork) -> Table:
    graph = network.graph
    rows = graph.table()
    made = table(*rows[0], "parameters")
    for row in rows[1:]:
        groups = {graph.group_of[d, int(row[0])] for d in graph.domains if int(row[0]) <= graph.depths[d]}
        numbers = sum(p.numel() for group in groups for p in network.layers[group.key].parameters())
        made.add_row(*row, f"{numbers:,}")
    return made


def _parameters_table(networks: Networks) -> Table:
    made = table("team", "total", "shared", "separate GANs", "saved")
    for network in (networks.generator, networks.discriminator):
        total, shared = network.parameter_counts()
        alone = networks.unshared[network.graph.team]
        made.add_row(network.graph.team, f"{total:,}", f"{shared:,}", f"{alone:,}", f"{1 - total / alone:.0%}")
    return made


def print_statuses(statuses: Iterable[RunStatus], console: Console) -> None:
    """The runs of a sweep: cell, seed, how far each is, and where."""
    made = table("run", "state", "step", "directory", "")
    for status in statuses:
        changed = f"has changed: {'; '.join(status.changes)}" if status.changes else ""
        step = f"{status.step:,} of {status.run.config.training.steps:,}"
        made.add_row(status.run.title, status.state, step, str(status.path), changed)
    console.print(made)


def print_errors(given: GivenImages, found: Transformed, threshold: float | None, console: Console) -> None:
    """A row an image: how far the reconstruction is from it, and whether the model covers it."""
    made = table("image", "error", "covered", "changes")
    for file, error, changes in zip(given.files, found.error.tolist(), given.changes, strict=True):
        made.add_row(printable(str(file)), f"{error:.4f}", _covered(error, threshold) or "unknown", changes)
    console.print(made)
    if threshold is not None and (missed := int((found.error > threshold).sum())):
        print_line(
            f"{missed} of {len(given.files)} images are not covered (error above {threshold:.4f}): the model draws "
            "nothing like them, and what they became in the other domains means little"
        )
