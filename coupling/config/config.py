"""The configuration of a run: frozen models, and how one is read.

The models check the shape of a configuration. :meth:`Config.check` checks every component's options against what the
plugins registered. Both happen before anything is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, Field

from coupling.config.components import (
    ComponentConfig,
    ComponentReference,
    MetricReference,
    PartOptions,
    own_options,
    split_options,
)
from coupling.config.inheritance import EXTENDS, complete_values
from coupling.config.overrides import assign, override
from coupling.config.registry import Registry
from coupling.config.schedules import Schedule, find_schedules
from coupling.config.sections import (
    AugmentationConfig,
    DomainConfig,
    LatentConfig,
    OptimizerConfig,
    SharingConfig,
    TeamConfig,
    TrainingConfig,
)
from coupling.config.validation import NAME_PATTERN, Model, check_name, describe
from coupling.config.yaml_text import dump_yaml, read_text
from coupling.errors import ConfigError, nearest
from coupling.sharing.graph import TEAMS

Name = Annotated[str, AfterValidator(check_name), Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$"})]


class Config(Model):
    """A complete configuration of a run: the same configuration and seed give the same run.

    Its attributes are the keys of the YAML file, described in ``configuration.md``; :func:`load_config` reads it.
    """

    name: Name = Field(description="name of the run and of its directory")
    seed: int = Field(0, ge=0, lt=2**63, description="random seed for weights, data splits, batches and latent codes")
    latent: LatentConfig = Field(LatentConfig(), description="the latent code z, one for all domains")
    domains: dict[Name, DomainConfig] = Field(
        min_length=1, description="the domains by name, in the order in which pictures show them"
    )
    generator: TeamConfig = Field(description="the generators, one for each domain")
    discriminator: TeamConfig = Field(description="the discriminators, one for each domain")
    sharing: SharingConfig = Field(SharingConfig(), description="which layers the domains share; default: none")
    batch_statistics: Literal["per-domain", "joint"] = Field(
        "per-domain",
        description="joint: normalise over all domains' samples; couples the domains' gradients",
    )
    augmentation: AugmentationConfig = Field(
        AugmentationConfig(), description="random changes of the samples that the discriminators see; default: none"
    )
    losses: list[ComponentReference] = Field(
        [ComponentConfig(name="non-saturating")], min_length=1, description="terms of the objectives, added up"
    )
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="optimizer of both teams")
    training: TrainingConfig = Field(TrainingConfig(), description="the training loop")
    metrics: list[MetricReference] = Field([], description="what is measured, and how often")
    trackers: list[str] = Field([], description="Accelerate's trackers: tensorboard, wandb, ...")

    @pydantic.model_validator(mode="after")
    def _rule_domains(self) -> Config:
        for team in TEAMS:
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

    @pydantic.model_validator(mode="after")
    def _start(self) -> Config:
        start, freeze = self.training.start, self.training.freeze
        rules = [(team, number, rule) for team in TEAMS for number, rule in enumerate(getattr(freeze, team))]
        named = [("start_from.domains", domain) for domain in (start.domains if start else ())]
        named += [(f"freeze.{team}[{number}].domains", d) for team, number, rule in rules for d in rule.domains or ()]
        for place, domain in named:
            if domain not in self.domains:
                raise ValueError(f"training.{place}: no domain is called '{domain}'; {nearest(domain, self.domains)}")
        if rules and start is None:
            raise ValueError(
                "training.freeze: without training.start_from, layers would keep random weights; give a model to start "
                "from, or freeze none"
            )
        return self

    def team_optimizer(self, team: str) -> OptimizerConfig:
        """The optimizer of a team: the common settings, changed by those of the team.

        Args:
            team: "generator" or "discriminator".
        """
        own = dict(getattr(self, team).optimizer)
        return self.optimizer.model_copy(update={key: value for key, value in own.items() if value is not None})

    def components(self, *, data: bool = True) -> Iterator[tuple[str, str, ComponentConfig]]:
        """Every component of the configuration: its path, its kind, and its name with options.

        Args:
            data: whether to include what only training needs: data sets, augmentations and metrics.
        """
        for name, domain in self.domains.items() if data else ():
            yield f"domains.{name}.dataset", "dataset", domain.dataset
        yield "generator.architecture", "architecture", self.generator.architecture
        yield "discriminator.architecture", "architecture", self.discriminator.architecture
        for number, operation in enumerate(self.augmentation.operations if data else ()):
            yield f"augmentation.operations[{number}]", "augmentation", operation
        yield from ((f"losses[{number}]", "loss", loss) for number, loss in enumerate(self.losses))
        for number, metric in enumerate(self.metrics if data else ()):
            yield f"metrics[{number}]", "metric", metric

    def schedules(self, registry: Registry) -> Iterator[tuple[str, Schedule]]:
        """Every schedule of the configuration, with its path: of optimizers, the moving average and losses.

        Args:
            registry: the components by name.
        """
        yield from find_schedules(self.optimizer, "optimizer")
        for team in TEAMS:
            yield from find_schedules(getattr(self, team).optimizer, f"{team}.optimizer")
        yield from find_schedules(self.training, "training")
        yield from find_schedules(self.augmentation.probability, "augmentation.probability")
        for number, loss in enumerate(self.losses):
            path = f"losses[{number}]"
            yield from find_schedules(registry.validate("loss", loss.name, loss.options, path), path)

    def plain(self) -> dict[str, Any]:
        """All keys with their values as they are written in YAML, defaults included."""
        plain = self.model_dump(mode="json")
        plain["training"]["freeze"] = self.training.freeze.model_dump(mode="json", exclude_none=True)
        for team in TEAMS:
            plain[team]["optimizer"] = getattr(self, team).optimizer.model_dump(mode="json", exclude_none=True)
            plain["sharing"][team] = [
                rule.model_dump(mode="json", exclude_none=True) for rule in getattr(self.sharing, team)
            ]
        for path, _, component in self.components():
            assign(plain, path, component.plain(), path)
        return plain

    def yaml(self) -> str:
        """All keys with their values as YAML text, defaults included."""
        return dump_yaml(self.plain())

    def check(self, registry: Registry, *, data: bool = True) -> None:
        """Check the names and options of all components.

        Args:
            registry: the components by name.
            data: whether to check what only training needs too: data sets, augmentations and metrics.

        Raises:
            ConfigError: names the path, the value and the fix.
        """
        for path, kind, component in self.components(data=data):
            if kind == "dataset":
                common, own = split_options(component.options, path)
                registry.validate(kind, component.name, own, path, common=PartOptions.model_fields)
                for place, transform in common.transforms(path):
                    registry.validate("transform", transform.name, transform.options, place)
            else:
                common_options = {"metric": ("every",), "augmentation": ("domains",)}.get(kind, ())
                registry.validate(kind, component.name, component.options, path, common=common_options)

    def completed(self, registry: Registry, *, data: bool = True) -> Config:
        """The same configuration with the defaults of all components, so that it stays the same when defaults change.

        Schedules get the steps of their starts and ends.

        Args:
            registry: the components by name.
            data: whether to complete what only training needs too: data sets, augmentations and metrics.

        Raises:
            ConfigError: a schedule ends after the run, or before it starts.
        """
        values = self.plain()
        for path, kind, component in self.components(data=data):
            own = own_options(component.options) if kind == "dataset" else component.options
            common = {key: value for key, value in component.options.items() if key not in own}
            options = registry.completed(kind, component.name, own, path) | common
            assign(values, path, component.model_copy(update={"options": options}).plain(), path)
        for path, schedule in self.schedules(registry):
            assign(values, path, schedule.completed(self.training.steps, path).plain(), path)
        return Config.model_validate(values)


def read_config(path: str | Path, overrides: Iterable[str], registry: Registry) -> Config:
    """Read a configuration, change it by ``overrides`` (``key=value``), and check it.

    Raises:
        ConfigError: names the file and, for each problem, the path in it, the value and the fix.
    """
    path = Path(path)
    text = read_text(path)
    try:
        values = complete_values(text, path).values
        for assignment in overrides:
            override(values, assignment)
        return build_config(values, registry)
    except ConfigError as error:
        separator = ":\n  " if "\n" in str(error) else ": "
        raise ConfigError(f"{path}{separator}" + str(error).replace("\n", "\n  ")) from None


def build_config(values: Mapping[str, Any], registry: Registry, *, data: bool = True) -> Config:
    """Check a configuration that is given as plain values, and complete it (see :meth:`Config.check`)."""
    if EXTENDS in values:
        raise ConfigError(f"{EXTENDS}: only a configuration file can extend another one, not values or --set")
    try:
        config = Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError(describe(error, Config, values)) from None
    config.check(registry, data=data)
    return config.completed(registry, data=data)
