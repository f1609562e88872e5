"""Tables of numbers: how they are read, standardised, cut into parts, and written back."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from coupling.api import load_model, parse_config
from coupling.data.csv_file import CsvFile, original, standardised
from coupling.data.domain_data import open_domains
from coupling.data.table import Table
from coupling.domain import Column, Domain
from coupling.errors import ConfigError, CouplingError, PluginError
from coupling.generation.arrays import write_table
from coupling.generation.given_samples import read_samples
from coupling.plugins import Plugins
from tests.conftest import rejected

BUILT_IN = Plugins(entry_points=False)


def write(path, rows, header=("height", "weight", "name")):
    """Write a CSV file with the standard library."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


@pytest.fixture
def table(tmp_path):
    """A file of 40 rows with two columns of numbers and one of text."""
    random = np.random.default_rng(0)
    values = random.normal([170, 65], [10, 12], (40, 2)).round(2)
    return write(tmp_path / "t.csv", [[*row, f"n{number}"] for number, row in enumerate(values.tolist())]), values


def configuration(path, **options):
    network = {"architecture": {"name": "mlp", "hidden": 8, "layers": 2}}
    return {
        "name": "t",
        "latent": {"size": 4},
        "domains": {d: {"dataset": {"name": "table", "path": path} | options.get(d, {})} for d in "ab"},
        "generator": network,
        "discriminator": network,
        "sharing": {"generator": [{"first": 1}], "discriminator": [{"last": 1}]},
        "training": {"steps": 2, "batch_size": 4},
    }


def test_columns_of_numbers_are_standardised_and_others_left_out(table, capsys):
    path, values = table
    data = Table(path=path)
    assert (data.shape, data.range, len(data)) == ((2,), (-4.0, 4.0), 40)
    expected = (values - values.mean(0)) / values.std(0)
    np.testing.assert_allclose(data.batch(range(40)), expected, atol=1e-6)
    assert [column.name for column in data.columns] == ["height", "weight"]
    assert "left out, because their values are not numbers: name" in capsys.readouterr().err
    assert torch.equal(Table(path=path, columns=["weight"]).batch([3]), data.batch([3])[:, 1:])


def test_values_beyond_the_limit_are_cut_off_and_counted(tmp_path, capsys):
    path = write(tmp_path / "t.csv", [[float(n == 0) * 100] for n in range(100)], ["x"])
    data = Table(path=path, limit=3)
    assert data[0].item() == 3
    assert "1 of 100 values lie more than 3 standard deviations from the mean" in capsys.readouterr().err


@given(
    arrays.arrays(np.float64, st.tuples(st.integers(2, 8), st.integers(1, 4)), elements=st.floats(-1e6, 1e6)),
    st.data(),
)
def test_what_is_written_is_the_inverse_of_what_is_read(values, data):
    scales = data.draw(st.lists(st.floats(1e-3, 1e3), min_size=values.shape[1], max_size=values.shape[1]))
    columns = [Column(f"c, {k}", float(values[0, k]), scale) for k, scale in enumerate(scales)]
    np.testing.assert_allclose(
        original(standardised(values, columns), columns), values, rtol=1e-9, atol=1e-6 * np.abs(values).max()
    )
    file = io.BytesIO()
    numbers = standardised(values, columns).astype(np.float32)
    write_table(file, numbers, columns)
    rows = list(csv.reader(io.StringIO(file.getvalue().decode())))
    assert rows[0] == [column.name for column in columns]
    np.testing.assert_allclose(np.array(rows[1:], float), original(numbers, columns), rtol=1e-8, atol=1e-300)


def test_domains_of_one_file_get_disjoint_rows_wherever_it_lies(table, tmp_path):
    path, _ = table
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "u.csv"
    copy.write_bytes(Path(path).read_bytes())
    views = {"a": {"columns": ["height"]}, "b": {"columns": ["weight"]}}
    opened, moved = (
        open_domains(parse_config(configuration(str(place), **views), plugins=BUILT_IN), BUILT_IN.registry)
        for place in (path, copy)
    )
    assert sorted([*opened["a"].indices, *opened["b"].indices]) == list(range(40))
    for name in "ab":
        assert list(opened[name].indices) == list(moved[name].indices)
        assert opened[name].fingerprint == moved[name].fingerprint
    pairs = opened["b"].dataset.counterparts(opened["a"].dataset, [5])
    assert torch.equal(pairs, opened["b"].dataset.batch([5]))


def test_halves_are_kept_as_for_images(table):
    halves = {"a": {"half": 1}, "b": {"half": 2}}
    opened = open_domains(parse_config(configuration(table[0], **halves), plugins=BUILT_IN), BUILT_IN.registry)
    assert [len(data) for data in opened.values()] == [20, 20]
    assert not set(opened["a"].indices) & set(opened["b"].indices)


def test_a_table_may_be_standardised_by_another(table, tmp_path):
    path, values = table
    other = write(tmp_path / "u.csv", [[180, 70], [190, 75]], ["height", "weight"])
    data = Table(path=other, standardised_by=path)
    np.testing.assert_allclose(data[0], (np.array([180, 70]) - values.mean(0)) / values.std(0), atol=1e-5)
    opened = open_domains(parse_config(configuration(path), plugins=BUILT_IN), BUILT_IN.registry)["a"]
    assert len(opened.on({"name": "table", "path": other, "standardised_by": path}, "data")) == 2
    with pytest.raises(ConfigError, match="data: its columns are not those of domain 'a', or are standardised"):
        opened.on({"name": "table", "path": other}, "data")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "t.csv: holds no rows"),
        (b"x,y\n", {}, "t.csv: holds no rows"),
        (b"x,y\n1,2\n3\n", {}, r"t.csv, line 3: has 1 values, the first line names 2 columns"),
        (b"x,y\n1,2\n\n3,four\n", {}, r"t.csv, line 4, column 'y': 'four' is not a finite number"),
        (b"x,y\n1,2\n3,nan\n", {}, "line 3, column 'y': 'nan' is not a finite number"),
        (b"x,y\n1,2\n3,\n", {}, "line 3, column 'y': '' is not a finite number"),
        (b"x;y\n1;2\n3;4\n", {}, "t.csv: has no column of numbers: x;y"),
        (b"x,x\n1,2\n3,4\n", {}, "names the column 'x' twice"),
        (b"x,y\n1,2\n1,3\n", {}, "every value of the column 'x' is the same"),
        (b"x,y\n1,2\n3,4\n", {"columns": ["z"]}, "has no column 'z'; "),
        (b"x,y\n1,2\n3,4\n", {"columns": ["x", "x"]}, "columns: x, x names a column twice"),
        (b"x,y\n1,2\n\xff,4\n", {}, r"is not text in UTF-8 \(byte 8\)"),
        (b'x,y\n1,2\n"3,4\n', {}, "is not CSV"),
    ],
)
def test_bad_tables_are_one_message(tmp_path, content, options, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(CouplingError, match=message):
        Table(path=str(tmp_path / "t.csv"), **options)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    write(tmp_path / "plants.csv", [[1], [2]], ["x"])
    with pytest.raises(ConfigError, match="did you mean"):
        Table(path=str(tmp_path / "plant.csv"))
    with pytest.raises(ConfigError, match="is not a file; a table is a CSV file"):
        Table(path=str(tmp_path))
    with pytest.raises(ConfigError, match=r"standardised_by '.*' is not a file"):
        Table(path=str(tmp_path / "plants.csv"), standardised_by=str(tmp_path))


def test_a_missing_file_without_others_beside_it_says_where_paths_begin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=f"no such file; the path begins in .* started, {re.escape(str(Path.cwd()))}$"
    ):
        Table(path="tables/plants.csv")
    with pytest.raises(ConfigError, match="its folder is not there, or has no CSV file"):
        Table(path=str(tmp_path / "plants.csv"))


def test_a_byte_order_mark_and_blank_lines_are_no_content(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfx,y\r\n\r\n1,2\r\n3,4\r\n,\r\n")
    file = CsvFile.read(tmp_path / "t.csv")
    assert (file.header, file.rows, file.lines) == (["x", "y"], [["1", "2"], ["3", "4"]], [3, 4])


def test_a_model_writes_rows_in_their_units_and_reads_them_again(command, table):
    path, values = table
    Path("c.yaml").write_text(yaml.safe_dump(configuration(path)))
    assert command("run", "c.yaml", "--output", "run").exit_code == 0
    assert command("sample", "run", "--count", 6, "--output", "set").exit_code == 0
    model = load_model("run")
    columns = model.domains["a"].columns
    assert [column.name for column in columns] == ["height", "weight"]
    assert columns[0].centre == pytest.approx(values[:, 0].mean())
    with Path("set/a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    np.testing.assert_allclose(np.array(rows[1:], float), original(np.load("set/a.npy"), columns), rtol=1e-7)
    scales = json.loads(Path("set/manifest.json").read_text())["domains"]["a"]["columns"]
    assert scales == {column.name: [column.centre, column.scale] for column in columns}  # for zips and shards
    quick = ["--no-flag", "--iterations", 2, "--restarts", 1]
    result = command("transform", "run", "set/a.csv", "--from", "a", "--output", "out", *quick)
    assert result.exit_code == 0, result.output
    assert len(Path("out/b.csv").read_text().splitlines()) == 7
    Path("set/a.csv").unlink()
    rejected(command("sample", "run", "--count", 6, "--output", "set"), "1 of its files are missing (a.csv)")


def test_given_rows_are_standardised_and_errors_name_the_row(tmp_path):
    domain = Domain("rows", (2,), (-4.0, 4.0), columns=(Column("x", 10, 2), Column("y", 0, 1)))
    path = tmp_path / "t.csv"
    path.write_text("y,other,x\n1,a,12\n-1,b,30\n")
    given = read_samples([path], domain)
    assert given.samples.tolist() == [[1, 1]]
    assert given.names == ["t-000000"]
    assert "t-000001.csv: values lie in [-1, 10]; scale them into [-4, 4]" in given.errors[0]
    path.write_text("y\n1\n")
    with pytest.raises(CouplingError, match="has no column 'x'"):
        read_samples([path], domain)


def test_columns_that_do_not_fit_the_shape_are_the_plugins_error(monkeypatch, table):
    monkeypatch.setattr("coupling.data.table._columns", lambda *_: (Column("x"), Column("x")))
    with pytest.raises(PluginError, match=r"declares shape \(2,\) and the columns x, x"):
        open_domains(parse_config(configuration(table[0]), plugins=BUILT_IN), BUILT_IN.registry)
