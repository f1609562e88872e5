"""Models on the Hugging Face hub: one safetensors file, its configuration, a picture, and a card that describes it.

Loading reads the safetensors file alone. A model from the hub therefore runs no code but that of installed plugins.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from coupling.config.schedules import in_words
from coupling.model.export import export_safetensors
from coupling.model.sampler import CoupledSampler
from coupling.runs.hub import FILE, HubAddress, explain_hub_errors
from coupling.system.atomic_files import writing

_COLUMNS = 12


_SAMPLES = 24


def save_pretrained(model: CoupledSampler, folder: Path, repository: str = "USER/MODEL") -> None:
    """Write the files of a repository: the model, ``config.yaml``, ``samples.png``, and the card, ``README.md``.

    ``repository``: its name, for the card. :func:`coupling.load_model` loads the folder.

    Raises:
        InputError: the folder cannot be written.
    """
    from coupling.data.pictures import drawable, picture_grid, save_png

    with writing(folder, "give another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        export_safetensors(model, folder / FILE)
        (folder / "config.yaml").write_text(model.config.yaml(), encoding="utf-8")
        pictured = [name for name, domain in model.domains.items() if domain.is_drawable]
        if pictured:
            samples = model.sample(_SAMPLES, domains=drawable(model.domains))
            save_png(picture_grid(samples, model.domains, _COLUMNS), folder / "samples.png")
        (folder / "README.md").write_text(card(model, repository, pictured=bool(pictured)), encoding="utf-8")


def push_to_hub(
    model: CoupledSampler,
    repository: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    message: str = "Upload a coupled GAN",
) -> str:
    """Upload the files of :func:`save_pretrained`; creates the repository if needed. Returns its web address.

    Raises:
        InputError: the name is not valid, or the hub rejects the upload.
    """
    address = HubAddress(repository.removeprefix("hf://"), revision)
    address.check()
    return upload(
        lambda folder: save_pretrained(model, folder, address.repository),
        address,
        private=private,
        token=token,
        message=message,
    )


def upload(
    write: Callable[[Path], object],
    address: HubAddress,
    *,
    private: bool | None = None,
    token: str | None = None,
    message: str,
    kind: Literal["model", "space"] = "model",
) -> str:
    """Upload the files that ``write(folder)`` makes; creates the repository if needed. Returns its web address.

    ``kind``: what the repository is; a Space runs Gradio.

    Raises:
        InputError: the name is not valid, or the hub rejects the upload.
    """
    import huggingface_hub

    sdk = "gradio" if kind == "space" else None
    with tempfile.TemporaryDirectory() as place, explain_hub_errors(address):
        write(Path(place))
        hub = huggingface_hub.HfApi(token=token)
        made = hub.create_repo(address.repository, private=private, exist_ok=True, repo_type=kind, space_sdk=sdk)
        if address.revision is not None:
            hub.create_branch(made.repo_id, branch=address.revision, exist_ok=True, repo_type=kind)
        hub.upload_folder(
            repo_id=made.repo_id, folder_path=place, commit_message=message, revision=address.revision, repo_type=kind
        )
        return str(made)


# -- the card --------------------------------------------------------------------------------------


def card(model: CoupledSampler, repository: str, *, pictured: bool) -> str:
    """The model's card in Markdown: how to use it, its sharing graph, data, training and metrics."""
    config, first = model.config, next(iter(model.domains))
    shape = ", ".join(map(str, model.domains[first].shape))
    parts = [
        "---\nlibrary_name: coupling\npipeline_tag: unconditional-image-generation\n"
        "tags:\n- coupled-gan\n- gan\n- safetensors\n---",
        f"# {config.name}",
        f"Coupled GANs (Liu and Tuzel 2016) over {len(model.domains)} domains: one latent code draws corresponding "
        "samples in all of them. They were trained on unpaired samples, coupled through the layers that they share.",
    ]
    if pictured:
        parts.append("![Corresponding samples: a column is one code, a row one domain](samples.png)")
    parts += [
        "## Use",
        "```python\nfrom coupling import load_model\n\n"
        f'model = load_model("hf://{repository}")\n'
        f'samples = model.sample(8, seed=0)  # samples["{first}"]: (8, {shape})\n```',
        "## Domains",
        _table(["domain", "shape", "range", "data set"], [_domain_row(model, name) for name in model.domains]),
    ]
    for network in (model.generator, model.discriminator):
        if network is not None:
            head, *rows = network.graph.table()
            parts += [f"## Shared {network.graph.team} layers", "Equal letters are one layer; · is private."]
            parts += [_table(head, rows)]
    parts += ["## Training", _training(model)]
    metrics: Mapping[str, float] = model.record.get("metrics", {})
    if metrics:
        parts += [
            f"## Measured after {model.step:,} steps",
            _table(["metric", "value"], [[f"`{name}`", f"{value:.4g}"] for name, value in metrics.items()]),
        ]
    return "\n\n".join(parts) + "\n"


def _domain_row(model: CoupledSampler, name: str) -> list[str]:
    domain, entry = model.domains[name], model.config.domains[name].dataset
    shape = " × ".join(map(str, domain.shape))
    options = ", ".join(f"{key}: {value}" for key, value in entry.options.items() if value is not None)
    data = f"{entry.name} ({options})" if options else entry.name
    known = model.record.get("data", {}).get(name)
    return [name, shape, f"{domain.range[0]:g} to {domain.range[1]:g}", data + (f"<br>`{known}`" if known else "")]


def _training(model: CoupledSampler) -> str:
    config, record = model.config, model.record
    latent = config.latent
    style = f", and {latent.style} more for each domain alone" if latent.style else ""
    lines = [
        f"- {model.step:,} steps of Algorithm 1, batches of {config.training.batch_size} a domain, seed {config.seed}",
        f"- latent codes of {latent.size} numbers{style}, {latent.prior} prior",
        f"- losses: {', '.join(loss.name for loss in config.losses)}; optimizer: {config.optimizer.name}, learning "
        f"rate {in_words(config.optimizer.lr)}",
    ]
    versions = record.get("versions", {})
    if versions:
        lines.append("- " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    lines.append(f"- generators' weights: SHA-256 `{model.digest}`")
    lines.append("- everything else: `config.yaml`, which `coupling run config.yaml` trains again")
    return "\n".join(lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)
