"""Normalisation and activation in one function, against torch's own, one after the other."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coupling.networks import normalisation
from coupling.networks.fused import slope_of
from coupling.networks.layers import PReLU
from coupling.networks.normalisation import DomainBatchNorm, FusedSequential, Section, by_domain
from tests.networks.test_layers import derivatives


def activations(slope: float) -> list[nn.Module | None]:
    trained = PReLU()
    nn.init.constant_(trained.weight, slope)
    several = nn.PReLU(3)
    return [trained, nn.LeakyReLU(slope), nn.ReLU(), nn.Tanh(), several, None]


def layer(activation: nn.Module | None, slots: int, *, joint: bool = False, affine: bool = True) -> nn.Module:
    norm = nn.BatchNorm2d(3, affine=affine)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    made = nn.Sequential(*[module for module in (norm, activation) if module is not None])
    return by_domain(made.double(), slots, joint=joint)


def plainly(layer: nn.Module, x: Tensor) -> Tensor:
    """Section by section, the normalisation by torch's function, then the activation."""
    norm, *rest = layer
    parts, start = [], 0
    pools = {}
    for section in norm.sections:
        pool = section.track if norm.joint else start
        pools.setdefault(pool, []).append((start, section))
        start += section.size
    outputs = {}
    for members in pools.values():
        given = torch.cat([x[at : at + section.size] for at, section in members])
        section = members[0][1]
        slot = 0 if norm.joint else section.slot
        known = (norm.running_mean[slot], norm.running_var[slot]) if section.track else (None, None)
        normal = nn.functional.batch_norm(given, *known, norm.weight, norm.bias, True, norm.momentum, norm.eps)
        sizes = [member.size for _, member in members]
        for (at, _), part in zip(members, normal.split(sizes), strict=True):
            outputs[at] = part
    parts = torch.cat([outputs[at] for at in sorted(outputs)])
    for module in rest:
        weight = module.weight if isinstance(module, PReLU) else None
        parts = module(parts) if weight is None else torch.where(parts > 0, parts, weight.to(parts) * parts)
    return parts


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 5),
    st.sampled_from([0.25, 1.0, 0.0, -0.5, 1.5]),
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1), st.booleans()), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)
def test_the_fused_function_is_normalisation_then_activation(
    which: int, slope: float, cut: list[tuple[int, int, bool]], joint: bool, last: bool, affine: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    fused = layer(activations(slope)[which], 2, joint=joint, affine=affine)
    assert type(fused) is FusedSequential
    fused[0].sections = tuple(Section(size, slot, track) for size, slot, track in cut)
    plain = copy.deepcopy(fused)
    memory = torch.channels_last if last else torch.contiguous_format
    x = torch.randn(sum(size for size, _, _ in cut), 3, 4, 3, dtype=torch.float64)
    x = x.contiguous(memory_format=memory).requires_grad_()
    found = derivatives(fused(x), [x, *fused.parameters()])
    expected = derivatives(plainly(plain, x), [x, *plain.parameters()])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)
    for name, buffer in fused.named_buffers():
        torch.testing.assert_close(buffer, dict(plain.named_buffers())[name], rtol=1e-12, atol=1e-12)
    once = [torch.autograd.grad(way(x).sin().sum(), [x, *part.parameters()]) for way, part in
            ((fused, fused), (lambda x: plainly(plain, x), plain))]  # fmt: skip
    for one, other in zip(*once, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_half_precision_follows_the_plain_way() -> None:
    torch.manual_seed(0)
    fused = layer(PReLU(), 1).float()
    plain = copy.deepcopy(fused)
    x = torch.randn(8, 3, 6, 6).bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()
    for norm in (fused[0], plain[0]):
        norm.sections = (Section(4, 0), Section(4, 0, False))
    results = []
    for way, part in ((fused, fused), (lambda x: plainly(plain, x), plain)):
        output = way(x)
        results.append([output, *torch.autograd.grad(output.float().square().sum(), [x, *part.parameters()])])
    for one, other in zip(*results, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02 * float(other.detach().abs().max()))


def test_modules_with_hooks_are_called_themselves() -> None:
    fused = layer(PReLU(), 1)
    seen: list[Tensor] = []
    fused[1].register_forward_hook(lambda module, given, output: seen.append(output))
    output = fused(torch.randn(4, 3, 2, 2, dtype=torch.float64))
    assert seen[0] is output


def test_evaluation_and_a_single_value_take_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = layer(PReLU(), 1)
    monkeypatch.setattr(normalisation, "normalise", None)
    fused.eval()(torch.randn(2, 3, 2, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match="more than 1 value"):
        fused.train()(torch.randn(1, 3, 1, 1, dtype=torch.float64))


def test_a_normalisation_at_the_end_and_two_in_a_row() -> None:
    torch.manual_seed(0)
    made = by_domain(nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)), 1, joint=False)
    assert [type(module) for module in made] == [DomainBatchNorm, DomainBatchNorm, nn.ReLU, DomainBatchNorm]
    x = torch.randn(4, 3, 2, 2)
    expected = x
    for module in made:
        expected = module(expected)
    torch.testing.assert_close(made(x), expected)


@pytest.mark.parametrize(
    ("activation", "slope"),
    [(nn.LeakyReLU(0.1), 0.1), (nn.ReLU(), 0.0), (nn.Tanh(), None), (nn.PReLU(2), None), (nn.ReLU6(), None)],
)
def test_the_slopes(activation: nn.Module, slope: float | None) -> None:
    assert slope_of(activation) == slope
