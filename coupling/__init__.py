"""`coupling`: coupled GANs over any number of domains.

The public names live here and are loaded on first use, so that a worker process or a plugin
that needs only a part does not pay for the whole.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from coupling.system.data_directory import data_directory as data_directory

if TYPE_CHECKING:
    from coupling.api import load_config as load_config
    from coupling.api import load_model as load_model
    from coupling.config.config import Config as Config
    from coupling.data.dataset import Dataset as Dataset
    from coupling.domain import Domain as Domain
    from coupling.errors import CouplingError as CouplingError
    from coupling.generation.encoder import train_encoder as train_encoder
    from coupling.hookspecs import hookimpl as hookimpl
    from coupling.losses.loss import AdversarialLoss as AdversarialLoss
    from coupling.losses.loss import Loss as Loss
    from coupling.metrics.evaluate import evaluate as evaluate
    from coupling.metrics.metric import Metric as Metric
    from coupling.model.inversion import Search as Search
    from coupling.model.inversion import Transformed as Transformed
    from coupling.model.model import CoupledModel as CoupledModel
    from coupling.sharing.graph import SharingGraph as SharingGraph
    from coupling.training.trainer import train as train


__version__ = "0.1.0"


_HOME = {
    "hookimpl": "coupling.hookspecs",
    "Config": "coupling.config.config",
    "load_config": "coupling.api",
    "train": "coupling.training.trainer",
    "load_model": "coupling.api",
    "CoupledModel": "coupling.model.model",
    "evaluate": "coupling.metrics.evaluate",
    "train_encoder": "coupling.generation.encoder",
    "Search": "coupling.model.inversion",
    "Transformed": "coupling.model.inversion",
    "Dataset": "coupling.data.dataset",
    "Domain": "coupling.domain",
    "Loss": "coupling.losses.loss",
    "AdversarialLoss": "coupling.losses.loss",
    "Metric": "coupling.metrics.metric",
    "SharingGraph": "coupling.sharing.graph",
    "CouplingError": "coupling.errors",
}


__all__ = ["__version__", "data_directory", *_HOME]  # noqa: PLE0604  (the names are strings, computed)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'coupling' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
