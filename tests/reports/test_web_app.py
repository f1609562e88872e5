"""`coupling serve` and the folder of a Space: each started once, and asked by HTTP."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from coupling.api import load_model, parse_config
from coupling.data.pictures import to_drawing
from coupling.generation.arrays import array_file
from coupling.model.inversion import Search
from coupling.plugins import installed
from coupling.reports.space import GRADIO, write_space
from coupling.training.trainer import train
from coupling.version import __version__
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny
from tests.support.browser import browser, console_errors, needs_browser

ROOT = Path(__file__).parents[2]
needs_gradio = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="needs the extra serve")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose networks are built in, so that its model needs no plugin."""
    values = tiny.values("training.steps=2", *tiny.MIXED)
    for team in ("generator", "discriminator"):
        values[team]["architecture"] = {"name": "mlp", "hidden": 8, "layers": 3}
    config = parse_config(values, plugins=tiny.plugins())
    return train(config, tmp_path_factory.mktemp("runs") / "run", plugins=tiny.plugins()).path


@pytest.fixture(scope="module")
def model(run):
    return load_model(run, plugins=tiny.plugins())


@contextmanager
def served(*command, port, cwd, **variables):
    """A process that serves a page; its address, once it answers. Ctrl-C stops it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"} | variables
    with (cwd / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *command], cwd=cwd, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            assert process.poll() is None, (cwd / "log").read_text()
            try:
                opened(f"{address}/config").read()
                break
            except OSError:
                time.sleep(0.1)
        yield address
        if os.name != "nt":  # there, a console sends Ctrl-C to all processes that it has
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in (130, -signal.SIGINT)
    finally:
        process.kill()
        process.wait()


def opened(address, data=None):
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, data and json.dumps(data).encode(), headers)
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)


def ask(address, function, *values, event="complete"):
    """The last answer of a function of the app's API."""
    number = json.load(opened(f"{address}/gradio_api/call/{function}", {"data": values}))["event_id"]
    lines = opened(f"{address}/gradio_api/call/{function}/{number}").read().decode().splitlines()
    assert f"event: {event}" in lines, lines
    return json.loads([line for line in lines if line.startswith("data: ")][-1].removeprefix("data: "))


def upload(address, file):
    """A file as the app's API takes it."""
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="sample.npy"\r\n\r\n%s\r\n--x--\r\n'
    request = urllib.request.Request(
        f"{address}/gradio_api/upload", body % file, {"Content-Type": "multipart/form-data; boundary=x"}
    )
    [path] = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60))
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def click(driver, words):
    """Click a button, and wait until the pictures change."""
    button = driver.find_element("xpath", f"//button[normalize-space()='{words}']")
    driver.execute_async_script(
        "const sources = () => [...document.querySelectorAll('#stage img')].map((i) => i.src).join();"
        "const [button, done] = arguments, before = sources(); button.click();"
        "const wait = () => sources() !== before ? done() : setTimeout(wait, 20); wait();",
        button,
    )


def assert_drawn(answers, samples, domains):
    for answer, name in zip(answers, ("a", "b"), strict=True):
        picture = Image.open(io.BytesIO(opened(answer["url"]).read()))
        np.testing.assert_array_equal(np.asarray(picture), to_drawing(samples[name], domains[name])[0])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


STILL = [0.0] * 5


@needs_gradio
@needs_browser
def test_the_served_page_draws_what_the_model_draws(run, model, tmp_path):
    port = free_port()
    command = ["-m", "coupling", "serve", str(run), "--port", str(port), "--device", "cpu", "--plugin", TINY]
    with served(*command, port=port, cwd=tmp_path) as address:
        assert_drawn(ask(address, "draw", 6, 7, 0.0, 1.0, *STILL), model.sample(1, seed=6), model.domains)
        share, *pictures = ask(address, "play_path", 6, 7, 0.98, 1.0, *STILL)
        assert share == 1.0
        assert_drawn(pictures, model.sample(1, seed=7), model.domains)
        sample = model.sample(1, seed=9)["b"]
        answers = ask(address, "find_code", upload(address, array_file(sample[0])), "b", 10)
        _, given, drawn, line, path, *rest = answers  # the first is the state, which stays at the server
        found = model.transform(sample, "b", search=Search(iterations=10))
        assert f"Error of the reconstruction: {found.error.item():.4f}" in line
        assert [path, *rest[:5]] == [0.0, *STILL]
        assert_drawn([rest[5], drawn], {"a": found.images["a"], "b": found.reconstruction}, model.domains)
        assert_drawn([rest[5], given], {"a": found.images["a"], "b": sample}, model.domains)
        failed = ask(address, "draw", None, 7, 0.0, 1.0, *STILL, event="error")
        assert "a code has a number; give 0 to 999,999,999" in json.dumps(failed)
        with browser(width=390, height=844) as driver:
            driver.get(address)
            driver.execute_async_script(
                "const done = arguments[0]; const wait = () => "
                "[...document.querySelectorAll('#stage img')].filter((i) => i.naturalWidth).length === 2 ? done() : "
                "setTimeout(wait, 50); wait();"
            )
            assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
            text = driver.find_element("tag name", "body").text
            click(driver, "New code")
            click(driver, "Play path")
            assert console_errors(driver) == []
        for words in ("New code", "Play path", "Along the path", "Main directions", "Not drawn here", model.digest):
            assert words in text
    assert f"serving tiny at {address}" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()


@needs_gradio
def test_the_folder_of_a_space_runs(model, tmp_path):
    folder = write_space(model, tmp_path / "space", tiny.plugins().registry, "me/tiny")
    assert {path.name for path in folder.iterdir()} == {"app.py", "requirements.txt", "README.md", "model.safetensors"}
    assert (folder / "requirements.txt").read_text() == f"coupling-gan[serve]=={__version__}\n"
    header = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert header["sdk"] == "gradio"
    assert (header["app_file"], header["sdk_version"], header["models"]) == ("app.py", GRADIO, ["me/tiny"])
    port = free_port()
    with served("app.py", port=port, cwd=folder, GRADIO_SERVER_PORT=str(port)) as address:
        assert_drawn(ask(address, "draw", 3, 7, 0.0, 1.0, *STILL), model.sample(1, seed=3), model.domains)


def test_serve_writes_the_folder_of_a_space(run, command, tmp_path):
    result = command("serve", run, "--write", "space", "--plugin", TINY)
    assert result.stdout == "space\n"
    rejected(command("serve", run, "--write", "space", "--plugin", TINY), "space: holds 'app.py'")


def test_a_space_names_the_distributions_that_its_model_needs(tmp_path):
    pytest.importorskip("coupling_digits")
    folder = write_space(load_model("demo:digits"), tmp_path / "space", installed().registry)
    assert "coupling-digits==" in (folder / "requirements.txt").read_text()


def test_a_space_of_a_plugin_that_nobody_can_install_is_an_error(train, command):
    train("--output", "out")
    result = command("serve", "out", "--write", "space", "--plugin", TINY)
    rejected(result, "architecture 'linear' of plugin", "is not an installed distribution", "coupling new-plugin")
    assert not Path("space").exists()


# -- bad input ------------------------------------------------------------------------------------------


def test_missing_gradio_is_one_message(run, command, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else find(name))
    rejected(command("serve", run, "--plugin", TINY), "the page needs Gradio: pip install 'coupling-gan[serve]'")


@needs_gradio
def test_a_port_in_use_is_one_message(run, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "coupling", "serve", str(run), "--port", port, "--plugin", TINY]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
                              text=True, check=False, timeout=120)  # fmt: skip
    assert done.returncode == 2
    assert f"error: --port {port}: cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_runs_and_ports_are_one_message(command):
    rejected(command("serve", "demo:nothing"), "demo:nothing: no such demo")
    rejected(command("serve", "runs/none"), "runs/none: no such run")
    assert command("serve", "demo:faces", "--port", 0).exit_code == 2
