"""The sections of a configuration: latent code, domains, teams, sharing, optimizers, training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
from pydantic import Discriminator, Field, Tag

from coupling.config.components import ComponentReference, OperationReference
from coupling.config.schedules import Number, or_schedule
from coupling.config.validation import Model
from coupling.errors import ConfigError
from coupling.sharing.graph import Rule


class LatentConfig(Model):
    """The latent code z."""

    prior: Literal["uniform", "normal"] = Field("uniform", description="uniform: U[-1, 1]; normal: N(0, 1)")
    size: int = Field(100, ge=1, le=1_000_000, description="numbers in z that all domains read")
    style: int = Field(
        0, ge=0, le=10_000, description="further numbers of each domain, which its private generator layers alone read"
    )
    condition: Literal["domain"] | None = Field(
        None, description="domain: append the domain, one-hot, to z (conditional GAN)"
    )


class DomainConfig(Model):
    """One domain: where its samples come from."""

    dataset: ComponentReference = Field(description="the data set, and which part of it")


if TYPE_CHECKING:
    Rate = Number
    Beta = Number
    Decay = Number
    Penalty = Number
    Probability = Number
else:
    Rate = or_schedule(Annotated[float, Field(gt=0)], "lr", ends=Annotated[float, Field(ge=0)])
    Beta = or_schedule(Annotated[float, Field(ge=0, lt=1)], "beta")
    Decay = or_schedule(Annotated[float, Field(ge=0, lt=1)], "decay")
    Penalty = or_schedule(Annotated[float, Field(ge=0)], "weight_decay")
    Probability = or_schedule(Annotated[float, Field(ge=0, le=1)], "probability")


class OptimizerConfig(Model):
    """The optimizer of a team's parameters."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    lr: Rate = Field(2.0e-4, description="learning rate")
    betas: tuple[Beta, Beta] = Field((0.5, 0.999), description="adam, adamw: decay of the moments")
    weight_decay: Penalty = Field(0.0, description="factor of the L2 penalty; adamw: decoupled")
    momentum: Beta = Field(0.0, description="sgd, rmsprop")


def _changes_of(model: type[Model], name: str, doc: str) -> Any:
    """A model of changes to ``model``: the same fields, each of which is null by default."""
    fields: Any = {
        key: (Annotated[field.annotation, Field(), *field.metadata] | None, Field(None, description=field.description))
        for key, field in model.model_fields.items()
    }
    return pydantic.create_model(name, __base__=Model, __doc__=doc, __module__=__name__, **fields)


if TYPE_CHECKING:
    TeamOptimizerConfig = OptimizerConfig
else:
    TeamOptimizerConfig = _changes_of(
        OptimizerConfig,
        "TeamOptimizerConfig",
        "Settings of a team's optimizer that differ from ``optimizer``; null: the same.",
    )


class TeamConfig(Model):
    """The generators, or the discriminators."""

    architecture: ComponentReference = Field(description="the layers of one domain's network")
    initialisation: Literal["own", "alike"] = Field(
        "own",
        description="alike: private layers of equal structure begin with equal weights in all domains; "
        "own: each domain draws its own",
    )
    optimizer: TeamOptimizerConfig = Field(
        TeamOptimizerConfig(), description="optimizer settings that differ for this team"
    )


class RuleConfig(Model):
    """Ties layers across domains: exactly one of ``first``, ``last``, ``layers``."""

    first: int | None = Field(None, ge=1, description="layers 1 to k, counted from the input")
    last: int | None = Field(None, ge=1, description="the last k layers, counted from each domain's own output")
    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        None, min_length=1, description="these layers, numbered from 1 at the input"
    )
    domains: list[str] | None = Field(None, min_length=2, description="the domains that are tied (default: all)")

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
    """The sharing graph: the rules of both teams. Layers that no rule names are private."""

    generator: list[RuleConfig] = Field([], description="rules that tie the generators' layers")
    discriminator: list[RuleConfig] = Field([], description="rules that tie the discriminators' layers")

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        if isinstance(value, str | int | float | Mapping):
            raise ValueError("should be a list of rules, such as [{first: 2}]")  # noqa: TRY004  (pydantic takes ValueError)
        return value


class AdaptiveConfig(Model):
    """A probability of augmentation that follows the discriminators' overfitting (Karras et al. 2020, section 3)."""

    target: float = Field(
        0.6, ge=-1, le=1, description="mean sign of a discriminator's logits of real samples that is aimed at"
    )
    every: int = Field(4, ge=1, description="steps between changes of the probability")
    images: int = Field(
        500_000, ge=1, description="real samples of a domain in which its probability may rise from 0 to 1"
    )


class AugmentationConfig(Model):
    """Random changes of all samples that the discriminators see, real and generated."""

    operations: list[OperationReference] = Field(
        [], description="augmentations, applied in this order, each with draws of its own"
    )
    probability: Probability = Field(
        1.0, description="probability of each operation for each sample; with adaptive, the highest"
    )
    adaptive: AdaptiveConfig | None = Field(
        None, description="{} or keys below: raise each domain's probability from 0 as its discriminator overfits"
    )


class StartConfig(Model):
    """The trained model whose layers are the first weights."""

    path: str = Field(min_length=1, description="a run, a checkpoint, a model file, or hf://USER/MODEL")
    domains: dict[str, str] = Field(
        {}, description="{domain: the parent's domain that it starts from}; default: that of its name, or the first"
    )


def _start_kind(value: Any) -> str:
    return "path" if isinstance(value, str) else "start"


StartReference = Annotated[
    Annotated[str, Field(min_length=1), Tag("path")] | Annotated[StartConfig, Tag("start")], Discriminator(_start_kind)
]


class FreezeRule(Model):
    """Layers that keep their first weights: of some domains, or at some places, or both."""

    first: int | None = Field(None, ge=1, description="layers 1 to k, counted from the input")
    last: int | None = Field(None, ge=1, description="the last k layers, counted from each domain's own output")
    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        None, min_length=1, description="these layers, numbered from 1 at the input; default: all"
    )
    domains: list[str] | None = Field(None, min_length=1, description="of these domains (default: all)")

    @pydantic.model_validator(mode="after")
    def _one(self) -> FreezeRule:
        if sum(given is not None for given in (self.first, self.last, self.layers)) > 1:
            raise ValueError("give at most one of first, last, layers")
        if not self.model_fields_set:
            raise ValueError("is empty; give first, last, layers or domains")
        return self


class FreezeConfig(Model):
    """Layers that are not trained."""

    generator: list[FreezeRule] = Field([], description="rules that freeze the generators' layers")
    discriminator: list[FreezeRule] = Field([], description="rules that freeze the discriminators' layers")


class TrainingConfig(Model):
    """The training loop."""

    steps: int = Field(25_000, ge=1, description="iterations of Algorithm 1")
    batch_size: int = Field(128, ge=1, description="samples of each domain in a step, over all processes together")
    ema: Decay | None = Field(0.999, description="decay of the generators' moving average; null: none")
    ema_discriminators: bool = Field(
        False, description="also average the discriminators, and what losses learn with them (a classifier)"
    )
    accumulate: int = Field(
        1, ge=1, description="micro-batches that a batch is cut into; their gradients add up, memory holds one"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="bf16, fp16: mixed precision; fp16 with a loss scale for each team"
    )
    kernels: Literal["fixed", "measured"] = Field(
        "fixed",
        description="how convolutions are computed on a CPU; fixed: by rules; measured: in the fastest way, found out "
        "before the first step, once for a machine",
    )
    compile: bool = Field(False, description="compile both teams with torch.compile")
    sync_batch_norm: bool = Field(
        True, description="batch statistics over the samples of all processes, not of each process alone"
    )
    fresh_latent: bool = Field(False, description="draw a second z for the generators' half of a step")
    start_from: StartReference | None = Field(
        None, description="a trained model, RUN, whose layers that fit are the first weights; default: none"
    )
    freeze: FreezeConfig = Field(FreezeConfig(), description="layers that keep the weights of start_from")
    prefetch: bool = Field(
        True, description="read a step's inputs while the step before it computes; the same samples either way"
    )
    log_every: int = Field(50, ge=1, description="steps between lines of metrics.jsonl")
    sample_every: int = Field(500, ge=1, description="steps between pictures")
    checkpoint_every: int = Field(1000, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(
        3, ge=1, description="newest checkpoints to keep, besides that of the first metric's best value"
    )

    @property
    def start(self) -> StartConfig | None:
        """``start_from`` in its long form."""
        return StartConfig(path=self.start_from) if isinstance(self.start_from, str) else self.start_from
