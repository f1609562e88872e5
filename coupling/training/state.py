"""Everything that training changes, and how it is saved and restored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from coupling.config.config import Config
from coupling.errors import InputError, RunError
from coupling.networks.build import Networks
from coupling.networks.kernels import Kernels
from coupling.networks.weights import average_prefix, description, load_tensors, named_tensors
from coupling.runs.checkpoint import Checkpoint, Snapshot, snapshot
from coupling.training.algorithm import Team
from coupling.training.augmenter import Augmenter
from coupling.training.build import with_averages
from coupling.training.collapse import CollapseWarning
from coupling.training.ema import MovingAverage
from coupling.training.loss_means import LossMeans
from coupling.training.measurement import BestScores


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors: ``<parameter number>.<name>``."""
    flat = {}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                flat[f"{number}.{name}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return flat


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load what :func:`optimizer_tensors` returned, with each parameter's own strides.

    Fused Adam computes wrong updates, silently, on moments whose strides are not the parameter's.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every tensor is finite; tensors of whole numbers are.

    The largest absolute value is finite exactly if all values are. It takes one fused pass and one transfer;
    a check of each tensor would wait for the device each time.
    """
    floats = [x.detach() for x in tensors if (x.is_floating_point() or x.is_complex()) and x.numel()]
    return not floats or bool(torch.nn.utils.get_total_norm(floats, math.inf).isfinite())


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors that are not finite, in order; each is checked alone only if there are any."""
    return [] if finite(tensors.values()) else [name for name, x in tensors.items() if not finite([x])]


@dataclass(frozen=True)
class TrainingState:
    """Networks, losses, averages, optimizers, loss means, best scores, warning of a collapse, augmentation, kernels.

    There is no random state: each step draws from its own seed.
    """

    networks: Networks
    average: MovingAverage | None
    teams: Sequence[Team]
    means: LossMeans
    best_scores: BestScores
    collapse: CollapseWarning
    augmenter: Augmenter | None = None
    kernels: Kernels = field(default_factory=Kernels)
    given: frozenset[str] = field(init=False)
    """Names of tensors that were not finite before training (a mask of -inf, for example)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "given", frozenset(not_finite(self._numbers())))

    @property
    def shown(self) -> Networks:
        """The networks as users will load them: moving averages where there are any."""
        return with_averages(self.networks, self.average)

    @property
    def _saved_networks(self) -> dict[str, torch.nn.Module]:
        """All networks that a checkpoint holds, by the prefix of their tensors' names."""
        return self.networks.named_networks | {
            average_prefix(name): network for name, network in self._averages.items()
        }

    @property
    def _averages(self) -> dict[str, Any]:
        return {} if self.average is None else self.average.networks

    def snapshot(self, config: Config, step: int) -> Snapshot:
        """A copy of everything that the checkpoint of ``step`` holds."""
        optimizers = {
            f"{team.name}.{name}": tensor
            for team in self.teams
            for name, tensor in self._optimizer_tensors(team).items()
        }
        optimizers |= {
            f"loss_scale.{team.name}.{name}": tensor
            for team in self.teams
            if team.scale is not None
            for name, tensor in team.scale.tensors().items()
        }
        progress = {
            "losses": self.means.plain(),
            "metrics": self.best_scores.plain(),
            "collapse": self.collapse.plain(),
        }
        if self.augmenter is not None and self.augmenter.adaptation is not None:
            progress["augmentation"] = self.augmenter.adaptation.plain()
        if self.kernels.choices:
            progress["kernels"] = dict(self.kernels.choices)
        described = description(config, self.networks.domains, self.networks.graphs, step)
        return snapshot(step, named_tensors(self._saved_networks), optimizers, described, progress)

    def restore(self, found: Checkpoint) -> None:
        """Load a checkpoint; raises :class:`InputError` that names what does not fit."""
        self._check_sharing(found)
        tensors, state, progress = found.model(), found.state(), found.progress()
        for prefix, module in self._saved_networks.items():
            load_tensors(module, tensors, prefix, found.path)
        for team in self.teams:
            own = {k.removeprefix(f"{team.name}."): v for k, v in state.items() if k.startswith(f"{team.name}.")}
            restore_optimizer(team.optimizer, self._numbered(team, own, found))
            if team.scale is not None:
                prefix = f"loss_scale.{team.name}."
                team.scale.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self.means.restore(progress.get("losses", {}))
        self.best_scores.restore(progress.get("metrics", {}))
        self.collapse.restore(progress.get("collapse", {}))
        if self.augmenter is not None and self.augmenter.adaptation is not None:
            self.augmenter.adaptation.restore(progress.get("augmentation", {}))
        self.kernels.choices |= Kernels(progress.get("kernels")).choices

    def _optimizer_tensors(self, team: Team) -> dict[str, Tensor]:
        """The state of a team's optimizer by ``<parameter>.<name in the optimizer>``."""
        names = self._parameter_names(team)
        named = {}
        for key, tensor in optimizer_tensors(team.optimizer).items():
            number, kind = key.split(".", 1)
            named[f"{names[int(number)]}.{kind}"] = tensor
        return named

    def _parameter_names(self, team: Team) -> list[str]:
        """A name for each of a team's trained parameters, in the optimizer's order."""
        names = {id(p): name for name, p in team.network.named_parameters()}
        for loss, module in self.networks.losses.items():
            names |= {id(p): f"loss.{loss}.{name}" for name, p in module.named_parameters()}
        return [names[id(p)] for p in team.gradients.parameters]

    def _numbered(self, team: Team, saved: Mapping[str, Tensor], found: Checkpoint) -> dict[str, Tensor]:
        """An optimizer's saved state by parameter number; raises :class:`InputError` if it has other parameters."""
        names = self._parameter_names(team)
        shapes = {name: p.shape for name, p in zip(names, team.gradients.parameters, strict=True)}
        lines, numbered = [], {}
        for key, tensor in saved.items():
            name, _, kind = key.rpartition(".")
            if name not in shapes:
                lines.append(f"{team.name}: {key} belongs to a parameter that is not trained here")
            elif tensor.dim() and tensor.shape != shapes[name]:
                lines.append(f"{team.name}: {key} has shape {tuple(tensor.shape)}, here {tuple(shapes[name])}")
            else:
                numbered[f"{names.index(name)}.{kind}"] = tensor
        # Plain SGD keeps nothing; nor does a team that has taken no step, as before the first one, or if all have
        # overflowed half precision.
        kept = {key.rpartition(".")[0] for key in saved}
        if saved or (found.step and team.scale is None and not isinstance(team.optimizer, torch.optim.SGD)):
            lines += [f"{team.name}: the checkpoint has nothing for {name}" for name in names if name not in kept]
        if lines:
            raise InputError(
                f"{found.path}: its optimizer does not fit its configuration:\n  "
                + "\n  ".join(lines[:10])
                + "\ncontinue with the versions that environment.json names, or start a new run"
            )
        return numbered

    def _check_sharing(self, found: Checkpoint) -> None:
        """Raise :class:`InputError` if the checkpoint shares other layers: the plugin may have changed."""
        saved = found.metadata().get("sharing", {})
        lines = []
        for team, graph in self.networks.graphs.items():
            there = saved.get(team, {}).get("groups", [])
            here = [group.key for group in graph.groups]
            for place, keys, others in (("checkpoint", there, here), ("configuration", here, there)):
                only = [key for key in keys if key not in others]
                if only:
                    lines.append(f"{team}: only in the {place}: {', '.join(only)}")
        if lines:
            raise InputError(
                f"{found.path}: does not fit its configuration: it shares other layers:\n  "
                + "\n  ".join(lines)
                + "\ncontinue with the versions that environment.json names, or start a new run"
            )

    def check_finite(self, step: int, advice: str) -> None:
        """Raise an error if anything that would be saved is not finite, so that no broken checkpoint is the newest.

        Finite losses do not show it: a gradient may be infinite where the loss is finite, and losses do not read
        running statistics or the moving average. The check takes one transfer from the device.

        Raises:
            RunError: a tensor is not finite; the message names the first one, weights before other tensors.
        """
        numbers = {name: tensor for name, tensor in self._numbers().items() if name not in self.given}
        broken = not_finite(numbers)
        if broken:
            others = f" (nor are {len(broken) - 1} other tensors)" if len(broken) > 1 else ""
            raise RunError(f"{broken[0]} is not finite at step {step}{others}: {advice}")

    def _numbers(self) -> dict[str, Tensor]:
        """All tensors that training changes, by the name in an error message: ``generator: layers...weight``."""
        named: dict[str, torch.nn.Module] = {team.name: team.network for team in self.teams}
        named |= {f"loss {name}": loss for name, loss in self.networks.losses.items()}
        named |= {f"average of the {name}": network for name, network in self._averages.items()}
        numbers: dict[str, Tensor] = {
            f"{owner}: {name}": x for owner, module in named.items() for name, x in module.named_parameters()
        }
        numbers |= {f"{owner}: {name}": x for owner, module in named.items() for name, x in module.named_buffers()}
        for team in self.teams:
            numbers |= {f"optimizer of the {team.name}: {k}": x for k, x in self._optimizer_tensors(team).items()}
        return numbers
