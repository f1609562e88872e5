"""The cost of a step, counted by hand for linear layers."""

from __future__ import annotations

import math

from coupling.domain import Domain
from coupling.networks.build import assemble
from coupling.training.cost import separate, step_cost
from tests.support import tiny_plugin as tiny


def test_a_step_of_one_gan():
    config = tiny.config("domains={a: {dataset: tiny}}", "sharing={}")
    domain = {"a": Domain("a", tiny.SHAPE, (-1.0, 1.0))}
    networks = assemble(config, domain, tiny.plugins().registry)
    g = [p.numel() for p in networks.generator.parameters() if p.dim() == 2]
    f = [p.numel() for p in networks.discriminator.parameters() if p.dim() == 2]
    # Generators: one forward; backward to weights and inputs, but not to z.
    generators = sum(g) + 2 * sum(g) - g[0]
    # Discriminators: real and generated, forward and backward but not to the samples; then generated
    # samples once more, backward to them alone.
    discriminators = 2 * (sum(f) + 2 * sum(f) - f[0]) + 2 * sum(f)
    assert step_cost(config, domain, tiny.plugins().registry) == 2 * (generators + discriminators)


def test_sharing_saves_the_common_layers():
    config = tiny.config()
    domains = {d: Domain(d, tiny.SHAPE, (-1.0, 1.0)) for d in "ab"}
    registry = tiny.plugins().registry
    assert step_cost(config, domains, registry) < step_cost(separate(config), domains, registry)
    alone = step_cost(tiny.config("domains={a: {dataset: tiny}}", "sharing={}"), {"a": domains["a"]}, registry)
    assert step_cost(separate(config), domains, registry) == 2 * alone


def test_a_gradient_penalty_at_every_step_is_counted():
    """R1 in linear layers: real samples forward, their gradient, and that gradient's own to the weights."""
    config = tiny.config("domains={a: {dataset: tiny}}", "sharing={}")
    penalised = tiny.config("domains={a: {dataset: tiny}}", "sharing={}", "losses=[non-saturating, r1]")
    domain = {"a": Domain("a", tiny.SHAPE, (-1.0, 1.0))}
    registry = tiny.plugins().registry
    more = step_cost(penalised, domain, registry) - step_cost(config, domain, registry)
    weights = sum(p.numel() for p in assemble(config, domain, registry).discriminator.parameters() if p.dim() == 2)
    assert more >= 2 * 3 * weights
    rare = tiny.config("domains={a: {dataset: tiny}}", "sharing={}", "losses=[non-saturating, {name: r1, every: 2}]")
    assert step_cost(rare, domain, registry) == step_cost(config, domain, registry)


def test_real_logits_in_the_generators_half_cost_one_forward_pass_if_a_loss_asks_for_them():
    config = tiny.config("domains={a: {dataset: tiny}}", "sharing={}")
    relativistic = tiny.config("domains={a: {dataset: tiny}}", "sharing={}", "losses=[relativistic-pairing]")
    domain = {"a": Domain("a", tiny.SHAPE, (-1.0, 1.0))}
    registry = tiny.plugins().registry
    weights = sum(p.numel() for p in assemble(config, domain, registry).discriminator.parameters() if p.dim() == 2)
    assert step_cost(relativistic, domain, registry) - step_cost(config, domain, registry) == 2 * weights


def test_a_loss_that_needs_more_samples_than_two_is_counted_on_a_whole_batch():
    domains = {d: Domain(d, tiny.SHAPE, (-1.0, 1.0)) for d in "ab"}
    registry = tiny.plugins().registry
    grouped = tiny.config("losses=[non-saturating, distance-consistency]")
    plain = step_cost(tiny.config(), domains, registry)
    assert plain < step_cost(grouped, domains, registry) < 1.2 * plain


def test_a_loss_that_reads_labels_has_a_cost():
    """The head of a classifier of three classes, and nothing else: on hidden features, real samples of one domain."""
    domains = {d: Domain(d, tiny.SHAPE, (-1.0, 1.0)) for d in "ab"}
    registry = tiny.plugins().registry
    plain = tiny.config()
    labelled = tiny.config("losses=[non-saturating, {name: classification, domains: [a], classes: 3}]")
    more = step_cost(labelled, domains, registry) - step_cost(plain, domains, registry)
    hidden = assemble(labelled, domains, registry).losses["classification"].head[-1].in_features
    assert more == 2 * 3 * hidden * 3  # forward, gradient of the weights, gradient of the features


def test_an_averaged_teacher_looks_at_the_real_samples_anew():
    """Three more layers of one domain, forward: the logits come along."""
    domains = {d: Domain(d, tiny.SHAPE, (-1.0, 1.0)) for d in "ab"}

    def cost(teacher):
        classes = "{name: classification, domains: [a], classes: 3}"
        losses = f"losses=[non-saturating, {classes}, {{name: consistency, teacher: {teacher}}}]"
        return step_cost(tiny.config(losses, "training.ema_discriminators=true"), domains, tiny.plugins().registry)

    pixels, width = math.prod(tiny.SHAPE), 6
    assert cost("averaged") - cost("live") == 2 * (pixels * width + width * width + width)
