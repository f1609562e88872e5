"""What this distribution gives `coupling`."""

from __future__ import annotations

from coupling import hookimpl
from coupling.hookspecs import Register
from coupling_rgbd.networks import Rgbd
from coupling_rgbd.rendered_objects import RenderedObjects


@hookimpl
def register_datasets(register: Register) -> None:
    """Colour or depth of rendered objects."""
    register("rendered-objects", RenderedObjects)


@hookimpl
def register_architectures(register: Register) -> None:
    """The paper's networks for colour and depth."""
    register("rgbd", Rgbd)
