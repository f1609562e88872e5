"""Style codes: how they are drawn, who reads them, and that everything else works with them."""

from __future__ import annotations

import pytest
import torch

from coupling.api import load_model
from coupling.batch import Batch
from coupling.config.sections import LatentConfig
from coupling.domain import Domain
from coupling.errors import ConfigError, InputError
from coupling.generation.encoder import train_encoder
from coupling.model.directions import principal_directions
from coupling.model.interpolation import path
from coupling.model.inversion import Search
from coupling.networks.build import assemble
from coupling.networks.latent import LatentBatches, LatentSpace, NormalPrior
from coupling.networks.skeleton import build_without_memory
from coupling.networks.style import StyleInput
from coupling.training.trainer import train
from tests.support import tiny_plugin as tiny

STYLED = ("latent={size: 4, style: 3}", "generator.architecture.batch_norm=true")
DOMAINS = {name: Domain(name, tiny.SHAPE, (-1.0, 1.0)) for name in "ab"}


def build(*changes: str, domains=DOMAINS):
    return assemble(tiny.config(*changes), domains, tiny.plugins().registry)


def moved(networks):
    """The networks with style codes that matter, as after some steps."""
    torch.manual_seed(0)
    for parameter in networks.generator.styles.parameters():
        parameter.data.normal_()
    networks.generator.eval()
    return networks


# -- drawing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["uniform", "normal"])
def test_a_domains_style_depends_on_seed_step_and_domain_alone(prior):
    latent = LatentConfig(size=4, style=3, prior=prior)

    def batch(domains, seed=1, step=7, purpose="z", latent=latent):
        return LatentBatches(LatentSpace(latent, domains), seed, Batch(8)).batch(step, purpose)

    z = batch("ab")
    assert z.shape == (8, 10)
    plain = latent.model_copy(update={"style": 0})
    assert torch.equal(z[:, :4], batch("ab", latent=plain))  # as without style codes
    assert torch.equal(z, batch("abc")[:, :10])
    assert torch.equal(z[:, 7:], batch("bx")[:, 4:7])
    columns = [z[:, 4:7], z[:, 7:]]
    columns += [batch("ab", **change)[:, 4:7] for change in ({"seed": 2}, {"step": 8}, {"purpose": "fresh z"})]
    assert len({tuple(part.flatten().tolist()) for part in columns}) == 5


def test_slices_of_the_processes_are_the_whole_in_order():
    space = LatentSpace(LatentConfig(size=3, style=2), "ab")
    parts = [LatentBatches(space, 5, Batch(8, 2, rank)).batch(3) for rank in (0, 1)]
    assert torch.equal(torch.cat(parts), LatentBatches(space, 5, Batch(8)).batch(3))


def test_each_part_stays_within_its_own_support():
    space = LatentSpace(LatentConfig(size=20, style=8, prior="normal"), "ab")
    u = torch.randn(50, 36) * 100
    z = space.prior.inward(u)
    for part, size in zip(z.split(space.sizes, 1), space.sizes, strict=True):
        shell = NormalPrior(size)
        assert shell.least * 0.999 <= part.norm(dim=1).min()
        assert part.norm(dim=1).max() <= shell.most * 1.001
    torch.testing.assert_close(space.prior.inward(space.prior.outward(z)), z)
    assert space.prior.truncated(z, 0.5).abs().max() <= 0.5


# -- reading ---------------------------------------------------------------------------------------


def test_the_input_of_a_private_layer_is_scaled_and_shifted_channel_by_channel():
    layer = StyleInput(3, 2)
    torch.manual_seed(0)
    layer.weight.data.normal_()
    for x in (torch.randn(5, 2), torch.randn(5, 2, 4, 3)):
        s = torch.randn(5, 3)
        for row in range(5):
            for channel in range(2):
                gain = 1 + (layer.weight[channel] * s[row]).sum()
                shift = (layer.weight[2 + channel] * s[row]).sum()
                torch.testing.assert_close(layer(x, s)[row, channel], x[row, channel] * gain + shift)


@pytest.mark.parametrize("changes", [(), ("latent.condition=domain",), ("sharing.generator=[{layers: [1, 3]}]",)])
def test_only_its_own_domain_reads_a_style_code(changes):
    generator = moved(build(*STYLED, *changes)).generator
    z = torch.randn(6, 10)
    drawn = generator(z)
    for number, domain in enumerate("ab"):
        other = z.clone()
        other[:, 4 + 3 * number : 7 + 3 * number] += 1
        found = generator(other)
        for name in "ab":
            assert torch.equal(found[name], drawn[name]) is (name != domain)
        torch.testing.assert_close(generator(other, [domain])[domain], found[domain])


def test_style_codes_change_nothing_at_the_start():
    plain = build("latent.size=4", *STYLED[1:]).generator.eval()
    styled = build(*STYLED).generator.eval()
    z = torch.randn(6, 10)
    for domain, x in plain(z[:, :4]).items():
        assert torch.equal(styled(z)[domain], x)
    assert {k: v for k, v in styled.state_dict().items() if not k.startswith("styles.")}.keys() == (
        plain.state_dict().keys()
    )


def test_what_is_shared_is_still_computed_once():
    generator = build(*STYLED).generator
    rows = []
    generator.layers["layer2[a,b]"].register_forward_hook(lambda m, i, o: rows.append(len(i[0])))
    generator(torch.randn(6, 10))
    assert rows == [6]
    assert list(generator.styles) == ["layer3[a]", "layer3[b]"]
    owners = [users for p, users in generator.sharing_sets() if any(p is q for q in generator.styles.parameters())]
    assert owners == [("a",), ("b",)]


def test_style_codes_count_as_parameters_of_separate_gans_too():
    networks = build(*STYLED, "sharing.generator=[]", "sharing.discriminator=[]")
    assert networks.unshared["generator"] == networks.generator.parameter_counts()[0]


@pytest.mark.parametrize(
    ("rules", "domain"),
    [("[{first: 3}]", "a"), ("[{first: 2}, {layers: [3], domains: [b, c]}]", "b")],
)
def test_a_style_code_that_no_private_layer_reads_is_an_error(rules, domain):
    domains = DOMAINS | {"c": Domain("c", tiny.SHAPE, (-1.0, 1.0))}
    changes = ("latent.style=3", "domains.c.dataset={name: tiny, pool: other}", f"sharing.generator={rules}")
    with pytest.raises(ConfigError, match=f"latent.style: 3: domain '{domain}' has no private generator layer"):
        build(*changes, domains=domains)


# -- everything else -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["uniform", "normal"])
def model(request, tmp_path_factory):
    changes = (*STYLED, f"latent.prior={request.param}", "generator.architecture.width=12", "optimizer.lr=0.05")
    run = train(tiny.config(*changes), tmp_path_factory.mktemp("style") / "run", plugins=tiny.plugins()).path
    return load_model(run, plugins=tiny.plugins())


def test_codes_of_a_model_hold_the_styles_of_all_domains(model):
    assert model.latent_size == 10
    z = model.latent(40, seed=3)
    assert z.shape == (40, 10)
    assert torch.equal(model.latent(3, seed=3, start=17), z[17:20])
    assert torch.equal(next(model.codes(3, block=32)), z[:32])
    with pytest.raises(InputError, match=r"takes \(B, 10\): 4 numbers for all domains, then 3 for each"):
        model.generate(z[:, :4])
    restyled = z[:1].repeat(8, 1)
    restyled[:, 4:7] = z[:8, 4:7]
    drawn = model.generate(restyled)
    assert torch.equal(drawn["b"], drawn["b"][:1].expand(8, -1, -1, -1))
    assert (drawn["a"] - drawn["a"][:1]).abs().max() > 1e-3


def test_a_path_leads_each_part_from_end_to_end(model):
    found = model.traverse(pairs=2, steps=5, seed=1)
    ends = model.latent(4, 1)
    way = "spherical" if model.config.latent.prior == "normal" else "straight"
    parts = [path(ends[0::2, cut], ends[1::2, cut], 5, way) for cut in (slice(0, 4), slice(4, 7), slice(7, 10))]
    expected = model.generate(torch.cat(parts, 2).flatten(0, 1))
    for domain, x in found.items():
        torch.testing.assert_close(x.flatten(0, 1), expected[domain])


def test_main_directions_of_common_layers_leave_the_styles_alone(model):
    found = principal_directions(model, 3)
    assert found.moves.shape == (3, 10)
    assert found.moves[:, 4:].abs().max() == 0
    assert found.moves[:, :4].norm(dim=1).min() > 0.1


def test_transform_finds_the_style_too(model):
    drawn = model.sample(8, seed=9)
    found = model.transform(drawn["a"], "a", "b", Search(restarts=2, candidates=64, iterations=150))
    assert found.z.shape == (8, 10)
    assert found.error.max() < 0.02
    torch.testing.assert_close(model.generate(found.z)["b"], found.images["b"])
    encoder = train_encoder(model, "a", tiny.plugins(), steps=2)
    assert encoder(drawn["a"]).shape == (8, 10)


def test_a_saved_model_draws_the_same(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors", plugins=tiny.plugins())
    assert again.digest == model.digest
    for domain, x in again.sample(5).items():
        assert torch.equal(x, model.sample(5)[domain])


def test_a_file_is_loaded_without_initial_weights():
    made = build_without_memory(lambda: assemble(tiny.config(*STYLED), DOMAINS, tiny.plugins().registry, trial=False))
    assert made is not None
    assert all(tensor.is_meta for tensor in made.generator.state_dict().values())
