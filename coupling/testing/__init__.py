"""Tests of plugins: conformance checks that a plugin's author runs, and short ways for tests of one's own."""

from coupling.testing.check import DOMAINS, SHAPES, Check
from coupling.testing.checks import checks
from coupling.testing.shortcuts import build, invoke, open_domains, options_of, training_batches

__all__ = ["DOMAINS", "SHAPES", "Check", "build", "checks", "invoke", "open_domains", "options_of", "training_batches"]
