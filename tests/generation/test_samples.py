"""Sets of corresponding samples: which samples, in which files, and what is left of a draw that was killed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from coupling.api import load_model
from coupling.config.sections import LatentConfig
from coupling.data.images.folder import ImageFolder
from coupling.data.pictures import picture_grid
from coupling.domain import Domain
from coupling.errors import InputError
from coupling.generation import samples as sampling
from coupling.generation.sample_files import FORMATS
from coupling.generation.samples import write_samples
from coupling.generation.selection import BLOCK, Selection
from coupling.networks.latent import prior_of
from coupling.system.file_lock import RunLock
from coupling.training.trainer import train
from tests.conftest import TINY, rejected
from tests.support import killed_draws
from tests.support import tiny_plugin as tiny

ROOT = Path(__file__).parents[2]


def together(portions):
    portions = list(portions)
    return {name: torch.cat([portion[name] for portion in portions]) for name in portions[0]}


# -- which samples -------------------------------------------------------------------------------------


def test_without_filters_the_samples_are_the_models(model):
    drawn = together(Selection(model, seed=4).samples(0, 600, ["a", "b"]))
    expected = model.sample(600, seed=4, batch_size=BLOCK)
    for name in "ab":
        torch.testing.assert_close(drawn[name], expected[name])


@settings(max_examples=25, deadline=None)
@given(
    start=st.integers(0, 700), count=st.integers(1, 400), keep=st.sampled_from([None, 0.004, 0.5, 1.0]),
    truncation=st.sampled_from([None, 0.6]),
)  # fmt: skip
def test_a_sample_does_not_depend_on_start_and_stop(model, start, count, keep, truncation):
    selection = Selection(model, 1, truncation, keep)
    if selection.kept == 1:
        start, count = start % 20, min(count, 20)
    whole = together(selection.samples(0, start + count + 5, ["a", "b"]))
    part = together(selection.samples(start, start + count, ["b"]))
    assert list(part) == ["b"]
    assert torch.equal(part["b"], whole["b"][start : start + count])  # to the last bit


def test_the_best_of_each_block_are_kept_in_order(model):
    selection = Selection(model, seed=2, keep=0.3)
    assert selection.kept == 77
    expected = []
    for block in range(3):
        samples = model.generate(model.latent(BLOCK, 2, start=block * BLOCK))
        scores = [
            np.mean([model.discriminator({name: x[i : i + 1]}).real_logits[name].item() for name, x in samples.items()])
            for i in range(BLOCK)
        ]  # fmt: skip
        best = sorted(sorted(range(BLOCK), key=lambda i: -scores[i])[:77])
        expected.append(samples["a"][best])
        assert min(scores[i] for i in best) >= max(s for i, s in enumerate(scores) if i not in best)
    drawn = together(selection.samples(0, 3 * 77, ["a", "b"]))
    torch.testing.assert_close(drawn["a"], torch.cat(expected))


@pytest.mark.parametrize("prior", ["uniform", "normal"])
def test_truncated_codes_follow_the_truncated_prior(prior):
    support, bound = prior_of(LatentConfig(prior=prior, size=40)), 0.7
    source = torch.Generator().manual_seed(0)
    z = torch.randn(500, 40, generator=source) if prior == "normal" else torch.rand(500, 40, generator=source) * 2 - 1
    cut = support.truncated(z, bound)
    assert cut.abs().max() <= bound
    assert torch.equal(z.flatten().argsort(), cut.flatten().argsort())
    whole = stats.norm() if prior == "normal" else stats.uniform(-1, 2)
    part = stats.truncnorm(-bound, bound) if prior == "normal" else stats.uniform(-bound, 2 * bound)
    np.testing.assert_allclose(part.cdf(cut.double()), whole.cdf(z.double()), atol=1e-6)
    assert stats.kstest(cut.flatten().numpy(), part.cdf).pvalue > 0.01


def test_a_wide_truncation_of_a_normal_prior_changes_nothing():
    z = torch.tensor([[-9.0, -3.0, 0.0, 1.5, 9.0]])
    cut = prior_of(LatentConfig(prior="normal", size=5)).truncated(z, 8.0)
    torch.testing.assert_close(cut, z.clamp(-8, 8), rtol=1e-6, atol=1e-6)


def test_codes_are_truncated_wherever_they_begin(model):
    assert torch.equal(model.latent(30, 5, 1010, 0.5), model.latent(30, 5, 1010) * 0.5)
    assert torch.equal(model.latent(0, 5, 3, 0.5), torch.empty(0, 5))


def test_wrong_filters_are_errors(model, tmp_path):
    for bound in (0.0, -1.0, 1.0, 2.0):
        with pytest.raises(InputError, match=r"codes of a uniform prior lie in \[-1, 1\]"):
            Selection(model, truncation=bound)
    for bound in (0.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="standard deviations"):
            prior_of(LatentConfig(prior="normal")).truncated(torch.zeros(1, 100), bound)
    for keep in (0.0, 1.1, float("nan")):
        with pytest.raises(InputError, match="keep is"):
            Selection(model, keep=keep)


def test_a_model_whose_discriminators_tell_kinds_has_no_score(tmp_path):
    config = tiny.config("losses=[domain-softmax]", "training.steps=1")
    path = train(config, tmp_path / "run", plugins=tiny.plugins()).path
    with pytest.raises(InputError, match="give 3 logits a sample"):
        Selection(load_model(path, plugins=tiny.plugins()), keep=0.5)


# -- in which files ------------------------------------------------------------------------------------


def files_of(root, kind):
    """{(domain, number): PNG}, read without our code."""
    if kind == "folder":
        return {(path.parent.name, path.name[:6]): path.read_bytes() for path in root.glob("*/*.png")}
    found = {}
    if kind == "zip":
        for path in root.glob("*.zip"):
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None
                found |= {(path.stem, name[:6]): archive.read(name) for name in archive.namelist()}
        return found
    for path in sorted(root.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                number, name, suffix = member.name.split(".")
                assert suffix == "png"
                found[name, number] = tar.extractfile(member).read()
    return found


def test_all_formats_hold_the_same_images(model, tmp_path):
    found = {}
    for kind in FORMATS:
        root = write_samples(Selection(model, 6), tmp_path / kind, 300, kind, 64 if kind == "webdataset" else None)
        found[kind] = files_of(root, kind)
        assert not list(root.glob(".*")), kind
    assert found["folder"] == found["zip"] == found["webdataset"]
    assert sorted(found["folder"]) == [(name, f"{number:06d}") for name in "ab" for number in range(300)]
    samples = model.sample(300, seed=6, batch_size=BLOCK)
    for (name, number), png in found["folder"].items():
        picture = Image.open(io.BytesIO(png))
        assert picture.mode == "L"
        expected = (samples[name][int(number), 0] + 1) * 127.5
        assert np.abs(np.asarray(picture) - expected.numpy()).max() <= 0.501
    shards = sorted(path.name for path in (tmp_path / "webdataset").glob("*.tar"))
    assert shards == [f"pairs-{number:06d}.tar" for number in range(5)]
    with tarfile.open(tmp_path / "webdataset" / shards[0]) as tar:
        assert tar.getnames()[:3] == ["000000.a.png", "000000.b.png", "000001.a.png"]
        assert len(tar.getnames()) == 128


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_folder_and_a_zip_of_a_domain_are_data_sets(model, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "data"))
    root = write_samples(Selection(model, 6), tmp_path / "set", 20, kind)
    samples = model.sample(20, seed=6, batch_size=BLOCK)
    for name in "ab":
        data = ImageFolder(path=str(root / name) + (".zip" if kind == "zip" else ""), mode="gray")
        torch.testing.assert_close(data.batch(range(20)), samples[name], rtol=0, atol=1 / 255 + 1e-6)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the library leaves its files to the garbage collector
def test_webdataset_reads_the_shards(model, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    root = write_samples(Selection(model, 6), tmp_path / "set", 10, "webdataset", 4)
    urls = str(root / "pairs-{000000..000002}.tar")
    read = list(webdataset.WebDataset(urls, shardshuffle=False).decode("l8"))
    assert [sample["__key__"] for sample in read] == [f"{number:06d}" for number in range(10)]
    samples = model.sample(10, seed=6, batch_size=BLOCK)
    for number, sample in enumerate(read):
        for name in "ab":
            expected = (samples[name][number, 0] + 1) * 127.5
            assert np.abs(sample[f"{name}.png"].astype(float) - expected.numpy()).max() <= 0.501


def test_domains_that_differ_only_in_case_are_an_error_in_a_webdataset(tmp_path):
    with pytest.raises(InputError, match="A, a, differ only in upper and lower case"):
        FORMATS["webdataset"](tmp_path, {name: Domain(name, (1, 4, 4), (0, 1)) for name in "Aa"}, 3)


def test_the_manifest_records_model_seed_and_filters(model, run, tmp_path):
    root = write_samples(Selection(model, 7, 0.9, 0.3), tmp_path / "set", 5, source=str(run))
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["model"] == str(run)
    assert manifest["generators"] == model.digest
    assert len(manifest["discriminators"]) == 64
    recorded = {
        key: manifest[key] for key in ("step", "seed", "count", "truncation", "keep", "kept", "format", "complete")
    }
    assert recorded == {
        "step": 8, "seed": 7, "count": 5, "truncation": 0.9, "keep": 0.3, "kept": 77 / 256, "format": "folder",
        "complete": True,
    }  # fmt: skip
    assert manifest["domains"]["a"] == {"shape": [1, 4, 4], "range": [-1.0, 1.0], "mode": "L"}
    assert manifest["versions"]["torch"] == torch.__version__


# -- what was interrupted ------------------------------------------------------------------------------


def test_a_draw_killed_anywhere_continues_to_the_same_bytes(tmp_path):
    run = train(tiny.config(*tiny.MIXED), tmp_path / "run", plugins=tiny.plugins()).path
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.support.killed_draws", run, tmp_path],
        capture_output=True, text=True, timeout=300, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row for row in rows if not row["same"]] == []
    for kind in FORMATS:
        here = [row for row in rows if row["kind"] == kind]
        assert {row["written"] for row in here} == {0, 3, 6, 7}
        for what, least in (("operation", 12), ("image", 14)):
            codes = [row["code"] for row in here if row["what"] == what]
            assert codes == [-9] * (len(codes) - 1) + [0]
            assert len(codes) > least


def test_written_samples_are_not_drawn_again(model, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "PART", 4)
    asked = []
    samples = Selection.samples
    monkeypatch.setattr(Selection, "samples", lambda s, *a: asked.append(a[:2]) or samples(s, *a))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FORMATS["folder"], "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_samples(Selection(model), tmp_path / "set", 10)
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert (manifest["written"], manifest["complete"]) == (10, False)
    (tmp_path / "set" / "manifest.json").write_text(json.dumps(manifest | {"written": 8}))
    write_samples(Selection(model), tmp_path / "set", 10)
    before = killed_draws.content(tmp_path / "set")
    write_samples(Selection(model), tmp_path / "set", 10, source="the same, called otherwise")
    assert asked == [(0, 10), (8, 10)]
    assert killed_draws.content(tmp_path / "set") == before


@pytest.mark.parametrize("kind", FORMATS)
def test_missing_files_of_a_complete_set_are_an_error(model, tmp_path, kind):
    path = tmp_path / "set"
    write_samples(Selection(model), path, 10, kind)
    write_samples(Selection(model), path, 10, kind)
    written = {p for p in path.rglob("*") if p.suffix in (".png", ".zip", ".tar")} - {path / "grid.png"}
    gone = min(written)
    gone.unlink()
    with pytest.raises(
        InputError, match=f"1 of its files are missing \\({gone.relative_to(path)}\\); delete it to draw"
    ):
        write_samples(Selection(model), path, 10, kind)


# -- the command ---------------------------------------------------------------------------------------


@pytest.fixture
def sample(command, run):
    return lambda *arguments: command("sample", run, "--plugin", TINY, "--output", "set", *arguments)


def test_the_command_writes_every_format_and_continues(sample):
    arguments = ("--count", 9, "--format", "webdataset", "--shard-size", 4, "--keep", 0.5, "--truncation", 0.8)
    result = sample(*arguments)
    assert (result.exit_code, result.stdout) == (0, "set\n"), result.output
    assert sorted(path.name for path in Path("set").iterdir()) == [
        "grid.png", "manifest.json", *(f"pairs-00000{n}.tar" for n in range(3)),
    ]  # fmt: skip
    manifest = json.loads(Path("set/manifest.json").read_text())
    Path("set/manifest.json").write_text(json.dumps(manifest | {"written": 4, "complete": False}))
    again = sample(*arguments)
    assert "set: 4 of 9 samples are there; continuing" in again.stderr
    assert "set: all 9 samples are there" in sample(*arguments).stderr


def test_a_directory_with_other_samples_is_an_error(sample, run):
    assert sample("--count", 5).exit_code == 0
    for arguments, fragment in (
        (("--count", 6), "whose count is 5, not 6"),
        (("--count", 5, "--seed", 1), "whose seed is 0, not 1"),
        (("--count", 5, "--truncation", 0.5), "whose truncation is null, not 0.5"),
        (("--count", 5, "--keep", 0.5), "whose discriminators is null"),
        (("--count", 5, "--format", "zip"), "whose format is folder, not zip"),
    ):
        rejected(sample(*arguments), "set: holds other samples", fragment, "give another --output")
    manifest = json.loads(Path("set/manifest.json").read_text())
    other = manifest | {"versions": {**manifest["versions"], "torch": "1.0"}}
    Path("set/manifest.json").write_text(json.dumps(other))
    rejected(sample("--count", 5), "whose versions.torch is 1.0")
    Path("set/manifest.json").write_text("{")
    rejected(sample("--count", 5), "set: its manifest.json is damaged")
    Path("set/manifest.json").write_text("[]")
    rejected(sample("--count", 5), "set: its manifest.json is damaged")
    Path("set/manifest.json").unlink()
    rejected(sample("--count", 5), "set: holds 'a' and no manifest.json")


def test_wrong_arguments_write_nothing(sample):
    rejected(sample("--format", "parquet"), "'parquet' is not one of")
    rejected(sample("--keep", 0), "0.0 is not in the range")
    rejected(sample("--truncation", 1.5), "--truncation 1.5; codes of a uniform prior lie in")
    rejected(sample("--shard-size", 5), "--shard-size 5: a folder has no shards")
    rejected(sample("--device", "abacus"), "--device abacus: no such kind of device (cpu, cuda, ")
    rejected(sample("--seed", -1), "-1 is not in the range x>=0")
    assert not Path("set").exists()


def test_two_processes_do_not_write_one_set(sample):
    Path("set").mkdir()
    lock = RunLock(Path("set"))
    rejected(sample(), f"set: in use by process {os.getpid()}")
    lock.release()
    assert sample("--count", 2).exit_code == 0


def test_scale_draws_the_grid_again_and_changes_no_sample(run, model, command):
    arguments = ("sample", run, "--count", 5, "--output", "drawn", "--plugin", TINY)
    assert command(*arguments).exit_code == 0
    before = {path: path.read_bytes() for path in Path("drawn").rglob("*.png") if path.name != "grid.png"}
    grid = Path("drawn/grid.png").read_bytes()
    result = command(*arguments, "--scale", 3)
    assert "all 5 samples are there" in result.stderr
    assert np.array_equal(Image.open("drawn/grid.png"), picture_grid(model.sample(5), model.domains, scale=3))
    assert {path: path.read_bytes() for path in before} == before
    assert command(*arguments[:-4], "--output", "other", *arguments[-2:], "--scale", 3).exit_code == 0
    assert Path("other/grid.png").read_bytes() == Path("drawn/grid.png").read_bytes() != grid
