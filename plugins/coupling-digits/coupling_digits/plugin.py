"""The hooks of this plugin."""

from __future__ import annotations

from coupling import Register, hookimpl
from coupling_digits.architectures import Digits, Digits32, FullyConnectedDigits
from coupling_digits.mnist import Mnist
from coupling_digits.mnist_m import MnistM
from coupling_digits.usps import Usps


@hookimpl
def register_datasets(register: Register) -> None:
    register("mnist", Mnist)
    register("mnist-m", MnistM)
    register("usps", Usps)


@hookimpl
def register_architectures(register: Register) -> None:
    register("digits", Digits)
    register("digits-fc", FullyConnectedDigits)
    register("digits32", Digits32)
