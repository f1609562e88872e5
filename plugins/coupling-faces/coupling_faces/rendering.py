"""Rendering of cartoon faces, each from a number.

Worker processes import this module, so it imports neither torch nor `coupling`.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import resvg_py
from PIL import Image

if TYPE_CHECKING:  # imported where faces are drawn: commands that draw none start earlier
    from dicebear import Avatar, Style

Attribute = Literal["eyeglasses", "smile", "blond-hair"]
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)

Selection: TypeAlias = tuple[tuple[Attribute, bool], ...]
"""Attributes and whether a domain's faces have them, in the order of :data:`ATTRIBUTES`."""

Size = Literal[32, 64, 128]
Picture: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

_SMALL_FACES = 1000
"""Added to the number of a selection for 32 pixels, which came later: the numbers of other sizes must stay."""

MOST_FACES = 1_000_000
"""Upper bound of :attr:`FacePool.count`; the base of the face numbers."""

_SMILING = ("smile", "default")
_NOT_SMILING = ("serious", "sad", "disbelief")
_BLOND = ("#e8c04f", "#f2dc8c")
_NOT_BLOND = ("#2c1b18", "#563426", "#9b3d14")

# What a face is drawn from, unless its attribute says otherwise. Left out are headgear (it hides the
# hair), sunglasses (they hide the eyes) and jokes (hearts for eyes); the colours of skin and of hair are
# apart, so that each can be recognised.
_VARIANTS: Mapping[str, Sequence[str]] = {
    "top": (
        *("bigHair", "bob", "curly", "curvy", "dreads", "fro", "longButNotTooLong", "miaWallace", "shaggy"),
        *("shaggyMullet", "shortCurly", "shortFlat", "shortRound", "shortWaved", "straight01", "straight02"),
        "straightAndStrand",
    ),
    "eyes": ("closed", "default", "happy", "side", "squint", "surprised"),
    "eyebrows": ("angry", "default", "flatNatural", "raisedExcited", "sadConcerned"),
    "mouth": (*_SMILING, *_NOT_SMILING),
    "clothes": ("blazerAndShirt", "collarAndSweater", "hoodie", "overall", "shirtCrewNeck", "shirtVNeck"),
    "accessories": ("prescription01", "prescription02"),
    "facialHair": ("beardLight", "beardMedium"),
}
_PERCENT: Mapping[str, int] = {"accessories": 20, "facialHair": 15}
_COLOURS: Mapping[str, Sequence[str]] = {
    "background": ("#b6e3f4", "#c9b8e8", "#ffd5dc", "#d5f0c4", "#ffffff", "#9fb4c7"),
    "skin": ("#7d4b30", "#b97447", "#edb98a", "#ffdbb4"),
    "hair": (*_NOT_BLOND, *_BLOND, "#c93305", "#e8e1e1"),
    "clothes": ("#262e33", "#25557c", "#5199e4", "#a7ffc4", "#e6e6e6", "#ff5c5c", "#ff488e", "#ffffb1"),
    "accessories": ("#15191c",),
}

_MOUTH_SCALE = 1.3  # at 64 pixels a mouth of the style's own size is too small to tell a smile

# The style leaves wide margins. Units: times the canvas, per cent of the canvas, degrees.
_STILL: Mapping[str, object] = {"scale": 1.35, "translateY": 7}
_JITTERED: Mapping[str, object] = {
    "scale": [1.28, 1.42],
    "translateX": [-3, 3],
    "translateY": [4, 10],
    "rotate": [-5, 5],
}


TRAITS: Mapping[str, tuple[str | None, ...]] = {
    "eyeglasses": ("no", "yes"),
    "smile": ("no", "yes"),
    "blond-hair": ("no", "yes"),
    "top": tuple(_VARIANTS["top"]),
    **{name: tuple(_VARIANTS[name]) for name in ("eyes", "eyebrows", "mouth", "clothes")},
    "accessories": (None, *_VARIANTS["accessories"]),
    "facialHair": (None, *_VARIANTS["facialHair"]),
    **{f"{name}Color": tuple(_COLOURS[name]) for name in ("background", "skin", "hair", "clothes")},
}
"""All that can be known of a face, and its values; None: the face has no such thing."""


@dataclass(frozen=True)
class FacePool:
    """All faces of one domain; calling it with an index draws one.

    Everything but the attributes of ``selection`` is drawn from the same distribution.
    """

    selection: Selection
    count: int
    """Number of faces, from 1 to :data:`MOST_FACES`."""
    size: Size
    """Height and width in pixels."""
    jitter: bool
    """Whether faces are turned, moved and scaled a little."""

    def number(self, index: int) -> int:
        """The number from which face ``index`` is drawn. Faces of different pools share no number.

        Mixed radix, so that every field and the index can be read back from it. Two faces can still
        look alike, by the chance that two independent draws agree.
        """
        if not 0 <= index < self.count <= MOST_FACES:
            raise IndexError(f"face {index} of {self.count} (at most {MOST_FACES})")
        number = self._selection_number + (_SMALL_FACES if self.size == 32 else 0)
        number = number * 2 + self.jitter
        number = number * 2 + (self.size == 128)
        number = number * MOST_FACES + self.count - 1
        return number * MOST_FACES + index

    @property
    def _selection_number(self) -> int:
        """0 to 5 for one attribute, of which there were no others once; from 6 on for none or several."""
        if len(self.selection) == 1:
            ((attribute, present),) = self.selection
            return ATTRIBUTES.index(attribute) * 2 + present
        chosen = dict(self.selection)
        number = 0
        for attribute in ATTRIBUTES:
            number = number * 3 + (1 + chosen[attribute] if attribute in chosen else 0)
        return 6 + number

    def attributes(self, index: int) -> dict[str, str]:
        """The traits of face ``index``: ``{"mouth": "smile", "hairColor": "#2c1b18", ...}``.

        ``accessories`` and ``facialHair`` are there only where the face wears them.
        """
        options = self._avatar(index, self.selection).to_json()["options"]
        drawn = {name: options.get(f"{name}Variant") for name in _VARIANTS}
        drawn |= {f"{name}Color": options.get(f"{name}Color", [None])[0] for name in _COLOURS}
        return {name: value for name, value in drawn.items() if value is not None}

    def traits(self, index: int) -> Picture:
        """Face ``index`` in numbers: uint8 (1, 1, len(TRAITS)), a number into the values of each of :data:`TRAITS`."""
        drawn = self.attributes(index)
        values = drawn | {
            "eyeglasses": "yes" if "accessories" in drawn else "no",
            "smile": "yes" if drawn["mouth"] in _SMILING else "no",
            "blond-hair": "yes" if drawn["hairColor"] in _BLOND else "no",
        }
        return np.array([[[known.index(values.get(name)) for name, known in TRAITS.items()]]], np.uint8)

    def __call__(self, index: int) -> Picture:
        """Face ``index``: uint8, (size, size, 3)."""
        return self.counterpart(index, self.selection)

    def counterpart(self, index: int, selection: Selection) -> Picture:
        """Face ``index`` as it is with the attributes of ``selection``, all else being the same."""
        png = resvg_py.svg_to_bytes(
            svg_string=self._avatar(index, selection).to_string(),
            width=self.size,
            height=self.size,
            skip_system_fonts=True,  # there is no text, and looking for fonts takes long
        )
        return np.array(Image.open(io.BytesIO(png)).convert("RGB"))

    def recipe(self) -> dict[str, object]:
        """All that the pictures depend on, as JSON values: the same recipe, the same pictures."""
        definition = json.dumps(_definition(self.selection), sort_keys=True)
        return {
            "size": self.size,
            "first number": self.number(0),
            "frame": dict(self._frame),
            "style": hashlib.sha256(definition.encode()).hexdigest(),
            **{name: version(name) for name in ("dicebear-core", "dicebear-styles", "resvg-py")},
        }

    @property
    def _frame(self) -> Mapping[str, object]:
        return _JITTERED if self.jitter else _STILL

    def _avatar(self, index: int, selection: Selection) -> Avatar:
        from dicebear import Avatar

        return Avatar(_style(selection), {"seed": str(self.number(index)), **self._frame})


@lru_cache
def _style(selection: Selection) -> Style:
    """The style of one domain's faces.

    The choice of :func:`_definition` is written into the style and not given as options with each
    face: a style is checked against its schema once, options each time, which would take longer
    than all the rest of the SVG.
    """
    from dicebear import Style

    return Style(_definition(selection))


def _definition(selection: Selection) -> dict[str, Any]:
    """The avataaars style, narrowed to the faces of one domain."""
    variants, percent, colours = dict(_VARIANTS), dict(_PERCENT), dict(_COLOURS)
    for attribute, present in selection:
        match attribute:
            case "eyeglasses":
                percent["accessories"] = 100 if present else 0
            case "smile":
                variants["mouth"] = _SMILING if present else _NOT_SMILING
            case "blond-hair":
                colours["hair"] = _BLOND if present else _NOT_BLOND

    source = files("dicebear_styles").joinpath("avataaars.json").read_text("utf-8")
    definition: dict[str, Any] = json.loads(source)
    components = definition["components"]
    for name, chosen in variants.items():
        components[name]["variants"] = {variant: components[name]["variants"][variant] for variant in chosen}
    for name, share in percent.items():
        components[name]["probability"] = share
    for name, values in colours.items():
        definition["colors"].setdefault(name, {})["values"] = list(values)
    components["mouth"]["scale"] = {"min": _MOUTH_SCALE, "max": _MOUTH_SCALE}
    components["facialHair"] = _recoloured(components["facialHair"], "facialHair", "hair")
    return definition


def _recoloured(node: Any, old: str, new: str) -> Any:
    """``node`` of a style definition with references to the colour ``old`` replaced by ``new``."""
    if isinstance(node, list):
        return [_recoloured(item, old, new) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "color" and node.get("name") == old:
        return node | {"name": new}
    return {key: _recoloured(value, old, new) for key, value in node.items()}
