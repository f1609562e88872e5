"""What the command says of digits that are not as they should be: one message, exit code 2, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from coupling.testing import invoke


def values(dataset: dict) -> dict:
    return {
        "name": "digits",
        "domains": {"a": {"dataset": dataset}},
        "generator": {"architecture": "upsampling"},
        "discriminator": {"architecture": "upsampling"},
        "training": {"steps": 1},
    }


@pytest.mark.parametrize(
    ("dataset", "path", "content", "message"),
    [
        ({"name": "usps"}, "usps/usps.bz2", b"<html>", "an HTML page"),
        ({"name": "usps"}, "usps/usps.h5", b"\x89HDF\r\n\x1a\n", "truncated or damaged, or not an HDF5 file"),
        ({"name": "usps", "count": 8000}, "usps/usps.h5", b"", "count: 8000 is more than the 7291 samples"),
        ({"name": "mnist", "draw": 1}, "mnist/x", b"", "draw: 1 has no effect on all samples"),
        ({"name": "mnist-m"}, "mnist_m/x", b"", "put one of them there"),
        ({"name": "mnist-m"}, "mnist_m/mnist_m.tar.gz", b"<html>", "an HTML page"),
        ({"name": "mnist-m", "origin": "made", "backgrounds": "photos"}, "x", b"", "'photos' is not there"),
        ({"name": "mnist-m", "origin": "mad"}, "x", b"", "'official' or 'made'"),
    ],
)
def test_a_data_set_that_cannot_be_read_is_one_message_with_exit_code_2(
    tmp_path: Path, monkeypatch, dataset, path, content, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / path).parent.mkdir(parents=True)
    (tmp_path / "data" / path).write_bytes(content)
    Path("digits.yaml").write_text(yaml.safe_dump(values(dataset)))
    result = invoke("run", "digits.yaml")
    assert result.exit_code == 2, result.output
    assert result.stderr.count("error: ") == 1
    assert "domains.a.dataset" in result.stderr
    assert message in result.stderr
    assert not Path("runs").exists()
