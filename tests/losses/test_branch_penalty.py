"""The penalty on what private generator layers add: its value, its checks, and that it keeps branches small."""

import pytest
import torch

from coupling.api import parse_config
from coupling.domain import Domain
from coupling.errors import ConfigError
from coupling.losses.loss import GeneratorHalf
from coupling.losses.penalties import BranchPenalty
from coupling.networks.build import assemble
from coupling.plugins import installed

DOMAINS = {name: Domain(name, (3, 16, 16), (-1, 1)) for name in ("a", "b")}


def networks(layers):
    """Residual networks of 4 + 3 layers, whose even layers are branches; layer 4 is private."""
    values = {
        "name": "branches",
        "domains": {name: {"dataset": "mnist"} for name in DOMAINS},
        "generator": {"architecture": {"name": "residual", "width": 0.1, "between": "branches"}},
        "discriminator": {"architecture": {"name": "residual", "width": 0.1}},
        "sharing": {"generator": [{"first": 3}, {"layers": [5, 7]}]},
        "losses": ["non-saturating", {"name": "branch-penalty", "layers": layers}],
    }
    return assemble(parse_config(values), DOMAINS, installed().registry)


def test_the_value_is_the_mean_size_of_what_the_layers_add():
    torch.manual_seed(0)
    drawn = {("a", layer): torch.randn(4, 5) for layer in (1, 2, 3, 4)}
    loss = BranchPenalty(layers=[4, 2, 4], weight=0.5)
    half = GeneratorHalf(0, [], torch.zeros(4, 1), {"a": torch.zeros(4, 1)}, {}, {}, drawn=drawn)
    expected = [(drawn["a", n] - drawn["a", n - 1]).abs().sum() / 20 for n in (2, 4)]
    torch.testing.assert_close(loss.generator(half), {"a": 0.5 * sum(expected) / 2})
    assert loss.generator_taps() == [1, 2, 3, 4]


def test_a_branch_begins_without_a_penalty_and_gets_one_as_it_changes():
    made = networks([4])

    def penalty():
        with torch.no_grad():
            fake, drawn = made.generator.tapped(torch.randn(3, 100), [3, 4])
        half = GeneratorHalf(0, list(DOMAINS.values()), torch.zeros(0), fake, {}, {}, drawn=drawn)
        return made.losses["branch-penalty"].generator(half)

    assert penalty() == {"a": 0, "b": 0}
    torch.nn.init.constant_(made.generator.layers["layer4[a]"].branch[2].bias, 0.25)
    assert penalty() == {"a": 0.25, "b": 0}


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([3], r"losses\[1\] branch-penalty: layers: generator layer 3 of domain 'a' turns \(\d+, \d, \d\) into "),
        ([8], r"losses: branch-penalty reads generator layer 8, but domain 'a' has layers 1 to 7"),
        ([1], r"losses\[1\].layers\[0\]: .*1"),
        ([], r"losses\[1\].layers: "),
    ],
)
def test_layers_that_do_not_suit_are_errors_before_training(layers, message):
    with pytest.raises(ConfigError, match=message):
        networks(layers)
