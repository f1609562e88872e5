"""The hooks of this plugin."""

from __future__ import annotations

from coupling import Register, hookimpl
from coupling_faces.architecture import Faces
from coupling_faces.avatars import Avatars
from coupling_faces.celeba import CelebA


@hookimpl
def register_datasets(register: Register) -> None:
    register("avatars", Avatars)
    register("celeba", CelebA)


@hookimpl
def register_architectures(register: Register) -> None:
    register("faces", Faces)
