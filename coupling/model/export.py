"""Exports of a model: a safetensors file, to be loaded again, or an ONNX graph that needs neither torch nor Python."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import safetensors.torch
import torch
from torch import Tensor, nn

from coupling.errors import InputError, RunError, cause
from coupling.model.sampler import CoupledSampler
from coupling.networks.mode import evaluating
from coupling.networks.weights import named_networks, named_tensors
from coupling.runs.model_file import with_digest
from coupling.runs.tensor_files import METADATA, plain_tensors
from coupling.system.atomic_files import OTHER_OUTPUT, write_bytes, writing
from coupling.system.terminal import print_line
from coupling.version import __version__

Format = Literal["safetensors", "onnx"]


OPSET = 18
"""Version of ONNX's operators: the oldest that torch's exporter writes."""


_INPUT = "z"


_TOLERANCE = 1e-3
"""Largest accepted difference between torch and onnxruntime, as a share of a domain's range; an 8-bit step is 4e-3."""


def format_of(output: Path | None, given: Format | None) -> Format:
    """The format ``given``, or that of the file's suffix; raises :class:`InputError` if they differ or are unknown."""
    known: tuple[Format, ...] = get_args(Format)
    by_suffix = next((name for name in known if output is not None and output.suffix == f".{name}"), None)
    if output is None:
        return given or "safetensors"
    if by_suffix is None:
        raise InputError(f"--output {output}: a model is a .safetensors or a .onnx file; give one of these suffixes")
    if given not in (None, by_suffix):
        raise InputError(f"--output {output}: --format {given} is a .{given} file; change one of them")
    return by_suffix


def export_safetensors(model: CoupledSampler, path: Path, *, generators_only: bool = False, half: bool = False) -> None:
    """Write the generators, discriminators and losses, and the description that rebuilds them, as one file.

    The file holds the weights that the model draws with, once, and no optimizer; of a model without discriminators,
    such as a demo, the generators. It carries the SHA-256 of its content, which :func:`coupling.load_model` checks.

    Args:
        model: the model.
        path: the file, which ends with .safetensors.
        generators_only: whether to leave out the discriminators and losses, which only scores, classes and
            feature errors need.
        half: whether to store numbers of 32 bits as 16 (float16), which halves the file. They are rounded to 11
            significant bits and computed with as 32 bits again.

    Raises:
        InputError: the file cannot be written, has another suffix, or a weight is too large for 16 bits.
    """
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: a model's file ends with .safetensors, by which load_model recognises it")
    about = model.description()
    if model.discriminator is None or generators_only:
        tensors = named_tensors({"generator": model.generator})
        about["networks"] = ["generator"]
    else:
        tensors = named_tensors(named_networks(model.generator, model.discriminator, model.losses))
    tensors = plain_tensors(tensors)
    if half:
        tensors = {name: _halved(name, tensor) for name, tensor in tensors.items()}
        about["half"] = True
    content = safetensors.torch.save(tensors, {METADATA: json.dumps(with_digest(about, tensors))})
    _write(content, path)


def _halved(name: str, tensor: Tensor) -> Tensor:
    """The tensor in 16 bits, if it has 32; raises :class:`InputError` if a number is too large for them."""
    if tensor.dtype != torch.float32:
        return tensor
    halved = tensor.half()
    if not torch.equal(halved.isfinite(), tensor.isfinite()):
        raise InputError(f"'{name}' has numbers above 65,504, which 16 bits cannot hold; export without half")
    return halved


def export_onnx(model: CoupledSampler, path: Path, opset: int = OPSET) -> None:
    """Write the generators as one graph: input ``z`` (batch, latent size), an output (batch, *shape) for each domain.

    An output has its domain's name. Shared layers are in the graph once. The batch size is free. The metadata hold
    shapes, ranges, prior and configuration. If onnxruntime is installed, its samples are compared with torch's.

    Raises:
        InputError: a package is missing, or the file cannot be written.
        RunError: a layer cannot be exported, or the graph draws other samples.
    """
    _write(onnx_content(model, opset), path)


def onnx_content(model: CoupledSampler, opset: int = OPSET) -> bytes:
    """The content of the file that :func:`export_onnx` writes, with the same errors."""
    onnx = _package("onnx")
    _package("onnxscript")
    device = model.device
    model.to("cpu")
    try:
        content = _onnx_graph(model, opset, onnx)
        _compare(model, content)
        return content
    except (InputError, RunError):
        raise
    except Exception as error:  # a plugin's layer can make the exporter fail in any way
        raise RunError(
            f"the generators cannot be exported as ONNX, opset {opset}: {cause(error)}; "
            "--format safetensors works with any layer"
        ) from error
    finally:
        model.to(device)


def _onnx_graph(model: CoupledSampler, opset: int, onnx: Any) -> bytes:
    """The content of the ONNX file, checked by ``onnx``, the package."""
    proto = _traced(_Generators(model), torch.zeros(3, model.space.size), _INPUT, list(model.domains), opset)
    about = model.description() | {"digest": model.digest, "prior": model.config.latent.prior}
    onnx.helper.set_model_props(proto, {METADATA: json.dumps(about)})
    onnx.checker.check_model(proto)
    content: bytes = proto.SerializeToString()
    return content


def _traced(module: nn.Module, example: Tensor, given: str, outputs: list[str], opset: int) -> Any:
    """The graph of a module with one input, whose first dimension is free; ``example``: a batch of several."""
    with evaluating(module), _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            input_names=[given],
            output_names=outputs,
            dynamic_shapes=({0: "batch"},),
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    proto.producer_name, proto.producer_version = "coupling", __version__
    return proto


def network_onnx(network: nn.Module, shape: tuple[int, ...], given: str, output: str, opset: int = OPSET) -> bytes:
    """An ONNX graph of a network with one input, (batch, *shape), and one output.

    Raises:
        InputError: a package is missing.
        RunError: a layer cannot be exported.
    """
    _package("onnx")
    _package("onnxscript")
    try:
        content: bytes = _traced(network, torch.zeros(3, *shape), given, [output], opset).SerializeToString()
    except Exception as error:  # a plugin's layer can make the exporter fail in any way
        raise RunError(f"the network cannot be exported as ONNX, opset {opset}: {cause(error)}") from error
    return content


class _Generators(nn.Module):
    """The samples of all domains from one z, in order, as a tuple."""

    def __init__(self, model: CoupledSampler) -> None:
        super().__init__()
        self.generator = model.generator
        self.domains = list(model.domains)

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        samples = self.generator(z, self.domains)
        return tuple(samples[domain] for domain in self.domains)


def _compare(model: CoupledSampler, content: bytes) -> None:
    """Compare onnxruntime's samples with torch's; raises :class:`RunError` if they differ."""
    if importlib.util.find_spec("onnxruntime") is None:
        print_line("onnxruntime is not installed, so the exported graph was not compared with torch")
        return
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    furthest = 0.0
    for count in (1, 5):
        z = model.latent(count)
        drawn = dict(zip(model.domains, session.run(None, {_INPUT: z.numpy()}), strict=True))
        for name, samples in model.generate(z).items():
            low, high = model.domains[name].range
            furthest = max(furthest, float((samples - torch.from_numpy(drawn[name])).abs().max()) / (high - low))
    if not furthest <= _TOLERANCE:
        raise RunError(
            f"the exported graph draws other samples than torch: they differ by up to {furthest:.2g} of the range"
        )
    print_line(f"onnxruntime draws the same samples as torch, to {furthest:.1g} of the range")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which reports in prints, warnings and logs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _package(name: str) -> Any:
    """Import an optional package; raises :class:`InputError` if it is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        raise InputError(f"the package '{name}' is needed: pip install 'coupling-gan[onnx]'") from None


def _write(content: bytes, path: Path) -> None:
    """Write a file and the folders above it; raises :class:`InputError` if that fails."""
    with writing(path, OTHER_OUTPUT):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
