"""What generated pairs are worth: train a translator on them, test it on real pairs.

    coupling sample RUN --count 30000 --format zip --output pairs
    python tests/benchmarks/generated_pairs.py RUN pairs [MORE...] [--from digits] [--to edges]

A small network learns to draw domain ``--to``, of one channel, from domain ``--from``: edges from digits, depth from
colour. It learns from each of the given draws (a folder or zip of `coupling sample`), read as any data set is, and is
tested on real held-out pairs, none of which any network of RUN saw. Beside it the floors: the mean of real samples of
``--to``, and the same network trained on the first draw with its pairs mixed up, which is what unpaired data alone
would give it; and the ceiling: trained on real pairs. Prints a Markdown table: root mean square and mean absolute
error, as shares of the range, and the share of pixels that agree after rounding.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from coupling.api import load_model
from coupling.data.domain_data import open_domains
from coupling.data.held_out import held_out, split, true_pairs
from coupling.data.images.folder import ImageFolder
from coupling.domain import Domain
from coupling.metrics.depth_estimator import share_of_range
from coupling.metrics.probe import BATCH, RATE, STEPS
from coupling.metrics.probe_networks import Centred, Hourglass, run_in_portions
from coupling.plugins import installed
from coupling.system.terminal import progress

Pairs = tuple[Tensor, Tensor]
"""Inputs (n, C, H, W) and targets (n, 1, H, W), as shares of their ranges."""


def drawn(root: Path, domain: Domain) -> Tensor:
    """One domain of a draw of `coupling sample`, (n, C, H, W) as shares of the range."""
    path = root / domain.name
    mode = "gray" if domain.shape[0] == 1 else "rgb"
    data = ImageFolder(path=str(path if path.is_dir() else path.with_suffix(".zip")), mode=mode)
    return (data.batch(range(len(data))) + 1) / 2


def learned(pairs: Pairs, steps: int, missing: float, title: str) -> nn.Module:
    """The translator, trained on ``pairs``; targets below ``missing`` say nothing."""
    torch.manual_seed(0)
    network = nn.Sequential(Centred(0, 1), Hourglass(pairs[0].shape[1]), nn.Sigmoid())
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    random = torch.Generator().manual_seed(0)
    with progress(title, steps) as advance:
        for _ in range(steps):
            chosen = torch.randint(len(pairs[0]), (BATCH,), generator=random)
            guess, target = network(pairs[0][chosen]), pairs[1][chosen]
            seen = target >= missing
            loss = (guess - target)[seen].abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
            advance()
    return network.eval()


def row(guess: Tensor, target: Tensor, missing: float) -> str:
    """Errors and agreement, as cells of a table."""
    seen = target >= missing
    error = (guess - target)[seen]
    agreed = ((guess > 0.5) == (target > 0.5))[seen].float().mean()
    return f"{error.square().mean().sqrt():.4f} | {error.abs().mean():.4f} | {agreed:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("draws", nargs="+", type=Path)
    parser.add_argument("--from", dest="from_", default="digits")
    parser.add_argument("--to", default="edges")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--missing", type=float, default=0.0, help="targets below this share of the range are unknown")
    options = parser.parse_args()

    model = load_model(options.run)
    data = open_domains(model.config, installed().registry)
    source, target = held_out(data, options.from_), held_out(data, options.to)
    for pool in (source, target):
        pool.prepare()
    real, tested = (true_pairs(source, target, numbers) for numbers in split(source))
    if real is None or tested is None:
        raise SystemExit(f"no true pairs of '{options.from_}' and '{options.to}' are known")
    ceiling, test = ((share_of_range(source, one), share_of_range(target, other)) for one, other in (real, tested))
    generated = {
        str(root): tuple(drawn(root, model.domains[name]) for name in (options.from_, options.to))
        for root in options.draws
    }

    def trainings() -> Iterator[tuple[str, Pairs]]:
        inputs, targets = next(iter(generated.values()))
        yield f"{len(inputs):,} generated, pairs mixed up (floor)", (inputs, targets.roll(1, 0))
        for name, (inputs, targets) in generated.items():
            count = min(len(inputs), len(ceiling[0]))
            yield f"{count:,} generated, {name}", (inputs[:count], targets[:count])
            if len(inputs) > count:
                yield f"{len(inputs):,} generated, {name}", (inputs, targets)
        yield f"{len(ceiling[0]):,} real (ceiling)", ceiling

    rows = {"none: the mean of real targets (floor)": ceiling[1].mean(0, keepdim=True).expand_as(test[1])}
    for title, pairs in trainings():
        network = learned(pairs, options.steps, options.missing, title).requires_grad_(False)
        rows[title] = run_in_portions(network, test[0])
    print(f"'{options.from_}' to '{options.to}', {len(test[0]):,} real pairs, model at {model.step:,} steps\n")
    print("| trained on | RMS error | absolute error | agreement |\n|---|---|---|---|")
    for title, guess in rows.items():
        print(f"| {title} | {row(guess, test[1], options.missing)} |")


if __name__ == "__main__":
    main()
