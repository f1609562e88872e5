"""Every configuration of examples/paper against the paper's numbers, which stand here a second time.

Liu & Tuzel, "Coupled Generative Adversarial Networks", NIPS 2016: sections 4 and 5, and the tables of its supplement.
What is compared is what a run would build: the completed configuration, the opened data sets, both teams' networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from coupling import load_config
from coupling.config.config import Config
from coupling.data.domain_data import open_domains
from coupling.networks.build import assemble
from coupling.networks.layers import PReLU
from coupling.networks.normalisation import DomainBatchNorm
from coupling.plugins import installed
from coupling.sharing.graph import Rule, SharingGraph
from coupling.sweeps.grid import load_grid
from coupling_faces.testing import write_celeba
from coupling_rgbd.testing import write_nyu, write_rgbd_objects

PAPER = Path(__file__).parents[2] / "examples" / "paper"

# ---------------------------------------------------------------------------- networks, as the tables write them

DIGITS = [  # Table 11
    "FCONV 1024 K4 S1, BN, PReLU",
    "FCONV 512 K3 S2, BN, PReLU",
    "FCONV 256 K3 S2, BN, PReLU",
    "FCONV 128 K3 S2, BN, PReLU",
    "FCONV 1 K6 S1, sigmoid",
]
DIGITS_CRITIC = ["CONV 20 K5 S1, POOL 2", "CONV 50 K5 S1, POOL 2", "FC 500, PReLU", "FC 1"]  # Table 11
THREE_WAY_CRITIC = [*DIGITS_CRITIC[:-1], "FC 3"]  # Table 5
ROTATION = ["FC 1024, BN, PReLU"] * 4 + ["FC 784, sigmoid"]  # Table 2
FACES = [  # Table 12
    "FCONV 1024 K4 S1, BN, PReLU",
    "FCONV 512 K4 S2, BN, PReLU",
    "FCONV 256 K4 S2, BN, PReLU",
    "FCONV 128 K4 S2, BN, PReLU",
    "FCONV 64 K4 S2, BN, PReLU",
    "FCONV 32 K4 S2, BN, PReLU",
    "FCONV 3 K3 S1, tanh",
]
FACES_CRITIC = [  # Tables 12 to 14
    "CONV 32 K5 S2, BN, PReLU",
    "CONV 64 K5 S2, BN, PReLU",
    "CONV 128 K5 S2, BN, PReLU",
    "CONV 256 K3 S2, BN, PReLU",
    "CONV 512 K3 S2, BN, PReLU",
    "CONV 1024 K3 S2, BN, PReLU",
    "FC 2048, BN, PReLU",
    "FC 1",
]
DEPTH = "FCONV 1 K3 S1, sigmoid"  # Tables 13 and 14, last layer
OBJECTS = [*FACES[:5], "FCONV 32 K3 S1, BN, PReLU", FACES[6]]  # Table 13
SLIDES = [  # the tutorials' slides, which leave the generators' convolutions open
    "FC 8192, BN",
    "CONV 128 K3 S1, BN, LeakyReLU",
    "CONV 64 K3 S1, BN, LeakyReLU",
    "CONV 3 K3 S1, tanh",
]
SLIDES_CRITIC = [
    "CONV 16 K3 S2, LeakyReLU, dropout 0.25",
    *(f"CONV {channels} K3 S2, BN, LeakyReLU, dropout 0.25" for channels in (32, 64, 128)),
    "FC 1",
]


def written(layer: nn.Module) -> str:
    """A layer as the tables write it."""
    names = {DomainBatchNorm: "BN", PReLU: "PReLU", nn.LeakyReLU: "LeakyReLU", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh"}
    words = []
    for module in layer.modules():
        if isinstance(module, nn.ConvTranspose2d | nn.Conv2d):
            kind = "FCONV" if isinstance(module, nn.ConvTranspose2d) else "CONV"
            words.append(f"{kind} {module.out_channels} K{module.kernel_size[0]} S{module.stride[0]}")
        elif isinstance(module, nn.Linear):
            words.append(f"FC {module.out_features}")
        elif isinstance(module, nn.MaxPool2d):
            words.append(f"POOL {module.kernel_size}")
        elif isinstance(module, nn.Dropout | nn.Dropout2d):
            words.append(f"dropout {module.p}")
        else:
            words += [name for kind, name in names.items() if isinstance(module, kind)]
    return ", ".join(words)


# ---------------------------------------------------------------------------- data

MNIST = {
    **{"name": "mnist", "split": "train", "size": 28, "mode": "gray", "scale": "unit"},
    **{"protocol": None, "count": None, "draw": None},
}
CELEBA = {  # 132x132, of which `size` makes `resize`; random crops of 128x128; all 202,599 images, nobody mirrored
    **{"name": "celeba", "partition": "all", "size": 128, "resize": None, "aspect": "stretch", "crop": "random"},
    **{"flip": False, "part": None, "half": None},
}
RGBD = {"name": "rgbd-objects", "every": 1, "size": 64, "resize": "stretch", "window": None, "flip": False}
NYU = {"name": "nyu", "size": [132, 176], "window": 128, "flip": False, "half": None, "part": None}


def halves(second: str, transform: str) -> dict[str, dict[str, Any]]:
    """MNIST's first random half; its second half, transformed."""
    return {"digits": {**MNIST, "half": 1}, second: {**MNIST, "half": 2, "transform": transform}}


def selections(**attributes: dict[str, bool]) -> dict[str, dict[str, Any]]:
    """Those photographs of CelebA that have or lack attributes, by domain."""
    return {name.replace("_", "-"): {**CELEBA, "attributes": chosen} for name, chosen in attributes.items()}


# ---------------------------------------------------------------------------- tasks


def everywhere(*layers: int) -> dict[int, list[list[str]]]:
    """Layers that all domains share."""
    return {layer: [["all"]] for layer in layers}


@dataclass(frozen=True)
class Task:
    """What the paper says of one task; defaults are what it says of all of them (section 4)."""

    data: Mapping[str, Mapping[str, Any]]
    """Options of each domain's data set."""
    generator: Sequence[str] | Mapping[str, Sequence[str]]
    """Layers; by domain where they differ."""
    discriminator: Sequence[str]
    shared: tuple[Mapping[int, list[list[str]]], Mapping[int, list[list[str]]]]
    """Of generators and discriminators, the domains that share, by layer: no other layer is shared."""
    shape: tuple[int, ...] | Mapping[str, tuple[int, ...]] = (1, 28, 28)
    samples: Mapping[str, int] = field(default_factory=dict)
    """Training images, where they are known without the files."""
    losses: Sequence[Mapping[str, Any]] = ({"name": "non-saturating", "weight": 1.0},)
    metrics: Sequence[Mapping[str, Any]] = ()
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    """Beside Adam, 2e-4, (0.5, 0.999)."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Beside 25,000 iterations of batch 128, plain weights, one z."""
    latent: Mapping[str, Any] = field(default_factory=dict)
    """Beside U[-1, 1]^100."""
    batch_statistics: str = "per-domain"


def digit_task(second: str, transform: str, **other: Any) -> Task:
    """Tasks A and B, rotation and what they are compared with: 30,000 images each, 10,000 pairs compared."""
    agreement = {"name": "pixel-agreement", "from": "digits", "to": second, "count": 10_000, "tolerances": []}
    options = {
        "data": halves(second, transform),
        "generator": DIGITS,
        "discriminator": DIGITS_CRITIC,
        "shared": (everywhere(1, 2, 3, 4), everywhere(2, 3, 4)),  # Table 11
        "samples": {"digits": 30_000, second: 30_000},
        "metrics": [agreement],
    }
    return Task(**(options | other))


def conditional_task(second: str, transform: str) -> Task:
    """Table 5: one network for both domains, z and c, three-way softmax."""
    return digit_task(
        second,
        transform,
        discriminator=THREE_WAY_CRITIC,
        shared=(everywhere(1, 2, 3, 4, 5), everywhere(1, 2, 3, 4)),
        losses=[{"name": "domain-softmax"}],
        latent={"condition": "domain"},
        batch_statistics="joint",
    )


CONVOLUTIONAL = everywhere(1, 2, 3, 4, 5), everywhere(3, 4, 5, 6, 7, 8)  # Tables 12 to 14


def face_task(shared: Any = CONVOLUTIONAL, **attributes: dict[str, bool]) -> Task:
    """Faces with an attribute, and without (Figure 4)."""
    return Task(selections(**attributes), FACES, FACES_CRITIC, shared, shape=(3, 128, 128))


def adaptation_task(labelled: str) -> Task:
    """Table 1; what the paper does not say is of the authors' code, released later."""
    options = {"split": "train", "protocol": "paper", "size": 28, "mode": "gray", "scale": "unit"}
    classification = {"name": "classification", "domains": [labelled], "classes": 10, "layer": -2, "weight": 10.0}
    return Task(
        {"mnist": {"name": "mnist", **options}, "usps": {"name": "usps", "resize": "bilinear", **options}},
        DIGITS,
        DIGITS_CRITIC,
        (everywhere(1, 2, 3, 4), everywhere(2, 3, 4)),
        samples={"mnist": 2_000, "usps": 1_800},
        losses=[
            *Task.losses,
            {**classification, "rotate": 0.0, "shift": 0.0, "scale": 0.0, "shear": 0.0, "stretch": 0.0},
            {"name": "feature-matching", "layer": -2, "weight": 0.01, "normalise": "none", "half": "discriminator"},
        ],
        metrics=[{"name": "information", "domain": None}, {"name": "accuracy", "domain": None}],
        optimizer={"weight_decay": 5e-4},
        training={"steps": 10_000, "batch_size": 64, "fresh_latent": True},
    )


def color_depth(task: Sequence[str], side: int, **data: Mapping[str, Any]) -> Task:
    """Colour and depth (Figure 5), each with an output of its own."""
    networks = {"color": task, "depth": [*task[:6], DEPTH]}
    return Task(data, networks, FACES_CRITIC, CONVOLUTIONAL, {"color": (3, side, side), "depth": (1, side, side)})


FOUR = (  # not in the paper: an attribute each has one of its five shared layers
    everywhere(1, 2, 3)
    | {
        4: [["smile-glasses", "serious-glasses"], ["smile-plain", "serious-plain"]],
        5: [["smile-glasses", "smile-plain"], ["serious-glasses", "serious-plain"]],
    },
    CONVOLUTIONAL[1],
)

TASKS = {
    "digits_edges": digit_task("edges", "edges"),  # Task A
    "digits_negatives": digit_task("negatives", "negative"),  # Task B
    "digits_rotated": digit_task(
        "rotated", "rotate90", generator=ROTATION, shared=(everywhere(1, 2, 3, 4), everywhere(4))
    ),  # Table 2
    "unshared_a": digit_task("edges", "edges", shared=({}, {})),
    "unshared_b": digit_task("negatives", "negative", shared=({}, {})),
    "conditional_a": conditional_task("edges", "edges"),
    "conditional_b": conditional_task("negatives", "negative"),
    "adaptation_mnist_usps": adaptation_task("mnist"),
    "adaptation_usps_mnist": adaptation_task("usps"),
    "celeba_smiling": face_task(smiling={"Smiling": True}, not_smiling={"Smiling": False}),
    "celeba_blond": face_task(blond={"Blond_Hair": True}, not_blond={"Blond_Hair": False}),
    "celeba_eyeglasses": face_task(eyeglasses={"Eyeglasses": True}, no_eyeglasses={"Eyeglasses": False}),
    "celeba_four": face_task(
        FOUR,
        smile_glasses={"Smiling": True, "Eyeglasses": True},
        smile_plain={"Smiling": True, "Eyeglasses": False},
        serious_glasses={"Smiling": False, "Eyeglasses": True},
        serious_plain={"Smiling": False, "Eyeglasses": False},
    ),
    "rgbd_objects": color_depth(
        OBJECTS,
        64,
        color={**RGBD, "modality": "color", "half": 1},
        depth={**RGBD, "modality": "depth", "half": 2},
    ),
    "nyu": color_depth(
        FACES,
        128,
        color={**NYU, "modality": "color", "frames": "raw", "registered": "leave-out"},
        depth={**NYU, "modality": "depth", "frames": "labeled", "depths": "filled"},
    ),
    "mnist_m": Task(  # the tutorials' slides, which say neither batch nor steps nor what is averaged
        {
            "digits": {**MNIST, "size": 32, "mode": "rgb", "scale": "signed", "half": None, "part": None},
            "photographs": {"name": "mnist-m", "split": "train", "origin": "official", "count": None},
        },
        SLIDES,
        SLIDES_CRITIC,
        (everywhere(1, 2), everywhere(1, 2, 3, 4)),
        shape=(3, 32, 32),
        samples={"digits": 60_000, "photographs": 59_001},
        losses=[{"name": "least-squares", "weight": 1.0}],
        training={"batch_size": 64},
    ),
}

SWEEPS = {"weight_sharing_a": "digits_edges", "weight_sharing_b": "digits_negatives"}  # Tables 3 and 4
GENERATOR_COLUMNS = {"1": [1], "1-2": [1, 2], "1-3": [1, 2, 3], "1-4": [1, 2, 3, 4]}
DISCRIMINATOR_ROWS = {"none": [], "4": [4], "4,3": [3, 4], "4,3,2": [2, 3, 4]}


# ---------------------------------------------------------------------------- tests


@pytest.fixture(scope="module", autouse=True)
def made_files(tmp_path_factory):
    """Small files in the formats of those data sets that look at theirs when opened."""
    folder = tmp_path_factory.mktemp("data")
    write_celeba(folder / "celeba", 40)
    write_rgbd_objects(folder / "rgbd-dataset", {"apple": 4}, 2)
    write_nyu(folder / "nyu-depth-v2", 8, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUPLING_DATA", str(folder))
        yield


def opened(name: str) -> Config:
    """A configuration; the files of CelebA and NYU are made ones."""
    verify = ["domains.*.dataset.verify=false"] if name.startswith(("celeba", "nyu")) else []
    return load_config(PAPER / f"{name}.yaml", verify).completed(installed().registry)


def sharing(graph: SharingGraph) -> dict[int, list[list[str]]]:
    """The domains that share, by layer."""
    found: dict[int, list[list[str]]] = {}
    for group in graph.groups:
        if len(group.members) > 1:
            (layer,) = {layer for _, layer in group.members}  # the paper's networks are of one depth
            found.setdefault(layer, []).append(["all"] if len(group.members) == len(graph.depths) else [*group.domains])
    return found


def test_every_file_has_its_numbers():
    assert {path.stem for path in PAPER.iterdir()} == TASKS.keys() | SWEEPS.keys()


@pytest.mark.parametrize("name", TASKS)
def test_hyperparameters_are_those_of_the_paper(name):
    task, config = TASKS[name], opened(name)
    plain = config.model_dump(mode="json")
    assert plain["latent"] == {"prior": "uniform", "size": 100, "style": 0, "condition": None, **task.latent}
    adam = {"name": "adam", "lr": 2e-4, "betas": [0.5, 0.999], "weight_decay": 0.0, "momentum": 0.0}
    assert plain["optimizer"] == {**adam, **task.optimizer}
    for team in ("generator", "discriminator"):
        assert config.team_optimizer(team) == config.optimizer
    training = {"steps": 25_000, "batch_size": 128, "ema": None, "fresh_latent": False, **task.training}
    assert {key: plain["training"][key] for key in training} == training
    assert plain["training"]["precision"] == "fp32"
    assert plain["batch_statistics"] == task.batch_statistics
    assert [{"name": loss.name, **loss.options} for loss in config.losses] == list(task.losses)
    of_the_paper = [metric for metric in config.metrics if metric.every is not None]  # ours are measured at the end
    assert [{"name": metric.name, **metric.options} for metric in of_the_paper] == list(task.metrics)
    assert all(config.training.steps % metric.every == 0 for metric in of_the_paper)  # a grid of iterations


@pytest.mark.parametrize("name", TASKS)
def test_data_and_networks_are_those_of_the_paper(name):
    task, config = TASKS[name], opened(name)
    for domain, wanted in task.data.items():
        dataset = config.domains[domain].dataset
        given = {"name": dataset.name, **dataset.options}
        assert {key: given.get(key) for key in wanted} == wanted
        assert given.get("transform") == wanted.get("transform")
    data = open_domains(config, installed().registry)
    assert list(data) == list(task.data)
    shapes = task.shape if isinstance(task.shape, Mapping) else dict.fromkeys(data, task.shape)
    assert {domain: samples.domain.shape for domain, samples in data.items()} == shapes
    assert {domain: len(data[domain]) for domain in task.samples} == task.samples
    networks = assemble(config, {domain: samples.domain for domain, samples in data.items()}, installed().registry)
    assert (sharing(networks.graphs["generator"]), sharing(networks.graphs["discriminator"])) == task.shared
    for domain in data:
        generator = task.generator[domain] if isinstance(task.generator, Mapping) else task.generator
        for team, layers in ((networks.generator, generator), (networks.discriminator, task.discriminator)):
            groups = [team.graph.group_of[domain, number + 1] for number in range(team.graph.depths[domain])]
            assert [written(team.layers[group.key]) for group in groups] == list(layers)


@pytest.mark.parametrize(("name", "base"), SWEEPS.items())
def test_the_rows_of_the_weight_sharing_tables_are_those_of_the_paper(name, base):
    """Tables 3 and 4: the task itself but for its sharing, and five trials a cell."""
    grid = load_grid(PAPER / f"{name}.yaml", (), plugins=installed())
    assert grid.axes == {"discriminator": list(DISCRIMINATOR_ROWS), "generator": list(GENERATOR_COLUMNS)}
    seeds: dict[tuple[str, ...], list[int]] = {}
    task = load_config(PAPER / f"{base}.yaml")
    for run in grid.runs:
        seeds.setdefault(run.labels, []).append(run.seed)
        shared = {
            team: sharing(SharingGraph(team, dict.fromkeys(task.domains, depth), rules(run.config, team)))
            for team, depth in (("generator", 5), ("discriminator", 4))
        }
        row, column = run.labels
        assert shared["generator"] == everywhere(*GENERATOR_COLUMNS[column])
        assert shared["discriminator"] == everywhere(*DISCRIMINATOR_ROWS[row])
        kept = run.config.training.model_copy(update={"keep_checkpoints": task.training.keep_checkpoints})
        same = {"name": task.name, "seed": task.seed, "sharing": task.sharing, "training": kept}
        assert run.config.model_copy(update=same) == task
    assert len(seeds) == 16
    assert all(trials == [0, 1, 2, 3, 4] for trials in seeds.values())
    assert grid.config.metric == f"pixel-agreement/digits/{list(task.domains)[1]}"


def rules(config: Config, team: str) -> list[Rule]:
    """A team's sharing rules."""
    return [rule.rule() for rule in getattr(config.sharing, team)]
