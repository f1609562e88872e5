"""The argument RUN of commands: its model file, its run directory, and the place of what is made from it."""

from __future__ import annotations

from pathlib import Path

from coupling.errors import InputError, nearest
from coupling.runs import checkpoint
from coupling.runs.demos import demo_name, find_demo
from coupling.runs.directory import MARKER
from coupling.runs.hub import hub_address
from coupling.system.terminal import print_line


def locate(path: str | Path, token: str | None = None) -> Path:
    """The model file that RUN means: of a run's newest intact checkpoint, a checkpoint, a folder, the hub, or a demo.

    Raises :class:`InputError` if it is none of these, or cannot be read.
    """
    demo = demo_name(path)
    if demo is not None:
        return find_demo(demo).file
    address = hub_address(path)
    if address is not None:
        from coupling.runs.hub import download

        return download(address, token)
    path = Path(path)
    try:
        return _located(path)
    except OSError as error:  # a folder that may not be entered
        raise InputError(f"{path}: cannot be read: {error.strerror or error}; fix its permissions") from None


def _located(path: Path) -> Path:
    if (path / "manifest.json").is_file():
        return checkpoint.verified(path).path / "model.safetensors"
    if path.is_file() and path.suffix == ".safetensors":
        return path
    if path.is_file() and path.suffix == ".onnx":
        raise InputError(
            f"{path}: an ONNX graph, which onnxruntime loads; coupling takes the run, or coupling export --format "
            "safetensors"
        )
    if (path / "model.safetensors").is_file():  # a copy of a repository on the hub
        return path / "model.safetensors"
    if is_run(path) or (path / "checkpoints").is_dir():
        found, complaints = checkpoint.newest(path / "checkpoints")
        if found is not None:
            for complaint in complaints:
                print_line(f"skipped: {complaint}")
            return found.path / "model.safetensors"
        detail = "; ".join(complaints) or "wait for the first, train it longer, or restore one"
        raise InputError(f"{path}: this run has no intact checkpoint: {detail}")
    if not path.exists():
        beside = path.parent.iterdir() if path.parent.is_dir() else []
        loadable = [str(p) for p in beside if (p / "checkpoints").is_dir() or p.suffix == ".safetensors"]
        hint = nearest(str(path), loadable) if loadable else "`coupling demo` lists finished models"
        raise InputError(f"{path}: no such run; {hint}")
    hint = _runs_near(path)
    raise InputError(f"{path}: neither a run directory, nor a checkpoint, nor a .safetensors model{hint}")


def is_run(path: Path) -> bool:
    """Whether a directory is that of a run, also one whose checkpoints were removed."""
    files = ("checkpoints", "environment.json", "summary.json")
    return (path / MARKER).is_file() and any((path / name).exists() for name in files)


def _runs_near(path: Path) -> str:
    """A hint on the run that ``path`` lies in, or on the newest of those that lie in it; empty if there is none."""
    above = [place for place in (path.parent, path.parent.parent) if is_run(place)]
    inside = sorted(filter(is_run, path.iterdir()), key=lambda run: run.stat().st_mtime) if path.is_dir() else []
    near = above[:1] or inside
    if len(near) > 1:
        return f"; give one of its {len(near)} runs, such as '{near[-1]}', the newest"
    return f"; did you mean '{near[0]}'?" if near else ""


def run_directory_of(run: Path) -> Path | None:
    """The run's directory that RUN is, or lies in; None: it is a model without one."""
    if demo_name(run) is not None or hub_address(run) is not None:
        return None
    for place in (run, *list(run.absolute().parents)[:3]):
        if is_run(place):
            here = Path.cwd()
            return place if run.is_absolute() or not place.is_relative_to(here) else place.relative_to(here)
    return None


def output_path(run: Path, name: str) -> Path:
    """The default place of a file that is made from a run: into the run, never into a checkpoint.

    For a checkpoint or a model file, the name of the checkpoint or model becomes part of the file's name. For a demo,
    or a model on the hub, the file goes into a folder of the model's name in the current directory.

    Args:
        run: the run directory, checkpoint, model file, demo, or address on the hub.
        name: name of the file or folder.
    """
    demo, address = demo_name(run), hub_address(run)
    if demo is not None:
        return Path(f"demo-{demo}") / name
    if address is not None:
        return Path(address.name) / name
    place = run if run.is_dir() else run.parent
    if place.parent.name == "checkpoints":
        stem, dot, suffix = name.partition(".")
        return place.parent.parent / f"{stem}-{place.name}{dot}{suffix}"
    if run.is_file() and run.stem != "model":  # there may be several models in a folder
        name = f"{run.stem}-{name}"
    return place / name
