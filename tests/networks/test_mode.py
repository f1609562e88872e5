"""Networks in evaluation mode for a block."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coupling.networks.mode import evaluating


def test_every_module_gets_back_its_own_mode():
    network = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())).train()
    network[1][0].eval()  # frozen for good
    other = nn.Dropout().eval()
    modes = [module.training for module in network.modules()]
    with evaluating(network, None, other):
        assert not any(module.training for module in [*network.modules(), other])
    assert [module.training for module in network.modules()] == modes == [True, True, True, False, True]
    assert not other.training


def test_the_modes_come_back_after_an_exception():
    network = nn.Sequential(nn.Linear(2, 2)).train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), evaluating(network):
        network(torch.zeros(1, 3))
    assert network.training
    assert network[0].training
