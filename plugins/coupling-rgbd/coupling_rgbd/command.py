"""``coupling point-cloud``: generated pairs of colour and depth as points in space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from coupling import (
    CoupledModel,
    Domain,
    HomePath,
    InputError,
    load_model,
    nearest,
    output_path,
    picture_grid,
    plugin_option,
    progress,
    run_argument,
    save_png,
    to_pixels,
    writing,
)
from coupling_rgbd.camera import Camera
from coupling_rgbd.depth import Planes
from coupling_rgbd.folder import ColorDepthFolder
from coupling_rgbd.nyu import Nyu
from coupling_rgbd.point_cloud import BACKGROUND, PointCloud
from coupling_rgbd.rendered_objects import RenderedObjects
from coupling_rgbd.rgbd_objects import RgbdObjects

CAMERAS = {
    "color-depth-folder": ColorDepthFolder.camera,
    "nyu": Nyu.camera,
    "rendered-objects": RenderedObjects.camera,
    "rgbd-objects": RgbdObjects.camera,
}
"""Cameras of data sets by name: functions from the options and the shape of a sample to a camera."""

_COLUMNS = 8
_SIDE = 256
"""Height and width of a picture in the figure, in pixels, about."""


@click.command("point-cloud")
@run_argument
@click.option("--color", help="Domain of the colours (default: the only one with 3 channels).")
@click.option("--depth", help="Domain of the depths (default: the only one with 1 channel).")
@click.option("--count", default=8, show_default=True, type=click.IntRange(1, 10_000), help="Number of pairs.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Random seed of the latent codes.")
@click.option("--output", type=HomePath(), help="Directory to write to (default: point-clouds in the run).")
@click.option("--near", type=click.FloatRange(0, min_open=True), help="Distance of the lowest depth, in metres.")
@click.option("--far", type=click.FloatRange(0, min_open=True), help="Distance of the highest depth, in metres.")
@click.option(
    "--field-of-view",
    type=click.FloatRange(1, 170),
    help="Angle across the width of a picture, in degrees. Default, also for --near and --far: from the data set.",
)
@click.option(
    "--angle",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, 80),
    help="Angle of the two viewpoints to the left and to the right, in degrees.",
)
@click.option(
    "--background",
    default=BACKGROUND,
    show_default=True,
    type=click.FloatRange(0, 2, min_open=True),
    help="Depth, as a share of the range, from which on points are background and left out; above 1: none.",
)
@plugin_option
def point_cloud(
    run: Path,
    color: str | None,
    depth: str | None,
    count: int,
    seed: int,
    output: Path | None,
    near: float | None,
    far: float | None,
    field_of_view: float | None,
    angle: float,
    background: float,
    modules: tuple[str, ...],
) -> None:
    """Draw generated pairs of colour and depth as points in space.

    Writes OUTPUT/000000.ply and so on, and one picture of all pairs from two viewpoints.
    """
    model = load_model(run, plugins=modules)
    pair = _domain(model, color, 3, "--color"), _domain(model, depth, 1, "--depth")
    if pair[0].shape[1:] != pair[1].shape[1:]:
        raise InputError(
            f"--color {pair[0].name} is {list(pair[0].shape[1:])} pixels, --depth {pair[1].name} "
            f"{list(pair[1].shape[1:])} ([height, width]); a pair must have one size"
        )
    camera = _camera(model, pair[1], near, far, field_of_view)
    folder = output or output_path(run, "point-clouds")
    if (folder / f"{count:06d}.ply").exists():
        raise InputError(
            f"{folder}: holds more than {count} point clouds of an earlier draw, and new ones would be mixed with "
            "them; give another --output, or delete it"
        )
    with writing(folder, "give another --output"):
        folder.mkdir(parents=True, exist_ok=True)
        _write(model, pair, camera, folder, count=count, seed=seed, angle=angle, background=background)
    click.echo(str(folder))


def _domain(model: CoupledModel, name: str | None, channels: int, option: str) -> Domain:
    """The domain called ``name``, or the only one of ``channels``."""
    fitting = {n: d for n, d in model.domains.items() if d.is_image and d.shape[0] == channels}
    if name is None:
        if len(fitting) != 1:
            found = ", ".join(fitting) or "none"
            raise InputError(f"{option}: name a domain; of {channels}-channel images there are: {found}")
        [domain] = fitting.values()
        return domain
    if name not in model.domains:
        raise InputError(f"{option}: the model has no domain '{name}'; {nearest(name, model.domains)}")
    if name not in fitting:
        raise InputError(
            f"{option}: samples of domain '{name}' are {model.domains[name].shape}, expected ({channels}, height, "
            f"width); {nearest(name, fitting)}"
        )
    return fitting[name]


def _camera(
    model: CoupledModel, depth: Domain, near: float | None, far: float | None, field_of_view: float | None
) -> Camera:
    """The camera of the depth domain's data set, changed by the user's options."""
    dataset = model.config.domains[depth.name].dataset
    known = CAMERAS.get(dataset.name)
    given = known(_options(dataset.options), depth.shape) if known else None
    wanted: Mapping[str, Any] = {"--near": near, "--far": far, "--field-of-view": field_of_view}
    missing = [option for option, value in wanted.items() if value is None]
    if given is None and missing:
        raise InputError(
            f"domain '{depth.name}': its data set '{dataset.name}' does not define a camera; give " + ", ".join(missing)
        )
    planes = Planes(near or (given.planes.near if given else 0.0), far or (given.planes.far if given else 0.0))
    if planes.near >= planes.far:
        raise InputError(f"--near {planes.near:g} is not before --far {planes.far:g}")
    if field_of_view is not None or given is None:
        return Camera.of(planes, field_of_view or 0.0, (depth.shape[1], depth.shape[2]))
    return Camera(planes, given.across, given.down)


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as a data set takes them: YAML has no tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


def _write(
    model: CoupledModel,
    pair: tuple[Domain, Domain],
    camera: Camera,
    folder: Path,
    *,
    count: int,
    seed: int,
    angle: float,
    background: float,
) -> None:
    height, width = pair[0].shape[1:]
    factor = max(1, round(_SIDE / max(height, width)))
    rows: dict[str, list[np.ndarray[Any, np.dtype[np.uint8]]]] = {"color": [], "depth": [], "left": [], "right": []}
    z = model.latent(count, seed)
    with progress("point clouds", count) as advance:
        for number, code in enumerate(z.split(1)):
            samples = model.generate(code, [domain.name for domain in pair])
            color, shade = (to_pixels(samples[domain.name], domain)[0] for domain in pair)
            low, high = pair[1].range
            depth = ((samples[pair[1].name][0, 0] - low) / (high - low)).clamp(0, 1).numpy()
            cloud = PointCloud.of(color, depth, camera, background)
            cloud.write_ply(folder / f"{number:06d}.ply")
            if number < 6 * _COLUMNS:
                size = height * factor, width * factor
                rows["color"].append(color.repeat(factor, 0).repeat(factor, 1))
                rows["depth"].append(shade.repeat(factor, 0).repeat(factor, 1))
                rows["left"].append(cloud.view(-angle, angle / 3, size))
                rows["right"].append(cloud.view(angle, angle / 3, size))
            advance()
    save_png(_figure(rows, pair), folder / "views.png")


def _figure(rows: Mapping[str, Any], pair: tuple[Domain, Domain]) -> Any:
    """A column a pair: its colour, its depth, its points from the left and from the right."""
    names = {"color": pair[0].name, "depth": pair[1].name, "left": "from the left", "right": "from the right"}
    pictures = {names[row]: torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2) for row, drawn in rows.items()}
    domains = {name: Domain(name, tuple(x.shape[1:]), (0.0, 255.0)) for name, x in pictures.items()}
    return picture_grid(pictures, domains, columns=_COLUMNS)
