"""Mistakes of a new user: one message with path, value and fix; exit code 2; nothing is written or lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from PIL import Image

from coupling.cli import cli
from coupling.cli.group import HomePath
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny


@pytest.fixture(autouse=True)
def _nothing_left_behind(command):
    """Bad input is found before a run directory is made."""
    yield
    assert not Path("runs").exists()


def numbers(count: int = 8, shape: str = "(1, 4, 4)", low: float = 0, high: float = 255, sample: str = "") -> str:
    """Source of a data set plugin, `numbers`."""
    return f"""
    import torch
    from coupling import Dataset
    class Numbers(Dataset):
        '''Numbers.'''
        shape, range, source = {shape}, ({low}, {high}), "numbers"
        def __len__(self): return {count}
        def __getitem__(self, index):
            return {sample or "torch.full((1, 4, 4), 255.0 * index / 7)"}
    @hookimpl
    def register_datasets(register): register("numbers", Numbers)
    """


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        (["traning.steps=3"], ["tiny.yaml: traning: unknown key 'traning'; did you mean 'training'?"]),
        (["domains.a.dataset=tinny"], ["tiny.yaml: domains.a.dataset: no dataset is called 'tinny'", "'tiny'?"]),
        (["generator.architecture=upsamling"], ["generator.architecture: no architecture", "'upsampling'?"]),
        (["domains.a.dataset.count=lots"], ["domains.a.dataset.count: 'lots' is not valid", "valid integer"]),
        (["training.steps=-1"], ["training.steps: -1 is not valid: should be greater than or equal to 1"]),
        (["training.steps"], ["--set training.steps: write it as path.to.key=value"]),
        (
            [
                "latent.condition=domain",
                "generator.architecture={name: linear, batch_norm: true}",
                "sharing={generator: [{first: 3}]}",
            ],
            ["latent.condition: domain: all domains draw the same", "set batch_statistics: joint"],
        ),
        (
            ["sharing.generator.0.first=9"],
            ["sharing.generator[0] {first: 9}: the generator of domain 'a' has layers 1"],
        ),
        (["sharing.discriminator=[{layers: [4]}]"], ["sharing.discriminator[0] {layers: [4]}", "1 to 3, not 4"]),
        (
            ["sharing.generator=[{first: 2, domains: [a, c]}]"],
            ["sharing.generator[0].domains: no domain is called 'c'"],
        ),
        (["domains.a.dataset.count=0"], ["domains.a.dataset: 'tiny' has no samples"]),
        (
            ["domains.a.dataset.count=1", "domains.b.dataset.count=1"],
            ["domains.a.dataset: 'tiny' has 1 samples, too few for 2 disjoint parts"],
        ),
        (["domains.a.dataset.half=1"], ["domains.b.dataset: shares the source 'tiny:pool'", "if one of them sets"]),
        (
            ["domains.a.dataset.scale=255"],
            ["domains.a.dataset: dataset 'tiny'", "declared is [-1, 1]; scale them into"],
        ),
        (["training.batch_size=17"], ["training.batch_size: 17 is larger than the 16 samples of domain 'a'; lower it"]),
        (["generator.architecture.batch_norm=true", "training.batch_size=1"], ["training.batch_size: 1 leaves one"]),
        (["losses=[r1]"], ["losses: r1: nothing here trains the generators; add an adversarial loss, such as"]),
        (["generator.architecture=digits", "sharing={}"], ["generator.architecture: domain 'a'", "28, 28"]),
        (["generator.architecture=upsampling", "sharing={}"], ["generator.architecture: domain 'a'", "resize"]),
        (
            ["metrics=[{name: pixel-agreement, from: a, to: c}]"],
            ["metrics[0].to: no domain is called 'c'; known: a, b"],
        ),
        (["trackers=[tensorbord]"], ["trackers: no tracker is called 'tensorbord'; did you mean 'tensorboard'?"]),
        (["trackers=[aim]"], ["trackers: 'aim' is not installed; pip install aim, or leave it out"]),
        (["generator.optimizer.betas=[0.5, 1]"], ["generator.optimizer.betas[1]: 1 is not valid"]),
        (["latent.size=0"], ["latent.size: 0 is not valid"]),
        (["latent.size=100000000000"], ["latent.size: 100000000000 is not valid", "1000000"]),
        (["name=my run"], ["name: 'my run' is not valid: a name consists of letters (a to z), digits, - and _"]),
    ],
)
def test_a_wrong_configuration_is_an_error_with_path_and_fix(train, changes, fragments):
    rejected(train(*changes), *fragments)


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ("training.accumulate=3", "training.batch_size: 4 cannot be divided among 3 micro-batches"),
        ("trackers=[tensorbord]", "trackers: no tracker is called 'tensorbord'"),
        ("training={batch_size: 4, accumulate: 4, steps: 2}", "training.batch_size: 4 leaves one sample a micro-batch"),
    ],
)
def test_check_finds_the_errors_that_a_run_would_not_start_with(train, change, fragment):
    normal = "generator.architecture={name: linear, batch_norm: true}"
    assert fragment in rejected(train(change, normal), fragment)
    assert fragment in rejected(train(change, normal, verb="check"), fragment)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("name: [x", "c.yaml: line 1, column 9: not valid YAML"),
        ("name: x\n\tseed: 1", "c.yaml: line 2, column 1: not valid YAML: found character '\\t'"),
        ("domains:\n  a: 1\n  a: 2\n", "c.yaml: line 3: 'a' is given twice; use each name once"),
        ("", "c.yaml: is empty"),
        ("- a", "c.yaml: a configuration is a mapping"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_wrong_file_is_an_error(command, verb, text, fragment):
    Path("c.yaml").write_text(text)
    rejected(command(verb, "c.yaml"), fragment)


def test_a_path_that_is_not_a_file_is_an_error(command):
    rejected(command("run", "missing.yaml"), "missing.yaml: no such file")
    Path("folder").mkdir()
    rejected(command("run", "folder"), "folder: is a directory; give a file")
    Path("latin.yaml").write_bytes(b"name: \xe9")
    rejected(command("run", "latin.yaml"), "latin.yaml: line 1: is not UTF-8 text")


def test_a_forgotten_plugin_is_named_in_the_hint(command):
    Path("c.yaml").write_text(yaml.safe_dump(tiny.VALUES))
    rejected(command("run", "c.yaml"), "c.yaml: domains.a.dataset: no dataset is called 'tiny'", "give --plugin MODULE")
    rejected(command("run", "c.yaml", "--plugin", "missing.py"), "--plugin missing.py: there is no file")


# -- data sets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "fragments"),
    [
        (
            numbers(low=0, high=1),
            ["values lie in [0, 255]", "declared is [0, 1]; scale them into [0, 1], or declare their own range"],
        ),
        (numbers(low=1, high=0), ["declares shape (1, 4, 4), range [1, 0]", "a range is (lowest, highest)"]),
        (numbers(shape="(4, 4)"), ["samples have shape (1, 4, 4), declared is (4, 4)"]),
        (numbers(shape="(1, 0, 4)"), ["declares shape (1, 0, 4)", "a shape is of positive whole numbers"]),
        (numbers(shape="4"), ["does not say its shape, range or source: TypeError"]),
        (numbers(count=0), ["'numbers' has no samples"]),
        (numbers(count=-1), ["does not say its length, identities or groups: ValueError"]),
        (numbers(sample="torch.full((1, 4, 4), float('nan'))"), ["values lie in [nan, nan], declared is [0, 255]"]),
        (
            numbers(sample="torch.zeros(1, 4, 4, dtype=torch.uint8)"),
            ["samples are torch.uint8; a data set gives torch.float32"],
        ),
        (
            numbers(sample="torch.zeros(1, 4, 4).double()"),
            ["samples are torch.float64; a data set gives torch.float32"],
        ),
        (
            numbers(sample="[[0.0] * 4] * 4"),
            ["failed: TypeError: __getitem__ gives a list; return a float32 torch tensor"],
        ),
        (numbers(sample="torch.zeros(1, 4, 4 + index % 2)"), ["failed: RuntimeError: stack expects each tensor"]),
        (numbers(sample="1 / 0"), ["failed: ZeroDivisionError: division by zero (plugin_"]),
        ("def f(): ...\n@hookimpl\ndef register_datasets(register): register('numbers', f)", ["gives a NoneType"]),
        (
            "def f(): raise KeyError('x')\n@hookimpl\ndef register_datasets(register): register('numbers', f)",
            ["failed: KeyError: 'x' (plugin_"],
        ),
        (
            "from coupling import Dataset\nclass D(Dataset):\n  '''D.'''\n"
            "@hookimpl\ndef register_datasets(register): register('numbers', D)",
            ["failed: TypeError: Can't instantiate abstract class D"],
        ),
    ],
)
def test_a_wrong_data_set_of_a_plugin_is_an_error(train, plugin, source, fragments):
    path = plugin(source)
    domains = "domains={x: {dataset: {name: numbers}}}"
    text = rejected(train(domains, "training.batch_size=8", "sharing={}", "--plugin", path), *fragments)
    assert text.startswith("error: domains.x.dataset: ")
    assert "numbers" in text
    if "has no samples" not in text:
        assert f"plugin '{path}'" in text


def test_an_architecture_that_fails_is_named(train, plugin):
    path = plugin(
        """
        class Odd:
            '''Odd.'''
            def generator(self, domain, latent): return [][0]
            def discriminator(self, domain, outputs): return []
        @hookimpl
        def register_architectures(register): register("odd", Odd)
        """
    )
    text = rejected(train("generator.architecture=odd", "sharing={}", "--plugin", path), "IndexError: list index")
    assert text.startswith(f"error: generator.architecture: architecture 'odd' of plugin '{path}' failed: ")
    text = rejected(
        train("discriminator.architecture=odd", "sharing={}", "--plugin", path),
        "return a list of nn.Module, one for each layer",
    )
    assert text.startswith("error: discriminator.architecture: ")


@pytest.mark.parametrize(
    ("body", "fragment"),
    [
        (
            "half.real_logits['a'].flatten()",
            "for domain 'a', something of shape (4,); return one scalar tensor",
        ),
        ("0.0 * half.real['a'].sum(), 'bb': half.real['b'].sum()", "gives a term for domain 'bb'; "),
        ("__import__('sys').exit(0)", "loss 'odd' on the discriminators failed: SystemExit: 0"),
        ("0.5", "for domain 'a', something of type float; return one scalar tensor per domain"),
        ("1 / 0", "loss 'odd' on the discriminators failed: ZeroDivisionError: division by zero (plugin_"),
    ],
)
def test_a_loss_that_fails_is_named(train, plugin, body, fragment):
    path = plugin(f"""
        from coupling import Loss
        class Odd(Loss):
            "Odd."
            def discriminator(self, half): return {{"a": {body}}}
        @hookimpl
        def register_losses(register): register("odd", Odd)
        """)
    result = train("losses=[non-saturating, odd]", "--plugin", path, "--output", "out")
    assert result.exit_code == 1, result.output
    [message] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert message.startswith("error: step 1: loss 'odd'")
    assert fragment in message
    assert "continue with --resume" in message


ODD_COMPONENTS = """
import torch
from coupling import Dataset, Loss, Measured, Metric
class OddMetric(Metric):
    def METHOD(self, *arguments): 1 / 0
    def measure(self, evaluation): return Measured(1.0)
class OddLoss(Loss):
    def METHOD(self, *arguments): 1 / 0
    def discriminator(self, half): return {}
class OddData(Dataset):
    def METHOD(self, *arguments): 1 / 0
    shape, range, source = (1, 4, 4), (-1.0, 1.0), "odd"
    def __len__(self): return 40
    def __getitem__(self, index): return torch.zeros(1, 4, 4)
@hookimpl
def register_losses(register): register("odd", OddLoss)
@hookimpl
def register_metrics(register): register("odd", OddMetric)
@hookimpl
def register_datasets(register): register("odd", OddData)
"""


@pytest.mark.parametrize(
    ("change", "method", "fragment"),
    [
        ("metrics=[odd]", "check", "metrics[0]: the check of metric 'odd' of plugin '"),
        ("metrics=[odd]", "check_losses", "metrics[0]: the check of metric 'odd' of plugin '"),
        ("metrics=[odd]", "prepare", "metrics[0]: prepare() failed: "),
        ("losses=[non-saturating, odd]", "outputs", "losses: outputs() of odd failed: "),
        ("losses=[non-saturating, odd]", "taps", "losses: taps() of odd failed: "),
        ("losses=[non-saturating, odd]", "labels", "losses[1] odd: loss 'odd' of plugin '"),
        ("losses=[non-saturating, odd]", "users", "losses[1] odd: loss 'odd' of plugin '"),
        ("losses=[non-saturating, odd]", "check_labels", "losses[1]: check_labels() of odd failed: "),
        ("domains.a.dataset=odd", "fingerprint", "domains.a.dataset: "),
    ],
)
def test_a_plugin_that_fails_anywhere_before_training_is_one_message(train, plugin, change, method, fragment):
    path = plugin(ODD_COMPONENTS.replace("METHOD", method))
    message = rejected(
        train(change, "--plugin", path, "--output", "out"), fragment, "ZeroDivisionError: division by zero"
    )
    assert message.startswith("error: ")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("body", "fragment"),
    [
        (
            "None",
            "domains.a.dataset.transform: Odd gives a NoneType for 2 samples of shape (1, 4, 4); it must give as many",
        ),
        ("samples[:1]", "domains.a.dataset.transform: Odd gives (1, 1, 4, 4) for 2 samples"),
        ("sys.exit(0)", "domains.a.dataset.transform: Odd does not take samples of shape (1, 4, 4): SystemExit: 0"),
        ("samples if samples.std() == 0 else sys.exit(0)", " failed: SystemExit: 0"),
    ],
)
def test_a_transform_that_fails_is_named(train, plugin, body, fragment):
    path = plugin(f"""
        import sys
        class Odd:
            "Odd."
            def __init__(self) -> None: pass
            def __call__(self, samples, range): return {body}
        @hookimpl
        def register_transforms(register): register("odd", Odd)
        """)
    assert rejected(train("domains.a.dataset.transform=odd", "--plugin", path), fragment).startswith("error: domains.a")


@pytest.mark.parametrize("team", ["generator", "discriminator"])
@pytest.mark.parametrize(
    ("body", "fragment"),
    [
        ("1 / 0 if self.training else x", "s' forward pass failed: ZeroDivisionError: division by zero (plugin_"),
        ("Broken.apply(x) if self.training else x", "s' backward pass failed: ZeroDivisionError"),
    ],
)
def test_a_layer_that_fails_only_in_training_is_named(train, plugin, team, body, fragment):
    path = plugin(f"""
        import torch
        from torch import nn
        from tests.support.tiny_plugin import Linear
        class Broken(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x): return x.clone()
            @staticmethod
            def backward(ctx, *gradients): 1 / 0
        class Layer(nn.Module):
            def forward(self, x): return {body}
        class Odd(Linear):
            "Odd."
            def __init__(self) -> None: super().__init__()
            def _layers(self, *layers): return [nn.Sequential(*parts, Layer()) for parts in layers]
        @hookimpl
        def register_architectures(register): register("odd", Odd)
        """)
    result = train(f"{team}.architecture=odd", "--plugin", path, "--output", "out")
    assert result.exit_code == 1, result.output
    [message] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert message.startswith("error: step 1: the ")
    assert fragment in message


@pytest.mark.parametrize(
    ("better", "body", "fragment"),
    [
        ("higher", "0.5", "error: metric 'odd': measure() gives a float; it returns coupling.Measured"),
        ("higher", "Measured(None)", "error: metric 'odd': measure() gives a NoneType as 'odd'; it returns"),
        ("higher", "Measured(1.0, floors={'x': None})", "measure() gives a NoneType as 'odd/x'; it returns"),
        ("higher", "None", "error: metric 'odd': measure() gives a NoneType; it returns coupling.Measured"),
        ("higher", "1 / 0", "error: metric 'odd' failed at step 2: ZeroDivisionError"),
        ("high", "Measured(1.0)", "metrics[0] odd: better is 'high'; use 'higher' or 'lower'"),
    ],
)
def test_a_metric_that_fails_is_named(train, plugin, better, body, fragment):
    path = plugin(f"""
        from coupling import Measured, Metric
        class Odd(Metric):
            "Odd."
            better = "{better}"
            def measure(self, evaluation): return {body}
        @hookimpl
        def register_metrics(register): register("odd", Odd)
        """)
    result = train("metrics=[odd]", "--plugin", path, "--output", "out")
    assert result.exit_code == (1 if better == "higher" else 2), result.output
    assert "Traceback" not in result.output
    assert fragment in result.stderr


def test_tied_layers_of_different_shape_are_an_error(train, plugin):
    path = plugin(numbers(shape="(1, 8, 8)", low=-1, high=1, sample="torch.zeros(1, 8, 8)"))
    changes = ["domains.b.dataset=numbers", "sharing.generator=[{last: 1}]", "--plugin", path]
    rejected(
        train(*changes),
        "generator: layer 3 of domain 'a' and layer 3 of domain 'b' are tied, but differ: '0.weight' has shape (16, 6)",
        "(64, 6); share fewer layers",
    )


def test_data_that_disappear_during_training_end_the_run(train, plugin):
    path = plugin("left = 40\n" + textwrap.dedent(numbers(sample="read(index)")) + textwrap.dedent("""
        def read(index):
            global left
            left -= 1
            if left < 0: raise OSError(5, "disk gone")
            return torch.full((1, 4, 4), float(index))
        """))  # fmt: skip
    arguments = [
        "domains={x: {dataset: numbers}}",
        "training.steps=20",
        "sharing={}",
        "--plugin",
        path,
        "--output",
        "out",
    ]
    result = train("training.checkpoint_every=2", *arguments)
    assert result.exit_code == 1  # it was rightly asked for
    assert isinstance(result.exception, SystemExit)
    assert "error: step 10: domains.x.dataset: dataset 'numbers'" in result.stderr
    assert "OSError: [Errno 5] disk gone (plugin_" in result.stderr
    assert "fix it, then continue with --resume" in result.stderr
    assert json.loads(Path("out/summary.json").read_text())["status"] == "failed"
    assert Path("out/checkpoints/step-0000008/manifest.json").exists()


def test_samples_without_the_plugin_of_their_data_are_written_as_arrays(train, command, plugin):
    path = plugin(numbers(shape="(3,)", sample="torch.zeros(3)"))
    result = train("domains={x: {dataset: numbers}}", "sharing={}", "--plugin", path, "--output", "out")
    assert result.exit_code == 0, result.output
    assert command("sample", "out", "--count", 5, "--plugin", TINY).exit_code == 0
    assert np.load("out/sampled/x.npy").shape == (5, 3)


# -- images ----------------------------------------------------------------------------------------


@pytest.fixture
def images(train) -> Callable[..., object]:
    """``images("domains.a.dataset.on_error=skip")``: train on 16 pictures in ``pictures/``, in halves."""
    Path("pictures").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(f"pictures/{number:02d}.png")

    def run(*arguments: object) -> object:
        both = [f"domains.{d}.dataset={{name: image-folder, path: pictures, on_error: stop}}" for d in "ab"]
        return train(*both, *arguments)

    return run


SKIP = [f"domains.{d}.dataset.on_error=skip" for d in "ab"]


def test_a_folder_that_does_not_exist_is_an_error(images):
    rejected(images("domains.a.dataset.path=picture"), "domains.a.dataset: path 'picture'", "did you mean 'pictures'?")
    rejected(images("domains.a.dataset.path=pictures/00.png"), "is a file, neither folder nor zip")


def test_an_unknown_home_directory_is_an_error(images):
    hint = "domains.a.dataset: path '~nosuchuser/x': there is no home directory '~nosuchuser': give the whole path"
    rejected(images("domains.a.dataset.path=~nosuchuser/x"), hint)


def test_a_name_that_no_file_can_have_is_an_error(train):
    rejected(train(f"name={'x' * 300}"), "name: ", "a name has at most 100 characters, this one has 300")
    message = rejected(
        train(f"domains.{'d' * 300}={{dataset: tiny}}"), "a name has at most 100 characters, this one has 300"
    )
    assert "domains." in message
    assert not Path("runs").exists()


def test_a_domain_without_images_is_an_error(images):
    Path("empty").mkdir()
    Path("empty/readme.txt").write_text("")
    rejected(
        images("domains.a.dataset.path=empty"),
        "domains.a.dataset: ",
        "empty holds no images",
        "but 1 hidden or other files (1 .txt)",
    )


def test_corrupt_images_are_named_and_counted(images):
    Path("pictures/bad.png").write_bytes(b"nonsense")
    Path("pictures/torn.png").write_bytes(Path("pictures/00.png").read_bytes()[:60])
    rejected(images(), "domains.a.dataset: ", "2 of 18", "bad.png: not an image", "torn.png: ", "`on_error: skip`")
    result = images(*SKIP, "--output", "out")
    assert result.exit_code == 0
    assert "left out 2 of 18 samples" in result.stderr
    rejected(images(*SKIP, "training.batch_size=9"), "9 is larger than the 8 samples of domain 'a'")  # of 16, not 18


def test_an_image_of_another_size_is_an_error(images):
    Image.new("RGB", (9, 8)).save("pictures/large.png")
    rejected(images(), "large.png is [8, 9], expected [8, 8]", "`resize: crop` or `resize: stretch`")


def test_a_deep_image_is_converted_and_reported(images):
    Image.new("I;16", (8, 8)).save("pictures/deep.png")
    result = images("--output", "out")
    assert result.exit_code == 0
    assert "16-bit values scaled to 8 bits: 1 image (deep.png for one)" in result.stderr


def test_a_data_directory_that_cannot_be_written_is_an_error(images, monkeypatch):
    Path("file").write_text("")
    monkeypatch.setenv("COUPLING_DATA", "file")
    rejected(images(), "file/image-folder: cannot be written: Not a directory", "set COUPLING_DATA")


# -- where a run goes --------------------------------------------------------------------------------


def test_an_existing_output_is_left_alone(train):
    assert train("--output", "out").exit_code == 0
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    text = "out: exists already and is never overwritten; add --resume to continue it, or give another --output"
    rejected(train("seed=1", "--output", "out"), text)
    rejected(train("seed=1", "--output", "out", "--resume"), "made with another configuration:\n  seed: 0 -> 1")
    assert before == {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}


def test_a_run_killed_at_its_start_leaves_no_run(train):
    for folder in ("samples", "checkpoints"):
        (Path("out") / folder).mkdir(parents=True)
    Path("out/.lock").write_text("{}")
    Path("out/.config.yaml.0123456789ab.tmp").write_text("na")
    assert train("--output", "out").exit_code == 0
    assert not Path("out/.config.yaml.0123456789ab.tmp").exists()


def test_an_output_with_other_files_is_an_error(train):
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    rejected(train("--output", "mine"), "mine: exists already and is never overwritten; give another --output")
    rejected(train("--output", "mine/thesis.tex"), "mine/thesis.tex: exists already")
    rejected(train("--output", "mine/thesis.tex/run"), "cannot be written: Not a directory; give another --output")
    rejected(train("--output", "mine", "--resume"), "--resume: mine is not a run directory (config.yaml is missing)")
    rejected(train("--output", "x" * 300), "cannot be written: File name too long")
    assert Path("mine/thesis.tex").read_text() == "years of work"


def test_an_empty_directory_can_be_the_output(train):
    Path("empty").mkdir()
    assert train("--output", "empty").exit_code == 0


def test_resume_without_a_run_is_an_error(train):
    rejected(train("--resume"), "--resume: there is no run of 'tiny' under runs/ yet; leave --resume out")


def test_a_directory_that_cannot_be_written_is_an_error(train):
    if not Path("/proc/self").exists():
        pytest.skip("needs /proc: root may write everywhere else")
    rejected(train("--output", "/proc/run"), "/proc/run: cannot be written", "give another --output")


def test_the_output_is_tried_before_any_work(train, monkeypatch):
    Path("file").write_text("")
    monkeypatch.setattr("coupling.training.trainer.set_up", lambda *_: pytest.fail("the data were prepared"))
    rejected(train("--output", "file/run"), "file/run: cannot be written: Not a directory; give another --output")
    assert sorted(path.name for path in Path().iterdir()) == ["file", "tiny.yaml"]


def _limited(size: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``coupling`` in a process that can write no file of more than ``size`` bytes, as on a full disk."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    Path("tiny.yaml").write_text(yaml.safe_dump(tiny.values("training.steps=2"), sort_keys=False))
    return subprocess.run(
        [sys.executable, "-B", "-m", "coupling", "run", "tiny.yaml", "--plugin", TINY, *map(str, arguments)],
        capture_output=True, text=True, check=False, preexec_fn=limit,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def test_a_full_disk_at_the_start_is_an_error():
    result = _limited(8, "--output", "out")  # a few bytes: some libraries try a temporary file when imported
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: out: cannot be written: File too large; give another --output\n"
    assert not Path("out").exists()  # the next attempt finds no half-made run


def test_a_full_disk_at_a_checkpoint_is_an_error(train):
    wide = "generator.architecture.width=200"  # larger than a picture
    result = _limited(50_000, "--output", "out", "--set", wide)
    assert result.returncode == 1  # the run was rightly asked for
    assert "Traceback" not in result.stderr
    assert "out/checkpoints/step-0000002: cannot be written: " in result.stderr
    assert "continue with --resume" in result.stderr
    assert json.loads(Path("out/summary.json").read_text())["status"] == "failed"
    assert list(Path("out/checkpoints").iterdir()) == []
    resumed = train(wide, "--output", "out", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert json.loads(Path("out/summary.json").read_text())["status"] == "finished"


# -- trained runs --------------------------------------------------------------------------------------


def test_sampling_from_other_paths_is_an_error(command, train):
    assert train("--output", "faces").exit_code == 0
    rejected(command("sample", "face"), "face: no such run; did you mean 'faces'?")
    rejected(command("sample", "tiny.yaml"), "tiny.yaml: neither a run directory, nor a checkpoint")
    Path("empty").mkdir()
    rejected(command("sample", "empty"), "empty: neither a run directory")
    for path in ("faces/checkpoints", "faces/config.yaml"):
        rejected(command("sample", path), f"{path}: neither a run directory", "did you mean 'faces'?")
    rejected(command("sample", "."), ".: neither a run directory", "did you mean 'faces'?")
    shutil.copytree("faces", "later")
    rejected(command("sample", "."), "give one of its 2 runs, such as '", "the newest")
    rejected(command("sample", "faces"), "no architecture is called 'linear'", "give --plugin MODULE")
    Path("file").write_text("")
    rejected(command("sample", "faces", "--plugin", TINY, "--output", "file/x"), "file/x: cannot be written")


def test_sampling_from_a_damaged_run_is_an_error(command, train):
    assert train("--output", "out").exit_code == 0
    model = Path("out/checkpoints/step-0000002/model.safetensors")
    model.write_bytes(model.read_bytes()[:-1])
    rejected(
        command("sample", "out", "--plugin", TINY), "out: this run has no intact checkpoint: ", "model.safetensors"
    )
    shutil.rmtree("out/checkpoints/step-0000002")
    missing = "out: this run has no intact checkpoint: wait for the first, train it longer, or restore one"
    rejected(command("sample", "out", "--plugin", TINY), missing)
    Path("out/checkpoints").rmdir()
    rejected(command("sample", "out", "--plugin", TINY), missing)
    result = command("report", "out", "--plugin", TINY)
    assert result.exit_code == 0, result.output
    assert missing in result.stderr
    Path("other.safetensors").write_bytes(b"nonsense")
    rejected(
        command("sample", "other.safetensors", "--plugin", TINY), "other.safetensors: cannot be read as safetensors"
    )


def test_a_loss_that_returns_nothing_in_a_step_is_named(train, plugin):
    path = plugin("""
        from coupling import Loss
        class Rare(Loss):
            "Gives a term every second step."
            def discriminator(self, half):
                return {"a": half.real_logits["a"].mean()} if half.step % 2 == 0 else {}
            def generator(self, half): return {"a": half.fake_logits["a"].mean()}
        @hookimpl
        def register_losses(register): register("rare", Rare)
        """)
    result = train("losses=[rare]", "--plugin", path, "--output", "out")
    assert result.exit_code == 1, result.output
    assert "step 2: losses: none of rare gives the discriminators a term in this step" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_home_directory_is_inserted_in_every_path(command, tmp_path, monkeypatch):
    """Shells do it in ``--output ~/x``, not in ``--output=~/x``."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/tiny.yaml").write_text(yaml.safe_dump(tiny.values("training.steps=1")))
    assert command("run", "~/tiny.yaml", "--plugin", TINY, "--output=~/run").exit_code == 0
    assert command("sample", "~/run", "--plugin", TINY, "--count", "2", "--output=~/drawn").exit_code == 0
    assert (tmp_path / "home/drawn").is_dir()
    rejected(
        command("sample", "~/run", "--plugin", TINY, "--output=~nosuchuser/x"), "--output '~nosuchuser/x': there is"
    )
    rejected(command("run", "~nosuchuser/x.yaml"), "config '~nosuchuser/x.yaml': there is no home directory")
    assert not list(tmp_path.glob("~*"))


def test_every_path_of_every_command_knows_the_home_directory():
    for name, command in cli.commands.items():
        for parameter in command.params:
            assert not isinstance(parameter.type, click.Path) or isinstance(parameter.type, HomePath), name


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_never_waited_for(command, train, tmp_path):
    assert train("--output", "run").exit_code == 0
    for name in ("pipe", "pipe.png", "pipe.npy", "pipe.safetensors"):
        os.mkfifo(tmp_path / name)
        given = ("transform", "run", name, "--from", "a", "--to", "b", "--plugin", TINY, "--output", "x")
        rejected(command(*given), f"{name}: is not a regular file")
        rejected(command("sample", name, "--plugin", TINY), name)
