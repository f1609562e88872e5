"""The path between latent codes: the mathematics, the samples along it, and the pictures of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from coupling.api import load_model
from coupling.data.pictures import picture_grid
from coupling.errors import InputError
from coupling.generation.traversal import moving, write_directions
from coupling.model.interpolation import path, suited_to
from coupling.networks.latent import prior_of
from coupling.training.trainer import train
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny


@pytest.fixture(scope="module")
def normal_model(tmp_path_factory):
    config = tiny.config("latent.prior=normal", "training.steps=1")
    return load_model(train(config, tmp_path_factory.mktemp("normal") / "run", plugins=tiny.plugins()).path,
                      plugins=tiny.plugins())  # fmt: skip


def slerp(a, b, share):
    """The textbook's formula, number by number."""
    norms = math.dist(a, [0] * len(a)), math.dist(b, [0] * len(b))
    angle = math.acos(sum(x * y for x, y in zip(a, b, strict=True)) / (norms[0] * norms[1]))
    weights = math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)
    length = norms[0] + share * (norms[1] - norms[0])
    return [
        length * (weights[0] * x / norms[0] + weights[1] * y / norms[1]) for x, y in zip(a, b, strict=True)
    ]  # fmt: skip


def test_spherical_paths_follow_the_textbook():
    first, second = torch.randn(2, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = path(first, second, 5, "spherical")
    for pair in range(3):
        for step in range(5):
            expected = slerp(first[pair].tolist(), second[pair].tolist(), step / 4)
            np.testing.assert_allclose(found[pair, step].numpy(), expected, rtol=1e-10)


codes = st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4)


@settings(deadline=None)
@given(codes, codes, st.integers(2, 9), st.sampled_from(["straight", "spherical"]))
def test_a_path_has_both_ends_and_never_breaks(first, second, steps, way):
    a, b = torch.tensor([first]), torch.tensor([second])
    found = path(a, b, steps, way)
    assert found.shape == (1, steps, 4)
    assert found.isfinite().all()
    torch.testing.assert_close(found[:, 0], a, atol=2e-3, rtol=0)
    torch.testing.assert_close(found[:, -1], b, atol=2e-3, rtol=0)
    longest = max(a.norm(), b.norm())
    assert (found.norm(dim=2) <= longest * 1.001 + 1e-3).all()


@pytest.mark.parametrize("factor", [2.0, -1.0])
def test_codes_without_an_arc_between_them_are_joined_straight(factor):
    a = torch.tensor([[1.0, 2.0, -1.0]])
    torch.testing.assert_close(path(a, factor * a, 4, "spherical"), path(a, factor * a, 4, "straight"))


def test_the_default_path_suits_the_prior():
    """Halfway along a straight path normal codes are too short by the root of two; on the arc they are not."""
    assert suited_to("uniform") == "straight"
    assert suited_to("normal") == "spherical"
    first, second = torch.randn(2, 200, 100, generator=torch.Generator().manual_seed(2))
    norms = {way: path(first, second, 3, way)[:, 1].norm(dim=1).mean() / 10 for way in ("straight", "spherical")}
    assert abs(norms["spherical"] - 1) < 0.02
    assert abs(norms["straight"] - 0.707) < 0.02


def test_traverse_draws_samples_along_a_path(model):
    found = model.traverse(pairs=3, steps=4, seed=5)
    assert {name: x.shape for name, x in found.items()} == {"a": (3, 4, 1, 4, 4), "b": (3, 4, 1, 4, 4)}
    z = model.latent(6, seed=5)
    for pair in range(3):
        for step in range(4):
            code = z[2 * pair] + (z[2 * pair + 1] - z[2 * pair]) * (step / 3)
            expected = model.generate(code[None])
            for name in "ab":
                torch.testing.assert_close(found[name][pair, step], expected[name][0], atol=1e-5, rtol=1e-5)
    again = model.traverse(pairs=2, steps=4, seed=5, domains=["b"])
    assert list(again) == ["b"]
    torch.testing.assert_close(again["b"], found["b"][:2])  # a pair is the same whatever their number
    assert not torch.equal(model.traverse(pairs=3, steps=4, seed=6)["a"], found["a"])


def test_a_normal_prior_has_spherical_paths_by_default(normal_model):
    default, arc, straight = (
        normal_model.traverse(2, 5, interpolation=way)["a"] for way in (None, "spherical", "straight")
    )
    assert torch.equal(default, arc)
    assert not torch.allclose(arc[:, 2], straight[:, 2], atol=1e-4)


@pytest.mark.parametrize("fixture", ["model", "normal_model"])
def test_code_k_is_the_same_in_every_draw(fixture, request):
    model = request.getfixturevalue(fixture)
    whole = model.latent(2500, seed=1)
    for count, start in ((1, 0), (3, 0), (1024, 0), (7, 1020), (1, 2499), (1500, 1000), (0, 5)):
        assert torch.equal(model.latent(count, seed=1, start=start), whole[start : start + count])
    with pytest.raises(InputError, match="start is -1"):
        model.latent(2, start=-1)


def test_arguments_that_do_not_fit_are_rejected(model):
    with pytest.raises(InputError, match="pairs is 0, steps is 12"):
        model.traverse(0)
    with pytest.raises(InputError, match="pairs is 4, steps is 1"):
        model.traverse(steps=1)
    with pytest.raises(InputError, match="no interpolation is called 'sperical'; did you mean 'spherical'"):
        model.traverse(interpolation="sperical")
    with pytest.raises(InputError, match="the model has no domain 'c'"):
        model.traverse(domains=["c"])


def test_the_picture_has_a_row_for_each_domain(run, model, command):
    result = command("traverse", run, "--steps", 5, "--pairs", 2, "--seed", 3, "--plugin", TINY)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{run}/traversal.png\n"
    assert "straight path, because the prior is uniform" in result.stderr
    samples = {name: x.flatten(0, 1) for name, x in model.traverse(2, 5, 3).items()}
    with Image.open(run / "traversal.png") as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(picture_grid(samples, model.domains, 5)))
    # two bands of two rows: the pairs below each other
    assert picture.height > 4 * 64


def test_the_picture_of_a_checkpoint_is_beside_it(run, command):
    checkpoint = run / "checkpoints" / "step-0000004"
    result = command("traverse", checkpoint, "--steps", 2, "--pairs", 1, "--plugin", TINY)
    assert result.stdout == f"{run}/traversal-step-0000004.png\n"
    assert (run / "traversal-step-0000004.png").is_file()


def test_the_animation_runs_forward_and_back(run, model, command):
    result = command("traverse", run, "--steps", 4, "--pairs", 3, "--seconds", 1.2, "--output", "x/t.gif", "--plugin",
                     TINY)  # fmt: skip
    assert result.exit_code == 0, result.output
    samples = model.traverse(3, 4)
    with Image.open("x/t.gif") as picture:
        assert picture.n_frames == 6  # 1 2 3 4 3 2: the ends are shown once
        assert picture.info["loop"] == 0
        for frame, step in enumerate([0, 1, 2, 3, 2, 1]):
            picture.seek(frame)
            assert picture.info["duration"] == 200
            expected = picture_grid({name: x[:, step] for name, x in samples.items()}, model.domains, 3)
            distance = np.abs(np.asarray(picture.convert("RGB"), int) - np.asarray(expected, int))
            assert distance.max() <= 4  # 256 colours


def test_frames_of_many_colours_share_a_palette_and_do_not_flicker():
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    frames = []
    for step in range(4):
        pixels = noise.copy()
        pixels[:4] = 60 * step  # a bar changes, the rest stands still
        frames.append(Image.fromarray(pixels))
    Path("t.gif").write_bytes(moving(frames, 1))
    with Image.open("t.gif") as picture:
        shown = []
        for frame in range(picture.n_frames):
            picture.seek(frame)
            shown.append(np.asarray(picture.convert("RGB")))
    assert len(shown) == 4
    assert all(np.array_equal(shown[0][4:], other[4:]) for other in shown[1:])


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_video_shows_the_frames_of_the_animation(run, model, command, suffix):
    imageio = pytest.importorskip("imageio.v3")
    result = command("traverse", run, "--steps", 4, "--pairs", 3, "--seconds", 1.5, "--scale", 9, "--output",
                     f"t{suffix}", "--plugin", TINY)  # fmt: skip
    assert result.exit_code == 0, result.output
    shown = imageio.imread(f"t{suffix}", plugin="pyav")
    assert imageio.immeta(f"t{suffix}", plugin="pyav")["fps"] == pytest.approx(6 / 1.5)
    assert len(shown) == 6  # there and back: 0 1 2 3 2 1
    samples = model.traverse(3, 4)
    for number, step in enumerate([0, 1, 2, 3, 2, 1]):
        frame = picture_grid({name: x[:, step] for name, x in samples.items()}, model.domains, 3, 9)
        height, width = frame.height, frame.width
        assert shown[number].shape == (height + height % 2, width + width % 2, 3)
        difference = shown[number][:height, :width].astype(float) - np.asarray(frame)
        assert np.abs(difference).mean() < 8  # both codecs lose a little


def test_a_video_without_its_extra_is_an_error_before_anything_is_drawn(run, command, monkeypatch):
    monkeypatch.setattr("coupling.generation.video.find_spec", lambda name: None if name == "av" else name)
    result = command("traverse", run, "--output", "t.mp4", "--plugin", TINY)
    rejected(result, "--output t.mp4: a video needs av: pip install 'coupling-gan[video]'")
    assert not Path("t.mp4").exists()


@pytest.mark.parametrize("scale", [1, 3])
def test_scale_enlarges_the_picture_of_a_traversal(run, model, command, scale):
    command("traverse", run, "--steps", 4, "--pairs", 2, "--scale", scale, "--output", "t.png", "--plugin", TINY)
    samples = {name: x.flatten(0, 1) for name, x in model.traverse(2, 4).items()}
    assert np.array_equal(Image.open("t.png"), picture_grid(samples, model.domains, 4, scale))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_wrong_argument_is_an_error(run, command):
    rejected(
        command("traverse", run, "--output", "t.jpg"),
        "--output t.jpg: a traversal is written as .png, .gif, .mp4, .webm",
    )
    rejected(command("traverse", run, "--steps", 1), "1 is not in the range 2<=x<=256")
    rejected(command("traverse", run, "--pairs", 0), "0 is not in the range")
    rejected(command("traverse", run, "--interpolation", "round"), "'round' is not one of")
    rejected(command("traverse", run / "no", "--plugin", TINY), "no: no such run")
    Path("file").write_text("x")
    rejected(command("traverse", run, "--output", "file/t.png", "--plugin", TINY), "file/t.png: cannot be written")


def test_a_model_whose_domains_cannot_be_drawn_has_no_traversal(tmp_path, command):
    config = tiny.config("training.steps=1", *(f"domains.{d}.dataset.transform=twice" for d in "ab"))
    train(config, tmp_path / "r", plugins=tiny.plugins())
    result = command("traverse", tmp_path / "r", "--plugin", TINY)
    rejected(result, "none of the domains can be drawn: 'a' (2, 4, 4), 'b' (2, 4, 4)")


# -- main directions --------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["model", "normal_model"])
def test_codes_are_moved_along_the_directions_and_stay_in_the_support(fixture, request, tmp_path):
    model = request.getfixturevalue(fixture)
    write_directions(model, tmp_path / "d.png", directions=2, steps=5, seed=4, seconds=1)
    moves = model.directions(2).moves
    rows = []
    for direction in range(2):
        for deviations in (-3, -1.5, 0, 1.5, 3):
            z = model.latent(1, 4)[0] + deviations * moves[direction]
            if fixture == "model":
                z = torch.stack([x.clamp(-1, 1) for x in z])
            else:
                prior = prior_of(model.config.latent)
                z = z / z.norm() * min(max(z.norm().item(), prior.least), prior.most)
            rows.append(z)
    samples = model.generate(torch.stack(rows))
    with Image.open(tmp_path / "d.png") as picture:
        expected = np.asarray(picture_grid(samples, model.domains, 5), int)
        assert np.abs(np.asarray(picture, int) - expected).max() <= 1


def test_the_command_draws_a_direction_in_place_of_a_pair(run, model, command):
    result = command("traverse", run, "--directions", 2, "--plugin", TINY)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{run}/directions.png\n"
    shares = model.directions(2).shares
    assert f"direction 1: {shares[0]:.0%} of the variation" in result.stderr
    with Image.open(run / "directions.png") as picture:
        assert picture.size == picture_grid(model.sample(26), model.domains, 13).size
    result = command("traverse", run, "--directions", 2, "--output", "d.gif", "--plugin", TINY)
    with Image.open("d.gif") as picture:
        assert picture.n_frames == 64


def test_directions_that_do_not_fit_are_errors(run, command):
    for options, message in (
        (["--directions", 2, "--pairs", 1], "--pairs is about paths between codes, and --directions draws none"),
        (["--directions", 2, "--interpolation", "straight"], "--interpolation is about paths between codes"),
        (["--directions", 60], "60 main directions; a code has 5 numbers, so give 1 to 5"),
    ):
        rejected(command("traverse", run, *options, "--plugin", TINY), message)
