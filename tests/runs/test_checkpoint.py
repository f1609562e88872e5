"""Checkpoints: whole or not there, verified, pruned, without pickle."""

from __future__ import annotations

import copy
import errno
import json
import os
import pathlib
import shutil

import pytest
import safetensors
import torch
from torch import nn

from coupling.config.sections import OptimizerConfig
from coupling.errors import InputError, RunError
from coupling.runs import checkpoint
from coupling.runs.tensor_files import read_metadata, read_tensors
from coupling.training.state import optimizer_tensors, restore_optimizer

FILES = ("model.safetensors", "state.safetensors", "manifest.json")
PROGRESS = {"losses": {"loss/generator/b": [0.1, 3], "loss/generator/a": [1 / 3, 3]}, "metrics": {"leading": None}}
METADATA = {"config": {"name": "x"}, "step": 1, "domains": {"b": 1, "a": 2}}


def tensors(step):
    return {"generator.w": torch.arange(6.0).reshape(2, 3).t() + step, "generator.n": torch.tensor(step)}


def written(folder, *content):
    return checkpoint.snapshot(*content).write(folder)


def save(folder, step):
    state = {"generator.0.step": torch.tensor(float(step))}
    return written(folder, step, tensors(step), state, METADATA, PROGRESS)


def flip(path, position):
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def test_a_saved_checkpoint_is_read_back(tmp_path):
    path = save(tmp_path, 12)
    assert path.name == "step-0000012"
    assert sorted(p.name for p in path.iterdir()) == sorted(FILES)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    found, complaints = checkpoint.newest(tmp_path)
    assert complaints == []
    assert (found.path, found.step) == (path, 12)
    assert found.metadata() == METADATA
    assert list(found.metadata()["domains"]) == ["b", "a"]  # their order is that of every picture
    for name, tensor in tensors(12).items():
        assert torch.equal(found.model()[name], tensor)
    assert found.state()["generator.0.step"] == 12.0
    assert found.progress() == PROGRESS  # to the last bit
    assert list(found.progress()["losses"]) == ["loss/generator/b", "loss/generator/a"]


def test_bytes_are_a_function_of_the_content_and_metadata_is_one_key(tmp_path):
    contents = []
    for order in (1, -1):
        (tmp_path / str(order)).mkdir()
        path = written(tmp_path / str(order), 1, dict(list(tensors(1).items())[::order]), {}, METADATA, {})
        contents.append([(path / name).read_bytes() for name in FILES])
    assert contents[0] == contents[1]
    with safetensors.safe_open(path / "model.safetensors", framework="pt") as file:
        assert set(file.metadata()) == {"coupling"}
    assert (path / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_names_for_one_memory_are_saved_all(tmp_path):
    weight = torch.ones(3)
    path = written(tmp_path, 1, {"one": weight, "other": weight, "part": weight[1:]}, {}, {}, {})
    read = checkpoint.verified(path).model()
    assert {name: tensor.shape for name, tensor in read.items()} == {"one": (3,), "other": (3,), "part": (2,)}


def test_the_newest_are_kept_by_number_and_the_rest_is_pruned(tmp_path):
    for step in (2, 9_999_999, 10_000_000):
        save(tmp_path, step)
    (tmp_path / ".step-0000005.tmp").mkdir()
    (tmp_path / "step-notes").mkdir()
    assert checkpoint.newest(tmp_path)[0].step == 10_000_000
    checkpoint.prune(tmp_path, 2)
    assert {p.name for p in tmp_path.iterdir()} == {"step-9999999", "step-10000000", "step-notes"}


def test_the_best_is_not_pruned(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    checkpoint.prune(tmp_path, 1, best=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-0000002", "step-0000004"]
    checkpoint.prune(tmp_path, 1, best=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-0000004"]


def test_a_checkpoint_that_cannot_be_deleted_is_left(tmp_path, monkeypatch):
    for step in (1, 2, 3):
        save(tmp_path, step)

    def stuck(path):
        raise OSError(16, "Device or resource busy")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_remove", stuck)
        checkpoint.prune(tmp_path, 1)
    assert len(list(tmp_path.iterdir())) == 3
    checkpoint.prune(tmp_path, 1)
    assert len(list(tmp_path.iterdir())) == 1


DAMAGES = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-3]),
    "empty": lambda file: file.write_bytes(b""),
    "missing": lambda file: file.unlink(),
    "flipped early": lambda file: flip(file, 9),
    "flipped late": lambda file: flip(file, file.stat().st_size - 5),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, name, damage):
    save(tmp_path, 1)
    torn = save(tmp_path, 2)
    DAMAGES[damage](torn / name)
    found, complaints = checkpoint.newest(tmp_path)
    assert found.step == 1
    assert len(complaints) == 1
    assert str(torn) in complaints[0]
    assert name in complaints[0]


def test_every_byte_of_the_manifest_is_guarded(tmp_path):
    """A flipped bit in the step or a size would otherwise go unnoticed. White space may change."""
    manifest = save(tmp_path, 1) / "manifest.json"
    content = manifest.read_bytes()
    before = json.loads(content)
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 5
        manifest.write_bytes(flipped)
        try:
            checkpoint.verified(manifest.parent)
        except InputError:
            continue
        assert json.loads(flipped) == before


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"version": 1, "step": 1, "files": {}}', "\ud800"])
def test_a_manifest_without_step_and_files_is_damaged(tmp_path, content):
    path = save(tmp_path, 1)
    (path / "manifest.json").write_text(content, errors="surrogatepass")
    with pytest.raises(InputError, match="manifest"):
        checkpoint.verified(path)


def test_another_format_is_an_error_that_names_both(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 7)
    path = save(tmp_path, 1)
    monkeypatch.undo()
    with pytest.raises(InputError, match="written in checkpoint format 7; this version of coupling reads 1"):
        checkpoint.verified(path)
    with pytest.raises(checkpoint.IntactError):
        checkpoint.newest(tmp_path)  # it is no damage, to be skipped


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_does_not_count_as_damaged(tmp_path, monkeypatch, name, number):
    """It may be whole, so neither an older one is used in its place, nor is it a candidate for deletion."""
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    opened = pathlib.Path.open

    def refusing(self, *arguments, **options):
        if self == path / name:
            raise OSError(number, os.strerror(number))
        return opened(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "open", refusing)
        for read in (checkpoint.newest, lambda folder: checkpoint.verified(folder / path.name)):
            with pytest.raises(
                checkpoint.IntactError,
                match=f"{name}: cannot be read: {os.strerror(number)}; the checkpoint may be intact",
            ):
                read(tmp_path)
    assert checkpoint.newest(tmp_path)[0].step == 2


def test_a_damaged_newer_checkpoint_never_outlives_a_whole_one(tmp_path):
    """After a resume from step 1, the torn step 3 would count as the newest and step 2 be pruned."""
    save(tmp_path, 1)
    flip(save(tmp_path, 3) / "model.safetensors", -1)
    assert checkpoint.newest(tmp_path)[0].step == 1
    save(tmp_path, 2)
    checkpoint.prune(tmp_path, 1)
    found, complaints = checkpoint.newest(tmp_path)
    assert (found.step, complaints) == (2, [])
    assert [p.name for p in tmp_path.iterdir()] == ["step-0000002"]


@pytest.mark.parametrize("broken", ["save_file", "sync"])
def test_a_disk_that_is_full_leaves_the_earlier_checkpoints(tmp_path, monkeypatch, broken):
    save(tmp_path, 1)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    if broken == "save_file":
        monkeypatch.setattr(checkpoint.safetensors.torch, "save_file", full)
    else:
        monkeypatch.setattr(checkpoint, "sync", full)
    with pytest.raises(RunError, match=r"step-0000002: cannot be written: .*No space left.*--resume"):
        save(tmp_path, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-0000001"]
    assert checkpoint.newest(tmp_path)[0].step == 1


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert checkpoint.newest(tmp_path) == (None, [])
    assert checkpoint.newest(tmp_path / "missing") == (None, [])
    with pytest.raises(InputError, match=r"manifest\.json is missing"):
        checkpoint.verified(tmp_path)


def test_a_pickle_is_never_read(tmp_path):
    """A file that torch.save wrote executes code when unpickled; here it is an error."""
    path = save(tmp_path, 1)
    torch.save({"generator.w": torch.ones(1)}, path / "model.safetensors")
    for read in (read_tensors, read_metadata):
        with pytest.raises(InputError, match="cannot be read as safetensors"):
            read(path / "model.safetensors")


def test_a_safetensors_file_of_others_is_an_error(tmp_path):
    safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="not a model that coupling wrote"):
        read_metadata(tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        read_metadata(tmp_path / "missing.safetensors")


OPTIMIZERS = [
    OptimizerConfig(lr=0.01, betas=(0.5, 0.9)),
    OptimizerConfig(name="adamw", lr=0.01, weight_decay=0.1),
    OptimizerConfig(name="sgd", lr=0.01),
    OptimizerConfig(name="sgd", lr=0.01, momentum=0.9),
    OptimizerConfig(name="rmsprop", lr=0.01, momentum=0.5),
]


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=lambda s: f"{s.name}-{s.momentum}")
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_restored_optimizer_continues_as_if_never_stopped(tmp_path, settings, memory):
    """Through a file, which keeps no strides: fused Adam on moments of other strides is silently wrong."""
    from coupling.training.build import make_optimizer

    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3).to(memory_format=memory)
    xs = torch.randn(4, 2, 3, 5, 5)

    def step(network, optimizer, x):
        optimizer.zero_grad()
        network(x).square().sum().backward()
        optimizer.step()

    optimizer = make_optimizer(settings, list(network.parameters()))
    for x in xs[:2]:
        step(network, optimizer, x)
    path = written(tmp_path, 2, network.state_dict(), optimizer_tensors(optimizer), {}, {})
    other = copy.deepcopy(network)
    other.load_state_dict(checkpoint.verified(path).model())
    again = make_optimizer(settings, list(other.parameters()))
    restore_optimizer(again, checkpoint.verified(path).state())
    for x in xs[2:]:
        step(network, optimizer, x)
        step(other, again, x)
    for one, restored in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, restored)
        assert one.stride() == restored.stride()
        for name, value in optimizer.state[one].items():
            if value is not None:
                assert torch.equal(value, again.state[restored][name])
                assert value.stride() == again.state[restored][name].stride()


def test_a_checkpoint_can_be_copied_and_renamed(tmp_path):
    path = save(tmp_path, 3)
    shutil.copytree(path, tmp_path / "good")
    assert checkpoint.verified(tmp_path / "good").step == 3


def test_a_flipped_bit_in_the_version_is_damage_and_not_another_format(tmp_path):
    for step in (1, 2):
        written(tmp_path, step, {"a": torch.ones(2)}, {}, {"step": step}, {})
    manifest = tmp_path / "step-0000002" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"version": {checkpoint.VERSION}', '"version": 3'))
    found, complaints = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.step == 1
    assert "step-0000002: manifest.json was altered" in complaints[0]
