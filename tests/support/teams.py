"""Teams for tests of a single step."""

from __future__ import annotations

from coupling.training.algorithm import Team, gradient_buffer


def make_team(network, losses, optimizer, processes=1):
    """A team; ``optimizer(parameters)`` makes its optimizer."""
    gradients = gradient_buffer(network, losses, processes)
    return Team(network, gradients, optimizer(gradients.parameters))
