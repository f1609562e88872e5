"""Equal initial weights for layers of different domains that are equal in structure (``initialisation: alike``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from coupling.networks.coupled import structural_difference


def make_alike(lists: Mapping[str, Sequence[nn.Module]]) -> None:
    """Give every layer the initial weights of the first domain's layer of equal structure, in place.

    The layers stay separate modules, which training moves apart. A layer is compared with those of earlier domains that
    have its number, counted from the input, and then with those that have its number counted from the output.

    Args:
        lists: every domain's own layers, {domain: layers}, in the order of the domains.
    """
    domains = list(lists.values())
    for position, layers in enumerate(domains):
        done: set[nn.Module] = set()
        used: set[nn.Module] = set()  # no two layers of a domain begin with the weights of one
        for source, layer in _counterparts(domains[:position], layers):
            if layer not in done and source not in used and not structural_difference(source, layer):
                layer.load_state_dict(source.state_dict())
                done.add(layer)
                used.add(source)


def _counterparts(
    earlier: Sequence[Sequence[nn.Module]], layers: Sequence[nn.Module]
) -> Iterator[tuple[nn.Module, nn.Module]]:
    """A domain's layers beside those of earlier domains with the same number, from the input and then from the output.

    Each pair is (layer of an earlier domain, layer).
    """
    for others in earlier:
        yield from zip(others, layers, strict=False)
    for others in earlier:
        yield from zip(reversed(others), reversed(layers), strict=False)
