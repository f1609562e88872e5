"""The page that draws with a model in the browser: its pictures are the model's, and every control works."""

from __future__ import annotations

import base64
import dataclasses
import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from coupling.api import load_model, parse_config
from coupling.data.csv_file import original
from coupling.data.drawings import Bars, HeatMap, Line
from coupling.data.pictures import to_drawing
from coupling.data.transforms import FalseColours
from coupling.domain import Column, Domain
from coupling.errors import InputError
from coupling.generation.encoder import train_encoder
from coupling.model.model import CoupledModel
from coupling.networks.build import assemble
from coupling.reports.explorer import page_domains, write_explorer
from coupling.reports.pages import page_file
from coupling.training.trainer import train
from tests.conftest import rejected
from tests.support import tiny_plugin as tiny
from tests.support.browser import browser, console_errors, needs_browser, open_page, serious_findings

pytest.importorskip("onnxscript")
runtime = pytest.importorskip("coupling_explore")
needs_runtime = pytest.mark.skipif(runtime.version() is None, reason="the npm registry could not be reached")


def trained(path, prior):
    values = tiny.values("training.steps=2")
    values["latent"] = {"size": 6, "prior": prior}
    return train(parse_config(values, plugins=tiny.plugins()), path, plugins=tiny.plugins()).path


def loaded(tmp_path_factory, prior):
    return load_model(trained(tmp_path_factory.mktemp("runs") / prior, prior), plugins=tiny.plugins())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return loaded(tmp_path_factory, "normal")


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("pages") / "explore.html"
    encoder = train_encoder(model, "a", tiny.plugins(), steps=2)
    return write_explorer(model, file, encoder)


@pytest.fixture(scope="module")
def driver():
    with browser() as driver:
        yield driver


def ready(driver, page, fragment=""):
    open_page(driver, page, fragment)
    driver.execute_async_script("explorer.ready.then(arguments[0])")
    return driver


def canvas(driver, domain):
    address = driver.execute_script(f"return document.querySelector('canvas[data-domain={domain}]').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))


def assert_drawn_as_torch(driver, model):
    z = torch.tensor([driver.execute_script("return explorer.drawn")], dtype=torch.float32)
    for name, samples in model.generate(z).items():
        low, high = model.domains[name].range
        expected = ((samples[0] - low) / (high - low)).clamp(0, 1).mul(255).expand(3, -1, -1).permute(1, 2, 0)
        assert np.abs(canvas(driver, name).astype(float) - expected.numpy()).max() <= 2


def set_slider(driver, name, value):
    driver.execute_async_script(
        "const input = document.getElementById(arguments[0]), before = explorer.count; input.value = arguments[1];"
        "input.dispatchEvent(new Event('input'));"
        "const wait = () => explorer.count > before ? arguments[2]() : setTimeout(wait, 10); wait();",
        name,
        value,
    )


@needs_browser
@needs_runtime
def test_the_page_draws_what_torch_draws(driver, page, model):
    ready(driver, page)
    assert_drawn_as_torch(driver, model)
    assert console_errors(driver) == []


@needs_browser
@needs_runtime
def test_a_slider_moves_the_code_along_its_direction(driver, page, model):
    ready(driver, page)
    before = driver.execute_script("return explorer.drawn")
    set_slider(driver, "d1", 2)
    assert driver.execute_script("return explorer.drawn") != before
    assert_drawn_as_torch(driver, model)
    assert "d1=2" in driver.execute_script("return location.hash")


@needs_browser
@needs_runtime
def test_a_link_shows_the_same_picture(driver, page):
    link = "#code=7&to=9&path=0.4&truncation=0.7&d2=-1.5"
    first = ready(driver, page, link).execute_script("return explorer.drawn")
    second = ready(driver, page, link).execute_script("return explorer.drawn")
    assert first == second
    assert ready(driver, page, "#code=8").execute_script("return explorer.drawn") != first


def drawn_codes(driver, count):
    codes = []
    for number in range(1, count + 1):
        set_slider(driver, "code", number)
        codes += driver.execute_script("return explorer.drawn")
    return codes


def assert_distributed(codes, spread):
    assert abs(np.mean(codes)) < 4 * spread / len(codes) ** 0.5
    assert np.std(codes) == pytest.approx(spread, rel=0.15)


@needs_browser
@needs_runtime
def test_codes_of_a_normal_prior_are_normal_and_truncated_to_the_bound(driver, page):
    ready(driver, page)
    assert_distributed(drawn_codes(driver, 40), 1)
    set_slider(driver, "truncation", 0.5)
    assert 0.4 < max(map(abs, drawn_codes(driver, 5))) <= 0.5 + 1e-6


@needs_browser
@needs_runtime
def test_codes_of_a_uniform_prior_are_uniform_and_truncated_to_the_bound(driver, tmp_path_factory):
    model = loaded(tmp_path_factory, "uniform")
    ready(driver, write_explorer(model, tmp_path_factory.mktemp("pages") / "uniform.html"))
    assert_drawn_as_torch(driver, model)
    assert_distributed(drawn_codes(driver, 40), 3**-0.5)
    set_slider(driver, "truncation", 0.5)
    assert 0.4 < max(map(abs, drawn_codes(driver, 5))) <= 0.5 + 1e-6
    set_slider(driver, "d1", 4)
    assert max(map(abs, drawn_codes(driver, 5))) <= 1
    assert_drawn_as_torch(driver, model)


@needs_browser
@needs_runtime
def test_keys_and_buttons_work(driver, page):
    body = ready(driver, page, "#code=1&d1=2").find_element("tag name", "body")
    body.send_keys("r")
    assert driver.find_element("id", "d1").get_attribute("value") == "0"
    body.send_keys("n")
    assert driver.find_element("id", "code").get_attribute("value") != "1"
    button = driver.find_element("id", "play")
    button.click()
    assert (button.text, button.get_attribute("aria-pressed")) == ("Stop", "true")
    button.click()
    assert (button.text, button.get_attribute("aria-pressed")) == ("Play path", "false")


@needs_browser
@needs_runtime
def test_a_picture_of_ones_own_is_encoded(driver, page, model, tmp_path):
    low, high = model.domains["a"].range
    _, height, width = model.domains["a"].shape
    Image.new("RGB", (width, height), (200, 200, 200)).save(tmp_path / "own.png")
    ready(driver, page)
    before = driver.execute_script("return explorer.count")
    driver.find_element("id", "own").send_keys(str(tmp_path / "own.png"))
    driver.execute_async_script(
        f"const wait = () => explorer.count > {before} ? arguments[0]() : setTimeout(wait, 10); wait();"
    )
    encoder = train_encoder(model, "a", tiny.plugins(), steps=2)
    given = torch.full((1, *model.domains["a"].shape), low + (high - low) * 200 / 255)
    drawn = torch.tensor([driver.execute_script("return explorer.drawn")])
    torch.testing.assert_close(drawn, encoder(given), atol=1e-3, rtol=1e-3)


@needs_browser
@needs_runtime
def test_a_phone_shows_the_page_without_scrolling_sideways(page):
    with browser(width=390, height=844) as driver:
        ready(driver, page)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390


@needs_browser
@needs_runtime
def test_the_page_is_accessible(driver, page):
    ready(driver, page)
    assert serious_findings(driver) == []


@needs_browser
@needs_runtime
def test_a_browser_without_webassembly_gets_a_message(page):
    with browser() as driver:
        source = {"source": "delete globalThis.WebAssembly"}
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
        text = ready(driver, page).find_element("id", "status").text
        assert text.startswith("This browser has no WebAssembly")


@needs_runtime
def test_the_page_fetches_nothing(page):
    text = page.read_text("utf-8")
    assert " src=" not in text.split("</style>")[1].split('<script type="application/json"')[0]
    assert "http" not in text.split('<script type="application/json"')[0]


# -- samples that are not images ------------------------------------------------------------------------


class Wave:
    """A drawing that only Python has."""

    def __call__(self, samples, range):
        return samples.flatten(1)[:, None, None, :].expand(-1, -1, 4, -1)


SHAPES = {
    "long": ((1, 300), (-1.0, 1.0), "line"), "short": ((7,), (0.0, 2.0), "line"), "many": ((90,), (-2.0, 1.0), "bars"),
    "few": ((1, 5), (0.5, 3.0), "bars"), "matrix": ((16, 64), (0.0, 1.0), "heat-map"),
    "tiny": ((3, 2), (-1.0, 1.0), "heat-map"), "depth": ((1, 8, 9), (-1.0, 1.0), "false-colours"),
}  # fmt: skip


@pytest.fixture(scope="module")
def signals(tmp_path_factory):
    """A model of domains of many shapes, all drawn in JavaScript, and one that only a plugin draws."""
    made = {"line": Line(), "bars": Bars(), "heat-map": HeatMap(), "false-colours": FalseColours()}
    domains = {name: Domain(name, *spec[:2], spec[2], made[spec[2]]) for name, spec in SHAPES.items()}
    columns = tuple(Column(f"column {k}", centre=10.0 * k, scale=0.5 + k) for k in range(5))
    domains["few"] = dataclasses.replace(domains["few"], columns=columns)
    domains["other"] = Domain("other", (6,), (-1.0, 1.0), "wave", Wave())
    values = tiny.values("latent.prior=normal", "latent.size=6")
    values["domains"] = {name: {"dataset": "tiny"} for name in domains}
    for team in ("generator", "discriminator"):
        values[team]["architecture"] = {"name": "mlp", "hidden": 8, "layers": 3}
    config = parse_config(values, plugins=tiny.plugins())
    networks = assemble(config, domains, tiny.plugins().registry)
    with torch.no_grad():  # so that the samples fill their ranges
        for parameter in networks.generator.parameters():
            parameter.mul_(4)
    return CoupledModel(config, domains, networks.generator.eval(), networks.discriminator.eval())


@pytest.fixture(scope="module")
def signals_page(signals, tmp_path_factory):
    file = tmp_path_factory.mktemp("pages") / "signals.html"
    return write_explorer(signals, file, train_encoder(signals, "long", tiny.plugins(), steps=2))


def assert_alike(drawn, expected):
    """Equal but for rounding: a colour may differ by 1; one in 200 pixels is of a value that lies between two rows."""
    different = (np.abs(drawn.astype(int) - expected.astype(int)) > 2).any(-1)
    assert different.mean() <= 0.005


@needs_browser
@pytest.mark.parametrize("name", SHAPES)
def test_drawings_in_javascript_are_those_of_python(driver, signals, name):
    domain = signals.domains[name]
    low, high = domain.range
    script = str(page_file("drawings.js")) + "return Array.from(drawings[arguments[0]](...arguments[1]));"
    noise = torch.rand(domain.shape, generator=torch.Generator().manual_seed(5))
    smooth = torch.linspace(-0.1, 1.1, domain.size).view(domain.shape)  # beyond the range on both sides
    for share in (noise, smooth, torch.zeros(domain.shape), torch.ones(domain.shape)):
        sample = low + (high - low) * share
        expected = to_drawing(sample[None], domain)[0]
        height, width = expected.shape[:2]
        values = [sample.flatten().tolist(), domain.shape, domain.range, width, height]
        drawn = np.reshape(driver.execute_script(script, domain.drawn_by, values), (height, width, 4))
        assert (drawn[..., 3] == 255).all()
        assert_alike(drawn[..., :3], expected)


@needs_browser
@needs_runtime
def test_the_page_draws_domains_that_are_not_images(driver, signals_page, signals):
    ready(driver, signals_page)
    set_slider(driver, "d1", 1.5)
    z = torch.tensor([driver.execute_script("return explorer.drawn")], dtype=torch.float32)
    for name, samples in signals.generate(z, list(SHAPES)).items():
        assert samples.std() > 0.02
        assert_alike(canvas(driver, name), to_drawing(samples, signals.domains[name])[0])
    cells = driver.find_elements("css selector", "table[data-domain=few] td")
    columns = signals.domains["few"].columns
    row = original(signals.generate(z, ["few"])["few"].view(1, -1).numpy(), columns)[0]
    np.testing.assert_allclose([float(cell.text) for cell in cells], row, rtol=1e-3)
    assert console_errors(driver) == []
    assert "Not drawn here, because a page has no drawing for it: other." in driver.page_source
    assert serious_findings(driver) == []


@needs_browser
@needs_runtime
def test_an_array_of_ones_own_is_encoded(driver, signals_page, signals, tmp_path):
    ready(driver, signals_page)
    sample = signals.sample(2, seed=3)["long"].numpy()
    np.save(tmp_path / "two.npy", sample.astype(np.float64))
    before = driver.execute_script("return explorer.count")
    driver.find_element("id", "own").send_keys(str(tmp_path / "two.npy"))
    driver.execute_async_script(
        f"const wait = () => explorer.count > {before} ? arguments[0]() : setTimeout(wait, 10); wait();"
    )
    encoder = train_encoder(signals, "long", tiny.plugins(), steps=2)
    drawn = torch.tensor([driver.execute_script("return explorer.drawn")])
    torch.testing.assert_close(drawn, encoder(torch.from_numpy(sample[:1])), atol=1e-3, rtol=1e-3)


@needs_browser
@needs_runtime
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(7, np.float32), "holds an array of shape (7); give an array of shape (1, 300)"),
        (np.full((1, 300), 3, np.float32), "has numbers outside the range; give an array of shape (1, 300)"),
        (np.zeros((1, 300), np.complex64), "holds another kind of array"),
        (np.zeros((1, 300), np.int64), "holds another kind of array"),
        (None, "is not a .npy file"),
    ],
)
def test_a_wrong_array_is_a_message_on_the_page(driver, signals_page, tmp_path, array, message):
    ready(driver, signals_page)
    file = tmp_path / "own.npy"
    if array is None:
        file.write_text("something else")
    else:
        np.save(file, array)
    driver.find_element("id", "own").send_keys(str(file))
    driver.execute_async_script(
        "const [status, done] = [document.getElementById('status'), arguments[0]];"
        "const wait = () => status.textContent ? done() : setTimeout(wait, 10); wait();"
    )
    assert f"own.npy {message}" in driver.find_element("id", "status").text


# -- bad input ------------------------------------------------------------------------------------------


def test_a_missing_runtime_is_an_error(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "coupling_explore", None)
    with pytest.raises(InputError, match="pip install 'coupling-gan"):
        write_explorer(model, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_a_runtime_that_could_not_be_fetched_is_an_error(model, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "version", lambda: None)
    with pytest.raises(InputError, match="npm registry could not be reached"):
        write_explorer(model, tmp_path / "page.html")


def test_domains_that_a_page_cannot_draw_are_an_error(signals, tmp_path):
    with pytest.raises(InputError, match=r"--encoder other: the page draws no such domain; known: depth, few"):
        page_domains(signals, "other")
    only = {"other": signals.domains["other"]}
    alone = CoupledModel(signals.config, only, signals.generator)
    with pytest.raises(InputError, match=r"cannot draw the samples of any domain: .* `coupling serve`"):
        page_domains(alone)


def test_a_page_needs_the_suffix_of_one(command):
    rejected(command("explore", "run", "--output", "page.pdf"), "--output page.pdf: a page is an .html file")
