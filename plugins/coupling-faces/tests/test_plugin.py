from __future__ import annotations

from coupling_faces import plugin
from coupling_faces.architecture import Faces
from coupling_faces.avatars import Avatars
from coupling_faces.celeba import CelebA


def test_components_are_registered_under_their_names() -> None:
    registered: dict[str, object] = {}
    plugin.register_datasets(registered.__setitem__)
    plugin.register_architectures(registered.__setitem__)
    assert registered == {"avatars": Avatars, "celeba": CelebA, "faces": Faces}
