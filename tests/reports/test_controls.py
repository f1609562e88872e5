"""What the controls of a page draw is what the model's own functions give."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from coupling.api import load_model, parse_config
from coupling.data.pictures import to_drawing
from coupling.domain import Column
from coupling.errors import InputError
from coupling.generation.arrays import array_file
from coupling.model.inversion import Search
from coupling.reports.controls import Controls, Position
from coupling.reports.web_app import Handlers
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny

SEARCH = Search(iterations=5)


def controls_of(tmp_path_factory, *changes):
    values = tiny.values("training.steps=2", "latent.size=6", *tiny.MIXED, *changes)
    run = train(parse_config(values, plugins=tiny.plugins()), tmp_path_factory.mktemp("runs") / "run",
                plugins=tiny.plugins())  # fmt: skip
    return Controls(load_model(run.path, plugins=tiny.plugins()))


@pytest.fixture(scope="module")
def controls(tmp_path_factory):
    return controls_of(tmp_path_factory, "latent.prior=normal")


@pytest.fixture(scope="module")
def uniform(tmp_path_factory):
    return controls_of(tmp_path_factory, "latent.prior=uniform")


def assert_drawn(pictures, samples, domains):
    assert list(pictures) == ["a", "b"]
    for name, picture in pictures.items():
        np.testing.assert_array_equal(np.asarray(picture), to_drawing(samples[name], domains[name])[0])


def test_a_number_is_the_seed_of_sample(controls):
    for number in (1, 7, 123_456):
        pictures = controls.pictures(controls.code(Position(number)))
        assert_drawn(pictures, controls.model.sample(1, seed=number), controls.model.domains)


def test_truncation_is_that_of_the_models_codes(controls, uniform):
    for some in (controls, uniform):
        assert torch.equal(some.code(Position(5, truncation=0.4)), some.model.latent(1, 5, truncation=0.4))


def test_a_path_is_that_of_traverse(controls, uniform):
    """Reference: `traverse` draws from code 0 to code 1 of a seed; here the ends are given."""
    for some in (controls, uniform):
        first, last = some.model.latent(1, 3), some.model.latent(1, 4)
        assert torch.equal(some.code(Position(3, 4, share=0.0)), first)
        torch.testing.assert_close(some.code(Position(3, 4, share=1.0)), last)
        middle = some.code(Position(3, 4, share=0.5))
        if some is uniform:
            torch.testing.assert_close(middle, (first + last) / 2)
        else:
            torch.testing.assert_close(middle.norm(), (first.norm() + last.norm()) / 2)


def test_a_direction_moves_the_code_within_the_support(controls, uniform):
    for some in (controls, uniform):
        moves = [0.0, 0.25, *[0.0] * 4]
        z = some.model.latent(1, 3)
        expected = some.model.space.prior.nearest(z + 0.25 * some.directions.moves[1])
        torch.testing.assert_close(some.code(Position(3, moves=moves)), expected)
        far = some.code(Position(3, moves=[40.0] * 6))
        torch.testing.assert_close(some.model.space.prior.nearest(far), far)


def test_an_own_sample_is_transformed_as_by_the_model(controls, tmp_path):
    for name in ("a", "b"):
        sample = controls.model.sample(1, seed=9)[name]
        (tmp_path / f"{name}.npy").write_bytes(array_file(sample[0]))
        found = controls.own_sample(tmp_path / f"{name}.npy", name, SEARCH)
        expected = controls.model.transform(sample, name, search=SEARCH)
        assert torch.equal(found.z, expected.z)
        assert found.error == expected.error.item()
        domains = controls.model.domains
        np.testing.assert_array_equal(np.asarray(found.given), to_drawing(sample, domains[name])[0])
        np.testing.assert_array_equal(
            np.asarray(found.reconstruction), to_drawing(expected.reconstruction, domains[name])[0]
        )
        other = "b" if name == "a" else "a"
        drawn = controls.pictures(controls.code(Position(own=found.z)))[other]
        np.testing.assert_array_equal(np.asarray(drawn), to_drawing(expected.images[other], domains[other])[0])


def test_domains_without_a_drawing_are_named(controls):
    assert (controls.domains, controls.left_out) == (["a", "b"], ["c"])


def test_rows_of_tables_are_in_the_units_of_their_columns(controls):
    columns = tuple(Column(f"c{k}", centre=5.0 * k, scale=k + 1) for k in range(16))
    model = copy.copy(controls.model)
    model.domains = model.domains | {"b": replace(model.domains["b"], columns=columns)}
    of_table = Controls(model)
    assert (controls.tables, of_table.tables) == ([], ["b"])
    z = model.latent(1, 3)
    expected = {f"c{k}": 5.0 * k + (k + 1) * value for k, value in enumerate(model.generate(z)["b"][0].tolist())}
    assert of_table.rows(z) == {"b": pytest.approx(expected)}
    shown = Handlers(of_table).draw(None, 3, 2, 0.0, OFF, *STILL)[-1]
    assert [line.split("|")[1].strip() for line in shown.splitlines()[2:]] == list(expected)
    assert f"| c7 | {expected['c7']:.4g} |" in shown


# -- what the widgets do --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handlers(controls):
    return Handlers(controls)


STILL = [0.0] * 6
OFF = 3.1
"""The truncation slider at its end."""


def same(pictures, others):
    return all(np.array_equal(one, other) for one, other in zip(pictures, others, strict=True))


def test_the_widgets_draw_what_the_controls_say(handlers, controls):
    expected = list(controls.pictures(controls.code(Position(4, 5, 0.25, None, [1.0, *STILL[1:]]))).values())
    assert same(handlers.draw(None, 4, 5, 0.25, OFF, 1.0, *STILL[1:]), expected)
    truncated = list(controls.pictures(controls.code(Position(4, truncation=0.5))).values())
    assert same(handlers.draw(None, 4, 5, 0.0, 0.5, *STILL), truncated)


def test_a_new_code_is_drawn_from_the_numbers_that_the_page_then_shows(handlers):
    own, number, to, path, *pictures = handlers.draw_new([STILL], 1, 2, 0.7, OFF, *STILL)
    assert (own, path) == (None, 0.0)
    assert same(pictures, handlers.draw(None, number, to, 0.0, OFF, *STILL))


def test_an_own_code_stays_until_a_number_is_typed(handlers, controls):
    own = controls.model.latent(1, 77).tolist()
    assert same(handlers.draw(own, 1, 2, 0.0, OFF, *STILL), handlers.draw(None, 77, 2, 0.0, OFF, *STILL))
    code, *pictures = handlers.draw_number(own, 1, 2, 0.0, OFF, *STILL)
    assert code is None
    assert same(pictures, handlers.draw(None, 1, 2, 0.0, OFF, *STILL))


def test_reset_draws_without_moves(handlers):
    *still, one, two = handlers.draw_still(None, 1, 2, 0.3, OFF, *[2.0] * 6)
    assert still == STILL
    assert same([one, two], handlers.draw(None, 1, 2, 0.3, OFF, *STILL))


def test_a_path_plays_to_its_end_and_again_from_its_beginning(handlers):
    frames = list(handlers.play_path(None, 1, 2, 0.9, OFF, *STILL))
    assert [share for share, *_ in frames] == [0.92, 0.94, 0.96, 0.98, 1.0]
    assert same(frames[-1][1:], handlers.draw(None, 1, 2, 1.0, OFF, *STILL))
    again = list(handlers.play_path(None, 1, 2, 1.0, OFF, *STILL))
    assert (len(again), again[0][0], again[-1][0]) == (50, 0.02, 1.0)


def test_a_found_code_puts_the_controls_at_rest(handlers, controls, tmp_path):
    file = tmp_path / "b.npy"
    file.write_bytes(array_file(controls.model.sample(1, seed=9)["b"][0]))
    own, given, drawn, line, path, *rest = handlers.find_code(str(file), "b", 10)
    expected = controls.own_sample(file, "b", Search(iterations=10))
    assert own == expected.z.tolist()
    assert same([given, drawn], [expected.given, expected.reconstruction])
    assert f"{expected.error:.4f}" in line
    assert [path, *rest[:6]] == [0.0, *STILL]
    assert same(rest[6:], handlers.draw(own, 1, 2, 0.0, OFF, *STILL))


# -- bad input ------------------------------------------------------------------------------------------


def test_values_that_cannot_be_drawn_are_errors(handlers, controls, tmp_path):
    with pytest.raises(InputError, match=r"number of a code is -1; give 0 to 999,999,999"):
        handlers.draw(None, -1, 2, 0.0, OFF, *STILL)
    with pytest.raises(InputError, match="a code has a number"):
        handlers.draw(None, None, 2, 0.0, OFF, *STILL)
    with pytest.raises(InputError, match="there is no file yet"):
        handlers.find_code(None, "a", 10)
    with pytest.raises(InputError, match=r"no domain 'd' is drawn; .*a, b"):
        controls.own_sample(tmp_path / "x.npy", "d")
    (tmp_path / "x.npy").write_text("x")
    with pytest.raises(InputError, match=r"x.npy: not a .npy"):
        controls.own_sample(tmp_path / "x.npy", "b")


def test_a_model_without_drawings_is_an_error(tmp_path_factory):
    changes = [f"domains.{name}.dataset.transform=twice" for name in ("a", "b")]
    with pytest.raises(InputError, match="none of the domains can be drawn"):
        controls_of(tmp_path_factory, *changes)
