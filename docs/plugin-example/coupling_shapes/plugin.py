"""The hooks of this plugin."""

from __future__ import annotations

from coupling import Register, hookimpl
from coupling_shapes.architecture import Small
from coupling_shapes.dataset import Shapes
from coupling_shapes.loss import Smoothness
from coupling_shapes.metric import CentreDistance
from coupling_shapes.transform import Soften


@hookimpl
def register_datasets(register: Register) -> None:
    register("shapes", Shapes)


@hookimpl
def register_transforms(register: Register) -> None:
    register("soften", Soften)


@hookimpl
def register_architectures(register: Register) -> None:
    register("small", Small)


@hookimpl
def register_losses(register: Register) -> None:
    register("smoothness", Smoothness)


@hookimpl
def register_metrics(register: Register) -> None:
    register("centre-distance", CentreDistance)
