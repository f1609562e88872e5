"""Handwritten digits for `coupling`: MNIST, USPS, MNIST-M and the networks of the paper's digit experiments."""

from coupling_digits.architectures import Digits, Digits32, FullyConnectedDigits
from coupling_digits.mnist import Mnist
from coupling_digits.mnist_m import MnistM
from coupling_digits.usps import Usps

__all__ = ["Digits", "Digits32", "FullyConnectedDigits", "Mnist", "MnistM", "Usps"]
