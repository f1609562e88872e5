"""The sharing picture: valid SVG, every layer once, shared layers over their domains."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from hypothesis import given
from hypothesis import strategies as st

from coupling.errors import ConfigError
from coupling.sharing.graph import Rule, SharingGraph
from coupling.sharing.picture import sharing_picture

SVG = "{http://www.w3.org/2000/svg}"
Box = tuple[str, str, float, float]


def picture(
    depths: dict[str, int], rules: list[Rule], *, team: str = "generator", same_input: bool = True
) -> Xml.Element:
    graph = SharingGraph(team, depths, rules, same_input=same_input)
    return Xml.fromstring(sharing_picture({graph.team: graph}))


def layers(svg: Xml.Element) -> dict[str, Xml.Element]:
    found = [g for g in svg.iter(f"{SVG}g") if g.get("data-layer")]
    assert len({g.get("data-layer") for g in found}) == len(found)
    return {g.get("data-layer", ""): g for g in found}


def boxes(layer: Xml.Element) -> list[tuple[float, float]]:
    """(x, width) of each box."""
    return [(float(r.get("x", "")), float(r.get("width", ""))) for r in layer.findall(f"{SVG}rect")]


def texts(element: Xml.Element) -> list[str]:
    return ["".join(t.itertext()) for t in element.findall(f"{SVG}text")]


@given(
    depths=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    rules=st.lists(
        st.one_of(
            st.builds(Rule, first=st.integers(1, 6)),
            st.builds(Rule, last=st.integers(1, 6)),
            st.builds(Rule, layers=st.tuples(st.integers(1, 6), st.integers(1, 6)), domains=st.just(("d0", "d1"))),
        ),
        max_size=3,
    ),
    same_input=st.booleans(),
)
def test_every_layer_is_drawn_once_within_the_picture_and_apart_from_the_others(depths, rules, same_input):
    try:
        graph = SharingGraph(
            "generator", {f"d{i}": depth for i, depth in enumerate(depths)}, rules, same_input=same_input
        )
    except ConfigError:
        return
    svg = Xml.fromstring(sharing_picture({"generator": graph}))
    drawn = layers(svg)
    assert set(drawn) == {group.key for group in graph.groups}
    width, height = float(svg.get("width", "")), float(svg.get("height", ""))
    places = []
    for layer in drawn.values():
        for r in layer.findall(f"{SVG}rect"):
            x, y, w, h = (float(r.get(key, "")) for key in ("x", "y", "width", "height"))
            assert x > 0
            assert y > 0
            assert x + w < width
            assert y + h < height
            places.append((x, y, x + w, y + h))
    for number, (x1, y1, x2, y2) in enumerate(places):
        for u1, v1, u2, v2 in places[:number]:
            assert x2 <= u1 or u2 <= x1 or y2 <= v1 or v2 <= y1


def test_a_shared_layer_is_one_wide_coloured_box_and_a_private_one_a_plain_box():
    drawn = layers(picture({"digits": 2, "edges": 2}, [Rule(first=1)]))
    ((_, shared),), ((_, private),) = boxes(drawn["layer1[digits,edges]"]), boxes(drawn["layer2[digits]"])
    assert shared > 2 * private
    assert texts(drawn["layer1[digits,edges]"]) == ["layer 1", "A"]
    assert texts(drawn["layer2[digits]"]) == ["layer 2"]
    colours = {key: layer.find(f"{SVG}rect").get("fill") for key, layer in drawn.items()}
    assert colours["layer2[digits]"] == colours["layer2[edges]"] == "white" != colours["layer1[digits,edges]"]


def test_domains_that_are_not_neighbours_are_joined_by_a_band_of_the_layers_colour():
    svg = picture({"a": 1, "b": 1, "c": 1}, [Rule(first=1, domains=("a", "c"))])
    layer = layers(svg)["layer1[a,c]"]
    assert len(boxes(layer)) == 2
    assert texts(layer) == ["layer 1", "A", "layer 1", "A"]
    (band,) = next(g for g in svg.iter(f"{SVG}g") if g.get("class") == "bands")
    assert {band.get("stroke")} == {r.get("fill") for r in layer.findall(f"{SVG}rect")}


def test_letters_are_those_of_the_table():
    rules = [Rule(first=2, domains=("a", "b")), Rule(last=1)]
    graph = SharingGraph("discriminator", {"a": 3, "b": 3, "c": 2}, rules)
    drawn = layers(Xml.fromstring(sharing_picture({"discriminator": graph})))
    for row in graph.table()[1:]:
        for domain, letter in zip(graph.domains, row[1:], strict=True):
            if letter:
                box = drawn[graph.group_of[domain, int(row[0])].key]
                assert (letter if letter != "·" else "") in [*texts(box), ""]
                assert (letter in texts(box)) == (letter != "·")


def test_layers_of_different_numbers_are_numbered_by_domain():
    drawn = layers(picture({"small": 2, "large": 4}, [Rule(last=1)], team="discriminator", same_input=False))
    assert texts(drawn["layer2[small]+layer4[large]"]) == ["layer 2", "layer 4", "A"]


def test_a_value_that_domains_have_in_common_is_one_line():
    def lines(same_input: bool) -> int:
        svg = picture({"a": 1, "b": 1}, [Rule(first=1)], same_input=same_input)
        return len(next(g for g in svg.iter(f"{SVG}g") if g.get("class") == "lines"))

    assert lines(True) == 1 + 2  # one z in, two samples out
    assert lines(False) == 2 + 2


def test_both_teams_in_one_picture_have_colours_of_their_own():
    depths = {"a": 2, "b": 2}
    graphs = {
        "generator": SharingGraph("generator", depths, [Rule(first=1)], same_input=True),
        "discriminator": SharingGraph("discriminator", depths, [Rule(last=1)]),
    }
    svg = Xml.fromstring(sharing_picture(graphs))  # type: ignore[arg-type]
    drawn = [g for g in svg.iter(f"{SVG}g") if g.get("data-layer")]
    assert [g.get("data-team") for g in drawn] == ["generator"] * 3 + ["discriminator"] * 3
    shared = [g.find(f"{SVG}rect").get("fill") for g in drawn if "A" in texts(g)]
    assert len(set(shared)) == 2


def test_names_that_mean_something_in_xml_or_are_long_are_shown_as_text():
    svg = picture({"<b>&": 1, "n" * 60: 1}, [])
    shown = texts(next(g for g in svg.iter(f"{SVG}g") if g.get("class") == "boxes"))
    assert "<b>&" in shown
    assert any(text.endswith("…") and text.startswith("nnn") for text in shown)
