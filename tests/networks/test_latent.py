"""The priors: their support, and coordinates that stay within it."""

from __future__ import annotations

import math

import pytest
import torch

from coupling.config.sections import LatentConfig
from coupling.networks.latent import NormalPrior, PriorOfParts, UniformPrior, prior_of


@pytest.mark.parametrize("latent", [LatentConfig(prior="uniform", size=7), LatentConfig(prior="normal", size=7)])
def test_codes_stay_within_the_support_and_return_unchanged(latent):
    prior = prior_of(latent)
    source = torch.Generator().manual_seed(1)
    for size in (0.0, 1e-3, 1.0, 100.0):
        z = prior.inward(torch.randn(50, 7, generator=source) * size)
        assert z.isfinite().all()
        if latent.prior == "uniform":
            assert z.abs().max() <= 1
        elif size:
            assert prior.least * 0.999 <= z.norm(dim=1).min()
            assert z.norm(dim=1).max() <= prior.most * 1.001
    z = torch.rand(50, 7, generator=source) * 1.9 - 0.95
    if latent.prior == "normal":
        z = z / z.norm(dim=1, keepdim=True) * math.sqrt(7)
    torch.testing.assert_close(prior.inward(prior.outward(z)), z)
    u = prior.outward(torch.ones(1, 7)).requires_grad_()
    assert torch.autograd.grad(prior.inward(u).sum(), u)[0].isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 10, 100])
def test_the_shell_holds_nearly_all_of_the_prior(size):
    shell = NormalPrior(size)
    norms = torch.randn(40_000, size, generator=torch.Generator().manual_seed(size)).norm(dim=1)
    assert 0 < (norms > shell.most).float().mean() < 0.003
    assert (norms < shell.least).float().mean() < 0.003


def test_the_nearest_codes_of_a_support():
    """Reference: of many codes of the support, none is nearer."""
    z = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)) * 3
    for prior in (UniformPrior(), NormalPrior(6), PriorOfParts([NormalPrior(4), NormalPrior(2)], [4, 2])):
        found = prior.nearest(z)
        torch.testing.assert_close(prior.nearest(found), found)
        others = prior.nearest(torch.randn(20_000, 6, generator=torch.Generator().manual_seed(2)) * 2)
        assert ((found - z).norm(dim=1) <= torch.cdist(z, others).amin(1) + 1e-5).all()
