"""The short ways for plugins' tests: components, domains, batches and commands as in a run."""

from __future__ import annotations

from typing import Annotated

import pydantic
import pytest
import torch
from pydantic import Field

from coupling import ConfigError, DataError, Dataset, PluginError
from coupling.testing import build, invoke, open_domains, options_of, training_batches
from tests.support import tiny_plugin as tiny


class Counting(Dataset):
    """Samples that hold their number."""

    shape, range, source = (1,), (0.0, 9.0), "numbers"

    def __init__(self, *, count: Annotated[int, Field(ge=1, description="samples")] = 9) -> None:
        if count == 5:
            raise OSError("no five")
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return torch.tensor([float(index)])


def test_options_of_a_component_have_types_bounds_and_descriptions():
    options = options_of(Counting)
    assert options().count == 9
    assert options.model_fields["count"].description == "samples"
    with pytest.raises(pydantic.ValidationError, match="greater than or equal to 1"):
        options(count=0)


def test_a_component_is_built_with_all_checks():
    assert len(build(Counting)) == 9
    assert len(build(Counting, {"count": 3})) == 3
    with pytest.raises(ConfigError, match=r"Counting\.count: .*0"):
        build(Counting, {"count": 0})
    with pytest.raises(ConfigError, match="unknown option 'number'"):
        build(Counting, {"number": 3})
    with pytest.raises(PluginError, match="failed: OSError: no five"):
        build(Counting, {"count": 5})


def test_domains_open_as_in_a_run():
    data = open_domains(tiny.values(), plugins=tiny.__file__)
    assert list(data) == ["a", "b"]
    assert data["a"].read([0]).shape == (1, *data["a"].domain.shape)
    with pytest.raises(ConfigError, match="domains"):
        open_domains({"name": "x", "domains": {}})


def test_batches_are_those_of_training():
    read = training_batches(Counting(), 3, seed=1)
    epoch = torch.cat([read(step) for step in range(3)]).flatten().tolist()
    assert sorted(epoch) == list(range(9))
    assert torch.equal(read(1), training_batches(Counting(), 3, seed=1)(1))
    halves = [training_batches(Counting(), 4, seed=1, process=process, processes=2)(0) for process in (0, 1)]
    assert torch.equal(torch.cat(halves), training_batches(Counting(), 4, seed=1)(0))
    with pytest.raises(DataError, match="batch_size: 10 is larger than the 9 samples"):
        training_batches(Counting(), 10)


def test_a_command_runs_in_this_process():
    assert invoke("--version").stdout.startswith("coupling, version")
    result = invoke("check", "there-is-none.yaml")
    assert result.exit_code == 2
    assert "there-is-none.yaml" in result.stderr
