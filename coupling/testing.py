"""Conformance tests that a plugin author runs on a plugin.

Each check is one thing that the framework, or a user, relies on in every component of a kind::

    import pytest
    from coupling.testing import checks

    CHECKS = checks("coupling_shapes.plugin", {"shapes": [{"kind": "disc", "count": 30}]})

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_conformance(check, tmp_path, monkeypatch):
        monkeypatch.setenv("COUPLING_DATA", str(tmp_path))  # data sets write there
        check()

What a check finds is an AssertionError that names the component, the options, and what is wrong.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from coupling.algorithm import Losses
from coupling.assembly import Networks, assemble, make_algorithm, moving_average
from coupling.config import Config, parse_config
from coupling.dataset import Dataset
from coupling.domain import Domain
from coupling.errors import ConfigError, PluginError, nearest
from coupling.loss import Loss
from coupling.metric import Evaluation, open_metrics
from coupling.model import CoupledModel
from coupling.parts import DomainData, open_domains
from coupling.plugins import Plugins
from coupling.randomness import generator, seed_all
from coupling.registry import KINDS, Component
from coupling.streams import LatentStream, Stream
from coupling.yaml_text import dump_yaml, parse_yaml

Options = Mapping[str, Any]

SHAPES = ((1, 28, 28), (3, 32, 32), (1, 16, 16), (3, 16, 16), (1, 64, 64), (3, 64, 64), (3, 128, 128), (1, 128, 128))
"""Shapes of samples that architectures and transforms are tried with: each must take one of them."""

RANGES = ((0.0, 1.0), (-1.0, 1.0))

DOMAINS: Mapping[str, Any] = {
    "one": {"dataset": {"name": "conformance", "half": 1}},
    "two": {"dataset": {"name": "conformance", "half": 2, "transform": "negative"}},
}
"""What losses and metrics are tried with: blurred noise, (1, 16, 16) in [0, 1], three classes."""

_BATCH = 8
_PLURAL = {"loss": "losses"}


@dataclass(frozen=True)
class Check:
    """One thing that is true of a component with these options; calling it raises AssertionError where it is not."""

    component: Component
    options: Options
    what: str
    test: Callable[[Check], None] = field(repr=False)
    plugins: Plugins = field(repr=False)
    shapes: Sequence[tuple[int, ...]] = field(repr=False)
    domains: Mapping[str, Any] = field(repr=False)
    losses: Sequence[Any] = field(repr=False)

    def __str__(self) -> str:
        said = ", ".join(f"{key}: {value}" for key, value in self.options.items())
        return f"{self.component.kind} {self.component.name}{f' ({said})' if said else ''}: {self.what}"

    def __call__(self) -> None:
        """Check it."""
        try:
            self.test(self)
        except AssertionError as error:
            raise AssertionError(f"{self}: {error}") from error

    def make(self) -> Any:
        """The component, as the framework makes it."""
        try:
            return self.plugins.registry.build(
                self.component.kind, self.component.name, copy.deepcopy(dict(self.options)), "its options"
            )
        except ConfigError as error:
            raise AssertionError(
                f"cannot be made: {error}\nGive options that it can be tried with: "
                f"checks(..., {{'{self.component.name}': {{...}}}})"
            ) from error


def checks(
    plugin: str | ModuleType,
    options: Mapping[str, Options | Sequence[Options] | None] | None = None,
    *,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    domains: Mapping[str, Any] | None = None,
    losses: Sequence[Any] = ("non-saturating",),
) -> list[Check]:
    """Every check of every component that a plugin registers.

    Args:
        plugin: its module, or the module's name or path, as for ``--plugin``.
        options: {component: options, or several of them} that it is tried with, those that it
            requires at least; data sets are best made small. By default none; None: this component is
            not tried, only its options are looked at.
        shapes: what architectures and transforms are tried with.
        domains: what losses and metrics are tried with, as in a configuration; default:
            :data:`DOMAINS`, which are called "one" and "two".
        losses: what is there beside the loss or metric tried, as in a configuration; a loss that
            trains both teams is tried alone.

    Raises:
        PluginError: the plugin cannot be loaded, or has no component of a name in ``options``.
    """
    name = plugin if isinstance(plugin, str) else plugin.__name__
    plugins = Plugins((name,), entry_points=False)
    own = _components(plugins, name)
    plugins.registry.add("dataset", "conformance", Conformance, "coupling.testing")
    known = {component.name for component in own}
    for unknown in set(options or {}) - known:
        raise PluginError(f"checks: {name} registers nothing called '{unknown}'; {nearest(unknown, known)}")
    made: list[Check] = []
    for component in own:
        given = (options or {}).get(component.name, {})
        several = [given] if isinstance(given, Mapping) else list(given or [])
        rest = (plugins, shapes, domains or DOMAINS, losses)
        made.append(Check(component, {}, "its options are described", _described, *rest))
        for chosen in several:
            for what, test in _TESTS[component.kind].items():
                made.append(Check(component, chosen, what, test, *rest))
    return made


def _components(plugins: Plugins, name: str) -> list[Component]:
    """Those that the module ``name`` registers; coupling's own rooms, which are loaded in any case, too."""
    components = plugins.registry.components.values()
    if any(component.owner == name for component in components):
        return [component for component in components if component.owner == name]
    registered: list[Callable[..., Any]] = []
    for caller in (getattr(plugins.manager.hook, f"register_{_PLURAL.get(kind, kind + 's')}") for kind in KINDS):
        for implementation in caller.get_hookimpls():
            if getattr(implementation.plugin, "__name__", "") == name:
                implementation.function(lambda _, make: registered.append(make))
    return [component for component in components if component.make in registered]


class Conformance(Dataset):
    """Blurred noise of three classes, in memory."""

    def __init__(
        self,
        *,
        shape: Annotated[list[int], Field(description="of a sample")] = [1, 16, 16],  # noqa: B006  (never changed)
        range: Annotated[tuple[float, float], Field(description="of its values")] = (0.0, 1.0),
        seed: Annotated[int, Field(description="of the noise")] = 0,
    ) -> None:
        self.shape, self.range, self.seed = tuple(shape), range, seed
        self.source = f"conformance:{shape}:{range}:{seed}"
        noise = torch.rand(8 * _BATCH, *shape, generator=torch.Generator().manual_seed(seed))
        blurred = (noise + noise.roll(1, -1)) / 2
        self.samples = range[0] + (range[1] - range[0]) * blurred

    @property
    def labels(self) -> Tensor:
        """0, 1, 2, 0, ..."""
        return torch.arange(len(self)) % 3

    def attributes(self) -> Mapping[str, Tensor]:
        """Whether a sample's number is odd."""
        return {"odd": torch.arange(len(self)) % 2}

    def held_out(self) -> Dataset | None:
        """Other noise."""
        return None if self.seed else Conformance(shape=list(self.shape), range=self.range, seed=1)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Tensor:
        return self.samples[index]


def require(condition: bool, message: str) -> None:
    """Raise AssertionError, under ``python -O`` too."""
    if not condition:
        raise AssertionError(message)


# -- every component -------------------------------------------------------------------------------


def _described(check: Check) -> None:
    component = check.component
    require(bool(component.make.__doc__), "has no docstring, which is its description")
    for option, about in component.options.model_fields.items():
        require(
            bool(about.description), f"option '{option}' has no description: Annotated[..., Field(description=...)]"
        )


def _written(check: Check) -> None:
    """A run's configuration holds all options, and must run again as it is."""
    registry, component = check.plugins.registry, check.component
    complete = registry.completed(component.kind, component.name, check.options, "its options")
    read = parse_yaml(dump_yaml({"options": complete}))["options"]
    again = registry.completed(component.kind, component.name, read, "its options")
    require(again == complete, f"options are not the same after they were written and read: {complete} -> {again}")


# -- data sets -------------------------------------------------------------------------------------


def _samples(check: Check) -> None:
    data = _dataset(check)
    shape, (low, high), count = tuple(data.shape), data.range, len(data)
    require(count > 0, "has no samples")
    data.prepare()
    data.prepare()  # must be safe to repeat
    count = len(data)  # some may have turned out to be unreadable
    chosen = [*sorted({0, count // 2, count - 1}), 0]
    batch = data.batch(chosen)
    require(isinstance(batch, Tensor), f"batch() gives a {type(batch).__name__}, not a tensor")
    require(batch.dtype == torch.float32, f"samples are {batch.dtype}, not float32")
    require(tuple(batch.shape) == (len(chosen), *shape), f"batch() gives {tuple(batch.shape)}, shape is {shape}")
    require(bool(batch.isfinite().all()), "samples hold values that are not finite")
    least, most, slack = batch.min().item(), batch.max().item(), 1e-4 * (high - low)
    require(low - slack <= least and most <= high + slack, f"values lie in [{least}, {most}], range is [{low}, {high}]")
    for index, sample in zip(chosen, batch, strict=True):
        require(torch.equal(data[index], sample), f"sample {index} is another in batch() than alone")
    keys = [7, 2**62, 0, 7]
    augmented = data.augmented(chosen, keys)
    require(augmented.shape == batch.shape, f"augmented() gives {tuple(augmented.shape)}, batch() {tuple(batch.shape)}")
    require(torch.equal(augmented[0], augmented[-1]), "augmented() gives another sample for the same key")


def _sameness(check: Check) -> None:
    """The same samples in every epoch, run and process, whatever else draws random numbers."""
    seed_all(1)
    first = _dataset(check)
    first.prepare()
    chosen = list(range(min(len(first), _BATCH)))
    samples, keys = first.batch(chosen), [3 * k for k in chosen]
    augmented, fingerprint = first.augmented(chosen, keys), first.fingerprint()
    seed_all(2)
    others = {
        "read again": first,
        "made again": _dataset(check),
        "sent to another process (pickled)": pickle.loads(pickle.dumps(first)),  # noqa: S301  (our own)
    }
    for how, other in others.items():
        other.prepare()
        require(len(other) == len(first), f"{how}, it has {len(other)} samples, before {len(first)}")
        require(torch.equal(other.batch(chosen), samples), f"{how}, its samples are others")
        require(torch.equal(other.augmented(chosen, keys), augmented), f"{how}, its augmented samples are others")
        require(other.source == first.source, f"{how}, its source is '{other.source}', before '{first.source}'")
        require(other.fingerprint() == fingerprint, f"{how}, its fingerprint is another")
    require(isinstance(fingerprint, str) and fingerprint != "", f"fingerprint() gives {fingerprint!r}, not a text")


def _known(check: Check) -> None:
    data = _dataset(check)
    data.prepare()
    columns = dict(data.attributes()) | ({} if data.labels is None else {"labels": data.labels})
    for name, column in columns.items():
        require(isinstance(column, Tensor) and column.dtype == torch.int64, f"'{name}' is no int64 tensor")
        require(tuple(column.shape) == (len(data),), f"'{name}' is {tuple(column.shape)}, samples are {len(data)}")
        require(bool((column >= 0).all()), f"'{name}' holds negative numbers; classes count from 0")
    apart = data.held_out()
    if apart is not None:
        require(tuple(apart.shape) == tuple(data.shape), f"held_out() has shape {apart.shape}, not {data.shape}")
        require(tuple(apart.range) == tuple(data.range), f"held_out() has range {apart.range}, not {data.range}")
        require(len(apart) > 0, "held_out() has no samples")


def _domain(check: Check) -> None:
    """In a configuration, with every check of the framework."""
    data = _opened(check, {"it": {"dataset": {**check.options, "name": check.component.name}}})["it"]
    data.prepare()
    data.check(data.read([0, len(data) - 1]))


def _dataset(check: Check) -> Dataset:
    data = check.make()
    require(isinstance(data, Dataset), f"gives a {type(data).__name__}, which is no coupling.Dataset")
    return data  # type: ignore[no-any-return]


# -- transforms ------------------------------------------------------------------------------------


def _images(check: Check) -> Iterator[tuple[Tensor, tuple[float, float], Any]]:
    """Images that the transform takes, their range, and what it makes of them."""
    transform = check.make()
    refused = []
    for shape in check.shapes:
        for low, high in RANGES:
            images = low + (high - low) * Conformance(shape=list(shape), seed=2).samples[:4]
            seed_all(2)
            try:
                made = transform(images.clone(), (low, high))
            except ConfigError as error:
                refused.append(str(error))
                continue
            yield images, (low, high), made
    require(len(refused) < len(check.shapes) * len(RANGES), f"takes none of the shapes {check.shapes}: {refused[:1]}")


def _transformed(check: Check) -> None:
    for images, (low, high), made in _images(check):
        place = f"of {tuple(images.shape)} in [{low}, {high}]"
        require(isinstance(made, Tensor), f"makes a {type(made).__name__} {place}")
        require(made.dtype == images.dtype, f"makes {made.dtype} {place}, not {images.dtype}")
        require(len(made) == len(images), f"makes {len(made)} samples {place}")
        require(bool(made.isfinite().all()), f"makes infinite values {place}")
        least, most = made.min().item(), made.max().item()
        require(low <= least and most <= high, f"makes values in [{least}, {most}] {place}; the range must stay")


def _sample_by_sample(check: Check) -> None:
    transform = check.make()
    for images, span, made in _images(check):
        given = images.clone()
        seed_all(3)
        require(torch.allclose(transform(given, span), made, atol=1e-6), "makes another result of the same images")
        require(torch.equal(given, images), "changes the images that it is given")
        alone = torch.cat([transform(image[None].clone(), span) for image in images])
        require(torch.allclose(alone, made, atol=1e-5), "makes another result of a sample alone than in a batch")
        sent = pickle.loads(pickle.dumps(transform))  # noqa: S301  (our own)
        require(torch.allclose(sent(images.clone(), span), made, atol=1e-6), "pickled, makes another result")


# -- architectures ---------------------------------------------------------------------------------

_LATENT = 10


def _accepted(check: Check) -> Iterator[tuple[Any, Domain]]:
    """The architecture with each domain that it takes, one of each number of channels."""
    architecture = check.make()
    refused, taken = [], set()
    for number, shape in enumerate(check.shapes):
        domain = Domain("it", tuple(shape), RANGES[number % 2])
        if shape[0] in taken:
            continue
        try:
            architecture.generator(domain, _LATENT)
            architecture.discriminator(domain, 1)
        except ConfigError as error:
            refused.append(str(error))
            continue
        taken.add(shape[0])
        yield architecture, domain
    require(bool(taken), f"takes none of the shapes {check.shapes}: {refused[:1]}")


def _networks(architecture: Any, domain: Domain, outputs: int = 1) -> tuple[nn.Module, nn.Module]:
    lists = architecture.generator(domain, _LATENT), architecture.discriminator(domain, outputs)
    for team, layers in zip(("generator", "discriminator"), lists, strict=True):
        require(isinstance(layers, list) and bool(layers), f"{team}() gives no list of layers, but {layers!r:.80}")
        require(all(isinstance(layer, nn.Module) for layer in layers), f"{team}() gives something that is no nn.Module")
    return nn.Sequential(*lists[0]), nn.Sequential(*lists[1])


_UNSUITED = "an architecture raises coupling.ConfigError for a domain that it cannot draw"


def _carries(check: Check) -> None:
    for architecture, domain in _accepted(check):
        for outputs in (1, 3):
            g, f = _networks(architecture, domain, outputs)
            drawn = g(torch.randn(4, _LATENT))
            require(tuple(drawn.shape) == (4, *domain.shape), f"draws {tuple(drawn.shape)} for {domain}; {_UNSUITED}")
            low, high = domain.range
            least, most = drawn.min().item(), drawn.max().item()
            require(
                low <= least and most <= high, f"draws values in [{least}, {most}] for {domain}; output_activation?"
            )
            logits = f(drawn)
            require(
                tuple(logits.shape) == (4, outputs), f"{tuple(logits.shape)} logits, wanted {(4, outputs)}: {domain}"
            )
            require(bool(logits.isfinite().all()), f"logits are not finite for {domain}")


def _gradients(check: Check) -> None:
    for architecture, domain in _accepted(check):
        g, f = _networks(architecture, domain)
        z = torch.randn(4, _LATENT, requires_grad=True)
        f(g(z)).square().sum().backward()
        require(z.grad is not None and bool(z.grad.isfinite().all()), f"no gradient reaches z for {domain}")
        for team, network in (("generator", g), ("discriminator", f)):
            for name, parameter in network.named_parameters():
                if parameter.requires_grad:
                    got = parameter.grad is not None and bool(parameter.grad.isfinite().all())
                    require(got, f"the {team}'s parameter {name} gets no finite gradient for {domain}")


def _second_derivative(check: Check) -> None:
    for architecture, domain in _accepted(check):
        f = _networks(architecture, domain)[1]
        low, high = domain.range
        x = (low + (high - low) * torch.rand(4, *domain.shape)).requires_grad_()
        (slope,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
        require(bool(slope.isfinite().all()), f"the discriminator has no finite gradient for its input, for {domain}")
        if slope.requires_grad:  # a linear discriminator's penalty may not reach its parameters
            slope.square().sum().backward()


def _made_anew(check: Check) -> None:
    for architecture, domain in _accepted(check):
        twice = []
        for seed in (5, 5):
            torch.manual_seed(seed)
            twice.append(_networks(architecture, domain))
        for team, one, other in zip(("generator", "discriminator"), *twice, strict=True):
            own = {id(parameter) for parameter in one.parameters()}
            shared = [name for name, parameter in other.named_parameters() if id(parameter) in own]
            require(not shared, f"the {team} of two calls has {shared[:1]} in common; the sharing rules tie layers")
            states = one.state_dict(), other.state_dict()
            require(states[0].keys() == states[1].keys(), f"the {team} of two calls has other parameters")
            equal = all(torch.equal(states[0][name], states[1][name]) for name in states[0])
            require(equal, f"the {team}'s initial weights are not a function of torch's seed")


def _couples(check: Check) -> None:
    """Two domains that share a layer, trained for two steps as in a run."""
    for architecture, domain in _accepted(check):
        data = {"name": "conformance", "shape": list(domain.shape), "range": list(domain.range)}
        chosen = {"architecture": {**check.options, "name": check.component.name}}
        first = 1 if len(architecture.generator(domain, _LATENT)) > 1 else 0
        last = 1 if len(architecture.discriminator(domain, 1)) > 1 else 0
        config = _config(
            check,
            domains={"one": {"dataset": data}, "two": {"dataset": data}},
            generator=chosen,
            discriminator=chosen,
            sharing={
                "generator": [{"first": 1}] if first else [],
                "discriminator": [{"last": 1}] if last else [],
            },
        )
        for losses in _train(config, check, _opened(check, config.plain()["domains"]))[1]:
            require(all(math.isfinite(value) for value in losses.values()), f"trained, it gives losses {losses}")


# -- losses ----------------------------------------------------------------------------------------


def _loss_config(check: Check) -> Config:
    """The loss alone where it trains both teams, else beside others."""
    own = {**check.options, "name": check.component.name}
    loss = check.make()
    require(isinstance(loss, Loss), f"gives a {type(loss).__name__}, which is no coupling.Loss")
    halves = [getattr(type(loss), half) is not getattr(Loss, half) for half in ("discriminator", "generator")]
    require(any(halves), "has neither a discriminator() nor a generator() of its own")
    others = [] if all(halves) and loss.outputs(2) is not None else list(check.losses)
    names = [other if isinstance(other, str) else other["name"] for other in others]
    beside = [other for other, name in zip(others, names, strict=True) if name != check.component.name]
    return _config(check, losses=[*beside, own])


def _terms(check: Check) -> None:
    config = _loss_config(check)
    seen: list[tuple[str, str]] = []

    def told(half: str, answer: Callable[[Any], Any], given: Any) -> Any:
        terms = answer(given)
        require(isinstance(terms, dict), f"{half}() gives a {type(terms).__name__}, not {{domain: scalar}}")
        for domain, value in terms.items():
            known = [d.name for d in given.domains]
            require(domain in known, f"{half}() gives a term for '{domain}'; domains: {', '.join(known)}")
            require(isinstance(value, Tensor), f"{half}() gives a {type(value).__name__} for '{domain}', not a tensor")
            require(value.dim() == 0, f"{half}() gives {tuple(value.shape)} for '{domain}', not a scalar")
            require(bool(value.isfinite()), f"{half}() gives {value.item()} for '{domain}'")
            seen.append((half, domain))
        return terms

    data = _opened(check, config.plain()["domains"])
    networks = _assembled(config, check, data)
    loss = list(networks.losses.values())[-1]
    for half in ("discriminator", "generator"):
        setattr(loss, half, partial(told, half, getattr(loss, half)))
    _train(config, check, data, networks)
    require(bool(seen), f"gave no term in {_STEPS} steps")


def _repeats(check: Check) -> None:
    config = _loss_config(check)
    runs = []
    for seed in (1, 2):
        seed_all(seed)  # what a loss draws, it draws by half.uniform
        networks, losses = _train(config, check, _opened(check, config.plain()["domains"]))
        runs.append((networks, losses))
    require(runs[0][1] == runs[1][1], f"two runs of one seed differ: {runs[0][1]}, {runs[1][1]}")
    for name, parameter in list(runs[0][0].losses.values())[-1].named_parameters():
        require(bool(parameter.isfinite().all()), f"its parameter {name} is not finite after {_STEPS} steps")


# -- metrics ---------------------------------------------------------------------------------------


def _measures(check: Check) -> None:
    own = {**check.options, "name": check.component.name}
    config = _config(check, losses=list(check.losses), metrics=[own])
    found = []
    for seed in (1, 2):
        data = _opened(check, config.plain()["domains"])
        for domain in data.values():
            domain.prepare()
        networks = _assembled(config, check, data)
        for module in (networks.generator, networks.discriminator, *networks.losses.values()):
            module.eval().requires_grad_(False)
        domains = {name: domain.domain for name, domain in data.items()}
        model = CoupledModel(config, domains, networks.generator, networks.discriminator, 0, networks.losses)
        (metric,) = open_metrics(config, data, check.plugins.registry)
        seed_all(seed)  # what a metric draws, it draws by the evaluation's seed
        values = metric.measure(Evaluation(model, data, config.seed))
        require(bool(values), "measures nothing")
        first = next(iter(values))
        for name, value in values.items():
            require(isinstance(value, float | int), f"'{name}' is a {type(value).__name__}, not a number")
            require(math.isfinite(value), f"'{name}' is {value}")
            require(
                name == first or name.startswith(f"{first}/"), f"'{name}' does not extend the first name, '{first}'"
            )
        require(metric.flat_name() in (None, first), f"flat_name() is '{metric.flat_name()}', the first name '{first}'")
        require(metric.better in ("higher", "lower"), f"better is '{metric.better}'")
        found.append({name: float(value) for name, value in values.items()})
    require(found[0] == found[1], f"measures other values of the same model: {found[0]}, {found[1]}")


# -- a small run -----------------------------------------------------------------------------------

_STEPS = 2


def _config(check: Check, **changed: Any) -> Config:
    small = {"architecture": {"name": "mlp", "hidden": 16, "layers": 2}}
    values = {
        "name": "conformance",
        "latent": {"size": _LATENT},
        "domains": copy.deepcopy(dict(check.domains)),
        "generator": small,
        "discriminator": small,
        "sharing": {"generator": [{"first": 1}], "discriminator": [{"last": 1}]},
        "training": {"batch_size": _BATCH, "steps": _STEPS, "ema_discriminators": True},
        **changed,
    }
    if len(values["domains"]) < 2:
        values["sharing"] = {}
    try:
        return parse_config(values, check.plugins)
    except ConfigError as error:
        raise AssertionError(f"its configuration is not valid: {error}") from error


def _opened(check: Check, domains: Mapping[str, Any]) -> dict[str, DomainData]:
    config = _config(check, domains=dict(domains), sharing={})
    return open_domains(config, check.plugins)


def _assembled(config: Config, check: Check, data: Mapping[str, DomainData]) -> Networks:
    return assemble(config, {name: domain.domain for name, domain in data.items()}, check.plugins.registry)


def _train(
    config: Config, check: Check, data: Mapping[str, DomainData], networks: Networks | None = None
) -> tuple[Networks, list[dict[str, float]]]:
    """Some steps of Algorithm 1 as the trainer does them; the losses of each."""
    networks = networks or _assembled(config, check, data)
    for domain in data.values():
        domain.prepare()
    names = list(data)
    labelled = {name for loss in networks.losses.values() for name in loss.labels(names)}
    for loss in networks.losses.values():
        loss.check_labels({name: data[name].labels(np.arange(len(data[name]))) for name in loss.labels(names)})
    streams = {name: Stream(domain, config.seed, config.training.batch_size) for name, domain in data.items()}
    latents = LatentStream(config.latent, config.seed, config.training.batch_size)

    def uniform(step: int, purpose: str, numbers: int) -> Tensor:
        return torch.rand(_BATCH, numbers, generator=generator(config.seed, "loss", purpose, step))

    average = moving_average(config, networks)
    algorithm = make_algorithm(config, networks, uniform, torch.device("cpu"), average=average)
    record: list[dict[str, float]] = []
    for step in range(_STEPS):
        seed_all(step)
        real = {name: stream.batch(step) for name, stream in streams.items()}
        labels = {name: streams[name].labels(step) for name in labelled}
        losses: Losses = algorithm.step(step, latents.batch(step), real, labels=labels)
        if average is not None:
            average.update(step)
        record.append({name: value.item() for name, value in losses.items()})
    return networks, record


_TESTS: dict[str, dict[str, Callable[[Check], None]]] = {
    "dataset": {
        "options can be written and read": _written,
        "samples are as declared": _samples,
        "samples are the same for everyone": _sameness,
        "labels and attributes fit the samples": _known,
        "is a domain": _domain,
    },
    "transform": {
        "options can be written and read": _written,
        "keeps the range": _transformed,
        "does the same to each sample": _sample_by_sample,
    },
    "architecture": {
        "options can be written and read": _written,
        "carries z to samples and these to logits": _carries,
        "gradients reach all parameters": _gradients,
        "can be derived twice": _second_derivative,
        "layers are made anew, from the seed": _made_anew,
        "domains can share layers": _couples,
    },
    "loss": {
        "options can be written and read": _written,
        "gives a finite scalar a domain": _terms,
        "two runs of one seed are equal": _repeats,
    },
    "metric": {
        "options can be written and read": _written,
        "measures finite numbers, twice the same": _measures,
    },
}
assert _TESTS.keys() == set(KINDS)
