"""Conformance tests that a plugin author runs on a plugin: see :func:`checks`."""

from coupling.testing.check import DOMAINS, SHAPES, Check
from coupling.testing.checks import checks

__all__ = ["DOMAINS", "SHAPES", "Check", "checks"]
