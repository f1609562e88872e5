"""Everything that training changes, and how it is saved and put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from coupling import checkpoint
from coupling.algorithm import Team
from coupling.assembly import Networks
from coupling.checkpoint import Checkpoint
from coupling.config import Config
from coupling.ema import MovingAverage
from coupling.errors import RunError
from coupling.model import load_tensors, metadata, model_tensors
from coupling.networks import CoupledGenerator


@dataclass(frozen=True)
class TrainingState:
    """Networks, losses, moving average and optimizers. No random state: each step draws from its own seed."""

    networks: Networks
    average: MovingAverage | None
    teams: Sequence[Team]

    @property
    def averaged(self) -> CoupledGenerator | None:
        """The generators' moving average, where it is kept."""
        network = None if self.average is None else self.average.network
        assert network is None or isinstance(network, CoupledGenerator)
        return network

    def save(self, folder: Path, config: Config, step: int) -> None:
        """Write the checkpoint of ``step`` into ``folder``."""
        optimizers = {
            f"{team.name}.{name}": tensor
            for team in self.teams
            for name, tensor in checkpoint.optimizer_tensors(team.optimizer).items()
        }
        tensors = model_tensors(self.networks, self.averaged)
        checkpoint.save(folder, step, tensors, optimizers, metadata(config, self.networks, step))

    def restore(self, found: Checkpoint) -> None:
        """Put back a checkpoint; raises :class:`InputError` naming what does not fit."""
        tensors, state = found.model(), found.state()
        load_tensors(self.networks.generator, tensors, "generator", found.path)
        load_tensors(self.networks.discriminator, tensors, "discriminator", found.path)
        for name, loss in self.networks.losses.items():
            load_tensors(loss, tensors, f"loss.{name}", found.path)
        if self.averaged is not None:
            load_tensors(self.averaged, tensors, "ema", found.path)
        for team in self.teams:
            own = {k.removeprefix(f"{team.name}."): v for k, v in state.items() if k.startswith(f"{team.name}.")}
            checkpoint.restore_optimizer(team.optimizer, own)

    def check_finite(self, step: int, advice: str) -> None:
        """A finite loss may have an infinite gradient: broken weights must not become the newest checkpoint."""
        owners: dict[str, torch.nn.Module] = {team.name: team.network for team in self.teams}
        for owner, module in {**owners, **self.networks.losses}.items():
            for name, parameter in module.named_parameters():
                if not parameter.isfinite().all():
                    raise RunError(f"{owner}: {name} is not finite at step {step}: {advice}")
