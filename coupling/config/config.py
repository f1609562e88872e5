"""The configuration: frozen models, and how one is read.

The models check the shape of a configuration; :meth:`Config.check` checks every component's
options against what the plugins registered. Both happen before anything is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field

from coupling.config import validation
from coupling.config.overrides import override
from coupling.config.registry import Registry
from coupling.config.validation import Model, describe
from coupling.config.yaml_text import dump_yaml, parse_yaml, read_text
from coupling.errors import ConfigError, nearest
from coupling.sharing.graph import Rule

Name = Annotated[
    str, AfterValidator(validation.checked), Field(json_schema_extra={"pattern": f"^{validation.PATTERN}$"})
]


def _component(value: Any) -> Any:
    """``name`` alone, or ``{name: ..., its options}``, as name and options."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping):
        name = {"name": value["name"]} if "name" in value else {}
        return {**name, "options": {k: v for k, v in value.items() if k != "name"}}
    if isinstance(value, ComponentConfig | MetricConfig):
        return value
    raise ValueError("write a component as its name, or as {name: ..., and its options}")


class ComponentConfig(Model):
    """A component by its registered name, with its options."""

    name: str
    options: dict[str, Any] = Field({})

    def plain(self) -> Any:
        """As it is written in YAML."""
        return {"name": self.name, **self.options} if self.options else self.name


def parse_component(value: object, path: str) -> ComponentConfig:
    """A component as it is written in a configuration; raises :class:`ConfigError` naming ``path``."""
    try:
        return ComponentConfig.model_validate(_component(value))
    except (pydantic.ValidationError, ValueError) as error:
        problem = describe(error, ComponentConfig, value, path) if isinstance(error, pydantic.ValidationError) else ""
        raise ConfigError(problem or f"{path}: {error}") from None


ComponentReference = Annotated[ComponentConfig, BeforeValidator(_component)]


def _listed(value: Any) -> Any:
    """One, or a list of them, as a list."""
    return value if isinstance(value, list) else [value]


class LatentConfig(Model):
    """The latent code z."""

    prior: Literal["uniform", "normal"] = Field("uniform", description="uniform: U[-1, 1]; normal: N(0, 1)")
    size: int = Field(100, ge=1, le=1_000_000, description="numbers in z")
    condition: Literal["domain"] | None = Field(
        None, description="domain: the domain, one-hot, is appended to z (conditional GAN)"
    )


class PartOptions(Model):
    """Options that every data set takes besides its own."""

    half: Literal[1, 2] | None = Field(None, description="the first or second random half; short for part: [1, 2]")
    part: tuple[int, int] | Literal["all"] | None = Field(
        None, description="[k, n]: the k-th of n disjoint random parts; all: every sample"
    )
    transform: Annotated[list[ComponentReference], BeforeValidator(_listed)] = Field(
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
        if len(self.transform) == 1:
            return [(f"{path}.transform", self.transform[0])]
        return [(f"{path}.transform[{i}]", transform) for i, transform in enumerate(self.transform)]


def split_options(options: Mapping[str, Any], path: str) -> tuple[PartOptions, dict[str, Any]]:
    """Options that every data set takes, apart from the data set's own."""
    common = {key: value for key, value in options.items() if key in PartOptions.model_fields}
    own = {key: value for key, value in options.items() if key not in common}
    try:
        return PartOptions.model_validate(common), own
    except pydantic.ValidationError as error:
        raise ConfigError(describe(error, PartOptions, common, path, "every data set")) from None


class DomainConfig(Model):
    """One domain: where its samples come from."""

    dataset: ComponentReference = Field(description="the data set, and which part of it")


Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Model):
    """How a team's parameters are stepped."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    lr: float = Field(2.0e-4, gt=0, description="learning rate")
    betas: tuple[Beta, Beta] = Field((0.5, 0.999), description="adam, adamw: decay of the moments")
    weight_decay: float = Field(0.0, ge=0, description="factor of the L2 penalty; adamw: decoupled")
    momentum: float = Field(0.0, ge=0, lt=1, description="sgd, rmsprop")


class TeamOptimizerConfig(Model):
    """What a team's optimizer has different from ``optimizer``; null: the same."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] | None = None
    lr: float | None = Field(None, gt=0, description="learning rate")
    betas: tuple[Beta, Beta] | None = Field(None, description="adam, adamw: decay of the moments")
    weight_decay: float | None = Field(None, ge=0, description="factor of the L2 penalty; adamw: decoupled")
    momentum: float | None = Field(None, ge=0, lt=1, description="sgd, rmsprop")


class TeamConfig(Model):
    """The generators, or the discriminators."""

    architecture: ComponentReference = Field(description="the layers of one domain's network")
    optimizer: TeamOptimizerConfig = Field(
        TeamOptimizerConfig(), description="what this team's optimizer has different"
    )


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
        try:
            self.rule()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def rule(self) -> Rule:
        """The rule as the sharing graph takes it."""
        layers = None if self.layers is None else tuple(self.layers)
        domains = None if self.domains is None else tuple(self.domains)
        return Rule(self.first, self.last, layers, domains)


class SharingConfig(Model):
    """The sharing graph: rules of both teams. What no rule names is private."""

    generator: list[RuleConfig] = Field([], description="rules that tie the generators' layers")
    discriminator: list[RuleConfig] = Field([], description="rules that tie the discriminators' layers")


class TrainingConfig(Model):
    """The loop."""

    steps: int = Field(25_000, ge=1, description="iterations of Algorithm 1")
    batch_size: int = Field(128, ge=1, description="samples a domain and step, over all processes together")
    ema: float | None = Field(0.999, ge=0, lt=1, description="decay of the generators' average; null: none")
    ema_discriminators: bool = Field(
        False, description="average the discriminators too, and what losses learn with them (a classifier)"
    )
    accumulate: int = Field(
        1, ge=1, description="micro-batches that a batch is cut into: their gradients add up, memory is for one"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="bf16, fp16: mixed precision; fp16 with a loss scale a team"
    )
    compile: bool = Field(False, description="compile both teams with torch.compile")
    sync_batch_norm: bool = Field(
        True, description="batch statistics over all processes' samples, not over each one's own"
    )
    fresh_latent: bool = Field(False, description="draw a second z for the generators' half of a step")
    log_every: int = Field(50, ge=1, description="steps between lines of metrics.jsonl")
    sample_every: int = Field(500, ge=1, description="steps between pictures")
    checkpoint_every: int = Field(1000, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(
        3, ge=1, description="newest checkpoints kept, beside that of the first metric's best value"
    )


class MetricConfig(Model):
    """A metric and when it is measured."""

    name: str
    every: int | None = Field(None, ge=1, description="steps between measurements; null: at the end only")
    options: dict[str, Any] = Field({})

    def plain(self) -> Any:
        """As it is written in YAML."""
        every = {} if self.every is None else {"every": self.every}
        return {"name": self.name, **self.options, **every}


def metric_entry(value: Any) -> Any:
    """A metric as it is written in a configuration, as name, options and ``every``."""
    value = _component(value)
    if isinstance(value, Mapping) and "every" in value.get("options", ()):
        options = dict(value["options"])
        return {**value, "every": options.pop("every"), "options": options}
    return value


class Config(Model):
    """A complete configuration of a run: the same configuration and seed give the same run.

    Its attributes are the keys of the YAML file, described in ``configuration.md``; :func:`load_config` reads it.
    """

    name: Name = Field(description="the run's name, and its directory's")
    seed: int = Field(0, ge=0, lt=2**63, description="of all that is drawn: weights, parts, batches, z")
    latent: LatentConfig = Field(LatentConfig(), description="the latent code z, one for all domains")
    domains: dict[Name, DomainConfig] = Field(
        min_length=1, description="the domains by name, in the order in which pictures show them"
    )
    generator: TeamConfig = Field(description="the generators, one a domain")
    discriminator: TeamConfig = Field(description="the discriminators, one a domain")
    sharing: SharingConfig = Field(SharingConfig(), description="which layers the domains share; default: none")
    batch_statistics: Literal["per-domain", "joint"] = Field(
        "per-domain",
        description="joint: normalise over all domains' samples; couples the domains' gradients",
    )
    losses: list[ComponentReference] = Field(
        [ComponentConfig(name="non-saturating")], min_length=1, description="terms of the objectives, added up"
    )
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="of both teams")
    training: TrainingConfig = Field(TrainingConfig(), description="the loop")
    metrics: list[Annotated[MetricConfig, BeforeValidator(metric_entry)]] = Field(
        [], description="what is measured, and how often"
    )
    trackers: list[str] = Field([], description="Accelerate's trackers: tensorboard, wandb, ...")

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

    @pydantic.model_validator(mode="after")
    def _decay(self) -> Config:
        if self.training.ema_discriminators and self.training.ema is None:
            raise ValueError(
                "training.ema_discriminators: true needs a decay, but training.ema is null; give one, such as 0.999"
            )
        return self

    def team_optimizer(self, team: str) -> OptimizerConfig:
        """The optimizer of a team: the common settings, changed by those of the team.

        Args:
            team: "generator" or "discriminator".
        """
        own = getattr(self, team).optimizer.model_dump(exclude_none=True)
        return self.optimizer.model_copy(update=own)

    def plain(self) -> dict[str, Any]:
        """All keys with their values as they are written in YAML, defaults included."""
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
        """All keys with their values as YAML text, defaults included."""
        return dump_yaml(self.plain())

    def completed(self, registry: Registry, *, data: bool = True) -> Config:
        """The same configuration with the defaults of all components, so that it stays the same when defaults change.

        Args:
            registry: the components by name.
            data: whether to complete the data sets and metrics too.
        """

        def full(kind: str, component: ComponentConfig) -> ComponentConfig:
            return ComponentConfig(
                name=component.name, options=registry.completed(kind, component.name, component.options, component.name)
            )

        update: dict[str, Any] = {"losses": [full("loss", loss) for loss in self.losses]}
        for team in ("generator", "discriminator"):
            settings = getattr(self, team)
            update[team] = settings.model_copy(update={"architecture": full("architecture", settings.architecture)})
        if data:
            update["domains"] = {}
            for name, domain in self.domains.items():
                common = {k: v for k, v in domain.dataset.options.items() if k in PartOptions.model_fields}
                own = {k: v for k, v in domain.dataset.options.items() if k not in common}
                dataset = full("dataset", ComponentConfig(name=domain.dataset.name, options=own))
                whole = ComponentConfig(name=dataset.name, options={**dataset.options, **common})
                update["domains"][name] = domain.model_copy(update={"dataset": whole})
            update["metrics"] = [
                metric.model_copy(update={"options": registry.completed("metric", metric.name, metric.options, "")})
                for metric in self.metrics
            ]
        return self.model_copy(update=update)

    def check(self, registry: Registry, *, data: bool = True) -> None:
        """Check the names and options of all components.

        Args:
            registry: the components by name.
            data: whether to check the data sets and metrics too; a trained model needs neither.

        Raises:
            ConfigError: names the path, the value and the fix.
        """
        for name, domain in self.domains.items() if data else ():
            path = f"domains.{name}.dataset"
            common, own = split_options(domain.dataset.options, path)
            registry.validate("dataset", domain.dataset.name, own, path, common=PartOptions.model_fields)
            for at, transform in common.transforms(path):
                registry.validate("transform", transform.name, transform.options, at)
        for team in ("generator", "discriminator"):
            architecture = getattr(self, team).architecture
            registry.validate("architecture", architecture.name, architecture.options, f"{team}.architecture")
        for number, loss in enumerate(self.losses):
            registry.validate("loss", loss.name, loss.options, f"losses[{number}]")
        for number, metric in enumerate(self.metrics if data else ()):
            registry.validate("metric", metric.name, metric.options, f"metrics[{number}]", common=("every",))


def read_config(path: str | Path, overrides: Iterable[str], registry: Registry) -> Config:
    """Read, override, validate and check a configuration.

    Raises :class:`ConfigError` that names the file and, for each problem, the path in it, the
    value, and the mend.
    """
    path = Path(path)
    text = read_text(path)
    try:
        values = parse_yaml(text)
        if values is None:
            raise ConfigError("is empty; a configuration begins with the keys name, domains, generator, ...")
        if not isinstance(values, dict):
            raise ConfigError("a configuration is a mapping with the keys name, domains, generator, ...")
        if "base" in values and "domains" not in values:
            raise ConfigError(f"is a sweep, not the configuration of a run; give it to: coupling sweep {path}")
        for assignment in overrides:
            override(values, assignment)
        return build_config(values, registry)
    except ConfigError as error:
        separator = ":\n  " if "\n" in str(error) else ": "
        raise ConfigError(f"{path}{separator}" + str(error).replace("\n", "\n  ")) from None


def build_config(values: Mapping[str, Any], registry: Registry, *, data: bool = True) -> Config:
    """Validate and check a configuration given as plain values (see :meth:`Config.check`)."""
    try:
        config = Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError(describe(error, Config, values)) from None
    config.check(registry, data=data)
    return config.completed(registry, data=data)
