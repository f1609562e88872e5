"""The page of `coupling explore`: one HTML file that draws with the generators in the browser."""

from __future__ import annotations

import base64
import gzip
import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from torch import Tensor, nn

from coupling.errors import InputError
from coupling.generation.encoder import Encoder
from coupling.model.directions import COUNT, principal_directions
from coupling.model.export import network_onnx, onnx_content
from coupling.model.interpolation import suited_to
from coupling.networks.latent import NormalPrior
from coupling.reports.pages import json_in_page, page_file, page_template, write_page
from coupling.version import __version__

if TYPE_CHECKING:
    from coupling.model.model import CoupledModel

LARGEST = 100_000_000
"""Largest model in bytes that a page embeds."""


_DIGITS = 4
"""Decimals of the directions in the page."""


def write_explorer(model: CoupledModel, file: Path, encoder: Encoder | None = None) -> Path:
    """Write the page of ``model`` into ``file``; returns it.

    Args:
        model: the model, whose generators the page embeds as an ONNX graph.
        file: the HTML file.
        encoder: an encoder of one domain, with which the page carries over pictures of its users.

    Raises:
        InputError: the files of onnxruntime-web are not installed, no domain has images, the model is too large for a
            page, or the page cannot be written.
        RunError: the generators cannot be exported as ONNX.
    """
    runtime = _runtime()
    data = _data(model, encoder)
    content = onnx_content(model)
    if len(content) > LARGEST:
        raise InputError(
            f"the generators have {len(content) / 1e6:,.0f} MB, and a page embeds at most {LARGEST / 1e6:,.0f} MB; "
            "use `coupling sample` and `coupling traverse`, or export the model"
        )
    text = page_template("explorer.html.jinja").render(
        data=data,
        data_json=json_in_page(data),
        columns=min(len(data["domains"]), 4),
        model=_embedded(gzip.compress(content, mtime=0)),
        encoder=_embedded(gzip.compress(_encoder_onnx(encoder), mtime=0)) if encoder else "",
        runtime_script=_embedded(runtime.script()),
        runtime_binary=_embedded(runtime.binary()),
        script=page_file("explorer.js"),
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
    drawn = [domain for domain in model.domains.values() if domain.is_image]
    if not drawn:
        raise InputError("the samples of no domain are images, so a page cannot draw them; use `coupling sample`")
    latent = model.config.latent
    directions = principal_directions(model, min(COUNT, model.latent_size))
    shell = NormalPrior(model.latent_size)
    truncation = (
        {"least": 0.1, "most": 1, "step": 0.05}
        if latent.prior == "uniform"
        else {"least": 0.3, "most": 3.1, "step": 0.1}
    )
    return {
        "name": model.config.name,
        "domains": [
            {"name": d.name, "shape": d.shape, "range": d.range, "height": d.shape[1], "width": d.shape[2]}
            for d in drawn
        ],
        "left_out": [domain.name for domain in model.domains.values() if not domain.is_image],
        "size": model.latent_size,
        "prior": latent.prior,
        "interpolation": suited_to(latent.prior),
        "shell": [shell.least, shell.most],
        "truncation": truncation,
        "directions": [[round(value, _DIGITS) for value in move] for move in directions.moves.tolist()],
        "shares": directions.shares.tolist(),
        "encoder": encoder.domain.name if encoder else None,
        "about": f"Generators after {model.step:,} steps, SHA-256 {model.digest}; made by coupling {__version__}.",
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
