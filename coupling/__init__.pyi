"""The public names of `coupling`, by subject."""

# Hooks: how a plugin registers its components.
from .hookspecs import Register as Register
from .hookspecs import hookimpl as hookimpl

# Contracts: what a component is.
from .domain import Column as Column
from .domain import Domain as Domain
from .data.dataset import Dataset as Dataset
from .data.dataset import PartialOverlap as PartialOverlap
from .data.domain_data import DomainData as DomainData
from .data.contract import Transform as Transform
from .networks.architecture import Architecture as Architecture
from .augmentations.augmentation import Augmentation as Augmentation
from .losses.loss import AdversarialLoss as AdversarialLoss
from .losses.loss import DiscriminatorHalf as DiscriminatorHalf
from .losses.loss import FeatureShapes as FeatureShapes
from .losses.loss import GeneratorHalf as GeneratorHalf
from .losses.loss import Loss as Loss
from .losses.loss import PerDomain as PerDomain
from .metrics.metric import Evaluation as Evaluation
from .metrics.metric import Metric as Metric
from .runs.measured import Measured as Measured
from .runs.measured import Undefined as Undefined

# Errors: each is one message for a person, without a traceback.
from .errors import ConfigError as ConfigError
from .errors import CouplingError as CouplingError
from .errors import DataError as DataError
from .errors import InputError as InputError
from .errors import PluginError as PluginError
from .errors import ProgramError as ProgramError
from .errors import RunError as RunError
from .errors import nearest as nearest

# Images: data sets that decode or render their samples once, and options of such data sets.
from .data.crops import crop_images as crop_images
from .data.images.cache import MakeImage as MakeImage
from .data.images.cached_dataset import CachedImages as CachedImages
from .data.images.cached_dataset import signed_samples as signed_samples
from .data.images.decoding import OnError as OnError
from .data.images.decoding import OnErrorOption as OnErrorOption
from .data.images.decoding import Resize as Resize
from .data.images.decoding import ResizeOption as ResizeOption
from .data.images.decoding import Size as Size
from .data.images.decoding import height_and_width as height_and_width
from .data.images.image import ImageArray as ImageArray
from .data.images.image import UnreadableImage as UnreadableImage
from .data.images.image import check_regular as check_regular
from .data.images.image_cache import ImageCache as ImageCache
from .data.images.opening import open_image as open_image
from .data.images.pixels import DECODER as DECODER
from .data.images.pixels import EIGHT_BIT_MODES as EIGHT_BIT_MODES
from .data.images.pixels import decode_image as decode_image
from .data.images.pixels import opaque as opaque
from .data.images.pixels import pixel_kind as pixel_kind
from .data.images.places import image_paths as image_paths

# Layers: modules for architectures.
from .networks.blocks import AddedBranch as AddedBranch
from .networks.blocks import ChannelGains as ChannelGains
from .networks.blocks import MinibatchDeviation as MinibatchDeviation
from .networks.convolutional import Convolutional as Convolutional
from .networks.layers import Deconvolution as Deconvolution
from .networks.layers import PReLU as PReLU
from .networks.layers import UpsampledConvolution as UpsampledConvolution
from .networks.layers import deconvolution_layer as deconvolution_layer
from .networks.layers import output_activation as output_activation
from .networks.layers import scale_channels as scale_channels
from .networks.spectral import SpectralLayer as SpectralLayer

# Files: where data lie, how they are checked and written, and processes that read them.
from .system.atomic_files import write_bytes as write_bytes
from .system.atomic_files import writing as writing
from .system.checksums import md5_of as md5_of
from .system.checksums import similar_file as similar_file
from .system.data_directory import data_directory as data_directory
from .system.file_names import expand_home as expand_home
from .system.resources import available_cores as available_cores
from .system.workers import Workers as Workers

# Messages: what a person sees on stderr.
from .system.terminal import print_line as print_line
from .system.terminal import progress as progress
from .system.terminal import warn as warn

# Pictures: samples as pixels.
from .data.pictures import picture_grid as picture_grid
from .data.pictures import save_png as save_png
from .data.pictures import to_pixels as to_pixels

# Seeds: random numbers that depend on the run's seed alone.
from .system.seeds import derive_seed as derive_seed

# Commands: what a plugin's own command takes.
from .cli.group import HomePath as HomePath
from .cli.group import plugin_option as plugin_option
from .cli.group import run_argument as run_argument
from .runs.locations import output_path as output_path

# Users: configurations, training, measuring, trained models.
from .version import __version__ as __version__
from .api import load_config as load_config
from .api import load_model as load_model
from .api import parse_config as parse_config
from .config.config import Config as Config
from .generation.encoder import train_encoder as train_encoder
from .metrics.evaluate import evaluate as evaluate
from .model.directions import Directions as Directions
from .model.images import Images as Images
from .model.inversion import Search as Search
from .model.inversion import Transformed as Transformed
from .model.model import CoupledModel as CoupledModel
from .reports.web_app import serve as serve
from .runs.directory import RunDirectory as RunDirectory
from .sharing.graph import SharingGraph as SharingGraph
from .training.trainer import train as train
