"""The built-in components, registered by the same hooks as those of any plugin."""

from __future__ import annotations

from coupling.augmentations.operations import Colour, Cutout, Flip, Translation
from coupling.data.drawings import Bars, HeatMap, Line
from coupling.data.images.folder import ImageFolder
from coupling.data.images.huggingface import HuggingFace
from coupling.data.table import Table
from coupling.data.transforms import Edges, FalseColours, Negative, Rotate90
from coupling.hookspecs import Register, hookimpl
from coupling.losses.adaptation import Consistency, Entropy
from coupling.losses.adversarial import (
    DomainSoftmax,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticPairing,
    Wasserstein,
)
from coupling.losses.classification import Classification
from coupling.losses.matching import DistanceConsistency, FeatureMatching, MinimalChange
from coupling.losses.penalties import R1, R2, BranchPenalty
from coupling.losses.recovery import ClassRecovery, CodeRecovery
from coupling.metrics.accuracy import Accuracy, Information
from coupling.metrics.agreement import AttributeAgreement, LabelAgreement
from coupling.metrics.depth_error import DepthError
from coupling.metrics.distribution_metrics import (
    Diversity,
    FrechetDistance,
    KernelDistance,
    PrecisionRecall,
    SlicedWasserstein,
)
from coupling.metrics.pixel_agreement import PixelAgreement
from coupling.networks.architectures import MLP, Upsampling
from coupling.networks.residual import Residual
from coupling.networks.sequences import Upsampling1d


@hookimpl
def register_architectures(register: Register) -> None:
    """Architectures for samples of any shape, for images, and for sequences."""
    register("mlp", MLP)
    register("upsampling", Upsampling)
    register("residual", Residual)
    register("upsampling-1d", Upsampling1d)


@hookimpl
def register_datasets(register: Register) -> None:
    """Folders and zips of images, the Hugging Face hub, and CSV files."""
    register("image-folder", ImageFolder)
    register("huggingface", HuggingFace)
    register("table", Table)


@hookimpl
def register_transforms(register: Register) -> None:
    """The paper's tasks A and B, its rotation, and drawings: colours for depth, lines, bars, heat maps."""
    register("edges", Edges)
    register("negative", Negative)
    register("rotate90", Rotate90)
    register("false-colours", FalseColours)
    register("line", Line)
    register("bars", Bars)
    register("heat-map", HeatMap)


@hookimpl
def register_augmentations(register: Register) -> None:
    """Those of differentiable augmentation, and mirror images."""
    register("translation", Translation)
    register("cutout", Cutout)
    register("flip", Flip)
    register("colour", Colour)


@hookimpl
def register_losses(register: Register) -> None:
    """Adversarial losses and penalties, the conditional GAN's, and those of adaptation."""
    register("non-saturating", NonSaturating)
    register("minimax", Minimax)
    register("least-squares", LeastSquares)
    register("hinge", Hinge)
    register("wasserstein", Wasserstein)
    register("relativistic-pairing", RelativisticPairing)
    register("domain-softmax", DomainSoftmax)
    register("r1", R1)
    register("r2", R2)
    register("classification", Classification)
    register("entropy", Entropy)
    register("consistency", Consistency)
    register("feature-matching", FeatureMatching)
    register("minimal-change", MinimalChange)
    register("branch-penalty", BranchPenalty)
    register("distance-consistency", DistanceConsistency)
    register("code-recovery", CodeRecovery)
    register("class-recovery", ClassRecovery)


@hookimpl
def register_metrics(register: Register) -> None:
    """Agreement of pairs, distances of distributions, accuracy of the classifier."""
    register("pixel-agreement", PixelAgreement)
    register("label-agreement", LabelAgreement)
    register("attribute-agreement", AttributeAgreement)
    register("depth-error", DepthError)
    for metric in (FrechetDistance, KernelDistance, PrecisionRecall, Diversity, SlicedWasserstein):
        register(metric.kind, metric)
    register("accuracy", Accuracy)
    register("information", Information)
