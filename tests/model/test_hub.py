"""Models on the hub, without a network: what is uploaded, that it is loaded again, and what can go wrong."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import types
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import errors
from PIL import Image

from coupling.api import load_model
from coupling.errors import InputError
from coupling.runs.hub import HubAddress, hub_address
from coupling.runs.locations import output_path
from coupling.training.trainer import train
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    changes = ["metrics=[{name: brightness, every: 4}]", "latent.prior=normal"]
    return train(tiny.config(*changes), tmp_path_factory.mktemp("runs") / "run", plugins=tiny.plugins()).path


@pytest.fixture
def model(run):
    return load(run)


def load(path):
    return load_model(path, plugins=tiny.plugins())


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder that is the hub: a repository is a folder in it."""
    root = tmp_path / "hub"
    calls = []

    class Hub:
        def __init__(self, token=None):
            calls.append(("token", token))

        def create_repo(self, repo_id, private=None, exist_ok=False, repo_type="model", space_sdk=None):
            assert exist_ok
            assert space_sdk == ("gradio" if repo_type == "space" else None)
            calls.append(("create", repo_id, private))
            repo_id = f"spaces/{repo_id}" if repo_type == "space" else repo_id
            (root / repo_id).mkdir(parents=True, exist_ok=True)
            return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def create_branch(self, repo_id, branch, exist_ok=False, repo_type="model"):
            calls.append(("branch", repo_id, branch))

        def upload_folder(self, repo_id, folder_path, commit_message, revision=None, repo_type="model"):
            repo_id = f"spaces/{repo_id}" if repo_type == "space" and not repo_id.startswith("spaces/") else repo_id
            calls.append(("upload", commit_message, revision))
            shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)

    def download(repo_id, filename, revision=None, token=None):
        calls.append(("download", repo_id, filename, revision, token))
        return str(root / repo_id / filename)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return root, calls


def same(one, other):
    samples = one.sample(4), other.sample(4)
    return all(torch.equal(samples[0][name], samples[1][name]) for name in samples[0])


# -- there and back --------------------------------------------------------------------------------


def test_a_pushed_model_can_be_loaded_again(model, hub):
    root, calls = hub
    assert model.push_to_hub("me/tiny", private=True, token="t") == "https://huggingface.co/me/tiny"
    assert calls == [("token", "t"), ("create", "me/tiny", True), ("upload", "Upload a coupled GAN", None)]
    assert {p.name for p in (root / "me/tiny").iterdir()} == {
        "README.md", "config.yaml", "model.safetensors", "samples.png",
    }  # fmt: skip
    for address, revision in (("hf://me/tiny", None), ("hf://me/tiny@v1", "v1"), (Path("hf://me/tiny"), None)):
        again = load(address)
        assert same(again, model)
        assert calls[-1] == ("download", "me/tiny", "model.safetensors", revision, None)
        assert (again.digest, again.record) == (model.digest, model.record)
    again = load_model("hf://me/tiny@v2", token="t", plugins=tiny.plugins())
    assert calls[-1] == ("download", "me/tiny", "model.safetensors", "v2", "t")
    assert same(again, model)
    model.push_to_hub("hf://me/tiny", revision="v3", message="Better")
    assert calls[-2:] == [("branch", "me/tiny", "v3"), ("upload", "Better", "v3")]


def test_a_folder_is_as_good_as_the_hub(model, tmp_path):
    model.save_pretrained(tmp_path / "kept")
    assert same(load(tmp_path / "kept"), model)
    with Image.open(tmp_path / "kept/samples.png") as picture:
        assert picture.width > 12 * 64
    assert yaml.safe_load((tmp_path / "kept/config.yaml").read_text()) == model.config.plain()


def test_the_card_says_graph_data_and_metrics(model, tmp_path):
    model.save_pretrained(tmp_path / "kept")
    loaded = huggingface_hub.ModelCard.load(tmp_path / "kept/README.md")
    assert loaded.data.library_name == "coupling"
    assert "coupled-gan" in loaded.data.tags
    text = loaded.text
    assert "| a | 1 × 4 × 4 | -1 to 1 | tiny (" in text
    assert "count: 33" in text
    assert "`tiny:pool:33:16 of 33:06f17dd30e89f3cfc13e3c5ab848fa858e9ba5ec0e7aa2fe65df85c0fe338681`" in text
    assert "## Shared generator layers" in text
    for team, rows in (("generator", ["| 1 | A | A |", "| 3 | · | · |"]), ("discriminator", ["| 1 | · | · |"])):
        section = text.partition(f"## Shared {team} layers")[2].partition("## ")[0]
        assert all(row in section for row in rows)
    assert "normal prior" in text
    value = model.record["metrics"]["brightness/a"]
    assert f"| `brightness/a` | {value:.4g} |" in text
    assert "Measured after 8 steps" in text
    assert model.digest in text
    assert (tmp_path / "kept/samples.png").is_file()
    assert "](samples.png)" in text


def test_the_code_of_the_card_runs(model, hub, monkeypatch):
    model.push_to_hub("me/tiny")
    text = (hub[0] / "me/tiny/README.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert 'load_model("hf://me/tiny")' in code
    assert 'samples["a"]: (8, 1, 4, 4)' in code
    monkeypatch.setattr("coupling.load_model", load)
    values: dict[str, object] = {}
    exec(code, values)
    assert values["samples"]["a"].shape == (8, 1, 4, 4)


def test_metrics_of_the_models_own_step_are_kept(run, tmp_path):
    by_step = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        if "brightness/a" in line:
            by_step[line["step"]] = line["brightness/a"]
    for step in (4, 8):
        model = load(run / f"checkpoints/step-{step:07d}")
        assert model.record["metrics"] == {"brightness/a": by_step[step]}
        model.save(tmp_path / "m.safetensors")
        assert load(tmp_path / "m.safetensors").record == model.record
        assert set(model.record["data"]) == {"a", "b"}


def test_commands_take_an_address_and_write_here(model, hub, command):
    model.push_to_hub("me/tiny")
    result = command("sample", "hf://me/tiny", "--count", 2, "--plugin", TINY)
    assert result.exit_code == 0, result.output
    assert result.stdout == "tiny/sampled\n"
    assert Path("tiny/sampled/a/000001.png").is_file()
    assert command("traverse", "hf://me/tiny@v1", "--pairs", 1, "--plugin", TINY).stdout == "tiny/traversal.png\n"


def test_a_model_is_pushed_with_a_space(hub, command):
    pytest.importorskip("coupling_digits")
    root, calls = hub
    result = command("push", "demo:digits", "hf://me/digits", "--space", "--private")
    assert result.exit_code == 0, result.output
    assert result.stdout == "https://huggingface.co/spaces/me/digits\nhttps://huggingface.co/me/digits\n"
    assert [call for call in calls if call[0] == "create"] == [("create", "me/digits", True)] * 2
    space = root / "spaces/me/digits"
    assert sorted(path.name for path in space.iterdir()) == [
        "README.md", "app.py", "model.safetensors", "requirements.txt",
    ]  # fmt: skip
    assert "models:\n- me/digits\n" in (space / "README.md").read_text()
    assert load_model(root / "me/digits").digest == load_model(space).digest == load_model("demo:digits").digest


def test_a_wrong_name_is_an_error_before_anything_is_uploaded(hub, command):
    for options in ([], ["--space"]):
        rejected(command("push", "demo:digits", "digits", *options), "a model on the hub is hf://USER/MODEL")
    assert hub[1] == []


def test_addresses_are_parsed():
    assert hub_address("hf://me/tiny") == hub_address(Path("hf://me/tiny")) == HubAddress("me/tiny")
    assert hub_address("hf://me/tiny@v1") == HubAddress("me/tiny", "v1")
    assert str(HubAddress("me/tiny", "v1")) == "hf://me/tiny@v1"
    assert hub_address("runs/faces") is None
    assert hub_address("/hf:/x") is None
    assert output_path(Path("hf://me/tiny"), "sampled") == Path("tiny/sampled")


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hf://tiny", "hf://me/tiny/more", "hf://", "hf://me/", "hf://me/ti ny"])
def test_wrong_names_are_errors(name, hub, model):
    with pytest.raises(InputError, match="a model on the hub is hf://USER/MODEL"):
        load(name)
    with pytest.raises(InputError, match="a model on the hub is hf://USER/MODEL"):
        model.push_to_hub(name)
    assert hub[1] == []


def failed(kind, message="x"):
    return kind(message, response=types.SimpleNamespace(headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (failed(errors.RepositoryNotFoundError), "hf://me/tiny@v1: no such model on the hub, or a private one"),
        (failed(errors.GatedRepoError), "is gated: ask for access at https://huggingface.co/me/tiny"),
        (failed(errors.RevisionNotFoundError), "has no revision 'v1'"),
        (failed(errors.RemoteEntryNotFoundError), "holds no model.safetensors, so it is not a model"),
        (errors.LocalEntryNotFoundError("x"), "the hub cannot be reached, and the model is not in its cache"),
        (failed(errors.HfHubHTTPError, "Too many\n requests"), "the hub rejected the request, .*: Too many requests"),
        (OSError("no route"), "the hub rejected the request, or cannot be reached: no route"),
    ],
)  # fmt: skip
def test_errors_of_the_hub_are_one_message(error, message, monkeypatch, command):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    assert re.search(message, rejected(command("sample", "hf://me/tiny@v1")))


def test_a_repository_without_a_model_is_an_error(hub, tmp_path):
    import safetensors.torch

    (hub[0] / "me/other").mkdir(parents=True)
    safetensors.torch.save_file({"w": torch.ones(1)}, hub[0] / "me/other/model.safetensors")
    with pytest.raises(InputError, match="not a model that coupling wrote"):
        load("hf://me/other")


def test_an_upload_that_the_hub_rejects_is_an_error(model, monkeypatch):
    class Hub:
        def __init__(self, token=None):
            pass

        def create_repo(self, *arguments, **options):
            raise failed(errors.HfHubHTTPError, "401 Unauthorized")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    with pytest.raises(InputError, match=r"hf://me/tiny: .*401 Unauthorized; log in with `hf auth login`"):
        model.push_to_hub("me/tiny")


def test_a_folder_that_cannot_be_written_is_an_error(model, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        model.save_pretrained(tmp_path / "file")


# -- the real client, and a server on this machine --------------------------------------------------


def test_the_hubs_own_client_downloads_from_a_server(model, tmp_path):
    content = tmp_path / "served.safetensors"
    model.save(content)
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            found = self.path.endswith("/me/tiny/resolve/main/model.safetensors")
            self.send_response(200 if found else 404)
            if found:
                self.send_header("Content-Length", str(content.stat().st_size))
                self.send_header("ETag", '"' + "0" * 40 + '"')
                self.send_header("X-Repo-Commit", "1" * 40)
            else:
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
            self.end_headers()
            return found

        def do_GET(self):
            if self.do_HEAD():
                self.wfile.write(content.read_bytes())

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    settings = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    environment = os.environ | settings

    def sample(name, **changes):
        command = [sys.executable, "-m", "coupling", "sample", name, "--count", "1", "--plugin", TINY]
        return subprocess.run(command, cwd=tmp_path, env=environment | changes, capture_output=True, text=True,
                              check=False, timeout=120)  # fmt: skip

    try:
        done = sample("hf://me/tiny")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "tiny/sampled\n"
        missing = sample("hf://me/none")
        assert missing.returncode == 2
        assert "hf://me/none: no such model on the hub" in missing.stderr
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert any("me/tiny" in path for path in asked)
    offline = sample("hf://me/tiny", HF_HUB_OFFLINE="1")  # once downloaded, it is there
    assert offline.returncode == 0, offline.stderr
