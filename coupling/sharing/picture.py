"""The sharing graph as an SVG picture without external files, for documents and reports.

A column is a domain, a box is a layer. The picture runs from z at the top through the generators to the samples, then
through the discriminators to the logits. A shared layer is one coloured box across its domains, with the letter of
:meth:`SharingGraph.table`; if its domains are not neighbours, it is several boxes joined by a band. A line is a value:
one line into a box of several domains means that they share the value, so that the layer computes it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from xml.etree import ElementTree as Xml

from coupling.sharing.graph import TEAMS, Group, SharingGraph, TeamName

_BOX = 26


_GAP = 18


_MARGIN = 14


_LABEL = 112
"""Width of the left margin, which holds the names of the teams."""


_LINE = "#7a808a"


_TEXT = "#1f2328"


_COLOURS = (
    *("#f4b183", "#9dc3e6", "#a9d18e", "#ffd966", "#c9a6e4", "#f4a6b7"),
    *("#8fd3c8", "#d6c08c", "#b4bdf0", "#e0b0d5", "#bcd66f", "#a5b8c4"),
)


Run = tuple[str, ...]
"""Domains in neighbouring columns."""


def sharing_picture(graphs: Mapping[TeamName, SharingGraph]) -> str:
    """One or both teams as an SVG element: the content of a file, or a part of an HTML page.

    ``graphs``: by team; all have the same domains.
    """
    picture = _Picture(next(iter(graphs.values())).domains)
    for team in TEAMS:
        if team in graphs:
            picture.team(graphs[team])
    return picture.svg()


class _Picture:
    """A picture that grows from top to bottom; ``y`` is the lower end so far."""

    def __init__(self, domains: Sequence[str]) -> None:
        self.domains = domains
        self.column = min(124, max(92, 7 * max(map(len, domains)) + 26))
        self.y: float = _MARGIN
        self.colours = 0
        """Number of colours in use. Both teams count it: equal letters in two teams are different layers."""
        self.root = Xml.Element("svg", xmlns="http://www.w3.org/2000/svg", role="img")
        Xml.SubElement(self.root, "title").text = "Sharing graph of " + ", ".join(domains)
        _shape(self.root, "rect", width="100%", height="100%", rx=6, fill="white", class_="paper")
        self.bands, self.lines = (Xml.SubElement(self.root, "g", {"class": name}) for name in ("bands", "lines"))
        fonts = {"font-family": "system-ui, 'DejaVu Sans', sans-serif", "font-size": "12", "text-anchor": "middle"}
        self.boxes = Xml.SubElement(self.root, "g", fonts | {"class": "boxes", "fill": _TEXT})

    def svg(self) -> str:
        """The finished picture."""
        width = _LABEL + self.column * len(self.domains) + _MARGIN
        height = self.y + _MARGIN
        size = {"width": _text(width), "height": _text(height)}
        self.root.attrib |= size | {"viewBox": f"0 0 {_text(width)} {_text(height)}"}
        return Xml.tostring(self.root, encoding="unicode") + "\n"

    def team(self, graph: SharingGraph) -> None:
        """Draw one team's layers, from its inputs (unless the other team has drawn them) to its outputs."""
        generator = graph.team == "generator"
        if generator or self.y == _MARGIN:
            inputs: list[Run] = [graph.domains] if graph.same_input else [(domain,) for domain in graph.domains]
            for run in inputs:
                self._pill(run, "z" if graph.same_input else f"z, {run[0]}" if generator else run[0])
            self.y += _BOX
        _label(
            self.boxes,
            12,
            self.y + _GAP + _BOX / 2,
            f"{graph.team}s",
            {"text-anchor": "start", "class": "label"},
            bold=True,
        )
        reached = dict.fromkeys(graph.domains, self.y)
        rows = dict.fromkeys(graph.domains, 0)
        places: dict[Group, list[tuple[Run, float]]] = {}
        for call in graph.schedule().calls:
            members = [d for d in graph.domains if any(d in together for together in call.readers)]
            row = max(rows[d] for d in members)
            top = self.y + _GAP + row * (_BOX + _GAP)
            for together in call.readers:
                self._line(self._runs(together)[0], reached[together[0]], top)
            places.setdefault(call.group, []).extend((run, top) for run in self._runs(members))
            for domain in members:
                rows[domain], reached[domain] = row + 1, top + _BOX
        letters = _letters(graph)
        for group, boxes in places.items():
            self._group(graph, group, letters.get(group, ""), boxes)
        self.y = max(reached.values()) + 1.5 * _GAP
        for domain in graph.domains:
            self._line((domain,), reached[domain], self.y)
            self._pill((domain,), domain if generator else "logits")
        self.y += _BOX

    def _group(self, graph: SharingGraph, group: Group, letter: str, boxes: Sequence[tuple[Run, float]]) -> None:
        """Draw one layer: a box for each run of neighbouring domains, bands between them."""
        colour, aside = "white", 0.0
        if letter:
            colour = _COLOURS[self.colours % len(_COLOURS)]
            aside = 8.0 * (self.colours % 3 - 1)  # bands of consecutive layers must not overlap
            self.colours += 1
        drawn = Xml.SubElement(self.boxes, "g", {"data-layer": group.key, "data-team": graph.team})
        Xml.SubElement(drawn, "title").text = f"{graph.team}, {group.key}"
        for (run, top), (after, top_after) in pairwise(boxes):
            y1, y2 = top + _BOX / 2 + aside, top_after + _BOX / 2 + aside
            x1, x2 = self._middle(run), self._middle(after)
            _shape(self.bands, "line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=6)
        for run, top in boxes:
            left, width = self._left(run[0]) + 6, self.column * len(run) - 12
            _shape(drawn, "rect", x=left, y=top, width=width, height=_BOX, rx=4, fill=colour, stroke=_LINE)
            numbers = {group.layer_of(domain) for domain in run}
            alike = len(numbers) == 1
            for part in [run] if alike else [(domain,) for domain in run]:
                _label(drawn, self._middle(part), top + _BOX / 2, f"layer {group.layer_of(part[0])}")
            if letter:
                _label(drawn, left + 9, top + _BOX / 2, letter, bold=True)

    def _pill(self, run: Run, text: str) -> None:
        """Draw an input or output across the columns of ``run``."""
        left, width = self._left(run[0]) + 6, self.column * len(run) - 12
        _shape(self.boxes, "rect", x=left, y=self.y, width=width, height=_BOX, rx=_BOX / 2, fill="#eceef1")
        fits = int((width - 10) / 6.5)
        shown = text if len(text) <= fits else text[: fits - 1] + "…"
        _label(self.boxes, left + width / 2, self.y + _BOX / 2, shown)

    def _line(self, run: Run, top: float, bottom: float) -> None:
        x = self._middle(run)
        _shape(self.lines, "line", x1=x, y1=top, x2=x, y2=bottom, stroke=_LINE, stroke_width=1.5)

    def _runs(self, chosen: Sequence[str]) -> list[Run]:
        """The ``chosen`` domains as runs of neighbouring columns."""
        return [tuple(run) for together, run in groupby(self.domains, lambda d: d in chosen) if together]

    def _left(self, domain: str) -> float:
        return _LABEL + self.column * self.domains.index(domain)

    def _middle(self, run: Run) -> float:
        return (self._left(run[0]) + self._left(run[-1]) + self.column) / 2


def _letters(graph: SharingGraph) -> dict[Group, str]:
    """The letter of each shared layer, as in the graph's table."""
    rows = graph.table()[1:]
    return {
        group: rows[layer - 1][1 + graph.domains.index(domain)]
        for (domain, layer), group in graph.group_of.items()
        if len(group.members) > 1
    }


def _shape(parent: Xml.Element, tag: str, **attributes: object) -> None:
    Xml.SubElement(parent, tag, {key.rstrip("_").replace("_", "-"): _text(value) for key, value in attributes.items()})


def _label(
    parent: Xml.Element, x: float, y: float, text: str, more: Mapping[str, str] | None = None, *, bold: bool = False
) -> None:
    attributes = {"x": _text(x), "y": _text(y + 4), **(more or {})} | ({"font-weight": "bold"} if bold else {})
    Xml.SubElement(parent, "text", attributes).text = text


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
