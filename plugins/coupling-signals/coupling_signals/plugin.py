"""The hooks of this plugin."""

from __future__ import annotations

from coupling import Register, hookimpl
from coupling_signals.correlation import ViewCorrelation
from coupling_signals.sounds import Sounds


@hookimpl
def register_datasets(register: Register) -> None:
    register("sounds", Sounds)


@hookimpl
def register_metrics(register: Register) -> None:
    register("view-correlation", ViewCorrelation)
