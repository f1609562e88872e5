"""The textbook loop that the fast step is measured against.

N separate networks a team, two generator passes a step, nothing frozen, plain layers in the default
memory format, the average over tied parameters taken parameter by parameter, torch's default Adam.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coupling.networks.layers import Deconvolution, PReLU, UpsampledConvolution
from coupling.sharing.graph import SharingGraph


def plain(module: nn.Module) -> nn.Module:
    """A copy in which every fast layer is the ordinary one of the same function."""
    if isinstance(module, Deconvolution):
        ordinary = nn.ConvTranspose2d(
            module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding,
            module.output_padding, bias=module.bias is not None,
        )  # fmt: skip
        ordinary.load_state_dict(module.state_dict())
        return ordinary
    if isinstance(module, UpsampledConvolution):
        convolution = nn.Conv2d(module.in_channels, module.out_channels, 3, padding=1, bias=module.bias is not None)
        convolution.load_state_dict(module.state_dict())
        return nn.Sequential(nn.Upsample(scale_factor=2), convolution)
    if isinstance(module, PReLU):
        return nn.PReLU()
    made = copy.deepcopy(module)
    for name, child in module.named_children():
        setattr(made, name, plain(child))
    return made


class Textbook:
    """N GANs whose tied layers are copies that are kept equal by equal gradients."""

    def __init__(
        self,
        graphs: Mapping[str, SharingGraph],
        lists: Mapping[str, Mapping[str, Sequence[nn.Module]]],
        lr: float = 2e-4,
    ) -> None:
        self.networks: dict[str, dict[str, nn.Sequential]] = {}
        self.tied: dict[str, list[list[nn.Parameter]]] = {}
        self.optimizers: dict[str, list[torch.optim.Optimizer]] = {}
        for team, graph in graphs.items():
            networks: dict[str, nn.Sequential] = {}
            for domain, depth in graph.depths.items():
                firsts = (graph.group_of[domain, number].members[0] for number in range(1, depth + 1))
                networks[domain] = nn.Sequential(*(plain(lists[team][d][i - 1]) for d, i in firsts))
            self.networks[team] = networks
            self.tied[team] = [
                list(same)
                for group in graph.groups
                if len(group.members) > 1
                for same in zip(*(networks[d][i - 1].parameters() for d, i in group.members), strict=True)
            ]
            self.optimizers[team] = [
                torch.optim.Adam(network.parameters(), lr=lr, betas=(0.5, 0.999)) for network in networks.values()
            ]

    def step(self, z: Tensor, real: Mapping[str, Tensor]) -> None:
        """One alternating step with the non-saturating loss."""
        generators, discriminators = self.networks["generator"], self.networks["discriminator"]
        for optimizer in self.optimizers["discriminator"]:
            optimizer.zero_grad()
        for domain, images in real.items():
            logits_real = discriminators[domain](images)
            logits_fake = discriminators[domain](generators[domain](z).detach())
            (F.softplus(-logits_real).mean() + F.softplus(logits_fake).mean()).backward()
        self._average("discriminator")
        for optimizer in self.optimizers["discriminator"]:
            optimizer.step()
        for optimizer in self.optimizers["generator"]:
            optimizer.zero_grad()
        for domain in real:
            F.softplus(-discriminators[domain](generators[domain](z))).mean().backward()
        self._average("generator")
        for optimizer in self.optimizers["generator"]:
            optimizer.step()

    def _average(self, team: str) -> None:
        for same in self.tied[team]:
            mean = torch.stack([p.grad for p in same if p.grad is not None]).mean(0)
            for parameter in same:
                parameter.grad = mean.clone()
