"""Folders and zips made at random, on the command line: a run of the samples of a slow reader, or exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from coupling.cli import cli
from tests.conftest import TINY
from tests.data.images.test_fuzz import POSIX, SIZE, entries, files_of_folder, files_of_zip, places, slow_content
from tests.support import tiny_plugin as tiny

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def check(made, packed, on_error):
    with places(made, packed) as place:
        values = tiny.values("training.steps=1", "training.batch_size=1")
        entry = {"name": "image-folder", "path": str(place), "size": list(SIZE), "on_error": on_error}
        values["domains"] = {"a": {"dataset": entry}}
        file, output = place.parent / "x.yaml", place.parent / "run"
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        found = dict((files_of_zip if packed else files_of_folder)(place))
        bad = [path for path, read in found.items() if slow_content(read) is None]
        count = len(found) - len(bad)
        result = CliRunner().invoke(cli, ["run", str(file), "--plugin", TINY, "--output", str(output)])
        if count and (not bad or on_error == "skip"):
            assert result.exit_code == 0, result.output
            data = json.loads((output / "environment.json").read_text())["data"]["a"]
            assert f":{count} of {count}:" in data
            return
        assert result.exit_code == 2, result.output
        assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1, result.output
        assert any(
            Path(name).name.encode(errors="backslashreplace").decode() in result.stderr for name in bad or [place]
        )
        assert not output.exists()


@POSIX
@pytest.mark.parametrize("packed", [False, True])
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
@given(made=entries(), on_error=st.sampled_from(["stop", "skip"]))
def test_a_run_or_one_error(packed, made, on_error):
    check(made, packed, on_error)


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("packed", [False, True])
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
@given(made=entries(), on_error=st.sampled_from(["stop", "skip"]))
def test_a_run_or_one_error_at_length(packed, made, on_error):
    check(made, packed, on_error)
