"""Handwritten digits for `coupling`: MNIST and the networks of the paper's digit experiments."""

from coupling_digits.architectures import Digits, FullyConnectedDigits
from coupling_digits.mnist import Mnist

__all__ = ["Digits", "FullyConnectedDigits", "Mnist"]
