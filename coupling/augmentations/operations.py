"""The augmentations of differentiable augmentation (Zhao et al. 2020, section 3.2), and mirror images."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from coupling.augmentations.augmentation import Augmentation
from coupling.domain import Domain
from coupling.errors import ConfigError


class ImageAugmentation(Augmentation):
    """An augmentation of images."""

    def check(self, domain: Domain) -> None:
        """Raise :class:`ConfigError` if samples are not images (channels, height, width)."""
        if len(domain.shape) != 3:
            raise ConfigError(
                f"needs images (channels, height, width), but domain '{domain.name}' has samples of shape "
                f"{domain.shape}; list the other domains under domains, or leave it out"
            )


class Translation(ImageAugmentation):
    """Shift along each axis by whole pixels; what comes in from outside has the middle of the range."""

    numbers = 2

    def __init__(
        self,
        *,
        share: Annotated[float, Field(gt=0, le=0.5, description="largest shift, as a share of the side")] = 0.125,
    ) -> None:
        self.share = share

    def check(self, domain: Domain) -> None:
        """Raise :class:`ConfigError` for samples that are not images, or for shifts of less than a pixel."""
        super().check(domain)
        if not all(_pixels(self.share, side) for side in domain.shape[1:]):
            raise ConfigError(
                f"share: {self.share:g} of a side is less than half a pixel in domain '{domain.name}', whose images "
                f"are {domain.shape[1]}x{domain.shape[2]}; give a larger share"
            )

    def __call__(self, samples: Tensor, numbers: Tensor, domain: Domain) -> Tensor:
        """Each shift from -n to n pixels is equally probable."""
        moved, inside = samples, torch.ones((), dtype=torch.bool, device=samples.device)
        for axis, number in zip((2, 3), numbers.unbind(1), strict=True):
            side = samples.shape[axis]
            most = _pixels(self.share, side)
            shift = _whole(number, 2 * most + 1) - most
            source = torch.arange(side, device=samples.device) - shift[:, None]
            shape = (len(samples), 1, side, 1) if axis == 2 else (len(samples), 1, 1, side)
            inside = inside & ((source >= 0) & (source < side)).view(shape)
            moved = moved.gather(axis, source.clamp(0, side - 1).view(shape).expand(samples.shape))
        return torch.where(inside, moved, _middle(domain))


class Cutout(ImageAugmentation):
    """A rectangle at a random place gets the middle of the range (DeVries & Taylor 2017, section 3)."""

    numbers = 2

    def __init__(
        self, *, side: Annotated[float, Field(gt=0, lt=1, description="its sides, as a share of the image's")] = 0.5
    ) -> None:
        self.side = side

    def __call__(self, samples: Tensor, numbers: Tensor, domain: Domain) -> Tensor:
        """Each centre is equally probable, so that parts of the rectangle may lie outside."""
        cut = torch.ones((), dtype=torch.bool, device=samples.device)
        for axis, number in zip((2, 3), numbers.unbind(1), strict=True):
            side = samples.shape[axis]
            length = _pixels(self.side, side)
            first = _whole(number, side + 1 - length % 2) - length // 2
            place = torch.arange(side, device=samples.device) - first[:, None]
            shape = (len(samples), 1, side, 1) if axis == 2 else (len(samples), 1, 1, side)
            cut = cut & ((place >= 0) & (place < length)).view(shape)
        return torch.where(cut, _middle(domain), samples)


class Flip(ImageAugmentation):
    """Half of the images are mirrored: left and right are exchanged."""

    numbers = 1

    def __call__(self, samples: Tensor, numbers: Tensor, domain: Domain) -> Tensor:
        """Each sample is mirrored if its number is below 0.5."""
        return torch.where((numbers < 0.5).view(-1, 1, 1, 1), samples.flip(3), samples)


class Colour(ImageAugmentation):
    """Brightness, saturation and contrast of images of three channels."""

    numbers = 3

    def __init__(
        self,
        *,
        brightness: Annotated[float, Field(ge=0, description="largest shift, as a share of half the range")] = 0.5,
        saturation: Annotated[float, Field(ge=0, le=1, description="largest factor of saturation, less 1")] = 1.0,
        contrast: Annotated[float, Field(ge=0, le=1, description="largest factor of contrast, less 1")] = 0.5,
    ) -> None:
        self.brightness = brightness
        self.saturation = saturation
        self.contrast = contrast

    def check(self, domain: Domain) -> None:
        """Raise :class:`ConfigError` for samples that have no colours: depth, or shades of gray."""
        super().check(domain)
        if domain.shape[0] != 3:
            raise ConfigError(
                f"needs images of 3 channels, but domain '{domain.name}' has {domain.shape[0]} (in depth and in gray, "
                "such a change is another content); list the domains with colours under domains, or leave it out"
            )

    def __call__(self, samples: Tensor, numbers: Tensor, domain: Domain) -> Tensor:
        """Values may leave the range; saturation is about each pixel's mean, contrast about the image's."""
        low, high = domain.range
        shift, colours, contrast = (2 * numbers.to(samples) - 1).view(-1, 3, 1, 1, 1).unbind(1)
        changed = samples + shift * (self.brightness * (high - low) / 2)
        gray = changed.mean(1, keepdim=True)
        changed = torch.lerp(gray, changed, 1 + colours * self.saturation)
        mean = changed.mean((1, 2, 3), keepdim=True)
        return torch.lerp(mean, changed, 1 + contrast * self.contrast)


def _pixels(share: float, side: int) -> int:
    """A share of a side in pixels, rounded."""
    return int(share * side + 0.5)


def _whole(numbers: Tensor, count: int) -> Tensor:
    """Numbers in [0, 1) to whole numbers from 0 to count - 1, each equally probable."""
    return (numbers * count).long().clamp_(max=count - 1)  # rounding may carry the product to ``count``


def _middle(domain: Domain) -> float:
    return (domain.range[0] + domain.range[1]) / 2
