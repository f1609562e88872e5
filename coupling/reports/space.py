"""The folder of a Hugging Face Space: an app that serves a model's page, with the model and what it needs."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import yaml

from coupling.config.registry import Registry
from coupling.errors import InputError
from coupling.model.export import export_safetensors
from coupling.model.hub import upload
from coupling.model.model import CoupledModel
from coupling.runs.hub import FILE, HubAddress
from coupling.system.atomic_files import write_text, writing
from coupling.version import __version__

GRADIO = "6.31.0"
"""The version of Gradio that a Space is made with."""


_PYTHON = "3.11"
"""The version of Python that a Space is made with."""


_APP = f'''"""Draws with the model in this folder: pip install -r requirements.txt, then python app.py."""

from pathlib import Path

from coupling import load_model, serve

serve(load_model(Path(__file__).parent / "{FILE}"))
'''


def write_space(model: CoupledModel, folder: Path, registry: Registry, repository: str | None = None) -> Path:
    """Write ``app.py``, ``requirements.txt``, ``README.md`` with the header of a Space, and the generators.

    Args:
        model: the model.
        folder: where to write; it is made if necessary.
        registry: the components by name, with the distributions that they come from.
        repository: "USER/MODEL" on the hub, which the Space links to.

    Returns:
        ``folder``.

    Raises:
        InputError: the folder holds one of these files or cannot be written, or a part of the model comes from no
            installed distribution.
    """
    required = "\n".join([f"coupling-gan[serve]=={__version__}", *_distributions(model, registry)])
    texts = {"app.py": _APP, "requirements.txt": required + "\n", "README.md": _readme(model, repository)}
    for name in (*texts, FILE):
        if (folder / name).exists():
            raise InputError(f"{folder}: holds '{name}', which would be replaced; give another folder")
    with writing(folder, "give another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        export_safetensors(model, folder / FILE, generators_only=True)
        for name, text in texts.items():
            write_text(folder / name, text)
    return folder


def push_space(model: CoupledModel, repository: str, registry: Registry, *, private: bool | None = None) -> str:
    """Upload the files of :func:`write_space` as a Space of the same name as the model; returns its web address.

    Raises:
        InputError: the name is not valid, the hub rejects the upload, or :func:`write_space` raises it.
    """
    address = HubAddress(repository.removeprefix("hf://"))
    address.check()
    return upload(
        lambda folder: write_space(model, folder, registry, address.repository),
        address,
        private=private,
        message="Upload the page of a coupled GAN",
        kind="space",
    )


def _distributions(model: CoupledModel, registry: Registry) -> list[str]:
    """The distributions, but for coupling, that bring the networks, losses and drawings of a model, as requirements."""
    parts = [(kind, component.name) for _, kind, component in model.config.components(data=False)]
    parts += [("transform", domain.drawn_by) for domain in model.domains.values() if domain.drawing is not None]
    found = {}
    for kind, name in parts:
        component = registry.get(kind, name, kind)
        if component.owner == "coupling":
            continue
        try:
            found[component.owner] = importlib.metadata.version(component.owner)
        except importlib.metadata.PackageNotFoundError:
            raise InputError(
                f"{component}: this plugin is not an installed distribution, so nobody else can install it; make it "
                "one (coupling new-plugin shows how)"
            ) from None
    return [f"{owner}=={version}" for owner, version in found.items()]


def _readme(model: CoupledModel, repository: str | None) -> str:
    header = {
        "title": model.config.name,
        "sdk": "gradio",
        "sdk_version": GRADIO,
        "python_version": _PYTHON,
        "app_file": "app.py",
        "tags": ["coupled-gan", "gan"],
    } | ({"models": [repository]} if repository else {})
    return (
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n# {model.config.name}\n\n"
        f"Coupled GANs over {len(model.domains)} domains ({', '.join(model.domains)}): one latent code draws a "
        "corresponding sample in every domain. The page was made with `coupling serve`.\n\n"
        "On your own machine:\n\n```\npip install -r requirements.txt\npython app.py\n```\n"
    )
