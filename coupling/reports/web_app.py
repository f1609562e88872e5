"""The page of `coupling serve`: a Gradio app that draws with a model on the machine that serves it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeAlias

import torch

from coupling.errors import InputError
from coupling.model.inversion import Search
from coupling.model.model import CoupledModel
from coupling.reports.controls import LARGEST_NUMBER, MOVE, Controls, Position, about
from coupling.system.terminal import print_line, warn

_FRAME = 0.02
"""Share of a path from one picture to the next while it plays."""


Own: TypeAlias = "list[list[float]] | None"


_MISSING = "the page needs Gradio: pip install 'coupling-gan[serve]'"


_CSS = """
.picture img { width: 100%; height: 100%; object-fit: contain; }
.small img { image-rendering: pixelated; }
.about { font-size: 14px; overflow-wrap: anywhere; }
"""


_SMALL = 32
"""Largest height of a picture that is enlarged pixel by pixel."""


def serve(
    model: CoupledModel,
    host: str | None = None,
    port: int | None = None,
    *,
    share: bool = False,
    ready: Callable[[str], object] = lambda address: None,
) -> None:
    """Serve a page that draws with a model, until the program is interrupted.

    Args:
        model: the model, which draws on its device.
        host: the address to listen on; None: that of the variable GRADIO_SERVER_NAME, or 127.0.0.1.
        port: the port; None: that of GRADIO_SERVER_PORT, or the first free one from 7860.
        share: whether to make a public link through gradio.live, for a week at most; this needs a network.
        ready: ``ready(address)`` is called when the page can be opened.

    Raises:
        InputError: Gradio is not installed, no domain can be drawn, or the port cannot be used.
    """
    app = make_app(Controls(model))
    try:
        address, public = _launch(app, host, port, share=share)
        print_line(f"serving {model.config.name} at {address}; Ctrl-C stops it")
        if public:
            print_line(f"public link, for a week at most: {public}")
        elif share:
            warn("there is no public link: gradio.live cannot be reached")
        ready(address)
        while True:  # on Windows, Ctrl-C interrupts a sleep, but not a lock
            time.sleep(60)
    finally:
        app.close(verbose=False)


def check_gradio() -> None:
    """Raise :class:`InputError` if Gradio is missing."""
    if importlib.util.find_spec("gradio") is None:
        raise InputError(_MISSING)


def _gradio() -> Any:
    """The library, which asks its servers for nothing; raises :class:`InputError` if it is missing."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("gradio")
    except ImportError:
        raise InputError(_MISSING) from None


def _launch(app: Any, host: str | None, port: int | None, *, share: bool) -> tuple[str, str | None]:
    """Start the server in a thread; the local address, and the public one if there is one."""
    gradio = _gradio()
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none from elsewhere
    try:
        _, address, public = app.launch(
            server_name=host, server_port=port, share=share, prevent_thread_lock=True, quiet=True, ssr_mode=False,
            theme=gradio.themes.Default(**fonts), css=_CSS, footer_links=["api"],
        )  # fmt: skip
    except (OSError, ValueError, OverflowError) as error:
        place = "the ports from 7860 cannot be used" if port is None else f"--port {port}: cannot be used"
        where = "" if host is None else f" on --host {host}"
        raise InputError(f"{place}{where}: {error}; give another one") from None
    return address, public


def make_app(controls: Controls) -> Any:
    """The page of a model as a ``gradio.Blocks``: its widgets, and what each of them does.

    Raises:
        InputError: Gradio is not installed.
    """
    gradio = _gradio()
    with gradio.Blocks(title=f"{controls.model.config.name}: explore", delete_cache=(600, 3600)) as app:
        _Page(gradio, controls, app).connect()
    return app


class Handlers:
    """What the widgets do: each function gets the values of controls and gives new ones, then what all domains show.

    A domain shows a picture; below the pictures are the values of those domains that are rows of tables.

    ``own``: the code of a user's sample as nested lists, (1, latent size), or None.
    """

    def __init__(self, controls: Controls) -> None:
        self.controls = controls
        self.still = [0.0] * len(controls.directions.moves)
        """No move along any direction."""

    def draw(self, own: Own, number: float, to: float, path: float, truncation: float, *moves: float) -> list[Any]:
        """The pictures."""
        return self._pictures(self._position(own, number, to, path, truncation, *moves))

    def draw_number(self, _: Own, number: float, *rest: float) -> list[Any]:
        """No own code, and the pictures: a number that is typed leads back to numbered codes."""
        return [None, *self.draw(None, number, *rest)]

    def draw_new(self, _own: Own, _number: float, _to: float, _path: float, *rest: float) -> list[Any]:
        """No own code, two new numbers, the beginning of their path, and the pictures."""
        numbers = secrets.randbelow(1_000_000), secrets.randbelow(1_000_000)
        return [None, *numbers, 0.0, *self.draw(None, *numbers, 0.0, *rest)]

    def draw_still(self, *values: Any) -> list[Any]:
        """All directions at 0, and the pictures."""
        return [*self.still, *self.draw(*values[: -len(self.still)], *self.still)]

    def play_path(
        self, own: Own, number: float, to: float, path: float, truncation: float, *moves: float
    ) -> Iterator[list[Any]]:
        """The place on the path and the pictures, again and again until its end; from its beginning if it is there."""
        start = 0.0 if path >= 1 else path
        for frame in range(1, math.ceil((1 - start) / _FRAME - 1e-6) + 1):
            place = min(1.0, round(start + frame * _FRAME, 4))
            yield [place, *self.draw(own, number, to, place, truncation, *moves)]

    def find_code(self, file: str | None, domain: str, iterations: float) -> list[Any]:
        """The code of a given sample, the sample, its reconstruction, a line on the error, the controls at rest.

        They are: the code, two pictures, the line, the place on the path, the directions, and the pictures.
        """
        if file is None:
            raise InputError("there is no file yet; choose one")
        found = self.controls.own_sample(Path(file), domain, Search(iterations=int(iterations)))
        line = f"Error of the reconstruction: {found.error:.4f} of the range. “New code” returns to numbered codes."
        pictures = self._pictures(Position(own=found.z))
        return [found.z.tolist(), found.given, found.reconstruction, line, 0.0, *self.still, *pictures]

    def _position(
        self, own: Own, number: float | None, to: float | None, path: float, truncation: float, *moves: float
    ) -> Position:
        if number is None or to is None:
            raise InputError(f"a code has a number; give 0 to {LARGEST_NUMBER:,}")
        bound = None if truncation >= self.controls.truncation.most else truncation
        return Position(int(number), int(to), path, bound, moves, None if own is None else torch.tensor(own))

    def _pictures(self, position: Position) -> list[Any]:
        z = self.controls.code(position)
        return [*self.controls.pictures(z).values(), *map(_row, self.controls.rows(z).values())]


def _row(values: Mapping[str, float]) -> str:
    """The values of a row by column, as a table in Markdown."""
    lines = [f"| {name.replace('|', '/')} | {value:.4g} |" for name, value in values.items()]
    return "\n".join(["| column | value |", "| --- | ---: |", *lines])


class _Page:
    """The widgets, from the top of the page to its end."""

    def __init__(self, gradio: Any, controls: Controls, app: Any) -> None:
        self.gradio, self.controls, self.app = gradio, controls, app
        model = controls.model
        gradio.Markdown(
            f"# {model.config.name}\nOne latent code draws a corresponding sample in every domain. The model runs on "
            "the machine that serves this page."
        )
        with gradio.Row(elem_id="stage"):
            self.stage = [self._picture(name, f"the sample of domain {name}", 300) for name in controls.domains]
        if controls.tables:
            with gradio.Row():
                self.stage += [gradio.Markdown(label=f"values of domain {name}") for name in controls.tables]
        if controls.left_out:
            gradio.Markdown(f"Not drawn here, because no drawing suits them: {', '.join(controls.left_out)}.")
        with gradio.Row():
            self.new = gradio.Button("New code", variant="primary", min_width=90)
            self.play = gradio.Button("Play path", min_width=90)
            self.stop = gradio.Button("Stop", min_width=90)
        with gradio.Row():
            self._code_card()
            self._directions_card()
        self._own_card()
        gradio.HTML(f"<p class='about'>{about(model)}</p>")

    def _picture(self, label: str, description: str, height: int) -> Any:
        small = all(domain.is_image and domain.shape[1] <= _SMALL for domain in self.controls.model.domains.values())
        return self.gradio.Image(
            label=label, alt_text=description, format="png", type="pil", interactive=False, height=height,
            buttons=["download", "fullscreen"], elem_classes=["picture", *(["small"] if small else [])], min_width=120,
        )  # fmt: skip

    def _code_card(self) -> None:
        gradio, truncation = self.gradio, self.controls.truncation
        with gradio.Column(min_width=300):
            gradio.Markdown("## Code")
            bounds = {"precision": 0, "minimum": 0, "maximum": LARGEST_NUMBER}
            self.number = gradio.Number(1, label="Number of the code", info="the seed of `coupling sample`", **bounds)
            self.to = gradio.Number(2, label="Number of the path’s end", **bounds)
            self.path = gradio.Slider(0, 1, 0, step=0.01, label="Along the path")
            self.truncation = gradio.Slider(
                truncation.least, truncation.most, truncation.most, step=truncation.step,
                label="Truncation: lower is more typical, less varied", info=f"{truncation.most:g} is off",
            )  # fmt: skip
            self.own = gradio.State(None)

    def _directions_card(self) -> None:
        gradio = self.gradio
        with gradio.Column(min_width=300):
            gradio.Markdown("## Main directions")
            self.moves = [
                gradio.Slider(-MOVE, MOVE, 0, step=0.1, label=f"Direction {k} ({100 * share:.0f} % of the variation)")
                for k, share in enumerate(self.controls.directions.shares.tolist(), 1)
            ]
            self.reset = gradio.Button("Reset")

    def _own_card(self) -> None:
        gradio, domains = self.gradio, self.controls.domains
        with gradio.Accordion("Your own picture", open=False):
            gradio.Markdown(
                "A search finds the code that draws it; the other domains follow. Samples that are not images are "
                ".npy files, rows of a table .csv files. A large error means that the model cannot draw it."
            )
            with gradio.Row():
                self.file = gradio.File(label="File", type="filepath", height=140)
                with gradio.Column(min_width=160):
                    self.domain = gradio.Dropdown(domains, value=domains[0], label="Its domain")
                    self.iterations = gradio.Slider(10, 400, Search().iterations, step=10, label="L-BFGS iterations")
                    self.find = gradio.Button("Find its code")
                self.given = self._picture("given", "your sample, as the model sees it", 200)
                self.drawn = self._picture("reconstruction", "what the model draws from the code of your sample", 200)
            self.error = gradio.Markdown()

    def connect(self) -> None:
        """Say what each widget does. The app's API has the functions that other programs may call."""
        handlers, controls = Handlers(self.controls), [self.number, self.to, self.path, self.truncation]
        values = [self.own, *controls, *self.moves]
        drawn = {"trigger_mode": "always_last", "show_progress": "hidden"}
        private = {"api_visibility": "private"}
        moved = [widget.input for widget in (self.to, self.path, self.truncation, *self.moves)]
        on, f = self.gradio.on, self._explained
        on([self.app.load, *moved], f(handlers.draw), values, self.stage, **drawn)
        on(self.number.input, f(handlers.draw_number), values, [self.own, *self.stage], **drawn, **private)
        new = [self.own, self.number, self.to, self.path, *self.stage]
        on(self.new.click, f(handlers.draw_new), values, new, **drawn, **private)
        on(self.reset.click, f(handlers.draw_still), values, [*self.moves, *self.stage], **drawn, **private)
        playing = on(self.play.click, f(handlers.play_path), values, [self.path, *self.stage], show_progress="hidden")
        self.stop.click(None, cancels=[playing], **private)
        found = [self.own, self.given, self.drawn, self.error, self.path, *self.moves, *self.stage]
        on(self.find.click, f(handlers.find_code), [self.file, self.domain, self.iterations], found)

    def _explained(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, whose errors of input the page shows."""
        error = self.gradio.Error

        @wraps(function)
        def answers(*values: Any) -> Any:
            try:
                return function(*values)
            except InputError as reason:
                raise error(str(reason), print_exception=False) from None

        @wraps(function)
        def streams(*values: Any) -> Iterator[Any]:
            try:
                yield from function(*values)
            except InputError as reason:
                raise error(str(reason), print_exception=False) from None

        return streams if inspect.isgeneratorfunction(function) else answers
