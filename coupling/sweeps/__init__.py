"""Sweeps: a grid of runs, and the table of their results."""
