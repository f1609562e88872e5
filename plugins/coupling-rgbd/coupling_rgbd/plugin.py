"""The hooks of this plugin."""

from __future__ import annotations

from coupling import Register, hookimpl
from coupling_rgbd.folder import ColorDepthFolder
from coupling_rgbd.networks import Rgbd
from coupling_rgbd.nyu import Nyu
from coupling_rgbd.rendered_objects import RenderedObjects
from coupling_rgbd.rgbd_objects import RgbdObjects


@hookimpl
def register_datasets(register: Register) -> None:
    """Colour or depth of objects and rooms, rendered or real."""
    register("color-depth-folder", ColorDepthFolder)
    register("nyu", Nyu)
    register("rendered-objects", RenderedObjects)
    register("rgbd-objects", RgbdObjects)


@hookimpl
def register_architectures(register: Register) -> None:
    """The paper's networks for colour and depth."""
    register("rgbd", Rgbd)
