"""Checks of what a data set and its transforms declare, before anything is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from coupling.config.registry import Registry
from coupling.data.dataset import Dataset
from coupling.domain import Drawing
from coupling.errors import ConfigError, PluginError, cause

Transform: TypeAlias = Callable[[Tensor, tuple[float, float]], Tensor]
"""An image operator: (B, *shape) in a range to (B, ...) in the same range."""


def check_dataset(dataset: object, origin: str) -> None:
    """Raise :class:`PluginError` where a data set lacks what every data set declares."""
    if not isinstance(dataset, Dataset):
        raise PluginError(f"{origin} gives a {type(dataset).__name__}; a data set is a subclass of coupling.Dataset")
    try:
        shape, (low, high) = tuple(dataset.shape), dataset.range
        valid = len(shape) > 0 and all(isinstance(n, int) and n > 0 for n in shape)
        valid = valid and -math.inf < low < high < math.inf and isinstance(dataset.source, str)
        names = [column.name for column in dataset.columns]
    except Exception as error:
        raise PluginError(f"{origin} does not say its shape, range or source: {cause(error)}") from error
    if not valid:
        raise PluginError(
            f"{origin} declares shape {shape}, range [{low}, {high}] and source {dataset.source!r}; "
            "a shape is of positive whole numbers, a range is (lowest, highest), a source is text"
        )
    if names and (shape != (len(names),) or len(set(names)) < len(names)):
        raise PluginError(
            f"{origin} declares shape {shape} and the columns {', '.join(names)}; a row of a table has the shape (n,) "
            "and n columns of different names"
        )


def open_drawing(dataset: Dataset, registry: Registry, origin: str) -> Drawing:
    """The transform that draws a data set's samples; raises :class:`PluginError` where it fails on two samples."""
    drawing: Drawing = registry.build("transform", dataset.drawn_by, {}, f"{origin}: drawn_by")
    try:
        drawn = drawing(torch.full((2, *dataset.shape), float(dataset.range[0])), dataset.range)
        valid = drawn.dim() == 4 and drawn.shape[0] == 2 and drawn.shape[1] in (1, 3)
    except Exception as error:
        raise PluginError(
            f"{origin}: drawn_by '{dataset.drawn_by}' does not take its samples: {cause(error)}"
        ) from error
    if not valid:
        raise PluginError(
            f"{origin}: drawn_by '{dataset.drawn_by}' makes {tuple(drawn.shape)} of 2 samples; pictures are "
            "(2, 1 or 3, height, width)"
        )
    return drawing


_TRIED = 2
"""Samples on which a transform is tried."""


def transformed_shape(path: str, dataset: Dataset, transforms: Sequence[Transform]) -> tuple[int, ...]:
    """Shape of a sample after ``transforms``; raises :class:`ConfigError`, which names ``path``, where one fails."""
    if not transforms:
        return tuple(dataset.shape)
    samples = torch.full((_TRIED, *dataset.shape), float(dataset.range[0]))
    for transform in transforms:
        name = type(transform).__name__
        try:
            samples = transform(samples, dataset.range)
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"{path}.transform: {name} does not take samples of shape {dataset.shape}: {cause(error)}"
            ) from error
        if not isinstance(samples, Tensor) or samples.dim() < 2 or len(samples) != _TRIED:
            given = f"{tuple(samples.shape)}" if isinstance(samples, Tensor) else f"a {type(samples).__name__}"
            raise ConfigError(
                f"{path}.transform: {name} gives {given} for {_TRIED} samples of shape {dataset.shape}; it must give "
                "as many samples as it gets, (B, ...)"
            )
    return tuple(samples.shape[1:])
