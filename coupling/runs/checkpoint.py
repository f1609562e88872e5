"""Checkpoints: safetensors files and a manifest, written completely or not at all, verified when read.

There is no pickle: a checkpoint from the internet cannot execute code when it is loaded. ``model.safetensors`` holds
the generators (live and averaged), discriminators and losses; its metadata describe the networks.
``state.safetensors`` holds what resuming needs besides: the optimizers, and in its metadata the best scores and the
sums of the losses. Random states are not saved, since every step draws from its own seed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from coupling.errors import InputError, RunError
from coupling.runs.tensor_files import METADATA, plain_tensors, read_metadata, read_tensors
from coupling.system.atomic_files import sync, writing
from coupling.system.checksums import digest

VERSION = 1


_FILES = ("model.safetensors", "state.safetensors")


_ABSENT = (FileNotFoundError, NotADirectoryError)


class IntactError(InputError):
    """A checkpoint that cannot be used now but may be intact: it has another format, or cannot be read at the moment.

    So it is neither skipped nor replaced.
    """


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint on disk."""

    path: Path
    step: int

    def model(self) -> dict[str, Tensor]:
        """Tensors of the networks and losses."""
        return read_tensors(self.path / "model.safetensors")

    def state(self) -> dict[str, Tensor]:
        """Tensors that are only needed to resume."""
        return read_tensors(self.path / "state.safetensors")

    def metadata(self) -> dict[str, Any]:
        """The description of the networks: configuration, domains, sharing graphs."""
        return read_metadata(self.path / "model.safetensors")

    def progress(self) -> dict[str, Any]:
        """Other values that are only needed to resume: the best scores, the sums of the losses."""
        return read_metadata(self.path / "state.safetensors")


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint will hold, copied at its step: training may go on while it is written."""

    step: int
    model: Mapping[str, Tensor]
    state: Mapping[str, Tensor]
    metadata: str
    """Plain data that go with ``model``, as JSON."""
    progress: str
    """Plain data that go with ``state``, as JSON."""

    def write(self, folder: Path) -> Path:
        """Write ``folder/step-NNNNNNN`` through a temporary directory; returns its path.

        Raises :class:`RunError` if it cannot be written; earlier checkpoints are untouched.
        """
        final = folder / f"step-{self.step:07d}"
        temporary = folder / f".step-{self.step:07d}.tmp"
        fix = "earlier checkpoints are intact; free disk space or fix the permissions, then continue with --resume"
        with writing(final, fix, RunError):
            try:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
                self._write_files(temporary)
                # A run resumes from its newest intact checkpoint, so those from this step on are damaged. They must
                # not count as the newest when older ones are pruned.
                for damaged in _newest_first(folder):
                    if _step(damaged) >= self.step:
                        _remove(damaged)
                temporary.rename(final)
                sync(folder)
            except safetensors.SafetensorError as error:  # it wraps the operating system's
                shutil.rmtree(temporary, ignore_errors=True)
                raise OSError(str(error)) from None
            except OSError:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        return final

    def _write_files(self, folder: Path) -> None:
        """Write the files, the manifest last, and wait until they are on the disk."""
        described: dict[str, Any] = {}
        for name, tensors, plain in zip(_FILES, (self.model, self.state), (self.metadata, self.progress), strict=True):
            path = folder / name
            safetensors.torch.save_file(dict(tensors), path, {METADATA: plain})
            path.chmod(0o644)
            sync(path)
            described[name] = {"bytes": path.stat().st_size, "sha256": digest(path)}
        values = _signed({"version": VERSION, "step": self.step, "files": described})
        manifest = folder / "manifest.json"
        manifest.write_text(json.dumps(values, indent=2) + "\n")
        sync(manifest)
        sync(folder)


def snapshot(
    step: int,
    model: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    progress: Mapping[str, Any],
) -> Snapshot:
    """Copy everything that a checkpoint holds, to the CPU.

    ``metadata`` and ``progress``: plain data that go with ``model`` and ``state``.
    """
    return Snapshot(step, plain_tensors(model), plain_tensors(state), json.dumps(metadata), json.dumps(progress))


def prune(folder: Path, keep: int, best: int | None = None) -> None:
    """Delete unfinished checkpoints, and all but the newest ``keep`` and that of step ``best``."""
    with contextlib.suppress(OSError):  # what stays only takes disk space
        for stale in folder.glob(".step-*.tmp"):
            shutil.rmtree(stale, ignore_errors=True)
        for old in _newest_first(folder)[keep:]:
            if _step(old) != best:
                with contextlib.suppress(OSError):
                    _remove(old)


def _remove(path: Path) -> None:
    """Delete a checkpoint. It is renamed first, so a kill meanwhile leaves none that looks damaged."""
    renamed = path.with_name(f".{path.name}.old.tmp")
    shutil.rmtree(renamed, ignore_errors=True)
    path.rename(renamed)
    shutil.rmtree(renamed)


def newest_step(folder: Path) -> int:
    """Step of the newest checkpoint by its name, intact or not; 0 if there is none."""
    found = _newest_first(folder) if folder.is_dir() else []
    return _step(found[0]) if found else 0


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest intact checkpoint in ``folder``, and one message for each newer one that is damaged.

    Raises :class:`IntactError` if a newer one has another format, or cannot be read.
    """
    complaints: list[str] = []
    try:
        paths = _newest_first(folder)
    except FileNotFoundError:  # nothing has been saved yet
        return None, complaints
    except OSError as error:
        raise _unreadable(folder, error) from None
    for path in paths:
        try:
            return verified(path), complaints
        except IntactError:
            raise
        except InputError as error:
            complaints.append(str(error))
    return None, complaints


def verified(path: Path) -> Checkpoint:
    """The checkpoint at ``path``, after its files were compared with its manifest.

    Raises :class:`InputError` that names what is missing or altered, :class:`IntactError` if it may be intact.
    """
    manifest = _manifest(path)
    for name in _FILES:
        file, written = path / name, manifest["files"][name]
        try:
            size = file.stat().st_size
            if size != written["bytes"]:
                raise InputError(f"{path}: {name} has {size} bytes; {written['bytes']} were written")
            if digest(file) != written["sha256"]:
                raise InputError(f"{path}: {name} was altered: its SHA-256 is not the one that was written")
        except _ABSENT:
            raise InputError(f"{path}: {name} is missing") from None
        except OSError as error:
            raise _unreadable(file, error) from None
    return Checkpoint(path, manifest["step"])


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest of the checkpoint at ``path``, complete and of this version."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except _ABSENT:
        raise InputError(f"{path}: not a checkpoint: manifest.json is missing") from None
    except OSError as error:
        raise _unreadable(path / "manifest.json", error) from None
    except ValueError as error:
        raise InputError(f"{path}: manifest.json is damaged: {error}") from None
    if not isinstance(manifest, dict) or manifest != _signed(manifest):  # signed alike in all versions
        raise InputError(f"{path}: manifest.json was altered: its SHA-256 is not the one that was written")
    version = manifest.get("version")
    if version != VERSION:
        raise IntactError(
            f"{path}: written in checkpoint format {version}; this version of coupling reads {VERSION}: continue with "
            "the version that wrote it (environment.json names it), or start a new run"
        )
    files = manifest.get("files")
    described = isinstance(files, dict) and all({"bytes", "sha256"} <= set(files.get(name) or ()) for name in _FILES)
    if not isinstance(manifest.get("step"), int) or not described:
        raise InputError(f"{path}: manifest.json names no step and files")
    return manifest


def _unreadable(path: Path, error: OSError) -> IntactError:
    """Rights or a device that fails say nothing about what was written: it may be whole."""
    return IntactError(
        f"{path}: cannot be read: {error.strerror or error}; the checkpoint may be intact, so no older one replaces "
        "it: fix its permissions or the disk, or move the checkpoint away"
    )


def _signed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """``manifest`` with the SHA-256 of its own values, which shows an altered step or size."""
    values = {key: value for key, value in manifest.items() if key != "sha256"}
    return values | {"sha256": hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()}


def _newest_first(folder: Path) -> list[Path]:
    return sorted((p for p in folder.iterdir() if p.is_dir() and _step(p) >= 0), key=_step, reverse=True)


def _step(path: Path) -> int:
    """The step in a checkpoint's name; -1 for another name."""
    match = re.fullmatch(r"step-(\d+)", path.name)
    return int(match[1]) if match else -1
