"""`coupling`: coupled GANs over any number of domains.

The public names live here and are loaded on first use, so that a worker process or a plugin
that needs only a part does not pay for the whole.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# At once, since the function has its module's name: importing that later would hide it.
from coupling.data_directory import data_directory as data_directory

__version__ = "0.1.0"

_HOME = {
    "hookimpl": "coupling.hookspecs",
    "Config": "coupling.config",
    "load_config": "coupling.config",
    "train": "coupling.trainer",
    "load_model": "coupling.loading",
    "CoupledModel": "coupling.model",
    "evaluate": "coupling.evaluation",
    "learned_encoder": "coupling.encoder",
    "Search": "coupling.inversion",
    "Transformed": "coupling.inversion",
    "Dataset": "coupling.dataset",
    "Domain": "coupling.domain",
    "Loss": "coupling.loss",
    "AdversarialLoss": "coupling.loss",
    "Metric": "coupling.metric",
    "SharingGraph": "coupling.sharing",
    "CouplingError": "coupling.errors",
}

__all__ = ["__version__", "data_directory", *_HOME]  # noqa: PLE0604  (the names are strings, computed)

if TYPE_CHECKING:
    from coupling.config import Config as Config
    from coupling.config import load_config as load_config
    from coupling.dataset import Dataset as Dataset
    from coupling.domain import Domain as Domain
    from coupling.encoder import learned_encoder as learned_encoder
    from coupling.errors import CouplingError as CouplingError
    from coupling.evaluation import evaluate as evaluate
    from coupling.hookspecs import hookimpl as hookimpl
    from coupling.inversion import Search as Search
    from coupling.inversion import Transformed as Transformed
    from coupling.loading import load_model as load_model
    from coupling.loss import AdversarialLoss as AdversarialLoss
    from coupling.loss import Loss as Loss
    from coupling.metric import Metric as Metric
    from coupling.model import CoupledModel as CoupledModel
    from coupling.sharing import SharingGraph as SharingGraph
    from coupling.trainer import train as train


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'coupling' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
