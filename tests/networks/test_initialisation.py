"""Equal initial weights of layers that are equal in structure."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from coupling.domain import Domain
from coupling.networks.build import assemble
from coupling.networks.coupled import structural_difference
from coupling.networks.initialisation import make_alike
from coupling.networks.skeleton import build_without_memory
from tests.support import tiny_plugin as tiny


def equal(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


@st.composite
def columns(draw):
    """Layers of up to four domains, of few kinds, so that some are equal in structure; depths may differ."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    names = [f"d{i}" for i in range(draw(st.integers(1, 4)))]
    same_depth = draw(st.booleans())
    depth = draw(st.integers(1, 4))
    widths = st.integers(2, 3)
    return {
        name: [
            nn.Sequential(nn.Linear(2, draw(widths)), nn.BatchNorm1d(3))
            for _ in range(depth if same_depth else draw(st.integers(1, 4)))
        ]
        for name in names
    }


@given(columns())
@settings(deadline=None)
def test_a_layer_begins_like_the_first_one_of_equal_structure_and_number(lists):
    own = copy.deepcopy(lists)
    make_alike(lists)
    for domain, layers in lists.items():
        for number, layer in enumerate(layers):
            at_this_number = [lists[d][number] for d in lists if number < len(lists[d])]
            first = next(one for one in at_this_number if structural_difference(one, layer) == "")
            assert equal(layer, first)
            assert any(equal(layer, one) for several in own.values() for one in several)
        if domain == next(iter(lists)):
            assert all(equal(one, other) for one, other in zip(layers, own[domain], strict=True))
    everything = [layer for layers in lists.values() for layer in layers]
    assert len({id(p) for layer in everything for p in layer.parameters()}) == 4 * len(everything)


def test_layers_that_are_equal_counted_from_the_output_begin_alike_in_networks_of_different_depth():
    def column(*widths):
        return [nn.Linear(a, b) for a, b in pairwise(widths)]

    lists = {"small": column(4, 5, 6, 7), "large": column(4, 3, 5, 6, 7)}
    own = copy.deepcopy(lists)
    make_alike(lists)
    small, large = lists["small"], lists["large"]
    assert equal(large[2], small[1])
    assert equal(large[3], small[2])
    for number in (0, 1):
        assert equal(large[number], own["large"][number])


def test_no_two_layers_of_a_domain_begin_with_the_weights_of_one_layer():
    lists = {"a": [nn.Linear(2, 2)], "b": [nn.Linear(2, 2), nn.Linear(2, 2)]}
    make_alike(lists)
    assert equal(lists["b"][0], lists["a"][0])
    assert not equal(lists["b"][1], lists["a"][0])


DOMAINS = {name: Domain(name, tiny.SHAPE, (-1.0, 1.0)) for name in "ab"}


def layers(*changes: str, domains=DOMAINS):
    networks = assemble(tiny.config(*changes), domains, tiny.plugins().registry)
    return {team: networks.named_networks[team].layers for team in ("generator", "discriminator")}


@pytest.mark.parametrize("team", ["generator", "discriminator"])
def test_the_option_belongs_to_one_team_and_the_default_is_each_domains_own(team):
    other = {"generator": "discriminator", "discriminator": "generator"}[team]
    private = {"generator": ("layer3[a]", "layer3[b]"), "discriminator": ("layer1[a]", "layer1[b]")}
    default = layers()
    made = layers(f"{team}.initialisation=alike")
    assert not equal(*(default[team][key] for key in private[team]))
    assert equal(*(made[team][key] for key in private[team]))
    assert all(equal(made[other][key], default[other][key]) for key in default[other])
    changed = [key for key in default[team] if not equal(made[team][key], default[team][key])]
    assert changed == [private[team][1]]  # the first domain's draw serves both
    own = layers(f"{team}.initialisation=own")
    assert all(equal(own[side][key], default[side][key]) for side in default for key in default[side])


def test_domains_of_other_shapes_begin_alike_where_their_layers_are_equal():
    domains = DOMAINS | {"b": Domain("b", (1, 3, 5), (-1.0, 1.0))}
    changes = ("sharing.generator=[]", "sharing.discriminator=[]")
    alike = ("generator.initialisation=alike", "discriminator.initialisation=alike")
    made = layers(*changes, *alike, domains=domains)
    assert [equal(made["generator"][f"layer{i}[a]"], made["generator"][f"layer{i}[b]"]) for i in (1, 2)] == [True, True]
    found = [equal(made["discriminator"][f"layer{i}[a]"], made["discriminator"][f"layer{i}[b]"]) for i in (1, 2, 3)]
    assert found == [False, True, True]


def test_a_file_is_loaded_into_such_networks_without_initial_weights():
    config = tiny.config("generator.initialisation=alike", "generator.architecture.batch_norm=true")
    made = build_without_memory(lambda: assemble(config, DOMAINS, tiny.plugins().registry, trial=False))
    assert made is not None
    assert all(tensor.is_meta for tensor in made.generator.state_dict().values())
