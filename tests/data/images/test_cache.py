"""Images prepared once: what is reused, what is made again, and what a failure leaves behind."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from coupling.data.images.cache import cached_images, cached_record
from coupling.data.images.image import ImageArray, UnreadableImage
from coupling.errors import DataError, RunError
from coupling.system import terminal
from coupling.system.data_directory import data_directory

SHAPE = (4, 5, 3)
KEY = {"name": "grey", "sizes": (1, 2)}

# Sample i is i everywhere. It is NumPy's own, so that any process can import it, and it fails at 256.
grey = functools.partial(np.full, SHAPE, dtype=np.uint8)


class Calls:
    """Makes grey images, keeps account, and fails for the given samples."""

    def __init__(self, unreadable: set[int] | None = None) -> None:
        self.unreadable = unreadable or set()
        self.made: list[int] = []

    def __call__(self, index: int) -> ImageArray:
        self.made.append(index)
        if index in self.unreadable:
            raise UnreadableImage(f"file-{index}.png: torn")
        return grey(index)


def values(images: ImageArray) -> list[int]:
    return [int(value) for value in images[:, 0, 0, 0]]


def names(directory: Path) -> set[str]:
    return {path.suffix for path in directory.iterdir()} if directory.exists() else set()


def test_images_are_made_once_and_then_opened(tmp_path: Path) -> None:
    first = cached_images(tmp_path / "deep" / "er", KEY, 10, SHAPE, Calls(), title="Grey")
    again = Calls()
    images = cached_images(tmp_path / "deep" / "er", dict(reversed(KEY.items())), 10, SHAPE, again, title="Grey")
    assert again.made == []
    assert isinstance(images, np.memmap)
    assert images.shape == (10, *SHAPE)
    assert images.dtype == np.uint8
    assert not images.flags.writeable
    assert values(images) == values(first) == list(range(10))
    record = cached_record(tmp_path / "deep" / "er", KEY, 10, SHAPE)
    assert record is not None
    assert record.sha256 == hashlib.sha256(images.tobytes()).hexdigest()
    assert record.key["name"] == "grey"
    assert names(tmp_path / "deep" / "er") == {".npy", ".json"}


@pytest.mark.parametrize(
    ("key", "count", "shape"), [({"name": "gray"}, 10, SHAPE), (KEY, 9, SHAPE), (KEY, 10, (5, 4, 3))]
)
def test_another_key_count_or_shape_is_other_data(
    tmp_path: Path, key: dict[str, object], count: int, shape: tuple[int, int, int]
) -> None:
    cached_images(tmp_path, KEY, 10, SHAPE, grey, title="Grey")
    make = functools.partial(np.full, shape, dtype=np.uint8)
    assert cached_record(tmp_path, key, count, shape) is None
    assert cached_images(tmp_path, key, count, shape, make, title="Grey").shape == (count, *shape)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_several_processes_make_the_images_of_one(tmp_path: Path) -> None:
    one = cached_images(tmp_path / "one", KEY, 250, SHAPE, grey, title="Grey", processes=1)
    two = cached_images(tmp_path / "two", KEY, 250, SHAPE, grey, title="Grey", processes=2)
    assert values(two) == list(range(250))
    assert np.array_equal(one, two)
    assert next((tmp_path / "one").glob("*.npy")).read_bytes() == next((tmp_path / "two").glob("*.npy")).read_bytes()


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 90), data=st.data())
def test_rows_are_the_readable_samples_in_order(count: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
    with tempfile.TemporaryDirectory() as directory:
        images = cached_images(
            Path(directory), KEY, count, SHAPE, Calls(bad), title="Grey", processes=1, on_error="skip"
        )
        record = cached_record(Path(directory), KEY, count, SHAPE)
        assert values(images) == [index for index in range(count) if index not in bad]
        assert record is not None
        assert record.left_out == tuple(f"file-{index}.png: torn" for index in sorted(bad))
        del images  # Windows removes no file that is mapped


def test_unreadable_samples_stop_with_one_message(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        cached_images(tmp_path, KEY, 20, SHAPE, Calls(set(range(3, 12))), title="Grey")
    message = str(caught.value)
    assert message.startswith("Grey: cannot read 9 of 20 samples:")
    assert "file-3.png: torn" in message
    assert "file-7.png: torn" in message
    assert "file-8.png" not in message
    assert "and 4 more" in message
    assert "on_error: skip" in message
    assert names(tmp_path) == set()


def test_left_out_samples_are_reported_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        images = cached_images(tmp_path, KEY, 5, SHAPE, Calls({2}), title="Grey", on_error="skip")
        assert values(images) == [0, 1, 3, 4]
        assert "Grey: left out 1 of 5 samples:\n  file-2.png: torn\n" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"cannot read 1 of 5 samples:\n  file-2\.png"):
        cached_images(tmp_path, KEY, 5, SHAPE, Calls({2}), title="Grey")
    mended = cached_images(tmp_path, KEY, 5, SHAPE, Calls(), title="Grey")
    assert values(mended) == [0, 1, 2, 3, 4]


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing is left without 3 of 3 samples"):
        cached_images(tmp_path, KEY, 3, SHAPE, Calls({0, 1, 2}), title="Grey", on_error="skip")
    with pytest.raises(DataError, match="there are no samples"):
        cached_images(tmp_path, KEY, 0, SHAPE, grey, title="Grey")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_make_names_the_sample(tmp_path: Path, processes: int) -> None:
    with pytest.raises(DataError, match="Grey: sample 256: OverflowError: ") as caught:
        cached_images(tmp_path, KEY, 300, SHAPE, grey, title="Grey", processes=processes)
    assert caught.value.__cause__ is not None
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros(SHAPE, np.float32), r"float32 \(4, 5, 3\)"),
        (np.zeros((5, 4, 3), np.uint8), r"uint8 \(5, 4, 3\)"),
        ([0], "list"),
    ],
)
def test_an_image_of_another_kind_names_the_sample(tmp_path: Path, image: ImageArray, got: str) -> None:
    with pytest.raises(DataError, match=rf"sample 1 is {got}, expected uint8 \(4, 5, 3\)"):
        cached_images(tmp_path, KEY, 3, SHAPE, lambda i: image if i == 1 else grey(i), title="Grey")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("damage", ["cut", "lengthened", "gone", "other shape"])
def test_damaged_files_are_reported_and_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    cached_images(tmp_path, KEY, 10, SHAPE, grey, title="Grey")
    (path,) = tmp_path.glob("*.npy")
    if damage == "cut":
        os.truncate(path, path.stat().st_size - 1)
    elif damage == "lengthened":
        path.write_bytes(path.read_bytes() + b"\0")
    elif damage == "gone":
        path.unlink()
    else:
        np.save(path, np.zeros((10, 3, 4, 5), np.uint8))
    capsys.readouterr()
    assert values(cached_images(tmp_path, KEY, 10, SHAPE, grey, title="Grey")) == list(range(10))
    assert f"Grey: {path} is damaged or incomplete; making it again" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": {}}'])
def test_a_damaged_record_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    cached_images(tmp_path, KEY, 10, SHAPE, grey, title="Grey")
    (path,) = tmp_path.glob("*.json")
    path.write_text(text)
    assert cached_record(tmp_path, KEY, 10, SHAPE) is None
    again = Calls()
    cached_images(tmp_path, KEY, 10, SHAPE, again, title="Grey")
    assert again.made == list(range(10))
    assert cached_record(tmp_path, KEY, 10, SHAPE) is not None


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(index: int) -> ImageArray:
        if index == 7:
            raise KeyboardInterrupt
        return grey(index)

    with pytest.raises(KeyboardInterrupt):
        cached_images(tmp_path, KEY, 10, SHAPE, interrupted, title="Grey")
    assert names(tmp_path) == set()


def test_two_at_once_do_no_harm(tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=20)
    results: list[list[int]] = []

    def together(index: int) -> ImageArray:
        meeting.wait()  # every sample is made by both at the same time
        return grey(index)

    def prepare() -> None:
        results.append(values(cached_images(tmp_path, KEY, 10, SHAPE, together, title="Grey")))

    threads = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(10))] * 2
    assert len(list(tmp_path.iterdir())) == 2


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file.*: cannot be written: .*COUPLING_DATA"):
        cached_images(tmp_path / "file" / "grey", KEY, 10, SHAPE, grey, title="Grey")


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    make = functools.partial(np.full, (1024, 1024, 1), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))  # the nearest to a full disk
    try:
        with pytest.raises(DataError, match=r": cannot be written: File too large.*COUPLING_DATA"):
            cached_images(tmp_path, KEY, 3, (1024, 1024, 1), make, title="Grey")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == set()


# ------------------------------------------------------------------ whole programs

SLOW_MODULE = """
import time
import numpy as np
def make(index):
    time.sleep(0.02)
    return np.full((4, 5, 3), index, np.uint8)
"""

PLAIN_SCRIPT = """
import sys
from pathlib import Path
from coupling.data.images.cache import cached_images
from slow import make
images = cached_images(
    Path(sys.argv[1]), {"name": "slow"}, int(sys.argv[2]), (4, 5, 3), make, title="Slow", processes=2
)
print(images[:, 0, 0, 0].tolist())
"""

OWN_SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from coupling.data.images.cache import cached_images
def make(index):
    return np.full((4, 5, 3), index, np.uint8)
count = int(sys.argv[2])
cached_images(Path(sys.argv[1]), {"name": "own"}, count, (4, 5, 3), make, title="Own", processes=2)
"""


def start(tmp_path: Path, script: str, count: int) -> subprocess.Popen[str]:
    (tmp_path / "slow.py").write_text(SLOW_MODULE)
    (tmp_path / "script.py").write_text(script)
    root = Path(terminal.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, tmp_path / "script.py", tmp_path / "data", str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def started(tmp_path: Path, count: int) -> subprocess.Popen[str]:
    """A program in the midst of preparing: some samples are made."""
    process = start(tmp_path, PLAIN_SCRIPT, count)
    end = time.monotonic() + 30
    while not any(path.stat().st_size for path in (tmp_path / "data").glob("*.tmp")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


def test_a_plain_script_needs_no_guard(tmp_path: Path) -> None:
    out, err = start(tmp_path, PLAIN_SCRIPT, 20).communicate(timeout=60)
    assert out.strip() == str(list(range(20))), err


def test_the_error_of_a_script_that_makes_images_names_the_guard(tmp_path: Path) -> None:
    process = start(tmp_path, OWN_SCRIPT, 20)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert RunError.__name__ in err
    assert "if __name__ == '__main__':" in err
    assert names(tmp_path / "data") == set()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_program_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    process = started(tmp_path, 250)
    process.kill()
    process.communicate(timeout=20)  # ends when the last worker has closed its stdout: none lives on
    data = tmp_path / "data"
    assert names(data) == {".tmp"}
    assert cached_record(data, {"name": "slow"}, 250, SHAPE) is None
    images = cached_images(data, {"name": "slow"}, 250, SHAPE, grey, title="Slow", processes=1)
    assert values(images) == list(range(250))
    assert names(data) == {".tmp", ".npy", ".json"}  # its writer might still have been alive

    (leftover,) = data.glob("*.tmp")
    os.utime(leftover, (0, 0))
    next(data.glob("*.json")).unlink()
    cached_images(data, {"name": "slow"}, 250, SHAPE, grey, title="Slow", processes=1)
    assert names(data) == {".npy", ".json"}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_stops_once_and_leaves_nothing(tmp_path: Path) -> None:
    process = started(tmp_path, 250)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert err.count("KeyboardInterrupt") == 1
    assert names(tmp_path / "data") == set()


# ------------------------------------------------------------------ where data live, and what is shown


def test_the_data_directory_follows_the_environment_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    assert data_directory("mnist") == tmp_path / "data" / "mnist"
    assert not (tmp_path / "data").exists()
    monkeypatch.setenv("COUPLING_DATA", "~/data")
    assert data_directory("mnist") == Path.home() / "data" / "mnist"
    monkeypatch.setenv("COUPLING_DATA", "")
    assert data_directory("mnist").parts[-2:] == ("coupling", "mnist") or sys.platform == "win32"
    assert data_directory("mnist").is_absolute()


def test_away_from_a_terminal_progress_is_a_line_at_start_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress("Faces [bold]x[/bold]", 3) as advance:
        for _ in range(3):
            advance()
    out, err = capsys.readouterr()
    assert out == ""
    first, last = err.splitlines()
    assert first == "Faces [bold]x[/bold]: 0/3"
    assert last.startswith("Faces [bold]x[/bold]: done in ")


def test_on_a_terminal_progress_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=shown, force_terminal=True, width=100))
    with terminal.progress("Faces [64]", 30) as advance:
        advance(10)
        advance(20)
    assert "Faces [64]" in shown.getvalue()
    assert "30/30" in shown.getvalue()
