"""Starting from a trained model: which layers are taken, from where, and what is rejected."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from coupling.errors import ConfigError, InputError
from coupling.model.parent import start_networks
from coupling.networks.build import assemble
from coupling.networks.normalisation import DomainBatchNorm
from coupling.runs import checkpoint
from coupling.training.setup import set_up
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny

NORM = (
    "generator.architecture={name: linear, batch_norm: true}",
    "discriminator.architecture={name: linear, batch_norm: true}",
)
C = "domains.c.dataset={name: tiny, count: 13, pool: other}"
QUICK = ("training.steps=2", *NORM)
ALONE = {"a": {"dataset": {"name": "tiny", "count": 33}}}


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    """Runs to start from: two domains, one domain, and three."""
    folder = tmp_path_factory.mktemp("parents")
    train(tiny.config(*QUICK), folder / "two", plugins=tiny.plugins())
    train(tiny.config(*QUICK, f"domains={ALONE}", "sharing={}"), folder / "one", plugins=tiny.plugins())
    train(tiny.config(*QUICK, C), folder / "three", plugins=tiny.plugins())
    return folder


def tensors(path):
    found, _ = checkpoint.newest(path / "checkpoints")
    return found.model()


def started(parent, *overrides, domains=None):
    """The networks of a configuration that starts from ``parent``, and what they took."""
    start = f"training.start_from={parent}" if domains is None else (
        f"training.start_from={{path: {parent}, domains: {domains}}}"
    )  # fmt: skip
    config = tiny.config(*NORM, "seed=7", *overrides, start)
    data = {name: d.domain for name, d in set_up(tiny.config(*NORM, *overrides), tiny.plugins()).data.items()}
    networks = assemble(config, data, tiny.plugins().registry)
    fresh = {team: getattr(networks, team).state_dict() for team in ("generator", "discriminator")}
    fresh = {team: {name: x.clone() for name, x in state.items()} for team, state in fresh.items()}
    return networks, start_networks(config, networks), fresh


def slow_rows(saved, key, name, slots):
    """The parent's statistics in the child's order, one row at a time."""
    return torch.stack([saved[f"{key}.{name}"][slot] for slot in slots])


def test_the_same_configuration_takes_everything(parents):
    networks, found, _ = started(parents / "two")
    saved = tensors(parents / "two")
    for name, x in networks.generator.state_dict().items():
        assert torch.equal(x, saved[f"ema.{name}"]), name  # the weights that the parent draws with
    for name, x in networks.discriminator.state_dict().items():
        assert torch.equal(x, saved[f"discriminator.{name}"]), name
    assert found.left == {"generator": {}, "discriminator": {}, "losses": {}}
    assert found.step == 2
    assert "8 of 8 layers" in found.lines()[0]


def test_one_domain_is_forked_into_three(parents):
    networks, found, _ = started(parents / "one", C)
    saved = tensors(parents / "one")
    for number, key in ((1, "layer1[a,b,c]"), (3, "layer3[a]"), (3, "layer3[b]"), (3, "layer3[c]")):
        for name, x in networks.generator.layers[key].named_parameters():
            assert torch.equal(x, saved[f"ema.layers.layer{number}[a].{name}"]), (key, name)
    assert found.domains == {"a": "a", "b": "a", "c": "a"}
    norm = next(m for m in networks.discriminator.layers["layer2[a,b,c]"].modules() if isinstance(m, DomainBatchNorm))
    expected = slow_rows(saved, "discriminator.layers.layer2[a]", "1.running_mean", [0, 0, 0])
    assert torch.equal(norm.running_mean, expected)
    assert "domains: b from a, c from a" in "\n".join(found.lines())


def test_a_third_domain_joins_two_and_takes_its_private_layers_from_the_chosen_one(parents):
    networks, found, _ = started(parents / "two", C, domains="{c: b}")
    saved = tensors(parents / "two")
    assert found.taken["generator"]["layer3[c]"] == "layer3[b]"
    assert found.taken["discriminator"]["layer2[a,b,c]"] == "layer2[a,b]"
    for name, x in networks.discriminator.layers["layer1[c]"].named_parameters():
        assert torch.equal(x, saved[f"discriminator.layers.layer1[b].{name}"])
    norm = next(m for m in networks.discriminator.layers["layer2[a,b,c]"].modules() if isinstance(m, DomainBatchNorm))
    expected = slow_rows(saved, "discriminator.layers.layer2[a,b]", "1.running_var", [0, 1, 1])
    assert torch.equal(norm.running_var, expected)


def test_fewer_domains_and_other_sharing_take_their_parts(parents):
    networks, found, _ = started(
        parents / "three", "domains={c: {dataset: {name: tiny, pool: other}}, a: {dataset: tiny}}", "sharing={}"
    )
    saved = tensors(parents / "three")
    assert found.taken["generator"] == {
        "layer1[c]": "layer1[a,b,c]", "layer1[a]": "layer1[a,b,c]", "layer2[c]": "layer2[a,b,c]",
        "layer2[a]": "layer2[a,b,c]", "layer3[c]": "layer3[c]", "layer3[a]": "layer3[a]",
    }  # fmt: skip
    for domain, slot in (("c", 2), ("a", 0)):
        layer = networks.discriminator.layers[f"layer2[{domain}]"]
        norm = next(m for m in layer.modules() if isinstance(m, DomainBatchNorm))
        expected = slow_rows(saved, "discriminator.layers.layer2[a,b,c]", "1.running_mean", [slot])
        assert torch.equal(norm.running_mean, expected)


def test_style_codes_are_taken_with_their_layers(tmp_path, parents):
    styled = ("latent.style=2", "training.steps=3")
    train(tiny.config(*NORM, *styled), tmp_path / "styled", plugins=tiny.plugins())
    saved = tensors(tmp_path / "styled")
    networks, found, _ = started(tmp_path / "styled", "latent.style=2", C)
    for child, parent in (("layer3[b]", "layer3[b]"), ("layer3[c]", "layer3[a]")):
        weight = networks.generator.styles[child].weight
        assert torch.equal(weight, saved[f"ema.styles.{parent}.weight"])
        assert weight.abs().max() > 0
    assert found.left["generator"] == {}
    _, found, _ = started(parents / "two", "latent.style=2")
    assert found.left["generator"] == {
        "style code of layer3[a]": "the parent's layer reads none",
        "style code of layer3[b]": "the parent's layer reads none",
    }


def test_layers_that_do_not_fit_keep_their_own_weights_and_are_named(parents):
    networks, found, fresh = started(parents / "two", "latent.size=9", "losses=[non-saturating, head]")
    assert list(found.left["generator"]) == ["layer1[a,b]"]
    assert "0.weight is F32 (6, 9) here, F32 (6, 5) in the parent" in found.left["generator"]["layer1[a,b]"]
    assert found.left["losses"] == {"head": "the parent has no such loss"}
    lines = "\n".join(found.lines())
    assert "generator layer1[a,b]: not taken: 0.weight is F32 (6, 9) here, F32 (6, 5) in the parent" in lines
    for name, x in networks.generator.state_dict().items():
        assert torch.equal(x, fresh["generator"][name]) is name.startswith("layers.layer1") or "running" in name, name


def test_deeper_networks_have_in_common_what_is_near_the_code_and_near_the_logits(tmp_path):
    deep = "{name: mlp, hidden: 8, layers: %d}"
    flat = ("training.steps=1", "sharing={}")
    small = (*flat, f"generator.architecture={deep % 2}", f"discriminator.architecture={deep % 2}")
    train(tiny.config(*small), tmp_path / "small", plugins=tiny.plugins())
    _, found, _ = started(
        tmp_path / "small", *flat, f"generator.architecture={deep % 3}", f"discriminator.architecture={deep % 4}"
    )
    assert found.taken["generator"]["layer1[a]"] == "layer1[a]"
    depth = max(int(key[5]) for key in [*found.taken["discriminator"], *found.left["discriminator"]])
    there = max(int(key[5]) for key in found.taken["discriminator"].values())
    assert found.taken["discriminator"][f"layer{depth}[a]"] == f"layer{there}[a]"


def test_a_parent_that_shares_no_layer_is_an_error(parents):
    wide = "{name: linear, width: 9}"
    with pytest.raises(ConfigError, match=r"start_from: .*two shares no layer .*\n  generator layer1\[a,b\]: 0.w"):
        started(parents / "two", f"generator.architecture={wide}", f"discriminator.architecture={wide}")


def test_a_parent_that_is_not_there_or_damaged_is_an_error(parents, tmp_path):
    with pytest.raises(InputError, match=r"training.start_from: .*nothing: no such run"):
        started(tmp_path / "nothing")
    shutil.copytree(parents / "two", tmp_path / "broken")
    for file in (tmp_path / "broken").rglob("model.safetensors"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"training.start_from: .*no intact checkpoint"):
        started(tmp_path / "broken")


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["training.start_from={path: PARENT, domains: {b: x}}"], r"from: domains.b: the parent has no domain 'x'"),
        (["training.start_from={path: PARENT, domains: {x: b}}"], "start_from.domains: no domain is called 'x'"),
        (["training.start_from={pth: PARENT}"], "training.start_from.pth: unknown key 'pth'; did you mean 'path'"),
        (["training.start_from=3"], "training.start_from: .*should be a mapping"),
        (["training.freeze.generator=[{first: 1}]"], "training.freeze: without training.start_from, layers would keep"),
        (["training.start_from=PARENT", "training.freeze.generator=[{}]"], r"freeze.generator\[0\]: .*is empty"),
        (
            ["training.start_from=PARENT", "training.freeze.generator=[{first: 1, last: 1}]"],
            r"freeze.generator\[0\]: .*at most one of first, last, layers",
        ),
        (
            ["training.start_from=PARENT", "training.freeze.generator=[{domains: [x]}]"],
            r"training.freeze.generator\[0\].domains: no domain is called 'x'",
        ),
        (
            ["training.start_from=PARENT", "training.freeze.generator=[{layers: [7]}]"],
            r"training.freeze.generator\[0\]: the generator of domain 'a' has layers 1 to 3, not 7",
        ),
        (
            ["training.start_from=PARENT", "training.freeze.discriminator=[{domains: [a, b]}]"],
            "training.freeze.discriminator: freezes all layers, so that nothing is left to train; name fewer",
        ),
        (
            ["training.start_from=PARENT", "latent.size=9", "training.freeze.generator=[{first: 1}]"],
            r"training.freeze.generator: layer1\[a,b\] was not taken from .* would keep random weights: 0.w",
        ),
    ],
)  # fmt: skip
def test_a_wrong_start_is_an_error_with_its_place(parents, assignments, message):
    given = [assignment.replace("PARENT", str(parents / "two")) for assignment in assignments]
    with pytest.raises(InputError, match=message):
        set_up(tiny.config(*NORM, *given), tiny.plugins())


def test_a_parent_may_be_an_exported_file_in_the_home_directory(parents, tmp_path, monkeypatch):
    from coupling.api import load_model

    model = load_model(parents / "two", plugins=tiny.plugins())
    model.save(tmp_path / "model.safetensors")
    model.save(tmp_path / "small.safetensors", generators_only=True, half=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    networks, found, _ = started("~/model.safetensors")
    assert found.left == {"generator": {}, "discriminator": {}, "losses": {}}
    saved = tensors(parents / "two")
    assert all(torch.equal(x, saved[f"ema.{name}"]) for name, x in networks.generator.state_dict().items())
    networks, found, fresh = started("~/small.safetensors")
    assert found.left["generator"] == {}
    assert list(found.left["discriminator"]) == list(networks.discriminator.layers)
    for name, x in networks.generator.state_dict().items():
        torch.testing.assert_close(x, saved[f"ema.{name}"], rtol=1e-3, atol=1e-6)
    assert all(torch.equal(x, fresh["discriminator"][name]) for name, x in networks.discriminator.state_dict().items())


def test_a_parent_on_the_hub_is_downloaded(parents, monkeypatch):
    from coupling.runs import hub

    asked = []
    file = parents / "two/checkpoints/step-0000002/model.safetensors"
    monkeypatch.setattr(hub, "download", lambda address, token: asked.append(str(address)) or file)
    _, found, _ = started("hf://somebody/faces")
    assert asked == ["hf://somebody/faces"]
    assert found.path == "hf://somebody/faces"


def test_what_was_taken_is_kept_in_the_run_with_the_parents_digest(parents, tmp_path, capsys):
    import hashlib

    run = train(
        tiny.config(*QUICK, C, f"training.start_from={parents / 'two'}"), tmp_path / "child", plugins=tiny.plugins()
    )
    kept = json.loads((run.path / "parent.json").read_text())
    file = parents / "two/checkpoints/step-0000002/model.safetensors"
    assert kept["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert kept["path"] == str(parents / "two")
    assert kept["taken"]["generator"]["layer1[a,b,c]"] == "layer1[a,b]"
    assert kept["domains"]["c"] == "a"
    assert f"start from {parents / 'two'} (step 2, SHA-256 {kept['sha256'][:12]})" in capsys.readouterr().err
