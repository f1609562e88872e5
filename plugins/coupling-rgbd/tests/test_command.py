"""`coupling point-cloud`, on a model trained for a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import Result
from PIL import Image

from coupling import load_model, parse_config, train
from coupling.testing import invoke
from coupling_rgbd.camera import Camera
from coupling_rgbd.depth import Planes
from coupling_rgbd.folder import ColorDepthFolder
from coupling_rgbd.testing import write_frames

VALUES: dict[str, Any] = {
    "name": "objects",
    "latent": {"size": 4},
    "domains": {
        "color": {"dataset": {"name": "rendered-objects", "modality": "color", "count": 44}},
        "depth": {"dataset": {"name": "rendered-objects", "modality": "depth", "count": 44}},
    },
    "generator": {"architecture": {"name": "upsampling", "width": 0.1}},
    "discriminator": {"architecture": {"name": "upsampling", "width": 0.1}},
    "training": {"steps": 1, "batch_size": 4},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUPLING_DATA", str(folder / "data"))
        return train(parse_config(VALUES), folder / "run").path


def command(*arguments: str | Path | float) -> Result:
    return invoke("point-cloud", *arguments)


def rejected(*arguments: str | Path | float) -> str:
    result = command(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr


def test_the_command_writes_ply_files_and_one_picture(run: Path, tmp_path: Path) -> None:
    result = command(run, "--count", 3, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'out'}\n"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["000000.ply", "000001.ply", "000002.ply", "views.png"]
    picture = np.asarray(Image.open(tmp_path / "out/views.png").convert("RGB"))
    assert picture.shape[0] > 4 * 256
    assert picture.shape[1] > 3 * 256
    again = tmp_path / "again"
    command(run, "--count", 1, "--color", "color", "--depth", "depth", "--output", again)
    assert (again / "000000.ply").read_bytes() == (tmp_path / "out/000000.ply").read_bytes()
    assert command(run, "--count", 1, "--seed", 1, "--output", tmp_path / "seed").exit_code == 0
    assert (tmp_path / "seed/000000.ply").read_bytes() != (again / "000000.ply").read_bytes()
    assert "holds more than 1 point clouds of an earlier draw" in rejected(
        run, "--count", 1, "--output", tmp_path / "out"
    )


def test_points_are_the_model_s(run: Path, tmp_path: Path) -> None:
    command(run, "--count", 1, "--near", 1, "--far", 2, "--field-of-view", 90, "--background", 2, "--output", tmp_path)
    _, _, body = (tmp_path / "000000.ply").read_bytes().partition(b"end_header\n")
    read = np.frombuffer(body, [("place", "<f4", 3), ("color", "u1", 3)])
    drawn = load_model(run).sample(1, seed=0)
    places = read["place"]
    rows, columns = (
        np.rint((sign * places[:, axis] / -places[:, 2] + 1) * 32 - 0.5) for axis, sign in ((1, -1), (0, 1))
    )
    depth = drawn["depth"][0, 0].numpy()[rows.astype(int), columns.astype(int)]
    np.testing.assert_allclose(-places[:, 2], 1 + depth, atol=1e-5)
    color = drawn["color"][0].permute(1, 2, 0).numpy()[rows.astype(int), columns.astype(int)]
    np.testing.assert_allclose(read["color"], (color + 1) * 127.5, atol=0.51)


def test_the_default_output_is_in_the_run(run: Path) -> None:
    assert command(run, "--count", 1).stdout == f"{run / 'point-clouds'}\n"


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--color", "colour"], "--color: the model has no domain 'colour'; did you mean 'color'?"),
        (["--color", "depth"], "--color: samples of domain 'depth' are (1, 64, 64), expected (3, height, width)"),
        (["--near", "2"], "--near 2 is not before --far 1.2"),
    ],
)
def test_domains_that_cannot_be_a_pair_are_an_error(run: Path, arguments: list[str], fragment: str) -> None:
    assert fragment in rejected(run, *arguments)


def test_a_data_set_without_a_camera_needs_the_options(data: Path, tmp_path: Path) -> None:
    write_frames(data / "room", 8, size=(32, 32))
    dataset = {"name": "color-depth-folder", "path": "room", "window": 16, "blocks": 4}
    values = {**VALUES, "domains": {m: {"dataset": {**dataset, "modality": m}} for m in ("color", "depth")}}
    made = train(parse_config({**values, "name": "room"}), tmp_path / "run").path
    assert "does not define a camera; give --near, --far, --field-of-view" in rejected(made)
    result = command(made, "--near", 0.5, "--far", 5, "--field-of-view", 57, "--count", 1)
    assert result.exit_code == 0, result.output
    for domain, (channels, option) in {"color": (1, "--depth"), "depth": (3, "--color")}.items():
        alone = {**values, "domains": {domain: values["domains"][domain]}}
        single = train(parse_config({**alone, "name": "one"}), tmp_path / domain).path
        assert f"{option}: name a domain; of {channels}-channel images there are: none" in rejected(single)


@pytest.mark.parametrize(
    ("dataset", "fragment"),
    [
        ({"name": "color-depth-folder", "path": "room"}, "give a folder that holds color/ and depth/"),
        ({"name": "rgbd-objects"}, "rgbd-dataset is not there. Put the cropped images"),
        ({"name": "nyu"}, "nyu_depth_v2_labeled.mat is not there; get nyu_depth_v2_labeled.mat"),
        ({"name": "nyu", "frames": "raw", "registered": "keep"}, "there are no r-*.ppm in its folders; put the scenes"),
        ({"name": "rendered-objects", "noise": True}, "`noise` is the depth sensor's"),
        ({"name": "rgbd-objects", "objects": 1}, "unknown option 'objects'"),
    ],
)
def test_missing_data_are_one_message_with_exit_code_2(
    data: Path, tmp_path: Path, dataset: dict[str, Any], fragment: str
) -> None:
    config = tmp_path / "run.yaml"
    values = {**VALUES, "domains": {"color": {"dataset": {**dataset, "modality": "color"}}}}
    config.write_text(yaml.safe_dump(values))
    result = invoke("check", config)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert "domains.color.dataset" in result.stderr
    assert fragment in result.stderr


def test_the_camera_of_a_folder_follows_its_options() -> None:
    options = {
        "near": 0.5, "far": 5.0, "field_of_view": 57.0, "size": None, "window": None, "resize": "none",
    }  # fmt: skip
    planes = Planes(0.5, 5.0)
    whole = Camera.of(planes, 57.0, (132, 176))
    assert ColorDepthFolder.camera(options, (1, 132, 176)) == whole
    assert ColorDepthFolder.camera({**options, "window": 64}, (1, 64, 64)) is None
    cut = ColorDepthFolder.camera({**options, "size": (132, 176), "window": 64}, (1, 64, 64))
    assert cut is not None
    assert (cut.across, cut.down) == pytest.approx((whole.across * 64 / 176, whole.down * 64 / 132))
    square = ColorDepthFolder.camera({**options, "size": 64, "resize": "crop"}, (1, 64, 64))
    assert square is not None
    assert square.across == pytest.approx(square.down) == pytest.approx(whole.down)
