"""Modules of the architecture ``residual``: blocks with a skip path, and layers that a domain can keep to itself."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from coupling.networks.layers import PReLU, UpsampledConvolution

Resampling = Literal["nearest", "bilinear"]


class ChannelGains(nn.Module):
    """A gain and a shift for each channel: ``gain * x + shift``, which begins as the identity.

    As a private layer between shared ones it lets a domain differ by 2 numbers a channel (per-domain affine maps, as in
    Dumoulin et al. 2017 and StyleDomain, arXiv 2212.10229).

    Args:
        channels: channels of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, input: Tensor) -> Tensor:
        """Scale and shift the channels.

        Args:
            input: (B, channels, ...).

        Returns:
            The same shape.
        """
        row = (-1, *[1] * (input.dim() - 2))
        return torch.addcmul(self.shift.view(row), input, self.gain.view(row))


class AddedBranch(nn.Module):
    """``x + a(x)``, where ``a`` is two 3x3 convolutions whose last one begins at zero (Zhang et al. 2019, Fixup).

    As a private layer between shared ones it lets a domain differ by a small network, from no difference on.

    Args:
        channels: channels of the input.
        hidden: channels between the convolutions.
        slope: slope of the activation below zero at the start.
    """

    def __init__(self, channels: int, hidden: int, slope: float = 0.25) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1), PReLU(), nn.Conv2d(hidden, channels, 3, padding=1)
        )
        initialise(self.branch[0], slope)
        nn.init.zeros_(self.branch[2].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.branch[2].bias)  # type: ignore[arg-type]

    def forward(self, input: Tensor) -> Tensor:
        """Add the branch.

        Args:
            input: (B, channels, H, W).

        Returns:
            The same shape.
        """
        added: Tensor = self.branch(input)
        return input + added


class ResidualBlock(nn.Module):
    """``skip(x) + branch(x)``; at the bottom and at the right, ``crop`` rows and columns are cut off."""

    def __init__(self, skip: nn.Module, branch: nn.Module, crop: tuple[int, int] = (0, 0)) -> None:
        super().__init__()
        self.skip = skip
        self.branch = branch
        self.crop = crop

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        output: Tensor = self.skip(input) + self.branch(input)
        rows, columns = self.crop
        return output[:, :, : output.shape[2] - rows, : output.shape[3] - columns] if rows or columns else output

    def extra_repr(self) -> str:
        """Shown by ``print(network)``; also compared when layers are tied."""
        return f"crop={self.crop}"


def up_block(
    before: int, after: int, crop: tuple[int, int], *, resampling: Resampling, normalised: bool, last: float
) -> ResidualBlock:
    """A block that doubles the sides: 3x3 convolution, PReLU, upsampling, 3x3 convolution, and an interpolated skip.

    The skip path is always interpolated: its nearest pixels would begin as blocks, which training removes slowly.

    Args:
        before: channels of the input.
        after: channels of the output.
        crop: rows and columns to cut off after doubling.
        resampling: how the branch doubles the sides.
        normalised: batch normalisation after the first convolution.
        last: factor on the initial weights of the last convolution; 0: it begins at zero.
    """
    smooth = resampling == "bilinear"
    first = nn.Conv2d(before, after, 3, padding=1, bias=not normalised)
    second = nn.Conv2d(after, after, 3, padding=1) if smooth else UpsampledConvolution(after, after)
    norm = [nn.BatchNorm2d(after)] if normalised else []
    branch = nn.Sequential(first, *norm, PReLU(), *([_doubling()] if smooth else []), second)
    skip = nn.Sequential(*_projection(before, after), _doubling())
    initialise(first, 0.25)
    initialise(second, 1.0, last)
    return ResidualBlock(skip, branch, crop)


def down_block(before: int, after: int, *, resampling: Resampling, slope: float, last: float) -> ResidualBlock:
    """A block that halves the sides, rounded up: 3x3 convolution, leaky ReLU, 3x3 convolution, and an averaged skip.

    Args:
        before: channels of the input.
        after: channels of the output.
        resampling: nearest: the first convolution has stride 2; bilinear: squares of 2x2 pixels are averaged after it.
        slope: slope of the leaky ReLU below zero.
        last: factor on the initial weights of the last convolution; 0: it begins at zero.
    """
    smooth = resampling == "bilinear"
    first = nn.Conv2d(before, after, 3, stride=1 if smooth else 2, padding=1)
    second = nn.Conv2d(after, after, 3, padding=1)
    branch = nn.Sequential(first, nn.LeakyReLU(slope), *([_halving()] if smooth else []), second)
    initialise(first, slope)
    initialise(second, 1.0, last)
    return ResidualBlock(nn.Sequential(_halving(), *_projection(before, after)), branch)


def _projection(before: int, after: int) -> list[nn.Module]:
    """A 1x1 convolution for the skip path, if the number of channels changes."""
    if before == after:
        return []
    convolution = nn.Conv2d(before, after, 1, bias=False)
    initialise(convolution, 1.0)
    return [convolution]


def _doubling() -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


def _halving() -> nn.Module:
    return nn.AvgPool2d(2, ceil_mode=True)


def initialise(module: nn.Module, slope: float, factor: float = 1.0) -> None:
    """He's initialisation (2015) for an activation of ``slope`` below zero, times ``factor``; the bias becomes 0."""
    assert isinstance(module, nn.Conv2d | nn.Linear)
    nn.init.kaiming_normal_(module.weight, slope)
    with torch.no_grad():
        module.weight.mul_(factor)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class MinibatchDeviation(nn.Module):
    """One more channel: the mean standard deviation within a group of samples (Karras et al. 2018, section 3).

    Groups are of consecutive samples, so that parts of a batch that hold whole groups have the same result.

    Args:
        group: samples in a group; if the batch is no multiple of it, the groups are smaller.
    """

    mixes_samples = True
    """The layer gets the real or the generated samples of one domain at a time."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, input: Tensor) -> Tensor:
        """Append the channel.

        Args:
            input: (B, C, H, W).

        Returns:
            (B, C + 1, H, W).
        """
        count = -(-len(input) // self.group)
        if len(input) == count * self.group:
            deviation = self._deviation(input.unflatten(0, (count, self.group)))
        else:
            deviation = torch.cat([self._deviation(part[None]) for part in input.tensor_split(count)])
        return torch.cat([input, deviation[:, None, None, None].expand(-1, 1, *input.shape[2:])], 1)

    def _deviation(self, groups: Tensor) -> Tensor:
        """(groups, samples, C, H, W) to one number for each sample, (groups * samples,)."""
        variance = groups.var(1, correction=0)
        return (variance + 1e-8).sqrt().flatten(1).mean(1).repeat_interleave(groups.shape[1])

    def extra_repr(self) -> str:
        """Shown by ``print(network)``; also compared when layers are tied."""
        return f"group={self.group}"
