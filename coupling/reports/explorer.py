"""The page of `coupling explore`: one HTML file that draws with the generators in the browser."""

from __future__ import annotations

import base64
import gzip
import importlib
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from markupsafe import Markup
from torch import Tensor, nn

from coupling.data.pictures import drawn_as, to_drawing
from coupling.domain import Domain
from coupling.errors import InputError, nearest
from coupling.generation.encoder import Encoder
from coupling.model.directions import COUNT, principal_directions
from coupling.model.export import network_onnx, onnx_content
from coupling.model.interpolation import suited_to
from coupling.networks.latent import NormalPrior
from coupling.reports.controls import about, truncation_slider
from coupling.reports.pages import json_in_page, page_file, page_template, write_page

if TYPE_CHECKING:
    from coupling.model.model import CoupledModel

LARGEST = 100_000_000
"""Largest model in bytes that a page embeds."""


DRAWINGS = ("image", "line", "bars", "heat-map", "false-colours")
"""What drawings.js draws as the drawings of the same names do."""


_DIGITS = 4
"""Decimals of the directions in the page."""


def write_explorer(model: CoupledModel, file: Path, encoder: Encoder | None = None) -> Path:
    """Write the page of ``model`` into ``file``; returns it.

    Args:
        model: the model, whose generators the page embeds as an ONNX graph.
        file: the HTML file.
        encoder: an encoder of one domain, with which the page carries over pictures of its users.

    Raises:
        InputError: the files of onnxruntime-web are not installed, the page can draw no domain, or not that of
            the encoder, the model is too large for a page, or the page cannot be written.
        RunError: the generators cannot be exported as ONNX.
    """
    runtime = _runtime()
    data = _data(model, encoder)
    content = onnx_content(model)
    if len(content) > LARGEST:
        raise InputError(
            f"the generators have {len(content) / 1e6:,.0f} MB, and a page embeds at most {LARGEST / 1e6:,.0f} MB; "
            "use `coupling serve`"
        )
    text = page_template("explorer.html.jinja").render(
        data=data,
        data_json=json_in_page(data),
        columns=min(len(data["domains"]), 4),
        model=_embedded(gzip.compress(content, mtime=0)),
        encoder=_embedded(gzip.compress(_encoder_onnx(encoder), mtime=0)) if encoder else "",
        runtime_script=_embedded(runtime.script()),
        runtime_binary=_embedded(runtime.binary()),
        script=Markup("\n").join(map(page_file, ("drawings.js", "npy.js", "explorer.js"))),
    )
    return write_page(file, text)


def _runtime() -> ModuleType:
    """The distribution that brings onnxruntime-web; raises :class:`InputError` if it is missing or empty."""
    try:
        runtime = importlib.import_module("coupling_explore")
    except ImportError:
        raise InputError("the page needs onnxruntime-web: pip install 'coupling-gan[explore]'") from None
    if runtime.version() is None:
        raise InputError(
            "coupling-explore was built without onnxruntime-web, as the npm registry could not be reached; install it "
            "again where it can: pip install --force-reinstall --no-deps coupling-explore"
        )
    return runtime


def _data(model: CoupledModel, encoder: Encoder | None) -> dict[str, Any]:
    """The JSON values that the page's script reads."""
    drawn = page_domains(model, encoder.domain.name if encoder else None)
    latent = model.config.latent
    directions = principal_directions(model, min(COUNT, model.latent_size))
    shell = NormalPrior(model.latent_size)
    return {
        "name": model.config.name,
        "domains": [_described(domain) for domain in drawn],
        "left_out": [domain.name for domain in model.domains.values() if domain not in drawn],
        "differently": [domain.name for domain in drawn if domain.drawn_by and domain.drawn_by not in DRAWINGS],
        "size": model.latent_size,
        "prior": latent.prior,
        "interpolation": suited_to(latent.prior),
        "shell": [shell.least, shell.most],
        "truncation": asdict(truncation_slider(latent.prior)),
        "directions": [[round(value, _DIGITS) for value in move] for move in directions.moves.tolist()],
        "shares": directions.shares.tolist(),
        "encoder": encoder.domain.name if encoder else None,
        "about": about(model),
    }


def page_domains(model: CoupledModel, given: str | None = None) -> list[Domain]:
    """The domains that a page can draw; ``given``: the name of the one whose samples its users may give.

    Raises:
        InputError: there are none, or ``given`` is not one of them.
    """
    drawn = [domain for domain in model.domains.values() if _drawing(domain) is not None]
    names = [domain.name for domain in drawn]
    if not drawn:
        raise InputError(
            "a page cannot draw the samples of any domain: they are neither images nor drawn by one of "
            f"{', '.join(DRAWINGS[1:])}; use `coupling serve` or `coupling sample`"
        )
    if given is not None and given not in names:
        raise InputError(f"--encoder {given}: the page draws no such domain; {nearest(given, names)}")
    return drawn


def _drawing(domain: Domain) -> str | None:
    """The function of drawings.js that draws a domain; None if the page cannot."""
    name = drawn_as(domain)
    return name if name in DRAWINGS else "image" if domain.is_image else None


def _described(domain: Domain) -> dict[str, Any]:
    """What the page's script needs to draw a domain."""
    height, width = (
        domain.shape[1:] if domain.is_image else to_drawing(torch.zeros(1, *domain.shape), domain).shape[1:3]
    )
    return {
        "name": domain.name,
        "shape": domain.shape,
        "range": domain.range,
        "drawing": _drawing(domain),
        "is_image": domain.is_image,
        "columns": [asdict(column) for column in domain.columns],
        "height": height,
        "width": width,
    }


class _Encoding(nn.Module):
    """The encoder's guess within the prior's support, as one module."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.network, self.support = encoder.network, encoder.support

    def forward(self, x: Tensor) -> Tensor:
        return self.support.inward(self.network(x))


def _encoder_onnx(encoder: Encoder) -> bytes:
    return network_onnx(_Encoding(encoder), encoder.domain.shape, "x", "z")


def _embedded(content: bytes) -> Markup:
    return Markup(base64.b64encode(content).decode())  # noqa: S704  (letters, digits, + / =)
