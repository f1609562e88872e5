"""Floor and ceiling of domain adaptation: the configuration's classifier, trained without any GAN.

    python tests/benchmarks/source_only.py examples/adaptation.yaml --label mnist    # floor
    python tests/benchmarks/source_only.py examples/adaptation.yaml --label usps     # ceiling of USPS

The discriminators' layers and the head of its classification loss see the real samples of the labelled domain alone:
the same networks, data, batches, augmentation and optimizer, and averaged where the configuration averages the
discriminators. Prints the accuracy in every domain.
"""

from __future__ import annotations

import argparse
import dataclasses

import torch
from torch.nn import functional as F

from coupling.api import load_config
from coupling.batch import Batch
from coupling.data.batches import Batches
from coupling.data.domain_data import open_domains
from coupling.losses.classification import Classification
from coupling.metrics.accuracy import Accuracy
from coupling.metrics.metric import Evaluation
from coupling.model.model import CoupledModel
from coupling.networks.build import assemble
from coupling.networks.coupled import to_device
from coupling.plugins import installed
from coupling.system.seeds import derive_seed, seed_all, torch_generator
from coupling.training.build import make_optimizer, moving_average, with_averages


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("config")
    arguments.add_argument("--label", required=True, help="the domain whose labels are used")
    arguments.add_argument("--steps", type=int, default=2000)
    arguments.add_argument("--set", dest="overrides", action="append", default=[], metavar="K=V")
    given = arguments.parse_args()
    config = load_config(given.config, given.overrides)
    data = open_domains(config, installed().registry)
    networks = assemble(config, {name: d.domain for name, d in data.items()}, installed().registry)
    (head,) = (loss for loss in networks.losses.values() if isinstance(loss, Classification))
    stream = Batches(data[given.label], config.seed, Batch(config.training.batch_size))
    to_device(networks.discriminator, torch.device("cpu"))
    trained = [*networks.discriminator.parameters(), *head.parameters()]
    average = moving_average(config, networks)
    optimizer = make_optimizer(config.team_optimizer("discriminator"), trained)
    for step in range(given.steps):
        seed_all(derive_seed(config.seed, "source only", step))
        real, labels = stream.batch(step), stream.labels(step)
        if head.augmentation:
            source = torch_generator(config.seed, "source only augmented", step)
            real = head.augmentation(real, torch.rand(len(real), head.augmentation.numbers, generator=source))
        tapped = networks.discriminator.run({given.label: real}, [(len(real), True)], [head.layer])[1]
        loss = F.cross_entropy(head.logits(tapped[given.label, head.layer]), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if average is not None:
            average.update(step)
    networks = with_averages(networks, average)
    model = CoupledModel(
        config, networks.domains, networks.generator, networks.discriminator, given.steps, networks.losses
    )
    print(f"labels of {given.label} alone, {given.steps} steps, seed {config.seed}; last loss {loss.item():.4f}")
    for name, samples in data.items():
        # Through the labelled domain's layers: the first ones of the others, where private, were never trained.
        through = dataclasses.replace(samples, domain=networks.domains[given.label])
        for key, value in (
            Accuracy(domain=given.label).measure(Evaluation(model, {given.label: through}, config.seed)).items()
        ):
            print(f"  {key.replace(given.label, name, 1)} {value:.4f}")


if __name__ == "__main__":
    main()
