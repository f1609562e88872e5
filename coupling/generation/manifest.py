"""manifest.json: what a set of samples was drawn with, and how many of them are written."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coupling.config.yaml_text import in_yaml
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.generation.sample_files import Format, suffixes
from coupling.generation.selection import BLOCK, Selection
from coupling.networks.weights import fingerprint
from coupling.system.atomic_files import write_text
from coupling.system.file_lock import FILE as LOCK
from coupling.version import __version__

FILE = "manifest.json"


_PACKAGES = ("torch", "pillow")
"""Packages whose version may change a pixel or a byte of a file."""


_PROGRESS = ("model", "written", "complete")
"""Keys in which manifests of the same samples may differ."""


class Manifest:
    """The manifest of the samples in one directory."""

    def __init__(
        self,
        root: Path,
        selection: Selection,
        count: int,
        kind: Format,
        part: int,
        source: str,
    ) -> None:
        """Describe ``count`` samples of ``selection``, of which none is written yet.

        ``part``: samples in each part of the files. ``source``: name of the model.
        """
        self.root, self.count, self.part = root, count, part
        model = selection.model
        ranking = model.discriminator if selection.keep is not None else None
        self.values: dict[str, Any] = {
            "model": source,
            "name": model.config.name,
            "step": model.step,
            "generators": model.digest,
            "discriminators": None if ranking is None else fingerprint(ranking),
            "seed": selection.seed,
            "count": count,
            "truncation": selection.truncation,
            "keep": selection.keep,
            "kept": selection.kept / BLOCK,
            "format": kind,
            "part": part,
            "domains": {name: _describe(d) for name, d in model.domains.items()},
            "device": model.device.type,
            "versions": {"coupling": __version__} | {name: importlib.metadata.version(name) for name in _PACKAGES},
            "written": 0,
            "complete": False,
        }

    @property
    def written(self) -> int:
        """Number of samples that are written."""
        return int(self.values["written"])

    @property
    def complete(self) -> bool:
        """Whether all is written."""
        return bool(self.values["complete"])

    @property
    def parts(self) -> int:
        """Number of parts of the files."""
        return -(-self.count // self.part)

    def record(self, written: int, *, complete: bool = False) -> None:
        """Write the manifest with these numbers; raises OSError if that fails."""
        self.values.update(written=written, complete=complete)
        write_text(self.root / FILE, json.dumps(self.values, indent=2) + "\n")

    def resume(self) -> None:
        """Continue from the manifest in the directory, if there is one.

        Raises:
            InputError: the directory holds other samples, or other files.
        """
        try:
            found = json.loads((self.root / FILE).read_text(encoding="utf-8"))
            there, here = dict(_flat(found)), dict(_flat(self.values))
        except FileNotFoundError:
            others = sorted(path.name for path in self.root.iterdir() if path.name != LOCK)
            if others:
                raise InputError(
                    f"{self.root}: holds '{others[0]}' and no {FILE}, so there are no samples to continue; give "
                    "another --output"
                ) from None
            return
        except (ValueError, AttributeError):
            raise InputError(
                f"{self.root}: its {FILE} is damaged; delete the directory, or give another --output"
            ) from None
        for key in dict.fromkeys([*here, *there]):
            if key not in _PROGRESS and there.get(key) != here.get(key):
                raise InputError(
                    f"{self.root}: holds other samples, whose {key} is {_shown(there.get(key))}, not "
                    f"{_shown(here.get(key))}; give another --output, or delete the directory"
                )
        self.values = dict(found)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else in_yaml(value)


def image_mode(domain: Domain) -> str:
    """Pillow's mode of a domain's files: L (gray) for images of one channel, else RGB."""
    return "L" if domain.is_image and domain.shape[0] == 1 else "RGB"


def _describe(domain: Domain) -> dict[str, Any]:
    described: dict[str, Any] = {"shape": [*domain.shape], "range": [*domain.range]}
    if domain.columns:  # of arrays: value = centre + scale * number
        described["columns"] = {column.name: [column.centre, column.scale] for column in domain.columns}
    return described | ({"mode": image_mode(domain)} if domain.is_image else {"files": [*suffixes(domain)]})


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Values by their path: ("versions.torch", "2.13.0")."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
