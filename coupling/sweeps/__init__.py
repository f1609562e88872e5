"""A grid of runs, and the table that comes of it."""
