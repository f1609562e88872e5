"""The sharing graph against an obvious reference: groups by naive closure, outputs by naive evaluation."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coupling.errors import ConfigError
from coupling.sharing.graph import Group, Rule, SharingGraph

NAMES = ["a", "b", "c", "d", "e"]


@st.composite
def graphs(draw):
    """Depths and rules; the rules may contradict each other, but name layers that exist."""
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, 5))]
    depths = {name: draw(st.integers(1, 6)) for name in names}
    rules = []
    for _ in range(draw(st.integers(0, 4))):
        domains = draw(st.none() | st.lists(st.sampled_from(names), min_size=1, unique=True).map(tuple))
        depth = min(depths[d] for d in domains or names)
        kind = draw(st.sampled_from(["first", "last", "layers"]))
        if kind == "layers":
            value = tuple(draw(st.lists(st.integers(1, depth), min_size=1, max_size=6)))
        else:
            value = draw(st.integers(1, depth))
        rules.append(Rule(**{kind: value}, domains=domains))
    return depths, rules, draw(st.booleans())


def naive_groups(depths, rules):
    """Transitive closure: sets that touch are merged until none do."""
    sets = [{(d, i)} for d, n in depths.items() for i in range(1, n + 1)]
    for rule in rules:
        domains = rule.domains or list(depths)
        for d, e in itertools.product(domains, repeat=2):
            if rule.first:
                sets += [{(d, i), (e, i)} for i in range(1, rule.first + 1)]
            elif rule.last:
                sets += [{(d, depths[d] + 1 - i), (e, depths[e] + 1 - i)} for i in range(1, rule.last + 1)]
            else:
                sets += [{(d, i), (e, i)} for i in rule.layers]
    merged = True
    while merged:
        merged = False
        for one, other in itertools.combinations(sets, 2):
            if one & other:
                sets.remove(one)
                sets.remove(other)
                sets.append(one | other)
                merged = True
                break
    return {frozenset(s) for s in sets}


def consistent(groups):
    return all(len({d for d, _ in group}) == len(group) for group in groups)


def build(made):
    depths, rules, same_input = made
    assume(consistent(naive_groups(depths, rules)))
    return SharingGraph("generator", depths, rules, same_input=same_input)


def symbols(graph, domains):
    """Each domain's values, its input first, as strings: layers applied one after the other."""
    values = {}
    for d in domains:
        values[d] = ["z" if graph.same_input else d]
        for layer in range(1, graph.depths[d] + 1):
            values[d].append(f"{graph.group_of[d, layer].key}({values[d][-1]})")
    return values


def runs_in_one_order(graph, domains):
    """Whether some order exists in which every group has all its inputs at once (no rules cross)."""
    at = dict.fromkeys(domains, 1)
    while any(at[d] <= graph.depths[d] for d in domains):
        for group in graph.groups:
            members = [(d, i) for d, i in group.members if d in at]
            if members and all(at[d] == i for d, i in members):
                for d, _ in members:
                    at[d] += 1
                break
        else:
            return False
    return True


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_groups_are_the_transitive_closure_of_the_rules(made):
    depths, rules, same_input = made
    expected = naive_groups(depths, rules)
    if not consistent(expected):
        with pytest.raises(ConfigError, match=r"^sharing\.discriminator\[\d\].*layers \d and \d of domain '.'"):
            SharingGraph("discriminator", depths, rules)
        return
    graph = SharingGraph("discriminator", depths, rules, same_input=same_input)
    assert {frozenset(group.members) for group in graph.groups} == expected
    assert sum(len(group.members) for group in graph.groups) == sum(depths.values())
    order = list(depths)
    for group in graph.groups:
        assert list(group.domains) == sorted(group.domains, key=order.index)
        assert all(graph.group_of[node] == group for node in group.members)


@given(graphs(), st.data())
@settings(max_examples=150, deadline=None)
def test_schedule_computes_each_shared_result_once_and_equals_naive_evaluation(made, data):
    graph = build(made)
    wanted = data.draw(st.lists(st.sampled_from(graph.domains), min_size=1, unique=True))
    schedule = graph.schedule(wanted)
    naive = symbols(graph, wanted)
    values = {schedule.start[d]: naive[d][0] for d in wanted}
    assert set(schedule.start) == set(schedule.end) == set(wanted)
    executed, results = [], []
    for call in schedule.calls:
        assert len(set(call.inputs)) == len(call.inputs) == len(call.outputs) == len(call.slots) == len(call.readers)
        for number, output, readers in zip(call.inputs, call.outputs, call.readers, strict=True):
            assert output not in values
            values[output] = f"{call.group.key}({values[number]})"  # KeyError: used before it is made
            results.append(values[output])
            for domain in readers:
                layer = call.group.layer_of(domain)
                executed.append((domain, layer))
                assert naive[domain][layer] == values[output]
    assert sorted(executed) == sorted((d, i) for d in wanted for i in range(1, graph.depths[d] + 1))
    assert len(set(results)) == len(results), "the same result is computed twice"
    assert {d: values[schedule.end[d]] for d in wanted} == {d: naive[d][-1] for d in wanted}
    if runs_in_one_order(graph, wanted):
        called = [call.group for call in schedule.calls]
        assert len(set(called)) == len(called), "a layer is called twice without need"


@given(graphs(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_slot_is_one_distinct_input_of_a_layer(made, data):
    graph = build(made)
    naive = symbols(graph, graph.domains)
    for group in graph.groups:
        inputs = {(d, i): naive[d][i - 1] for d, i in group.members}
        slots = {node: graph.slots[node] for node in group.members}
        assert set(slots.values()) == set(range(len(set(inputs.values()))))
        for one, other in itertools.combinations(group.members, 2):
            assert (slots[one] == slots[other]) == (inputs[one] == inputs[other])
    wanted = data.draw(st.lists(st.sampled_from(graph.domains), min_size=1, unique=True))
    for call in graph.schedule(wanted).calls:
        for slot, readers in zip(call.slots, call.readers, strict=True):
            assert {graph.slots[d, call.group.layer_of(d)] for d in readers} == {slot}


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_keys_are_unique_readable_module_names(made):
    graph = build(made)
    keys = [group.key for group in graph.groups]
    assert len(set(keys)) == len(keys)
    for group in graph.groups:
        assert "." not in group.key
        named = {
            (domain, int(layer))
            for layer, domains in re.findall(r"layer(\d+)\[([^\]]*)\]", group.key)
            for domain in domains.split(",")
        }
        assert named == set(group.members)


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_table_has_one_letter_a_shared_layer(made):
    graph = build(made)
    header, *rows = graph.table()
    assert header == ["layer", *graph.domains]
    letters = {}
    for number, row in enumerate(rows, 1):
        assert row[0] == str(number)
        for domain, cell in zip(graph.domains, row[1:], strict=True):
            if number > graph.depths[domain]:
                assert cell == ""
            elif len(graph.group_of[domain, number].members) == 1:
                assert cell == "·"
            else:
                letters.setdefault(cell, set()).add(graph.group_of[domain, number])
    assert all(len(groups) == 1 for groups in letters.values())
    assert len(letters) == sum(len(group.members) > 1 for group in graph.groups)
    assert len(rows) == max(graph.depths.values())


def test_rules_that_cross_call_a_layer_again_and_stay_right():
    """A4 ~ B1, A5 ~ B2 (tied from the end), B2 ~ C2, A3 ~ C3: each of three layers waits for another."""
    rules = [
        Rule(last=2, domains=("A", "B")),
        Rule(layers=(2,), domains=("B", "C")),
        Rule(layers=(3,), domains=("C", "A")),
    ]
    graph = SharingGraph("generator", {"A": 5, "B": 2, "C": 5}, rules, same_input=True)
    assert not runs_in_one_order(graph, graph.domains)
    schedule = graph.schedule()
    naive = symbols(graph, graph.domains)
    values = {0: "z"}
    for call in schedule.calls:
        for number, output in zip(call.inputs, call.outputs, strict=True):
            values[output] = f"{call.group.key}({values[number]})"
    assert {d: values[schedule.end[d]] for d in "ABC"} == {d: naive[d][-1] for d in "ABC"}
    again = [call.group.key for call in schedule.calls]
    assert len(again) == len(set(again)) + 1  # one layer is called twice, no more
    for pair in ("AB", "BC"):  # without the third they do not cross
        assert runs_in_one_order(graph, pair)
        keys = [call.group.key for call in graph.schedule(pair).calls]
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            Rule(first=4),
            "sharing.discriminator[1] {first: 4}: the discriminator of domain 'b' has layers 1 to 3, not 4",
        ),
        (Rule(last=4), "sharing.discriminator[1] {last: 4}: the discriminator of domain 'b' has layers 1 to 3, not 4"),
        (
            Rule(layers=(2, 5), domains=("b", "a")),
            "sharing.discriminator[1] {layers: [2, 5], domains: ['b', 'a']}: "
            "the discriminator of domain 'b' has layers 1 to 3, not 5",
        ),
        (Rule(layers=(0,)), "has layers 1 to 4, not 0"),
        (Rule(first=-1), "has layers 1 to 4, not -1"),
        (Rule(first=1, domains=("a", "faces")), "no domain is called 'faces'; known: a, b"),
    ],
)
def test_errors_name_team_rule_domain_and_layer(rule, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        SharingGraph("discriminator", {"a": 4, "b": 3}, [Rule(first=1), rule])


def test_contradicting_rules_name_both_layers():
    rules = [Rule(first=2), Rule(last=2)]  # a2 ~ b2 from the front, a3 ~ b2 from the back
    with pytest.raises(ConfigError, match=r"sharing\.generator\[1\].*layers 2 and 3 of domain 'a' to each other"):
        SharingGraph("generator", {"a": 4, "b": 3}, rules)


def test_the_graph_as_plain_data_names_every_group():
    graph = SharingGraph("generator", {"a": 3, "b": 2}, [Rule(last=1)])
    assert graph.plain() == {
        "team": "generator",
        "depths": {"a": 3, "b": 2},
        "groups": ["layer1[a]", "layer1[b]", "layer2[a]", "layer3[a]+layer2[b]"],
    }
    assert Group((("a", 3), ("b", 2))).domains == ("a", "b")


def test_letters_continue_after_z():
    graph = SharingGraph("generator", {"a": 30, "b": 30}, [Rule(first=30)])
    assert [row[1] for row in graph.table()][1:] == [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "AA", "AB", "AC", "AD"]


@pytest.mark.parametrize("given", [{}, {"first": 1, "last": 1}, {"last": 2, "layers": (1,)}])
def test_a_rule_says_exactly_one_thing(given):
    with pytest.raises(ConfigError, match="exactly one of first, last, layers"):
        Rule(**given)


def test_the_graph_needs_no_torch():
    code = "import sys, coupling.sharing.graph; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
