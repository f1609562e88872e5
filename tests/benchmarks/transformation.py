"""Measure cross-domain transformation on held-out samples whose counterpart is known.

    python tests/benchmarks/transformation.py RUN [--from digits] [--to negatives] [--count 200] [--restarts 4]
                                             [--encoder FILE]

For a run whose domain ``--to`` is an operator on the data set of ``--from`` (digits and their edges or negatives).
Held-out samples, none of which any network saw, are carried over; the operator says what should come out. Prints a
Markdown table: the share of pixels that agree after rounding to black and white (as in Tables 3 and 4 of the paper),
beside what the operator makes of the reconstruction (the loss of inversion alone), and the floors: the counterpart of
another sample, and the mean of all; the error of the reconstruction, and how often it is nearer than the nearest
training sample; what share is covered, and what share of images that are none of the domain's is flagged.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from coupling.api import load_model
from coupling.data.domain_data import open_domains
from coupling.generation.coverage import COUNT, QUANTILE
from coupling.generation.encoder import Encoder, load_or_train_encoder
from coupling.model.inversion import Search, invert
from coupling.plugins import installed
from coupling.system.terminal import progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--from", dest="from_", default="digits")
    parser.add_argument("--to", default="negatives")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--restarts", type=int, default=Search.restarts)
    parser.add_argument("--iterations", type=int, default=Search.iterations)
    parser.add_argument("--feature-weight", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoder", type=Path, help="start one search where this file says; learned at need")
    parser.add_argument("--foreign", type=int, default=50, help="images of each kind that is none of the domain's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    model = load_model(options.run, device=options.device)
    data = open_domains(model.config, installed().registry)
    source, target = data[options.from_], data[options.to]
    held_out = source.dataset.held_out()
    if held_out is None or len(held_out) < COUNT + options.count:
        raise SystemExit(f"domain '{options.from_}' has not {COUNT + options.count} held-out samples")
    held_out.prepare()
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(options.seed))
    raw = held_out.batch(order[: COUNT + options.count].tolist())
    samples, truth = source.transform(raw), target.transform(raw)
    search = Search(
        restarts=options.restarts,
        iterations=options.iterations,
        feature_weight=options.feature_weight,
        seed=options.seed,
    )

    encoder = None
    if options.encoder is not None:
        encoder = load_or_train_encoder(model, options.from_, installed(), options.encoder)

    def inverted(images: Tensor, title: str) -> tuple[Tensor, Tensor, Tensor, float]:
        with progress(title, len(images)) as advance:
            start = time.process_time() if options.device == "cpu" else time.perf_counter()
            found = invert(model, images, options.from_, search, advance=advance, encoder=encoder)
            end = time.process_time() if options.device == "cpu" else time.perf_counter()
        return found.z, found.reconstruction, found.error, (end - start) / len(images)

    threshold = float(inverted(samples[:COUNT], "samples that set the threshold")[2].quantile(QUANTILE))
    samples, truth, raw = samples[COUNT:], truth[COUNT:], raw[COUNT:]
    z, reconstruction, error, seconds = inverted(samples, "held-out samples")
    drawn = model.generate(z, [options.to])[options.to]
    covered = error <= threshold
    middle = sum(model.domains[options.to].range) / 2

    def agreement(one: Tensor, other: Tensor) -> Tensor:
        """Share of equal pixels of each sample."""
        return ((one > middle) == (other > middle)).flatten(1).float().mean(1)

    @torch.no_grad()
    def guessed(encoder: Encoder) -> Tensor:
        """Median error of what the encoder's codes draw."""
        codes = encoder(samples.to(model.device)).cpu()
        low, high = model.domains[options.from_].range
        apart = model.generate(codes, [options.from_])[options.from_] - samples
        return apart.flatten(1).square().mean(1).sqrt().median() / (high - low)

    agreed = agreement(drawn, truth)
    source.prepare()
    training = source.read(range(min(10_000, len(source)))).flatten(1)
    width = source.domain.range[1] - source.domain.range[0]
    nearest = torch.cdist(samples.flatten(1), training).amin(1) / (width * training.shape[1] ** 0.5)
    shuffled = samples.flatten(1)[:, torch.randperm(training.shape[1], generator=torch.Generator().manual_seed(1))]
    low, high = source.domain.range
    foreign = {
        "turned upside down": samples.flip(2, 3),
        "turned by 90°": samples.rot90(1, (2, 3)),
        "negative": low + high - samples,
        "pixels shuffled": shuffled.view_as(samples),
    }
    rows = {} if encoder is None else {"error of the encoder's guess, median": f"{guessed(encoder):.4f}"}
    rows |= {
        f"agreement with the true '{options.to}'": f"{agreed.mean():.4f}",
        "of covered samples": f"{agreed[covered].mean():.4f}",
        "of the others": f"{agreed[~covered].mean():.4f}" if not covered.all() else "-",
        "the operator on the reconstruction": f"{agreement(target.transform(reconstruction), truth).mean():.4f}",
        "another sample's counterpart": f"{agreement(truth.roll(1, 0), truth).mean():.4f}",
        "the mean counterpart": f"{agreement(truth.mean(0, keepdim=True).expand_as(truth), truth).mean():.4f}",
        "error of the reconstruction, median": f"{error.median():.4f}",
        f"nearest of {len(training):,} training samples, median": f"{nearest.median():.4f}",
        "reconstruction nearer than that": f"{(error < nearest).float().mean():.3f}",
        f"covered (error at most {threshold:.4f})": f"{covered.float().mean():.3f}",
        "seconds a sample" + (" (processor)" if options.device == "cpu" else ""): f"{seconds:.3f}",
    }
    for kind, images in foreign.items() if options.foreign else ():
        flagged = inverted(images[: options.foreign], kind)[2] > threshold
        rows[f"flagged: {kind}"] = f"{flagged.float().mean():.3f}"
    print(f"{len(samples)} held-out samples of '{options.from_}', {model.step:,} steps, {search}\n")
    print("| | |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
