"""Each augmentation equals a loop over samples and pixels, suits the domains that it says, and has gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from coupling.augmentations.operations import Colour, Cutout, Flip, Translation
from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.testing import checks

CHECKS = checks("coupling.builtin", {name: {} for name in ("translation", "cutout", "flip", "colour")})


@pytest.mark.parametrize("check", [c for c in CHECKS if c.component.kind == "augmentation"], ids=str)
def test_conformance(check):
    check()


def drawn(seed, count, shape, numbers, kind=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(count, *shape, generator=generator, dtype=kind)
    return samples, torch.rand(count, numbers, generator=generator, dtype=kind)


def pixels(share, side):
    return int(share * side + 0.5)


def translated(x: Tensor, numbers: Tensor, share: float, middle: float) -> Tensor:
    made = torch.full_like(x, middle)
    height, width = x.shape[1:]
    down, right = (
        int(u * (2 * pixels(share, side) + 1)) - pixels(share, side)
        for u, side in zip(numbers.tolist(), (height, width), strict=True)
    )
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                made[:, row, column] = x[:, row - down, column - right]
    return made


def cut(x: Tensor, numbers: Tensor, share: float, middle: float) -> Tensor:
    made = x.clone()
    height, width = x.shape[1:]
    rows, columns = pixels(share, height), pixels(share, width)
    centre = [
        int(u * (s + 1 - n % 2)) for u, s, n in zip(numbers.tolist(), (height, width), (rows, columns), strict=True)
    ]
    for row in range(centre[0] - rows // 2, centre[0] - rows // 2 + rows):
        for column in range(centre[1] - columns // 2, centre[1] - columns // 2 + columns):
            if 0 <= row < height and 0 <= column < width:
                made[:, row, column] = middle
    return made


def coloured(x: Tensor, numbers: Tensor, range: tuple[float, float], options: dict[str, float]) -> Tensor:
    shift, colours, contrast = (2 * numbers - 1).tolist()
    made = x + shift * options["brightness"] * (range[1] - range[0]) / 2
    gray = made.mean(0)
    made = torch.stack([gray + (channel - gray) * (1 + colours * options["saturation"]) for channel in made])
    return made.mean() + (made - made.mean()) * (1 + contrast * options["contrast"])


SEEDS = st.integers(0, 2**32)
SHAPES = st.tuples(st.integers(1, 4), st.integers(2, 9), st.integers(2, 9))
RANGES = st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)])


@given(SEEDS, SHAPES, RANGES, st.floats(0.01, 0.5))
def test_a_translation_moves_every_pixel_alike(seed, shape, range, share):
    domain, operation = Domain("a", shape, range), Translation(share=share)
    samples, numbers = drawn(seed, 3, shape, 2)
    expected = torch.stack([translated(x, n, share, sum(range) / 2) for x, n in zip(samples, numbers, strict=True)])
    assert torch.equal(operation(samples, numbers, domain), expected)


@given(SEEDS, SHAPES, RANGES, st.floats(0.01, 0.99))
def test_a_cutout_is_a_rectangle_around_its_centre(seed, shape, range, side):
    domain, operation = Domain("a", shape, range), Cutout(side=side)
    samples, numbers = drawn(seed, 3, shape, 2)
    expected = torch.stack([cut(x, n, side, sum(range) / 2) for x, n in zip(samples, numbers, strict=True)])
    assert torch.equal(operation(samples, numbers, domain), expected)


@given(SEEDS, SHAPES)
def test_a_flip_mirrors_half_of_the_samples(seed, shape):
    samples, numbers = drawn(seed, 4, shape, 1)
    made = Flip()(samples, numbers, Domain("a", shape, (-1, 1)))
    for x, n, result in zip(samples, numbers, made, strict=True):
        assert torch.equal(result, torch.flip(x, [2]) if n < 0.5 else x)


@given(SEEDS, st.tuples(st.just(3), st.integers(1, 6), st.integers(1, 6)), RANGES, st.floats(0, 1))
def test_colours_change_by_brightness_then_saturation_then_contrast(seed, shape, range, strength):
    options = {"brightness": strength, "saturation": strength, "contrast": strength / 2}
    samples, numbers = drawn(seed, 3, shape, 3)
    expected = [coloured(x, n, range, options) for x, n in zip(samples, numbers, strict=True)]
    made = Colour(**options)(samples, numbers, Domain("a", shape, range))
    torch.testing.assert_close(made, torch.stack(expected))


@pytest.mark.parametrize(
    "operation", [Translation(share=0.3), Cutout(side=0.4), Flip(), Colour()], ids=lambda o: type(o).__name__
)
def test_the_gradient_is_that_of_finite_differences_and_so_is_its_own(operation):
    shape, numbers = (3, 4, 5), torch.tensor([[0.1, 0.7, 0.4], [0.8, 0.3, 0.9]])
    domain = Domain("a", shape, (-1, 1))
    samples = drawn(1, 2, shape, 1)[0].requires_grad_()

    def changed(x):
        return operation(x, numbers[:, : operation.numbers], domain)

    assert torch.autograd.gradcheck(changed, samples)
    assert torch.autograd.gradgradcheck(lambda x: changed(x).square(), samples)


def test_the_largest_number_below_1_draws_the_largest_shift():
    shape = (1, 64, 64)
    samples = torch.arange(64 * 64, dtype=torch.float32).view(1, *shape)
    numbers = torch.full((1, 2), 1 - 2**-24)
    made = Translation()(samples, numbers, Domain("a", shape, (0, 4096)))
    assert torch.equal(made[..., 8:, 8:], samples[..., :-8, :-8])


@pytest.mark.parametrize(
    ("operation", "shape", "message"),
    [
        (Translation(), (12,), r"needs images \(channels, height, width\), but domain 'a' has .* \(12,\)"),
        (Translation(), (1, 64, 3), "share: 0.125 of a side is less than half a pixel in domain 'a', .* 64x3"),
        (Cutout(), (2, 12), r"needs images"),
        (Flip(), (12,), r"needs images"),
        (Colour(), (1, 8, 8), "needs images of 3 channels, but domain 'a' has 1 .* list the domains with colours"),
        (Colour(), (4, 8, 8), "needs images of 3 channels, but domain 'a' has 4"),
    ],
)  # fmt: skip
def test_a_domain_that_does_not_suit_is_an_error(operation, shape, message):
    with pytest.raises(ConfigError, match=message):
        operation.check(Domain("a", shape, (-1.0, 1.0)))
