"""The conformance checks: the built-in components pass them, and each finds what it is there for."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coupling.errors import PluginError
from coupling.testing import Check, checks

CLASSIFICATION = {"name": "classification", "domains": ["one"]}
ADAPTATION = {
    "classification": {"domains": ["one"], "classes": 3, "rotate": 10},
    "entropy": {"domains": ["two"]},
    "class-recovery": {},
    "consistency": [
        {"domains": ["two"], "shift": 0.1},
        {"domains": ["two"], "teacher": "averaged", "shear": 0.2, "stretch": 0.1},
    ],
    "accuracy": {"domain": "two"},
    "information": {"domain": "two"},
}


BUILTIN: dict[str, Any] = {
    "mlp": [{"hidden": 8, "layers": 1}, {"hidden": 8, "layers": 3}],
    "upsampling": {"width": 0.125},
    "residual": [
        {"width": 0.125},
        {"width": 0.125, "between": "gains", "resampling": "bilinear"},
        {"width": 0.125, "between": "branches", "normalised": False, "minibatch_deviation": 4},
        {"width": 0.125, "spectral": True, "fixup": False},
    ],
    "image-folder": [{"path": "pictures"}, {"path": "pictures", "classes": ["a", "b"]}],
    "huggingface": None,
    "table": [{"path": "rows.csv"}, {"path": "rows.csv", "columns": ["b"]}],
    "rotate90": [{}, {"turns": 2}],
    "r1": [{}, {"gamma": 1, "every": 2}],
    "code-recovery": {"numbers": 2},
    "branch-penalty": None,  # tests/losses/test_branch_penalty.py: it needs layers that keep their input's shape
    "pixel-agreement": {"from": "one", "to": "two", "count": 40},
    "label-agreement": None,
    "attribute-agreement": None,
    "depth-error": None,
    "frechet-distance": None,
    "kernel-distance": None,
    "precision-recall": None,
    "sliced-wasserstein": {"domain": "one"},
    "diversity": {"domain": "one"},
    **dict.fromkeys(ADAPTATION),
    "line": None,
    "bars": None,
    "heat-map": None,
    "upsampling-1d": None,
}


ARRAYS = ("line", "bars", "heat-map", "upsampling-1d")
"""Components for samples that are not images."""


def adaptation() -> list[Check]:
    """The losses and metrics of domain adaptation, beside a classification loss."""
    found = checks("coupling.builtin", ADAPTATION, losses=["non-saturating", CLASSIFICATION])
    return [check for check in found if check.component.name in ADAPTATION]


def named(found: list[Check]) -> Any:
    return pytest.mark.parametrize("check", found, ids=str)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder of pictures in the current directory; prepared data elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    rows = "".join(f"{k},{k * k % 7},{k % 3}\n" for k in range(40))
    (tmp_path / "rows.csv").write_text("a,b,c\n" + rows)
    for k in range(20):
        path = tmp_path / "pictures" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


@pytest.mark.usefixtures("pictures")
@named(checks("coupling.builtin", BUILTIN))
def test_built_in_components_conform(check):
    check()


@named(checks("tests.support.tiny_plugin", {"slow": None, "breaking": {"step": 100}, "brightness": {"domain": "one"}}))
def test_the_components_of_other_tests_conform(check):
    check()


def of_arrays() -> list[Check]:
    """The drawings of arrays and the networks for sequences."""
    found = checks("coupling.builtin", shapes=[(64,), (1, 64), (16, 64)])
    return [check for check in found if check.component.name in ARRAYS]


@named(of_arrays())
def test_components_for_arrays_conform(check):
    check()


@named(adaptation())
def test_losses_of_adaptation_conform(check):
    check()


# ------------------------------------------------------------------ what is wrong is found

FINE_DATASET = """
class Data(Dataset):
    '''Numbers.'''
    shape, range, source = (1, 4, 4), (0.0, 1.0), "numbers"
    def __init__(self, *, count: Annotated[int, Field(description="samples")] = 12): self.count = count
    def __len__(self): return self.count
    def __getitem__(self, index): return torch.full((1, 4, 4), index / 12)
    {}
"""
FINE_TRANSFORM = """
class Change:
    '''A change.'''
    def __call__(self, images, range):
        {}
"""
FINE_ARCHITECTURE = """
class Net:
    '''A network.'''
    def generator(self, domain, latent):
        {}
    def discriminator(self, domain, outputs):
        {}
"""
G = "return [nn.Sequential(nn.Linear(latent, domain.size), nn.Unflatten(1, domain.shape), output_activation(domain))]"
F = "return [nn.Sequential(nn.Flatten(), nn.Linear(domain.size, outputs))]"
FINE_LOSS = """
class Term(Loss):
    '''A term.'''
    def __init__(self):
        super().__init__()
        {}
    def generator(self, half):
        {}
"""
FINE_METRIC = """
class Measure(Metric):
    '''A measure.'''
    def measure(self, evaluation):
        {}
"""
KIND = {"Data": "datasets", "Change": "transforms", "Net": "architectures", "Term": "losses", "Measure": "metrics"}


def broken(source: str, *parts: str) -> str:
    """A plugin of one component, ``it``, whose template is filled with ``parts``."""
    body = source.format(*parts)
    name = next(name for name in KIND if f"class {name}" in body)
    register = f"@hookimpl\ndef register_{KIND[name]}(register): register('it', {name})\n"
    imports = """
    from typing import Annotated
    import torch
    from pydantic import Field
    from torch import nn
    from coupling import Dataset, Loss, Measured, Metric
    from coupling.errors import ConfigError
    from coupling.networks.layers import output_activation
    LAYERS, COUNT = {}, []
    """
    return textwrap.dedent(imports) + body + register


@pytest.mark.parametrize(
    "source",
    [
        broken(FINE_DATASET, "pass"),
        broken(FINE_TRANSFORM, "return images"),
        broken(FINE_ARCHITECTURE, G, F),
        broken(FINE_LOSS, "pass", "return {d: x.mean() for d, x in half.fake.items()}"),
        broken(FINE_METRIC, "return Measured(1.0, floors={'unrelated': 0.0})"),
        broken(FINE_METRIC, "from coupling import Undefined; return Measured(Undefined('no samples'))"),
    ],
    ids=[*KIND, "Undefined"],
)
def test_a_sound_component_passes(plugin, source):
    for check in checks(str(plugin(source))):
        check()


def batch(values: str) -> str:
    return f"def batch(self, indices): return {values}"


CACHED = "return [nn.Sequential(nn.Flatten(), LAYERS.setdefault(outputs, nn.Linear(domain.size, outputs)))]"
UNUSED = "layer = nn.Linear(domain.size, outputs); layer.more = nn.Linear(1, 1); return [nn.Flatten(), layer]"
COUNTED = "COUNT.append(1); return {d: x.mean() * len(COUNT) for d, x in half.fake.items()}"

WRONG = {
    "no docstring": (FINE_DATASET, ["pass"], "described", "has no docstring"),
    "no description": (FINE_DATASET, ["pass"], "described", "option 'count' has no description"),
    "required": (FINE_DATASET, ["pass"], "declared", r"count: is required(.|\n)*checks\(\.\.\., {'it'"),
    "shape": (
        FINE_DATASET, [batch("torch.zeros(len(indices), 4, 4)")], "declared",
        r"batch\(\) gives \(4, 4, 4\), shape is \(1, 4, 4\)",
    ),
    "batch": (
        FINE_DATASET, [batch("torch.zeros(len(indices), 1, 4, 4)")], "declared", r"sample 6 differs between batch\(\)",
    ),
    "double": (FINE_DATASET, [batch("torch.zeros(4, 1, 4, 4).double()")], "declared", r"samples are torch\.float64"),
    "range": (FINE_DATASET, [batch("torch.full((4, 1, 4, 4), 2.0)")], "declared", r"values lie in \[2\.0, 2\.0\]"),
    "nan": (FINE_DATASET, [batch("torch.full((4, 1, 4, 4), float('nan'))")], "declared", "hold values that are not"),
    "key": (
        FINE_DATASET, ["def augmented(self, indices, keys): return torch.rand(len(indices), 1, 4, 4)"], "declared",
        "different samples for the same key",
    ),
    "random": (
        FINE_DATASET, [batch("torch.rand(len(indices), 1, 4, 4)")], "every epoch and",
        "read again, its samples",
    ),
    "anew": (
        FINE_DATASET, [batch("torch.full((len(indices), 1, 4, 4), id(self) % 97 / 97)")], "every epoch and process",
        "its samples differ",
    ),
    "fingerprint": (
        FINE_DATASET, ["def fingerprint(self): return str(id(self))"], "every epoch and",
        "its fingerprint differs",
    ),
    "attributes": (
        FINE_DATASET, ["def attributes(self): return {'a': torch.zeros(3, dtype=torch.int64)}"], "labels",
        r"'a' has shape \(3,\) for 12 samples",
    ),
    "negative": (FINE_DATASET, ["labels = torch.arange(12) - 1"], "labels", "'labels' holds negative numbers"),
    "labels": (FINE_DATASET, ["labels = torch.zeros(12)"], "labels", "'labels' is not an int64 tensor"),
    "held out": (
        FINE_DATASET, ["def held_out(self): return Other()\nclass Other(Data): shape = (1, 2, 2)\n"], "labels",
        r"held_out\(\) has shape \(1, 2, 2\)",
    ),
    "beyond": (FINE_TRANSFORM, ["return images * 2"], "keeps the range", r"makes values in \[.*; the range must stay"),
    "type": (FINE_TRANSFORM, ["return images.double()"], "keeps the range", r"makes torch\.float64"),
    "count": (FINE_TRANSFORM, ["return images[:1]"], "keeps the range", "makes 1 samples of"),
    "none": (FINE_TRANSFORM, ["raise ConfigError('never')"], "keeps the range", r"accepts none of the shapes .*never"),
    "mixes": (
        FINE_TRANSFORM, ["return images.mean(0, keepdim=True).expand_as(images)"], "to each", "for a sample alone",
    ),
    "draws": (FINE_TRANSFORM, ["return torch.rand_like(images)"], "to each", "different results for the same images"),
    "in place": (FINE_TRANSFORM, ["return images.copy_(images.clamp(max=0.5))"], "to each", "changes the images"),
    "activation": (FINE_ARCHITECTURE, [G.replace("output_activation(domain)", "nn.Identity()"), F], "maps", "draws"),
    "logits": (
        FINE_ARCHITECTURE, [G, F.replace("outputs))", "2))")], "maps codes", r"\(4, 2\) logits, expected \(4, 1\)",
    ),
    "no list": (
        FINE_ARCHITECTURE, [G, "return nn.Flatten()"], "maps codes",
        r"discriminator\(\) gives Flatten.*, not a list of layers",
    ),
    "unused": (FINE_ARCHITECTURE, [G, UNUSED], "gradients", r"parameter .*more.* gets no finite gradient"),
    "cached": (FINE_ARCHITECTURE, [G, CACHED], "makes new", "two calls give discriminators with .* in common"),
    "domain": (FINE_LOSS, ["pass", "return {'three': half.z.mean()}"], "scalar", "a term for 'three'; domains: one"),
    "vector": (
        FINE_LOSS, ["pass", "return {d: x.mean((1, 2, 3)) for d, x in half.fake.items()}"], "scalar", r"\(8,\) for",
    ),
    "infinite": (FINE_LOSS, ["pass", "return {d: x.mean() / 0 for d, x in half.fake.items()}"], "scalar", r"gives inf"),
    "one scalar": (FINE_LOSS, ["pass", "return half.z.mean()"], "scalar", r"gives a Tensor, not \{domain"),
    "nothing": (FINE_LOSS, ["pass", "return {}"], "scalar", "gave no term in 2 steps"),
    "runs differ": (FINE_LOSS, ["pass", COUNTED], "equal", "two runs of one seed differ"),
    "measures nothing": (FINE_METRIC, ["return None"], "measures", "gives a NoneType, not a coupling.Measured"),
    "no object": (FINE_METRIC, ["return 1.0"], "measures", "gives a float, not a coupling.Measured"),
    "domains": (FINE_METRIC, ["self.domains = ['x']; return Measured(1.0)"], "measures", "domains names 'x', which is"),
    "measures nan": (FINE_METRIC, ["return Measured(1.0, details={'a': float('nan')})"], "measures", "'it/a' is nan"),
    "out of range": (FINE_METRIC, ["self.range = (0, 1); return Measured(1.5)"], "measures", "1.5 is not in its range"),
    "metric range": (FINE_METRIC, ["return Measured(1.0)"], "measures", "range is 'any'; use"),
    "tensor": (FINE_METRIC, ["return Measured(torch.ones(1))"], "measures", "'it' is a Tensor, not a number"),
    "better": (FINE_METRIC, ["return Measured(1.0)"], "measures", "better is 'high'; use 'higher' or 'lower'"),
    "draws numbers": (FINE_METRIC, ["return Measured(torch.rand(()).item())"], "measures", "other values of the same"),
}  # fmt: skip
CHANGED = {
    "no docstring": ("'''Numbers.'''", "pass"),
    "no description": ('Annotated[int, Field(description="samples")]', "int"),
    "required": (" = 12):", "):"),
    "metric range": ("def measure", "range = 'any'\n    def measure"),
    "better": ("def measure", "better = 'high'\n    def measure"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_component_fails(plugin, name):
    template, parts, what, message = WRONG[name]
    source = broken(template, *parts).replace(*CHANGED.get(name, ("", "")))
    found = [check for check in checks(str(plugin(source))) if what in check.what]
    assert len(found) == 1
    with pytest.raises(AssertionError, match=message) as caught:
        found[0]()
    assert str(caught.value).startswith(str(found[0]))


def test_options_of_an_unknown_component_are_an_error(plugin):
    with pytest.raises(PluginError, match="registers nothing called 'its'; did you mean 'it'"):
        checks(str(plugin(broken(FINE_METRIC, "return {}"))), {"its": {}})


def test_a_component_with_the_options_none_is_not_run(plugin):
    found = checks(str(plugin(broken(FINE_METRIC, "return {}"))), {"it": None})
    assert [check.what for check in found] == ["its options are described"]


def test_a_check_is_named_by_component_and_property(plugin):
    found = checks(str(plugin(broken(FINE_DATASET, "pass"))), {"it": [{}, {"count": 9}]})
    assert len({str(check) for check in found}) == len(found)
    assert "dataset it (count: 9): samples are as declared" in {str(check) for check in found}
