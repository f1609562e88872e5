"""The ways to compute a convolution against torch's own, and the choice between them."""

from __future__ import annotations

import copy
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coupling.networks import convolutions, kernels
from coupling.networks.convolutions import WAYS, Geometry, Operation, Way
from coupling.networks.kernels import Kernels, fixed, use_kernels
from coupling.networks.layers import Convolution, Deconvolution, UpsampledConvolution, with_kernels
from tests.networks.test_layers import derivatives


class Only(Kernels):
    """One way wherever it exists, natively elsewhere."""

    def __init__(self, only: Way) -> None:
        super().__init__()
        self.only = only

    def way(self, operation: Operation, at: Geometry) -> Way:
        return self.only if self.only in WAYS[operation] else "native"

    def all_native(self, at: Geometry) -> bool:
        return False  # go through the functions of this module


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Shapes of a convolution in which every pixel of the small image has its pixels in the large one."""
    size, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, (size - 1) // 2))
    small = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    left = draw(st.integers(0, stride - 1))
    height, width = ((side - 1) * stride - 2 * padding + size + left for side in small)
    channels = draw(st.sampled_from([(1, 1), (4, 3), (3, 4), (40, 1)]))
    return Geometry(
        draw(st.integers(1, 3)), *channels, small, (height, width), size, stride, padding, torch.float64
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(geometries(), st.booleans(), st.integers(0, 1000))
def test_all_ways_of_an_operation_agree(at: Geometry, last: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    memory = torch.channels_last if last else torch.contiguous_format
    x = draw(at.batch, at.large, *at.large_size).contiguous(memory_format=memory)
    y = draw(at.batch, at.small, *at.small_size).contiguous(memory_format=memory)
    w = draw(at.small, at.large, at.kernel, at.kernel)
    biases: dict[Operation, Tensor | None] = {
        "convolve": draw(at.small),
        "transpose": draw(at.large),
        "correlate": None,
    }
    for operation, bias in biases.items():
        given_x, given_y = (None if operation == "transpose" else x), (None if operation == "convolve" else y)
        expected, *others = (compute(given_x, given_y, w, bias, at) for compute in WAYS[operation].values())
        for other in others:
            torch.testing.assert_close(other, expected, rtol=1e-10, atol=1e-10)


LAYERS = [
    (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 6, 5)),
    (nn.Conv2d(3, 4, 4, stride=2, padding=1, bias=False), (2, 3, 7, 6)),
    (nn.Conv2d(2, 5, 1), (2, 2, 3, 3)),
    (Deconvolution(4, 3, 3, 2, 1), (2, 4, 4, 3)),
    (Deconvolution(40, 1, 4, 2, 1, bias=False), (2, 40, 3, 3)),
    (UpsampledConvolution(4, 3), (2, 4, 3, 4)),
]


@pytest.mark.parametrize("way", ["native", "contiguous", "product", "planes"])
@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_every_way_gives_the_gradients_of_torchs_own_also_twice(
    layer: nn.Module, shape: tuple[int, ...], way: Way
) -> None:
    own = copy.deepcopy(layer).double()
    chosen = with_kernels(copy.deepcopy(own))
    use_kernels([chosen], Only(way))
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found, expected = (derivatives(part(x), [x, *part.parameters()]) for part in (chosen, own))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    # Without a second derivative, the gradients take the ways too.
    found, expected = (
        list(torch.autograd.grad(part(x).sin().sum(), [x, *part.parameters()])) for part in (chosen, own)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("way", ["native", "product", "planes"])
@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_every_way_follows_autocast(layer: nn.Module, shape: tuple[int, ...], way: Way) -> None:
    own, chosen = copy.deepcopy(layer), with_kernels(copy.deepcopy(layer))
    use_kernels([chosen], Only(way))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = chosen(x), own(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected.float(), rtol=0.05, atol=0.05)
    for output, part in ((found, chosen), (expected, own)):
        output.float().square().sum().backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in part.parameters())
    for one, other in zip(chosen.parameters(), own.parameters(), strict=True):
        scale = float(other.grad.abs().max())
        torch.testing.assert_close(one.grad / scale, other.grad / scale, rtol=0.1, atol=0.1)


def test_plain_convolutions_alone_get_a_choice() -> None:
    class Own(nn.Conv2d):
        pass

    layer = nn.Sequential(
        nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, (1, 3)), nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), Own(4, 4, 3),
    )  # fmt: skip
    before = layer.state_dict()
    kinds = [type(module) for module in with_kernels(layer)]
    assert kinds == [Convolution, *[nn.Conv2d] * 5, Own]
    assert layer.state_dict().keys() == before.keys()


def at(small: int, large: int, side: int, dtype: torch.dtype = torch.float32, size: int = 3) -> Geometry:
    return Geometry(2, small, large, (side, side), (2 * side - 1,) * 2, size, 2, 1, dtype)


@pytest.mark.parametrize(
    ("operation", "geometry", "way"),
    [
        ("transpose", at(32, 1, 5), "planes"),
        ("transpose", at(4, 1, 5), "planes"),
        ("transpose", at(96, 3, 5), "planes"),
        ("transpose", at(96, 4, 5), "native"),
        ("transpose", at(32, 1, 33), "native"),
        ("transpose", at(32, 1, 5, torch.bfloat16), "native"),  # the sums would round in 16 bits at every step
        ("convolve", at(32, 1, 5), "native"),
        ("convolve", at(1024, 512, 4), "product"),
        ("correlate", at(1024, 512, 4), "product"),
        ("correlate", at(1024, 512, 7), "native"),
        ("correlate", at(256, 128, 4), "native"),
        ("correlate", at(256, 128, 4, torch.bfloat16), "product"),
        ("correlate", at(1024, 512, 4, torch.float64), "native"),
    ],
)
def test_the_fixed_rules(operation: Operation, geometry: Geometry, way: Way) -> None:
    assert fixed(operation, geometry) == way


def test_the_fastest_way_is_measured_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Way] = []

    def way(name: Way, seconds: float, compute):
        def timed(*arguments):
            calls.append(name)
            time.sleep(seconds)
            return compute(*arguments)

        return timed

    native = WAYS["transpose"]["native"]
    slow = {"native": way("native", 0.02, native), "product": way("product", 0.001, native)}
    monkeypatch.setitem(convolutions.WAYS, "transpose", slow)
    monkeypatch.setattr(kernels.time, "process_time", time.perf_counter)
    layer, chosen = Deconvolution(4, 3, 3, 2, 1), Kernels()
    use_kernels([layer], chosen)
    x = torch.randn(2, 4, 3, 3)
    with torch.no_grad():
        layer(x)
    assert chosen.choices == {}  # only what a block of measuring meets is measured
    with chosen.measuring(), torch.no_grad():
        layer(x)
        calls.clear()
        layer(x)
    assert calls == ["product"]
    [(name, answer)] = chosen.choices.items()
    assert answer == "product"
    again = Kernels({name: answer, "transpose of another time": "unknown", "other": "native"})
    assert again.choices == {name: "product"}  # what no version knows is left out
    use_kernels([layer], again)
    calls.clear()
    layer(x)
    assert calls == ["product"]


def test_averages_share_the_choice() -> None:
    layer = Deconvolution(4, 3, 3, 2, 1)
    use_kernels([layer], chosen := Kernels())
    assert copy.deepcopy(layer).kernels is chosen
