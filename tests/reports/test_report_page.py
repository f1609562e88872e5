"""The report in a browser: every control works, on any screen, for any reader."""

from __future__ import annotations

import base64

import pytest

from coupling.reports.report import model_of, reported_run, write_report
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny
from tests.support.browser import browser, console_errors, needs_browser, open_page, serious_findings

pytestmark = needs_browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    steps = ("training.steps=6", "training.log_every=2", "training.sample_every=2", "training.checkpoint_every=3")
    more = ("metrics=[{name: brightness, every: 2}]", "losses=[non-saturating, {name: r1, every: 1}]")
    run = train(tiny.config(*steps, *more), folder / "run", plugins=tiny.plugins())
    plugins = tiny.plugins()
    return write_report(reported_run(run.path, plugins), model_of(run.path, plugins), folder / "page.html", plugins)


@pytest.fixture(scope="module")
def driver(page):
    with browser() as driver:
        open_page(driver, page)
        yield driver


def slide(driver, name, value):
    driver.execute_script(
        "const input = document.getElementById(arguments[0]); input.value = arguments[1];"
        "input.dispatchEvent(new Event('input'))",
        name,
        value,
    )


def test_the_slider_shows_the_picture_of_each_step(driver):
    seen = set()
    for index, step in enumerate(("0", "2", "4", "6")):
        slide(driver, "picture-number", index)
        assert driver.find_element("id", "picture-step").text == f"Step {step}"
        seen.add(base64.b64decode(driver.find_element("id", "picture").get_attribute("src").partition(",")[2]))
    assert len(seen) == 4


def test_the_paths_play_and_stop(driver):
    frame = driver.find_element("css selector", ".frame")
    slide(driver, "position", 23)
    assert frame.value_of_css_property("background-position-x") == "100%"
    button = driver.find_element("id", "play")
    button.click()
    assert button.text == "Stop"
    button.click()
    assert button.text == "Play"


def test_every_curve_is_drawn_and_terms_when_they_are_opened(driver):
    shown = driver.execute_script("return document.querySelectorAll('.plot').length")
    hidden = driver.execute_script("return document.querySelectorAll('#terms .plot').length")
    assert hidden > 0
    assert driver.execute_script("return document.querySelectorAll('.plot canvas').length") == shown - hidden > 0
    driver.find_element("css selector", "#terms summary").click()
    driver.execute_async_script("setTimeout(arguments[0], 100)")
    assert driver.execute_script("return document.querySelectorAll('#terms canvas').length") == hidden


def test_the_console_shows_no_error(driver):
    assert console_errors(driver) == []


def test_the_page_is_accessible(driver):
    assert serious_findings(driver) == []


def test_a_phone_shows_the_page_without_scrolling_sideways(page):
    with browser(width=390, height=844) as driver:
        open_page(driver, page)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
