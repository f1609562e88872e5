"""The coupled networks against each domain's layers called one after the other."""

from __future__ import annotations

import copy
import re
from contextlib import nullcontext

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.networks.architecture import layer_lists
from coupling.networks.coupled import CoupledDiscriminator, CoupledGenerator, structural_difference
from coupling.networks.normalisation import DomainBatchNorm
from coupling.sharing.graph import Rule, SharingGraph
from tests.sharing.test_graph import graphs
from tests.support import tiny_plugin as tiny

CHANNELS = 2


def convolution(last=False):
    """One of the paper's layers: convolution, batch normalisation, activation; keeps the shape."""
    parts = [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)]
    return nn.Sequential(*parts) if last else nn.Sequential(*parts, nn.BatchNorm2d(CHANNELS), nn.PReLU())


def separate(graph, lists):
    """N networks of their own: copies of the modules that the coupled one will share."""
    nets = {}
    for domain, depth in graph.depths.items():
        nets[domain] = nn.Sequential()
        for layer in range(1, depth + 1):
            first_domain, number = graph.group_of[domain, layer].members[0]
            nets[domain].append(copy.deepcopy(lists[first_domain][number - 1]))
    return nets


def statistics(network, domain):
    """Running statistics along one domain's layers in a coupled network, (mean, variance) each."""
    for layer in range(1, network.graph.depths[domain] + 1):
        slot = network.graph.slots[domain, layer]
        for module in network.layers[network.graph.group_of[domain, layer].key].modules():
            if isinstance(module, DomainBatchNorm):
                yield module.running_mean[slot], module.running_var[slot]


def plain_statistics(net):
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            yield module.running_mean, module.running_var


def compare_statistics(network, nets):
    for domain, net in nets.items():
        for ours, theirs in zip(statistics(network, domain), plain_statistics(net), strict=True):
            torch.testing.assert_close(ours, theirs)


@given(graphs(), st.integers(0, 1000), st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_generators_equal_separate_ones_with_convolutions_and_batch_norm(made, seed, data):
    depths, rules, _ = made
    try:
        graph = SharingGraph("generator", depths, rules, same_input=True)
    except ConfigError:
        assume(False)
    torch.manual_seed(seed)
    lists = {d: [convolution() for _ in range(n)] for d, n in depths.items()}
    nets = separate(graph, lists)
    network = CoupledGenerator(graph, lists)
    z = torch.randn(4, CHANNELS, 3, 3)
    for _ in range(2):
        for domain, x in network(z).items():
            torch.testing.assert_close(x, nets[domain](z))
    compare_statistics(network, nets)
    network.eval()
    chosen = data.draw(st.lists(st.sampled_from(graph.domains), min_size=1, unique=True))
    given_out = network(z, chosen)
    assert list(given_out) == chosen
    for domain, x in given_out.items():
        torch.testing.assert_close(x, nets[domain].eval()(z))


@given(graphs(), st.integers(0, 1000), st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_discriminators_equal_separate_ones_that_see_real_and_generated_apart(made, seed, sizes_differ):
    depths, rules, _ = made
    try:
        graph = SharingGraph("discriminator", depths, rules)
    except ConfigError:
        assume(False)
    torch.manual_seed(seed)
    lists = {d: [convolution() for _ in range(n)] for d, n in depths.items()}
    nets = separate(graph, lists)
    network = CoupledDiscriminator(graph, lists)
    side = {d: 3 + (i if sizes_differ else 0) for i, d in enumerate(depths)}
    real, fake = ({d: torch.randn(4, CHANNELS, side[d], 5) + i for i, d in enumerate(depths)} for _ in range(2))
    output = network(real, fake)
    for domain, net in nets.items():
        torch.testing.assert_close(output.real_logits[domain], net(real[domain]))
    compare_statistics(network, nets)  # before the references see generated samples, which must not count
    for domain, net in nets.items():
        torch.testing.assert_close(output.fake_logits[domain], net(fake[domain]))
    network.eval()
    only_fake = network(None, fake).fake_logits
    for domain, net in nets.items():
        for ours, theirs in zip(statistics(network, domain), plain_statistics(net), strict=True):
            theirs[0].copy_(ours[0])
            theirs[1].copy_(ours[1])
        torch.testing.assert_close(only_fake[domain], net.eval()(fake[domain]))


def test_a_normalisation_used_twice_in_a_layer_stays_one_and_is_per_domain_in_both_places():
    graph = SharingGraph("discriminator", {"a": 1, "b": 1}, [Rule(first=1)])
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(3)
    lists = {d: [nn.Sequential(nn.Sequential(nn.Linear(3, 3), norm), nn.Tanh(), norm)] for d in "ab"}
    nets = separate(graph, lists)
    network = CoupledDiscriminator(graph, lists)
    assert len(list(network.parameters())) == 4
    real = {"a": torch.randn(4, 3), "b": torch.randn(4, 3) + 5}
    ours = network(real, real).real_logits
    for domain in "ab":
        torch.testing.assert_close(ours[domain], nets[domain](real[domain]))


def test_instance_normalisation_that_keeps_one_mean_for_all_is_rejected():
    graph = SharingGraph("discriminator", {"a": 1, "b": 1}, [Rule(first=1)])
    for keeps in (False, True):
        lists = {d: [nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=keeps))] for d in "ab"}
        with pytest.raises(ConfigError, match="track_running_stats=True keeps one mean") if keeps else nullcontext():
            CoupledDiscriminator(graph, lists)


class Contrast(nn.Module):
    """Mixes samples: each minus the batch's mean (as minibatch statistics do)."""

    mixes_samples = True

    def forward(self, x):
        return x - x.mean(0)


def test_a_layer_that_mixes_samples_sees_one_domain_and_real_or_generated_at_a_time():
    graph = SharingGraph("discriminator", {"a": 2, "b": 2}, [Rule(first=2)])
    torch.manual_seed(0)
    lists = {d: [nn.Sequential(nn.Linear(3, 3), Contrast()), nn.Linear(3, 1)] for d in "ab"}
    nets = separate(graph, lists)
    network = CoupledDiscriminator(graph, lists)
    real = {"a": torch.randn(4, 3), "b": torch.randn(4, 3) + 5}
    fake = {d: x * 10 - 7 for d, x in real.items()}
    output = network(real, fake)
    for domain in "ab":
        torch.testing.assert_close(output.real_logits[domain], nets[domain](real[domain]))
        torch.testing.assert_close(output.fake_logits[domain], nets[domain](fake[domain]))


def test_inputs_that_differ_go_through_a_shared_layer_in_one_call():
    graph = SharingGraph("discriminator", {"a": 1, "b": 1, "c": 1}, [Rule(first=1)])
    network = CoupledDiscriminator(graph, {d: [nn.Linear(3, 1)] for d in "abc"})
    rows = []
    network.layers["layer1[a,b,c]"].register_forward_hook(lambda m, i, o: rows.append(len(i[0])))
    network({d: torch.randn(4, 3) for d in "abc"}, {d: torch.randn(4, 3) for d in "abc"})
    assert rows == [24]


@pytest.mark.parametrize("condition", [False, True])
def test_condition_appends_the_domain_to_z(condition):
    inputs = 3 + 2 * condition
    graph = SharingGraph("generator", {"a": 2, "b": 2}, [Rule(first=2)], same_input=not condition)
    torch.manual_seed(0)
    lists = {d: [nn.Linear(inputs, 4), nn.Tanh()] for d in "ab"}
    first = copy.deepcopy(lists["a"][0])
    network = CoupledGenerator(graph, lists, condition=condition)
    z = torch.randn(5, 3)
    samples = network(z)
    assert torch.equal(samples["a"], samples["b"]) is not condition
    for number, domain in enumerate("ab"):
        code = torch.eye(2)[number].expand(5, 2)
        x = torch.cat([z, code], 1) if condition else z
        torch.testing.assert_close(samples[domain], first(x).tanh())
        torch.testing.assert_close(network(z, [domain])[domain], samples[domain])


def test_taps_give_a_layers_output_by_each_domains_own_number():
    graph = SharingGraph("discriminator", {"a": 3, "b": 2}, [Rule(last=1)])
    network = CoupledDiscriminator(
        graph, {"a": [nn.Linear(2, 2) for _ in range(3)], "b": [nn.Linear(2, 2) for _ in range(2)]}
    )
    real, fake = ({d: torch.randn(3, 2) for d in "ab"} for _ in range(2))
    output = network(real, fake, [2])
    taps = output.features
    assert set(taps) == {("a", 2), ("b", 2)}
    torch.testing.assert_close(network(real, fake, [2, -1]).features["b", -1], taps["b", 2])
    torch.testing.assert_close(taps["b", 2], torch.cat([output.real_logits["b"], output.fake_logits["b"]]))
    a = torch.cat([real["a"], fake["a"]])
    torch.testing.assert_close(taps["a", 2], network.layers["layer2[a]"](network.layers["layer1[a]"](a)))


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (nn.Linear(2, 3), nn.Linear(2, 4), "'weight' has shape (3, 2) against (4, 2)"),
        (nn.Linear(2, 3), nn.Linear(2, 3, bias=False), "'bias' has shape (3,) against None"),
        (nn.Linear(2, 3), nn.PReLU(), "a Linear against a PReLU"),
        (nn.Sequential(nn.Tanh()), nn.Sequential(nn.Tanh(), nn.Tanh()), "2 modules against 3"),
        (nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), "LeakyReLU: negative_slope=0.1 against negative_slope=0.2"),
        (nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, stride=2), "stride=(1, 1) against 1, 1, kernel_size=(3, 3), stride=(2"),
        (nn.Sequential(nn.BatchNorm1d(3, eps=1e-3)), nn.Sequential(nn.BatchNorm1d(3)), "0: 3, eps=0.001"),
        (nn.Linear(2, 3), nn.Linear(2, 3), ""),
    ],
)
def test_a_structural_difference_is_named(one, other, difference):
    found = structural_difference(one, other)
    assert difference in found
    assert bool(found) is bool(difference)
    if difference:
        graph = SharingGraph("discriminator", {"a": 2, "b": 1}, [Rule(last=1)])
        with pytest.raises(
            ConfigError,
            match=r"discriminator: layer 2 of domain 'a' and layer 1 of domain 'b' are tied, but differ: "
            + re.escape(found),
        ):
            CoupledDiscriminator(graph, {"a": [nn.Identity(), one], "b": [other]})


def test_a_shared_layer_is_owned_counted_and_saved_once():
    graph = SharingGraph("generator", {"a": 3, "b": 3, "c": 2}, [Rule(first=1), Rule(layers=(2,), domains=("a", "b"))])
    lists = {d: [nn.Linear(3, 3) for _ in range(n)] for d, n in graph.depths.items()}
    network = CoupledGenerator(graph, lists)
    layers = ["layer1[a,b,c]", "layer2[a,b]", "layer2[c]", "layer3[a]", "layer3[b]"]
    assert list(network.state_dict()) == [f"layers.{key}.{p}" for key in layers for p in ("weight", "bias")]
    assert sum(p.numel() for p in network.parameters()) == 5 * 12
    sets = network.sharing_sets()
    assert [domains for _, domains in sets][::2] == [tuple("abc"), tuple("ab"), ("c",), ("a",), ("b",)]
    assert {id(p) for p, _ in sets} == {id(p) for p in network.parameters()}
    assert len(sets) == 10


def test_a_module_that_several_layers_hold_without_a_rule_is_rejected():
    """Else its gradient would be averaged over the wrong domains, and it could not be saved."""
    activation = nn.PReLU()
    graph = SharingGraph("generator", {"a": 1, "b": 1})
    lists = {d: [nn.Sequential(nn.Linear(2, 2), activation)] for d in "ab"}
    with pytest.raises(ConfigError, match=r"generator: layer1\[a\] and layer1\[b\] hold the same parameter '1.weight'"):
        CoupledGenerator(graph, lists)


def test_initial_weights_depend_on_seed_team_and_position_alone():
    def weights(team, names, seed):
        architecture = tiny.Linear()
        domains = [Domain(name, tiny.SHAPE, (-1, 1)) for name in names]
        lists = layer_lists(team, architecture, domains, 4, seed)
        return [layers[0].state_dict() for layers in lists.values()]

    def equal(one, other):
        return all(torch.equal(one[k], other[k]) for k in one if "weight" in k and one[k].dim() == 2)

    before = torch.get_rng_state()
    a, b = weights("generator", "ab", 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not equal(a, b)
    torch.rand(3)
    again = weights("generator", "xyz", 1)
    assert equal(a, again[0])
    assert equal(b, again[1])
    assert not equal(a, weights("generator", "a", 2)[0])
