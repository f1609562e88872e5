"""The configuration: frozen models, YAML, overrides, JSON schema.

The models check the shape of a configuration; :meth:`Config.check` checks every component's
options against what the plugins registered. Both happen before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from coupling.errors import ConfigError, nearest
from coupling.plugins import Plugins, installed
from coupling.registry import describe, join

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class Model(BaseModel):
    """Frozen, and strict about keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _component(value: Any) -> Any:
    """``name`` alone, or ``{name: ..., its options}``, as name and options."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and not isinstance(value.get("options"), Mapping):
        return {"name": value.get("name"), "options": {k: v for k, v in value.items() if k != "name"}}
    return value


class ComponentConfig(Model):
    """A component by its registered name, with its options."""

    name: str
    options: dict[str, Any] = {}

    def plain(self) -> Any:
        """As it is written in YAML."""
        return {"name": self.name, **self.options} if self.options else self.name


ComponentReference = Annotated[ComponentConfig, BeforeValidator(_component)]


class LatentConfig(Model):
    """The latent code z."""

    prior: Literal["uniform", "normal"] = Field("uniform", description="uniform: U[-1, 1]; normal: N(0, 1)")
    size: int = Field(100, ge=1, description="numbers in z")
    condition: Literal["domain"] | None = Field(
        None, description="domain: the domain, one-hot, is appended to z (conditional GAN)"
    )


class PartOptions(Model):
    """Options that every data set takes besides its own."""

    half: Literal[1, 2] | None = Field(None, description="the first or second random half; short for part: [1, 2]")
    part: tuple[int, int] | Literal["all"] | None = Field(
        None, description="[k, n]: the k-th of n disjoint random parts; all: every sample"
    )
    transform: ComponentReference | list[ComponentReference] = Field(
        [], description="image operator, or a list of them, applied to every sample"
    )

    @pydantic.model_validator(mode="after")
    def _part(self) -> PartOptions:
        if self.half is not None and self.part is not None:
            raise ValueError("give half or part, not both")
        if isinstance(self.part, tuple) and not 1 <= self.part[0] <= self.part[1]:
            raise ValueError(f"part: [{self.part[0]}, {self.part[1]}] is not [k, n] with 1 <= k <= n")
        return self

    def chosen(self) -> tuple[int, int] | None:
        """(k, n) as the user says, or None where nothing is said."""
        if self.part == "all":
            return (1, 1)
        return (self.half, 2) if self.half is not None else self.part

    def transforms(self, path: str) -> list[tuple[str, ComponentConfig]]:
        """The transforms in order, each with its path in the configuration."""
        if isinstance(self.transform, list):
            return [(f"{path}.transform[{i}]", t) for i, t in enumerate(self.transform)]
        return [(f"{path}.transform", self.transform)]


def split_options(options: Mapping[str, Any], path: str) -> tuple[PartOptions, dict[str, Any]]:
    """Options that every data set takes, apart from the data set's own."""
    common = {key: value for key, value in options.items() if key in PartOptions.model_fields}
    own = {key: value for key, value in options.items() if key not in common}
    try:
        return PartOptions.model_validate(common), own
    except pydantic.ValidationError as error:
        known = list(PartOptions.model_fields)
        raise ConfigError(describe(error, path, known=known, of="every data set")) from None


class DomainConfig(Model):
    """One domain: where its samples come from."""

    dataset: ComponentReference


class OptimizerConfig(Model):
    """How a team's parameters are stepped."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    lr: float = Field(2.0e-4, gt=0, description="learning rate")
    betas: tuple[float, float] = Field((0.5, 0.999), description="adam, adamw: decay of the moments")
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.0, ge=0, lt=1, description="sgd, rmsprop")

    @pydantic.field_validator("betas")
    @classmethod
    def _betas(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both betas must lie in [0, 1)")
        return betas


class TeamOptimizerConfig(Model):
    """What a team's optimizer has different from ``optimizer``."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] | None = None
    lr: float | None = Field(None, gt=0)
    betas: tuple[float, float] | None = None
    weight_decay: float | None = Field(None, ge=0)
    momentum: float | None = Field(None, ge=0, lt=1)


class TeamConfig(Model):
    """The generators, or the discriminators."""

    architecture: ComponentReference
    optimizer: TeamOptimizerConfig = TeamOptimizerConfig()


class RuleConfig(Model):
    """Ties layers over domains: exactly one of ``first``, ``last``, ``layers``."""

    first: int | None = Field(None, ge=1, description="layers 1 to k, counted from the input")
    last: int | None = Field(None, ge=1, description="the last k layers, counted from each domain's own output")
    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        None, min_length=1, description="these layers, numbered from 1 at the input"
    )
    domains: list[str] | None = Field(None, min_length=2, description="the domains tied (default: all)")

    @pydantic.model_validator(mode="after")
    def _one(self) -> RuleConfig:
        if sum(given is not None for given in (self.first, self.last, self.layers)) != 1:
            raise ValueError("give exactly one of first, last, layers")
        if self.domains is not None and len(set(self.domains)) != len(self.domains):
            raise ValueError("a domain is named twice")
        return self


class SharingConfig(Model):
    """The sharing graph: rules of both teams. What no rule names is private."""

    generator: list[RuleConfig] = []
    discriminator: list[RuleConfig] = []


class TrainingConfig(Model):
    """The loop."""

    steps: int = Field(25_000, ge=1)
    batch_size: int = Field(128, ge=1, description="samples a domain and step, over all processes together")
    ema: float | None = Field(0.999, ge=0, lt=1, description="decay of the generators' average; null: none")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = Field(False, description="compile both teams with torch.compile")
    fresh_latent: bool = Field(False, description="draw a second z for the generators' half of a step")
    log_every: int = Field(50, ge=1, description="steps between lines of metrics.jsonl")
    sample_every: int = Field(500, ge=1, description="steps between pictures")
    checkpoint_every: int = Field(1000, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(3, ge=1, description="newest checkpoints kept")

    @pydantic.field_validator("precision")
    @classmethod
    def _precision(cls, precision: str) -> str:
        if precision == "fp16":
            raise ValueError("fp16 is not available yet; use fp32 or bf16")
        return precision


class MetricConfig(Model):
    """A metric and when it is measured."""

    name: str
    every: int | None = Field(None, ge=1, description="steps between measurements; null: at the end only")
    options: dict[str, Any] = {}

    def plain(self) -> Any:
        """As it is written in YAML."""
        every = {} if self.every is None else {"every": self.every}
        return {"name": self.name, **self.options, **every}


def _metric(value: Any) -> Any:
    value = _component(value)
    if isinstance(value, Mapping) and isinstance(value.get("options"), Mapping) and "every" in value["options"]:
        options = dict(value["options"])
        return {**value, "every": options.pop("every"), "options": options}
    return value


class Config(Model):
    """A run, completely: the same configuration and seed give the same run."""

    name: str = Field(pattern=NAME)
    seed: int = Field(0, ge=0, lt=2**63)
    latent: LatentConfig = LatentConfig()
    domains: dict[str, DomainConfig] = Field(min_length=1)
    generator: TeamConfig
    discriminator: TeamConfig
    sharing: SharingConfig = SharingConfig()
    batch_statistics: Literal["per-domain", "joint"] = Field(
        "per-domain",
        description="joint: normalise over all domains' samples; couples the domains' gradients",
    )
    losses: list[ComponentReference] = Field([ComponentConfig(name="non-saturating")], min_length=1)
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    metrics: list[Annotated[MetricConfig, BeforeValidator(_metric)]] = []
    trackers: list[str] = Field([], description="Accelerate's trackers: tensorboard, wandb, ...")

    @pydantic.field_validator("domains")
    @classmethod
    def _domain_names(cls, domains: dict[str, DomainConfig]) -> dict[str, DomainConfig]:
        for name in domains:
            if not re.match(NAME, name):
                raise ValueError(f"a domain may not be called {name!r}: use letters, digits, - and _")
        return domains

    @pydantic.model_validator(mode="after")
    def _rule_domains(self) -> Config:
        for team in ("generator", "discriminator"):
            for number, rule in enumerate(getattr(self.sharing, team)):
                for domain in rule.domains or ():
                    if domain not in self.domains:
                        raise ValueError(
                            f"sharing.{team}[{number}].domains: no domain is called '{domain}'; "
                            + nearest(domain, self.domains)
                        )
        return self

    def team_optimizer(self, team: str) -> OptimizerConfig:
        """The optimizer of ``generator`` or ``discriminator``: the common one, changed by its own."""
        own = getattr(self, team).optimizer.model_dump(exclude_none=True)
        return self.optimizer.model_copy(update=own)

    def plain(self) -> dict[str, Any]:
        """Everything, defaults too, as it is written in YAML."""
        plain = self.model_dump(mode="json")
        for name, domain in self.domains.items():
            plain["domains"][name]["dataset"] = domain.dataset.plain()
        for team in ("generator", "discriminator"):
            plain[team]["architecture"] = getattr(self, team).architecture.plain()
            plain[team]["optimizer"] = getattr(self, team).optimizer.model_dump(mode="json", exclude_none=True)
            plain["sharing"][team] = [
                rule.model_dump(mode="json", exclude_none=True) for rule in getattr(self.sharing, team)
            ]
        plain["losses"] = [loss.plain() for loss in self.losses]
        plain["metrics"] = [metric.plain() for metric in self.metrics]
        return plain

    def yaml(self) -> str:
        """Everything as YAML that runs again as it is."""
        return yaml.safe_dump(self.plain(), sort_keys=False, allow_unicode=True, width=110)

    def check(self, plugins: Plugins, *, data: bool = True) -> None:
        """Check every component's name and options; raises :class:`ConfigError` naming the path.

        ``data=False`` leaves out data sets and metrics: a trained model needs neither.
        """
        registry = plugins.registry
        for name, domain in self.domains.items() if data else ():
            path = f"domains.{name}.dataset"
            common, own = split_options(domain.dataset.options, path)
            registry.validate("dataset", domain.dataset.name, own, path)
            for at, transform in common.transforms(path):
                registry.validate("transform", transform.name, transform.options, at)
        for team in ("generator", "discriminator"):
            architecture = getattr(self, team).architecture
            registry.validate("architecture", architecture.name, architecture.options, f"{team}.architecture")
        for number, loss in enumerate(self.losses):
            registry.validate("loss", loss.name, loss.options, f"losses[{number}]")
        for number, metric in enumerate(self.metrics if data else ()):
            registry.validate("metric", metric.name, metric.options, f"metrics[{number}]")


class _Loader(yaml.SafeLoader):
    """Safe YAML without its two classic surprises: a key given twice, and 2e-4 read as a string."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float | bool) and key in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"line {line}: '{key}' is given twice; a name stands for one thing only")
            if isinstance(key, str | int | float | bool):
                seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def parse_yaml(text: str) -> Any:
    """A YAML value; :class:`ConfigError` with line and column where it is not YAML."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(f"{where}not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}") from None


def override(values: dict[str, Any], assignment: str) -> None:
    """Apply one ``path.to.key=YAML value`` in place; list items by number: ``losses.0.name=hinge``."""
    path, separator, text = assignment.partition("=")
    if not separator or not path.strip():
        raise ConfigError(f"--set {assignment}: write it as path.to.key=value")
    try:
        value = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"--set {assignment}: {error}") from None
    keys = re.sub(r"\[(\d+)\]", r".\1", path.strip()).split(".")
    place: Any = values
    for number, key in enumerate(keys):
        last = number == len(keys) - 1
        if isinstance(place, list):
            if not key.isdigit() or int(key) > len(place) - (not last and 1):
                raise ConfigError(
                    f"--set {assignment}: '{'.'.join(keys[:number])}' is a list of {len(place)}; '{key}' is none of it"
                )
            if int(key) == len(place):
                place.append(None)
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
            if not last and not isinstance(place.get(key), dict | list):
                # A component by its name alone grows options: `dataset: mnist` + dataset.half=1.
                place[key] = {"name": place[key]} if isinstance(place.get(key), str) else {}
        else:
            raise ConfigError(f"--set {assignment}: '{'.'.join(keys[:number])}' has no keys below it")
        if last:
            place[index] = value
        else:
            if isinstance(place, list) and isinstance(place[index], str):
                place[index] = {"name": place[index]}
            place = place[index]


def load_config(path: str | Path, overrides: Iterable[str] = (), *, plugins: Plugins | None = None) -> Config:
    """Read, override, validate and check a configuration.

    Raises :class:`ConfigError` that names the file and, for each problem, the path in it, the
    value, and the mend.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        siblings = [str(p) for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise ConfigError(f"{path}: no such file; {nearest(str(path), siblings)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text: {error}") from None
    try:
        values = parse_yaml(text)
        if not isinstance(values, dict):
            raise ConfigError("a configuration is a mapping with the keys name, domains, generator, ...")
        for assignment in overrides:
            override(values, assignment)
        return parse_config(values, plugins)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_config(values: Mapping[str, Any], plugins: Plugins | None = None, *, data: bool = True) -> Config:
    """Validate and check a configuration given as plain values (see :meth:`Config.check`)."""
    try:
        config = Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error)) from None
    config.check(plugins or installed(), data=data)
    return config


def _explain(error: pydantic.ValidationError) -> str:
    """One line a problem; an unknown key gets the nearest one of its own section."""
    lines = []
    for problem in error.errors():
        location = tuple(part for part in problem["loc"] if not str(part).startswith("function-"))
        if problem["type"] == "extra_forbidden":
            known = _keys_at(location[:-1])
            lines.append(f"{join('', location)}: unknown key; {nearest(str(location[-1]), known)}")
        elif problem["type"] == "missing":
            lines.append(f"{join('', location)}: is required and not given")
        elif problem["type"] == "value_error" and not location:
            lines.append(str(problem["ctx"]["error"]))
        else:
            place = join("", location) or "configuration"
            lines.append(f"{place}: {problem['input']!r} is not valid: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """Keys known at a place of the configuration."""
    model: Any = Config
    for part in location:
        if isinstance(part, int):
            continue
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
            for inner in _models(model):
                model = inner
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Models inside an annotation such as ``list[Rule]`` or ``dict[str, Domain]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _models(inner)]
