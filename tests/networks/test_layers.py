"""The fast layers against the plain modules that they replace."""

from __future__ import annotations

from typing import TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.networks.layers import Deconvolution, PReLU, UpsampledConvolution, output_activation, scale_channels

Layer = TypeVar("Layer", bound=nn.Module)

examples = settings(deadline=None, max_examples=60)  # a kernel is slow the first time


@st.composite
def deconvolutions(draw: st.DrawFn) -> tuple[Deconvolution, Tensor]:
    """A layer and its input, small; one output channel for 32 input channels or more, at times."""
    size, stride = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    height, width = draw(st.one_of(st.just((1, 1)), st.tuples(st.integers(1, 7), st.integers(1, 7))))
    # An output must hold a pixel, in each direction.
    most = min((min(height, width) - 1) * stride + size - 1, 2 * size) // 2
    padding = draw(st.integers(0, most))
    inputs, outputs = draw(st.sampled_from([(32, 1), (70, 2), (3, 4), (1, 1)]))
    layer = Deconvolution(
        inputs,
        outputs,
        size,
        stride,
        padding,
        draw(st.integers(0, stride - 1)),
        draw(st.booleans()),
    )
    return placed(draw, layer, (draw(st.integers(1, 3)), inputs, height, width))


@st.composite
def upsampled_convolutions(draw: st.DrawFn) -> tuple[UpsampledConvolution, Tensor]:
    inputs, outputs = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    shape = (draw(st.integers(1, 3)), inputs, draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    return placed(draw, UpsampledConvolution(inputs, outputs, draw(st.booleans())), shape)


def placed(draw: st.DrawFn, layer: Layer, shape: tuple[int, ...]) -> tuple[Layer, Tensor]:
    """The layer with random weights, and a random input, in float64 and in any memory format."""
    formats = st.sampled_from([torch.contiguous_format, torch.channels_last])
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    layer = layer.to(dtype=torch.float64, memory_format=draw(formats))
    for parameter in layer.parameters():
        parameter.data.normal_(generator=generator)
    x = torch.randn(shape, dtype=torch.float64, generator=generator).to(memory_format=draw(formats))
    return layer, x.requires_grad_()


def derivatives(output: Tensor, sources: list[Tensor]) -> list[Tensor]:
    """The output, its gradients, and the gradients of a penalty on the gradients, as R1 has one."""
    objective = (output * torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)).sin().sum()
    first = torch.autograd.grad(objective, sources, create_graph=True)
    penalty = sum((gradient.square().sum() for gradient in first), start=output.new_zeros(()))
    return [output, *first, *torch.autograd.grad(penalty, sources)]


def assert_same(fast: nn.Module, plain: nn.Module, x: Tensor) -> None:
    """Same result, gradients and double gradients, to 1e-10 of the largest number."""
    plain.load_state_dict(fast.state_dict(), strict=True)
    found = derivatives(fast(x), [x, *fast.parameters()])
    expected = derivatives(plain(x), [x, *plain.parameters()])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10 * max(1.0, other.abs().max().item()))


@examples
@given(deconvolutions())
def test_deconvolution_is_the_transposed_convolution(drawn: tuple[Deconvolution, Tensor]) -> None:
    layer, x = drawn
    plain = nn.ConvTranspose2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.output_padding,
        bias=layer.bias is not None,
        dtype=torch.float64,
    )
    assert_same(layer, plain, x)


@examples
@given(upsampled_convolutions())
def test_upsampled_convolution_is_upsampling_and_convolution(drawn: tuple[UpsampledConvolution, Tensor]) -> None:
    layer, x = drawn

    class Plain(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(nn.functional.interpolate(input, scale_factor=2))

    plain = Plain(layer.in_channels, layer.out_channels, 3, padding=1, bias=layer.bias is not None, dtype=torch.float64)
    assert_same(layer, plain, x)


def layers_and_inputs() -> list[tuple[nn.Module, tuple[int, ...]]]:
    """A product, planes, native, and the upsampled convolution."""
    return [
        (Deconvolution(6, 5, 4), (2, 6, 1, 1)),
        (Deconvolution(64, 1, 4, 2, 1), (2, 64, 5, 5)),
        (Deconvolution(6, 5, 4, 2, 1), (2, 6, 5, 5)),
        (UpsampledConvolution(6, 5), (2, 6, 5, 5)),
    ]


def test_an_output_size_is_kept() -> None:
    layer = Deconvolution(64, 1, 3, stride=2)
    assert layer(torch.zeros(1, 64, 5, 5), output_size=[12, 12]).shape == (1, 1, 12, 12)


def test_a_single_sample_may_come_without_its_batch() -> None:
    layer = Deconvolution(64, 1, 4)
    x = torch.randn(64, 1, 1)
    torch.testing.assert_close(layer(x), layer(x[None])[0])


@pytest.mark.parametrize(("layer", "shape"), layers_and_inputs())
def test_autocast_gives_its_own_type(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), layer(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("layer", "shape"), layers_and_inputs())
def test_layers_can_be_traced_as_one_graph(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.compiler.reset()
    x = torch.randn(shape)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.parametrize("layer", [Deconvolution(6, 5, 4), UpsampledConvolution(6, 5)])
def test_channels_last_weights_give_channels_last_results(layer: nn.Module) -> None:
    layer = layer.to(memory_format=torch.channels_last)
    size = 1 if isinstance(layer, Deconvolution) else 4
    x = torch.randn(3, 6, size, size).to(memory_format=torch.channels_last)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("range", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-3.0, -1.0), (0.1, 0.7)])
def test_output_activation_fills_the_range_and_stays_in_it(range: tuple[float, float]) -> None:
    activation = output_activation(Domain("a", (1,), range))
    low, high = (torch.tensor(bound) for bound in range)
    y = activation(torch.linspace(-200, 200, 100_001))
    assert (y[0], y[-1]) == (low, high)
    assert (y.diff() >= 0).all()
    torch.testing.assert_close(activation(torch.zeros(())), (low + high) / 2)


@pytest.mark.parametrize(("range", "kind"), [((0.0, 1.0), nn.Sigmoid), ((-1, 1), nn.Tanh), ((-0.5, 0.5), nn.Module)])
def test_output_activation_is_the_papers_where_it_fits(range: tuple[float, float], kind: type) -> None:
    activation = output_activation(Domain("a", (1,), range))
    assert isinstance(activation, kind)
    x = torch.linspace(-5, 5, 11, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(activation, (x,))


@pytest.mark.parametrize("range", [(1.0, 0.0), (0.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_an_empty_range_is_rejected(range: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="domain 'edges' has the range"):
        output_activation(Domain("edges", (1,), range))


def test_layers_with_different_ranges_are_not_tied() -> None:
    first, second = (output_activation(Domain("a", (1,), (0.0, high))) for high in (255.0, 255.5))
    assert first.extra_repr() != second.extra_repr()


@pytest.mark.parametrize(("width", "channels"), [(1.0, 50), (0.25, 12), (2.5, 125), (0.001, 1)])
def test_scaled_rounds_and_keeps_a_channel(width: float, channels: int) -> None:
    assert scale_channels(50, width) == channels


@given(st.integers(1, 4), st.integers(1, 5), st.floats(-0.5, 1.5), st.integers(0, 1000), st.booleans())
@settings(deadline=None, max_examples=40)
def test_prelu_agrees_with_torchs_own_also_differentiated_twice(batch, channels, slope, seed, channels_last):
    torch.manual_seed(seed)
    x = torch.randn(batch, channels, 3, 3, dtype=torch.float64)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    results = []
    for kind in (PReLU, nn.PReLU):
        layer = kind().double()
        nn.init.constant_(layer.weight, slope)
        inputs = x.clone().requires_grad_()
        output = layer(inputs)
        once = torch.autograd.grad(output.square().sum(), [inputs, layer.weight], retain_graph=True)
        [gradient] = torch.autograd.grad(output.square().sum(), inputs, create_graph=True)
        twice = torch.autograd.grad(gradient.square().sum(), [inputs, layer.weight])
        results.append([output, *once, *twice])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_prelu_takes_the_state_of_torchs_own():
    layer, own = PReLU(), nn.PReLU(init=0.7)
    layer.load_state_dict(own.state_dict())
    x = torch.randn(5)
    assert torch.equal(layer(x), own(x))
